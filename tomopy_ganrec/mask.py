"""A support that a user gives: where the object may be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .option_values import shown

__all__ = ["Mask"]


class Mask:
    """Pixels where the object may be, of all slices or of each; it cannot be changed, and equal ones compare equal.

    Parameters
    ----------
    values : (rows, cols) or (slices, rows, cols) array_like
        1 or True where the object may be, 0 or False where there is nothing. Copied.

    Attributes
    ----------
    shape : tuple of int

    Raises
    ------
    TypeError
        For what holds no real numbers.
    ValueError
        For another number of dimensions, values other than 0 and 1 (NaN among them), and a slice without a pixel.
    """

    __slots__ = ("_digest", "_packed", "_shape")

    def __init__(self, values: Any):
        array = _array(values)
        wanted = "give 0 and 1 (or False and True) as (rows, columns), or as (slices, rows, columns) for one a slice"
        what = f"option mask: an array of shape {array.shape}"
        if array.ndim not in (2, 3) or array.size == 0:
            raise ValueError(f"{what} is no support; {wanted}")
        if array.dtype.kind != "b":
            wrong = ~((array == 0) | (array == 1))  # NaN is neither
            if wrong.any():
                value, place = array[wrong][0], tuple(int(k) for k in np.argwhere(wrong)[0])
                raise ValueError(
                    f"{what} holds {int(wrong.sum())} values other than 0 and 1, the first is {value} at {place}; "
                    f"{wanted}, such as array > 0.5"
                )
        empty = np.flatnonzero(~array.reshape(-1, array.shape[-2] * array.shape[-1]).any(1))
        if empty.size:
            where = f", slice {empty[0]}," if array.ndim == 3 else ""
            raise ValueError(f"{what}{where} is 0 everywhere: no pixel is left for the object; {wanted}")
        self._set(np.packbits(array.reshape(-1, array.shape[-2] * array.shape[-1]) != 0, axis=1), array.shape)

    def _set(self, packed: np.ndarray, shape: tuple[int, ...]) -> Mask:
        self._packed, self._shape = packed, shape
        self._digest = hashlib.sha256(str(shape).encode() + packed.tobytes()).hexdigest()
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, cols) or (slices, rows, cols)."""
        return self._shape

    @property
    def per_slice(self) -> bool:
        """Whether each slice has its own."""
        return len(self._shape) == 3

    def identity(self) -> str:
        """Its shape and the SHA-256 of its values, for the record of what was reconstructed."""
        return f"{'x'.join(map(str, self._shape))} sha256:{self._digest}"

    def take(self, slices: Sequence[int] | np.ndarray) -> Mask:
        """That of some slices, by number; one that holds for all slices stays as it is."""
        if not self.per_slice:
            return self
        packed = self._packed[np.asarray(slices)]
        return Mask.__new__(Mask)._set(packed, (len(packed), *self._shape[1:]))

    def check(self, slices: int, size: Sequence[int]) -> None:
        """Refuse another shape than that of the slices.

        Parameters
        ----------
        slices : int
        size : (int, int)
            Rows and columns of a slice.

        Raises
        ------
        ValueError
        """
        wanted = tuple(size), (slices, *size)
        if self.shape not in wanted:
            raise ValueError(
                f"option mask has shape {self.shape}, and {slices} slices of {size[0]} rows and {size[1]} columns are "
                f"reconstructed; give {wanted[0]} for all of them or {wanted[1]} for each (num_gridx and num_gridy are "
                "the rows and columns of a slice)"
            )

    def __len__(self) -> int:
        return self._shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = np.unpackbits(self._packed, axis=1, count=self._shape[-2] * self._shape[-1])
        return values.reshape(self._shape).astype(bool if dtype is None else dtype)

    def __eq__(self, other: object) -> bool:
        return self._digest == other._digest if isinstance(other, Mask) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"<mask {'×'.join(map(str, self.shape))}, {np.asarray(self).mean():.0%} inside>"


def _array(values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except Exception:  # lists of unequal lengths, and objects that raise anything
        array = np.asarray(None)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise TypeError(
            f"option mask={shown(values)} must be 'auto', True, False, 'outline' or an array of 0 and 1, (rows, "
            "columns) or (slices, rows, columns)"
        )
    return array
