"""Dask worker side: does the tasks of a work item, one after the other, on the worker's own device."""

from __future__ import annotations

import contextlib
import pickle
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch

from tomopy_ganrec.io.protocols import Indices, Record, SliceSource, SliceStore
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.package_version import VERSION
from tomopy_ganrec.results import FitResult

from .dask_messages import ClusterJob, WorkItem, WorkResult, process_id
from .devices import cpu_threads, resolve_device
from .memory import FREE_MEMORY_SHARE, batch_size, estimate_memory
from .progress import Cancelled
from .weight_store import WeightStore, weight_store_for
from .worker import InitialImages, Worker, memory_errors

__all__ = ["end_sessions", "run_item"]

POLL_INTERVAL = 0.1  # seconds between two looks at whether to stop, for an item that waits for another

_lock = threading.Lock()
_sessions: dict[tuple[str, str], _WorkerSession] = {}  # by run and device


class _SentSlices:
    """Slices that came with a work item: a source of sinograms, or initial images."""

    def __init__(self, shape: tuple[int, int, int], nbytes_in_memory: int):
        self.shape = shape
        self.nbytes_in_memory = nbytes_in_memory
        self.slices: dict[int, np.ndarray] = {}

    def read(self, indices: Indices) -> np.ndarray:
        return np.stack([self.slices[int(k)] for k in indices])

    __getitem__ = read

    def repaired(self, indices: Indices) -> list[dict[str, int]]:
        """Nothing: values are repaired where a file is read."""
        return [{} for _ in indices]


class _SliceSink:
    """Writes images into the output if this process can, or keeps them for the result of the work item."""

    def __init__(self, output: SliceStore | None):
        self._output = output
        self.images: dict[int, np.ndarray] = {}
        self.check: Callable[[], None] = lambda: None

    def write(self, indices: Indices, images: np.ndarray) -> None:
        self.check()  # once the caller's call has ended, no slice may appear in its output
        if self._output is not None:
            self._output.write(indices, images)
        else:
            self.images.update(zip((int(k) for k in indices), images, strict=True))

    def read(self, index: int) -> np.ndarray:
        return self.images[index] if self._output is None else self._output.read(index)


@dataclass(frozen=True, eq=False)
class _SessionJob:
    """A `worker.WorkerJob` whose data come from, and whose images go to, a work item where they are in no file."""

    source: SliceSource
    output: _SliceSink
    theta: np.ndarray
    grid: tuple[int, int]
    options: GanrecOptions
    init: InitialImages | None


class _WorkerSession:
    """A `worker.Worker` with its projector, kept from one work item of a job to the next."""

    def __init__(self, job: ClusterJob, device: torch.device):
        self.busy = threading.Lock()
        self.job = job
        self._device = device
        self._sinograms = _SentSlices(job.shape, job.nbytes_in_memory)
        self._init = _SentSlices((job.shape[0], *job.grid), 0)
        self._sink = _SliceSink(job.output)
        self._weights: WeightStore | None = weight_store_for(job.output) if job.carries_weights else None
        session_job = _SessionJob(
            source=job.source or self._sinograms,
            output=self._sink,
            theta=job.theta,
            grid=job.grid,
            options=job.options,
            init=self._init if job.has_init else None,
        )
        self._worker = Worker(device, session_job, self._weights)

    def run(self, item: WorkItem, check: Callable[[], None], memory_limit: int | None) -> WorkResult:
        """The result of a work item.

        Parameters
        ----------
        item : WorkItem
        check : callable
            Called after each iteration; raises `Cancelled` if the item is no longer wanted.
        memory_limit : int or None
            Bytes that Dask allows the worker.
        """
        job = self.job
        if not item.tasks:
            return WorkResult(batch=self._batch_size(memory_limit))
        self._sinograms.slices = item.sinograms
        self._init.slices = item.init
        self._sink.images = dict(item.images)
        self._sink.check = check
        records_by_slice = dict(item.records)
        records: list[Record] = []
        try:
            for task in item.tasks:
                with memory_errors(job.shape, job.grid):
                    task_records = self._worker.work(task, records_by_slice, lambda status: check())
                records_by_slice.update(zip(task.slices, task_records, strict=True))
                records += task_records
            return WorkResult(records, {k: self._sink.images[k] for k in item.slices} if job.output is None else {})
        finally:
            self._sinograms.slices, self._init.slices, self._sink.images = {}, {}, {}
            if self._weights is not None and not job.weights_on_disk:
                self._weights.clear()

    def _batch_size(self, memory_limit: int | None) -> int:
        """Slices at once by the free memory; on a CPU also by the worker's limit, above which Dask kills it."""
        job, options = self.job, self.job.options
        batch = batch_size(options, self._device, job.shape[1:], job.grid)
        if memory_limit and self._device.type == "cpu" and options.joint_slices == 1 and options.batch_size == "auto":
            while batch > 1 and self._needed_bytes(batch) > FREE_MEMORY_SHARE * memory_limit:
                batch -= 1
        return batch

    def _needed_bytes(self, batch: int) -> float:
        job = self.job
        return estimate_memory(
            (batch, *job.shape[1:]),
            job.options.replace(batch_size=batch, device="cpu"),
            sinogram_order=True,
            num_gridx=job.grid[0],
            num_gridy=job.grid[1],
            out=True,
        ).total


