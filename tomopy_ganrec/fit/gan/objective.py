"""Objective of the default fit, the iterate that is returned, and the detection of a plateau."""

from __future__ import annotations

import math
from collections import deque

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.solvers.forward_model import operator_norm
from tomopy_ganrec.solvers.operators import edge_weights, filter_projections, ramp_filter
from tomopy_ganrec.solvers.reweighting import linear_step

from . import losses

__all__ = ["BestIterate", "Objective", "PlateauDetector"]

# Relative fall of an objective within the patience: one that falls by less has settled, one that falls by more goes on.
PLATEAU_FALL = 4e-4, 6e-4
FLATNESS = 1e-4  # relative difference of two objectives at which the weight of an iterate falls by e
MARGIN = 1 / 16  # of the admissible residual, below it, over which an iterate's weight falls to zero


class Objective:
    """The objective of the default fit, data term + total variation in units of λ, of an image relative to its scale.

    The total variation is weighted by the edges of the image itself, refreshed now and then; over the whole fit that
    descends the log-sum penalty ε·asinh(|∇x|/ε), and it is this penalty by which iterates are compared. Without
    reweighting it is the plain total variation.

    Parameters
    ----------
    measurement : Measurement
    upper : (B, 1, 1) tensor
        The upper quantile of the start image, to which ε is relative.
    """

    def __init__(self, measurement: Measurement, upper: torch.Tensor):
        model, data, weights = measurement.model, measurement.data, measurement.weights
        columns = data.shape[2]
        self._data, self._spectrum, self._l1 = data, measurement.spectrum, weights.loss == "l1"
        self._reweighted = weights.rounds > 0
        self._l1_weight = math.sqrt(128 / columns)
        self._residual_scale = 2.0 / columns
        self._half_ramp = torch.sqrt(ramp_filter(2 * columns, 0.01, data.device).to(data.dtype) * columns / 6)
        tv_weight = weights.tv_weight(data)[:, 0, 0]
        self._edge_threshold = weights.edge_threshold(data) * upper.clamp(min=0.1)  # a start may be empty
        pixels = model.domain_shape[0] * model.domain_shape[1]
        self._l2_weight = 4.0 / operator_norm(model, data) * data[0].numel() / pixels / tv_weight.clamp(min=1e-12)
        self._weight = torch.ones(len(data), *model.domain_shape).to(data)

    def refresh(self, image: torch.Tensor) -> None:
        """Take the edge weights from an image (B, rows, cols)."""
        if self._reweighted:
            self._weight.copy_(edge_weights(image, self._edge_threshold))

    def data_term(self, model_sinogram: torch.Tensor) -> torch.Tensor:
        """The distance of model sinograms (B, angles, columns) from the data: (B,)."""
        residual = model_sinogram - self._data
        if self._l1:
            return self._l1_weight * losses.data_l1(self._residual_scale * residual, self._half_ramp)
        filtered = residual if self._spectrum is None else filter_projections(residual, self._spectrum)
        return self._l2_weight * losses.data_l2(filtered)

    def variation(self, image: torch.Tensor) -> torch.Tensor:
        """The weighted total variation of an image (B, rows, cols): (B,)."""
        return losses.weighted_variation(image, self._weight)

    def penalty(self, image: torch.Tensor) -> torch.Tensor:
        """The penalty by which iterates are compared: (B,)."""
        if self._reweighted:
            return losses.log_sum(image, self._edge_threshold)
        return losses.weighted_variation(image, 1.0)


