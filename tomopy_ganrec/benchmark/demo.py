"""Demonstration: one slice with a missing wedge by several methods, with a table, a picture and the numbers as JSON."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from tomopy_ganrec import metrics
from tomopy_ganrec.projector import ParallelBeamProjector

from .cases import AngularRange, Case
from .methods import Problem, chosen, reconstruct

__all__ = ["demo"]

METHODS = ("fbp", "mlem", "tv", "ganrec", "ganrec-start", "ganrec-levels")


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [f"{'method':<24}{'MSSIM':>8}{'RMSE':>8}{'seconds':>9}"]
    lines += [f"{r['method']:<24}{r['mssim']:>8.4f}{r['rmse']:>8.4f}{r['seconds']:>9.1f}" for r in rows]
    return "\n".join(lines)


def _draw(
    truth: np.ndarray, images: Sequence[np.ndarray], rows: Sequence[dict[str, Any]], title: str, path: Path
) -> None:
    """Slices, an enlarged detail of each, and SSIM maps, as a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    n = truth.shape[0]
    names = [f"{row['method']}\nMSSIM {row['mssim']:.3f}" for row in rows]
    panels = [("truth", truth), *zip(names, images, strict=True)]
    figure, axes = plt.subplots(3, len(panels), figsize=(2.6 * len(panels), 8.4), layout="constrained")
    zoom = slice(int(0.42 * n), int(0.62 * n))
    side = zoom.stop - zoom.start
    for (name, image), column in zip(panels, axes.T, strict=True):
        column[0].imshow(image, cmap="gray", vmin=0, vmax=1)
        column[0].set_title(name, fontsize=10)
        column[0].add_patch(Rectangle((zoom.start, zoom.start), side, side, fill=False, color="tab:orange"))
        column[1].imshow(image[zoom, zoom], cmap="gray", vmin=0, vmax=1)
        if image is truth:
            column[2].set_visible(False)
        else:
            ssim = column[2].imshow(metrics.ssim_map(truth, image), cmap="viridis", vmin=0, vmax=1)
        for axis in column:
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, label in zip(axes[:, 1], ("slice", "detail", "SSIM"), strict=True):
        axis.set_ylabel(label)
    figure.colorbar(ssim, ax=axes[2], fraction=0.02, label="SSIM")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def demo(
    out: str | Path = "demo", size: int = 256, degrees: int = 120, photons: float | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """Reconstruct a shale slice from one projection a degree, 0 ≤ θ < `degrees`, by several methods.

    Protocol ``pixel``, Gaussian MSSIM in phantom units. Prints a table; writes ``comparison.png`` and ``results.json``
    into the folder `out`.

    Parameters
    ----------
    out : str or Path
    size : int
        Rows and columns of the slice.
    degrees : int
        Angular range.
    photons : float, optional
        Incident photons per detector pixel; None: noise-free.
    seed : int
        Of the object and of its noise.

    Returns
    -------
    list of dict
        Rows with ``method``, ``mssim``, ``rmse``, ``seconds``.
    """
    case = Case("shale", size, str(degrees), photons, "pixel")
    truth, sinogram = case.slice(seed=seed)
    projector = ParallelBeamProjector(size, AngularRange(case.angular_range).theta, size)
    problem = Problem(projector, torch.from_numpy(sinogram[None]), truth=truth)
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
    title = f"shale {size}², 0–{degrees}°, one projection per degree, {noise}"
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(rows, indent=1))
    _draw(truth, images, rows, title, out / "comparison.png")
    sys.stdout.write(f"{title}\n{_table(rows)}\nwrote {out / 'comparison.png'} and {out / 'results.json'}\n")
    return rows
