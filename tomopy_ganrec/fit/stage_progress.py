"""Progress of the stages of a fit, and whether to stop."""

from collections.abc import Callable

from tomopy_ganrec.results import Status

__all__ = []


class _Steps:
    """Tells the caller of each step of a stage, and remembers whether it has ended it."""

    def __init__(self, stage: str, total: int, notify: Callable):
        self._stage, self._total, self._notify = stage, total, notify
        self._count, self.ended = 0, False

    def __call__(self) -> bool:
        self._count += 1
        self.ended = self.ended or bool(self._notify(Status(self._stage, self._count, max(self._total, self._count))))
        return self.ended


class _StartSteps:
    """Tells the caller of each iteration of the start images, and remembers whether it has ended them."""

    def __init__(self, notify: Callable):
        self._notify, self.total, self.count, self.ended = notify, 0, 0, False

    def __call__(self) -> bool:
        self.count += 1
        self.ended = self.ended or bool(self._notify(Status("start", self.count, max(self.total, self.count))))
        return self.ended
