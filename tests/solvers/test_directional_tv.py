"""Total variation with a directional term: its minimum, its direction and its bounds."""

import math

import numpy as np
import pytest
import torch
from solver_cases import Identity, N, blobs, dense_problem, radius, stated_objective

from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.directional_tv import directional_tv
from tomopy_ganrec.solvers.total_variation import TotalVariation


def derivative_along_detector(x, theta):
    gx, gy = torch.zeros_like(x), torch.zeros_like(x)
    gx[..., :-1], gy[..., :-1, :] = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    middle = (theta[0] + theta[-1]) / 2
    return math.cos(middle) * gx - math.sin(middle) * gy


def test_it_is_the_minimum_of_what_its_docstring_states():
    _, _, _, tv_weight, _ = dense_problem()
    n, theta = 12, np.deg2rad(np.arange(20.0, 90.0, 10))
    model = ParallelBeamProjector(n, theta, n, dtype=torch.float64)
    matrix = model.forward_project(torch.eye(n * n, dtype=torch.float64).unflatten(1, (n, n))).flatten(1)
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    data = model.forward_project(blobs(n).double())
    upper = torch.full((n, n), 0.6, dtype=torch.float64)
    upper[:3] = 0

    def objective(x):
        along = derivative_along_detector(x, theta).abs().sum()
        return stated_objective(x, model, norm, data, tv_weight, torch.ones(1)) + 3 * tv_weight * float(along)

    x = directional_tv(model, data, tv_weight, 3 * tv_weight, upper, 1000)
    assert (x >= 0).all() and (x <= upper).all() and (x == upper)[:, 3:].any()
    rng = torch.Generator().manual_seed(0)
    least = objective(x)
    for scale in (1e-3, 1e-2, 1e-1):
        for _ in range(20):
            change = scale * torch.randn(x.shape, generator=rng, dtype=torch.float64)
            # Convex: no feasible image is better, but by what 1000 iterations leave.
            assert objective(torch.minimum((x + change).clamp(min=0), upper)) >= least - 1e-4 * least


def test_without_the_directional_term_it_is_total_variation(model, sinograms):
    sinograms = sinograms[:1]
    upper, weight = torch.full((N, N), 0.4), 2e-3
    expected = TotalVariation(model, sinograms, step_ratio=10.0, maximum=0.4).run(weight, 500)
    found = directional_tv(model, sinograms, weight, 0.0, upper, 500)
    # The same limit by other step sizes.
    assert (found - expected).norm() <= 1e-2 * expected.norm()


@pytest.mark.parametrize("middle", [50.0, 130.0, 0.0])
def test_the_derivative_along_the_detector_is_the_one_that_counts(middle):
    """Of an image that is measured as it is, so that the prior alone decides."""
    model = Identity()
    model.theta = np.deg2rad(middle + np.arange(-20.0, 21.0, 4))
    y, x = (torch.from_numpy(grid).float() for grid in np.mgrid[:N, :N] - (N - 1) / 2)
    cos, sin = math.cos(math.radians(middle)), math.sin(math.radians(middle))
    inner = torch.from_numpy(radius(N) < 0.3 * N)
    left = []
    for t in (x * cos - y * sin, x * sin + y * cos):  # along the detector, and along the rays
        image = (0.5 + 0.5 * (t / 2.5).sin())[None]
        found = directional_tv(model, image, 1e-6, 8.0, torch.ones(N, N), 300)
        left.append(float(found[0, inner].std() / image[0, inner].std()))
    # So many iterations reduce the one wave by a tenth and have far to go. Forward differences lie half a pixel off
    # along either axis, so that a slanted wave is not quite constant along its crests.
    assert left[0] < 0.95 and abs(left[1] - 1) < 0.02


def test_nothing_outside_of_the_support(model, sinograms):
    upper = torch.where(torch.from_numpy(radius(N)) < 0.3 * N, torch.inf, 0.0)
    x = directional_tv(model, sinograms, 1e-3, 3e-3, upper, 50)
    assert x.shape == (3, N, N) and (x[:, upper == 0] == 0).all() and (x >= 0).all() and x.isfinite().all()


def test_bad_input(model, sinograms):
    for upper in (torch.ones(N, N + 1), -torch.ones(N, N), torch.full((N, N), torch.nan)):
        with pytest.raises(ValueError, match="one of at least 0 for each pixel"):
            directional_tv(model, sinograms, 1e-3, 1e-3, upper)
    with pytest.raises(ValueError, match="no projection angles"):
        directional_tv(Identity(), torch.zeros(1, N, N), 1e-3, 1e-3, torch.ones(N, N))
