"""What the chunks of one call have in common: a progress bar, and being stopped together.

``tomopy.recon`` cuts a volume into chunks and calls the algorithm for each, in several threads, without saying which belong together. They write
into one array: that is how they are told.
"""

import atexit
import math
import os
import sys
import threading
import time
import weakref

import numpy as np
from tqdm.auto import tqdm

from tomopy_ganrec.result import Status

__all__ = ["Call", "Cancelled", "cancel", "give_back_threads", "joined"]

STAGES = {"start": (0.0, 0.3), "fit": (0.3, 0.7), "learn": (0.3, 0.7), "spread": (1.0, 0.0)}  # begin and length of each in the progress of a slice
ENDING = 1000  # hundredths of a second in which iterations that are at work when Python ends may come to their end
LINGER = 1.0  # seconds in which the next chunk of a cancelled call has to come; TomoPy's threads take it up at once
THREADS = "TOMOPY_PYTHON_THREADS"

_lock = threading.RLock()
_calls: "dict[int, Call]" = {}  # by the array they write into
_running: "weakref.WeakSet[Call]" = weakref.WeakSet()
_draws = False  # whether this process has ever drawn a progress bar
_threads_of_the_user = os.environ.get(THREADS)  # as it was before any reconstruction


def _renew_in_child() -> None:
    """After a fork: locks that another thread held, and calls that go on in the parent only."""
    global _lock, _running
    if _draws:  # some thread may have been at it; and tqdm's own lock is shared with the parent, which would wait for a child that dies with it
        tqdm.set_lock(threading.RLock())
    _lock, _running = threading.RLock(), weakref.WeakSet()
    _calls.clear()


os.register_at_fork(after_in_child=_renew_in_child)


class Cancelled(RuntimeError):
    """The reconstruction was stopped by `cancel`."""


def cancel() -> None:
    """Stop all reconstructions that are running in this process; each raises `Cancelled` at its next iteration, and what remains of its chunks does
    not begin.

    For ``tomopy.recon``, whose threads do not see an interrupt from the keyboard: after Ctrl-C call this.
    """
    with _lock:
        for call in list(_running):
            call.stop()


@atexit.register
def _end() -> None:
    """Stop what daemon threads still compute when Python ends, and give them time for it: torch does not bear to lose its thread at work."""
    cancel()
    for _ in range(ENDING):
        if not _running:
            return
        time.sleep(0.01)


class Call:
    """One reconstruction, by one or several chunks."""

    def __init__(self, slices: int, progress: bool):
        self._slices, self._bar, self._shares, self._finished = slices, None, {}, 0
        self._stopped, self._failed, self._left = False, False, math.inf
        self.active = 0
        if progress:
            global _draws
            _draws = True
            bar_format = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(total=slices, desc="ganrec", unit="slice", bar_format=bar_format)

    def stop(self) -> None:
        """Make `check` raise from now on."""
        self._stopped = True

    def check(self) -> None:
        """Raise `Cancelled` after `stop`."""
        if self._stopped:
            raise Cancelled("the reconstruction was cancelled")

    @property
    def over(self) -> bool:
        """Whether no chunk can be missing."""
        idle = self.active == 0 and time.monotonic() - self._left > LINGER
        return self.active == 0 and (self._finished >= self._slices or self._failed and not self._stopped) or self._stopped and idle

    def enter(self) -> None:
        """A chunk begins."""
        self.check()
        self.active += 1
        _running.add(self)

    def leave(self, failed: bool) -> None:
        """A chunk has ended."""
        self.active -= 1
        self._failed = self._failed or failed
        self._left = time.monotonic()
        if self.active == 0:
            _running.discard(self)
            if self._failed or self._stopped or self._finished >= self._slices:
                self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def tell(self, who, count: int, status: Status) -> None:
        """Progress of the `count` slices on which `who`, a device of a chunk, is at work: a rough share by stage."""
        if self._bar is None:
            return
        first, length = STAGES[status.stage]
        label = {"start": "start image", "learn": "learning", "spread": "spread"}.get(status.stage)
        with _lock:
            self._shares[who] = max(self._shares.get(who, 0.0), count * (first + length * status.iteration / status.total))
            self._bar.set_postfix_str(label if math.isnan(status.residual) else f"residual {status.residual:.2e}", refresh=False)
            self._show()

    def done(self, who, count: int) -> None:
        """`count` slices are finished."""
        with _lock:
            self._finished += count
            self._shares.pop(who, None)
            if self._bar is not None:
                self._show()

    def _show(self) -> None:
        reached = min(self._slices, self._finished + sum(self._shares.values()))
        self._bar.update(max(0.0, reached - self._bar.n))


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
        with _lock:
            call = _calls.get(key)
            if call is None or call.over:
                call = _calls[key] = Call(self._total, self._progress)
                weakref.finalize(self._whole, _calls.pop, key, None)
            call.enter()
        self.call = call
        return call

    def __exit__(self, kind, error, trace):
        with _lock:
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
