"""A real scan, full range against a wedge of it: how well each method's wedge slice agrees with its own full-range slice.

    python benchmarks/real_scan.py scan.h5 --center 296 --center-convention index --slices 0:2 --angles 0:120 --out scan_comparison.png

There is no truth: a method that blurs both alike agrees with itself too, so look at the picture, and at the residual on the angles that the wedge
left out.
"""

import argparse
import json

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from tomopy_ganrec import ParallelBeamProjector, io, metrics
from tomopy_ganrec.benchmark.methods import reconstructions
from tomopy_ganrec.checks import check_centers


def residuals(model, images, sinograms):
    """Relative data residual of each slice."""
    difference = model.forward_project(images) - sinograms
    return (difference.flatten(1).norm(dim=1) / sinograms.flatten(1).norm(dim=1)).tolist()


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
    in_wedge, left_out = sinograms[:, wedge].contiguous(), sinograms[:, rest].contiguous()
    images = {}
    pairs = zip(reconstructions(full, sinograms, levels=False), reconstructions(part, in_wedge, levels=False), strict=True)
    for (name, references, _), (_, parts, seconds) in pairs:
        columns_of_table = {
            "residual": residuals(part, parts, in_wedge),
            "residual_left_out": residuals(held_out, parts, left_out),
            "residual_full_range": residuals(full, references, sinograms),
        }
        for k, (reference, image) in enumerate(zip(references.numpy(), parts.numpy(), strict=True)):
            low, high = np.quantile(reference, [0.001, 0.999])
            row = {"method": name, "slice": k, "seconds_per_slice": seconds / slices} | {key: values[k] for key, values in columns_of_table.items()}
            row["mssim_to_full_range"] = metrics.mssim(reference, image, data_range=high - low)
            row["distance_to_full_range"] = float(np.linalg.norm(image - reference) / np.linalg.norm(reference))
            print(json.dumps(row), flush=True)
        images[name] = references[0].numpy(), parts[0].numpy()
    low, high = np.quantile(images["ganrec"][0], [0.01, 0.999])
    figure, axes = plt.subplots(2, len(images), figsize=(4 * len(images), 8), layout="constrained")
    for column, name in zip(axes.T, images, strict=True):
        for axis, image, label in zip(column, images[name], ("full range", arguments.angles + "°"), strict=True):
            axis.imshow(image, cmap="gray", vmin=low, vmax=high)
            axis.set_title(f"{name}, {label}")
            axis.set_axis_off()
    figure.savefig(arguments.out, dpi=100)


if __name__ == "__main__":
    main()
