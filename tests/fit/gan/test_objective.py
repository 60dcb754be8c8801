"""Objective of the fit, the mean of its best iterates, and the detection of a plateau."""

import math
from dataclasses import replace

import pytest
import torch
from fit_cases import weights_of

from tomopy_ganrec.fit.gan.objective import BestIterate, Objective, PlateauDetector
from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.measurement.regularization import RegularizationWeights
from tomopy_ganrec.solvers.forward_model import operator_norm


def test_best_takes_the_lowest_admissible_objective():
    images = torch.arange(5.0)[:, None, None, None].expand(5, 2, 1, 1)
    best = BestIterate(images[0], torch.tensor([1.0, 1.0]), 1.6)
    offers = (
        ([9.0, 9.0], [1.0, 1.0]),
        ([5.0, 9.5], [1.4, 1.0]),
        ([1.0, 8.0], [1.7, 1.5]),
        ([4.0, math.nan], [1.0, 1.0]),
        ([4.5, 8.5], [1.0, 1.0]),
    )
    for iteration, (objective, residual) in enumerate(offers):
        best.update(images[iteration], torch.tensor(objective), torch.tensor(residual), iteration)
    assert best.iteration.tolist() == [3, 2] and best.image.flatten().tolist() == [3, 2]


def test_best_is_the_mean_of_iterates_of_equal_objective():
    images = torch.tensor([1.0, 3.0, 100.0])[:, None, None, None]
    best = BestIterate(images[0], torch.ones(1), 1.6)
    for iteration, objective in enumerate((2.0, 2.0, 2.01)):
        best.update(images[iteration], torch.tensor([objective]), torch.ones(1), iteration)
    assert best.image.item() == pytest.approx(2.0, rel=1e-6)  # the third is .5 % above the others: a weight of e^-50


@pytest.mark.parametrize("order", ((0, 1, 2), (2, 1, 0), (1, 2, 0)))
def test_best_weighs_iterates_by_their_objective_in_any_order(order):
    images, objective = (
        torch.tensor([1.0, 2.0, 5.0])[:, None, None, None],
        torch.tensor([3.0, 3.0003, 3.0006], dtype=torch.float64),
    )
    best = BestIterate(images[0], torch.ones(1), 1.6)
    for k in order:
        best.update(images[k], objective[k : k + 1], torch.ones(1), 1)
    weight = (3.0 / objective) ** 1e4
    expected = (weight * images.flatten()).sum() / weight.sum()
    assert best.image.item() == pytest.approx(float(expected), rel=1e-5)  # float32


@pytest.mark.parametrize("residual", (1.5, 1.55, 1.6))
def test_best_does_not_jump_at_a_threshold(residual):
    """Rounding of the residual, by 1e-6, hardly moves the mean, whatever the residual."""

    def mean_with(value):
        best = BestIterate(torch.zeros(1, 1, 1), torch.ones(1), 1.6)
        best.update(torch.zeros(1, 1, 1), torch.ones(1), torch.ones(1), 0)
        best.update(torch.ones(1, 1, 1), torch.ones(1), torch.tensor([value], dtype=torch.float64), 1)
        return best.image.item()

    assert abs(mean_with(residual * (1 + 1e-6)) - mean_with(residual * (1 - 1e-6))) < 5e-5
    assert mean_with(1.4) == pytest.approx(0.5) and mean_with(1.61) == 0


def test_best_always_takes_the_start():
    best = BestIterate(torch.full((1, 1, 1), 7.0), torch.tensor([1.0]), 0.5)
    best.update(torch.full((1, 1, 1), 7.0), torch.tensor([3.0]), torch.tensor([1.0]), 0)
    best.update(torch.zeros(1, 1, 1), torch.tensor([2.0]), torch.tensor([1.0]), 1)
    assert best.image.item() == 7 and best.iteration.tolist() == [0]


def test_best_does_not_take_what_is_not_finite():
    best = BestIterate(torch.ones(1, 1, 1), torch.ones(1), 1.6)
    best.update(torch.full((1, 1, 1), math.nan), torch.tensor([math.nan]), torch.tensor([math.nan]), 0)
    assert best.image.item() == 1  # no iterate that counts: the start
    best.update(torch.full((1, 1, 1), 2.0), torch.ones(1), torch.ones(1), 1)
    best.update(torch.full((1, 1, 1), math.inf), torch.tensor([math.inf]), torch.ones(1), 2)
    assert best.image.item() == 2


