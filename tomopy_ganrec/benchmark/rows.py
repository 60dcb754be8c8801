"""Rows of benchmark results: their columns, and the values that each may hold."""

import math
from collections.abc import Callable
from typing import Any

from tomopy_ganrec.option_values import shown

__all__ = ["COLUMNS", "COLUMNS_OF_0_1", "COLUMNS_WITHOUT_MCC", "PHRASES_OF_0_1", "Row", "checked", "row_of_today"]

Row = dict[str, Any]  # a value for each of COLUMNS

COLUMNS = {
    "case": "object, size, protocol, angular range and noise in one name",
    "object": "name of the phantom, or of the scan's file",
    "protocol": "pixel, subpixel or measured",
    "size": "rows and columns of a slice",
    "angular_range": (
        "'120': one projection a degree from 0 to 120; '51/70': 51 projections over 70 degrees; "
        "of a scan: '0:120' degrees, or 'full'"
    ),
    "degrees": "angular range in degrees",
    "projections": "number of projections",
    "photons": "incident photons per detector pixel; none for noise-free, and for scans",
    "slice": "number of the slice",
    "object_seed": "seed of the object and of its noise; none for scans",
    "setup": (
        "what else decides on the data: of a phantom its sampling, of a scan its axis and a digest of its projections"
    ),
    "method": "name of the method",
    "label": "the same for reading",
    "parameters": "all that were set",
    "oracle": "whether a parameter was chosen by the truth",
    "seed": "seed of the fit; none for methods without",
    "status": "ok or failed",
    "error": "why it failed",
    "mssim": (
        "mean structural similarity, Gaussian window of 1.5 pixels; of a scan to TV from its full range, with the "
        "material's attenuation as the range of values"
    ),
    "mssim_7x7": "the same with a window of 7 x 7 pixels",
    "rmse": "root mean square error, in units of the object",
    "mcc": "Matthews' correlation of Otsu's segmentation with that of a scan's TV from its full range",
    "residual": "relative data residual of the projections used",
    "residual_heldout": "relative data residual of projections that were not used",
    "distance": "relative distance to the same method's slice from the full range",
    "seconds": "of the reconstruction; the sparse matrix of this package's projector is made before",
    "device": "where it ran",
    "versions": "of the packages that took part",
    "image": "the reconstruction, a file in the folder; empty where it was not kept",
    "reference": (
        "what it is compared with: the truth, or from a scan's full range TV or the same method's slice; "
        "empty where it was not kept"
    ),
}

# Results of version 0.1.0 are still read: a column had another name, and parameters were described in other words.
# So are those from before segmentations were compared.
COLUMNS_WITHOUT_MCC = tuple(name for name in COLUMNS if name != "mcc")
COLUMNS_OF_0_1 = tuple("wedge" if name == "angular_range" else name for name in COLUMNS_WITHOUT_MCC)
PHRASES_OF_0_1 = {
    "TV for pixels as means": "TV for area-mean pixels",
    "3 lessons for wedges below 176°": "3 rounds of wedge learning for angular ranges below 176°",
}

LARGEST = 1e100  # of a measure: means and deviations of larger ones do not fit into a float


def row_of_today(row: Row, no_mcc: str | None = None) -> Row:
    """A row with the columns of version 0.1.0 (``wedge``), or without ``mcc``, as one with today's; others as they are.

    `no_mcc` is the value of the column that such a row lacks.
    """
    if set(row) in (set(COLUMNS_OF_0_1), set(COLUMNS_WITHOUT_MCC)):
        row = row | {"mcc": no_mcc}
    if "wedge" not in row or "angular_range" in row:
        return row
    row = {"angular_range" if name == "wedge" else name: value for name, value in row.items()}
    if isinstance(row.get("parameters"), str):
        for before, now in PHRASES_OF_0_1.items():
            row["parameters"] = row["parameters"].replace(before, now)
    return row


def _text(value: Any) -> bool:
    return isinstance(value, str) and value.encode("utf-8", "ignore").decode() == value  # no half of a surrogate pair


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _number(value: Any) -> bool:
    """A measure, also one that is no finite number."""
    if type(value) is float and not math.isfinite(value):
        return True
    return type(value) in (int, float) and abs(value) <= LARGEST


def _positive(value: Any) -> bool:
    return _finite(value) and value > 0


def _finite(value: Any) -> bool:
    return _number(value) and math.isfinite(value)


def _switch(value: Any) -> bool:
    return isinstance(value, bool)


def _status(value: Any) -> bool:
    return value in ("ok", "failed")


# What each column must hold, and in words; a column that may also be empty is in _MAY_BE_NONE.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = dict.fromkeys(COLUMNS, (_text, "text"))
_KINDS |= dict.fromkeys(("size", "projections", "slice", "object_seed", "seed"), (_count, "a whole number"))
_KINDS |= dict.fromkeys(
    ("mssim", "mssim_7x7", "rmse", "mcc", "residual", "residual_heldout", "distance", "seconds"), (_number, "a number")
)
_KINDS |= {"degrees": (_finite, "a finite number"), "photons": (_positive, "a number above 0")}
_KINDS |= {"oracle": (_switch, "true or false"), "status": (_status, "ok or failed")}
_NEVER_NONE = {"case", "object", "protocol", "size", "angular_range", "degrees", "slice", "method", "status"}
_MAY_BE_NONE = frozenset(COLUMNS) - _NEVER_NONE


def checked(row: object) -> Row:
    """A row as it was read, with today's columns.

    Raises
    ------
    ValueError
        For what is no row, or has a value that is not of its column's kind.
    """
    row = row_of_today(row) if isinstance(row, dict) else row
    if not isinstance(row, dict) or set(row) != set(COLUMNS):
        raise ValueError("it does not have the columns of a result")
    for name, value in row.items():
        fits, kind = _KINDS[name]
        if not ((value is None and name in _MAY_BE_NONE) or fits(value)):
            raise ValueError(f"{name} is {shown(value)}, not {kind}")
    return {name: row[name] for name in COLUMNS}
