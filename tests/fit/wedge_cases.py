"""Angles, smooth images and filters shared by the tests of the missing wedge."""

import numpy as np
import torch

from tomopy_ganrec.solvers.operators import gaussian_blur


def degrees(first, last, step=1.0):
    """Angles in degrees, as radians."""
    return np.deg2rad(np.arange(first, last, step))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pixel_offset_grid(rows, cols):
    """Rows and columns of a grid, from its centre."""
    return torch.meshgrid(torch.arange(rows) - (rows - 1) / 2, torch.arange(cols) - (cols - 1) / 2, indexing="ij")


def filtered(x, frequencies):
    """Images with their frequencies multiplied by weights."""
    return torch.fft.irfft2(torch.fft.rfft2(x) * frequencies, s=x.shape[-2:])


def smooth_noise(rows, cols, count=1, sigma=2.0):
    """Noise without the highest frequencies, zero towards the corners, which a rotation keeps whole."""
    y, x = pixel_offset_grid(rows, cols)
    disc = gaussian_blur((torch.hypot(y, x) < 0.35 * min(rows, cols)).float()[None], 2.0)
    return gaussian_blur(torch.randn(1, rows, cols, generator=seeded()), sigma).expand(count, -1, -1) * disc


def relative_differences(a, b):
    """‖a − b‖/‖b‖ of each image."""
    return (a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
