"""Tables of results: means with their deviations by case and method, the best of each case marked."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from tomopy_ganrec.benchmark.rows import Row

from .case_names import CASE_PARTS, case_name, case_parts, method_order, varying
from .markup import Markup, escape, markup_table
from .summaries import VALUES, is_finite, summarize

__all__ = ["TableCell", "cell_text", "format_number", "method_table", "table_cells"]

_FIXED = ("mssim", "mssim_7x7", "rmse", "mcc")  # the others have significant digits instead of decimals
_COMPARED = {"mssim": max, "mssim_7x7": max, "rmse": min, "mcc": max}  # values with a best one, and how it is found


class TableCell(NamedTuple):
    """One method in one case: the mean as text, its deviations, what is lacking, and whether it is the best."""

    text: str
    std: str = ""
    std_seeds: str = ""
    note: str = ""
    best: bool = False
    number: float | None = None


def format_number(number: float | None, value: str, digits: int = 3) -> str:
    """`digits` decimals for similarities and RMSE, as many significant digits for other values; '–' if not finite."""
    if number is None or not is_finite(number):
        return "–"
    if value in _FIXED:
        return f"{number:.{digits}f}"
    rounded = float(f"{number:.{digits - 1}e}")
    return f"{rounded:.{max(0, digits - 1 - math.floor(math.log10(abs(rounded) or 1)))}f}"


def _cell(summary: dict[str, Any], value: str, digits: int) -> TableCell:
    if summary[value] is None:
        return TableCell("failed" if summary["failed"] == summary["runs"] else "–")
    note = ""
    if summary["failed"]:
        note = f"{summary['failed']} failed"
    elif summary[f"{value}_n"] < summary["slices"]:
        note = f"{summary[f'{value}_n']} of {summary['slices']} slices"
    std, std_seeds = (
        "" if summary[name] is None else format_number(summary[name], value, digits)
        for name in (f"{value}_std", f"{value}_std_seeds")
    )
    text = format_number(summary[value], value, digits)
    return TableCell(text, std, std_seeds, note, number=summary[value])


def table_cells(
    summaries: Sequence[dict[str, Any]], value: str = "mssim", digits: int = 3
) -> dict[tuple[str, str], TableCell]:
    """The cells of a table by (case, method).

    The best is found among the rounded texts, so that equals are all marked, and among methods that use no truth and
    have all slices.
    """
    cells = {(s["case"], s["method"]): _cell(s, value, digits) for s in summaries}
    if value not in _COMPARED:
        return cells
    candidates: dict[str, list[float]] = {}
    for s in summaries:
        cell = cells[s["case"], s["method"]]
        if cell.number is not None and not cell.note and not s["oracle"]:
            candidates.setdefault(s["case"], []).append(cell.number)
    best = {
        case: format_number(_COMPARED[value](numbers), value, digits)
        for case, numbers in candidates.items()
        if len(numbers) > 1
    }
    for s in summaries:
        key = s["case"], s["method"]
        if not s["oracle"] and not cells[key].note and cells[key].text == best.get(s["case"]):
            cells[key] = cells[key]._replace(best=True)
    return cells


def cell_text(cell: TableCell | None) -> str:
    """A cell in Markdown and in reST, which write it the same; empty where nothing was run."""
    if cell is None:
        return ""
    parts = [
        f"**{cell.text}**" if cell.best else cell.text,
        f" ± {cell.std}" if cell.std else "",
        f" ({cell.std_seeds})" if cell.std_seeds else "",
        f"; {cell.note}" if cell.note else "",
    ]
    return "".join(parts)


def method_table(
    rows: Sequence[Row],
    methods: Iterable[str] | None = None,
    value: str = "mssim",
    markup: Markup = "rst",
    digits: int = 3,
    by: Literal["case", "method"] = "case",
) -> str:
    """A table of a value: mean ± standard deviation over slices (mean standard deviation over seeds).

    Parameters
    ----------
    rows : list of dict
        As of `Results.rows` or `read_csv`.
    methods : list of str, optional
        Which, and their order; None for all by the alphabet. Those without rows are left out.
    value : str
        ``mssim``, ``mssim_7x7``, ``rmse``, ``mcc``, ``residual``, ``residual_heldout``, ``distance``, ``seconds`` or
        ``time`` (relative to the peer's).
    markup : {'rst', 'md'}
    digits : int
        Decimals of similarities and RMSE; significant digits of others.
    by : {'case', 'method'}
        What a row of the table is. Columns of cases are named by what sets them apart.

    Returns
    -------
    str
        The best value of a case is bold; methods that had a parameter chosen by the truth have a dagger and are never
        the best.

    Raises
    ------
    ValueError
        For a value, markup or `by` that is not known.
    """
    if value not in (*VALUES, "time"):
        raise ValueError(f"value={value!r} is not known; choose one of {', '.join(VALUES)}, time")
    if by not in ("case", "method"):
        raise ValueError(f"by={by!r} is not known; choose 'case' or 'method'")
    present = method_order(rows)
    wanted = present if methods is None else [name for name in dict.fromkeys(methods) if name in present]
    summaries = [s for s in summarize(rows) if s["method"] in wanted]
    cells = table_cells(summaries, value, digits)
    cases = {s["case"]: s for s in summaries}
    labels = {s["method"]: escape(s["label"], markup) for s in summaries}
    oracles = {s["method"] for s in summaries if s["oracle"]}
    names = [labels[method] + (" †" if method in oracles else "") for method in wanted]
    texts = [[cell_text(cells.get((case, method))) for method in wanted] for case in cases]
    if by == "case":
        lines = zip(cases.values(), texts, strict=True)
        body = [[*(escape(part, markup) for part in case_parts(s).values()), *line] for s, line in lines]
        return markup_table([*CASE_PARTS, *names], body, markup)
    different = varying(cases.values()) or ["angular range"]
    header = ["method", *(escape(case_name(s, different), markup) for s in cases.values())]
    body = [[name, *line] for name, line in zip(names, zip(*texts, strict=True), strict=True)]
    return markup_table(header, body, markup)
