"""Names of outputs, and files that are written under a temporary name first."""

import errno
import os
from pathlib import Path

import pytest
from outputs_on_disk import SHAPE, begun, half_done, journal_of

from tomopy_ganrec import io
from tomopy_ganrec.io.atomic_files import put_in_place, replacing, temporary_name
from tomopy_ganrec.io.outputs import output_of

pytest.importorskip("h5py")
pytest.importorskip("tifffile")


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


def write_with_replacing(path):
    with replacing(path) as file:
        file.write(b"new")


def write_and_put_in_place(path):
    temporary = temporary_name(path)
    temporary.write_bytes(b"new")
    put_in_place(temporary, path)


@pytest.mark.parametrize("write", (write_with_replacing, write_and_put_in_place))
def test_the_content_and_then_the_name_are_synced(tmp_path, monkeypatch, write):
    path, steps = tmp_path / "file", []
    path.write_bytes(b"old")
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor):
        steps.append("folder" if os.path.samestat(os.fstat(descriptor), tmp_path.stat()) else "file")
        fsync(descriptor)

    def watched_replace(source, target):
        assert Path(source).read_bytes() == b"new" and path.read_bytes() == b"old"
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write(path)
    assert steps == ["file", "rename", "folder"]
    assert path.read_bytes() == b"new" and [*tmp_path.iterdir()] == [path]


def test_a_file_system_that_syncs_no_folders(tmp_path, monkeypatch):
    fsync = os.fsync

    def only_files(descriptor):
        if os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    write_with_replacing(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_an_exception_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), replacing(path) as file:
        file.write(b"half")
        raise KeyError("stopped")
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]
