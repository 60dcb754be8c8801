"""The fit: better than what it starts from, the same for any units, seed and batch, and with any linear forward model."""

import functools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from tomopy_ganrec.fit import Status, fit
from tomopy_ganrec.fit.gan.generator import NonNegative
from tomopy_ganrec.fit.gan.objective import BestIterate, Objective, PlateauDetector
from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.measurement.pixel_response import pixel_response
from tomopy_ganrec.fit.measurement.regularization import RegularizationWeights, initial_weights
from tomopy_ganrec.metrics import mssim, ssim_map
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.results import NonFiniteError
from tomopy_ganrec.solvers.classical import mlem
from tomopy_ganrec.solvers.forward_model import data_scale, field_of_view, operator_norm
from tomopy_ganrec.solvers.operators import filter_projections

INITS = ("tv", "sirt", "fbp", "none")
SHALE_LEVELS = (0, 1 / 3, 2 / 3, 1)
QUICK = dict(num_iter=10, reweight_rounds=1)  # where behaviour matters, not quality


def run(case, init_image=None, callback=None, **options):
    return fit(case.model, case.sinogram, GanrecOptions(**options), init=init_image, callback=callback)


def quality(case, images):
    return mssim(case.truth[0], images[0])


def measured(case, image):
    """The case's geometry with another object, (n, n), as its own projector sees it."""
    truth = np.asarray(image, np.float32)[None]
    return case._replace(truth=truth, sinogram=case.model.forward_project(torch.from_numpy(truth)))


def grid(n):
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    return y, x


@pytest.fixture(scope="module")
def default_fit(shale_case):
    """A function that gives the case and the default fit of the 64² shale, each fitted once; one made of the grid's own pixels is known to be."""

    @functools.cache
    def fitted(wedge=120, oversample=1, photons=None):
        case = shale_case(wedge=wedge, oversample=oversample, photons=photons)
        return case, run(case, pixel_model="point" if oversample == 1 else "auto")

    return fitted


@pytest.fixture(scope="module")
def clean(default_fit):
    return default_fit()[1]


@pytest.fixture(scope="module")
def three(shale_case):
    """Three slices of 32² shale."""
    return shale_case(size=32, slices=3)


class DenseModel:
    """A linear measurement that is no projection: a sparse random matrix, without theta or center."""

    def __init__(self, domain_shape=(16, 20), range_shape=(24, 12)):
        self.domain_shape, self.range_shape = domain_shape, range_shape
        shape, generator = (math.prod(range_shape), math.prod(domain_shape)), torch.Generator().manual_seed(0)
        self.matrix = torch.rand(shape, generator=generator) * (torch.rand(shape, generator=generator) < 0.1)

    def forward_project(self, x):
        return (x.flatten(1) @ self.matrix.T).unflatten(1, self.range_shape)

    def back_project(self, y):
        return (y.flatten(1) @ self.matrix).unflatten(1, self.domain_shape)


# Quality


# Measured: plain TV .918, MLEM .799, fit .986; with sub-pixel truth .909, .828, .945.
@pytest.mark.parametrize(("oversample", "margin"), ((1, 0.034), (4, 0.018)))
def test_default_beats_total_variation_and_mlem(default_fit, oversample, margin):
    case, result = default_fit(oversample=oversample)
    assert (
        quality(case, result.image) > quality(case, run(case, reweight_rounds=0, num_iter=0).image) + margin
    )  # half of what is measured
    assert (
        quality(case, result.image) > quality(case, mlem(case.model, case.sinogram, 200)) + 0.058
    )  # half of .117, the lesser of the two


@pytest.mark.parametrize("wedge", (120, 90, 60))
def test_fit_does_not_lower_its_start(default_fit, wedge):
    case, result = default_fit(wedge=wedge)
    assert quality(case, result.image) > quality(case, result.start) - 0.002  # the requirement


# 0.002 is the requirement, stated at 256² for clean data and 1e5 photons. With more noise it does not hold: over three noise seeds −.0019, −.0015,
# −.0026 with 1e4 photons and −.0068, −.0039, −.0023 with 1e3, where the penalty no longer orders iterates as the truth does.
@pytest.mark.parametrize(
    ("oversample", "photons", "most"), ((4, None, 0.002), (1, 1e5, 0.002), (1, 1e4, 0.004), (1, 1e3, 0.01))
)
def test_fit_does_not_lower_its_start_of_harder_data(default_fit, oversample, photons, most):
    case, result = default_fit(oversample=oversample, photons=photons)
    assert quality(case, result.image) > quality(case, result.start) - most


def test_fit_changes_and_improves_a_noise_free_image(case, clean):
    assert float((clean.image - clean.start).abs().max()) > 0.01  # of a grey range of 1; .028 measured
    assert quality(case, clean.image) > quality(case, clean.start) + 0.001  # .0024 measured
    assert clean.info[0]["iteration"] > 0
    assert clean.info[0]["objective"] < clean.info[0]["start_objective"]


@pytest.mark.parametrize("init", INITS)
def test_fit_improves_or_keeps_the_residual_of_any_start(shale_case, init):
    result = run(shale_case(size=32), init=init)
    ratio = result.info[0]["residual"] / result.info[0]["start_residual"]
    assert ratio < (1.05 if init == "tv" else 0.5)  # 1.03 for a start that has converged; at most .24 for the others
    assert result.info[0]["objective"] < result.info[0]["start_objective"]


