"""Values as users give them: converted, in range, and short in a message."""

import numbers
from fractions import Fraction

import numpy as np
import pytest
from option_cases import Unprintable

from tomopy_ganrec.option_values import converted, grid_size, real_numbers, shown, unwrapped


@pytest.mark.parametrize("name", ("num_gridx", "num_gridy"))
def test_grids_of_impossible_sizes(name):
    for value in (
        10**400,
        10**5000,
        float("inf"),
        float("nan"),
        0,
        -1,
        1.5,
        1e300,
        Fraction(3, 2),
        np.float32("nan"),
        2**31,
    ):
        with pytest.raises(
            ValueError,
            match=f"{name}=.*: a slice needs at least one row and one column; give a whole number",
        ):
            grid_size(8, **{name: value})


@pytest.mark.parametrize(
    "value",
    (True, False, np.True_, "12", b"12", [12], np.array([12]), 12j, Unprintable()),
    ids=lambda v: type(v).__name__,
)
def test_grids_whose_size_is_no_number(value):
    with pytest.raises(
        TypeError, match="num_gridy=.*: a slice needs at least one row and one column; give a whole number"
    ):
        grid_size(8, None, value)


def test_grids():
    assert grid_size(8) == (8, 8) and grid_size(8, 3) == (3, 8) and grid_size(8, np.int16(3), 4.0) == (3, 4)
    assert all(type(n) is int for n in grid_size(np.int64(8), np.float32(5)))


def test_values_are_shown_short():
    assert shown([1, "a"]) == "[1, 'a']" and shown(Unprintable()) == "<Unprintable>"
    assert len(shown("x" * 10**6)) < 100 and len(shown(10**5000)) < 100 and len(shown(10**400)) < 100


@pytest.mark.parametrize(
    ("value", "kind", "number"),
    (
        (np.int16(3), numbers.Integral, 3),
        (10**400, numbers.Integral, 10**400),
        (np.float32(0.5), numbers.Real, 0.5),
        (3, numbers.Real, 3.0),
        (Fraction(1, 4), numbers.Real, 0.25),
        (10**400, numbers.Real, float("inf")),
        (-(10**400), numbers.Real, float("-inf")),
    ),
    ids=lambda value: shown(value) if not isinstance(value, type) else value.__name__,
)
def test_numbers_become_those_of_python(value, kind, number):
    result = converted(value, kind)
    assert result == number and type(result) is (int if kind is numbers.Integral else float)


def test_zero_dimensional_arrays_mean_what_they_hold():
    assert unwrapped(np.array(3)) == 3 and type(unwrapped(np.array(3))) is int
    assert unwrapped(np.array("auto")) == "auto"
    for value in (np.array([3]), np.float32(3), None, "auto", [3]):
        assert unwrapped(value) is value


def test_real_numbers():
    array = real_numbers([1, 2.5], np.float32, "theta", "angles")
    assert array.dtype == np.float32 and array.tolist() == [1, 2.5]
    assert real_numbers([1e300], np.float32, "theta", "angles").tolist() == [float("inf")]
    given = np.ones(3, np.float32)
    assert real_numbers(given, np.float32, "theta", "angles") is given


@pytest.mark.parametrize(
    "value",
    ([1j], np.array(["2020-01-01"], "datetime64[D]"), ["a"], [[1], [1, 2]], [None, {}], Unprintable()),
    ids=("complex", "times", "text", "ragged", "objects", "unprintable"),
)
def test_values_that_hold_no_real_numbers_are_refused(value):
    with pytest.raises(ValueError, match="theta=.* holds no real numbers; give angles in radians"):
        real_numbers(value, np.float64, "theta", "angles in radians")
