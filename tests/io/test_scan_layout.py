"""Layouts of Data Exchange files, good and broken: read the same by every reader, or refused in one line."""

import warnings

import numpy as np
import pytest
import scans
from scan_files import DEGREES, NOISE, READERS, file_of, read

from tomopy_ganrec import io
from tomopy_ganrec.cli import main
from tomopy_ganrec.io.lazy_projections import open_projections

h5py = pytest.importorskip("h5py")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "units, factor", [(None, 1), ("deg", 1), (b"degrees", 1), ("°", 1), ("rad", np.pi / 180), (b"radians", np.pi / 180)]
)
def test_units_are_obeyed(scan, tmp_path, reader, units, factor):
    projections, theta = read(file_of(scan, tmp_path / "a.h5", DEGREES * factor, units=units), reader)
    np.testing.assert_allclose(np.rad2deg(theta), DEGREES, atol=1e-9)
    assert scans.error(projections, scan["integrals"]) < NOISE


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "rotation",
    [
        {"rotation_start": [10.0], "rotation_step": [1.5], "num_angles": [60]},
        {"rotation_start": 10.0, "rotation_step": np.float32(1.5)},
        {"rotation_start": 10, "rotation_end": 98.5, "num_angles": 60},
        {"rotation_start": 10.0, "rotation_stop": 98.5},
    ],
)
def test_angles_of_the_rotation(scan, tmp_path, reader, rotation):
    extra = {f"process/acquisition/rotation/{name}": value for name, value in rotation.items()}
    path = file_of(scan, tmp_path / "a.h5", None, extra=extra)
    np.testing.assert_allclose(np.rad2deg(read(path, reader)[1]), 10 + 1.5 * np.arange(60), atol=1e-6)
    with h5py.File(path, "r+") as file:
        for name in rotation:
            if name != "num_angles":
                full = f"process/acquisition/rotation/{name}"
                file[full][...] = np.deg2rad(file[full][...]) if file[full].dtype.kind == "f" else file[full][...]
                file[full].attrs["units"] = "rad" if file[full].dtype.kind == "f" else "deg"
    np.testing.assert_allclose(np.rad2deg(read(path, reader)[1]), 10 + 1.5 * np.arange(60), atol=1e-5)


def _broken(kind, path, scan):
    """A file with one fault of its layout."""
    file_of(scan, path)
    with h5py.File(path, "r+") as file:
        name = {"theta": "exchange/theta", "flat": "exchange/data_white"}.get(kind.split()[0], "exchange/data")
        what = kind.split()[-1]
        old = file[name][()]
        if what != "unwritten":
            del file[name]
        if what == "external":
            file[name] = h5py.ExternalLink("gone.h5", "/data")
        elif what == "soft":
            file[name] = h5py.SoftLink("/gone")
        elif what == "group":
            file.create_group(name)["inside"] = 1
        elif what == "virtual":
            layout = h5py.VirtualLayout(old.shape, old.dtype)
            layout[:] = h5py.VirtualSource("gone.h5", "data", old.shape)
            file.create_virtual_dataset(name, layout)
        elif what == "text":
            file[name] = np.full(old.shape, b"text")
        elif what == "compound":
            file[name] = np.zeros(old.shape, [("a", "f4"), ("b", "f4")])
        elif what == "complex":
            file[name] = old.astype(complex)
        elif what == "empty":
            file[name] = h5py.Empty("f4")
        elif what == "zero":
            file[name] = old[:0]
        elif what == "flat2d":
            file[name] = old[0]


LAYOUTS = {
    "data external": "link to '/data' in the file gone.h5",
    "data soft": "link to '/gone'",
    "data group": "is a group, not a dataset; it holds inside",
    "data virtual": "virtual dataset whose source gone.h5 is not there",
    "data text": "real numbers are needed",
    "data compound": "real numbers are needed",
    "data complex": "real numbers are needed",
    "data empty": "empty dataset",
    "data zero": "has shape",
    "data flat2d": "has shape",
    "theta external": "link to",
    "theta group": "is a group",
    "theta text": "real numbers",
    "theta virtual": "virtual dataset",
    "flat external": "link to",
    "flat group": "is a group",
    "flat compound": "real numbers",
    "flat virtual": "virtual dataset",
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_broken_layouts_are_reported_in_one_line(scan, tmp_path, capsys, kind):
    path = tmp_path / "a.h5"
    _broken(kind, path, scan)
    for reader in ("h5py", "lazy"):
        with pytest.raises((OSError, ValueError), match=f"a.h5.*{LAYOUTS[kind]}|{LAYOUTS[kind]}.*a.h5") as caught:
            read(path, reader)
        assert "\n" not in str(caught.value)
    assert main(f"recon {path} --out {tmp_path / 'out'} --quiet".split()) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "a.h5" in message and "Traceback" not in message


@pytest.mark.parametrize("with_theta", [False, True])
@pytest.mark.parametrize("shape", [(10000, 10000, 10000), (2**40, 1, 2), (1000, 2**31, 64)])
def test_declared_sizes_that_no_memory_holds(tmp_path, capsys, with_theta, shape):
    path = tmp_path / "huge.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("exchange/data", shape, "f4", chunks=(1, 1, min(64, shape[2])))
        data[0, 0] = 1  # something has been written
        if with_theta and shape[0] < 1e6:
            file["exchange/theta"] = np.arange(shape[0]) * 0.018
    for function in (io.read_projections, open_projections):
        with pytest.raises((OSError, ValueError), match="huge.h5"):
            function(path, **({"reader": "h5py"} if function is io.read_projections else {}))
    assert main(f"recon {path} --out {tmp_path / 'out'} --quiet".split()) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "slices", [(0,), (0, 1, 2), "ab", (-1, 2), (2, 1), (0, 9), (np.nan, 2), 3, ("a", "b"), (0, 10**400)]
)
def test_slices_that_mean_nothing(scan, tmp_path, slices):
    path = file_of(scan, tmp_path / "a.h5")
    for reader in ("h5py", "lazy"):
        with pytest.raises(ValueError, match="slices"):
            read(path, reader, slices=slices)


def test_a_folder_is_distinguished_from_a_missing_file(tmp_path, capsys):
    for function in (io.read_projections, open_projections):
        with pytest.raises(OSError, match="is a folder"):
            function(tmp_path)
    assert main(f"recon {tmp_path} --out {tmp_path / 'out'}".split()) == 1
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
def test_torn_files(scan, tmp_path, cut):
    path = file_of(scan, tmp_path / "a.h5")
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    for reader in ("h5py", "lazy"):
        with pytest.raises((OSError, ValueError), match="a.h5"):
            read(path, reader)


@pytest.mark.parametrize("reader", READERS[:2])
@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_are_reported_with_the_name_of_the_file(scan, tmp_path, reader, seed):
    """Whatever byte of the file's structure is wrong: other values may come out, or an error of one of two types."""
    whole = file_of(scan, tmp_path / "a.h5").read_bytes()
    rng = np.random.default_rng(seed)
    structure = [k for k in range(0, min(len(whole), 8000)) if whole[k] or k < 3000]
    for k in range(15):
        path = tmp_path / f"damaged{k}.h5"
        raw = bytearray(whole)
        for at in rng.choice(structure, 6):
            raw[at] = rng.integers(256)
        path.write_bytes(raw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of frames left out
            try:
                read(path, reader)
            except (OSError, ValueError) as error:
                assert path.name in str(error)
