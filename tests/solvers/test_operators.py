"""Finite differences, filters and edge weights."""

import math

import pytest
import torch

from tomopy_ganrec.solvers.operators import (
    divergence,
    edge_weights,
    gaussian_blur,
    gradient,
    ramp_filter,
    upper_quantile,
)


def test_ramp_filter_is_one_at_nyquist_and_keeps_its_floor():
    torch.testing.assert_close(ramp_filter(8, 0.1), torch.tensor([0.1, 0.25, 0.5, 0.75, 1.0]))


def test_gradient_and_divergence_are_adjoint():
    rng = torch.Generator().manual_seed(0)
    u, px, py = torch.randn(3, 2, 7, 10, dtype=torch.float64, generator=rng)
    gx, gy = gradient(u)
    left, right = (gx * px + gy * py).sum(), -(u * divergence(px, py)).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)  # float64 rounding
    assert (gx[..., -1] == 0).all() and (gy[..., -1, :] == 0).all()


def test_edge_weights():
    step = torch.zeros(1, 9, 20)
    step[..., 10:] = 1.0
    weights = edge_weights(step, torch.tensor(0.1), sigma=0.7)
    assert (weights[..., :6] == 1).all() and (weights[..., 14:] == 1).all()  # flat
    peak = math.erf(0.5 / (0.7 * math.sqrt(2)))  # what the blur leaves at the edge, to the sampling of the Gaussian
    assert float(weights[0, 4, 9]) == pytest.approx(0.1 / math.sqrt(peak + 0.01), rel=0.05)


def test_gaussian_blur_keeps_the_mean_and_spreads_by_sigma():
    torch.testing.assert_close(gaussian_blur(torch.full((2, 9, 9), 3.0), 0.7), torch.full((2, 9, 9), 3.0))
    point = torch.zeros(1, 31, 31)
    point[0, 15, 15] = 1
    blurred = gaussian_blur(point, 2.0)[0]
    assert float(blurred.sum()) == pytest.approx(1, rel=1e-5)
    variance = float((blurred.sum(0) * (torch.arange(31) - 15.0) ** 2).sum())
    assert variance == pytest.approx(4, rel=0.03)  # the kernel is cut at 3 sigma: 2.7 % of the variance


def test_upper_quantile_is_one_of_each_image():
    images = torch.arange(1000.0).reshape(1, 25, 40) * torch.tensor([1.0, -2.0])[:, None, None]
    assert upper_quantile(images, 0.998).flatten().tolist() == [997.0, 1994.0]
