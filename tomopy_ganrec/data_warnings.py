"""Warnings, before anything is computed, of data that are no line integrals or that the options do not suit."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch

from .io.protocols import SliceSource
from .options import GanrecOptions
from .projector import ParallelBeamProjector
from .solvers.classical import sirt

__all__ = ["warn_of_data"]

SAMPLED_SLICES = 8  # slices that are examined, evenly spread over the volume
SAMPLED_SLICES_ON_DISK = 3  # of data that must be read for it
COARSE_COLUMNS = 64  # columns to which a slice is averaged to estimate its grey levels


def warn_of_data(
    source: SliceSource,
    theta: np.ndarray,
    centers: np.ndarray,
    size: tuple[int, int],
    options: GanrecOptions,
    stacklevel: int = 3,
) -> bool:
    """Warn once of each property of the data that will make the reconstruction wrong.

    These are: transmission or counts instead of line integrals, values negative beyond their noise with
    ``nonnegative=True``, a sample that the grid cannot hold, and grey levels that the data cannot have. A few slices of
    the volume are examined.

    Parameters
    ----------
    source : SliceSource
    theta : (angles,) array
        Radians.
    centers : (slices,) array
        Edge convention.
    size : (int, int)
        Rows and columns of the grid.
    options : GanrecOptions
    stacklevel : int
        As for `warnings.warn`, counted from this function.

    Returns
    -------
    bool
        Whether there was anything to warn of.
    """
    slices = source.shape[0]
    count = min(slices, SAMPLED_SLICES if source.nbytes_in_memory else SAMPLED_SLICES_ON_DISK)
    indices = np.unique(np.linspace(0, slices - 1, count).round().astype(int))
    data = source.read(indices)
    finite = np.isfinite(data).all((1, 2))  # a slice that is not finite is refused later, by its number
    data, indices = data[finite].astype(np.float64), indices[finite]
    if not len(data):
        return False
    # A division by a power of two loses no digits, and squares and sums of the quotients stay finite.
    largest = np.abs(data).max()
    unit = 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0
    data /= unit
    center = float(np.median(centers[indices]))
    transmission = _transmission_warning(data, unit)
    if transmission:
        messages: list[str | None] = [transmission]
    else:
        messages = [_negative_warning(data, options), _size_warning(data, theta, center, size, options)]
        if isinstance(options.levels, tuple):
            middle = data[len(data) // 2]
            messages.append(_levels_warning(middle, unit, theta, center, options.levels, options.nonnegative))
    for message in messages:
        if message:
            warnings.warn(message, UserWarning, stacklevel=stacklevel)
    return any(messages)


def _noise(data: np.ndarray) -> float:
    """An upper bound of the standard deviation of white noise, from the second differences along the detector."""
    second = np.diff(data, 2, axis=2)
    return float(np.median(np.abs(second))) / (0.6745 * math.sqrt(6)) if second.size else 0.0


def _transmission_warning(data: np.ndarray, unit: float) -> str | None:
    """The warning for data whose background is their brightest part: transmission, or counts."""
    bright = [levels for levels in map(_air_and_lowest_level, data) if levels]
    if len(bright) < max(1, len(data) / 4):  # the others may be air alone
        return None
    level, low = (float(np.median(values)) * unit for values in zip(*bright, strict=True))
    whole_numbers = level > 1 and np.array_equal(data * unit, np.rint(data * unit))
    if whole_numbers:
        kind = "raw counts (whole numbers)"
        remedy = "divide by the flat fields (tomopy.normalize), then apply tomopy.minus_log"
    else:
        kind = "transmission"
        remedy = "apply tomopy.minus_log after the flat-field correction"
    return (
        f"beside the sample the data are {level:.3g}, and fall to {low:.3g} inside: they look like {kind}. Line "
        f"integrals of attenuation are expected, 0 beside the sample and rising inside; {remedy}"
    )


def _air_and_lowest_level(sinogram: np.ndarray) -> tuple[float, float] | None:
    """The level of air beside the sample, and the lowest one in it; None for data that are no transmission.

    Beside the sample line integrals are 0 and transmission is 1: there it is at its largest, the same at all angles,
    and nothing is below zero. `sinogram` is (angles, columns).
    """
    angles, columns = sinogram.shape
    edge = max(1, columns // 50)
    sides = sinogram[:, :edge], sinogram[:, -edge:]
    air = min(sides, key=lambda side: float(side.std(0).mean()))  # the other side may be in the sample
    level = float(np.median(air))
    low, lowest = (float(np.quantile(sinogram, share)) for share in (0.01, 0.001))
    profile = sinogram.mean(0)
    if level <= 0 or level < 0.9 * np.quantile(profile, 0.9) or lowest < -0.05 * level:
        return None
    air_noise = float(air.std(0).mean())
    depth = level - float(np.quantile(profile, 0.1))
    falls_on_average = depth > max(0.03 * level, 5 * air_noise / math.sqrt(air.size))
    if not falls_on_average and level - low <= max(0.05 * level, 6 * air_noise):
        return None
    # Of the fall from air to the lowest level, air varies with the angle by at most 0.08 with 1e3 photons, the inside
    # of a sample by 0.23 at least.
    return (level, lowest) if _angular_variation(air.mean(1)) <= 0.15 * (level - low) else None


def _angular_variation(series: np.ndarray) -> float:
    """The standard deviation of a series over the angles beyond its noise."""
    block = 4 if len(series) >= 16 else 1
    noise = 1.4826 * float(np.median(np.abs(np.diff(series)))) / math.sqrt(2 * block)
    means = series[: len(series) // block * block].reshape(-1, block).mean(1)
    variation = 1.4826 * float(np.median(np.abs(means - np.median(means))))
    if block == 1:
        return variation
    # Half as much noise again, since its estimate from a few blocks is uncertain.
    return math.sqrt(max(variation**2 - (1.5 * noise) ** 2, 0))


def _block_means(data: np.ndarray, size: int = 4) -> np.ndarray:
    """Means over size × size values of each sinogram."""
    angles, columns = (min(size, n) for n in data.shape[1:])
    rows, cols = data.shape[1] // angles, data.shape[2] // columns
    return data[:, : rows * angles, : cols * columns].reshape(len(data), rows, angles, cols, columns).mean((2, 4))


def _negative_warning(data: np.ndarray, options: GanrecOptions) -> str | None:
    """The warning for data that are negative beyond their noise while the reconstruction may not be."""
    if not options.nonnegative:
        return None
    blocks, limit = _block_means(data), 5 * _noise(data) / 4
    below = np.where(blocks < -limit, blocks, 0.0)
    norms = np.sqrt(np.square(blocks).sum((1, 2)))
    shares = np.divide(np.sqrt(np.square(below).sum((1, 2))), norms, out=np.zeros_like(norms), where=norms > 0)
    if shares.max() < 0.1:
        return None
    return (
        f"{(below < 0).mean():.0%} of the data lie below zero by more than their noise, and the reconstruction may not "
        "(nonnegative=True). For phase tomograms give nonnegative=False; where attenuation is meant, look at the sign "
        "of the logarithm (line integrals are −log of the transmission) and at the flat fields"
    )


def _size_warning(
    data: np.ndarray, theta: np.ndarray, center: float, size: tuple[int, int], options: GanrecOptions
) -> str | None:
    """The warning for a sample that extends beyond the detector, or beyond a grid that does not hold it."""
    top = float(np.quantile(_block_means(data, 2), 0.995))
    noise = _noise(data)
    if top <= 6 * noise or top <= 0:
        return None
    if _is_truncated(data, theta, center, top, noise):
        return _wide_sample_warning(data.shape[2], center, size, options)
    return _small_grid_warning(data, theta, center, size, top, noise)


def _is_truncated(data: np.ndarray, theta: np.ndarray, center: float, top: float, noise: float) -> bool:
    """Whether the projections do not fall to zero at an edge of the detector."""
    columns = data.shape[2]
    edge = 2 if columns >= 16 else 1
    lit = [side.mean((0, 2)) > max(0.25 * top, 3 * noise) for side in (data[..., :edge], data[..., -edge:])]
    if np.ptp(theta) > 1.6 * math.pi:  # opposite projections show what is cut off on the side nearer to the axis
        lit = [lit[0] if center >= columns - center else lit[1]]
    return max(float(side.mean()) for side in lit) >= 0.1


def _wide_sample_warning(columns: int, center: float, size: tuple[int, int], options: GanrecOptions) -> str | None:
    """The warning for a sample wider than the detector, where the grid does not extend far beyond that."""
    rows, cols = size
    reach = max(center, columns - center)
    on_disc = options.mask is True or options.mask in ("auto", "outline")
    if min(rows, cols) >= 1.4 * 2 * reach and not on_disc:
        return None
    need = 2 * max(columns, math.ceil(reach))
    mask = f" with mask={options.mask!r}" if on_disc else ""
    return (
        "the projections do not fall to zero at the detector's edge: the sample is wider than the detector of "
        f"{columns} columns, and a grid of {rows}×{cols}{mask} cannot hold it. "
        f"Give num_gridx={need}, num_gridy={need}, mask=False"
    )


def _small_grid_warning(
    data: np.ndarray, theta: np.ndarray, center: float, size: tuple[int, int], top: float, noise: float
) -> str | None:
    """The warning for projections that are above zero outside of the shadow of the grid."""
    rows, cols = size
    columns = data.shape[2]
    half_shadow = (cols * np.abs(np.cos(theta)) + rows * np.abs(np.sin(theta))) / 2
    distance = np.abs(np.arange(columns) + 0.5 - center)
    outside = distance > half_shadow[:, None] + 1.5
    if not outside.any():
        return None
    signal = np.abs(data.mean(0)) * outside
    strong = signal > max(0.15 * top, 4 * noise)
    if strong.sum() < 0.02 * outside.sum() or strong.any(1).mean() < 0.05:
        return None
    need = 2 * math.ceil(float(distance[strong.any(0)].max()) + 1)
    mask = ", mask=False" if need > 2 * max(center, columns - center) else ""
    return (
        f"the sample reaches beyond the grid of {rows}×{cols}: with the rotation axis at column {center:.6g} of "
        f"{columns} it needs num_gridx={need}, num_gridy={need}{mask}, if that axis is right"
    )


def _levels_warning(
    sinogram: np.ndarray,
    unit: float,
    theta: np.ndarray,
    center: float,
    levels: Sequence[float],
    nonnegative: bool,
) -> str | None:
    """The warning for given grey levels that are far from those of a slice, as SIRT on a coarse grid shows."""
    columns = sinogram.shape[1]
    block = max(1, -(-columns // COARSE_COLUMNS))
    step = max(1, len(sinogram) // 90)
    rows = sinogram[::step, : columns // block * block]
    coarse = rows.reshape(len(rows), -1, block).mean(2)
    model = ParallelBeamProjector(coarse.shape[1], theta[::step], coarse.shape[1], center / block, backend="matrix")
    with torch.no_grad():
        image = sirt(model, torch.from_numpy(coarse[None].astype(np.float32)), 20, nonnegative) / block
    top = float(np.quantile(np.abs(image.numpy()), 0.995)) * unit
    largest = max(map(abs, levels))
    if top == 0 or 0.2 * top <= largest <= 4 * top:
        return None
    return (
        f"levels={levels} are far from the attenuation that the data have: at most some {top:.2g} per pixel. Levels "
        "are attenuation per detector column; leave levels out, or give levels='auto' to find them"
    )
