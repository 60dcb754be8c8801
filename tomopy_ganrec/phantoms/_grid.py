"""Sampling points and area means of the test objects, and checks of their arguments."""

import math
import numbers

import numpy as np

REFERENCE = 256  # objects are defined on a grid of this many pixels across, whatever the size asked for


def whole(**counts: object) -> list[int]:
    """Named whole numbers of at least 1 as int; a ValueError for anything else."""
    checked = []
    for name, value in counts.items():
        if not isinstance(value, numbers.Integral) or int(value) < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
        checked.append(int(value))
    return checked


def positive(**lengths: object) -> list[float]:
    """Named finite numbers above 0 as float; a ValueError for anything else."""
    checked = []
    for name, value in lengths.items():
        if not isinstance(value, numbers.Real) or not math.isfinite(value) or float(value) <= 0:
            raise ValueError(f"{name} is {value!r}; it must be a finite number above 0")
        checked.append(float(value))
    return checked


def points(fine: int) -> np.ndarray:
    """`fine` sampling points across the field, (fine,) float64, in reference pixels from the first one's centre."""
    return (np.arange(fine) + 0.5) / fine * REFERENCE - 0.5


def area_mean(fine: np.ndarray, oversample: int) -> np.ndarray:
    """Means over squares of `oversample`² points: (n·oversample, n·oversample) to (n, n)."""
    n = fine.shape[0] // oversample
    return fine.reshape(n, oversample, n, oversample).mean((1, 3))
