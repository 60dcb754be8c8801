"""Clocks, test data, tables and descriptions of the machine for the scripts of this folder."""

import contextlib
import time
from importlib import metadata
from pathlib import Path

import numpy as np

PACKAGES = ("numpy", "astra-toolbox", "deepinv", "torchtomo", "ganrec")  # by their names on PyPI
SLOW = 3.0  # seconds: a call that takes longer is timed once


def synchronize(device: str) -> None:
    """Wait until a GPU has done all that it was given."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call, device: str = "cpu") -> float:
    """Seconds of one call, including its work on a GPU."""
    synchronize(device)
    began = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - began


def timed(call, device: str, budget: float, prepares=False) -> list[float]:
    """Seconds of each repeat after a warm-up: at least 3, then until `budget` is spent.

    A call that is slow is timed once, without a warm-up unless the first one `prepares` something for the next.
    """
    first = seconds_of(call, device)
    if first > SLOW:
        return [seconds_of(call, device) if prepares else first]
    times: list[float] = []
    while len(times) < 3 or (sum(times) < budget and len(times) < 200):
        times.append(seconds_of(call, device))
    return times


@contextlib.contextmanager
def build_clock():
    """``with build_clock() as seconds:`` the list has an entry for every projector that is built within."""
    from tomopy_ganrec import ParallelBeamProjector

    seconds, build = [], ParallelBeamProjector.__init__

    def clocked(self, *args, **options):
        began = time.perf_counter()
        build(self, *args, **options)
        seconds.append(time.perf_counter() - began)

    ParallelBeamProjector.__init__ = clocked
    try:
        yield seconds
    finally:
        ParallelBeamProjector.__init__ = build


def problem(
    size: int,
    angular_range: str,
    slices: int = 1,
    protocol: str = "pixel",
    photons: float | None = None,
    seed: int = 1000,
):
    """(truth, sinograms, theta) of a shale; of more slices than one, neighbours one pixel apart (protocol 'pixel')."""
    from tomopy_ganrec import phantoms
    from tomopy_ganrec.benchmark.cases import AngularRange, Case
    from tomopy_ganrec.benchmark.simulation import simulate

    theta = AngularRange(angular_range).theta
    if slices > 1:
        truth = phantoms.shale(size, slices, seed=seed)
        return truth, simulate(truth, theta, "pixel", photons=photons, seed=seed), theta
    truth, sinogram = Case("shale", size, angular_range, photons, protocol).slice(seed=seed)
    return truth[None], sinogram[None], theta


def show(rows: list[dict]) -> None:
    """Print a table of all columns that some row has, and notes in lines below."""
    measured = [row for row in rows if not row.get("note")]
    names = [name for name in dict.fromkeys(name for row in measured for name in row) if name != "note"]
    lines = [names, *([text_of(row.get(name)) for name in names] for row in measured)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(names))]
    for line in lines:
        print(
            "  ".join(
                text.rjust(width) if k else text.ljust(width)
                for k, (text, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
        )
    for row in rows:
        if row.get("note"):
            print(f"{next(iter(row.values()))}: {row['note']}")
    print(flush=True)


def text_of(value) -> str:
    """A value with four digits; '' for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def powers(rows: list[dict], along: str, names) -> None:
    """Print how columns grow with another, fitted over all rows and between the last two."""
    x = np.log([row[along] for row in rows])
    for name in names:
        y = np.log([max(row[name], 1e-9) for row in rows])
        whole, last = np.polyfit(x, y, 1)[0], (y[-1] - y[-2]) / (x[-1] - x[-2])
        print(
            f"{name} grows as {along}^{whole:.2f} from {rows[0][along]} to {rows[-1][along]}, "
            f"^{last:.2f} over the last step"
        )
    print(flush=True)


def versions() -> str:
    """Versions of the packages that take part."""
    names = []
    for name in ("tomopy_ganrec", "torch", *PACKAGES):
        with contextlib.suppress(metadata.PackageNotFoundError):
            names.append(f"{name} {metadata.version(name)}")
    return ", ".join(names)


def processor(device: str) -> str:
    """The model of the GPU or CPU."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError, StopIteration):
        return next(
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        )
    return "CPU"
