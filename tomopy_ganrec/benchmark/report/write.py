"""Report of a results folder: tables, figures and one page, written into it."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tomopy_ganrec.benchmark.rows import COLUMNS, Row
from tomopy_ganrec.benchmark.store import Results

from . import figures
from .case_names import method_order
from .csv_file import csv_text
from .document import document
from .kept_images import kept_images
from .page import page

__all__ = ["write_report"]

logger = logging.getLogger(__name__)

SMALLEST = 11  # rows and columns of an image that is drawn: the window of the structural similarity


def write_report(results: Results, extra: Mapping[str, Any] | None = None) -> list[Path]:
    """Write what a results folder holds as tables, figures and a page into that folder.

    ``results.csv``, ``results.json`` (non-finite numbers are null), ``table.md``, ``table.rst``, ``report.html`` (one
    file, needs no network), and as far as there is something to draw ``mssim_vs_angle.png``, ``ssim_maps-<case>.png``
    and ``slices-<case>.png``.

    Parameters
    ----------
    results : Results
        Finished or not.
    extra : dict, optional
        ``title``; ``command`` that made the results; ``descriptions`` {method: line}, whose order is that of the
        methods; ``unavailable`` {method: reason}.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ValueError
        Where the folder has no rows.
    """
    rows, extra = results.rows(), dict(extra or {})
    if not rows:
        raise ValueError(
            f"{results.folder} has no finished reconstruction, so there is nothing to report; "
            "run the benchmark into this folder first"
        )
    order = method_order(rows, extra.get("descriptions") or ())
    content = {
        "columns": COLUMNS,
        "unavailable": extra.get("unavailable") or {},
        "command": extra.get("command"),
        "rows": rows,
    }
    written = [
        results.write("results.csv", csv_text(rows)),
        results.write("results.json", json.dumps(_strict(content), indent=1, allow_nan=False) + "\n"),
        results.write("table.md", document(rows, extra, "md")),
        results.write("table.rst", document(rows, extra, "rst")),
    ]
    _without_what_is_not_drawn(results, rows)
    with np.errstate(all="ignore"):  # a method may have failed with infinite or huge values: they are drawn as they are
        drawn = figures.write_figures(results, rows, order)
        plot = next((path for path in drawn if path.name == figures.PLOT), None)
        return [*written, *drawn, results.write("report.html", page(results, rows, order, extra, plot))]


def _without_what_is_not_drawn(results: Results, rows: Sequence[Row]) -> None:
    """Take the names of images out of rows where those of a slice are too small, or of different sizes."""
    for kept in kept_images(rows):
        shapes = {results.image(row["image"], "r").shape for row in kept.rows}
        if len(shapes) > 1 or min(min(shapes)) < SMALLEST:
            sizes = ", ".join(f"{height}×{width}" for height, width in sorted(shapes))
            name = f"{kept.case}, slice {kept.rows[0]['slice']}"
            logger.warning(
                "%s is not drawn: its images have %s pixels; one size of at least %d is needed", name, sizes, SMALLEST
            )
            for row in kept.rows:
                row["image"] = row["reference"] = ""


def _strict(value: object) -> object:
    """The same for JSON, which has no NaN and no infinity: null in their place."""
    if isinstance(value, dict):
        return {name: _strict(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
