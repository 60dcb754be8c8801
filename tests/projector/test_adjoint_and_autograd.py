"""The forward model: exact adjoints and derivatives, agreement with analysis and with ASTRA, the rotation centre, and what it refuses."""

import builtins
import gc
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tomopy_ganrec.projector import ParallelBeamProjector, clear_cache, torch_ops
from tomopy_ganrec.projector.astra_cuda import projection_vectors, require_cuda
from tomopy_ganrec.projector.backends import BackendCache

DEGREES = np.deg2rad(np.arange(180))
SHUFFLED = np.random.default_rng(5).permutation(
    np.linspace(-1.0, 4.0, 23)
)  # any order, beyond half a turn, no multiple of 90°
GEOMETRIES = {
    "square": dict(size=24, theta=np.deg2rad(np.arange(0, 180, 9)), columns=24),
    "shuffled": dict(size=24, theta=SHUFFLED, columns=24),
    "off-centre": dict(size=24, theta=SHUFFLED, columns=30, center=12.3),
    "wide": dict(size=(18, 27), theta=SHUFFLED, columns=33, center=16.9),
    "tall": dict(size=(29, 16), theta=SHUFFLED, columns=20, center=8.25),
    "fine": dict(size=(40, 36), theta=SHUFFLED, columns=20, center=9.6, pixel_size=0.5, rays_per_bin=2),
    "coarse": dict(size=(9, 8), theta=SHUFFLED, columns=20, pixel_size=2.5, rays_per_bin=3),
}
# Gaussian blobs without any symmetry: row and column from the axis (in detector columns), standard deviation, height.
BLOBS = ((-14.0, 6.0, 4.0, 1.0), (9.0, 15.0, 3.5, 0.7), (3.0, -17.0, 5.0, 0.5))

geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
directions = pytest.mark.parametrize("direction", ["forward_project", "back_project"])


def matrix(geometry=None, **changes):
    """The matrix of a geometry, changed or not; of the wide one where neither a geometry nor a size is given."""
    base = geometry or ({} if "size" in changes else GEOMETRIES["wide"])
    return ParallelBeamProjector(**{"backend": "matrix", **base, **changes})


def tiny(center=2.3):
    return matrix(size=(3, 4), theta=[2.1, 0.4], columns=5, center=center, dtype=torch.float64)


def rand(shape, seed=0, dtype=torch.float32):
    """Uniform in 0–1: inner products of such data don't cancel, so that their relative error means something."""
    return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def images(projector, batch=2, seed=0):
    return rand((batch, *projector.domain_shape), seed, projector.dtype)


def sinograms(projector, batch=2, seed=1):
    return rand((batch, *projector.range_shape), seed, projector.dtype)


def inputs(projector, direction, batch=2):
    return images(projector, batch) if direction == "forward_project" else sinograms(projector, batch)


def difference(value, truth):
    """Relative L2 difference, in float64."""
    value, truth = (torch.as_tensor(a).to("cpu", torch.float64) for a in (value, truth))
    return float((value - truth).norm() / truth.norm())


def blob_image(size, pixel_size=1.0):
    y, x = ((np.arange(n) - (n - 1) / 2) * pixel_size for n in size)
    image = sum(a * np.exp(-((y[:, None] - row) ** 2 + (x - col) ** 2) / (2 * s**2)) for row, col, s, a in BLOBS)
    return torch.from_numpy(image)[None]


def blob_sinogram(theta, columns, center):
    """Analytic: a blob at (row, col) is seen at t = col·cos θ − row·sin θ; column d lies at t = d + 0.5 − center."""
    t, theta = np.arange(columns) + 0.5 - center, np.asarray(theta)[:, None]
    shifts = [t - col * np.cos(theta) + row * np.sin(theta) for row, col, _, _ in BLOBS]
    return sum(
        a * s * np.sqrt(2 * np.pi) * np.exp(-(d**2) / (2 * s**2)) for d, (_, _, s, a) in zip(shifts, BLOBS, strict=True)
    )


# Exactness of the pair


@geometries
@precisions
def test_back_projection_is_the_adjoint(geometry, dtype):
    projector = matrix(geometry, dtype=dtype)
    x, y = images(projector), sinograms(projector)
    left = (projector.forward_project(x).double() * y.double()).sum()
    right = (x.double() * projector.back_project(y).double()).sum()
    # One matrix and its stored transpose: only the rounding of the sums differs (machine epsilon 1.2e-7 and 2e-16).
    assert float(abs(left - right) / left) <= (1e-6 if dtype == torch.float32 else 1e-12)


