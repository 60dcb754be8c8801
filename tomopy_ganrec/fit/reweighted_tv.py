"""Total variation of a measurement: solver, rounds of edge reweighting, missing wedge filled from a prior image."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.solvers.forward_model import required_angles
from tomopy_ganrec.solvers.operators import edge_weights, upper_quantile
from tomopy_ganrec.solvers.reweighting import linear_step, reweighted_rounds
from tomopy_ganrec.solvers.total_variation import TotalVariation
from tomopy_ganrec.solvers.wedge import measured_frequencies

__all__ = ["PRIOR_WEIGHT", "ROUND_ITERATIONS", "WEDGE_ITERATIONS", "fill_missing_wedge", "reweighted_tv", "tv_solver"]

ROUND_ITERATIONS = 28  # of total variation in a round of reweighting
# ‖change‖/‖image‖ in a round at and below which a slice has no more rounds, and from which on it has another one for
# certain. In between the image is a mean of this round's and what follows, so that rounding decides nothing.
SETTLED_CHANGE = 2.5e-3, 3.5e-3
# Of the solve that fills the missing wedge: rounds of reweighting, and iterations. The weights of its own image bring
# plains back that a network's answer has not: a single round with the answer's own edges, and three times the weight,
# loses .009 MSSIM on shale over 90° with 1e4 photons (128²), where seven gain .007, and .003 to .01 elsewhere.
WEDGE_ROUNDS = 7
WEDGE_ITERATIONS = WEDGE_ROUNDS * ROUND_ITERATIONS
# Of the image that fills the missing wedge, in units of λ; half of it on a finer grid, where it gains .001 to .003.
PRIOR_WEIGHT = 1.0


def tv_solver(measurement: Measurement, init: torch.Tensor | None = None, across: float = 0.0) -> TotalVariation:
    """Total variation of the data as a measurement explains them.

    Parameters
    ----------
    measurement : Measurement
    init : (n, rows, cols) tensor, optional
        Where it begins; default: zero.
    across : float
        Weight of the difference between neighbouring slices.
    """
    solver = TotalVariation(
        measurement.model,
        measurement.data,
        measurement.weights.step_ratio,
        measurement.constraints.nonnegative,
        measurement.constraints.support,
        measurement.spectrum,
        measurement.weights.wedge_tv_weight,
        across,
        measurement.constraints.maximum,
    )
    return solver if init is None else solver.start(init)


def reweighted_tv(
    solver: TotalVariation, measurement: Measurement, on_iteration: Callable[[], object] | None = None
) -> torch.Tensor:
    """The images (n, rows, cols) after the measurement's rounds of reweighting, from where a solver is.

    A slice whose image has settled takes no more part. Slices that are solved jointly go on together.
    """

    def goes_on(
        number: int, last: bool, active: torch.Tensor, before: torch.Tensor, image: torch.Tensor
    ) -> torch.Tensor:
        norm = image.flatten(1).norm(dim=1) + torch.finfo(image.dtype).tiny
        change = linear_step((image - before).flatten(1).norm(dim=1) / norm, *SETTLED_CHANGE)
        return change.max().expand_as(change) if solver.across else change

    weights, data = measurement.weights, measurement.data
    image, _ = reweighted_rounds(
        solver,
        weights.tv_weight(data),
        weights.edge_threshold(data),
        weights.rounds,
        ROUND_ITERATIONS,
        goes_on,
        on_iteration=on_iteration,
    )
    return image


def fill_missing_wedge(
    measurement: Measurement,
    prior_image: torch.Tensor,
    first: torch.Tensor,
    across: float = 0.0,
    on_iteration: Callable[[], object] | None = None,
    prior_weight: float = PRIOR_WEIGHT,
    rounds: int = WEDGE_ROUNDS,
) -> torch.Tensor:
    """The image nearest to a prior image in the frequencies that were not measured, and to the data in the others.

    It is a total variation, weighted with the edges of the prior image at first and with its own in later rounds.

    Parameters
    ----------
    measurement : Measurement
    prior_image : (n, rows, cols) tensor
        Such as a network's.
    first : (n, rows, cols) tensor
        The image to whose upper quantile ε is relative.
    across : float
        Weight of the difference between neighbouring slices.
    on_iteration : callable, optional
        Called after each of the `ROUND_ITERATIONS` of a round; a true answer ends them.
    prior_weight : float
        Of the distance from the prior image, in units of λ.
    rounds : int
        Of reweighting, at least 1.
    """
    tv_weight, edge_threshold = (
        f(prior_image) for f in (measurement.weights.tv_weight, measurement.weights.edge_threshold)
    )
    solver = tv_solver(measurement, measurement.constraints.clamp(prior_image), across)
    missing = 1 - measured_frequencies(required_angles(measurement.model), prior_image.shape[1:]).to(prior_image)
    scale = edge_threshold * upper_quantile(first) + torch.finfo(prior_image.dtype).tiny
    prior = prior_weight * tv_weight * missing, prior_image
    image = prior_image
    for _ in range(rounds):
        weight = edge_weights(image, scale, across=across)
        image = solver.run(tv_weight, ROUND_ITERATIONS, weight, on_iteration, prior)
        if solver.stopped:
            break
    return image
