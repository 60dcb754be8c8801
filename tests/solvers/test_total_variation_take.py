"""Solvers for some slices of a batch, which continue with the data and weights of these slices."""

import numpy as np
import pytest
import torch

from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.total_variation import TotalVariation

SIZE, ANGLES = 24, 24
INDEX = torch.tensor([2, 0, 2])


@pytest.fixture(scope="module")
def model():
    return ParallelBeamProjector(SIZE, np.deg2rad(np.arange(0, 120, 120 / ANGLES)), SIZE, backend="matrix")


@pytest.fixture(scope="module")
def sinogram(model):
    return model.forward_project(torch.from_numpy(shale(SIZE, 3))) / SIZE


def spectra():
    """No weights of the frequencies, weights that all slices share, and weights of each slice."""
    weights = 1 + torch.rand(3, ANGLES, SIZE // 2 + 1, generator=torch.Generator().manual_seed(0))
    return {"none": None, "of a frequency": weights[0, 0], "shared": weights[:1], "of each slice": weights}


@pytest.mark.parametrize("spectrum", spectra().values(), ids=spectra())
def test_take_continues_with_the_slices_own_data_and_weights(model, sinogram, spectrum):
    solver = TotalVariation(model, sinogram, step_ratio=30.0, spectrum=spectrum)
    solver.run(1e-3, 20)
    some = solver.take(INDEX)
    assert torch.equal(some.x, solver.x[INDEX])
    found, expected = some.run(1e-3, 30), solver.run(1e-3, 30)[INDEX]
    # float32 sums in another order; other slices' weights would change it by a percent and more.
    assert (found - expected).norm() < 1e-4 * expected.norm()


def test_take_leaves_the_solver_as_it_is(model, sinogram):
    solver, untouched = (TotalVariation(model, sinogram, step_ratio=30.0) for _ in range(2))
    for one in (solver, untouched):
        one.run(1e-3, 20)
    solver.take(INDEX).run(1e-2, 20)
    assert torch.equal(solver.run(1e-3, 20), untouched.run(1e-3, 20))


def test_taking_all_slices_changes_nothing(model, sinogram):
    solver = TotalVariation(model, sinogram, step_ratio=30.0)
    solver.run(1e-3, 20)
    assert torch.equal(solver.take(torch.arange(3)).run(1e-3, 20), solver.run(1e-3, 20))