@geometries
def test_both_directions_are_contiguous_and_of_the_stated_shape(geometry):
    projector = matrix(geometry)
    for batch in (1, 3):
        y = projector.forward_project(images(projector, batch))
        x = projector.back_project(y)
        assert tuple(y.shape) == (batch, *projector.range_shape) and y.is_contiguous() and y.dtype == torch.float32
        assert tuple(x.shape) == (batch, *projector.domain_shape) and x.is_contiguous() and x.dtype == torch.float32


@directions
def test_a_batch_is_its_slices(direction):
    projector = matrix()
    data, apply = inputs(projector, direction, 3), getattr(projector, direction)
    # A matrix-matrix and a matrix-vector product add in different orders: float32 rounding.
    assert difference(apply(data), torch.cat([apply(one[None]) for one in data])) <= 1e-6
    assert apply(data[:0]).shape[0] == 0


@directions
def test_float32_follows_float64(direction):
    projector = matrix()
    double = projector.to(torch.float64)
    data = inputs(projector, direction)
    # The weights are rounded to float32 once, the sums run over some tens of terms.
    assert difference(getattr(projector, direction)(data), getattr(double, direction)(data.double())) <= 1e-6


# Derivatives


@directions
@pytest.mark.parametrize("center", [2.3, [2.3, 2.6]], ids=["one centre", "two centres"])
def test_gradcheck(direction, center):
    projector = tiny(center=center)
    data, apply = inputs(projector, direction, np.size(center)).requires_grad_(), getattr(projector, direction)
    assert torch.autograd.gradcheck(apply, data)
    assert torch.autograd.gradgradcheck(
        lambda v: apply(v).square(), data
    )  # squared, so that the second derivative isn't zero


@geometries
def test_gradient_is_the_back_projection(geometry):
    projector = matrix(geometry)
    x = images(projector).requires_grad_()
    (projector.forward_project(x).square().sum() / 2).backward()
    with torch.no_grad():
        assert torch.equal(
            x.grad, projector.back_project(projector.forward_project(x))
        )  # the same computation: no tolerance


def test_gradient_of_the_back_projection_is_the_forward_projection():
    projector = matrix()
    y = sinograms(projector).requires_grad_()
    (projector.back_project(y).square().sum() / 2).backward()
    with torch.no_grad():
        assert torch.equal(y.grad, projector.forward_project(projector.back_project(y)))


exact_backends = pytest.mark.parametrize("backend", ["matrix", "astra"])


def with_backend(backend):
    if backend == "astra":
        pytest.importorskip("astra")
    return matrix(backend=backend)


@exact_backends
@pytest.mark.parametrize("batch", [1, 2])
def test_expanded_gradient(batch, backend):
    projector = with_backend(backend)
    x = images(projector, batch).requires_grad_()
    projector.forward_project(x).sum().backward()  # its gradient has stride 0 everywhere
    assert torch.equal(x.grad, projector.back_project(torch.ones(batch, *projector.range_shape)))


@exact_backends
@pytest.mark.parametrize("batch", [1, 2])
def test_transposed_gradient_and_input(batch, backend):
    projector = with_backend(backend)
    weights, x = sinograms(projector, batch).transpose(1, 2).contiguous(), images(projector, batch)
    stored = x.permute(2, 1, 0).contiguous().requires_grad_()
    y = projector.forward_project(stored.permute(2, 1, 0))
    assert torch.equal(y, projector.forward_project(x))
    (y.transpose(1, 2) * weights).sum().backward()
    assert torch.equal(stored.grad, projector.back_project(weights.transpose(1, 2)).permute(2, 1, 0))


@directions
def test_opcheck(direction):
    projector = tiny()
    operator = getattr(torch.ops.tomopy_ganrec, direction).default
    data = inputs(projector, direction)
    torch.library.opcheck(operator, (data.clone().requires_grad_(), projector._handles[0]))
    torch.library.opcheck(operator, (data, projector._handles[0]))


