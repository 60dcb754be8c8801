"""Files as scanners write them, good and bad: read the same by every reader, repaired with a word, or refused in one line."""

import warnings

import numpy as np
import pytest
import scans

from tomopy_ganrec import io, recon
from tomopy_ganrec.cli import main
from tomopy_ganrec.io.lazy_projections import open_projections

h5py = pytest.importorskip("h5py")
DEGREES = np.arange(60) * 3.0


READERS = [
    "h5py",
    "lazy",
    pytest.param(
        "dxchange", marks=pytest.mark.skipif(not scans.real_dxchange(), reason="the real dxchange is not installed")
    ),
]


def read(path, reader, **chosen):
    if reader == "lazy":
        projections, theta = open_projections(path, **chosen)
        return np.asarray(projections), theta
    return io.read_projections(path, reader=reader, **chosen)


@pytest.fixture
def scan():
    return dict(zip(("integrals", "data", "flat", "dark"), scans.counts(DEGREES, 32, 3), strict=True))


def file_of(scan, path, theta=DEGREES, **changed):
    parts = {key: changed.get(key, scan[key]) for key in ("data", "flat", "dark")}
    return scans.write(path, **parts, theta=theta, **{k: v for k, v in changed.items() if k not in parts})


NOISE = 0.025  # of line integrals up to 2 from 20000 photons, and flats of 10 frames


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


@pytest.mark.parametrize("reader", READERS)
def test_angles_that_are_nowhere_must_be_given(scan, tmp_path, reader):
    path = file_of(scan, tmp_path / "a.h5", None, extra={"process/acquisition/rotation/rotation_start": 0.0})
    with pytest.raises(ValueError, match=r"a.h5 holds no angles.*theta='START:STEP'.*--theta"):
        read(path, reader)
    np.savetxt(tmp_path / "angles.txt", DEGREES)
    for given in (DEGREES, list(DEGREES), "0:3", str(tmp_path / "angles.txt"), tmp_path / "angles.txt"):
        np.testing.assert_allclose(np.rad2deg(read(path, reader, theta=given)[1]), DEGREES, atol=1e-9)
    np.testing.assert_allclose(
        np.rad2deg(read(path, reader, theta="-90:3", angles="-60:60")[1]), np.arange(-60, 60, 3.0)
    )


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "theta, units, message",
    [
        (
            np.deg2rad(DEGREES),
            None,
            "spans 3.09 degrees only.*read as radians it would be 177 degrees.*units='rad'.*trust_theta",
        ),
        (np.deg2rad(DEGREES), "deg", "read as radians"),
        (np.deg2rad(2 * DEGREES), None, "read as radians"),
        (DEGREES, "rad", "look like degrees"),
        (np.deg2rad(np.deg2rad(DEGREES)), "rad", "converted to radians twice"),
        (np.full(60, 12.0), None, "all 60 angles are 12"),
        (np.zeros(60), "rad", "all 60 angles are 0"),
        (DEGREES, "mm", "unit of 'exchange/theta' of .*a.h5 is 'mm'"),
        (
            np.where(DEGREES == 30, np.nan, DEGREES),
            None,
            "1 of its 60 angles are not finite, the first that of projection 10",
        ),
        (DEGREES[:50], None, "60 projections but 50 angles"),
        (DEGREES.reshape(30, 2), None, r"'exchange/theta' has shape \(30, 2\)"),
        (np.arange(60) * 0.05, None, "spans 2.95 degrees only"),
    ],
)
def test_angles_that_cannot_be(scan, tmp_path, reader, theta, units, message):
    with pytest.raises(ValueError, match=message):
        read(file_of(scan, tmp_path / "a.h5", theta, units=units), reader)


