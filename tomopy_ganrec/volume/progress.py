"""Progress bar and cancellation of a reconstruction."""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
import weakref

from tqdm.auto import tqdm

from tomopy_ganrec.results import Status

__all__ = ["Cancelled", "Progress", "cancel", "progress_lock"]

STAGES = {  # where each stage begins in the progress of a slice, and how much of it the stage is
    "start": (0.0, 0.3),
    "fit": (0.3, 0.7),
    "learn": (0.3, 0.7),
    "uncertainty": (1.0, 0.0),
}
STAGE_LABELS = {"start": "start image", "learn": "learning the missing wedge", "uncertainty": "uncertainty"}
EXIT_TIMEOUT = 10.0  # seconds in which the iterations that are under way when Python ends may come to their end
# Seconds in which the next chunk of a cancelled reconstruction has to come; TomoPy's threads take it up at once.
NEXT_CHUNK_TIMEOUT = 1.0

_lock = threading.RLock()
_running: weakref.WeakSet[Progress] = weakref.WeakSet()
_has_drawn = False  # whether this process has ever drawn a progress bar


def _renew_in_child() -> None:
    """After a fork, replace locks that another thread may have held, and forget what runs in the parent only."""
    global _lock, _running
    # tqdm's own lock is shared with the parent, which would wait for a child that is killed while it holds it.
    if _has_drawn:
        tqdm.set_lock(threading.RLock())
    _lock, _running = threading.RLock(), weakref.WeakSet()


os.register_at_fork(after_in_child=_renew_in_child)


def progress_lock() -> threading.RLock:
    """The lock that every change of a `Progress` holds; a forked process has another one."""
    return _lock


class Cancelled(RuntimeError):  # noqa: N818  # a public name
    """The reconstruction was stopped by `cancel`."""


def cancel() -> None:
    """Stop all reconstructions that are running in this process.

    Each raises `Cancelled` at its next iteration, and those of its chunks that have not begun do not begin. For
    ``tomopy.recon``, whose threads do not see an interrupt from the keyboard: after Ctrl-C call this.
    """
    with _lock:
        for progress in list(_running):
            progress.stop()


@atexit.register
def _stop_at_exit() -> None:
    """Stop what daemon threads still compute when Python ends, and wait: torch crashes in a thread that is killed."""
    cancel()
    deadline = time.monotonic() + EXIT_TIMEOUT
    while _running and time.monotonic() < deadline:
        time.sleep(0.01)


class Progress:
    """Progress and cancellation of one reconstruction, in one or several chunks.

    Parameters
    ----------
    slices : int
        Of all chunks.
    show : bool
        Whether to draw a progress bar.

    Attributes
    ----------
    active : int
        Number of chunks at work.
    """

    def __init__(self, slices: int, show: bool):
        self._slices = slices
        self._bar = None
        self._shares: dict[object, float] = {}
        self._finished = 0
        self._stopped = False
        self._failed = False
        self._last_left = math.inf
        self.active = 0
        if show:
            global _has_drawn
            _has_drawn = True
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
        """Whether no further chunk can come."""
        if self.active:
            return False
        if self._stopped:
            complete = self._finished >= self._slices
            return complete or time.monotonic() - self._last_left > NEXT_CHUNK_TIMEOUT
        return self._failed or self._finished >= self._slices

    def enter(self) -> None:
        """Count a chunk that begins.

        Raises
        ------
        Cancelled
            After `stop`.
        """
        self.check()
        self.active += 1
        _running.add(self)

    def leave(self, failed: bool) -> None:
        """Count a chunk that has ended; the last one closes the bar."""
        self.active -= 1
        self._failed = self._failed or failed
        self._last_left = time.monotonic()
        if self.active == 0:
            _running.discard(self)
            if self._failed or self._stopped or self._finished >= self._slices:
                self.close()

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def update(self, worker_id: object, count: int, status: Status) -> None:
        """Enter the progress of the `count` slices at work on one device of one chunk: a rough share by stage.

        Parameters
        ----------
        worker_id : object
            Distinguishes what is at work at the same time; the same one goes to `done`.
        count : int
        status : Status
        """
        if self._bar is None:
            return
        begin, length = STAGES[status.stage]
        share = count * (begin + length * status.iteration / status.total)
        label = STAGE_LABELS.get(status.stage) if math.isnan(status.residual) else f"residual {status.residual:.2e}"
        with _lock:
            self._shares[worker_id] = max(self._shares.get(worker_id, 0.0), share)
            self._bar.set_postfix_str(label, refresh=False)
            self._draw()

    def done(self, worker_id: object, count: int) -> None:
        """Count `count` slices as finished."""
        with _lock:
            self._finished += count
            self._shares.pop(worker_id, None)
            if self._bar is not None:
                self._draw()

    def _draw(self) -> None:
        assert self._bar is not None
        reached = min(self._slices, self._finished + sum(self._shares.values()))
        self._bar.update(max(0.0, reached - self._bar.n))
