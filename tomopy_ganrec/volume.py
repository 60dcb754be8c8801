"""Many slices: planned, read, reconstructed on one or several devices, and put away one batch after the other."""

import contextlib
import logging
import threading
import warnings
from dataclasses import replace

import numpy as np
import torch

from .calls import Call
from .checks import check_projections
from .devices import lock_of, resolve_devices
from .fit import fit
from .memory import batch_size
from .options import GanrecOptions
from .plan import CHAIN, Task, plan
from .projector import ParallelBeamProjector
from .result import Status
from .states import States
from .warm import FAR

__all__ = ["Worker", "reconstruct", "warm_every"]

logger = logging.getLogger(__name__)

DISTANCES = (1, 2, 4, 8)  # from a slice to its neighbours


@contextlib.contextmanager
def _memory_errors(shape: tuple, size: tuple):
    """Turn an exhausted memory into an error that says which options help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _exhausted(error) and "allocate" not in str(error):
            raise
        raise MemoryError(
            f"memory ran out while reconstructing {shape[0]} slices of {size[0]}×{size[1]} from {shape[1]} angles × {shape[2]} columns: {error}. "
            "Options that need less: batch_size=1, backend='astra' (or a smaller projector_memory), device='cpu', a smaller num_gridx and num_gridy; "
            "tomopy_ganrec.estimate_memory tells what is needed"
        ) from error


def _exhausted(error: BaseException) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error)


def warm_every(options: GanrecOptions, source, default: int | str = 0) -> int:
    """Of how many slices one is reconstructed from nothing; 1: each.

    'auto' compares sinograms with the mean of those 1, 2, 4 and 8 slices before and after, at three places of the volume, and takes twice the largest
    distance at which they differ by no more than a warm start bears (`warm.FAR`).
    """
    chosen = default if options.warm_start is None else options.warm_start
    if options.stack > 1 or options.preset != "paper" and options.init != "tv" and not options.warm_iterations:
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
        differences = [_difference(source.read(np.array([k]))[0], source.read(np.array([k - distance, k + distance])).mean(0)) for k in places]
        if np.median(differences) > FAR:
            break
        far = distance
    logger.info("warm start: one slice of %d from nothing", max(1, 2 * far))
    return max(1, 2 * far)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """How far two sinograms are apart but for their noise, relative to the first: by means over 4 × 4 values."""
    a, b = (x[: x.shape[0] // 4 * 4 or None, : x.shape[1] // 4 * 4 or None] for x in (a, b))
    if min(a.shape) >= 4:
        a, b = (x.reshape(x.shape[0] // 4, 4, -1, 4).mean((1, 3)) for x in (a, b))
    norm = np.linalg.norm(a)
    return float(np.linalg.norm(a - b) / norm) if norm > 0 else float(np.any(b))


class Worker:
    """Reconstructs tasks on one device, one projector for each centre in turn.

    Parameters
    ----------
    device : torch.device
    source : Source
        Of sinograms (`sources.source_of`).
    output : Output
        For the images (`outputs.output_of`); neighbours are read from it.
    theta : (angles,) array
        Radians.
    size : (int, int)
        Rows and columns of a slice.
    options : GanrecOptions
    init : (slices, rows, cols) array, optional
    states : States, optional
        For ``preset='paper'``: carry the weights from slice to slice, through here.
    """

    def __init__(self, device: torch.device, source, output, theta, size: tuple[int, int], options: GanrecOptions, init=None, states=None):
        self.device, self._source, self._output, self._theta, self._size = device, source, output, theta, size
        self._options, self._init, self._projector, self._most, self._states = options, init, None, None, states

    def work(self, task: Task, records, notify) -> list[dict]:
        """Reconstruct the slices of a task, write them to the output, and return their records.

        A GPU whose memory runs out gets half of the slices, and no more than that from then on.

        Parameters
        ----------
        task : Task
        records : sequence of dict
            Of all slices that are done.
        notify : callable
            See `fit`.
        """
        if self._most is not None and len(task.slices) > self._most:
            return [record for half in task.halves() for record in self.work(half, records, notify)]
        try:
            with lock_of(self.device):
                return self._fit(task, records, notify)
        except RuntimeError as error:
            if self.device.type != "cuda" or not _exhausted(error) or len(task.slices) == 1 or self._options.stack > 1:
                raise
        self._most = (len(task.slices) + 1) // 2
        torch.cuda.empty_cache()
        warnings.warn(
            f"the memory of {self.device} does not hold {len(task.slices)} slices: going on with {self._most} at a time", RuntimeWarning, stacklevel=2
        )
        return self.work(task, records, notify)

    def _fit(self, task: Task, records, notify) -> list[dict]:
        projector = self._projector_at(task.center)
        slices = np.array(task.slices)
        data = self._source.read(slices)
        if self._source.nbytes_in_memory == 0:  # what lies in memory has been looked at as a whole
            check_projections(data)
        sinogram = torch.from_numpy(data).to(self.device)
        init, known = None if self._init is None else np.array(self._init[slices], np.float32), {}
        if self._options.preset == "paper":
            known["state"] = self._carried(task)
        elif task.near:
            init, known["near"] = self._neighbours(task), [records[pair[0]] for pair in task.near]
        start = None if init is None else torch.from_numpy(init).to(self.device)
        result = fit(projector, sinogram, self._options, init=start, callback=notify, **known)
        self._output.write(slices, result.image.cpu().numpy())
        for index, state in zip(task.slices if self._states else (), result.states or (), strict=False):
            self._states.keep(index, state)
        return [
            dict(
                result.info[k],
                center=task.center,
                history={name: curve[:, k] for name, curve in result.history.items()},
                seconds={name: value / len(slices) for name, value in result.seconds.items()},
                backend=projector.backend,
                device=str(self.device),
            )
            for k in range(len(slices))
        ]

    def _projector_at(self, center: float) -> ParallelBeamProjector:
        """What a projector has measured and resampled serves all slices of its centre."""
        if self._projector is None or self._projector.center != center:
            options = self._options
            self._projector = ParallelBeamProjector(
                self._size, self._theta, self._source.shape[2], center, backend=options.backend, device=self.device,
                memory_limit=options.projector_memory,
            )  # fmt: skip
        return self._projector

    def _carried(self, task: Task) -> list[dict] | None:
        """The weights from which the slices of a chain begin; None for its first."""
        if not task.near or self._states is None:
            return None
        states = [self._states.get(pair[0]) for pair in task.near]
        lost = [pair[0] for pair, state in zip(task.near, states, strict=True) if state is None]
        if lost:
            raise RuntimeError(f"the weights after slice {lost[0]}, from which the next one begins, are gone; delete the output and begin anew")
        return states

    def _neighbours(self, task: Task) -> np.ndarray:
        """The images from which the slices begin: their neighbours', interpolated linearly."""
        images = np.empty((len(task.slices), *self._size), np.float32)
        for k, (index, (a, b)) in enumerate(zip(task.slices, task.near, strict=True)):
            share = abs(index - a) / abs(b - a)
            images[k] = (1 - share) * self._output.read(a) + share * self._output.read(b)
        return images


