"""The game of one batch: from a start image to the best iterate of generator, projector and discriminator."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.results import NonFiniteError
from tomopy_ganrec.solvers.cuda_graph import CudaGraphStep
from tomopy_ganrec.solvers.operators import upper_quantile

from . import losses
from .adversary import AdversarialOptimizer, bfloat16_autocast, learning_rate_factor
from .grey_levels import attraction_radius, levels_of
from .networks import Discriminator, UNet
from .objective import BestIterate, Objective, PlateauDetector

__all__ = ["Outcome", "train"]

REFRESH = 25  # iterations between two refreshes of edge weights and levels
STEADY = 1e-3  # Adam's ε for the network, above most of its gradients: with none, batches of one and of two drifted apart by 2e-3
NEAR_ZERO = 2e-3  # of the grey range
LOOK = 10  # iterations of a GPU between two looks at its losses


class NonNegative(torch.autograd.Function):
    """max(x, 0), whose gradient falls from 1 at 0 to 0 at −`NEAR_ZERO` instead of jumping: where a pixel of the background lies at zero, rounding
    would decide whether it takes the next step, and Adam makes that step as long as any other."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (1 + x / NEAR_ZERO).clamp(0, 1)


class Generator(torch.nn.Module):
    """mask · max(start + UNet(start) + free pixels, 0): the start image before the first step."""

    def __init__(self, start: torch.Tensor, options: GanrecOptions, mask: torch.Tensor | None):
        super().__init__()
        self._start, self._mask, self._options = start, mask, options
        self.pixels = torch.nn.Parameter(torch.zeros_like(start))
        seed = torch.Generator().manual_seed(options.seed)
        self.network = UNet(start.shape[0], seed).to(start) if options.network else None

    def forward(self):
        image = self._start + self.pixels
        if self.network is not None:
            with bfloat16_autocast(image.device):
                news = self.network(self._start[:, None])
            image = image + news[:, 0].float()
        image = NonNegative.apply(image) if self._options.nonnegative else image
        return image if self._mask is None else image * self._mask


@dataclass
class Outcome:
    """Of each slice the image that is returned (B, rows, cols), its objective and relative data residual (B,), and the iteration of the lowest
    objective (B,)."""

    image: torch.Tensor
    objective: torch.Tensor
    residual: torch.Tensor
    iteration: torch.Tensor


class TrainingState:
    """The players of one batch and what an iteration does with them. All that changes from one to the next is changed in place: an iteration can be
    recorded (`replay.Replay`)."""

    def __init__(self, measurement: Measurement, start: torch.Tensor, options: GanrecOptions, mask):
        self._m, self._options, self.total = measurement, options, options.iterations
        data, tv_start = measurement.data, options.init == "tv"
        self.generator = Generator(start, options, mask)
        judge = (
            Discriminator(len(data), torch.Generator().manual_seed(options.seed + 1)).to(data)
            if options.adversarial > 0
            else None
        )
        pixel_rate = options.pixel_rate or (1e-2 if not tv_start else 2e-3 if options.levels is None else 5e-3)
        # The gradient of a pixel is of order 1 / pixels; below a hundredth of that Adam does not turn rounding into full steps.
        groups = [dict(params=[self.generator.pixels], lr=pixel_rate, eps=0.16 / start[0].numel())]
        if self.generator.network is not None:
            rate = options.learning_rate or (5e-4 if tv_start else 2e-3)
            groups.append(dict(params=self.generator.network.parameters(), lr=rate, eps=STEADY))
        self.game = AdversarialOptimizer(groups, judge, options.discriminator_rate or 1e-4)
        self.objective = Objective(measurement, upper_quantile(start))
        self._view = 2.0 / data.shape[2]  # what the discriminator sees is of order 1
        self._norm = data.flatten(1).norm(dim=1) + torch.finfo(data.dtype).tiny
        with torch.no_grad():
            residual = measurement.relative_residual(start)
        self.best = BestIterate(start, residual, 1.6 if options.levels is None else 10.0)
        self.levels, self.offers = None, options.levels is None or self.total == 0
        self._ramp, self._count = torch.zeros(()).to(data), torch.zeros(1, dtype=torch.long, device=data.device)
        names = ["objective", "residual"] + (["discriminator"] if judge is not None else [])
        self._curves = {name: torch.full((self.total + 1, len(data)), math.nan).to(data) for name in names}

    def set_ramp(self, ramp: float) -> None:
        """How far the levels have come in, 0 to 1."""
        self._ramp.fill_(ramp)
        self.offers = ramp == 1

    def evaluate(self):
        """The loss of the image as it is, (B,), and its sinogram; offered to `best` where that takes offers."""
        image = self.generator()
        model_sinogram = self._m.model.forward_project(image)
        loss, level_loss = self.objective.data_term(model_sinogram), self._level_loss(image)
        with torch.no_grad():
            value, residual = self._measures(image, model_sinogram, loss, level_loss)
            self._last = image.detach(), value, residual
            if self.offers:
                self.best.update(*self._last, self._count)
            self._keep("objective", value)
            self._keep("residual", residual)
        if level_loss is not None:
            loss = loss + self._ramp * level_loss
        return loss + self.objective.variation(image), model_sinogram

    def _level_loss(self, image: torch.Tensor) -> torch.Tensor | None:
        if self.levels is None:
            return None
        return self._options.levels_weight * losses.level_distance(image, self.levels, attraction_radius(self.levels))

    def _measures(self, image, model_sinogram, data_loss, level_loss) -> tuple[torch.Tensor, torch.Tensor]:
        """The objective by which iterates are compared, and the relative data residual: (B,), (B,)."""
        value = data_loss + self.objective.penalty(image)
        residual = self._m.residual(model_sinogram).flatten(1).norm(dim=1) / self._norm
        return value if level_loss is None else value + level_loss, residual

    @torch.no_grad()
    def outcome(self) -> "Outcome":
        """The best image, and what is known of it."""
        if not self.offers:  # stopped before the levels were complete
            self.best.update(*self._last, self._count - 1)
        image = self.best.image
        model_sinogram = self._m.model.forward_project(image)
        measures = self._measures(
            image, model_sinogram, self.objective.data_term(model_sinogram), self._level_loss(image)
        )
        return Outcome(image, *measures, self.best.iteration)

    def step(self) -> None:
        """One iteration: `evaluate`, then a step of the generator and one of the discriminator."""
        loss, model_sinogram = self.evaluate()
        self.game.step_generator(
            loss + self._options.adversarial * self.game.adversarial_loss(self._view * model_sinogram)
        )
        verdict = self.game.step_discriminator(self._view * self._m.data, self._view * model_sinogram)
        if verdict is not None:
            self._keep("discriminator", verdict)
        self._count += 1

    def _keep(self, name: str, values: torch.Tensor) -> None:
        self._curves[name].index_copy_(0, self._count, values.detach()[None])

    def curves(self, first: int, last: int) -> dict:
        """The curves from one iteration to another, both counted in, on the CPU."""
        return {name: curve[first : last + 1].cpu() for name, curve in self._curves.items()}


