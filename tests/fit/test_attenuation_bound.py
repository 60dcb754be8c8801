"""The bound on attenuation: found where a slice has one solid, kept off elsewhere, given by hand, recorded."""

import functools
import warnings

import numpy as np
import pytest
import solid_objects
import torch
from fit_cases import QUICK, run

from tomopy_ganrec import recon
from tomopy_ganrec.fit import attenuation_bound, fit
from tomopy_ganrec.fit.gan.generator import Generator
from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector

pytest.importorskip("astra")


@functools.cache
def found(draw, angular_range, photons, seed, bound="auto"):
    """The MSSIM of an object's start image, and its record."""
    scan = solid_objects.scan(draw, angular_range, photons, seed)
    result = fit(
        scan.model, scan.sinogram, GanrecOptions(num_iter=0, pixel_model="area", mask=True, max_attenuation=bound)
    )
    return mssim(scan.truth, result.image[0]), result.info[0]


# The search

HOLES = [(angular_range, photons) for angular_range in (90, 60) for photons in (None, 1e4)]


@pytest.mark.parametrize(("angular_range", "photons"), HOLES)
def test_the_attenuation_of_the_one_solid_is_found(angular_range, photons):
    quality, record = found(solid_objects.holes, angular_range, photons, 1)
    # .98 to 1.05 measured: at 60° the residual hardly shows more.
    assert record["max_attenuation"] == pytest.approx(solid_objects.SOLID, rel=0.07)
    assert record["bound_origin"] == "found" and 0 <= record["bound_rise"] < 0.01
    if photons is not None:
        without, _ = found(solid_objects.holes, angular_range, photons, 1, None)
        assert quality > without + 0.05  # .15 and .17 measured


# Their attenuation is hardly piled up, so that the data say little about a bound: it was .83 and .86 before the inside
# of the reweighted image was looked at, and cost .1 to .2.
@pytest.mark.parametrize(
    ("draw", "angular_range", "photons"),
    (
        (solid_objects.grains, 90, 1e4),
        (solid_objects.grains, 60, None),
        (solid_objects.fibres, 90, None),
    ),
    ids=lambda value: getattr(value, "__name__", None),
)
def test_small_grains_and_fibres_lose_nothing(draw, angular_range, photons):
    quality, record = found(draw, angular_range, photons, 0)
    assert quality >= found(draw, angular_range, photons, 0, None)[0] - 0.003  # the requirement
    bound = record["max_attenuation"]
    assert bound is None or bound > 0.94 * solid_objects.SOLID  # .96 and 1.02 measured, and none


KEEPS_OFF = [(solid_objects.solids, None), (solid_objects.textured, 1e4), (solid_objects.inclusions, None)]


@pytest.mark.parametrize(("draw", "photons"), KEEPS_OFF, ids=("solids", "textured", "inclusions"))
def test_there_is_no_bound_where_there_is_no_one_solid(draw, photons):
    _, record = found(draw, 90, photons, 0)
    assert record["max_attenuation"] is record["bound_origin"] is record["bound_rise"] is None


def test_a_search_without_success_leaves_no_trace(monkeypatch):
    """The slice is as if nothing had been looked for, bit for bit."""
    monkeypatch.setattr(attenuation_bound, "EARLY_LIMITS", (8.0, 9.0))
    scan = solid_objects.scan(solid_objects.holes, 90, 1e4, 1)
    options = GanrecOptions(num_iter=0, reweight_rounds=1, pixel_model="area")
    images = [fit(scan.model, scan.sinogram, options.replace(max_attenuation=bound)).image for bound in ("auto", None)]
    assert torch.equal(*images)


def test_the_bound_has_the_units_of_the_data():
    scan = solid_objects.scan(solid_objects.holes, 90, 1e4, 1)
    _, record = found(solid_objects.holes, 90, 1e4, 1)
    options = GanrecOptions(num_iter=0, pixel_model="area", mask=True)
    larger = fit(scan.model, 1000 * scan.sinogram, options).info[0]
    assert larger["max_attenuation"] == pytest.approx(1000 * record["max_attenuation"], rel=1e-3)
    assert larger["bound_rise"] == pytest.approx(record["bound_rise"], rel=1e-2)


