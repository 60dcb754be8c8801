"""Speed against named peers, all of a table in one run: forward projections, a step of the fit, a whole reconstruction.

    python performance/speed.py projector    # 128² to 512², 180 angles, batches of 1, 8 and 32
    python performance/speed.py step         # an iteration of the fit, 256² and 120°, beside the ganrec package's
    python performance/speed.py run          # a default reconstruction beside MLEM-200 and total variation, in turns
    python performance/speed.py growth       # a default reconstruction against size, angles and slices at once
    python performance/speed.py step --device cuda --batches 1,8,32
    python performance/speed.py imports      # seconds of `import tomopy_ganrec` in a fresh interpreter

Quick ones: ``projector --sizes 64 --batches 1,2``, ``run --size 64``. ``peers.txt`` explains how to install the peers;
those that are missing are listed with the reason. Ratios of projectors and steps are a peer's time over this
package's: above 1 this package is faster. Those of ``run`` are to MLEM-200. Give --threads; --out writes the rows as
CSV. The parts of an iteration by themselves: ``parts.py``.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from measuring import problem, processor, seconds_of, show, synchronize, versions
from projector_speed import projector
from reconstruction_speed import growth, run


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
    """An iteration of the fit, of preset='paper', and of the ganrec package (its discriminator needs 128² and more)."""
    import peers

    _, data, theta = problem(given.size, given.range, max(given.batches))
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
    print(f"one iteration, {given.size}² from {given.range} degrees, one slice")
    show(rows)
    return rows


def imports(given) -> list[dict]:
    """Seconds of imports, each in interpreters of its own."""
    rows = []
    for statement in ("import numpy", "import torch", "import tomopy_ganrec", "from tomopy_ganrec import ganrec"):
        program = (
            f"import json, sys, time\nbegan = time.perf_counter()\n{statement}\nspent = time.perf_counter() - began\n"
            "print(json.dumps([spent, 'torch' in sys.modules, len(sys.modules)]))"
        )
        outputs = []
        for _ in range(given.repeat + 1):  # the first fills the file cache
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr)
            outputs.append(json.loads(done.stdout))
        spent = [output[0] for output in outputs[1:]]
        rows.append(
            dict(
                statement=statement,
                seconds=median(spent),
                least=min(spent),
                torch=outputs[-1][1],
                modules=outputs[-1][2],
            )
        )
    print(f"imports, {given.repeat} interpreters each; torch: whether it was loaded")
    show(rows)
    return rows


def listed(kind=str):
    """A parser of comma-separated values."""
    return lambda text: [kind(part) for part in text.split(",") if part]


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = top.add_subparsers(dest="what", required=True)
    commands = {
        part.__name__: parts.add_parser(part.__name__, help=part.__doc__)
        for part in (projector, step, run, growth, imports)
    }
    for name, command in commands.items():
        command.add_argument("--out", type=Path, help="CSV file")
        if name == "imports":
            continue
        command.add_argument(
            "--threads",
            type=int,
            default=len(os.sched_getaffinity(0)),
            help="torch's, in this process (all cores it may use)",
        )
        command.add_argument("--device", default="cpu", help="'cpu' or 'cuda'")
        if name != "projector":
            command.add_argument("--backend", default="auto", help="of this package's projector")
    command = commands["projector"]
    command.add_argument("--sizes", type=listed(int), default=[128, 256, 512])
    command.add_argument("--batches", type=listed(int), default=[1, 8, 32])
    command.add_argument(
        "--backends",
        type=listed(),
        help="of this package, the first is what others are compared with (all that run, first what 'auto' takes)",
    )
    command.add_argument("--reference", help="another backend to compare with")
    command.add_argument("--peers", type=listed(), help="names, as in the table; '' for none (all)")
    command.add_argument("--budget", type=float, default=2.0, help="seconds of repeats beyond 3")
    command.add_argument(
        "--longest",
        type=float,
        default=60.0,
        help="seconds that one call may be expected to take; longer ones are left out",
    )
    command = commands["step"]
    command.add_argument("--size", type=int, default=256)
    command.add_argument("--range", default="120", help="angular range: degrees, or projections/degrees")
    command.add_argument("--iterations", type=int, default=30, help="of the fit")
    command.add_argument(
        "--batches", type=listed(int), default=[1], help="slices at once, of the default fit; ratios are to the first"
    )
    command.add_argument("--no-paper", action="store_true", help="leave out preset='paper'")
    command.add_argument(
        "--compile",
        action="store_true",
        help="also the ganrec package's step compiled, as it ships; on a CPU that takes minutes",
    )
    command = commands["run"]
    command.add_argument("--size", type=int, default=256)
    command.add_argument("--range", default="120", help="angular range: degrees, or projections/degrees")
    command.add_argument("--protocol", choices=("pixel", "subpixel"), default="pixel")
    command.add_argument("--photons", type=float, help="incident, per detector pixel (noise-free)")
    command.add_argument("--seed", type=int, default=1000, help="of the shale and of the noise")
    command.add_argument("--quality", type=listed(), default=["default"], help="'fast', 'default', 'best'")
    command.add_argument("--repeat", type=int, default=3, help="rounds, each method in turn")
    command = commands["growth"]
    command.add_argument("--sizes", type=listed(int), default=[64, 128, 256], help="at 120 angles")
    command.add_argument("--angles", type=listed(int), default=[60, 120, 180], help="one a degree")
    command.add_argument("--batches", type=listed(int), default=[1, 2, 4, 8], help="slices at once, at 120 angles")
    command.add_argument("--size", type=int, default=128, help="for angles and batches")
    command.add_argument("--repeat", type=int, default=1)
    commands["imports"].add_argument("--repeat", type=int, default=7, help="interpreters for each statement")
    return top


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
