"""Runs methods on slices, cell by cell, and keeps what is finished."""

import functools
import logging
import os
import platform
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from tomopy_ganrec import metrics
from tomopy_ganrec.solvers.classical import fbp, mlem

from .implementations import matrix_projector
from .methods import Problem, reconstruct
from .store import Results
from .tasks import Cell, Measurement

__all__ = ["device_name", "estimate", "pending", "run"]

logger = logging.getLogger(__name__)


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
    units[True] = (
        units[False] if torch.device(device).type == "cpu" or not any(c.method.cpu_only for c in todo) else unit("cpu")
    )
    return sum(cost * units[cell.method.cpu_only] for cell, cost in zip(todo, _costs(todo), strict=True))


def _costs(todo: Sequence[Cell]) -> list[float]:
    """The time of each cell in units of a sample in 200 MLEM iterations; the start of GANrec comes with its fit."""
    fitted = {id(cell.task) for cell in todo if cell.method.name == "ganrec"}
    return [
        0.0 if c.method.name == "ganrec-start" and id(c.task) in fitted else c.method.cost * c.task.weight for c in todo
    ]


def run(results: Results, todo: Sequence[Cell], progress=True) -> int:
    """Run cells and keep each as it ends; returns how many failed.

    A method that fails is reported in its row, and the others go on. What is finished stays when the run is interrupted.
    """
    failures, task, problem, measurement, broken = 0, None, None, None, None
    costs = [cost + 1 for cost in _costs(todo)]
    with tqdm(
        total=sum(costs),
        disable=not progress,
        mininterval=1,
        bar_format="{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
    ) as bar:
        for cell, cost in zip(todo, costs, strict=True):
            bar.set_postfix_str(
                f"{cell.task.columns['case']}, slice {cell.task.columns['slice']}, {cell.method.name}", refresh=False
            )
            if cell.task is not task:
                task, problem, broken = cell.task, None, None
                try:
                    measurement = task.load()
                    problem = Problem(measurement.projector, measurement.sinogram, truth=measurement.truth)
                    fbp(
                        problem.projector, problem.sinogram, problem.projector.theta
                    )  # what is done once is not counted for the first method
                except Exception as error:  # whatever it is, it is reported in this task's rows
                    broken = error
            row = _run_cell(results, cell, problem, measurement, broken)
            results.save(row)
            failures += row["status"] == "failed"
            bar.update(cost)
    return failures


def _run_cell(
    results: Results, cell: Cell, problem: Problem | None, measurement: Measurement, broken: Exception | None
) -> dict:
    row, task = cell.row, cell.task
    row["versions"], row["device"] = versions(), _device(cell, problem)
    try:
        if broken is not None:
            raise broken
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            image, row["seconds"] = reconstruct(cell.method, replace(problem, seed=cell.seed or 0))
        for message in dict.fromkeys(str(w.message) for w in caught):
            logger.warning(
                "%s, slice %s, %s: %s", task.columns["case"], task.columns["slice"], cell.method.label, message
            )
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
        found |= dict(
            mssim=metrics.mssim(truth, image),
            mssim_7x7=metrics.mssim(truth, image, gaussian=False),
            rmse=metrics.rmse(truth, image),
        )
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
