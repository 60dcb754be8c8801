"""Speed against named peers, all of a table in one run: forward projections, a step of the fit, a whole reconstruction.

    python performance/speed.py projector    # forward, adjoint and both through autograd: 128² to 512², 180 angles, batches of 1, 8 and 32
    python performance/speed.py step         # an iteration of the fit, 256² from 120 degrees, beside one of the ganrec package; parts: parts.py
    python performance/speed.py run          # a whole default reconstruction beside MLEM-200 and total variation, in turns
    python performance/speed.py growth       # time of a default reconstruction against the size, the angles and the slices at once
    python performance/speed.py step --device cuda --batches 1,8,32
    python performance/speed.py imports      # seconds of `import tomopy_ganrec` in a fresh interpreter

Smaller ones for a look: ``projector --sizes 64 --batches 1,2``, ``run --size 64``. ``peers.txt`` says how to install the peers; what is not there is
named with the reason. Ratios of projectors and steps are a peer's time over this package's: above 1 this package is faster. Those of ``run`` are to
MLEM-200. Give --threads; --out keeps the rows as CSV.
"""

import argparse
import contextlib
import csv
import gc
import json
import os
import subprocess
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np

PACKAGES = ("numpy", "astra-toolbox", "deepinv", "torchtomo", "ganrec")  # by their names on PyPI
SLOW = 3.0  # seconds: a call that takes longer is timed once


# ---------------------------------------------------------------------------------------------------------------------------------- common


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call, device: str = "cpu") -> float:
    """One call, with what it left to do on a GPU."""
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
    while len(times) < 3 or sum(times) < budget and len(times) < 200:
        times.append(seconds_of(call, device))
    return times


@contextlib.contextmanager
def build_clock():
    """A list whose sum grows by the seconds of every projector that is built inside."""
    from tomopy_ganrec import ParallelBeamProjector

    made, build = [], ParallelBeamProjector.__init__

    def clocked(self, *args, **options):
        began = time.perf_counter()
        build(self, *args, **options)
        made.append(time.perf_counter() - began)

    ParallelBeamProjector.__init__ = clocked
    try:
        yield made
    finally:
        ParallelBeamProjector.__init__ = build


def problem(
    size: int, wedge: str, slices: int = 1, protocol: str = "pixel", photons: float | None = None, seed: int = 1000
):
    """(truth, sinograms, theta) of a shale; of more slices than one, neighbours one pixel apart (protocol 'pixel')."""
    from tomopy_ganrec import phantoms
    from tomopy_ganrec.benchmark.cases import AngularRange, Case
    from tomopy_ganrec.benchmark.simulation import simulate

    theta = AngularRange(wedge).theta
    if slices > 1:
        truth = phantoms.shale(size, slices, seed=seed)
        return truth, simulate(truth, theta, "pixel", photons=photons, seed=seed), theta
    truth, sinogram = Case("shale", size, wedge, photons, protocol).slice(seed=seed)
    return truth[None], sinogram[None], theta


def show(rows: list[dict]) -> None:
    """A table of all columns that some row has; notes in lines below."""
    full = [row for row in rows if not row.get("note")]
    names = [name for name in dict.fromkeys(name for row in full for name in row) if name != "note"]
    cells = [names, *([cell(row.get(name)) for name in names] for row in full)]
    widths = [max(len(line[k]) for line in cells) for k in range(len(names))]
    for line in cells:
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


def cell(value) -> str:
    """Four digits of a number."""
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
            f"{name} grows as {along}^{whole:.2f} from {rows[0][along]} to {rows[-1][along]}, ^{last:.2f} over the last step"
        )
    print(flush=True)


# ------------------------------------------------------------------------------------------------------------------------------- projector


class Own:
    """This package's projector with one backend, under the signature of `peers.Projector`."""

    def __init__(self, size: int, theta: np.ndarray, device: str, backend: str):
        from tomopy_ganrec import ParallelBeamProjector
        from tomopy_ganrec.projector import clear_cache

        clear_cache()
        began = time.perf_counter()
        self._projector = ParallelBeamProjector(size, theta, size, backend=backend, device=device)
        synchronize(device)
        self.build = time.perf_counter() - began
        self.forward, self.back = self._projector.forward_project, self._projector.back_project
        self.nbytes = sum(getattr(backend, "nbytes", 0) for backend in getattr(self._projector, "_backends", []))

    image = sinogram = staticmethod(lambda tensor: tensor)

    def release(self) -> None:
        """Nothing is kept between calls."""


