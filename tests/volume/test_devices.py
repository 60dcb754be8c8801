"""Names and numbers of devices, and the lock of each."""

import os
import threading

import numpy as np
import pytest
import torch

from tomopy_ganrec import recon
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.volume.devices import DeviceLock, check_ncore, cpu_threads, lock_of, resolve_device, resolve_devices


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


@pytest.mark.parametrize(
    ("count", "options"), ((0, dict(gpu_list=[0])), (2, dict(gpu_list=[0, 2])), (2, dict(device="cuda:2")))
)
def test_a_gpu_that_is_not_there(gpus, count, options):
    gpus(count)
    missing = f"cuda:{options['gpu_list'][-1]}" if "gpu_list" in options else options["device"]
    with pytest.raises(RuntimeError, match=f"device='{missing}': torch finds {count} CUDA GPUs.*use device='cpu'"):
        resolve_devices(GanrecOptions(**options))


@pytest.mark.parametrize(
    ("name", "message"), (("gpu", "is not a device"), ("cuda:x", "is not a device"), ("meta", "is not supported"))
)
def test_names_that_mean_no_device(name, message):
    with pytest.raises(ValueError, match=f"{message}; give 'auto', 'cpu', 'cuda' or 'cuda:1'"):
        resolve_device(name)


def test_one_lock_for_each_device(gpus):
    gpus(2)
    assert lock_of(torch.device("cuda")) is lock_of(torch.device("cuda:0"))  # the current one
    assert lock_of(torch.device("cuda:0")) is not lock_of(torch.device("cuda:1"))
    assert lock_of(torch.device("cpu")) is lock_of(torch.device("cpu")) is not lock_of(torch.device("cuda:0"))


def test_cpu_threads_are_bounded_by_the_machine():
    most = len(os.sched_getaffinity(0))
    assert check_ncore(None) is None and check_ncore(1) == check_ncore(np.int64(1)) == 1
    assert check_ncore(most + 1) == check_ncore(20000) == check_ncore(10**6) == check_ncore(10**400) == most
    before = torch.get_num_threads()
    with cpu_threads(check_ncore(10**6)):
        assert torch.get_num_threads() == most
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "ncore", (True, False, 1.5, 2.0, "2", "abc", float("nan"), float("inf"), [2], np.array([1, 2])), ids=str
)
def test_what_is_no_number_of_threads(ncore):
    with pytest.raises(TypeError, match="ncore=.*: give a whole number of CPU threads, at least 1, or None"):
        recon(np.ones((1, 5, 8), np.float32), np.linspace(0, 2, 5), sinogram_order=True, ncore=ncore)


@pytest.mark.parametrize("ncore", (0, -1, -(10**400)), ids=lambda n: str(max(n, -9)))
def test_too_few_threads(ncore):
    with pytest.raises(ValueError, match="ncore=.*: give a whole number of CPU threads, at least 1, or None"):
        check_ncore(ncore)


@pytest.mark.parametrize(
    "name", ("cuda:" + "9" * 400, "cuda:128", "cuda:256", "cuda:-1", "\ud800", "cpu\0", ""), ids=ascii
)
def test_names_that_nothing_has(gpus, name):
    gpus(2)
    with pytest.raises((ValueError, RuntimeError), match="device="):
        resolve_device(name)


# The lock of a device


def queueing(lock, owner):
    """A thread that wants the device, an event that says when it has it, and one that makes it release it."""
    has, leave = threading.Event(), threading.Event()

    def work():
        with lock.held(owner):
            has.set()
            leave.wait()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, has, leave


@pytest.mark.parametrize("lent", [False, True])
def test_chunks_of_one_call_queue(lent, monkeypatch):
    monkeypatch.setattr("tomopy_ganrec.volume.devices.LEND_AFTER", 0.01)
    lock, owner = DeviceLock(), object()
    with lock.held(owner):
        thread, has, leave = queueing(lock, owner)
        if lent:
            with lock.lent():
                assert not has.wait(0.3)
        else:
            assert not has.wait(0.3)
    assert has.wait(30)
    leave.set()
    thread.join()


def test_another_call_has_the_device_only_while_a_callback_runs(monkeypatch):
    monkeypatch.setattr("tomopy_ganrec.volume.devices.LEND_AFTER", 0.01)
    lock = DeviceLock()
    with lock.held("one"):
        thread, has, leave = queueing(lock, "another")
        assert not has.wait(0.3)
        returned = []
        with lock.lent():
            assert has.wait(30)
            with pytest.raises(ZeroDivisionError), lock.lent():
                threading.Timer(0.1, lambda: (returned.append(lock._holders[-1].owner), leave.set())).start()
                raise ZeroDivisionError
        assert returned == ["another"] and len(lock._holders) == 1  # the callback's end waited for the other
        thread.join()
    assert not lock._holders


def test_without_the_device_nothing_is_lent():
    lock = DeviceLock()
    with lock.lent():
        assert not lock._holders
    with lock.held(), lock.lent(), lock.held(), lock.lent(), lock.held():
        assert len(lock._holders) == 3
    assert not lock._holders