def test_levels_help_a_segmented_object(case, clean):
    for levels in ("auto", SHALE_LEVELS):
        result = run(case, levels=levels, pixel_model="point")
        assert quality(case, result.image) > 0.5 * (
            1 + quality(case, clean.image)
        )  # .986 to .9998 measured: half of what is missing
        assert result.info[0]["levels"][:3] == pytest.approx([0, 1 / 3, 2 / 3], abs=0.02)


def test_auto_levels_leave_a_smooth_object_alone(shale_case):
    y, x = grid(48)
    case = measured(shale_case(size=48), np.maximum(1 - np.hypot(y, x) ** 2 / 20**2, 0))
    plain = run(case, reweight_rounds=2, num_iter=50)
    with pytest.warns(RuntimeWarning, match="levels='auto': 1 of 1 slices show no discrete grey levels") as warned:
        result = run(case, reweight_rounds=2, num_iter=50, levels="auto")
    assert len(warned) == 1
    assert result.info[0]["levels"] == []
    assert quality(case, result.image) > quality(case, plain.image) - 0.005  # the rates of a fit with levels are others


def test_auto_levels_warn_of_the_slices_without(shale_case):
    case = shale_case(size=48)
    y, x = grid(48)
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


def test_negative_values_need_nonnegative_off(shale_case):
    y, x = grid(32)
    case = measured(shale_case(size=32), np.where(np.hypot(y, x) < 13, np.where(x * y > 0, 0.5, -0.5), 0))
    result = run(case, nonnegative=False)
    assert quality(case, result.image) > 0.95  # .99 measured
    assert float(result.image.min()) == pytest.approx(-0.5, abs=0.15)  # a little overshoot at a corner
    assert float(run(case, **QUICK).image.min()) >= 0


@pytest.mark.parametrize("init", INITS)
def test_any_start_may_be_negative(shale_case, init):
    y, x = grid(32)
    case = measured(shale_case(size=32), np.where(np.hypot(y, x) < 13, np.where(x * y > 0, 0.5, -0.5), 0))
    result = run(case, init=init, nonnegative=False, reweight_rounds=2)
    # At most .04 measured; from zero, a hundred steps lead part of the way.
    assert result.info[0]["residual"] < (0.8 if init == "none" else 0.1)
    assert float(result.image.min()) < (-0.05 if init == "none" else -0.3)


def test_an_object_wider_than_the_disc_needs_mask_off(shale_case):
    image = np.zeros((32, 32))
    image[2:-2, 2:-2] = 0.5
    case = measured(shale_case(size=32), image)
    outside = field_of_view(case.model) == 0
    open_fit, masked = run(case, mask=False), run(case, **QUICK)
    assert quality(case, open_fit.image) > 0.97  # .99 measured
    assert (masked.image[0][outside] == 0).all() and (masked.start[0][outside] == 0).all()
    assert float(open_fit.image[0, 3, 3]) == pytest.approx(0.5, abs=0.05)


def test_a_finer_grid_and_an_axis_off_centre():
    theta = np.deg2rad(np.arange(0, 120, 2.0))
    truth = torch.from_numpy(shale(64))
    data = ParallelBeamProjector(64, theta, 64, center=29.5).forward_project(truth)
    model = ParallelBeamProjector(128, theta, 64, center=29.5, pixel_size=0.5, rays_per_bin=2)
    image = fit(model, data, GanrecOptions(**QUICK)).image.unflatten(1, (64, 2)).unflatten(3, (64, 2)).mean((2, 4))
    assert float(image.mean()) == pytest.approx(
        float(truth.mean()), rel=0.01
    )  # the sum is what each projection measures
    assert mssim(truth[0], image[0]) > 0.85  # .9 measured: the right place, too


# Start, noise and settings


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


def test_residuals_reported_are_those_of_the_images(case, clean):
    for key, image in (("residual", clean.image), ("start_residual", clean.start)):
        residual = float((case.model.forward_project(image) - case.sinogram).norm() / case.sinogram.norm())
        assert clean.info[0][key] == pytest.approx(
            residual, rel=1e-3
        )  # float32: the residual is a thousandth of the data


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


def test_noise_given_is_used_and_estimated_noise_does_as_well(default_fit, case):
    noisy, auto = default_fit(photons=1e4)
    noise = float((noisy.sinogram - case.sinogram).std())
    given = run(noisy, noise=noise, pixel_model="point")
    assert given.info[0]["noise"] == noise
    assert auto.info[0]["noise"] == pytest.approx(
        noise, rel=0.3
    )  # + 24 % measured: a pixel-sharp object of 64² looks noisy
    assert quality(noisy, auto.image) == pytest.approx(quality(noisy, given.image), abs=0.02)  # .893 and .903 measured


def settings_of(case, **options):
    scale = data_scale(case.model, case.sinogram, field_of_view(case.model))
    return initial_weights(case.model, case.sinogram, scale, GanrecOptions(**options))


def test_settings_follow_the_noise(shale_case):
    found = [settings_of(shale_case(photons=photons))[0] for photons in (None, 1e5, 1e4, 1e3)]
    for quiet, loud in zip(found, found[1:], strict=False):
        assert (
            loud.noise > quiet.noise and loud.tv_weight > quiet.tv_weight and loud.edge_threshold > quiet.edge_threshold
        )
    assert [s.loss for s in found] == ["l1", "l2", "l2", "l2"]
    assert all(0.04 <= s.edge_threshold <= 0.12 for s in found)  # as the options' docstring says


