"""Iteratively reweighted total variation, with weights that fall at the edges of the image so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from .forward_model import ForwardModel, data_scale
from .operators import edge_weights, upper_quantile
from .total_variation import TotalVariation

__all__ = ["RoundCriterion", "linear_step", "reweighted_rounds", "total_variation"]

ROUND_ITERATIONS = 40  # of a round of `total_variation`


def linear_step(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """0 up to `low`, 1 from `high` on, linear in between: a threshold at which rounding does not decide."""
    return ((value - low) / (high - low)).clamp(0, 1)


class RoundCriterion(Protocol):
    """Decides after each round which slices go on."""

    def __call__(
        self, number: int, last: bool, active: torch.Tensor, before: torch.Tensor, image: torch.Tensor
    ) -> torch.Tensor:
        """How much of each active slice goes on to another round.

        Parameters
        ----------
        number : int
            Of the round, from 1.
        last : bool
            Whether it is the last one, whatever is answered.
        active : (n,) tensor of int
            The slices that took part, by their place in the batch.
        before, image : (n, rows, cols) tensor
            Before and after the round.

        Returns
        -------
        (n,) tensor
            1 to go on, 0 to stop; in between the result is a mean of this round's image and of what follows.
        """


def reweighted_rounds(
    solver: TotalVariation,
    tv_weight: torch.Tensor | float,
    edge_threshold: torch.Tensor | float | None,
    rounds: int,
    iterations: int,
    criterion: RoundCriterion | None = None,
    *,
    rescale_each_round: bool = False,
    on_iteration: Callable[[], object] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rounds of total variation from where a solver is, each with the edge weights of the image before it.

    w = ε / √(|∇x|² + ε²) makes the rounds descend a log-sum penalty: E. J. Candès, M. B. Wakin and S. P. Boyd, J.
    Fourier Anal. Appl. 14, 877–905 (2008).

    Parameters
    ----------
    solver : TotalVariation
        Of n slices.
    tv_weight : (n, 1, 1) tensor or float
        λ.
    edge_threshold : (n, 1, 1) tensor, float or None
        ε, relative to the upper quantile of the image. None: plain total variation, without weights.
    rounds : int
        At most.
    iterations : int
        Of each round.
    criterion : RoundCriterion, optional
        Which slices go on after a round; a slice that has stopped takes no more part. Default: all have all rounds.
    rescale_each_round : bool
        Take the image's upper quantile, to which ε is relative, anew each round; else once, at the start.
    on_iteration : callable, optional
        Called after each iteration; once it has answered true, it ends the iterations and the rounds.

    Returns
    -------
    image : (n, rows, cols) tensor
    number : (n,) tensor of int
        Rounds that each slice has had.
    """
    image, number = solver.x, torch.zeros(len(solver.x), dtype=torch.long, device=solver.x.device)
    if not rounds:
        return image, number
    active = torch.arange(len(image), device=image.device)
    share = torch.ones(len(image)).to(image)  # of each slice's result that later rounds give
    result = torch.zeros_like(image)
    tiny = torch.finfo(image.dtype).tiny
    weight_of_slice = torch.as_tensor(tv_weight).to(image).expand(len(image), 1, 1)
    threshold = scale = None
    if edge_threshold is not None:
        threshold = torch.as_tensor(edge_threshold).to(image).expand(len(image), 1, 1)
        scale = threshold * upper_quantile(image) + tiny
    for k in range(1, rounds + 1):
        before = solver.x
        if threshold is not None and rescale_each_round and k > 1:
            scale = threshold[active] * upper_quantile(before) + tiny
        weight = 1.0 if scale is None else edge_weights(before, scale, across=solver.across)
        solver.run(weight_of_slice, iterations, weight, on_iteration)
        number[active] = k
        last = k == rounds or solver.stopped
        if criterion is None:
            if last:
                return solver.x, number
            continue
        goes_on = criterion(k, last, active, before, solver.x)
        if last:
            goes_on = torch.zeros_like(share)
        result[active] += (share * (1 - goes_on))[:, None, None] * solver.x
        share = share * goes_on
        remaining = torch.nonzero(share)[:, 0]
        if not len(remaining):
            break
        if len(remaining) < len(active):
            solver = solver.take(remaining)
            active, share = active[remaining], share[remaining]
            weight_of_slice = weight_of_slice[remaining]
            scale = None if scale is None else scale[remaining]
    return result, number


def total_variation(
    model: ForwardModel,
    sinogram: torch.Tensor,
    tv_weight: float = 2.4e-4,
    iterations: int = 250,
    rounds: int = 0,
    edge_threshold: float = 0.03,
    step_ratio: float = 100.0,
    nonnegative: bool = True,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """`TotalVariation` from an image of zeros: plain for ``rounds=0``, else edge-reweighted.

    Parameters
    ----------
    model : ForwardModel
    sinogram : (B, angles, columns) tensor
    tv_weight : float
        λ, relative to the scale of the data (`forward_model.data_scale`).
    iterations : int
        Of plain total variation; each round of reweighting has another 40.
    rounds : int
        Rounds of reweighting.
    edge_threshold : float
        ε, relative to the 99.8th percentile of the image after the plain iterations.
    step_ratio, nonnegative, mask
        As of `TotalVariation`.

    Returns
    -------
    (B, rows, cols) tensor
        Attenuation per detector column.
    """
    scale = data_scale(model, sinogram, mask)
    solver = TotalVariation(model, sinogram / scale, step_ratio, nonnegative, mask)
    solver.run(tv_weight, iterations)
    image, _ = reweighted_rounds(solver, tv_weight, edge_threshold, rounds, ROUND_ITERATIONS)
    return image * scale
