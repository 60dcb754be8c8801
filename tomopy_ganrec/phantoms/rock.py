"""Rock phantoms: winding grains of few grey levels, and the same grains with grey levels that vary."""

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from ._grid import REFERENCE, area_mean, points, positive, whole

__all__ = ["shale", "textured"]


class _Field:
    """A smooth random field, normal with variance 1, that continues through a stack of slices.

    `scale` is the standard deviation of the smoothing in reference pixels. Each plane of noise has a seed of its own,
    so that a slice does not depend on which others are asked for; only planes near one of the `depths` are drawn.
    """

    def __init__(self, seed: int, tag: int, scale: float, depths: np.ndarray):
        reach = int(np.ceil(3 * scale))
        below = np.floor(depths).astype(int)
        wanted = np.unique([below, below + 1])
        self._planes: dict[int, np.ndarray] = {}
        for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > 2 * reach) + 1):
            planes = range(run[0] - reach, run[-1] + reach + 1)
            rngs = (np.random.default_rng((seed, tag, plane + 1000)) for plane in planes)
            noise = np.stack([rng.standard_normal((REFERENCE, REFERENCE), np.float32) for rng in rngs])
            through = gaussian_filter1d(noise, scale, axis=0, truncate=3.0)[reach : len(planes) - reach]
            smooth = gaussian_filter(through, (0, scale, scale), mode="wrap", truncate=3.0)
            smooth *= (2 * np.sqrt(np.pi) * scale) ** 1.5
            self._planes.update((plane, smooth[plane - run[0]]) for plane in run)

    def slice(self, z: float, coordinates: np.ndarray) -> np.ndarray:
        """The field at depth `z` and at `coordinates`, (2, rows, cols): rows and columns, all in reference pixels."""
        k = int(np.floor(z))
        below, above = self._planes[k], self._planes[k + 1]
        plane = below + np.float32(z - k) * (above - below)
        return map_coordinates(plane, coordinates, order=3, mode="grid-wrap")


_SCALES = (3.6, 7.0, 3.5, 10.0)  # of the fields of grains, fabric, inclusions and chips, in reference pixels
_GRAIN_SHARE = 0.75  # amplitude of the grains in the texture; the fabric's makes the variance 1


def _depths(size: int, slices: int, spacing: float) -> np.ndarray:
    """The depths of a stack's slices in reference pixels: (slices,) float64."""
    return np.arange(slices) * spacing * (REFERENCE / size)


def _grains(
    size: int, slices: int, seed: int, oversample: int, spacing: float
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Slice by slice its depth, the (2, rows, cols) coordinates of its points and the shale's grey levels there.

    Depths and coordinates are in reference pixels.
    """
    depths, axis = _depths(size, slices, spacing), points(size * oversample)
    coordinates = np.stack(np.meshgrid(axis, axis, indexing="ij"))
    y, x = (coordinates + 0.5) / REFERENCE * 2 - 1
    radius, turn = np.hypot(y, x), np.arctan2(y, x)
    grains, fabric, inclusions, chips = (_Field(seed, tag, scale, depths) for tag, scale in enumerate(_SCALES))
    rim = 128 + 110 * np.stack([np.sin(turn), np.cos(turn)])  # the chips' depth depends on the direction only
    for z in depths:
        texture = _GRAIN_SHARE * grains.slice(z, coordinates)
        texture = texture + np.sqrt(1 - _GRAIN_SHARE**2) * fabric.slice(z, coordinates)
        rock = np.where(texture > NormalDist().inv_cdf(0.53), 2 / 3, 1 / 3)
        rock[inclusions.slice(z, coordinates) > NormalDist().inv_cdf(1 - 0.018)] = 1.0
        edge = 0.93 - 0.035 * np.maximum(chips.slice(z, rim) - 0.2, 0)
        rock[radius > edge] = 0.0
        yield z, coordinates, rock


def shale(size: int = 256, slices: int = 1, seed: int = 0, oversample: int = 1, spacing: float = 1.0) -> np.ndarray:
    """A procedural shale rock like the one of the GANrec paper.

    A chipped round core of winding grains and few bright inclusions. Four levels 0 (air), 1/3, 2/3 and 1 in about 33,
    35, 31 and 1.2 % of the area. Neighbouring slices, one pixel apart, continue each other. The object is a function of
    the seed alone: another size samples the same rock.

    Parameters
    ----------
    size : int
        Rows and columns of a slice.
    slices : int
        Slices of the stack.
    seed : int
        Chooses the rock.
    oversample : int
        Each pixel is the mean of `oversample`² points of the object, so that grain boundaries take values between the
        levels.
    spacing : float
        Distance between neighbouring slices in pixels; the rock between them is not computed.

    Returns
    -------
    (slices, size, size) float32 array
        Attenuation per pixel, 0 to 1.

    Raises
    ------
    ValueError
        For counts that are no whole numbers of at least 1, or a spacing that is no finite number above 0.
    """
    size, slices, oversample = whole(size=size, slices=slices, oversample=oversample)
    (spacing,) = positive(spacing=spacing)
    stack = np.empty((slices, size, size), np.float32)
    for k, (_, _, rock) in enumerate(_grains(size, slices, seed, oversample, spacing)):
        stack[k] = area_mean(rock, oversample)
    return stack


# Tag, scale in reference pixels and amplitude (standard deviation) of each field that varies the grey levels.
_VARIATION = ((4, 10.0, 0.05), (5, 1.5, 0.03))


def textured(size: int = 256, slices: int = 1, seed: int = 0, oversample: int = 1, spacing: float = 1.0) -> np.ndarray:
    """The shale of the same seed with grey levels that vary within its grains: no discrete levels are left but air, 0.

    A smooth variation (standard deviation 0.05, over some 10 of 256 pixels) and a fine one (0.03, over 1.5) are added
    to the levels. Where an inclusion would exceed 1, the excess is taken off instead.

    Parameters
    ----------
    size, slices, seed, oversample, spacing
        As of `shale`.

    Returns
    -------
    (slices, size, size) float32 array
        Attenuation per pixel, 0 to 1.

    Raises
    ------
    ValueError
        For counts that are no whole numbers of at least 1, or a spacing that is no finite number above 0.
    """
    size, slices, oversample = whole(size=size, slices=slices, oversample=oversample)
    (spacing,) = positive(spacing=spacing)
    fields = [
        (_Field(seed, tag, scale, _depths(size, slices, spacing)), amplitude) for tag, scale, amplitude in _VARIATION
    ]
    stack = np.empty((slices, size, size), np.float32)
    for k, (z, coordinates, rock) in enumerate(_grains(size, slices, seed, oversample, spacing)):
        grey = rock + sum(amplitude * field.slice(z, coordinates) for field, amplitude in fields)
        # Reflected at 1: cut there, half of each inclusion would be one level.
        grey = np.clip(1 - np.abs(1 - grey), 0, 1)
        stack[k] = area_mean(np.where(rock > 0, grey, 0), oversample)
    return stack
