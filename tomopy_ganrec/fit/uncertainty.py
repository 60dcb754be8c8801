"""Per-pixel uncertainty of a reconstruction: a parametric bootstrap, calibrated on copies of the slice."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.measurement.regularization import per_slice
from tomopy_ganrec.solvers.operators import upper_quantile
from tomopy_ganrec.solvers.reweighting import reweighted_rounds
from tomopy_ganrec.solvers.total_variation import TotalVariation

from .reweighted_tv import tv_solver
from .stage_progress import StageProgress
from .wedge_learning import random_rotations, rotate

__all__ = ["Bootstrap"]

PLAIN_ITERATIONS, ROUNDS, ROUND_ITERATIONS = 84, 5, 21  # of a sample
BOUND_CHANGE = 0.03  # by which the bound of a sample is above or below the one found, at most
COPIES, COPY_SAMPLES = 2, 4  # rotated copies of a slice, and the samples of each
# Of a copy's reconstruction, which must have settled as the slice's own has: after as few iterations as a sample's the
# error of a disc with pores is 1.5 times as large (90°, 1e5 photons).
COPY_PLAIN_ITERATIONS, COPY_ROUNDS, COPY_ROUND_ITERATIONS = 120, 6, 28
BINS, SHARE = 10, 0.683  # of the calibration, and of the pixels that lie within one standard deviation
LOST_DETAIL = 1.0  # by which errors exceed those of copies
OBJECT_LEVEL, REACH = 0.05, 1 / 32  # of the upper quantile, and of the columns; see `_reach`


class Bootstrap:
    """Standard deviation of a slice over reconstructions of its data with fresh noise, scaled to the size of its error.

    A bootstrap (B. Efron, Ann. Statist. 7, 1–26, 1979) over the noise and over what is not known: λ and ε are up to
    twice and down to half of those chosen, and an attenuation bound that was found up to 3 % higher or lower, uniformly
    in their logarithms. Where projections determine the slice, all agree; along edges that lie in the missing wedge the
    regularisation decides, and they differ.

    What is wrong in all of them alike does not show in their standard deviation s. Two rotated, mirrored copies of the
    reconstruction, for which the truth is known, tell how much that is: each is projected over the measured range, with
    noise, reconstructed like the slice (one bound 1.5 % too high, one as much too low) and has a bootstrap of its own.
    Its pixels are divided into ten equal parts by s. In each of these, 68.3 % of the errors are below some value; these
    values, not falling with s and interpolated between the parts, are what the slice's own s are replaced with.

    The pixels that count are those within the reach of the object: inside the support and not farther than a 32nd of
    the columns, along rows and columns, from one above 5 % of the image's upper quantile. About 68 % of these have an
    error below the result. What the reconstruction has lost altogether is not in its copies: where walls are thinner
    than what the scan resolves the error is larger.

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
        if progress.stopped:
            return spread[0]
        copies, truth = _copies(one, image, rng)
        answer = _reconstruction(copies, progress)
        of_copies = _spread(copies, COPY_SAMPLES, rng, progress)
        counts = _reach(answer, copies)
        if progress.stopped or not counts.any():
            return spread[0]
        calibrated = _calibrated(spread, of_copies[counts], (answer - truth).abs()[counts])
        return one.constraints.restrict(LOST_DETAIL * calibrated)[0]


def _spread(measurement: Measurement, samples: int, rng: torch.Generator, progress: StageProgress) -> torch.Tensor:
    """Standard deviation over the samples of each slice, (n, rows, cols)."""
    n = len(measurement.data)
    owner = torch.arange(n).repeat_interleave(samples)
    drawn = measurement.take(owner.to(measurement.index.device))
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


def _copies(
    measurement: Measurement, image: torch.Tensor, rng: torch.Generator
) -> tuple[Measurement, torch.Tensor]:
    """Rotated copies of one slice (1, rows, cols) as its scan would show them, and what they are."""
    owner = torch.zeros(COPIES, dtype=torch.long, device=image.device)
    matrices = random_rotations(COPIES, rng)
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
    given = [bool(bounds) and bound is not None and bound.origin == "given" for bound in bounds or change]
    factors = [1.0 if known else (1 + BOUND_CHANGE) ** one for known, one in zip(given, change, strict=True)]
    maximum = constraints.maximum * per_slice(factors, measurement.data)
    return replace(measurement, constraints=replace(constraints, maximum=maximum))


def _reach(image: torch.Tensor, measurement: Measurement) -> torch.Tensor:
    """The pixels within the reach of the object in images (n, rows, cols), as booleans."""
    inside = (image > OBJECT_LEVEL * upper_quantile(image)).to(image)
    width = 2 * max(1, round(REACH * image.shape[2])) + 1
    near = F.max_pool2d(inside[:, None], width, 1, width // 2)[:, 0]
    return measurement.constraints.restrict(near) > 0


def _calibrated(spread: torch.Tensor, known_spread: torch.Tensor, known_error: torch.Tensor) -> torch.Tensor:
    """The error that `SHARE` of the pixels of equal spread do not exceed, in the shape of `spread`.

    Parameters
    ----------
    spread : tensor
    known_spread, known_error : (m,) tensors
        Of pixels whose error is known, m ≥ 1.
    """
    order = known_spread.argsort(stable=True)
    parts = [part for part in order.tensor_split(BINS) if len(part)]
    x = torch.stack([known_spread[part].mean() for part in parts])
    y = torch.stack([known_error[part].quantile(SHARE) for part in parts]).cummax(0).values
    tiny = torch.finfo(x.dtype).tiny
    if len(x) == 1:
        return y.expand_as(spread)
    k = torch.searchsorted(x, spread.contiguous()).clamp(1, len(x) - 1)
    share = ((spread - x[k - 1]) / (x[k] - x[k - 1] + tiny)).clamp(0, 1)
    between = y[k - 1] + share * (y[k] - y[k - 1])
    return between * (spread / (x[-1] + tiny)).clamp(min=1)  # beyond the last part in proportion
