"""Values that users give: their conversion, their range, and how a message shows them."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["LARGEST", "converted", "grid_size", "real_numbers", "shown", "unwrapped"]

LARGEST = {numbers.Integral: 2**31 - 1, numbers.Real: 3e38}  # of a number of something, and of numbers in float32


def shown(value: object) -> str:
    """A value for a message: as Python writes it, but short, and whatever it is."""
    try:
        text = " ".join(repr(value).split())  # of an array: in one line
    except Exception:
        # A whole number of more than 4300 digits is a ValueError, and an unknown object may raise anything.
        return f"<{'a number of very many digits' if isinstance(value, int) else type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def real_numbers(value: Any, dtype: DTypeLike, name: str, wanted: str) -> np.ndarray:
    """`value` as an array of real numbers; what `dtype` cannot hold becomes infinite.

    Raises
    ------
    ValueError
        For what holds no real numbers; the message asks for what is `wanted`.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "cmM":  # complex numbers and times
            with np.errstate(over="ignore"):
                return array.astype(dtype, copy=False)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name}={shown(value)} holds no real numbers; give {wanted}")


def grid_size(columns: int, num_gridx: Any = None, num_gridy: Any = None) -> tuple[int, int]:
    """Rows and columns of a slice: as given, or as many as the detector's `columns`.

    Raises
    ------
    TypeError
        For what is no number.
    ValueError
        For what is no whole number from 1 to 2³¹ − 1.
    """
    return _side("num_gridx", num_gridx, columns), _side("num_gridy", num_gridy, columns)


def _side(name: str, value: Any, default: int) -> int:
    if value is None:
        return int(default)
    message = (
        f"{name}={shown(value)}: a slice needs at least one row and one column; give a whole number, or None for the "
        "detector's columns"
    )
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(message)
    number = converted(value, numbers.Integral if isinstance(value, numbers.Integral) else numbers.Real)
    if not 1 <= number <= LARGEST[numbers.Integral] or number != int(number):  # NaN is in no range
        raise ValueError(message)
    return int(number)


def converted(value: Any, kind: type) -> int | float:
    """A number of NumPy's, or of whatever kind, as Python's; what no float holds becomes infinite."""
    if kind is numbers.Integral:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def unwrapped(value: Any) -> Any:
    """What a zero-dimensional array holds; anything else as it is."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
