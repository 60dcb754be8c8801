"""Figure of one slice by all methods: images, an enlarged region of each, and a profile through it."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle
from scipy.ndimage import gaussian_gradient_magnitude, uniform_filter

from tomopy_ganrec.benchmark.rows import Row
from tomopy_ganrec.benchmark.store import Results

from .kept_images import KeptImages, gray_window
from .styles import Style, styles
from .tables import format_number

__all__ = ["bare_axis", "first_seeds", "panel_title", "panels_across", "slice_figure"]

_REGION_COLOR = "#FF9E1B"


def first_seeds(kept: KeptImages) -> list[Row]:
    """One row a method: that of its first seed."""
    rows: dict[str, Row] = {}
    for row in kept.rows:
        rows.setdefault(row["method"], row)
    return list(rows.values())


def panel_title(row: Row) -> str:
    """The method, its MSSIM where there is a truth, and of a scan its MCC and MSSIM where there is a reference."""
    name = textwrap.fill(f"{row['label'] or row['method']}{' †' if row['oracle'] else ''}", 26)
    lines = [name]
    if row["mcc"] is not None:
        lines.append(f"MCC {format_number(row['mcc'], 'mcc', 4)}")
    if row["mssim"] is not None and (row["mcc"] is not None or row["protocol"] != "measured"):
        lines.append(f"MSSIM {format_number(row['mssim'], 'mssim', 4)}")
    return "\n".join(lines)


def panels_across(panels: int, most: int) -> int:
    """Columns of a grid of panels, at most so many, whose rows are about equally full."""
    return math.ceil(panels / math.ceil(panels / most))


def bare_axis(axis: Axes, title: str = "") -> None:
    """Take the ticks off an axis and give it a title."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=9)


@dataclass(frozen=True)
class _Region:
    """A square of an image (its first row and column, and its side), and the row of the profile through it."""

    top: int
    left: int
    side: int
    line: int

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.side)

    @property
    def window(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.side), self.columns

    def mark(self, axis: Axes) -> None:
        """Draw the square and the line of the profile into an image."""
        corner = self.left - 0.5, self.top - 0.5
        axis.add_patch(Rectangle(corner, self.side, self.side, fill=False, color=_REGION_COLOR, linewidth=1.2))
        ends = self.left - 0.5, self.left + self.side - 0.5
        axis.plot(ends, (self.line, self.line), color=_REGION_COLOR, linewidth=0.9)


