"""Slices on a Dask cluster: the same result, whatever happens to workers, scheduler and caller."""

import _thread
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

pytest.importorskip("distributed")
pytest.importorskip("h5py")
import h5py
from distributed import Client, LocalCluster

import tomopy_ganrec
from tomopy_ganrec import recon
from tomopy_ganrec.io.sources import source_of
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.volume import dask_client, dask_cluster
from tomopy_ganrec.volume.planning import plan
from tomopy_ganrec.volume.progress import Cancelled

SIZE, SLICES = 24, 12
THETA = np.deg2rad(np.arange(0, 120, 8.0))
QUICK = dict(num_iter=2, reweight_rounds=1, pixel_model="point", sinogram_order=True)
SLOW = dict(QUICK, num_iter=20, batch_size=2)  # some seconds in one process, in six tasks: time to be interrupted
LONG = 40.0  # seconds a run may take on a busy machine before a test gives up


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as started:
        yield started


@pytest.fixture(scope="module")
def connected(cluster):
    with Client(cluster) as client:
        yield client


@pytest.fixture
def client(connected):
    """A client of two workers that have loaded what they need: one that is loading does not answer for seconds."""
    connected.wait_for_workers(2, LONG)
    connected.run(importlib.import_module, "tomopy_ganrec.volume.dask_worker")
    return connected


@pytest.fixture(scope="module")
def sinogram():
    """Discs that move and grow from slice to slice, (slices, angles, columns)."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    shape = [(np.hypot(x - 3, y + k / 4) < 4 + k / 4) * 0.5 + (np.hypot(x + 4, y - 2) < 5) * 0.3 for k in range(SLICES)]
    return (
        ParallelBeamProjector(SIZE, THETA, SIZE)
        .forward_project(torch.tensor(np.array(shape), dtype=torch.float32))
        .numpy()
    )


@pytest.fixture(scope="module")
def slow_reference(sinogram):
    return recon(sinogram, THETA, **SLOW)


@pytest.fixture
def mapped(sinogram, tmp_path):
    """The sinograms in a file, to be changed at will."""
    np.save(tmp_path / "sinogram.npy", sinogram)
    return np.load(tmp_path / "sinogram.npy", mmap_mode="r+")


def content(path):
    with h5py.File(path) as file:
        return file["exchange/data"][:]


def finished(path) -> list[int]:
    """The slices in the order in which they were entered as finished, each as often as that happened."""
    try:
        lines = path.with_name(path.name + ".progress.jsonl").read_text().splitlines()[1:]
    except FileNotFoundError:
        return []
    return [k for line in lines for k in json.loads(line)["slices"]]


def assert_same(found, expected) -> None:
    """Each slice to 1e-4, the promise where another number of threads is at work than in this process."""
    for a, b in zip(found, expected, strict=True):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b)


def until(what, seconds=LONG):
    """Wait for something; returns how long it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


def at_work(client) -> dict:
    """The keys of what the threads of each worker execute, as the workers report them."""
    return {
        worker: keys
        for worker, keys in client.run(lambda dask_worker: list(dask_worker.active_threads.values())).items()
        if keys
    }


def kill_one(client):
    """Kill a worker that is reconstructing; between two tasks there may be none for a moment."""
    pids = client.run(os.getpid)
    until(lambda: any("ganrec-slices" in str(keys) for keys in at_work(client).values()))
    busy = [worker for worker, keys in at_work(client).items() if "ganrec-slices" in str(keys)]
    os.kill(pids[busy[0]], signal.SIGKILL) if busy else kill_one(client)


class Running(threading.Thread):
    """`recon` in a thread; `join` gives what came of it."""

    def __init__(self, *args, **kwargs):
        super().__init__(daemon=True)
        self._call, self.error, self.result = (args, kwargs), None, None
        self.start()

    def run(self):
        try:
            self.result = recon(*self._call[0], **self._call[1])
        except BaseException as error:
            self.error = error

    def join(self):
        super().join(LONG)
        assert not self.is_alive()
        return self.result


