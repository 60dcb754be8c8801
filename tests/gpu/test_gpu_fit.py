"""The stages that quality='best' adds to the fit, on a CUDA GPU against the CPU."""

import numpy as np
import pytest
from gpu_cases import difference, needs_gpu, reconstruct_on

pytestmark = needs_gpu


def test_best_agrees_with_the_cpu(subpixel):
    from tomopy_ganrec import metrics

    truth, sinogram, theta = subpixel
    images = {
        device: reconstruct_on(device, sinogram[None], theta, quality="best", wedge_rounds=1)[0][0]
        for device in ("cpu", "cuda")
    }
    score = {device: metrics.mssim(truth, image) for device, image in images.items()}
    # The requirement. The same seeds draw the same copies, noise and weights on the CPU; training amplifies the
    # rounding of sums in another order.
    assert score["cuda"] == pytest.approx(score["cpu"], abs=0.01)


def test_slices_that_share_a_network_on_the_gpu(subpixel):
    """What a slice becomes does not depend on whether it is computed on a GPU, more than on the seed."""
    from tomopy_ganrec import metrics

    truth, sinogram, theta = subpixel
    other = np.ascontiguousarray(sinogram[:, ::-1])  # the object mirrored in its axis
    options = dict(pixel_model="area", wedge_rounds=1)
    score = {}
    for device in ("cpu", "cuda"):
        together = reconstruct_on(device, np.stack([sinogram, other]), theta, **options)[0][0]
        score[device] = metrics.mssim(truth, together)
    assert score["cuda"] == pytest.approx(score["cpu"], abs=0.02)


def test_uncertainty_on_the_gpu(subpixel):
    truth, sinogram, theta = subpixel
    found = {}
    for device in ("cpu", "cuda"):
        info = reconstruct_on(
            device,
            sinogram[None],
            theta,
            num_iter=0,
            reweight_rounds=1,
            pixel_model="area",
            noise=0.05,
            uncertainty_samples=4,
        )[1]
        found[device] = info.slices[0]["uncertainty"]
    assert isinstance(found["cuda"], np.ndarray) and found["cuda"].shape == (64, 64)
    # The same noise, drawn on the CPU; sums in another order.
    assert difference(found["cuda"], found["cpu"]) <= 0.05


def test_joint_slices_on_the_gpu(subpixel):
    truth, sinogram, theta = subpixel
    noisy = sinogram + 0.2 * np.random.default_rng(0).standard_normal((3, *sinogram.shape)).astype(np.float32)
    images = {
        device: reconstruct_on(device, noisy, theta, joint_slices=3, pixel_model="area", reweight_rounds=2)[0]
        for device in ("cpu", "cuda")
    }
    # A convex problem twice reweighted, in float32 with sums in another order.
    assert difference(images["cuda"], images["cpu"]) <= 1e-2
    learned, info = reconstruct_on(
        "cuda",
        noisy,
        theta,
        joint_slices=3,
        pixel_model="area",
        reweight_rounds=1,
        wedge_rounds=1,
        grid_factor=2,
        uncertainty_samples=2,
    )
    assert np.isfinite(learned).all() and all(np.isfinite(s["uncertainty"]).all() for s in info.slices)