def test_settings_given_stand(shale_case):
    chosen = settings_of(
        shale_case(photons=1e4), noise=0.0, tv_weight=0.5, edge_threshold=0.25, loss="l2", reweight_rounds=3
    )[0]
    assert (chosen.noise, chosen.tv_weight, chosen.edge_threshold, chosen.loss, chosen.rounds) == (
        0.0,
        0.5,
        0.25,
        "l2",
        3,
    )


def test_settings_are_free_of_units(shale_case):
    case = shale_case(photons=1e4)
    one, other = settings_of(case)[0], settings_of(case._replace(sinogram=1000 * case.sinogram))[0]
    assert other.noise == pytest.approx(1000 * one.noise, rel=1e-4)  # float32
    assert (other.tv_weight, other.edge_threshold, other.loss) == (
        pytest.approx(one.tv_weight, rel=1e-4),
        pytest.approx(one.edge_threshold, rel=1e-4),
        one.loss,
    )


# Pixels: means of the object, or squares


@pytest.mark.parametrize("size", (64, 96))
@pytest.mark.parametrize(("protocol", "kind"), (("pixel", "point"), ("subpixel", "area")))
def test_auto_finds_what_a_pixel_is(size, protocol, kind):
    pytest.importorskip("astra")
    from tomopy_ganrec.benchmark.cases import AngularRange, Case

    _, sinogram = Case("shale", size, "120", None, protocol).slice()
    theta = AngularRange("120").theta
    result = fit(
        ParallelBeamProjector(size, theta, size),
        torch.from_numpy(sinogram)[None],
        GanrecOptions(num_iter=0, reweight_rounds=0),
    )
    assert result.info[0]["pixel_model"] == kind


@pytest.mark.parametrize(("oversample", "kind", "margin"), ((4, "area", 0.0137), (1, "point", 0.026)))
def test_the_right_kind_of_pixel_is_the_better_one(shale_case, oversample, kind, margin):
    case = shale_case(oversample=oversample)
    found = {pixels: run(case, num_iter=0, pixel_model=pixels) for pixels in ("area", "point", "auto")}
    right, wrong = (found[name] for name in (kind, "point" if kind == "area" else "area"))
    # Half of what is measured: .945 and .918 of structure below the pixel, .983 and .931 of squares.
    assert quality(case, right.image) > quality(case, wrong.image) + margin
    # 'auto' goes on from its trial: the same iterations, and the same image.
    assert (
        found["auto"].info[0]["pixel_model"] == kind and (found["auto"].image - right.image).abs().max() <= 1e-5
    )  # grey range 1, float32


def test_slices_of_both_kinds_come_back_in_their_order(shale_case):
    cases = [shale_case(oversample=4), shale_case(), shale_case(oversample=4, seed=1)]
    both = cases[0]._replace(sinogram=torch.cat([c.sinogram for c in cases]))
    options = dict(QUICK, noise=0.01)
    together = run(both, **options)
    assert [info["pixel_model"] for info in together.info] == ["area", "point", "area"]
    assert all(values.shape[1] == 3 and np.isfinite(values).all() for values in together.history.values())
    for k, single in enumerate(cases):
        alone = run(single, **options)
        assert alone.info[0]["pixel_model"] == together.info[k]["pixel_model"]
        for key in ("tv_weight", "edge_threshold", "start_residual", "residual", "start_objective", "objective"):
            assert together.info[k][key] == pytest.approx(
                alone.info[0][key], rel=1e-2
            )  # they differ by tens of percent from slice to slice
        assert (
            together.image[k] - alone.image[0]
        ).abs().max() <= 1e-2  # sums in another order, amplified where the l1 loss has kinks


@pytest.mark.parametrize("factor", (1e-3, 1e3))
def test_means_are_free_of_units(shale_case, factor):
    case, options = shale_case(size=32, oversample=4), dict(QUICK, pixel_model="area")
    expected, scaled = run(case, **options), run(case._replace(sinogram=factor * case.sinogram), **options)
    assert (scaled.image - factor * expected.image).norm() <= 1e-3 * factor * expected.image.norm()  # the requirement
    for key in ("tv_weight", "edge_threshold", "residual", "relative_noise"):
        assert scaled.info[0][key] == pytest.approx(expected.info[0][key], rel=1e-3)  # float32
    assert scaled.info[0]["noise"] == pytest.approx(factor * expected.info[0]["noise"], rel=1e-3)


def test_means_are_free_of_units_to_the_last_bit_for_powers_of_two(shale_case):
    case, options = shale_case(size=32, oversample=4), dict(QUICK, pixel_model="area")
    assert torch.equal(
        run(case._replace(sinogram=1024 * case.sinogram), **options).image, 1024 * run(case, **options).image
    )


