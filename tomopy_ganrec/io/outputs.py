"""Where the slices go: an array in memory, an HDF5 file or a folder of TIFFs; what is on disk survives a kill at any moment and is taken up again."""

import os
import pickle
from pathlib import Path

import numpy as np

from .atomic_files import is_hdf5
from .disk_outputs import Hdf5Output, TiffOutput
from .mapped_file import file_behind
from .optional import import_h5py, import_tifffile
from .output_base import Output
from .output_lock import ArrayLock, RangeLock

__all__ = ["ArrayOutput", "output_of", "write_slices"]


class ArrayOutput(Output):
    """A float32 array: a new one, or a given one that is written in place. Not resumed; shared only where the array is mapped from a file."""

    def __init__(self, shape, first: int = 0, array: np.ndarray | None = None):
        super().__init__(shape, first)
        given = array is not None
        if not given:
            try:
                array = np.empty(self.shape, np.float32)
            except MemoryError as error:
                size = 4 * np.prod(self.shape, dtype=float) / 2**30
                raise MemoryError(
                    f"the reconstruction of {self.shape[0]} slices of {self.shape[1]}×{self.shape[2]} needs {size:.1f} GiB, more than there is; "
                    "write it to disk: give a file ending in .h5, or a folder for TIFFs"
                ) from error
        if array.shape != self.shape or array.dtype != np.float32 or not array.flags.writeable:
            state = "" if array.flags.writeable else ", read-only"
            raise ValueError(
                f"the array for the result is {array.shape} {array.dtype}{state}; give {self.shape} float32 that can be written to"
            )
        self._array, self._mapped, self._given = array, file_behind(array), given

    @property
    def shared(self) -> bool:
        return self._mapped is not None

    def __getstate__(self):
        if not self.shared:
            raise pickle.PicklingError(
                "an array in memory cannot be written to by another process; write from this one, or to a file"
            )
        return dict(super().__getstate__(), _array=None)

    def _new_locks(self):
        if self._mapped is not None:
            return [RangeLock(self._mapped)]
        return [ArrayLock(self._array)] if self._given else []

    def _begin(self, identity, resume):
        self._forget()

    def write(self, indices, images) -> None:
        indices, images = self._checked(indices, images)
        self.result()[indices] = images

    def read(self, index: int) -> np.ndarray:
        return np.array(self.result()[index])

    def result(self) -> np.ndarray:
        if self._array is None:
            self._array = self._mapped.open("r+")
        return self._array


def output_of(out, shape, first: int = 0) -> Output:
    """The place for a reconstruction.

    Parameters
    ----------
    out : None, str, Path or (slices, rows, cols) float32 array
        None: a new array in memory. A path ending in ``.h5`` or ``.hdf5``: one file with the dataset ``exchange/data``; any other path: a folder of
        32-bit TIFFs ``recon_00000.tiff`` …, but for the suffixes of other files, such as ``.nxs``. An array, memory-mapped or not, is written in
        place.
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
            f"out={out!r}: give None for an array, a file ending in .h5, a folder for TIFFs, or a float32 array to write into"
        )
    if "\0" in os.fspath(out):
        raise ValueError(f"out={os.fspath(out)!r}: the name of a file holds no zero byte")
    return (Hdf5Output if is_hdf5(out) else TiffOutput)(out, shape, first)


def write_slices(volume, path, first=0) -> list[Path]:
    """Write a reconstruction.

    Parameters
    ----------
    volume : (slices, rows, cols) array_like
    path : str or Path
        ``….h5`` or ``….hdf5``: one file with the dataset ``exchange/data``; anything else, but for the suffixes of other files: a folder of 32-bit
        TIFFs ``recon_00000.tiff`` …
    first : int
        Number of the first slice.

    Returns
    -------
    list of Path
        The files written.
    """
    volume, path = np.asarray(volume, np.float32), Path(path)
    if volume.ndim != 3:
        raise ValueError(f"the volume has shape {volume.shape}; give (slices, rows, columns)")
    if is_hdf5(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with import_h5py().File(path, "w") as file:
            data = file.create_dataset("exchange/data", data=volume)
            data.attrs["units"], data.attrs["first_slice"] = "attenuation per pixel", first
        return [path]
    tifffile = import_tifffile()
    path.mkdir(parents=True, exist_ok=True)
    names = [path / f"recon_{first + k:05d}.tiff" for k in range(len(volume))]
    for name, image in zip(names, volume, strict=True):
        tifffile.imwrite(name, image)
    return names
