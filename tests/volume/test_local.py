"""Whole volumes on one or several devices, from any source, into any output."""

import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch
from small_volume import PAPER, QUICK, SLICES, THETA, WARM, N, images

from tomopy_ganrec import ganrec, recon
from tomopy_ganrec.volume import local
from tomopy_ganrec.volume.progress import Cancelled

h5py = pytest.importorskip("h5py")
pytest.importorskip("tifffile")

pytestmark = pytest.mark.usefixtures("one_thread")


# Several devices


# Torch copies a sparse matrix to 'cpu:0', and warns of it where the projector does not expect that.
quiet = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")


@pytest.fixture
def two_devices(monkeypatch):
    devices = [torch.device("cpu"), torch.device("cpu", 0)]  # the same to torch, two to us
    monkeypatch.setattr(local, "resolve_devices", lambda options: devices)
    return devices


@quiet
def test_two_devices_share_the_slices_and_give_the_same(two_devices, tomo, expected):
    image, info = recon(tomo, THETA, return_info=True, **WARM)
    assert {s["device"] for s in info.slices} == {"cpu", "cpu:0"}
    np.testing.assert_array_equal(image, expected[0])


@quiet
def test_the_faster_device_does_more(two_devices, tomo, monkeypatch):
    fit = local.Worker._fit

    def slow(self, *args):
        if self.device.index == 0:
            time.sleep(1.5)
        return fit(self, *args)

    monkeypatch.setattr(local.Worker, "_fit", slow)
    _, info = recon(tomo, THETA, return_info=True, **(QUICK | dict(batch_size=2, warm_start=0)))
    count = [sum(s["device"] == name for s in info.slices) for name in ("cpu", "cpu:0")]
    assert sum(count) == SLICES and count[0] > count[1] > 0


def at_work():
    """Threads that are in the middle of a task; Python takes one whose join was interrupted for stopped."""
    frames = [sys._current_frames().get(t.ident) for t in threading.enumerate() if t.name.startswith("ganrec")]
    return [f for f in frames if f is not None and any(c.co_name in ("_run_task", "take") for c in codes(f))]


def codes(frame):
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


@quiet
@pytest.mark.parametrize("which", (None, 0))
def test_an_exception_in_one_worker_reaches_the_caller_and_stops_the_other(two_devices, tomo, monkeypatch, which):
    fit, began = local.Worker._fit, threading.Event()

    def failing(self, *args):
        if self.device.index == which:
            assert began.wait(60)
            raise KeyError("a broken device")
        return fit(self, *args)

    monkeypatch.setattr(local.Worker, "_fit", failing)
    with pytest.raises(KeyError, match="a broken device"):  # the other one would take hours
        recon(tomo, THETA, **(QUICK | dict(warm_start=0, num_iter=10**6, callback=lambda status: began.set())))
    assert not at_work()


@quiet
def test_cancel_stops_all_devices(two_devices, tomo):
    from tomopy_ganrec import cancel

    with pytest.raises(Cancelled):
        recon(
            tomo,
            THETA,
            **(QUICK | dict(warm_start=0, num_iter=10**6, callback=lambda status: status.stage == "fit" and cancel())),
        )


@quiet
def test_an_interrupt_stops_all_devices_soon(two_devices, tomo, interruptible):
    seen = []

    def interrupt(status):
        if status.stage == "fit":
            seen.append(status)
            if len(seen) == 1:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        recon(tomo, THETA, **(QUICK | dict(warm_start=0, num_iter=10**6, patience=0, callback=interrupt)))
    # Of two million: an iteration takes a millisecond, and the main thread looks every tenth of a second.
    assert len(seen) < 10**5
    assert not at_work()


