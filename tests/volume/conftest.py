"""Fixtures of the tests of whole volumes."""

import pytest
import torch
from small_volume import THETA, WARM, data

from tomopy_ganrec import recon
from tomopy_ganrec.volume import worker


@pytest.fixture(scope="module")
def one_thread():
    """Killed and resumed to the last bit holds with the same threads, and a forked process has one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tomo():
    tomo = data()
    tomo.setflags(write=False)
    return tomo


@pytest.fixture(scope="module")
def expected(one_thread, tomo):
    """The volume in memory, in one go, and its records."""
    image, info = recon(tomo, THETA, return_info=True, **WARM)
    # Of ten slices every fourth and the last are cold-started: the tests are of both kinds.
    assert sum(s["warm"] for s in info.slices) == 6
    return image, info.slices


@pytest.fixture(params=["rec.h5", "tiffs"])
def out(request, tmp_path):
    return tmp_path / request.param


@pytest.fixture
def fits(monkeypatch):
    """The sizes of the batches that are fitted."""
    seen, fit = [], worker.fit

    def counted(model, sinogram, *args, **kwargs):
        seen.append(len(sinogram))
        return fit(model, sinogram, *args, **kwargs)

    monkeypatch.setattr("tomopy_ganrec.volume.worker.fit", counted)
    return seen
