"""Grey levels of a segmented material, found in the histogram of an image."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import find_peaks

from tomopy_ganrec.solvers.operators import gradient

__all__ = ["attraction_radius", "find_levels", "has_levels", "levels_of"]

BINS, SMOOTHING = 256, 2.0  # of the histogram; the smoothing in bins
FLAT_GRADIENT = 0.02  # of the grey range: gradient below which a pixel lies inside a grain
ATTRACTION = 0.3  # of the smallest spacing of levels: how far one attracts; a partly filled pixel midway stays free


def _levels_in(image: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    low, high = image.min(), np.quantile(image, 0.9995)
    flat = image[magnitude <= FLAT_GRADIENT * (high - low)]
    if high <= low or flat.size < BINS:
        return np.empty(0)
    margin = 0.1 * (high - low)  # so that the first and last level have two flanks
    histogram, edges = np.histogram(flat, BINS, (low - margin, high + margin))
    smooth = gaussian_filter1d(histogram.astype(float), SMOOTHING, mode="constant")
    mass = uniform_filter1d(histogram.astype(float), 17, mode="constant") * 17
    peaks, found = find_peaks(smooth, prominence=0)
    peaks = peaks[(found["prominences"] >= 0.6 * smooth[peaks]) & (mass[peaks] >= 0.003 * flat.size)]
    centers, reach = (edges[peaks] + edges[peaks + 1]) / 2, 8 * (edges[1] - edges[0])
    return np.array([np.median(flat[np.abs(flat - c) <= reach]) for c in centers])


def find_levels(x: torch.Tensor) -> torch.Tensor:
    """Peaks of the histogram over flat pixels (gradient below 2 % of the grey range).

    The histogram of 256 bins is smoothed by 2 bins. A peak is a level where at least 0.3 % of the flat pixels gather
    around it and the valleys that set it apart go down to 40 % of its height; its value is the median of the pixels
    around it.

    Parameters
    ----------
    x : (B, rows, cols) tensor

    Returns
    -------
    (B, L) tensor
        Ascending, padded with NaN to the longest.
    """
    gx, gy = gradient(x)
    images, magnitudes = x.cpu().numpy(), torch.hypot(gx, gy).cpu().numpy()
    found = [_levels_in(image, magnitude) for image, magnitude in zip(images, magnitudes, strict=True)]
    padded = np.full((len(found), max([2, *map(len, found)])), np.nan, np.float32)
    for row, values in zip(padded, found, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(padded).to(x)


def has_levels(x: torch.Tensor, levels: torch.Tensor, share: float = 0.8) -> torch.Tensor:
    """Whether the grey values of images gather at their levels.

    Parameters
    ----------
    x : (B, rows, cols) tensor
    levels : (B, L) tensor
        NaN for none.
    share : float
        Of the pixels, that must be 0.15 of the smallest spacing or less from the nearest level.

    Returns
    -------
    (B,) bool tensor
        False for fewer than two levels.
    """
    distance = (x[:, None] - levels[:, :, None, None]).abs().nan_to_num(torch.inf).amin(1)
    spacing = torch.diff(levels, dim=1).nan_to_num(torch.inf).amin(1)
    near = (distance <= 0.15 * spacing[:, None, None]).flatten(1).to(x.dtype).mean(1)
    return torch.isfinite(spacing) & (near >= share)


def levels_of(
    image: torch.Tensor, wanted: str | Sequence[float], scale: torch.Tensor, warn: bool = True
) -> torch.Tensor:
    """The grey levels of each slice, (B, L) relative to its scale, NaN for none.

    Parameters
    ----------
    image : (B, rows, cols) tensor
        In units of `scale`.
    wanted : 'auto' or tuple of float
        `GanrecOptions.levels`.
    scale : (B, 1, 1) tensor
    warn : bool
        Whether to warn of slices without discrete levels.
    """
    if not isinstance(wanted, str):
        return torch.tensor(wanted).to(image)[None] / scale[:, 0]
    levels = find_levels(image)
    missing = ~has_levels(image, levels)
    if warn and missing.any():
        warnings.warn(
            f"levels='auto': {int(missing.sum())} of {len(missing)} slices show no discrete grey levels; they are "
            "reconstructed without",
            RuntimeWarning,
            stacklevel=2,
        )
    levels[missing] = torch.nan
    return levels


def attraction_radius(levels: torch.Tensor) -> torch.Tensor:
    """How far a level (B, L) attracts, (B, 1, 1): a share of the smallest spacing; 0 for a slice without levels."""
    spacing = torch.diff(levels, dim=1).nan_to_num(torch.inf).amin(1)
    return (ATTRACTION * spacing).nan_to_num(0.0, posinf=0.0)[:, None, None]
