"""How sure a reconstruction is of each pixel: by how much it varies between scans that could as well have been measured."""

import math

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement, per_slice
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.total_variation import TotalVariation

__all__ = ["bootstrap_std", "bootstrap_steps"]

PLAIN, ROUNDS, ITERATIONS = 84, 5, 21


def bootstrap_steps() -> int:
    """How many times `spread` calls `notify` for a slice."""
    return PLAIN + ROUNDS * ITERATIONS


def bootstrap_std(measurement: Measurement, k: int, options: GanrecOptions, mask, count: int, notify) -> torch.Tensor:
    """Standard deviation of slice `k` over `count` reconstructions of its data with fresh noise added, each with λ and ε of its own.

    A bootstrap (B. Efron, Ann. Statist. 7, 1–26, 1979) over the noise and over what nobody knows: λ and ε are up to twice and down to half of
    those chosen, uniformly in their logarithms. Where projections determine the slice, all agree; along edges that lie in the missing wedge the
    regularisation decides, and they differ. What is wrong in all of them alike does not show.

    Returns
    -------
    (rows, cols) tensor
        In the measurement's units.
    """
    generator = torch.Generator().manual_seed(options.seed + 7)
    owner = torch.full((count,), k)
    data = measurement.data[owner]
    data = data + measurement.noise(owner, generator)
    settings = measurement.settings[k]
    jitter = 2 ** (2 * torch.rand(2, count, generator=generator, dtype=torch.float32) - 1)
    tv_weight, edge_threshold = (
        per_slice((value * factor).tolist(), data)
        for value, factor in zip((settings.tv_weight, settings.edge_threshold), jitter, strict=True)
    )
    spectrum = measurement.spectrum
    if spectrum is not None and len(spectrum) > 1:
        spectrum = spectrum[k : k + 1]
    solver = TotalVariation(
        measurement.model, data, settings.step_ratio, options.nonnegative, mask, spectrum, settings.wedge_tv_weight
    )
    solver.run(tv_weight, PLAIN, on_iteration=notify)
    if settings.rounds:
        solver.reweight(tv_weight, edge_threshold, ROUNDS, ITERATIONS, notify)
    return solver.x.std(0) if count > 1 else torch.full_like(solver.x[0], math.nan)
