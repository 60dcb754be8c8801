"""The one solid of a slice: whether it has one, by the grey values of a reconstruction with a bound at its level."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.solvers.operators import gradient
from tomopy_ganrec.solvers.reweighting import linear_step

__all__ = ["inside", "margin", "material", "share_of_solid"]

# Limits between which a test's answer goes from no to yes; see `share_of_solid` and `margin`.
LEVEL_LIMITS = (0.945, 0.965)
GREY_LIMITS, THIN_LIMITS = (0.13, 0.18), (1.02, 1.05)
OVERSHOOT_LIMITS, THINNER_LIMITS = (1.45, 1.55), (1.04, 1.08)
# The margin: the first up to the first sureness, then down to one that falls with the angular range, then to 0.
MARGIN, UNSURE_LIMITS, SURE_LIMITS = 0.12, (-0.8, -0.4), (0.5, 1.2)
MARGIN_RANGES, MARGINS = (60.0, 120.0), (0.12, 0.03)


def material(
    measurement: Measurement, image: torch.Tensor, bound: torch.Tensor, joint: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The level of the image's bright part that explains the data best, relative to the bound, and its grey share.

    The bright part is the image with its contrast raised threefold about half the bound. Where there is one solid, its
    level is the bound's or, with walls thinner than a pixel or attenuation that is still piled up, more; of several
    solids it is a mean, and lies below. Grey is the share of the image's sum in pixels from 0.2 to 0.7 of the bound
    whose gradient is less than 0.06 of it: another solid, where they are many.

    Parameters
    ----------
    measurement : Measurement
    image : (n, rows, cols) tensor
        With the bound.
    bound : (n, 1, 1) tensor
    joint : bool
        Whether the slices are one body.

    Returns
    -------
    level, grey : (n, 1, 1) tensor
    """
    relative = image / bound
    bright = ((relative - 0.5) * 3 + 0.5).clamp(0, 1)
    projected = measurement.model.forward_project(bright)
    change = torch.stack(gradient(relative)).norm(dim=0)
    is_grey = (relative > 0.2) & (relative < 0.7) & (change < 0.06)
    sums = torch.stack(
        [
            (projected * measurement.data).sum((1, 2)),
            (projected * projected).sum((1, 2)),
            (relative * is_grey).sum((1, 2)),
            relative.sum((1, 2)),
        ]
    )
    if joint:
        sums = sums.sum(1, keepdim=True).expand_as(sums)
    sums = sums + torch.finfo(sums.dtype).tiny
    level, grey = sums[0] / sums[1] / bound.flatten(), sums[2] / sums[3]
    return level[:, None, None], grey[:, None, None]


def share_of_solid(level: torch.Tensor, grey: torch.Tensor, overshoot: torch.Tensor) -> torch.Tensor:
    """From 0, several solids, to 1, one solid.

    By the level and the grey share of `material`; by the level alone where walls are thinner than a pixel. What is far
    above the bound is a second, brighter solid, unless walls are thinner than a pixel.
    """
    one_level = torch.maximum(1 - linear_step(grey, *GREY_LIMITS), linear_step(level, *THIN_LIMITS))
    none_brighter = torch.maximum(1 - linear_step(overshoot, *OVERSHOOT_LIMITS), linear_step(level, *THINNER_LIMITS))
    return linear_step(level, *LEVEL_LIMITS) * one_level * none_brighter


def margin(level: torch.Tensor, overshoot: torch.Tensor, degrees: float) -> torch.Tensor:
    """How far the bound stays above the one found, relative to it.

    With little attenuation above the solid the residual begins to rise late, and the bound found is too low: for
    separate grains by 1 % at 120°, 6 % at 90° and 15 % at 60°, and for a solid whose attenuation varies by as much.
    """
    sureness = (level - 0.99) / 0.02 + (overshoot - 1.25) / 0.05
    usual = float(np.interp(degrees, MARGIN_RANGES, MARGINS))
    margin = MARGIN + (usual - MARGIN) * linear_step(sureness, *UNSURE_LIMITS)
    return margin * (1 - linear_step(sureness, *SURE_LIMITS))


def inside(image: torch.Tensor, bound: torch.Tensor, joint: bool) -> torch.Tensor:
    """The median of an image inside of the solid, relative to the bound, (n, 1, 1); 0 where the solid has no inside.

    Inside are the pixels that lie, with their eight neighbours, above half the bound. Plain total variation makes small
    grains and thin fibres fainter than they are, and a bound on them costs no residual; reweighted without a bound,
    they show it: at 64² and 90° 1.00 to 1.05 times their attenuation, where the bound found was .83 to .97 of it. Where
    attenuation is piled up, the median is not: of zeolite and a disc with holes it is .81 to 1.04, at 120 to 60°.

    Parameters
    ----------
    image : (n, rows, cols) tensor
        Without a bound.
    bound : (n, 1, 1) tensor
    joint : bool
        Whether the slices are one body.
    """
    relative = image / bound
    eroded = -F.max_pool2d(-relative[:, None], 3, stride=1, padding=1)[:, 0]
    parts = (
        [relative[eroded > 0.5]] * len(image) if joint else [x[e > 0.5] for x, e in zip(relative, eroded, strict=True)]
    )
    return torch.stack([part.median() if len(part) else bound.new_zeros(()) for part in parts])[:, None, None]
