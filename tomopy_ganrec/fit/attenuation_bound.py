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
from tomopy_ganrec.solvers.operators import gradient, upper_quantile
from tomopy_ganrec.solvers.reweighting import linear_step, reweighted_rounds
from tomopy_ganrec.solvers.total_variation import TotalVariation
from tomopy_ganrec.solvers.wedge import has_missing_wedge

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
# Limits between which a test's answer goes from no to yes; see `_share_of_solid` and `_margin`.
EARLY_LIMITS, LEVEL_LIMITS = (0.93, 0.945), (0.945, 0.965)
GREY_LIMITS, THIN_LIMITS = (0.13, 0.18), (1.02, 1.05)
OVERSHOOT_LIMITS, THINNER_LIMITS = (1.45, 1.55), (1.04, 1.08)
MARGIN, SURENESS_LIMITS = 0.12, (0.5, 1.2)


class AttenuationBoundStage:
    """Finds the bounds of slices inside their start images, or tries those that were given.

    From the plain total variation of a slice on, six bounds are tried, the first well below the image's upper quantile
    and the next ones where the residual should have risen by 2 and 1 % of the data. The line through the bounds at
    these two rises gives the one at which the rise begins. It is kept where the slice shows, after two rounds of
    reweighting, that it has one solid (`_share_of_solid`); other slices go on as if nothing had been.

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
        return (1 + STEPS) * STEP_ITERATIONS + TRIAL_ITERATIONS + TRIAL_ROUNDS * ROUND_ITERATIONS

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
        free.run(self._tv_weight(every), STEP_ITERATIONS, on_iteration=progress.step)
        residual = self._residual(free.x)
        if self._given is None:
            found, overshoot = self._lowest_bounds(solver, free.x, residual, progress)
        else:
            found = self._given / self._scale.to(measurement.data)
        bounded = solver.take(every).set_maximum(found)
        bounded.run(self._tv_weight(every), TRIAL_ITERATIONS, on_iteration=progress.step)
        rise = residual_rise(self._residual(bounded.x), residual)
        value, share, origin = found, torch.ones_like(rise), "given"
        if self._given is not None:
            rise = torch.full_like(rise, math.nan) if progress.stopped else rise
        else:
            share, value, bounded = self._slices_of_one_solid(bounded, found, overshoot, progress)
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
        self, bounded: TotalVariation, found: torch.Tensor, overshoot: torch.Tensor, progress: StageProgress
    ) -> tuple[torch.Tensor, torch.Tensor, TotalVariation]:
        """Which slices have one solid, their bounds, and a solver of these slices.

        Parameters
        ----------
        bounded : TotalVariation
            Of the n slices, with the bounds found.
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
        level, _ = _material(self._measurement, bounded.x, found, self._joint)
        possible = torch.nonzero(level.flatten() > EARLY_LIMITS[0])[:, 0]
        value, share = found.clone(), torch.zeros_like(found[:, 0, 0])
        if not len(possible):
            return share, value, bounded
        bounded = bounded.take(possible)
        early = linear_step(level[possible], *EARLY_LIMITS)
        measurement = self._measurement.take(possible)
        weights, data = measurement.weights, measurement.data
        image, _ = reweighted_rounds(
            bounded,
            weights.tv_weight(data),
            weights.edge_threshold(data),
            TRIAL_ROUNDS if weights.rounds else 0,
            ROUND_ITERATIONS,
            on_iteration=progress.step,
        )
        level, grey = _material(measurement, image, found[possible], self._joint)
        one_solid = early * _share_of_solid(level, grey, overshoot[possible])
        value[possible] *= (1 + _margin(level, overshoot[possible])) / one_solid.clamp(min=0.05)
        share[possible] = one_solid.flatten()
        return share, value, bounded.take(torch.nonzero(one_solid.flatten())[:, 0])

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
            bounded.run(self._tv_weight(every), STEP_ITERATIONS, on_iteration=progress.step)
            bounds.append(bound)
            rises.append(residual_rise(self._residual(bounded.x), residual))

        rise_at(FIRST_FACTOR * top)
        for target in (RISE_HIGH, RISE_HIGH, RISE_HIGH, RISE_LOW):
            rise_at(_bound_at(target, bounds, rises))
        found = _start_of_rise(bounds, rises)
        rise_at(BASE_FACTOR * found)
        found = _start_of_rise(bounds, rises, rises[-1].clamp(max=BASE_LIMIT))
        return found[:, None, None], (top / found)[:, None, None]

    def _tv_weight(self, index: torch.Tensor) -> torch.Tensor:
        return self._measurement.weights.tv_weight(self._measurement.data)[index]

    def _residual(self, image: torch.Tensor) -> torch.Tensor:
        """The relative residual of each slice, (n,); of slices that are one body, of all of them."""
        residual = self._measurement.relative_residual(image)
        if self._joint:
            power = self._measurement.data.flatten(1).square().sum(1)
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


