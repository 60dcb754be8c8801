"""Volumes with wedge_rounds: the slices of a batch share a network, and depend on nothing else."""

import numpy as np
import pytest
from small_volume import ANGLES, THETA, data, images, stop_at

from tomopy_ganrec import recon
from tomopy_ganrec.fit import wedge_learning

HALF = slice(ANGLES // 2)
OPTIONS = dict(
    wedge_rounds=1,
    pixel_model="area",
    reweight_rounds=1,
    max_attenuation=None,
    warm_start=0,
    batch_size=2,
    device="cpu",
    sinogram_order=True,
)


@pytest.fixture(autouse=True)
def brief_learning(monkeypatch):
    constants = dict(COPIES=4, MOST_COPIES=4, PLAIN_ITERATIONS=10, ROUNDS=1, ROUND_ITERATIONS=5, TRAINING_STEPS=6)
    for name, value in constants.items():
        monkeypatch.setattr(wedge_learning, name, value)
    monkeypatch.setattr(wedge_learning.WedgeTrainer, "weight", lambda self, pairs: 1.0)


@pytest.fixture(scope="module")
def tomo():
    """Four slices of a scan over 90°."""
    return data()[:4, HALF]


def test_a_slice_depends_on_its_batch_alone_and_a_volume_goes_on_where_it_stopped(tmp_path, tomo):
    theta, seen = THETA[HALF], []
    expected = recon(tomo, theta, callback=lambda status: seen.append(status), **OPTIONS)
    for batch in (slice(0, 2), slice(2, 4)):
        np.testing.assert_array_equal(recon(tomo[batch], theta, **OPTIONS), expected[batch])
    out = tmp_path / "rec.h5"
    with pytest.raises(KeyError):
        recon(tomo, theta, out=out, callback=stop_at(int(0.9 * len(seen))), **OPTIONS)  # in the second batch
    recon(tomo, theta, out=out, **OPTIONS)
    np.testing.assert_array_equal(images(out), expected)
