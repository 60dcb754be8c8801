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
