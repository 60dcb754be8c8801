"""A slice is the same to 1e-4 with default options in any batch, with any number of threads, on any processor.

Two processors round differently; so do one thread and two, a batch of one and of eight. The effect of rounding is also
tested by itself: data that differ by 1e-7, the last bit of float32, have to give the same slice.
"""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from tomopy_ganrec import recon
from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import ParallelBeamProjector

TOLERANCE = 1e-4  # ‖difference‖ / ‖slice‖
SIZE, SLICES = 32, 8
KINDS = ("square pixels", "structure", "noise")
WARM, EVERY = "close neighbours", 6
THETA = np.deg2rad(np.arange(0, 120, 2.0))
# Instruction sets of torch's own kernels and of MKL's; a processor without one falls back to another.
PROCESSORS = (
    dict(ATEN_CPU_CAPABILITY="default", MKL_CBWR="COMPATIBLE"),
    dict(ATEN_CPU_CAPABILITY="avx2", MKL_CBWR="AVX2", ONEDNN_MAX_CPU_ISA="AVX2"),
    dict(ATEN_CPU_CAPABILITY="avx512", OMP_NUM_THREADS="2", OMP_WAIT_POLICY="passive"),
)


@functools.cache
def sinograms(kind: str) -> np.ndarray:
    """Eight slices of shale, (slices, angles, columns).

    They are made of square pixels, some of them close to each other, or have structure below the pixel, or noise too.
    """
    fine, spacing = {"square pixels": (1, 0.4), "close neighbours": (1, 0.05)}.get(kind, (4, 1.6))
    truth = np.ascontiguousarray(shale(SIZE * fine, SLICES, 0, spacing=spacing), np.float32)
    model = ParallelBeamProjector(SIZE * fine, THETA, SIZE, pixel_size=1 / fine)
    exact = model.forward_project(torch.from_numpy(truth)).numpy()
    if kind != "noise":
        return exact
    unit = 2 / exact.max()
    counts = np.random.default_rng(0).poisson(1e5 * np.exp(-unit * exact))
    return (-np.log(counts / 1e5) / unit).astype(np.float32)


def reconstruct(tomo, **options) -> np.ndarray:
    return recon(tomo, THETA, sinogram_order=True, device="cpu", **options)


def largest_difference(images, expected) -> float:
    """The largest ‖difference‖ / ‖slice‖."""
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(images, expected, strict=True))


@functools.cache
def expected(kind: str, warm_start: int) -> np.ndarray:
    """All eight slices in one batch, or with warm starts in batches as large as there are."""
    return reconstruct(sinograms(kind), warm_start=warm_start, batch_size=SLICES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", (1, 2, 3))
def test_in_any_batch(kind, batch):
    few = slice(3, 3 + max(2, batch))
    assert (
        largest_difference(reconstruct(sinograms(kind)[few], warm_start=0, batch_size=batch), expected(kind, 0)[few])
        <= TOLERANCE
    )


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_volume_cut_into_other_batches(kind):
    assert largest_difference(reconstruct(sinograms(kind), warm_start=0, batch_size=3), expected(kind, 0)) <= TOLERANCE


def test_some_slices_start_warm():
    _, info = recon(sinograms(WARM), THETA, sinogram_order=True, device="cpu", warm_start=EVERY, return_info=True)
    assert sum(record["warm"] for record in info.slices) >= 4


@pytest.mark.parametrize("batch", (1, 3))
def test_warm_in_any_batch(batch):
    assert (
        largest_difference(reconstruct(sinograms(WARM), warm_start=EVERY, batch_size=batch), expected(WARM, EVERY))
        <= TOLERANCE
    )


@pytest.mark.parametrize(("kind", "warm_start"), (*((kind, 0) for kind in KINDS), (WARM, EVERY)))
def test_rounding_of_the_data_does_not_decide(kind, warm_start):
    tomo = sinograms(kind)
    rounded = (tomo * (1 + 1e-7 * np.random.default_rng(0).standard_normal(tomo.shape))).astype(np.float32)
    assert not np.array_equal(rounded, tomo)
    assert (
        largest_difference(reconstruct(rounded, warm_start=warm_start, batch_size=SLICES), expected(kind, warm_start))
        <= TOLERANCE
    )


@pytest.mark.parametrize("kind", KINDS)
def test_with_any_number_of_threads(kind):
    before, threads = torch.get_num_threads(), 2 if torch.get_num_threads() == 1 else 1
    torch.set_num_threads(threads)
    try:
        images = reconstruct(sinograms(kind)[:2], warm_start=0, batch_size=2)
    finally:
        torch.set_num_threads(before)
    assert largest_difference(images, expected(kind, 0)[:2]) <= TOLERANCE


def test_the_same_call_repeats_bit_for_bit():
    np.testing.assert_array_equal(
        reconstruct(sinograms(WARM), warm_start=EVERY, batch_size=SLICES), expected(WARM, EVERY)
    )


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda settings: settings["ATEN_CPU_CAPABILITY"])
def test_on_another_processor(processor, tmp_path):
    """All kinds in one process of other instruction sets."""
    cases = [(kind, 0) for kind in KINDS] + [(WARM, EVERY)]
    for k, (kind, _) in enumerate(cases):
        np.save(tmp_path / f"{k}.npy", sinograms(kind))  # the same data, since a projection rounds, too
    program = (
        "import sys, numpy as np; sys.path[:0] = sys.argv[2:]; import test_reproducibility as t\n"
        f"for k, every in enumerate({[every for _, every in cases]}):\n"
        "    tomo = np.load(f'{sys.argv[1]}/{k}.npy')\n"
        "    np.save(f'{sys.argv[1]}/found{k}.npy', t.reconstruct(tomo, warm_start=every, batch_size=t.SLICES))\n"
    )
    environment = dict(os.environ, **(dict(OMP_NUM_THREADS="1") | processor))
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), os.path.dirname(__file__)],
        check=True,
        env=environment,
        timeout=280,
    )
    for k, case in enumerate(cases):
        assert largest_difference(np.load(tmp_path / f"found{k}.npy"), expected(*case)) <= TOLERANCE, case
