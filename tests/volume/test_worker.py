"""A worker whose GPU runs out of memory."""

import numpy as np
import pytest
import torch
from small_volume import QUICK, SLICES, THETA

from tomopy_ganrec import recon
from tomopy_ganrec.volume import local, worker

pytestmark = pytest.mark.usefixtures("one_thread")


class OnGpu(worker.Worker):
    """A worker on a GPU, as far as anybody can see, that computes on the CPU."""

    def _fit(self, *args):
        device, self.device = self.device, torch.device("cpu")
        try:
            return super()._fit(*args)
        finally:
            self.device = device


@pytest.fixture
def small_gpu(monkeypatch, fits):
    """A GPU that holds two slices; gives the batches that were tried."""
    tried, fit = [], worker.fit

    def limited(model, sinogram, *args, **kwargs):
        tried.append(len(sinogram))
        if len(sinogram) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return fit(model, sinogram, *args, **kwargs)

    monkeypatch.setattr("tomopy_ganrec.volume.worker.fit", limited)
    monkeypatch.setattr(local, "Worker", OnGpu)
    monkeypatch.setattr(local, "resolve_devices", lambda options: [torch.device("cuda", 0)])
    return tried


def test_a_gpu_out_of_memory_gets_half_and_remembers(small_gpu, tomo):
    expected = recon(tomo, THETA, **(QUICK | dict(batch_size=2, warm_start=0)))
    small_gpu.clear()
    with pytest.warns(
        RuntimeWarning, match="the memory of cuda:0 does not hold [0-9] slices: going on with [0-9] at a time"
    ) as warned:
        found = recon(tomo, THETA, **(QUICK | dict(batch_size=4, warm_start=0)))
    assert len(warned) == 1 and "hold 4 slices: going on with 2 at a time" in str(warned[0].message)
    assert [n for n in small_gpu if n > 2] == [4]  # tried once, never again
    assert sum(n for n in small_gpu if n <= 2) == SLICES
    # Halves of the tasks of four: bit for bit but where a slice is alone.
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


def test_a_gpu_is_halved_until_it_fits(small_gpu, tomo, recwarn):
    recon(tomo, THETA, **(QUICK | dict(batch_size=10, warm_start=4)))
    batches = [n for n in small_gpu if n > 2]
    assert batches == sorted(batches, reverse=True) and len(set(batches)) == len(batches)
    assert len([w for w in recwarn if w.category is RuntimeWarning]) == len(batches)


def test_a_gpu_that_does_not_hold_one_slice(small_gpu, tomo, monkeypatch, recwarn):
    def none(*args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("tomopy_ganrec.volume.worker.fit", none)
    with pytest.raises(MemoryError, match="10 slices of 24×24.*CUDA out of memory.*estimate_memory"):
        recon(tomo, THETA, **QUICK)
