"""Fit of a batch: better than its start image, with any linear forward model, and what its result records."""

import math

import numpy as np
import pytest
import torch
from fit_cases import QUICK, DenseModel, measured, pixel_offsets, quality, run

from tomopy_ganrec.fit import fit
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.classical import mlem
from tomopy_ganrec.solvers.forward_model import field_of_view


# Measured: plain TV .918, MLEM .799, fit .986; with sub-pixel truth .909, .828, .945.
@pytest.mark.parametrize(("oversample", "margin"), ((1, 0.034), (4, 0.018)))
def test_default_beats_total_variation_and_mlem(default_fit, oversample, margin):
    case, result = default_fit(oversample=oversample)
    # Half of what is measured.
    assert quality(case, result.image) > quality(case, run(case, reweight_rounds=0, num_iter=0).image) + margin
    # Half of .117, the lesser of the two.
    assert quality(case, result.image) > quality(case, mlem(case.model, case.sinogram, 200)) + 0.058


@pytest.mark.parametrize("wedge", (120, 90, 60))
def test_fit_does_not_lower_its_start(default_fit, wedge):
    case, result = default_fit(wedge=wedge)
    assert quality(case, result.image) > quality(case, result.start) - 0.002  # the requirement


# 0.002 is the requirement, stated at 256² for clean data and 1e5 photons. With more noise it does not hold: over three
# noise seeds −.0019, −.0015, −.0026 with 1e4 photons and −.0068, −.0039, −.0023 with 1e3, where the penalty no longer
# orders iterates as the truth does.
@pytest.mark.parametrize(
    ("oversample", "photons", "most"), ((4, None, 0.002), (1, 1e5, 0.002), (1, 1e4, 0.004), (1, 1e3, 0.01))
)
def test_fit_hardly_lowers_its_start_with_noise_or_structure_below_the_pixel(default_fit, oversample, photons, most):
    case, result = default_fit(oversample=oversample, photons=photons)
    assert quality(case, result.image) > quality(case, result.start) - most


def test_fit_changes_and_improves_a_noise_free_image(case, clean_fit):
    assert float((clean_fit.image - clean_fit.start).abs().max()) > 0.01  # of a grey range of 1; .028 measured
    assert quality(case, clean_fit.image) > quality(case, clean_fit.start) + 0.001  # .0024 measured
    assert clean_fit.info[0]["iteration"] > 0
    assert clean_fit.info[0]["objective"] < clean_fit.info[0]["start_objective"]


def test_negative_values_need_nonnegative_off(shale_case):
    y, x = pixel_offsets(32)
    case = measured(shale_case(size=32), np.where(np.hypot(y, x) < 13, np.where(x * y > 0, 0.5, -0.5), 0))
    result = run(case, nonnegative=False)
    assert quality(case, result.image) > 0.95  # .99 measured
    assert float(result.image.min()) == pytest.approx(-0.5, abs=0.15)  # a little overshoot at a corner
    assert float(run(case, **QUICK).image.min()) >= 0


def test_an_object_wider_than_the_disc_needs_mask_off(shale_case):
    image = np.zeros((32, 32))
    image[2:-2, 2:-2] = 0.5
    case = measured(shale_case(size=32), image)
    outside = field_of_view(case.model) == 0
    unmasked, masked = run(case, mask=False), run(case, **QUICK)
    assert quality(case, unmasked.image) > 0.97  # .99 measured
    assert (masked.image[0][outside] == 0).all() and (masked.start[0][outside] == 0).all()
    assert float(unmasked.image[0, 3, 3]) == pytest.approx(0.5, abs=0.05)


def test_a_finer_grid_and_an_axis_off_centre():
    theta = np.deg2rad(np.arange(0, 120, 2.0))
    truth = torch.from_numpy(shale(64))
    data = ParallelBeamProjector(64, theta, 64, center=29.5).forward_project(truth)
    model = ParallelBeamProjector(128, theta, 64, center=29.5, pixel_size=0.5, rays_per_bin=2)
    image = fit(model, data, GanrecOptions(**QUICK)).image.unflatten(1, (64, 2)).unflatten(3, (64, 2)).mean((2, 4))
    # Each projection measures the sum.
    assert float(image.mean()) == pytest.approx(float(truth.mean()), rel=0.01)
    assert mssim(truth[0], image[0]) > 0.85  # .9 measured: it is in the right place, too


def test_residuals_reported_are_those_of_the_images(case, clean_fit):
    for key, image in (("residual", clean_fit.image), ("start_residual", clean_fit.start)):
        residual = float((case.model.forward_project(image) - case.sinogram).norm() / case.sinogram.norm())
        # float32: the residual is a thousandth of the data
        assert clean_fit.info[0][key] == pytest.approx(residual, rel=1e-3)


def test_result_records_seconds_and_weights(clean_fit):
    assert set(clean_fit.seconds) == {"start", "fit"} and all(
        0 < seconds < 300 for seconds in clean_fit.seconds.values()
    )
    documented = {
        "noise",
        "tv_weight",
        "edge_threshold",
        "reweight_rounds",
        "loss",
        "iteration",
        "objective",
        "residual",
    }
    assert documented | {"start_objective", "start_residual", "levels", "stopped"} <= set(clean_fit.info[0])


@pytest.mark.parametrize(("init", "factor", "error"), (("tv", 1.0, 0.02), ("sirt", 0.7, 0.3), ("none", 0.1, 0.4)))
def test_any_linear_forward_model(init, factor, error):
    model = DenseModel()
    truth = torch.from_numpy(shale(20)[:, 2:18])
    result = fit(model, model.forward_project(truth), GanrecOptions(init=init, noise=0.0, mask=False))
    # Measured: residual × 0.17, 0.44, 0.06 and error 0.006, 0.19, 0.23 of the image, from 320 unknowns in 288 data.
    assert result.info[0]["residual"] < factor * result.info[0]["start_residual"]
    assert (result.image - truth).norm() < error * truth.norm()


def test_a_forward_model_without_angles_estimates_its_noise():
    model = DenseModel()
    result = fit(
        model,
        model.forward_project(torch.from_numpy(shale(20)[:, 2:18])),
        GanrecOptions(init="sirt", num_iter=3, mask=False),
    )
    assert math.isfinite(result.info[0]["noise"]) and result.image.isfinite().all()


@pytest.mark.parametrize(
    "options",
    ({}, dict(reweight_rounds=0), dict(init="sirt"), dict(init="fbp"), dict(nonnegative=False), dict(noise=0.1)),
)
def test_no_signal_gives_zero(small_case, options):
    result = run(small_case._replace(sinogram=torch.zeros_like(small_case.sinogram)), **QUICK | options)
    assert torch.equal(result.image, torch.zeros(1, 32, 32))
    assert all(math.isfinite(info["residual"]) for info in result.info)
