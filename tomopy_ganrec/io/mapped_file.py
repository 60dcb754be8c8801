"""Arrays that are a file mapped into memory."""

import mmap
import os
from dataclasses import dataclass

import numpy as np

__all__ = ["MappedFile", "file_behind"]


@dataclass(frozen=True)
class MappedFile:
    """Where the values of a memory-mapped array lie in its file, so that another process maps the same ones.

    Attributes
    ----------
    filename : str
    offset, span : int
        First byte of the file that belongs to the array, and how many from there on hold all of it.
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

    def open(self, mode: str = "r") -> np.ndarray:
        """Map it again; `mode` as for numpy.memmap."""
        raw = np.memmap(self.filename, np.uint8, mode, self.offset, (self.span,))
        return np.ndarray(self.shape, self.dtype, raw, self.start, self.strides)


def file_behind(array: np.ndarray) -> MappedFile | None:
    """The file that a numpy.memmap, or a view of one, shows; None for arrays whose values are in memory only.

    A view such as ``mapped[10:20]`` keeps the attribute `offset` of the whole, so the place is found from the addresses.
    """
    owner = array
    while owner is not None and not (isinstance(owner, np.memmap) and owner._mmap is not None):
        owner = getattr(owner, "base", None)
    if (
        owner is None
        or owner.mode == "c"
        or owner.filename is None
        or not os.path.isfile(owner.filename)
        or not array.size
    ):
        return None  # 'c': changes are kept in memory
    mapped = np.frombuffer(owner._mmap, np.uint8)
    ends = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
    start = array.__array_interface__["data"][0] - mapped.__array_interface__["data"][0]
    low, high = start + sum(e for e in ends if e < 0), start + sum(e for e in ends if e > 0) + array.itemsize
    if low < 0 or high > mapped.size:
        return None
    offset = owner.offset - owner.offset % mmap.ALLOCATIONGRANULARITY + low
    return MappedFile(
        os.path.abspath(owner.filename),
        offset,
        high - low,
        start - low,
        array.dtype,
        array.shape,
        array.strides,
        array.flags.writeable,
    )


def _flush(array) -> None:
    """Write what a view of a writable memmap has changed, for readers on other machines."""
    while not isinstance(array, np.memmap):
        array = array.base
    array.flush()