def test_a_batch_of_means_gives_what_its_slices_give_alone(shale_case):
    case, options = (
        shale_case(slices=3, oversample=4, photons=1e4),
        dict(num_iter=30, reweight_rounds=2, pixel_model="area"),
    )
    together = run(case, **options)
    for k in range(3):
        alone = run(case._replace(sinogram=case.sinogram[k : k + 1]), **options)
        for key in ("tv_weight", "edge_threshold"):
            assert together.info[k][key] == pytest.approx(alone.info[0][key], rel=1e-3)  # float32
        assert (together.start[k] - alone.start[0]).abs().max() <= 1e-4 and (
            together.image[k] - alone.image[0]
        ).abs().max() <= 1e-4  # of a range of 1


def test_residuals_of_means_are_those_the_detector_sees(shale_case):
    case = shale_case(oversample=4)
    result = run(case, num_iter=0, pixel_model="area")
    seen = filter_projections(
        case.model.resampled(rays_per_bin=2).forward_project(result.image), pixel_response(case.theta, 64)
    )
    expected = float((seen - case.sinogram).norm() / case.sinogram.norm())
    # The norm it refers to is that of the data without the pixel's response, which differs by 0.07 %.
    assert result.info[0]["residual"] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("options", (dict(tv_weight=0.01), dict(edge_threshold=0.2), dict(loss="l1")))
def test_what_is_given_stands_for_means_too(small_case, options):
    info = run(small_case, pixel_model="area", **QUICK | options).info[0]
    assert {name: info[name] for name in options} == options


@pytest.mark.parametrize("pixels", ("area", "auto"))
def test_no_signal_gives_zero_for_any_pixels(small_case, pixels):
    result = run(small_case._replace(sinogram=torch.zeros_like(small_case.sinogram)), pixel_model=pixels, **QUICK)
    assert torch.equal(result.image, torch.zeros(1, 32, 32))
    assert all(math.isfinite(result.info[0][key]) for key in ("residual", "tv_weight", "edge_threshold", "objective"))


@pytest.mark.parametrize("pixels", ("area", "auto"))
def test_means_that_fail_leave_no_nan_behind(shale_case, breaking, pixels):
    case = shale_case(size=32, step=2, oversample=4)
    for failure in (dict(projection=100), dict(projection=200), dict(iteration=3)):
        with pytest.raises(NonFiniteError) as raised:
            run(case._replace(model=breaking(case.model, **failure)), pixel_model=pixels, **QUICK)
        assert raised.value.result is None or raised.value.result.image.isfinite().all()
    assert raised.value.result is not None  # it began well


@pytest.mark.parametrize("pixels", ("area", "auto"))
@pytest.mark.parametrize("iteration", (7, 100, 220))
def test_callback_stops_any_pixels(small_case, pixels, iteration):
    seen = []
    result = run(
        small_case,
        pixel_model=pixels,
        callback=lambda status: seen.append(status) or status.iteration == iteration,
        **QUICK | dict(reweight_rounds=4),
    )
    assert [s.iteration for s in seen] == list(range(1, iteration + 1)) and result.info[0]["stopped"] == "callback"
    assert result.image.isfinite().all() and result.image.max() > 0


@pytest.mark.parametrize("init", ("sirt", "fbp", "none"))
def test_auto_means_squares_for_other_starts(small_case, init):
    assert run(small_case, init=init, num_iter=0).info[0]["pixel_model"] == "point"


def test_a_forward_model_that_is_no_projector_has_squares():
    model = DenseModel()
    seen = []
    result = fit(
        model,
        model.forward_project(torch.from_numpy(shale(20)[:, 2:18])),
        GanrecOptions(num_iter=3, reweight_rounds=1, mask=False),
        callback=seen.append,
    )
    starts = [s for s in seen if s.stage == "start"]
    assert (
        result.info[0]["pixel_model"] == "point" and starts[-1].iteration == starts[-1].total
    )  # its progress ends full


# The same whatever the units, the seed and the batch


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


def test_other_seeds_differ_but_agree(case, clean):
    other = run(case, seed=1, pixel_model="point")
    assert not torch.equal(other.image, clean.image)
    assert torch.equal(other.start, clean.start)
    assert quality(case, other.image) == pytest.approx(
        quality(case, clean.image), abs=0.003
    )  # the requirement; 1e-4 measured


def test_a_seed_may_be_a_numpy_integer(small_case):
    assert torch.equal(run(small_case, seed=np.int64(3), **QUICK).image, run(small_case, seed=3, **QUICK).image)


@pytest.mark.parametrize("loss", ("l1", "l2"))
def test_a_batch_gives_what_its_slices_give_alone(three, loss):
    options = dict(loss=loss, num_iter=50, reweight_rounds=2, pixel_model="point")
    together = run(three, **options)
    for k in range(3):
        alone = run(three._replace(sinogram=three.sinogram[k : k + 1]), **options)
        assert (together.start[k] - alone.start[0]).abs().max() <= 1e-5  # float32 sums in another order, grey range 1
        assert mssim(three.truth[k], together.image[k]) == pytest.approx(
            mssim(three.truth[k], alone.image[0]), abs=1e-3
        )
        # The first is the requirement, with the loss that the default options choose; 4e-4 measured with l1.
        assert (together.image[k] - alone.image[0]).norm() <= (1e-4 if loss == "l2" else 1e-3) * alone.image[0].norm()
    pair = run(three._replace(sinogram=three.sinogram[:2]), **options)
    assert (pair.image - together.image[:2]).norm() <= (1e-4 if loss == "l2" else 1e-3) * pair.image.norm()


