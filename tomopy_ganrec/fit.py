"""One batch of sinograms to one batch of slices: the start image, then the game of generator, projector and discriminator."""

import math
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

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
from .warm import FAR, carried, distance, known_measurement, warm_image, warm_steps

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


def _describe(measurement: Measurement, best: Best, k: int, unit: float, levels, history: dict, stopped: str, warm: int) -> dict:
    settings = measurement.settings[k]
    return dict(
        pixels="box" if measurement.response is None else "mean",
        noise=settings.noise, relative_noise=settings.relative_noise, strength=settings.strength, epsilon=settings.epsilon, rounds=settings.rounds,
        loss=settings.loss, level=settings.level, low=settings.low, along=settings.along, warm=warm > 0, warm_rounds=warm,
        iteration=int(best.iteration[k]), objective=float(best.objective[k]), residual=float(best.residual[k]),
        start_objective=float(history["objective"][0, k]), start_residual=float(history["residual"][0, k]),
        levels=None if levels is None else [v * unit for v in levels[k].tolist() if not math.isnan(v)], stopped=stopped,
    )  # fmt: skip


@dataclass(frozen=True)
class _Group:
    """Slices of a batch that share ρ, rounds and loss, in units of `scale`; with `near`, the records of their neighbours, `init` is the neighbours'
    image."""

    index: torch.Tensor
    data: torch.Tensor
    scale: torch.Tensor
    settings: list
    init: torch.Tensor | None
    near: list | None = None

    def take(self, chosen: torch.Tensor) -> "_Group":
        """Some of the slices, from nothing."""
        return _Group(self.index[chosen], self.data[chosen], self.scale[chosen], [self.settings[k] for k in chosen.tolist()], None)


def _cold_starts(model, group: _Group, options: GanrecOptions, mask, steps: "_StartSteps"):
    """(slices of the batch, measurement, start image, warm rounds) of slices that begin at nothing or at the image given."""
    trial, more = trial_iterations(model, options)
    steps.total = steps.count + trial + more
    with torch.no_grad():
        parts = measurements(model, group.data, options, group.settings, mask, group.init, steps)
    steps.total = steps.count + sum(start_iterations(part, options) for part in parts)
    for part in parts:
        with torch.no_grad():
            start, part = start_image(part, options, mask, None if group.init is None else group.init[part.index], steps)
        yield group.index[part.index], part, start, torch.zeros(len(start), dtype=torch.long)


@torch.no_grad()
def _warm_start(model, group: _Group, options: GanrecOptions, mask, steps: "_StartSteps"):
    """As `_cold_starts` those that their neighbours' image serves, or None; and which it does not serve."""
    steps.total = steps.count + warm_steps(options)
    part = known_measurement(model, group.data, group.settings, group.near[0]["pixels"])
    target = torch.tensor([record["start_residual"] for record in group.near]).to(group.data)
    served = distance(part, group.init, target) <= FAR
    if not served.any():
        return None, ~served
    some = torch.nonzero(served)[:, 0]
    image, rounds, lost = warm_image(part.take(some), options, mask, group.init[some], target[some], steps)
    served[some[lost]] = False
    kept = torch.nonzero(served)[:, 0]
    found = (group.index[kept], part.take(kept), image[~lost], rounds[~lost]) if len(kept) else None
    return found, ~served


class _StartSteps:
    """Tells the caller of each iteration of the start images, and remembers whether it has ended them."""

    def __init__(self, notify: Callable):
        self._notify, self.total, self.count, self.ended = notify, 0, 0, False

    def __call__(self) -> bool:
        self.count += 1
        self.ended = self.ended or bool(self._notify(Status("start", self.count, max(self.total, self.count))))
        return self.ended


def _starts(model, groups: list[_Group], options: GanrecOptions, mask, steps: _StartSteps):
    """The start images of all groups, slices whose neighbours cannot help among those from nothing: (starts, whether they are warm)."""
    for group in groups:
        if group.near is not None:
            found, left = _warm_start(model, group, options, mask, steps)
            if found is not None:
                yield found
            group = group.take(torch.nonzero(left)[:, 0]) if left.any() else None
        if group is not None:
            yield from _cold_starts(model, group, options, mask, steps)


