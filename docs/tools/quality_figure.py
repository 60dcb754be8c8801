"""Draws ``docs/quality.png``: cases where GANrec gains most and least over total variation, and its uncertainty.

python docs/tools/quality_figure.py           # about six minutes of one core
"""

from pathlib import Path

import matplotlib
import numpy as np

from tomopy_ganrec import metrics, recon
from tomopy_ganrec.benchmark.cases import AngularRange, Case
from tomopy_ganrec.benchmark.implementations import TV_OPTIONS

ROOT = Path(__file__).resolve().parents[2]
CASES = (("shale", "90", 1e5), ("zeolite", "90", None), ("foam", "60", 1e4), ("foam", "51/70", None))
METHODS = {
    "TV": TV_OPTIONS,
    "GANrec": {"uncertainty_samples": 8},
    "GANrec, best": {"quality": "best"},
}


def main():
    """Reconstruct and draw."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(CASES), 6, figsize=(15, 2.65 * len(CASES)), layout="constrained")
    for row, (phantom, angular_range, photons) in zip(axes, CASES, strict=True):
        draw_case(row, Case(phantom, 128, angular_range, photons))
    figure.savefig(ROOT / "docs" / "quality.png", dpi=80)


def draw_case(axes, case):
    """Truth, three reconstructions, and the uncertainty and error of GANrec."""
    truth, sinogram = case.slice(seed=1000)
    theta = AngularRange(case.angular_range).theta
    images, records = {}, {}
    for label, options in METHODS.items():
        volume, info = recon(sinogram[None], theta, sinogram_order=True, options=options, return_info=True)
        images[label], records[label] = volume[0], info.slices[0]
    projections, _, degrees = case.angular_range.rpartition("/")
    covered = f"{projections} over {degrees}°" if projections else f"{degrees}°"
    show(axes[0], truth, f"{case.phantom}, {covered}, {case.noise}", truth.max())
    for axis, (label, image) in zip(axes[1:4], images.items(), strict=True):
        show(axis, image, f"{label}  {metrics.mssim(truth, image):.3f}", truth.max())
    uncertainty, error = records["GANrec"]["uncertainty"], np.abs(images["GANrec"] - truth)
    for axis, label, values in ((axes[4], "uncertainty", uncertainty), (axes[5], "its error", error)):
        top = float(np.quantile(values, 0.995))
        show(axis, values, f"{label}, 0 to {top:.2f}", top, "magma")


def show(axis, image, title, top, colours="gray"):
    """An image from 0 to `top`."""
    axis.imshow(image, vmin=0, vmax=top, cmap=colours)
    axis.set_title(title, fontsize=10)
    axis.set_axis_off()


if __name__ == "__main__":
    main()