def _material(
    measurement: Measurement, image: torch.Tensor, bound: torch.Tensor, joint: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The level of the image's bright part that explains the data best, relative to the bound, and its grey share.

    The bright part is the image with its contrast raised threefold about half the bound. Where there is one solid, its
    level is the bound's or, with walls thinner than a pixel or attenuation that is still piled up, more; of several
    solids it is a mean, and lies below. Grey is the share of the image's sum in pixels from 0.2 to 0.7 of the bound
    whose gradient is less than 0.06 of it: another solid, where they are many.

    Parameters
    ----------
    measurement : Measurement
    image : (n, rows, cols) tensor
        With the bound.
    bound : (n, 1, 1) tensor
    joint : bool
        Whether the slices are one body.

    Returns
    -------
    level, grey : (n, 1, 1) tensor
    """
    relative = image / bound
    bright = ((relative - 0.5) * 3 + 0.5).clamp(0, 1)
    projected = measurement.model.forward_project(bright)
    change = torch.stack(gradient(relative)).norm(dim=0)
    is_grey = (relative > 0.2) & (relative < 0.7) & (change < 0.06)
    sums = torch.stack(
        [
            (projected * measurement.data).sum((1, 2)),
            (projected * projected).sum((1, 2)),
            (relative * is_grey).sum((1, 2)),
            relative.sum((1, 2)),
        ]
    )
    if joint:
        sums = sums.sum(1, keepdim=True).expand_as(sums)
    sums = sums + torch.finfo(sums.dtype).tiny
    level, grey = sums[0] / sums[1] / bound.flatten(), sums[2] / sums[3]
    return level[:, None, None], grey[:, None, None]


def _share_of_solid(level: torch.Tensor, grey: torch.Tensor, overshoot: torch.Tensor) -> torch.Tensor:
    """From 0, several solids, to 1, one solid.

    By the level and the grey share of `_material`; by the level alone where walls are thinner than a pixel. What is far
    above the bound is a second, brighter solid, unless walls are thinner than a pixel.
    """
    one_level = torch.maximum(1 - linear_step(grey, *GREY_LIMITS), linear_step(level, *THIN_LIMITS))
    none_brighter = torch.maximum(1 - linear_step(overshoot, *OVERSHOOT_LIMITS), linear_step(level, *THINNER_LIMITS))
    return linear_step(level, *LEVEL_LIMITS) * one_level * none_brighter


def _margin(level: torch.Tensor, overshoot: torch.Tensor) -> torch.Tensor:
    """How far the bound stays above the one found, relative to it.

    With little attenuation above the solid the residual begins to rise late, and the bound found is too low: by as much
    as 15 % for separate grains.
    """
    sureness = (level - 0.99) / 0.02 + (overshoot - 1.25) / 0.05
    return MARGIN * (1 - linear_step(sureness, *SURENESS_LIMITS))
