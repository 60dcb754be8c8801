"""The journal of finished slices: torn lines, wrong values, names of earlier days, and what it compares."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from outputs_on_disk import begun, half_done, journal_of

from tomopy_ganrec.io.journal import Journal, differences, plain

pytest.importorskip("h5py")
pytest.importorskip("tifffile")


def test_a_torn_line_is_cut_off(volume, disk):
    half_done(disk, volume)
    journal = journal_of(disk)
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert json.loads(lines[0])["version"] == 1 and json.loads(lines[1]) == {
        "slices": [1, 2],
        "records": [{"iterations": 10}, {"iterations": 20}],
    }
    for torn in (lines[2][:-1], lines[2][:9], b"\x00\xff\n", b'{"slices": [4]}\n', b"3\n"):
        journal.write_bytes(lines[0] + lines[1] + torn)
        output = begun(disk)
        assert np.flatnonzero(output.done).tolist() == [1, 2]
        assert journal.read_bytes() == lines[0] + lines[1]
        output.mark([5], [{"iterations": 50}])
        assert journal.read_bytes() == whole


def test_a_torn_first_line_is_no_journal(volume, disk):
    half_done(disk, volume)
    journal_of(disk).write_bytes(journal_of(disk).read_bytes()[:20])
    with pytest.raises(FileExistsError, match="was not begun by such a reconstruction"):
        begun(disk)


def test_records_become_json(volume, disk):
    output = begun(disk)
    output.write([2], volume[2:3])
    record = {
        "loss": np.float32(0.5),
        "steps": np.int64(3),
        "bad": math.nan,
        "far": np.inf,
        "history": {"a": np.arange(3)},
        "start": {"curve": np.arange(3), "name": "fbp"},
        "levels": (0.0, np.float64(1.5)),
        "empty": {},
        "path": Path("x"),
        "found": np.bool_(True),
    }
    output.mark([2], [record])
    for records in (output.records, begun(disk).records):
        kept = records[2]
        assert math.isnan(kept.pop("bad"))
        assert kept == {
            "loss": 0.5,
            "steps": 3,
            "far": math.inf,
            "start": {"name": "fbp"},
            "levels": [0.0, 1.5],
            "empty": {},
            "path": "x",
            "found": True,
        }


def test_a_changed_identity_is_named(volume, disk):
    half_done(disk, volume)
    other = {
        "data": {"shape": [6, 9, 4], "sha256": "b" * 64},
        "options": {"num_iter": 50, "seed": 0, "label": "x" * 200},
        "theta": np.linspace(0, 3, 9),
    }
    with pytest.raises(ValueError, match="was begun for something else") as caught:
        begun(disk, other)
    message = str(caught.value)
    assert "options.num_iter: 100 before, 50 now" in message and "seed" not in message
    assert "data: the data differ" in message and "theta: the data differ" in message and "aaa" not in message
    assert (
        "options.label: not given before, " in message and "x" * 60 not in message and journal_of(disk).name in message
    )
    with pytest.raises(ValueError, match=r"shape: \[6, 5, 4\] before, \[5, 5, 4\] now; first: 0 before, 3 now"):
        begun(disk, shape=(5, 5, 4), first=3)
    assert begun(disk).done.sum() == 3  # nothing was touched


def test_an_identity_may_hold_nan_and_tuples(disk):
    identity = {"a": math.nan, "b": (1, np.float64(2)), "c": np.float32(3)}
    begun(disk, identity).write([0], np.zeros((1, 5, 4)))
    begun(disk, identity)
    assert differences(plain(identity), {"a": math.nan, "b": [1, 2.0], "c": 3.0}) == []
    assert differences({"sha256": "a" * 64}, {"sha256": "b" * 64}) == ["the data differ"]


def test_a_journal_of_another_version_or_none(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    assert journal.read() == (None, {})
    (tmp_path / "j.jsonl").write_text('{"shape": [1, 2]}\n')
    assert journal.read() == (None, {})
    journal.start(Journal.header({"a": 1}, (3, 2, 2), 5))
    journal.append([2], [{"x": 1}])
    assert journal.read() == ({"identity": {"a": 1}, "shape": [3, 2, 2], "first": 5, "version": 1}, {2: {"x": 1}})


@pytest.mark.parametrize(
    "line",
    [
        b'{"slices": [1e400], "records": [{}]}',
        b'{"slices": [-1e400], "records": [{}]}',
        b'{"slices": [1.5], "records": [{}]}',
        b'{"slices": ["1"], "records": [{}]}',
        b'{"slices": [true], "records": [{}]}',
        b'{"slices": [[1]], "records": [{}]}',
        b'{"slices": 3, "records": [{}]}',
        b'{"slices": [3], "records": {"3": {}}}',
        b'{"slices": [3, 4], "records": [{}]}',
        b'{"slices": [3], "records": [7]}',
        b'{"slices": [3], "records": [{"seconds": 1}]}',
        b'{"slices": [3], "records": [{"seconds": {"fit": "1"}}]}',
        b'{"slices": [3], "records": [{"residual": "small"}]}',
        b'{"slices": [3], "records": [{"center": [1]}]}',
        b'{"slices": [3], "records": [{"device": 1}]}',
        b'{"slices": [' + b"1" * 5000 + b'], "records": [{}]}',
        b"[" * 100000 + b"]" * 100000,
    ],
    ids=lambda line: line.decode()[:60],
)
def test_a_journal_with_wrong_values_is_refused_by_name(volume, disk, line):
    half_done(disk, volume)
    journal = journal_of(disk)
    good = journal.read_bytes()
    journal.write_bytes(good + line + b"\n")
    with pytest.raises(ValueError, match=f"{journal.name} is damaged in line 4 .*; delete both, and begin anew"):
        begun(disk)
    assert journal.read_bytes() == good + line + b"\n"


@pytest.mark.parametrize(
    "shape, first", [("[1e400, 5, 4]", "0"), ("[6, 5, 4]", "1e400"), ('["6", 5, 4]', "0"), ("[6, 5, 4]", "null")]
)
def test_a_journal_whose_first_line_has_wrong_values_is_refused_by_name(volume, disk, shape, first):
    half_done(disk, volume)
    journal_of(disk).write_text(f'{{"identity": {{}}, "shape": {shape}, "first": {first}, "version": 1}}\n')
    with pytest.raises(ValueError, match=f"{journal_of(disk).name} is damaged in line 1"):
        begun(disk)
