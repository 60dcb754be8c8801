"""Weights of the regularisation: from the noise, as given, free of units, and shared by slices solved together."""

import pytest
from fit_cases import QUICK, quality, run, weights_of


def test_noise_given_is_used_and_estimated_noise_does_as_well(default_fit, case):
    noisy, auto = default_fit(photons=1e4)
    noise = float((noisy.sinogram - case.sinogram).std())
    given = run(noisy, noise=noise, pixel_model="point")
    assert given.info[0]["noise"] == noise
    # + 24 % measured: an object of 64² square pixels looks noisy.
    assert auto.info[0]["noise"] == pytest.approx(noise, rel=0.3)
    assert quality(noisy, auto.image) == pytest.approx(quality(noisy, given.image), abs=0.02)  # .893 and .903 measured


def test_weights_follow_the_noise(shale_case):
    weights = [weights_of(shale_case(photons=photons))[0] for photons in (None, 1e5, 1e4, 1e3)]
    for quiet, loud in zip(weights, weights[1:], strict=False):
        assert loud.noise > quiet.noise
        assert loud.tv_weight > quiet.tv_weight
        assert loud.edge_threshold > quiet.edge_threshold
    assert [s.loss for s in weights] == ["l1", "l2", "l2", "l2"]
    assert all(0.04 <= s.edge_threshold <= 0.12 for s in weights)  # as the options' docstring says


def test_weights_given_are_kept(shale_case):
    chosen = weights_of(
        shale_case(photons=1e4), noise=0.0, tv_weight=0.5, edge_threshold=0.25, loss="l2", reweight_rounds=3
    )[0]
    assert (chosen.noise, chosen.tv_weight, chosen.edge_threshold) == (0.0, 0.5, 0.25)
    assert (chosen.loss, chosen.rounds) == ("l2", 3)


def test_weights_are_free_of_units(shale_case):
    case = shale_case(photons=1e4)
    one, other = weights_of(case)[0], weights_of(case._replace(sinogram=1000 * case.sinogram))[0]
    assert other.noise == pytest.approx(1000 * one.noise, rel=1e-4)  # float32
    assert other.tv_weight == pytest.approx(one.tv_weight, rel=1e-4)
    assert other.edge_threshold == pytest.approx(one.edge_threshold, rel=1e-4)
    assert other.loss == one.loss


@pytest.mark.parametrize("options", (dict(tv_weight=0.01), dict(edge_threshold=0.2), dict(loss="l1")))
def test_weights_given_are_kept_for_area_means(small_case, options):
    info = run(small_case, pixel_model="area", **QUICK | options).info[0]
    assert {name: info[name] for name in options} == options
