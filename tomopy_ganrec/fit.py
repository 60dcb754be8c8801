"""One batch of sinograms to one batch of slices: the start image, then the game of generator, projector and discriminator."""

import math
import time
import warnings
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch

from . import losses
from .finish import finish, spreads
from .game import Game, NonFiniteError, annealed
from .initial import ForwardModel, data_scale, field_of_view, top_level
from .levels import find_levels, has_levels
from .networks import Discriminator, UNet
from .objective import Best, Objective, Plateau
from .options import GanrecOptions
from .paper import fit_paper
from .result import FitResult, Status
from .settings import choose_settings
from .start import Measurement, constrained, measurements, start_image, start_iterations, trial_iterations

__all__ = ["FitResult", "Status", "fit"]

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


def _play(measurement: Measurement, start, scale, options: GanrecOptions, mask, notify: Callable):
    """The fit of one batch, in units of `scale`: the best image, and what is known of it."""
    model, data = measurement.model, measurement.data
    total, batch = options.iterations, data.shape[0]
    tv_start = options.init == "tv"
    generator = Generator(start, options, mask)
    judge = Discriminator(batch, torch.Generator().manual_seed(options.seed + 1)).to(data) if options.adversarial > 0 else None
    pixel_rate = options.pixel_rate or (1e-2 if not tv_start else 2e-3 if options.levels is None else 5e-3)
    groups = [dict(params=[generator.pixels], lr=pixel_rate)]
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


def _describe(measurement: Measurement, best: Best, k: int, unit: float, levels, history: dict, stopped: str) -> dict:
    settings = measurement.settings[k]
    return dict(
        pixels="box" if measurement.response is None else "mean",
        noise=settings.noise, relative_noise=settings.relative_noise, strength=settings.strength, epsilon=settings.epsilon, rounds=settings.rounds,
        loss=settings.loss, iteration=int(best.iteration[k]), objective=float(best.objective[k]), residual=float(best.residual[k]),
        start_objective=float(history["objective"][0, k]), start_residual=float(history["residual"][0, k]),
        levels=None if levels is None else [v * unit for v in levels[k].tolist() if not math.isnan(v)], stopped=stopped,
    )  # fmt: skip


def _fit_group(model, data, scale, options, settings, mask, init, notify):
    """Slices that share ρ, rounds and loss: start, best, description of each, history and seconds."""
    began = time.perf_counter()
    trial, more = trial_iterations(model, options)
    steps, count, ended = trial + more, 0, False

    def in_start():
        nonlocal count, ended
        count += 1
        ended = ended or bool(notify(Status("start", count, max(steps, count))))
        return ended

    def in_fit(iteration, total, residual):
        return notify(Status("fit", iteration, total, residual))

    with torch.no_grad():
        parts = measurements(model, data, options, settings, mask, init, in_start)
    steps = trial + sum(start_iterations(part, options) for part in parts)
    spent = time.perf_counter() - began
    for part in parts:
        began = time.perf_counter()
        with torch.no_grad():
            start, part = start_image(part, options, mask, None if init is None else init[part.index], in_start)
        middle = time.perf_counter()
        unit = scale[part.index]
        try:
            best, levels, history, stopped = _play(part, start, unit, options.replace(num_iter=0) if ended else options, mask, in_fit)
        except NonFiniteError as error:
            if error.best.image.isfinite().all():
                error.result = part.index, FitResult(error.best.image * unit, start * unit)
            raise
        units = unit.flatten().tolist()
        if not ended and stopped != "callback":
            best.image, ended = finish(part, best.image, options, mask, notify)
            with torch.no_grad():
                best.residual = part.relative_residual(best.image)
        stopped = "callback" if ended else stopped
        info = [_describe(part, best, k, units[k], levels, history, stopped) for k in range(len(units))]
        if not ended:
            for entry, deviation, value in zip(info, spreads(part, options, mask, notify), units, strict=False):
                entry["spread"] = (deviation * value).cpu().numpy()
        yield part.index, start, best.image, info, history, (spent + middle - began, time.perf_counter() - middle)
        spent = 0.0


