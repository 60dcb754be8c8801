"""What every output of slices can do."""

import threading
from pathlib import Path

import numpy as np

__all__ = ["Output"]


class Output:
    """The slices of a reconstruction, in any order, with what is known of each. Made by `output_of`.

    Begin it, then for some slices at a time `write` and, once they are written, `mark`.

    Attributes
    ----------
    shape : (int, int, int)
        Slices, rows, columns.
    first : int
        Number of the first slice, for names of files.
    done : (slices,) bool array
        What is finished.
    records : list
        The record (dict) of each finished slice, None for the others. Of outputs on disk without arrays, such as histories.
    path : Path or None
        The file or folder of an output on disk.
    shared : bool
        A copy that was pickled to another process writes to the same place.
    """

    shared = True
    path: Path | None = None
    _locks = ()

    def __init__(self, shape, first: int = 0):
        self.shape, self.first, self._lock = tuple(int(n) for n in shape), int(first), threading.Lock()
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(
                f"the reconstruction would have the shape {self.shape}; it needs (slices, rows, columns) of at least one each"
            )
        self._forget()

    def _forget(self) -> None:
        self.done, self.records = np.zeros(self.shape[0], bool), [None] * self.shape[0]

    def __getstate__(self):
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_lock", "_locks", "done", "records")
        }

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._forget()

    def _checked(self, indices, images):
        indices, images = np.atleast_1d(np.asarray(indices, np.intp)), np.asarray(images)
        if indices.ndim != 1 or images.shape != (indices.size, *self.shape[1:]):
            wanted = (indices.size, *self.shape[1:])
            raise ValueError(
                f"images of shape {images.shape} for {indices.size} slices; give (slices, rows, columns) = {wanted}"
            )
        if indices.size and not 0 <= indices.min() <= indices.max() < self.shape[0]:
            raise IndexError(
                f"slices {indices.min()} to {indices.max()} are not among the {self.shape[0]} of the output, counted from 0"
            )
        return indices, np.ascontiguousarray(images, "<f4")

    def begin(self, identity: dict, resume: bool = True, alone: bool = False) -> None:
        """Create the output, or take up an earlier one of the same identity: then `done` and `records` say what it holds.

        Parameters
        ----------
        identity : dict
            All that decides about the result, such as ``Source.identity()``, options and angles; arrays in it are compared by a hash.
        resume : bool
            False refuses an output that was begun before.
        alone : bool
            Keep the output for this call until `close`: no other one that is `alone`, of whatever process, may begin it meanwhile. A process that is
            killed is in nobody's way.

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

    def _new_locks(self) -> list:
        """What keeps other calls off."""
        raise NotImplementedError

    def _begin(self, identity: dict, resume: bool) -> None:
        raise NotImplementedError

    def write(self, indices, images) -> None:
        """Put slices where they belong; on disk when this returns.

        May be called from threads and, on pickled copies, from other processes at once, for different slices.

        Parameters
        ----------
        indices : (n,) int array_like
        images : (n, rows, cols) float32 array

        Raises
        ------
        OSError
            Such as for a full disk; what was finished before is kept.
        """
        raise NotImplementedError

    def mark(self, indices, records) -> None:
        """Enter slices as finished, after `write`, with the record (dict) of each. For any threads, but only of the process that began."""
        indices = [int(k) for k in np.atleast_1d(indices)]
        if len(records) != len(indices) or any(not 0 <= k < self.shape[0] for k in indices):
            raise ValueError(
                f"{len(records)} records for the slices {indices} of {self.shape[0]}; give one record for each slice"
            )
        with self._lock:
            records = self._enter(indices, list(records))
            for k, record in zip(indices, records, strict=True):
                self.records[k] = record
            self.done[indices] = True

    def _enter(self, indices, records):
        """Make it last; returns the records as they are kept."""
        return records

    def read(self, index: int) -> np.ndarray:
        """One slice, (rows, cols) float32, that was written before."""
        raise NotImplementedError

    def result(self):
        """The array, or the path of what was written."""
        raise NotImplementedError

    def close(self) -> None:
        """Let other calls write to it. Nothing else is held between calls."""
        locks, self._locks = self._locks, ()
        for lock in locks:
            lock.release()
