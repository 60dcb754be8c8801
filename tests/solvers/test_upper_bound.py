"""Total variation with an upper bound on the image: kept, found again after a change, and each slice its own."""

import math

import pytest
import torch

from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.forward_model import data_scale, operator_norm
from tomopy_ganrec.solvers.operators import edge_weights, gradient
from tomopy_ganrec.solvers.total_variation import TotalVariation

N, WEIGHT = 24, 1e-3


@pytest.fixture(scope="module")
def model():
    return ParallelBeamProjector(N, [0.1 * k for k in range(16)], N)


@pytest.fixture(scope="module")
def data(model):
    """Three squares of different size and attenuation, measured over 90°."""
    image = torch.zeros(3, N, N)
    for k in range(3):
        image[k, 6 : 12 + 2 * k, 8:15] = 1 + k / 2
    return model.forward_project(image)


def each_iterate(solver, iterations, **options):
    """The largest value of each slice after each iteration."""
    largest = []
    for _ in range(iterations):
        largest.append(solver.run(WEIGHT, 1, **options).amax((1, 2)))
    return torch.stack(largest)


@pytest.mark.parametrize("nonnegative", (True, False))
@pytest.mark.parametrize("across", (0.0, 1.0))
def test_no_iterate_exceeds_the_bound(model, data, nonnegative, across):
    free = each_iterate(TotalVariation(model, data, nonnegative=nonnegative, across=across), 20)
    assert (free.amax(0) > 0.7).all()
    bounded = TotalVariation(model, data, nonnegative=nonnegative, across=across, maximum=0.7)
    largest = each_iterate(bounded, 20)
    assert (largest <= torch.tensor(0.7)).all() and (largest[-1] == torch.tensor(0.7)).all()
    assert (each_iterate(bounded, 5, weight=edge_weights(bounded.x, 0.1)) <= torch.tensor(0.7)).all()


def test_with_a_prior_image_the_bound_holds_too(model, data):
    prior = torch.ones(1, 1, 1), 3 * torch.ones(3, N, N)
    image = TotalVariation(model, data, maximum=0.7).run(WEIGHT, 5, prior_image=prior)
    assert (image <= torch.tensor(0.7)).all() and (image == torch.tensor(0.7)).any()


@pytest.mark.parametrize("maximum", (math.inf, torch.full((3, 1, 1), math.inf), 1e30), ids=("number", "each", "large"))
def test_a_bound_that_nothing_reaches_is_none(model, data, maximum):
    expected = TotalVariation(model, data).run(WEIGHT, 30)
    assert torch.equal(TotalVariation(model, data, maximum=maximum).run(WEIGHT, 30), expected)


def test_each_slice_has_its_own_bound(model, data):
    bounds = torch.tensor([0.6, math.inf, 0.9])[:, None, None]
    image = TotalVariation(model, data, maximum=bounds).run(WEIGHT, 30)
    for k, bound in enumerate((0.6, None, 0.9)):
        alone = TotalVariation(model, data[k : k + 1], maximum=bound).run(WEIGHT, 30)
        # A batch has its own sums; the iteration is convex and keeps rounding as it is.
        assert (image[k] - alone[0]).abs().max() < 1e-4
    assert image[0].max() == torch.tensor(0.6) and image[1].max() > 1 and image[2].max() == torch.tensor(0.9)


def test_the_limit_is_the_minimum_within_the_bound(model, data):
    """The objective is lower than that of the free minimum, clipped, and than that of images nearby."""
    solver = TotalVariation(model, data, step_ratio=10.0, maximum=0.7)
    scale = math.sqrt(8 / operator_norm(model, data))

    def objective(image):
        residual = scale * (model.forward_project(image) - data)
        lengths = torch.stack(gradient(image)).norm(dim=0)
        return residual.square().sum((1, 2)) / 2 + WEIGHT * lengths.sum((1, 2))

    image = solver.run(WEIGHT, 500)
    least = objective(image)
    clipped = TotalVariation(model, data, step_ratio=10.0).run(WEIGHT, 500).clamp(max=0.7)
    assert (least < 0.95 * objective(clipped)).all()
    rng = torch.Generator().manual_seed(0)
    for size in (1e-2, 1e-1):
        nearby = (image + size * torch.randn(image.shape, generator=rng)).clamp(0, 0.7)
        assert (objective(nearby) > least).all()


