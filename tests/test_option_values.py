"""Values as users give them: converted, in range, and short in a message."""

from fractions import Fraction

import numpy as np
import pytest
from option_cases import Hostile

from tomopy_ganrec.option_values import grid_size, shown


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
        sides = {name: value}
        with pytest.raises(
            ValueError,
            match=f"{next(iter(sides))}=.*: a slice needs at least one row and one column; give a whole number",
        ):
            grid_size(8, **sides)


@pytest.mark.parametrize(
    "value", (True, False, np.True_, "12", b"12", [12], np.array([12]), 12j, Hostile()), ids=lambda v: type(v).__name__
)
def test_grids_of_no_size(value):
    with pytest.raises(
        TypeError, match="num_gridy=.*: a slice needs at least one row and one column; give a whole number"
    ):
        grid_size(8, None, value)


def test_grids():
    assert grid_size(8) == (8, 8) and grid_size(8, 3) == (3, 8) and grid_size(8, np.int16(3), 4.0) == (3, 4)
    assert all(type(n) is int for n in grid_size(np.int64(8), np.float32(5)))


def test_values_are_shown_short():
    assert shown([1, "a"]) == "[1, 'a']" and shown(Hostile()) == "<Hostile>"
    assert len(shown("x" * 10**6)) < 100 and len(shown(10**5000)) < 100 and len(shown(10**400)) < 100
