"""What a worker of a Dask cluster does: the tasks of a unit, one after the other, on the device that is its own."""

import contextlib
import os
import pickle
import socket
import sys
import threading
import traceback
import warnings
from dataclasses import dataclass, field, replace
from importlib.metadata import version

import numpy as np
import torch

from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.results import FitResult

from .devices import cpu_threads, resolve_device
from .memory import SHARE, batch_size, estimate_memory
from .planning import Task
from .progress import Cancelled
from .weight_store import states_for
from .worker import Worker, memory_errors

__all__ = ["Outcome", "Run", "Unit", "forget", "lasting", "this_process", "work"]

TICK = 0.1  # seconds between two looks at whether to stop, for a unit that waits for another

_lock = threading.Lock()
_benches: "dict[tuple[str, str], _Bench]" = {}


@dataclass(frozen=True)
class Run:
    """What all units of a call have in common; `source` and `output` are None where data and images travel with the units. `nbytes`: of the source,
    in memory; `given`: whether there are initial images; `chain`: weights go from slice to slice; `process`: the client's."""

    theta: np.ndarray
    size: tuple[int, int]
    options: GanrecOptions
    shape: tuple[int, int, int]
    nbytes: int
    source: object
    output: object
    given: bool
    chain: bool
    process: tuple


@dataclass(frozen=True)
class Unit:
    """Tasks that one worker does one after the other, with what they need of the slices they are about: sinograms, initial images, neighbours' images
    and records, each by number of slice. Without tasks: the question how many slices a worker's memory holds."""

    name: str = "ganrec-memory"
    key: str = ""
    tasks: tuple[Task, ...] = ()
    data: dict = field(default_factory=dict)
    init: dict = field(default_factory=dict)
    images: dict = field(default_factory=dict)
    records: dict = field(default_factory=dict)
    ranks: dict = field(default_factory=dict)

    @property
    def slices(self) -> list[int]:
        return [k for task in self.tasks for k in task.slices]


@dataclass
class Outcome:
    """What a worker returns of a unit. An exception comes as a value: raised there, Dask would replace it where it does not like it."""

    records: list = field(default_factory=list)
    images: dict = field(default_factory=dict)
    batch: int = 0
    warned: list = field(default_factory=list)
    error: BaseException | None = None
    trace: str = ""


def this_process() -> tuple:
    return socket.gethostname(), os.getpid()


def lasting(output) -> bool:
    """Whether an output is on disk, so that what is finished there, and the weights of a chain beside it, outlive a process."""
    return getattr(output, "path", None) is not None


class _Rows:
    """Slices that came with a unit, as sinograms and as initial images."""

    def __init__(self, shape: tuple, nbytes_in_memory: int):
        self.shape, self.nbytes_in_memory, self.rows = shape, nbytes_in_memory, {}

    def read(self, indices) -> np.ndarray:
        return np.stack([self.rows[int(k)] for k in indices])

    __getitem__ = read

    def repaired(self, indices) -> list[dict]:
        """Nothing: values are repaired where a file is read."""
        return [{} for _ in indices]


class _Place:
    """Where images go: into the output, if that can be written to from here, or back with the outcome."""

    def __init__(self, output):
        self._output, self.images, self.check = output, {}, None

    def write(self, indices, images) -> None:
        self.check()  # nobody else is to find slices appear when the call has ended
        if self._output is not None:
            self._output.write(indices, images)
        else:
            self.images.update(zip((int(k) for k in indices), images, strict=True))

    def read(self, index: int) -> np.ndarray:
        return self.images[index] if self._output is None else self._output.read(index)


class _Bench:
    """A `worker.Worker` that is kept from unit to unit, with its projector, and what the unit at hand brought along."""

    def __init__(self, run: Run, device: torch.device):
        self.busy, self._run, self._device = threading.Lock(), run, device
        self._data, self._init, self._place = _Rows(run.shape, run.nbytes), _Rows((), 0), _Place(run.output)
        self._states = states_for(run.output) if run.chain else None
        source, init = run.source or self._data, self._init if run.given else None
        self._worker = Worker(device, source, self._place, run.theta, run.size, run.options, init, self._states)

    def work(self, unit: Unit, check, memory: int | None) -> Outcome:
        run = self._run
        if not unit.tasks:
            return Outcome(batch=self._batch(memory))
        self._data.rows, self._init.rows, self._place.images, self._place.check = (
            unit.data,
            unit.init,
            dict(unit.images),
            check,
        )
        known, records = dict(unit.records), []
        try:
            for task in unit.tasks:
                with memory_errors(run.shape, run.size):
                    found = self._worker.work(task, known, lambda status: check())
                known.update(zip(task.slices, found, strict=True))
                records += found
            return Outcome(records, {k: self._place.images[k] for k in unit.slices} if run.output is None else {})
        finally:
            self._data.rows, self._init.rows, self._place.images = {}, {}, {}
            if run.chain and not lasting(run.output):
                self._states.clear()

    def _batch(self, memory: int | None) -> int:
        """Slices at once: by the free memory, and on a CPU by the worker's own share, of which Dask does not let it take more."""
        run = self._run
        batch = batch_size(run.options, self._device, run.shape[1:], run.size)
        if memory and self._device.type == "cpu" and run.options.joint_slices == 1 and run.options.batch_size == "auto":

            def need(count):
                options = run.options.replace(batch_size=count, device="cpu")
                return estimate_memory(
                    (count, *run.shape[1:]),
                    options,
                    sinogram_order=True,
                    num_gridx=run.size[0],
                    num_gridy=run.size[1],
                    out=True,
                )

            while batch > 1 and need(batch).total > SHARE * memory:
                batch -= 1
        return batch


