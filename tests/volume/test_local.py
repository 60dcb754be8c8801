"""Whole volumes: killed and taken up again, from any source, on several devices, and out of memory."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from tomopy_ganrec import ganrec, recon
from tomopy_ganrec.volume import local, worker
from tomopy_ganrec.volume.progress import Cancelled

h5py = pytest.importorskip("h5py")
pytest.importorskip("tifffile")

N, ANGLES, SLICES = 24, 20, 10
THETA = np.linspace(0, np.pi, ANGLES, endpoint=False)
QUICK = dict(
    num_iter=2, warm_iter=2, reweight_rounds=1, pixel_model="point", device="cpu", batch_size=3, sinogram_order=True
)
WARM = dict(QUICK, warm_start=4)
PAPER = dict(preset="paper", num_iter=3, warm_iter=2, warm_start=4, batch_size=2, device="cpu", sinogram_order=True)


def data():
    """The shadow of a disc that grows slowly from slice to slice, with a little noise: (SLICES, ANGLES, N)."""
    x = (np.arange(N) + 0.5) / N * 2 - 1
    discs = [N / 2 * np.sqrt(np.clip((0.7 + 0.005 * k) ** 2 - x * x, 0, None)) for k in range(SLICES)]
    noise = np.random.default_rng(0).standard_normal((SLICES, ANGLES, N))
    return (np.array(discs)[:, None] + 0.01 * noise).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
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
def expected(tomo):
    """The volume in memory, in one go, and its records."""
    image, info = recon(tomo, THETA, return_info=True, **WARM)
    assert (
        sum(s["warm"] for s in info.slices) == 6
    )  # of ten, each fourth and the last from nothing: the tests below are of both kinds
    return image, info.slices


def images(path):
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return file["exchange/data"][:]
    import tifffile

    return np.stack([tifffile.imread(name) for name in sorted(path.glob("recon_*.tiff"))])


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


# Killed and resumed

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
import test_local as t
print("ready", flush=True)
t.recon(t.data(), t.THETA, out=sys.argv[2], callback=lambda status: print(".", end="", flush=True), **getattr(t, sys.argv[3]))
print("done", flush=True)
"""


def killed_after(path, options, iterations):
    """Run in a process of its own, killed after so many iterations; whether it was done before."""
    command = [sys.executable, "-c", SCRIPT, os.path.dirname(__file__), str(path), options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n", process.stderr.read()
        while iterations > 0 and (mark := process.stdout.read(1)):
            if mark == b"d":
                break
            iterations -= 1
        process.send_signal(signal.SIGKILL)
        return process.wait() == 0


def killed_in_place(path, options, moments):
    """The same in forks of this process, which need not import torch again: killed after so many calls of the callback, until one is done."""
    kills = 0
    for iterations in moments:
        child = os.fork()
        if child == 0:
            left = iterations

            def callback(status):
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            try:
                recon(data(), THETA, out=path, callback=callback, **options)
                os._exit(0)
            except BaseException:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        kills += 1
    return kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ("rec.h5", "tiffs"))
def test_killed_ten_times_and_resumed_is_the_same_to_the_last_bit(tmp_path, expected, name):
    out, chance = tmp_path / name, random.Random(0)
    # A batch takes 120 to 250 calls, the whole 1000: each attempt gets one or two batches further, or none.
    kills = killed_in_place(out, WARM, [chance.randint(1, 350) for _ in range(10)])
    assert kills >= 4  # it was worth the name
    result, info = recon(data(), THETA, out=out, return_info=True, **WARM)
    assert result == out
    np.testing.assert_array_equal(images(out), expected[0])
    for found, wanted in zip(info.slices, expected[1], strict=True):
        assert all(
            found[key] == wanted[key]
            for key in ("warm", "residual", "noise", "tv_weight", "iteration", "center", "stopped")
        )


