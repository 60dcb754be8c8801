"""Slices to memory and to disk, and what is left of them after a kill."""

import errno
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tomopy_ganrec import io
from tomopy_ganrec.io import hdf5_output
from tomopy_ganrec.io.journal import Journal, differences, plain
from tomopy_ganrec.io.outputs import output_of

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")

SHAPE = (6, 5, 4)
IDENTITY = {
    "data": {"shape": [6, 9, 4], "sha256": "a" * 64},
    "options": {"num_iter": 100, "seed": 0},
    "theta": np.linspace(0, 2, 9),
}


@pytest.fixture
def volume():
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


@pytest.fixture(params=["vol.h5", "tiffs"])
def disk(request, tmp_path):
    """A path for an output on disk, of each kind."""
    return tmp_path / "deep" / request.param


def journal_of(path):
    return path.with_name(path.name + ".progress.jsonl") if path.suffix else path / "progress.jsonl"


def begun(path, identity=IDENTITY, shape=SHAPE, resume=True, **kwargs):
    output = output_of(path, shape, **kwargs)
    output.begin(identity, resume)
    return output


def half_done(path, volume):
    """An output with slices 1, 2 and 5 finished."""
    output = begun(path)
    for indices in ([1, 2], [5]):
        output.write(indices, volume[indices])
        output.mark(indices, [{"iterations": 10 * k} for k in indices])
    output.close()
    return output


def test_an_array_in_memory_and_a_given_one(volume, tmp_path):
    given = np.zeros((*SHAPE[:2], 8), np.float32)[..., ::2]
    mapped = np.memmap(tmp_path / "out.raw", np.float32, "w+", 256, SHAPE)
    for out in (None, given, mapped):
        output = begun(out)
        assert output.shared == (out is mapped)
        assert not output.done.any() and output.records == [None] * 6
        output.write([4, 1], volume[[4, 1]])
        record = {"history": np.arange(3)}
        output.mark([4, 1], [record, {}])
        assert output.done.tolist() == [False, True, False, False, True, False] and output.records[4] is record
        np.testing.assert_array_equal(output.read(4), volume[4])
        assert output.result().dtype == np.float32 and (out is None or output.result() is out)
        output.close()
        if out is mapped:
            pickle.loads(pickle.dumps(output)).write([0], volume[:1])
            np.testing.assert_array_equal(mapped[0], volume[0])
        else:
            with pytest.raises(pickle.PicklingError, match="cannot be written to by another process"):
                pickle.dumps(output)


def test_arrays_and_other_things_that_will_not_do(tmp_path):
    read_only = np.zeros(SHAPE, np.float32)
    read_only.flags.writeable = False
    for wrong, told in (
        (np.zeros(SHAPE), "float64"),
        (np.zeros((6, 4, 5), np.float32), r"\(6, 4, 5\) float32"),
        (read_only, "float32, read-only"),
    ):
        with pytest.raises(
            ValueError, match=rf"the array for the result is .*{told}; give \(6, 5, 4\) float32 that can be written to"
        ):
            output_of(wrong, SHAPE)
    for wrong in (3, "", [1]):
        with pytest.raises(TypeError, match="give None for an array, a file ending in .h5"):
            output_of(wrong, SHAPE)
    with pytest.raises(ValueError, match=r"\(0, 5, 4\); it needs"):
        output_of(None, (0, 5, 4))
    with pytest.raises(
        MemoryError, match="6 slices of 100000000×100000000 needs .* GiB, more than there is; write it to disk"
    ):
        output_of(None, (6, 10**8, 10**8))


def test_the_same_files_as_write_slices(volume, tmp_path):
    for name in ("new.h5", "tiffs"):
        output = begun(tmp_path / name, first=7)
        output.write(np.array([3, 1, 2, 0]), volume[[3, 1, 2, 0]].astype(np.float64))
        output.write([4, 5], volume[4:])
        for k in range(6):
            np.testing.assert_array_equal(output.read(k), volume[k])
        assert output.result() == tmp_path / name and output.shared
    io.write_slices(volume, tmp_path / "old.h5", first=7)
    with h5py.File(tmp_path / "new.h5") as new, h5py.File(tmp_path / "old.h5") as old:
        np.testing.assert_array_equal(new["exchange/data"][:], old["exchange/data"][:])
        assert dict(new["exchange/data"].attrs) == dict(old["exchange/data"].attrs)
        assert new["exchange/data"].dtype == np.float32 and new["exchange/data"].chunks is None
    names = io.write_slices(volume, tmp_path / "old", first=7)
    assert sorted(p.name for p in names) == sorted(p.name for p in (tmp_path / "tiffs").glob("*.tiff"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "tiffs" / "recon_00010.tiff"), volume[3])
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(".part")]