class BestIterate:
    """For each slice the mean of the iterates around the lowest objective.

    An iterate of objective o has the weight (lowest / o)^10⁴: one that is 0.01 % above the lowest counts a third of it,
    one that is 0.1 % above nothing. The iterates of a fit circle around its minimum, where the objective is flat; with
    the single lowest one, rounding would decide which that is, and the slice would differ by 2e-3.

    Iterates whose data residual is above 1.6 times that of the start do not count, from 1.5 on they count less. The
    bound guards the L1 loss: where its weight does not suit the data, the image can drift away from them while the
    objective falls. On random grains, 60 to 180°, fits that raised MSSIM had ratios up to 1.56, those that lost more
    than 0.005 had 1.7 and more. With levels `admissible` is 10: an image that overfits the projector's own errors has a
    lower residual than the truth.
    """

    def __init__(self, image: torch.Tensor, residual: torch.Tensor, admissible: float):
        self._start, self._sum = image, torch.zeros_like(image)
        self._weight = torch.zeros_like(residual, dtype=torch.float64)
        self._lowest = torch.full_like(self._weight, torch.inf)  # the logarithm of the objective
        self.iteration = torch.zeros(image.shape[0], dtype=torch.long, device=image.device)
        self._bound = admissible * residual
        self._share = torch.ones_like(residual)

    def update(
        self, image: torch.Tensor, objective: torch.Tensor, residual: torch.Tensor, iteration: int | torch.Tensor
    ) -> None:
        """Take an iterate (B, rows, cols) with its objective and residual (B,), in place."""
        admissible = ((1 - residual / self._bound) / MARGIN).clamp(0, 1)
        share = (torch.where(iteration + torch.zeros_like(self.iteration) == 0, 1.0, admissible) * self._share).double()
        share = torch.where(objective.isfinite(), share, 0.0)
        level = objective.double().clamp(min=torch.finfo(objective.dtype).tiny).log()
        lowest = torch.where(share > 0, torch.minimum(level, self._lowest), self._lowest)
        before = torch.where(self._weight > 0, ((lowest - self._lowest) / FLATNESS).exp(), 0.0)
        weight = torch.where(share > 0, share * ((lowest - level) / FLATNESS).exp(), 0.0)
        self.iteration.copy_(
            torch.where(level < self._lowest, torch.where(share > 0, iteration, self.iteration), self.iteration)
        )
        self._lowest.copy_(lowest)
        self._weight.mul_(before).add_(weight)
        counts = weight.to(image)[:, None, None]
        self._sum.mul_(before.to(image)[:, None, None]).add_(torch.where(counts > 0, image, 0.0) * counts)

    @property
    def image(self) -> torch.Tensor:
        """The mean of the iterates, (B, rows, cols); the start image where there was none."""
        weight = self._weight.to(self._sum)[:, None, None]
        return torch.where(weight > 0, self._sum / weight.clamp(min=torch.finfo(weight.dtype).tiny), self._start)

    def freeze(self, share: torch.Tensor) -> None:
        """Let iterates count less from now on, from 1 to 0 for each slice (B,).

        The result of a slice does not depend on how long the others take.
        """
        self._share.copy_(share)


class PlateauDetector:
    """Detects the slices whose objective has settled: in the last `patience` iterations it fell by less than 0.04 %.

    A patience of 0 detects none. The end is not abrupt: from a fall of 0.06 % on downwards the iterates that follow
    count less, so that rounding does not decide what is returned.
    """

    def __init__(self, patience: int):
        self._patience = patience
        self._lowest: deque[torch.Tensor] = deque(maxlen=patience + 1)
        self._share = torch.ones(())

    def __call__(self, objective: torch.Tensor) -> torch.Tensor:
        """How much later iterates count, (B,) on the CPU from 1 to 0 for settled slices, given an objective (B,)."""
        objective = objective.double().cpu()
        if not self._lowest:
            self._share = torch.ones_like(objective)
        self._lowest.append(torch.minimum(objective, self._lowest[-1]) if self._lowest else objective)
        if self._patience and len(self._lowest) > self._patience:
            before, now = self._lowest[0], self._lowest[-1]
            fall = torch.where(before > 0, (before - now) / before.clamp(min=torch.finfo(before.dtype).tiny), 0.0)
            self._share = torch.minimum(self._share, linear_step(fall, *PLATEAU_FALL))
        return self._share
