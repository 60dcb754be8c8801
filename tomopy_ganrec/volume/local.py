"""Reconstruction of a volume on one or several devices of this machine."""

from __future__ import annotations

import contextlib
import threading

import numpy as np

from tomopy_ganrec import forks
from tomopy_ganrec.results import Status

from .devices import cpu_threads, lock_of, resolve_devices
from .job import Job
from .memory import batch_size
from .planning import Task
from .progress import Cancelled, Progress
from .weight_store import weight_store_for
from .worker import Worker, memory_errors

__all__ = ["run_local"]

POLL_INTERVAL = 0.1  # seconds between two looks at whether the threads have ended


class _TaskQueue:
    """Tasks for several workers: each takes the first one that depends on finished slices only."""

    def __init__(self, tasks: list[Task], done: np.ndarray):
        self._tasks = list(tasks)
        self._done = done
        self._changed = threading.Condition()
        self.error: BaseException | None = None

    def take(self) -> Task | None:
        """The next task, once there is one; None when there will be none."""
        with self._changed:
            while True:
                if self.error is not None or not self._tasks:
                    return None
                for task in self._tasks:
                    if all(self._done[k] for k in task.dependencies):
                        self._tasks.remove(task)
                        return task
                self._changed.wait()

    def finish(self, task: Task) -> None:
        """Mark the slices of a task as finished."""
        with self._changed:
            self._done[list(task.slices)] = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End the queue; the first error is kept."""
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()


def run_local(job: Job, progress: Progress) -> None:
    """Reconstruct the slices that the job's output does not have yet.

    Parameters
    ----------
    job : Job
        With an output that has begun.
    progress : Progress
        Is updated, and stops the reconstruction when it is stopped.

    Raises
    ------
    Cancelled
        After `Progress.stop`.
    MemoryError
        Where memory runs out; says which options help.
    Exception
        What reading, fitting, writing or the user's callback raises; slices that are finished stay in the output.
    """
    devices = resolve_devices(job.options)
    batch = batch_size(job.options, devices[0], job.source.shape[1:], job.grid)
    tasks = job.pending_tasks(job.shared_batch(batch, len(devices)))
    weights = weight_store_for(job.output) if job.carries_weights else None
    progress.done(None, int(job.output.done.sum()))
    workers = [Worker(device, job, weights) for device in devices]
    threads = cpu_threads(1) if forks.with_torch() else contextlib.nullcontext()
    with memory_errors(job.source.shape, job.grid), threads:
        if len(workers) == 1:
            for task in tasks:
                _run_task(workers[0], task, job, progress)
        else:
            _run_in_threads(workers, tasks, job, progress)
    if weights is not None:
        weights.clear()


def _run_task(worker: Worker, task: Task, job: Job, progress: Progress, queue: _TaskQueue | None = None) -> None:
    worker_id = object()
    callback = job.options.callback

    def notify(status: Status) -> object:
        progress.check()
        if queue is not None and queue.error is not None:
            raise Cancelled("another device has failed")
        progress.update(worker_id, len(task.slices), status)
        if callback is None:
            return False
        with lock_of(worker.device).lent():
            return callback(status)

    progress.check()
    records = worker.work(task, job.output.records, notify, progress)
    job.output.mark(np.array(task.slices), records)
    progress.done(worker_id, len(task.slices))


def _run_in_threads(workers: list[Worker], tasks: list[Task], job: Job, progress: Progress) -> None:
    """The tasks on several devices, one thread for each; the first exception stops all and is raised here."""
    queue = _TaskQueue(tasks, job.output.done.copy())

    def run(worker: Worker, ended: threading.Event) -> None:
        try:
            while (task := queue.take()) is not None:
                _run_task(worker, task, job, progress, queue)
                queue.finish(task)
        except BaseException as error:
            queue.fail(error)
        finally:
            ended.set()

    # Not Thread.join: interrupted, it takes its thread for stopped (Python up to 3.12).
    ends = [threading.Event() for _ in workers]
    for worker, ended in zip(workers, ends, strict=True):
        threading.Thread(target=run, args=(worker, ended), name=f"ganrec {worker.device}", daemon=True).start()
    try:
        while not all(ended.wait(POLL_INTERVAL) for ended in ends):  # an unlimited wait would not see an interrupt
            pass
    except BaseException as error:
        queue.fail(error)
        for ended in ends:
            ended.wait()
        raise
    if queue.error is not None:
        raise queue.error