class _Queue:
    """Tasks for several workers: each takes the first one whose neighbours are done."""

    def __init__(self, tasks: list[Task], done: np.ndarray):
        self._tasks, self._done, self._changed, self.error, self._busy = list(tasks), done, threading.Condition(), None, 0

    def take(self) -> Task | None:
        """The next task, when there is one; None when there will be none."""
        with self._changed:
            while True:
                if self.error is not None or not self._tasks:
                    return None
                for task in self._tasks:
                    if all(self._done[k] for pair in task.near for k in pair):
                        self._tasks.remove(task)
                        return task
                self._changed.wait()

    def finish(self, task: Task) -> None:
        with self._changed:
            self._done[list(task.slices)] = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()


def reconstruct(
    source, centers: np.ndarray, theta: np.ndarray, size: tuple[int, int], options: GanrecOptions, output, call: Call, init=None, every=1
):
    """Reconstruct the slices that `output` does not have yet.

    Parameters
    ----------
    source : Source
    centers : (slices,) array
        Edge convention.
    theta : (angles,) array
        Radians.
    size : (int, int)
        Rows and columns of a slice.
    options : GanrecOptions
    output : Output
        That has begun.
    call : Call
        For progress, and to be stopped by.
    init : (slices, rows, cols) array, optional
    every : int
        `warm_every`.
    """
    devices = resolve_devices(options)
    batch = batch_size(options, devices[0], source.shape[1:], size)
    if options.batch_size == "auto" and len(devices) > 1:  # something for each of them
        batch = max(2, min(batch, -(-len(centers) // len(devices))))
    chain = options.preset == "paper" and every > 1
    tasks, states = open_tasks(plan(centers, batch, every, options.stack, chain), output.done), states_for(output) if chain else None
    call.done(None, int(output.done.sum()))
    workers = [Worker(device, source, output, theta, size, options, init, states) for device in devices]
    with _memory_errors(source.shape, size):
        if len(workers) == 1:
            for task in tasks:
                _work(workers[0], task, output, options, call)
        else:
            _share(workers, tasks, output, options, call)
    if states is not None:
        states.clear()


def states_for(output) -> States:
    """Where the weights of a chain are kept: beside an output on disk, else in memory."""
    path = getattr(output, "path", None)
    return States(None if path is None else path.with_name(path.name + ".weights"))


def open_tasks(tasks: list[Task], done: np.ndarray) -> list[Task]:
    """The tasks of which a slice is missing, without the slices that are done."""
    left = []
    for task in tasks:
        missing = [k for k, index in enumerate(task.slices) if not done[index]]
        if missing:
            near = tuple(task.near[k] for k in missing) if task.near else ()
            left.append(replace(task, slices=tuple(task.slices[k] for k in missing), near=near))
    return left


def _work(worker: Worker, task: Task, output, options: GanrecOptions, call: Call) -> None:
    who = object()

    def notify(status: Status):
        call.check()
        call.tell(who, len(task.slices), status)
        return options.callback is not None and options.callback(status)

    call.check()
    records = worker.work(task, output.records, notify)
    output.mark(np.array(task.slices), records)
    call.done(who, len(task.slices))


def _share(workers: list[Worker], tasks: list[Task], output, options: GanrecOptions, call: Call) -> None:
    """The tasks on several devices, each in a thread of its own; the first exception stops all and is raised here."""
    queue = _Queue(tasks, output.done.copy())

    def run(worker: Worker, ended: threading.Event):
        try:
            while (task := queue.take()) is not None:
                _work(worker, task, output, options, call)
                queue.finish(task)
        except BaseException as error:
            queue.fail(error)
            call.stop()
        finally:
            ended.set()

    ends = [threading.Event() for _ in workers]  # Thread.join, interrupted, takes its thread for stopped (Python up to 3.12)
    for worker, ended in zip(workers, ends, strict=True):
        threading.Thread(target=run, args=(worker, ended), name=f"ganrec {worker.device}", daemon=True).start()
    try:
        while not all(ended.wait(0.1) for ended in ends):  # a wait without end would not hear an interrupt
            pass
    except BaseException as error:
        queue.fail(error)
        call.stop()
        for ended in ends:
            ended.wait()
        raise
    if queue.error is not None:
        raise queue.error
