"""Volumes with joint_slices: runs of neighbours that are solved together."""

import re

import numpy as np
import pytest
from scaled_blobs import ANGLES, QUICK, N, blobs, three_sinograms, uniform_theta

from tomopy_ganrec import recon


@pytest.fixture(scope="module")
def theta():
    return uniform_theta()


@pytest.fixture(scope="module")
def sinograms():
    return three_sinograms()


def test_a_stack_larger_than_the_volume(sinograms, theta):
    expected = recon(sinograms, theta, sinogram_order=True, joint_slices=3, **QUICK)
    np.testing.assert_array_equal(recon(sinograms, theta, sinogram_order=True, joint_slices=8, **QUICK), expected)
    for k in range(3):  # in their order: they are scaled 1, 2 and 3
        assert expected[k].sum() == pytest.approx((k + 1) * blobs().sum(), rel=0.05)


def test_a_volume_is_cut_into_stacks(sinograms, theta):
    tomo = np.concatenate([sinograms, sinograms[:2]])
    found = recon(tomo, theta, sinogram_order=True, joint_slices=2, **QUICK)
    parts = [
        recon(tomo[s], theta, sinogram_order=True, joint_slices=2, **QUICK)
        for s in (slice(0, 2), slice(2, 4), slice(4, 5))
    ]
    np.testing.assert_array_equal(found, np.concatenate(parts))


def test_stacks_of_different_centres_do_not_mix(sinograms, theta):
    tomo, centers = np.concatenate([sinograms[:2], sinograms[:2]]), [16.0, 16.0, 15.2, 15.2]
    found = recon(tomo, theta, centers, sinogram_order=True, joint_slices=4, **QUICK)
    parts = [
        recon(tomo[s], theta, centers[s], sinogram_order=True, joint_slices=4, **QUICK)
        for s in (slice(0, 2), slice(2, 4))
    ]
    np.testing.assert_array_equal(found, np.concatenate(parts))


@pytest.mark.filterwarnings("ignore:the projections do not fall to zero")
@pytest.mark.parametrize("centers", ([16.0] * 7, [16.0, 16.0, 15.0, 16.0, 16.0, 16.0, 15.0], [15.0, 16.0] * 3 + [15.0]))
def test_only_neighbours_are_stacked(theta, centers, monkeypatch):
    from tomopy_ganrec.results import FitResult

    seen = []

    def fit(model, sinogram, options, **kwargs):
        seen.append([int(v) for v in sinogram[:, 0, 0]])
        images = sinogram[:, :1, :1].expand(-1, N, N).clone()
        return FitResult(images, images, [{"residual": 0.0}] * len(images))

    monkeypatch.setattr("tomopy_ganrec.volume.worker.fit", fit)
    tomo = np.arange(7, dtype=np.float32)[:, None, None] * np.ones((1, ANGLES, N), np.float32)
    found = recon(tomo, theta, centers, sinogram_order=True, joint_slices=2)
    assert found[:, 0, 0].tolist() == list(range(7)) and sorted(sum(seen, [])) == list(range(7))
    assert all(len(stack) <= 2 and (np.diff(stack) == 1).all() for stack in seen)
    assert all(len({centers[k] for k in stack}) == 1 for stack in seen)


def test_progress_and_stages_of_all_that_may_be_asked_for(sinograms, theta, capsys, monkeypatch):
    from tomopy_ganrec.fit import wedge_learning

    for name, value in dict(COPIES=4, PLAIN_ITERATIONS=10, ROUNDS=1, ROUND_ITERATIONS=5, TRAINING_STEPS=6).items():
        monkeypatch.setattr(wedge_learning, name, value)
    seen = []
    options = dict(
        QUICK,
        joint_slices=2,
        wedge_rounds=1,
        grid_factor=2,
        uncertainty_samples=2,
        pixel_model="area",
        progress=True,
        callback=seen.append,
    )
    image, info = recon(sinograms[..., :20, :], theta[:20], sinogram_order=True, return_info=True, **options)
    shown = capsys.readouterr().err
    assert list(dict.fromkeys(s.stage for s in seen)) == ["start", "fit", "learn", "uncertainty"]
    assert all(1 <= s.iteration <= s.total for s in seen)
    assert "100%" in shown  # the bar draws ten times a second at most: a short stage may not be seen in it
    shares = [int(part) for part in re.findall(r"(\d+)%", shown)]
    assert shares == sorted(shares)  # it never goes back
    assert np.isfinite(image).all() and all(np.isfinite(s["uncertainty"]).all() for s in info.slices)
    assert "3 slices on" in str(info)
