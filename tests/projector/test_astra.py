"""ASTRA's backends: agreement with the matrix and with ASTRA alone, ASTRA's CUDA geometry, and what they refuse."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from projector_cases import DEGREES, GEOMETRIES, SHUFFLED, difference, geometries, images, matrix_projector, sinograms

from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.projector.astra_cuda import projection_vectors, require_cuda


def astra_alone(geometry, x, y):
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
    forward, back = astra_alone(GEOMETRIES[name], x[0], y[0])
    # Two float32 implementations of Joseph's method; ASTRA rounds its positions (7e-4 in Frobenius norm at 256²).
    assert difference(projector.forward_project(x)[0], forward) <= 1e-3
    assert difference(projector.back_project(y)[0], back) <= 1e-3


@geometries
def test_astra_and_matrix_agree(geometry):
    pytest.importorskip("astra")
    ours, theirs = matrix_projector(geometry), ParallelBeamProjector(**geometry, backend="astra")
    x, y = images(ours), sinograms(ours)
    assert theirs.backend == "astra"
    assert difference(theirs.forward_project(x), ours.forward_project(x)) <= 1e-3  # as above
    assert difference(theirs.back_project(y), ours.back_project(y)) <= 1e-3
    assert theirs.forward_project(x).is_contiguous() and theirs.back_project(y).is_contiguous()


def test_astra_and_matrix_agree_at_full_size():
    pytest.importorskip("astra")
    geometry = dict(size=256, theta=DEGREES, columns=256, center=120.3)
    ours, theirs = matrix_projector(geometry), ParallelBeamProjector(**geometry, backend="astra")
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
    # A column is one unit wide.
    np.testing.assert_allclose([np.linalg.norm(a, axis=1) for a in (ray, u, v)], 1, atol=1e-15)


# Refused devices and precisions


def test_astra_has_no_float64():
    pytest.importorskip("astra")
    with pytest.raises(ValueError, match="float32.*backend='matrix'"):
        matrix_projector(backend="astra", dtype=torch.float64)
    with pytest.raises(ValueError, match="float32.*backend='matrix'"):
        matrix_projector(backend="astra").to(torch.float64)


def test_astra_cuda_on_the_cpu():
    pytest.importorskip("astra")
    with pytest.raises(RuntimeError, match="device='cuda'.*backend='matrix'"):
        matrix_projector(backend="astra_cuda")


def test_astra_cuda_is_refused_before_astra_would_end_the_process(monkeypatch):
    astra = pytest.importorskip("astra")
    monkeypatch.setattr(astra, "use_cuda", lambda: False)
    with pytest.raises(RuntimeError, match="no usable CUDA GPU.*backend='matrix'"):
        require_cuda(torch.device("cuda", 0))
