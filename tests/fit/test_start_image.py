"""Start images: each `init`, an image given, and the pixel model, area means or point pixels."""

import math

import numpy as np
import pytest
import torch
from fit_cases import INITS, QUICK, SHALE_LEVELS, DenseModel, measured, pixel_offsets, quality, run

from tomopy_ganrec.fit import fit
from tomopy_ganrec.fit.measurement.pixel_response import pixel_response
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.results import NonFiniteError
from tomopy_ganrec.solvers.forward_model import field_of_view
from tomopy_ganrec.solvers.operators import filter_projections


@pytest.mark.parametrize("init", INITS)
def test_fit_improves_or_keeps_the_residual_of_any_start(shale_case, init):
    result = run(shale_case(size=32), init=init)
    ratio = result.info[0]["residual"] / result.info[0]["start_residual"]
    assert ratio < (1.05 if init == "tv" else 0.5)  # 1.03 for a start that has converged; at most .24 for the others
    assert result.info[0]["objective"] < result.info[0]["start_objective"]


@pytest.mark.parametrize("init", INITS)
def test_any_start_may_be_negative(shale_case, init):
    y, x = pixel_offsets(32)
    case = measured(shale_case(size=32), np.where(np.hypot(y, x) < 13, np.where(x * y > 0, 0.5, -0.5), 0))
    result = run(case, init=init, nonnegative=False, reweight_rounds=2)
    # At most .04 measured; from zero, a hundred steps are not enough.
    assert result.info[0]["residual"] < (0.8 if init == "none" else 0.1)
    assert float(result.image.min()) < (-0.05 if init == "none" else -0.3)


@pytest.mark.parametrize("init", INITS)
def test_num_iter_0_returns_the_start(small_case, init):
    result = run(small_case, init=init, num_iter=0, reweight_rounds=1)
    assert torch.equal(result.image, result.start)
    assert result.info[0]["iteration"] == 0
    assert result.info[0]["residual"] == result.info[0]["start_residual"]
    assert result.history["objective"].shape == (1, 1)


def test_num_iter_0_with_levels_returns_the_start(small_case):
    result = run(small_case, num_iter=0, reweight_rounds=1, levels=SHALE_LEVELS)
    assert torch.equal(result.image, result.start)


def test_an_image_given_is_the_start(small_case):
    given = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.1
    kept = given.clone()
    result = run(small_case, init="none", init_image=given, num_iter=0)
    expected = given.clamp(min=0) * field_of_view(small_case.model)
    torch.testing.assert_close(result.start, expected)
    assert torch.equal(given, kept)


@pytest.mark.parametrize("init", ("tv", "sirt"))
def test_a_start_goes_on_from_an_image_given(small_case, init):
    truth = torch.from_numpy(small_case.truth)
    options = dict(init=init, reweight_rounds=0, tv_weight=1e-4, callback=lambda status: status.iteration == 5)
    cold, warm = (run(small_case, init_image=given, **options).start - truth for given in (None, truth))
    assert warm.norm() < 0.5 * cold.norm()  # five iterations leave it near where it began


@pytest.mark.parametrize(
    ("phantom", "size", "angular_range", "photons"),
    (
        ("shale", 64, "120", None),
        ("shale", 96, "120", None),
        ("zeolite", 64, "60", None),
        ("zeolite", 64, "90", 1e5),
        ("foam", 64, "51/70", 1e5),
        ("zeolite", 64, "180", 1e4),
        ("foam", 64, "150", 1e4),
    ),
)
@pytest.mark.parametrize(("protocol", "pixel_model"), (("pixel", "point"), ("subpixel", "area")))
def test_auto_finds_the_pixel_model(phantom, size, angular_range, photons, protocol, pixel_model):
    pytest.importorskip("astra")
    from tomopy_ganrec.benchmark.cases import AngularRange, Case

    _, sinogram = Case(phantom, size, angular_range, photons, protocol).slice()
    theta = AngularRange(angular_range).theta
    result = fit(
        ParallelBeamProjector(size, theta, size),
        torch.from_numpy(sinogram)[None],
        GanrecOptions(num_iter=0, reweight_rounds=0),
    )
    assert result.info[0]["pixel_model"] == pixel_model


