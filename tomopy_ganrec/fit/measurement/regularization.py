"""Weights of the regularisation: defaults from the noise, and what slices that are solved together share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.slice_record import SliceRecord
from tomopy_ganrec.solvers.forward_model import ForwardModel, angles_of, center_of
from tomopy_ganrec.solvers.wedge import measured_range

from .noise import estimate_noise

__all__ = ["RegularizationWeights", "SliceWeights", "initial_weights", "weights_from_residual", "weights_of_neighbour"]

CLEAN = 1e-3  # relative noise below which data count as noise-free
# Relative noise (about 3e4 photons) below which structure under the pixel, and edges along the missing frequencies, can
# be told from noise.
LOW_NOISE = 9e-3
# The default weight of the derivative along the missing frequencies, and the angular range below which it stays 1.
WEDGE_TV_WEIGHT, NARROW_RANGE = 0.7, math.radians(80)
FULL_RANGE = math.radians(176)  # from which on no wedge is missing
STEP_RATIO_CLEAN, STEP_RATIO_NOISY = 100.0, 30.0
NOISE_RATIO = 2.0  # of two slices, above which one does not take the weights of the other
WARM_STEP_FACTOR_CLEAN, WARM_STEP_FACTOR_NOISY = 3.0, 10.0  # by which the step ratio of a warm start is smaller


@dataclass(frozen=True)
class SliceWeights:
    """The weights of one slice.

    Attributes
    ----------
    noise : float
        Standard deviation of the noise, in the data's units.
    relative_noise : float
        The same relative to the scale of the data and half the columns, as are the two levels below.
    tv_weight, edge_threshold : float
        λ and ε, see `GanrecOptions`.
    residual_level, noise_level : float
        What the residual should be, and its part that is noise.
    step_ratio : float
        Ratio of the primal to the dual step of `TotalVariation`.
    rounds : int
        Of edge reweighting.
    loss : str
        Of the data in the fit, 'l1' or 'l2'.
    wedge_tv_weight : float
        Weight of the derivative along the missing frequencies.
    """

    noise: float
    relative_noise: float
    tv_weight: float
    edge_threshold: float
    residual_level: float
    noise_level: float
    step_ratio: float
    rounds: int
    loss: str
    wedge_tv_weight: float

    @property
    def shared(self) -> tuple[float, int, str, float]:
        """What slices that are solved together must have in common."""
        return self.step_ratio, self.rounds, self.loss, self.wedge_tv_weight


@dataclass(frozen=True)
class RegularizationWeights:
    """The weights of slices that are solved together: numbers for each slice, and those that all of them share.

    Attributes
    ----------
    slices : tuple of SliceWeights
        At least one; their `SliceWeights.shared` are equal.

    Raises
    ------
    ValueError
        For no slices, or slices that do not belong together.
    """

    slices: tuple[SliceWeights, ...]

    def __post_init__(self) -> None:
        if len({one.shared for one in self.slices}) != 1:
            raise ValueError("slices that are solved together share step ratio, rounds, loss and wedge_tv_weight")

    def __len__(self) -> int:
        return len(self.slices)

    @property
    def step_ratio(self) -> float:
        """Shared by all slices."""
        return self.slices[0].step_ratio

    @property
    def rounds(self) -> int:
        """Shared by all slices."""
        return self.slices[0].rounds

    @property
    def loss(self) -> str:
        """Shared by all slices."""
        return self.slices[0].loss

    @property
    def wedge_tv_weight(self) -> float:
        """Shared by all slices."""
        return self.slices[0].wedge_tv_weight

    def tv_weight(self, like: torch.Tensor) -> torch.Tensor:
        """λ of each slice, (n, 1, 1), on the device and in the precision of `like`."""
        return per_slice([one.tv_weight for one in self.slices], like)

    def edge_threshold(self, like: torch.Tensor) -> torch.Tensor:
        """ε of each slice, (n, 1, 1)."""
        return per_slice([one.edge_threshold for one in self.slices], like)

    def residual_level(self, like: torch.Tensor) -> torch.Tensor:
        """The residual level of each slice, (n, 1, 1)."""
        return per_slice([one.residual_level for one in self.slices], like)

    def noise_level(self, like: torch.Tensor) -> torch.Tensor:
        """The noise level of each slice, (n, 1, 1)."""
        return per_slice([one.noise_level for one in self.slices], like)

    @property
    def largest_relative_noise(self) -> float:
        """Of all slices."""
        return max(one.relative_noise for one in self.slices)

    def take(self, index: torch.Tensor) -> RegularizationWeights:
        """Some of the slices (repeats allowed)."""
        return RegularizationWeights(tuple(self.slices[k] for k in index.tolist()))

    def changed(self, **values: object) -> RegularizationWeights:
        """The same with other values for all slices."""
        return RegularizationWeights(tuple(replace(one, **values) for one in self.slices))  # type: ignore[arg-type]  # names are the fields'

    def scaled(self, tv_factor: float) -> RegularizationWeights:
        """The same with λ times a factor."""
        return RegularizationWeights(tuple(replace(one, tv_weight=tv_factor * one.tv_weight) for one in self.slices))


def per_slice(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """A number for each slice as a tensor (n, 1, 1) like another one."""
    return torch.tensor(values, dtype=torch.float64).to(like)[:, None, None]


def initial_weights(
    model: ForwardModel, sinogram: torch.Tensor, scale: torch.Tensor, options: GanrecOptions
) -> list[SliceWeights]:
    """The weights of each slice of a batch, from its noise.

    The noise of a back-projected residual grows with σ·√angles while the data term of `TotalVariation` is normalised by
    ‖A‖² ∝ columns·angles; a total variation that balances it is λ ∝ ν/√angles with ν = σ/(scale·columns/2). The factor
    4, the floor for clean data (model error and partly filled pixels act like noise) and the exponent of ε were found
    on random grains (seeds 0 to 3 of `phantoms.shale` and a finer variant of it) at 128² and 256².

    Parameters
    ----------
    model : ForwardModel
        Its ``theta`` and ``center`` are used where it has them.
    sinogram : (B, angles, columns) tensor
    scale : (B, 1, 1) tensor
        `solvers.forward_model.data_scale`.
    options : GanrecOptions
        What is given there stands.
    """
    angles, columns = sinogram.shape[1:]
    theta = angles_of(model)
    if options.noise == "auto":
        center = float(np.mean(center_of(model)))
        evenly = torch.arange(angles, dtype=torch.float64) * math.pi / angles
        noise = estimate_noise(sinogram, evenly if theta is None else torch.as_tensor(theta), center).flatten().tolist()
    else:
        noise = [float(options.noise)] * sinogram.shape[0]
    missing = theta is not None and NARROW_RANGE <= measured_range(theta) < FULL_RANGE
    rounds = options.resolved.reweight_rounds
    weights = []
    for sigma, unit in zip(noise, scale.flatten().tolist(), strict=True):
        relative = sigma / (unit * columns / 2)
        clean = relative < CLEAN
        tv_weight, edge_threshold, loss = options.tv_weight, options.edge_threshold, options.loss
        if tv_weight is None:
            tv_weight = max(5e-4 * 128 / columns, 4 * relative / math.sqrt(angles))
        if edge_threshold is None:
            edge_threshold = min(max(0.05 * (relative / 5e-3) ** 0.3, 0.04), 0.12)
        if loss == "auto":
            loss = "l1" if clean and rounds else "l2"
        wedge_tv_weight = options.wedge_tv_weight
        if wedge_tv_weight is None:
            wedge_tv_weight = WEDGE_TV_WEIGHT if relative < LOW_NOISE and missing else 1.0
        weights.append(
            SliceWeights(
                noise=sigma,
                relative_noise=relative,
                tv_weight=tv_weight,
                edge_threshold=edge_threshold,
                residual_level=relative,
                noise_level=relative,
                step_ratio=STEP_RATIO_CLEAN if clean else STEP_RATIO_NOISY,
                rounds=rounds,
                loss=loss,
                wedge_tv_weight=wedge_tv_weight,
            )
        )
    return weights


def weights_from_residual(
    weights: SliceWeights, noise_level: float, residual_level: float, theta: np.ndarray, options: GanrecOptions
) -> SliceWeights:
    """The weights for reweighting, from the noise and model error of a residual.

    λ = c·`residual_level`/√angles with c = 10 (range/120°)^1.3, at most 10; ε = 0.02 √(`noise_level`/0.005), 0.02 to
    0.04. Both were found on the four phantoms at 128² (seed 10; 60 to 180°; noise-free, 1e5 and 1e4 photons) among 16
    pairs of c and ε.

    Parameters
    ----------
    weights : SliceWeights
    noise_level, residual_level : float
        `noise.residual_levels` and `noise.whitening`, relative to the scale of the data and half the columns.
    theta : (angles,) array
        Radians.
    options : GanrecOptions
        What is given there stands.
    """
    tv_weight, edge_threshold = options.tv_weight, options.edge_threshold
    if tv_weight is None:
        share = min(1.0, measured_range(theta) / math.radians(120))
        tv_weight = max(1e-4, 10 * share**1.3 * residual_level / math.sqrt(len(theta)))
    if edge_threshold is None:
        edge_threshold = min(max(0.02 * math.sqrt(noise_level / 5e-3), 0.02), 0.04)
    return replace(
        weights,
        tv_weight=tv_weight,
        edge_threshold=edge_threshold,
        loss="l2" if options.loss == "auto" else options.loss,
        residual_level=residual_level,
        noise_level=noise_level,
    )


def weights_of_neighbour(weights: SliceWeights, neighbour: SliceRecord, options: GanrecOptions) -> SliceWeights | None:
    """The weights of a slice with what the record of its neighbour knows of noise and weights.

    None where the two do not belong together, because their noise differs.
    """
    own, other = weights.relative_noise, neighbour.relative_noise
    if max(other, own) > max(NOISE_RATIO * min(other, own), CLEAN):
        return None
    slower = WARM_STEP_FACTOR_CLEAN if own < CLEAN else WARM_STEP_FACTOR_NOISY
    weights = replace(weights, step_ratio=weights.step_ratio / slower)
    if neighbour.pixel_model == "point":
        return replace(weights, wedge_tv_weight=options.wedge_tv_weight or 1.0)
    return replace(
        weights,
        loss="l2" if options.loss == "auto" else options.loss,
        tv_weight=neighbour.tv_weight,
        edge_threshold=neighbour.edge_threshold,
        residual_level=neighbour.residual_level,
        noise_level=neighbour.noise_level,
        wedge_tv_weight=neighbour.wedge_tv_weight,
    )
