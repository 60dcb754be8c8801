"""What the default fit minimises, which of its iterates is returned, and when it has settled."""

from collections import deque

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.reweighted_tv import linear_step
from tomopy_ganrec.solvers.forward_model import operator_norm
from tomopy_ganrec.solvers.operators import edge_weights, filter_projections, ramp_filter

from . import losses

__all__ = ["BestIterate", "Objective", "PlateauDetector"]

FALL = 4e-4, 6e-4  # of an objective: one that falls by less has settled, one that falls by more goes on
FLATNESS = 1e-4  # relative difference of two objectives at which the weight of an iterate falls by e
MARGIN = 1 / 16  # of the admissible residual, below it, over which an iterate's weight falls to zero


class Objective:
    """What the default fit minimises, in an image relative to the data's scale: data term + total variation, in units of λ.

    The total variation is weighted by the edges of the image itself, refreshed now and then; over the whole fit that descends the log-sum penalty
    ε·asinh(|∇x|/ε), and it is this penalty by which iterates are compared. Without reweighting it is the plain total variation.
    """

    def __init__(self, measurement: Measurement, top: torch.Tensor):
        model, data, settings = measurement.model, measurement.data, measurement.settings
        self._data, self._spectrum, self._settings, columns = data, measurement.spectrum, settings[0], data.shape[2]
        self._residual_scale = 2.0 / columns
        self._half_ramp = torch.sqrt(ramp_filter(2 * columns, 0.01, data.device).to(data.dtype) * columns / 6)
        self._tv_weight = torch.tensor([s.tv_weight for s in settings]).to(data)
        self._edge_threshold = torch.tensor([s.edge_threshold for s in settings]).to(data)[:, None, None] * top.clamp(
            min=0.1
        )  # a start may be empty
        pixels = model.domain_shape[0] * model.domain_shape[1]
        self._l2_weight = 4.0 / operator_norm(model, data) * data[0].numel() / pixels / self._tv_weight.clamp(min=1e-12)
        self._weight = torch.ones(len(data), *model.domain_shape).to(data)

    def refresh(self, image: torch.Tensor) -> None:
        """Take the edge weights from `image`."""
        if self._settings.rounds:
            self._weight.copy_(edge_weights(image, self._edge_threshold))

    def data_term(self, model_sinogram: torch.Tensor) -> torch.Tensor:
        residual = model_sinogram - self._data
        if self._settings.loss == "l1":
            return self._settings.data_weight * losses.data_l1(self._residual_scale * residual, self._half_ramp)
        return self._l2_weight * losses.data_l2(
            residual if self._spectrum is None else filter_projections(residual, self._spectrum)
        )

    def variation(self, image: torch.Tensor) -> torch.Tensor:
        return losses.weighted_variation(image, self._weight)

    def penalty(self, image: torch.Tensor) -> torch.Tensor:
        return (
            losses.log_sum(image, self._edge_threshold)
            if self._settings.rounds
            else losses.weighted_variation(image, 1.0)
        )


class BestIterate:
    """For each slice the mean of the iterates around the lowest objective.

    An iterate of objective o has the weight (lowest / o)^10⁴: one that is 0.01 % above the lowest counts a third of it, one that is 0.1 % above
    nothing. The iterates of a fit circle around its minimum, where the objective is flat; with the single lowest one, rounding would decide
    which that is, and the slice would differ by 2e-3.

    Iterates whose data residual is above 1.6 times that of the start do not count, from 1.5 on they count less. The bound guards the L1 loss: where
    its weight does not suit the data it can let go of them, and the objective alone would follow. On random grains, 60 to 180°, fits that
    raised MSSIM had ratios up to 1.56, those that lost more than 0.005 had 1.7 and more. With levels `admissible` is 10: an image that overfits
    the projector's own errors has a lower residual than the truth.
    """

    def __init__(self, image: torch.Tensor, residual: torch.Tensor, admissible: float):
        self._start, self._sum = image, torch.zeros_like(image)
        self._weight = torch.zeros_like(residual, dtype=torch.float64)
        self._lowest = torch.full_like(self._weight, torch.inf)  # the logarithm of the objective
        self.iteration = torch.zeros(image.shape[0], dtype=torch.long, device=image.device)
        self._bound = admissible * residual
        self._open = torch.ones_like(residual)

    def update(self, image, objective, residual, iteration) -> None:
        """Take an iterate, in place; `iteration` is a number or a tensor."""
        admissible = ((1 - residual / self._bound) / MARGIN).clamp(0, 1)
        share = (torch.where(iteration + torch.zeros_like(self.iteration) == 0, 1.0, admissible) * self._open).double()
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
        """(B, rows, cols); the start where nothing was offered."""
        weight = self._weight.to(self._sum)[:, None, None]
        return torch.where(weight > 0, self._sum / weight.clamp(min=torch.finfo(weight.dtype).tiny), self._start)

    def freeze(self, open_: torch.Tensor) -> None:
        """From now on iterates count `open_`, (B,) from 1 to 0: what becomes of a slice does not depend on how long the others take."""
        self._open.copy_(open_)


class PlateauDetector:
    """Which slices have settled: in the last `patience` iterations their lowest objective has fallen by less than 0.04 %; 0: never.

    The end is not abrupt: from a fall of 0.06 % on downwards the iterates that follow count less, so that rounding does not decide what is returned.
    """

    def __init__(self, patience: int):
        self._patience, self._lowest, self._open = patience, deque(maxlen=patience + 1), None

    def __call__(self, objective: torch.Tensor) -> torch.Tensor:
        """How much the iterates after one with the `objective` (B,) count: (B,) on the CPU, 1 at first, 0 for slices that have settled."""
        objective = objective.double().cpu()
        if not self._lowest:
            self._open = torch.ones_like(objective)
        self._lowest.append(torch.minimum(objective, self._lowest[-1]) if self._lowest else objective)
        if self._patience and len(self._lowest) > self._patience:
            before, now = self._lowest[0], self._lowest[-1]
            fall = torch.where(before > 0, (before - now) / before.clamp(min=torch.finfo(before.dtype).tiny), 0.0)
            self._open = torch.minimum(self._open, linear_step(fall, *FALL))
        return self._open