def run_item(sender_version: str, run_id: str, pickled_job: bytes, pickled_item: bytes) -> WorkResult | None:
    """The result of a work item, on the worker that executes this; None if it is no longer wanted.

    Parameters
    ----------
    sender_version : str
        Version of this package at the client.
    run_id : str
        The same for all items of a job.
    pickled_job, pickled_item : bytes
        A `ClusterJob` and a `WorkItem`.

    Raises
    ------
    ImportError
        Where another version is installed.
    """
    from distributed import get_worker

    dask_worker, own_version = get_worker(), VERSION
    if sender_version != own_version:
        raise ImportError(f"{dask_worker.address} has version {own_version}")
    item: WorkItem = pickle.loads(pickled_item)

    def check() -> None:
        if not _is_wanted(dask_worker, item.key):
            raise Cancelled("the reconstruction was cancelled")

    try:
        check()
        session = _session_of(run_id, pickled_job, item.ranks.get(dask_worker.name, 0))
        while not session.busy.acquire(timeout=POLL_INTERVAL):
            check()
        try:
            check()
            with cpu_threads(dask_worker.state.nthreads), _recorded_warnings(session.job) as caught:
                result = session.run(item, check, dask_worker.memory_manager.memory_limit)
            result.warnings = [(str(w.message), w.category) for w in caught]
            return result
        finally:
            session.busy.release()
    except Cancelled:
        return None
    except Exception as error:
        return WorkResult(error=_portable(error), traceback=f"on {dask_worker.address}\n{traceback.format_exc()}")


def _recorded_warnings(job: ClusterJob) -> contextlib.AbstractContextManager[Iterable[Any]]:
    """Records warnings, which the client repeats; none in the client's own process, where they are seen anyhow."""
    if job.client_process == process_id():
        return contextlib.nullcontext(())
    return warnings.catch_warnings(record=True)


def _is_wanted(dask_worker: Any, key: str) -> bool:
    """Whether a client still waits for a work item that is being executed.

    Dask stops nothing that runs, but the worker knows of a task that was cancelled, whose client or scheduler has gone.
    """
    task = dask_worker.state.tasks.get(key)
    return (
        task is not None
        and task.state != "cancelled"
        and dask_worker.status.name in ("running", "paused", "closing_gracefully")
    )


def _session_of(run_id: str, pickled_job: bytes, rank: int) -> _WorkerSession:
    """The session of a job on the device of this worker; those of other jobs are ended."""
    import cloudpickle

    with _lock:
        same_run = (session.job for (run, _), session in _sessions.items() if run == run_id)
        job: ClusterJob = next(same_run, None) or cloudpickle.loads(pickled_job)
        device = _device(job.options, rank)
        for other in [key for key in _sessions if key[0] != run_id]:
            del _sessions[other]
        key = run_id, str(device)
        if key not in _sessions:
            _sessions[key] = _WorkerSession(job, device)
        return _sessions[key]


def _device(options: GanrecOptions, rank: int) -> torch.device:
    """The device of the worker that is number `rank` on its machine."""
    visible_first = "dask_cuda" in sys.modules  # it puts the GPU meant for a worker first among those the worker sees
    if options.gpu_list is not None:
        return resolve_device(f"cuda:{0 if visible_first else options.gpu_list[rank % len(options.gpu_list)]}")
    device = resolve_device(options.device)
    if str(device) == "cuda":  # without a number
        device = torch.device("cuda", 0 if visible_first else rank % torch.cuda.device_count())
    return device


def end_sessions(run_id: str) -> None:
    """Free what a job has kept in this process, such as projectors."""
    with _lock:
        ended = [_sessions.pop(key) for key in list(_sessions) if key[0] == run_id]
    if ended and torch.cuda.is_initialized():
        del ended
        torch.cuda.empty_cache()


def _portable(error: BaseException) -> BaseException:
    """An exception of the same type and message that can be pickled.

    Without its attributes, which may lie on a GPU, except for the `result` that `NonFiniteError` promises.
    """
    result = getattr(error, "result", None)
    try:
        constructor, arguments = cast(tuple[Any, ...], error.__reduce__())[:2]
        copy = constructor(*arguments)
        if isinstance(result, FitResult):
            copy.result = replace(result, image=result.image.cpu(), start=result.start.cpu(), states=None)
        unpickled = pickle.loads(pickle.dumps(copy))
        if type(unpickled) is type(error) and str(unpickled) == str(error):
            return copy
    except Exception:  # such as of exceptions whose constructors take other arguments
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