@pytest.mark.filterwarnings(
    "ignore:the reconstruction does not explain:UserWarning"
)  # the projections are of 60 directions
def test_a_scan_of_a_few_degrees_can_be_trusted(scan, tmp_path, capsys):
    path = file_of(scan, tmp_path / "a.h5", np.arange(60) * 0.05)
    projections, theta = io.read_projections(path, reader="h5py", trust_theta=True)
    with pytest.raises(ValueError, match="trust_theta"):
        recon(projections, theta, num_iter=0, reweight_rounds=0)
    assert recon(projections[:, :1], theta, num_iter=0, reweight_rounds=0, trust_theta=True).shape == (1, 32, 32)
    command = f"recon {path} --slices 1 --quality fast --init fbp --quiet --reader h5py"
    assert main(f"{command} --out {tmp_path / 'no'}".split()) == 1
    assert "--trust-theta" in capsys.readouterr().err
    assert main(f"{command} --trust-theta --out {tmp_path / 'yes'}".split()) == 0


@pytest.mark.parametrize("reader", READERS)
def test_several_turns_are_folded_and_averaged(scan, tmp_path, reader):
    theta = np.arange(60) * 30.0  # 12 directions, five times
    _, data, flat, dark = scans.counts(theta, 32, 3)
    projections, found = read(scans.write(tmp_path / "a.h5", data, flat, dark, theta), reader)
    np.testing.assert_allclose(np.rad2deg(found), np.arange(12) * 30)
    assert scans.error(projections, scans.line_integrals(np.arange(12) * 30.0, 32, 3)) < NOISE


def test_several_turns_on_the_command_line(scan, tmp_path):
    theta = np.linspace(0, 1800, 60)
    _, data, flat, dark = scans.counts(theta, 32, 1)
    path = scans.write(tmp_path / "a.h5", data, flat, dark, theta)
    assert main(f"recon {path} --init fbp --quality fast --quiet --out {tmp_path / 'out'} --reader h5py".split()) == 0


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("repeats", [2, 20])
def test_repeated_projections_are_averaged(tmp_path, reader, repeats):
    theta = np.concatenate([DEGREES[:20], np.full(repeats, 30.0), DEGREES[20:]])
    integrals, data, flat, dark = scans.counts(theta, 32, 2)
    path = scans.write(tmp_path / "a.h5", data, flat, dark, theta)
    projections, found = read(path, reader)
    np.testing.assert_allclose(np.rad2deg(found), DEGREES, atol=1e-9)
    expected = scans.line_integrals(DEGREES, 32, 2)
    assert scans.error(projections, expected) < NOISE
    mean = (data[theta == 30].astype(float).mean(0) - dark.mean(0)) / (flat.mean(0) - dark.mean(0))
    np.testing.assert_allclose(projections[10], -np.log(mean), atol=1e-4)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
