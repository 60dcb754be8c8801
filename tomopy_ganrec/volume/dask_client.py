"""Many slices on the workers of a Dask cluster: in which order tasks may begin is decided here, who does which is Dask's business.

The process of the client plans as `volume.reconstruct` does and submits a task once the neighbours it begins from are done, so that Dask's tasks are
independent of each other and a worker that dies costs only those it was at. Data and images that lie in files travel as the files' names.
"""

import asyncio
import contextlib
import itertools
import pickle
import queue
import time
import uuid
import warnings
from dataclasses import replace
from importlib.metadata import version

import numpy as np

from tomopy_ganrec.options import GanrecOptions

from .dask_worker import Outcome, Run, Unit, lasting, this_process
from .planning import Task, open_tasks, plan
from .progress import Call
from .weight_store import states_for

__all__ = ["WorkerTraceback", "reconstruct_on"]

PATIENCE = 30.0  # seconds without any worker, or without an answer of the scheduler
AHEAD = 2  # tasks per worker in flight: the next one is there when one ends
TICK = 0.1  # seconds between two looks at whether to stop
LOOK = 1.0  # seconds between two looks at who the workers are
SMALL = 2**20  # bytes up to which a source goes with each task; a larger one holds data, not the name of a file


class WorkerTraceback(Exception):
    """The cause of an exception that a worker met: where it happened, as text."""

    def __str__(self):
        return "\n" + self.args[0]


def reconstruct_on(
    client,
    source,
    centers: np.ndarray,
    theta: np.ndarray,
    size: tuple[int, int],
    options: GanrecOptions,
    output,
    call: Call,
    init=None,
    every=1,
) -> list[str]:
    """Reconstruct the slices that `output` does not have yet on the workers of a Dask cluster.

    A worker takes one task at a time, whatever its number of threads, and lets torch use them all. On machines with GPUs it takes the one of its rank
    among the workers of its machine, unless ``options.device`` names another; workers that dask-cuda started keep the GPU they were given.

    Parameters
    ----------
    client : distributed.Client
        Not an asynchronous one.
    source : Source
        Sinograms in memory are sent, with the task they are for; those of a file are read by the workers, which must see it under the same path.
    centers : (slices,) array
        Edge convention.
    theta : (angles,) array
        Radians.
    size : (int, int)
        Rows and columns of a slice.
    options : GanrecOptions
    output : Output
        That has begun. Written by the workers where it is on disk, and by this process else.
    call : Call
        For progress, and to be stopped by.
    init : (slices, rows, cols) array, optional
    every : int
        `volume.warm_every`.

    Returns
    -------
    list of str
        The devices that were used: ``['cpu']``, ``['cuda:0', 'cuda:1']``.

    Raises
    ------
    TypeError
        For a `client` that is none.
    ValueError
        For ``options.callback``, which cannot travel.
    RuntimeError
        Where the scheduler does not answer, no worker is there for `PATIENCE` seconds, or a task ends several workers. What was finished is kept, as
        after anything else a worker raises; that comes with its own type and message.
    """
    _check_client(client)
    if options.callback is not None:
        raise ValueError(
            "option callback: it cannot travel to the workers of a Dask cluster; leave it out, or reconstruct without client"
        )
    call.done(None, int(output.done.sum()))
    if not output.done.all():
        _reconstruct(client, source, np.asarray(centers), theta, size, options, output, call, init, every)
    return sorted({record["device"] for record in output.records})


def _check_client(client) -> None:
    try:
        from distributed import Client
    except ImportError as error:
        raise TypeError(
            f"client is of type {type(client).__name__!r}; it should be a Client of distributed, which is not installed: "
            "pip install 'tomopy_ganrec[distributed]'"
        ) from error
    if not isinstance(client, Client):
        raise TypeError(
            f"client is of type {type(client).__name__!r}; give a dask.distributed.Client, such as Client('tcp://scheduler:8786')"
        )
    if client.asynchronous:
        raise TypeError("client is asynchronous, and this call is not; give a Client made without asynchronous=True")