@directions
def test_vmap(direction):
    projector = tiny()
    apply = getattr(projector, direction)
    data = torch.stack([inputs(projector, direction, 2) * k for k in (1, 2, 3)])
    expected = torch.stack([apply(part) for part in data])
    torch.testing.assert_close(
        torch.func.vmap(apply)(data), expected, rtol=1e-12, atol=0
    )  # float64, other order of the sums
    torch.testing.assert_close(
        torch.func.vmap(apply, in_dims=1, out_dims=2)(data.movedim(0, 1)), expected.movedim(0, 2), rtol=1e-12, atol=0
    )


def test_jacobian_is_the_matrix():
    projector = tiny()
    x = images(projector, 1)
    # Vectorized: vmap over the operator's backward. (torch.func.jacrev itself refuses every torch.library.custom_op, up to torch 2.13.)
    jacobian = torch.autograd.functional.jacobian(projector.forward_project, x, vectorize=True).reshape(10, 12)
    torch.testing.assert_close(jacobian @ x.flatten(), projector.forward_project(x).flatten(), rtol=1e-12, atol=0)


def compiled(backend, projectors):
    """Losses and gradients of one compiled function for several projectors, each beside the eager ones."""

    def loss(p, v):
        return (p.back_project(p.forward_project(v * 2)) ** 2).mean()

    torch._dynamo.reset()
    fast = torch.compile(loss, fullgraph=True, backend=backend)
    for projector in projectors:
        x, z = images(projector).requires_grad_(), images(projector).requires_grad_()
        value, expected = fast(projector, x), loss(projector, z)
        value.backward()
        expected.backward()
        yield value.detach(), expected.detach(), x.grad, z.grad


@pytest.mark.parametrize(
    "projectors",
    [lambda: [tiny()], lambda: [tiny([2.3, 2.6])], lambda: [tiny(), tiny(2.6), tiny(1.9)]],
    ids=["one centre", "two centres", "several geometries"],
)
def test_compile_without_graph_breaks(projectors):
    # Dynamo and AOTAutograd, all that concerns the operators; inductor, 5 to 40 s, is the slow test below.
    for value, expected, grad, expected_grad in compiled("aot_eager", projectors()):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)  # float64, the same operations
        torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own imports use torch.jit
@pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))), reason="no C++ compiler"
)
def test_compile_with_inductor():
    (value, expected, grad, expected_grad), *_ = compiled("inductor", [tiny()])
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)  # float64; fused code adds in another order
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=0)


@directions
def test_autocast_computes_in_float32(direction):
    projector = matrix()
    data = inputs(projector, direction).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = getattr(projector, direction)(data)
        loss = out.square().sum()
    loss.backward()
    assert out.dtype == torch.float32 and data.grad.dtype == torch.bfloat16
    assert torch.equal(out, getattr(projector, direction)(data.detach().float()))
    assert torch.isfinite(data.grad).all() and float(data.grad.abs().max()) > 0


def test_autocast_leaves_float64_alone():
    projector = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        assert projector.forward_project(images(projector)).dtype == torch.float64


# Against analysis


def test_disk_against_its_chords():
    radius, fine = 100.0, 8
    axis = (np.arange(256 * fine) + 0.5) / fine - 128
    disk = (np.hypot(axis[:, None], axis) <= radius).reshape(256, fine, 256, fine).mean((1, 3))
    edges = np.clip(np.arange(257) - 128.0, -radius, radius)
    integral = edges * np.sqrt(radius**2 - edges**2) + radius**2 * np.arcsin(
        edges / radius
    )  # of the chord 2·sqrt(r² − t²)
    truth = np.tile(np.diff(integral), (180, 1))
    y = matrix(size=256, theta=DEGREES, columns=256).forward_project(torch.from_numpy(disk).float()[None])
    # A line stands for a bin, and linear interpolation blurs the edge: 1.36e-3 for Joseph's method, ASTRA's included.
    assert difference(y[0], truth) <= 2e-3


@pytest.mark.parametrize("center", [None, 41.0, 37.3, 45.75])
@pytest.mark.parametrize("size", [(80, 80), (79, 80), (72, 85)], ids=str)
def test_blobs_at_any_centre(center, size):
    theta, columns = SHUFFLED, 82
    projector = matrix(size=size, theta=theta, columns=columns, center=center, dtype=torch.float64)
    y = projector.forward_project(blob_image(size))[0].numpy()
    truth = blob_sinogram(theta, columns, columns / 2 if center is None else center)
    d = np.arange(columns)
    # Linear interpolation moves no mass, only the cut tails of the blobs do; half a column wrong, or the other sign, would be 0.5 and more.
    assert np.abs((y * d).sum(1) / y.sum(1) - (truth * d).sum(1) / truth.sum(1)).max() <= 1e-3
    # It widens a blob by 1/6 px² of variance at most: 0.866/(12·σ²) in the L2 norm, 6e-3 for 3.5 px and 3e-3 for 5; half a column would be 0.1.
    assert difference(y, truth) <= 5e-3


