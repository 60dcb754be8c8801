"""Many slices: planned, read, reconstructed on one or several devices, and put away one batch after the other."""

import contextlib
import threading

import numpy as np

from tomopy_ganrec import forks
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.results import Status

from .devices import cpu_threads, lock_of, resolve_devices
from .memory import batch_size
from .planning import Task, open_tasks, plan
from .progress import Call, Cancelled
from .weight_store import states_for
from .worker import Worker, memory_errors

__all__ = ["reconstruct"]


class _Queue:
    """Tasks for several workers: each takes the first one whose neighbours are done."""

    def __init__(self, tasks: list[Task], done: np.ndarray):
        self._tasks, self._done, self._changed, self.error = list(tasks), done, threading.Condition(), None

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
    source,
    centers: np.ndarray,
    theta: np.ndarray,
    size: tuple[int, int],
    options: GanrecOptions,
    output,
    call: Call,
    init=None,
    every=1,
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
    tasks, states = (
        open_tasks(plan(centers, batch, every, options.joint_slices, chain), output.done),
        states_for(output) if chain else None,
    )
    call.done(None, int(output.done.sum()))
    workers = [Worker(device, source, output, theta, size, options, init, states) for device in devices]
    with memory_errors(source.shape, size), cpu_threads(1) if forks.with_torch() else contextlib.nullcontext():
        if len(workers) == 1:
            for task in tasks:
                _work(workers[0], task, output, options, call)
        else:
            _share(workers, tasks, output, options, call)
    if states is not None:
        states.clear()


def _work(worker: Worker, task: Task, output, options: GanrecOptions, call: Call, queue: _Queue | None = None) -> None:
    who = object()

    def notify(status: Status):
        call.check()
        if queue is not None and queue.error is not None:
            raise Cancelled("another device has failed")
        call.tell(who, len(task.slices), status)
        if options.callback is None:
            return False
        with lock_of(worker.device).lent():
            return options.callback(status)

    call.check()
    records = worker.work(task, output.records, notify, call)
    output.mark(np.array(task.slices), records)
    call.done(who, len(task.slices))


def _share(workers: list[Worker], tasks: list[Task], output, options: GanrecOptions, call: Call) -> None:
    """The tasks on several devices, each in a thread of its own; the first exception stops all and is raised here."""
    queue = _Queue(tasks, output.done.copy())

    def run(worker: Worker, ended: threading.Event):
        try:
            while (task := queue.take()) is not None:
                _work(worker, task, output, options, call, queue)
                queue.finish(task)
        except BaseException as error:
            queue.fail(error)
        finally:
            ended.set()

    ends = [
        threading.Event() for _ in workers
    ]  # Thread.join, interrupted, takes its thread for stopped (Python up to 3.12)
    for worker, ended in zip(workers, ends, strict=True):
        threading.Thread(target=run, args=(worker, ended), name=f"ganrec {worker.device}", daemon=True).start()
    try:
        while not all(ended.wait(0.1) for ended in ends):  # a wait without end would not hear an interrupt
            pass
    except BaseException as error:
        queue.fail(error)
        for ended in ends:
            ended.wait()
        raise
    if queue.error is not None:
        raise queue.error
