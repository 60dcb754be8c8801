"""Chunks of one call of tomopy.recon, and the environment variable by which TomoPy sets its threads.

``tomopy.recon`` cuts a volume into chunks and calls the algorithm for each, in several threads, without saying which
belong together. They write into one array: by that they are recognised.
"""

from __future__ import annotations

import os
import sys
import weakref
from types import FrameType, TracebackType

import numpy as np

from .mask import Mask
from .options import GanrecOptions
from .volume.progress import Progress, progress_lock

__all__ = ["give_back_threads", "options_of_chunk", "shared_progress"]

THREADS = "TOMOPY_PYTHON_THREADS"

_progress_of: dict[int, Progress] = {}  # by the id of the array that the chunks write into
_users_threads = os.environ.get(THREADS)  # as it was before any reconstruction

os.register_at_fork(after_in_child=_progress_of.clear)


def _base_array(image: np.ndarray) -> np.ndarray:
    """The array that `image` is a view of."""
    while isinstance(image.base, np.ndarray):
        image = image.base
    return image


class shared_progress:  # noqa: N801  # used as a function
    """The `Progress` that all chunks of a call have in common: ``with shared_progress(image, show) as progress:``.

    Parameters
    ----------
    image : (slices, rows, cols) array
        That the chunk writes into.
    show : bool
        Whether to draw a progress bar.
    """

    def __init__(self, image: np.ndarray, show: bool):
        self._base = _base_array(image)
        self._show = show
        self._total = max(image.shape[0], self._base.nbytes // max(1, image[:1].nbytes))

    def __enter__(self) -> Progress:
        key = id(self._base)
        with progress_lock():
            progress = _progress_of.get(key)
            if progress is None or progress.over:
                progress = _progress_of[key] = Progress(self._total, self._show)
                weakref.finalize(self._base, _progress_of.pop, key, None)
            progress.enter()
        self._progress = progress
        return progress

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with progress_lock():
            self._progress.leave(kind is not None)
            last = self._progress.active == 0
        if last and _tomopys_frame() is None:  # tomopy.recon was interrupted while its threads went on
            give_back_threads()


def options_of_chunk(options: GanrecOptions, image: np.ndarray) -> GanrecOptions:
    """The options for one chunk: of a mask for each slice of the volume, the chunk's part.

    Parameters
    ----------
    options : GanrecOptions
        Of the call.
    image : (slices, rows, cols) array
        That the chunk writes into, a part of the array of all slices.

    Raises
    ------
    ValueError
        For a mask of another shape than the slices, and where the chunk's place in the volume is not known.
    """
    mask, base, count = options.mask, _base_array(image), len(image)
    if not isinstance(mask, Mask):
        return options
    if mask.per_slice and base.nbytes > image.nbytes and (len(mask) != count or _tomopys_frame() is not None):
        first, rest = divmod(_address(image) - _address(base), image[0].nbytes)
        whole = base.flags.c_contiguous and image.flags.c_contiguous and not rest
        if not whole or len(mask) * image[0].nbytes != base.nbytes:
            raise ValueError(
                f"option mask has shape {mask.shape}, one a slice; {count} slices of an array of shape {base.shape} "
                "are reconstructed here; give the mask of all its slices, (slices, rows, columns), with an init_recon, "
                "if any, that is an array of its own; or one of (rows, columns) for all of them"
            )
        options = options.replace(mask=mask.take(range(first, first + count)))
        mask = options.mask
    assert isinstance(mask, Mask)
    mask.check(count, image.shape[1:])
    return options


def _address(array: np.ndarray) -> int:
    """Where the first value lies in memory."""
    return int(array.__array_interface__["data"][0])


def _tomopys_frame() -> FrameType | None:
    """The frame of TomoPy's function that sets the variable and resets it, in any thread of this process, or None."""
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            if frame.f_globals.get("__name__") == "tomopy.recon.algorithm" and "pythreads" in frame.f_locals:
                return frame
            frame = frame.f_back
    return None


def give_back_threads() -> None:
    """Reset TOMOPY_PYTHON_THREADS, which TomoPy (1.15) leaves changed after an exception or an interrupt.

    Every later call would run on as few threads.
    """
    if "tomopy.recon.algorithm" not in sys.modules:
        return
    frame = _tomopys_frame()
    before = _users_threads if frame is None else frame.f_locals["pythreads"]
    if before is None:
        os.environ.pop(THREADS, None)
    else:
        os.environ[THREADS] = before
