"""The head phantom of Shepp and Logan."""

import numpy as np

from ._grid import area_mean, whole

__all__ = ["shepp_logan"]


# Value, half axes along x and y, centre (x, y) and rotation in degrees of each ellipse, in the square −1 to 1.
_ELLIPSES = (
    (1.0, 0.69, 0.92, 0, 0, 0),
    (-0.8, 0.6624, 0.874, 0, -0.0184, 0),
    (-0.2, 0.11, 0.31, 0.22, 0, -18),
    (-0.2, 0.16, 0.41, -0.22, 0, 18),
    (0.1, 0.21, 0.25, 0, 0.35, 0),
    (0.1, 0.046, 0.046, 0, 0.1, 0),
    (0.1, 0.046, 0.046, 0, -0.1, 0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0),
    (0.1, 0.023, 0.023, 0, -0.606, 0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0),
)


def shepp_logan(size: int = 256, oversample: int = 1) -> np.ndarray:
    """The modified Shepp–Logan head phantom (P. Toft, PhD thesis, 1996).

    Parameters
    ----------
    size : int
        Rows and columns of the slice.
    oversample : int
        Each pixel is the mean of `oversample`² points of the object.

    Returns
    -------
    (1, size, size) float32 array
        Attenuation per pixel, 0 to 1.

    Raises
    ------
    ValueError
        For arguments that are no whole numbers of at least 1.
    """
    size, oversample = whole(size=size, oversample=oversample)
    axis = (np.arange(size * oversample) + 0.5) / (size * oversample) * 2 - 1
    y, x = np.meshgrid(-axis, axis, indexing="ij")
    image = np.zeros_like(x)
    for value, a, b, x0, y0, phi in _ELLIPSES:
        c, s = np.cos(np.deg2rad(phi)), np.sin(np.deg2rad(phi))
        u, v = (x - x0) * c + (y - y0) * s, -(x - x0) * s + (y - y0) * c
        image[(u / a) ** 2 + (v / b) ** 2 <= 1] += value
    return area_mean(image, oversample).clip(0, 1)[None].astype(np.float32)
