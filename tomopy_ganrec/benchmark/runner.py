"""Runs methods on slices, cell by cell, and keeps what is finished."""

import functools
import logging
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from tomopy_ganrec import metrics
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.classical import fbp, mlem

from .cases import Case, Wedge
from .implementations import MEMORY_LIMIT, matrix_projector
from .methods import Method, Problem, reconstruct
from .store import COLUMNS, Results

__all__ = ["Cell", "Measurement", "Task", "cells", "device_name", "estimate", "pending", "run", "simulated"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """What a task's methods are given, and what they are judged by.

    Attributes
    ----------
    projector : ParallelBeamProjector
    sinogram : (1, angles, columns) tensor
    truth : (rows, cols) array, optional
    held_out : (ParallelBeamProjector, (1, angles, columns) tensor), optional
        Projections that are not used.
    """

    projector: ParallelBeamProjector
    sinogram: torch.Tensor
    truth: np.ndarray | None = None
    held_out: tuple | None = None


@dataclass(frozen=True)
class Task:
    """One slice of one case.

    Attributes
    ----------
    columns : dict
        What its rows say of it: `results.COLUMNS` from ``case`` to ``setup``.
    load : callable
        Gives its `Measurement`.
    keep_images : bool
    full_range : str
        Name of the case with the full range of a scan's angles, for the distance to it.
    """

    columns: dict
    load: Callable[[], Measurement]
    keep_images: bool = True
    full_range: str = ""

    @property
    def weight(self) -> float:
        """Samples that a projection touches: its time is in proportion."""
        return self.columns["size"] ** 2 * self.columns["projections"]


@dataclass(frozen=True)
class Cell:
    """One method, with one seed, on one task."""

    task: Task
    method: Method
    seed: int | None

    @property
    def row(self) -> dict:
        """Its row before it ran."""
        method = self.method
        known = dict(method=method.name, label=method.label, parameters=method.parameters, oracle=method.oracle, seed=self.seed)
        return dict.fromkeys(COLUMNS) | self.task.columns | known | dict(status="failed", error="", image="", reference="")


def simulated(cases: Sequence[Case], slices=1, object_seeds=(0,), images="first", device="cpu") -> list[Task]:
    """Tasks for cases of phantoms: `images` of which slices to keep, 'first' (of each case), 'all' or 'none'."""
    tasks = []
    for case in cases:
        for seed in object_seeds:
            for k in range(slices):

                def load(case=case, k=k, seed=seed):
                    truth, sinogram = case.slice(k, slices, seed)
                    projector = ParallelBeamProjector(case.size, Wedge(case.wedge).theta, case.size, device=device, memory_limit=MEMORY_LIMIT)
                    return Measurement(projector, torch.from_numpy(sinogram[None]).to(device), truth)

                keep = images == "all" or images == "first" and k == 0 and seed == object_seeds[0]
                sampling = "" if case.protocol == "pixel" else f", {case.oversample} times finer than the grid"
                setup = f"one of {slices} slices{sampling}"
                tasks.append(Task(case.columns | dict(slice=k, object_seed=seed, setup=setup), load, keep))
    return tasks


def cells(tasks: Sequence[Task], methods: Sequence[Method], seeds=(0,)) -> list[Cell]:
    """All cells that make sense: oracles where there is a truth, methods with a seed once a seed, the others once."""
    found = []
    for task in tasks:
        measured = task.columns["protocol"] == "measured"
        for method in methods:
            if method.unavailable or method.oracle and measured or method.noisy_only and task.columns["photons"] is None and not measured:
                continue
            found += [Cell(task, method, seed) for seed in (seeds if method.seeded else (None,))]
    return found


def pending(results: Results, everything: Sequence[Cell]) -> list[Cell]:
    """The cells that are not finished; failed ones are tried again.

    Raises
    ------
    ValueError
        Where the folder holds the same slices from other data.
    """
    results.check_setup(cell.row for cell in everything)
    return [cell for cell in everything if results.finished(cell.row, cell.task.keep_images) is None]


def estimate(todo: Sequence[Cell], device="cpu") -> float:
    """Seconds that cells will take, from the time of MLEM iterations on the largest of them; the order of magnitude."""
    if not todo:
        return 0.0
    task = max((cell.task for cell in todo), key=lambda task: task.weight)
    size, angles = task.columns["size"], task.columns["projections"]
    theta = np.linspace(0, np.pi * task.columns["degrees"] / 180, angles)

    def unit(device) -> float:
        """Seconds of 200 MLEM iterations, for each sample that a projection touches."""
        projector = matrix_projector(size, theta, size, device=device)
        sinogram = torch.ones(1, *projector.range_shape, device=device)
        float(mlem(projector, sinogram, 1).sum())
        began = time.perf_counter()
        float(mlem(projector, sinogram, 4).sum())
        return (time.perf_counter() - began) * 50 / task.weight

    units = {False: unit(device)}
    units[True] = units[False] if torch.device(device).type == "cpu" or not any(c.method.cpu_only for c in todo) else unit("cpu")
    return sum(cost * units[cell.method.cpu_only] for cell, cost in zip(todo, _costs(todo), strict=True))


def _costs(todo: Sequence[Cell]) -> list[float]:
    """The time of each cell in units of a sample in 200 MLEM iterations; the start of GANrec comes with its fit."""
    fitted = {id(cell.task) for cell in todo if cell.method.name == "ganrec"}
    return [0.0 if c.method.name == "ganrec-start" and id(c.task) in fitted else c.method.cost * c.task.weight for c in todo]


def run(results: Results, todo: Sequence[Cell], progress=True) -> int:
    """Run cells and keep each as it ends; returns how many failed.

    A method that fails is reported in its row, and the others go on. What is finished stays when the run is interrupted.
    """
    failures, task, problem, measurement, broken = 0, None, None, None, None
    costs = [cost + 1 for cost in _costs(todo)]
    with tqdm(total=sum(costs), disable=not progress, mininterval=1, bar_format="{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}") as bar:
        for cell, cost in zip(todo, costs, strict=True):
            bar.set_postfix_str(f"{cell.task.columns['case']}, slice {cell.task.columns['slice']}, {cell.method.name}", refresh=False)
            if cell.task is not task:
                task, problem, broken = cell.task, None, None
                try:
                    measurement = task.load()
                    problem = Problem(measurement.projector, measurement.sinogram, truth=measurement.truth)
                    fbp(problem.projector, problem.sinogram, problem.projector.theta)  # what is done once is not counted for the first method
                except Exception as error:  # whatever it is, it is reported in this task's rows
                    broken = error
            row = _run_cell(results, cell, problem, measurement, broken)
            results.save(row)
            failures += row["status"] == "failed"
            bar.update(cost)
    return failures


def _run_cell(results: Results, cell: Cell, problem: Problem | None, measurement: Measurement, broken: Exception | None) -> dict:
    row, task = cell.row, cell.task
    row["versions"], row["device"] = versions(), _device(cell, problem)
    try:
        if broken is not None:
            raise broken
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            image, row["seconds"] = reconstruct(cell.method, replace(problem, seed=cell.seed or 0))
        for message in dict.fromkeys(str(w.message) for w in caught):
            logger.warning("%s, slice %s, %s: %s", task.columns["case"], task.columns["slice"], cell.method.label, message)
        row |= _judged(results, cell, image, measurement)
    except Exception as error:  # one method's failure is its own
        logger.info("%s failed", cell.method.name, exc_info=True)
        row["error"] = f"{type(error).__name__}: {error}"
    else:
        row["status"] = "ok"
    return row


def _device(cell: Cell, problem: Problem | None) -> str:
    if problem is None:
        return ""
    return device_name(torch.device("cpu"), 1) if cell.method.cpu_only else device_name(problem.sinogram.device)


def _judged(results: Results, cell: Cell, image: np.ndarray, measurement: Measurement) -> dict:
    """The columns that depend on the image; keeps it where the task says so."""
    row, found = cell.row, {"residual": _residual(measurement.projector, measurement.sinogram, image)}
    if measurement.held_out is not None:
        found["residual_heldout"] = _residual(*measurement.held_out, image)
    if measurement.truth is not None:
        truth = measurement.truth
        found |= dict(mssim=metrics.mssim(truth, image), mssim_7x7=metrics.mssim(truth, image, gaussian=False), rmse=metrics.rmse(truth, image))
        if cell.task.keep_images:
            found["reference"] = results.keep_image(row, "truth", truth)
    full = results.finished(row | {"case": cell.task.full_range}) if cell.task.full_range else None
    if full is not None and full["image"]:
        reference = results.image(full["image"])
        found["distance"] = float(np.linalg.norm(image - reference) / np.linalg.norm(reference))
        found["reference"] = full["image"]
    if cell.task.keep_images:
        found["image"] = results.keep_image(row, row["method"] + ("" if cell.seed is None else f"-{cell.seed}"), image)
    return found


def _residual(projector, sinogram, image) -> float:
    """‖A x − b‖ / ‖b‖."""
    model = projector.forward_project(torch.from_numpy(image[None]).to(sinogram.device))
    return float((model - sinogram).norm() / sinogram.norm().clamp(min=torch.finfo(sinogram.dtype).tiny))


@functools.cache
def versions() -> str:
    """The packages that take part, in one line."""
    found = []
    for name in ("tomopy_ganrec", "torch", "numpy", "scikit-image", "astra-toolbox", "tomopy", "midas-tomo"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


@functools.cache
def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def device_name(device: torch.device, threads: int | None = None) -> str:
    """The device for reading; of a CPU with the threads that are used, torch's where they are not given."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()}, {threads or torch.get_num_threads()} of {os.cpu_count()} threads"