def test_an_earlier_output_is_taken_up(volume, disk):
    half_done(disk, volume)
    output = begun(disk)
    assert np.flatnonzero(output.done).tolist() == [1, 2, 5]
    assert output.records == [None, {"iterations": 10}, {"iterations": 20}, None, None, {"iterations": 50}]
    np.testing.assert_array_equal(output.read(5), volume[5])
    output.write([0, 3, 4], volume[[0, 3, 4]])
    output.mark([0, 3, 4], [{}, {}, {}])
    whole = begun(disk)
    assert whole.done.all()
    for k in range(6):
        np.testing.assert_array_equal(whole.read(k), volume[k])


def test_copies_in_other_processes_and_threads_write(volume, disk):
    output = begun(disk)
    copy = pickle.loads(pickle.dumps(output))
    assert not copy.done.any()

    def work(k):
        (copy if k % 2 else output).write([k], volume[k : k + 1])
        output.mark([k], [{"k": k}])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = begun(disk)
    assert again.done.all() and [r["k"] for r in again.records] == list(range(6))
    for k in range(6):
        np.testing.assert_array_equal(again.read(k), volume[k])


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
    told = str(caught.value)
    assert "options.num_iter: 100 before, 50 now" in told and "seed" not in told
    assert "data: the data differ" in told and "theta: the data differ" in told and "aaa" not in told
    assert "options.label: not given before, " in told and "x" * 60 not in told and journal_of(disk).name in told
    with pytest.raises(ValueError, match=r"shape: \[6, 5, 4\] before, \[5, 5, 4\] now; first: 0 before, 3 now"):
        begun(disk, shape=(5, 5, 4), first=3)
    assert begun(disk).done.sum() == 3  # nothing was touched


def test_an_identity_may_hold_nan_and_tuples(disk):
    identity = {"a": math.nan, "b": (1, np.float64(2)), "c": np.float32(3)}
    begun(disk, identity).write([0], np.zeros((1, 5, 4)))
    begun(disk, identity)
    assert differences(plain(identity), {"a": math.nan, "b": [1, 2.0], "c": 3.0}) == []
    assert differences({"sha256": "a" * 64}, {"sha256": "b" * 64}) == ["the data differ"]


def test_without_resume_an_earlier_output_is_refused(volume, disk):
    half_done(disk, volume)
    with pytest.raises(FileExistsError, match="3 of 6 slices are finished. With resume=True the same call goes on"):
        begun(disk, resume=False)
    for path in disk.parent.rglob("*.tiff"):
        path.unlink()
    disk.with_suffix(".h5").unlink(missing_ok=True)
    output = begun(disk, {"other": 1}, resume=False)  # a journal alone holds nothing worth keeping
    assert not output.done.any()


def test_what_others_made_is_not_overwritten(volume, disk):
    io.write_slices(volume, disk)
    for resume in (True, False):
        with pytest.raises(FileExistsError, match="was not begun by such a reconstruction.*choose another name"):
            begun(disk, resume=resume)
    if not disk.suffix:  # a folder may hold other things
        output = begun(disk, first=100)
        output.write([0], volume[:1])
        with pytest.raises(ValueError, match="first: 100 before, 200 now"):
            begun(disk, first=200)


def test_slices_that_are_lost_are_not_done(volume, tmp_path, caplog):
    half_done(tmp_path / "tiffs", volume)
    (tmp_path / "tiffs" / "recon_00002.tiff").unlink()
    (tmp_path / "tiffs" / "recon_00005.tiff").write_bytes(b"II")
    assert np.flatnonzero(begun(tmp_path / "tiffs").done).tolist() == [1]
    file = tmp_path / "vol.h5"
    size = half_done(file, volume).path.stat().st_size
    for length in (size - 1, size - 100, 900, 100, 0):
        os.truncate(file, length)
        output = begun(file)
        assert not output.done.any() and file.stat().st_size == size
        output.write([1], volume[1:2])
        output.mark([1], [{}])
        assert begun(file).done.sum() == 1
    assert "has lost its end" in caplog.text
    file.unlink()
    assert not begun(file).done.any()
    with h5py.File(file, "w") as other:
        other["entry"] = np.zeros(1000)
    with pytest.raises(FileExistsError, match="vol.h5 cannot be taken up: .*choose another name"):
        begun(file)


