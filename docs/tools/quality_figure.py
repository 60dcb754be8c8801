"""Draws ``docs/quality.png``: cells where GANrec gains most and least over total variation, and how sure it says it is of each pixel.

python docs/tools/quality_figure.py           # about six minutes of one core
"""

from pathlib import Path

import matplotlib
import numpy as np

from tomopy_ganrec import metrics, recon
from tomopy_ganrec.benchmark.cases import Case, Wedge

ROOT = Path(__file__).resolve().parents[2]
CELLS = (("shale", "90", 1e5), ("zeolite", "90", None), ("foam", "60", 1e4), ("foam", "51/70", None))
WAYS = {
    "TV": dict(reweight_rounds=0, num_iter=0, pixel_model="point"),
    "GANrec": dict(uncertainty_samples=8),
    "GANrec, best": dict(quality="best"),
}


def main():
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(CELLS), 6, figsize=(15, 2.65 * len(CELLS)), layout="constrained")
    for row, (name, wedge, photons) in zip(axes, CELLS, strict=True):
        case = Case(name, 128, wedge, photons)
        truth, sinogram = case.slice(seed=1000)
        found = {}
        for label, options in WAYS.items():
            image, info = recon(
                sinogram[None], Wedge(wedge).theta, sinogram_order=True, options=options, return_info=True
            )
            found[label] = image[0], info.slices[0]
        where = f"{wedge}°" if "/" not in wedge else f"{wedge.split('/')[0]} over {wedge.split('/')[1]}°"
        show(row[0], truth, f"{name}, {where}, {case.noise}", truth.max())
        for axis, (label, (image, _)) in zip(row[1:4], found.items(), strict=True):
            show(axis, image, f"{label}  {metrics.mssim(truth, image):.3f}", truth.max())
        image, info = found["GANrec"]
        top = float(np.quantile(info["uncertainty"], 0.995))
        show(row[4], info["uncertainty"], f"spread, 0 to {top:.2f}", top, "magma")
        error = np.abs(image - truth)
        show(
            row[5],
            error,
            f"its error, 0 to {float(np.quantile(error, 0.995)):.2f}",
            float(np.quantile(error, 0.995)),
            "magma",
        )
    figure.savefig(ROOT / "docs" / "quality.png", dpi=80)


def show(axis, image, title, top, colours="gray"):
    axis.imshow(image, vmin=0, vmax=top, cmap=colours)
    axis.set_title(title, fontsize=10)
    axis.set_axis_off()


if __name__ == "__main__":
    main()