def test_each_slice_of_a_batch_finds_its_own():
    """Among an empty slice, several solids and another unit, a slice has the bound that it has alone."""
    names = [solid_objects.holes, solid_objects.solids]
    scans = [solid_objects.scan(draw, 90, 1e4, 1 - k) for k, draw in enumerate(names)]
    sinogram = torch.cat([torch.zeros_like(scans[0].sinogram), *(scan.sinogram for scan in scans)])
    sinogram = torch.cat([sinogram, 0.01 * scans[0].sinogram])
    result = fit(scans[0].model, sinogram, GanrecOptions(num_iter=0, pixel_model="area", mask=True))
    alone = found(solid_objects.holes, 90, 1e4, 1)[1]["max_attenuation"]
    bounds = [record["max_attenuation"] for record in result.info]
    assert bounds[0] is bounds[2] is None and (result.image[0] == 0).all()
    assert bounds[1] == pytest.approx(alone, rel=1e-3) and bounds[3] == pytest.approx(0.01 * alone, rel=1e-3)
    assert all(result.image[k].max() <= bounds[k] * (1 + 1e-6) for k in (1, 3))  # float32


def test_slices_that_are_one_body_have_one_bound():
    scan = solid_objects.scan(solid_objects.holes, 90, 1e4, 1)
    sinogram = torch.cat([scan.sinogram, 0.9 * scan.sinogram])
    info = fit(
        scan.model, sinogram, GanrecOptions(joint_slices=2, pixel_model="area", mask=True, reweight_rounds=2)
    ).info
    assert info[0]["max_attenuation"] == info[1]["max_attenuation"] == pytest.approx(solid_objects.SOLID, rel=0.1)


# Off


@pytest.mark.parametrize(
    "options",
    (dict(nonnegative=False), dict(init="sirt"), dict(init="fbp"), dict(init="none"), dict(max_attenuation=None)),
    ids=str,
)
def test_nothing_is_looked_for(small_case, options, monkeypatch):
    monkeypatch.setattr(attenuation_bound.AttenuationBoundStage, "_lowest_bounds", None)
    record = run(small_case, **QUICK | options).info[0]
    assert record["max_attenuation"] is record["bound_origin"] is record["bound_rise"] is None


def test_a_full_range_needs_no_bound(shale_case, monkeypatch):
    full = shale_case(size=32, wedge=180, step=6)
    without = run(full, max_attenuation=None, **QUICK)
    monkeypatch.setattr(attenuation_bound.AttenuationBoundStage, "_lowest_bounds", None)
    assert torch.equal(run(full, **QUICK).image, without.image)


# Given by hand

LOW = 0.6  # below the shale's brightest grains


def at_most(image, bound):
    """Whether no pixel exceeds a bound, but for the rounding of float32."""
    return float(image.max()) <= bound * (1 + 1e-6)


@pytest.mark.parametrize("pixels", ("area", "point"))
@pytest.mark.parametrize("bound", (LOW, 5.0))
def test_a_bound_given_is_kept(small_case, bound, pixels):
    result = run(small_case, max_attenuation=bound, pixel_model=pixels, **QUICK)
    record = result.info[0]
    assert record["max_attenuation"] == pytest.approx(bound, rel=1e-6) and record["bound_origin"] == "given"
    assert at_most(result.image, bound) and at_most(result.start, bound)
    assert (record["bound_rise"] > attenuation_bound.RISE_LOW) == (bound == LOW)


@pytest.mark.parametrize("init", ("sirt", "fbp", "none"))
def test_a_bound_given_goes_with_every_start_image(small_case, init):
    result = run(small_case, max_attenuation=LOW, init=init, num_iter=5)
    record = result.info[0]
    assert at_most(result.image, LOW) and at_most(result.start, LOW)
    assert record["bound_origin"] == "given" and record["bound_rise"] is None  # nothing was tried without it


@pytest.mark.parametrize("init", ("tv", "none"))
def test_a_bound_given_holds_for_an_image_given(small_case, init):
    given = torch.full((1, 32, 32), 2.0)
    result = run(small_case, given, max_attenuation=LOW, init=init, **QUICK)
    assert at_most(result.image, LOW) and at_most(result.start, LOW)
    assert (given == 2).all()


def stop_at(calls):
    """A callback that stops the fit at its `calls`-th call."""
    left = iter(range(1, calls))
    return lambda status: next(left, None) is None


def test_a_bound_given_holds_after_a_stop(small_case):
    for calls in (1, 180, 200):
        result = run(small_case, callback=stop_at(calls), max_attenuation=LOW, **QUICK)
        assert result.info[0]["stopped"] == "callback" and at_most(result.image, LOW)
        assert result.info[0]["max_attenuation"] == pytest.approx(LOW, rel=1e-6)


