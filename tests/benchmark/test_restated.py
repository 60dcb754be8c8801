"""Methods of other groups on this package's projector: the enclosing circle, bounds, seeds and units."""

import numpy as np
import pytest
import torch

from tomopy_ganrec.benchmark import restated
from tomopy_ganrec.benchmark.deep_image_prior import deep_image_prior
from tomopy_ganrec.benchmark.implementations import Problem
from tomopy_ganrec.projector import ParallelBeamProjector

SIZE, CENTER = 48, 25.3


def problem_of(image, degrees, material=None):
    projector = ParallelBeamProjector(SIZE, np.deg2rad(degrees), SIZE, CENTER)
    return Problem(projector, projector.forward_project(torch.from_numpy(image[None])), material=material)


def ellipse(row, col, tall, wide):
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    return (((y - row) / tall) ** 2 + ((x - col) / wide) ** 2 <= 1).astype(np.float32)


@pytest.mark.parametrize("degrees", [np.arange(0, 180, 3.0), np.arange(40, 80, 2.0)], ids=["half turn", "40 degrees"])
def test_the_circle_around_a_disc(degrees):
    row, col, radius = restated.enclosing_circle(*problem_of(ellipse(-3.0, 4.0, 12, 12), degrees).measured)
    # Edges are known to a column; over 40 degrees the position along the rays is the less certain one.
    assert abs(row + 3) < 1.5 and abs(col - 4) < 1.5 and 11.5 < radius < 14


def test_no_measured_edge_lies_outside_of_the_circle():
    degrees = np.arange(0, 60, 2.0)
    problem = problem_of(ellipse(2.0, 1.0, 10, 16), degrees)
    row, col, radius = restated.enclosing_circle(*problem.measured)
    sinogram, theta, center = problem.measured
    for projection, angle in zip(sinogram, theta, strict=True):
        edges = np.flatnonzero(projection > restated.MEASURABLE * sinogram.max())[[0, -1]] + [0, 1] - center
        assert np.abs(edges - (col * np.cos(angle) - row * np.sin(angle))).max() <= radius + 1e-6


def test_nothing_measured_leaves_the_whole_grid():
    assert restated.enclosing_circle(np.zeros((5, 20)), np.linspace(0, 1, 5), 10.0) == (0, 0, 20)


def test_directional_tv_is_bounded_by_the_material_and_the_circle():
    image = 0.02 * ellipse(-3.0, 4.0, 12, 12)
    problem = problem_of(image, np.arange(0, 60, 2.0), 0.02)
    found = restated.directional_tv_in_circle(problem).numpy()
    assert found.max() <= np.float32(0.02) * (1 + 1e-6) and found.min() == 0
    assert (found[ellipse(-3.0, 4.0, 16, 16) == 0] == 0).all()
    assert np.abs(found - image).mean() < 0.1 * image.mean()  # a disc is what it is made for


def test_directional_tv_without_a_material():
    image = 0.02 * ellipse(-3.0, 4.0, 12, 12)
    found = restated.directional_tv_in_circle(problem_of(image, np.arange(0, 180, 4.0)))
    assert float(found.mean()) == pytest.approx(float(image.mean()), rel=0.02)  # a half turn settles it


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_the_deep_image_prior_keeps_units_and_seeds(monkeypatch, scale):
    monkeypatch.setattr(restated, "DIP_ITERATIONS", 60)
    image = scale * ellipse(-3.0, 4.0, 12, 12)
    problem = problem_of(image, np.arange(0, 180, 12.0), scale)
    state = torch.random.get_rng_state()
    found = restated.dip_tv(problem).numpy()
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(restated.dip_tv(problem).numpy(), found)
    problem.seed = 1
    assert np.abs(restated.dip_tv(problem).numpy() - found).max() > 0
    assert found.shape == image.shape and (found >= 0).all()
    # 60 iterations show the disc, and not its edges.
    assert np.corrcoef(found.ravel(), image.ravel())[0, 1] > 0.8 and found.sum() == pytest.approx(image.sum(), rel=0.2)


def test_the_deep_image_prior_takes_odd_sizes_and_no_gradient():
    model = ParallelBeamProjector((31, 27), np.linspace(0, 2, 9), 33)
    with torch.no_grad():
        found = deep_image_prior(model, torch.ones(1, 9, 33), 1e-3, 2, widths=(4, 4, 8))
    assert found.shape == (1, 31, 27) and found.isfinite().all() and not found.requires_grad
