"""Progress of one stage of a fit, and whether the caller has stopped it."""

from __future__ import annotations

import math
from collections.abc import Callable

from tomopy_ganrec.results import Status

__all__ = ["StageProgress"]


class StageProgress:
    """Counts the iterations of a stage, reports each to the caller, and remembers that he answered with a stop.

    Parameters
    ----------
    stage : str
        See `Status.stage`.
    callback : callable or None
        Called with a `Status`; a true answer stops the stage.
    total : int
        Iterations of the stage, as far as they are known; it may be changed while the stage runs.

    Attributes
    ----------
    count : int
        Iterations so far.
    stopped : bool
    """

    def __init__(self, stage: str, callback: Callable[[Status], object] | None = None, total: int = 0):
        self._stage, self._callback, self.total = stage, callback, total
        self.count = 0
        self.stopped = False

    def step(self, residual: float = math.nan) -> bool:
        """Report that an iteration is done; whether the stage is stopped."""
        self.count += 1
        if self._callback is not None and not self.stopped:
            status = Status(self._stage, self.count, max(self.total, self.count), residual)
            self.stopped = bool(self._callback(status))
        return self.stopped

    def expect(self, more: int) -> None:
        """Take the total to be `more` than the iterations so far."""
        self.total = self.count + more
