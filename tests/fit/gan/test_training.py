"""Adversarial training: grey levels, patience, history, the discriminator, and losses that are not finite."""

import math

import numpy as np
import pytest
import torch
from fit_cases import QUICK, SHALE_LEVELS, measured, pixel_offsets, quality, run

from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.results import NonFiniteError


def test_levels_help_a_segmented_object(case, clean_fit):
    for levels in ("auto", SHALE_LEVELS):
        result = run(case, levels=levels, pixel_model="point")
        # .986 to .9998 measured: half of what was missing.
        assert quality(case, result.image) > 0.5 * (1 + quality(case, clean_fit.image))
        assert result.info[0]["levels"][:3] == pytest.approx([0, 1 / 3, 2 / 3], abs=0.02)


def test_auto_levels_do_not_change_a_smooth_object(shale_case):
    y, x = pixel_offsets(48)
    case = measured(shale_case(size=48), np.maximum(1 - np.hypot(y, x) ** 2 / 20**2, 0))
    plain = run(case, reweight_rounds=2, num_iter=50)
    with pytest.warns(RuntimeWarning, match="levels='auto': 1 of 1 slices show no discrete grey levels") as warned:
        result = run(case, reweight_rounds=2, num_iter=50, levels="auto")
    assert len(warned) == 1
    assert result.info[0]["levels"] == []
    assert quality(case, result.image) > quality(case, plain.image) - 0.005  # a fit with levels has other rates


def test_auto_levels_warn_of_the_slices_that_have_none(shale_case):
    case = shale_case(size=48)
    y, x = pixel_offsets(48)
    smooth = measured(case, np.maximum(1 - np.hypot(y, x) ** 2 / 20**2, 0))
    both = case._replace(sinogram=torch.cat([smooth.sinogram, case.sinogram]))
    with pytest.warns(RuntimeWarning, match="1 of 2 slices"):
        result = run(both, levels="auto", noise=0.0, num_iter=50, pixel_model="point")
    assert result.info[0]["levels"] == [] and len(result.info[1]["levels"]) >= 3
    assert mssim(case.truth[0], result.image[1]) > mssim(case.truth[0], result.start[1])


@pytest.mark.parametrize("num_iter", (1, 2, 20, 30))
def test_given_levels_work_in_a_fit_of_any_length(small_case, num_iter):
    result = run(small_case, levels=SHALE_LEVELS, reweight_rounds=1, num_iter=num_iter)
    assert result.info[0]["levels"] == pytest.approx(SHALE_LEVELS, abs=1e-6)
    assert math.isfinite(result.info[0]["objective"]) and result.image.isfinite().all()


def test_patience_stops_on_a_plateau(small_case):
    # Pixels that hardly move: the objective does not fall any more.
    options = dict(num_iter=50, reweight_rounds=1, pixel_rate=1e-6, network=False)
    result = run(small_case, patience=3, **options)
    assert result.info[0]["stopped"] == "plateau"
    assert result.history["residual"].shape == (4, 1)  # the start and three more
    assert run(small_case, patience=0, **options).info[0]["stopped"] == "finished"


def test_a_settled_slice_waits_for_the_others_and_does_not_change(shale_case):
    """It is the same as when it is fitted alone."""
    cases = [shale_case(size=32, wedge=180, step=2), shale_case(size=32, wedge=180, step=2, seed=2, photons=1e3)]
    options = dict(num_iter=60, reweight_rounds=2, pixel_model="point", loss="l2", noise=0.01, patience=8)
    alone = [run(case, **options) for case in cases]
    lengths = [len(single.history["objective"]) for single in alone]
    assert min(lengths) < max(lengths)  # one of them settles first
    together = run(cases[0]._replace(sinogram=torch.cat([case.sinogram for case in cases])), **options)
    for k, single in enumerate(alone):
        assert (together.image[k] - single.image[0]).norm() <= 1e-4 * single.image[0].norm()  # sums in another order


@pytest.mark.parametrize("adversarial", (0.0, 0.1))
def test_history_shapes(three_slices, adversarial):
    history = run(three_slices, adversarial=adversarial, **QUICK).history
    assert history["objective"].shape == history["residual"].shape == (11, 3)  # the start's among them
    assert ("discriminator" in history) == (adversarial > 0)
    if adversarial:
        assert history["discriminator"].shape == (10, 3)
        assert history["discriminator"][0] == pytest.approx(
            2 * math.log(2), rel=0.2
        )  # at first data and model look alike


def test_iteration_returned_is_that_of_the_lowest_objective(three_slices):
    result = run(three_slices, loss="l1", num_iter=30, reweight_rounds=1)
    for k, info in enumerate(result.info):
        curve = result.history["objective"][:, k]
        assert info["iteration"] == curve.argmin()
        # The image is the mean of the iterates around the lowest, which circle around a minimum: it is nearer to it.
        assert info["objective"] <= curve.min() * (1 + 1e-3)
        assert info["start_objective"] == pytest.approx(curve[0], rel=1e-6)


@pytest.mark.parametrize("iteration", (1, 5))
def test_non_finite_losses_end_the_fit_with_the_best_image(small_case, failing_model, iteration):
    failing = small_case._replace(model=failing_model(small_case.model, iteration=iteration))
    with pytest.raises(NonFiniteError, match=f"at iteration {iteration};") as raised:
        run(failing, init="sirt", **QUICK)
    result = raised.value.result
    assert result.image.shape == (1, 32, 32) and result.image.isfinite().all()
    expected = run(
        small_case,
        init="sirt",
        callback=lambda s: s.stage == "fit" and s.iteration == iteration - 1,
        **QUICK | dict(num_iter=iteration - 1),
    )
    torch.testing.assert_close(result.start, expected.start)
    assert quality(small_case, result.image) > 0.9 * quality(small_case, expected.image)


def test_discriminator_changes_the_fit(small_case):
    with_discriminator, without = (
        run(small_case, loss="l1", num_iter=20, reweight_rounds=1, adversarial=weight) for weight in (10.0, 0.0)
    )
    assert (with_discriminator.history["objective"][2:] != without.history["objective"][2:]).any()
