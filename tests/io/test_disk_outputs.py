"""Outputs on disk: resumed, after a kill at any moment, on a full disk, and with damaged files."""

import errno
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
from outputs_on_disk import IDENTITY, SHAPE, begun, half_done, journal_of

from tomopy_ganrec import io
from tomopy_ganrec.io import hdf5_output
from tomopy_ganrec.io.outputs import output_of

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")


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


def test_without_resume_an_earlier_output_is_refused(volume, disk):
    half_done(disk, volume)
    with pytest.raises(FileExistsError, match="3 of 6 slices are finished. With resume=True the same call goes on"):
        begun(disk, resume=False)
    for path in disk.parent.rglob("*.tiff"):
        path.unlink()
    disk.with_suffix(".h5").unlink(missing_ok=True)
    output = begun(disk, {"other": 1}, resume=False)  # a journal alone holds nothing worth keeping
    assert not output.done.any()


def test_an_output_of_another_program_is_not_overwritten(volume, disk):
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


def test_paths_that_cannot_be_written(tmp_path, disk, monkeypatch):
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
    assert not [p for p in disk.parent.rglob("*") if p.name.endswith(".part")]  # nothing is left behind on a full disk
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


def test_wrong_calls_are_refused(volume, disk):
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
        match="slice 2 of .*tiffs cannot be read: .*recon_00002.tiff is damaged .*; delete it, and the same call makes",
    ):
        output.read(2)
    again = begun(tmp_path / "tiffs")
    assert again.done[[1, 5]].all() and (again.done[2] or harm in ("zeros", "text"))
    assert ("recon_00002.tiff is not a TIFF file any more" in caplog.text) == (harm in ("zeros", "text"))
    file.unlink()
    assert np.flatnonzero(begun(tmp_path / "tiffs").done).tolist() == [1, 5]
