"""Objects, sinograms and a dense reference problem for the tests of the solvers."""

import math

import numpy as np
import torch

from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.operators import gaussian_blur

N = 32
DEGREES = np.deg2rad(np.arange(180.0))


def radius(n):
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    return np.hypot(y, x)


def disk_sinogram(columns, theta, r, value=1.0):
    """A disk's chord lengths, averaged over each detector column: (1, angles, columns)."""
    t = (np.arange(columns * 16) + 0.5) / 16 - columns / 2
    chords = 2 * np.sqrt(np.maximum(r * r - t * t, 0)).reshape(columns, 16).mean(1)
    return torch.from_numpy(np.tile(value * chords, (1, len(theta), 1)).astype(np.float32))


def blobs(n, seed=0, slices=1):
    """Smooth positive images with some structure: (slices, n, n)."""
    noise = torch.rand(slices, n, n, generator=torch.Generator().manual_seed(seed))
    return gaussian_blur(noise, 2.0) * torch.from_numpy(radius(n) < 0.4 * n).float()


def relative_residual(model, image, sinogram):
    return float((model.forward_project(image) - sinogram).norm() / sinogram.norm())


def dense_problem(n=12, angles=9, tv_weight=0.02):
    """A small total-variation problem with all matrices written out, in float64."""
    theta = np.linspace(0, math.pi, angles, endpoint=False)
    model = ParallelBeamProjector(n, theta, n, dtype=torch.float64)
    matrix = model.forward_project(torch.eye(n * n, dtype=torch.float64).unflatten(1, (n, n))).flatten(1).T.numpy()
    image = blobs(n).double()
    data = model.forward_project(image) + 0.05 * torch.randn(
        1, angles, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    weight = 0.2 + torch.rand(1, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return model, matrix, data, tv_weight, weight


def stated_objective(x, model, norm, data, tv_weight, weight):
    """½ s² ‖A x − b‖² + λ ‖w · ∇x‖₁ with s² = 8/‖A‖²: the solver's own docstring."""
    misfit = 4 / norm**2 * (model.forward_project(x) - data).square().sum()
    gx, gy = torch.zeros_like(x), torch.zeros_like(x)
    gx[..., :-1], gy[..., :-1, :] = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    return float(misfit + tv_weight * (weight * torch.hypot(gx, gy)).sum())


def plain_primal_dual(matrix, data, tv_weight, weight, n, iterations=6000, directions=lambda gx, gy: (gx, gy)):
    """Chambolle and Pock's algorithm 1 with constant steps and dense matrices, x ≥ 0.

    `directions` gives the two derivatives from those along columns and rows.
    """
    forward = np.eye(n, k=1) - np.eye(n)
    forward[-1] = 0
    gx, gy = directions(np.kron(np.eye(n), forward), np.kron(forward, np.eye(n)))
    a = math.sqrt(8) / np.linalg.norm(matrix, 2) * matrix
    b = math.sqrt(8) / np.linalg.norm(matrix, 2) * data.numpy().ravel()
    radius, tau = tv_weight * weight.numpy().ravel(), 1.0
    sigma = 1 / max(16.0, 1.01 * np.linalg.norm(np.concatenate([a, gx, gy]), 2) ** 2)
    x = bar = np.zeros(n * n)
    p, qx, qy = np.zeros(len(b)), np.zeros(n * n), np.zeros(n * n)
    for _ in range(iterations):
        p = (p + sigma * (a @ bar - b)) / (1 + sigma)
        qx, qy = qx + sigma * (gx @ bar), qy + sigma * (gy @ bar)
        shrink = np.maximum(1, np.hypot(qx, qy) / radius)
        qx, qy = qx / shrink, qy / shrink
        new = np.maximum(x - tau * (a.T @ p + gx.T @ qx + gy.T @ qy), 0)
        x, bar = new, 2 * new - x
    return torch.from_numpy(x.reshape(1, n, n))


def falling(columns):
    """A weight of a residual's frequencies as noise below the pixel asks for, float64."""
    return 1.5 / (1 + 8 * torch.fft.rfftfreq(columns, dtype=torch.float64))


class Identity:
    """An image that is measured as it is; it hands back the very tensor that it gets."""

    domain_shape = range_shape = (N, N)

    def forward_project(self, x):
        return x

    def back_project(self, y):
        return y
