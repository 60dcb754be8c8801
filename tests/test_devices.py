"""Names and numbers of devices, and the lock of each."""

import pytest
import torch

from tomopy_ganrec.devices import lock_of, resolve_device, resolve_devices
from tomopy_ganrec.options import GanrecOptions


@pytest.fixture
def gpus(monkeypatch):
    """A function that makes torch say that there are so many GPUs."""

    def there_are(count):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)

    return there_are


def names(**options):
    return [str(device) for device in resolve_devices(GanrecOptions(**options))]


def test_one_device_by_name(gpus):
    gpus(2)
    assert names() == names(device="cuda") == ["cuda"]
    assert names(device="cuda:1") == ["cuda:1"] and names(device="cpu") == ["cpu"]
    gpus(0)
    assert names() == ["cpu"]


def test_a_list_of_gpus_in_its_order(gpus):
    gpus(4)
    assert names(gpu_list=[2, 0, 3]) == ["cuda:2", "cuda:0", "cuda:3"]
    assert names(gpu_list=[1], device="cuda") == ["cuda:1"]


@pytest.mark.parametrize(("count", "options"), ((0, dict(gpu_list=[0])), (2, dict(gpu_list=[0, 2])), (2, dict(device="cuda:2"))))
def test_a_gpu_that_is_not_there(gpus, count, options):
    gpus(count)
    missing = f"cuda:{options['gpu_list'][-1]}" if "gpu_list" in options else options["device"]
    with pytest.raises(RuntimeError, match=f"device='{missing}': torch finds {count} CUDA GPUs.*use device='cpu'"):
        resolve_devices(GanrecOptions(**options))


@pytest.mark.parametrize(("name", "message"), (("gpu", "is not a device"), ("cuda:x", "is not a device"), ("meta", "is not supported")))
def test_names_that_mean_no_device(name, message):
    with pytest.raises(ValueError, match=f"{message}; give 'auto', 'cpu', 'cuda' or 'cuda:1'"):
        resolve_device(name)


def test_one_lock_for_each_device(gpus):
    gpus(2)
    assert lock_of(torch.device("cuda")) is lock_of(torch.device("cuda:0"))  # the current one
    assert lock_of(torch.device("cuda:0")) is not lock_of(torch.device("cuda:1"))
    assert lock_of(torch.device("cpu")) is lock_of(torch.device("cpu")) is not lock_of(torch.device("cuda:0"))
