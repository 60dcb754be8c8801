"""Lock of an array in memory that a call writes into."""

import os
import threading

import numpy as np

from .output_lock import in_use_error, own_process_text

__all__ = ["ArrayLock"]

# Reentrant: garbage collection may release a lock in the middle of any other operation.
_guard = threading.RLock()
_arrays: list[np.ndarray] = []


def _forget_locks_of_parent() -> None:
    """After a fork: the locks belong to the parent."""
    global _guard
    _guard = threading.RLock()
    _arrays.clear()


os.register_at_fork(after_in_child=_forget_locks_of_parent)


class ArrayLock:
    """A lock on the memory of an array, for the threads of this process."""

    def __init__(self, array: np.ndarray):
        self._array, self._locked = array, False

    def acquire(self) -> None:
        """As `FileLock.acquire`."""
        with _guard:
            if any(_overlap(self._array, other) for other in _arrays):
                raise in_use_error("the array given as out", own_process_text())
            _arrays.append(self._array)
            self._locked = True

    def release(self) -> None:
        """Release the lock, if it is held."""
        with _guard:
            if self._locked:
                _arrays[:] = [other for other in _arrays if other is not self._array]
            self._locked = False


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays share memory; also True where that is too hard to decide."""
    try:
        return np.shares_memory(a, b, max_work=1000)  # type: ignore[arg-type]  # any number is allowed
    except RuntimeError:  # numpy.exceptions.TooHardError
        return True
