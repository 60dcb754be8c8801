"""Compares reconstructions of this working tree and of another commit bit for bit, for changes that keep the results.

    python performance/same_results.py             # against HEAD
    python performance/same_results.py COMMIT --only default warm

Small slices are reconstructed by both trees, each in a process of its own with one thread. The exit status is 1 if an
image differs; differences in the numbers recorded for a slice are printed. Nothing is stored: rounding differs between
processors, so that an image from another machine would prove nothing.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Options by their names in 0.1.0, and their names since: one set of runs serves commits with either.
RENAMED = {
    "strength": "tv_weight",
    "epsilon": "edge_threshold",
    "along": "wedge_tv_weight",
    "reweight": "reweight_rounds",
    "learn": "wedge_rounds",
    "refine": "grid_factor",
    "stack": "joint_slices",
    "spread": "uncertainty_samples",
    "pixels": "pixel_model",
}
PIXEL_MODELS = {"mean": "area", "box": "point"}

# For each run the number of slices, and its options by their names in 0.1.0; `noisy` is about the data.
RUNS = {
    "default": (1, {}),
    "noisy": (2, {"noisy": True}),
    "long": (1, {"init": "none", "num_iter": 40}),
    "levels": (1, {"levels": "auto", "num_iter": 40}),
    "warm": (7, {"batch_size": 2, "warm_start": 3}),
    "best": (1, {"quality": "best", "learn": 1, "num_iter": 20}),
    "paper": (3, {"preset": "paper", "num_iter": 25, "warm_start": 3}),
    "uncertainty": (1, {"spread": 2, "num_iter": 10}),
    "joint": (3, {"stack": 3, "num_iter": 10}),
    "point pixels": (1, {"pixels": "box", "refine": 2, "num_iter": 10}),
    "weights": (1, {"strength": 0.01, "epsilon": 0.1, "along": 0.5, "reweight": 2, "noisy": True}),
}


def sinograms(slices: int, noisy: bool):
    """Line integrals (angles, slices, columns) of discs over an angular range of 100°, and theta in radians."""
    import numpy as np

    columns, angles = 48, 40
    theta = np.linspace(0, np.deg2rad(100), angles)
    s = np.arange(columns) - (columns - 1) / 2
    data = np.zeros((angles, slices, columns))
    for k in range(slices):
        for x, y, radius, value in (
            (0, 0, 19, 0.02),
            (6 + k / 3, 5, 5, 0.03),
            (-7, 2, 4, -0.02),
            (-1, -9 + k / 4, 3, 0.05),
        ):
            offset = s[None] - (x * np.cos(theta) + y * np.sin(theta))[:, None]
            data[:, k] += 2 * value * np.sqrt(np.maximum(radius**2 - offset**2, 0))
    if noisy:
        rng = np.random.default_rng(1)
        data = -np.log(np.maximum(rng.poisson(2e4 * np.exp(-data)), 1) / 2e4)
    return data.astype(np.float32), theta


def run(names) -> None:
    """Reconstruct with the package on the path, and write {name: (volume, records)}, pickled, to stdout."""
    import warnings
    from dataclasses import fields

    import torch

    torch.set_num_threads(1)
    import tomopy_ganrec

    option_names = {field.name for field in fields(tomopy_ganrec.GanrecOptions)}
    results = {}
    for name in names:
        slices, options = RUNS[name]
        options = dict(options)
        noisy = options.pop("noisy", False)
        for old, new in RENAMED.items():
            if old in options and new in option_names:
                value = options.pop(old)
                options[new] = PIXEL_MODELS.get(value, value)
        data, theta = sinograms(slices, noisy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            volume, info = tomopy_ganrec.recon(data, theta, device="cpu", progress=False, return_info=True, **options)
        # By value, not by name: names may have changed in between.
        records = [sorted(repr(v) for v in record.values() if isinstance(v, float)) for record in info.slices]
        results[name] = volume, records
    pickle.dump(results, sys.stdout.buffer)


def results_of(tree: Path, names) -> dict:
    """The results of the package in the folder `tree`, made in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "--run", *names], env=environment, cwd=tree, stdout=subprocess.PIPE, check=True
    )
    return pickle.loads(done.stdout)


def main() -> int:
    """Compare both trees and print the differences; returns the exit status."""
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default="HEAD")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN", help=", ".join(RUNS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", str(tree), arguments.commit], cwd=ROOT, check=True
        )
        try:
            before = results_of(tree, arguments.only)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)
    now = results_of(ROOT, arguments.only)
    different = 0
    for name in arguments.only:
        (old_volume, old_records), (new_volume, new_records) = before[name], now[name]
        message = "the same"
        if not np.array_equal(old_volume, new_volume):
            different += 1
            largest = np.abs(old_volume - new_volume).max()
            message = f"DIFFERENT, largest difference {largest:.2g} of {np.abs(old_volume).max():.2g}"
        if old_records != new_records:
            message += "; numbers in the records of its slices differ"
        print(f"{name:>14}: {message}")
    return bool(different)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run(sys.argv[2:])
    else:
        sys.exit(main())
