"""Rounds of reweighted total variation: the same as by hand, each slice on its own, and where they end."""

import numpy as np
import pytest
import torch

from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.operators import edge_weights, upper_quantile
from tomopy_ganrec.solvers.reweighting import linear_step, reweighted_rounds
from tomopy_ganrec.solvers.total_variation import TotalVariation

SIZE, SLICES, ITERATIONS = 24, 3, 10
TV_WEIGHT = torch.tensor([1e-3, 2e-3, 3e-3])[:, None, None]
EDGE_THRESHOLD = torch.tensor([0.05, 0.1, 0.2])[:, None, None]


@pytest.fixture(scope="module")
def model():
    return ParallelBeamProjector(SIZE, np.deg2rad(np.arange(0, 120, 5.0)), SIZE, backend="matrix")


@pytest.fixture(scope="module")
def sinogram(model):
    return model.forward_project(torch.from_numpy(shale(SIZE, SLICES))) / SIZE


@pytest.fixture
def solver_of(model, sinogram):
    """A function that gives a solver of some slices after fifteen iterations of plain total variation."""

    def begin(index=slice(None), across=0.0):
        solver = TotalVariation(model, sinogram[index], step_ratio=30.0, across=across)
        solver.run(TV_WEIGHT[index], 15)
        return solver

    return begin


def rounds_by_hand(solver, rounds, rescale=False):
    """The images after each of some rounds."""
    images, tiny = [], torch.finfo(torch.float32).tiny
    scale = EDGE_THRESHOLD * upper_quantile(solver.x) + tiny
    for _ in range(rounds):
        if rescale:
            scale = EDGE_THRESHOLD * upper_quantile(solver.x) + tiny
        images.append(solver.run(TV_WEIGHT, ITERATIONS, edge_weights(solver.x, scale, across=solver.across)).clone())
    return images


class RecordedCriterion:
    """A criterion that goes on as a table says, and records its calls."""

    def __init__(self, shares):
        self._shares, self.calls = torch.tensor(shares), []

    def __call__(self, number, last, active, before, image):
        assert before.shape == image.shape == (len(active), SIZE, SIZE)
        self.calls.append((number, last, active.tolist()))
        return self._shares[number - 1, active]


@pytest.mark.parametrize("across", (0.0, 0.5))
@pytest.mark.parametrize("rescale", (False, True))
def test_rounds_are_those_by_hand(solver_of, across, rescale):
    expected = rounds_by_hand(solver_of(across=across), 4, rescale)[-1]
    image, number = reweighted_rounds(
        solver_of(across=across), TV_WEIGHT, EDGE_THRESHOLD, 4, ITERATIONS, rescale_each_round=rescale
    )
    assert torch.equal(image, expected)
    assert number.tolist() == [4] * SLICES


def test_rescaling_each_round_makes_a_difference(solver_of):
    once, each = (
        reweighted_rounds(solver_of(), TV_WEIGHT, EDGE_THRESHOLD, 4, ITERATIONS, rescale_each_round=rescale)[0]
        for rescale in (False, True)
    )
    # Fifteen iterations are too few for the upper quantile to have settled.
    assert (once - each).norm() > 1e-4 * once.norm()


def test_without_an_edge_threshold_it_is_plain_total_variation(solver_of):
    expected = solver_of().run(TV_WEIGHT, 3 * ITERATIONS)
    image, number = reweighted_rounds(solver_of(), TV_WEIGHT, None, 3, ITERATIONS)
    assert torch.equal(image, expected)
    assert number.tolist() == [3] * SLICES


def test_no_rounds_return_the_image_of_the_solver(solver_of):
    solver = solver_of()
    before = solver.x.clone()
    image, number = reweighted_rounds(solver, TV_WEIGHT, EDGE_THRESHOLD, 0, ITERATIONS)
    assert torch.equal(image, before)
    assert number.tolist() == [0] * SLICES


@pytest.mark.parametrize("rescale", (False, True))
def test_a_criterion_that_never_stops_changes_nothing(solver_of, rescale):
    criterion = RecordedCriterion([[1.0] * SLICES] * 3)
    image, number = reweighted_rounds(
        solver_of(), TV_WEIGHT, EDGE_THRESHOLD, 3, ITERATIONS, criterion, rescale_each_round=rescale
    )
    assert torch.equal(image, rounds_by_hand(solver_of(), 3, rescale)[-1])
    assert number.tolist() == [3] * SLICES
    assert criterion.calls == [(1, False, [0, 1, 2]), (2, False, [0, 1, 2]), (3, True, [0, 1, 2])]


@pytest.mark.parametrize("rescale", (False, True))
def test_slices_that_stop_early_are_as_alone(solver_of, rescale):
    criterion = RecordedCriterion([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    image, number = reweighted_rounds(
        solver_of(), TV_WEIGHT, EDGE_THRESHOLD, 4, ITERATIONS, criterion, rescale_each_round=rescale
    )
    assert number.tolist() == [2, 1, 4]
    assert criterion.calls == [(1, False, [0, 1, 2]), (2, False, [0, 2]), (3, False, [2]), (4, True, [2])]
    for k, rounds in enumerate((2, 1, 4)):
        one = slice(k, k + 1)
        alone, _ = reweighted_rounds(
            solver_of(one), TV_WEIGHT[one], EDGE_THRESHOLD[one], rounds, ITERATIONS, rescale_each_round=rescale
        )
        assert (image[k] - alone[0]).norm() < 1e-4 * alone.norm()  # float32 sums in another order


def test_between_going_on_and_stopping_the_result_is_a_mean(solver_of):
    images = rounds_by_hand(solver_of(), 3)
    criterion = RecordedCriterion([[0.25] * SLICES, [0.5] * SLICES, [1.0] * SLICES])
    image, number = reweighted_rounds(solver_of(), TV_WEIGHT, EDGE_THRESHOLD, 3, ITERATIONS, criterion)
    expected = 0.75 * images[0] + 0.125 * images[1] + 0.125 * images[2]
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)  # float32, grey range 1
    assert number.tolist() == [3] * SLICES


@pytest.mark.parametrize("with_criterion", (False, True))
def test_a_stop_by_on_iteration_ends_the_rounds(solver_of, with_criterion):
    criterion = RecordedCriterion([[1.0] * SLICES] * 5) if with_criterion else None
    calls = []

    def stop_once():
        calls.append(1)
        return len(calls) == ITERATIONS + 4  # later answers are false

    image, number = reweighted_rounds(
        solver_of(), TV_WEIGHT, EDGE_THRESHOLD, 5, ITERATIONS, criterion, on_iteration=stop_once
    )
    assert len(calls) == ITERATIONS + 4
    assert number.tolist() == [2] * SLICES
    solver = solver_of()
    scale = EDGE_THRESHOLD * upper_quantile(solver.x) + torch.finfo(torch.float32).tiny
    for iterations in (ITERATIONS, 4):
        expected = solver.run(TV_WEIGHT, iterations, edge_weights(solver.x, scale))
    assert torch.equal(image, expected)
    if with_criterion:
        assert criterion.calls == [(1, False, [0, 1, 2]), (2, True, [0, 1, 2])]


def test_linear_step():
    values = torch.tensor([-1.0, 2.0, 2.5, 3.0, 9.0])
    assert linear_step(values, 2.0, 3.0).tolist() == [0, 0, 0.5, 1, 1]
