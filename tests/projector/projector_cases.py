"""Geometries, projectors and data for the tests of the projector."""

import numpy as np
import pytest
import torch

from tomopy_ganrec.projector import ParallelBeamProjector

DEGREES = np.deg2rad(np.arange(180))
# Any order, beyond half a turn, no multiple of 90°.
SHUFFLED = np.random.default_rng(5).permutation(np.linspace(-1.0, 4.0, 23))
GEOMETRIES = {
    "square": dict(size=24, theta=np.deg2rad(np.arange(0, 180, 9)), columns=24),
    "shuffled": dict(size=24, theta=SHUFFLED, columns=24),
    "off-centre": dict(size=24, theta=SHUFFLED, columns=30, center=12.3),
    "wide": dict(size=(18, 27), theta=SHUFFLED, columns=33, center=16.9),
    "tall": dict(size=(29, 16), theta=SHUFFLED, columns=20, center=8.25),
    "fine": dict(size=(40, 36), theta=SHUFFLED, columns=20, center=9.6, pixel_size=0.5, rays_per_bin=2),
    "coarse": dict(size=(9, 8), theta=SHUFFLED, columns=20, pixel_size=2.5, rays_per_bin=3),
}
# Gaussian blobs without any symmetry: row and column from the axis (in detector columns), standard deviation, height.
BLOBS = ((-14.0, 6.0, 4.0, 1.0), (9.0, 15.0, 3.5, 0.7), (3.0, -17.0, 5.0, 0.5))

geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
directions = pytest.mark.parametrize("direction", ["forward_project", "back_project"])
exact_backends = pytest.mark.parametrize("backend", ["matrix", "astra"])


def matrix_projector(geometry=None, **changes):
    """A geometry's projector by the matrix, with some arguments changed; by default that of the wide geometry."""
    base = geometry or ({} if "size" in changes else GEOMETRIES["wide"])
    return ParallelBeamProjector(**{"backend": "matrix", **base, **changes})


def tiny_projector(center=2.3):
    """3×4 pixels from two angles on five columns, in float64: for checks of each derivative."""
    return matrix_projector(size=(3, 4), theta=[2.1, 0.4], columns=5, center=center, dtype=torch.float64)


def uniform(shape, seed=0, dtype=torch.float32):
    """Uniform in 0–1: inner products of such data don't cancel, so that their relative error means something."""
    return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def images(projector, batch=2, seed=0):
    return uniform((batch, *projector.domain_shape), seed, projector.dtype)


def sinograms(projector, batch=2, seed=1):
    return uniform((batch, *projector.range_shape), seed, projector.dtype)


def inputs(projector, direction, batch=2):
    return images(projector, batch) if direction == "forward_project" else sinograms(projector, batch)


def difference(value, truth):
    """Relative L2 difference, in float64."""
    value, truth = (torch.as_tensor(a).to("cpu", torch.float64) for a in (value, truth))
    return float((value - truth).norm() / truth.norm())


def blob_image(size, pixel_size=1.0):
    y, x = ((np.arange(n) - (n - 1) / 2) * pixel_size for n in size)
    image = sum(a * np.exp(-((y[:, None] - row) ** 2 + (x - col) ** 2) / (2 * s**2)) for row, col, s, a in BLOBS)
    return torch.from_numpy(image)[None]


def blob_sinogram(theta, columns, center):
    """Analytic: a blob at (row, col) is seen at t = col·cos θ − row·sin θ; column d lies at t = d + 0.5 − center."""
    t, theta = np.arange(columns) + 0.5 - center, np.asarray(theta)[:, None]
    shifts = [t - col * np.cos(theta) + row * np.sin(theta) for row, col, _, _ in BLOBS]
    return sum(
        a * s * np.sqrt(2 * np.pi) * np.exp(-(d**2) / (2 * s**2)) for d, (_, _, s, a) in zip(shifts, BLOBS, strict=True)
    )


def with_backend(backend):
    if backend == "astra":
        pytest.importorskip("astra")
    return matrix_projector(backend=backend)
