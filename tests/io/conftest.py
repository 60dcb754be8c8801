"""Fixtures of the tests of files: a volume and places to write it, a scan in memory."""

import numpy as np
import pytest
import scans
from outputs_on_disk import SHAPE
from scan_files import DEGREES


@pytest.fixture
def volume():
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


@pytest.fixture(params=["vol.h5", "tiffs"])
def disk(request, tmp_path):
    """A path for an output on disk, of each kind."""
    return tmp_path / "deep" / request.param


@pytest.fixture
def scan():
    return dict(zip(("integrals", "data", "flat", "dark"), scans.counts(DEGREES, 32, 3), strict=True))