def close(image, reference, tolerance=1e-4):
    """Another batch adds in another order: ‖difference‖/‖slice‖, as `GanrecOptions.batch_size` promises."""
    assert image.shape == reference.shape
    norms = np.linalg.norm(reference, axis=(1, 2))
    np.testing.assert_array_less(np.linalg.norm(image - reference, axis=(1, 2)), tolerance * norms)


@pytest.mark.parametrize("warm", [0, 4])
def test_the_same_as_in_one_process(client, sinogram, tmp_path, warm):
    options = dict(QUICK, warm_start=warm)
    expected, local_info = recon(sinogram, THETA, return_info=True, **options)
    image, info = recon(sinogram, THETA, return_info=True, client=client, **options)
    close(image, expected)
    assert info.device == "cpu" and [s["center"] for s in info.slices] == [s["center"] for s in local_info.slices]
    assert [s["warm"] for s in info.slices] == [s["warm"] for s in local_info.slices] and info.slices[3]["history"][
        "objective"
    ].size == 3
    out = tmp_path / "rec.h5"
    assert recon(sinogram, THETA, client=client, out=out, **options) == out
    # What neighbours begin from comes from the file, or from the caller.
    np.testing.assert_array_equal(content(out), image)
    assert sorted(finished(out)) == list(range(SLICES))


def test_data_from_a_file_and_images_into_one(client, sinogram, mapped, tmp_path):
    expected = recon(sinogram, THETA, **QUICK)
    target = np.lib.format.open_memmap(tmp_path / "image.npy", "w+", np.float32, expected.shape)
    recon(mapped, THETA, client=client, out=target, **QUICK)
    close(np.load(tmp_path / "image.npy"), expected)
    close(recon(mapped.swapaxes(0, 1), THETA, client=client, **dict(QUICK, sinogram_order=False)), expected)


def test_what_is_given_goes_with_the_slices(client, sinogram):
    centers, init = (
        np.full(SLICES, SIZE / 2),
        np.linspace(0, 1, SLICES, dtype=np.float32)[:, None, None] * np.ones((SIZE, SIZE), np.float32),
    )
    centers[5:] += 0.5
    options = dict(QUICK, center=centers, init_recon=init, init="none")
    # As said for other starts than 'tv'.
    close(recon(sinogram, THETA, client=client, **options), recon(sinogram, THETA, **options), 5e-3)


@pytest.mark.filterwarnings("ignore:the reconstruction does not explain")
def test_each_slice_has_its_own_mask(client, sinogram):
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    masks = np.stack([np.hypot(y + k / 4, x) < 5 + k / 4 for k in range(SLICES)])
    image = recon(sinogram, THETA, client=client, mask=masks, batch_size=2, **QUICK)
    assert not image[~masks].any() and all(one.any() for one in image)
    # Slices of a batch that is another are the same to 1e-4.
    expected = recon(sinogram, THETA, mask=masks, batch_size=2, **QUICK)
    np.testing.assert_allclose(image, expected, rtol=0, atol=1e-3 * expected.max())


@pytest.mark.filterwarnings("ignore:max_attenuation=", "ignore:the reconstruction does not explain")
def test_a_bound_goes_with_the_slices_and_its_records_come_back(client, sinogram):
    bound = 0.5 * float(recon(sinogram, THETA, **QUICK).max())
    image, info = recon(sinogram, THETA, client=client, max_attenuation=bound, return_info=True, **QUICK)
    assert image.max() <= bound * (1 + 1e-6)  # float32
    assert all(record["bound_origin"] == "given" for record in info.slices)
    assert max(record["bound_rise"] or 0 for record in info.slices) > 0.01  # what is warned of


