"""Adversarial fit of one batch, from its start image to the best iterate of generator and discriminator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.stage_progress import StageProgress
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.results import NonFiniteError
from tomopy_ganrec.solvers.cuda_graph import CudaGraphStep
from tomopy_ganrec.solvers.operators import upper_quantile

from . import losses
from .adversary import AdversarialOptimizer, bfloat16_autocast, learning_rate_factor
from .grey_levels import attraction_radius, levels_of
from .networks import Discriminator, UNet
from .objective import BestIterate, Objective, PlateauDetector

__all__ = ["Generator", "Outcome", "TrainingState", "train"]

REFRESH_INTERVAL = 25  # iterations between two refreshes of edge weights and levels
# Adam's ε for the network, above most of its gradients: with none, batches of one and of two drifted apart by 2e-3.
NETWORK_EPSILON = 1e-3
NEAR_ZERO = 2e-3  # of the grey range
GPU_CHECK_INTERVAL = 10  # iterations of a GPU after which its losses are read, which waits for it
ADMISSIBLE_RESIDUAL, ADMISSIBLE_WITH_LEVELS = 1.6, 10.0  # relative to the start image's, see `BestIterate`


class NonNegative(torch.autograd.Function):
    """max(x, 0), whose gradient falls from 1 at 0 to 0 at −`NEAR_ZERO` instead of jumping.

    Where a pixel of the background lies at zero, rounding would otherwise decide whether it takes the next step, and
    Adam makes that step as long as any other.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        """The image clamped at 0."""
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient with respect to x."""
        (x,) = ctx.saved_tensors
        return gradient * (1 + x / NEAR_ZERO).clamp(0, 1)


class Generator(torch.nn.Module):
    """support · max(start + UNet(start) + free pixels, 0): the start image before the first step.

    Parameters
    ----------
    start : (B, rows, cols) tensor
    options : GanrecOptions
    constraints : Constraints
    """

    def __init__(self, start: torch.Tensor, options: GanrecOptions, constraints: Constraints):
        super().__init__()
        self._start, self._constraints = start, constraints
        self.pixels = torch.nn.Parameter(torch.zeros_like(start))
        rng = torch.Generator().manual_seed(options.seed)
        self.network = UNet(start.shape[0], rng).to(start) if options.network else None

    def forward(self) -> torch.Tensor:
        """The image, (B, rows, cols)."""
        image = self._start + self.pixels
        if self.network is not None:
            with bfloat16_autocast(image.device):
                change = self.network(self._start[:, None])
            image = image + change[:, 0].float()
        image = NonNegative.apply(image) if self._constraints.nonnegative else image
        return self._constraints.restrict(image)


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


def train(
    measurement: Measurement, start: torch.Tensor, scale: torch.Tensor, options: GanrecOptions, progress: StageProgress
) -> tuple[Outcome, torch.Tensor | None, dict[str, np.ndarray], str]:
    """Fit one batch.

    Parameters
    ----------
    measurement : Measurement
    start : (B, rows, cols) tensor
        In units of `scale`.
    scale : (B, 1, 1) tensor
    options : GanrecOptions
    progress : StageProgress

    Returns
    -------
    outcome : Outcome
    levels : (B, L) tensor or None
        In units of `scale`.
    history : dict of (iterations, B) arrays
        See `FitResult.history`.
    reason : str
        Why it stopped: 'finished', 'plateau' or 'callback'.

    Raises
    ------
    NonFiniteError
    """
    return _Training(measurement, start, scale, options, progress).run()


class _Training:
    """The loop of `train`."""

    def __init__(
        self,
        measurement: Measurement,
        start: torch.Tensor,
        scale: torch.Tensor,
        options: GanrecOptions,
        progress: StageProgress,
    ):
        self._state = TrainingState(measurement, start, options)
        self._options, self._scale, self._progress = options, scale, progress
        self._device, self._model = start.device, measurement.model
        self._plateau = PlateauDetector(options.patience)
        self._replay: CudaGraphStep | None = None
        self._recorded = -1  # the version of the state that the replay has recorded
        self._read = -1  # the last iteration whose losses have been read
        self._worst = math.nan  # relative residual of the worst slice
        progress.total = self._state.total

    def run(self) -> tuple[Outcome, torch.Tensor | None, dict[str, np.ndarray], str]:
        state, reason = self._state, "finished"
        for iteration in range(state.total + 1):
            self._refresh(iteration)
            self._advance(iteration)
            if self._settled(iteration):
                reason = "plateau"
            if iteration > 0 and self._progress.step(self._worst):
                reason = "callback"
            if reason != "finished":
                break
        history = {name: curve.numpy() for name, curve in state.curves(0, iteration).items()}
        if "discriminator" in history:
            history["discriminator"] = history["discriminator"][
                :iteration
            ]  # of the iterations that another one has followed
        return state.outcome(), state.levels, history, reason

    @torch.no_grad()
    def _refresh(self, iteration: int) -> None:
        """Edge weights and levels from the image, now and then; levels come in during the second half."""
        state, options = self._state, self._options
        late = 2 * iteration >= state.total
        if iteration % REFRESH_INTERVAL == 0 and (options.init == "tv" or late):
            state.objective.refresh(state.generator())
        if options.levels is not None and state.total > 0 and late:
            if state.levels is None or (iteration % REFRESH_INTERVAL == 0 and options.levels == "auto"):
                state.set_levels(levels_of(state.generator(), options.levels, self._scale, warn=state.levels is None))
            state.set_ramp(min(1.0, (2 * iteration - state.total) / (0.5 * state.total)))

    def _advance(self, iteration: int) -> None:
        """One iteration, recorded where it can be; after the last one the image is evaluated only."""
        state = self._state
        if iteration == state.total:
            state.evaluate()
            return
        if self._replay is None or self._recorded != state.version:
            self._recorded = state.version
            self._replay = CudaGraphStep(state.step, self._device, self._model)
        state.optimizer.set_rate(learning_rate_factor(iteration, state.total))
        self._replay()

    def _settled(self, iteration: int) -> bool:
        """Read the losses when it is time to; whether all slices have settled.

        Raises
        ------
        NonFiniteError
        """
        state = self._state
        interval = 1 if self._device.type == "cpu" else GPU_CHECK_INTERVAL
        if iteration - self._read < interval and iteration not in (0, state.total):
            return False
        curves = state.curves(self._read + 1, iteration)
        self._read = iteration
        if not torch.isfinite(curves["objective"]).all():
            raise _not_finite(iteration, state.best)
        self._worst = float(curves["residual"][-1].max())
        if not state.keeps_best or iteration == state.total:
            return False
        for values in curves["objective"]:
            open_share = self._plateau(values)
        state.best.freeze(open_share.to(self._device))
        return not open_share.any()


def _not_finite(iteration: int, best: BestIterate) -> NonFiniteError:
    error = NonFiniteError(
        f"the fit became infinite or NaN at iteration {iteration}; the best finite image (iteration "
        f"{best.iteration.tolist()}) is kept in the error's `result`. Lower pixel_rate and learning_rate, or check the "
        "data for extreme values"
    )
    error.image = best.image
    return error
