"""Warm start: start images of slices from the reconstructions of their neighbours.

The image, the noise and the weights carry over; the networks' weights bring nothing. Total variation goes on from the
image with smaller primal steps, so that its dual variables, which begin at zero, catch up before the image has drifted
away.
"""

from __future__ import annotations

import torch

from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import AttenuationBound, Measurement
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.forward_model import ForwardModel
from tomopy_ganrec.solvers.reweighting import linear_step, reweighted_rounds

from .attenuation_bound import RISE_LOW, residual_rise
from .grouping import Group, Start
from .reweighted_tv import ROUND_ITERATIONS, tv_solver
from .stage_progress import StageProgress

__all__ = ["CLOSE", "FAR", "WarmStart", "distance", "warm_start"]

FEWEST_ROUNDS, MOST_ROUNDS = 6, 8  # of `ROUND_ITERATIONS`
# Residual, relative to the neighbours', up to which a slice is done and from which on it goes on; in between it is a
# mean of both.
EXPLAINED = 1.01, 1.03
FAILED = (
    1.6  # residual, relative to the neighbours', after the most rounds, above which a slice is started from scratch
)
# Relative residual of the neighbours' image beyond that of their own data: up to the first few rounds will do, above
# the second it is another object. On the phantoms (64² to 256², noise-free to 1e4 photons) four rounds were up to .005
# of MSSIM short of a start from scratch where the image was close, six rounds .002 on the mean above to .005 below; .04
# to .06 wanted all; zeolite stayed .01 below at .06 (120°) and .03 at .12 (90°).
CLOSE, FAR = 0.03, 0.05


def distance(measurement: Measurement, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How much more of their data the neighbours' images leave unexplained than the neighbours did of theirs.

    Parameters
    ----------
    measurement : Measurement
        Of n slices.
    image : (n, rows, cols) tensor
        Of their neighbours.
    target : (n,) tensor
        The neighbours' relative residual.
    """
    return (measurement.relative_residual(image).square() - target.square()).clamp(min=0).sqrt()


class _ExplainsData:
    """Criterion of the rounds: a slice goes on until it explains its data as its neighbours do theirs."""

    def __init__(self, measurement: Measurement, image: torch.Tensor, target: torch.Tensor, progress: StageProgress):
        self._measurement, self._target, self._progress = measurement, target, progress
        self._far = linear_step(distance(measurement, image, target), CLOSE, 1.1 * CLOSE)  # 1: all rounds are needed
        self.failed = torch.zeros(len(image), dtype=torch.bool, device=image.device)

    def __call__(
        self, number: int, last: bool, active: torch.Tensor, before: torch.Tensor, image: torch.Tensor
    ) -> torch.Tensor:
        if number < FEWEST_ROUNDS:
            return torch.ones(len(image)).to(image)
        part = self._measurement if len(active) == len(self._target) else self._measurement.take(active)
        residual, target = part.relative_residual(image), self._target[active]
        if number == MOST_ROUNDS and not self._progress.stopped:
            self.failed[active] = ~(residual <= FAILED * target)
            maximum = part.constraints.maximum
            if maximum is not None:  # which may be too low for this slice
                cut = maximum.isfinite().flatten() & (residual_rise(residual, target) > RISE_LOW)
                self.failed[active] |= cut
        explained = linear_step(residual / (target + torch.finfo(image.dtype).tiny), *EXPLAINED)
        return torch.maximum(self._far[active], explained)


class WarmStart:
    """Start images of slices from those of their neighbours.

    Six rounds of (reweighted) total variation where the neighbours' image is close, and for each slice by itself so
    many more, up to eight, as it takes to explain its data as the neighbours do theirs; eight where it is not.

    Parameters
    ----------
    options : GanrecOptions
    """

    def __init__(self, options: GanrecOptions):
        self._options = options

    @property
    def steps(self) -> int:
        """Iterations of `run`, at most."""
        return MOST_ROUNDS * ROUND_ITERATIONS if self._options.init == "tv" else 0

    def run(
        self, measurement: Measurement, image: torch.Tensor, target: torch.Tensor, progress: StageProgress
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The start images.

        Parameters
        ----------
        measurement : Measurement
            Of n slices.
        image : (n, rows, cols) tensor
            Of their neighbours, relative to the scale of the data.
        target : (n,) tensor
            The neighbours' relative residual ‖A x − b‖/‖b‖.
        progress : StageProgress

        Returns
        -------
        image : (n, rows, cols) tensor
        rounds : (n,) tensor of int
        failed : (n,) tensor of bool
            The slices that never explained their data.
        """
        image, count = measurement.constraints.project(image), len(image)
        if self._options.init != "tv":
            nothing = torch.zeros(count, dtype=torch.long, device=image.device)
            return image, nothing, nothing.bool()
        criterion = _ExplainsData(measurement, image, target, progress)
        weights, data = measurement.weights, measurement.data
        found, rounds = reweighted_rounds(
            tv_solver(measurement, image, self._options.slice_tv_weight),
            weights.tv_weight(data),
            weights.edge_threshold(data) if weights.rounds else None,
            MOST_ROUNDS,
            ROUND_ITERATIONS,
            criterion,
            rescale_each_round=True,
            on_iteration=progress.step,
        )
        return found, rounds, criterion.failed


@torch.no_grad()
def warm_start(
    model: ForwardModel, group: Group, options: GanrecOptions, constraints: Constraints, progress: StageProgress
) -> tuple[Start | None, torch.Tensor]:
    """The start images of the slices that their neighbours' images explain, and which (n,) they do not."""
    if group.init is None:
        raise ValueError("a warm start needs the images of the neighbours")
    stage = WarmStart(options)
    progress.expect(stage.steps)
    if group.neighbours[0].pixel_model == "point":
        measurement = Measurement.of_point_pixels(model, group.data, group.weights, constraints)
    else:
        measurement = Measurement.of_area_means(model, group.data, group.weights, constraints).whitened()
    if options.resolved.max_attenuation is not None:
        measurement = measurement.bounded(_bounds_of_neighbours(group, options.resolved.max_attenuation))
    target = torch.tensor([record.start_residual for record in group.neighbours]).to(group.data)
    served = distance(measurement, group.init, target) <= FAR
    if not served.any():
        return None, ~served
    tried = torch.nonzero(served)[:, 0]
    image, rounds, failed = stage.run(measurement.take(tried), group.init[tried], target[tried], progress)
    served[tried[failed]] = False
    kept = torch.nonzero(served)[:, 0]
    if not len(kept):
        return None, ~served
    return Start(group.index[kept], measurement.take(kept), image[~failed], rounds[~failed]), ~served


def _bounds_of_neighbours(group: Group, given: float | str | None) -> list[AttenuationBound | None]:
    """The bound given, or those of the neighbours, relative to the scale of each slice's own data."""
    bounds: list[AttenuationBound | None] = []
    for record, scale in zip(group.neighbours, group.scale.flatten().tolist(), strict=True):
        if isinstance(given, float):
            bounds.append(AttenuationBound(given / scale, "given"))
        else:
            value = record.max_attenuation
            bounds.append(None if value is None else AttenuationBound(value / scale, "neighbour"))
    return bounds
