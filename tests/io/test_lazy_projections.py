"""Scans that stay in their file: the same line integrals as from `read_projections`."""

import pickle

import numpy as np
import pytest

from tomopy_ganrec import io
from tomopy_ganrec.io.lazy_projections import open_projections
from tomopy_ganrec.io.sources import source_of

h5py = pytest.importorskip("h5py")


def write_scan(path, group="exchange", flats=True, darks=True, theta=True):
    rng = np.random.default_rng(0)
    integrals = rng.random((12, 9, 17))
    flat, dark = 1000 + 50 * rng.random((3, 9, 17)), 20 + rng.random((2, 9, 17))
    with h5py.File(path, "w") as file:
        counts = dark[0] + (flat[0] - dark[0]) * np.exp(-integrals)
        file[f"{group}/data"] = counts.astype(np.uint16) if flats else (counts / 1100).astype(np.float32)
        if flats:
            file[f"{group}/data_white"] = flat.astype(np.uint16)
        if darks:
            file[f"{group}/data_dark"] = dark.astype(np.uint16)
        if theta:
            file[f"{group}/theta"] = np.arange(12) * 15.0
    return path


@pytest.fixture
def scan(tmp_path):
    return write_scan(tmp_path / "scan.h5")


@pytest.mark.parametrize("minus_log", [True, False])
@pytest.mark.parametrize(
    "parts", [{}, {"flats": False}, {"darks": False}, {"flats": False, "darks": False, "group": "exchange1"}]
)
def test_the_same_numbers_as_read_at_once(tmp_path, parts, minus_log):
    path, group = write_scan(tmp_path / "scan.h5", **parts), parts.get("group", "exchange")
    whole, theta = io.read_projections(path, reader="h5py", group=group, minus_log=minus_log)
    projections, lazy_theta = open_projections(path, group=group, minus_log=minus_log)
    assert (
        projections.shape == whole.shape
        and projections.dtype == np.float32
        and projections.ndim == 3
        and len(projections) == 12
    )
    np.testing.assert_array_equal(lazy_theta, theta)
    keys = [
        np.s_[:, 2:5],
        np.s_[:],
        np.s_[...],
        np.s_[:, np.array([1, 4, 7])],
        np.s_[:, [7, 0, 0, 3]],
        np.s_[np.array([2, 3, 9]), 1:4],
        np.s_[np.arange(12) % 2 == 0, 1:8:3],
        np.s_[::-1, -3:],
        np.s_[3],
        np.s_[:, 4],
        np.s_[2, 5, 6],
        np.s_[..., 4:9],
        np.s_[:, 3:3],
    ]
    for key in keys:
        found = projections[key]
        np.testing.assert_array_equal(found, whole[key])
        assert found.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(projections), whole)
    assert np.asarray(projections, np.float64).dtype == np.float64


def test_selected_slices_and_angular_range(scan):
    chosen = dict(slices=(2, 7), angles="30:120")
    whole, theta = io.read_projections(scan, reader="h5py", **chosen)
    projections, lazy_theta = open_projections(scan, **chosen)
    assert projections.shape == whole.shape == (6, 5, 17)
    np.testing.assert_array_equal(lazy_theta, theta)
    np.testing.assert_array_equal(projections[:, 1:3], whole[:, 1:3])
    np.testing.assert_array_equal(projections[[4, 0], 1:3], whole[[4, 0], 1:3])
    with h5py.File(scan, "r+") as file:  # a range that is not one run of projections
        file["exchange/theta"][:] = np.arange(12) * 75.0 % 180
    whole, theta = io.read_projections(scan, reader="h5py", angles=(0, 100))
    projections, lazy_theta = open_projections(scan, angles=(0, 100))
    np.testing.assert_array_equal(lazy_theta, theta)
    np.testing.assert_array_equal(projections[:, 3:5], whole[:, 3:5])


def test_a_source_reads_it_by_slices_in_other_processes_too(scan, monkeypatch):
    whole, _ = io.read_projections(scan, slices=(1, 9), reader="h5py")
    projections, _ = open_projections(scan, slices=(1, 9))
    monkeypatch.chdir("/")
    source = source_of(projections)
    assert source.nbytes_in_memory == 0 and source.kind == "Projections"
    read, real = [], h5py.Dataset.__getitem__

    def counting(self, key, **kwargs):
        part = real(self, key, **kwargs)
        read.append(part.shape[1])
        return part

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
    copy = pickle.loads(pickle.dumps(source))
    for indices in ([2, 3], [0, 3, 6], [0, 1, 5]):
        np.testing.assert_array_equal(copy.read(indices), whole[:, indices].swapaxes(0, 1))
    assert max(read) <= 3  # of data, flats and darks alike
    scan.unlink()
    with pytest.raises(OSError, match=r"slice 2 of the Projections of .*scan.h5 cannot be read: there is no file"):
        copy.read([2])


def test_a_scan_without_angles(tmp_path):
    path = write_scan(tmp_path / "scan.h5", theta=False)
    with pytest.raises(ValueError, match="holds no angles"):
        open_projections(path)
    _, theta = open_projections(path, theta="0:15")
    np.testing.assert_allclose(np.rad2deg(theta), np.arange(12) * 15)


def test_files_that_cannot_be_read_are_named_as_by_read_projections(scan, tmp_path):
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    other, flat, count = tmp_path / "other.h5", tmp_path / "flat.h5", tmp_path / "count.h5"
    with h5py.File(other, "w") as file:
        file["entry/data"] = np.zeros(3)
        file["image/data"] = np.zeros((3, 4))
    with h5py.File(write_scan(flat, flats=False), "r+") as file:
        file["exchange/data_white"] = np.ones((2, 9, 16))
    with h5py.File(write_scan(count, theta=False), "r+") as file:
        file["exchange/theta"] = np.arange(7.0)
    cases = [
        (tmp_path / "nothing.h5", {}, FileNotFoundError, "no file"),
        (text, {}, ValueError, "not an HDF5 file"),
        (other, {}, ValueError, "no dataset 'exchange/data'; its top level has entry"),
        (other, {"group": "image"}, ValueError, r"image/data of .* has shape \(3, 4\)"),
        (scan, {"slices": (3, 19)}, ValueError, "slices 3:19 are not among the 9"),
        (scan, {"angles": "200:300"}, ValueError, "keeps 0 projections; the scan covers 0 to 165"),
        (scan, {"angles": "120"}, ValueError, "as 'first:last'"),
        (flat, {}, ValueError, "the flat fields have shape"),
        (count, {}, ValueError, "holds 12 projections but 7 angles"),
    ]
    for path, chosen, kind, message in cases:
        for function, reader in ((open_projections, {}), (io.read_projections, {"reader": "h5py"})):
            with pytest.raises(kind, match=message):
                function(path, **chosen, **reader)


def test_selections_that_mean_nothing(scan):
    projections, _ = open_projections(scan)
    with pytest.raises(IndexError, match="array along one axis at most"):
        projections[[0, 1], [2, 3]]
    with pytest.raises(IndexError, match="three axes"):
        projections[0, 0, 0, 0]
    with pytest.raises(IndexError, match="is no selection of the 9 slices"):
        projections[:, 9]
    with pytest.raises(ValueError, match="copy=False"):
        projections.__array__(copy=False)
    assert "(12, 9, 17)" in repr(projections) and projections.size == 12 * 9 * 17