def test_places_that_cannot_be_written(tmp_path, disk, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="cannot be (written|read).*Not a directory"):
        begun(tmp_path / "file" / disk.name)
    with pytest.raises(FileExistsError, match="is a file; give a folder for TIFFs"):
        begun(tmp_path / "file")

    def denied(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(PermissionError, match="cannot be written: Permission denied; choose a place"):
        begun(disk)


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FULL = "No space left on device. The slices that were finished are kept: when there is space"


@pytest.mark.parametrize("what", ["fsync", "library"])
def test_a_full_disk(volume, disk, monkeypatch, what):
    half_done(disk, volume)
    output = begun(disk)
    with monkeypatch.context() as patch:
        if what == "fsync":
            patch.setattr(os, "fsync", full)
        elif disk.suffix:
            patch.setattr(hdf5_output, "open", full, raising=False)
        else:
            patch.setattr(tifffile, "imwrite", full)
        with pytest.raises(OSError, match=f"slices 3 to 4 cannot be written to .*{disk.name}: {FULL}") as caught:
            output.write([3, 4], volume[3:5])
        assert caught.value.errno == errno.ENOSPC
    assert not [p for p in disk.parent.rglob("*") if p.name.endswith(".part")]  # leaves no rubbish on a full disk
    assert begun(disk).done.sum() == 3
    output.write([3, 4], volume[3:5])
    output.mark([3, 4], [{}, {}])
    assert begun(disk).done.sum() == 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_that_is_really_full(volume, tmp_path):
    output = begun(tmp_path / "vol.h5")
    output.path.unlink()
    output.path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"slices 0 to 5 cannot be written to .*vol.h5: {FULL}"):
        output.write(np.arange(6), volume)


def test_a_full_disk_under_the_journal(volume, disk, monkeypatch):
    output = half_done(disk, volume)
    output.write([3], volume[3:4])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=f"progress.jsonl cannot be written: {FULL}"):
            output.mark([3], [{"iterations": 1}])
        assert not output.done[3]
    output.mark([3], [{"iterations": 2}])  # over what may be there of the line before
    again = begun(disk)
    assert again.done.sum() == 4 and again.records[3] == {"iterations": 2}


def test_wrong_calls(volume, disk):
    output = output_of(disk, SHAPE)
    if disk.suffix:
        with pytest.raises(RuntimeError, match="has not been begun"):
            output.read(0)
    output.begin({})
    with pytest.raises(ValueError, match=r"images of shape \(2, 5, 4\) for 1 slices"):
        output.write([0], volume[:2])
    with pytest.raises(IndexError, match="are not among the 6"):
        output.write([6], volume[:1])
    with pytest.raises(ValueError, match="one record for each slice"):
        output.mark([0, 1], [{}])
    with pytest.raises(ValueError, match="one record for each slice"):
        output.mark([6], [{}])
    output.write([], volume[:0])
    if not disk.suffix:
        with pytest.raises(FileNotFoundError, match="slice 3 of .* cannot be read"):
            output.read(3)


KILLED = """
import sys
import numpy as np
from tomopy_ganrec.io.outputs import output_of

output = output_of(sys.argv[1], (40, 64, 64))
output.begin({"seed": 0})
print("begun", flush=True)
while True:  # again and again, so that a kill hits a write
    for k in range(0, 40, 2):
        output.write([k, k + 1], np.stack([np.full((64, 64), k + 1), np.full((64, 64), k + 2)]))
        output.mark([k, k + 1], [{"value": k + 1}, {"value": k + 2}])
"""