def _reconstruct(
    client, source, centers, theta, size, options: GanrecOptions, output, call: Call, init, every: int
) -> None:
    sent = source if source.nbytes_in_memory == 0 and _travels(source) else None
    shared = output if output.shared else None
    chain = options.preset == "paper" and every > 1
    run = Run(
        theta, tuple(size), options.replace(progress=False), source.shape, source.nbytes_in_memory, sent, shared, init is not None, chain,
        this_process(),
    )  # fmt: skip
    with _Crew(client, run, call, _kept(output)) as crew:
        batch = crew.batch()
        if options.batch_size == "auto":  # something for every worker, and no slice alone (see `plan`)
            count = len(range(0, len(centers), every)) if chain else len(centers)
            batch = max(2, min(batch, -(-count // crew.workers)))
        waiting = _units(
            open_tasks(plan(centers, batch, every, options.joint_slices, chain), output.done),
            chain and not lasting(output),
        )
        while waiting or crew.busy:
            for tasks in list(waiting):
                if crew.busy >= AHEAD * max(1, crew.workers):
                    break
                if all(output.done[k] for k in _needed(tasks)):
                    waiting.remove(tasks)
                    crew.submit(_unit(tasks, run, source, output, init))
            unit, outcome = crew.wait()
            if shared is None:
                output.write(list(outcome.images), np.stack(list(outcome.images.values())))
            output.mark(unit.slices, outcome.records)
            call.done(None, len(unit.slices))
    if chain and lasting(output):
        states_for(output).clear()


def _travels(source) -> bool:
    """Whether a copy of a source in another process reads for itself."""
    import cloudpickle

    try:
        return len(cloudpickle.dumps(source)) <= SMALL
    except Exception:  # whatever a library raises for what it cannot pickle
        return False


def _kept(output) -> str:
    """What becomes of the slices that are finished when a run fails."""
    if not lasting(output):
        return "the slices that were finished are lost; with out='recon.h5' they would be kept, and the same call would go on with the rest"
    return f"the slices that were finished are kept in {output.path}, the same call goes on with the rest"


def _units(tasks: list[Task], together: bool) -> list[tuple[Task, ...]]:
    """The tasks that must be on one worker: those of a chain `together`, if its weights stay in that worker's memory; else each for itself."""
    if not together:
        return [(task,) for task in tasks]
    units = []
    for task in tasks:
        before = {k for pair in task.near for k in pair}
        joined = [unit for unit in units if any(not before.isdisjoint(t.slices) for t in unit)]
        units = [unit for unit in units if unit not in joined] + [tuple(itertools.chain(*joined)) + (task,)]
    return units


def _needed(tasks) -> set[int]:
    """The neighbours that are not among the tasks' own slices."""
    return {k for task in tasks for pair in task.near for k in pair}.difference(*(task.slices for task in tasks))


def _unit(tasks, run: Run, source, output, init) -> Unit:
    own, near = [k for task in tasks for k in task.slices], sorted(_needed(tasks))
    return Unit(
        f"ganrec-slices-{min(own)}-{max(own)}",
        tasks=tasks,
        data={} if run.source is not None else dict(zip(own, source.read(np.array(own)), strict=True)),
        init={} if init is None else {k: np.array(init[k], np.float32) for k in own},
        images={} if run.output is not None else {k: output.read(k) for k in near},
        records={k: {name: value for name, value in output.records[k].items() if name != "history"} for k in near},
    )


def _ranks(before: dict, workers: dict) -> dict:
    """A number for each worker (by name), different ones on each machine, so that each takes a GPU of its own.

    Parameters
    ----------
    before : dict
        The numbers so far; they stay, also for a worker that is started again under its name.
    workers : dict
        By address, with ``name`` and ``host``.
    """
    hosts = {worker["name"]: worker["host"] for _, worker in sorted(workers.items())}
    ranks = {name: rank for name, rank in before.items() if name in hosts}
    for name, host in hosts.items():
        taken = {rank for other, rank in ranks.items() if hosts[other] == host}
        ranks.setdefault(name, next(k for k in itertools.count() if k not in taken))
    return ranks


class _Crew:
    """The workers of a cluster for one call: ``with _Crew(client, run, call, kept) as crew:``. When that is left, however, nothing goes on there."""

    def __init__(self, client, run: Run, call: Call, kept: str):
        import cloudpickle

        self._client, self._call, self._kept = client, call, kept
        self._id, self._run = uuid.uuid4().hex[:8], cloudpickle.dumps(run)
        self._arrived, self._flight, self._warned = queue.SimpleQueue(), {}, set()
        self._address = getattr(client.scheduler, "address", "an unknown address")
        self._asked, self._asked_at, self._seen, self._ranks = None, -np.inf, time.monotonic(), {}
        self._count, self.workers = itertools.count(), 0

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for future, _ in self._flight.values():
            future.release()  # unlike Client.cancel it waits for nobody; what nobody wants is dropped, and a unit at work sees that (`_wanted`)
        self._flight.clear()
        if self._asked is not None:
            self._asked.cancel()
        if self._client.status == "running":
            with contextlib.suppress(Exception):  # a scheduler that has gone, with its workers
                self._client.run(_forgetting(self._id), on_error="ignore")

    @property
    def busy(self) -> int:
        return len(self._flight)

    def batch(self) -> int:
        """How many slices go into a task, by the memory of a worker."""
        self.submit(Unit())
        _, outcome = self.wait()
        while not self.workers:
            self._call.check()
            self._look()
            time.sleep(TICK / 10)
        return outcome.batch

    def submit(self, unit: Unit) -> None:
        import dask

        self._call.check()
        unit = replace(unit, key=f"{unit.name}-{self._id}-{next(self._count)}", ranks=dict(self._ranks))
        load = pickle.dumps(unit, protocol=5)
        try:
            # Data within the task: unlike scattered data it does not die with a worker. Dask warns of that from 10 MB on.
            with dask.config.set(
                {"distributed.admin.large-graph-warning-threshold": 2 * len(load) + len(self._run) + SMALL}
            ):
                future = self._client.submit(
                    _working(), version("tomopy_ganrec"), self._id, self._run, load, key=unit.key, pure=False
                )
        except Exception as error:
            if self._client.status == "running":
                raise
            raise self._lost(error) from error
        self._flight[unit.key] = future, unit
        future.add_done_callback(self._arrive)

    def _arrive(self, future) -> None:
        """In a thread of Dask's: what came of a unit, so that the wait for a large result hears `call` too."""
        try:
            found = future.result()
        except BaseException as error:
            found = error
        self._arrived.put((future.key, found))

    def wait(self) -> tuple[Unit, Outcome]:
        """The next unit that is done."""
        while True:
            self._call.check()
            self._look()
            try:
                key, found = self._arrived.get(timeout=TICK)
            except queue.Empty:
                continue
            _, unit = self._flight.pop(key)
            if isinstance(found, BaseException):
                raise self._explained(unit, found) from found
            if found is None:  # given up by a worker that was leaving
                self.submit(unit)
                continue
            for text, category in found.warned:
                if text not in self._warned:
                    self._warned.add(text)
                    warnings.warn(text, category, stacklevel=5)
            if found.error is not None:
                raise found.error from WorkerTraceback(found.trace)
            return unit, found

    def _look(self) -> None:
        """Who the workers are, from time to time, without waiting for the answer; raises where nobody is left."""
        now = time.monotonic()
        if self._client.status != "running":
            raise self._lost()
        if self._asked is None:
            if now - self._asked_at > LOOK:
                self._asked_at = now
                self._asked = asyncio.run_coroutine_threadsafe(self._identity(), self._client.loop.asyncio_loop)
        elif self._asked.done():
            asked, self._asked = self._asked, None
            try:
                workers = asked.result()["workers"]
            except Exception as error:
                raise self._lost(error) from error
            self.workers = len(workers)
            if workers:
                self._seen, self._ranks = time.monotonic(), _ranks(self._ranks, workers)
        elif now - self._asked_at > PATIENCE:
            raise self._lost()
        if now - self._seen > PATIENCE:
            raise RuntimeError(
                f"the Dask scheduler at {self._address} has had no workers for {PATIENCE:g} s; start some (`dask worker {self._address}`), or wait "
                f"for those that are to come with client.wait_for_workers(1): {self._kept}"
            )

    async def _identity(self) -> dict:
        return await self._client.scheduler.identity()

    def _lost(self, error: BaseException | None = None) -> RuntimeError:
        reason = f" ({error})" if error is not None and str(error) else ""
        return RuntimeError(f"the Dask scheduler at {self._address} does not answer{reason}: {self._kept}")

    def _explained(self, unit: Unit, error: BaseException) -> BaseException:
        """What is raised for something that happened around the work of a unit."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        which = f"slices {min(unit.slices)} to {max(unit.slices)}" if unit.slices else "the first task"
        if isinstance(error, KilledWorker):
            return RuntimeError(
                f"{which}: the workers that took them up died, one after the other ({error}). Most often it is memory: fewer slices at once "
                f"(batch_size=1), more memory for each worker, or backend='astra' may help; {self._kept}"
            )
        if isinstance(error, ImportError):
            return RuntimeError(
                f"the workers of the Dask scheduler at {self._address} cannot load tomopy_ganrec {version('tomopy_ganrec')} ({error}); install it "
                "there as it is here"
            )
        if isinstance(error, CancelledError | asyncio.CancelledError):
            reason = getattr(error, "reason", "")
            if self._client.status != "running" or "connection" in reason:
                return self._lost()
            return RuntimeError(
                f"{which} were cancelled by somebody else, perhaps client.restart() ({error}): {self._kept}"
            )
        if isinstance(error, OSError) or self._client.status != "running":
            return self._lost(error)
        return error


def _working():
    """The function that is submitted. As it is nested, it is pickled by its code: the scheduler does not have to import this package."""

    def work(*args):
        from tomopy_ganrec.volume.dask_worker import work as _work

        return _work(*args)

    return work


def _forgetting(run_id: str):
    """The function that ends a run in a worker's process, if it began there."""

    def forget():
        import sys

        module = sys.modules.get("tomopy_ganrec.volume.dask_worker")
        if hasattr(module, "forget"):  # it may be loading
            module.forget(run_id)

    return forget
