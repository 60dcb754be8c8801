"""Check of a reconstruction against its data: the residual, compared with their noise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import torch

from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.forward_model import ForwardModel
from tomopy_ganrec.solvers.operators import power_of_two

from .attenuation_bound import RISE_LOW

__all__ = ["compare_with_data", "is_checked", "warn_low_bounds", "warn_no_outline", "warn_unexplained"]

# Angles × columns over which the residual is averaged: noise falls, what is wrong stays.
BLOCK, STRIPE = (8, 8), (16, 1)
# Relative to the data. Sound scans leave at most .0058 in blocks (a measured tooth; phantoms .0018 at 128², .0044 at
# 32²), and 1 / columns in stripes; an axis off by 6 % of the columns leaves .013 and more in blocks, a sample cut to 60
# % of its width .012, a dead column .06 in stripes. The limits rise on detectors of few columns: limit = max(first,
# second / columns).
BLOCK_LIMIT, STRIPE_LIMIT = (0.009, 0.45), (0.012, 1.9)
NOISE_FACTOR = 1.15  # times what the noise leaves: below, a residual is noise, whatever its means are


def is_checked(options: GanrecOptions) -> bool:
    """Whether a reconstruction with these options must explain its data.

    Not where the start image or the weights are the user's own choice, not with total variation across slices, nor with
    the paper's normalisation.
    """
    return (
        options.preset == "default" and options.init == "tv" and options.tv_weight is None and options.joint_slices == 1
    )


@torch.no_grad()
def compare_with_data(
    projector: ForwardModel, image: torch.Tensor, sinogram: torch.Tensor, noise: Sequence[float]
) -> list[dict]:
    """Entries of the record of each slice about its fit to the data.

    Parameters
    ----------
    projector : ForwardModel
    image : (B, rows, cols) tensor
        Attenuation per detector column.
    sinogram : (B, angles, columns) tensor
    noise : list of float
        The standard deviation of the noise of each sinogram, in its units.

    Returns
    -------
    list of dict
        ``noise_residual``: the relative residual that the noise alone would leave; ``misfit``: the norm of the
        residual's means over 8 × 8 values, relative to that of the data, beyond twice what noise leaves of them;
        ``explained``: whether that is as small as in sound scans, and the same of single columns (means over 16 × 1
        values), or the whole residual no more than noise.
    """
    unit = power_of_two(sinogram)
    data = sinogram / unit
    residual = projector.forward_project(image / unit) - data
    sigmas = [sigma / scale for sigma, scale in zip(noise, unit.flatten().tolist(), strict=True)]
    entries = []
    for left, values, sigma in zip(residual, data, sigmas, strict=True):
        norm = float(values.norm())
        least = NOISE_FACTOR * min(sigma, _along_detector(values)) * math.sqrt(values.numel())
        block, stripe = (_excess(left, values, sigma, size) for size in (BLOCK, STRIPE))
        share = sigma * math.sqrt(values.numel()) / norm if norm > 0 else 0.0
        limits = [max(least, over / values.shape[1]) for least, over in (BLOCK_LIMIT, STRIPE_LIMIT)]
        entries.append(
            dict(
                noise_residual=share,
                misfit=block,
                explained=bool((block <= limits[0] and stripe <= limits[1]) or float(left.norm()) <= least),
            )
        )
    return entries


def _along_detector(values: torch.Tensor) -> float:
    """The noise by second differences along the detector of (angles, columns) values.

    It does not depend on the angles: where those are wrong, `noise.estimate_noise` takes the inconsistency for noise.
    In air, where it mostly looks, counts have less noise than behind a sample.
    """
    if values.shape[1] < 3:
        return 0.0
    return float(torch.diff(values, 2, dim=1).abs().median()) / (0.6745 * math.sqrt(6))


def _means(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The means of (angles, columns) values over blocks of at most `size`; values left over at the end take no part."""
    a, b = (min(n, own) for n, own in zip(size, values.shape, strict=True))
    rows, cols = (n // k for n, k in zip(values.shape, (a, b), strict=True))
    return values[: rows * a, : cols * b].reshape(rows, a, cols, b).mean((1, 3))


def _excess(residual: torch.Tensor, data: torch.Tensor, sigma: float, size: tuple[int, int]) -> float:
    """The norm of the means of a residual over blocks, beyond an allowance for noise, relative to the data's.

    The allowance is twice what white noise leaves, and for single columns all of it: a flat field that was taken once
    has the same noise at all angles.
    """
    left, norm = _means(residual, size), float(_means(data, size).norm())
    each = residual.shape[0] // left.shape[0] * (residual.shape[1] // left.shape[1])
    noise = sigma * math.sqrt(left.numel()) * (1 if size[1] == 1 else 2 / math.sqrt(each))
    return math.sqrt(max(float(left.norm()) ** 2 - noise**2, 0.0)) / norm if norm > 0 else 0.0


def warn_unexplained(records: Sequence[Mapping | None], options: GanrecOptions, stacklevel: int = 3) -> None:
    """Warn once of all slices whose reconstruction does not explain the data, naming the worst."""
    bad = {k: record for k, record in enumerate(records) if record and record.get("explained") is False}
    if not bad:
        return
    worst, record = max(bad.items(), key=lambda item: item[1]["misfit"])
    causes = [
        f"a wrong rotation axis (center={record['center']:.6g} columns in the edge convention; "
        "tomopy.find_center_vo gives it for center_convention='index')",
        "wrong angles (theta: unit, order, range)",
        "missing or wrong flat fields, dead columns",
        "a sample wider than the detector (num_gridx, num_gridy, mask=False)",
    ]
    if options.nonnegative:
        causes.append("negative data (nonnegative=False)")
    if not isinstance(options.mask, bool) and options.mask != "auto":
        causes.append("a mask that leaves out a part of the sample (mask=True)")
    warnings.warn(
        f"the reconstruction does not explain the data of {len(bad)} of {len(records)} slices, slice {worst} the "
        f"least: its relative residual is {record['residual']:.2g}, noise alone would leave "
        f"{record['noise_residual']:.2g}, and {record['misfit']:.2g} of the data stay where noise is averaged out. "
        f"Usual causes: {'; '.join(causes)}",
        UserWarning,
        stacklevel=stacklevel,
    )


def warn_low_bounds(records: Sequence[Mapping | None], stacklevel: int = 3) -> None:
    """Warn once of all slices that attenuate more than the bound given for them, naming the worst."""
    low = {
        k: record
        for k, record in enumerate(records)
        if record and record.get("bound_origin") == "given" and (record.get("bound_rise") or 0) > RISE_LOW
    }
    if not low:
        return
    worst, record = max(low.items(), key=lambda item: item[1]["bound_rise"])
    warnings.warn(
        f"max_attenuation={record['max_attenuation']:.4g} per pixel is less than the data of {len(low)} of "
        f"{len(records)} slices show: with it, the residual of slice {worst} rises by {record['bound_rise']:.2g} of "
        "its data. Give the attenuation of the densest material, or 'auto'",
        UserWarning,
        stacklevel=stacklevel,
    )


def warn_no_outline(records: Sequence[Mapping | None], stacklevel: int = 3) -> None:
    """Warn once of all slices whose outline was asked for and could not be found."""
    bad = [k for k, record in enumerate(records) if record and record.get("outline") == "none"]
    if bad:
        warnings.warn(
            f"mask='outline': the projections of {len(bad)} of {len(records)} slices, the first is slice {bad[0]}, do "
            "not show where the sample ends, so these slices may be filled to the disc that the detector sees. Give "
            "mask=True, or an array of 0 and 1 if you know the outline",
            UserWarning,
            stacklevel=stacklevel,
        )
