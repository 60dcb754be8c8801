"""Data Exchange files in, TIFF and HDF5 out."""

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scans

from tomopy_ganrec import io

h5py = pytest.importorskip("h5py")
tifffile = pytest.importorskip("tifffile")

TOOTH = Path(__file__).resolve().parents[3] / "shared" / "data" / "tooth.h5"


READERS = [
    "h5py",
    pytest.param(
        "dxchange", marks=pytest.mark.skipif(not scans.real_dxchange(), reason="the real dxchange is not installed")
    ),
]


@pytest.fixture
def scan(tmp_path):
    """A file of 12 projections, 4 slices, 16 columns with known line integrals; its path and the integrals."""
    rng = np.random.default_rng(0)
    integrals = rng.random((12, 4, 16)).astype(np.float32)
    flat, dark = 1000 + 50 * rng.random((1, 4, 16)), 20 + rng.random((1, 4, 16))
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["exchange/data"] = (dark + (flat - dark) * np.exp(-integrals)).astype(np.float32)
        file["exchange/data_white"], file["exchange/data_dark"] = (
            flat.repeat(3, 0).astype(np.float32),
            dark.repeat(2, 0).astype(np.float32),
        )
        file["exchange/theta"] = np.arange(12) * 15.0
    return path, integrals


@pytest.mark.parametrize("reader", READERS)
def test_reads_line_integrals_and_radians(scan, reader):
    path, integrals = scan
    projections, theta = io.read_projections(path, reader=reader)
    # float32 counts of about 1000 carry a relative error of 1e-7, times the logarithm's gain
    np.testing.assert_allclose(projections, integrals, atol=2e-5)
    np.testing.assert_allclose(theta, np.deg2rad(np.arange(12) * 15))
    assert projections.dtype == np.float32


@pytest.mark.parametrize("reader", READERS)
def test_slices_and_angular_range(scan, reader):
    path, integrals = scan
    projections, theta = io.read_projections(path, slices=(1, 3), angles="0:120", reader=reader)
    np.testing.assert_allclose(projections, integrals[:8, 1:3], atol=2e-5)
    assert np.rad2deg(theta[-1]) == pytest.approx(105)
    transmission, _ = io.read_projections(path, minus_log=False, reader=reader)
    np.testing.assert_allclose(transmission, np.exp(-integrals), atol=2e-5)


def test_a_file_without_flats_or_angles(tmp_path):
    path = tmp_path / "bare.h5"
    with h5py.File(path, "w") as file:
        file["exchange/data"] = np.full((6, 2, 8), 0.5, np.float32)
    with pytest.raises(ValueError, match=r"bare.h5 holds no angles.*--theta START:STEP"):
        io.read_projections(path, reader="h5py")
    projections, theta = io.read_projections(path, reader="h5py", theta="0:30")
    np.testing.assert_allclose(projections, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(np.rad2deg(theta), np.arange(6) * 30)


def test_dead_pixels_stay_finite():
    flat = np.array([[[100.0, 0.0, 100.0]]])
    out = io.normalize(np.array([[[50.0, 10.0, -5.0]]]), flat)
    assert np.isfinite(out).all() and out[0, 0, 0] == pytest.approx(np.log(2))
    with pytest.raises(ValueError, match="flat fields have shape"):
        io.normalize(np.ones((2, 2, 3)), flat)


def test_files_that_cannot_be_read_are_named(scan, tmp_path):
    path, _ = scan
    with pytest.raises(FileNotFoundError, match="no file"):
        io.read_projections(tmp_path / "nothing.h5")
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        io.read_projections(text)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["entry/data"] = np.zeros(3)
    with pytest.raises(ValueError, match="no dataset 'exchange/data'; its top level has entry"):
        io.read_projections(other)
    with pytest.raises(ValueError, match="slices 3:9 are not among the 4"):
        io.read_projections(path, slices=(3, 9))
    with pytest.raises(ValueError, match="keeps 0 projections; the scan covers 0 to 165"):
        io.read_projections(path, angles="200:300")
    with pytest.raises(ValueError, match="as 'first:last'"):
        io.read_projections(path, angles="120")
    with pytest.raises(ValueError, match="reader='nexus'"):
        io.read_projections(path, reader="nexus")


def test_the_impostor_dxchange_is_named(scan, monkeypatch, caplog):
    impostor = types.ModuleType("dxchange")
    impostor.__version__ = "0.0.1"
    monkeypatch.setitem(sys.modules, "dxchange", impostor)
    with pytest.raises(ImportError, match="dxchange 0.0.1.*another project.*pip uninstall dxchange"):
        io.read_projections(scan[0], reader="dxchange")
    with caplog.at_level("INFO", "tomopy_ganrec.io.data_exchange"):
        io.read_projections(scan[0])  # auto goes on with h5py
    assert "another project" in caplog.text


def test_a_missing_dxchange_says_where_it_is(scan, monkeypatch):
    monkeypatch.setitem(sys.modules, "dxchange", None)
    with pytest.raises(ImportError, match="conda-forge"):
        io.read_projections(scan[0], reader="dxchange")


def test_normalisation_by_tomopy_where_it_is(monkeypatch):
    calls = []
    fake = types.SimpleNamespace(normalize=lambda p, f, d: calls.append(1) or (p - d.mean(0)) / (f.mean(0) - d.mean(0)))
    real = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name: fake if name == "tomopy.prep.normalize" else real(name)
    )
    flat, dark = np.full((3, 2, 4), 110.0), np.full((2, 2, 4), 10.0)
    np.testing.assert_allclose(io.normalize(np.full((5, 2, 4), 60.0), flat, dark), np.log(2), rtol=1e-5)
    assert calls


def test_writes_tiffs_and_hdf5(tmp_path):
    volume = np.random.default_rng(0).standard_normal((3, 5, 6)).astype(np.float32)
    names = io.write_slices(volume, tmp_path / "out", first=7)
    assert [n.name for n in names] == ["recon_00007.tiff", "recon_00008.tiff", "recon_00009.tiff"]
    np.testing.assert_array_equal(tifffile.imread(names[1]), volume[1])
    (name,) = io.write_slices(volume, tmp_path / "deep" / "out.h5", first=7)
    with h5py.File(name) as file:
        np.testing.assert_array_equal(file["exchange/data"][:], volume)
        assert file["exchange/data"].attrs["first_slice"] == 7
    with pytest.raises(ValueError, match="give \\(slices, rows, columns\\)"):
        io.write_slices(volume[0], tmp_path)


@pytest.mark.skipif(not TOOTH.is_file(), reason="the tooth scan is not here")
@pytest.mark.parametrize("reader", READERS)
def test_the_real_tooth(reader):
    projections, theta = io.read_projections(TOOTH, slices=(0, 2), angles="0:120", reader=reader)
    assert projections.shape == (121, 2, 640)  # steps of 0.9945 degrees
    # air beside the tooth: no attenuation
    assert np.abs(np.median(projections[:, :, :12])) < 0.02
    assert np.ptp(theta) == pytest.approx(np.deg2rad(119.34), abs=1e-3)
