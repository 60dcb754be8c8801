"""Total variation with weights that fall at edges, in rounds."""

from collections.abc import Callable

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement, per_slice
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.operators import edge_weights, upper_quantile
from tomopy_ganrec.solvers.total_variation import TotalVariation
from tomopy_ganrec.solvers.wedge import measured_frequencies

__all__ = ["ROUND_ITERATIONS", "fill_missing_wedge", "linear_step", "tv_solver"]

TV_ITERATIONS, ROUND_ITERATIONS, SIRT_ITERATIONS, TRIAL_ITERATIONS = 170, 28, 30, 105
# ‖change‖/‖image‖ in a round at and below which a slice has no more rounds, and from which on it has another one for certain. In between the image
# is a mean of this round's and what follows, so that rounding decides nothing.
SETTLED, MOVING = 2.5e-3, 3.5e-3


def tv_solver(measurement: Measurement, options: GanrecOptions, mask, init) -> TotalVariation:
    """Total variation of the data as the measurement explains them, at `init` or at zero."""
    first = measurement.settings[0]
    solver = TotalVariation(
        measurement.model,
        measurement.data,
        first.step_ratio,
        options.nonnegative,
        mask,
        measurement.spectrum,
        first.wedge_tv_weight,
        options.across,
    )
    return solver if init is None else solver.start(init)


def linear_step(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """0 up to `low`, 1 from `high` on, linear in between: a threshold at which rounding does not decide."""
    return ((value - low) / (high - low)).clamp(0, 1)


def reweighted_tv(
    solver: TotalVariation, measurement: Measurement, tv_weight, edge_threshold, notify: Callable | None
) -> torch.Tensor:
    """The images after the rounds of reweighting; a slice that has settled takes no more part. Neighbours of a stack stay together."""
    rounds, open_ = measurement.settings[0].rounds, torch.arange(len(solver.x), device=solver.x.device)
    if not rounds:
        return solver.x
    image, share = (
        torch.zeros_like(solver.x),
        torch.ones(len(open_)).to(solver.x),
    )  # what of each image is still to come
    edge_threshold, ended = edge_threshold * upper_quantile(solver.x) + torch.finfo(image.dtype).tiny, False

    def tell():
        nonlocal ended
        ended = ended or bool(notify and notify())
        return ended

    for done in range(1, rounds + 1):
        before = solver.x
        solver.run(tv_weight, ROUND_ITERATIONS, edge_weights(before, edge_threshold, across=solver.across), tell)
        norm = solver.x.flatten(1).norm(dim=1) + torch.finfo(image.dtype).tiny
        goes_on = linear_step((solver.x - before).flatten(1).norm(dim=1) / norm, SETTLED, MOVING)
        if done == rounds or ended:
            goes_on = torch.zeros_like(goes_on)
        elif solver.across:
            goes_on = goes_on.max().expand_as(goes_on)
        image[open_] += (share * (1 - goes_on))[:, None, None] * solver.x
        share = share * goes_on
        stay = torch.nonzero(share)[:, 0]
        if not len(stay):
            break
        if len(stay) < len(open_):
            measurement, open_, share = measurement.take(stay), open_[stay], share[stay]
            tv_weight, edge_threshold = tv_weight[stay], edge_threshold[stay]
            solver = solver.take(stay, measurement.data, measurement.spectrum)
    return image


SOLVE = 56  # iterations of the solve after each round
PULL = 3.0  # of the network's image in the missing frequencies, in units of λ


def fill_missing_wedge(
    measurement: Measurement,
    answer: torch.Tensor,
    first: torch.Tensor,
    options: GanrecOptions,
    mask,
    notify: Callable,
    iterations=SOLVE,
):
    """The image nearest to a network's answer in the frequencies that nobody has measured, and to the data in the others: edge-reweighted total
    variation with the edges of the answer."""
    tv_weight, edge_threshold = (
        per_slice((getattr(s, n) for s in measurement.settings), answer) for n in ("tv_weight", "edge_threshold")
    )
    solver = tv_solver(measurement, options, mask, answer.clamp(min=0) if options.nonnegative else answer)
    missing = 1 - measured_frequencies(measurement.model.theta, answer.shape[1:]).to(answer)
    weight = edge_weights(
        answer, edge_threshold * upper_quantile(first) + torch.finfo(answer.dtype).tiny, across=options.across
    )
    return solver.run(tv_weight, iterations, weight, notify, (PULL * tv_weight * missing, answer))
