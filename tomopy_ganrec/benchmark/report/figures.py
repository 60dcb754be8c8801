"""Figures like those of the GANrec paper (J. Synchrotron Rad. 27, 486–493, 2020): MSSIM against the angular range, SSIM maps, slices."""

import math
import re
import textwrap
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.ndimage import gaussian_gradient_magnitude, uniform_filter

from tomopy_ganrec import metrics

from . import tables

__all__ = ["PLOT", "gray_window", "mssim_vs_angle", "slices", "ssim_maps", "styles", "write_figures"]

PLOT = "mssim_vs_angle.png"
# Okabe & Ito's colours without yellow, which is too pale for lines, and with Tol's wine for black, which is the truth's
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#882255", "#D55E00")
_MARKERS = "osD^vPX<>*phd8H1234+x"
_REGION = "#FF9E1B"


def write_figures(results, rows, order) -> list[Path]:
    """Draw what there is into the folder; returns the files."""
    written = []
    for name, figure in _figures(results, rows, order):
        if figure is not None:
            figure.savefig(results.folder / name, dpi=110)
            written.append(results.folder / name)
    return written


def _figures(results, rows, order):
    """Names and figures, one at a time: there may be many, and large ones. Of a case its first slice."""
    yield PLOT, mssim_vs_angle(rows, order)
    for case, group in groupby(tables.kept(rows, order), key=lambda kept: kept.rows[0]["case"]):
        kept, name = next(group), re.sub(r"[^\w.+=-]+", "_", case)
        if not kept.measured:
            yield f"ssim_maps-{name}.png", ssim_maps(results, kept)
        yield f"slices-{name}.png", slices(results, kept, styles(order))


def styles(order) -> dict[str, dict]:
    """A colour, a marker and a line for each method, the same in all figures."""
    found = {}
    for k, method in enumerate(order):
        turn = k // len(_COLORS) % 3
        color = _COLORS[k % len(_COLORS)]
        found[method] = dict(color=color, marker=_MARKERS[k % len(_MARKERS)], linestyle=("-", "--", ":")[turn])
        found[method] |= dict(markerfacecolor="white" if turn == 1 else color)
    return found


def gray_window(results, kept) -> tuple[float, float]:
    """The range of the truth; of a scan, the medians over methods of the 0.5 % and 99.5 % quantiles of the references."""
    names = dict.fromkeys(row["reference"] for row in kept.rows if row["reference"])
    if kept.measured or not names:
        names = names or dict.fromkeys(row["image"] for row in kept.rows)
        low, high = np.median(
            [np.quantile(np.nan_to_num(results.image(name)), (0.005, 0.995)) for name in names], axis=0
        )
    else:
        truth = results.image(next(iter(names)))
        low, high = truth.min(), truth.max()
    return float(low), float(high if high > low else low + 1)


def mssim_vs_angle(rows, order) -> Figure | None:
    """MSSIM against the angular range, bars of one standard deviation over slices; None without an object that has two plain wedges.

    Beside each plot stands 1 − MSSIM on a logarithmic axis, which tells methods near 1 apart.
    """
    summaries = [
        s
        for s in tables.summarize(rows)
        if s["protocol"] != "measured" and "/" not in s["wedge"] and s["mssim"] is not None
    ]
    panels: dict[str, list] = {}
    for s in summaries:
        panels.setdefault(tables.case_name(s, ("object", "protocol", "size", "noise")), []).append(s)
    panels = {name: group for name, group in panels.items() if len({s["degrees"] for s in group}) > 1}
    if not panels:
        return None
    across = min(len(panels), 2)
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(7.6 * across + 2.4, 3.6 * down + 0.3), layout="constrained")
    axes = figure.subplots(down, 2 * across, squeeze=False).reshape(-1, 2)
    style, handles = styles(order), {}
    for (plain, errors), (name, group) in zip(axes, panels.items(), strict=False):
        for method in order:
            points = sorted((s["degrees"], s["mssim"], s["mssim_std"] or 0) for s in group if s["method"] == method)
            if points:
                x, y, bars = np.transpose(points)
                label = next(s["label"] + (" †" if s["oracle"] else "") for s in group if s["method"] == method)
                look = dict(label=label, capsize=3, linewidth=1.3, markersize=5.5, **style[method])
                handles.setdefault(method, plain.errorbar(x, y, bars if bars.any() else None, **look))
                # A bar that reaches below 1e-6 would reach minus infinity.
                lower = np.minimum(bars, np.maximum(1 - y - 1e-6, 0))
                # lists: of an array with one point matplotlib makes a scalar, which NumPy before 2.4 warns of
                errors.errorbar(x, np.maximum(1 - y, 1e-6), (list(lower), list(bars)) if bars.any() else None, **look)
        errors.set_yscale("log")
        for axis, what in ((plain, "MSSIM"), (errors, "1 − MSSIM (lower is better)")):
            axis.set_title(name, fontsize=10)
            axis.set_xticks(sorted({s["degrees"] for s in group}))
            axis.set_xlabel("angular range (°)")
            axis.set_ylabel(what)
            axis.grid(alpha=0.3)
    for axis in axes[len(panels) :].ravel():
        axis.set_visible(False)
    handles = [handles[method] for method in order if method in handles]
    figure.legend(handles=handles, loc="outside right upper", fontsize=9, frameon=False)
    return figure


def _first_seeds(kept) -> list[dict]:
    """One row a method: that of its first seed."""
    rows: dict[str, dict] = {}
    for row in kept.rows:
        rows.setdefault(row["method"], row)
    return list(rows.values())


def _title(row) -> str:
    known = row["mssim"] is not None and row["protocol"] != "measured"
    name = textwrap.fill(f"{row['label'] or row['method']}{' †' if row['oracle'] else ''}", 26)
    return name + (f"\nMSSIM {tables.format_number(row['mssim'], 'mssim', 4)}" if known else "")