def test_fine_grid_with_two_rays_a_bin():
    projector = matrix(
        size=(160, 164), theta=SHUFFLED, columns=82, center=40.3, pixel_size=0.5, rays_per_bin=2, dtype=torch.float64
    )
    y = projector.forward_project(blob_image((160, 164), 0.5))[0]
    # Half the step: a quarter of the error above; the mean of rays ±1/4 column away adds 1/16 of variance, 2e-3 for a blob of 3.5 columns.
    assert difference(y, blob_sinogram(SHUFFLED, 82, 40.3)) <= 3e-3


@pytest.mark.parametrize(
    "angle, expected", [(0.0, [7, 4, 3]), (np.pi / 2, [5, 9, 0]), (np.pi, [3, 4, 7]), (-np.pi / 2, [0, 9, 5])]
)
def test_right_angles_are_sums_of_rows_and_columns(angle, expected):
    image = torch.tensor([[[0.0, 0, 0], [7, 0, 2], [0, 4, 1]]], dtype=torch.float64)
    y = matrix(size=3, theta=[angle], columns=3, dtype=torch.float64).forward_project(image)
    np.testing.assert_allclose(y[0, 0], expected, atol=1e-12)  # float64, cos 90° is 6e-17


# The same scan on other grids


@geometries
def test_resampled_to_itself_is_itself(geometry):
    projector = matrix(geometry)
    assert projector.rays_per_bin == geometry.get("rays_per_bin", 1)
    assert projector.resampled() is projector
    assert projector.resampled(pixel_size=projector.pixel_size, rays_per_bin=projector.rays_per_bin) is projector


@geometries
@pytest.mark.parametrize("factor", (0.5, 0.4, 2.0))
def test_resampled_covers_the_same_extent(geometry, factor):
    projector = matrix(geometry)
    pixel = factor * projector.pixel_size
    other = projector.resampled(pixel_size=pixel)
    assert (
        other.pixel_size == pixel
        and other.rays_per_bin == projector.rays_per_bin
        and other.range_shape == projector.range_shape
    )
    for new, old in zip(other.domain_shape, projector.domain_shape, strict=True):
        assert (
            old * projector.pixel_size - 1e-6 <= new * pixel < old * projector.pixel_size + pixel - 1e-6
        )  # the next larger grid, in float64
    assert np.array_equal(other.theta, projector.theta) and other.center == projector.center


def test_resampled_is_remembered():
    projector = matrix()
    fine, rays = projector.resampled(0.5, 2), projector.resampled(rays_per_bin=2)
    assert projector.resampled(0.5, 2) is fine and projector.resampled(rays_per_bin=2) is rays and rays is not fine
    assert (fine.pixel_size, fine.rays_per_bin, rays.pixel_size, rays.rays_per_bin) == (0.5, 2, 1.0, 2)
    assert matrix().resampled(0.5, 2) is not fine  # by each projector for itself
    back = fine.resampled(1.0, 1)
    assert back.domain_shape == projector.domain_shape and torch.equal(
        *(p.forward_project(images(projector)) for p in (back, projector))
    )


@precisions
@pytest.mark.parametrize("backend", ("matrix", "auto"))
def test_resampled_keeps_precision_device_and_backend(dtype, backend):
    projector = matrix(dtype=dtype, backend=backend)
    fine = projector.resampled(0.5, 2)
    assert (fine.dtype, fine.device, fine.backend) == (dtype, projector.device, projector.backend)
    other = torch.float64 if dtype == torch.float32 else torch.float32
    assert (
        projector.to(other).resampled(0.5, 2).dtype == other and projector.resampled(0.5, 2) is fine
    )  # a copy does not share what is remembered


