"""The Shepp–Logan head: values, orientation, and area means."""

import numpy as np
import pytest
from phantom_cases import block_mean

from tomopy_ganrec.phantoms import shepp_logan


def test_shepp_logan_values():
    image = shepp_logan(256)
    assert image.shape == (1, 256, 256) and image.dtype == np.float32
    # Toft's contrasts: sums of 1, −0.8, −0.2 and 0.1. Float64 sums of ellipses, rounded to float32.
    np.testing.assert_allclose(np.unique(np.round(image, 6)) + 0.0, [0, 0.1, 0.2, 0.3, 0.4, 1], atol=1e-6)
    assert image.min() >= 0


def at(image, x, y):
    """The pixel at (x, y) of the unit square −1 to 1, y upwards."""
    n = image.shape[0]
    return float(image[int((1 - y) / 2 * n), int((1 + x) / 2 * n)])


@pytest.mark.parametrize(
    "x, y, value",
    [
        (0, 0.9, 1.0),
        (0.676, 0, 1.0),
        (-0.9, -0.9, 0.0),
        (0, -0.3, 0.2),
        (0.22, 0, 0.0),
        (-0.22, 0, 0.0),
        (0, 0.35, 0.3),
        (0, 0.1, 0.3),
        (-0.31, 0.3, 0.0),
        (-0.31, -0.3, 0.2),
        (0.28, 0.2, 0.0),
        (0.28, -0.2, 0.2),
        (-0.08, -0.605, 0.3),
        (0.06, -0.605, 0.3),
        (0, 0.7, 0.2),
    ],
)
def test_shepp_logan_orientation(x, y, value):
    assert at(shepp_logan(512)[0], x, y) == pytest.approx(value, abs=1e-6)  # float32


def test_shepp_logan_sides():
    image = shepp_logan(256)[0]
    # The left ventricle is the larger.
    assert (image[64:192, :128] < 1e-6).sum() > 1.2 * (image[64:192, 128:] < 1e-6).sum()


@pytest.mark.parametrize("oversample", [2, 4])
def test_shepp_logan_area_mean(oversample):
    mean, fine = shepp_logan(64, oversample), shepp_logan(64 * oversample)
    np.testing.assert_allclose(mean[0], block_mean(fine[0], oversample), atol=1e-6)  # float32


@pytest.mark.parametrize("arguments", [dict(size=0), dict(size=32.5), dict(oversample=0)], ids=str)
def test_bad_arguments_of_shepp_logan(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        shepp_logan(**arguments)