def test_killed_in_a_process_of_its_own(tmp_path, expected):
    out = tmp_path / "rec.h5"
    assert not killed_after(out, "WARM", 700)
    recon(data(), THETA, out=out, **WARM)
    np.testing.assert_array_equal(images(out), expected[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_chain_of_the_papers_networks_killed_and_resumed(tmp_path):
    out, chance = tmp_path / "rec.h5", random.Random(1)
    whole, info = recon(data(), THETA, return_info=True, **PAPER)
    assert [s["warm"] for s in info.slices] == [k % 4 != 0 for k in range(SLICES)]
    kills = killed_in_place(out, PAPER, [chance.randint(1, 6) for _ in range(10)])
    assert kills >= 3
    recon(data(), THETA, out=out, **PAPER)
    np.testing.assert_array_equal(images(out), whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "rec.h5",
        "rec.h5.progress.jsonl",
    ]  # the weights are gone


def test_weights_that_are_lost_are_named(tmp_path, tomo):
    import shutil

    out = tmp_path / "rec.h5"
    with pytest.raises(KeyError):
        recon(tomo, THETA, out=out, callback=stop_at(8), **PAPER)
    shutil.rmtree(tmp_path / "rec.h5.weights")
    with pytest.raises(
        RuntimeError,
        match="the weights after slice [0-9]+, from which the next one begins, are gone; delete the output",
    ):
        recon(tomo, THETA, out=out, **PAPER)


def stop_at(count):
    """A callback that raises at its `count`-th call."""
    seen = []

    def callback(status):
        seen.append(status)
        if len(seen) >= count:
            raise KeyError("stopped")

    return callback


def test_only_what_is_missing_is_done_and_nothing_after_completion(tmp_path, tomo, expected, out, fits):
    with pytest.raises(KeyError):
        recon(tomo, THETA, out=out, callback=stop_at(600), **WARM)
    begun, finished = len(fits), sum(fits[:-1])  # the last batch was not finished
    assert 0 < finished < SLICES
    _, info = recon(tomo, THETA, out=out, return_info=True, **WARM)
    assert sum(fits[begun:]) == SLICES - finished
    assert len(info.slices) == SLICES and all(
        s["residual"] == w["residual"] for s, w in zip(info.slices, expected[1], strict=True)
    )
    assert "10 slices on cpu" in str(info)
    fits.clear()
    assert recon(tomo, THETA, out=out, **WARM) == out
    assert not fits
    np.testing.assert_array_equal(images(out), expected[0])
    with pytest.raises(FileExistsError, match="10 of 10 slices are finished"):
        recon(tomo, THETA, out=out, resume=False, **WARM)


@pytest.mark.parametrize(
    ("change", "named"),
    (
        (dict(tomo=1.01), "data: the data differ"),
        (dict(theta=0.01), "theta: the data differ"),
        (dict(center=12.5), "center: the data differ"),
        (dict(num_iter=3), "options.num_iter: 2 before, 3 now"),
        (dict(warm_start=2), "every: 4 before, 2 now"),
        (dict(init_recon=1), "init_recon: null before"),
        (dict(num_gridx=26), "shape"),
    ),
    ids=("data", "theta", "center", "option", "warm_start", "init_recon", "size"),
)
def test_a_changed_call_is_refused_and_named(tmp_path, tomo, change, named):
    out = tmp_path / "rec.h5"
    with pytest.raises(KeyError):
        recon(tomo, THETA, out=out, callback=stop_at(1), **WARM)
    change = dict(change)
    changed, theta = tomo * change.pop("tomo", 1), THETA + change.pop("theta", 0)
    if "init_recon" in change:
        change["init_recon"] = np.ones((SLICES, N, N), np.float32)
    with pytest.raises(ValueError, match=named):
        recon(changed.astype(np.float32), theta, out=out, **(WARM | change))


def test_what_decides_nothing_may_change(tmp_path, tomo, expected):
    out = tmp_path / "rec.h5"
    with pytest.raises(KeyError):
        recon(tomo, THETA, out=out, callback=stop_at(600), **WARM)
    recon(
        tomo,
        THETA,
        out=out,
        **(WARM | dict(batch_size=4, device="auto" if not torch.cuda.is_available() else "cpu", projector_memory=1e9)),
    )
    # Batches of other sizes, none of one slice but the same ones: bit for bit.
    np.testing.assert_allclose(images(out), expected[0], atol=1e-4 * expected[0].max())


# What breaks on the way


class Broken:
    """Sinograms of which some cannot be read."""

    def __init__(self, tomo, bad):
        self._tomo, self.bad, self.shape, self.dtype = tomo, bad, tomo.shape, tomo.dtype

    def __getitem__(self, key):
        if any(k in self.bad for k in range(SLICES)[key[0]]):
            raise OSError("checksum of a chunk is wrong")
        return self._tomo[key]


def test_an_unreadable_slice_and_on_after_mending(tmp_path, tomo, expected, out, fits):
    scan = Broken(tomo, {6})
    with pytest.raises(OSError, match=r"slices? [0-9].* of the Broken cannot be read: checksum of a chunk is wrong"):
        recon(scan, THETA, out=out, **WARM)
    finished = sum(fits)
    assert 0 < finished < SLICES
    scan.bad = ()
    recon(scan, THETA, out=out, **WARM)
    assert sum(fits) == SLICES  # what was finished stayed
    np.testing.assert_array_equal(images(out), expected[0])


def test_data_that_are_read_in_batches_are_checked_in_batches(tmp_path, tomo):
    bad = np.array(tomo)
    bad[7, 3, 2] = np.nan
    with pytest.raises(ValueError, match="1 values that are NaN or infinite"):
        recon(Broken(bad, ()), THETA, **QUICK, warm_start=0)


@pytest.mark.parametrize("when", ("write", "mark"))
def test_a_full_disk_and_on_with_more_space(tmp_path, tomo, expected, out, fits, monkeypatch, when):
    from tomopy_ganrec.io import disk_outputs
    from tomopy_ganrec.io.journal import Journal

    place = (
        (Journal, "append")
        if when == "mark"
        else (disk_outputs.Hdf5Output if out.suffix else disk_outputs.TiffOutput, "_store")
    )
    works, count = getattr(*place), []

    def full(self, *args):
        count.append(1)
        if len(count) > 2:
            raise OSError(28, "No space left on device")
        return works(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(*place, full)
        with pytest.raises(OSError, match="No space left on device.*finished are kept.*the same call goes on"):
            recon(tomo, THETA, out=out, **WARM)
    finished = sum(fits[:2])
    fits.clear()
    recon(tomo, THETA, out=out, **WARM)
    assert sum(fits) == SLICES - finished
    np.testing.assert_array_equal(images(out), expected[0])


# A GPU's memory


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


# Several devices


# Torch copies a sparse matrix to 'cpu:0', and warns of it outside of the place where the projector expects that.
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
    assert (
        len(seen) < 10**5
    )  # of two million: an iteration takes a millisecond, and the main thread looks every tenth of a second
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


def test_a_volume_through_tomopys_door_is_cold_unless_asked(tomo, expected):
    outs = [np.full((SLICES, N, N), 1e-6, np.float32) for _ in range(2)]
    options = {name: value for name, value in QUICK.items() if name != "sinogram_order"}
    for out, more in zip(outs, ({}, {"warm_start": 4}), strict=True):
        ganrec(tomo, np.full(SLICES, N / 2), out, THETA, options=options | more)
    np.testing.assert_array_equal(outs[1], expected[0])
    np.testing.assert_array_equal(outs[0], recon(tomo, THETA, **QUICK, warm_start=0))
    assert not np.array_equal(*outs)
