"""Fields and projections that are not what they are called: left out with a warning, or refused in one line."""

import warnings

import numpy as np
import pytest
import scans
from scan_files import DEGREES, NOISE, READERS, file_of, read

pytest.importorskip("h5py")


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


@pytest.mark.parametrize("large", (1e18, 1e30))
def test_projections_far_brighter_than_the_flat_fields_are_named(scan, tmp_path, large):
    path = file_of(scan, tmp_path / "a.h5", data=scan["data"] * np.float32(large))
    with pytest.raises(ValueError, match="none of the 10 flat fields holds beam: .* and the projections reach"):
        read(path, "h5py")


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
