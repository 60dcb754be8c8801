"""One batch of sinograms to one batch of slices: the start image, then the game of generator, projector and discriminator."""

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from tomopy_ganrec.finish import finish, spreads
from tomopy_ganrec.fit.gan.adversary import NonFiniteError
from tomopy_ganrec.fit.gan.published import fit_paper
from tomopy_ganrec.fit.gan.training import Outcome, play
from tomopy_ganrec.fit.measurement.regularization import choose_settings
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.result import FitResult, Status
from tomopy_ganrec.solvers.forward_model import ForwardModel, data_scale, field_of_view

from .start_image import Measurement, measurements, start_image, start_iterations, trial_iterations
from .warm_start import FAR, carried, distance, known_measurement, warm_image, warm_steps

__all__ = ["FitResult", "Status", "fit"]


def _describe(measurement: Measurement, best: Outcome, k: int, unit: float, levels, history: dict, stopped: str, warm: int | None) -> dict:
    settings = measurement.settings[k]
    return dict(
        pixels="box" if measurement.response is None else "mean",
        noise=settings.noise, relative_noise=settings.relative_noise, strength=settings.strength, epsilon=settings.epsilon, rounds=settings.rounds,
        loss=settings.loss, level=settings.level, low=settings.low, along=settings.along, warm=warm is not None, warm_rounds=warm or 0,
        iteration=int(best.iteration[k]), objective=float(best.objective[k]), residual=float(best.residual[k]),
        start_objective=float(history["objective"][0, k]), start_residual=float(history["residual"][0, k]),
        levels=None if levels is None else [v * unit for v in levels[k].tolist() if not math.isnan(v)], stopped=stopped,
    )  # fmt: skip


@dataclass(frozen=True)
class _Group:
    """Slices of a batch that share ρ, rounds and loss, in units of `scale`; with `near`, the records of their neighbours, `init` is the neighbours'
    image, and `own` the settings that the slices have by themselves."""

    index: torch.Tensor
    data: torch.Tensor
    scale: torch.Tensor
    settings: list
    init: torch.Tensor | None
    near: list | None = None
    own: list | None = None

    def take(self, chosen: torch.Tensor) -> "_Group":
        """Some of the slices, from nothing."""
        return _Group(self.index[chosen], self.data[chosen], self.scale[chosen], [self.own[k] for k in chosen.tolist()], None)


def _cold_starts(model, group: _Group, options: GanrecOptions, mask, steps: "_StartSteps"):
    """(slices of the batch, measurement, start image, None) of slices that begin at nothing or at the image given."""
    trial, more = trial_iterations(model, options)
    steps.total = steps.count + trial + more
    with torch.no_grad():
        parts = measurements(model, group.data, options, group.settings, mask, group.init, steps)
    steps.total = steps.count + sum(start_iterations(part, options) for part in parts)
    for part in parts:
        with torch.no_grad():
            start, part = start_image(part, options, mask, None if group.init is None else group.init[part.index], steps)
        yield group.index[part.index], part, start, None


@torch.no_grad()
def _warm_start(model, group: _Group, options: GanrecOptions, mask, steps: "_StartSteps"):
    """As `_cold_starts`, with the rounds of each in the end, those that their neighbours' image serves, or None; and which it does not serve."""
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

    chosen = options.replace(num_iter=0) if ended else options.replace(num_iter=options.warm_iterations) if rounds is not None else options
    best, levels, history, stopped = play(part, start, unit, chosen, mask, in_fit)
    if not ended and stopped != "callback":
        best.image, ended = finish(part, best.image, options, mask, notify)
        with torch.no_grad():
            best.residual = part.relative_residual(best.image)
    stopped = "callback" if ended else stopped
    units = unit.flatten().tolist()
    rounds = [None] * len(units) if rounds is None else rounds.tolist()
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
    if options.init == "tv" and sinogram.dtype == torch.float32 and hasattr(model, "in_double"):
        model = model.in_double()
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
    # Of the start images; the fit is in float32.
    exact = torch.float64 if getattr(model, "dtype", None) == torch.float64 else sinogram.dtype
    view = None if mask is None else mask.to(exact)
    groups = _groups(model, sinogram.to(exact), scale.to(exact), options, None if init is None else init.to(exact), near)
    for index, part, begun, rounds in _starts(model, groups, options, view, steps):
        if exact != sinogram.dtype:
            part, begun = part.single(), begun.float()
        seconds["start"] += time.perf_counter() - began
        began, unit = time.perf_counter(), scale[index]
        start[index] = begun * unit
        try:
            best, described, history = _improve(part, begun, unit, options, mask, notify, steps.ended, rounds)
        except NonFiniteError as error:
            if error.image.isfinite().all():  # with the parts done before; slices whose turn had not come are zero
                image[index] = error.image * unit
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
        groups[s.rho, s.rounds, s.loss, s.along, own.rho, own.loss, own.along, near[k]["pixels"] if warm else None].append((k, s))
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
                [settings[k] for k in places],
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