def test_weights_of_the_paper_go_from_slice_to_slice(client, sinogram, tmp_path):
    options = dict(preset="paper", num_iter=3, warm_iter=2, warm_start=4, batch_size=2, sinogram_order=True)
    expected, local_info = recon(sinogram, THETA, return_info=True, **options)
    image, info = recon(sinogram, THETA, return_info=True, client=client, **options)
    np.testing.assert_array_equal(image, expected)
    assert (
        [s["warm"] for s in info.slices] == [s["warm"] for s in local_info.slices] == [k % 4 > 0 for k in range(SLICES)]
    )
    # Here through files, so that any worker goes on.
    recon(sinogram, THETA, client=client, out=tmp_path / "rec.h5", **options)
    np.testing.assert_array_equal(content(tmp_path / "rec.h5"), expected)
    assert not list(tmp_path.glob("*.weights"))


def test_a_chain_whose_weights_stay_in_memory_is_one_work_item():
    tasks = plan([12.0] * 8, 2, 2, chains=True)
    groups = dask_client._grouped(tasks, True)
    assert [[task.slices for task in group] for group in groups] == [[(0, 2), (1, 3)], [(4, 6), (5, 7)]]
    assert all(dask_client._dependencies(group) == set() for group in groups) and dask_client._grouped(
        tasks, False
    ) == [(task,) for task in tasks]
    # Two chains that share a task at one slice only.
    (group,) = dask_client._grouped(plan([12.0] * 6 + [13.0] * 4, 2, 5, chains=True), True)
    assert [task.slices for task in group] == [(0, 5), (1,), (6,), (2,), (7,), (3,), (8,), (4,), (9,)]


def test_what_cannot_be(client, sinogram, monkeypatch):
    with pytest.raises(ValueError, match="callback.*cannot travel"):
        recon(sinogram, THETA, client=client, callback=print, **QUICK)
    with pytest.raises(TypeError, match="'str'; give a dask.distributed.Client"):
        recon(sinogram, THETA, client="tcp://scheduler:8786", **QUICK)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(TypeError, match=r"pip install 'tomopy_ganrec\[distributed\]'"):
        recon(sinogram, THETA, client=client, **QUICK)


def test_an_exception_in_a_worker_reaches_the_caller(client, mapped, tmp_path):
    mapped[7, 3, 5] = np.nan
    out = tmp_path / "rec.h5"
    with pytest.raises(ValueError, match=r"1 values that are NaN or infinite.*= \(7, 3, 5\)") as caught:
        recon(mapped, THETA, client=client, out=out, batch_size=2, **QUICK)
    assert (
        type(caught.value) is ValueError
        and "on tcp://" in str(caught.value.__cause__)
        and "check_finite" in str(caught.value.__cause__)
    )
    assert 7 not in finished(out)
    with pytest.raises(RuntimeError, match="CUDA"):  # as the workers have none
        recon(mapped[:4], THETA, client=client, device="cuda:7", **QUICK)


def test_a_warning_in_a_worker_reaches_the_caller(client, mapped):
    mapped[...] = np.random.default_rng(0).uniform(size=mapped.shape)
    with pytest.warns(RuntimeWarning, match="show no discrete grey levels") as caught:
        recon(mapped, THETA, client=client, levels="auto", batch_size=4, warm_start=0, **QUICK)
    assert sum("4 of 4 slices show" in str(w.message) for w in caught) == 1  # of three tasks


def test_a_killed_worker_costs_what_it_was_at(client, sinogram, slow_reference, tmp_path):
    out = tmp_path / "rec.h5"
    run = Running(sinogram, THETA, client=client, out=out, **SLOW)
    until(lambda: finished(out))
    kill_one(client)
    before = finished(out)
    run.join()
    assert run.error is None
    # Each once.
    assert (
        len(before) < SLICES and finished(out)[: len(before)] == before and sorted(finished(out)) == list(range(SLICES))
    )
    assert_same(content(out), slow_reference)


def test_cancelled_and_taken_up_again(client, sinogram, slow_reference, tmp_path):
    out = tmp_path / "rec.h5"
    run = Running(sinogram, THETA, client=client, out=out, **SLOW)
    until(lambda: finished(out))
    tomopy_ganrec.cancel()
    run.join()
    until(lambda: not at_work(client))
    assert isinstance(run.error, Cancelled)
    before = finished(out)
    assert 0 < len(before) < SLICES
    recon(sinogram, THETA, client=client, out=out, **SLOW)
    assert finished(out)[: len(before)] == before and sorted(finished(out)) == list(range(SLICES))
    assert_same(content(out), slow_reference)
    # Nothing left to do.
    assert recon(sinogram, THETA, client=client, out=out, return_info=True, **SLOW)[1].device == "cpu"


