"""A real scan, full range against a wedge of it: how well each method's wedge slice agrees with its own full-range slice.

    python benchmarks/real_scan.py scan.h5 --center 296 --center-convention index --slices 0:2 --angles 0:120 --out scan_comparison.png

There is no truth: a method that blurs both alike agrees with itself too, so look at the picture, and at the residual on the angles that the wedge
left out.
"""

import argparse
import json
import time

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from tomopy_ganrec import ParallelBeamProjector, io, metrics
from tomopy_ganrec.checks import check_centers
from tomopy_ganrec.fit import fit
from tomopy_ganrec.initial import fbp, mlem
from tomopy_ganrec.options import GanrecOptions

METHODS = {
    "FBP": lambda model, b: fbp(model, b, model.theta),
    "MLEM-200": lambda model, b: mlem(model, b, 200),
    "TV": lambda model, b: fit(model, b, GanrecOptions(reweight=0, num_iter=0)).image,
    "start of ganrec": lambda model, b: fit(model, b, GanrecOptions(num_iter=0)).image,
    "ganrec": lambda model, b: fit(model, b).image,
}


def residual(model, image, sinogram):
    return float((model.forward_project(image) - sinogram).norm() / sinogram.norm())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--center", type=float)
    parser.add_argument("--center-convention", default="edge", choices=("edge", "index"))
    parser.add_argument("--slices", default="0:1")
    parser.add_argument("--angles", default="0:120")
    parser.add_argument("--projector-memory", type=float, default=4e9)
    parser.add_argument("--out", default="real_scan.png")
    arguments = parser.parse_args()
    projections, theta = io.read_projections(arguments.file, [int(s) for s in arguments.slices.split(":")])
    sinograms = torch.from_numpy(np.ascontiguousarray(projections.swapaxes(0, 1)))
    slices, _, columns = sinograms.shape
    center = float(check_centers(arguments.center, 1, columns, arguments.center_convention)[0])
    wedge = io.select_angles(np.rad2deg(theta), arguments.angles)
    rest = np.setdiff1d(np.arange(len(theta)), wedge)
    full, part, held_out = (
        ParallelBeamProjector(columns, theta[keep], columns, center, memory_limit=arguments.projector_memory)
        for keep in (np.arange(len(theta)), wedge, rest)
    )
    rows, images = [], {}
    for name, method in METHODS.items():
        for k in range(slices):
            b = sinograms[k : k + 1]
            reference = method(full, b)
            began = time.perf_counter()
            image = method(part, b[:, wedge].contiguous())
            seconds = time.perf_counter() - began
            low, high = np.quantile(reference.numpy(), [0.001, 0.999])
            rows.append(
                {
                    "method": name,
                    "slice": k,
                    "mssim_to_full_range": metrics.mssim(reference[0], image[0], data_range=high - low),
                    "distance_to_full_range": float((image - reference).norm() / reference.norm()),
                    "residual": residual(part, image, b[:, wedge]),
                    "residual_left_out": residual(held_out, image, b[:, rest]),
                    "residual_full_range": residual(full, reference, b),
                    "seconds": seconds,
                }
            )
            images[name, k] = reference[0].numpy(), image[0].numpy()
            print(json.dumps(rows[-1]), flush=True)
    low, high = np.quantile(images["ganrec", 0][0], [0.01, 0.999])
    figure, axes = plt.subplots(2, len(METHODS), figsize=(4 * len(METHODS), 8), layout="constrained")
    for column, name in zip(axes.T, METHODS, strict=True):
        for axis, image, label in zip(column, images[name, 0], ("full range", arguments.angles + "°"), strict=True):
            axis.imshow(image, cmap="gray", vmin=low, vmax=high)
            axis.set_title(f"{name}, {label}")
            axis.set_axis_off()
    figure.savefig(arguments.out, dpi=100)


if __name__ == "__main__":
    main()
