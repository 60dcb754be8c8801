"""Weights of the regularisation: from the noise, as given, free of units, and shared by slices solved together."""

from dataclasses import replace

import pytest
import torch
from fit_cases import QUICK, quality, run, weights_of

from tomopy_ganrec.fit.measurement.regularization import RegularizationWeights, SliceWeights, per_slice


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


def slice_weights(**values):
    """The weights of a slice, those given and arbitrary ones."""
    defaults = dict(noise=0.1, relative_noise=0.01, tv_weight=2e-3, edge_threshold=0.05, residual_level=0.02)
    defaults |= dict(noise_level=0.015, step_ratio=30.0, rounds=8, loss="l2", wedge_tv_weight=0.7)
    return SliceWeights(**(defaults | values))


@pytest.fixture
def three_weights():
    return RegularizationWeights(
        tuple(
            slice_weights(
                relative_noise=k, tv_weight=2 * k, edge_threshold=3 * k, residual_level=4 * k, noise_level=5 * k
            )
            for k in (1.0, 3.0, 2.0)
        )
    )


@pytest.mark.parametrize("other", (dict(step_ratio=3.0), dict(rounds=4), dict(loss="l1"), dict(wedge_tv_weight=1.0)))
def test_slices_that_do_not_share_are_refused(other):
    first = slice_weights()
    with pytest.raises(ValueError, match="share step ratio, rounds, loss and wedge_tv_weight"):
        RegularizationWeights((first, replace(first, **other)))
    with pytest.raises(ValueError, match="solved together"):
        RegularizationWeights(())


def test_slices_differ_in_what_they_need_not_share():
    first = slice_weights()
    other = dict(noise=0.2, relative_noise=0.02, tv_weight=1e-3, edge_threshold=0.1, residual_level=0, noise_level=0)
    weights = RegularizationWeights((first, replace(first, **other)))
    assert len(weights) == 2
    assert (weights.step_ratio, weights.rounds, weights.loss, weights.wedge_tv_weight) == (30.0, 8, "l2", 0.7)
    assert weights.largest_relative_noise == 0.02


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_weights_of_slices_as_tensors(three_weights, dtype):
    like = torch.zeros(5, dtype=dtype)
    for factor, values in (
        (2, three_weights.tv_weight(like)),
        (3, three_weights.edge_threshold(like)),
        (4, three_weights.residual_level(like)),
        (5, three_weights.noise_level(like)),
    ):
        assert values.shape == (3, 1, 1)
        assert values.dtype == dtype
        assert values.flatten().tolist() == [factor, 3 * factor, 2 * factor]
    assert float(per_slice([0.1], like)) == float(torch.tensor(0.1, dtype=dtype))  # rounded once


def test_take_some_slices_and_repeats(three_weights):
    taken = three_weights.take(torch.tensor([2, 0, 2]))
    assert taken.slices == tuple(three_weights.slices[k] for k in (2, 0, 2))
    assert three_weights.take(torch.arange(3)) == three_weights


def test_weights_changed_for_all_slices(three_weights):
    changed = three_weights.changed(wedge_tv_weight=1.0, noise=0.5)
    assert changed.wedge_tv_weight == 1 and [one.noise for one in changed.slices] == [0.5] * 3
    assert [one.tv_weight for one in changed.slices] == [2, 6, 4]
    scaled = three_weights.scaled(0.5)
    assert [one.tv_weight for one in scaled.slices] == [1, 3, 2]
    assert [one.edge_threshold for one in scaled.slices] == [3, 9, 6]
    assert [one.tv_weight for one in three_weights.slices] == [2, 6, 4]
