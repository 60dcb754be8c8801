"""Runs the reconstructions of a benchmark one after the other, and stores each as it ends."""

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
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.classical import fbp, mlem

from .implementations import matrix_projector
from .methods import Problem, reconstruct
from .rows import Row
from .store import Results
from .tasks import BenchmarkRun, SliceCase, SliceData

__all__ = ["device_name", "estimate", "pending", "run"]

logger = logging.getLogger(__name__)

_BAR = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


def pending(results: Results, runs: Sequence[BenchmarkRun]) -> list[BenchmarkRun]:
    """The runs that are not finished; failed ones are tried again.

    Raises
    ------
    ValueError
        Where the folder holds the same slices from other data.
    """
    results.check_setup(run.row for run in runs)
    return [run for run in runs if results.finished(run.row, run.slice_case.keep_images) is None]


def estimate(runs: Sequence[BenchmarkRun], device: str = "cpu") -> float:
    """Seconds that runs will take, an order of magnitude, from the time of MLEM iterations on the largest slice."""
    if not runs:
        return 0.0
    largest = max((run.slice_case for run in runs), key=lambda slice_case: slice_case.weight)
    unit = cpu_unit = _mlem_seconds(largest, device)
    if torch.device(device).type != "cpu" and any(run.method.cpu_only for run in runs):
        cpu_unit = _mlem_seconds(largest, "cpu")
    costs = zip(runs, _costs(runs), strict=True)
    return sum(cost * (cpu_unit if run.method.cpu_only else unit) for run, cost in costs)


def _mlem_seconds(slice_case: SliceCase, device: str) -> float:
    """Seconds of 200 MLEM iterations, for each sample that a projection touches."""
    size, angles = slice_case.columns["size"], slice_case.columns["projections"]
    theta = np.linspace(0, np.pi * slice_case.columns["degrees"] / 180, angles)
    projector = matrix_projector(size, theta, size, device=device)
    sinogram = torch.ones(1, *projector.range_shape, device=device)
    float(mlem(projector, sinogram, 1).sum())
    began = time.perf_counter()
    float(mlem(projector, sinogram, 4).sum())
    return (time.perf_counter() - began) * 50 / slice_case.weight


def _costs(runs: Sequence[BenchmarkRun]) -> list[float]:
    """The time of each run in units of a sample in 200 MLEM iterations; the start of GANrec comes with its fit."""
    fitted = {id(run.slice_case) for run in runs if run.method.name == "ganrec"}
    return [
        0.0
        if run.method.name == "ganrec-start" and id(run.slice_case) in fitted
        else run.method.cost * run.slice_case.weight
        for run in runs
    ]


class _LoadedSlice:
    """A slice, loaded once for all of its methods; an exception on the way is kept and raised for each of them."""

    def __init__(self, slice_case: SliceCase):
        self.slice_case = slice_case
        self._problem: Problem | None = None
        self._data: SliceData | None = None
        self._error: Exception | None = None
        try:
            self._data = slice_case.load()
            self._problem = Problem(
                self._data.projector, self._data.sinogram, truth=self._data.truth, material=self._data.material
            )
            # What is done once is not counted for the first method.
            fbp(self._problem.projector, self._problem.sinogram, self._problem.projector.theta)
        except Exception as error:  # whatever it is, it is reported in the rows of this slice
            self._error = error

    @property
    def device(self) -> torch.device | None:
        """The device that its data are on; None where it could not be loaded."""
        return None if self._problem is None else self._problem.sinogram.device

    def loaded(self) -> tuple[Problem, SliceData]:
        if self._error is not None:
            raise self._error
        assert self._problem is not None and self._data is not None
        return self._problem, self._data


def run(results: Results, runs: Sequence[BenchmarkRun], progress: bool = True) -> int:
    """Reconstruct, and store each result as it ends; returns how many failed.

    A method that fails is reported in its row, and the others go on. What is finished stays when this is interrupted.

    Parameters
    ----------
    results : Results
    runs : sequence of BenchmarkRun
    progress : bool
        Whether to show a bar.
    """
    failures, loaded = 0, None
    costs = [cost + 1 for cost in _costs(runs)]
    with tqdm(total=sum(costs), disable=not progress, mininterval=1, bar_format=_BAR) as bar:
        for benchmark_run, cost in zip(runs, costs, strict=True):
            columns = benchmark_run.slice_case.columns
            name = f"{columns['case']}, slice {columns['slice']}, {benchmark_run.method.name}"
            bar.set_postfix_str(name, refresh=False)
            if loaded is None or loaded.slice_case is not benchmark_run.slice_case:
                loaded = _LoadedSlice(benchmark_run.slice_case)
            row = _run(results, benchmark_run, loaded)
            results.save(row)
            failures += row["status"] == "failed"
            bar.update(cost)
    return failures