def work(sender: str, run_id: str, run: bytes, unit: bytes) -> Outcome | None:
    """A unit, on the worker that is asked; None when nobody wants it any more."""
    from distributed import get_worker

    host, here = get_worker(), version("tomopy_ganrec")
    if sender != here:
        raise ImportError(f"{host.address} has version {here}")
    unit = pickle.loads(unit)

    def check():
        if not _wanted(host, unit.key):
            raise Cancelled("the reconstruction was cancelled")

    try:
        check()
        bench, alone = _bench_of(run_id, run, unit.ranks.get(host.name, 0))
        while not bench.busy.acquire(timeout=TICK):
            check()
        try:
            check()
            with cpu_threads(host.state.nthreads), _warnings_kept(alone) as caught:
                outcome = bench.work(unit, check, host.memory_manager.memory_limit)
            outcome.warned = [(str(w.message), w.category) for w in caught]
            return outcome
        finally:
            bench.busy.release()
    except Cancelled:
        return None
    except Exception as error:
        return Outcome(error=_portable(error), trace=f"on {host.address}\n{traceback.format_exc()}")


def _warnings_kept(alone: bool):
    """A list of the warnings within, to be repeated where the caller sees them; empty for a worker in the caller's own process."""
    return warnings.catch_warnings(record=True) if alone else contextlib.nullcontext(())


def _wanted(host, key: str) -> bool:
    """Whether somebody still waits for a unit that is at work: Dask stops nothing that runs, but the worker knows of a task that was cancelled, whose
    client has gone, or whose scheduler has."""
    task = host.state.tasks.get(key)
    return (
        task is not None
        and task.state != "cancelled"
        and host.status.name in ("running", "paused", "closing_gracefully")
    )


def _bench_of(run_id: str, run: bytes, rank: int) -> "tuple[_Bench, bool]":
    """The bench of a run on the device of this worker, those of other runs being cleared; and whether the process is another than the client's."""
    import cloudpickle

    with _lock:
        loaded = next(
            (bench._run for (known, _), bench in _benches.items() if known == run_id), None
        ) or cloudpickle.loads(run)
        device = _device(loaded.options, rank)
        for other in [key for key in _benches if key[0] != run_id]:
            del _benches[other]
        if (run_id, str(device)) not in _benches:
            _benches[run_id, str(device)] = _Bench(loaded, device)
        return _benches[run_id, str(device)], loaded.process != this_process()


def _device(options: GanrecOptions, rank: int) -> torch.device:
    """The device of the worker that is number `rank` on its machine."""
    placed = "dask_cuda" in sys.modules  # which puts the GPU meant for a worker first in what that sees
    if options.gpu_list is not None:
        return resolve_device(f"cuda:{0 if placed else options.gpu_list[rank % len(options.gpu_list)]}")
    device = resolve_device(options.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", 0 if placed else rank % torch.cuda.device_count())
    return device


def forget(run_id: str) -> None:
    """Give back what a run has kept, such as projectors."""
    with _lock:
        gone = [_benches.pop(key) for key in list(_benches) if key[0] == run_id]
    if gone and torch.cuda.is_initialized():
        del gone
        torch.cuda.empty_cache()


def _portable(error: BaseException) -> BaseException:
    """An exception of the same type and message that can be sent: without its attributes, which may lie on a GPU; but for the `result` that
    `fit.NonFiniteError` promises."""
    result = getattr(error, "result", None)
    try:
        made, args = error.__reduce__()[:2]
        copy = made(*args)
        if isinstance(result, FitResult):
            copy.result = replace(result, image=result.image.cpu(), start=result.start.cpu(), states=None)
        back = pickle.loads(pickle.dumps(copy))
        if type(back) is type(error) and str(back) == str(error):
            return copy
    except Exception:  # as exceptions with arguments of their own have it
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
