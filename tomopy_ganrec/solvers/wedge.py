"""Geometry of the measured angular range and of the missing wedge."""

import math

import numpy as np
import torch

__all__ = ["has_missing_wedge", "measured_frequencies", "middle_angle"]


def angular_weights(theta: torch.Tensor) -> torch.Tensor:
    """Each projection's share of the half circle in radians, for angles in any order and over any number of turns: (angles,) tensor.

    A missing wedge is not filled: the largest gap, where it is more than twice the second largest, counts as the median one.
    """
    order = torch.argsort(theta % math.pi)
    folded = (theta % math.pi)[order]
    gaps = torch.diff(folded, append=folded[:1] + math.pi)
    ranked = gaps.sort().values
    if len(gaps) > 1 and ranked[-1] > 2 * ranked[-2]:
        steps = gaps[gaps > 1e-6 * ranked[-1]]
        gaps = torch.where(gaps == ranked[-1], steps.median(), gaps)
    weights = torch.empty_like(theta)
    weights[order] = (gaps + gaps.roll(1)) / 2
    return weights


def middle_angle(theta) -> float:
    """The middle of the measured range, in radians: opposite to the middle of the largest gap of the half circle."""
    folded = torch.tensor(np.array(theta, np.float64)).flatten().remainder(math.pi).sort().values
    gaps = torch.diff(folded, append=folded[:1] + math.pi)
    k = int(gaps.argmax())
    return float(folded[k] + gaps[k] / 2) - math.pi / 2


def measured_frequencies(
    theta, shape: tuple[int, int], matrices: torch.Tensor | None = None, softness=2.0
) -> torch.Tensor:
    """Which frequencies of an image a scan measures, by the Fourier slice theorem: 1 inside of the range of angles, down to 0 over `softness`
    frequency steps beside it.

    Parameters
    ----------
    theta : (angles,) array_like
        Radians.
    shape : (int, int)
    matrices : (n, 2, 2) tensor, optional
        For images turned by `turned`: the frequencies that come from measured ones.

    Returns
    -------
    (n or 1, rows, cols // 2 + 1) tensor
    """
    rows, cols = shape
    y, x = torch.meshgrid(torch.fft.fftfreq(rows), torch.fft.rfftfreq(cols), indexing="ij")
    k = torch.stack([x, y], -1) * max(rows, cols)
    k = torch.einsum("nij,abj->nabi", torch.eye(2)[None] if matrices is None else matrices.to(k), k)
    angle = torch.atan2(-k[..., 1], k[..., 0]) - middle_angle(theta)
    away = torch.remainder(angle + math.pi / 2, math.pi) - math.pi / 2
    radius = k.norm(dim=-1)
    inside = (1 - (away.abs() - measured_range(theta) / 2) * radius / softness).clamp(0, 1)
    return torch.where(radius < 1.5, torch.ones_like(inside), inside)


def has_missing_wedge(model) -> bool:
    """Whether a scan leaves out more than 4° of the half circle; a model without angles has nothing to be turned against."""
    return hasattr(model, "theta") and measured_range(model.theta) < math.pi - math.radians(4)


def measured_range(theta) -> float:
    """The part of the half circle that has been measured, in radians: all but the largest gap, which counts as one step where it is no larger than
    twice the next."""
    return float(angular_weights(torch.tensor(np.array(theta, np.float64))).sum())
