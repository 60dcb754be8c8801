"""Arrays that are mapped from a file into memory."""

import mmap
import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ["MappedFile", "file_behind", "flush"]


@dataclass(frozen=True)
class MappedFile:
    """The part of a file that a memory-mapped array shows, from which another process maps the same values.

    Attributes
    ----------
    filename : str
    offset, span : int
        First byte of the file that belongs to the array, and the number of bytes from there that hold all of it.
    start : int
        Byte of the array's first element, counted from `offset`.
    dtype : numpy.dtype
    shape, strides : tuple of int
        Strides in bytes, so that views, steps and any order of the axes are the same after reopening.
    writable : bool
        What is written into the array goes to the file.
    """

    filename: str
    offset: int
    span: int
    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    writable: bool

    def open(self, mode: Literal["r", "r+"] = "r") -> np.ndarray:
        """Map it again; `mode` as for numpy.memmap."""
        raw = np.memmap(self.filename, np.uint8, mode, self.offset, (self.span,))
        return np.ndarray(self.shape, self.dtype, raw, self.start, self.strides)


def file_behind(array: np.ndarray) -> MappedFile | None:
    """The file that a numpy.memmap, or a view of one, shows; None for arrays whose values are in memory only.

    A view such as ``mapped[10:20]`` keeps the attribute `offset` of the whole, so the place in the file is computed
    from the addresses.
    """
    owner: Any = array
    while owner is not None and not (isinstance(owner, np.memmap) and _mapping(owner) is not None):
        owner = getattr(owner, "base", None)
    if owner is None or owner.filename is None or not os.path.isfile(owner.filename) or not array.size:
        return None
    if owner.mode == "c":  # changes are kept in memory
        return None
    mapped = np.frombuffer(_mapping(owner), np.uint8)
    ends = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
    start = array.__array_interface__["data"][0] - mapped.__array_interface__["data"][0]
    low = start + sum(end for end in ends if end < 0)
    high = start + sum(end for end in ends if end > 0) + array.itemsize
    if low < 0 or high > mapped.size:
        return None
    return MappedFile(
        filename=os.path.abspath(owner.filename),
        offset=owner.offset - owner.offset % mmap.ALLOCATIONGRANULARITY + low,
        span=high - low,
        start=start - low,
        dtype=array.dtype,
        shape=array.shape,
        strides=array.strides,
        writable=array.flags.writeable,
    )


def _mapping(array: np.memmap) -> Any:
    """The mmap object of a memmap, which NumPy keeps in a private attribute."""
    return getattr(array, "_mmap", None)


def flush(array: Any) -> None:
    """Write what a view of a writable memmap has changed to the file, for readers on other machines."""
    while not isinstance(array, np.memmap):
        array = array.base
    array.flush()