def test_slices_of_different_noise_come_back_in_their_order(shale_case):
    cases = [shale_case(photons=1e4), shale_case(), shale_case(photons=1e3, seed=1)]
    batch = cases[0]._replace(sinogram=torch.cat([c.sinogram for c in cases]))
    options = dict(QUICK, init="sirt")
    together = run(batch, **options)
    assert [info["loss"] for info in together.info] == ["l2", "l1", "l2"]
    assert all(values.shape[1] == 3 and np.isfinite(values).all() for values in together.history.values())
    for k, single in enumerate(cases):
        alone = run(single, **options)
        for key in (
            "noise",
            "tv_weight",
            "edge_threshold",
            "start_residual",
            "start_objective",
            "residual",
            "objective",
        ):
            assert together.info[k][key] == pytest.approx(
                alone.info[0][key], rel=1e-2
            )  # they differ by tens of percent from slice to slice
        assert (together.start[k] - alone.start[0]).abs().max() <= 1e-4 and (
            together.image[k] - alone.image[0]
        ).abs().max() <= 1e-2
        np.testing.assert_allclose(together.history["residual"][:, k], alone.history["residual"][:, 0], rtol=1e-2)


# Callback, patience and history


# Total variation: 170, or 120 until the noise is learned, and one round of 28; the trial of both kinds adds the 105 of the one that is left behind.
@pytest.mark.parametrize(("pixels", "steps"), (("point", 198), ("area", 148), ("auto", 303)))
def test_callback_sees_each_iteration(three, pixels, steps):
    seen = []
    result = run(three, callback=seen.append, pixel_model=pixels, **QUICK)
    assert all(isinstance(status, Status) for status in seen)
    starts, fits = [s for s in seen if s.stage == "start"], [s for s in seen if s.stage == "fit"]
    assert seen == starts + fits
    assert [s.iteration for s in starts] == list(range(1, steps + 1)) and {s.total for s in starts} == {steps}
    assert all(math.isnan(s.residual) for s in starts)
    assert [s.iteration for s in fits] == list(range(1, 11)) and {s.total for s in fits} == {10}
    assert [s.residual for s in fits] == pytest.approx(result.history["residual"].max(1)[1:])  # of the worst slice


@pytest.mark.parametrize(("init", "count"), (("sirt", 30), ("fbp", 0), ("none", 0)))
def test_callback_counts_the_iterations_of_each_start(small_case, init, count):
    seen = []
    run(small_case, callback=seen.append, init=init, num_iter=3)
    starts = [s for s in seen if s.stage == "start"]
    assert [s.iteration for s in starts] == list(range(1, count + 1)) and all(s.total == count for s in starts)
    assert [s.iteration for s in seen if s.stage == "fit"] == [1, 2, 3]


def test_callback_stops_the_fit(small_case):
    seen = []
    result = run(
        small_case,
        callback=lambda status: seen.append(status) or status.stage == "fit" and status.iteration == 4,
        **QUICK,
    )
    assert seen[-1].iteration == 4 and result.info[0]["stopped"] == "callback"
    assert result.history["objective"].shape == (5, 1) and result.history["discriminator"].shape == (4, 1)
    assert torch.equal(
        result.image,
        run(small_case, **QUICK, callback=lambda status: status.stage == "fit" and status.iteration == 4).image,
    )


@pytest.mark.parametrize("init", ("tv", "sirt"))
def test_callback_stops_the_start_and_with_it_the_run(small_case, init):
    seen = []
    result = run(small_case, init=init, callback=lambda status: seen.append(status) or status.iteration == 7, **QUICK)
    assert [s.iteration for s in seen] == list(range(1, 8)) and result.info[0]["stopped"] == "callback"
    assert torch.equal(result.image, result.start) and result.image.isfinite().all() and result.image.max() > 0


def test_a_run_that_is_not_stopped_says_so(small_case):
    assert run(small_case, **QUICK).info[0]["stopped"] == "finished"
    assert run(small_case, callback=lambda status: None, **QUICK).info[0]["stopped"] == "finished"


def test_patience_stops_on_a_plateau(small_case):
    # Pixels that hardly move: the objective does not fall any more.
    options = dict(num_iter=50, reweight_rounds=1, pixel_rate=1e-6, network=False)
    result = run(small_case, patience=3, **options)
    assert result.info[0]["stopped"] == "plateau"
    assert result.history["residual"].shape == (4, 1)  # the start and three more
    assert run(small_case, patience=0, **options).info[0]["stopped"] == "finished"


def test_a_settled_slice_waits_for_the_others_and_does_not_change(shale_case):
    """What becomes of it is what becomes of it alone."""
    cases = [shale_case(size=32, wedge=180, step=2), shale_case(size=32, wedge=180, step=2, seed=2, photons=1e3)]
    options = dict(num_iter=60, reweight_rounds=2, pixel_model="point", loss="l2", noise=0.01, patience=8)
    alone = [run(case, **options) for case in cases]
    lengths = [len(one.history["objective"]) for one in alone]
    assert min(lengths) < max(lengths)  # one of them settles first
    together = run(cases[0]._replace(sinogram=torch.cat([case.sinogram for case in cases])), **options)
    for k, one in enumerate(alone):
        assert (together.image[k] - one.image[0]).norm() <= 1e-4 * one.image[0].norm()  # sums in another order


