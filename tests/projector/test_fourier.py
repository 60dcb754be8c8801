"""The Fourier slice backend: an exact adjoint pair that approximates Joseph's matrix."""

import logging
import math

import numpy as np
import pytest
import torch
from projector_cases import GEOMETRIES, blob_image, blob_sinogram, difference, images, sinograms

from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import Geometry, ParallelBeamProjector, fourier

THETA = np.deg2rad(np.arange(0.0, 180.0, 1.5))
ROOMY = {  # large enough for the blobs
    "square": dict(size=96, theta=THETA, columns=96),
    "odd": dict(size=97, theta=THETA, columns=95),
    "off-centre": dict(size=96, theta=THETA, columns=100, center=47.3),
    "wide": dict(size=(80, 100), theta=THETA, columns=104, center=53.6),
    "tall": dict(size=(101, 84), theta=THETA[::-1].copy(), columns=105, center=50.0),
    "fine": dict(size=(190, 184), theta=THETA, columns=96, center=48.4, pixel_size=0.5, rays_per_bin=2),
    "full turn": dict(size=96, theta=np.deg2rad(np.arange(-90.0, 270.0, 4.0)), columns=96),
}
geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
roomy = pytest.mark.parametrize("geometry", ROOMY.values(), ids=ROOMY)


def both(geometry, dtype=torch.float32):
    return (ParallelBeamProjector(**geometry, backend=backend, dtype=dtype) for backend in ("fourier", "matrix"))


@geometries
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_back_projection_is_the_adjoint(geometry, dtype):
    projector, _ = both(geometry, dtype)
    x, y = images(projector), sinograms(projector)
    left = (projector.forward_project(x).double() * y.double()).sum()
    right = (x.double() * projector.back_project(y).double()).sum()
    # Stored transpose and FFTs: only the rounding of the sums differs (machine epsilon 1.2e-7 and 2e-16).
    assert float(abs(left - right) / left) <= (1e-6 if dtype == torch.float32 else 1e-12)


@roomy
def test_smooth_objects_are_projected_as_by_the_matrix_and_by_analysis(geometry):
    projector, matrix = both(geometry)
    x = blob_image(projector.domain_shape, projector.pixel_size).float()
    y = projector.forward_project(x)
    # The interpolation's own error, 4e-4 to 6e-4 measured. Joseph's method widens a blob of 3.5 columns by 6e-3; a flip
    # or half a column would be 0.1 and more.
    assert difference(y, matrix.forward_project(x)) <= 7e-4
    assert difference(y[0], blob_sinogram(projector.theta, projector.columns, projector.center)) <= 7e-3
    back = projector.back_project(y)
    # Rays at the ends of the detector act as all others; .003 to .008.
    assert difference(back, matrix.back_project(y)) <= 1e-2


@pytest.mark.parametrize("rays", (1, 2))
def test_edges_are_projected_as_by_the_matrix(rays):
    projector, matrix = both(dict(size=128, theta=THETA, columns=128, rays_per_bin=rays))
    x = torch.from_numpy(shale(128, 2, seed=1))
    # What folds back from beyond the frequencies that are followed; half and a third of what is measured without
    # following them, 2e-3 and 1.1e-3.
    assert difference(projector.forward_project(x), matrix.forward_project(x)) <= (1e-3 if rays == 1 else 4e-4)


def test_objects_beside_the_detector_are_not_folded_onto_it():
    """A blob in the corner of a grid wider than the detector is seen where its shadow falls, and nowhere else."""
    geometry = dict(size=96, theta=THETA, columns=40, center=13.7)
    projector, matrix = both(geometry)
    y, x = (torch.arange(96) - 47.5 for _ in range(2))
    corner = torch.exp(-((y[:, None] + 36) ** 2 + (x - 37) ** 2) / (2 * 3.0**2))[None]
    y, expected = projector.forward_project(corner), matrix.forward_project(corner)
    # The interpolation's error, 1.6e-3 measured at the worst ray.
    assert float((y - expected).abs().max()) <= 2e-3 * float(expected.max())


def test_derivatives():
    projector = ParallelBeamProjector((3, 4), [2.1, 0.4], 5, [2.3, 2.6], backend="fourier", dtype=torch.float64)
    for apply, data in ((projector.forward_project, images(projector)), (projector.back_project, sinograms(projector))):
        data.requires_grad_()
        assert torch.autograd.gradcheck(apply, data)
        assert torch.autograd.gradgradcheck(lambda v, apply=apply: apply(v).square(), data)


