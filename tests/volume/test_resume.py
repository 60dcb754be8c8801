"""Volumes that were killed, stopped or changed, and are resumed."""

import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_volume import PAPER, QUICK, SLICES, THETA, WARM, N, data, images, stop_at

from tomopy_ganrec import recon

pytest.importorskip("h5py")
pytest.importorskip("tifffile")

pytestmark = pytest.mark.usefixtures("one_thread")


# Killed and resumed

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
import small_volume as t
from tomopy_ganrec import recon
print("ready", flush=True)
recon(
    t.data(),
    t.THETA,
    out=sys.argv[2],
    callback=lambda status: print(".", end="", flush=True),
    **getattr(t, sys.argv[3]),
)
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
    """The same in forks of this process, which need not import torch again; gives how many were killed.

    Each is killed after so many calls of the callback, until one is done.
    """
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


# What fails on the way


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
    from tomopy_ganrec.io.hdf5_output import Hdf5Output
    from tomopy_ganrec.io.journal import Journal
    from tomopy_ganrec.io.tiff_output import TiffOutput

    place = (Journal, "append")
    if when == "write":
        place = (Hdf5Output if out.suffix else TiffOutput, "_store")
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
