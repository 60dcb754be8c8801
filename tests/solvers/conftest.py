"""A small projector and its sinograms, for all tests of the solvers."""

import pytest
import torch
from solver_cases import DEGREES, N, blobs

from tomopy_ganrec.projector import ParallelBeamProjector


@pytest.fixture(scope="module")
def model():
    return ParallelBeamProjector(N, DEGREES[:120:2], N)


@pytest.fixture(scope="module")
def sinograms(model):
    """Three different objects of different brightness, projected by the model itself."""
    return model.forward_project(blobs(N, slices=3) * torch.tensor([0.5, 1.0, 4.0])[:, None, None])
