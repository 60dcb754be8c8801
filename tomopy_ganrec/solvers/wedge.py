"""Geometry of the measured angular range and of the missing wedge."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from .forward_model import ForwardModel, angles_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["angular_weights", "has_missing_wedge", "measured_frequencies", "measured_range", "middle_angle"]


def angular_weights(theta: torch.Tensor) -> torch.Tensor:
    """Each projection's share of the half circle, for angles in any order and over any number of turns.

    A missing wedge is not filled: the largest gap, where it is more than twice the second largest, counts as the median
    one.

    Parameters
    ----------
    theta : (angles,) tensor
        Radians.

    Returns
    -------
    (angles,) tensor
        Radians, in the order of `theta`.
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


def measured_range(theta: "ArrayLike") -> float:
    """The angular range that a scan measures of the half circle, in radians.

    All of the half circle but the largest gap between the (angles,) `theta` in radians; that gap counts as one step
    where it is no larger than twice the next.
    """
    return float(angular_weights(torch.tensor(np.array(theta, np.float64))).sum())


def middle_angle(theta: "ArrayLike") -> float:
    """The middle of the measured angular range in radians: opposite to the middle of the half circle's largest gap."""
    folded = torch.tensor(np.array(theta, np.float64)).flatten().remainder(math.pi).sort().values
    gaps = torch.diff(folded, append=folded[:1] + math.pi)
    largest = int(gaps.argmax())
    return float(folded[largest] + gaps[largest] / 2) - math.pi / 2


def has_missing_wedge(model: ForwardModel) -> bool:
    """Whether a scan leaves out more than 4° of the half circle; False for a model without angles."""
    theta = angles_of(model)
    return theta is not None and measured_range(theta) < math.pi - math.radians(4)


def measured_frequencies(
    theta: "ArrayLike", shape: Sequence[int], matrices: torch.Tensor | None = None, softness: float = 2.0
) -> torch.Tensor:
    """The frequencies of an image that a scan measures, by the Fourier slice theorem.

    1 inside the angular range, 0 in the missing wedge, with a linear transition over `softness` frequency steps.

    Parameters
    ----------
    theta : (angles,) array_like
        Radians.
    shape : (int, int)
        Rows and columns of the image.
    matrices : (n, 2, 2) tensor, optional
        For rotated images (`fit.rotations.rotate`): the frequencies that come from measured ones.
    softness : float
        Width of the transition, in steps of the Fourier transform's longer axis.

    Returns
    -------
    (n or 1, rows, cols // 2 + 1) tensor
        In the layout of `torch.fft.rfft2`.
    """
    rows, cols = shape
    y, x = torch.meshgrid(torch.fft.fftfreq(rows), torch.fft.rfftfreq(cols), indexing="ij")
    k = torch.stack([x, y], -1) * max(rows, cols)
    k = torch.einsum("nij,abj->nabi", torch.eye(2)[None] if matrices is None else matrices.to(k), k)
    angle = torch.atan2(-k[..., 1], k[..., 0]) - middle_angle(theta)
    from_middle = torch.remainder(angle + math.pi / 2, math.pi) - math.pi / 2
    radius = k.norm(dim=-1)
    inside = (1 - (from_middle.abs() - measured_range(theta) / 2) * radius / softness).clamp(0, 1)
    return torch.where(radius < 1.5, torch.ones_like(inside), inside)
