"""State of the adversarial fit of one batch: networks, optimisers, objective and curves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.operators import upper_quantile

from . import losses
from .adversary import AdversarialOptimizer
from .generator import Generator
from .grey_levels import attraction_radius
from .networks import Discriminator
from .objective import BestIterate, Objective

__all__ = ["Outcome", "TrainingState"]

# Adam's ε for the network, above most of its gradients: with none, batches of one and of two drifted apart by 2e-3.
NETWORK_EPSILON = 1e-3
ADMISSIBLE_RESIDUAL, ADMISSIBLE_WITH_LEVELS = 1.6, 10.0  # relative to the start image's, see `BestIterate`


@dataclass
class Outcome:
    """The result of the fit of a batch.

    Attributes
    ----------
    image : (B, rows, cols) tensor
    objective, residual : (B,) tensor
        Of the image; the residual is ‖A x − b‖/‖b‖.
    iteration : (B,) tensor of int
        The iteration of lowest objective.
    """

    image: torch.Tensor
    objective: torch.Tensor
    residual: torch.Tensor
    iteration: torch.Tensor


class TrainingState:
    """Networks, optimisers, objective and curves of the fit of one batch, and one iteration of it.

    All that changes from one iteration to the next is changed in place, so that an iteration can be recorded as a CUDA
    graph (`CudaGraphStep`).

    Parameters
    ----------
    measurement : Measurement
    start : (B, rows, cols) tensor
        Relative to the scale of the data.
    options : GanrecOptions

    Attributes
    ----------
    total : int
        Iterations.
    levels : (B, L) tensor or None
        Grey levels, once they have come in.
    keeps_best : bool
        Whether iterates count for the result: with levels, once these have come in fully.
    version : int
        Raised whenever a recorded iteration would no longer be the same.
    """

    def __init__(self, measurement: Measurement, start: torch.Tensor, options: GanrecOptions):
        self._measurement, self._options, self.total = measurement, options, options.resolved.num_iter
        data = measurement.data
        self.generator = Generator(start, options, measurement.constraints)
        discriminator = None
        if options.adversarial > 0:
            discriminator = Discriminator(len(data), torch.Generator().manual_seed(options.seed + 1)).to(data)
        self.optimizer = AdversarialOptimizer(
            self._parameter_groups(start), discriminator, options.discriminator_rate or 1e-4
        )
        self.objective = Objective(measurement, upper_quantile(start))
        self._discriminator_scale = 2.0 / data.shape[2]  # what the discriminator sees is of order 1
        self._norm = data.flatten(1).norm(dim=1) + torch.finfo(data.dtype).tiny
        with torch.no_grad():
            residual = measurement.relative_residual(start)
        admissible = ADMISSIBLE_RESIDUAL if options.levels is None else ADMISSIBLE_WITH_LEVELS
        self.best = BestIterate(start, residual, admissible)
        self.levels: torch.Tensor | None = None
        self.keeps_best = options.levels is None or self.total == 0
        self.version = 0
        self._ramp = torch.zeros(()).to(data)
        self._count = torch.zeros(1, dtype=torch.long, device=data.device)
        names = ["objective", "residual"] + (["discriminator"] if discriminator is not None else [])
        self._curves = {name: torch.full((self.total + 1, len(data)), math.nan).to(data) for name in names}

    def _parameter_groups(self, start: torch.Tensor) -> list[dict]:
        options, from_tv = self._options, self._options.init == "tv"
        if options.pixel_rate is not None:
            pixel_rate = options.pixel_rate
        elif not from_tv:
            pixel_rate = 1e-2
        else:
            pixel_rate = 2e-3 if options.levels is None else 5e-3
        # The gradient of a pixel is of order 1 / pixels; below a hundredth of that Adam does not turn rounding into
        # full steps.
        groups = [dict(params=[self.generator.pixels], lr=pixel_rate, eps=0.16 / start[0].numel())]
        if self.generator.network is not None:
            rate = options.learning_rate or (5e-4 if from_tv else 2e-3)
            groups.append(dict(params=self.generator.network.parameters(), lr=rate, eps=NETWORK_EPSILON))
        return groups

    def set_levels(self, levels: torch.Tensor) -> None:
        """Take other grey levels (B, L)."""
        self.levels = levels
        self.version += 1

    def set_ramp(self, ramp: float) -> None:
        """How far the levels have come in, 0 to 1."""
        self._ramp.fill_(ramp)
        self.version += self.keeps_best != (ramp == 1)
        self.keeps_best = ramp == 1

    def evaluate(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of the image as it is, (B,), and its sinogram; the image counts for `best` where iterates do."""
        image = self.generator()
        model_sinogram = self._measurement.model.forward_project(image)
        loss, level_loss = self.objective.data_term(model_sinogram), self._level_loss(image)
        with torch.no_grad():
            value, residual = self._measures(image, model_sinogram, loss, level_loss)
            self._last = image.detach(), value, residual
            if self.keeps_best:
                self.best.update(*self._last, self._count)
            self._keep("objective", value)
            self._keep("residual", residual)
        if level_loss is not None:
            loss = loss + self._ramp * level_loss
        return loss + self.objective.variation(image), model_sinogram

    def _level_loss(self, image: torch.Tensor) -> torch.Tensor | None:
        if self.levels is None:
            return None
        distance = losses.level_distance(image, self.levels, attraction_radius(self.levels))
        return self._options.levels_weight * distance

    def _measures(
        self,
        image: torch.Tensor,
        model_sinogram: torch.Tensor,
        data_loss: torch.Tensor,
        level_loss: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The objective by which iterates are compared, and the relative data residual: (B,), (B,)."""
        value = data_loss + self.objective.penalty(image)
        residual = self._measurement.residual(model_sinogram).flatten(1).norm(dim=1) / self._norm
        return value if level_loss is None else value + level_loss, residual

    @torch.no_grad()
    def outcome(self) -> Outcome:
        """The best image, and what is known of it."""
        if not self.keeps_best:  # stopped before the levels were complete
            self.best.update(*self._last, self._count - 1)
        image = self.best.image
        model_sinogram = self._measurement.model.forward_project(image)
        data_loss, level_loss = self.objective.data_term(model_sinogram), self._level_loss(image)
        objective, residual = self._measures(image, model_sinogram, data_loss, level_loss)
        return Outcome(image, objective, residual, self.best.iteration)

    def step(self) -> None:
        """One iteration: `evaluate`, then a step of the generator and one of the discriminator."""
        loss, model_sinogram = self.evaluate()
        scale = self._discriminator_scale
        adversarial_loss = self.optimizer.adversarial_loss(scale * model_sinogram)
        self.optimizer.step_generator(loss + self._options.adversarial * adversarial_loss)
        discriminator_loss = self.optimizer.step_discriminator(scale * self._measurement.data, scale * model_sinogram)
        if discriminator_loss is not None:
            self._keep("discriminator", discriminator_loss)
        self._count += 1

    def _keep(self, name: str, values: torch.Tensor) -> None:
        self._curves[name].index_copy_(0, self._count, values.detach()[None])

    def curves(self, first: int, last: int) -> dict[str, torch.Tensor]:
        """The curves from one iteration to another, both counted in, (iterations, B) on the CPU."""
        return {name: curve[first : last + 1].cpu() for name, curve in self._curves.items()}
