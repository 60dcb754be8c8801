"""Per-pixel uncertainty of a reconstruction by a parametric bootstrap."""

from __future__ import annotations

import math

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.measurement.regularization import per_slice
from tomopy_ganrec.solvers.reweighting import reweighted_rounds
from tomopy_ganrec.solvers.total_variation import TotalVariation

from .stage_progress import StageProgress

__all__ = ["Bootstrap"]

PLAIN_ITERATIONS, ROUNDS, ROUND_ITERATIONS = 84, 5, 21


class Bootstrap:
    """Standard deviation of a slice over reconstructions of its data with fresh noise, each with its own λ and ε.

    A bootstrap (B. Efron, Ann. Statist. 7, 1–26, 1979) over the noise and over what is not known: λ and ε are up to
    twice and down to half of those chosen, uniformly in their logarithms. Where projections determine the slice, all
    agree; along edges that lie in the missing wedge the regularisation decides, and they differ. What is wrong in all
    of them alike does not show.

    Parameters
    ----------
    measurement : Measurement
    samples : int
        Reconstructions of each slice.
    seed : int
    """

    def __init__(self, measurement: Measurement, samples: int, seed: int):
        self._measurement, self._samples, self._seed = measurement, samples, seed

    @property
    def steps(self) -> int:
        """Iterations of `run`, for one slice."""
        return PLAIN_ITERATIONS + ROUNDS * ROUND_ITERATIONS

    @torch.no_grad()
    def run(self, k: int, progress: StageProgress) -> torch.Tensor:
        """The standard deviation of slice `k`, (rows, cols) in the measurement's units; NaN for one sample."""
        measurement = self._measurement
        rng = torch.Generator().manual_seed(self._seed + 7)
        owner = torch.full((self._samples,), k)
        data = measurement.data[owner]
        data = data + measurement.noise(owner, rng)
        weights = measurement.weights.slices[k]
        factors = 2 ** (2 * torch.rand(2, self._samples, generator=rng, dtype=torch.float32) - 1)
        tv_weight = per_slice((weights.tv_weight * factors[0]).tolist(), data)
        edge_threshold = per_slice((weights.edge_threshold * factors[1]).tolist(), data)
        constraints = measurement.constraints.take(owner)
        solver = TotalVariation(
            measurement.model,
            data,
            weights.step_ratio,
            constraints.nonnegative,
            constraints.support,
            measurement.spectrum_of(torch.tensor([k])),
            weights.wedge_tv_weight,
            maximum=constraints.maximum,
        )
        solver.run(tv_weight, PLAIN_ITERATIONS, on_iteration=progress.step)
        rounds = ROUNDS if weights.rounds else 0
        image, _ = reweighted_rounds(
            solver, tv_weight, edge_threshold, rounds, ROUND_ITERATIONS, on_iteration=progress.step
        )
        return image.std(0) if self._samples > 1 else torch.full_like(image[0], math.nan)
