"""Line integrals from a scan by every reader: angles, repeated projections, constant fields, and repaired pixels."""

import warnings

import numpy as np
import pytest
import scans
from scan_files import DEGREES, NOISE, READERS, file_of, read

from tomopy_ganrec import io, recon
from tomopy_ganrec.cli import main
from tomopy_ganrec.io.lazy_projections import open_projections

pytest.importorskip("h5py")


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
