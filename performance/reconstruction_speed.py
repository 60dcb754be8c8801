"""Whole reconstructions beside MLEM-200 and total variation, and their growth with the problem (for ``speed.py``)."""

import contextlib
import gc
import time
import warnings
from statistics import median

import numpy as np
from measuring import build_clock, powers, problem, show, synchronize


def reconstruct(given, data, theta, size: int, method: str) -> tuple[dict, np.ndarray]:
    """One reconstruction, projectors built anew: seconds to build them, of the start, of the fit, and in all."""
    import torch

    from tomopy_ganrec import GanrecOptions, ParallelBeamProjector
    from tomopy_ganrec.benchmark.implementations import TV_OPTIONS
    from tomopy_ganrec.fit import fit
    from tomopy_ganrec.projector import clear_cache
    from tomopy_ganrec.solvers.classical import mlem

    clear_cache()
    gc.collect()
    sinogram = torch.from_numpy(data).to(given.device)
    synchronize(given.device)
    kind, _, choice = method.partition(" ")
    with build_clock() as builds:
        began, parts = time.perf_counter(), {}
        model = ParallelBeamProjector(
            size, theta, size, backend=choice if kind == "MLEM-200" else given.backend, device=given.device
        )
        synchronize(given.device)
        before = sum(builds)
        if kind == "MLEM-200":
            image = mlem(model, sinogram, 200)
        else:
            options = TV_OPTIONS if kind == "TV" else dict(quality=choice)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = fit(model, sinogram, GanrecOptions(**options))
            image, parts = (
                result.image,
                dict(start=result.seconds["start"] - (sum(builds) - before), fit=result.seconds["fit"]),
            )
        synchronize(given.device)
        total, build = time.perf_counter() - began, sum(builds)
    return dict(build=build, **parts, seconds=total - build, cold=total, backend=model.backend), image.cpu().numpy()


def medians(timings: list[dict]) -> dict:
    """The median of each number over repeats."""
    return {key: median(timing[key] for timing in timings) for key in timings[0] if key != "backend"}


def warm_up(given) -> None:
    """Load libraries and start threads by a small reconstruction of each kind."""
    _, data, theta = problem(32, "60")
    for method in ("ganrec default", "TV", "MLEM-200 matrix"):
        with contextlib.suppress(ImportError, RuntimeError, ValueError):
            reconstruct(given, data, theta, 32, method)


def run(given) -> list[dict]:
    """A default reconstruction of one slice, MLEM-200 and total variation, in turns; medians."""
    from tomopy_ganrec.metrics import mssim

    truth, data, theta = problem(given.size, given.range, 1, given.protocol, given.photons, given.seed)
    methods = [*(f"ganrec {quality}" for quality in given.quality), "MLEM-200 matrix", "MLEM-200 astra", "TV"]
    timings, notes, score = {name: [] for name in methods}, {}, {}
    warm_up(given)
    for _ in range(given.repeat):
        for name in methods:
            try:
                spent, image = reconstruct(given, data, theta, given.size, name)
            except (ImportError, RuntimeError, ValueError) as error:
                notes[name] = str(error)
                continue
            timings[name].append(spent)
            score[name] = mssim(truth[0], image[0])
    rows = []
    for name in methods:
        row = dict(method=name)
        if timings[name]:
            numbers = medians(timings[name])
            row.update(numbers)
            for key, ratio in (("seconds", "ratio"), ("cold", "cold_ratio")) if timings["MLEM-200 matrix"] else ():
                row[ratio] = numbers[key] / medians(timings["MLEM-200 matrix"])[key]
            row.update(
                least=min(timing["seconds"] for timing in timings[name]),
                mssim=score[name],
                backend=timings[name][0]["backend"],
            )
        else:
            row["note"] = notes.get(name)
        rows.append(row)
    names = (
        "method",
        "build",
        "start",
        "fit",
        "seconds",
        "least",
        "ratio",
        "cold",
        "cold_ratio",
        "mssim",
        "backend",
        "note",
    )
    rows = [{name: row.get(name) for name in names} for row in rows]
    noise = "noise-free" if given.photons is None else f"{given.photons:g} photons"
    print(
        f"{given.size}² from {given.range} degrees, protocol {given.protocol}, {noise}, seed {given.seed}, "
        f"one slice, median of {given.repeat}"
    )
    print(
        "seconds: without the projectors (build); cold: with them; ratios to MLEM-200 with the matrix; "
        "start and fit are parts of seconds"
    )
    show(rows)
    return [
        dict(size=given.size, range=given.range, protocol=given.protocol, photons=given.photons, seed=given.seed, **row)
        for row in rows
    ]


def growth(given) -> list[dict]:
    """A default reconstruction against size, number of angles and slices at once, with the fitted powers."""
    rows = []
    warm_up(given)
    series = {
        "size": [(size, 120, 1) for size in given.sizes],
        "angles": [(given.size, angles, 1) for angles in given.angles],
        "slices": [(given.size, 120, slices) for slices in given.batches],
    }
    for along, cases in series.items():
        table = []
        for size, angles, slices in cases:
            _, data, theta = problem(size, str(angles), slices)
            timings = [reconstruct(given, data, theta, size, "ganrec default")[0] for _ in range(given.repeat)]
            numbers = medians(timings)
            table.append(
                dict(
                    against=along,
                    size=size,
                    angles=angles,
                    slices=slices,
                    **numbers,
                    a_slice=numbers["seconds"] / slices,
                )
            )
        print(f"a default reconstruction against {along}; seconds: without the projectors (build)")
        show(table)
        if len(table) > 1:
            powers(table, along, ("seconds", "start", "fit", "build"))
        rows += table
    return rows
