"""Fit of one batch, stage by stage: start image, adversarial fit, finer grid, learned wedge, uncertainty."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from tomopy_ganrec.fit.gan.published import fit_paper
from tomopy_ganrec.fit.gan.training import train
from tomopy_ganrec.fit.gan.training_state import Outcome
from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.results import FitResult, NonFiniteError, Status
from tomopy_ganrec.slice_record import SliceRecord
from tomopy_ganrec.solvers.forward_model import (
    ForwardModel,
    data_scale,
    dtype_of,
    field_of_view,
    has_double_precision,
)

from .grouping import Group, Start, groups_of
from .improvement import Improvement
from .stage_progress import StageProgress
from .start_image import cold_starts
from .uncertainty import Bootstrap
from .warm_start import warm_start

__all__ = ["fit"]

Callback = Callable[[Status], object]


def fit(
    model: ForwardModel,
    sinogram: torch.Tensor,
    options: GanrecOptions | None = None,
    *,
    init: torch.Tensor | None = None,
    callback: Callback | None = None,
    near: Sequence[SliceRecord | Mapping | None] | None = None,
    state: list[dict] | None = None,
) -> FitResult:
    """Reconstruct a batch of independent slices.

    The image returned is, for each slice, the iterate (the start image among them) of lowest objective: data term + the
    penalty that the total variation descends, without the discriminator's part; with levels, of those after the levels
    have come in fully. An iterate whose data residual is above 1.6 times that of the start does not count. With
    `GanrecOptions.grid_factor` and `wedge_rounds` the image is then improved on a finer grid and by a network that
    learns from the scan.

    Parameters
    ----------
    model : ForwardModel
        Anything with ``domain_shape``, ``range_shape``, ``forward_project`` and ``back_project``;
        `ParallelBeamProjector` is one. Where it has ``theta`` and ``center``, the noise estimate uses them.
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
        For ``preset='paper'``: the weights with which each slice begins, from ``FitResult.states`` of another batch of
        as many.

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
        options = options or GanrecOptions()
        sinogram = sinogram.detach().clone()
        init = None if init is None else init.detach().clone()
        if options.preset == "paper":
            return fit_paper(model, sinogram, options, callback, state)
        neighbours = None
        if near is not None:
            neighbours = [SliceRecord.from_json(r) if isinstance(r, Mapping) else r for r in near]
        return _Fit(model, sinogram, options, callback).run(init, neighbours)


