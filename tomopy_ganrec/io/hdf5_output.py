"""Slices in one HDF5 file."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .atomic_files import put_in_place, remove_leftovers, temporary_name
from .disk_outputs import DiskOutput, explaining_os_errors
from .optional import import_h5py

__all__ = ["DATASET", "Hdf5Output", "describe"]

logger = logging.getLogger(__name__)

DATASET = "exchange/data"


def describe(dataset: Any, first: int) -> None:
    """Write the unit and the number of the first slice into the attributes of an h5py.Dataset of slices."""
    dataset.attrs["units"] = "attenuation per pixel"
    dataset.attrs["first_slice"] = first


class Hdf5Output(DiskOutput):
    """An HDF5 file with ``exchange/data``, as `tomopy_ganrec.io.write_slices` makes it.

    The HDF5 library makes the file once, in full length, and closes it; slices are then written at their offsets by
    plain writes, so that the file is a complete HDF5 file at any moment. Slices not written yet are zero. The space is
    taken as slices are written.
    """

    def __init__(self, path: str | os.PathLike[str], shape: Sequence[int], first: int = 0):
        path = Path(os.path.abspath(path))
        journal, lock = path.with_name(path.name + ".progress.jsonl"), path.with_name(f".{path.name}.lock")
        super().__init__(path, shape, first, journal, lock)
        self._offset: int | None = None

    def _existing(self, shape: Sequence[int], first: int) -> Path | None:
        return self.path if os.path.lexists(self.path) else None

    def _prepare(self) -> None:
        import_h5py()

    def _tidy(self) -> None:
        super()._tidy()
        remove_leftovers(self.path.parent, [self.path.name])

    def _create(self) -> None:
        h5py = import_h5py()
        allocation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        allocation.set_layout(h5py.h5d.CONTIGUOUS)
        allocation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        allocation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        temporary = temporary_name(self.path)
        with h5py.File(temporary, "x") as file:
            data = file.create_dataset(DATASET, self.shape, "<f4", dcpl=allocation)
            describe(data, self.first)
            self._offset = data.id.get_offset()
        put_in_place(temporary, self.path)

    def _intact(self) -> np.ndarray:
        needed = 4 * int(np.prod(self.shape, dtype=np.int64))
        size = self.path.stat().st_size
        usable, reason, self._offset = False, "", None
        if size >= needed:
            try:
                with import_h5py().File(self.path, "r") as file:
                    data = file[DATASET]
                    self._offset = data.id.get_offset()
                    usable = data.shape == self.shape and data.dtype == np.dtype("<f4")
            except (OSError, KeyError) as error:
                reason = str(error)
        if usable and self._offset is not None and size >= self._offset + needed:
            return np.ones(self.shape[0], bool)
        if size >= needed and "truncated" not in reason:
            raise FileExistsError(
                f"{self.path} cannot be taken up: "
                f"{reason or f'its exchange/data is not {self.shape} float32, contiguous'}; choose another name for "
                f"the output, or delete it together with {self._journal.path.name}"
            )
        logger.warning("%s has lost its end (%d bytes of more than %d): it is begun anew", self.path, size, needed)
        return np.zeros(self.shape[0], bool)

    def _offset_of(self, index: int) -> int:
        """The byte of the file where a slice begins."""
        if self._offset is None:
            raise RuntimeError(
                f"{self.path} has not been begun; call begin() first, then pickle copies for other processes"
            )
        return self._offset + 4 * self.shape[1] * self.shape[2] * int(index)

    def _store(self, indices: np.ndarray, images: np.ndarray) -> None:
        runs = np.split(np.arange(indices.size), np.flatnonzero(np.diff(indices) != 1) + 1)
        with open(self.path, "r+b") as file:
            for run in runs:
                file.seek(self._offset_of(indices[run[0]]))
                file.write(images[run[0] : run[-1] + 1].data)
            file.flush()
            os.fsync(file.fileno())

    def read(self, index: int) -> np.ndarray:
        """One slice, (rows, columns) float32, that was written before."""
        image, offset = np.empty(self.shape[1:], "<f4"), self._offset_of(index)
        with (
            explaining_os_errors(f"slice {index} of {self.path} cannot be read: {{reason}}"),
            open(self.path, "rb") as file,
        ):
            file.seek(offset)
            if file.readinto(image.data) != image.nbytes:
                raise OSError("the file is too short")
        return image.astype(np.float32, copy=False)
