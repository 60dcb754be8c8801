"""Outputs of a reconstruction: an array in memory, an HDF5 file or a folder of TIFFs.

Outputs on disk survive a kill at any moment and are resumed.
"""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .array_lock import ArrayLock
from .atomic_files import is_hdf5
from .hdf5_output import DATASET, Hdf5Output, describe
from .mapped_file import file_behind
from .optional import import_h5py, import_tifffile
from .output_base import Output
from .output_lock import Lock, RangeLock
from .protocols import Indices
from .tiff_output import TiffOutput, tiff_name

__all__ = ["ArrayOutput", "output_of", "write_slices"]


class ArrayOutput(Output):
    """A float32 array: a new one, or a given one that is written in place.

    Not resumed; shared only where the array is mapped from a file.

    Parameters
    ----------
    shape : (int, int, int)
        Slices, rows, columns.
    first : int
        Number of the first slice.
    array : (slices, rows, columns) float32 array, optional
    """

    def __init__(self, shape: Sequence[int], first: int = 0, array: np.ndarray | None = None):
        super().__init__(shape, first)
        self._given = array is not None
        if array is None:
            try:
                array = np.empty(self.shape, np.float32)
            except MemoryError as error:
                size = 4 * np.prod(self.shape, dtype=float) / 2**30
                raise MemoryError(
                    f"the reconstruction of {self.shape[0]} slices of {self.shape[1]}×{self.shape[2]} needs "
                    f"{size:.1f} GiB, more than there is; write it to disk: give a file ending in .h5, or a folder "
                    "for TIFFs"
                ) from error
        if array.shape != self.shape or array.dtype != np.float32 or not array.flags.writeable:
            state = "" if array.flags.writeable else ", read-only"
            raise ValueError(
                f"the array for the result is {array.shape} {array.dtype}{state}; give {self.shape} float32 that can "
                "be written to"
            )
        self._array: np.ndarray | None = array
        self._mapped = file_behind(array)

    @property
    def shared(self) -> bool:
        """Whether a pickled copy writes to the same file."""
        return self._mapped is not None

    def __getstate__(self) -> dict[str, Any]:
        if not self.shared:
            raise pickle.PicklingError(
                "an array in memory cannot be written to by another process; write from this one, or to a file"
            )
        return dict(super().__getstate__(), _array=None)

    def _new_locks(self) -> list[Lock]:
        if self._mapped is not None:
            return [RangeLock(self._mapped)]
        return [ArrayLock(self.result())] if self._given else []

    def _begin(self, identity: dict[str, Any], resume: bool) -> None:
        self._forget()

    def write(self, indices: Indices, images: np.ndarray) -> None:
        """Copy slices into the array. See `Output.write`."""
        indices, images = self._checked(indices, images)
        self.result()[indices] = images

    def read(self, index: int) -> np.ndarray:
        """A copy of one slice, (rows, columns) float32."""
        return np.array(self.result()[index])

    def result(self) -> np.ndarray:
        """The array, (slices, rows, columns) float32."""
        if self._array is None:
            assert self._mapped is not None  # only a mapped array is pickled without its values
            self._array = self._mapped.open("r+")
        return self._array


def output_of(out: Any, shape: Sequence[int], first: int = 0) -> Output:
    """The output that the argument `out` of a reconstruction stands for.

    Parameters
    ----------
    out : None, str, Path or (slices, rows, columns) float32 array
        None: a new array in memory. A path ending in ``.h5`` or ``.hdf5``: one file with the dataset
        ``exchange/data``; any other path, except with the suffix of another kind of file, such as ``.nxs``: a folder
        of 32-bit TIFFs ``recon_00000.tiff`` …. An array, memory-mapped or not, is written in place.
    shape : (int, int, int)
        Slices, rows, columns.
    first : int
        Number of the first slice.

    Returns
    -------
    Output

    Raises
    ------
    ValueError
        For an array of another shape or type, or a read-only one, and for the name of a file of another format.
    TypeError
        For anything else.
    """
    if out is None or isinstance(out, np.ndarray):
        return ArrayOutput(shape, first, out)
    if not isinstance(out, str | os.PathLike) or not os.fspath(out) or not isinstance(os.fspath(out), str):
        raise TypeError(
            f"out={out!r}: give None for an array, a file ending in .h5, a folder for TIFFs, or a float32 array to "
            "write into"
        )
    if "\0" in os.fspath(out):
        raise ValueError(f"out={os.fspath(out)!r}: the name of a file holds no zero byte")
    return Hdf5Output(out, shape, first) if is_hdf5(out) else TiffOutput(out, shape, first)


def write_slices(volume: ArrayLike, path: str | os.PathLike[str], first: int = 0) -> list[Path]:
    """Write a reconstruction.

    Parameters
    ----------
    volume : (slices, rows, columns) array_like
        Converted to float32.
    path : str or Path
        ``….h5`` or ``….hdf5``: one file with the dataset ``exchange/data``; anything else, except with the suffix of
        another kind of file: a folder of 32-bit TIFFs ``recon_00000.tiff`` ….
    first : int
        Number of the first slice.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ValueError
        For an array that is not three-dimensional, or the suffix of a file of another format.
    ImportError
        Where h5py or tifffile is not installed.
    """
    volume, path = np.asarray(volume, np.float32), Path(path)
    if volume.ndim != 3:
        raise ValueError(f"the volume has shape {volume.shape}; give (slices, rows, columns)")
    if is_hdf5(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with import_h5py().File(path, "w") as file:
            describe(file.create_dataset(DATASET, data=volume), first)
        return [path]
    tifffile = import_tifffile()
    path.mkdir(parents=True, exist_ok=True)
    files = [path / tiff_name(first + k) for k in range(len(volume))]
    for file, image in zip(files, volume, strict=True):
        tifffile.imwrite(file, image)
    return files