@pytest.mark.parametrize("adversarial", (0.0, 0.1))
def test_history_shapes(three, adversarial):
    history = run(three, adversarial=adversarial, **QUICK).history
    assert history["objective"].shape == history["residual"].shape == (11, 3)  # the start's among them
    assert ("discriminator" in history) == (adversarial > 0)
    if adversarial:
        assert history["discriminator"].shape == (10, 3)
        assert history["discriminator"][0] == pytest.approx(2 * math.log(2), rel=0.2)  # at first a coin for each side


def test_iteration_returned_is_that_of_the_lowest_objective(three):
    result = run(three, loss="l1", num_iter=30, reweight_rounds=1)
    for k, info in enumerate(result.info):
        curve = result.history["objective"][:, k]
        assert info["iteration"] == curve.argmin()
        # The image is the mean of those around the lowest; of curves that circle around a minimum it is nearer to it.
        assert info["objective"] <= curve.min() * (1 + 1e-3)
        assert info["start_objective"] == pytest.approx(curve[0], rel=1e-6)


def test_result_records_seconds_and_settings(clean):
    assert set(clean.seconds) == {"start", "fit"} and all(0 < seconds < 300 for seconds in clean.seconds.values())
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
    assert documented | {"start_objective", "start_residual", "levels", "stopped"} <= set(clean.info[0])


# Other forward models, and what goes wrong


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


def test_fbp_needs_angles():
    model = DenseModel()
    with pytest.raises(ValueError, match="init='fbp'.*theta.*init='sirt'"):
        fit(model, torch.ones(1, *model.range_shape), GanrecOptions(init="fbp"))


@pytest.mark.parametrize("iteration", (1, 5))
def test_non_finite_losses_end_the_fit_with_the_best_image(small_case, breaking, iteration):
    broken = small_case._replace(model=breaking(small_case.model, iteration=iteration))
    with pytest.raises(NonFiniteError, match=f"at iteration {iteration};") as raised:
        run(broken, init="sirt", **QUICK)
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


def test_a_start_that_is_not_finite_leaves_no_nan_behind(small_case, breaking):
    broken = small_case._replace(model=breaking(small_case.model, projection=100))
    with pytest.raises(NonFiniteError) as raised:
        run(broken, **QUICK)
    assert raised.value.result is None or raised.value.result.image.isfinite().all()


def test_the_result_kept_in_an_error_has_all_slices(shale_case, breaking):
    cases = [shale_case(photons=1e4), shale_case(), shale_case(photons=1e3, seed=1)]
    broken = cases[0]._replace(
        sinogram=torch.cat([c.sinogram for c in cases]), model=breaking(cases[0].model, iteration=5)
    )
    with pytest.raises(NonFiniteError) as raised:
        run(broken, init="sirt", **QUICK)
    assert raised.value.result.image.shape == (3, 64, 64)


@pytest.mark.parametrize(
    "options",
    ({}, dict(reweight_rounds=0), dict(init="sirt"), dict(init="fbp"), dict(nonnegative=False), dict(noise=0.1)),
)
def test_no_signal_gives_zero(small_case, options):
    result = run(small_case._replace(sinogram=torch.zeros_like(small_case.sinogram)), **QUICK | options)
    assert torch.equal(result.image, torch.zeros(1, 32, 32))
    assert all(math.isfinite(info["residual"]) for info in result.info)


def test_a_slice_without_signal_does_not_harm_the_others(three):
    sinogram = three.sinogram.clone()
    sinogram[1] = 0
    result = run(three._replace(sinogram=sinogram), noise=0.1, **QUICK)
    expected = run(three, noise=0.1, **QUICK)
    assert (result.image[1] == 0).all()
    assert (result.image[::2] - expected.image[::2]).abs().max() <= 1e-4  # grey range 1


# Stacks


def noisy_copies(case, photons_case, count=4):
    """The slice of a case `count` times, each with noise of its own, as much as that of the other case."""
    sigma = float((photons_case.sinogram - case.sinogram).std())
    noise = torch.randn(count, *case.sinogram.shape[1:], generator=torch.Generator().manual_seed(0))
    return case._replace(truth=np.repeat(case.truth, count, 0), sinogram=case.sinogram + sigma * noise)


def test_a_stack_is_nearer_to_the_truth_than_its_slices(shale_case):
    case = noisy_copies(shale_case(size=48), shale_case(size=48, photons=1e3))
    alone, stacked = (run(case, num_iter=0, pixel_model="point", joint_slices=stack).image for stack in (1, 4))
    # Half of what is measured, .706 to .721 and .1002 to .0956; with other noise .712 to .746 and .692 to .715.
    quality_of = [np.mean([mssim(case.truth[0], image) for image in images]) for images in (alone, stacked)]
    assert quality_of[1] > quality_of[0] + 0.007
    error = [float((images - torch.from_numpy(case.truth)).square().mean().sqrt()) for images in (alone, stacked)]
    assert error[1] < error[0] - 0.0023
    spread = [float(images.std(0).mean()) for images in (alone, stacked)]
    assert spread[1] < 0.75 * spread[0]  # they agree more: .56 measured


