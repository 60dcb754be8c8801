"""Per-pixel uncertainty of a reconstruction: a parametric bootstrap, calibrated on copies of the slice."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F

from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.measurement.regularization import per_slice
from tomopy_ganrec.solvers.forward_model import angles_of
from tomopy_ganrec.solvers.operators import upper_quantile
from tomopy_ganrec.solvers.reweighting import reweighted_rounds
from tomopy_ganrec.solvers.total_variation import TotalVariation
from tomopy_ganrec.solvers.wedge import middle_angle

from .reweighted_tv import tv_solver
from .rotations import random_rotations, rotate
from .stage_progress import StageProgress

__all__ = ["Bootstrap"]

PLAIN_ITERATIONS, ROUNDS, ROUND_ITERATIONS = 84, 5, 21  # of a sample
BOUND_CHANGE = 0.03  # by which the bound of a sample is above or below the one found, at most
COPIES, COPY_SAMPLES = 2, 4  # rotated copies of a slice, and the samples of each
# Of a copy's reconstruction, which must have settled as the slice's own has: after as few iterations as a sample's the
# error of a disc with pores is 1.5 times as large (90°, 1e5 photons).
COPY_PLAIN_ITERATIONS, COPY_ROUNDS, COPY_ROUND_ITERATIONS = 120, 6, 28
# Of the copies' pixels whose error is within one standard deviation. It is less than 68 %: a deviation over four
# samples scatters more than the slice's own.
SHARE = 0.65
# Deviation, relative to the image's upper quantile, that every pixel has before the factor: pixels in which all samples
# agree, as at 0 or at a bound, decide nothing.
LEAST_DEVIATION = 0.01
OBJECT_LEVEL, REACH = 0.05, 1 / 32  # of the upper quantile, and of the columns; see `_reach`


class Bootstrap:
    """Standard deviation of a slice over reconstructions of its data with fresh noise, scaled to the size of its error.

    A bootstrap (B. Efron, Ann. Statist. 7, 1–26, 1979) over the noise and over what is not known: λ and ε are up to
    twice and down to half of those chosen, and an attenuation bound that was found up to 3 % higher or lower, uniformly
    in their logarithms. Where projections determine the slice, all agree; along edges that lie in the missing wedge the
    regularisation decides, and they differ.

    The standard deviation s of the samples does not show what is wrong in all of them alike. Two rotated copies of the
    reconstruction (one of them mirrored), for which the truth is known, tell how much that is: each is projected over
    the measured range, with noise, reconstructed like the slice (with the bound 1.5 % too low and too high) and has a
    bootstrap of its own. The result is f √(s² + (q/100)²), q the image's upper quantile, with the factor f for which
    65 % of the copies' errors are below it.

    The pixels that count are those within the reach of the object: inside the support, and from a pixel above q/20 not
    farther than a 32nd of the columns along rows and columns. Outside the support the deviation is 0.

    What the reconstruction has lost altogether is not in its copies: where structure is finer than what the scan
    resolves, errors are larger than the result says. With the finer grid and the learned wedge they are smaller: copies
    and samples are reconstructed by total variation alone.

    Parameters
    ----------
    measurement : Measurement
        Of n slices.
    image : (n, rows, cols) tensor
        Their reconstruction.
    samples : int
        Reconstructions of each slice.
    seed : int
    """

    def __init__(self, measurement: Measurement, image: torch.Tensor, samples: int, seed: int):
        self._measurement, self._image, self._samples, self._seed = measurement, image, samples, seed

    @property
    def steps(self) -> int:
        """Iterations of `run`, for one slice."""
        sample = PLAIN_ITERATIONS + ROUNDS * ROUND_ITERATIONS
        return 2 * sample + COPY_PLAIN_ITERATIONS + COPY_ROUNDS * COPY_ROUND_ITERATIONS

    @torch.no_grad()
    def run(self, k: int, progress: StageProgress) -> torch.Tensor:
        """The standard deviation of slice `k`, (rows, cols) in the measurement's units; NaN for one sample."""
        rng = torch.Generator().manual_seed(self._seed + 7)
        one = self._measurement.take(torch.tensor([k], device=self._image.device))
        image = self._image[k : k + 1].to(one.data)
        spread = _spread(one, self._samples, rng, progress)
        if progress.stopped or self._samples < 2:
            return spread[0]
        copies, truth = _copies(one, image, rng)
        answer = _reconstruction(copies, progress)
        of_copies = _spread(copies, COPY_SAMPLES, rng, progress)
        counts = _reach(answer, copies.constraints)
        least = LEAST_DEVIATION * upper_quantile(image)
        if progress.stopped or not counts.any() or not least.any():
            return spread[0]
        spread, of_copies = (torch.hypot(each, least) for each in (spread, of_copies))
        factor = upper_quantile(((answer - truth) / of_copies)[counts][None], SHARE)
        return one.constraints.restrict(factor * spread)[0]


