"""The same fit in any units, and whatever the caller's random states, gradients and default dtype are."""

import random

import numpy as np
import pytest
import torch
from fit_cases import QUICK, SHALE_LEVELS, quality, run


@pytest.mark.parametrize("loss", ("l1", "l2"))
@pytest.mark.parametrize("factor", (1e-3, 1e3))
def test_scale_free(shale_case, loss, factor):
    case, options = (
        shale_case(size=32),
        dict(loss="l1", pixel_model="point") if loss == "l1" else dict(QUICK, loss="l2", pixel_model="point"),
    )
    expected = factor * run(case, **options).image
    scaled = run(case._replace(sinogram=factor * case.sinogram), **options).image
    assert (scaled - expected).norm() <= 1e-3 * expected.norm()  # the requirement; 6e-4 measured with l1, 4e-7 with l2


def test_scale_free_to_the_last_bit_for_powers_of_two(small_case):
    doubled = run(small_case._replace(sinogram=1024 * small_case.sinogram), **QUICK)
    assert torch.equal(doubled.image, 1024 * run(small_case, **QUICK).image)


def test_a_seed_repeats_bit_for_bit(small_case):
    first, again = (run(small_case, loss="l1", num_iter=30, reweight_rounds=1, seed=7) for _ in range(2))
    assert torch.equal(first.image, again.image)
    assert all(np.array_equal(first.history[key], again.history[key]) for key in first.history)


def test_other_seeds_give_another_image_of_equal_quality(case, clean_fit):
    other = run(case, seed=1, pixel_model="point")
    assert not torch.equal(other.image, clean_fit.image)
    assert torch.equal(other.start, clean_fit.start)
    # The requirement; 1e-4 measured.
    assert quality(case, other.image) == pytest.approx(quality(case, clean_fit.image), abs=0.003)


def test_a_seed_may_be_a_numpy_integer(small_case):
    assert torch.equal(run(small_case, seed=np.int64(3), **QUICK).image, run(small_case, seed=3, **QUICK).image)


@pytest.mark.parametrize("context", (torch.no_grad, torch.inference_mode))
@pytest.mark.parametrize("preset", ("default", "paper"))
def test_works_where_the_caller_records_no_gradients(small_case, context, preset):
    options = dict(QUICK, preset=preset)
    expected = run(small_case, **options)
    with context():
        result = run(small_case._replace(sinogram=small_case.sinogram.clone()), **options)
    assert torch.equal(result.image, expected.image)
    assert not result.image.requires_grad


def test_data_with_a_gradient_graph(small_case):
    sinogram = small_case.sinogram.clone().requires_grad_()
    result = run(small_case._replace(sinogram=2 * sinogram), **QUICK)
    assert not result.image.requires_grad and not result.start.requires_grad
    assert sinogram.grad is None


def test_data_and_random_states_are_not_changed(small_case):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    sinogram = small_case.sinogram.clone()
    run(small_case, **QUICK)
    assert torch.equal(small_case.sinogram, sinogram)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_the_global_seed_does_not_matter(small_case):
    torch.manual_seed(1)
    first = run(small_case, **QUICK).image
    torch.manual_seed(2)
    assert torch.equal(run(small_case, **QUICK).image, first)


@pytest.mark.parametrize(
    "options", ({}, dict(levels=SHALE_LEVELS), dict(init="fbp"), dict(init="none"), dict(preset="paper"))
)
def test_the_default_dtype_does_not_matter(small_case, options):
    options = QUICK | options
    expected = run(small_case, **options).image
    torch.set_default_dtype(torch.float64)
    try:
        image = run(small_case, **options).image
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert image.dtype == torch.float32
    assert (image - expected).norm() <= 1e-3 * expected.norm()  # filters computed more exactly: float32 rounding