def _improve(part: Measurement, start, unit, options: GanrecOptions, mask, notify: Callable, ended: bool, rounds):
    """From a start image to the reconstruction of slices that share a measurement: the best image, description of each, and history."""

    def in_fit(iteration, total, residual):
        return notify(Status("fit", iteration, total, residual))

    chosen = options.replace(num_iter=0) if ended else options.replace(num_iter=options.warm_iterations) if rounds.any() else options
    best, levels, history, stopped = _play(part, start, unit, chosen, mask, in_fit)
    if not ended and stopped != "callback":
        best.image, ended = finish(part, best.image, options, mask, notify)
        with torch.no_grad():
            best.residual = part.relative_residual(best.image)
    stopped = "callback" if ended else stopped
    units, rounds = unit.flatten().tolist(), rounds.tolist()
    info = [_describe(part, best, k, units[k], levels, history, stopped, rounds[k]) for k in range(len(units))]
    if not ended:
        for entry, deviation, value in zip(info, spreads(part, options, mask, notify), units, strict=False):
            entry["spread"] = (deviation * value).cpu().numpy()
    return best.image, info, history


def fit(
    model: ForwardModel,
    sinogram: torch.Tensor,
    options: GanrecOptions | None = None,
    *,
    init: torch.Tensor | None = None,
    callback=None,
    near=None,
    state=None,
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
    near : list of (dict or None), optional
        For a warm start: for each slice the record (`FitResult.info`) of a neighbour that is done, and in `init` the neighbours' image. It saves
        most of the start image and of the fit. A slice with None, or that its neighbours' image does not explain, begins at nothing.
    state : list of dict, optional
        For ``preset='paper'``: the weights with which each slice begins, from ``FitResult.states`` of another batch of as many.

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
        return _fit(
            model, sinogram.detach().clone(), options or GanrecOptions(), None if init is None else init.detach().clone(), callback, near, state
        )


def _fit(model, sinogram, options: GanrecOptions, init, callback, near, state) -> FitResult:
    if options.preset == "paper":
        return fit_paper(model, sinogram, options, callback, state)
    began = time.perf_counter()
    notify = callback or (lambda status: None)
    mask = field_of_view(model, sinogram.device).to(sinogram) if options.mask else None
    scale = data_scale(model, sinogram, mask)
    if options.stack > 1:  # neighbours are compared, in the same units; a slice without signal has none of its own
        signal = sinogram.flatten(1).any(1)
        scale = (scale[signal] if signal.any() else scale).mean(0, keepdim=True).expand_as(scale).contiguous()
    batch = len(sinogram)
    image, start = (torch.zeros(batch, *model.domain_shape).to(sinogram) for _ in range(2))
    info, histories, seconds = [None] * batch, [], dict(start=0.0, fit=0.0)
    steps = _StartSteps(notify)
    for index, part, begun, rounds in _starts(model, _groups(model, sinogram, scale, options, init, near), options, mask, steps):
        seconds["start"] += time.perf_counter() - began
        began, unit = time.perf_counter(), scale[index]
        start[index] = begun * unit
        try:
            best, described, history = _improve(part, begun, unit, options, mask, notify, steps.ended, rounds)
        except NonFiniteError as error:
            if error.best.image.isfinite().all():  # with the parts done before; slices whose turn had not come are zero
                image[index] = error.best.image * unit
                error.result = FitResult(image, start)
            raise
        image[index] = best * unit
        for k, entry in zip(index.tolist(), described, strict=True):
            info[k] = entry
        histories.append((index.tolist(), history))
        seconds["fit"] += time.perf_counter() - began
        began = time.perf_counter()
    return FitResult(image, start, info, _merge_history(histories, batch), seconds)


def _groups(model, sinogram, scale, options: GanrecOptions, init, near) -> list[_Group]:
    settings = choose_settings(model, sinogram, scale, options)
    if options.stack > 1:  # one regularisation for all, by the slice of middle noise
        settings = [sorted(settings, key=lambda s: s.relative_noise)[len(settings) // 2]] * len(settings)
    groups = defaultdict(list)
    for k, own in enumerate(settings):
        warm = None if near is None or near[k] is None else carried(own, near[k], options)
        s = warm or own
        groups[s.rho, s.rounds, s.loss, s.along, near[k]["pixels"] if warm else None].append((k, s))
    found = []
    for (*_, pixels), members in groups.items():
        places = [k for k, _ in members]
        index = torch.tensor(places, device=sinogram.device)
        given = init is not None and (near is None or pixels)
        found.append(
            _Group(
                index,
                sinogram[index] / scale[index],
                scale[index],
                [s for _, s in members],
                init[index] / scale[index] if given else None,
                [near[k] for k in places] if pixels else None,
            )  # fmt: skip
        )
    return found


def _merge_history(parts, batch: int) -> dict:
    merged = {}
    for name in {key for _, history in parts for key in history}:
        length = max(len(history[name]) for _, history in parts)
        merged[name] = np.full((length, batch), np.nan, np.float32)
        for members, history in parts:
            merged[name][: len(history[name]), members] = history[name]
    return merged