def test_a_stack_of_equal_slices_is_each_of_them(small_case):
    """No difference between neighbours, no penalty: what is solved is the slice's own problem, with smaller steps towards the same image."""
    one = run(small_case, num_iter=0, pixel_model="area", noise=0.02).image
    three_alike = run(
        small_case._replace(sinogram=small_case.sinogram.expand(3, -1, -1)),
        num_iter=0,
        pixel_model="area",
        noise=0.02,
        joint_slices=3,
    ).image
    assert (three_alike - three_alike[:1]).abs().max() < 1e-4  # grey range 1: sums in another order
    assert (three_alike[0] - one[0]).norm() < 0.05 * one.norm()  # the steps are shorter


def test_slices_of_a_stack_keep_their_order(three):
    result = run(three, num_iter=0, reweight_rounds=1, joint_slices=3)
    scores = np.array([[mssim(truth, image) for truth in three.truth] for image in result.image])
    assert scores.argmax(1).tolist() == [0, 1, 2]


def test_a_brighter_neighbour_does_not_harm_a_slice(shale_case):
    """Slices of a stack are compared in the same units: where they are alike they are to stay so, whatever else one of them holds.

    The second slice is the first one with a disc of five times its attenuation: its own scale is 1.9 times as large.
    """
    case, noise = shale_case(size=48, wedge=90), shale_case(size=48, wedge=90, photons=1e4)
    y, x = grid(48)
    disc = np.hypot(y, x) < 7
    other = measured(case, case.truth[0] + 4 * disc)
    sigma = float((noise.sinogram - case.sinogram).std())
    sinogram = torch.cat([case.sinogram, other.sinogram])
    both = case._replace(
        sinogram=sinogram + sigma * torch.randn(sinogram.shape, generator=torch.Generator().manual_seed(0))
    )
    far = np.hypot(y, x) > 10
    alone, stacked = (run(both, num_iter=0, pixel_model="point", joint_slices=stack).image for stack in (1, 2))
    score = [ssim_map(case.truth[0], images[0])[far].mean() for images in (alone, stacked)]
    assert score[1] > score[0] - 0.06


def test_stages_of_a_stack_that_is_taught(three, monkeypatch):
    from tomopy_ganrec.fit import wedge_learning

    for name, value in dict(COPIES=4, PLAIN_ITERATIONS=10, ROUNDS=1, ROUND_ITERATIONS=5, TRAINING_STEPS=6).items():
        monkeypatch.setattr(wedge_learning, name, value)
    seen = []
    result = run(
        three,
        callback=seen.append,
        reweight_rounds=1,
        pixel_model="area",
        joint_slices=3,
        wedge_rounds=1,
        grid_factor=2,
        uncertainty_samples=2,
    )
    assert list(dict.fromkeys(s.stage for s in seen)) == ["start", "learn", "uncertainty"]
    for stage in ("start", "learn", "uncertainty"):
        found = [s for s in seen if s.stage == stage]
        assert [s.iteration for s in found] == list(range(1, found[0].total + 1)) and {s.total for s in found} == {
            len(found)
        }
    assert result.image.isfinite().all() and all(info["uncertainty"].shape == (32, 32) for info in result.info)


# The caller's world is left as it was


@pytest.mark.parametrize("context", (torch.no_grad, torch.inference_mode))
@pytest.mark.parametrize("preset", ("default", "paper"))
def test_works_where_the_caller_records_no_gradients(small_case, context, preset):
    options = dict(QUICK, preset=preset)
    expected = run(small_case, **options)
    with context():
        result = run(small_case._replace(sinogram=small_case.sinogram.clone()), **options)
    assert torch.equal(result.image, expected.image)
    assert not result.image.requires_grad


def test_data_that_carry_a_graph(small_case):
    sinogram = small_case.sinogram.clone().requires_grad_()
    result = run(small_case._replace(sinogram=2 * sinogram), **QUICK)
    assert not result.image.requires_grad and not result.start.requires_grad
    assert sinogram.grad is None


def test_data_and_random_states_are_left_alone(small_case):
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


# The parts of the fit


def test_control_without_network_moves_the_pixels_alone(small_case):
    still = run(small_case, loss="l1", network=False, pixel_rate=1e-9, **QUICK)
    assert (still.image - still.start).abs().max() < 1e-6  # ten steps of 1e-9
    moved = run(small_case, loss="l1", network=False, pixel_rate=1e-2, **QUICK)
    assert (moved.history["objective"][1:] != still.history["objective"][1:]).all()


def test_discriminator_has_a_say(small_case):
    with_it, without = (
        run(small_case, loss="l1", num_iter=20, reweight_rounds=1, adversarial=weight) for weight in (10.0, 0.0)
    )
    assert (with_it.history["objective"][2:] != without.history["objective"][2:]).any()


def test_a_pixel_at_zero_moves_the_same_on_either_side_of_it():
    """The constraint x ≥ 0 passes on the gradient of a pixel that rounding puts just below zero, and none of one well below."""
    x = torch.tensor([-1.0, -1e-9, 0.0, 1e-9, 1.0], requires_grad=True)
    image = NonNegative.apply(x)
    image.sum().backward()
    assert image.tolist() == [0, 0, 0, pytest.approx(1e-9), 1]
    assert x.grad.tolist() == pytest.approx([0, 1, 1, 1, 1], abs=1e-5)


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
def test_best_does_not_jump_where_a_threshold_is(residual):
    """Rounding of the residual, 1e-6 of it, moves the mean by as little wherever it lies."""

    def found(value):
        best = BestIterate(torch.zeros(1, 1, 1), torch.ones(1), 1.6)
        best.update(torch.zeros(1, 1, 1), torch.ones(1), torch.ones(1), 0)
        best.update(torch.ones(1, 1, 1), torch.ones(1), torch.tensor([value], dtype=torch.float64), 1)
        return best.image.item()

    assert abs(found(residual * (1 + 1e-6)) - found(residual * (1 - 1e-6))) < 5e-5
    assert found(1.4) == pytest.approx(0.5) and found(1.61) == 0


