"""Slices that begin at their neighbours' images instead of at nothing.

What carries over is the image, the noise and the weights; the networks' weights bring nothing. Total variation goes on from the image with smaller
primal steps, so that its dual variables, which begin at zero, catch up before the image has drifted away.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from tomopy_ganrec.fit.measurement.pixel_response import pixel_response, unblurred, whitening
from tomopy_ganrec.fit.measurement.regularization import CLEAN, Settings
from tomopy_ganrec.options import GanrecOptions

from .start_image import ROUND_ITERATIONS, Measurement, between, column, constrained, solver_of

__all__ = ["CLOSE", "FAR", "carried", "distance", "known_measurement", "warm_image", "warm_steps"]

FEW, MOST = 6, 8  # rounds of `ROUND_ITERATIONS`
SETTLED = 1.01, 1.03  # of the neighbours' residual: up to the first a slice is done, from the second on it goes on, in between is a mean of both
LOST = 1.6  # of it after the most rounds: a slice is started anew
# Relative residual of the neighbours' image beyond that of their own data: up to the first few rounds will do, above the second it is another object.
# On the phantoms (64² to 256², noise-free to 1e4 photons) four rounds were up to .005 of MSSIM short of a cold start where the image was close, six
# rounds .002 on the mean above to .005 below; .04 to .06 wanted all; zeolite stayed .01 below at .06 (120°) and .03 at .12 (90°).
CLOSE, FAR = 0.03, 0.05
NOISE = 2.0  # ratio of the noise of two slices above which they do not share their weights
SLOWER, SLOWER_NOISY = 3.0, 10.0  # by which ρ is smaller


def carried(settings: Settings, near: dict, options: GanrecOptions) -> Settings | None:
    """The settings of a slice with what its neighbour's record `near` knows of noise and weights; None where the two do not belong together."""
    known, own = near.get("relative_noise"), settings.relative_noise
    if known is None or max(known, own) > max(NOISE * min(known, own), CLEAN):
        return None
    settings = replace(settings, rho=settings.rho / (SLOWER if own < CLEAN else SLOWER_NOISY))
    if near["pixels"] == "box":
        return replace(settings, along=options.along or 1.0)
    names = {name: near[name] for name in ("strength", "epsilon", "level", "low", "along")}
    return replace(settings, loss="l2" if options.loss == "auto" else options.loss, **names)


def known_measurement(model, sinogram: torch.Tensor, settings: list[Settings], pixels: str) -> Measurement:
    """The slices as the model explains them whose pixels and noise are known."""
    index = torch.arange(len(settings), device=sinogram.device)
    if pixels == "box":
        return Measurement(index, model, sinogram, None, None, settings)
    fine, columns = model.resampled(rays_per_bin=2), sinogram.shape[2]
    response = pixel_response(model.theta, columns, model.pixel_size, 2).to(sinogram)
    low = column((s.low for s in settings), sinogram)[:, 0, 0]
    reference = column((s.level for s in settings), sinogram)[:, 0, 0]
    weight, _ = whitening(low, reference, columns)
    return Measurement(index, fine, unblurred(sinogram, response), response, response * weight, settings)


def distance(part: Measurement, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How much more of its data each slice of `image`, the neighbours', leaves unexplained than the neighbours did of theirs, `target`: (n,)."""
    return (part.relative_residual(image).square() - target.square()).clamp(min=0).sqrt()


def warm_steps(options: GanrecOptions) -> int:
    """How many times `notify` is called by `warm_image`, at most."""
    return MOST * ROUND_ITERATIONS if options.init == "tv" else 0


def warm_image(part: Measurement, options: GanrecOptions, mask, image: torch.Tensor, target: torch.Tensor, notify: Callable):
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
    far = between(distance(part, image, target), CLOSE, 1.1 * CLOSE)  # 0: few rounds will do, 1: all are needed
    found, share, open_ = torch.zeros_like(image), torch.ones(count).to(image), torch.arange(count, device=image.device)
    body = part
    solver, ended = solver_of(body, options, mask, image), False

    def tell():
        nonlocal ended
        ended = ended or bool(notify())
        return ended

    for done in range(1, MOST + 1):
        strength, epsilon = (column((getattr(s, name) for s in body.settings), body.data) for name in ("strength", "epsilon"))
        if body.settings[0].rounds:
            solver.reweight(strength, epsilon, 1, ROUND_ITERATIONS, tell)
        else:
            solver.run(strength, ROUND_ITERATIONS, on_iteration=tell)
        residual = body.relative_residual(solver.x)
        goes_on = torch.maximum(far[open_], between(residual / (target[open_] + torch.finfo(image.dtype).tiny), *SETTLED))
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