def test_an_interrupt_from_the_keyboard(client, sinogram, tmp_path, interruptible):
    out = tmp_path / "rec.h5"

    def press():
        until(lambda: finished(out))
        _thread.interrupt_main()

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        recon(sinogram, THETA, client=client, out=out, **SLOW)
    until(lambda: not at_work(client))
    assert len(finished(out)) < SLICES  # it did not go on to the end
    # Nothing is kept.
    assert client.run(lambda: len(sys.modules["tomopy_ganrec.volume.dask_worker"]._sessions)) == dict.fromkeys(
        client.run(os.getpid), 0
    )


def test_slices_that_kill_their_workers_are_named(client, sinogram, tmp_path):
    # The first death is one too many.
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
    run = Running(sinogram, THETA, client=client, out=tmp_path / "rec.h5", **SLOW)
    kill_one(client)
    run.join()
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 3))
    assert type(run.error) is RuntimeError
    for text in ("slices ", "died", "batch_size=1", "are kept in", "rec.h5"):
        assert text in str(run.error)


def test_a_scheduler_that_goes(sinogram, slow_reference, tmp_path):
    out, file = tmp_path / "rec.h5", tmp_path / "scheduler.json"
    start = [sys.executable, "-m", "distributed.cli.dask_"]
    more = [
        ["scheduler", "--port", "0", "--dashboard-address", ":0"],
        ["worker", "--no-nanny", "--nthreads", "1", "--dashboard-address", ":0"],
    ]
    parts = [
        subprocess.Popen([*start[:2], start[2] + name, *rest, "--scheduler-file", file], stderr=subprocess.DEVNULL)
        for name, *rest in more
    ]
    try:
        until(file.exists)
        with Client(scheduler_file=file) as client:
            address = client.scheduler.address
            run = Running(sinogram, THETA, client=client, out=out, **SLOW)
            until(lambda: finished(out))
            assert not client.run_on_scheduler(lambda: "torch" in sys.modules)  # it may be a machine that has none
            parts[0].kill()
            run.join()
    finally:
        for part in parts:
            part.kill()
            part.wait()
    assert type(run.error) is RuntimeError
    for text in (
        f"the Dask scheduler at {address} does not answer",
        f"kept in {out}, the same call goes on with the rest",
    ):
        assert text in str(run.error)
    before = finished(out)
    assert 0 < len(before) < SLICES
    recon(sinogram, THETA, out=out, **SLOW)
    assert finished(out)[: len(before)] == before and sorted(finished(out)) == list(range(SLICES))
    assert_same(content(out), slow_reference)


def test_no_workers(sinogram, monkeypatch):
    monkeypatch.setattr(dask_cluster, "ANSWER_TIMEOUT", 0.5)
    empty = LocalCluster(n_workers=0, processes=False, dashboard_address=":0")
    with empty, Client(empty) as client, pytest.raises(RuntimeError, match="has had no workers for 0.5 s; start some"):
        recon(sinogram, THETA, client=client, **QUICK)
    with pytest.raises(RuntimeError, match="does not answer.*finished are lost; with out="):  # now the client is closed
        recon(sinogram, THETA, client=client, **QUICK)


def test_what_goes_by_name(mapped, sinogram, tmp_path):
    assert dask_client._can_travel(source_of(mapped))
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data"] = sinogram
    with h5py.File(tmp_path / "data.h5") as file:
        assert dask_client._can_travel(source_of(file["data"], True))
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        file["data"] = sinogram
        assert not dask_client._can_travel(source_of(file["data"], True))
    assert not dask_client._can_travel(source_of(np.zeros((4, 300, 300))))
