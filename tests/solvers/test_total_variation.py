"""Total variation: the minimum of its stated objective, whatever the path; constraints, resuming, and a prior image."""

import math

import numpy as np
import pytest
import torch
from solver_cases import N, blobs, dense_problem, falling, plain_primal_dual, relative_residual, stated_objective

from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.forward_model import data_scale, field_of_view, operator_norm
from tomopy_ganrec.solvers.operators import filter_projections, gaussian_blur
from tomopy_ganrec.solvers.total_variation import TotalVariation


@pytest.mark.parametrize("weighted", (False, True), ids=("plain", "weighted"))
def test_total_variation_finds_the_minimum_of_its_objective(weighted):
    model, matrix, data, tv_weight, weight = dense_problem()
    weight = weight if weighted else torch.ones_like(weight)
    reference = plain_primal_dual(matrix, data, tv_weight, weight, 12)
    image = TotalVariation(model, data, step_ratio=3.0).run(tv_weight, 3000, weight)
    norm = np.linalg.norm(matrix, 2)
    lowest, value = (stated_objective(x, model, norm, data, tv_weight, weight) for x in (reference, image))
    assert value == pytest.approx(lowest, rel=1e-5)  # both within about 1e-6 of the minimum
    assert (image - reference).norm() < 1e-2 * reference.norm()  # the minimum is flatter than it is deep


def test_step_ratio_changes_the_path_and_not_the_limit():
    model, matrix, data, tv_weight, weight = dense_problem()
    norm = np.linalg.norm(matrix, 2)
    images = [TotalVariation(model, data, step_ratio=ratio).run(tv_weight, 2000, weight) for ratio in (1.0, 10.0)]
    values = [stated_objective(x, model, norm, data, tv_weight, weight) for x in images]
    assert values[0] == pytest.approx(values[1], rel=1e-4)  # what is left of the path after 2000 iterations


def test_total_variation_is_lower_than_all_around(model, sinograms):
    data, tv_weight = sinograms[:1] / data_scale(model, sinograms[:1]), 2e-3
    image = TotalVariation(model, data, step_ratio=30.0).run(tv_weight, 1000)
    exact, norm = model.to(torch.float64), math.sqrt(operator_norm(model, data))

    def value(x):
        return stated_objective(x.double(), exact, norm, data.double(), tv_weight, 1.0)

    rng = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 0.1):
        for blur in (0.5, 2.0):
            step = gaussian_blur(torch.randn(1, N, N, generator=rng), blur)
            for sign in (-1, 1):
                assert value(image) < value((image + sign * size * step / step.abs().max()).clamp(min=0))
    assert value(image) < value(1.01 * image) and value(image) < value(0.99 * image)


def test_three_times_ten_iterations_equal_thirty(model, sinograms):
    resumed, whole = TotalVariation(model, sinograms), TotalVariation(model, sinograms)
    for _ in range(3):
        image = resumed.run(1e-3, 10)
    assert torch.equal(image, whole.run(1e-3, 30))


def test_total_variation_starts_at_an_image(model, sinograms):
    truth = blobs(N, slices=3) * torch.tensor([0.5, 1.0, 4.0])[:, None, None]
    cold = TotalVariation(model, sinograms).run(1e-4, 5)
    warm = TotalVariation(model, sinograms).start(truth).run(1e-4, 5)
    # It begins at the solution.
    assert relative_residual(model, warm, sinograms) < 0.2 * relative_residual(model, cold, sinograms)
    assert torch.equal(truth, blobs(N, slices=3) * torch.tensor([0.5, 1.0, 4.0])[:, None, None])


def test_total_variation_keeps_its_constraints(model, sinograms):
    mask = field_of_view(model)
    image = TotalVariation(model, sinograms, mask=mask).run(1e-4, 20)
    assert image.min() == 0 and (image[:, mask == 0] == 0).all()
    assert TotalVariation(model, -sinograms, nonnegative=False).run(1e-4, 20).min() < 0


