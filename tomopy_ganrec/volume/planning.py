"""Order of a volume: which slices are fitted together, and from which neighbours each is initialised."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from tomopy_ganrec.fit.warm_start import FAR
from tomopy_ganrec.io.protocols import SliceSource
from tomopy_ganrec.options import GanrecOptions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["CHAIN_LENGTH", "Task", "choose_warm_interval", "plan", "unfinished_tasks"]

CHAIN_LENGTH = 32  # slices of a chain of preset='paper', unless warm_start says otherwise
COMPARED_DISTANCES = (1, 2, 4, 8)  # from a slice to its neighbours, in slices

logger = logging.getLogger(__name__)

Neighbours = tuple[int, int] | tuple[()]


@dataclass(frozen=True)
class Task:
    """Slices of one rotation axis that go through one fit.

    Attributes
    ----------
    slices : tuple of int
    center : float
        Rotation axis in detector columns, edge convention.
    neighbours : tuple of (int, int)
        For each slice the two slices it is initialised from, the nearer one first; empty: all are cold-started.
    """

    slices: tuple[int, ...]
    center: float
    neighbours: tuple[tuple[int, int], ...] = ()

    @property
    def dependencies(self) -> set[int]:
        """The slices that must be finished before this task begins."""
        return {k for pair in self.neighbours for k in pair}

    def halves(self) -> tuple[Task, Task]:
        """The same slices as two tasks."""
        middle = (len(self.slices) + 1) // 2
        first, second = slice(middle), slice(middle, None)
        return (
            Task(self.slices[first], self.center, self.neighbours[first]),
            Task(self.slices[second], self.center, self.neighbours[second]),
        )


def plan(
    centers: ArrayLike, batch: int, warm_interval: int = 1, joint_slices: int = 1, chains: bool = False
) -> list[Task]:
    """The tasks of a volume, each after those that it depends on.

    Cold-started slices come first, spread over the volume: every `warm_interval`-th slice and the last. The slices
    between follow by bisection: the middle one from the two at the ends, then the middle ones of the two halves, and so
    on. The nearer of the two neighbours is at most ``warm_interval / 2`` away.

    Parameters
    ----------
    centers : (slices,) array_like
        Rotation axes. A task has one: slices of different axes are never in the same task.
    batch : int
        Largest number of slices in a task. Tasks are of about equal length, so that no slice is alone where two can
        share a task (except one of an odd number with ``batch=2``): a batch of one is summed in another order.
    warm_interval : int
        Spacing between cold-started slices; 1: all are cold-started.
    joint_slices : int
        Above 1: tasks of so many adjacent slices, all cold-started.
    chains : bool
        Each slice is initialised from the one before it, in chains of `warm_interval`; the k-th slices of up to
        `batch` chains share a task.
    """
    axes = np.asarray(centers, np.float64)
    count = len(axes)
    if joint_slices > 1:
        return [Task(tuple(run), center) for center, run in _adjacent_runs(axes, joint_slices)]
    if chains:
        return _chained_tasks(axes, batch, warm_interval)
    anchors = list(range(0, count, max(1, warm_interval)))
    if anchors[-1] != count - 1:
        anchors.append(count - 1)
    tasks = _batches(axes, batch, [(k, ()) for k in anchors])
    gaps = list(zip(anchors, anchors[1:], strict=False))
    while gaps := [(a, b) for a, b in gaps if b - a > 1]:
        middles = [(a + b) // 2 for a, b in gaps]
        members: list[tuple[int, Neighbours]] = [
            (m, (a, b) if m - a <= b - m else (b, a)) for m, (a, b) in zip(middles, gaps, strict=True)
        ]
        tasks += _batches(axes, batch, members)
        gaps = [pair for m, (a, b) in zip(middles, gaps, strict=True) for pair in ((a, m), (m, b))]
    return tasks


def _batches(axes: np.ndarray, batch: int, members: Sequence[tuple[int, Neighbours]]) -> list[Task]:
    """(slice, neighbours) pairs as tasks of one axis each and of about equal length."""
    tasks = []
    for center in np.unique(axes[[k for k, _ in members]]):
        same_axis = [member for member in members if axes[member[0]] == center]
        for part in np.array_split(np.arange(len(same_axis)), -(-len(same_axis) // batch)):
            chosen = [same_axis[k] for k in part]
            neighbours = tuple(pair for _, pair in chosen if pair)
            tasks.append(Task(tuple(k for k, _ in chosen), float(center), neighbours))
    return tasks


def _adjacent_runs(axes: np.ndarray, length: int) -> Iterator[tuple[float, list[int]]]:
    """(axis, adjacent slices) with at most `length` slices each."""
    for center in np.unique(axes):
        members = np.flatnonzero(axes == center)
        for run in np.split(members, np.flatnonzero(np.diff(members) > 1) + 1):
            for first in range(0, len(run), length):
                yield float(center), [int(k) for k in run[first : first + length]]


def _chained_tasks(axes: np.ndarray, batch: int, length: int) -> list[Task]:
    """The tasks of chains of `length` slices."""
    length = max(1, length)
    firsts = np.arange(0, len(axes), length)
    tasks = []
    for group in np.array_split(firsts, -(-len(firsts) // batch)):
        for step in range(length):
            members: list[tuple[int, Neighbours]] = [
                (int(k) + step, (int(k) + step - 1, int(k) + step - 1) if step else ())
                for k in group
                if k + step < min(k + length, len(axes))
            ]
            if members:
                tasks += _batches(axes, batch, members)
    return tasks


def choose_warm_interval(options: GanrecOptions, source: SliceSource, default: int | Literal["auto"] = 0) -> int:
    """Spacing between cold-started slices (1: every slice is cold-started).

    'auto' compares sinograms with the mean of those 1, 2, 4 and 8 slices before and after, at three positions in the
    volume, and takes twice the largest distance at which they differ by no more than a warm start tolerates
    (`fit.warm_start.FAR`).

    Parameters
    ----------
    options : GanrecOptions
    source : SliceSource
        Read only for 'auto'.
    default : int or 'auto'
        Stands for ``warm_start=None``.
    """
    chosen = default if options.warm_start is None else options.warm_start
    if options.joint_slices > 1:
        return 1
    if options.preset != "paper" and options.init != "tv" and not options.resolved.warm_iter:
        return 1  # nothing would compare the neighbours' image with the data
    if options.preset == "paper" and chosen == "auto":
        return CHAIN_LENGTH
    if not isinstance(chosen, str):
        return max(1, chosen)
    farthest = 0
    for distance in COMPARED_DISTANCES:
        differences = _neighbour_differences(source, distance)
        if not differences or np.median(differences) > FAR:
            break
        farthest = distance
    interval = max(1, 2 * farthest)
    logger.info("warm start: one slice of %d is cold-started", interval)
    return interval


def _neighbour_differences(source: SliceSource, distance: int) -> list[float]:
    """Relative differences of slices from the mean of those `distance` before and after; empty where there are none."""
    count = source.shape[0]
    positions = sorted({min(max(distance, count * k // 4), count - 1 - distance) for k in (1, 2, 3)})
    if positions[0] < distance:
        return []
    return [
        _relative_difference(
            source.read(np.array([k]))[0], source.read(np.array([k - distance, k + distance])).mean(0, np.float64)
        )
        for k in positions
    ]


def _relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """The difference of two sinograms relative to the first, by means over 4 × 4 values, which average their noise."""
    # In float64: squares may overflow float32.
    a, b = (x[: x.shape[0] // 4 * 4 or None, : x.shape[1] // 4 * 4 or None].astype(np.float64) for x in (a, b))
    if min(a.shape) >= 4:
        a, b = (x.reshape(x.shape[0] // 4, 4, -1, 4).mean((1, 3)) for x in (a, b))
    norm = np.linalg.norm(a)
    return float(np.linalg.norm(a - b) / norm) if norm > 0 else float(np.any(b))


def unfinished_tasks(tasks: Sequence[Task], done: np.ndarray) -> list[Task]:
    """The tasks without the slices that are done; a task of which nothing is left is dropped.

    Parameters
    ----------
    tasks : sequence of Task
    done : (slices,) bool array
    """
    remaining = []
    for task in tasks:
        missing = [k for k, index in enumerate(task.slices) if not done[index]]
        if missing:
            neighbours = tuple(task.neighbours[k] for k in missing) if task.neighbours else ()
            remaining.append(replace(task, slices=tuple(task.slices[k] for k in missing), neighbours=neighbours))
    return remaining
