"""What may follow a fit: a finer grid, a network's lessons, and how sure each pixel is."""

from collections.abc import Callable

import torch

from .fit.fine_grid import FinerGrid, finer_steps, refinement
from .fit.start_image import Measurement
from .fit.uncertainty import spread, spread_steps
from .fit.wedge_learning import agree, learn, lessons_steps
from .options import GanrecOptions
from .result import Status
from .solvers.wedge import has_missing_wedge

__all__ = ["finish", "spreads"]


class _Steps:
    """Tells the caller of each step of a stage, and remembers whether it has ended it."""

    def __init__(self, stage: str, total: int, notify: Callable):
        self._stage, self._total, self._notify = stage, total, notify
        self._count, self.ended = 0, False

    def __call__(self) -> bool:
        self._count += 1
        self.ended = self.ended or bool(self._notify(Status(self._stage, self._count, max(self._total, self._count))))
        return self.ended


def finish(part: Measurement, image: torch.Tensor, options: GanrecOptions, mask, notify: Callable) -> tuple[torch.Tensor, bool]:
    """The finer grid and the network's lessons, where they are asked for: the image, and whether the caller has ended it.

    A stack is one body and has one network. Other slices each have their own, so that what becomes of one does not depend on its batch.
    """
    lessons = options.lessons if has_missing_wedge(part.model) else 0
    bodies = [part] if options.stack > 1 else [part.take(torch.tensor([k], device=image.device)) for k in range(len(image))]
    factors = [refinement(body, options) for body in bodies]
    total = sum((lessons_steps(options) if lessons else 0) + (finer_steps(part) if factor > 1 else 0) for factor in factors)
    tell, done, image = _Steps("learn", total, notify), 0, image.clone()
    for body, factor in zip(bodies, factors, strict=True):
        where = slice(done, done + len(body.data))
        image[where] = _improved(body, image[where], options.replace(learn=lessons), factor, mask, tell)
        done = where.stop
        if tell.ended:
            break
    return image, tell.ended


def _improved(body: Measurement, image: torch.Tensor, options: GanrecOptions, factor: int, mask, tell: _Steps) -> torch.Tensor:
    with torch.no_grad():
        grid = FinerGrid.begin(body, image, factor, options, tell) if factor > 1 else None
    if tell.ended:
        return image
    if not options.lessons:
        return grid.mean() if grid else image
    given = 0

    def solve(answer, x, tell):
        nonlocal given
        given += 1
        if grid and given == options.lessons:
            return grid.agree(answer, tell)
        return agree(body, answer, image, options, mask, tell)

    learned = learn(body, image, options, mask, options.seed, tell, solve)
    return grid.mean() if grid and tell.ended else learned


def spreads(part: Measurement, options: GanrecOptions, mask, notify: Callable):
    """The spread of each slice, until the caller ends it."""
    tell = _Steps("spread", spread_steps() * len(part.settings), notify)
    for k in range(len(part.settings) if options.spread else 0):
        with torch.no_grad():
            found = spread(part, k, options, mask, options.spread, tell)
        if tell.ended:
            return
        yield found
