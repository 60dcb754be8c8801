"""Whole volumes on CUDA GPUs: several GPUs, batches, memory."""

import numpy as np
import pytest
import torch
from gpu_cases import difference, needs_gpu, reconstruct_on

pytestmark = needs_gpu


def test_all_gpus_share_the_slices_and_give_what_one_gives(scan):
    gpus = list(range(torch.cuda.device_count()))
    options = dict(num_iter=10, reweight_rounds=2, pixel_model="area", warm_start=4, batch_size=2)
    one = reconstruct_on("cuda", *scan, **options)[0]
    image, info = reconstruct_on("auto", *scan, gpu_list=gpus, **options)
    assert {s["device"] for s in info.slices} <= {f"cuda:{k}" for k in gpus}
    assert max(difference(a, b) for a, b in zip(image, one, strict=True)) <= 1e-4  # the requirement


@pytest.mark.parametrize("batch", (1, 3))
def test_a_slice_does_not_depend_on_its_batch_on_the_gpu(scan, batch):
    options = dict(pixel_model="area", warm_start=0)
    expected = reconstruct_on("cuda", *scan, batch_size=10, **options)[0]
    found = reconstruct_on("cuda", *scan, batch_size=batch, **options)[0]
    assert max(difference(a, b) for a, b in zip(found, expected, strict=True)) <= 1e-4  # the requirement


def test_estimate_on_the_gpu():
    from tomopy_ganrec import estimate_memory

    angles, size = 120, 256
    theta = np.deg2rad(np.arange(angles))
    x = np.linspace(-1, 1, size, dtype=np.float32)
    tomo = np.broadcast_to(size / 2 * np.sqrt(np.clip(1 - x * x, 0, None)), (8, angles, size)).astype(np.float32)
    options = dict(num_iter=3, reweight_rounds=1, batch_size=8, backend="matrix", warm_start=0)
    estimate = estimate_memory(tomo.shape, options | dict(device="cuda"), sinogram_order=True, out="rec.h5")
    # What the libraries take for themselves.
    reconstruct_on("cuda", tomo[:2, ::8], theta[::8], num_iter=1, reweight_rounds=1)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    reconstruct_on("cuda", tomo, theta, **options)
    # As its docstring promises.
    assert torch.cuda.max_memory_allocated() - before == pytest.approx(estimate.total, rel=0.25)


def test_a_full_gpu_gets_half_of_the_slices(scan):
    from tomopy_ganrec import estimate_memory

    tomo, theta = scan
    options = dict(num_iter=3, reweight_rounds=1, pixel_model="point", warm_start=0)
    expected = reconstruct_on("cuda", tomo, theta, batch_size=2, **options)[0]
    at_work = [
        estimate_memory(tomo.shape, options | dict(batch_size=n), sinogram_order=True, out="x.h5").slices_at_work
        for n in (5, 10)
    ]
    torch.cuda.empty_cache()
    hog = torch.empty(
        int(max(torch.cuda.mem_get_info()[0] - sum(at_work) / 2 - 16 * 2**20, 1)), dtype=torch.uint8, device="cuda"
    )
    try:
        with pytest.warns(RuntimeWarning, match="does not hold 10 slices: going on with 5 at a time"):
            found = reconstruct_on("cuda", tomo, theta, batch_size=10, **options)[0]
    finally:
        del hog
        torch.cuda.empty_cache()
    assert max(difference(a, b) for a, b in zip(found, expected, strict=True)) <= 1e-4  # as for any batch
