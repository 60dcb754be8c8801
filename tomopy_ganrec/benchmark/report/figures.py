"""Figures like those of the GANrec paper (J. Synchrotron Rad. 27, 486–493, 2020).

MSSIM against the angular range, SSIM maps, and slices (`slice_figure`).
"""

import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tomopy_ganrec import metrics
from tomopy_ganrec.benchmark.rows import Row
from tomopy_ganrec.benchmark.store import Results

from .case_names import case_name
from .kept_images import KeptImages, kept_images
from .slice_figure import bare_axis, first_seeds, panel_title, panels_across, slice_figure
from .styles import Style, styles
from .summaries import summarize

__all__ = ["PLOT", "mssim_vs_angle", "slice_figure", "ssim_maps", "styles", "write_figures"]

PLOT = "mssim_vs_angle.png"


def write_figures(results: Results, rows: Sequence[Row], order: Sequence[str]) -> list[Path]:
    """Draw what there is into the folder, with the methods in this order; returns the files."""
    written = []
    for name, figure in _figures(results, rows, order):
        if figure is not None:
            figure.savefig(results.folder / name, dpi=110)
            written.append(results.folder / name)
    return written


def _figures(results: Results, rows: Sequence[Row], order: Sequence[str]) -> Iterator[tuple[str, Figure | None]]:
    """Names and figures, one at a time: there may be many, and large ones. Of a case its first slice."""
    yield PLOT, mssim_vs_angle(rows, order)
    for case, group in groupby(kept_images(rows, order), key=lambda kept: kept.case):
        kept, name = next(group), re.sub(r"[^\w.+=-]+", "_", case)
        if not kept.measured:
            yield f"ssim_maps-{name}.png", ssim_maps(results, kept)
        yield f"slices-{name}.png", slice_figure(results, kept, styles(order))


def mssim_vs_angle(rows: Sequence[Row], order: Sequence[str]) -> Figure | None:
    """MSSIM against the angular range, bars of one standard deviation over slices.

    Beside each plot stands 1 − MSSIM on a logarithmic axis, which shows differences between methods near 1. None
    without an object that has two angular ranges with one projection a degree.
    """
    panels = _ranges_of_objects(rows)
    if not panels:
        return None
    across = min(len(panels), 2)
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(7.6 * across + 2.4, 3.6 * down + 0.3), layout="constrained")
    axes = figure.subplots(down, 2 * across, squeeze=False).reshape(-1, 2)
    style = styles(order)
    handles: dict[str, Any] = {}
    for (similarity, errors), (name, summaries) in zip(axes, panels.items(), strict=False):
        for method in order:
            of_method = [s for s in summaries if s["method"] == method]
            if of_method:
                handle = _draw_method(similarity, errors, of_method, style[method])
                handles.setdefault(method, handle)
        errors.set_yscale("log")
        for axis, what in ((similarity, "MSSIM"), (errors, "1 − MSSIM (lower is better)")):
            axis.set_title(name, fontsize=10)
            axis.set_xticks(sorted({s["degrees"] for s in summaries}))
            axis.set_xlabel("angular range (°)")
            axis.set_ylabel(what)
            axis.grid(alpha=0.3)
    for axis in axes[len(panels) :].ravel():
        axis.set_visible(False)
    in_order = [handles[method] for method in order if method in handles]
    figure.legend(handles=in_order, loc="outside right upper", fontsize=9, frameon=False)
    return figure


def _ranges_of_objects(rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    """Summaries of simulated cases with one projection a degree, by all but the angular range, if there are two."""
    panels: dict[str, list[dict[str, Any]]] = {}
    for s in summarize(rows):
        if s["protocol"] != "measured" and "/" not in s["angular_range"] and s["mssim"] is not None:
            panels.setdefault(case_name(s, ("object", "protocol", "size", "noise")), []).append(s)
    return {name: summaries for name, summaries in panels.items() if len({s["degrees"] for s in summaries}) > 1}


def _draw_method(similarity: Axes, errors: Axes, summaries: Sequence[dict[str, Any]], style: Style) -> Any:
    """Draw a method into both axes; returns its handle for the legend."""
    points = sorted((s["degrees"], s["mssim"], s["mssim_std"] or 0) for s in summaries)
    degrees, mssim, bars = np.transpose(points)
    label = summaries[0]["label"] + (" †" if summaries[0]["oracle"] else "")
    look: dict[str, Any] = {"label": label, "capsize": 3, "linewidth": 1.3, "markersize": 5.5} | style
    handle = similarity.errorbar(degrees, mssim, bars if bars.any() else None, **look)
    # A bar that reaches below 1e-6 would reach minus infinity.
    lower = np.minimum(bars, np.maximum(1 - mssim - 1e-6, 0))
    # Lists: of an array with one point matplotlib makes a scalar, which NumPy before 2.4 warns of.
    both = (list(lower), list(bars)) if bars.any() else None
    errors.errorbar(degrees, np.maximum(1 - mssim, 1e-6), both, **look)
    return handle


def ssim_maps(results: Results, kept: KeptImages) -> Figure | None:
    """Maps of the structural similarity to the truth, 1 where a method agrees with it; None without a truth."""
    rows = [row for row in first_seeds(kept) if row["reference"]]
    if not rows:
        return None
    across = panels_across(len(rows), 5)
    down = math.ceil(len(rows) / across)
    figure = Figure(figsize=(max(2.6 * across + 0.9, 5), 3.0 * down + 0.5), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for axis, row in zip(axes.flat, rows, strict=False):
        values = metrics.ssim_map(results.image(row["reference"]), results.image(row["image"]))
        image = axis.imshow(values, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        bare_axis(axis, panel_title(row))
    for axis in axes.flat[len(rows) :]:
        axis.set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.8, label="SSIM", pad=0.02)
    figure.suptitle(kept.title, fontsize=10)
    return figure
