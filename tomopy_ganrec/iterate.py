"""The game of one batch: from a start image to the best iterate of generator, projector and discriminator."""

import warnings
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch

from . import losses
from .game import Game, NonFiniteError, annealed
from .initial import top_level
from .levels import find_levels, has_levels
from .networks import Discriminator, UNet
from .objective import Best, Objective, Plateau
from .options import GanrecOptions
from .start import Measurement, constrained

__all__ = ["play"]

REACH = 0.3  # of the smallest spacing of levels: how far one attracts; a partly filled pixel midway stays free
REFRESH = 25  # iterations between two refreshes of edge weights and levels


class Generator(torch.nn.Module):
    """mask · relu(start + UNet(start) + free pixels): the start image before the first step."""

    def __init__(self, start: torch.Tensor, options: GanrecOptions, mask: torch.Tensor | None):
        super().__init__()
        self._start, self._mask, self._options = start, mask, options
        self.pixels = torch.nn.Parameter(torch.zeros_like(start))
        seed = torch.Generator().manual_seed(options.seed)
        self.network = UNet(start.shape[0], seed).to(start) if options.network else None

    def forward(self):
        image = self._start + self.pixels
        if self.network is not None:
            image = image + self.network(self._start[:, None])[:, 0]
        return constrained(image, self._options, self._mask)


def _levels(image: torch.Tensor, options: GanrecOptions, scale: torch.Tensor, first: bool) -> torch.Tensor:
    """The levels of each slice (B, L), relative to its scale, NaN for none; what is missing is warned of the `first` time."""
    if options.levels != "auto":
        return torch.tensor(options.levels).to(image)[None] / scale[:, 0]
    found = find_levels(image)
    unsure = ~has_levels(image, found)
    if first and unsure.any():
        message = f"levels='auto': {int(unsure.sum())} of {len(unsure)} slices show no discrete grey levels; they are reconstructed without"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    found[unsure] = torch.nan
    return found


def _reach(levels: torch.Tensor) -> torch.Tensor:
    """How far a level attracts: a share of the smallest spacing; 0 for a slice without levels."""
    spacing = torch.diff(levels, dim=1).nan_to_num(torch.inf).amin(1)
    return (REACH * spacing).nan_to_num(0.0, posinf=0.0)[:, None, None]


def play(measurement: Measurement, start, scale, options: GanrecOptions, mask, notify: Callable):
    """The fit of one batch, in units of `scale`: the best image, and what is known of it."""
    model, data = measurement.model, measurement.data
    total, batch = options.iterations, data.shape[0]
    tv_start = options.init == "tv"
    generator = Generator(start, options, mask)
    judge = Discriminator(batch, torch.Generator().manual_seed(options.seed + 1)).to(data) if options.adversarial > 0 else None
    pixel_rate = options.pixel_rate or (1e-2 if not tv_start else 2e-3 if options.levels is None else 5e-3)
    # The gradient of a pixel is of order 1 / pixels; below a hundredth of that Adam does not turn rounding into full steps.
    groups = [dict(params=[generator.pixels], lr=pixel_rate, eps=0.16 / start[0].numel())]
    if generator.network is not None:
        groups.append(dict(params=generator.network.parameters(), lr=options.learning_rate or (5e-4 if tv_start else 2e-3)))
    game = Game(groups, judge, options.discriminator_rate or 1e-4)
    objective = Objective(measurement, top_level(start))
    view = 2.0 / data.shape[2]  # what the discriminator sees is of order 1
    norm = data.flatten(1).norm(dim=1) + torch.finfo(data.dtype).tiny
    best, history, plateau = None, defaultdict(list), Plateau(options.patience)
    levels, stopped, use_levels = None, "finished", options.levels is not None and total > 0
    for iteration in range(total + 1):
        image = generator()
        model_sinogram = model.forward_project(image)
        late = 2 * iteration >= total
        if iteration % REFRESH == 0 and (tv_start or late):
            objective.refresh(image.detach())
        if use_levels and late and (levels is None or iteration % REFRESH == 0 and options.levels == "auto"):
            levels = _levels(image.detach(), options, scale, levels is None)
        data_loss = objective.data_term(model_sinogram)
        with torch.no_grad():
            value = data_loss + objective.penalty(image)
            residual = measurement.residual(model_sinogram).flatten(1).norm(dim=1) / norm
        if best is None:
            best = Best(start, residual, 1.6 if options.levels is None else 10.0)
        if not torch.isfinite(value).all():
            raise _not_finite(iteration, best)
        ramp = 0.0
        if levels is not None:
            ramp = min(1.0, (2 * iteration - total) / (0.5 * total))
            level_loss = options.levels_weight * losses.level_distance(image, levels, _reach(levels))
            value = value + level_loss.detach()
        if not use_levels or ramp == 1.0:
            best.offer(image.detach(), value, residual, iteration)
        history["objective"].append(value.cpu().numpy())
        history["residual"].append(residual.cpu().numpy())
        worst = float(residual.max())
        if iteration > 0 and notify(iteration, total, worst):
            stopped = "callback"
        elif plateau(worst):
            stopped = "plateau"
        if stopped != "finished" or iteration == total:
            break
        loss = data_loss + objective.variation(image) + options.adversarial * game.verdict(view * model_sinogram)
        game.step_generator(loss + ramp * level_loss if ramp > 0 else loss, annealed(iteration, total))
        verdict = game.step_discriminator(view * data, view * model_sinogram)
        if verdict is not None:
            history["discriminator"].append(verdict.cpu().numpy())
    if use_levels and ramp < 1.0:  # stopped before the levels were complete
        best.offer(image.detach(), value, residual, iteration)
    return best, levels, {k: np.stack(v) for k, v in history.items()}, stopped


def _not_finite(iteration: int, best: Best) -> NonFiniteError:
    error = NonFiniteError(
        f"the fit became infinite or NaN at iteration {iteration}; the best finite image (iteration {best.iteration.tolist()}) is kept in the "
        "error's `result`. Lower pixel_rate and learning_rate, or check the data for extreme values"
    )
    error.best = best
    return error
