"""The geometry: agreement with analysis, other grids of the same scan, the rotation centre, and refused geometries."""

import numpy as np
import pytest
import torch
from projector_cases import (
    DEGREES,
    GEOMETRIES,
    SHUFFLED,
    blob_image,
    blob_sinogram,
    difference,
    directions,
    geometries,
    images,
    inputs,
    matrix_projector,
    precisions,
    sinograms,
)

# Against analysis


def test_disk_against_its_chords():
    radius, fine = 100.0, 8
    axis = (np.arange(256 * fine) + 0.5) / fine - 128
    disk = (np.hypot(axis[:, None], axis) <= radius).reshape(256, fine, 256, fine).mean((1, 3))
    edges = np.clip(np.arange(257) - 128.0, -radius, radius)
    # Of the chord 2·sqrt(r² − t²).
    integral = edges * np.sqrt(radius**2 - edges**2) + radius**2 * np.arcsin(edges / radius)
    truth = np.tile(np.diff(integral), (180, 1))
    y = matrix_projector(size=256, theta=DEGREES, columns=256).forward_project(torch.from_numpy(disk).float()[None])
    # A line stands for a bin, and linear interpolation blurs the edge: 1.36e-3 for Joseph's method, ASTRA's included.
    assert difference(y[0], truth) <= 2e-3


@pytest.mark.parametrize("center", [None, 41.0, 37.3, 45.75])
@pytest.mark.parametrize("size", [(80, 80), (79, 80), (72, 85)], ids=str)
def test_blobs_at_any_centre(center, size):
    theta, columns = SHUFFLED, 82
    projector = matrix_projector(size=size, theta=theta, columns=columns, center=center, dtype=torch.float64)
    y = projector.forward_project(blob_image(size))[0].numpy()
    truth = blob_sinogram(theta, columns, columns / 2 if center is None else center)
    d = np.arange(columns)
    # Linear interpolation moves no mass, only the cut tails of the blobs do; half a column wrong, or the other sign,
    # would be 0.5 and more.
    assert np.abs((y * d).sum(1) / y.sum(1) - (truth * d).sum(1) / truth.sum(1)).max() <= 1e-3
    # It widens a blob by 1/6 px² of variance at most: 0.866/(12·σ²) in the L2 norm, 6e-3 for 3.5 px and 3e-3 for 5;
    # half a column would be 0.1.
    assert difference(y, truth) <= 5e-3


def test_fine_grid_with_two_rays_a_bin():
    projector = matrix_projector(
        size=(160, 164), theta=SHUFFLED, columns=82, center=40.3, pixel_size=0.5, rays_per_bin=2, dtype=torch.float64
    )
    y = projector.forward_project(blob_image((160, 164), 0.5))[0]
    # Half the step: a quarter of the error above; the mean of rays ±1/4 column away adds 1/16 of variance, 2e-3 for a
    # blob of 3.5 columns.
    assert difference(y, blob_sinogram(SHUFFLED, 82, 40.3)) <= 3e-3


@pytest.mark.parametrize(
    "angle, expected", [(0.0, [7, 4, 3]), (np.pi / 2, [5, 9, 0]), (np.pi, [3, 4, 7]), (-np.pi / 2, [0, 9, 5])]
)
def test_right_angles_are_sums_of_rows_and_columns(angle, expected):
    image = torch.tensor([[[0.0, 0, 0], [7, 0, 2], [0, 4, 1]]], dtype=torch.float64)
    y = matrix_projector(size=3, theta=[angle], columns=3, dtype=torch.float64).forward_project(image)
    np.testing.assert_allclose(y[0, 0], expected, atol=1e-12)  # float64, cos 90° is 6e-17


# The same scan on other grids


@geometries
def test_resampled_to_itself_is_itself(geometry):
    projector = matrix_projector(geometry)
    assert projector.rays_per_bin == geometry.get("rays_per_bin", 1)
    assert projector.resampled() is projector
    assert projector.resampled(pixel_size=projector.pixel_size, rays_per_bin=projector.rays_per_bin) is projector


@geometries
@pytest.mark.parametrize("factor", (0.5, 0.4, 2.0))
def test_resampled_covers_the_same_extent(geometry, factor):
    projector = matrix_projector(geometry)
    pixel = factor * projector.pixel_size
    other = projector.resampled(pixel_size=pixel)
    assert (
        other.pixel_size == pixel
        and other.rays_per_bin == projector.rays_per_bin
        and other.range_shape == projector.range_shape
    )
    for new, old in zip(other.domain_shape, projector.domain_shape, strict=True):
        # The next larger grid, in float64.
        assert old * projector.pixel_size - 1e-6 <= new * pixel < old * projector.pixel_size + pixel - 1e-6
    assert np.array_equal(other.theta, projector.theta) and other.center == projector.center


def test_resampled_is_remembered():
    projector = matrix_projector()
    fine, rays = projector.resampled(0.5, 2), projector.resampled(rays_per_bin=2)
    assert projector.resampled(0.5, 2) is fine and projector.resampled(rays_per_bin=2) is rays and rays is not fine
    assert (fine.pixel_size, fine.rays_per_bin, rays.pixel_size, rays.rays_per_bin) == (0.5, 2, 1.0, 2)
    assert matrix_projector().resampled(0.5, 2) is not fine  # by each projector for itself
    back = fine.resampled(1.0, 1)
    assert back.domain_shape == projector.domain_shape and torch.equal(
        *(p.forward_project(images(projector)) for p in (back, projector))
    )


