"""Angles, smooth images and filters shared by the tests of the missing wedge."""

import numpy as np
import torch

from tomopy_ganrec.solvers.operators import gaussian_blur


def degrees(first, last, step=1.0):
    return np.deg2rad(np.arange(first, last, step))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def grid(rows, cols):
    return torch.meshgrid(torch.arange(rows) - (rows - 1) / 2, torch.arange(cols) - (cols - 1) / 2, indexing="ij")


def kept(x, frequencies):
    return torch.fft.irfft2(torch.fft.rfft2(x) * frequencies, s=x.shape[-2:])


def smooth_noise(rows, cols, count=1, sigma=2.0):
    """Noise without the highest frequencies, zero towards the corners: what turning leaves whole."""
    y, x = grid(rows, cols)
    disc = gaussian_blur((torch.hypot(y, x) < 0.35 * min(rows, cols)).float()[None], 2.0)
    return gaussian_blur(torch.randn(1, rows, cols, generator=generator()), sigma).expand(count, -1, -1) * disc


def differences(a, b):
    return (a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
