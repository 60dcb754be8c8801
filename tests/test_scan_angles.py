"""Angles of scans: units and mistaken ones, several turns, repeats, and angles that the user gives."""

import logging

import numpy as np
import pytest

from tomopy_ganrec.angle_units import check_range, unit_of
from tomopy_ganrec.scan_angles import equal_angles, fold, given_degrees, rotation_degrees
from tomopy_ganrec.validation import check_theta

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "text",
    [
        "deg",
        "degree",
        "degrees",
        "°",
        b"deg",
        "Degrees ",
        None,
        "",
        np.bytes_(b"degrees"),
        np.array(["deg"]),
        "°".encode(),
        b"\xb0",
    ],
)
def test_degrees(text):
    assert unit_of(text, "theta") == "degrees"


@pytest.mark.parametrize("text", ["rad", "RADIANS", b"rad", np.bytes_(b"radian"), np.array([b"rads"])])
def test_radians(text):
    assert unit_of(text, "theta") == "radians"


def test_an_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="unit of 'exchange/theta' is 'mm'.*deg"):
        unit_of("mm", "'exchange/theta'")


GOOD = {
    "half turn": np.linspace(0, np.pi, 180, endpoint=False),
    "with its end": np.linspace(0, np.pi, 181),
    "limited range": np.deg2rad(np.arange(-60, 60.0)),
    "whole turn": np.linspace(0, 2 * np.pi, 360),
    "two turns": np.linspace(0, 4 * np.pi, 500),
    "few": np.array([0.0, 1.0472, 2.0944]),
    "ten degrees": np.deg2rad(np.arange(0, 10, 0.5)),
    "unordered": RNG.permutation(np.linspace(0, np.pi, 90)),
    "golden angle, folded": np.mod(np.arange(100) * np.pi * 0.6180339887, np.pi),
    "random": np.sort(RNG.uniform(0, np.pi, 60)),
}
TURNS = {
    "continuous": np.deg2rad(np.arange(0, 4354.5, 1.5)),
    "0 to 76 in even steps": np.linspace(0, 76, 1200),
    "twelve turns, coarse": np.linspace(0, 24 * np.pi, 361),
    "thirty turns": np.linspace(0, 60 * np.pi, 6000),
    "backwards": -np.linspace(0, 30 * np.pi, 3000),
    "golden angle": np.arange(300) * np.pi * 0.6180339887,
    "golden angle of a turn": np.arange(300) * np.pi * (3 - np.sqrt(5)),
    "encoder": np.linspace(0, 76, 1500) + RNG.normal(0, 1e-4, 1500),
}
DEGREES = {
    "0 to 119": np.arange(120.0),
    "0 to 180": np.linspace(0, 180, 181),
    "halves": np.arange(0, 180, 0.5),
    "quarters": np.arange(0, 180, 0.25),
    "tenths": np.arange(0, 180, 0.1),
    "1500 over 180": np.linspace(0, 180, 1500, endpoint=False),
    "1500 to 180": np.linspace(0, 180, 1500),
    "a turn": np.linspace(0, 360, 720, endpoint=False),
    "limited range": np.arange(-60, 61.0),
    "0 to 6": np.arange(7.0),
    "0 to 12": np.arange(13.0),
    "ten halves": np.arange(0, 10, 0.5),
    "encoder": np.linspace(0, 179.98, 1800) + RNG.normal(0, 1e-3, 1800),
    "encoder, coarse": np.linspace(0, 179, 180) + RNG.normal(0, 1e-2, 180),
    "unordered": RNG.permutation(np.arange(0, 180, 1.5)),
    "golden angle": np.mod(np.arange(100) * 111.246, 180),
    "integers": np.arange(0, 180, 3),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_radians_are_taken_as_they_are(name, dtype):
    theta = GOOD[name].astype(dtype)
    np.testing.assert_array_equal(check_theta(theta, len(theta)), theta.astype(np.float64))


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_several_turns_are_folded_with_a_note(name, dtype, caplog):
    theta = TURNS[name].astype(dtype)
    with caplog.at_level(logging.INFO, "tomopy_ganrec"):
        found = check_theta(theta, len(theta))
    assert 0 <= found.min() <= found.max() <= 2 * np.pi
    np.testing.assert_allclose(
        np.exp(1j * found), np.exp(1j * theta.astype(np.float64)), atol=1e-9 if dtype is np.float64 else 1e-4
    )
    assert "turns, which are folded into one" in caplog.text


@pytest.mark.parametrize("name", DEGREES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_degrees_in_place_of_radians_are_refused(name, dtype):
    theta = DEGREES[name].astype(dtype)
    with pytest.raises(ValueError, match=r"look like degrees, and TomoPy expects radians.*np.deg2rad\(theta\)"):
        check_theta(theta, len(theta))
    assert len(check_theta(theta, len(theta), trust=True)) == len(theta)
    assert len(check_theta(np.deg2rad(theta), len(theta), trust=np.ptp(theta) < 6.4)) == len(theta)


@pytest.mark.parametrize("value", [0.0, 1.5, 180.0, -np.pi])
def test_equal_angles_are_refused_even_if_trusted(value):
    for trust in (False, True):
        with pytest.raises(ValueError, match="all 12 angles are"):
            check_theta(np.full(12, value), 12, trust)


@pytest.mark.parametrize("span", [0.5, 2.0, 4.9])
def test_a_range_of_a_few_degrees_needs_trust(span):
    theta = np.deg2rad(np.linspace(0, span, 40))
    with pytest.raises(
        ValueError, match=f"degrees only.*converted to radians twice.*{np.rad2deg(span):.3g} degrees.*trust_theta"
    ):
        check_theta(theta, 40)
    np.testing.assert_array_equal(check_theta(theta, 40, trust=True), theta)


@pytest.mark.parametrize(
    "radians",
    [
        np.linspace(0, np.pi, 90),
        np.linspace(0, 2 * np.pi, 180),
        np.deg2rad(np.arange(-60, 60.0)),
        np.linspace(0, 4 * np.pi, 300),
    ],
)
def test_radians_in_place_of_degrees_are_refused(radians):
    with pytest.raises(ValueError, match="degrees only.*read as radians it would be.*trust_theta"):
        check_range(radians, "degrees")
    check_range(radians, "degrees", trust=True)
    check_range(np.rad2deg(radians), "degrees")


def test_folding():
    degrees = np.arange(0, 1800, 1.5)
    np.testing.assert_allclose(fold(degrees, 360.0), degrees % 360)
    for kept in (np.arange(0, 361.0), np.arange(-180, 180.0), np.linspace(0, 720, 700)):
        assert fold(kept, 360.0) is kept
    assert (
        np.unique(np.round(fold(np.linspace(0, 10 * 2 * np.pi, 1001), 2 * np.pi), 6)).size == 100
    )  # a whole turn is none


def test_equal_angles_are_found_in_any_order():
    order = RNG.permutation(90)
    degrees = np.repeat(np.arange(30) * 6.0, 3)[order] + RNG.normal(0, 1e-3, 90)
    groups = equal_angles(degrees)
    assert len(groups) == 30 and all(len(group) == 3 and np.ptp(degrees[group]) < 0.02 for group in groups)
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    assert len(equal_angles(np.arange(0, 181.0))) == 181  # a mirror image is another projection
    assert len(equal_angles(np.sort(RNG.uniform(0, 180, 50)))) >= 49


def test_angles_that_are_given(tmp_path):
    np.testing.assert_allclose(given_degrees("-60:1.5", 4), [-60, -58.5, -57, -55.5])
    np.testing.assert_allclose(given_degrees([3, 2, 1], 3), [3, 2, 1])
    text, binary = tmp_path / "angles.txt", tmp_path / "angles.npy"
    text.write_text("# degrees\n0.5\n1.5, 2.5  # two\n")
    np.save(binary, [0.5, 1.5, 2.5])
    for path in (text, str(text), binary):
        np.testing.assert_allclose(given_degrees(path, 3), [0.5, 1.5, 2.5])
        with pytest.raises(ValueError, match=r"shape \(3,\), the scan 4 projections"):
            given_degrees(path, 4)


@pytest.mark.parametrize("text", ["nothing.txt", "1:2:3", "a:b", "5"])
def test_angles_that_mean_nothing(text):
    with pytest.raises(FileNotFoundError, match="no such file; give START:STEP"):
        given_degrees(text, 3)


@pytest.mark.parametrize("text", ["0:0", "0:nan", "inf:1"])
def test_steps_that_are_none(text):
    with pytest.raises(ValueError, match="START and STEP"):
        given_degrees(text, 3)


def test_files_of_something_else(tmp_path):
    for name, content in (("a.txt", b"one two"), ("b.npy", b"not numpy"), ("c.txt", b"\xff\xfe\x00"), ("d.npy", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}.*no file of angles"):
            given_degrees(tmp_path / name, 3)
    with pytest.raises(ValueError, match="not finite, the first that of projection 1"):
        given_degrees([0, np.nan, 2], 3)


def test_angles_of_the_rotation(caplog):
    np.testing.assert_allclose(
        rotation_degrees({"start": -60.0, "step": 0.5, "count": 5}, 5, "scan"), -60 + 0.5 * np.arange(5)
    )
    np.testing.assert_allclose(
        rotation_degrees({"start": 0.0, "end": 180.0, "count": 181}, 181, "scan"), np.arange(181)
    )
    assert (
        rotation_degrees({"start": 0.0}, 5, "scan") is None
        and rotation_degrees({"step": 1.0, "count": 5}, 5, "scan") is None
    )
    np.testing.assert_allclose(
        rotation_degrees({"start": 0.0, "step": 2.0, "count": 90}, 70, "scan"), 2 * np.arange(70)
    )
    assert "70 of 90 projections" in caplog.text
    with pytest.raises(ValueError, match="holds 5 projections.*speaks of 4 angles"):
        rotation_degrees({"start": 0.0, "step": 1.0, "count": 4}, 5, "scan")


@pytest.mark.parametrize("text", ("0:1e308", "1e300:1", "-1e10:1", "0:-2e9", "nan:1", "0:inf", "0:0"))
def test_starts_and_steps_out_of_range_are_refused(text):
    with pytest.raises(ValueError, match="START and STEP must be numbers of degrees"):
        given_degrees(text, 60)


@pytest.mark.parametrize(
    "numbers", (dict(start=0.0, step=1e300), dict(start=-1e308, end=1e308), dict(start=1e12, step=1.0))
)
def test_rotations_out_of_range_are_refused(numbers):
    with pytest.raises(ValueError, match=r"a\.h5: process/acquisition/rotation has the start"):
        rotation_degrees(numbers, 60, "a.h5")