def test_total_variation_takes_a_weight_for_each_slice(model, sinograms):
    data = sinograms / data_scale(model, sinograms)
    weights = torch.tensor([1e-4, 1e-3, 1e-1])[:, None, None]
    together = TotalVariation(model, data).run(weights, 50)
    for k, tv_weight in enumerate((1e-4, 1e-3, 1e-1)):
        alone = TotalVariation(model, data[k : k + 1]).run(tv_weight, 50)
        assert (together[k] - alone[0]).abs().max() <= 1e-5 * alone.max()  # float32 sums in another order


def test_total_variation_stops_on_a_true_answer(model, sinograms):
    answers = iter((False, False, True, False))
    assert torch.equal(
        TotalVariation(model, sinograms).run(1e-3, 10, on_iteration=lambda: next(answers)),
        TotalVariation(model, sinograms).run(1e-3, 3),
    )


# Weights of frequencies


def test_spectrum_weighs_the_frequencies_of_the_residual():
    model, matrix, data, tv_weight, weight = dense_problem()
    spectrum = falling(12)
    weighed = np.fft.irfft(
        np.fft.rfft(matrix.reshape(9, 12, 144), axis=1) * spectrum.numpy()[:, None], n=12, axis=1
    ).reshape(108, 144)
    # The data term is normalised by ‖A‖, whatever the weights.
    ratio = (np.linalg.norm(matrix, 2) / np.linalg.norm(weighed, 2)) ** 2
    reference = plain_primal_dual(weighed, filter_projections(data, spectrum), ratio * tv_weight, weight, 12)
    image = TotalVariation(model, data, step_ratio=3.0, spectrum=spectrum).run(tv_weight, 3000, weight)
    # As without a spectrum: the minimum is flatter than it is deep.
    assert (image - reference).norm() < 1e-2 * reference.norm()
    assert (
        TotalVariation(model, data, step_ratio=3.0).run(tv_weight, 3000, weight) - reference
    ).norm() > 5e-2 * reference.norm()


@pytest.mark.parametrize("factor", (0.5, 2.0))
def test_a_constant_spectrum_is_another_weight(factor):
    model, _, data, tv_weight, weight = dense_problem()
    weighed = TotalVariation(model, data, step_ratio=3.0, spectrum=torch.full((7,), factor, dtype=torch.float64)).run(
        tv_weight, 3000, weight
    )
    plain = TotalVariation(model, data, step_ratio=3.0).run(tv_weight / factor**2, 3000, weight)
    assert (weighed - plain).norm() < 1e-2 * plain.norm()  # both as near to the minimum as above
    assert torch.equal(
        TotalVariation(model, data, spectrum=torch.ones(7)).run(tv_weight, 20),
        TotalVariation(model, data).run(tv_weight, 20),
    )


