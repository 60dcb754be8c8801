"""A watch on speed: ratios to named peers in the same run, at half of what is asked for (benchmarks/RESULTS.md), so that a regression shows."""

import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tomopy_ganrec.fit import fit
from tomopy_ganrec.initial import mlem
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector

SIZE = 256


def least_seconds(*functions, repeats=3):
    """Of each, taking turns: what else the machine does hits all of them, and only adds."""
    found = [[] for _ in functions]
    for _ in range(repeats):
        for function, times in zip(functions, found, strict=True):
            began = time.perf_counter()
            function()
            times.append(time.perf_counter() - began)
    return [min(times) for times in found]


def projected_and_back(projector, x):
    x = x.detach().requires_grad_()
    projector(x).square().sum().backward()
    return x.grad


def by_rotation(theta):
    """Every projection is a column sum of the turned image, as in the ganrec package."""
    turns = torch.tensor([[[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0]] for a in theta], dtype=torch.float32)

    def project(x):
        parts = []
        for turn in turns:
            grid = F.affine_grid(turn.expand(len(x), 2, 3), (len(x), 1, *x.shape[1:]), align_corners=False)
            parts.append(F.grid_sample(x[:, None], grid, align_corners=False)[:, 0].sum(1))
        return torch.stack(parts, 1)

    return project


@pytest.mark.parametrize(("batch", "at_least"), ((1, 3.5), (8, 13)))
def test_projector_against_astras_own_calls(batch, at_least):
    astra = pytest.importorskip("astra")
    theta = np.deg2rad(np.arange(0, 180, 4))  # a quarter of the projections that are asked for
    projector = ParallelBeamProjector(SIZE, theta, SIZE)
    x = torch.rand(batch, SIZE, SIZE)
    images, sinograms = x.numpy(), np.empty((batch, len(theta), SIZE), np.float32)
    geometries = astra.create_proj_geom("parallel", 1.0, SIZE, theta), astra.create_vol_geom(SIZE, SIZE)
    own = astra.create_projector("linear", *geometries)

    def peer():
        for image, sinogram in zip(images, sinograms, strict=True):
            astra.projector.direct_FP(own, image, out=sinogram)
            astra.projector.direct_BP(own, sinogram, out=image)

    projected_and_back(projector.forward_project, x)
    ours, theirs = least_seconds(lambda: projected_and_back(projector.forward_project, x), peer)
    astra.projector.delete(own)
    assert theirs / ours >= at_least / 2


@pytest.mark.parametrize(("batch", "at_least"), ((1, 10), (8, 40)))
def test_projector_against_rotations(batch, at_least):
    theta = np.deg2rad(np.arange(0, 180, 12))
    projector, rotations = ParallelBeamProjector(SIZE, theta, SIZE), by_rotation(theta)
    image = torch.zeros(1, SIZE, SIZE)
    image[:, 100:120, 60:100] = 1
    expected = projector.forward_project(image)
    assert (rotations(image) - expected).norm() < 0.05 * expected.norm()  # the same projections
    x = torch.rand(batch, SIZE, SIZE)
    ours, theirs = least_seconds(lambda: projected_and_back(projector.forward_project, x), lambda: projected_and_back(rotations, x), repeats=2)
    # With an eighth of the projections the FFTs of an image weigh more: a quarter of what is asked for with all of them.
    assert theirs / ours >= at_least / 4


def test_step_of_the_fit_against_rotations(shale_case):
    """The ganrec package's step has one forward and one backward of such a projector, and its networks: it takes longer than the projector alone."""
    case = shale_case(size=128, step=2)
    rotations, x = by_rotation(case.theta), torch.rand(1, 128, 128)
    seconds = []

    def steps():
        begun = []
        fit(case.model, case.sinogram, GanrecOptions(init="none", num_iter=12), init=x.clone(), callback=lambda s: begun.append(time.perf_counter()))
        seconds.append(min(b - a for a, b in zip(begun, begun[1:], strict=False)))

    _, theirs = least_seconds(steps, lambda: projected_and_back(rotations, x), repeats=2)
    assert theirs / min(seconds) >= 1.2  # 3.0 measured


def test_default_run_against_mlem(shale_case):
    """Asked for: at most 5 × MLEM-200 with the matrix."""
    case = shale_case(size=128)
    matrix = ParallelBeamProjector(128, case.theta, 128, backend="matrix")
    found = []
    ours, theirs = least_seconds(
        lambda: found.append(fit(case.model, case.sinogram, GanrecOptions())), lambda: mlem(matrix, case.sinogram, 200), repeats=2
    )
    assert ours / theirs <= 5
    assert mssim(case.truth[0], found[0].image[0]) >= 0.993  # .996 measured: speed did not cost the quality
