"""Sources of sinograms: arrays in memory, and files too large for it, read a few slices at a time."""

import os
import pickle
from typing import Any

import numpy as np

from .mapped_file import file_behind, flush
from .source_base import Source

__all__ = ["source_of"]


class ArraySource(Source):
    """A NumPy array: in memory, or memory-mapped, and then reopened from its file in another process."""

    def __init__(self, array: np.ndarray, sinogram_order: bool):
        self._mapped = file_behind(array)
        if self._mapped is None:
            super().__init__(array, sinogram_order, "array", "the array")
        else:
            super().__init__(array, sinogram_order, "memmap", f"the memory-mapped file {self._mapped.filename}")

    @property
    def nbytes_in_memory(self) -> int:
        """Bytes of an array in memory; 0 for a memory-mapped one."""
        return 0 if self._mapped else int(self._array.nbytes)

    def _take(self, key: tuple[slice, ...]) -> np.ndarray:
        if self._array is None:
            assert self._mapped is not None  # only a mapped array is pickled without its values
            self._array = self._mapped.open()
        return np.asarray(self._array[key])

    def __getstate__(self) -> dict[str, Any]:
        if self._mapped is None:
            return self.__dict__
        if self._mapped.writable and self._array is not None:
            flush(self._array)
        return dict(self.__dict__, _array=None)


class Hdf5Source(Source):
    """An h5py.Dataset: read through its open file, in another process through a file opened at the first reading."""

    def __init__(self, dataset: Any, sinogram_order: bool):
        if not dataset:
            raise ValueError(
                "the HDF5 dataset belongs to a file that has been closed; call from within the `with h5py.File(…)` "
                "block"
            )
        self._filename, self._name = dataset.file.filename, dataset.name
        self._process = os.getpid()
        if os.path.isfile(self._filename):
            self._filename = os.path.abspath(self._filename)
        super().__init__(dataset, sinogram_order, "hdf5", f"the HDF5 dataset {self._name} of {self._filename}")

    def _take(self, key: tuple[slice, ...]) -> np.ndarray:
        if self._array is None or self._process != os.getpid():  # HDF5 files must not be shared over a fork
            import h5py

            self._array, self._process = h5py.File(self._filename, "r")[self._name], os.getpid()
        if not self._array:
            raise OSError(
                "the file has been closed; keep it open until the reconstruction is done: call from within the `with "
                "h5py.File(…)` block"
            )
        return np.asarray(self._array[key])

    def __getstate__(self) -> dict[str, Any]:
        if self._name is None or not os.path.isfile(self._filename):
            raise pickle.PicklingError(
                f"{self.what} cannot be opened by another process, as it has no name or no file on disk; give a "
                "dataset of a file, or an array"
            )
        return dict(self.__dict__, _array=None)


class DaskSource(Source):
    """A dask array: computes the slices asked for in this process, whatever scheduler or cluster is active."""

    def _take(self, key: tuple[slice, ...]) -> np.ndarray:
        return np.asarray(self._array[key].compute(scheduler="threads"))


def _library(array: Any) -> str:
    """The package that defines an array's class, without importing it: ``'h5py'``, ``'zarr'``, ``'dask'`` or ``''``."""
    packages = {"Dataset": ("h5py",), "Array": ("zarr", "dask")}
    for cls in type(array).__mro__:
        package = cls.__module__.partition(".")[0]
        if package in packages.get(cls.__name__, ()):
            return package
    return ""


def _sliceable(tomo: Any) -> bool:
    """Whether it is an array in NumPy's terms; lists are not, nor are tensors, whose types NumPy does not know."""
    try:
        np.dtype(tomo.dtype)
    except (AttributeError, TypeError):
        return False
    return hasattr(tomo, "shape") and hasattr(tomo, "__getitem__")


def _zarr_location(array: Any) -> str:
    """The store and path of a zarr array: one attribute in zarr 3, two in zarr 2."""
    location = getattr(array, "store_path", None)
    if location is None:
        store = getattr(array.store, "path", None) or type(array.store).__name__
        location = "/".join(part for part in (store, array.path) if part)
    return str(location)


def source_of(tomo: Any, sinogram_order: bool = False) -> Source:
    """A uniform way to read sinograms from arrays and files of any kind.

    Parameters
    ----------
    tomo : (angles, slices, columns) array or array_like
        numpy.ndarray, numpy.memmap, h5py.Dataset, zarr.Array, dask.array.Array, what
        `tomopy_ganrec.io.open_projections` gives, nested lists, or anything with `shape`, `dtype` and slicing. With
        ``sinogram_order=True`` (slices, angles, columns). Nothing is read here but lists.
    sinogram_order : bool

    Returns
    -------
    Source

    Raises
    ------
    ValueError
        For a shape that no projections have.
    TypeError
        For complex numbers, and values that are no numbers.
    """
    if isinstance(tomo, Source):
        return tomo
    library = _library(tomo)
    if library == "h5py":
        return Hdf5Source(tomo, sinogram_order)
    if not _sliceable(tomo):
        tomo = np.asarray(tomo)
    if isinstance(tomo, np.ndarray):
        return ArraySource(tomo, sinogram_order)
    if library == "dask":
        return DaskSource(tomo, sinogram_order, "dask", "the dask array")
    if library == "zarr":
        return Source(tomo, sinogram_order, "zarr", f"the zarr array {_zarr_location(tomo)}")
    kind, name = type(tomo).__name__, getattr(tomo, "filename", None)
    return Source(tomo, sinogram_order, kind, f"the {kind}" + (f" of {name}" if name else ""))