@pytest.mark.parametrize(("size", "center"), (((80, 80), None), ((79, 85), 37.3)), ids=("even", "odd, off-centre"))
@pytest.mark.parametrize(("pixel_size", "error"), ((0.5, 3e-3), (1.0, 6e-3), (2.0, 0.02)))
def test_resampled_projects_the_same_object(size, center, pixel_size, error):
    other = matrix(size=size, theta=SHUFFLED, columns=82, center=center, dtype=torch.float64).resampled(pixel_size, 2)
    y = other.forward_project(blob_image(other.domain_shape, pixel_size))[0].numpy()
    truth, d = blob_sinogram(SHUFFLED, 82, 41.0 if center is None else center), np.arange(82)
    # In its place, as on any grid: half a pixel wrong would be 0.25 and more; 1.4e-3 measured, where the blobs' tails end.
    assert np.abs((y * d).sum(1) / y.sum(1) - (truth * d).sum(1) / truth.sum(1)).max() <= 3e-3
    assert (
        difference(y, truth) <= error
    )  # what interpolation and two rays widen: measured 2.2e-3, 4.6e-3, 1.4e-2; it grows with the pixel's square


def test_resampled_keeps_a_centre_for_each_slice():
    projector = matrix(center=[16.0, 17.3], dtype=torch.float64)
    fine, x = projector.resampled(0.5, 2), images(projector.resampled(0.5, 2))
    for k, center in enumerate((16.0, 17.3)):
        expected = matrix(center=center, dtype=torch.float64).resampled(0.5, 2).forward_project(x[k : k + 1])[0]
        torch.testing.assert_close(fine.forward_project(x)[k], expected, rtol=1e-12, atol=1e-12)  # float64


# A centre for each slice


def test_centres_by_slice_equal_single_calls():
    centers = np.array([16.0, 17.3, 16.0, 12.25, 17.3])
    projector, x = matrix(center=centers), images(matrix(), 5)
    y = sinograms(projector, 5)
    for k, center in enumerate(centers):
        one = matrix(center=center)
        # Equal centres are projected together: float32 sums in another order.
        assert difference(projector.forward_project(x)[k], one.forward_project(x[k : k + 1])[0]) <= 1e-6
        assert difference(projector.back_project(y)[k], one.back_project(y[k : k + 1])[0]) <= 1e-6


def test_gradient_through_centres_by_slice():
    projector = matrix(center=[16.0, 17.3, 16.0], dtype=torch.float64)
    x, y = images(projector, 3).requires_grad_(), sinograms(projector, 3)
    (projector.forward_project(x) * y).sum().backward()
    torch.testing.assert_close(x.grad, projector.back_project(y), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("centers", [[16.0, 17.0], [16.0, 16.0]], ids=["unequal", "equal"])
@directions
def test_wrong_number_of_centres(centers, direction):
    projector = matrix(center=centers)
    with pytest.raises(ValueError, match="3 slices, center 2"):
        getattr(projector, direction)(inputs(projector, direction, 3))


# Against ASTRA


def astra_by_hand(geometry, x, y):
    """ASTRA's own route, one slice and one ray a bin: data objects and algorithms instead of direct calls."""
    astra = pytest.importorskip("astra")
    rows, cols = (geometry["size"],) * 2 if isinstance(geometry["size"], int) else geometry["size"]
    columns = geometry["columns"]
    proj_geom = astra.create_proj_geom("parallel", 1.0, columns, geometry["theta"])
    proj_geom = astra.geom_postalignment(proj_geom, columns / 2 - geometry.get("center", columns / 2))
    projector = astra.create_projector("linear", proj_geom, astra.create_vol_geom(rows, cols))
    (forward_id, forward), (back_id, back) = (
        astra.create_sino(x.numpy(), projector),
        astra.create_backprojection(y.numpy(), projector),
    )
    astra.data2d.delete([forward_id, back_id])
    astra.projector.delete(projector)
    return forward, back


@pytest.mark.parametrize("name", ["square", "shuffled", "off-centre", "wide", "tall"])
@pytest.mark.parametrize("backend", ["matrix", "astra"])
def test_an_independent_call_of_astra_agrees(name, backend):
    pytest.importorskip("astra")
    projector = ParallelBeamProjector(**GEOMETRIES[name], backend=backend)
    x, y = images(projector, 1), sinograms(projector, 1)
    forward, back = astra_by_hand(GEOMETRIES[name], x[0], y[0])
    # Two float32 implementations of Joseph's method; ASTRA rounds its positions (7e-4 in Frobenius norm at 256²).
    assert difference(projector.forward_project(x)[0], forward) <= 1e-3
    assert difference(projector.back_project(y)[0], back) <= 1e-3


@geometries
def test_astra_and_matrix_agree(geometry):
    pytest.importorskip("astra")
    ours, theirs = matrix(geometry), ParallelBeamProjector(**geometry, backend="astra")
    x, y = images(ours), sinograms(ours)
    assert theirs.backend == "astra"
    assert difference(theirs.forward_project(x), ours.forward_project(x)) <= 1e-3  # as above
    assert difference(theirs.back_project(y), ours.back_project(y)) <= 1e-3
    assert theirs.forward_project(x).is_contiguous() and theirs.back_project(y).is_contiguous()


def test_astra_and_matrix_agree_at_full_size():
    pytest.importorskip("astra")
    geometry = dict(size=256, theta=DEGREES, columns=256, center=120.3)
    ours, theirs = matrix(geometry), ParallelBeamProjector(**geometry, backend="astra")
    x, y = images(ours, 1), sinograms(ours, 1)
    assert difference(theirs.forward_project(x), ours.forward_project(x)) <= 1e-3  # as above
    assert difference(theirs.back_project(y), ours.back_project(y)) <= 1e-3


@geometries
def test_astra_is_an_adjoint_pair_with_gradients(geometry):
    pytest.importorskip("astra")
    projector = ParallelBeamProjector(**geometry, backend="astra")
    x, y = images(projector).requires_grad_(), sinograms(projector)
    forward, back = projector.forward_project(x), projector.back_project(y)
    left, right = (forward.detach().double() * y.double()).sum(), (x.detach().double() * back.double()).sum()
    assert float(abs(left - right) / left) <= 1e-6  # the same weights both ways: float32 rounding of the sums
    forward.backward(y)
    assert torch.equal(x.grad, back)


# Threads and the cache


@exact_backends
@directions
def test_four_threads_equal_serial(backend, direction):
    if backend == "astra":
        pytest.importorskip("astra")
    projector = matrix(size=64, theta=DEGREES[::6], columns=64, backend=backend)
    data = [inputs(projector, direction, 1 + k % 3) * (1 + k) for k in range(16)]
    serial = [getattr(projector, direction)(part) for part in data]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(getattr(projector, direction), data))
    assert all(torch.equal(a, b) for a, b in zip(serial, parallel, strict=True))  # no shared buffers: bit for bit