def test_spectrum_may_differ_by_slice_and_angle_and_be_changed(model, sinograms):
    data, rng = sinograms / data_scale(model, sinograms), torch.Generator().manual_seed(0)
    spectrum = 0.5 + torch.rand(3, len(model.theta), N // 2 + 1, generator=rng)
    together = TotalVariation(model, data, spectrum=spectrum).run(1e-3, 50)
    later = TotalVariation(model, data)
    assert torch.equal(later.set_residual_weights(spectrum).run(1e-3, 50), together)
    for k in range(3):
        alone = TotalVariation(model, data[k : k + 1], spectrum=spectrum[k : k + 1]).run(1e-3, 50)
        assert (together[k] - alone[0]).abs().max() <= 1e-5 * alone.max()  # float32 sums in another order
    assert torch.equal(
        TotalVariation(model, data).set_residual_weights(spectrum).set_residual_weights(None).run(1e-3, 20),
        TotalVariation(model, data).run(1e-3, 20),
    )


# Some slices of a batch


@pytest.mark.parametrize("options", ({}, dict(wedge_tv_weight=0.5)), ids=("plain", "wedge_tv_weight"))
def test_take_goes_on_as_the_whole_batch_would(model, sinograms, options):
    data, spectrum = sinograms / data_scale(model, sinograms), falling(N).float()
    whole = TotalVariation(model, data, spectrum=spectrum, **options)
    whole.run(1e-3, 20)
    every, index = whole.take(torch.arange(3), data, spectrum), torch.tensor([2, 0, 2])
    some, fewer = whole.take(index, data[index], spectrum), whole.take(index[:1], data[index[:1]], spectrum)
    expected = whole.run(1e-3, 20).clone()
    assert torch.equal(every.run(1e-3, 20), expected)
    for solver, chosen in ((some, index), (fewer, index[:1])):
        # Float32 sums in another order.
        assert (solver.run(1e-3, 20) - expected[chosen]).abs().max() <= 1e-5 * expected.max()
    assert torch.equal(whole.x, expected)  # what was taken runs on its own
    other = 2 * data[index]
    # With the data given.
    assert (whole.take(index, other, spectrum).run(1e-3, 50) - expected[index]).norm() > 0.1 * expected.norm()


# A prior image


def test_a_prior_image_without_weight_changes_nothing(model, sinograms):
    data = sinograms / data_scale(model, sinograms)
    prior = torch.zeros(1, N, N // 2 + 1), torch.ones(3, N, N)
    with_prior, free = (
        TotalVariation(model, data).run(1e-3, 50, prior_image=prior),
        TotalVariation(model, data).run(1e-3, 50),
    )
    assert (with_prior - free).abs().max() <= 1e-4 * free.max()  # a Fourier transform and back at each step, in float32


@pytest.mark.parametrize("n", (12, 13))
def test_a_strong_prior_image_fixes_its_frequencies(n):
    theta = np.deg2rad(np.arange(0, 120, 10.0))
    model = ParallelBeamProjector(n, theta, n, dtype=torch.float64)
    data, goal = model.forward_project(blobs(n).double()), blobs(n, seed=1).double() - 0.2
    strong = torch.fft.fftfreq(n, dtype=torch.float64)[:, None].abs() > 0.3
    mu = strong.double().expand(n, n // 2 + 1)[None] * 1e9
    image = TotalVariation(model, data, step_ratio=3.0, nonnegative=False).run(1e-3, 300, prior_image=(mu, goal))
    free = TotalVariation(model, data, step_ratio=3.0, nonnegative=False).run(1e-3, 300)
    spectrum, expected, untouched = (torch.fft.rfft2(x)[:, strong[:, 0]] for x in (image, goal, free))
    assert (spectrum - expected).norm() < 1e-6 * expected.norm()  # 1/μ
    assert (untouched - expected).norm() > 0.1 * expected.norm()


def test_with_a_prior_image_it_finds_the_minimum_of_its_objective():
    model, matrix, data, tv_weight, weight = dense_problem()
    norm, goal = np.linalg.norm(matrix, 2), blobs(12, seed=1).double()
    mu = (torch.fft.fftfreq(12).abs()[:, None] + torch.fft.rfftfreq(12))[None].double()
    # The same, of all frequencies.
    full = torch.fft.fftfreq(12).abs()[:, None].double() + torch.fft.fftfreq(12).abs().double()
    image = TotalVariation(model, data, step_ratio=3.0, nonnegative=False).run(
        tv_weight, 3000, weight, prior_image=(mu, goal)
    )

    def value(x):
        prior = full * torch.fft.fft2(x - goal, norm="ortho").abs().square()
        return stated_objective(x, model, norm, data, tv_weight, weight) + float(prior.sum()) / 2

    rng = torch.Generator().manual_seed(0)
    for size in (1e-2, 0.1):
        for blur in (0.5, 2.0):
            step = gaussian_blur(torch.randn(1, 12, 12, generator=rng, dtype=torch.float64), blur)
            for sign in (-1, 1):
                assert value(image) < value(image + sign * size * step / step.abs().max())
    for share in (0.02, -0.02):  # nearer to the goal, further from it
        assert value(image) < value(image + share * (goal - image))
