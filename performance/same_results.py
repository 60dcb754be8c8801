"""Compares this working tree's reconstructions with those of another commit, bit for bit: for changes that must not change a number.

``python performance/same_results.py [COMMIT]`` (default HEAD) reconstructs small slices in a process for each of the two trees, with one thread.
It exits with 1 if an array or the record of a slice differs. The arrays stay in memory: rounding differs between processors, so that a stored one
would prove nothing elsewhere.
"""

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The options' names of 0.1.0, and their names since.
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
    """(angles, slices, columns) line integrals of discs and bars over 100°, and theta in radians."""
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
            along = s[None] - (x * np.cos(theta) + y * np.sin(theta))[:, None]
            data[:, k] += 2 * value * np.sqrt(np.maximum(radius**2 - along**2, 0))
    if noisy:
        rng = np.random.default_rng(1)
        data = -np.log(np.maximum(rng.poisson(2e4 * np.exp(-data)), 1) / 2e4)
    return data.astype(np.float32), theta


def run(names) -> None:
    """Reconstruct with the package on the path, and write the pickled results to stdout."""
    import warnings
    from dataclasses import fields

    import torch

    torch.set_num_threads(1)
    import tomopy_ganrec

    known = {field.name for field in fields(tomopy_ganrec.GanrecOptions)}
    results = {}
    for name in names:
        slices, options = RUNS[name]
        options = dict(options)
        noisy = options.pop("noisy", False)
        for old, new in RENAMED.items():
            if old in options and new in known:
                value = options.pop(old)
                options[new] = PIXEL_MODELS.get(value, value)
        data, theta = sinograms(slices, noisy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            volume, info = tomopy_ganrec.recon(data, theta, device="cpu", progress=False, return_info=True, **options)
        numbers = []
        for record in info.slices:
            numbers.append(sorted(repr(v) for v in record.values() if isinstance(v, float)))
        results[name] = volume, numbers
    pickle.dump(results, sys.stdout.buffer)


def results_of(tree: Path, names) -> dict:
    """The results of the package in `tree`, made in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "--run", *names], env=environment, cwd=tree, stdout=subprocess.PIPE, check=True
    )
    return pickle.loads(done.stdout)


def main() -> int:
    """Compare, and print what differs."""
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
        (a, records), (b, others) = before[name], now[name]
        same = np.array_equal(a, b)
        different += not same
        largest = "" if same else f", largest difference {np.abs(a - b).max():.2g} of {np.abs(a).max():.2g}"
        numbers = "" if records == others else "; the numbers of the records differ"
        print(f"{name:>14}: {'the same' if same else 'DIFFERENT'}{largest}{numbers}")
    return bool(different)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run(sys.argv[2:])
    else:
        sys.exit(main())
