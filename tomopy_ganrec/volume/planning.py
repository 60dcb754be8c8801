"""Which slices are reconstructed together, in which order, and from which neighbours each begins."""

import logging
from dataclasses import dataclass, replace

import numpy as np

from tomopy_ganrec.fit.warm_start import FAR
from tomopy_ganrec.options import GanrecOptions

__all__ = ["CHAIN", "Task", "open_tasks", "plan", "warm_every"]

CHAIN = 32  # slices of a chain of preset='paper', unless warm_start says otherwise


@dataclass(frozen=True)
class Task:
    """Slices of one centre that go through one fit.

    Attributes
    ----------
    slices : tuple of int
    center : float
    near : tuple of (int, int)
        For each slice the two neighbours it begins from, the nearer one first; empty: from nothing.
    """

    slices: tuple[int, ...]
    center: float
    near: tuple[tuple[int, int], ...] = ()

    def halves(self) -> tuple["Task", "Task"]:
        """The same slices as two tasks."""
        middle = (len(self.slices) + 1) // 2
        return tuple(
            Task(self.slices[part], self.center, self.near[part]) for part in (slice(middle), slice(middle, None))
        )


def plan(centers, batch: int, every: int = 1, joint_slices: int = 1, chain: bool = False) -> list[Task]:
    """The tasks of a volume, each after those that it needs.

    Cold ones come first, all over the volume: every `every`-th slice and the last. Those between follow by halving: the slice in the middle from the
    two at the ends, then the ones in the middle of these. The nearer of the two is at most ``every / 2`` away.

    Parameters
    ----------
    centers : (slices,) array_like
        A task has one centre: slices with another go elsewhere.
    batch : int
        Slices a task at most. Tasks are of about equal length, so that none has one slice where two can share (but one of an odd number in
        twos): a batch of one adds in another order.
    every : int
        1: all cold.
    stack : int
        Above 1: runs of so many neighbours, all cold.
    chain : bool
        Each slice from the one before it, in chains of `every`; the k-th slices of up to `batch` chains share a task.
    """
    centers = np.asarray(centers, np.float64)
    count = len(centers)
    if joint_slices > 1:
        return [Task(tuple(run), center) for center, run in _runs(centers, joint_slices)]
    if chain:
        return _chains(centers, batch, every)
    anchors = list(range(0, count, max(1, every)))
    if anchors[-1] != count - 1:
        anchors.append(count - 1)
    tasks = _batches(centers, batch, [(k, ()) for k in anchors])
    gaps = list(zip(anchors, anchors[1:], strict=False))
    while gaps := [(a, b) for a, b in gaps if b - a > 1]:
        middles = [(a + b) // 2 for a, b in gaps]
        tasks += _batches(
            centers, batch, [(m, (a, b) if m - a <= b - m else (b, a)) for m, (a, b) in zip(middles, gaps, strict=True)]
        )
        gaps = [pair for m, (a, b) in zip(middles, gaps, strict=True) for pair in ((a, m), (m, b))]
    return tasks


def _batches(centers, batch: int, members) -> list[Task]:
    """(slice, neighbours) pairs as tasks of one centre each and of about equal length."""
    tasks = []
    for center in np.unique(centers[[k for k, _ in members]]):
        same = [pair for pair in members if centers[pair[0]] == center]
        for part in np.array_split(np.arange(len(same)), -(-len(same) // batch)):
            chosen = [same[k] for k in part]
            tasks.append(Task(tuple(k for k, _ in chosen), float(center), tuple(near for _, near in chosen if near)))
    return tasks


def _runs(centers, length: int):
    """(centre, neighbouring slices) with at most `length` slices each."""
    for center in np.unique(centers):
        members = np.flatnonzero(centers == center)
        for run in np.split(members, np.flatnonzero(np.diff(members) > 1) + 1):
            for first in range(0, len(run), length):
                yield float(center), [int(k) for k in run[first : first + length]]


def _chains(centers, batch: int, every: int) -> list[Task]:
    firsts = np.arange(0, len(centers), max(1, every))
    tasks = []
    for group in np.array_split(firsts, -(-len(firsts) // batch)):
        for step in range(max(1, every)):
            members = [
                (int(k) + step, (int(k) + step - 1,) * 2 if step else ())
                for k in group
                if k + step < min(k + every, len(centers))
            ]
            if members:
                tasks += _batches(centers, batch, members)
    return tasks


logger = logging.getLogger(__name__)
DISTANCES = (1, 2, 4, 8)  # from a slice to its neighbours


def warm_every(options: GanrecOptions, source, default: int | str = 0) -> int:
    """Of how many slices one is reconstructed from nothing; 1: each.

    'auto' compares sinograms with the mean of those 1, 2, 4 and 8 slices before and after, at three places of the volume, and takes twice the largest
    distance at which they differ by no more than a warm start bears (`warm.FAR`).
    """
    chosen = default if options.warm_start is None else options.warm_start
    if (
        options.joint_slices > 1
        or options.preset != "paper"
        and options.init != "tv"
        and not options.resolved.warm_iter
    ):
        return 1  # in the last case nothing would compare the neighbours' image with the data
    if options.preset == "paper" and chosen == "auto":
        return CHAIN
    if chosen != "auto":
        return max(1, chosen)
    count, far = source.shape[0], 0
    for distance in DISTANCES:
        places = sorted({min(max(distance, count * k // 4), count - 1 - distance) for k in (1, 2, 3)})
        if places[0] < distance:
            break
        differences = [
            _difference(
                source.read(np.array([k]))[0], source.read(np.array([k - distance, k + distance])).mean(0, np.float64)
            )
            for k in places
        ]
        if np.median(differences) > FAR:
            break
        far = distance
    logger.info("warm start: one slice of %d from nothing", max(1, 2 * far))
    return max(1, 2 * far)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """How far two sinograms are apart but for their noise, relative to the first: by means over 4 × 4 values."""
    a, b = (
        x[: x.shape[0] // 4 * 4 or None, : x.shape[1] // 4 * 4 or None].astype(np.float64) for x in (a, b)
    )  # squares may overflow float32
    if min(a.shape) >= 4:
        a, b = (x.reshape(x.shape[0] // 4, 4, -1, 4).mean((1, 3)) for x in (a, b))
    norm = np.linalg.norm(a)
    return float(np.linalg.norm(a - b) / norm) if norm > 0 else float(np.any(b))


def open_tasks(tasks: list[Task], done: np.ndarray) -> list[Task]:
    """The tasks of which a slice is missing, without the slices that are done."""
    left = []
    for task in tasks:
        missing = [k for k, index in enumerate(task.slices) if not done[index]]
        if missing:
            near = tuple(task.near[k] for k in missing) if task.near else ()
            left.append(replace(task, slices=tuple(task.slices[k] for k in missing), near=near))
    return left