def test_a_search_may_be_stopped(small_case):
    total = []
    run(small_case, callback=lambda s: total.append(s.total), num_iter=0, reweight_rounds=1)
    assert len(total) <= total[-1]  # what was announced
    for calls in (1, len(total) // 2, len(total) - 5):
        stop = run(small_case, callback=stop_at(calls), **QUICK)
        assert stop.image.isfinite().all() and stop.info[0]["stopped"] == "callback"


def test_a_bound_below_what_the_data_bear_is_warned_of(small_case):
    options = dict(sinogram_order=True, device="cpu", num_iter=0, reweight_rounds=1, return_info=True)
    tomo = np.repeat(small_case.sinogram.numpy(), 2, 0) * np.float32([1, 0.1])[:, None, None]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # it does not explain its data either, which is another warning
        image, info = recon(tomo, small_case.theta, max_attenuation=LOW, **options)
    (message,) = [str(warning.message) for warning in caught if "max_attenuation" in str(warning.message)]
    rises = [record["bound_rise"] for record in info.slices]
    assert message.startswith("max_attenuation=0.6 per pixel is less than the data of 1 of 2 slices show")
    assert f"the residual of slice 0 rises by {rises[0]:.2g} of its data" in message
    assert rises[1] < attenuation_bound.RISE_LOW < rises[0]
    assert at_most(image, LOW)


# The stages after the start image


@pytest.mark.parametrize("network", (True, False))
def test_the_generator_stays_below_the_bound(network):
    rng = torch.Generator().manual_seed(0)
    start = torch.rand(2, 24, 21, generator=rng)
    constraints = Constraints(maximum=torch.tensor([0.7, torch.inf])[:, None, None])
    generator = Generator(start, GanrecOptions(network=network), constraints)
    assert torch.allclose(generator(), constraints.project(start), atol=1e-6)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=rng)
    image = generator()
    assert image[0].max() <= 0.7 and image[1].max() > 0.9 and image.min() >= 0
    image.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in generator.parameters())


def test_infinite_bounds_leave_the_generator_as_it_is():
    start = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.1
    images, gradients = [], []
    for maximum in (None, torch.full((1, 1, 1), torch.inf)):
        torch.manual_seed(0)
        generator = Generator(start, GanrecOptions(network=False), Constraints(maximum=maximum))
        images.append(generator())
        images[-1].square().sum().backward()
        gradients.append(next(generator.parameters()).grad)
    assert torch.equal(*images) and torch.equal(*gradients)


def test_no_iterate_of_the_fit_exceeds_the_bound(small_case, monkeypatch):
    largest, forward = [], Generator.forward

    def seen(self):
        image = forward(self)
        largest.append(float(image.detach().max() / self._constraints.maximum.max()))
        return image

    monkeypatch.setattr(Generator, "forward", seen)
    result = run(small_case, max_attenuation=LOW, num_iter=10, reweight_rounds=1, pixel_rate=0.1)
    assert len(largest) >= 10 and max(largest) <= 1 and at_most(result.image, LOW)


@pytest.mark.usefixtures("brief_learning")
def test_the_finer_grid_and_the_learned_wedge_stay_below_the_bound(small_case):
    options = dict(max_attenuation=LOW, num_iter=0, reweight_rounds=1, pixel_model="area", grid_factor=2)
    for rounds in (0, 1):
        result = run(small_case, wedge_rounds=rounds, **options)
        assert float(result.image.max()) <= LOW * (1 + 1e-5)  # a mean over pixels, and float32
    assert at_most(run(small_case, wedge_rounds=1, **options | dict(grid_factor=1)).image, LOW)


def test_what_the_bound_holds_has_little_uncertainty(shale_case):
    noisy = shale_case(size=32, step=2, photons=1e4)
    options = dict(num_iter=0, reweight_rounds=1, uncertainty_samples=3, max_attenuation=0.3)
    result = run(noisy, **options)
    held = (result.image[0] >= 0.3 * (1 - 1e-6)).numpy()
    assert held.sum() > 50
    deviation = result.info[0]["uncertainty"]
    assert np.median(deviation[held]) == pytest.approx(deviation[deviation > 0].min(), rel=1e-3)  # the least there is
    assert result.info[0]["bound_origin"] == "given"


def test_levels_go_with_a_bound(small_case):
    result = run(small_case, max_attenuation=LOW, levels=(0, 1 / 3, LOW), **QUICK)
    assert at_most(result.image, LOW)


def test_a_model_without_angles_has_no_search():
    class Plain:
        """The four members alone."""

        def __init__(self, model):
            self.domain_shape, self.range_shape = model.domain_shape, model.range_shape
            self.forward_project, self.back_project = model.forward_project, model.back_project

    model = ParallelBeamProjector(24, np.deg2rad(np.arange(0, 90, 5)), 24)
    sinogram = model.forward_project(torch.ones(1, 24, 24))
    for bound in ("auto", 0.5):
        result = fit(Plain(model), sinogram, GanrecOptions(max_attenuation=bound, **QUICK))
        assert result.info[0]["max_attenuation"] == (None if bound == "auto" else pytest.approx(0.5))
    assert at_most(result.image, 0.5)