def fit(
    model: ForwardModel, sinogram: torch.Tensor, options: GanrecOptions | None = None, *, init: torch.Tensor | None = None, callback=None
) -> FitResult:
    """Reconstruct a batch of independent slices.

    The image returned is, for each slice, the iterate (the start image among them) of lowest objective: data term + the penalty that the
    total variation descends, without the discriminator's part; with levels, of those after the levels have come in fully. An iterate whose data
    residual is above 1.6 times that of the start does not count. `GanrecOptions.refine` and `learn` take it from there (`finish.finish`).

    Parameters
    ----------
    model : ForwardModel
        Anything with ``domain_shape``, ``range_shape``, ``forward_project`` and ``back_project``; `ParallelBeamProjector` is one. Where it has
        ``theta`` and ``center``, the noise estimate uses them.
    sinogram : (B, *range_shape) float32 tensor
        Measured data, on the model's device.
    options : GanrecOptions, optional
        Its ``progress``, ``device``, ``backend``, ``batch_size`` and ``callback`` do not concern this function.
    init : (B, *domain_shape) tensor, optional
        Where the start image begins (``init='tv'`` or ``'sirt'``), or the start image itself (``init='none'``).
    callback : callable, optional
        Called with a `Status` after each iteration; a true answer ends the run with what it has.

    Returns
    -------
    FitResult

    Raises
    ------
    NonFiniteError
        When the objective becomes infinite or NaN.
    """
    # The caller's no_grad or inference_mode is not for the fit.
    with torch.inference_mode(False), torch.enable_grad():
        return _fit(model, sinogram.detach().clone(), options or GanrecOptions(), None if init is None else init.detach().clone(), callback)


def _fit(model, sinogram, options: GanrecOptions, init, callback) -> FitResult:
    if options.preset == "paper":
        return fit_paper(model, sinogram, options, callback)
    notify = callback or (lambda status: None)
    mask = field_of_view(model, sinogram.device).to(sinogram) if options.mask else None
    scale = data_scale(model, sinogram, mask)
    if options.stack > 1:  # neighbours are compared, in the same units; a slice without signal has none of its own
        signal = sinogram.flatten(1).any(1)
        scale = (scale[signal] if signal.any() else scale).mean(0, keepdim=True).expand_as(scale).contiguous()
    settings = choose_settings(model, sinogram, scale, options)
    if options.stack > 1:  # one regularisation for all, by the slice of middle noise
        settings = [sorted(settings, key=lambda s: s.relative_noise)[len(settings) // 2]] * len(settings)
    groups = defaultdict(list)
    for k, s in enumerate(settings):
        groups[s.rho, s.rounds, s.loss, s.along].append(k)
    batch = len(settings)
    image, start = (torch.zeros(batch, *model.domain_shape).to(sinogram) for _ in range(2))
    info, histories, seconds = [None] * batch, [], np.zeros(2)
    for members in groups.values():
        index = torch.tensor(members, device=sinogram.device)
        unit = scale[index]
        given = None if init is None else init[index] / unit
        parts = _fit_group(model, sinogram[index] / unit, unit, options, [settings[k] for k in members], mask, given, notify)
        try:
            for inner, began, best, described, history, spent in parts:
                place = index[inner]
                image[place], start[place] = best * scale[place], began * scale[place]
                for k, entry in zip(place.tolist(), described, strict=True):
                    info[k] = entry
                histories.append((place.tolist(), history))
                seconds += spent
        except NonFiniteError as error:
            if error.result is not None:  # with the groups done before; slices whose turn had not come are zero
                inner, result = error.result
                image[index[inner]], start[index[inner]] = result.image, result.start
                error.result = FitResult(image, start)
            raise
    return FitResult(image, start, info, _merge_history(histories, batch), dict(start=seconds[0], fit=seconds[1]))


def _merge_history(parts, batch: int) -> dict:
    merged = {}
    for name in {key for _, history in parts for key in history}:
        length = max(len(history[name]) for _, history in parts)
        merged[name] = np.full((length, batch), np.nan, np.float32)
        for members, history in parts:
            merged[name][: len(history[name]), members] = history[name]
    return merged
