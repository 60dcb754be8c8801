"""Progress bar and cancellation of a reconstruction."""

import atexit
import math
import os
import threading
import time
import weakref

from tqdm.auto import tqdm

from tomopy_ganrec.results import Status

__all__ = ["Call", "Cancelled", "call_lock", "cancel"]

STAGES = {
    "start": (0.0, 0.3),
    "fit": (0.3, 0.7),
    "learn": (0.3, 0.7),
    "uncertainty": (1.0, 0.0),
}  # begin and length of each in the progress of a slice
ENDING = 1000  # hundredths of a second in which iterations that are at work when Python ends may come to their end
LINGER = 1.0  # seconds in which the next chunk of a cancelled call has to come; TomoPy's threads take it up at once

_lock = threading.RLock()
_running: "weakref.WeakSet[Call]" = weakref.WeakSet()
_draws = False  # whether this process has ever drawn a progress bar


def _renew_in_child() -> None:
    """After a fork: locks that another thread held, and calls that go on in the parent only."""
    global _lock, _running
    if _draws:  # some thread may have been at it; and tqdm's own lock is shared with the parent, which would wait for a child that dies with it
        tqdm.set_lock(threading.RLock())
    _lock, _running = threading.RLock(), weakref.WeakSet()


os.register_at_fork(after_in_child=_renew_in_child)


def call_lock() -> threading.RLock:
    """The lock that every change of a `Call` holds; a forked process has another one."""
    return _lock


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
        return (
            self.active == 0
            and (self._finished >= self._slices or self._failed and not self._stopped)
            or self._stopped
            and idle
        )

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
        label = {"start": "start image", "learn": "learning", "uncertainty": "uncertainty"}.get(status.stage)
        with _lock:
            self._shares[who] = max(
                self._shares.get(who, 0.0), count * (first + length * status.iteration / status.total)
            )
            self._bar.set_postfix_str(
                label if math.isnan(status.residual) else f"residual {status.residual:.2e}", refresh=False
            )
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
