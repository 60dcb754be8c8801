"""Uncertainty: the standard deviation of reconstructions over scans that could as well have been measured."""

from importlib import import_module

import numpy as np
import pytest
import torch
from fit_cases import run
from solid_objects import holes, scan, solids, textured

from tomopy_ganrec import recon
from tomopy_ganrec.fit import fit
from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import AttenuationBound
from tomopy_ganrec.fit.stage_progress import StageProgress
from tomopy_ganrec.fit.uncertainty import Bootstrap, _reach, _spread
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.forward_model import field_of_view

QUICK = dict(num_iter=0, reweight_rounds=1, uncertainty_samples=3)


@pytest.fixture
def brief(monkeypatch):
    """Reconstructions of few iterations, which still differ from sample to sample."""
    module = import_module("tomopy_ganrec.fit.uncertainty")
    for copies in ("", "COPY_"):
        for name, value in dict(PLAIN_ITERATIONS=30, ROUNDS=1, ROUND_ITERATIONS=10).items():
            monkeypatch.setattr(module, copies + name, value)


@pytest.fixture(scope="module")
def noisy(shale_case):
    """32² shale over 120° in steps of 2°, with 1e4 photons."""
    return shale_case(size=32, step=2, photons=1e4)


@pytest.mark.parametrize("pixels", ("area", "point"))
def test_uncertainty_is_positive_where_something_is(noisy, brief, pixels):
    deviation = run(noisy, pixel_model=pixels, **QUICK).info[0]["uncertainty"]
    assert isinstance(deviation, np.ndarray)
    assert deviation.shape == (32, 32)
    assert deviation.dtype == np.float32
    assert np.isfinite(deviation).all()
    inside = field_of_view(noisy.model).numpy() > 0
    assert (deviation >= 0).all() and (deviation[~inside] == 0).all()  # nothing lies outside the mask
    assert (deviation[inside] > 0).mean() > 0.5  # the rest is held at 0 by the constraint; .8 measured
    assert deviation.max() < 1  # the grey range


def test_uncertainty_is_larger_where_the_error_is():
    """48² shale over 90° with 1e4 photons.

    The part of the error that all reconstructions have in common does not show.
    """
    pytest.importorskip("astra")
    from tomopy_ganrec.benchmark.cases import AngularRange, Case

    truth, sinogram = Case("shale", 48, "90", 1e4).slice()
    model = ParallelBeamProjector(48, AngularRange("90").theta, 48)
    result = fit(
        model, torch.from_numpy(sinogram)[None], GanrecOptions(pixel_model="area", num_iter=0, uncertainty_samples=8)
    )
    inside = field_of_view(model).numpy() > 0
    error, deviation = np.abs(result.image[0].numpy() - truth)[inside], result.info[0]["uncertainty"][inside]
    assert np.corrcoef(error, deviation)[0, 1] > 0.14  # half of .28; chance is .024
    sure = deviation < np.median(deviation)
    assert error[~sure].mean() > 1.3 * error[sure].mean()


@pytest.mark.parametrize("draw, photons", ((holes, 1e5), (solids, 1e4), (textured, 1e5)))
def test_two_thirds_of_the_errors_are_within_the_uncertainty(draw, photons):
    """Over 90°; with the samples' own standard deviation it is a third to nine tenths, as the object is."""
    pytest.importorskip("astra")
    case = scan(draw, photons=photons, seed=3)
    result = run(case, num_iter=0, uncertainty_samples=8)
    counts = _reach(result.image, Constraints(support=field_of_view(case.model)))[0].numpy()
    error, deviation = np.abs(result.image[0].numpy() - case.truth)[counts], result.info[0]["uncertainty"][counts]
    # The factor is a quantile over two copies of one object, which have lost some of its structure: other objects of
    # 128² are between .5 and .9.
    assert 0.5 < (error <= deviation).mean() < 0.85
    assert np.corrcoef(error, deviation)[0, 1] > 0.15  # chance is .02


