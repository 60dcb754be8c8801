"""Noise of sinograms, estimated from the sinograms themselves, and of residuals."""

from __future__ import annotations

import math

import torch

from tomopy_ganrec.solvers.operators import power_of_two

__all__ = ["MIDDLE", "estimate_noise", "residual_level", "residual_levels", "whitening"]

LEAKAGE_BINS = 5  # half the width of the window's main lobe in frequencies, and one to spare
EVEN_TOLERANCE = 1e-2  # of a step by which angles may be off and still count as evenly spaced
NEIGHBOURS = 128  # projections that are looked at together where they are not evenly spaced
# Values that an estimate needs: of an evenly spaced scan, of another one.
LEAST_VALUES_EVEN, LEAST_VALUES_UNEVEN = 64, 32
FREQUENCIES = 16  # along the detector, at most, that serve projections that are not evenly spaced
LEAST_SHARE = 0.05  # share of the noise of a projection that must be left for it to be counted
# Share of a band's power that an object may have outside of what is taken to be its part of the data.
SIGNAL_SHARE = 1e-9


def _window(n: int, like: torch.Tensor) -> torch.Tensor:
    """Four-term Blackman–Harris window: with side lobes of −92 dB the object does not leak into the empty spectrum."""
    phase = 2 * math.pi * (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n
    return 0.35875 - 0.48829 * torch.cos(phase) + 0.14128 * torch.cos(2 * phase) - 0.01168 * torch.cos(3 * phase)


def estimate_noise(sinogram: torch.Tensor, theta: torch.Tensor, center: float) -> torch.Tensor:
    """Standard deviation of the noise in sinograms, blind to the object's structure.

    An object within radius R of the axis leaves the Fourier transform of its sinogram empty where the angular frequency
    k exceeds R·|ω| (P. A. Rattey and A. G. Lindgren, IEEE Trans. Acoust. 29, 994–1002, 1981): what is found there is
    noise. Where the angles are not evenly spaced (projections left out, taken twice, in golden-angle order …), a
    frequency ω of neighbouring projections is a function of the angle whose own frequencies do not exceed R·|ω|, at the
    angles that there are; what is at right angles to all such functions is noise (D. Slepian, Bell Syst. Tech. J. 57,
    1371–1430, 1978). The median of the power makes the estimate robust. With so few angles that no such part exists,
    the median absolute second difference along the detector is used instead; it counts fine structure as noise.

    Parameters
    ----------
    sinogram : (B, angles, columns) tensor
    theta : (angles,) tensor
        Radians, in any order.
    center : float
        Rotation axis, in columns, edge convention.

    Returns
    -------
    (B, 1, 1) tensor
        In the units of the sinogram.
    """
    # A power of two takes nothing from the numbers, and squares of what is left neither overflow nor vanish.
    unit, like = power_of_two(sinogram), sinogram
    # Weights follow from the estimate: sums of float32 would make them depend on the processor.
    sinogram = (sinogram / unit).double()
    angles, columns = sinogram.shape[1:]
    noise = None
    if angles >= 16 and columns >= 16:
        step = _even_step(theta)
        radius = max(center, columns - center)
        noise = _uneven(sinogram, theta, radius) if step is None else _even(sinogram, theta, step, radius)
    if noise is not None:
        return noise[:, None, None].to(like) * unit
    if columns < 3:
        return torch.zeros(sinogram.shape[0], 1, 1).to(like)
    second = sinogram[..., 2:] - 2 * sinogram[..., 1:-1] + sinogram[..., :-2]
    return (second.abs().flatten(1).median(1).values / (0.6745 * math.sqrt(6)))[:, None, None].to(like) * unit


def _even_step(theta: torch.Tensor) -> float | None:
    """The step of evenly spaced angles; None for others."""
    steps = torch.diff(theta.sort().values)
    step = float(steps.median())
    return step if step > 0 and float((steps - step).abs().max()) <= EVEN_TOLERANCE * step else None


def _even(sinogram: torch.Tensor, theta: torch.Tensor, step: float, radius: float) -> torch.Tensor | None:
    """The noise (B,) by the two-dimensional spectrum of evenly spaced angles; None where too little of it is empty."""
    angles, columns = sinogram.shape[1:]
    order = torch.argsort(theta).to(sinogram.device)
    window = _window(angles, sinogram)[:, None] * _window(columns, sinogram)
    power = torch.fft.rfft2(sinogram[:, order] * window).abs().square()
    k = 2 * math.pi * torch.fft.fftfreq(angles, device=sinogram.device).abs() / step
    omega = 2 * math.pi * torch.fft.rfftfreq(columns, device=sinogram.device)
    edge = radius * (omega + LEAKAGE_BINS * 2 * math.pi / columns) + LEAKAGE_BINS * 2 * math.pi / (angles * step)
    empty = k[:, None] > edge
    empty[:, 0] = False
    if int(empty.sum()) < LEAST_VALUES_EVEN:
        return None
    return (power[:, empty].median(1).values / math.log(2) / window.square().sum()).sqrt()


def _uneven(sinogram: torch.Tensor, theta: torch.Tensor, radius: float) -> torch.Tensor | None:
    """The noise (B,) by the part of the data that no object can have made; None where that is too small."""
    angles, columns = sinogram.shape[1:]
    theta = theta.detach().cpu().double()
    if float(theta.max() - theta.min()) > 2 * math.pi:
        theta = theta % (2 * math.pi)
    order = torch.argsort(theta)
    window = _window(columns, sinogram)
    lines = torch.fft.rfft(sinogram[:, order.to(sinogram.device)] * window)
    blocks = torch.tensor_split(torch.arange(angles), -(-angles // NEIGHBOURS))
    each, power, count = max(2, min(FREQUENCIES, 4 * FREQUENCIES // len(blocks))), [], 0
    for block in blocks:
        positions = theta[order[block]]
        for j in _low_frequencies(positions, columns, radius, each):
            limit = radius * (j + LEAKAGE_BINS) * 2 * math.pi / columns
            values, vectors = torch.linalg.eigh(torch.sinc((positions[:, None] - positions) * limit / math.pi))
            free = vectors[:, values < SIGNAL_SHARE * values[-1]]
            count += free.shape[1]
            # What is left at each angle, in units of what noise leaves there: unlike the parts along single vectors, it
            # does not depend on rounding.
            left = free @ free.T
            kept = left.diagonal() > LEAST_SHARE
            left = left[kept] / left.diagonal()[kept].sqrt()[:, None]
            power.append(
                torch.view_as_real(torch.einsum("bn,kn->bk", lines[:, block, j], left.to(lines))).square().sum(-1)
            )
    if count < LEAST_VALUES_UNEVEN:
        return None
    return (torch.cat(power, 1).median(1).values / math.log(2) / window.square().sum()).sqrt()


def _low_frequencies(positions: torch.Tensor, columns: int, radius: float, most: int) -> list[int]:
    """At most so many low frequencies of the detector whose space an object does not fill at angles `positions`."""
    gaps = torch.diff(positions)
    span = float(gaps.clamp(max=4 * float(gaps.mean())).sum())
    top = columns // 2 - 1
    if span > 0:
        top = min(top, int((len(positions) - 10) * columns / (2 * radius * span)) - LEAKAGE_BINS)
    top = max(top, 1)
    return sorted({int(j) for j in torch.linspace(1, top, min(most, top)).round().tolist()})


# Bands of frequencies, and the frequency to which `whitening` refers, in cycles per column.
LOW, MIDDLE, HIGH = (0.03, 0.1), (0.1, 0.2), (0.2, 0.3)
REFERENCE = 0.25


def residual_level(residual: torch.Tensor, band: tuple[float, float]) -> torch.Tensor:
    """The standard deviation (B,) of white noise that has a residual's power in a band of frequencies.

    Parameters
    ----------
    residual : (B, angles, columns) tensor
    band : (float, float)
        Cycles per column.
    """
    columns = residual.shape[-1]
    length = max(columns, 64)  # a short detector has too few frequencies
    power = torch.fft.rfft(residual.double(), n=length).abs().square().mean(1) / columns
    f = torch.fft.rfftfreq(length, device=residual.device, dtype=torch.float64)
    return power[:, (f > band[0]) & (f <= band[1])].mean(1).sqrt().to(residual)


def residual_levels(residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`residual_level` at low frequencies (0.03 to 0.1 cycles per column) and at middle ones (0.2 to 0.3): (B,), (B,).

    Of what a total variation leaves, the first is the noise of the data, and what the second has above it is the error
    of the model: structure below the pixel.
    """
    return residual_level(residual, LOW), residual_level(residual, HIGH)


def whitening(low: torch.Tensor, high: torch.Tensor, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frequency weights for white noise and a model error that grows in proportion to the frequency.

    W(f) = σ / √(low² + e² (f / ¼)²), σ² = low² + e² at a quarter cycle per column, at most 20 times its value there.
    Measured on the phantoms with their true pixel means, the error rises about linearly with the frequency.

    Parameters
    ----------
    low, high : (B,) tensor
        `residual_levels`: the standard deviation of the noise, and of noise and model error at a quarter cycle per
        column.
    columns : int

    Returns
    -------
    weight : (B, 1, columns // 2 + 1) tensor
        W.
    level : (B,) tensor
        σ, to which the weights refer.
    """
    error = (high.square() - low.square()).clamp(min=0)
    reference = (low.square() + error).sqrt()
    f = torch.fft.rfftfreq(columns, device=low.device, dtype=low.dtype)[None, None] / REFERENCE
    power = low.square()[:, None, None] + error[:, None, None] * f**2
    weight = torch.where(reference[:, None, None] > 0, reference[:, None, None] / power.sqrt(), torch.ones_like(power))
    return weight.clamp(max=20.0), reference
