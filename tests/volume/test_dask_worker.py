"""The worker side of a Dask cluster: its device, and exceptions that are sent."""

import pickle
import sys
import threading

import pytest
import torch

pytest.importorskip("distributed")
pytest.importorskip("h5py")

from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.results import FitResult, NonFiniteError
from tomopy_ganrec.volume import dask_worker


def test_each_worker_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)

    def device(rank, **options):
        return str(dask_worker._device(GanrecOptions(**options), rank))

    assert [device(k) for k in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:0"]
    assert (
        device(1, device="cuda") == "cuda:1"
        and device(1, device="cuda:2") == "cuda:2"
        and device(1, device="cpu") == "cpu"
    )
    assert [device(k, gpu_list=[3, 1]) for k in range(3)] == ["cuda:3", "cuda:1", "cuda:3"]
    monkeypatch.setitem(sys.modules, "dask_cuda", object())  # has put the right one first
    assert device(3) == device(3, gpu_list=[1, 2]) == "cuda:0"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.delitem(sys.modules, "dask_cuda")
    assert device(3) == "cuda:0"


def test_exceptions_travel_with_type_and_message():
    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")

    error = OSError(28, "No space left on device", "rec.h5")
    assert (str(dask_worker._portable(error)), dask_worker._portable(error).errno) == (str(error), 28)
    broken = NonFiniteError("no more")
    broken.image, broken.result = threading.Lock(), FitResult(torch.ones(1, 2, 2), torch.zeros(1, 2, 2))
    sent = pickle.loads(pickle.dumps(dask_worker._portable(broken)))
    assert type(sent) is NonFiniteError and sent.result.image.sum() == 4
    assert str(dask_worker._portable(Odd(1, 2))) == "Odd: 1 and 2"
