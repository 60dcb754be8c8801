"""Whole volumes: time, quality and memory of batches and of the warm start, each measurement in a process of its own.

    python performance/volume.py speed     # 32 slices of 256², 120°: one at a time, in batches, warm; beside MLEM-200
    python performance/volume.py slices    # peak memory against the number of slices, 128², from a file to a file
    python performance/volume.py growth    # time and memory against the size, 64² to 512², extrapolated to 2048²
    python performance/volume.py paper     # preset='paper' with the weights carried on

Give --threads; --out writes the rows as CSV.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ANGLES = 120


def volume(size: int, slices: int):
    """A shale, seed 1000, neighbouring slices one pixel apart, and its sinograms over 0–120° (protocol 'pixel')."""
    from tomopy_ganrec import phantoms
    from tomopy_ganrec.benchmark.simulation import simulate

    truth = phantoms.shale(size, slices, seed=1000)
    return truth, simulate(truth, np.deg2rad(np.arange(ANGLES)))


def resident(name: str) -> float:
    """VmRSS or VmHWM of this process, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return float(line.split()[1]) * 1024


def measure(folder: Path, size: int, slices: int, options: dict, to_file: bool, part: int) -> dict:
    """One reconstruction in this process: seconds, peak memory beyond the libraries, quality."""
    import torch

    from tomopy_ganrec import estimate_memory, recon
    from tomopy_ganrec.metrics import mssim

    theta = np.deg2rad(np.arange(ANGLES))
    # Load libraries and start threads.
    recon(np.load(folder / "warm-up.npy"), theta, sinogram_order=True, num_iter=1, reweight_rounds=1)
    data = np.load(folder / "data.npy", mmap_mode="r")[::part]
    truth = np.load(folder / "truth.npy", mmap_mode="r")[::part]
    out = folder / "rec.h5" if to_file else None
    Path("/proc/self/clear_refs").write_text("5")
    before, began = resident("VmRSS"), time.perf_counter()
    image, info = recon(data, theta, sinogram_order=True, options=options, out=out, return_info=True)
    seconds, peak = time.perf_counter() - began, resident("VmHWM") - before
    if to_file:
        import h5py

        with h5py.File(image) as file:
            image = file["exchange/data"][:]
        out.unlink()
        out.with_name("rec.h5.progress.jsonl").unlink()
    score = [mssim(a, b) for a, b in zip(truth, image, strict=True)]
    estimate = estimate_memory(data.shape, options, sinogram_order=True, out=out)
    return dict(
        size=size,
        slices=len(data),
        options=json.dumps(options),
        seconds_a_slice=round(seconds / len(data), 3),
        peak_mb=round(peak / 1e6, 1),
        estimate_mb=round(estimate.total / 1e6, 1),
        mssim=round(float(np.mean(score)), 4),
        mssim_std=round(float(np.std(score)), 4),
        mssim_min=round(float(np.min(score)), 4),
        warm=sum(r["warm"] for r in info.slices),
        threads=torch.get_num_threads(),
    )


def mlem_seconds(folder: Path) -> float:
    """Seconds of 200 iterations of MLEM of one slice with the sparse matrix."""
    import torch

    from tomopy_ganrec import ParallelBeamProjector
    from tomopy_ganrec.solvers.classical import mlem

    data = np.array(np.load(folder / "data.npy", mmap_mode="r")[:1])
    projector = ParallelBeamProjector(data.shape[2], np.deg2rad(np.arange(ANGLES)), data.shape[2], backend="matrix")
    began = time.perf_counter()
    mlem(projector, torch.from_numpy(data))
    return time.perf_counter() - began


def in_a_process(threads: int, *arguments) -> dict:
    """The row that this script, called with `arguments`, prints."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def prepare(folder: Path, size: int, slices: int) -> None:
    """Write a volume, and a small one to warm up with."""
    truth, data = volume(size, slices)
    np.save(folder / "truth.npy", truth)
    np.save(folder / "data.npy", data)
    np.save(folder / "warm-up.npy", volume(32, 2)[1])


def table(folder: Path, cases, threads: int, to_file=False) -> list[dict]:
    """A row for each (size, slices, label, options, part): part 4 takes every fourth slice only."""
    rows, made = [], None
    for size, slices, label, options, part in cases:
        if made != (size, slices):
            prepare(folder, size, slices)
            made = size, slices
        words = [
            "--folder",
            folder,
            "--size",
            size,
            "--slices",
            slices,
            "--options",
            json.dumps(options),
            "--part",
            part,
        ]
        row = in_a_process(threads, "one", *words, *(["--to-file"] if to_file else []))
        rows.append(dict(case=label, **row))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def speed(folder: Path, threads: int) -> list[dict]:
    """The warm start and batches against slices one by one."""
    one = dict(batch_size=1, warm_start=0)
    cases = [
        ("one at a time", one, 4),
        ("batches", dict(warm_start=0), 1),
        ("warm, one at a time", dict(batch_size=1), 1),
        ("warm, batches", {}, 1),
    ]
    rows = table(folder, [(256, 32, *case) for case in cases], threads)
    mlem = in_a_process(threads, "mlem", "--folder", folder)["seconds"]
    for row in rows:
        row["of_one_at_a_time"] = round(row["seconds_a_slice"] / rows[0]["seconds_a_slice"], 3)
        row["of_batches"] = round(row["seconds_a_slice"] / rows[1]["seconds_a_slice"], 3)
        row["of_mlem_200"] = round(row["seconds_a_slice"] / mlem, 2)
    return rows


def growth(folder: Path, threads: int) -> list[dict]:
    """Time and memory against the size, with the fitted powers."""
    rows = table(folder, [(size, 8, "warm, batches", {}, 1) for size in (64, 128, 256, 512)], threads)
    sizes = np.log([row["size"] for row in rows[1:]])
    for name in ("seconds_a_slice", "peak_mb"):
        power, constant = np.polyfit(sizes, np.log([row[name] for row in rows[1:]]), 1)
        print(
            f"{name} grows as size^{power:.2f} from 128 to 512; {ANGLES} angles, 2048: "
            f"{np.exp(constant + power * np.log(2048)):.3g}"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", choices=("speed", "slices", "growth", "paper", "one", "mlem"), help="one and mlem: used by the others"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="CSV file")
    for name in ("size", "slices", "part"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--to-file", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.what == "one":
        print(json.dumps(measure(given.folder, given.size, given.slices, given.options, given.to_file, given.part)))
        return
    if given.what == "mlem":
        print(json.dumps(dict(seconds=mlem_seconds(given.folder))))
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if given.what == "slices":
            rows = table(folder, [(128, n, "warm, batches", {}, 1) for n in (16, 64, 256)], given.threads, to_file=True)
        elif given.what == "paper":
            cases = [
                (64, 8, "paper, cold", dict(preset="paper", warm_start=0), 1),
                (64, 8, "paper, weights carried on", dict(preset="paper"), 1),
            ]
            rows = table(folder, cases, given.threads)
        else:
            rows = (speed if given.what == "speed" else growth)(folder, given.threads)
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    if given.out:
        with given.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