def test_what_a_kill_leaves(disk):
    rng = np.random.default_rng()
    most = 0
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(disk)], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"begun\n"
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        output = begun(disk, {"seed": 0}, (40, 64, 64))
        for k in np.flatnonzero(output.done):
            assert (output.read(k) == k + 1).all() and output.records[k] == {"value": k + 1}
        assert output.done.sum() >= most
        most = int(output.done.sum())
        if disk.suffix:
            with h5py.File(disk) as file:
                np.testing.assert_array_equal(
                    file["exchange/data"][:, 0, 0][output.done], np.flatnonzero(output.done) + 1
                )
    for k in np.flatnonzero(~output.done):
        output.write([k], np.full((1, 64, 64), k + 1))
        output.mark([k], [{"value": int(k) + 1}])
    assert begun(disk, {"seed": 0}, (40, 64, 64)).done.all()
    assert not [p for p in disk.parent.rglob("*") if p.name.endswith(".part")]


def test_a_kill_at_the_very_beginning(volume, disk, monkeypatch):
    """Between the journal and the file: nothing is in the way of the next call."""

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(output_of(disk, SHAPE)), "_create", killed)
        with pytest.raises(KeyboardInterrupt):
            begun(disk)
    assert journal_of(disk).is_file()
    output = begun(disk, {"other": 1})
    assert not output.done.any()
    output.write([0], volume[:1])
    output.mark([0], [{}])
    assert begun(disk, {"other": 1}).done.sum() == 1


