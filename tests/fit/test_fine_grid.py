"""Finer grid: what it gains, the shape it returns, and for which data it is used."""

import math

import numpy as np
import pytest
import torch
from fit_cases import run

from tomopy_ganrec.fit import fit
from tomopy_ganrec.fit.fine_grid import FineGrid, grid_factor
from tomopy_ganrec.fit.stage_progress import StageProgress
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector

FINER = dict(pixel_model="area", reweight_rounds=1, num_iter=0, grid_factor=2)  # where behaviour matters, not quality


@pytest.fixture(scope="module")
def subpixel():
    """64² shale over 120°, noise-free, with structure below the pixel."""
    pytest.importorskip("astra")
    from tomopy_ganrec.benchmark.cases import AngularRange, Case

    truth, sinogram = Case("shale", 64, "120", None).slice()
    return truth, torch.from_numpy(sinogram)[None], ParallelBeamProjector(64, AngularRange("120").theta, 64)


def test_finer_grid_is_nearer_to_the_truth(subpixel):
    truth, sinogram, model = subpixel
    plain, finer = (
        fit(model, sinogram, GanrecOptions(pixel_model="area", num_iter=0, grid_factor=factor)) for factor in (1, 2)
    )
    assert torch.equal(plain.image, finer.start)  # the finer grid begins with the image of the coarse one
    # Half of what is measured, .9447 to .9872.
    assert mssim(truth, finer.image[0]) > mssim(truth, plain.image[0]) + 0.021
    info = finer.info[0]
    # The mean explains the data less well than the image of the coarse grid, 5.9e-3 and 3.0e-3 measured: both below a
    # percent.
    assert info["residual"] < 0.01 and info["residual"] < 3 * info["start_residual"]


