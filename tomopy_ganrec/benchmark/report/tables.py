"""Rows to numbers to text: the CSV file, means over slices and seeds, and tables in Markdown and reST."""

import csv
import io
import math
from typing import NamedTuple

import numpy as np

from tomopy_ganrec.benchmark.store import COLUMNS

__all__ = [
    "PEERS",
    "Cell",
    "Kept",
    "case_name",
    "case_parts",
    "cells",
    "csv_text",
    "escape",
    "format_number",
    "kept",
    "markup_table",
    "method_order",
    "method_table",
    "peer_of",
    "read_csv",
    "summarize",
    "varying",
]

PEERS = ("mlem", "astra-mlem")  # the time of the first of them that ran is 1
VALUES = ("mssim", "mssim_7x7", "rmse", "residual", "residual_heldout", "distance", "seconds")
_FIXED = ("mssim", "mssim_7x7", "rmse")  # the others have significant digits instead of decimals
_COMPARED = {"mssim": max, "mssim_7x7": max, "rmse": min}  # values with a best one, and how it is found
_CASE = ("object", "protocol", "size", "noise", "wedge")
_TYPES = dict.fromkeys(("size", "projections", "slice", "object_seed", "seed"), int)
_TYPES |= dict.fromkeys(("degrees", "photons", *VALUES), float)
_TYPES["oracle"] = {"True": True, "False": False}.__getitem__


def csv_text(rows) -> str:
    """Rows as a CSV file; None is empty."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow("" if row[name] is None else row[name] for name in COLUMNS)
    return file.getvalue()


def read_csv(path) -> list[dict]:
    """The rows of a ``results.csv`` with their types; an empty field is None where it is not a text.

    Raises
    ------
    ValueError
        For a file with other columns, a line that is cut off, or a field that is not of its column's type.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or ()) != list(COLUMNS):
            raise ValueError(
                f"{path} is not a table of results: its columns are {reader.fieldnames}, not {list(COLUMNS)}"
            )
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path}, line {reader.line_num}: it has too few or too many fields")
            try:
                rows.append(
                    {
                        name: text if name not in _TYPES else _TYPES[name](text) if text else None
                        for name, text in row.items()
                    }
                )
            except (ValueError, KeyError) as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    return rows


def _case_key(row) -> tuple:
    """Scans last, little noise first, wide wedges first."""
    photons = -math.inf if row["photons"] is None else -row["photons"]
    return (
        row["protocol"] == "measured",
        row["object"],
        row["protocol"],
        row["size"],
        photons,
        -row["degrees"],
        "/" in row["wedge"],
        row["case"],
    )


def case_parts(row) -> dict[str, str]:
    """Object, protocol, size, noise and wedge of a row, for reading."""
    noise, wedge = "noise-free", row["wedge"]
    if row["protocol"] == "measured":
        noise = "measured"
    elif row["photons"] is not None:
        exponent = math.floor(math.log10(row["photons"]))
        noise = (
            f"{row['photons']:g} photons" if exponent < 4 else f"{row['photons'] / 10**exponent:g}e{exponent} photons"
        )
    if "/" in wedge:
        wedge = "{} over {}°".format(*wedge.split("/", 1))
    elif ":" in wedge:
        wedge = "{}–{}°".format(*wedge.split(":", 1))
    else:
        wedge = {"full": "full range", "all": "all angles"}.get(wedge, f"{wedge}°")
    return dict(zip(_CASE, (row["object"], row["protocol"], f"{row['size']}²", noise, wedge), strict=True))


def case_name(row, parts=_CASE) -> str:
    """The case of a row in one line, or some parts of it; a scan's protocol and noise are the same word and are said once."""
    named = case_parts(row)
    return ", ".join(dict.fromkeys(named[part] for part in parts))


def method_order(rows, first=()) -> list[str]:
    """The methods that have rows: those of `first` in its order, then the others by the alphabet."""
    found, first = {row["method"] for row in rows}, list(first)
    return [name for name in dict.fromkeys(first) if name in found] + sorted(found.difference(first))


def _finite(value) -> bool:
    return value is not None and math.isfinite(value)


def _deviation(values) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _slice(row) -> tuple:
    return row["object_seed"], row["slice"]


def _by_slice(rows, value) -> dict[tuple, list[float]]:
    """Finite values of one method, one for each seed of the fit, by slice."""
    found: dict[tuple, list[float]] = {}
    for row in rows:
        if row["status"] == "ok" and _finite(row[value]):
            found.setdefault(_slice(row), []).append(row[value])
    return found


