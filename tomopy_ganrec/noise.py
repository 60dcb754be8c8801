"""How noisy a sinogram is, read off the sinogram itself."""

import math

import torch

__all__ = ["estimate_noise"]


def _window(n: int, like: torch.Tensor) -> torch.Tensor:
    """Four-term Blackman–Harris window: side lobes of −92 dB, so that the object's signal does not leak into the empty part of the spectrum."""
    phase = 2 * math.pi * (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n
    return 0.35875 - 0.48829 * torch.cos(phase) + 0.14128 * torch.cos(2 * phase) - 0.01168 * torch.cos(3 * phase)


def estimate_noise(sinogram: torch.Tensor, theta: torch.Tensor, center: float) -> torch.Tensor:
    """Standard deviation of the noise in sinograms, blind to the object's structure.

    An object within radius R of the axis leaves the Fourier transform of its sinogram empty where the angular frequency k exceeds R·|ω|
    (P. A. Rattey and A. G. Lindgren, IEEE Trans. Acoust. 29, 994–1002, 1981): what is found there is noise. The median of the power makes
    the estimate robust. With so few or so unevenly spaced angles that no such region exists, the median absolute second difference along
    the detector is used instead; it counts fine structure as noise.

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
    angles, columns = sinogram.shape[1:]
    order = torch.argsort(theta).to(sinogram.device)
    steps = torch.diff(theta.sort().values)
    step = float(steps.median()) if angles > 1 else 0.0
    if angles >= 16 and columns >= 16 and step > 0 and float((steps - step).abs().max()) < 0.5 * step:
        window = _window(angles, sinogram)[:, None] * _window(columns, sinogram)
        power = torch.fft.rfft2(sinogram[:, order] * window).abs().square()
        k = 2 * math.pi * torch.fft.fftfreq(angles, device=sinogram.device).abs() / step
        omega = 2 * math.pi * torch.fft.rfftfreq(columns, device=sinogram.device)
        radius = max(center, columns - center)
        bins = 5  # half the width of the window's main lobe, and one to spare
        edge = radius * (omega + bins * 2 * math.pi / columns) + bins * 2 * math.pi / (angles * step)
        empty = k[:, None] > edge
        empty[:, 0] = False
        if int(empty.sum()) >= 64:
            return (power[:, empty].median(1).values / math.log(2) / window.square().sum()).sqrt()[:, None, None]
    if columns < 3:
        return torch.zeros(sinogram.shape[0], 1, 1).to(sinogram)
    second = sinogram[..., 2:] - 2 * sinogram[..., 1:-1] + sinogram[..., :-2]
    return (second.abs().flatten(1).median(1).values / (0.6745 * math.sqrt(6)))[:, None, None]
