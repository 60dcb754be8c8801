"""The demonstration: one missing-wedge slice by the methods at hand, a table, a picture, and the numbers as JSON."""

import json
import sys
from pathlib import Path

import torch
from tqdm.auto import tqdm

from .. import metrics
from ..projector import ParallelBeamProjector
from .cases import Case, Wedge
from .methods import Problem, chosen, reconstruct

__all__ = ["demo"]

METHODS = ("fbp", "mlem", "tv", "ganrec", "ganrec-start", "ganrec-levels")


def _table(rows) -> str:
    lines = [f"{'method':<24}{'MSSIM':>8}{'RMSE':>8}{'seconds':>9}"]
    lines += [f"{r['method']:<24}{r['mssim']:>8.4f}{r['rmse']:>8.4f}{r['seconds']:>9.1f}" for r in rows]
    return "\n".join(lines)


def _picture(truth, images, rows, title, path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n = truth.shape[0]
    panels = [("truth", truth)] + [
        (f"{r['method']}\nMSSIM {r['mssim']:.3f}", i) for r, i in zip(rows, images, strict=True)
    ]
    figure, axes = plt.subplots(3, len(panels), figsize=(2.6 * len(panels), 8.4), layout="constrained")
    zoom = slice(int(0.42 * n), int(0.62 * n))
    for (name, image), column in zip(panels, axes.T, strict=True):
        column[0].imshow(image, cmap="gray", vmin=0, vmax=1)
        column[0].set_title(name, fontsize=10)
        column[0].add_patch(
            plt.Rectangle(
                (zoom.start, zoom.start), zoom.stop - zoom.start, zoom.stop - zoom.start, fill=False, color="tab:orange"
            )
        )
        column[1].imshow(image[zoom, zoom], cmap="gray", vmin=0, vmax=1)
        if image is truth:
            column[2].set_visible(False)
        else:
            shown = column[2].imshow(metrics.ssim_map(truth, image), cmap="viridis", vmin=0, vmax=1)
        for axis in column:
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, label in zip(axes[:, 1], ("slice", "detail", "SSIM"), strict=True):
        axis.set_ylabel(label)
    figure.colorbar(shown, ax=axes[2], fraction=0.02, label="SSIM")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def demo(out="demo", size=256, wedge=120, photons=None, seed=0) -> list[dict]:
    """Reconstruct a shale slice from `wedge` projections, one a degree, and show how well.

    Protocol ``pixel``, gaussian MSSIM in phantom units. Prints a table; writes ``comparison.png`` and ``results.json`` into `out`.

    Returns
    -------
    list of dict
        Rows with ``method``, ``mssim``, ``rmse``, ``seconds``.
    """
    case = Case("shale", size, str(wedge), photons, "pixel")
    truth, sinogram = case.slice(seed=seed)
    problem = Problem(
        ParallelBeamProjector(size, Wedge(case.wedge).theta, size), torch.from_numpy(sinogram[None]), truth=truth
    )
    rows, images = [], []
    for method in tqdm(chosen(METHODS), "demo", unit="method"):
        image, seconds = reconstruct(method, problem)
        images.append(image)
        rows.append(
            {
                "method": method.label,
                "mssim": metrics.mssim(truth, image),
                "rmse": metrics.rmse(truth, image),
                "seconds": seconds,
            }
        )
    noise = "noise-free" if photons is None else f"{photons:g} photons"
    title = f"shale {size}², 0–{wedge}°, one projection per degree, {noise}"
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(rows, indent=1))
    _picture(truth, images, rows, title, out / "comparison.png")
    sys.stdout.write(f"{title}\n{_table(rows)}\nwrote {out / 'comparison.png'} and {out / 'results.json'}\n")
    return rows
