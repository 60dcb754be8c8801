"""Projection and back projection: an exact adjoint pair with exact derivatives, and data that they refuse."""

import os
import shutil

import numpy as np
import pytest
import torch
from projector_cases import (
    difference,
    directions,
    exact_backends,
    geometries,
    images,
    inputs,
    matrix_projector,
    precisions,
    sinograms,
    tiny_projector,
    with_backend,
)

from tomopy_ganrec.projector import torch_ops

# Exactness of the pair


@geometries
@precisions
def test_back_projection_is_the_adjoint(geometry, dtype):
    projector = matrix_projector(geometry, dtype=dtype)
    x, y = images(projector), sinograms(projector)
    left = (projector.forward_project(x).double() * y.double()).sum()
    right = (x.double() * projector.back_project(y).double()).sum()
    # One matrix and its stored transpose: only the rounding of the sums differs (machine epsilon 1.2e-7 and 2e-16).
    assert float(abs(left - right) / left) <= (1e-6 if dtype == torch.float32 else 1e-12)


@geometries
def test_both_directions_are_contiguous_and_of_the_stated_shape(geometry):
    projector = matrix_projector(geometry)
    for batch in (1, 3):
        y = projector.forward_project(images(projector, batch))
        x = projector.back_project(y)
        assert tuple(y.shape) == (batch, *projector.range_shape) and y.is_contiguous() and y.dtype == torch.float32
        assert tuple(x.shape) == (batch, *projector.domain_shape) and x.is_contiguous() and x.dtype == torch.float32


@directions
def test_a_batch_is_its_slices(direction):
    projector = matrix_projector()
    data, apply = inputs(projector, direction, 3), getattr(projector, direction)
    # A matrix-matrix and a matrix-vector product add in different orders: float32 rounding.
    assert difference(apply(data), torch.cat([apply(single[None]) for single in data])) <= 1e-6
    assert apply(data[:0]).shape[0] == 0


@directions
def test_float32_follows_float64(direction):
    projector = matrix_projector()
    double = projector.to(torch.float64)
    data = inputs(projector, direction)
    # The weights are rounded to float32 once, the sums run over some tens of terms.
    assert difference(getattr(projector, direction)(data), getattr(double, direction)(data.double())) <= 1e-6


# Derivatives


@directions
@pytest.mark.parametrize("center", [2.3, [2.3, 2.6]], ids=["one centre", "two centres"])
def test_gradcheck(direction, center):
    projector = tiny_projector(center=center)
    data, apply = inputs(projector, direction, np.size(center)).requires_grad_(), getattr(projector, direction)
    assert torch.autograd.gradcheck(apply, data)
    # Squared, so that the second derivative isn't zero.
    assert torch.autograd.gradgradcheck(lambda v: apply(v).square(), data)


@geometries
def test_gradient_is_the_back_projection(geometry):
    projector = matrix_projector(geometry)
    x = images(projector).requires_grad_()
    (projector.forward_project(x).square().sum() / 2).backward()
    with torch.no_grad():
        # The same computation: no tolerance.
        assert torch.equal(x.grad, projector.back_project(projector.forward_project(x)))


def test_gradient_of_the_back_projection_is_the_forward_projection():
    projector = matrix_projector()
    y = sinograms(projector).requires_grad_()
    (projector.back_project(y).square().sum() / 2).backward()
    with torch.no_grad():
        assert torch.equal(y.grad, projector.forward_project(projector.back_project(y)))


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
    projector = tiny_projector()
    operator = getattr(torch.ops.tomopy_ganrec, direction).default
    data = inputs(projector, direction)
    torch.library.opcheck(operator, (data.clone().requires_grad_(), projector._handles[0]))
    torch.library.opcheck(operator, (data, projector._handles[0]))


@directions
def test_vmap(direction):
    projector = tiny_projector()
    apply = getattr(projector, direction)
    data = torch.stack([inputs(projector, direction, 2) * k for k in (1, 2, 3)])
    expected = torch.stack([apply(part) for part in data])
    # Float64, other order of the sums.
    torch.testing.assert_close(torch.func.vmap(apply)(data), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        torch.func.vmap(apply, in_dims=1, out_dims=2)(data.movedim(0, 1)), expected.movedim(0, 2), rtol=1e-12, atol=0
    )


def test_jacobian_is_the_matrix():
    projector = tiny_projector()
    x = images(projector, 1)
    # Vectorized: vmap over the operator's backward. (torch.func.jacrev itself refuses every torch.library.custom_op, up
    # to torch 2.13.)
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
    [
        lambda: [tiny_projector()],
        lambda: [tiny_projector([2.3, 2.6])],
        lambda: [tiny_projector(), tiny_projector(2.6), tiny_projector(1.9)],
    ],
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
    (value, expected, grad, expected_grad), *_ = compiled("inductor", [tiny_projector()])
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)  # float64; fused code adds in another order
    torch.testing.assert_close(grad, expected_grad, rtol=1e-12, atol=0)


@directions
def test_autocast_computes_in_float32(direction):
    projector = matrix_projector()
    data = inputs(projector, direction).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = getattr(projector, direction)(data)
        loss = out.square().sum()
    loss.backward()
    assert out.dtype == torch.float32 and data.grad.dtype == torch.bfloat16
    assert torch.equal(out, getattr(projector, direction)(data.detach().float()))
    assert torch.isfinite(data.grad).all() and float(data.grad.abs().max()) > 0


def test_autocast_leaves_float64_alone():
    projector = tiny_projector()
    with torch.autocast("cpu", torch.bfloat16):
        assert projector.forward_project(images(projector)).dtype == torch.float64


# Refused data


@exact_backends
@pytest.mark.parametrize("shape", [(18, 27), (2, 27, 18), (2, 1, 18, 27), (2, 18, 26)], ids=str)
def test_wrong_shape_of_a_volume(shape, backend):
    with pytest.raises(ValueError, match=r"needs \(batch, 18, 27\)"):
        with_backend(backend).forward_project(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(23, 33), (2, 33, 23), (2, 18, 27)], ids=str)
def test_wrong_shape_of_a_sinogram(shape):
    with pytest.raises(ValueError, match=r"needs \(batch, 23, 33\)"):
        matrix_projector().back_project(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int32])
def test_wrong_dtype_of_the_data(dtype):
    with pytest.raises(TypeError, match="float32"):
        matrix_projector().forward_project(torch.zeros(1, 18, 27, dtype=dtype))
    with pytest.raises(TypeError, match="float32"):
        matrix_projector().back_project(torch.zeros(1, 23, 33, dtype=dtype))


def test_a_stale_handle():
    with pytest.raises(RuntimeError, match="no longer exists"):
        torch_ops.forward_project(torch.zeros(1, 2, 2), -1)
