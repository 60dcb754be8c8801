"""Geometry of the measured angular range: shares of the half circle and the middle of the range."""

import math

import numpy as np
import pytest
import torch
from solver_cases import DEGREES

from tomopy_ganrec.solvers.wedge import angular_weights, middle_angle


def test_angular_weights_cover_half_a_turn():
    weights = angular_weights(torch.from_numpy(DEGREES))
    torch.testing.assert_close(weights, torch.full_like(weights, math.pi / 180))


def test_angular_weights_do_not_fill_a_wedge():
    weights = angular_weights(torch.from_numpy(DEGREES[:120]))
    torch.testing.assert_close(weights, torch.full_like(weights, math.pi / 180))


def test_angular_weights_share_uneven_gaps():
    theta = torch.tensor([0.0, 0.1, 0.28, 0.38, 0.48])  # gaps 0.1, 0.18, 0.1, 0.1, and a wedge that counts as 0.1
    torch.testing.assert_close(angular_weights(theta), torch.tensor([0.1, 0.14, 0.14, 0.1, 0.1]))


@pytest.mark.parametrize("degrees", ((-60, 60), (30, 90), (0, 120), (150, 210)))
def test_middle_of_the_angular_range(degrees):
    theta = np.deg2rad(np.arange(*degrees, 2.0))
    expected = math.radians(sum(degrees) / 2 - 1)  # of the first and the last angle
    for order in (slice(None), slice(None, None, -1)):
        middle = middle_angle(theta[order].copy())
        # Float64; half a turn is the same direction.
        assert math.remainder(middle - expected, math.pi) == pytest.approx(0, abs=1e-9)
