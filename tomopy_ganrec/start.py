"""The start image of a fit, by one of the classical reconstructions."""

from collections.abc import Callable

import torch

from .initial import TotalVariation, fbp, sirt
from .options import GanrecOptions
from .settings import Settings

__all__ = ["constrained", "start_image", "start_iterations"]

TV_ITERATIONS, ROUND_ITERATIONS, SIRT_ITERATIONS = 250, 40, 30


def constrained(image: torch.Tensor, options: GanrecOptions, mask: torch.Tensor | None) -> torch.Tensor:
    """The image with what the options promise: not negative, zero outside the field of view."""
    image = image.clamp(min=0) if options.nonnegative else image
    return image if mask is None else image * mask


def start_image(model, sinogram, options: GanrecOptions, settings: list[Settings], mask, init=None, notify: Callable | None = None):
    """The start image of a batch whose settings share ρ and rounds, relative to the scale of the data, like `sinogram` and `init`."""
    if options.init == "none":
        if init is None:  # the mean attenuation, in these units; from zero a non-negative generator would have no gradient to leave by
            init = torch.full((sinogram.shape[0], *model.domain_shape), 0.5 if options.nonnegative else 0.0).to(sinogram)
        return constrained(init, options, mask)
    if options.init == "sirt":
        return sirt(model, sinogram, SIRT_ITERATIONS, options.nonnegative, mask, init, notify)
    if options.init == "fbp":
        if not hasattr(model, "theta"):
            raise ValueError("init='fbp' needs a forward model with projection angles `theta`; use init='sirt'")
        return constrained(fbp(model, sinogram, model.theta), options, mask)
    solver = TotalVariation(model, sinogram, settings[0].rho, options.nonnegative, mask)
    if init is not None:
        solver.start(init)
    strength = torch.tensor([s.strength for s in settings]).to(sinogram)[:, None, None]
    solver.run(strength, TV_ITERATIONS, on_iteration=notify)
    epsilon = torch.tensor([s.epsilon for s in settings]).to(sinogram)[:, None, None]
    return solver.reweight(strength, epsilon, settings[0].rounds, ROUND_ITERATIONS, notify)


def start_iterations(options: GanrecOptions, rounds: int) -> int:
    """How many times `notify` is called by `start_image`."""
    return {"tv": TV_ITERATIONS + rounds * ROUND_ITERATIONS, "sirt": SIRT_ITERATIONS}.get(options.init, 0)