def test_threads_build_one_matrix():
    clear_cache()
    with ThreadPoolExecutor(4) as pool:
        projectors = list(pool.map(lambda _: matrix(), range(8)))
    assert len({id(p._backends[0]) for p in projectors}) == 1


def test_equal_geometries_share_a_backend():
    first = matrix()
    assert matrix(theta=list(SHUFFLED), columns=np.int64(33))._backends[0] is first._backends[0]
    assert matrix(center=[16.9, 12.0, 16.9])._backends[1] is first._backends[0]
    assert first.to(torch.float64).to(torch.float32)._backends[0] is first._backends[0]


@pytest.mark.parametrize(
    "change",
    [
        dict(center=16.8),
        dict(theta=SHUFFLED[::-1]),
        dict(columns=34),
        dict(size=(27, 18)),
        dict(pixel_size=0.9),
        dict(rays_per_bin=2),
    ],
)
def test_other_geometries_have_their_own_backend(change):
    assert matrix({**GEOMETRIES["wide"], **change})._backends[0] is not matrix()._backends[0]


def test_changing_the_array_of_angles_changes_no_projector():
    theta = SHUFFLED.copy()
    projector = matrix(theta=theta)
    before = projector.to(torch.float64).forward_project(images(projector).double())
    theta += 0.5
    clear_cache()
    assert torch.equal(projector.to(torch.float64).forward_project(images(projector).double()), before)


def test_cache_is_bounded_in_number():
    clear_cache()
    oldest = matrix(center=10.0)._backends[0]
    for k in range(16):
        matrix(center=11.0 + k)
    assert matrix(center=10.0)._backends[0] is not oldest


def test_cache_is_bounded_in_memory():
    def backend():
        return torch.empty(40, dtype=torch.uint8)  # anything with nbytes

    cache = BackendCache(entries=10, nbytes=100)
    first, second = cache.get(1, backend), cache.get(2, backend)
    assert cache.get(1, backend) is first
    cache.get(3, backend)  # 120 bytes: the one used longest ago, 2, goes
    assert cache.get(1, backend) is first and cache.get(2, backend) is not second
    big = cache.get(4, lambda: torch.empty(1000, dtype=torch.uint8))
    assert cache.get(4, backend) is big  # one alone may exceed the bound


