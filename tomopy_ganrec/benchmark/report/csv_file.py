"""Rows of results as CSV."""

import csv
import io
from collections.abc import Callable, Iterable
from pathlib import Path

from tomopy_ganrec.benchmark.rows import COLUMNS, COLUMNS_OF_0_1, COLUMNS_WITHOUT_MCC, Row, row_of_today

from .summaries import VALUES

__all__ = ["csv_text", "read_csv"]

_TYPES: dict[str, Callable[[str], object]] = dict.fromkeys(("size", "projections", "slice", "object_seed", "seed"), int)
_TYPES |= dict.fromkeys(("degrees", "photons", *VALUES), float)
_TYPES["oracle"] = {"True": True, "False": False}.__getitem__


def csv_text(rows: Iterable[Row]) -> str:
    """Rows as a CSV file; None is empty."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow("" if row[name] is None else row[name] for name in COLUMNS)
    return file.getvalue()


def read_csv(path: str | Path) -> list[Row]:
    """The rows of a ``results.csv`` with their types; an empty field is None where it is not a text.

    A file without ``mcc`` is read as well, and one of version 0.1.0, whose angular range is in the column ``wedge``.

    Raises
    ------
    ValueError
        For a file with other columns, a line that is cut off, or a field that is not of its column's type.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) not in (tuple(COLUMNS), COLUMNS_WITHOUT_MCC, COLUMNS_OF_0_1):
            raise ValueError(
                f"{path} is not a table of results: its columns are {reader.fieldnames}, not {list(COLUMNS)}"
            )
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path}, line {reader.line_num}: it has too few or too many fields")
            try:
                rows.append({name: _value(name, text) for name, text in row_of_today(row, "").items()})
            except (ValueError, KeyError) as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    return rows


def _value(name: str, text: str) -> object:
    if name not in _TYPES:
        return text
    return _TYPES[name](text) if text else None
