"""Geometries, analytic data and comparisons for the tests on a CUDA GPU."""

import numpy as np
import pytest
import torch

from tomopy_ganrec.projector import ParallelBeamProjector

needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]

THETA = np.deg2rad(np.arange(0.0, 180.0, 1.5))
GEOMETRIES = {
    "square": dict(size=96, theta=THETA, columns=96),
    "off-centre": dict(size=96, theta=THETA, columns=100, center=47.3),
    "wide": dict(size=(80, 100), theta=THETA, columns=104, center=53.6),
    "tall": dict(size=(101, 84), theta=THETA[::-1].copy(), columns=105, center=50.0),
    "fine": dict(size=(190, 184), theta=THETA, columns=96, center=48.4, pixel_size=0.5, rays_per_bin=2),
}
# Gaussian blobs without any symmetry: row and column from the axis (in detector columns), standard deviation, height.
BLOBS = ((-14.0, 6.0, 4.0, 1.0), (9.0, 15.0, 3.5, 0.7), (3.0, -17.0, 5.0, 0.5))

geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


def difference(value, truth):
    """Relative L2 difference, in float64 on the CPU."""
    value, truth = (torch.as_tensor(a).detach().to("cpu", torch.float64) for a in (value, truth))
    return float((value - truth).norm() / truth.norm())


def on_cpu(geometry):
    return ParallelBeamProjector(**geometry, backend="matrix")


def on_gpu(geometry, backend="astra_cuda"):
    return ParallelBeamProjector(**geometry, backend=backend, device="cuda")


def blobs(geometry, batch=3):
    """(B, rows, cols): the first slice has the heights in BLOBS, the others differ, so that a mix-up shows."""
    size, pixel = geometry["size"], geometry.get("pixel_size", 1.0)
    y, x = ((torch.arange(n) - (n - 1) / 2) * pixel for n in ((size, size) if isinstance(size, int) else size))
    parts = [a * torch.exp(-((y[:, None] - row) ** 2 + (x - col) ** 2) / (2 * s**2)) for row, col, s, a in BLOBS]
    return torch.stack([sum(part * (1 + k * (j + 1) % 3) for j, part in enumerate(parts)) for k in range(batch)])


def smooth_pair(geometry, batch=3):
    """Images and sinograms as smooth as a residual of the fit, both from the blobs."""
    x = blobs(geometry, batch)
    return x, on_cpu(geometry).forward_project(x)


def blob_sinogram(geometry):
    """Analytic, of the heights in BLOBS.

    A blob at (row, col) is seen at t = col·cos θ − row·sin θ, column d at t = d + 0.5 − center.
    """
    columns = geometry["columns"]
    t, theta = np.arange(columns) + 0.5 - geometry.get("center", columns / 2), geometry["theta"][:, None]
    shifts = [t - col * np.cos(theta) + row * np.sin(theta) for row, col, _, _ in BLOBS]
    return sum(
        a * s * np.sqrt(2 * np.pi) * np.exp(-(d**2) / (2 * s**2)) for d, (_, _, s, a) in zip(shifts, BLOBS, strict=True)
    )


def reconstruct_on(device, sinograms, theta, **options):
    from tomopy_ganrec import recon

    return recon(np.asarray(sinograms), theta, sinogram_order=True, device=device, return_info=True, **options)