def test_a_projector_outlives_the_cache():
    projector = matrix()
    before = projector.forward_project(images(projector))
    clear_cache()
    gc.collect()
    assert torch.equal(projector.forward_project(images(projector)), before)


def test_a_graph_without_its_projector_says_so():
    projector = matrix(center=14.123)
    loss = projector.forward_project(images(projector).requires_grad_()).sum()
    del projector
    clear_cache()
    gc.collect()
    with pytest.raises(RuntimeError, match="keep a reference"):
        loss.backward()


def test_nothing_is_printed_at_exit():
    pytest.importorskip("astra")
    # A compiled closure keeps the projector until the interpreter ends and has cleared ASTRA's module.
    script = """if True:
        import torch
        from tomopy_ganrec.projector import ParallelBeamProjector
        projector = ParallelBeamProjector(8, [0.1], 8, backend="astra")
        torch.compile(lambda x: projector.forward_project(x), backend="eager")(torch.zeros(1, 8, 8))
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@geometries
@precisions
def test_memory_is_estimated_from_above(geometry, dtype):
    projector = matrix(geometry, dtype=dtype)
    pointers = (
        2 * 4 * (np.prod(projector.domain_shape) + np.prod(projector.range_shape) + 2)
    )  # matters for grids as small as these only
    estimate = projector._geometry.matrix_bytes * (2 if dtype == torch.float64 else 1) + pointers
    assert (
        0.2 * estimate <= projector._backends[0].nbytes <= estimate
    )  # rays that leave the grid early make it an upper estimate


# Choice of a backend


def test_auto_takes_the_matrix_where_it_fits(caplog):
    with caplog.at_level(logging.INFO, "tomopy_ganrec"):
        projector = matrix(backend="auto", center=15.5)
    assert projector.backend == "matrix"
    assert [(r.levelname, "'matrix' on cpu" in r.getMessage(), "GB" in r.getMessage()) for r in caplog.records] == [
        ("INFO", True, True)
    ]


def test_auto_takes_astra_where_the_matrix_is_too_large(caplog):
    pytest.importorskip("astra")
    with caplog.at_level(logging.INFO, "tomopy_ganrec"):
        projector = matrix(backend="auto", memory_limit=1e3)
    assert projector.backend == "astra"
    assert [(r.levelname, "'astra' on cpu" in r.getMessage(), "limit" in r.getMessage()) for r in caplog.records] == [
        ("INFO", True, True)
    ]


def test_auto_keeps_float64_on_the_matrix(caplog):
    projector = matrix(backend="auto", memory_limit=1e3, dtype=torch.float64)
    assert projector.backend == "matrix"
    assert [r.levelname for r in caplog.records] == ["WARNING"] and "no float64" in caplog.text


def test_auto_without_astra_keeps_the_matrix(without_astra, caplog):
    assert matrix(backend="auto", memory_limit=1e3).backend == "matrix"
    assert [r.levelname for r in caplog.records] == ["WARNING"] and "not installed" in caplog.text


def test_auto_chooses_again_when_moved():
    pytest.importorskip("astra")
    projector = matrix(backend="auto", memory_limit=1e3)
    assert projector.to(torch.float64).backend == "matrix" and projector.backend == "astra"


def test_to_tells_device_and_precision_apart():
    projector = matrix(center=[16.0, 17.5])
    for moved in (
        projector.to(torch.float64),
        projector.to("cpu", torch.float64),
        projector.to(torch.float64, "cpu"),
        projector.to(dtype=torch.float64),
    ):
        assert moved.dtype == torch.float64 and moved.device == torch.device("cpu")
        assert moved.forward_project(images(moved)).dtype == torch.float64
    assert projector.dtype == torch.float32
    assert "float32" in repr(projector) and "18×27" in repr(projector)


# What it refuses


@pytest.fixture
def without_astra(monkeypatch):
    real = builtins.__import__

    def fails(name, *args, **kwargs):
        if name.split(".")[0] == "astra":
            raise ImportError("No module named 'astra'")
        return real(name, *args, **kwargs)

    clear_cache()
    monkeypatch.setattr(builtins, "__import__", fails)


@pytest.mark.parametrize("backend", ["astra", "astra_cuda"])
def test_missing_astra_says_how_to_get_it(without_astra, backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    with pytest.raises(ImportError, match="pip install 'astra-toolbox.*conda-forge.*backend='matrix'"):
        matrix(backend=backend, device="cpu" if backend == "astra" else "cuda")


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
        matrix({**GEOMETRIES["wide"], **change})


@exact_backends
@pytest.mark.parametrize("shape", [(18, 27), (2, 27, 18), (2, 1, 18, 27), (2, 18, 26)], ids=str)
def test_wrong_shape_of_a_volume(shape, backend):
    with pytest.raises(ValueError, match=r"needs \(batch, 18, 27\)"):
        with_backend(backend).forward_project(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(23, 33), (2, 33, 23), (2, 18, 27)], ids=str)
def test_wrong_shape_of_a_sinogram(shape):
    with pytest.raises(ValueError, match=r"needs \(batch, 23, 33\)"):
        matrix().back_project(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int32])
def test_wrong_dtype_of_the_data(dtype):
    with pytest.raises(TypeError, match="float32"):
        matrix().forward_project(torch.zeros(1, 18, 27, dtype=dtype))
    with pytest.raises(TypeError, match="float32"):
        matrix().back_project(torch.zeros(1, 23, 33, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32])
def test_wrong_dtype_of_the_projector(dtype):
    with pytest.raises(TypeError, match="float32 or float64"):
        matrix(dtype=dtype)


def test_astra_has_no_float64():
    pytest.importorskip("astra")
    with pytest.raises(ValueError, match="float32.*backend='matrix'"):
        matrix(backend="astra", dtype=torch.float64)
    with pytest.raises(ValueError, match="float32.*backend='matrix'"):
        matrix(backend="astra").to(torch.float64)


@pytest.mark.parametrize("backend", ["auto", "matrix", "astra_cuda"])
def test_cuda_without_a_gpu(backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="no CUDA GPU.*device='cpu'"):
        matrix(backend=backend, device="cuda")
    with pytest.raises(RuntimeError, match="no CUDA GPU"):
        matrix().to("cuda")


def test_astra_cuda_on_the_cpu():
    pytest.importorskip("astra")
    with pytest.raises(RuntimeError, match="device='cuda'.*backend='matrix'"):
        matrix(backend="astra_cuda")


def test_astra_cuda_is_refused_before_astra_would_end_the_process(monkeypatch):
    astra = pytest.importorskip("astra")
    monkeypatch.setattr(astra, "use_cuda", lambda: False)
    with pytest.raises(RuntimeError, match="no usable CUDA GPU.*backend='matrix'"):
        require_cuda(torch.device("cuda", 0))


def test_a_stale_handle():
    with pytest.raises(RuntimeError, match="no longer exists"):
        torch_ops.forward_project(torch.zeros(1, 2, 2), -1)


# ASTRA's CUDA geometry, without a GPU


@pytest.mark.parametrize("rays", [1, 2])
@pytest.mark.parametrize("center", [16.5, 12.3, 20.75])
def test_a_voxel_lands_on_its_detector_column(center, rays):
    astra = pytest.importorskip("astra")
    experimental = pytest.importorskip("astra.experimental")
    columns, slices = 33, 5
    vectors = projection_vectors(SHUFFLED, columns, center, rays)
    geometry = astra.create_proj_geom("parallel3d_vec", slices, columns * rays, vectors)
    for col, row, z in ((3.0, 1.5, -2.0), (-7.5, 4.0, 0.0), (0.0, -9.0, 2.0)):
        points = [experimental.projectPoint(geometry, col, row, z, k) for k in range(len(SHUFFLED))]
        d = col * np.cos(SHUFFLED) - row * np.sin(SHUFFLED) - 0.5 + center  # t = d + 0.5 − center, solved for d
        np.testing.assert_allclose([u for u, _ in points], (d + 0.5) * rays - 0.5, atol=1e-9)  # float64 algebra
        np.testing.assert_allclose([v for _, v in points], z + (slices - 1) / 2, atol=1e-9)  # slice k on detector row k


def test_rays_are_perpendicular_to_the_detector():
    ray, _, u, v = projection_vectors(SHUFFLED, 33, 14.2).reshape(-1, 4, 3).swapaxes(0, 1)
    for a, b in ((ray, u), (ray, v), (u, v)):
        np.testing.assert_allclose((a * b).sum(1), 0, atol=1e-15)
    np.testing.assert_allclose(
        [np.linalg.norm(a, axis=1) for a in (ray, u, v)], 1, atol=1e-15
    )  # a column is one unit wide
