"""The projectors on a CUDA GPU against the matrix on the CPU.

ASTRA's GPU kernels interpolate in textures of 8-bit fractions and project back pixel by pixel: they agree with the
matrix on smooth data only, to about 1e-3 forward and 1 to 2 % back.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from gpu_cases import (
    GEOMETRIES,
    THETA,
    blob_sinogram,
    blobs,
    difference,
    geometries,
    needs_gpu,
    on_cpu,
    on_gpu,
    smooth_pair,
)

from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.projector.astra_cuda import require_cuda

pytestmark = needs_gpu


# Against the CPU


@geometries
def test_matrix_on_the_gpu(geometry):
    x, y = smooth_pair(geometry)
    projector = on_gpu(geometry, "matrix")
    for batch in (1, 3):
        forward, back = projector.forward_project(x[:batch].cuda()), projector.back_project(y[:batch].cuda())
        assert forward.is_cuda and forward.is_contiguous() and back.is_cuda and back.is_contiguous()
        # The same weights, summed in another order: float32.
        assert difference(forward, on_cpu(geometry).forward_project(x[:batch])) <= 1e-5
        assert difference(back, on_cpu(geometry).back_project(y[:batch])) <= 1e-5


@geometries
def test_fourier_on_the_gpu(geometry):
    x, y = smooth_pair(geometry)
    projector, cpu = on_gpu(geometry, "fourier"), ParallelBeamProjector(**geometry, backend="fourier")
    for batch in (1, 3):
        forward, back = projector.forward_project(x[:batch].cuda()), projector.back_project(y[:batch].cuda())
        assert forward.is_cuda and forward.is_contiguous() and back.is_cuda and back.is_contiguous()
        # Other FFTs, sums in another order: float32.
        assert difference(forward, cpu.forward_project(x[:batch])) <= 1e-5
        assert difference(back, cpu.back_project(y[:batch])) <= 1e-5


@geometries
@pytest.mark.parametrize("backend", ["matrix", "fourier"])
def test_matrix_on_the_gpu_is_an_adjoint_pair(geometry, backend):
    projector = on_gpu(geometry, backend)
    x = torch.rand(2, *projector.domain_shape, generator=torch.Generator().manual_seed(0)).cuda().requires_grad_()
    y = torch.rand(2, *projector.range_shape, generator=torch.Generator().manual_seed(1)).cuda()
    forward, back = projector.forward_project(x), projector.back_project(y)
    left, right = (forward.detach().double() * y.double()).sum(), (x.detach().double() * back.double()).sum()
    assert abs(float(left - right)) <= 1e-6 * float(left)  # float32 rounding of the sums
    forward.backward(y)
    assert difference(x.grad, back) <= 1e-6  # the same product; cuSPARSE need not add in the same order twice


@pytest.mark.parametrize("backend", ["matrix", "fourier"])
def test_float64_passes_gradcheck(backend):
    projector = ParallelBeamProjector((3, 4), [2.1, 0.4], 5, 2.3, backend=backend, device="cuda", dtype=torch.float64)
    x = torch.rand(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).cuda().requires_grad_()
    # CuSPARSE's order of summation may vary.
    assert torch.autograd.gradcheck(projector.forward_project, x, nondet_tol=1e-12)


@geometries
def test_astra_cuda_against_the_matrix(astra, geometry):
    x, y = smooth_pair(geometry)
    projector = on_gpu(geometry)
    forward, back = projector.forward_project(x.cuda()), projector.back_project(y.cuda())
    assert projector.backend == "astra_cuda"
    assert forward.is_cuda and forward.is_contiguous() and tuple(forward.shape) == (3, *projector.range_shape)
    assert back.is_cuda and back.is_contiguous() and tuple(back.shape) == (3, *projector.domain_shape)
    # Both Joseph's method, ASTRA's with texture interpolation of 8-bit fractions.
    assert difference(forward, on_cpu(geometry).forward_project(x)) <= 2e-3
    # Pixel-driven against the transpose of a ray-driven projector: 1.0e-2 on these data in an emulation.
    assert difference(back, on_cpu(geometry).back_project(y)) <= 3e-2


@geometries
@pytest.mark.parametrize("backend", ["matrix", "astra_cuda"])
def test_orientation_and_centre(astra, geometry, backend):
    y = on_gpu(geometry, backend).forward_project(blobs(geometry, 1).cuda())
    # Interpolation widens a blob by 1/6 px² of variance at most, 6e-3 for 3.5 px; a flip or half a column would be 0.1
    # and more.
    assert difference(y[0], blob_sinogram(geometry)) <= 7e-3


def test_one_slice_and_many(astra):
    geometry = GEOMETRIES["wide"]
    projector, (x, y) = on_gpu(geometry), smooth_pair(geometry, 5)
    x, y = x.cuda(), y.cuda()
    for k in range(5):
        # Slices don't touch: only the third texture coordinate differs, whose fraction is zero.
        assert difference(projector.forward_project(x)[k], projector.forward_project(x[k : k + 1])[0]) <= 1e-5
        assert difference(projector.back_project(y)[k], projector.back_project(y[k : k + 1])[0]) <= 1e-5


@pytest.mark.parametrize("backend", ["matrix", "astra_cuda"])
def test_centres_by_slice(astra, backend):
    geometry = GEOMETRIES["wide"] | {"center": np.array([52.0, 47.25, 52.0])}
    x, y = smooth_pair(geometry)
    projector = on_gpu(geometry, backend)
    # As for one centre.
    assert difference(projector.forward_project(x.cuda()), on_cpu(geometry).forward_project(x)) <= 2e-3
    assert difference(projector.back_project(y.cuda()), on_cpu(geometry).back_project(y)) <= 3e-2


# Memory, streams and threads


def test_what_lay_in_memory_before_does_not_matter(astra):
    geometry = GEOMETRIES["fine"]
    projector, (x, y) = on_gpu(geometry), smooth_pair(geometry)
    x, y = x.cuda(), y.cuda()
    clean = projector.forward_project(x), projector.back_project(y)
    for op, data, expected in ((projector.forward_project, x, clean[0]), (projector.back_project, y, clean[1])):
        junk = [torch.full_like(expected, torch.nan) for _ in range(3)]  # freed, it is what torch.empty hands out next
        del junk
        assert difference(op(data), expected) <= 1e-6  # the same computation


def test_the_input_is_left_alone(astra):
    geometry = GEOMETRIES["square"]
    projector, (x, y) = on_gpu(geometry), smooth_pair(geometry)
    x, y = x.cuda(), y.cuda()
    before = x.clone(), y.clone()
    projector.forward_project(x), projector.back_project(y)
    assert torch.equal(x, before[0]) and torch.equal(y, before[1])


@pytest.mark.parametrize("backend", ["matrix", "astra_cuda"])
def test_a_side_stream_gives_the_same(astra, backend):
    geometry = GEOMETRIES["square"]
    projector, (x, y) = on_gpu(geometry, backend), smooth_pair(geometry, 8)
    x, y = x.cuda(), y.cuda()
    expected = projector.forward_project(x * 2) * 3, projector.back_project(y * 2) * 3
    work, stream = torch.rand(2048, 2048, device="cuda"), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(20):  # the input comes late: a projection that doesn't wait for this stream reads something else
            work = torch.nn.functional.normalize(work @ work)
        late = 2 + 0 * work.sum()
        results = projector.forward_project(x * late) * 3, projector.back_project(y * late) * 3
    stream.synchronize()
    for result, truth in zip(results, expected, strict=True):
        assert difference(result, truth) <= 1e-6  # the same computation


def test_two_geometries_from_two_threads_at_once(astra):
    cases = [
        (on_gpu(GEOMETRIES[name]), *(a.cuda() for a in smooth_pair(GEOMETRIES[name])))
        for name in ("off-centre", "tall")
    ]
    expected = [(p.forward_project(x), p.back_project(y)) for p, x, y in cases]

    def project(k):
        projector, x, y = cases[k % 2]
        return max(
            difference(a, b)
            for a, b in zip((projector.forward_project(x), projector.back_project(y)), expected[k % 2], strict=True)
        )

    with ThreadPoolExecutor(2) as pool:
        # The same computation: a geometry of the other thread would be 0.1 and more.
        assert max(pool.map(project, range(60))) <= 1e-6


@pytest.mark.parametrize("direction", ["forward", "back"])
def test_exhausted_memory_is_never_silent(astra, direction):
    geometry = dict(size=1024, theta=THETA[:4] if direction == "forward" else np.linspace(0, np.pi, 1024), columns=1024)
    projector = on_gpu(geometry)
    op, shape = (
        (projector.forward_project, projector.domain_shape)
        if direction == "forward"
        else (projector.back_project, projector.range_shape)
    )
    data = torch.ones(64, *shape, device="cuda")  # ASTRA copies its 256 MiB into a texture
    expected = op(data).cpu()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    # Freed below, it stays torch's: the output fits, ASTRA's texture does not.
    reserve = torch.empty_like(expected, device="cuda")
    hog = torch.empty(max(torch.cuda.mem_get_info()[0] - 64 * 2**20, 1), dtype=torch.uint8, device="cuda")
    del reserve
    try:
        result = op(data).cpu()
    except RuntimeError as error:
        assert "memory" in str(error)  # torch's own message, or ours
    else:
        assert difference(result, expected) <= 1e-5  # in pieces, if ASTRA can; never something else
    finally:
        del hog
        torch.cuda.empty_cache()
    assert difference(op(data).cpu(), expected) <= 1e-6  # and it recovers


# Derivatives


def test_gradient_through_astra_cuda(astra):
    geometry = GEOMETRIES["wide"]
    projector, cpu, (x, y) = on_gpu(geometry), on_cpu(geometry), smooth_pair(geometry)
    guess = torch.full_like(x, 0.1).cuda().requires_grad_()
    residual = projector.forward_project(guess) - y.cuda()
    (residual.square().sum() / 2).backward()
    assert difference(guess.grad, projector.back_project(residual.detach())) <= 1e-6  # the same computation
    truth = cpu.back_project(cpu.forward_project(torch.full_like(x, 0.1)) - y)
    assert difference(guess.grad, truth) <= 3e-2  # 1.1e-2 in an emulation; as for the back projection


def test_descent_along_the_gradient(astra):
    geometry = GEOMETRIES["square"]
    projector, (x, y) = on_gpu(geometry), smooth_pair(geometry)
    guess, y = torch.zeros_like(x).cuda().requires_grad_(), y.cuda()
    step, losses = 1.0 / (len(THETA) * 96), []  # below 2 over the square of the operator's norm
    for _ in range(10):
        loss = (projector.forward_project(guess) - y).square().sum() / 2
        losses.append(float(loss.detach()))
        (grad,) = torch.autograd.grad(loss, guess)
        guess = (guess - step * grad).detach().requires_grad_()
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("backend", ["matrix", "astra_cuda"])
def test_expanded_and_transposed_gradients(astra, backend):
    projector = on_gpu(GEOMETRIES["tall"], backend)
    x = blobs(GEOMETRIES["tall"]).cuda()
    stored = x.mT.contiguous().requires_grad_()
    y = projector.forward_project(stored.mT)
    assert difference(y, projector.forward_project(x)) <= 1e-6  # the same computation, here and below
    y.sum().backward()
    assert difference(stored.grad.mT, projector.back_project(torch.ones_like(y))) <= 1e-6


@pytest.mark.parametrize("backend", ["matrix", "astra_cuda"])
def test_autocast(astra, backend):
    projector = on_gpu(GEOMETRIES["square"], backend)
    x = blobs(GEOMETRIES["square"]).cuda().bfloat16().requires_grad_()
    with torch.autocast("cuda", torch.bfloat16):
        y = projector.forward_project(x)
    y.square().sum().backward()
    assert y.dtype == torch.float32 and x.grad.dtype == torch.bfloat16 and bool(torch.isfinite(x.grad).all())
    assert difference(y, projector.forward_project(x.detach().float())) <= 1e-6  # the same computation


# Choice and errors


def test_auto_on_the_gpu(astra, caplog):
    with caplog.at_level(logging.INFO, "tomopy_ganrec"):
        small = on_gpu(GEOMETRIES["square"], "auto")
        large = ParallelBeamProjector(**GEOMETRIES["square"], device="cuda", memory_limit=1e3)
    assert (small.backend, large.backend) == ("matrix", "astra_cuda")
    assert [r.levelname for r in caplog.records] == ["INFO", "INFO"] and "cuda" in caplog.text


def test_moving_between_devices(astra):
    geometry = GEOMETRIES["square"]
    x = blobs(geometry)
    there = on_cpu(geometry).to("cuda")
    assert there.device.type == "cuda" and there.device.index is not None
    back = there.to("cpu")
    assert torch.equal(back.forward_project(x), on_cpu(geometry).forward_project(x))
    with pytest.raises(RuntimeError, match="on a GPU"):
        on_gpu(geometry).to("cpu")


def test_wrong_device_and_dtype(astra):
    projector = on_gpu(GEOMETRIES["square"])
    with pytest.raises(ValueError, match="is on cpu, the projector on cuda"):
        projector.forward_project(torch.zeros(1, 96, 96))
    with pytest.raises(TypeError, match="float32"):
        projector.forward_project(torch.zeros(1, 96, 96, dtype=torch.float64, device="cuda"))
    with pytest.raises(ValueError, match="float32.*backend='matrix'"):
        ParallelBeamProjector(**GEOMETRIES["square"], backend="astra_cuda", device="cuda", dtype=torch.float64)
    with pytest.raises(ValueError, match="on the CPU"):
        ParallelBeamProjector(**GEOMETRIES["square"], backend="astra", device="cuda")


def test_a_usable_gpu_is_accepted(astra):
    assert require_cuda(torch.device("cuda")) is astra