def _run(results: Results, benchmark_run: BenchmarkRun, loaded: _LoadedSlice) -> Row:
    """The row of a reconstruction; its images are stored."""
    row, method, columns = benchmark_run.row, benchmark_run.method, benchmark_run.slice_case.columns
    row["versions"], row["device"] = versions(), _device(benchmark_run, loaded)
    try:
        problem, data = loaded.loaded()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            image, row["seconds"] = reconstruct(method, replace(problem, seed=benchmark_run.seed or 0))
        for message in dict.fromkeys(str(warning.message) for warning in caught):
            logger.warning("%s, slice %s, %s: %s", columns["case"], columns["slice"], method.label, message)
        row |= _measures(results, benchmark_run, image, data)
    except Exception as error:  # the other methods go on
        logger.info("%s failed", method.name, exc_info=True)
        row["error"] = f"{type(error).__name__}: {error}"
    else:
        row["status"] = "ok"
    return row


def _device(benchmark_run: BenchmarkRun, loaded: _LoadedSlice) -> str:
    if loaded.device is None:
        return ""
    return device_name(torch.device("cpu"), 1) if benchmark_run.method.cpu_only else device_name(loaded.device)


def _measures(results: Results, benchmark_run: BenchmarkRun, image: np.ndarray, data: SliceData) -> Row:
    """The columns that depend on the image, which is stored where the slice is to keep its images."""
    row, slice_case = benchmark_run.row, benchmark_run.slice_case
    measures: Row = {"residual": _residual(data.projector, data.sinogram, image)}
    if data.held_out is not None:
        measures["residual_heldout"] = _residual(*data.held_out, image)
    if data.truth is not None:
        measures["mssim"] = metrics.mssim(data.truth, image)
        measures["mssim_7x7"] = metrics.mssim(data.truth, image, gaussian=False)
        measures["rmse"] = metrics.rmse(data.truth, image)
        if slice_case.keep_images:
            measures["reference"] = results.keep_image(row, "truth", data.truth)
    if data.reference is not None:
        measures |= _beside_reference(data.reference, image)
        if slice_case.keep_images:
            measures["reference"] = results.keep_image(row, "reference", data.reference)
    full = results.finished(row | {"case": slice_case.full_range}) if slice_case.full_range else None
    if full is not None and full["image"]:
        reference = results.image(full["image"])
        measures["distance"] = float(np.linalg.norm(image - reference) / np.linalg.norm(reference))
        measures["reference"] = full["image"]
    if slice_case.keep_images:
        seed = "" if benchmark_run.seed is None else f"-{benchmark_run.seed}"
        measures["image"] = results.keep_image(row, f"{row['method']}{seed}", image)
    return measures


def _beside_reference(reference: np.ndarray, image: np.ndarray) -> Row:
    """Similarity of an image to the reference in units of the material's attenuation, and of their segmentations."""
    segmented = metrics.otsu_segmentation(reference)
    material = float(np.median(reference[segmented])) if segmented.any() else 1.0
    return {
        "mssim": metrics.mssim(reference, image, material),
        "mssim_7x7": metrics.mssim(reference, image, material, gaussian=False),
        "rmse": metrics.rmse(reference, image),
        "mcc": metrics.matthews_correlation(segmented, metrics.otsu_segmentation(image)),
    }


def _residual(projector: ParallelBeamProjector, sinogram: torch.Tensor, image: np.ndarray) -> float:
    """‖A x − b‖ / ‖b‖."""
    model = projector.forward_project(torch.from_numpy(image[None]).to(sinogram.device))
    return float((model - sinogram).norm() / sinogram.norm().clamp(min=torch.finfo(sinogram.dtype).tiny))


@functools.cache
def versions() -> str:
    """The packages that take part, in one line."""
    names = []
    for name in (
        "tomopy_ganrec",
        "torch",
        "numpy",
        "scikit-image",
        "astra-toolbox",
        "tomopy",
        "midas-tomo",
        "svmbir",
        "ganrec",
    ):
        try:
            names.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(names)


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
        return str(torch.cuda.get_device_name(device))
    return f"{_cpu_model()}, {threads or torch.get_num_threads()} of {os.cpu_count()} threads"
