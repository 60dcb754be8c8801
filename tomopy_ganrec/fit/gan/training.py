"""Adversarial fit of one batch, from its start image to the best iterate of generator and discriminator."""

from __future__ import annotations

import math

import numpy as np
import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.stage_progress import StageProgress
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.results import NonFiniteError
from tomopy_ganrec.solvers.cuda_graph import CudaGraphStep

from .adversary import learning_rate_factor
from .grey_levels import levels_of
from .objective import BestIterate, PlateauDetector
from .training_state import Outcome, TrainingState

__all__ = ["train"]

REFRESH_INTERVAL = 25  # iterations between two refreshes of edge weights and levels
GPU_CHECK_INTERVAL = 10  # iterations of a GPU after which its losses are read, which waits for it


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
            # Of the iterations that another one has followed.
            history["discriminator"] = history["discriminator"][:iteration]
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