def peer_of(rows) -> str | None:
    """The method whose time is 1."""
    present = {row["method"] for row in rows}
    return next((name for name in PEERS if name in present), None)


def summarize(rows) -> list[dict]:
    """One dict for each case and method, in the order of the tables.

    Returns
    -------
    list of dict
        The columns that a case and method share (``case`` … ``photons``, ``method``, ``label``, ``oracle``), and ``slices`` that the case
        has by any method, ``seeds`` of the fit, ``cells``, ``failed`` cells. For each value v of a row (``mssim`` … ``seconds``): ``v``, the
        mean over slices of the mean over seeds; ``v_n``, slices with a finite value; ``v_std``, standard deviation over slices (n − 1);
        ``v_std_seeds``, mean over slices of the standard deviation over seeds. None where there is nothing to take it of. ``time``:
        seconds relative to those of the peer (`peer_of`) on the same slices.
    """
    groups: dict[str, dict[str, list]] = {}
    of_time = peer_of(rows)
    for row in sorted(rows, key=lambda row: (_case_key(row), row["method"])):
        groups.setdefault(row["case"], {}).setdefault(row["method"], []).append(row)
    summaries = []
    for methods in groups.values():
        slices = len({_slice(row) for group in methods.values() for row in group})
        peer = _by_slice(methods.get(of_time, ()), "seconds")
        for method, group in methods.items():
            summary = {
                name: group[0][name]
                for name in ("case", "object", "protocol", "size", "wedge", "degrees", "projections", "photons")
            }
            summary |= {
                "method": method,
                "label": group[0]["label"] or method,
                "oracle": any(row["oracle"] for row in group),
                "slices": slices,
            }
            summary |= {
                "seeds": len({row["seed"] for row in group}),
                "cells": len(group),
                "failed": sum(row["status"] != "ok" for row in group),
            }
            for value in VALUES:
                found = _by_slice(group, value)
                means = [float(np.mean(values)) for values in found.values()]
                seeds = [_deviation(values) for values in found.values() if len(values) > 1]
                summary |= {
                    value: float(np.mean(means)) if means else None,
                    f"{value}_n": len(means),
                    f"{value}_std": _deviation(means),
                }
                summary[f"{value}_std_seeds"] = float(np.mean(seeds)) if seeds else None
            own = _by_slice(group, "seconds")
            shared = own.keys() & peer.keys()
            theirs = sum(np.mean(peer[name]) for name in shared)
            summary["time"] = float(sum(np.mean(own[name]) for name in shared) / theirs) if theirs > 0 else None
            summary |= {"time_n": len(shared), "time_std": None, "time_std_seeds": None}
            summaries.append(summary)
    return summaries


class Cell(NamedTuple):
    """What a table says of one method in one case: a number as text, its deviations, what is lacking, and whether it is the best."""

    text: str
    std: str = ""
    std_seeds: str = ""
    note: str = ""
    best: bool = False
    number: float | None = None


def format_number(number, value, digits=3) -> str:
    """`digits` decimals for similarities and RMSE, as many significant digits for other values; '–' for what is not a finite number."""
    if not _finite(number):
        return "–"
    if value in _FIXED:
        return f"{number:.{digits}f}"
    rounded = float(f"{number:.{digits - 1}e}")
    return f"{rounded:.{max(0, digits - 1 - math.floor(math.log10(abs(rounded) or 1)))}f}"


def cells(summaries, value="mssim", digits=3) -> dict[tuple[str, str], Cell]:
    """The cells of a table by case and method.

    The best is taken from what is shown, so that equals are all marked, and among methods that know no truth and have all slices.
    """
    table, candidates = {}, {}
    for s in summaries:
        if s[value] is None:
            table[s["case"], s["method"]] = Cell("failed" if s["failed"] == s["cells"] else "–")
            continue
        lacking = f"{s['failed']} failed" if s["failed"] else ""
        if s[f"{value}_n"] < s["slices"] and not lacking:
            lacking = f"{s[f'{value}_n']} of {s['slices']} slices"
        std, seeds = (
            format_number(s[name], value, digits) if s[name] is not None else ""
            for name in (f"{value}_std", f"{value}_std_seeds")
        )
        table[s["case"], s["method"]] = Cell(
            format_number(s[value], value, digits), std, seeds, lacking, number=s[value]
        )
        if not lacking and not s["oracle"]:
            candidates.setdefault(s["case"], []).append(s[value])
    if value in _COMPARED:
        best = {
            case: format_number(_COMPARED[value](numbers), value, digits)
            for case, numbers in candidates.items()
            if len(numbers) > 1
        }
        for s in summaries:
            key = s["case"], s["method"]
            if not s["oracle"] and not table[key].note and table[key].text == best.get(s["case"]):
                table[key] = table[key]._replace(best=True)
    return table