def _heading(kept) -> str:
    row = kept.rows[0]
    return f"{tables.case_name(row)}, slice {row['slice']}" + (
        "" if row["object_seed"] is None else f", object seed {row['object_seed']}"
    )


def _columns(panels, most) -> int:
    return math.ceil(panels / math.ceil(panels / most))


def _bare(axis, name=""):
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(name, fontsize=9)


def ssim_maps(results, kept) -> Figure | None:
    """Where each method agrees with the truth: 1 where it does."""
    rows = [row for row in _first_seeds(kept) if row["reference"]]
    if not rows:
        return None
    across = _columns(len(rows), 5)
    down = math.ceil(len(rows) / across)
    figure = Figure(figsize=(max(2.6 * across + 0.9, 5), 3.0 * down + 0.5), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for axis, row in zip(axes.flat, rows, strict=False):
        values = metrics.ssim_map(results.image(row["reference"]), results.image(row["image"]))
        shown = axis.imshow(values, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        _bare(axis, _title(row))
    for axis in axes.flat[len(rows) :]:
        axis.set_visible(False)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="SSIM", pad=0.02)
    figure.suptitle(_heading(kept), fontsize=10)
    return figure


def _region(image) -> tuple[int, int, int, int]:
    """Where to look closely: (row, column, side, row of the profile) of the square with most edges near the middle of an image."""
    side = max(4, round(min(image.shape) / 5))
    edges = uniform_filter(gaussian_gradient_magnitude(np.nan_to_num(image).astype(np.float64), 1.0), side)
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    distance = np.hypot(rows - image.shape[0] / 2, columns - image.shape[1] / 2)
    edges[distance > 0.3 * min(image.shape)] = -1
    row, column = (int(k) - side // 2 for k in np.unravel_index(edges.argmax(), image.shape))
    detail = image[row : row + side, column : column + side]
    inner = detail[side // 4 : side - side // 4]
    return row, column, side, row + side // 4 + int(np.nan_to_num(inner.std(1)).argmax())


def slices(results, kept, style=None) -> Figure:
    """The truth and every method: slices, an enlarged region below each, and the profile through it.

    Of a scan, the same method's slice from the full range stands above that from the wedge. `style`: see `styles`.
    """
    style = styles([row["method"] for row in kept.rows]) if style is None else style
    rows = _first_seeds(kept)
    low, high = gray_window(results, kept)
    references = {
        row["method"]: results.image(row["reference"])
        for row in rows
        if row["reference"] and row["reference"] != row["image"]
    }
    truth = None if kept.measured or not references else next(iter(references.values()))
    full = references if kept.measured else {}
    panels = [("truth", None, truth)] * (truth is not None) + [
        (_title(row), row["method"], results.image(row["image"])) for row in rows
    ]
    guide = truth if truth is not None else np.median(list(full.values()) or [panels[0][2]], axis=0)
    top, left, side, line = _region(guide)
    detail = np.s_[top : top + side, left : left + side]
    across, kinds = (
        _columns(len(panels), 6),
        ["full range", "wedge", "full range, detail", "detail"] if full else ["slice", "detail"],
    )
    blocks, inches = math.ceil(len(panels) / across), max(2.1, 7 / across)
    titles = 0.1 + 0.15 * max(name.count("\n") + 1 for name, _, _ in panels)
    heights = [inches] * (blocks * len(kinds)) + [2.8]
    legend = 0.7 + 0.2 * math.ceil((len(panels) + 1) / min(4, across))
    figure = Figure(
        figsize=(across * (inches + 0.04) + 0.5, sum(heights) + 0.06 * len(heights) + blocks * titles + legend)
    )
    figure.set_layout_engine("constrained", h_pad=0.03, w_pad=0.02, hspace=0, wspace=0)
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)

    def show(axis, image, name, marked):
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation=None if marked else "nearest")
        _bare(axis, name)
        if marked:
            axis.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color=_REGION, linewidth=1.2))
            axis.plot((left - 0.5, left + side - 0.5), (line, line), color=_REGION, linewidth=0.9)

    for k, (name, method, image) in enumerate(panels):
        stack = [full.get(method), image, full.get(method), image] if full else [image, image]
        for j, (kind, picture) in enumerate(zip(kinds, stack, strict=True)):
            if picture is None:
                continue
            axis = figure.add_subplot(grid[k // across * len(kinds) + j, k % across])
            whole = "detail" not in kind
            show(
                axis,
                picture if whole else picture[detail],
                name if j == 0 or (j == 1 and stack[0] is None) else "",
                whole,
            )
            if not whole:
                axis.axhline(line - top, color=_REGION, linewidth=0.9, linestyle=(0, (4, 4)))
            if k % across == 0:
                axis.set_ylabel(kind, fontsize=9)
    axis = figure.add_subplot(grid[-1, :])
    where = np.arange(left, left + side)
    if truth is not None:
        axis.plot(where, truth[line, detail[1]], color="black", linewidth=2.4, label="truth")
    elif full:
        axis.plot(
            where, guide[line, detail[1]], color="black", linewidth=2.4, label="full range, median of the methods"
        )
    for row in rows:
        values = results.image(row["image"])[line, detail[1]]
        axis.plot(
            where, values, linewidth=1.1, markersize=3.5, label=row["label"] or row["method"], **style[row["method"]]
        )
    axis.set_xlabel(f"column (row {line})")
    axis.set_ylabel("value")
    axis.margins(x=0.01)
    axis.grid(alpha=0.3)
    figure.legend(
        *axis.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center", ncols=min(4, across)
    )
    figure.suptitle(_heading(kept), fontsize=10)
    return figure
