"""Frequency response of the discretised projector (pixels, rays, detector columns), and its compensation.

A detector column averages over its width, a pixel of a reconstruction is the mean of the object over its area; Joseph's
projector interpolates between pixel values along lines of no width. In the Fourier space of a projection each of these
is a factor, so that the data b of an object whose pixel means are x are, up to aliasing, b̂ = H · (A x)^ with a known
H. Without it a reconstruction has to make up for H by itself: it rings at edges, and what it cannot explain acts like
noise that grows with the frequency.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike

from tomopy_ganrec.solvers.operators import filter_projections

__all__ = ["compensate_response", "pixel_response"]

LARGEST_RESPONSE = 4.0  # near Nyquist aliasing rules, not the formula


def pixel_response(theta: ArrayLike, columns: int, pixel_size: float = 1.0, rays_per_bin: int = 2) -> torch.Tensor:
    """H(f, θ) = sinc f / (sinc(hfc) sinc(hfs) · sinc²(hfm) · ρ(f)): detector column over pixel, interpolation and rays.

    c = |cos θ|, s = |sin θ|, m = max(c, s), h the pixel's side in columns, f in cycles per column, sinc x = sin πx /
    πx; ρ is the mean of the phases of the rays in a column. Joseph's method interpolates linearly along the image axis
    that is more parallel to the detector: a triangle of base 2hm in its projection (P. M. Joseph, IEEE Trans. Med.
    Imaging 1, 192–196, 1982).

    Parameters
    ----------
    theta : (angles,) array_like
        Radians.
    columns : int
    pixel_size : float
        In columns.
    rays_per_bin : int

    Returns
    -------
    (angles, columns // 2 + 1) float32 tensor
        1 at f = 0, at most 4.
    """
    theta = np.asarray(theta, np.float64)
    f = np.fft.rfftfreq(columns)[None]
    c, s = np.abs(np.cos(theta))[:, None], np.abs(np.sin(theta))[:, None]
    offsets = (np.arange(rays_per_bin) + 0.5) / rays_per_bin - 0.5
    rays = np.cos(2 * math.pi * f[..., None] * offsets).mean(-1)
    h = pixel_size
    own = np.sinc(h * f * c) * np.sinc(h * f * s) * np.sinc(h * f * np.maximum(c, s)) ** 2 * rays
    visible = (own > 0) & (h * f * np.maximum(c, s) < 1)  # beyond, a coarse pixel sees nothing but its side lobes
    response = np.divide(np.sinc(f), own, out=np.full_like(own, LARGEST_RESPONSE), where=visible)
    return torch.from_numpy(np.clip(response, 1 / LARGEST_RESPONSE, LARGEST_RESPONSE).astype(np.float32))


def compensate_response(sinogram: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
    """Data (B, angles, columns) as the projector would give them for area means: b̂ / H.

    With the weight H on the frequencies of its residual the noise stays as it was.
    """
    return filter_projections(sinogram, 1 / response)
