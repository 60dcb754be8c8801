"""Whether a reconstruction explains its data: what it leaves of them, against their noise."""

import math
import warnings

import torch

from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.operators import power_of_two

__all__ = ["compare_with_data", "is_checked", "warn_unexplained"]

BLOCK, STRIPE = (
    (8, 8),
    (16, 1),
)  # angles × columns over which the residual is averaged: noise falls, what is wrong stays
# Relative to the data. Sound scans leave at most .0058 in blocks (a measured tooth; phantoms .0018 at 128², .0044 at
# 32²), and 1 / columns in stripes; an axis off by 6 % of the columns leaves .013 and more in blocks, a sample cut to 60
# % of its width .012, a dead column .06 in stripes. The limits rise on detectors of few columns: limit = max(first,
# second / columns).
BLOCK_LIMIT, STRIPE_LIMIT = (0.009, 0.45), (0.012, 1.9)
BEYOND = 1.15  # times what the noise leaves: below, a residual is noise, whatever its means are


def is_checked(options: GanrecOptions) -> bool:
    """Whether a reconstruction with these options must explain its data: not where the start image or the weights are the user's own choice, not with
    total variation across slices, nor with the paper's normalisation."""
    return (
        options.preset == "default" and options.init == "tv" and options.tv_weight is None and options.joint_slices == 1
    )


@torch.no_grad()
def compare_with_data(projector, image: torch.Tensor, sinogram: torch.Tensor, noise: list[float]) -> list[dict]:
    """What the record of each slice says of its fit to the data.

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
    found = []
    for left, values, sigma in zip(
        residual, data, [s / u for s, u in zip(noise, unit.flatten().tolist(), strict=True)], strict=True
    ):
        norm, least = float(values.norm()), BEYOND * min(sigma, _along_detector(values)) * math.sqrt(values.numel())
        block, stripe = (_excess(left, values, sigma, size) for size in (BLOCK, STRIPE))
        share = sigma * math.sqrt(values.numel()) / norm if norm > 0 else 0.0
        limits = [max(least, over / values.shape[1]) for least, over in (BLOCK_LIMIT, STRIPE_LIMIT)]
        found.append(
            dict(
                noise_residual=share,
                misfit=block,
                explained=bool((block <= limits[0] and stripe <= limits[1]) or float(left.norm()) <= least),
            )
        )
    return found


def _along_detector(values: torch.Tensor) -> float:
    """The noise by second differences along the detector of (angles, columns) values. It knows nothing of the angles: where those are wrong, the
    estimate by `noise.estimate_noise` takes what they spoil for noise. In air, where it mostly looks, counts have less noise than behind a sample."""
    if values.shape[1] < 3:
        return 0.0
    return float(torch.diff(values, 2, dim=1).abs().median()) / (0.6745 * math.sqrt(6))


def _means(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The means of (angles, columns) values over blocks of at most `size`; what is left over at the end takes no part."""
    a, b = (min(n, own) for n, own in zip(size, values.shape, strict=True))
    rows, cols = (n // k for n, k in zip(values.shape, (a, b), strict=True))
    return values[: rows * a, : cols * b].reshape(rows, a, cols, b).mean((1, 3))


def _excess(residual: torch.Tensor, data: torch.Tensor, sigma: float, size: tuple[int, int]) -> float:
    """The norm of the means of a residual over blocks, beyond what is granted to noise, relative to the data's.

    Granted is twice what white noise leaves, and for single columns all of it: a flat field that was taken once has the
    same noise at all angles.
    """
    left, norm = _means(residual, size), float(_means(data, size).norm())
    each = residual.shape[0] // left.shape[0] * (residual.shape[1] // left.shape[1])
    noise = sigma * math.sqrt(left.numel()) * (1 if size[1] == 1 else 2 / math.sqrt(each))
    return math.sqrt(max(float(left.norm()) ** 2 - noise**2, 0.0)) / norm if norm > 0 else 0.0


def warn_unexplained(records, options: GanrecOptions, stacklevel: int = 3) -> None:
    """One warning for all slices whose reconstruction does not explain the data, naming the worst."""
    bad = [k for k, record in enumerate(records) if record and record.get("explained") is False]
    if not bad:
        return
    worst = max(bad, key=lambda k: records[k]["misfit"])
    record = records[worst]
    causes = [
        f"a wrong rotation axis (center={record['center']:.6g} columns in the edge convention; tomopy.find_center_vo gives it for "
        "center_convention='index')",
        "wrong angles (theta: unit, order, range)",
        "missing or wrong flat fields, dead columns",
        "a sample wider than the detector (num_gridx, num_gridy, mask=False)",
    ]
    if options.nonnegative:
        causes.append("negative data (nonnegative=False)")
    warnings.warn(
        f"the reconstruction does not explain the data of {len(bad)} of {len(records)} slices, slice {worst} the least: its relative residual is "
        f"{record['residual']:.2g}, noise alone would leave {record['noise_residual']:.2g}, and {record['misfit']:.2g} of the data stay where noise "
        f"is averaged out. Usual causes: {'; '.join(causes)}",
        UserWarning,
        stacklevel=stacklevel,
    )
