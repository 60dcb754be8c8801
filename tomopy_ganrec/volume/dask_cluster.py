"""Connection of one reconstruction to a Dask cluster: submits work items, waits for results, explains failures."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pickle
import queue
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from tomopy_ganrec.package_version import VERSION

from .dask_messages import ClusterJob, WorkItem, WorkResult
from .progress import Progress

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["LARGEST_SENT_SOURCE", "Cluster", "WorkerTraceback"]

ANSWER_TIMEOUT = 30.0  # seconds without any worker, or without an answer of the scheduler
POLL_INTERVAL = 0.1  # seconds between two looks at whether to stop
WORKERS_INTERVAL = 1.0  # seconds between two requests for the list of workers
# Bytes up to which a source goes with each task; a larger one holds data, not a file's name.
LARGEST_SENT_SOURCE = 2**20


class WorkerTraceback(Exception):  # noqa: N818  # not an error of its own: the cause of one
    """The cause of an exception that was raised in a worker: where that happened, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Cluster:
    """The workers of a Dask cluster during one reconstruction.

    A context manager: however it is left, no work of the reconstruction goes on in the workers.

    Parameters
    ----------
    client : distributed.Client
    job : ClusterJob
    progress : Progress
        Stops the reconstruction when it is stopped.
    what_is_kept : str
        Ends the messages of errors: what becomes of the slices that are finished.

    Attributes
    ----------
    workers : int
        Number of workers, as last heard; 0 before.
    """

    def __init__(self, client: Client, job: ClusterJob, progress: Progress, what_is_kept: str):
        import cloudpickle

        self._client: Any = client  # whose types allow None where a running client has none
        self._progress = progress
        self._what_is_kept = what_is_kept
        self._run_id = uuid.uuid4().hex[:8]
        self._pickled_job = cloudpickle.dumps(job)
        self._address = getattr(client.scheduler, "address", "an unknown address")
        self._arrived: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._in_flight: dict[str, tuple[Any, WorkItem]] = {}
        self._warned: set[str] = set()
        self._request: Any = None  # for the list of workers, while the scheduler has not answered
        self._requested_at = -np.inf
        self._last_seen_workers = time.monotonic()
        self._ranks: dict[str, int] = {}
        self._counter = itertools.count()
        self.workers = 0

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for future, _ in self._in_flight.values():
            # Unlike Client.cancel this waits for no worker. Dask drops items that no client waits for; an item that is
            # being executed is stopped by `dask_worker._is_wanted`.
            future.release()
        self._in_flight.clear()
        if self._request is not None:
            self._request.cancel()
        if self._client.status == "running":
            with contextlib.suppress(Exception):  # of a scheduler that has gone, with its workers
                self._client.run(_end_sessions_function(self._run_id), on_error="ignore")

    @property
    def in_flight(self) -> int:
        """Number of work items submitted and not yet returned by `wait`."""
        return len(self._in_flight)

    def batch_size(self) -> int:
        """The number of slices for which a worker has memory; afterwards `workers` is known."""
        self.submit(WorkItem())
        _, result = self.wait()
        while not self.workers:
            self._progress.check()
            self._look_for_workers()
            time.sleep(POLL_INTERVAL / 10)
        return result.batch

    def submit(self, item: WorkItem) -> None:
        """Send a work item to the cluster."""
        import dask

        self._progress.check()
        key = f"{item.name}-{self._run_id}-{next(self._counter)}"
        item = replace(item, key=key, ranks=dict(self._ranks))
        pickled_item = pickle.dumps(item, protocol=5)
        # Data within the task: unlike scattered data it does not die with a worker. Dask warns of that from 10 MB on.
        threshold = 2 * len(pickled_item) + len(self._pickled_job) + LARGEST_SENT_SOURCE
        try:
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": threshold}):
                future = self._client.submit(
                    _run_item_function(),
                    VERSION,
                    self._run_id,
                    self._pickled_job,
                    pickled_item,
                    key=key,
                    pure=False,
                )
        except Exception as error:
            if self._client.status == "running":
                raise
            raise self._no_answer(error) from error
        self._in_flight[key] = future, item
        future.add_done_callback(self._receive)

    def _receive(self, future: Any) -> None:
        """Queue the result of an item; runs in a thread of Dask's, so that `wait` does not wait for a large one."""
        try:
            result = future.result()
        except BaseException as error:
            result = error
        self._arrived.put((future.key, result))

    def wait(self) -> tuple[WorkItem, WorkResult]:
        """The next work item that is done, and its result.

        Raises
        ------
        Cancelled
            After `Progress.stop`.
        RuntimeError
            Where the scheduler does not answer, no workers are there, or the item's workers died.
        Exception
            What the worker raised.
        """
        while True:
            self._progress.check()
            self._look_for_workers()
            try:
                key, result = self._arrived.get(timeout=POLL_INTERVAL)
            except queue.Empty:
                continue
            _, item = self._in_flight.pop(key)
            if isinstance(result, BaseException):
                raise self._explained(item, result) from result
            if result is None:  # given up by a worker that was leaving
                self.submit(item)
                continue
            for message, category in result.warnings:
                if message not in self._warned:
                    self._warned.add(message)
                    warnings.warn(message, category, stacklevel=5)
            if result.error is not None:
                raise result.error from WorkerTraceback(result.traceback)
            return item, result

    def _look_for_workers(self) -> None:
        """Ask for the list of workers from time to time, without waiting for the answer; raises if there are none."""
        now = time.monotonic()
        if self._client.status != "running":
            raise self._no_answer()
        if self._request is None:
            if now - self._requested_at > WORKERS_INTERVAL:
                self._requested_at = now
                loop = self._client.loop.asyncio_loop
                self._request = asyncio.run_coroutine_threadsafe(self._scheduler_identity(), loop)
        elif self._request.done():
            request, self._request = self._request, None
            try:
                workers = request.result()["workers"]
            except Exception as error:
                raise self._no_answer(error) from error
            self.workers = len(workers)
            if workers:
                self._last_seen_workers = time.monotonic()
                self._ranks = _ranks_on_machines(self._ranks, workers)
        elif now - self._requested_at > ANSWER_TIMEOUT:
            raise self._no_answer()
        if now - self._last_seen_workers > ANSWER_TIMEOUT:
            raise RuntimeError(
                f"the Dask scheduler at {self._address} has had no workers for {ANSWER_TIMEOUT:g} s; start some "
                f"(`dask worker {self._address}`), or wait for those that are to come with client.wait_for_workers(1): "
                f"{self._what_is_kept}"
            )

    async def _scheduler_identity(self) -> dict[str, Any]:
        return await self._client.scheduler.identity()

    def _no_answer(self, error: BaseException | None = None) -> RuntimeError:
        reason = f" ({error})" if error is not None and str(error) else ""
        return RuntimeError(f"the Dask scheduler at {self._address} does not answer{reason}: {self._what_is_kept}")

    def _explained(self, item: WorkItem, error: BaseException) -> BaseException:
        """The exception to raise for one that Dask raised instead of a result."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        subject = f"slices {min(item.slices)} to {max(item.slices)}" if item.slices else "the first task"
        if isinstance(error, KilledWorker):
            return RuntimeError(
                f"{subject}: the workers that took them up died, one after the other ({error}). Most often it is "
                "memory: fewer slices at once (batch_size=1), more memory for each worker, or backend='astra' may "
                f"help; {self._what_is_kept}"
            )
        if isinstance(error, ImportError):
            return RuntimeError(
                f"the workers of the Dask scheduler at {self._address} cannot load tomopy_ganrec "
                f"{VERSION} ({error}); install it there as it is here"
            )
        if isinstance(error, CancelledError | asyncio.CancelledError):
            reason = getattr(error, "reason", "")
            if self._client.status != "running" or "connection" in reason:
                return self._no_answer()
            return RuntimeError(
                f"{subject} were cancelled by somebody else, perhaps client.restart() ({error}): {self._what_is_kept}"
            )
        if isinstance(error, OSError) or self._client.status != "running":
            return self._no_answer(error)
        return error


def _ranks_on_machines(before: Mapping[str, int], workers: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """A number for each worker (by name), different ones on each machine, so that each takes a GPU of its own.

    Parameters
    ----------
    before : mapping of str to int
        The numbers so far; they stay, also for a worker that is started again under its name.
    workers : mapping
        By address, with ``name`` and ``host``.
    """
    hosts = {worker["name"]: worker["host"] for _, worker in sorted(workers.items())}
    ranks = {name: rank for name, rank in before.items() if name in hosts}
    for name, host in hosts.items():
        taken = {rank for other, rank in ranks.items() if hosts[other] == host}
        ranks.setdefault(name, next(k for k in itertools.count() if k not in taken))
    return ranks


def _run_item_function() -> Callable[..., WorkResult | None]:
    """The function that is submitted.

    As it is nested, it is pickled by its code, and the scheduler does not have to import this package; within it
    everything is imported by its absolute name.
    """

    def run(*args):  # type: ignore[no-untyped-def]  # names of types would be looked up by the scheduler
        from tomopy_ganrec.volume.dask_worker import run_item

        return run_item(*args)

    return run


def _end_sessions_function(run_id: str) -> Callable[[], None]:
    """The function that ends a reconstruction in a worker's process, if it began there; see `_run_item_function`."""

    def end():  # type: ignore[no-untyped-def]
        import sys

        module = sys.modules.get("tomopy_ganrec.volume.dask_worker")
        if module is not None and hasattr(module, "end_sessions"):  # the latter: not while it is being loaded
            module.end_sessions(run_id)

    return end