def test_best_always_takes_the_start():
    best = BestIterate(torch.full((1, 1, 1), 7.0), torch.tensor([1.0]), 0.5)
    best.update(torch.full((1, 1, 1), 7.0), torch.tensor([3.0]), torch.tensor([1.0]), 0)
    best.update(torch.zeros(1, 1, 1), torch.tensor([2.0]), torch.tensor([1.0]), 1)
    assert best.image.item() == 7 and best.iteration.tolist() == [0]


def test_best_does_not_take_what_is_not_finite():
    best = BestIterate(torch.ones(1, 1, 1), torch.ones(1), 1.6)
    best.update(torch.full((1, 1, 1), math.nan), torch.tensor([math.nan]), torch.tensor([math.nan]), 0)
    assert best.image.item() == 1  # nothing was offered that counts: the start
    best.update(torch.full((1, 1, 1), 2.0), torch.ones(1), torch.ones(1), 1)
    best.update(torch.full((1, 1, 1), math.inf), torch.tensor([math.inf]), torch.ones(1), 2)
    assert best.image.item() == 2


def test_plateau_ends_where_the_objective_has_not_fallen():
    plateau = PlateauDetector(2)
    falls = torch.tensor([[1.0, 1.0], [0.9, 0.9], [0.8998, 0.5], [0.8997, 0.4999], [0.8, 0.4999], [0.7, 0.1]])
    open_ = [plateau(values).tolist() for values in falls]
    assert [a for a, _ in open_] == [1, 1, 1, 0, 0, 0]  # once settled, settled
    assert [b for _, b in open_] == [1, 1, 1, 1, 0, 0]
    never = PlateauDetector(0)
    assert all(never(torch.ones(1)).all() for _ in range(10))


def test_plateau_does_not_jump():
    """A fall of 0.05 %, between the two limits, leaves what follows half its weight."""
    found = []
    for fall in (3e-4, 4.5e-4, 5e-4, 5.5e-4, 7e-4):
        plateau = PlateauDetector(1)
        plateau(torch.ones(1, dtype=torch.float64))
        found.append(plateau(torch.full((1,), 1 - fall, dtype=torch.float64)).item())
    assert found == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def plain_measurement(case, settings, spectrum=None):
    weights = RegularizationWeights(tuple(settings))
    point = Measurement.of_point_pixels(case.model, case.sinogram, weights, Constraints())
    return replace(point, spectrum=spectrum)


def test_objective_is_the_start_images_own(small_case):
    """With the l2 loss, and without reweighting, both minimise ½ s² ‖A x − b‖² + λ ‖∇x‖₁, s² = 8/‖A‖²: here in units of λ a pixel."""
    model, image = small_case.model, torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    settings = settings_of(small_case, reweight_rounds=0, tv_weight=3e-3, loss="l2")
    objective = Objective(plain_measurement(small_case, settings), torch.ones(1, 1, 1))
    sinogram = model.forward_project(image)
    gx, gy = torch.zeros_like(image), torch.zeros_like(image)
    gx[..., :-1], gy[..., :-1, :] = image.diff(dim=2), image.diff(dim=1)
    misfit = 4 / operator_norm(model, image) * (sinogram - small_case.sinogram).square().sum()
    expected = float(misfit / 3e-3 + torch.hypot(gx, gy).sum()) / 32**2
    value = float(objective.data_term(sinogram) + objective.penalty(image))
    assert value == pytest.approx(expected, rel=2e-3)  # the variation is smoothed below 1e-3
    assert float(objective.variation(image)) == pytest.approx(float(objective.penalty(image)), rel=1e-6)


def test_objective_weighs_the_frequencies_as_the_start_does(small_case):
    """½ s² ‖G(A x − b)‖²: a constant G of 2 is four times the data term, and each frequency counts by the square of its own weight."""
    settings = settings_of(small_case, reweight_rounds=0, tv_weight=3e-3, loss="l2")
    plain = Objective(plain_measurement(small_case, settings), torch.ones(1, 1, 1))
    twice = Objective(plain_measurement(small_case, settings, torch.full((17,), 2.0)), torch.ones(1, 1, 1))
    even = Objective(plain_measurement(small_case, settings, (torch.arange(17) % 2 == 0).float()), torch.ones(1, 1, 1))
    odd = Objective(plain_measurement(small_case, settings, (torch.arange(17) % 2 == 1).float()), torch.ones(1, 1, 1))
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
        plain_measurement(small_case, settings_of(small_case, edge_threshold=0.05)), torch.ones(1, 1, 1)
    )
    plain = float(objective.variation(image))
    objective.refresh(image)
    assert (
        float(objective.variation(image)) < 0.15 * plain
    )  # ε over the blurred step, .05/.52, and what the smoothing adds
    assert float(objective.penalty(image)) == pytest.approx(0.05 * math.asinh(20) / 32, rel=1e-4)  # one column of steps