@pytest.mark.parametrize(("oversample", "pixel_model", "margin"), ((4, "area", 0.0137), (1, "point", 0.026)))
def test_the_right_pixel_model_is_the_better_one(shale_case, oversample, pixel_model, margin):
    case = shale_case(oversample=oversample)
    results = {name: run(case, num_iter=0, pixel_model=name) for name in ("area", "point", "auto")}
    right, wrong = (results[name] for name in (pixel_model, "point" if pixel_model == "area" else "area"))
    # Half of what is measured: .945 and .918 with structure below the pixel, .983 and .931 with square pixels.
    assert quality(case, right.image) > quality(case, wrong.image) + margin
    # 'auto' goes on from its trial: the same iterations, and the same image (grey range 1, float32).
    assert results["auto"].info[0]["pixel_model"] == pixel_model
    assert (results["auto"].image - right.image).abs().max() <= 1e-5


@pytest.mark.parametrize("factor", (1e-3, 1e3))
def test_area_means_are_free_of_units(shale_case, factor):
    case, options = shale_case(size=32, oversample=4), dict(QUICK, pixel_model="area")
    expected, scaled = run(case, **options), run(case._replace(sinogram=factor * case.sinogram), **options)
    assert (scaled.image - factor * expected.image).norm() <= 1e-3 * factor * expected.image.norm()  # the requirement
    for key in ("tv_weight", "edge_threshold", "residual", "relative_noise"):
        assert scaled.info[0][key] == pytest.approx(expected.info[0][key], rel=1e-3)  # float32
    assert scaled.info[0]["noise"] == pytest.approx(factor * expected.info[0]["noise"], rel=1e-3)


def test_area_means_are_free_of_units_to_the_last_bit_for_powers_of_two(shale_case):
    case, options = shale_case(size=32, oversample=4), dict(QUICK, pixel_model="area")
    assert torch.equal(
        run(case._replace(sinogram=1024 * case.sinogram), **options).image, 1024 * run(case, **options).image
    )


def test_residuals_of_area_means_are_those_the_detector_sees(shale_case):
    case = shale_case(oversample=4)
    result = run(case, num_iter=0, pixel_model="area")
    seen = filter_projections(
        case.model.resampled(rays_per_bin=2).forward_project(result.image), pixel_response(case.theta, 64)
    )
    expected = float((seen - case.sinogram).norm() / case.sinogram.norm())
    # The norm it refers to is that of the data without the pixel's response, which differs by 0.07 %.
    assert result.info[0]["residual"] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("pixel_model", ("area", "auto"))
def test_no_signal_gives_zero_with_any_pixel_model(small_case, pixel_model):
    result = run(small_case._replace(sinogram=torch.zeros_like(small_case.sinogram)), pixel_model=pixel_model, **QUICK)
    assert torch.equal(result.image, torch.zeros(1, 32, 32))
    assert all(math.isfinite(result.info[0][key]) for key in ("residual", "tv_weight", "edge_threshold", "objective"))


@pytest.mark.parametrize("pixel_model", ("area", "auto"))
def test_area_means_that_fail_leave_no_nan(shale_case, failing_model, pixel_model):
    case = shale_case(size=32, step=2, oversample=4)
    for failure in (dict(projection=100), dict(projection=200), dict(iteration=3)):
        with pytest.raises(NonFiniteError) as raised:
            run(case._replace(model=failing_model(case.model, **failure)), pixel_model=pixel_model, **QUICK)
        assert raised.value.result is None or raised.value.result.image.isfinite().all()
    assert raised.value.result is not None  # it failed after the start image


@pytest.mark.parametrize("init", ("sirt", "fbp", "none"))
def test_auto_is_point_pixels_for_other_starts(small_case, init):
    assert run(small_case, init=init, num_iter=0).info[0]["pixel_model"] == "point"


def test_a_forward_model_that_is_no_projector_has_point_pixels():
    model = DenseModel()
    seen = []
    result = fit(
        model,
        model.forward_project(torch.from_numpy(shale(20)[:, 2:18])),
        GanrecOptions(num_iter=3, reweight_rounds=1, mask=False),
        callback=seen.append,
    )
    starts = [s for s in seen if s.stage == "start"]
    assert result.info[0]["pixel_model"] == "point"
    assert starts[-1].iteration == starts[-1].total  # the progress of the stage ends at its total


def test_fbp_needs_angles():
    model = DenseModel()
    with pytest.raises(ValueError, match="init='fbp'.*theta.*init='sirt'"):
        fit(model, torch.ones(1, *model.range_shape), GanrecOptions(init="fbp"))


def test_a_start_image_that_is_not_finite_leaves_no_nan(small_case, failing_model):
    failing = small_case._replace(model=failing_model(small_case.model, projection=100))
    with pytest.raises(NonFiniteError) as raised:
        run(failing, **QUICK)
    assert raised.value.result is None or raised.value.result.image.isfinite().all()
