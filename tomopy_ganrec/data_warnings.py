"""What data look like that are no line integrals, or that options do not suit: warnings before anything is computed."""

import math
import warnings

import numpy as np
import torch

from .options import GanrecOptions
from .projector import ParallelBeamProjector
from .solvers.classical import sirt

__all__ = ["warn_of_data"]

SAMPLED = 8  # slices that are looked at, evenly spread over the volume
ON_DISK = 3  # of data that must be read for it
COARSE = 64  # columns to which a slice is averaged for a look at its grey values


def warn_of_data(
    source, theta: np.ndarray, centers: np.ndarray, size: tuple[int, int], options: GanrecOptions, stacklevel: int = 3
) -> bool:
    """Warn once of each thing about the data that will make the reconstruction wrong.

    These are: transmission or counts instead of line integrals, values negative beyond their noise with ``nonnegative=True``, a sample that
    the grid cannot hold, and grey levels that the data cannot have. A few slices of the volume are looked at.

    Parameters
    ----------
    source : Source
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
    count = source.shape[0]
    indices = np.unique(
        np.linspace(0, count - 1, min(count, SAMPLED if source.nbytes_in_memory else ON_DISK)).round().astype(int)
    )
    data = source.read(indices)
    good = np.isfinite(data).all((1, 2))  # what is not finite is refused, by its slice, when its turn comes
    data, indices = data[good].astype(np.float64), indices[good]
    if not len(data):
        return False
    # A power of two takes nothing from the numbers, and their squares and sums stay finite.
    largest = np.abs(data).max()
    unit = 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0
    data /= unit
    center = float(np.median(centers[indices]))
    text = _transmission(data, unit)
    found = [text] if text else [_negative(data, options), _does_not_fit(data, theta, center, size, options)]
    if not text and isinstance(options.levels, tuple):
        found.append(_levels(data[len(data) // 2], unit, theta, center, options))
    for text in found:
        if text:
            warnings.warn(text, UserWarning, stacklevel=stacklevel)
    return any(found)


def _noise(data: np.ndarray) -> float:
    """The standard deviation of white noise, at most: by the second differences along the detector."""
    second = np.diff(data, 2, axis=2)
    return float(np.median(np.abs(second))) / (0.6745 * math.sqrt(6)) if second.size else 0.0


def _transmission(data: np.ndarray, unit: float) -> str | None:
    """For data whose background is the brightest there is: transmission, or counts."""
    found = [pair for pair in map(_bright_air, data) if pair]
    if len(found) < max(1, len(data) / 4):  # the others may be air alone
        return None
    level, low = (float(np.median(values)) * unit for values in zip(*found, strict=True))
    whole = level > 1 and np.array_equal(data * unit, np.rint(data * unit))
    what = "raw counts (whole numbers)" if whole else "transmission"
    correct = "divide by the flat fields (tomopy.normalize), then apply tomopy.minus_log"
    return (
        f"beside the sample the data are {level:.3g}, and fall to {low:.3g} inside: they look like {what}. Line integrals of attenuation are "
        f"expected, 0 beside the sample and rising inside; {correct if whole else 'apply tomopy.minus_log after the flat-field correction'}"
    )


def _bright_air(sinogram: np.ndarray) -> tuple[float, float] | None:
    """What (angles, columns) values are beside the sample, and how low they fall in it; None where they do not behave as transmission.

    Beside the sample line integrals are 0 and transmission is 1: there it is at its largest, the same at all angles, and nothing is below zero.
    """
    angles, columns = sinogram.shape
    edge = max(1, columns // 50)
    profile = sinogram.mean(0)
    air = min(
        sinogram[:, :edge], sinogram[:, -edge:], key=lambda side: float(side.std(0).mean())
    )  # the other one may be in the sample
    level, low, lowest = float(np.median(air)), *np.quantile(sinogram, (0.01, 0.001)).tolist()
    if level <= 0 or level < 0.9 * np.quantile(profile, 0.9) or lowest < -0.05 * level:
        return None
    spread = float(air.std(0).mean())  # the noise in air
    falls = level - float(np.quantile(profile, 0.1)) > max(0.03 * level, 5 * spread / math.sqrt(air.size))
    if not falls and level - low <= max(0.05 * level, 6 * spread):
        return None
    series, each = air.mean(1), 4 if angles >= 16 else 1
    noise = 1.4826 * float(np.median(np.abs(np.diff(series)))) / math.sqrt(2 * each)
    series = series[: angles // each * each].reshape(-1, each).mean(1)
    unrest = 1.4826 * float(np.median(np.abs(series - np.median(series))))
    unrest = (
        math.sqrt(max(unrest**2 - (1.5 * noise) ** 2, 0)) if each > 1 else unrest
    )  # half as much again: few blocks are not sure of it
    # Of the fall, air is at most .08 with 1e3 photons, the inside of a sample .23 at least.
    return (level, lowest) if unrest <= 0.15 * (level - low) else None


def _blocks(data: np.ndarray, size: int = 4) -> np.ndarray:
    """Means over size × size values of each sinogram."""
    a, c = (min(size, n) for n in data.shape[1:])
    rows, cols = data.shape[1] // a, data.shape[2] // c
    return data[:, : rows * a, : cols * c].reshape(len(data), rows, a, cols, c).mean((2, 4))


def _negative(data: np.ndarray, options: GanrecOptions) -> str | None:
    """For a slice whose data are negative beyond their noise while the reconstruction may not be."""
    if not options.nonnegative:
        return None
    blocks, limit = _blocks(data), 5 * _noise(data) / 4
    below = np.where(blocks < -limit, blocks, 0.0)
    norms = np.sqrt(np.square(blocks).sum((1, 2)))
    shares = np.divide(np.sqrt(np.square(below).sum((1, 2))), norms, out=np.zeros_like(norms), where=norms > 0)
    if shares.max() < 0.1:
        return None
    return (
        f"{(below < 0).mean():.0%} of the data lie below zero by more than their noise, and the reconstruction may not (nonnegative=True). For phase "
        "tomograms give nonnegative=False; where attenuation is meant, look at the sign of the logarithm (line integrals are −log of the "
        "transmission) and at the flat fields"
    )


def _does_not_fit(
    data: np.ndarray, theta: np.ndarray, center: float, size: tuple[int, int], options: GanrecOptions
) -> str | None:
    """For a sample that reaches beyond the detector, or beyond the grid, with a grid that does not hold it."""
    rows, cols = size
    columns = data.shape[2]
    top = float(np.quantile(_blocks(data, 2), 0.995))
    noise = _noise(data)
    if top <= 6 * noise or top <= 0:
        return None
    edge = 2 if columns >= 16 else 1
    wide = [side.mean((0, 2)) > max(0.25 * top, 3 * noise) for side in (data[..., :edge], data[..., -edge:])]
    if (
        np.ptp(theta) > 1.6 * math.pi
    ):  # what is cut off on the side nearer to the axis is seen by the opposite projections
        wide = [wide[0] if center >= columns - center else wide[1]]
    cut = max(float(side.mean()) for side in wide) >= 0.1
    reach = max(center, columns - center)
    if cut:
        need = 2 * max(columns, math.ceil(reach))
        if min(rows, cols) >= 1.4 * 2 * reach and not options.mask:
            return None
        return (
            f"the projections do not fall to zero at the detector's edge: the sample is wider than the detector of {columns} columns, and a grid of "
            f"{rows}×{cols}{' with mask=True' if options.mask else ''} cannot hold it. Give num_gridx={need}, num_gridy={need}, mask=False"
        )
    # The shadow of the grid at each angle, against where the projections are above zero.
    half = (cols * np.abs(np.cos(theta)) + rows * np.abs(np.sin(theta))) / 2
    t = np.arange(columns) + 0.5 - center
    outside = np.abs(t) > half[:, None] + 1.5
    if not outside.any():
        return None
    signal = np.abs(data.mean(0)) * outside
    strong = signal > max(0.15 * top, 4 * noise)
    if strong.sum() < 0.02 * outside.sum() or strong.any(1).mean() < 0.05:
        return None
    need = 2 * math.ceil(float(np.abs(t)[strong.any(0)].max()) + 1)
    return (
        f"the sample reaches beyond the grid of {rows}×{cols}: with the rotation axis at column {center:.6g} of {columns} it needs num_gridx={need}, "
        f"num_gridy={need}{', mask=False' if need > 2 * reach else ''}, if that axis is right"
    )


def _levels(sinogram: np.ndarray, unit: float, theta: np.ndarray, center: float, options: GanrecOptions) -> str | None:
    """For given grey levels that are far from what a slice has, as a few iterations on a coarse grid show."""
    angles, columns = sinogram.shape
    each = max(1, -(-columns // COARSE))
    step = max(1, angles // 90)
    coarse = sinogram[::step, : columns // each * each].reshape(len(sinogram[::step]), -1, each).mean(2)
    model = ParallelBeamProjector(coarse.shape[1], theta[::step], coarse.shape[1], center / each, backend="matrix")
    with torch.no_grad():
        image = sirt(model, torch.from_numpy(coarse[None].astype(np.float32)), 20, options.nonnegative) / each
    top = float(np.quantile(np.abs(image.numpy()), 0.995)) * unit
    largest = max(map(abs, options.levels))
    if top == 0 or 0.2 * top <= largest <= 4 * top:
        return None
    return (
        f"levels={options.levels} are far from the attenuation that the data have: at most some {top:.2g} per pixel. Levels are attenuation per "
        "detector column; leave levels out, or give levels='auto' to find them"
    )