class _Fit:
    """The fit of a batch, and what its stages have in common."""

    def __init__(self, model: ForwardModel, sinogram: torch.Tensor, options: GanrecOptions, callback: Callback | None):
        if options.init == "tv" and sinogram.dtype == torch.float32 and has_double_precision(model):
            model = model.in_double()
        self._model, self._sinogram, self._options, self._callback = model, sinogram, options, callback
        self._constraints = Constraints.of_slices(model, sinogram, options)
        self._scale = self._data_scale()
        self._start_progress = StageProgress("start", callback)

    def _data_scale(self) -> torch.Tensor:
        # Whatever the mask: the weights of the regularisation are relative to it.
        view = field_of_view(self._model, self._sinogram.device).to(self._sinogram)
        scale = data_scale(self._model, self._sinogram, None if self._options.mask is False else view)
        if self._options.joint_slices > 1:
            # Neighbours are compared, in the same units; a slice without signal has none of its own.
            signal = self._sinogram.flatten(1).any(1)
            mean = (scale[signal] if signal.any() else scale).mean(0, keepdim=True)
            scale = mean.expand_as(scale).contiguous()
        return scale

    def run(self, init: torch.Tensor | None, neighbours: Sequence[SliceRecord | None] | None) -> FitResult:
        began, batch = time.perf_counter(), len(self._sinogram)
        image, start_image = (torch.zeros(batch, *self._model.domain_shape).to(self._sinogram) for _ in range(2))
        info: list[dict] = [{} for _ in range(batch)]
        histories, seconds = [], dict(start=0.0, fit=0.0)
        for start in self._starts(init, neighbours):
            seconds["start"] += time.perf_counter() - began
            began, unit = time.perf_counter(), self._scale[start.index]
            start_image[start.index] = start.image * unit
            try:
                improved, records, history = self._improve(start, unit)
            except NonFiniteError as error:
                if error.image is not None and error.image.isfinite().all():
                    # with the parts done before; slices whose turn had not come are zero
                    image[start.index] = error.image * unit
                    error.result = FitResult(image, start_image)
                raise
            image[start.index] = improved * unit
            for k, record in zip(start.index.tolist(), records, strict=True):
                info[k] = record
                if self._constraints.outline:
                    record["outline"] = self._constraints.outline[k]
            histories.append((start.index.tolist(), history))
            seconds["fit"] += time.perf_counter() - began
            began = time.perf_counter()
        return FitResult(image, start_image, info, _merged_history(histories, batch), seconds)

    def _starts(self, init: torch.Tensor | None, neighbours: Sequence[SliceRecord | None] | None) -> Iterator[Start]:
        """The start images of all slices in float32, those that their neighbours cannot help from scratch."""
        # Start images are computed in the precision of the model, the fit is in float32.
        exact = self._sinogram.dtype
        if dtype_of(self._model) == torch.float64:
            exact = torch.float64
        constraints = self._constraints.to(exact)
        given = None if init is None else init.to(exact)
        data, scale = self._sinogram.to(exact), self._scale.to(exact)
        for group in groups_of(self._model, data, scale, self._options, given, neighbours):
            for start in self._group_starts(group, constraints):
                yield start.single() if exact != self._sinogram.dtype else start

    def _group_starts(self, group: Group, constraints: Constraints) -> Iterator[Start]:
        progress, rest = self._start_progress, group
        if group.neighbours:
            start, left = warm_start(self._model, group, self._options, constraints.take(group.index), progress)
            if start is not None:
                yield start
            if not left.any():
                return
            rest = group.from_scratch(torch.nonzero(left)[:, 0])
        yield from cold_starts(self._model, rest, self._options, constraints.take(rest.index), progress)

    def _iterations(self, start: Start) -> int:
        """Iterations of the adversarial fit."""
        if self._start_progress.stopped:
            return 0
        resolved = self._options.resolved
        return resolved.num_iter if start.warm_rounds is None else resolved.warm_iter

    def _improve(self, start: Start, unit: torch.Tensor) -> tuple[torch.Tensor, list[dict], dict]:
        """From a start image to the reconstruction: the image, the records of its slices, and the history."""
        options, measurement = self._options, start.measurement
        progress = StageProgress("fit", self._callback)
        chosen = options.replace(num_iter=self._iterations(start))
        best, levels, history, reason = train(measurement, start.image, unit, chosen, progress)
        stopped, network_weight = self._start_progress.stopped or progress.stopped, None
        if not stopped:
            stage = Improvement(measurement.in_single(), options)
            progress = StageProgress("learn", self._callback, stage.steps)
            best.image, network_weight = stage.run(best.image, progress)
            stopped = progress.stopped
            with torch.no_grad():
                best.residual = measurement.relative_residual(best.image)
        reason = "callback" if stopped else reason
        units = unit.flatten().tolist()
        records = [_record(start, best, k, units[k], levels, history, reason).to_json() for k in range(len(units))]
        for record in records:
            record["network_weight"] = network_weight
        if not stopped:
            deviations = self._uncertainty(measurement)
            for record, deviation, value in zip(records, deviations, units, strict=False):
                record["uncertainty"] = (deviation * value).cpu().numpy()
        return best.image, records, history

    def _uncertainty(self, measurement: Measurement) -> Iterator[torch.Tensor]:
        """The standard deviation of each slice, until the caller stops it."""
        samples = self._options.uncertainty_samples
        stage = Bootstrap(measurement, samples, self._options.seed)
        count = len(measurement.weights) if samples else 0
        progress = StageProgress("uncertainty", self._callback, stage.steps * count)
        for k in range(count):
            deviation = stage.run(k, progress)
            if progress.stopped:
                return
            yield deviation


def _record(
    start: Start, best: Outcome, k: int, unit: float, levels: torch.Tensor | None, history: dict, reason: str
) -> SliceRecord:
    measurement, weights = start.measurement, start.measurement.weights.slices[k]
    rounds = start.warm_rounds
    bound = measurement.bounds[k] if measurement.bounds else None
    return SliceRecord(
        pixel_model=measurement.pixel_model,
        noise=weights.noise,
        relative_noise=weights.relative_noise,
        residual_level=weights.residual_level,
        noise_level=weights.noise_level,
        tv_weight=weights.tv_weight,
        edge_threshold=weights.edge_threshold,
        wedge_tv_weight=weights.wedge_tv_weight,
        reweight_rounds=weights.rounds,
        loss=weights.loss,
        warm=rounds is not None,
        warm_rounds=0 if rounds is None else int(rounds[k]),
        iteration=int(best.iteration[k]),
        objective=float(best.objective[k]),
        residual=float(best.residual[k]),
        start_objective=float(history["objective"][0, k]),
        start_residual=float(history["residual"][0, k]),
        levels=None if levels is None else [v * unit for v in levels[k].tolist() if not math.isnan(v)],
        stopped=reason,
        max_attenuation=None if bound is None else bound.value * unit,
        bound_origin=None if bound is None else bound.origin,
        bound_rise=None if bound is None or math.isnan(bound.residual_rise) else bound.residual_rise,
    )


def _merged_history(parts: Iterable[tuple[list[int], dict[str, np.ndarray]]], batch: int) -> dict[str, np.ndarray]:
    """The curves of all slices, (iterations, B), NaN where a slice had stopped."""
    parts = list(parts)
    merged = {}
    for name in {key for _, history in parts for key in history}:
        length = max(len(history[name]) for _, history in parts)
        merged[name] = np.full((length, batch), np.nan, np.float32)
        for members, history in parts:
            merged[name][: len(history[name]), members] = history[name]
    return merged
