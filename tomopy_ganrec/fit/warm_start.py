"""Slices that begin at their neighbours' images instead of at nothing.

What carries over is the image, the noise and the weights; the networks' weights bring nothing. Total variation goes on from the image with smaller
primal steps, so that its dual variables, which begin at zero, catch up before the image has drifted away.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement, constrained, known_measurement, per_slice
from tomopy_ganrec.options import GanrecOptions

from .grouping import Group
from .reweighted_tv import ROUND_ITERATIONS, linear_step, tv_solver
from .stage_progress import _StartSteps

__all__ = ["CLOSE", "FAR", "distance", "warm_image", "warm_steps"]

FEW, MOST = 6, 8  # rounds of `ROUND_ITERATIONS`
SETTLED = (
    1.01,
    1.03,
)  # of the neighbours' residual: up to the first a slice is done, from the second on it goes on, in between is a mean of both
LOST = 1.6  # of it after the most rounds: a slice is started anew
# Relative residual of the neighbours' image beyond that of their own data: up to the first few rounds will do, above the second it is another object.
# On the phantoms (64² to 256², noise-free to 1e4 photons) four rounds were up to .005 of MSSIM short of a cold start where the image was close, six
# rounds .002 on the mean above to .005 below; .04 to .06 wanted all; zeolite stayed .01 below at .06 (120°) and .03 at .12 (90°).
CLOSE, FAR = 0.03, 0.05


def distance(part: Measurement, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How much more of its data each slice of `image`, the neighbours', leaves unexplained than the neighbours did of theirs, `target`: (n,)."""
    return (part.relative_residual(image).square() - target.square()).clamp(min=0).sqrt()


def warm_steps(options: GanrecOptions) -> int:
    """How many times `notify` is called by `warm_image`, at most."""
    return MOST * ROUND_ITERATIONS if options.init == "tv" else 0


def warm_image(
    part: Measurement, options: GanrecOptions, mask, image: torch.Tensor, target: torch.Tensor, notify: Callable
):
    """The start images of slices from their neighbours', relative to the scale of the data like `image`.

    Six rounds of (reweighted) total variation where the image is close, and for each slice by itself so many more, up to eight, as
    it takes to explain its data as the neighbours do theirs, `target` ‖A x − b‖/‖b‖; eight where it is not. A slice that has settled leaves the
    batch.

    Returns
    -------
    (n, rows, cols) tensor, (n,) tensor of int, (n,) tensor of bool
        The images, the rounds of each, and which of them never explained their data.
    """
    image, count = constrained(image, options, mask), len(image)
    rounds = torch.zeros(count, dtype=torch.long, device=image.device)
    lost = torch.zeros(count, dtype=torch.bool, device=image.device)
    if options.init != "tv":
        return image, rounds, lost
    far = linear_step(distance(part, image, target), CLOSE, 1.1 * CLOSE)  # 0: few rounds will do, 1: all are needed
    found, share, open_ = torch.zeros_like(image), torch.ones(count).to(image), torch.arange(count, device=image.device)
    body = part
    solver, ended = tv_solver(body, options, mask, image), False

    def tell():
        nonlocal ended
        ended = ended or bool(notify())
        return ended

    for done in range(1, MOST + 1):
        tv_weight, edge_threshold = (
            per_slice((getattr(s, name) for s in body.settings), body.data) for name in ("tv_weight", "edge_threshold")
        )
        if body.settings[0].rounds:
            solver.reweight(tv_weight, edge_threshold, 1, ROUND_ITERATIONS, tell)
        else:
            solver.run(tv_weight, ROUND_ITERATIONS, on_iteration=tell)
        residual = body.relative_residual(solver.x)
        goes_on = torch.maximum(
            far[open_], linear_step(residual / (target[open_] + torch.finfo(image.dtype).tiny), *SETTLED)
        )
        if done < FEW:
            goes_on = torch.ones_like(goes_on)
        if done == MOST or ended:
            goes_on = torch.zeros_like(goes_on)
        found[open_] += (share * (1 - goes_on))[:, None, None] * solver.x
        rounds[open_] = done
        if done == MOST and not ended:
            lost[open_] = ~(residual <= LOST * target[open_])
        share = share * goes_on
        stay = torch.nonzero(share)[:, 0]
        if not len(stay):
            break
        if len(stay) < len(open_):
            body, open_, share = replace(body, solver=solver).take(stay), open_[stay], share[stay]
            solver = body.solver
    return found, rounds, lost


@torch.no_grad()
def warm_start(model, group: Group, options: GanrecOptions, mask, steps: "_StartSteps"):
    """As `_cold_starts`, with the rounds of each in the end, those that their neighbours' image serves, or None; and which it does not serve."""
    steps.total = steps.count + warm_steps(options)
    part = known_measurement(model, group.data, group.settings, group.near[0].pixel_model)
    target = torch.tensor([record.start_residual for record in group.near]).to(group.data)
    served = distance(part, group.init, target) <= FAR
    if not served.any():
        return None, ~served
    some = torch.nonzero(served)[:, 0]
    image, rounds, lost = warm_image(part.take(some), options, mask, group.init[some], target[some], steps)
    served[some[lost]] = False
    kept = torch.nonzero(served)[:, 0]
    found = (group.index[kept], part.take(kept), image[~lost], rounds[~lost]) if len(kept) else None
    return found, ~served