def test_the_mean_is_over_each_pixel(small_case, measured_start):
    measurement, image, options = measured_start(small_case, **FINER)
    with torch.no_grad():
        grid = FineGrid(measurement, 2)
        grid.run(image, StageProgress("learn"))
    assert tuple(grid.image.shape) == (1, 64, 64) and grid.mean().shape == image.shape
    expected = sum(grid.image[:, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4
    torch.testing.assert_close(grid.mean(), expected, rtol=0, atol=1e-6)  # float32
    assert float(grid.image.min()) >= 0
    assert float((grid.image - grid.mean().repeat_interleave(2, 1).repeat_interleave(2, 2)).abs().max()) > 0.01
    assert tuple(grid.measurement.model.domain_shape) == (64, 64)
    assert grid.measurement.model.range_shape == small_case.model.range_shape


def test_finer_data_are_the_same_data_to_the_detector(small_case, measured_start):
    """With the response put back they are those of the scan on any grid, and a model error is weighed alike."""
    from tomopy_ganrec.solvers.operators import filter_projections

    measurement, image, options = measured_start(small_case, **FINER)
    with torch.no_grad():
        grid = FineGrid(measurement, 2)
        grid.run(image, StageProgress("learn", lambda status: True))
    fine = grid.measurement
    seen, expected = (filter_projections(m.data, m.response) for m in (fine, measurement))
    # float32, H between 1/4 and 4.
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    torch.testing.assert_close(fine.whitener, measurement.whitener, rtol=1e-4, atol=1e-4)  # float32
    assert fine.weights.slices[0].tv_weight < measurement.weights.slices[0].tv_weight
    assert fine.weights.slices[0].edge_threshold == measurement.weights.slices[0].edge_threshold


@pytest.mark.parametrize("size", ((33, 33), (31, 40), (45, 28)))
@pytest.mark.parametrize("factor", (2, 3))
def test_grids_of_any_shape(small_case, size, factor):
    model = ParallelBeamProjector(size, small_case.theta, 32, center=15.2)
    result = run(small_case._replace(model=model), **FINER | dict(grid_factor=factor))
    assert tuple(result.image.shape[1:]) == size and result.image.isfinite().all()
    # Each projection measures the sum.
    assert float(result.image.sum()) == pytest.approx(float(result.start.sum()), rel=0.05)


def test_recon_with_rows_and_columns(small_case):
    from tomopy_ganrec import recon

    settled = FINER | dict(reweight_rounds=2)
    square = recon(small_case.sinogram.numpy(), small_case.theta, sinogram_order=True, **settled)
    wide = recon(
        small_case.sinogram.numpy(), small_case.theta, sinogram_order=True, num_gridx=36, num_gridy=40, **settled
    )
    assert wide.shape == (1, 36, 40)
    # The same object in the middle: the disc that is seen does not change, what lies around it is masked. The grey
    # range is 1, and a shift by half a pixel makes .05 and more.
    assert np.abs(wide[:, 2:-2, 4:-4] - square).mean() < 0.01


@pytest.mark.parametrize("nonnegative, mask", ((False, True), (True, False)))
def test_constraints_are_those_of_the_options(small_case, nonnegative, mask):
    result = run(small_case, nonnegative=nonnegative, mask=mask, **FINER)
    assert result.image.isfinite().all() and (float(result.image.min()) >= 0) == nonnegative


def test_units_do_not_matter(small_case):
    """To the last bit for a power of two."""
    one, eight = run(small_case, **FINER), run(small_case._replace(sinogram=8 * small_case.sinogram), **FINER)
    assert torch.equal(eight.image, 8 * one.image) and eight.info[0]["residual"] == one.info[0]["residual"]


def test_residual_is_that_of_the_image(small_case, measured_start):
    from tomopy_ganrec.fit.measurement.pixel_response import pixel_response
    from tomopy_ganrec.solvers.operators import filter_projections

    result = run(small_case, **FINER)
    model = small_case.model.resampled(rays_per_bin=2)
    seen = filter_projections(model.forward_project(result.image), pixel_response(model.theta, 32))
    # Relative to the data without the response, which differ from the data by a percent or so.
    expected = float((seen - small_case.sinogram).norm() / small_case.sinogram.norm())
    assert result.info[0]["residual"] == pytest.approx(expected, rel=0.05)


def test_callback_sees_each_iteration(small_case, measured_start):
    seen = []
    run(small_case, callback=seen.append, **FINER)
    finer = [s for s in seen if s.stage == "learn"]
    total = FineGrid(measured_start(small_case, **FINER)[0], 2).steps
    assert total == 42 + 28
    assert [s.iteration for s in finer] == list(range(1, total + 1))
    assert {s.total for s in finer} == {total}


@pytest.mark.parametrize("stop", (1, 10, 30, 60))
def test_a_finer_grid_that_is_stopped_early_does_not_lower_the_image(subpixel, stop):
    """It begins with an image less sharp than the start image, and oscillates: the result is not to be worse for it."""
    truth, sinogram, model = subpixel
    result = fit(
        model,
        sinogram,
        GanrecOptions(pixel_model="area", num_iter=0, grid_factor=2),
        callback=lambda s: s.stage == "learn" and s.iteration == stop,
    )
    assert result.info[0]["stopped"] == "callback"
    assert mssim(truth, result.image[0]) > mssim(truth, result.start[0]) - 0.005


def test_learning_on_a_finer_grid(small_case, brief_learning):
    options = FINER | dict(wedge_rounds=2)
    seen = []
    result = run(small_case, callback=seen.append, **options)
    assert result.image.shape == (1, 32, 32)
    assert result.image.isfinite().all()
    assert math.isfinite(result.info[0]["residual"])
    total = 70 + 2 * (10 + 5 + 6) + (3 + 5) * 28
    reports = [s for s in seen if s.stage == "learn"]
    assert [s.iteration for s in reports] == list(range(1, total + 1)) and {s.total for s in reports} == {total}
    assert mssim(small_case.truth[0], result.image[0]) > mssim(small_case.truth[0], result.start[0]) - 0.05
    for stop in (35, 80, 88, 120, total - 30):
        stopped = run(small_case, callback=lambda s, stop=stop: s.stage == "learn" and s.iteration >= stop, **options)
        assert stopped.info[0]["stopped"] == "callback" and stopped.image.isfinite().all()


# For which data it is used


def decision(shale_case, measured_start, photons=None, **options):
    measurement, _, options = measured_start(
        shale_case(size=32, step=2, oversample=4, photons=photons),
        **dict(pixel_model="area", reweight_rounds=1) | options,
    )
    return grid_factor(measurement, options)


@pytest.mark.parametrize(
    ("photons", "options", "factor"),
    (
        (None, dict(), 1),
        (None, dict(quality="fast"), 1),
        (None, dict(quality="best"), 2),
        (1e4, dict(quality="best"), 1),
        (1e4, dict(quality="best", grid_factor=2), 2),
        (None, dict(grid_factor=3), 3),
        (None, dict(quality="best", grid_factor=1), 1),
        (None, dict(quality="best", pixel_model="point"), 1),
        (None, dict(grid_factor=2, pixel_model="point"), 1),
        (None, dict(quality="best", init="sirt"), 1),
    ),
)
def test_factor(shale_case, measured_start, photons, options, factor):
    assert decision(shale_case, measured_start, photons, **options) == factor


def test_the_noise_of_another_slice_does_not_decide(shale_case):
    """Slices of a batch are independent: a quiet one has the finer grid whatever its neighbour's noise.

    Over 60° all of them weigh the directions alike.
    """
    quiet, loud = (shale_case(size=32, wedge=60, step=2, oversample=4, photons=photons) for photons in (1e6, 5e3))
    options = dict(quality="best", wedge_rounds=0, num_iter=0, pixel_model="area", reweight_rounds=1)
    both = run(quiet._replace(sinogram=torch.cat([quiet.sinogram, loud.sinogram])), **options)
    for k, single in enumerate((quiet, loud)):
        alone = run(single, **options)
        # Grey range 1, sums in another order; the finer grid changes it by .05 and more.
        assert (both.image[k] - alone.image[0]).abs().max() < 1e-3