def cell_text(cell: Cell | None) -> str:
    """A cell in Markdown and in reST, which write it the same; empty where nothing was run."""
    if cell is None:
        return ""
    text = f"**{cell.text}**" if cell.best else cell.text
    return (
        text
        + (f" ± {cell.std}" if cell.std else "")
        + (f" ({cell.std_seeds})" if cell.std_seeds else "")
        + (f"; {cell.note}" if cell.note else "")
    )


def escape(text, format) -> str:
    """Plain text for Markdown or reST, in one line."""
    special = "\\`*_|" + ("<>&[]~" if format == "md" else "")
    return "".join(f"\\{letter}" if letter in special else letter for letter in " ".join(str(text).split()))


def markup_table(header, body, format) -> str:
    """A table in Markdown ('md') or reST ('rst') of texts that are escaped already."""
    if format not in ("md", "rst"):
        raise ValueError(f"format={format!r} is not known; choose 'md' or 'rst'")
    rows = [[str(cell) for cell in row] for row in (header, *body)]
    if format == "md":
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]]) + "\n"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"


def method_table(rows, methods=None, value="mssim", format="rst", digits=3, by="case") -> str:
    """A table of a value: mean ± standard deviation over slices (mean standard deviation over seeds).

    Parameters
    ----------
    rows : list of dict
        As of `Results.rows` or `read_csv`.
    methods : list of str, optional
        Which, and their order; None for all by the alphabet. Those without rows are left out.
    value : str
        ``mssim``, ``mssim_7x7``, ``rmse``, ``residual``, ``residual_heldout``, ``distance``, ``seconds`` or ``time`` (relative to the peer's).
    format : {'rst', 'md'}
    digits : int
        Decimals of similarities and RMSE; significant digits of others.
    by : {'case', 'method'}
        What a row of the table is. Columns of cases are named by what sets them apart.

    Returns
    -------
    str
        The best value of a case is bold; methods that had a parameter chosen by the truth have a dagger and are never the best.
    """
    if value not in (*VALUES, "time"):
        raise ValueError(f"value={value!r} is not known; choose one of {', '.join(VALUES)}, time")
    if by not in ("case", "method"):
        raise ValueError(f"by={by!r} is not known; choose 'case' or 'method'")
    present = method_order(rows)
    wanted = present if methods is None else [name for name in dict.fromkeys(methods) if name in present]
    summaries = [s for s in summarize(rows) if s["method"] in wanted]
    found = cells(summaries, value, digits)
    cases = {s["case"]: s for s in summaries}
    labels = {s["method"]: s["label"] for s in summaries}
    oracle = {s["method"] for s in summaries if s["oracle"]}
    names = [escape(labels[method], format) + (" †" if method in oracle else "") for method in wanted]
    texts = [[cell_text(found.get((case, method))) for method in wanted] for case in cases]
    if by == "case":
        body = [
            [*(escape(part, format) for part in case_parts(s).values()), *line]
            for s, line in zip(cases.values(), texts, strict=True)
        ]
        return markup_table([*_CASE, *names], body, format)
    different = varying(cases.values()) or ["wedge"]
    header = ["method", *(escape(case_name(s, different), format) for s in cases.values())]
    return markup_table(
        header, [[name, *line] for name, line in zip(names, zip(*texts, strict=True), strict=True)], format
    )


def varying(rows) -> list[str]:
    """The parts in which the cases of rows differ."""
    parts = [case_parts(row) for row in rows]
    return [name for name in _CASE if len({part[name] for part in parts}) > 1]


class Kept(NamedTuple):
    """The rows of one slice of one case whose images were kept, in the order of the methods."""

    rows: list[dict]

    @property
    def measured(self) -> bool:
        return self.rows[0]["protocol"] == "measured"


def kept(rows, order=()) -> list[Kept]:
    """Slices with images, in the order of the tables."""
    rank = {name: k for k, name in enumerate(method_order(rows, order))}
    groups: dict[tuple, list] = {}
    for row in sorted(
        rows,
        key=lambda row: (_case_key(row), row["object_seed"] or 0, row["slice"], rank[row["method"]], row["seed"] or 0),
    ):
        if row["status"] == "ok" and row["image"]:
            groups.setdefault((row["case"], *_slice(row)), []).append(row)
    return [Kept(group) for group in groups.values()]
