"""Constraints of an image: the projection onto them, and the support alone."""

import pytest
import torch

from tomopy_ganrec.fit.measurement.constraints import Constraints

IMAGE = torch.tensor([[[-1.0, 2.0], [3.0, -4.0]], [[0.0, -0.5], [5.0, 6.0]]])
SUPPORT = torch.tensor([[1.0, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("constraints", "expected"),
    (
        (Constraints(), [[[0, 2], [3, 0]], [[0, 0], [5, 6]]]),
        (Constraints(nonnegative=False), IMAGE.tolist()),
        (Constraints(support=SUPPORT), [[[0, 2], [0, 0]], [[0, 0], [0, 6]]]),
        (Constraints(False, SUPPORT), [[[-1, 2], [0, -4]], [[0, -0.5], [0, 6]]]),
    ),
    ids=("nonnegative", "none", "both", "support"),
)
def test_project(constraints, expected):
    image = IMAGE.clone()
    projected = constraints.project(image)
    assert projected.tolist() == expected
    assert torch.equal(constraints.project(projected), projected)
    assert torch.equal(image, IMAGE)
    assert constraints.project(IMAGE[0]).tolist() == expected[0]  # of any number of slices


def test_project_finds_the_nearest_image():
    """No image that satisfies the constraints is nearer."""
    rng = torch.Generator().manual_seed(0)
    image, constraints = torch.randn(1, 8, 8, generator=rng), Constraints(True, torch.eye(8))
    distance = (constraints.project(image) - image).norm()
    for _ in range(100):
        other = torch.rand(1, 8, 8, generator=rng) * torch.eye(8)
        assert (other - image).norm() >= distance


def test_restrict_keeps_negative_values():
    assert Constraints(True, SUPPORT).restrict(IMAGE).tolist() == [[[-1, 2], [0, -4]], [[0, -0.5], [0, 6]]]
    assert torch.equal(Constraints(True).restrict(IMAGE), IMAGE)


def test_to_another_dtype():
    constraints = Constraints(False, SUPPORT).to(torch.float64)
    assert constraints.support.dtype == torch.float64
    assert torch.equal(constraints.support, SUPPORT.double())
    assert not constraints.nonnegative
    assert constraints.project(IMAGE.double()).dtype == torch.float64
    assert Constraints().to(torch.float64) == Constraints()


# The upper bound

BOUNDS = torch.tensor([1.5, torch.inf])[:, None, None]


@pytest.mark.parametrize(
    ("constraints", "expected"),
    (
        (Constraints(maximum=BOUNDS), [[[0, 1.5], [1.5, 0]], [[0, 0], [5, 6]]]),
        (Constraints(False, maximum=BOUNDS), [[[-1, 1.5], [1.5, -4]], [[0, -0.5], [5, 6]]]),
        (Constraints(True, SUPPORT, BOUNDS), [[[0, 1.5], [0, 0]], [[0, 0], [0, 6]]]),
    ),
    ids=("bounds", "upper alone", "support"),
)
def test_each_slice_stays_below_its_bound(constraints, expected):
    image = IMAGE.clone()
    projected = constraints.project(image)
    assert projected.tolist() == expected
    assert torch.equal(constraints.project(projected), projected) and torch.equal(image, IMAGE)


def test_clamp_knows_no_support():
    assert Constraints(True, SUPPORT, BOUNDS).clamp(IMAGE).tolist() == [[[0, 1.5], [1.5, 0]], [[0, 0], [5, 6]]]
    assert torch.equal(Constraints(False).clamp(IMAGE), IMAGE)


def test_infinite_bounds_are_none():
    infinite = Constraints(False, SUPPORT, torch.full((2, 1, 1), torch.inf))
    assert torch.equal(infinite.project(IMAGE), Constraints(False, SUPPORT).project(IMAGE))


def test_the_constraints_of_some_slices():
    some = Constraints(True, SUPPORT, BOUNDS).take(torch.tensor([1, 0, 0]))
    assert some.maximum.flatten().tolist() == [torch.inf, 1.5, 1.5]
    assert some.nonnegative and some.support is SUPPORT
    without = Constraints(True, SUPPORT)
    assert without.take(torch.tensor([1])).maximum is None


def test_bounds_in_another_dtype():
    constraints = Constraints(maximum=BOUNDS).to(torch.float64)
    assert constraints.maximum.dtype == torch.float64 and torch.equal(constraints.maximum, BOUNDS.double())
    # A double image at the bound does not exceed it when both become single.
    bound = torch.tensor(0.1, dtype=torch.float64).expand(1, 1, 1)
    assert (
        Constraints(maximum=bound).project(torch.ones(1, 1, 1).double()).float()
        <= Constraints(maximum=bound).to(torch.float32).maximum
    )
