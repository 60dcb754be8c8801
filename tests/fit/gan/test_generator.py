"""Generator: the start image at first, the free pixels alone, and the gradient of the constraint x ≥ 0."""

import pytest
import torch
from fit_cases import QUICK, run

from tomopy_ganrec.fit.gan.generator import Generator, NonNegative
from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.options import GanrecOptions


@pytest.mark.parametrize("network", (True, False))
@pytest.mark.parametrize("nonnegative", (True, False))
def test_before_the_first_step_the_image_is_the_start(network, nonnegative):
    start = torch.rand(2, 24, 21, generator=torch.Generator().manual_seed(0)) - 0.2
    support = torch.ones(24, 21)
    support[:, :3] = 0
    constraints = Constraints(nonnegative, support)
    image = Generator(start, GanrecOptions(network=network), constraints)()
    assert torch.equal(image, constraints.project(start))


def test_control_without_network_moves_the_pixels_alone(small_case):
    still = run(small_case, loss="l1", network=False, pixel_rate=1e-9, **QUICK)
    assert (still.image - still.start).abs().max() < 1e-6  # ten steps of 1e-9
    moved = run(small_case, loss="l1", network=False, pixel_rate=1e-2, **QUICK)
    assert (moved.history["objective"][1:] != still.history["objective"][1:]).all()


def test_a_pixel_at_zero_moves_the_same_on_either_side_of_it():
    """The constraint x ≥ 0 keeps the gradient of a pixel just below zero, where rounding may put it.

    A pixel well below zero has none.
    """
    x = torch.tensor([-1.0, -1e-9, 0.0, 1e-9, 1.0], requires_grad=True)
    image = NonNegative.apply(x)
    image.sum().backward()
    assert image.tolist() == [0, 0, 0, pytest.approx(1e-9), 1]
    assert x.grad.tolist() == pytest.approx([0, 1, 1, 1, 1], abs=1e-5)
