"""The largest attenuation of a slice's material, found from the data.

A body of one solid attenuates nowhere more than the solid, while a reconstruction of a limited angular range piles
attenuation up where edges are seen and thins it out where they are not: a bound on the first fills the second. As the
bound u of a total variation falls, its residual hardly rises until u cuts into the solid; from there on it rises
linearly. The solid's attenuation is where that line begins.
"""

from __future__ import annotations

import math

import torch

from tomopy_ganrec.fit.measurement.measurement import AttenuationBound, Measurement
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.forward_model import required_angles
from tomopy_ganrec.solvers.operators import upper_quantile
from tomopy_ganrec.solvers.reweighting import linear_step, reweighted_rounds
from tomopy_ganrec.solvers.total_variation import TotalVariation
from tomopy_ganrec.solvers.wedge import has_missing_wedge, measured_range

from .one_solid import inside, margin, material, share_of_solid
from .reweighted_tv import ROUND_ITERATIONS
from .stage_progress import StageProgress

__all__ = ["RISE_LOW", "AttenuationBoundStage", "residual_rise"]

# Of the bounds tried: the first relative to the image's upper quantile; iterations for each, and how many.
FIRST_FACTOR, STEP_ITERATIONS, STEPS = 0.78, 20, 6
# By how much the residual usually rises with the logarithm of the bound, and the largest step of that.
USUAL_SLOPE, LARGEST_STEP = 0.14, 0.15
# With the bound that was found: iterations of plain total variation, and rounds of reweighting.
TRIAL_ITERATIONS, TRIAL_ROUNDS = 24, 2
# Rise of the residual, √(R² − R₀²) with R = ‖A x − b‖/‖b‖ with a bound and R₀ without, at the two bounds through which
# the line is drawn.
RISE_LOW, RISE_HIGH = 0.01, 0.02
# At this factor above the solid the residual has risen by what the bound does to the regularisation alone: that much,
# but at most the second number, is taken off.
BASE_FACTOR, BASE_LIMIT = 1.1, 0.008
EARLY_LIMITS = (0.93, 0.945)  # of the level (`one_solid.material`): below, a slice is not looked at any further
NO_EFFECT = (0.92, 0.97)  # of the image's upper quantile: up to the first a bound counts, from the second on it is none
# How far the free image's inside may lie above a bound before the bounded image is not gone on from.
INSIDE_LIMITS = (1.06, 1.12)


