"""A small object of Gaussian blobs, its sinograms, and a call of `ganrec` as tomopy.recon makes it."""

import numpy as np
import torch

from tomopy_ganrec import ganrec
from tomopy_ganrec.projector import ParallelBeamProjector

N, ANGLES = 32, 30
QUICK = {"num_iter": 3, "reweight_rounds": 1}


def blobs(size=N, scale=1.0):
    """An asymmetric object of three Gaussian blobs."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    spots = ((-4, 5, 1.0, 4), (6, -3, 0.6, 3), (2, 8, 0.4, 2))
    return scale * sum(h * np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * w**2)) for r, c, h, w in spots).astype(
        np.float32
    )


def uniform_theta():
    """Angles in float32, as tomopy.recon passes them on."""
    return np.linspace(0, np.pi, ANGLES, endpoint=False).astype(np.float32)


def three_sinograms():
    """(3, ANGLES, N) of one object, scaled 1, 2 and 3."""
    projector = ParallelBeamProjector(N, uniform_theta(), N)
    volume = torch.from_numpy(np.stack([blobs(scale=k) for k in (1, 2, 3)]))
    return projector.forward_project(volume).numpy()


def call(tomo, theta, center=None, **kwargs):
    """One chunk, called the way tomopy.recon does."""
    out = np.full((tomo.shape[0], N, N), 1e-6, np.float32)
    ganrec(
        tomo,
        np.full(len(tomo), N / 2 if center is None else center, np.float32),
        out,
        theta,
        num_gridx=N,
        num_gridy=N,
        **kwargs,
    )
    return out
