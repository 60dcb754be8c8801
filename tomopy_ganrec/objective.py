"""What the default fit minimises, which of its iterates is returned, and when it has settled."""

import math

import torch

from . import losses
from .initial import edge_weights, operator_norm, ramp_filter
from .response import filtered
from .start import Measurement

__all__ = ["Best", "Objective", "Plateau"]


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
        self._strength = torch.tensor([s.strength for s in settings]).to(data)
        self._epsilon = torch.tensor([s.epsilon for s in settings]).to(data)[:, None, None] * top.clamp(min=0.1)  # a start may be empty
        pixels = model.domain_shape[0] * model.domain_shape[1]
        self._l2_weight = 4.0 / operator_norm(model, data) * data[0].numel() / pixels / self._strength.clamp(min=1e-12)
        self._weight = torch.ones(())

    def refresh(self, image: torch.Tensor) -> None:
        """Take the edge weights from `image`."""
        if self._settings.rounds:
            self._weight = edge_weights(image, self._epsilon)

    def data_term(self, model_sinogram: torch.Tensor) -> torch.Tensor:
        residual = model_sinogram - self._data
        if self._settings.loss == "l1":
            return self._settings.data_weight * losses.data_l1(self._residual_scale * residual, self._half_ramp)
        return self._l2_weight * losses.data_l2(residual if self._spectrum is None else filtered(residual, self._spectrum))

    def variation(self, image: torch.Tensor) -> torch.Tensor:
        return losses.weighted_variation(image, self._weight.to(image))

    def penalty(self, image: torch.Tensor) -> torch.Tensor:
        return losses.log_sum(image, self._epsilon) if self._settings.rounds else losses.weighted_variation(image, 1.0)


class Best:
    """For each slice the iterate of lowest objective, of those whose data residual is not above 1.6 times that of the start.

    The bound guards the L1 loss: where its weight does not suit the data it can let go of them, and the objective alone would follow. On
    random grains, 60 to 180°, fits that raised MSSIM had ratios up to 1.56, those that lost more than 0.005 had 1.7 and more. With levels
    `admissible` is 10: an image that overfits the projector's own errors has a lower residual than the truth.
    """

    def __init__(self, image: torch.Tensor, residual: torch.Tensor, admissible: float):
        self.image, self.residual = image.clone(), residual
        self.objective = torch.full_like(residual, torch.inf)
        self.iteration = torch.zeros(image.shape[0], dtype=torch.long, device=image.device)
        self._bound = admissible * residual

    def offer(self, image, objective, residual, iteration):
        better = (objective < self.objective) & ((residual <= self._bound) | (iteration == 0))
        self.image = torch.where(better[:, None, None], image, self.image)
        self.objective = torch.where(better, objective, self.objective)
        self.residual = torch.where(better, residual, self.residual)
        self.iteration = torch.where(better, iteration, self.iteration)


class Plateau:
    """True when the worst residual has not fallen by 0.1 % for `patience` calls."""

    def __init__(self, patience: int):
        self._patience, self._lowest, self._since = patience, math.inf, 0

    def __call__(self, residual: float) -> bool:
        if self._patience == 0:
            return False
        if residual < 0.999 * self._lowest:
            self._lowest, self._since = residual, 0
            return False
        self._since += 1
        return self._since >= self._patience
