"""Rows of results as CSV, written and read back; those of version 0.1.0 are read as well."""

import csv
import io
import json

import pytest

from tomopy_ganrec.benchmark.report.csv_file import csv_text, read_csv
from tomopy_ganrec.benchmark.report.tables import method_table

pytest.importorskip("matplotlib")  # the fixture `written` draws


def same(rows):
    return [json.dumps(row, sort_keys=True) for row in rows]  # NaN is not equal to itself, its text is


def test_csv_comes_back_as_it_was(results, written):
    rows = read_csv(written["results.csv"])
    assert same(rows) == same(results.rows())
    assert method_table(rows) == method_table(results.rows())
    row = next(r for r in rows if r["method"] == "ganrec" and r["object"] == "foam")
    types = dict(
        size=int, seed=int, degrees=float, photons=float, oracle=bool, angular_range=str, mssim=float, error=str
    )
    assert {name: type(row[name]) for name in types} == types
    assert row["residual_heldout"] is None and row["error"] == ""


def test_csv_that_is_none_is_refused(written, tmp_path):
    text = written["results.csv"].read_bytes()
    table = tmp_path / "table.csv"
    for content, says in (
        (b"a,b\n1,2\n", "not a table of results"),
        (text[:-60], "too few"),
        (text.replace(b",32,", b",x,", 1), "line 2"),
    ):
        table.write_bytes(content)
        with pytest.raises(ValueError, match=says):
            read_csv(table)


def without_mcc(text, path):
    """Write a table as it was before segmentations were compared."""
    lines = list(csv.reader(io.StringIO(text, newline="")))
    column = lines[0].index("mcc")
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(line[:column] + line[column + 1 :] for line in lines)


def test_csv_without_segmentations_is_read(results, written, tmp_path):
    without_mcc(written["results.csv"].read_text(encoding="utf-8"), tmp_path / "old.csv")
    rows = read_csv(tmp_path / "old.csv")
    assert same(rows) == same(results.rows()) and {row["mcc"] for row in rows} == {None}


def test_csv_of_0_1_is_read(results, written, tmp_path):
    """The angular range was in the column ``wedge``, and parameters were described in other words."""
    text = written["results.csv"].read_text(encoding="utf-8")
    old = tmp_path / "old.csv"
    without_mcc(text, old)
    before = old.read_text(encoding="utf-8")
    old.write_text(before.replace(",angular_range,", ",wedge,", 1).replace("num_iter=1", "TV for pixels as means"))
    rows = read_csv(old)
    parameters = {"parameters": "TV for area-mean pixels"}
    assert same(rows) == same([row | parameters for row in results.rows()])
    assert method_table(rows) == method_table(results.rows())
    # Written again it has the column of today.
    assert csv_text(rows).splitlines()[0] == text.splitlines()[0]
