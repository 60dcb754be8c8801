"""What the noise decides: the weights that the user left open."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.slice_record import SliceRecord
from tomopy_ganrec.solvers.forward_model import ForwardModel
from tomopy_ganrec.solvers.wedge import measured_range

from .noise import estimate_noise

__all__ = ["RegularizationWeights", "initial_weights", "weights_from_residual", "weights_of_neighbour"]

CLEAN = 1e-3  # relative noise below which data count as noise-free
LOW_NOISE = 9e-3  # below which structure under the pixel, and edges along the missing frequencies, can be told from noise: about 3e4 photons
ALONG, NARROW = (
    0.7,
    math.radians(80),
)  # weight of the derivative along the missing frequencies, and the range below which it stays 1


@dataclass(frozen=True)
class RegularizationWeights:
    """The weights of one slice; `noise` in the data's units, the others relative to its scale. `residual_level` is what the residual
    should be, `noise_level` its part that is noise."""

    noise: float
    relative_noise: float
    tv_weight: float
    edge_threshold: float
    step_ratio: float
    rounds: int
    loss: str
    data_weight: float
    residual_level: float
    wedge_tv_weight: float
    noise_level: float


def initial_weights(
    model: ForwardModel, sinogram: torch.Tensor, scale: torch.Tensor, options: GanrecOptions
) -> list[RegularizationWeights]:
    """Settings for each slice of a batch.

    The noise of a back-projected residual grows with σ·√angles while the data term of `TotalVariation` is normalised by ‖A‖² ∝
    columns·angles; a total variation that balances it is λ ∝ ν/√angles with ν = σ/(scale·columns/2). The factor 4, the floor for clean
    data (model error and partly filled pixels act like noise) and the exponent of ε were found on random grains (seeds 0 to 3 of `phantoms.shale` and
    a finer variant of it) at 128² and 256².

    Parameters
    ----------
    model : ForwardModel
        Its ``theta`` and ``center`` are used where it has them.
    sinogram : (B, angles, columns) tensor
    scale : (B, 1, 1) tensor
        `initial.data_scale`.
    options : GanrecOptions
        What is given there stands.
    """
    angles, columns = sinogram.shape[1:]
    theta = getattr(model, "theta", None)
    if options.noise == "auto":
        center = float(np.mean(getattr(model, "center", columns / 2)))
        angle_positions = (
            torch.arange(angles, dtype=torch.float64) * math.pi / angles if theta is None else torch.as_tensor(theta)
        )
        noise = estimate_noise(sinogram, angle_positions, center).flatten().tolist()
    else:
        noise = [float(options.noise)] * sinogram.shape[0]
    wedge = theta is not None and NARROW <= measured_range(theta) < math.radians(176)
    settings = []
    for sigma, unit in zip(noise, scale.flatten().tolist(), strict=True):
        relative = sigma / (unit * columns / 2)
        clean = relative < CLEAN
        tv_weight = (
            options.tv_weight
            if options.tv_weight is not None
            else max(5e-4 * 128 / columns, 4 * relative / math.sqrt(angles))
        )
        edge_threshold = (
            options.edge_threshold
            if options.edge_threshold is not None
            else min(max(0.05 * (relative / 5e-3) ** 0.3, 0.04), 0.12)
        )
        loss = ("l1" if clean and options.rounds else "l2") if options.loss == "auto" else options.loss
        data_weight = math.sqrt(128 / columns)
        wedge_tv_weight = (
            options.wedge_tv_weight
            if options.wedge_tv_weight is not None
            else ALONG
            if relative < LOW_NOISE and wedge
            else 1.0
        )
        step_ratio = 100.0 if clean else 30.0
        settings.append(
            RegularizationWeights(
                sigma,
                relative,
                tv_weight,
                edge_threshold,
                step_ratio,
                options.rounds,
                loss,
                data_weight,
                relative,
                wedge_tv_weight,
                relative,
            )
        )
    return settings


def weights_from_residual(
    settings: RegularizationWeights, low: float, reference: float, theta, options: GanrecOptions
) -> RegularizationWeights:
    """The weights for reweighting data whose noise and model error are known (`response.residual_levels`, `response.whitening`).

    λ = c·`reference`/√angles with c = 10 (range/120°)^1.3, at most 10; ε = 0.02 √(`low`/0.005), 0.02 to 0.04. Both were found on the four
    phantoms at 128² (seed 10; 60 to 180°; noise-free, 1e5 and 1e4 photons) among 16 pairs of c and ε.

    Parameters
    ----------
    settings : Settings
    low, reference : float
        Relative to the scale of the data and half the columns.
    theta : (angles,) array_like
        Radians.
    options : GanrecOptions
        What is given there stands.
    """
    share = min(1.0, measured_range(theta) / math.radians(120))
    tv_weight = (
        options.tv_weight
        if options.tv_weight is not None
        else max(1e-4, 10 * share**1.3 * reference / math.sqrt(len(theta)))
    )
    edge_threshold = (
        options.edge_threshold
        if options.edge_threshold is not None
        else min(max(0.02 * math.sqrt(low / 5e-3), 0.02), 0.04)
    )
    return replace(
        settings,
        tv_weight=tv_weight,
        edge_threshold=edge_threshold,
        loss="l2" if options.loss == "auto" else options.loss,
        residual_level=reference,
        noise_level=low,
    )


NOISE = 2.0  # ratio of the noise of two slices above which they do not share their weights
SLOWER, SLOWER_NOISY = 3.0, 10.0  # by which ρ is smaller


def weights_of_neighbour(
    settings: RegularizationWeights, near: SliceRecord, options: GanrecOptions
) -> RegularizationWeights | None:
    """The weights of a slice with what its neighbour's record `near` knows of noise and weights; None where the two do not belong together."""
    known, own = near.relative_noise, settings.relative_noise
    if max(known, own) > max(NOISE * min(known, own), CLEAN):
        return None
    settings = replace(settings, step_ratio=settings.step_ratio / (SLOWER if own < CLEAN else SLOWER_NOISY))
    if near.pixel_model == "point":
        return replace(settings, wedge_tv_weight=options.wedge_tv_weight or 1.0)
    return replace(
        settings,
        loss="l2" if options.loss == "auto" else options.loss,
        tv_weight=near.tv_weight,
        edge_threshold=near.edge_threshold,
        residual_level=near.residual_level,
        noise_level=near.noise_level,
        wedge_tv_weight=near.wedge_tv_weight,
    )