def test_a_slice_is_the_same_in_any_batch_to_the_last_bit():
    projector, _ = both(GEOMETRIES["wide"])
    for apply, data in (
        (projector.forward_project, images(projector, 3)),
        (projector.back_project, sinograms(projector, 3)),
    ):
        assert torch.equal(apply(data), torch.cat([apply(single[None]) for single in data]))
        assert apply(data[:0]).shape == apply(data)[:0].shape


def test_a_slice_that_is_not_finite_keeps_it_to_itself():
    projector, _ = both(GEOMETRIES["square"])
    x = images(projector, 2)
    spoilt = x.clone()
    spoilt[0, 3, 4] = math.nan
    assert torch.equal(projector.forward_project(spoilt)[1], projector.forward_project(x)[1])


@geometries
def test_float32_follows_float64(geometry):
    single, double = (
        ParallelBeamProjector(**geometry, backend="fourier", dtype=dtype) for dtype in (torch.float32, torch.float64)
    )
    x, y = images(single), sinograms(single)
    # Rounding of FFTs and of the interpolation's alternating sums.
    assert difference(single.forward_project(x), double.forward_project(x.double())) <= 2e-6
    assert difference(single.back_project(y), double.back_project(y.double())) <= 2e-6


@pytest.mark.parametrize(
    "geometry",
    (ROOMY["square"], ROOMY["wide"], ROOMY["fine"], dict(size=300, theta=THETA[::3], columns=300, rays_per_bin=2)),
)
def test_memory_is_within_its_estimate_and_much_less_than_the_matrix(geometry):
    projector, matrix = (p._backends[0].nbytes for p in both(geometry))
    own = Geometry(
        **{**dict(center=geometry["columns"] / 2), **geometry, "size": np.broadcast_to(geometry["size"], 2).tolist()}
    )
    assert 0.75 * own.fourier_bytes <= projector <= own.fourier_bytes
    assert projector < matrix / (1 if max(own.size) < 200 else 4)


def test_interpolation_is_as_good_as_it_says():
    """The worst relative error of a frequency, over the pixels of an axis: 1.1e-3 with 5 points (2e-4 in the mean)."""
    count, padded, width = 64, 96, 5
    frequency = np.random.default_rng(0).uniform(-0.5, 0.5, 50)
    point, weight = fourier._points(frequency, count, padded, width)
    n = np.arange(count) - count // 2
    sign = 1 - 2 * (point % 2)  # of the image in the middle of the padded grid
    sums = (weight * sign)[..., None] * np.exp(
        2j * np.pi * (point - frequency[:, None] * padded)[..., None] * n / padded
    )
    error = np.abs(sums.sum(1) * fourier._apodization(count, padded) - 1)
    assert error.max() <= 1.5e-3 and np.sqrt((error**2).mean()) <= 2.5e-4


# 'auto'


def test_auto_chooses_it_for_large_grids_on_a_cpu(caplog):
    large, small = (dict(size=size, theta=[0.1, 1.0], columns=size, backend="auto") for size in (128, 127))
    with caplog.at_level(logging.INFO, "tomopy_ganrec"):
        projector = ParallelBeamProjector(**large)
    assert projector.backend == "fourier" and "'fourier' on cpu" in caplog.text and "GB" in caplog.text
    assert ParallelBeamProjector(**small).backend == "matrix"
    assert projector.resampled(rays_per_bin=2).backend == "fourier" and projector.to(torch.float64).backend == "fourier"


def test_auto_chooses_astra_where_it_does_not_fit(caplog):
    pytest.importorskip("astra")
    given = dict(size=128, theta=[0.1, 1.0], columns=128)
    with caplog.at_level(logging.INFO, "tomopy_ganrec"):
        assert ParallelBeamProjector(**given, memory_limit=1e3).backend == "astra"
    assert "'fourier' needs up to" in caplog.text
    # ASTRA has no float64.
    assert ParallelBeamProjector(**given, memory_limit=1e3, dtype=torch.float64).backend == "fourier"


def test_it_reconstructs_as_the_matrix_does(shale_case):
    from tomopy_ganrec.fit import fit
    from tomopy_ganrec.metrics import mssim
    from tomopy_ganrec.options import GanrecOptions

    case = shale_case(size=64, oversample=4)
    similarity = [
        mssim(
            case.truth[0],
            fit(
                ParallelBeamProjector(64, case.theta, 64, backend=backend), case.sinogram, GanrecOptions(num_iter=0)
            ).image[0],
        )
        for backend in ("fourier", "matrix")
    ]
    assert similarity[0] == pytest.approx(
        similarity[1], abs=2e-3
    )  # the requirement; at 128² .000 to .001 in most cases