class AttenuationBoundStage:
    """Finds the bounds of slices inside their start images, or tries those that were given.

    From the plain total variation of a slice on, six bounds are tried, the first well below the image's upper quantile
    and the next ones where the residual should have risen by 2 and 1 % of the data. The line through the bounds at
    these two rises gives the one at which the rise begins. It is kept where the slice shows, after two rounds of
    reweighting, that it has one solid (`one_solid.share_of_solid`), and is raised where the same rounds without a bound
    show more attenuation inside of it (`one_solid.inside`); other slices go on as if nothing had been.

    Parameters
    ----------
    measurement : Measurement
        Of n slices.
    options : GanrecOptions
    scale : (n, 1, 1) tensor
        Of the data.
    """

    def __init__(self, measurement: Measurement, options: GanrecOptions, scale: torch.Tensor):
        self._measurement, self._scale, self._joint = measurement, scale, options.joint_slices > 1
        chosen = options.resolved.max_attenuation
        self._searches = chosen == "auto" and has_missing_wedge(measurement.model)
        self._given = None if chosen is None or isinstance(chosen, str) else chosen

    @property
    def steps(self) -> int:
        """Iterations of `run`, at most."""
        if self._given is not None:
            return STEP_ITERATIONS + TRIAL_ITERATIONS
        if not self._searches:
            return 0
        return (1 + STEPS) * STEP_ITERATIONS + TRIAL_ITERATIONS + 2 * TRIAL_ROUNDS * ROUND_ITERATIONS

    def run(self, solver: TotalVariation, progress: StageProgress) -> Measurement:
        """The measurement with its bounds. The solver, which has none so far, has gone on with them.

        Parameters
        ----------
        solver : TotalVariation
            Of the n slices.
        progress : StageProgress
        """
        measurement = self._measurement
        if not self._searches and self._given is None:
            return measurement
        every = torch.arange(len(solver.x), device=solver.x.device)
        free = solver.take(every)
        free.run(self._tv_weight, STEP_ITERATIONS, on_iteration=progress.step)
        residual = self._residual(measurement, free.x)
        if self._given is None:
            found, overshoot = self._lowest_bounds(solver, free.x, residual, progress)
        else:
            found = self._given / self._scale.to(measurement.data)
        bounded = solver.take(every).set_maximum(found)
        bounded.run(self._tv_weight, TRIAL_ITERATIONS, on_iteration=progress.step)
        rise = residual_rise(self._residual(measurement, bounded.x), residual)
        value, share, origin = found, torch.ones_like(rise), "given"
        if self._given is not None:
            rise = torch.full_like(rise, math.nan) if progress.stopped else rise
        else:
            share, value, bounded = self._slices_of_one_solid(bounded, free, found, overshoot, progress)
            every, origin = torch.nonzero(share)[:, 0], "found"
            if progress.stopped or not len(every):
                return measurement
        solver.put(every, bounded, share[every])
        bounds: list[AttenuationBound | None] = [None] * len(value)
        for k in every.tolist():
            bounds[k] = AttenuationBound(float(value[k]), origin, float(rise[k]))
        measurement = measurement.bounded(bounds)
        solver.set_maximum(measurement.constraints.maximum)
        return measurement

    def _slices_of_one_solid(
        self,
        bounded: TotalVariation,
        free: TotalVariation,
        found: torch.Tensor,
        overshoot: torch.Tensor,
        progress: StageProgress,
    ) -> tuple[torch.Tensor, torch.Tensor, TotalVariation]:
        """Which slices have one solid, their bounds, and a solver of these slices.

        Parameters
        ----------
        bounded, free : TotalVariation
            Of the n slices, with the bounds found and without.
        found, overshoot : (n, 1, 1) tensor
        progress : StageProgress

        Returns
        -------
        share : (n,) tensor
            0: not one solid.
        value : (n, 1, 1) tensor
        solver : TotalVariation
            Of the slices whose share is above 0.
        """
        level, _ = material(self._measurement, bounded.x, found, self._joint)
        possible = torch.nonzero(level.flatten() > EARLY_LIMITS[0])[:, 0]
        value, share = found.clone(), torch.zeros_like(found[:, 0, 0])
        if not len(possible):
            return share, value, bounded
        early = linear_step(level[possible], *EARLY_LIMITS)
        measurement = self._measurement.take(possible)
        weights, data = measurement.weights, measurement.data
        bounded, free = bounded.take(possible), free.take(possible)
        for solver in (bounded, free) if weights.rounds else ():
            reweighted_rounds(
                solver,
                weights.tv_weight(data),
                weights.edge_threshold(data),
                TRIAL_ROUNDS,
                ROUND_ITERATIONS,
                on_iteration=progress.step,
            )
        level, grey = material(measurement, bounded.x, found[possible], self._joint)
        one_solid = early * share_of_solid(level, grey, overshoot[possible])
        within = inside(free.x, found[possible], self._joint)
        bounded.put(torch.arange(len(possible)), free, linear_step(within, *INSIDE_LIMITS).flatten())
        degrees = math.degrees(measured_range(required_angles(measurement.model)))
        factor = torch.maximum(1 + margin(level, overshoot[possible], degrees), within) / one_solid.clamp(min=0.05)
        value[possible] *= factor
        one_solid = one_solid * (1 - linear_step(factor / overshoot[possible], *NO_EFFECT))
        share[possible] = one_solid.flatten()
        return share, value, bounded.take(torch.nonzero(one_solid)[:, 0])

    def _lowest_bounds(
        self, solver: TotalVariation, free: torch.Tensor, residual: torch.Tensor, progress: StageProgress
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The bound at which each slice's residual begins to rise, and its upper quantile relative to that: (n, 1, 1).

        Parameters
        ----------
        solver : TotalVariation
        free : (n, rows, cols) tensor
            The image after as many iterations without a bound.
        residual : (n,) tensor
            Its relative residual.
        progress : StageProgress
        """
        top = upper_quantile(free).flatten()
        if self._joint:
            top = top.max().expand_as(top)
        every = torch.arange(len(top), device=top.device)
        bounds, rises = [top], [torch.zeros_like(top)]

        def rise_at(bound: torch.Tensor) -> None:
            bounded = solver.take(every).set_maximum(bound[:, None, None])
            bounded.run(self._tv_weight, STEP_ITERATIONS, on_iteration=progress.step)
            bounds.append(bound)
            rises.append(residual_rise(self._residual(self._measurement, bounded.x), residual))

        rise_at(FIRST_FACTOR * top)
        for target in (RISE_HIGH, RISE_HIGH, RISE_HIGH, RISE_LOW):
            rise_at(_bound_at(target, bounds, rises))
        found = _start_of_rise(bounds, rises)
        rise_at(BASE_FACTOR * found)
        found = _start_of_rise(bounds, rises, rises[-1].clamp(max=BASE_LIMIT))
        return found[:, None, None], (top / found)[:, None, None]

    @property
    def _tv_weight(self) -> torch.Tensor:
        return self._measurement.weights.tv_weight(self._measurement.data)

    def _residual(self, measurement: Measurement, image: torch.Tensor) -> torch.Tensor:
        """The relative residual of each slice, (n,); of slices that are one body, of all of them."""
        residual = measurement.relative_residual(image)
        if self._joint:
            power = measurement.data.flatten(1).square().sum(1)
            residual = ((residual.square() * power).sum() / power.sum()).sqrt().expand_as(residual)
        return residual


def residual_rise(residual: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
    """√(R² − R₀²), 0 where R < R₀: what a residual R has more than R₀, which noise does not change."""
    return (residual.square() - free.square()).clamp(min=0).sqrt()


def _bound_at(rise: float, bounds: list[torch.Tensor], rises: list[torch.Tensor]) -> torch.Tensor:
    """Where the residual should have risen by `rise`, from the last bound on, along the curve of a usual slope.

    Between bounds that have been tried, on the line between them.
    """
    known = _interpolated(torch.stack(bounds), torch.stack(rises), torch.full_like(bounds[0], rise))
    step = ((rises[-1] - rise) / USUAL_SLOPE).clamp(-LARGEST_STEP, LARGEST_STEP)
    reached = torch.stack(rises).amax(0) >= rise
    lowest = torch.stack(bounds).amin(0)
    return torch.where(reached, known, lowest * torch.exp(step))


def _start_of_rise(
    bounds: list[torch.Tensor], rises: list[torch.Tensor], base: torch.Tensor | None = None
) -> torch.Tensor:
    """Where the line through the bounds at rises of `RISE_LOW` and `RISE_HIGH` meets zero, (n,).

    Parameters
    ----------
    bounds, rises : list of (n,) tensor
        Bounds, and the rises of the residual with them.
    base : (n,) tensor, optional
        The rise, by what the bound does to the regularisation alone, that is taken off.
    """
    u, e = torch.stack(bounds), torch.stack(rises)
    square = torch.zeros_like(u[0]) if base is None else base.square()
    low, high = (_interpolated(u, e, (square + rise**2).sqrt()) for rise in (RISE_LOW, RISE_HIGH))
    return 2 * low - high


def _interpolated(bounds: torch.Tensor, rises: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """The bound at which the residual has risen by `at`, (n,), of some tried ones, (m, n), in any order.

    Linear between neighbouring bounds, and beyond the lowest one along the last line.
    """
    u, order = bounds.sort(0, descending=True)
    e = rises.gather(0, order).cummax(0).values
    k = (e < at).sum(0).clamp(1, len(u) - 1)[None]
    u0, u1, e0, e1 = u.gather(0, k - 1)[0], u.gather(0, k)[0], e.gather(0, k - 1)[0], e.gather(0, k)[0]
    share = (at - e0) / (e1 - e0).clamp(min=1e-6)
    return u0 + share.clamp(0, 2) * (u1 - u0)
