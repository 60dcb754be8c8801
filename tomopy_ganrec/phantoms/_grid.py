"""What all test objects share: the points they are sampled at, and the arguments that are refused."""

import math
import numbers

import numpy as np

REFERENCE = 256  # objects are defined on a grid of this many pixels across, whatever the size asked for


def whole(**counts) -> list[int]:
    for name, value in counts.items():
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return [int(value) for value in counts.values()]


def positive(**lengths) -> list[float]:
    for name, value in lengths.items():
        if not isinstance(value, numbers.Real) or not math.isfinite(value) or value <= 0:
            raise ValueError(f"{name} is {value!r}; it must be a finite number above 0")
    return [float(value) for value in lengths.values()]


def points(fine: int) -> np.ndarray:
    """`fine` places across, (fine,) float64 in reference pixels; the middle of the first reference pixel is at 0."""
    return (np.arange(fine) + 0.5) / fine * REFERENCE - 0.5


def area_mean(fine: np.ndarray, oversample: int) -> np.ndarray:
    n = fine.shape[0] // oversample
    return fine.reshape(n, oversample, n, oversample).mean((1, 3))
