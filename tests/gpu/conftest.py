"""Fixtures of the tests on a CUDA GPU."""

import numpy as np
import pytest


@pytest.fixture
def astra():
    module = pytest.importorskip("astra")
    if not module.use_cuda():
        pytest.skip("ASTRA finds no CUDA GPU")
    return module


@pytest.fixture(scope="module")
def subpixel():
    """64² shale over 120°, noise-free, with structure below the pixel: truth, sinogram and angles."""
    from tomopy_ganrec.benchmark.cases import AngularRange, Case

    return *Case("shale", 64, "120", None).slice(), AngularRange("120").theta


@pytest.fixture(scope="module")
def scan(subpixel):
    """Ten slices of the same rock, a few per cent brighter each: sinograms and angles."""
    return (np.stack([subpixel[1]] * 10) * (1 + 0.03 * np.arange(10, dtype=np.float32))[:, None, None]).astype(
        np.float32
    ), subpixel[2]