def test_uncertainty_grows_with_the_noise(shale_case, brief):
    means = [
        run(shale_case(size=32, step=2, photons=photons), pixel_model="point", **QUICK).info[0]["uncertainty"].mean()
        for photons in (1e5, 1e4, 1e3)
    ]
    assert means[1] > 1.1 * means[0] and means[2] > 1.1 * means[1]


@pytest.mark.parametrize("pixels", ("area", "point"))
def test_units_do_not_matter(noisy, brief, pixels):
    """To the last bit for a power of two."""
    one = run(noisy, pixel_model=pixels, **QUICK)
    eight = run(noisy._replace(sinogram=8 * noisy.sinogram), pixel_model=pixels, **QUICK)
    np.testing.assert_array_equal(eight.info[0]["uncertainty"], 8 * one.info[0]["uncertainty"])


def test_uncertainty_repeats_for_a_seed(noisy, brief):
    first, again, other = (run(noisy, **QUICK, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.info[0]["uncertainty"], again.info[0]["uncertainty"])
    assert not np.array_equal(first.info[0]["uncertainty"], other.info[0]["uncertainty"])


def test_random_states_are_not_changed(noisy, brief):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    run(noisy, **QUICK)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_the_image_does_not_depend_on_it(noisy, brief):
    assert torch.equal(run(noisy, **QUICK).image, run(noisy, **QUICK | dict(uncertainty_samples=0)).image)


def test_one_reconstruction_has_no_uncertainty(noisy, brief):
    assert np.isnan(run(noisy, **QUICK | dict(uncertainty_samples=1)).info[0]["uncertainty"]).all()


def test_no_uncertainty_unless_asked_for(noisy):
    assert "uncertainty" not in run(noisy, **QUICK | dict(uncertainty_samples=0)).info[0]


@pytest.mark.parametrize(
    "options", (dict(init="sirt"), dict(reweight_rounds=0), dict(nonnegative=False), dict(mask=False), dict(num_iter=3))
)
def test_uncertainty_with_other_options(noisy, brief, options):
    deviation = run(noisy, **QUICK | options).info[0]["uncertainty"]
    assert np.isfinite(deviation).all() and deviation.max() > 0


def test_recon_returns_the_uncertainty(noisy, brief):
    both = np.concatenate([noisy.sinogram.numpy(), 2 * noisy.sinogram.numpy()])
    image, info = recon(both, noisy.theta, sinogram_order=True, return_info=True, pixel_model="area", **QUICK)
    assert image.shape == (2, 32, 32) and [s["uncertainty"].shape for s in info.slices] == [(32, 32)] * 2
    # Each slice has its own, in its units.
    np.testing.assert_array_equal(info.slices[1]["uncertainty"], 2 * info.slices[0]["uncertainty"])


def test_slices_of_a_batch_have_their_own(shale_case, brief):
    cases = [shale_case(size=32, step=2, photons=1e4, seed=seed) for seed in (0, 1)]
    together = run(
        cases[0]._replace(sinogram=torch.cat([c.sinogram for c in cases])), pixel_model="area", noise=0.05, **QUICK
    )
    for k, case in enumerate(cases):
        alone = run(case, pixel_model="area", noise=0.05, **QUICK).info[0]["uncertainty"]
        # Sums in another order.
        np.testing.assert_allclose(together.info[k]["uncertainty"], alone, atol=0.05 * alone.max())
    assert np.abs(together.info[0]["uncertainty"] - together.info[1]["uncertainty"]).max() > 0.3 * alone.max()


def test_callback_sees_each_iteration(noisy, brief):
    seen = []
    run(noisy, callback=seen.append, **QUICK)
    samples = [s for s in seen if s.stage == "uncertainty"]
    assert seen[-len(samples) :] == samples and len(samples) == 120
    assert [s.iteration for s in samples] == list(range(1, 121)) and {s.total for s in samples} == {120}


@pytest.mark.parametrize("stop", (1, 35, 60, 100))
def test_stopping_leaves_it_out(noisy, brief, stop):
    result = run(noisy, callback=lambda s: s.stage == "uncertainty" and s.iteration >= stop, **QUICK)
    assert "uncertainty" not in result.info[0]
    assert torch.equal(result.image, run(noisy, **QUICK | dict(uncertainty_samples=0)).image)
    stopped_before = run(noisy, callback=lambda s: s.iteration == 7, **QUICK)
    assert "uncertainty" not in stopped_before.info[0] and stopped_before.info[0]["stopped"] == "callback"


def test_stopping_at_the_second_slice_keeps_the_first(noisy, brief):
    both = noisy._replace(sinogram=noisy.sinogram.repeat(2, 1, 1))
    result = run(both, callback=lambda s: s.stage == "uncertainty" and s.iteration >= 130, **QUICK)
    assert "uncertainty" in result.info[0] and "uncertainty" not in result.info[1]


def test_no_signal_has_no_uncertainty(noisy, brief):
    deviation = run(noisy._replace(sinogram=torch.zeros_like(noisy.sinogram)), **QUICK).info[0]["uncertainty"]
    np.testing.assert_array_equal(deviation, np.zeros((32, 32)))


def test_only_the_bound_that_was_found_varies(noisy, measured_start, brief):
    """All samples of a slice are as dark as the bound where it is far too low, and differ by what it varies."""
    measurement, start, options = measured_start(noisy, pixel_model="area", **QUICK)
    deviations = {}
    for origin in ("given", "found"):
        bounded = measurement.bounded([AttenuationBound(0.2 * float(start.max()), origin)])
        image = bounded.constraints.project(start)
        deviations[origin] = _spread(bounded, 4, torch.Generator().manual_seed(0), StageProgress("uncertainty"))[0]
        at_bound = (image > 0.99 * image.max())[0]
    given, found = (deviations[origin][at_bound].median() / image.max() for origin in ("given", "found"))
    # A uniform distribution between ± 3 % has a standard deviation of 1.7 %.
    assert given < 1e-3 and 0.005 < found < 0.03


def test_reach_of_an_object():
    image = torch.zeros(2, 64, 64)
    image[0, 20, 30], image[1] = 1.0, 1e-9
    image[1, 10:20, 10:20] = -1.0
    support = torch.ones(64, 64)
    support[:, 31:] = 0
    reach = _reach(image, Constraints(nonnegative=False, support=support))
    assert reach[1, 8:22, 8:22].all() and reach[1].sum() == 14 * 14
    # A pixel that is less than the upper quantile's share: its reach, within the support
    assert reach[0, 18:23, 28:31].all() and reach[0].sum() == 15
    assert not _reach(torch.zeros(1, 64, 64), Constraints()).any()


def test_bootstrap_of_a_measurement(noisy, measured_start, brief):
    measurement, start, options = measured_start(noisy, pixel_model="area", **QUICK)
    with torch.no_grad():
        calls = []
        stage = Bootstrap(measurement, start, 4, options.seed)
        deviation = stage.run(0, StageProgress("uncertainty", calls.append))
    assert tuple(deviation.shape) == (32, 32) and len(calls) == stage.steps


def test_the_default_dtype_does_not_matter(noisy, brief):
    """The same random numbers are drawn: and filters are computed more exactly."""
    expected = run(noisy, **QUICK).info[0]["uncertainty"]
    torch.set_default_dtype(torch.float64)
    try:
        deviation = run(noisy, **QUICK).info[0]["uncertainty"]
    finally:
        torch.set_default_dtype(torch.float32)
    assert deviation.dtype == np.float32
    # Other random numbers would change it by tens of percent.
    assert np.linalg.norm(deviation - expected) < 0.05 * np.linalg.norm(expected)
