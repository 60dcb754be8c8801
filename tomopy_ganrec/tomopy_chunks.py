"""Chunks of one call of tomopy.recon, and the environment variable by which TomoPy sets its threads.

``tomopy.recon`` cuts a volume into chunks and calls the algorithm for each, in several threads, without saying which belong together. They write
into one array: that is how they are told.
"""

import os
import sys
import weakref

import numpy as np

from .volume.progress import Call, call_lock

__all__ = ["give_back_threads", "joined"]

THREADS = "TOMOPY_PYTHON_THREADS"

_calls: "dict[int, Call]" = {}  # by the array they write into
_threads_of_the_user = os.environ.get(THREADS)  # as it was before any reconstruction

os.register_at_fork(after_in_child=_calls.clear)


def _whole(image: np.ndarray) -> np.ndarray:
    """The array that `image` is a view of."""
    while isinstance(image.base, np.ndarray):
        image = image.base
    return image


class joined:
    """``with joined(image, progress) as call:`` for a chunk that writes into `image` (slices, rows, cols): the `Call` it belongs to."""

    def __init__(self, image: np.ndarray, progress: bool):
        self._whole, self._slices, self._progress = _whole(image), image.shape[0], progress
        self._total = max(self._slices, self._whole.nbytes // max(1, image[:1].nbytes))

    def __enter__(self) -> Call:
        key = id(self._whole)
        with call_lock():
            call = _calls.get(key)
            if call is None or call.over:
                call = _calls[key] = Call(self._total, self._progress)
                weakref.finalize(self._whole, _calls.pop, key, None)
            call.enter()
        self.call = call
        return call

    def __exit__(self, kind, error, trace):
        with call_lock():
            self.call.leave(kind is not None)
            alone = self.call.active == 0
        if alone and _frame_of_tomopy() is None:  # it was interrupted while its threads went on
            give_back_threads()


def _frame_of_tomopy():
    """Where some thread of this process is in the function of TomoPy that sets the variable and takes it back, or None."""
    for frame in sys._current_frames().values():
        while frame is not None:
            if frame.f_globals.get("__name__") == "tomopy.recon.algorithm" and "pythreads" in frame.f_locals:
                return frame
            frame = frame.f_back
    return None


def give_back_threads() -> None:
    """Undo what TomoPy (1.15) leaves behind after an exception or an interrupt: TOMOPY_PYTHON_THREADS, with which every later call would run on as
    few threads."""
    if "tomopy.recon.algorithm" not in sys.modules:
        return
    frame = _frame_of_tomopy()
    before = _threads_of_the_user if frame is None else frame.f_locals["pythreads"]
    if before is None:
        os.environ.pop(THREADS, None)
    else:
        os.environ[THREADS] = before