def test_plateau_ends_where_the_objective_has_not_fallen():
    plateau = PlateauDetector(2)
    falls = torch.tensor([[1.0, 1.0], [0.9, 0.9], [0.8998, 0.5], [0.8997, 0.4999], [0.8, 0.4999], [0.7, 0.1]])
    shares = [plateau(values).tolist() for values in falls]
    assert [a for a, _ in shares] == [1, 1, 1, 0, 0, 0]  # a slice that has settled stays so
    assert [b for _, b in shares] == [1, 1, 1, 1, 0, 0]
    never = PlateauDetector(0)
    assert all(never(torch.ones(1)).all() for _ in range(10))


def test_plateau_does_not_jump():
    """After a fall of 0.05 %, between the two limits, the iterates that follow have half their weight."""
    shares = []
    for fall in (3e-4, 4.5e-4, 5e-4, 5.5e-4, 7e-4):
        plateau = PlateauDetector(1)
        plateau(torch.ones(1, dtype=torch.float64))
        shares.append(plateau(torch.full((1,), 1 - fall, dtype=torch.float64)).item())
    assert shares == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def point_measurement(case, weights, spectrum=None):
    point = Measurement.of_point_pixels(case.model, case.sinogram, RegularizationWeights(tuple(weights)), Constraints())
    return replace(point, spectrum=spectrum)


def test_objective_is_that_of_the_start_image(small_case):
    """With the l2 loss, and without reweighting, both minimise ½ s² ‖A x − b‖² + λ ‖∇x‖₁, s² = 8/‖A‖².

    The objective is in units of λ per pixel.
    """
    model, image = small_case.model, torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    weights = weights_of(small_case, reweight_rounds=0, tv_weight=3e-3, loss="l2")
    objective = Objective(point_measurement(small_case, weights), torch.ones(1, 1, 1))
    sinogram = model.forward_project(image)
    gx, gy = torch.zeros_like(image), torch.zeros_like(image)
    gx[..., :-1], gy[..., :-1, :] = image.diff(dim=2), image.diff(dim=1)
    misfit = 4 / operator_norm(model, image) * (sinogram - small_case.sinogram).square().sum()
    expected = float(misfit / 3e-3 + torch.hypot(gx, gy).sum()) / 32**2
    value = float(objective.data_term(sinogram) + objective.penalty(image))
    assert value == pytest.approx(expected, rel=2e-3)  # the variation is smoothed below 1e-3
    assert float(objective.variation(image)) == pytest.approx(float(objective.penalty(image)), rel=1e-6)


def test_objective_weighs_the_frequencies_as_the_start_does(small_case):
    """½ s² ‖G(A x − b)‖²: a constant G of 2 is four times the data term; frequencies count by squared weights."""
    weights = weights_of(small_case, reweight_rounds=0, tv_weight=3e-3, loss="l2")
    plain = Objective(point_measurement(small_case, weights), torch.ones(1, 1, 1))
    twice = Objective(point_measurement(small_case, weights, torch.full((17,), 2.0)), torch.ones(1, 1, 1))
    even = Objective(point_measurement(small_case, weights, (torch.arange(17) % 2 == 0).float()), torch.ones(1, 1, 1))
    odd = Objective(point_measurement(small_case, weights, (torch.arange(17) % 2 == 1).float()), torch.ones(1, 1, 1))
    sinogram = 1.1 * small_case.sinogram + 0.1 * torch.randn(
        small_case.sinogram.shape, generator=torch.Generator().manual_seed(0)
    )
    values = [float(objective.data_term(sinogram)) for objective in (plain, twice, even, odd)]
    assert values[1] == pytest.approx(4 * values[0], rel=1e-5)  # float32
    assert values[2] + values[3] == pytest.approx(values[0], rel=1e-5) and min(values) > 0.01 * values[0]


def test_objective_reweights_by_the_edges(small_case):
    image = torch.zeros(1, 32, 32)
    image[..., 16:] = 1.0
    objective = Objective(
        point_measurement(small_case, weights_of(small_case, edge_threshold=0.05)), torch.ones(1, 1, 1)
    )
    plain = float(objective.variation(image))
    objective.refresh(image)
    # ε over the blurred step, .05/.52, and what the smoothing adds.
    assert float(objective.variation(image)) < 0.15 * plain
    assert float(objective.penalty(image)) == pytest.approx(0.05 * math.asinh(20) / 32, rel=1e-4)  # one column of steps