def _spread(measurement: Measurement, samples: int, rng: torch.Generator, progress: StageProgress) -> torch.Tensor:
    """Standard deviation over the samples of each slice, (n, rows, cols)."""
    n = len(measurement.data)
    owner = torch.arange(n).repeat_interleave(samples)
    drawn = measurement.take(owner)
    data = drawn.data + measurement.noise(owner, rng)
    factors = 2 ** (2 * torch.rand(2, len(owner), generator=rng, dtype=torch.float32) - 1)
    tv_weight, edge_threshold = (
        weight(data) * per_slice(factor.tolist(), data)
        for weight, factor in zip((drawn.weights.tv_weight, drawn.weights.edge_threshold), factors, strict=True)
    )
    change = 2 * torch.rand(len(owner), generator=rng, dtype=torch.float32) - 1
    drawn = _with_other_bounds(replace(drawn, data=data), change.tolist())
    solver = tv_solver(drawn)
    solver.run(tv_weight, PLAIN_ITERATIONS, on_iteration=progress.step)
    image = _rounds(solver, drawn, tv_weight, edge_threshold, ROUNDS, ROUND_ITERATIONS, progress)
    if samples == 1:
        return torch.full_like(image, math.nan)
    return image.unflatten(0, (n, samples)).std(1)


def _copies(measurement: Measurement, image: torch.Tensor, rng: torch.Generator) -> tuple[Measurement, torch.Tensor]:
    """Rotated copies of one slice (1, rows, cols) as its scan would show them, and what they are."""
    owner = torch.zeros(COPIES, dtype=torch.long, device=image.device)
    theta = angles_of(measurement.model)
    matrices = random_rotations(COPIES, rng, 0.0 if theta is None else middle_angle(theta))
    constraints = measurement.constraints.of_copies(owner, lambda support: rotate(support, matrices))
    truth = constraints.project(rotate(image[owner], matrices))
    data = measurement.model.forward_project(truth) + measurement.noise(owner, rng)
    copies = replace(measurement.take(owner), data=data, constraints=constraints)
    return _with_other_bounds(copies, torch.linspace(-0.5, 0.5, COPIES).tolist()), truth


def _reconstruction(measurement: Measurement, progress: StageProgress) -> torch.Tensor:
    """The images of a measurement, (n, rows, cols)."""
    data, weights = measurement.data, measurement.weights
    tv_weight, edge_threshold = weights.tv_weight(data), weights.edge_threshold(data)
    solver = tv_solver(measurement)
    solver.run(tv_weight, COPY_PLAIN_ITERATIONS, on_iteration=progress.step)
    return _rounds(solver, measurement, tv_weight, edge_threshold, COPY_ROUNDS, COPY_ROUND_ITERATIONS, progress)


def _rounds(
    solver: TotalVariation,
    measurement: Measurement,
    tv_weight: torch.Tensor,
    edge_threshold: torch.Tensor,
    rounds: int,
    iterations: int,
    progress: StageProgress,
) -> torch.Tensor:
    """The images after rounds of reweighting, where the measurement's weights have any."""
    rounds = rounds if measurement.weights.rounds else 0
    image, _ = reweighted_rounds(solver, tv_weight, edge_threshold, rounds, iterations, on_iteration=progress.step)
    return image


def _with_other_bounds(measurement: Measurement, change: list[float]) -> Measurement:
    """With bounds changed by `BOUND_CHANGE` to the power of each `change`; those that were given stay as they are."""
    constraints, bounds = measurement.constraints, measurement.bounds
    if constraints.maximum is None:
        return measurement
    if bounds:
        given = [bound is not None and bound.origin == "given" for bound in bounds]
        change = [0.0 if known else one for known, one in zip(given, change, strict=True)]
    maximum = constraints.maximum * per_slice([(1 + BOUND_CHANGE) ** one for one in change], measurement.data)
    return replace(measurement, constraints=replace(constraints, maximum=maximum))


def _reach(image: torch.Tensor, constraints: Constraints) -> torch.Tensor:
    """The pixels within the reach of the object in images (n, rows, cols), as booleans."""
    inside = (image.abs() > OBJECT_LEVEL * upper_quantile(image)).to(image)
    width = 2 * max(1, round(REACH * image.shape[2])) + 1
    near = F.max_pool2d(inside[:, None], width, 1, width // 2)[:, 0]
    return constraints.restrict(near) > 0
