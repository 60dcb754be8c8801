"""Memory of a reconstruction: measured, against the estimate."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from tomopy_ganrec import GanrecOptions, estimate_memory
from tomopy_ganrec.volume import memory
from tomopy_ganrec.volume.memory import MAX_BATCH_ON_CPU, MAX_BATCH_ON_GPU, batch_size

CPU = torch.device("cpu")
needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc for the peak")

# Prints the bytes that a run takes at most above what was there before it. A tiny run has loaded the libraries; the
# solver is shortened, and its peak is there from the first iterations on.
MEASURE = textwrap.dedent(
    """
    import json, sys
    import numpy as np, torch
    torch.set_num_threads(1)
    from tomopy_ganrec import recon
    from tomopy_ganrec.fit import start_image as start

    size, angles, slices, folder = *map(int, sys.argv[1:4]), sys.argv[4]
    options = json.loads(sys.argv[5])

    def data(size, angles, slices, out=None):
        x = np.linspace(-1, 1, size)
        disc = np.sqrt(np.clip(1 - x * x, 0, None)) * size / 2
        rng, out = np.random.default_rng(0), np.empty((slices, angles, size), np.float32) if out is None else out
        for k in range(slices):
            out[k] = disc + 0.01 * rng.random((angles, size), dtype=np.float32)
        return out

    def theta(angles):
        return np.deg2rad(np.arange(angles) * 120 / angles)

    same = {name: options[name] for name in ("preset", "pixel_model") if name in options}
    out = {"out": folder + "/small.h5"} if folder else {}
    recon(data(32, 20, 2), theta(20), sinogram_order=True, num_iter=1, batch_size=2, warm_start=0, **same, **out)
    start.TV_ITERATIONS = start.NOISE_ITERATIONS = 6
    start.TRIAL_ITERATIONS, start.ROUND_ITERATIONS = 4, 2
    if folder:
        name, shape = folder + "/data.raw", (slices, angles, size)
        mapped = np.memmap(name, np.float32, "w+", shape=shape)
        data(size, angles, slices, mapped)
        mapped.flush()
        del mapped
        tomo, out = np.memmap(name, np.float32, "r", shape=shape), {"out": folder + "/rec.h5"}
    else:
        tomo = data(size, angles, slices)
    open("/proc/self/clear_refs", "w").write("5")
    before = int(open("/proc/self/statm").read().split()[1]) * 4096
    recon(tomo, theta(angles), sinogram_order=True, **options, **out)
    peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
    print(int(peak.split()[1]) * 1024 - before)
    """
)


def measured(size, angles, slices, folder="", **options):
    import json

    command = [sys.executable, "-c", MEASURE, *map(str, (size, angles, slices, folder)), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    ("size", "angles", "options"),
    (
        (256, 120, dict(batch_size=8, num_iter=2, reweight_rounds=1)),
        (256, 60, dict(batch_size=4, num_iter=2, reweight_rounds=1, pixel_model="point")),
        (128, 60, dict(batch_size=4, num_iter=2, preset="paper")),
    ),
    ids=("default", "point", "paper"),
)
def test_estimate_is_what_is_measured(size, angles, options):
    options = dict(options, warm_start=0, device="cpu")
    shape = (options["batch_size"], angles, size)
    estimate = estimate_memory(shape, options, sinogram_order=True)
    assert estimate.batch_size == options["batch_size"]
    # As its docstring promises.
    assert measured(size, angles, shape[0], **options) == pytest.approx(estimate.total, rel=0.25)


@pytest.mark.slow
@needs_proc
def test_the_peak_does_not_grow_with_the_slices_from_disk_to_disk(tmp_path):
    options = dict(batch_size=4, num_iter=1, reweight_rounds=1, pixel_model="point", warm_start=0, device="cpu")
    peaks = []
    for slices in (8, 56):
        folder = tmp_path / str(slices)
        folder.mkdir()
        peaks.append(measured(64, 60, slices, str(folder), **options))
    # 48 slices more would be .8 MB of result and .7 MB of data in float32; the pages of a mapped file stay in memory as
    # long as nobody else needs it, so that what is read counts; records and histories are a few kB a slice. The
    # allocator's own peak varies by a megabyte or two.
    assert peaks[1] - peaks[0] < 4e6
    assert peaks[0] > 4e6  # and there was something to see


def test_volume_and_batch_of_the_estimate():
    options = dict(device="cpu", batch_size=8)
    many, few = estimate_memory((90, 100, 64), options), estimate_memory((90, 3, 64), options)
    assert many.volume == 4 * 100 * 64 * 64 and many.batch_size == 8 and few.batch_size == 3
    assert many.slices_at_work / 8 == few.slices_at_work / 3
    assert estimate_memory((90, 100, 64), options, out="rec.h5").volume == 0
    assert many.total > many.projector + many.slices_at_work + many.volume
    assert estimate_memory((100, 90, 64), options, sinogram_order=True) == many
    wide = estimate_memory((90, 100, 64), options, num_gridx=80, num_gridy=96)
    assert wide.volume == 4 * 100 * 80 * 96 and wide.projector > many.projector
    assert estimate_memory((90, 100, 64), GanrecOptions(**options)) == many


def test_what_takes_more():
    def total(**options):
        return estimate_memory((90, 8, 64), dict(device="cpu", batch_size=4) | options).total

    assert (
        total(batch_size=8) > total() > total(pixel_model="point") > total(pixel_model="point", backend="astra")
        and total(grid_factor=2) > 1.4 * total()
    )
    assert estimate_memory((90, 8, 64), dict(device="cpu", backend="astra")).projector == 0
    # 'auto' turns to ASTRA.
    assert estimate_memory((90, 8, 64), dict(device="cpu", projector_memory=1e3)).projector == 0


def test_estimate_as_text():
    text = str(memory.MemoryEstimate(projector=1.5e9, slices_at_work=2.25e9, volume=0.5e9, batch_size=8))
    whole = 4.25 + memory.BASE_BYTES / 1e9  # with what is always there
    assert text == f"{whole:.2f} GB (1.50 GB projector, 0.50 GB volume, 2.25 GB for 8 slices at once)"


@pytest.mark.parametrize(
    "shape", ((90, 64), (90, 3, 64, 1), (90, 0, 64), (90, -1, 64), (90.0, 3, 64), ("90", 3, 64), (), (90, None, 64))
)
def test_shapes_that_are_none_are_refused(shape):
    with pytest.raises(ValueError, match=r"must be three whole numbers, \(angles, slices, columns\)"):
        estimate_memory(shape)


@pytest.mark.parametrize(
    ("fits", "expected"), ((-100, 1), (0.5, 1), (1.5, 1), (2.5, 2), (7.5, 7), (100, MAX_BATCH_ON_CPU))
)
def test_auto_takes_what_fits_and_never_none(monkeypatch, fits, expected):
    """`fits`: the number of slices for which there is memory, beside the projector."""
    one = estimate_memory((180, 64, 512), dict(device="cpu", batch_size=1), out="x.h5")
    monkeypatch.setattr(
        memory,
        "_free_bytes",
        lambda device: max(0.0, one.total + (fits - 1) * one.slices_at_work) / memory.FREE_MEMORY_SHARE,
    )
    options = GanrecOptions(device="cpu")
    assert batch_size(options, CPU, (180, 512), (512, 512)) == expected
    assert estimate_memory((180, 64, 512), options).batch_size == expected


def test_auto_on_a_gpu_goes_further(monkeypatch):
    monkeypatch.setattr(memory, "_free_bytes", lambda device: 1e12)
    assert batch_size(GanrecOptions(), torch.device("cuda"), (90, 64), (64, 64)) == MAX_BATCH_ON_GPU > MAX_BATCH_ON_CPU


def test_what_is_given_stands(monkeypatch):
    monkeypatch.setattr(memory, "_free_bytes", lambda device: 0.0)
    assert batch_size(GanrecOptions(batch_size=5), CPU, (90, 64), (64, 64)) == 5
    assert batch_size(GanrecOptions(batch_size=5, joint_slices=3), CPU, (90, 64), (64, 64)) == 3


def test_little_memory_makes_small_batches(monkeypatch):
    """From the option to the fit."""
    import numpy as np

    from tomopy_ganrec import recon
    from tomopy_ganrec.results import FitResult

    seen = []

    def fit(model, sinogram, options, **kwargs):
        seen.append(len(sinogram))
        images = torch.zeros(len(sinogram), *model.domain_shape)
        return FitResult(images, images, [dict(residual=0.0, noise=0.0, stopped="callback")] * len(images))

    monkeypatch.setattr("tomopy_ganrec.volume.worker.fit", fit)
    tomo = np.zeros((6, 20, 24), np.float32)
    one = estimate_memory(tomo.shape, dict(device="cpu", batch_size=1), sinogram_order=True, out="x.h5")
    for fits, batches in ((0, [1] * 6), (2, [2] * 3), (100, [6])):
        monkeypatch.setattr(
            memory,
            "_free_bytes",
            lambda device, n=fits: (one.total + (n - 0.5) * one.slices_at_work) / memory.FREE_MEMORY_SHARE,
        )
        seen.clear()
        recon(tomo, np.linspace(0, 3, 20), sinogram_order=True, device="cpu", warm_start=0)
        assert seen == batches