def disc(size: int, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An off-centre disc, each pixel the share of it that is covered, and its exact sinogram, the mean over each detector column."""
    row, column, radius = -0.13 * size, 0.17 * size, 0.21 * size
    fine = (np.arange(16 * size) + 0.5) / 16 - size / 2
    inside = (fine[:, None] - row) ** 2 + (fine - column) ** 2 <= radius**2
    image = inside.reshape(size, 16, size, 16).mean((1, 3), dtype=np.float32)
    edges = np.arange(size + 1) - size / 2
    t = (edges - (column * np.cos(theta) - row * np.sin(theta))[:, None]).clip(-radius, radius)
    area = t * np.sqrt(radius**2 - t**2) + radius**2 * np.arcsin(t / radius)
    return image, np.diff(area).astype(np.float32)


def accuracy(projector, size: int, theta: np.ndarray, device: str) -> tuple[dict, tuple]:
    """Relative error of the disc's sinogram, and of ⟨Ax, y⟩ = ⟨x, Aᵀy⟩ for random x and y, relative to ‖Ax‖‖y‖; and the shape of a sinogram."""
    import torch

    image, exact = (torch.from_numpy(a)[None] for a in disc(size, theta))
    x = projector.image(torch.rand(1, size, size, generator=torch.Generator().manual_seed(0)).to(device))
    with torch.no_grad():
        found = projector.sinogram(projector.forward(projector.image(image.to(device)))).cpu()
        projected = projector.forward(x)
        y = torch.rand(projected.shape, generator=torch.Generator().manual_seed(1)).to(device)
        back = projector.back(y)
    left, right = (projected.double() * y).sum(), (x.double() * back).sum()
    projector.release()
    errors = dict(
        disc_error=float((found - exact).norm() / exact.norm()),
        adjoint_error=float((left - right).abs() / (projected.double().norm() * y.double().norm())),
    )
    return errors, tuple(y.shape[1:])


def contenders(given, size: int, theta: np.ndarray) -> tuple[dict, list[dict]]:
    """Projectors that run here by name, this package's own first, with what they took to build; and rows of those that do not."""
    import peers

    from tomopy_ganrec import ParallelBeamProjector
    from tomopy_ganrec.projector.backends import BACKENDS

    automatic = ParallelBeamProjector(size, theta, size, device=given.device).backend
    backends = given.backends or [automatic, *(name for name in BACKENDS if name not in ("auto", automatic))]
    made, absent = {}, []
    for backend in backends:
        name = f"own {backend}"
        if backend not in BACKENDS:
            absent.append(dict(projector=name, note="this version does not have it"))
            continue
        try:
            Own(size, theta, given.device, backend)  # imports what it needs
            own = Own(size, theta, given.device, backend)
        except (ImportError, RuntimeError, ValueError) as error:
            absent.append(dict(projector=name, note=str(error)))
            continue
        made[name] = own, dict(build_s=own.build, MB=round(own.nbytes / 1e6, 1))
    for name, make in peers.PROJECTORS.items():
        if given.peers is not None and name not in given.peers:
            continue
        note = peers.reason(name, given.device)
        if note is None:
            began = time.perf_counter()
            try:
                made[name] = make(size, theta, given.device), dict(build_s=time.perf_counter() - began)
            except Exception as error:  # a peer that breaks is a row that says so
                note = f"{type(error).__name__}: {error}"
        if note is not None:
            absent.append(dict(projector=name, note=note))
    return made, absent


def calls(projector, x, y) -> dict:
    """What is timed, by name: the forward projection, its adjoint, and the gradient of an image by autograd."""
    import torch

    leaf = x.clone().requires_grad_()

    def forward():
        with torch.no_grad():
            projector.forward(x)

    def adjoint():
        with torch.no_grad():
            projector.back(y)

    def both():
        leaf.grad = None
        projector.forward(leaf).backward(y)

    return dict(forward=forward, adjoint=adjoint, both=both)


def _cells(name: str, times: dict, reference: dict, more: dict) -> dict:
    row = dict(projector=name)
    for what, spent in times.items():
        if isinstance(spent, str):
            row[what] = spent
            continue
        other = reference.get(what)
        row[what], row[f"{what}_ratio"] = (
            1e3 * median(spent),
            median(spent) / median(other) if isinstance(other, list) else None,
        )
        row[f"{what}_least"], row[f"{what}_repeats"] = 1e3 * min(spent), len(spent)
    return {**row, **more}


def projector(given) -> list[dict]:
    """The forward projection and its adjoint, for each size and batch; milliseconds."""
    import torch

    theta, rows, known = np.deg2rad(np.arange(180.0)), [], {}
    for size in given.sizes:
        made, absent = contenders(given, size, theta)
        found = {name: accuracy(one, size, theta, given.device) for name, (one, _) in made.items()}
        for batch in given.batches:
            times = {name: {} for name in made}
            images = torch.rand(batch, size, size, generator=torch.Generator().manual_seed(2)).to(given.device)
            for what in ("forward", "adjoint", "both"):  # contenders for one cell follow each other closely
                for name, (one, _) in made.items():
                    likely = known.get((name, what), 0.0) * batch * size**2
                    if likely > given.longest:
                        times[name][what] = f"≈{likely:.0f} s, not run"
                        continue
                    y = torch.ones(batch, *found[name][1], device=given.device)
                    spent = timed(
                        calls(one, one.image(images), y)[what], given.device, given.budget, prepares=what == "adjoint"
                    )
                    known[name, what], times[name][what] = median(spent) / batch / size**2, spent
                    one.release()
                    gc.collect()
            own = next(iter(made)) if given.reference is None else f"own {given.reference}"
            table = [
                _cells(name, times[name], times.get(own, {}), {**found[name][0], **made[name][1]}) for name in made
            ]
            print(f"{size}² × 180 angles, {batch} at once; milliseconds, ratios to '{own}'")
            show([{k: v for k, v in row.items() if "least" not in k and "repeats" not in k} for row in table] + absent)
            rows += [dict(size=size, batch=batch, **row) for row in table + absent]
        del made
        gc.collect()
    return rows


# ------------------------------------------------------------------------------------------------------------------------------------ step


def own_steps(given, data, theta, size: int, **options) -> list[float]:
    """Seconds of each iteration of the fit but the first two, start image and projector not counted."""
    import torch

    from tomopy_ganrec import GanrecOptions, ParallelBeamProjector
    from tomopy_ganrec.fit import fit

    stamps = []

    def stamp(status):
        if status.stage == "fit":
            synchronize(given.device)
            stamps.append(time.perf_counter())

    model = ParallelBeamProjector(size, theta, size, backend=given.backend, device=given.device)
    fit(model, torch.from_numpy(data).to(given.device), GanrecOptions(patience=0, **options), callback=stamp)
    return list(np.diff(stamps))[1:]


def step(given) -> list[dict]:
    """An iteration of the fit beside one of the ganrec package (from 128² on, its discriminator needs that), and of preset='paper'."""
    import peers

    _, data, theta = problem(given.size, given.wedge, max(given.batches))
    rows = []

    def add(name, what, spent, note=None):
        row = dict(step=name, what=what)
        if spent:
            row.update(
                milliseconds=1e3 * median(spent),
                mean=1e3 * float(np.mean(spent)),
                least=1e3 * min(spent),
                iterations=len(spent),
            )
            row["ratio"] = median(spent) / first
        rows.append({**row, **({"note": note} if note else {})})

    first = None
    for batch in given.batches:
        spent = own_steps(given, data[:batch], theta, given.size, num_iter=given.iterations)
        first = first or median(spent)
        add("own default", f"generator, projector, discriminator; {batch} at once", spent)
    data = data[:1]
    if not given.no_paper:
        add(
            "own preset='paper'",
            "the paper's networks and losses",
            own_steps(given, data, theta, given.size, preset="paper", num_iter=given.iterations),
        )
    for name, make in peers.STEPS.items():
        note = peers.reason(name, given.device)
        for compiled in (False, True) if given.compile else (False,):
            what = (
                "as shipped, compiled" if compiled else "its networks, losses and grid_sample projector, not compiled"
            )
            spent = []
            if note is None:
                try:
                    peer = make(data[0], theta, given.device, compiled)
                    peer.step()
                    spent = [seconds_of(peer.step, given.device) for _ in range(max(3, given.iterations // 3))]
                except Exception as error:  # a peer that breaks is a row that says so
                    note = f"{type(error).__name__}: {error}"
            add(name, what, spent, note)
    print(f"one iteration, {given.size}² from {given.wedge} degrees, one slice")
    show(rows)
    return rows


# ------------------------------------------------------------------------------------------------------------------------------------- run


def reconstruct(given, data, theta, size: int, method: str) -> tuple[dict, np.ndarray]:
    """One reconstruction from a cold projector: seconds to build the projectors, of the start and of the fit, and in all."""
    import torch

    from tomopy_ganrec import GanrecOptions, ParallelBeamProjector
    from tomopy_ganrec.fit import fit
    from tomopy_ganrec.projector import clear_cache
    from tomopy_ganrec.solvers.classical import mlem

    clear_cache()
    gc.collect()
    sinogram = torch.from_numpy(data).to(given.device)
    synchronize(given.device)
    kind, _, choice = method.partition(" ")
    with build_clock() as made:
        began, parts = time.perf_counter(), {}
        model = ParallelBeamProjector(
            size, theta, size, backend=choice if kind == "MLEM-200" else given.backend, device=given.device
        )
        synchronize(given.device)
        before = sum(made)
        if kind == "MLEM-200":
            image = mlem(model, sinogram, 200)
        else:
            options = dict(reweight_rounds=0, num_iter=0, pixel_model="point") if kind == "TV" else dict(quality=choice)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = fit(model, sinogram, GanrecOptions(**options))
            image, parts = (
                result.image,
                dict(start=result.seconds["start"] - (sum(made) - before), fit=result.seconds["fit"]),
            )
        synchronize(given.device)
        total, build = time.perf_counter() - began, sum(made)
    return dict(build=build, **parts, seconds=total - build, cold=total, backend=model.backend), image.cpu().numpy()


def warm_up(given) -> None:
    """Libraries loaded and threads started, by a small reconstruction of each kind."""
    _, data, theta = problem(32, "60")
    for method in ("ganrec default", "TV", "MLEM-200 matrix"):
        with contextlib.suppress(ImportError, RuntimeError, ValueError):
            reconstruct(given, data, theta, 32, method)


def run(given) -> list[dict]:
    """A default reconstruction of one slice, MLEM-200 and total variation, one after the other, so often; medians."""
    from tomopy_ganrec.metrics import mssim

    truth, data, theta = problem(given.size, given.wedge, 1, given.protocol, given.photons, given.seed)
    methods = [*(f"ganrec {quality}" for quality in given.quality), "MLEM-200 matrix", "MLEM-200 astra", "TV"]
    found, notes, score = {name: [] for name in methods}, {}, {}
    warm_up(given)
    for _ in range(given.repeat):
        for name in methods:
            try:
                spent, image = reconstruct(given, data, theta, given.size, name)
            except (ImportError, RuntimeError, ValueError) as error:
                notes[name] = str(error)
                continue
            found[name].append(spent)
            score[name] = mssim(truth[0], image[0])
    rows = []
    for name in methods:
        row = dict(method=name)
        if found[name]:
            numbers = {key: median(one[key] for one in found[name]) for key in found[name][0] if key != "backend"}
            row.update(numbers)
            for key, ratio in (("seconds", "ratio"), ("cold", "cold_ratio")) if found["MLEM-200 matrix"] else ():
                row[ratio] = numbers[key] / median(one[key] for one in found["MLEM-200 matrix"])
            row.update(
                least=min(one["seconds"] for one in found[name]), mssim=score[name], backend=found[name][0]["backend"]
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
        f"{given.size}² from {given.wedge} degrees, protocol {given.protocol}, {noise}, seed {given.seed}, one slice, median of {given.repeat}"
    )
    print(
        "seconds: without the projectors (build); cold: with them; ratios to MLEM-200 with the matrix; start and fit are parts of seconds"
    )
    show(rows)
    return [
        dict(size=given.size, wedge=given.wedge, protocol=given.protocol, photons=given.photons, seed=given.seed, **row)
        for row in rows
    ]


# ---------------------------------------------------------------------------------------------------------------------------------- growth


def growth(given) -> list[dict]:
    """A default reconstruction against the size, the number of angles and the slices at once, with the fitted powers."""
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
            found = [reconstruct(given, data, theta, size, "ganrec default")[0] for _ in range(given.repeat)]
            numbers = {key: median(one[key] for one in found) for key in found[0] if key != "backend"}
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


# --------------------------------------------------------------------------------------------------------------------------------- imports


def imports(given) -> list[dict]:
    """Seconds of imports, each in interpreters of its own."""
    rows = []
    for statement in ("import numpy", "import torch", "import tomopy_ganrec", "from tomopy_ganrec import ganrec"):
        program = (
            f"import json, sys, time\nbegan = time.perf_counter()\n{statement}\nspent = time.perf_counter() - began\n"
            "print(json.dumps([spent, 'torch' in sys.modules, len(sys.modules)]))"
        )
        found = []
        for _ in range(given.repeat + 1):  # the first fills the file cache
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr)
            found.append(json.loads(done.stdout))
        spent = [one[0] for one in found[1:]]
        rows.append(
            dict(statement=statement, seconds=median(spent), least=min(spent), torch=found[-1][1], modules=found[-1][2])
        )
    print(f"imports, {given.repeat} interpreters each; torch: whether it was loaded")
    show(rows)
    return rows


# ------------------------------------------------------------------------------------------------------------------------------------ main


def listed(kind=str):
    """A parser of comma-separated values."""
    return lambda text: [kind(part) for part in text.split(",") if part]


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = top.add_subparsers(dest="what", required=True)
    made = {
        part.__name__: parts.add_parser(part.__name__, help=part.__doc__)
        for part in (projector, step, run, growth, imports)
    }
    for name, one in made.items():
        one.add_argument("--out", type=Path, help="CSV file")
        if name == "imports":
            continue
        one.add_argument(
            "--threads",
            type=int,
            default=len(os.sched_getaffinity(0)),
            help="torch's, in this process (all cores it may use)",
        )
        one.add_argument("--device", default="cpu", help="'cpu' or 'cuda'")
        if name != "projector":
            one.add_argument("--backend", default="auto", help="of this package's projector")
    one = made["projector"]
    one.add_argument("--sizes", type=listed(int), default=[128, 256, 512])
    one.add_argument("--batches", type=listed(int), default=[1, 8, 32])
    one.add_argument(
        "--backends",
        type=listed(),
        help="of this package, the first is what others are compared with (all that run, first what 'auto' takes)",
    )
    one.add_argument("--reference", help="another backend to compare with")
    one.add_argument("--peers", type=listed(), help="names, as in the table; '' for none (all)")
    one.add_argument("--budget", type=float, default=2.0, help="seconds a cell may take beyond 3 repeats")
    one.add_argument(
        "--longest",
        type=float,
        default=60.0,
        help="seconds that one call may be expected to take; longer ones are left out",
    )
    one = made["step"]
    one.add_argument("--size", type=int, default=256)
    one.add_argument("--wedge", default="120")
    one.add_argument("--iterations", type=int, default=30, help="of the fit")
    one.add_argument(
        "--batches", type=listed(int), default=[1], help="slices at once, of the default fit; ratios are to the first"
    )
    one.add_argument("--no-paper", action="store_true", help="leave out preset='paper'")
    one.add_argument(
        "--compile",
        action="store_true",
        help="also the ganrec package's step compiled, as it ships; on a CPU that takes minutes",
    )
    one = made["run"]
    one.add_argument("--size", type=int, default=256)
    one.add_argument("--wedge", default="120", help="degrees, or projections/degrees")
    one.add_argument("--protocol", choices=("pixel", "subpixel"), default="pixel")
    one.add_argument("--photons", type=float, help="incident, a detector column (noise-free)")
    one.add_argument("--seed", type=int, default=1000, help="of the shale and of the noise")
    one.add_argument("--quality", type=listed(), default=["default"], help="'fast', 'default', 'best'")
    one.add_argument("--repeat", type=int, default=3, help="rounds, each method in turn")
    one = made["growth"]
    one.add_argument("--sizes", type=listed(int), default=[64, 128, 256], help="at 120 angles")
    one.add_argument("--angles", type=listed(int), default=[60, 120, 180], help="one a degree")
    one.add_argument("--batches", type=listed(int), default=[1, 2, 4, 8], help="slices at once, at 120 angles")
    one.add_argument("--size", type=int, default=128, help="for angles and batches")
    one.add_argument("--repeat", type=int, default=1)
    made["imports"].add_argument("--repeat", type=int, default=7, help="interpreters for each statement")
    return top


def versions() -> str:
    """Of what is measured."""
    found = []
    for name in ("tomopy_ganrec", "torch", *PACKAGES):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join(found)


def processor(device: str) -> str:
    """The model that computes."""
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


def main() -> None:
    given = parser().parse_args()
    print(versions())
    if given.what != "imports":
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
        import torch

        torch.set_num_threads(given.threads)
        if torch.device(given.device).type == "cuda" and not torch.cuda.is_available():
            sys.exit(f"--device {given.device}: torch finds no CUDA GPU here")
        print(f"{processor(given.device)}, {torch.get_num_threads()} threads\n", flush=True)
    rows = {"projector": projector, "step": step, "run": run, "growth": growth, "imports": imports}[given.what](given)
    if given.out:
        with given.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
