"""Image quality and time on shale slices: MSSIM of each method over objects, protocol ``pixel``, one projection per degree.

    python benchmarks/quality.py --seeds 1000:1005 --size 256

Everything runs in one process with the same projector; times are those of one slice, and as a ratio to MLEM-200 in the same run.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch

from tomopy_ganrec import ParallelBeamProjector, metrics, phantoms
from tomopy_ganrec.benchmark.methods import reconstructions
from tomopy_ganrec.benchmark.protocol import simulate

CASES = [(180, None), (120, None), (90, None), (120, 1e5)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0:3")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--protocol", default="pixel", choices=("pixel", "subpixel"))
    parser.add_argument("--controls", action="store_true", help="also the fit without its network, and without its discriminator")
    parser.add_argument("--json", help="write every row to this file")
    arguments = parser.parse_args()
    seeds = range(*(int(s) for s in arguments.seeds.split(":")))
    oversample = 1 if arguments.protocol == "pixel" else 4
    rows = []
    for seed in seeds:
        objects = phantoms.shale(arguments.size * oversample, seed=seed)
        truth = objects.reshape(arguments.size, oversample, arguments.size, oversample).mean((1, 3))
        for wedge, photons in CASES:
            theta = np.deg2rad(np.arange(wedge))
            sinogram = torch.from_numpy(simulate(objects, theta, arguments.protocol, oversample, photons, seed))
            projector = ParallelBeamProjector(arguments.size, theta, arguments.size)
            for name, images, seconds in reconstructions(projector, sinogram, arguments.controls):
                row = {"seed": seed, "wedge": wedge, "photons": photons, "method": name, "seconds": seconds}
                image = images[0].numpy()
                row |= {"mssim": metrics.mssim(truth, image), "rmse": metrics.rmse(truth, image)}
                rows.append(row)
                print(json.dumps(row), flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for value, digits in (("mssim", 4), ("seconds", 1)):
        print(f"\n{value}: mean (standard deviation) over seeds {arguments.seeds}" + (", / MLEM-200" if value == "seconds" else ""))
        print(f"{'':30}" + "".join(f"{f'{w}°' + (f' {p:g} photons' if p else ''):>22}" for w, p in CASES))
        for method in methods:
            cells = []
            for case in CASES:
                of = {m: np.array([r[value] for r in rows if r["method"] == m and (r["wedge"], r["photons"]) == case]) for m in (method, "MLEM-200")}
                cell = f"{of[method].mean():.{digits}f} ({of[method].std():.{digits}f})"
                cells.append(cell + (f" {of[method].mean() / of['MLEM-200'].mean():5.1f}×" if value == "seconds" else ""))
            print(f"{method:30}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    warnings.simplefilter("default")
    main()