def _region(image: np.ndarray) -> _Region:
    """The square with most edges near the middle of an image."""
    side = max(4, round(min(image.shape) / 5))
    edges = uniform_filter(gaussian_gradient_magnitude(np.nan_to_num(image).astype(np.float64), 1.0), side)
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    distance = np.hypot(rows - image.shape[0] / 2, columns - image.shape[1] / 2)
    edges[distance > 0.3 * min(image.shape)] = -1
    top, left = (int(k) - side // 2 for k in np.unravel_index(edges.argmax(), image.shape))
    detail = image[top : top + side, left : left + side]
    inner = detail[side // 4 : side - side // 4]
    return _Region(top, left, side, top + side // 4 + int(np.nan_to_num(inner.std(1)).argmax()))


@dataclass(frozen=True)
class _Panel:
    """A column of the figure: a method, or without a row what all are compared with.

    `full` is the method's slice from the full range.
    """

    title: str
    image: np.ndarray
    row: Row | None = None
    full: np.ndarray | None = None


def _panels(results: Results, kept: KeptImages) -> list[_Panel]:
    rows = first_seeds(kept)
    references = {
        row["method"]: results.image(row["reference"])
        for row in rows
        if row["reference"] and row["reference"] != row["image"]
    }
    full = {} if kept.shared_reference else references
    panels = [_Panel(panel_title(row), results.image(row["image"]), row, full.get(row["method"])) for row in rows]
    if references and kept.shared_reference:
        panels.insert(0, _Panel(kept.shared_reference, next(iter(references.values()))))
    return panels


def slice_figure(results: Results, kept: KeptImages, style: Mapping[str, Style] | None = None) -> Figure:
    """The truth and every method: slices, an enlarged region below each, and the profile through it.

    Of a scan the reference takes the place of the truth. Without one, a method's own slice from the full range stands
    above that from the angular range.

    Parameters
    ----------
    results : Results
        For the images.
    kept : KeptImages
    style : dict, optional
        As of `styles`.
    """
    style = styles([row["method"] for row in kept.rows]) if style is None else style
    panels = _panels(results, kept)
    full = [panel.full for panel in panels if panel.full is not None]
    guide = panels[0].image if panels[0].row is None else np.median(full or [panels[0].image], axis=0)
    region = _region(guide)
    kinds = ["full range", "angular range", "full range, detail", "detail"] if full else ["slice", "detail"]
    figure, grid = _laid_out(panels, len(kinds))
    _draw_images(figure, grid, panels, kinds, region, gray_window(results, kept))
    axis = figure.add_subplot(grid[-1, :])
    label = panels[0].title if panels[0].row is None else "full range, median of the methods"
    if panels[0].row is None or full:
        profile = guide[region.line, region.columns]
        axis.plot(_columns(region), profile, color="black", linewidth=2.4, label=label)
    _draw_profiles(axis, panels, region, style)
    figure.legend(
        *axis.get_legend_handles_labels(),
        fontsize=8,
        frameon=False,
        loc="outside lower center",
        ncols=min(4, _across(panels)),
    )
    figure.suptitle(kept.title, fontsize=10)
    return figure


def _across(panels: Sequence[_Panel]) -> int:
    return panels_across(len(panels), 6)


def _columns(region: _Region) -> np.ndarray:
    return np.arange(region.left, region.left + region.side)


def _laid_out(panels: Sequence[_Panel], kinds: int) -> tuple[Figure, GridSpec]:
    """An empty figure: for each row of panels as many images as `kinds`, one below the other; last the profile."""
    across = _across(panels)
    blocks, inches = math.ceil(len(panels) / across), max(2.1, 7 / across)
    titles = 0.1 + 0.15 * max(panel.title.count("\n") + 1 for panel in panels)
    heights = [inches] * (blocks * kinds) + [2.8]
    legend = 0.7 + 0.2 * math.ceil((len(panels) + 1) / min(4, across))
    height = sum(heights) + 0.06 * len(heights) + blocks * titles + legend
    figure = Figure(figsize=(across * (inches + 0.04) + 0.5, height))
    figure.set_layout_engine("constrained", h_pad=0.03, w_pad=0.02, hspace=0, wspace=0)
    return figure, figure.add_gridspec(len(heights), across, height_ratios=heights)


def _draw_images(
    figure: Figure,
    grid: GridSpec,
    panels: Sequence[_Panel],
    kinds: Sequence[str],
    region: _Region,
    window: tuple[float, float],
) -> None:
    """Draw the images of each panel, one below the other."""
    across = _across(panels)
    gray: dict[str, Any] = {"cmap": "gray", "vmin": window[0], "vmax": window[1]}
    for k, panel in enumerate(panels):
        images = [panel.image] * 2 if len(kinds) == 2 else [panel.full, panel.image] * 2
        first = next(j for j, image in enumerate(images) if image is not None)
        for j, (kind, image) in enumerate(zip(kinds, images, strict=True)):
            if image is None:
                continue
            axis = figure.add_subplot(grid[k // across * len(kinds) + j, k % across])
            bare_axis(axis, panel.title if j == first else "")
            if "detail" in kind:
                axis.imshow(image[region.window], interpolation="nearest", **gray)
                axis.axhline(region.line - region.top, color=_REGION_COLOR, linewidth=0.9, linestyle=(0, (4, 4)))
            else:
                axis.imshow(image, **gray)
                region.mark(axis)
            if k % across == 0:
                axis.set_ylabel(kind, fontsize=9)


def _draw_profiles(axis: Axes, panels: Sequence[_Panel], region: _Region, style: Mapping[str, Style]) -> None:
    """Draw the profile of each method."""
    for panel in panels:
        if panel.row is not None:
            name, look = panel.row["label"] or panel.row["method"], style[panel.row["method"]]
            profile = panel.image[region.line, region.columns]
            axis.plot(_columns(region), profile, linewidth=1.1, markersize=3.5, label=name, **look)
    axis.set_xlabel(f"column (row {region.line})")
    axis.set_ylabel("value")
    axis.margins(x=0.01)
    axis.grid(alpha=0.3)