def test_constant_fields_are_used(scan, tmp_path, reader, dtype):
    prefix = "process/acquisition"
    extra = {f"{prefix}/flat_fields/flat_field_value": [20100.0], f"{prefix}/dark_fields/dark_field_value": 100}
    path = file_of(scan, tmp_path / "a.h5", data=scan["data"].astype(dtype), flat=None, dark=None, extra=extra)
    projections, _ = read(path, reader)
    assert scans.error(projections, scan["integrals"]) < NOISE + 0.02  # the gain of pixels is not in a number


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8, np.float32, np.float64])
def test_counts_without_flats_are_refused(scan, tmp_path, reader, dtype):
    data = (scan["data"] // (128 if dtype is np.uint8 else 1)).astype(dtype)
    for dark in (None, scan["dark"]):
        path = file_of(scan, tmp_path / "a.h5", data=data, flat=None, dark=dark)
        with pytest.raises(
            ValueError, match="a.h5: its projections.*no flat fields: store them as data_white.*flat_field_value"
        ):
            read(path, reader)


@pytest.mark.parametrize("reader", READERS)
def test_transmissions_without_flats_are_taken(scan, tmp_path, reader):
    path = file_of(scan, tmp_path / "a.h5", data=np.exp(-scan["integrals"]).astype(np.float32), flat=None, dark=None)
    np.testing.assert_allclose(read(path, reader)[0], scan["integrals"], atol=1e-5)
    integrals = file_of(scan, tmp_path / "b.h5", data=scan["integrals"].astype(np.float32), flat=None, dark=None)
    with pytest.raises(ValueError, match="minus_log=False"):
        read(integrals, reader)
    np.testing.assert_allclose(read(integrals, reader, minus_log=False)[0], scan["integrals"], atol=1e-6)


BAD_FIELDS = {
    "one flat": ([4], []),
    "three flats": ([3, 4, 5], []),
    "four flats": ([0, 1, 8, 9], []),
    "a dark": ([], [7]),
    "four darks": ([], [0, 1, 2, 9]),
    "both": ([0, 9], [5]),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", BAD_FIELDS)
def test_outlying_fields_are_left_out(scan, tmp_path, reader, case):
    flats, darks = BAD_FIELDS[case]
    flat, dark = scan["flat"].copy(), scan["dark"].copy()
    flat[flats], dark[darks] = scan["dark"][: len(flats)], scan["flat"][: len(darks)]
    path = file_of(scan, tmp_path / "a.h5", flat=flat, dark=dark)
    with pytest.warns(UserWarning) as caught:
        projections, _ = read(path, reader)
    assert len(caught) == 1 and "a.h5: left out: " in str(caught[0].message)
    for name, frames in (("flat", flats), ("dark", darks)):
        assert (f"{len(frames)} of 10 {name} fields" in str(caught[0].message)) == bool(frames)
    assert scans.error(projections, scan["integrals"]) < NOISE


@pytest.mark.parametrize("reader", READERS)
def test_fields_that_changed_places_or_hold_no_beam(scan, tmp_path, reader):
    for message, changed in {
        "did they change places": dict(flat=scan["dark"], dark=scan["flat"]),
        "none of the 10 flat fields holds beam": dict(flat=scan["dark"]),
        "each of the 10 dark fields holds beam": dict(dark=scan["flat"]),
        "flat fields have shape": dict(flat=scan["flat"][:, :, :-1]),
    }.items():
        with pytest.raises(ValueError, match=f"a.h5.*{message}"):
            read(file_of(scan, tmp_path / "a.h5", **changed), reader)


@pytest.mark.parametrize("reader", READERS)
def test_a_decaying_beam_is_no_outlier(scan, tmp_path, reader):
    decay = np.linspace(1.05, 0.9, 10)[:, None, None]
    path = file_of(scan, tmp_path / "a.h5", flat=(100 + (scan["flat"] - 100.0) * decay).astype(np.uint16))
    read(path, reader)  # a warning would be an error


ABORTED = {
    "end": slice(45, 60),
    "one": slice(20, 21),
    "between": slice(30, 38),
    "begin": slice(0, 3),
    "most": slice(15, 60),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", ABORTED)
@pytest.mark.parametrize("value", [0, 100])
def test_projections_without_beam_are_left_out_with_their_angles(scan, tmp_path, reader, case, value):
    data, theta = scan["data"].copy(), DEGREES.copy()
    data[ABORTED[case]] = value
    if value == 0 and case in ("end", "most"):
        theta[ABORTED[case]] = 0  # never written
    kept = np.delete(np.arange(60), ABORTED[case])
    with pytest.warns(UserWarning, match=f"left out: {60 - len(kept)} of 60 projections without beam"):
        projections, found = read(file_of(scan, tmp_path / "a.h5", theta, data=data), reader)
    np.testing.assert_allclose(np.rad2deg(found), DEGREES[kept], atol=1e-9)
    assert scans.error(projections, scan["integrals"][kept]) < NOISE


@pytest.mark.parametrize("reader", READERS)
def test_a_scan_without_any_beam(scan, tmp_path, reader):
    with pytest.raises(ValueError, match="a.h5: none of its 60 projections holds beam"):
        read(file_of(scan, tmp_path / "a.h5", data=np.full_like(scan["data"], 100)), reader)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("fault", ["column", "zeros", "zingers", "flat", "nan"])
def test_wrong_pixels_are_repaired_with_one_warning(scan, tmp_path, reader, dtype, fault):
    data, flat = scan["data"].astype(dtype), scan["flat"].astype(dtype)
    rng = np.random.default_rng(2)
    some = rng.integers(0, 60, 12), rng.integers(0, 3, 12), rng.integers(0, 32, 12)
    if fault == "nan" and dtype is np.uint16:
        pytest.skip("integers hold no NaN")
    if fault == "column":
        data[:, 1, 13] = flat[:, 1, 13] = 100
    elif fault == "flat":
        flat[:, 1, 13] = 0
    else:
        data[some] = {"zeros": 0, "zingers": 65535, "nan": np.nan}[fault]
    path = file_of(scan, tmp_path / "a.h5", data=data, flat=flat)
    if reader == "lazy":
        opened, _ = open_projections(path)
        projections = np.asarray(opened)
        count = opened.repaired
        assert count == (
            {0: 0, 1: 60, 2: 0} if fault in ("column", "flat") else {k: int((some[1] == k).sum()) for k in range(3)}
        )
    else:
        with pytest.warns(UserWarning) as caught:
            projections, _ = read(path, reader)
        assert len(caught) == 1 and f"{60 if fault in ('column', 'flat') else 12} values in" in str(caught[0].message)
    assert scans.error(projections, scan["integrals"]) < 2 * NOISE and projections.max() < 2.3


def test_repairs_are_in_the_records(scan, tmp_path):
    data = scan["data"].copy()
    data[:, 1, 13] = 60000
    data[7, 2, 16] = 0
    path = file_of(scan, tmp_path / "a.h5", data=data)
    projections, theta = open_projections(path)
    with pytest.warns(UserWarning, match="61 values in 2 of 3 slices") as caught:
        _, info = recon(projections, theta, return_info=True, num_iter=0, reweight_rounds=0, batch_size=1)
    assert [record["repaired"] for record in info.slices] == [0, 60, 1] and len(caught) == 1


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_dead_row_is_taken_from_its_neighbours(scan, tmp_path, reader, row):
    data, flat = scan["data"].copy(), scan["flat"].copy()
    data[:, row], flat[:, row] = scan["dark"][0, row], scan["dark"][:, row]
    path = file_of(scan, tmp_path / "a.h5", data=data, flat=flat)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        projections, _ = read(path, reader)
        single, _ = read(path, reader, slices=(row, row + 1)) if row != 1 else (projections[:, 1:2], None)
    assert scans.error(projections, scan["integrals"]) < 2 * NOISE
    np.testing.assert_allclose(single[:, 0], projections[:, row], atol=1e-6)


@pytest.mark.parametrize("reader", READERS)
def test_too_many_dead_columns_are_refused(scan, tmp_path, reader):
    data, flat = scan["data"].copy(), scan["flat"].copy()
    data[:, :, ::3] = flat[:, :, ::3] = 100
    with pytest.raises(ValueError, match="cannot be repaired: 11 of its 32 columns do not measure"):
        read(file_of(scan, tmp_path / "a.h5", data=data, flat=flat), reader)


@pytest.mark.parametrize("reader", READERS)
def test_integers_that_wrapped(scan, tmp_path, reader):
    data = scan["data"] - scan["dark"][:1]
    data[scan["integrals"] > 1.5] = (
        np.random.default_rng(0).integers(-30, 5, (scan["integrals"] > 1.5).sum()).astype(np.uint16)
    )
    flat, dark = scan["flat"] - scan["dark"], np.zeros_like(scan["dark"])
    with pytest.raises(ValueError, match="a.h5: .* of its projections lie just below 65535.*wrapped"):
        read(file_of(scan, tmp_path / "a.h5", data=data, flat=flat, dark=dark), reader)
    noise = np.random.default_rng(0).integers(-3, 4, dark.shape).astype(np.uint16)
    with pytest.raises(ValueError, match="a.h5: .* of its dark fields lie just below 65535"):
        read(file_of(scan, tmp_path / "a.h5", dark=noise), reader)
    with pytest.raises(ValueError, match="a.h5: .* of its projections are far below zero"):
        read(file_of(scan, tmp_path / "a.h5", data=(scan["data"] * 2).astype(np.int16)), reader)


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
def test_broken_layouts_are_told_in_one_line(scan, tmp_path, capsys, kind):
    path = tmp_path / "a.h5"
    _broken(kind, path, scan)
    for reader in ("h5py", "lazy"):
        with pytest.raises((OSError, ValueError), match=f"a.h5.*{LAYOUTS[kind]}|{LAYOUTS[kind]}.*a.h5") as caught:
            read(path, reader)
        assert "\n" not in str(caught.value)
    assert main(f"recon {path} --out {tmp_path / 'out'} --quiet".split()) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "a.h5" in said and "Traceback" not in said


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


def test_a_folder_is_told_from_a_missing_file(tmp_path, capsys):
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


def test_angles_on_the_command_line(scan, tmp_path, capsys):
    path = file_of(scan, tmp_path / "a.h5", None)
    np.save(tmp_path / "angles.npy", DEGREES)
    base = f"recon {path} --slices 1 --init fbp --quality fast --quiet --reader h5py"
    assert main(f"{base} --out {tmp_path / 'a'}".split()) == 1 and "--theta" in capsys.readouterr().err
    for k, given in enumerate(("0:3", "-90:3", str(tmp_path / "angles.npy"))):
        assert main(f"{base} --theta {given} --out {tmp_path / str(k)}".split()) == 0
    assert main(f"{base} --theta gone.txt --out {tmp_path / 'b'}".split()) == 1
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize("reader", READERS[:2])
@pytest.mark.parametrize("value", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("row", (0, 1, 2))
def test_flat_fields_of_a_slice_without_a_number_are_no_warning_of_numpy(scan, tmp_path, reader, value, row):
    flat = scan["flat"].astype(np.float32)
    flat[:, row] = value
    path = file_of(scan, tmp_path / "a.h5", flat=flat)
    with pytest.warns(UserWarning, match="interpolated from their neighbours"):
        projections, _ = io.read_projections(path, reader="h5py")  # from the slices beside it
    assert np.isfinite(projections).all()
    if reader == "lazy":
        np.testing.assert_array_equal(read(path, "lazy")[0], projections)


@pytest.mark.parametrize("large", (1e18, 1e30))
def test_projections_far_brighter_than_the_flat_fields_are_named(scan, tmp_path, large):
    path = file_of(scan, tmp_path / "a.h5", data=scan["data"] * np.float32(large))
    with pytest.raises(ValueError, match="none of the 10 flat fields holds beam: .* and the projections reach"):
        read(path, "h5py")


@pytest.mark.parametrize("reader", READERS[:2])
@pytest.mark.parametrize("seed", range(8))
def test_damaged_bytes_are_told_with_the_name_of_the_file(scan, tmp_path, reader, seed):
    """Whatever byte of the file's structure is wrong: values of another kind may come out, or one of two kinds of error."""
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


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("subtracted", (3000, 4000, 6000, 9000, 12000))
def test_counts_that_wrapped_round_far_are_refused(scan, tmp_path, reader, subtracted):
    data = (scan["data"].astype(int) - subtracted).astype(np.uint16)
    with pytest.raises(ValueError, match="of the values of its projections lie .* wrapped round"):
        read(file_of(scan, tmp_path / "a.h5", data=data), reader)


@pytest.mark.parametrize("column", (0, 7, 31))
@pytest.mark.parametrize("level", (40000, 60000))
def test_hot_columns_are_not_taken_for_wrapped_counts(scan, tmp_path, column, level):
    rng = np.random.default_rng(column)
    data, flat = scan["data"].copy(), scan["flat"].copy()
    data[..., column], flat[..., column] = rng.poisson(level, data.shape[:2]), rng.poisson(level, flat.shape[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of values repaired
        projections, _ = read(file_of(scan, tmp_path / "a.h5", data=data, flat=flat), "h5py")
    assert scans.error(projections, scan["integrals"]) < 2 * NOISE