def train(measurement: Measurement, start, scale, options: GanrecOptions, mask, notify: Callable):
    """The fit of one batch, in units of `scale`: the best image, and what is known of it."""
    players = TrainingState(measurement, start, options, mask)
    total, device = players.total, start.device
    often = 1 if device.type == "cpu" else LOOK  # a look at what a GPU has reached waits for it
    plateau, replay, phase, looked, worst, stopped = (
        PlateauDetector(options.patience),
        None,
        None,
        -1,
        math.nan,
        "finished",
    )
    for iteration in range(total + 1):
        late = 2 * iteration >= total
        if iteration % REFRESH == 0 and (options.init == "tv" or late):
            with torch.no_grad():
                players.objective.refresh(players.generator())
        if options.levels is not None and total > 0 and late:
            if players.levels is None or iteration % REFRESH == 0 and options.levels == "auto":
                with torch.no_grad():
                    players.levels = levels_of(players.generator(), options, scale, players.levels is None)
            players.set_ramp(min(1.0, (2 * iteration - total) / (0.5 * total)))
        if iteration == total:
            players.evaluate()
        else:
            if replay is None or phase != (players.levels is None or id(players.levels), players.offers):
                phase = players.levels is None or id(players.levels), players.offers
                replay = CudaGraphStep(players.step, device, measurement.model)
            players.game.set_rate(learning_rate_factor(iteration, total))
            replay()
        if iteration - looked >= often or iteration in (0, total):
            news = players.curves(looked + 1, iteration)
            looked = iteration
            if not torch.isfinite(news["objective"]).all():
                raise _not_finite(iteration, players.best)
            worst = float(news["residual"][-1].max())
            if players.offers and iteration < total:
                for values in news["objective"]:
                    open_ = plateau(values)
                players.best.freeze(open_.to(device))
                stopped = stopped if open_.any() else "plateau"
        if iteration > 0 and notify(iteration, total, worst):
            stopped = "callback"
        if stopped != "finished":
            break
    history = {name: curve.numpy() for name, curve in players.curves(0, iteration).items()}
    if "discriminator" in history:
        history["discriminator"] = history["discriminator"][
            :iteration
        ]  # of the iterations that another one has followed
    return players.outcome(), players.levels, history, stopped


def _not_finite(iteration: int, best: BestIterate) -> NonFiniteError:
    error = NonFiniteError(
        f"the fit became infinite or NaN at iteration {iteration}; the best finite image (iteration {best.iteration.tolist()}) is kept in the "
        "error's `result`. Lower pixel_rate and learning_rate, or check the data for extreme values"
    )
    error.image = best.image
    return error