@quiet
@pytest.mark.parametrize("name", ("rec.h5", "tiffs", None))
def test_two_devices_carry_the_papers_weights(two_devices, tomo, tmp_path, monkeypatch, name):
    out = None if name is None else tmp_path / name
    found = recon(tomo, THETA, out=out, **PAPER)
    monkeypatch.setattr(local, "resolve_devices", lambda options: two_devices[:1])
    np.testing.assert_array_equal(found if out is None else images(out), recon(tomo, THETA, **PAPER))


# In and out


def test_any_source_gives_what_an_array_gives(tomo, expected, tmp_path):
    tomo.tofile(tmp_path / "data.raw")
    mapped = np.memmap(tmp_path / "data.raw", np.float32, "r", shape=tomo.shape)
    np.testing.assert_array_equal(recon(mapped, THETA, **WARM), expected[0])
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["exchange/data"] = tomo.swapaxes(0, 1)
    with h5py.File(tmp_path / "data.h5") as file:
        np.testing.assert_array_equal(
            recon(file["exchange/data"], THETA, **(WARM | dict(sinogram_order=False))), expected[0]
        )
    np.testing.assert_array_equal(recon(tomo.tolist(), THETA, **WARM), expected[0])


def test_a_dask_array_gives_what_an_array_gives(tomo, expected):
    dask = pytest.importorskip("dask.array")
    np.testing.assert_array_equal(recon(dask.from_array(tomo, chunks=(3, 7, N)), THETA, **WARM), expected[0])


def test_one_slice_in_the_order_of_projections(tomo, expected):
    found = recon(tomo[:1].swapaxes(0, 1), THETA, **(QUICK | dict(sinogram_order=False)))
    np.testing.assert_array_equal(found, recon(tomo[:1], THETA, **QUICK))


def test_out_may_be_an_array(tomo, expected, tmp_path):
    given = np.full((SLICES, N, N), 7, np.float32)
    assert recon(tomo, THETA, out=given, **WARM) is given
    np.testing.assert_array_equal(given, expected[0])
    mapped = np.memmap(tmp_path / "rec.raw", np.float32, "w+", shape=given.shape)
    recon(tomo, THETA, out=mapped, **WARM)
    mapped.flush()
    np.testing.assert_array_equal(np.fromfile(tmp_path / "rec.raw", np.float32).reshape(given.shape), expected[0])
    for wrong in (given[1:], given.astype(np.float64)):
        with pytest.raises(ValueError, match="the array for the result is"):
            recon(tomo, THETA, out=wrong, **WARM)


def test_an_initial_image_of_the_users_is_not_replaced_by_the_neighbours(tomo):
    init = np.random.default_rng(1).random((SLICES, N, N), np.float32)
    options = dict(QUICK, init="none", num_iter=0, mask=False)
    np.testing.assert_allclose(recon(tomo, THETA, init_recon=init, **options), init, rtol=1e-6)


@pytest.mark.parametrize("init", ("sirt", "fbp", "none"))
def test_without_a_fit_nothing_but_the_data_make_the_image(tomo, init):
    """No solver would compare the neighbours' images with the data."""
    found, info = recon(tomo, THETA, return_info=True, **(WARM | dict(init=init, num_iter=0, warm_iter=None)))
    np.testing.assert_array_equal(found, recon(tomo, THETA, **(QUICK | dict(init=init, num_iter=0, warm_start=0))))
    assert not any(s["warm"] for s in info.slices)


def test_a_volume_that_tomopy_hands_over_is_cold_started_unless_asked(tomo, expected):
    outs = [np.full((SLICES, N, N), 1e-6, np.float32) for _ in range(2)]
    options = {name: value for name, value in QUICK.items() if name != "sinogram_order"}
    for out, more in zip(outs, ({}, {"warm_start": 4}), strict=True):
        ganrec(tomo, np.full(SLICES, N / 2), out, THETA, options=options | more)
    np.testing.assert_array_equal(outs[1], expected[0])
    np.testing.assert_array_equal(outs[0], recon(tomo, THETA, **QUICK, warm_start=0))
    assert not np.array_equal(*outs)
