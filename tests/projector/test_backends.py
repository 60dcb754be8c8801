"""Backends: threads, cache, memory, choice, and what they refuse."""

import builtins
import gc
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from projector_cases import (
    DEGREES,
    GEOMETRIES,
    SHUFFLED,
    directions,
    exact_backends,
    geometries,
    images,
    inputs,
    matrix_projector,
    precisions,
)

from tomopy_ganrec.projector import clear_cache
from tomopy_ganrec.projector.backends import BackendCache

# Threads and the cache


@exact_backends
@directions
def test_four_threads_equal_serial(backend, direction):
    if backend == "astra":
        pytest.importorskip("astra")
    projector = matrix_projector(size=64, theta=DEGREES[::6], columns=64, backend=backend)
    data = [inputs(projector, direction, 1 + k % 3) * (1 + k) for k in range(16)]
    serial = [getattr(projector, direction)(part) for part in data]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(getattr(projector, direction), data))
    assert all(torch.equal(a, b) for a, b in zip(serial, parallel, strict=True))  # no shared buffers: bit for bit


def test_threads_build_one_matrix():
    clear_cache()
    with ThreadPoolExecutor(4) as pool:
        projectors = list(pool.map(lambda _: matrix_projector(), range(8)))
    assert len({id(p._backends[0]) for p in projectors}) == 1


def test_equal_geometries_share_a_backend():
    first = matrix_projector()
    assert matrix_projector(theta=list(SHUFFLED), columns=np.int64(33))._backends[0] is first._backends[0]
    assert matrix_projector(center=[16.9, 12.0, 16.9])._backends[1] is first._backends[0]
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
    assert matrix_projector({**GEOMETRIES["wide"], **change})._backends[0] is not matrix_projector()._backends[0]


def test_changing_the_array_of_angles_changes_no_projector():
    theta = SHUFFLED.copy()
    projector = matrix_projector(theta=theta)
    before = projector.to(torch.float64).forward_project(images(projector).double())
    theta += 0.5
    clear_cache()
    assert torch.equal(projector.to(torch.float64).forward_project(images(projector).double()), before)


def test_cache_is_bounded_in_number():
    clear_cache()
    oldest = matrix_projector(center=10.0)._backends[0]
    for k in range(16):
        matrix_projector(center=11.0 + k)
    assert matrix_projector(center=10.0)._backends[0] is not oldest


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
    projector = matrix_projector()
    before = projector.forward_project(images(projector))
    clear_cache()
    gc.collect()
    assert torch.equal(projector.forward_project(images(projector)), before)


def test_a_graph_without_its_projector_says_so():
    projector = matrix_projector(center=14.123)
    loss = projector.forward_project(images(projector).requires_grad_()).sum()
    del projector
    clear_cache()
    gc.collect()
    with pytest.raises(RuntimeError, match="keep a reference"):
        loss.backward()


@geometries
@precisions
def test_memory_is_estimated_from_above(geometry, dtype):
    projector = matrix_projector(geometry, dtype=dtype)
    # Matters for grids as small as these only.
    pointers = 2 * 4 * (np.prod(projector.domain_shape) + np.prod(projector.range_shape) + 2)
    estimate = projector._geometry.matrix_bytes * (2 if dtype == torch.float64 else 1) + pointers
    # Rays that leave the grid early make it an upper estimate.
    assert 0.2 * estimate <= projector._backends[0].nbytes <= estimate


# Choice of a backend


@pytest.fixture
def without_astra(monkeypatch):
    real = builtins.__import__

    def fails(name, *args, **kwargs):
        if name.split(".")[0] == "astra":
            raise ImportError("No module named 'astra'")
        return real(name, *args, **kwargs)

    clear_cache()
    monkeypatch.setattr(builtins, "__import__", fails)


def test_auto_chooses_the_matrix_where_it_fits(caplog):
    with caplog.at_level(logging.INFO, "tomopy_ganrec"):
        projector = matrix_projector(backend="auto", center=15.5)
    assert projector.backend == "matrix"
    assert [(r.levelname, "'matrix' on cpu" in r.getMessage(), "GB" in r.getMessage()) for r in caplog.records] == [
        ("INFO", True, True)
    ]


def test_auto_chooses_astra_where_the_matrix_is_too_large(caplog):
    pytest.importorskip("astra")
    with caplog.at_level(logging.INFO, "tomopy_ganrec"):
        projector = matrix_projector(backend="auto", memory_limit=1e3)
    assert projector.backend == "astra"
    assert [(r.levelname, "'astra' on cpu" in r.getMessage(), "limit" in r.getMessage()) for r in caplog.records] == [
        ("INFO", True, True)
    ]


def test_auto_keeps_float64_on_the_matrix(caplog):
    projector = matrix_projector(backend="auto", memory_limit=1e3, dtype=torch.float64)
    assert projector.backend == "matrix"
    assert [r.levelname for r in caplog.records] == ["WARNING"] and "no float64" in caplog.text


def test_auto_without_astra_keeps_the_matrix(without_astra, caplog):
    assert matrix_projector(backend="auto", memory_limit=1e3).backend == "matrix"
    assert [r.levelname for r in caplog.records] == ["WARNING"] and "not installed" in caplog.text


def test_auto_chooses_again_when_moved():
    pytest.importorskip("astra")
    projector = matrix_projector(backend="auto", memory_limit=1e3)
    assert projector.to(torch.float64).backend == "matrix" and projector.backend == "astra"


def test_to_tells_device_and_precision_apart():
    projector = matrix_projector(center=[16.0, 17.5])
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


# Refused backends, devices and precisions


@pytest.mark.parametrize("backend", ["astra", "astra_cuda"])
def test_missing_astra_says_how_to_get_it(without_astra, backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    with pytest.raises(ImportError, match="pip install 'astra-toolbox.*conda-forge.*backend='matrix'"):
        matrix_projector(backend=backend, device="cpu" if backend == "astra" else "cuda")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32])
def test_wrong_dtype_of_the_projector(dtype):
    with pytest.raises(TypeError, match="float32 or float64"):
        matrix_projector(dtype=dtype)


@pytest.mark.parametrize("backend", ["auto", "matrix", "astra_cuda"])
def test_cuda_without_a_gpu(backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="no CUDA GPU.*device='cpu'"):
        matrix_projector(backend=backend, device="cuda")
    with pytest.raises(RuntimeError, match="no CUDA GPU"):
        matrix_projector().to("cuda")
