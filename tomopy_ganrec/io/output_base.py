"""The interface of all outputs of slices, and what they have in common."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .output_lock import Lock
from .protocols import Indices, Record

__all__ = ["Output"]


class Output:
    """The slices of a reconstruction, in any order, with what is known of each. Made by `output_of`.

    Begin it, then for some slices at a time `write` and, once they are written, `mark`; `close` it at the end.

    Attributes
    ----------
    shape : (int, int, int)
        Slices, rows, columns.
    first : int
        Number of the first slice, for names of files.
    done : (slices,) bool array
        Which slices are finished.
    records : list
        The record (dict) of each finished slice, None for the others. Those of outputs on disk hold no arrays, such as
        histories.
    path : Path or None
        The file or folder of an output on disk.
    shared : bool
        Whether a copy that was pickled to another process writes to the same place.
    """

    path: Path | None = None
    done: np.ndarray
    records: list[Record | None]
    _locks: tuple[Lock, ...] = ()

    def __init__(self, shape: Sequence[int], first: int = 0):
        sizes = tuple(int(n) for n in shape)
        if len(sizes) != 3 or min(sizes) < 1:
            raise ValueError(
                f"the reconstruction would have the shape {sizes}; it needs (slices, rows, columns) of at least one "
                "each"
            )
        self.shape = sizes
        self.first = int(first)
        self._lock = threading.Lock()
        self._forget()

    @property
    def shared(self) -> bool:
        """Whether a copy that was pickled to another process writes to the same place."""
        return True

    def _forget(self) -> None:
        self.done = np.zeros(self.shape[0], bool)
        self.records = [None] * self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        own = ("_lock", "_locks", "done", "records")  # of this process
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._forget()

    def _checked(self, indices: Indices, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices and images as arrays, (n,) intp and (n, rows, columns) little-endian float32."""
        indices, images = np.atleast_1d(np.asarray(indices, np.intp)), np.asarray(images)
        if indices.ndim != 1 or images.shape != (indices.size, *self.shape[1:]):
            wanted = (indices.size, *self.shape[1:])
            raise ValueError(
                f"images of shape {images.shape} for {indices.size} slices; give (slices, rows, columns) = {wanted}"
            )
        if indices.size and not 0 <= indices.min() <= indices.max() < self.shape[0]:
            raise IndexError(
                f"slices {indices.min()} to {indices.max()} are not among the {self.shape[0]} of the output, counted "
                "from 0"
            )
        return indices, np.ascontiguousarray(images, "<f4")

    def begin(self, identity: dict[str, Any], resume: bool = True, alone: bool = False) -> None:
        """Create the output, or resume an earlier one of the same identity, of which `done` and `records` then tell.

        Parameters
        ----------
        identity : dict
            All that decides about the result, such as ``Source.identity()``, options and angles; arrays in it are
            compared by a hash.
        resume : bool
            False refuses an output that was begun before.
        alone : bool
            Lock the output for this call until `close`: no other output that is begun `alone`, in whatever process,
            may begin it meanwhile. The lock of a process that is killed is released.

        Raises
        ------
        FileExistsError
            For something in the way that was not begun by this, or, without `resume`, was.
        ValueError
            For an earlier output of another shape or identity; names each difference.
        BlockingIOError
            With `alone`, while another call has the output; names its process.
        OSError
            Where nothing can be written.
        """
        locks = self._new_locks() if alone else []
        try:
            for lock in locks:
                lock.acquire()
            self._begin(identity, resume)
        except BaseException:
            for lock in locks:
                lock.release()
            raise
        self._locks = (*self._locks, *locks)

    def _new_locks(self) -> Sequence[Lock]:
        """The locks that keep other calls from this output."""
        raise NotImplementedError

    def _begin(self, identity: dict[str, Any], resume: bool) -> None:
        raise NotImplementedError

    def write(self, indices: Indices, images: np.ndarray) -> None:
        """Store slices; on the disk, if the output is there, when this returns.

        May be called from threads and, on pickled copies, from other processes at once, for different slices.

        Parameters
        ----------
        indices : (n,) int array_like
        images : (n, rows, columns) float32 array

        Raises
        ------
        ValueError, IndexError
            For images of another shape, and slices that are not there.
        OSError
            Such as for a full disk; what was finished before is kept.
        """
        raise NotImplementedError

    def mark(self, indices: Indices, records: Sequence[Record]) -> None:
        """Enter slices as finished, after `write`, with the record (dict) of each.

        May be called from any thread, but only of the process that began the output.
        """
        numbers = [int(k) for k in np.atleast_1d(indices)]
        if len(records) != len(numbers) or any(not 0 <= k < self.shape[0] for k in numbers):
            raise ValueError(
                f"{len(records)} records for the slices {numbers} of {self.shape[0]}; give one record for each slice"
            )
        with self._lock:
            for k, record in zip(numbers, self._enter(numbers, list(records)), strict=True):
                self.records[k] = record
            self.done[numbers] = True

    def _enter(self, indices: list[int], records: list[Record]) -> list[Record]:
        """Make the records permanent; returns them as they are kept."""
        return records

    def read(self, index: int) -> np.ndarray:
        """One slice, (rows, columns) float32, that was written before."""
        raise NotImplementedError

    def result(self) -> np.ndarray | Path:
        """The array, or the path of the output on disk."""
        raise NotImplementedError

    def close(self) -> None:
        """Release the locks of `begin`, so that other calls may write to the output."""
        locks, self._locks = self._locks, ()
        for lock in locks:
            lock.release()
