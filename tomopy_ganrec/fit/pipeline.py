"""One batch of sinograms to one batch of slices: the start image, then the game of generator, projector and discriminator."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from tomopy_ganrec.fit.gan.published import fit_paper
from tomopy_ganrec.fit.gan.training import Outcome, train
from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.results import FitResult, NonFiniteError, Status
from tomopy_ganrec.slice_record import SliceRecord
from tomopy_ganrec.solvers.forward_model import ForwardModel, data_scale, field_of_view
from tomopy_ganrec.solvers.wedge import has_missing_wedge

from .fine_grid import FineGrid, fine_grid_steps, refinement
from .grouping import Group, groups_of
from .reweighted_tv import fill_missing_wedge
from .stage_progress import _StartSteps, _Steps
from .start_image import cold_starts
from .uncertainty import bootstrap_std, bootstrap_steps
from .warm_start import warm_start
from .wedge_learning import learn_wedge, learning_steps

__all__ = ["FitResult", "Status", "bootstrap_stds", "finish", "fit"]


def _record(
    measurement: Measurement, best: Outcome, k: int, unit: float, levels, history: dict, stopped: str, warm: int | None
) -> SliceRecord:
    settings = measurement.settings[k]
    return SliceRecord(
        pixel_model="point" if measurement.response is None else "area",
        noise=settings.noise,
        relative_noise=settings.relative_noise,
        residual_level=settings.residual_level,
        noise_level=settings.noise_level,
        tv_weight=settings.tv_weight,
        edge_threshold=settings.edge_threshold,
        wedge_tv_weight=settings.wedge_tv_weight,
        reweight_rounds=settings.rounds,
        loss=settings.loss,
        warm=warm is not None,
        warm_rounds=warm or 0,
        iteration=int(best.iteration[k]),
        objective=float(best.objective[k]),
        residual=float(best.residual[k]),
        start_objective=float(history["objective"][0, k]),
        start_residual=float(history["residual"][0, k]),
        levels=None if levels is None else [v * unit for v in levels[k].tolist() if not math.isnan(v)],
        stopped=stopped,
    )


def _starts(model, groups: list[Group], options: GanrecOptions, mask, steps: _StartSteps):
    """The start images of all groups, slices whose neighbours cannot help among those from nothing: (starts, whether they are warm)."""
    for group in groups:
        if group.near is not None:
            found, left = warm_start(model, group, options, mask, steps)
            if found is not None:
                yield found
            group = group.take(torch.nonzero(left)[:, 0]) if left.any() else None
        if group is not None:
            yield from cold_starts(model, group, options, mask, steps)


def _improve(part: Measurement, start, unit, options: GanrecOptions, mask, notify: Callable, ended: bool, rounds):
    """From a start image to the reconstruction of slices that share a measurement: the best image, description of each, and history."""

    def in_fit(iteration, total, residual):
        return notify(Status("fit", iteration, total, residual))

    chosen = (
        options.replace(num_iter=0)
        if ended
        else options.replace(num_iter=options.warm_iterations)
        if rounds is not None
        else options
    )
    best, levels, history, stopped = train(part, start, unit, chosen, mask, in_fit)
    if not ended and stopped != "callback":
        best.image, ended = finish(part, best.image, options, mask, notify)
        with torch.no_grad():
            best.residual = part.relative_residual(best.image)
    stopped = "callback" if ended else stopped
    units = unit.flatten().tolist()
    rounds = [None] * len(units) if rounds is None else rounds.tolist()
    info = [_record(part, best, k, units[k], levels, history, stopped, rounds[k]).to_json() for k in range(len(units))]
    if not ended:
        for entry, deviation, value in zip(info, bootstrap_stds(part, options, mask, notify), units, strict=False):
            entry["uncertainty"] = (deviation * value).cpu().numpy()
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
    near : list of (SliceRecord, dict or None), optional
        For a warm start: for each slice the record (as in `FitResult.info`) of a neighbour that is done, and in `init`
        the neighbours' image. It saves most of the start image and of the fit. A slice with None, or that its
        neighbours' image does not explain, is started from scratch.
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
            model,
            sinogram.detach().clone(),
            options or GanrecOptions(),
            None if init is None else init.detach().clone(),
            callback,
            near,
            state,
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
    if (
        options.joint_slices > 1
    ):  # neighbours are compared, in the same units; a slice without signal has none of its own
        signal = sinogram.flatten(1).any(1)
        scale = (scale[signal] if signal.any() else scale).mean(0, keepdim=True).expand_as(scale).contiguous()
    batch = len(sinogram)
    image, start = (torch.zeros(batch, *model.domain_shape).to(sinogram) for _ in range(2))
    info, histories, seconds = [None] * batch, [], dict(start=0.0, fit=0.0)
    steps = _StartSteps(notify)
    # Of the start images; the fit is in float32.
    exact = torch.float64 if getattr(model, "dtype", None) == torch.float64 else sinogram.dtype
    view = None if mask is None else mask.to(exact)
    if near is not None:
        near = [r if r is None or isinstance(r, SliceRecord) else SliceRecord.from_json(r) for r in near]
    groups = groups_of(
        model, sinogram.to(exact), scale.to(exact), options, None if init is None else init.to(exact), near
    )
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


def _merge_history(parts, batch: int) -> dict:
    merged = {}
    for name in {key for _, history in parts for key in history}:
        length = max(len(history[name]) for _, history in parts)
        merged[name] = np.full((length, batch), np.nan, np.float32)
        for members, history in parts:
            merged[name][: len(history[name]), members] = history[name]
    return merged


def finish(
    part: Measurement, image: torch.Tensor, options: GanrecOptions, mask, notify: Callable
) -> tuple[torch.Tensor, bool]:
    """The finer grid and the network's lessons, where they are asked for: the image, and whether the caller has ended it.

    A stack is one body and has one network. Other slices each have their own, so that what becomes of one does not depend on its batch.
    """
    lessons = options.lessons if has_missing_wedge(part.model) else 0
    bodies = (
        [part]
        if options.joint_slices > 1
        else [part.take(torch.tensor([k], device=image.device)) for k in range(len(image))]
    )
    factors = [refinement(body, options) for body in bodies]
    total = sum(
        (learning_steps(options) if lessons else 0) + (fine_grid_steps(part) if factor > 1 else 0) for factor in factors
    )
    tell, done, image = _Steps("learn", total, notify), 0, image.clone()
    for body, factor in zip(bodies, factors, strict=True):
        where = slice(done, done + len(body.data))
        image[where] = _improved(body, image[where], options.replace(wedge_rounds=lessons), factor, mask, tell)
        done = where.stop
        if tell.ended:
            break
    return image, tell.ended


def _improved(
    body: Measurement, image: torch.Tensor, options: GanrecOptions, factor: int, mask, tell: _Steps
) -> torch.Tensor:
    with torch.no_grad():
        grid = FineGrid.begin(body, image, factor, options, tell) if factor > 1 else None
    if tell.ended:
        return image
    if not options.lessons:
        return grid.mean() if grid else image
    given = 0

    def solve(answer, x, tell):
        nonlocal given
        given += 1
        if grid and given == options.lessons:
            return grid.agree(answer, tell)
        return fill_missing_wedge(body, answer, image, options, mask, tell)

    learned = learn_wedge(body, image, options, mask, options.seed, tell, solve)
    return grid.mean() if grid and tell.ended else learned


def bootstrap_stds(part: Measurement, options: GanrecOptions, mask, notify: Callable):
    """The spread of each slice, until the caller ends it."""
    tell = _Steps("uncertainty", bootstrap_steps() * len(part.settings), notify)
    for k in range(len(part.settings) if options.uncertainty_samples else 0):
        with torch.no_grad():
            found = bootstrap_std(part, k, options, mask, options.uncertainty_samples, tell)
        if tell.ended:
            return
        yield found
