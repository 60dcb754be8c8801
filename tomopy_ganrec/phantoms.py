"""Test objects, the same from the same seed on every machine and at every size."""

import numbers
from statistics import NormalDist

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

__all__ = ["shale", "shepp_logan"]

_REFERENCE = 256  # random fields are drawn on a grid of this many pixels across, whatever the size asked for


def _whole(**counts) -> list[int]:
    for name, value in counts.items():
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return [int(value) for value in counts.values()]


def _area_mean(fine: np.ndarray, oversample: int) -> np.ndarray:
    n = fine.shape[0] // oversample
    return fine.reshape(n, oversample, n, oversample).mean((1, 3))


class _Field:
    """A smooth random field, normal with variance 1, that continues through a stack of slices.

    `scale` is the standard deviation of the smoothing in reference pixels. Each plane of noise has a seed of its own, so that a slice does
    not depend on how many others are asked for.
    """

    def __init__(self, seed: int, tag: int, scale: float, depth: float):
        reach = int(np.ceil(3 * scale))
        planes = range(-reach, int(np.ceil(depth)) + reach + 2)
        noise = np.stack([np.random.default_rng((seed, tag, plane + 1000)).standard_normal((_REFERENCE, _REFERENCE), np.float32) for plane in planes])
        smooth = gaussian_filter(noise, scale, mode=("constant", "wrap", "wrap"), truncate=3.0)
        self._planes, self._first = smooth * (2 * np.sqrt(np.pi) * scale) ** 1.5, reach

    def slice(self, z: float, coordinates: np.ndarray) -> np.ndarray:
        """The field at depth `z` and at (rows, cols) `coordinates`, all in reference pixels."""
        k = int(np.floor(z))
        below, above = self._planes[self._first + k], self._planes[self._first + k + 1]
        plane = below + np.float32(z - k) * (above - below)
        return map_coordinates(plane, coordinates, order=3, mode="grid-wrap")


def shale(size=256, slices=1, seed=0, oversample=1) -> np.ndarray:
    """A procedural shale rock like the one of the GANrec paper: a chipped round core of winding grains and few bright inclusions.

    Four levels 0 (air), 1/3, 2/3 and 1 in about 33, 35, 31 and 1.2 % of the area. Neighbouring slices, one pixel apart, continue each
    other. The object is a function of the seed alone: another size samples the same rock.

    Parameters
    ----------
    size : int
        Rows and columns of a slice.
    slices : int
        Slices of the stack.
    seed : int
        Chooses the rock.
    oversample : int
        Each pixel is the mean of `oversample`² points of the object, so that grain boundaries take values between the levels.

    Returns
    -------
    (slices, size, size) float32 array
        Attenuation per pixel, 0 to 1.
    """
    size, slices, oversample = _whole(size=size, slices=slices, oversample=oversample)
    fine, step = size * oversample, _REFERENCE / size
    axis = (np.arange(fine) + 0.5) / fine * _REFERENCE - 0.5
    coordinates = np.stack(np.meshgrid(axis, axis, indexing="ij"))
    y, x = (coordinates + 0.5) / _REFERENCE * 2 - 1
    radius, turn = np.hypot(y, x), np.arctan2(y, x)
    depth = (slices - 1) * step
    grains, fabric, inclusions, chips = (_Field(seed, tag, scale, depth) for tag, scale in enumerate(_SCALES))
    rim = 128 + 110 * np.stack([np.sin(turn), np.cos(turn)])  # the chips' depth depends on the direction only
    stack = np.empty((slices, size, size), np.float32)
    for k in range(slices):
        z = k * step
        texture = _FINE * grains.slice(z, coordinates) + np.sqrt(1 - _FINE**2) * fabric.slice(z, coordinates)
        rock = np.where(texture > NormalDist().inv_cdf(0.53), 2 / 3, 1 / 3)
        rock[inclusions.slice(z, coordinates) > NormalDist().inv_cdf(1 - 0.018)] = 1.0
        edge = 0.93 - 0.035 * np.maximum(chips.slice(z, rim) - 0.2, 0)
        rock[radius > edge] = 0.0
        stack[k] = _area_mean(rock, oversample)
    return stack


_SCALES, _FINE = (3.6, 7.0, 3.5, 10.0), 0.75


def shepp_logan(size=256, oversample=1) -> np.ndarray:
    """The modified Shepp–Logan head phantom (P. Toft, PhD thesis, 1996): (1, size, size) float32, 0 to 1."""
    size, oversample = _whole(size=size, oversample=oversample)
    axis = (np.arange(size * oversample) + 0.5) / (size * oversample) * 2 - 1
    y, x = np.meshgrid(-axis, axis, indexing="ij")
    image = np.zeros_like(x)
    for value, a, b, x0, y0, phi in (
        (1.0, 0.69, 0.92, 0, 0, 0), (-0.8, 0.6624, 0.874, 0, -0.0184, 0), (-0.2, 0.11, 0.31, 0.22, 0, -18), (-0.2, 0.16, 0.41, -0.22, 0, 18),
        (0.1, 0.21, 0.25, 0, 0.35, 0), (0.1, 0.046, 0.046, 0, 0.1, 0), (0.1, 0.046, 0.046, 0, -0.1, 0), (0.1, 0.046, 0.023, -0.08, -0.605, 0),
        (0.1, 0.023, 0.023, 0, -0.606, 0), (0.1, 0.023, 0.046, 0.06, -0.605, 0),
    ):  # fmt: skip
        c, s = np.cos(np.deg2rad(phi)), np.sin(np.deg2rad(phi))
        u, v = (x - x0) * c + (y - y0) * s, -(x - x0) * s + (y - y0) * c
        image[(u / a) ** 2 + (v / b) ** 2 <= 1] += value
    return _area_mean(image, oversample).clip(0, 1)[None].astype(np.float32)