@precisions
@pytest.mark.parametrize("backend", ("matrix", "auto"))
def test_resampled_keeps_precision_device_and_backend(dtype, backend):
    projector = matrix_projector(dtype=dtype, backend=backend)
    fine = projector.resampled(0.5, 2)
    assert (fine.dtype, fine.device, fine.backend) == (dtype, projector.device, projector.backend)
    other = torch.float64 if dtype == torch.float32 else torch.float32
    # A copy does not share what is remembered.
    assert projector.to(other).resampled(0.5, 2).dtype == other and projector.resampled(0.5, 2) is fine


@pytest.mark.parametrize(("size", "center"), (((80, 80), None), ((79, 85), 37.3)), ids=("even", "odd, off-centre"))
@pytest.mark.parametrize(("pixel_size", "error"), ((0.5, 3e-3), (1.0, 6e-3), (2.0, 0.02)))
def test_resampled_projects_the_same_object(size, center, pixel_size, error):
    scan = matrix_projector(size=size, theta=SHUFFLED, columns=82, center=center, dtype=torch.float64)
    other = scan.resampled(pixel_size, 2)
    y = other.forward_project(blob_image(other.domain_shape, pixel_size))[0].numpy()
    truth, d = blob_sinogram(SHUFFLED, 82, 41.0 if center is None else center), np.arange(82)
    # In its place, as on any grid: half a pixel wrong would be 0.25 and more; 1.4e-3 measured, where the blobs' tails
    # end.
    assert np.abs((y * d).sum(1) / y.sum(1) - (truth * d).sum(1) / truth.sum(1)).max() <= 3e-3
    # What interpolation and two rays widen: measured 2.2e-3, 4.6e-3, 1.4e-2; it grows with the pixel's square.
    assert difference(y, truth) <= error


def test_resampled_keeps_a_centre_for_each_slice():
    projector = matrix_projector(center=[16.0, 17.3], dtype=torch.float64)
    fine, x = projector.resampled(0.5, 2), images(projector.resampled(0.5, 2))
    for k, center in enumerate((16.0, 17.3)):
        single = matrix_projector(center=center, dtype=torch.float64).resampled(0.5, 2)
        expected = single.forward_project(x[k : k + 1])[0]
        torch.testing.assert_close(fine.forward_project(x)[k], expected, rtol=1e-12, atol=1e-12)  # float64


# A centre for each slice


def test_centres_by_slice_equal_single_calls():
    centers = np.array([16.0, 17.3, 16.0, 12.25, 17.3])
    projector, x = matrix_projector(center=centers), images(matrix_projector(), 5)
    y = sinograms(projector, 5)
    for k, center in enumerate(centers):
        single = matrix_projector(center=center)
        # Equal centres are projected together: float32 sums in another order.
        assert difference(projector.forward_project(x)[k], single.forward_project(x[k : k + 1])[0]) <= 1e-6
        assert difference(projector.back_project(y)[k], single.back_project(y[k : k + 1])[0]) <= 1e-6


def test_gradient_through_centres_by_slice():
    projector = matrix_projector(center=[16.0, 17.3, 16.0], dtype=torch.float64)
    x, y = images(projector, 3).requires_grad_(), sinograms(projector, 3)
    (projector.forward_project(x) * y).sum().backward()
    torch.testing.assert_close(x.grad, projector.back_project(y), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("centers", [[16.0, 17.0], [16.0, 16.0]], ids=["unequal", "equal"])
@directions
def test_wrong_number_of_centres(centers, direction):
    projector = matrix_projector(center=centers)
    with pytest.raises(ValueError, match="3 slices, center 2"):
        getattr(projector, direction)(inputs(projector, direction, 3))


# Refused geometries


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(theta=np.zeros((2, 3))), r"one-dimensional.*\(2, 3\)"),
        (dict(theta=[0.0, np.nan]), "finite"),
        (dict(theta=[0.0, np.inf]), "finite"),
        (dict(theta=[]), "theta"),
        (dict(size=0), "size"),
        (dict(size=(8, 8, 8)), "size"),
        (dict(size=(8.5, 8)), "size"),
        (dict(columns=0), "columns"),
        (dict(columns=8.5), "columns"),
        (dict(pixel_size=0.0), "pixel_size"),
        (dict(pixel_size=np.nan), "pixel_size"),
        (dict(pixel_size=np.inf), "pixel_size"),
        (dict(rays_per_bin=0), "rays_per_bin"),
        (dict(rays_per_bin=1.5), "rays_per_bin"),
        (dict(center=np.nan), "center"),
        (dict(center=[4.0, np.inf]), "center"),
        (dict(center=np.zeros((2, 2))), "center"),
        (dict(backend="gpu"), "'gpu'.*'auto', 'fourier', 'matrix', 'astra', 'astra_cuda'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_senseless_geometries(change, message):
    with pytest.raises(ValueError, match=message):
        matrix_projector({**GEOMETRIES["wide"], **change})