def test_set_maximum_takes_the_place_of_the_bound(model, data):
    solver = TotalVariation(model, data, maximum=0.5)
    solver.run(WEIGHT, 10)
    assert solver.set_maximum(0.8) is solver
    changed = solver.run(WEIGHT, 20)
    assert changed.amax() == torch.tensor(0.8)
    solver.set_maximum(None)
    assert solver.run(WEIGHT, 20).amax() > 0.8
    solver.set_maximum(torch.tensor([0.4, 0.5, 0.6])[:, None, None])
    assert solver.run(WEIGHT, 3).amax((1, 2)).tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_a_bound_given_later_is_as_one_from_the_start(model, data):
    expected = TotalVariation(model, data, maximum=0.7).run(WEIGHT, 20)
    assert torch.equal(TotalVariation(model, data).set_maximum(0.7).run(WEIGHT, 20), expected)
    assert torch.equal(TotalVariation(model, data, maximum=0.3).set_maximum(0.7).run(WEIGHT, 20), expected)


def test_the_bound_of_one_solver_is_not_that_of_another(model, data):
    given = torch.full((3, 1, 1), 0.5)
    solver = TotalVariation(model, data, maximum=given)
    part = solver.take(torch.tensor([0, 1]))
    part.set_maximum(0.3)
    assert part.run(WEIGHT, 5).amax() == torch.tensor(0.3)
    assert solver.run(WEIGHT, 5).amax() == torch.tensor(0.5)
    solver.set_maximum(0.4)
    assert (given == 0.5).all()


def test_take_keeps_the_bounds_of_the_slices(model, data):
    solver = TotalVariation(model, data, maximum=torch.tensor([0.4, 0.5, 0.6])[:, None, None])
    solver.run(WEIGHT, 5)
    part = solver.take(torch.tensor([2, 0, 2]))
    whole = solver.run(WEIGHT, 10)
    image = part.run(WEIGHT, 10)
    assert image.amax((1, 2)).tolist() == pytest.approx([0.6, 0.4, 0.6])
    assert (image - whole[[2, 0, 2]]).abs().max() < 1e-5  # another batch, the same iteration


def test_put_goes_on_from_where_the_other_is(model, data):
    solver = TotalVariation(model, data)
    solver.run(WEIGHT, 10)
    index = torch.tensor([2, 0])
    other = solver.take(index).set_maximum(0.5)
    other.run(WEIGHT, 10)
    kept, image = solver.x[1].clone(), solver.x
    assert solver.put(index, other) is solver
    assert torch.equal(solver.x[index], other.x) and torch.equal(solver.x[1], kept)
    assert not torch.equal(image[0], solver.x[0])  # what was handed out before stays
    expected = other.set_maximum(None).run(WEIGHT, 10)
    alone = solver.take(torch.tensor([1])).run(WEIGHT, 10)
    both = solver.run(WEIGHT, 10)
    assert (both[index] - expected).abs().max() < 1e-5 and (both[1] - alone[0]).abs().max() < 1e-5


def test_put_by_half_is_half_way(model, data):
    def solvers():
        solver = TotalVariation(model, data)
        solver.run(WEIGHT, 10)
        other = solver.take(torch.arange(3)).set_maximum(0.5)
        other.run(WEIGHT, 10)
        return solver, other

    solver, other = solvers()
    before = solver.x.clone()
    solver.put(torch.arange(3), other, torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(solver.x[0], before[0]) and torch.equal(solver.x[2], other.x[2])
    assert torch.allclose(solver.x[1], (before[1] + other.x[1]) / 2, atol=1e-6)
    unchanged, _ = solvers()
    assert torch.allclose(solver.run(WEIGHT, 10)[0], unchanged.run(WEIGHT, 10)[0], atol=1e-5)


def test_a_bound_in_units_of_the_data(model, data):
    """The data and the bound a thousand times larger: so is the image."""
    scale = float(data_scale(model, data).mean())
    image = TotalVariation(model, data / scale, maximum=0.6 / scale).run(WEIGHT, 20)
    larger = TotalVariation(model, 1000 * data / (1000 * scale), maximum=600 / (1000 * scale)).run(WEIGHT, 20)
    assert torch.allclose(image, larger, atol=1e-5)