def test_a_journal_of_another_version_or_none(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    assert journal.read() == (None, {})
    (tmp_path / "j.jsonl").write_text('{"shape": [1, 2]}\n')
    assert journal.read() == (None, {})
    journal.start(Journal.header({"a": 1}, (3, 2, 2), 5))
    journal.append([2], [{"x": 1}])
    assert journal.read() == ({"identity": {"a": 1}, "shape": [3, 2, 2], "first": 5, "version": 1}, {2: {"x": 1}})


# Names


@pytest.mark.parametrize(
    "suffix", [".nxs", ".zarr", ".tiff", ".TIF", ".npy", ".npz", ".Hdf", ".mrc", ".raw", ".png", ".txt", ".tar.gz"]
)
def test_files_of_other_kinds_are_not_made_folders(tmp_path, suffix, volume):
    path = tmp_path / f"rec{suffix}"
    for write in (
        lambda: output_of(path, SHAPE),
        lambda: output_of(str(path), SHAPE),
        lambda: io.write_slices(volume, path),
    ):
        with pytest.raises(
            ValueError,
            match=rf"rec\{suffix}: files of the kind \.\w+ are not written; give a name ending in .h5 or .hdf5",
        ):
            write()
    assert not list(tmp_path.iterdir())
    path.mkdir()  # who has made such a folder means it
    begun(path).write([0], volume[:1])
    io.write_slices(volume[:1], path, first=50)
    assert sorted(p.name for p in path.glob("*.tiff")) == ["recon_00000.tiff", "recon_00050.tiff"]


@pytest.mark.parametrize("name", ["run.2024", "sample.A1", "v1.0", "rec", ".hidden", "a.b.c"])
def test_folders_with_dots(tmp_path, name, volume):
    begun(tmp_path / name).write([0], volume[:1])
    io.write_slices(volume[:1], tmp_path / name, first=50)
    assert len(list((tmp_path / name).glob("*.tiff"))) == 2


@pytest.mark.parametrize("suffix", [".h5", ".HDF5", ".H5"])
def test_names_of_hdf5_files(tmp_path, suffix, volume):
    assert begun(tmp_path / f"a{suffix}").path.is_file()
    assert io.write_slices(volume, tmp_path / f"b{suffix}") == [tmp_path / f"b{suffix}"]


def test_a_link_to_nothing_is_refused(tmp_path, disk):
    disk.parent.mkdir()
    target = tmp_path / "other disk" / "place"
    disk.symlink_to(target)
    for alone in (False, True):
        with pytest.raises(
            FileExistsError,
            match=f"{disk.name} is a link to .*place, where nothing is; make the folder or give the place",
        ):
            output_of(disk, SHAPE).begin(IDENTITY, alone=alone)
    assert disk.is_symlink() and [*disk.parent.iterdir()] == [disk] and not target.parent.exists()


def test_a_link_to_a_folder_is_followed(tmp_path, volume):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    half_done(tmp_path / "link", volume)
    assert begun(tmp_path / "link").done.sum() == 3 and (tmp_path / "real" / "recon_00001.tiff").is_file()


# Names of files while they are written: those of 0.1.0, which could be foreseen, and those of the same pattern as now.
def planted(disk, token):
    names = [f".{disk.name}{token}.part", f".{journal_of(disk).name}{token}.part", f".recon_00000.tiff{token}.part"]
    return [journal_of(disk).parent / name for name in names]


def test_links_at_names_of_temporary_files_are_not_followed(tmp_path, disk, volume, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    journal_of(disk).parent.mkdir(parents=True)
    monkeypatch.setattr("secrets.token_hex", lambda count: "0" * 2 * count)  # even if somebody could foresee them
    for token in ("", ".00000000"):
        for place in planted(disk, token):
            place.symlink_to(victim)
    with pytest.raises(OSError):
        half_done(disk, volume)
    assert victim.read_text() == "mine"
    monkeypatch.undo()
    half_done(disk, volume)
    assert begun(disk).done.sum() == 3 and victim.read_text() == "mine"
    assert all(place.is_symlink() for token in ("", ".00000000") for place in planted(disk, token))


def test_names_of_temporary_files_cannot_be_foreseen(disk, volume, monkeypatch):
    seen, replace = [], os.replace

    def watch(source, target):
        seen.append(Path(source).name)
        assert Path(source).parent == Path(target).parent  # on the same disk
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    for path in (disk, disk.with_name("b" + disk.name)):
        half_done(path, volume)
    assert len(set(seen)) == len(seen) >= 4 and all(name.startswith(".") and name.endswith(".part") for name in seen)


def test_leftovers_of_a_kill_go_and_those_of_others_stay(disk, volume):
    journal_of(disk).parent.mkdir(parents=True)
    foreign = [
        disk.parent / ".other.h5.0123abcd.part",
        disk.parent / ".notes.part",
        journal_of(disk).parent / ".recon_00099.tiff.0123abcd.part",
    ]
    ours = planted(disk, ".0123abcd")[: 2 if disk.suffix else 3]
    ours = [place for place in ours if disk.suffix or "tiffs" not in place.name]
    for place in foreign + ours:
        place.touch()
    half_done(disk, volume)
    assert all(place.exists() for place in foreign) and not any(place.exists() for place in ours)
    for place in ours:
        place.touch()
    begun(disk)
    assert all(place.exists() for place in foreign) and not any(place.exists() for place in ours)


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_usual_mode(disk, volume, mask, mode):
    before = os.umask(mask)
    try:
        half_done(disk, volume)
    finally:
        os.umask(before)
    files = [path for path in disk.parent.rglob("*") if path.is_file()]
    assert len(files) >= 2 and {path.stat().st_mode & 0o777 for path in files} == {mode}


# What is damaged


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


@pytest.mark.parametrize("harm", ["zeros", "middle", "cut", "another", "text"])
def test_a_damaged_tiff_is_named_or_made_anew(volume, tmp_path, harm, caplog):
    output = half_done(tmp_path / "tiffs", volume)
    file = tmp_path / "tiffs" / "recon_00002.tiff"
    content = file.read_bytes()
    if harm == "another":
        tifffile.imwrite(file, np.zeros((50, 40), np.uint8))
    else:
        size = len(content)
        file.write_bytes(
            {"zeros": bytes(size), "middle": content[:8] + bytes(size - 8), "cut": content[:150], "text": b"x" * size}[
                harm
            ]
        )
    with pytest.raises(
        OSError,
        match="slice 2 of .*tiffs cannot be read: .*recon_00002.tiff is damaged .*; delete it, and the same call makes it",
    ):
        output.read(2)
    again = begun(tmp_path / "tiffs")
    assert again.done[[1, 5]].all() and (again.done[2] or harm in ("zeros", "text"))
    assert ("recon_00002.tiff is not a TIFF file any more" in caplog.text) == (harm in ("zeros", "text"))
    file.unlink()
    assert np.flatnonzero(begun(tmp_path / "tiffs").done).tolist() == [1, 5]


@pytest.mark.parametrize("out", ("a\0b.h5", "a\0b", "a/\0/c.h5"))
def test_names_with_a_zero_byte_are_refused_in_our_words(out):
    with pytest.raises(ValueError, match="the name of a file holds no zero byte"):
        output_of(out, (2, 8, 8))
