"""The start image of a fit, by one of the classical reconstructions, and the data as the fit is to see them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from .initial import ForwardModel, TotalVariation, fbp, sirt
from .options import GanrecOptions
from .response import filtered, pixel_response, residual_levels, unblurred, whitening
from .settings import Settings, refine_settings

__all__ = ["Measurement", "constrained", "measurements", "start_image", "start_iterations"]

TV_ITERATIONS, ROUND_ITERATIONS, SIRT_ITERATIONS, TRIAL_ITERATIONS = 250, 40, 30, 120
BOX = 0.97  # ratio of the residuals of 'mean' and 'box' above which an object counts as made of square pixels


@dataclass(frozen=True)
class Measurement:
    """Slices of a batch as one forward model explains them.

    Attributes
    ----------
    index : (n,) tensor
        Which slices of the batch.
    model : ForwardModel
    data : (n, *range_shape) tensor
        Relative to the scale of the data; without the pixel's response, where there is one.
    response : (angles, columns // 2 + 1) tensor or None
        `response.pixel_response`.
    spectrum : tensor or None
        Weights of the frequencies of a residual of `data`, (n or 1, angles, columns // 2 + 1).
    settings : list of Settings
    solver : TotalVariation or None
        One that has begun.
    """

    index: torch.Tensor
    model: ForwardModel
    data: torch.Tensor
    response: torch.Tensor | None
    spectrum: torch.Tensor | None
    settings: list[Settings]
    solver: TotalVariation | None = None

    def residual(self, model_sinogram: torch.Tensor) -> torch.Tensor:
        """What a model sinogram leaves unexplained, as the detector would see it."""
        residual = model_sinogram - self.data
        return residual if self.response is None else filtered(residual, self.response)

    def take(self, index: torch.Tensor) -> "Measurement":
        """Some of the slices, by their place in this measurement."""
        data = self.data[index]
        return replace(
            self, index=self.index[index], data=data, settings=[self.settings[k] for k in index.tolist()],
            solver=self.solver and self.solver.take(index, data, self.spectrum),
        )  # fmt: skip


def _column(values, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(list(values)).to(like)[:, None, None]


def measurements(model, sinogram, options: GanrecOptions, settings: list[Settings], mask, init, notify) -> list[Measurement]:
    """A batch whose settings share ρ, split by what its pixels are.

    For ``pixels='auto'`` both models have 120 iterations of total variation. The one that explains the middle frequencies of the data better is right:
    with the phantoms the ratio of the residuals, 'mean' to 'box', is .55 to .965 for real structure, 1.0 and more for objects made of square pixels as
    long as there is little noise; with 1e4 photons both are .95 to .99, and few objects count as such.
    """
    index = torch.arange(len(settings), device=sinogram.device)
    plain = Measurement(index, model, sinogram, None, None, settings)
    kind = options.pixels
    if not hasattr(model, "resampled") or kind == "auto" and options.init != "tv":
        kind = "box"
    if kind == "box":
        return [plain]
    fine = model.resampled(rays_per_bin=2)
    response = pixel_response(model.theta, sinogram.shape[2], model.pixel_size, 2).to(sinogram)
    mean = Measurement(index, fine, unblurred(sinogram, response), response, response[None], settings)
    if kind == "mean":
        return [mean]
    strength, levels = _column((s.strength for s in settings), sinogram), []
    tried = []
    for one in (mean, plain):
        solver = _solver(one, options, mask, init)
        solver.run(strength, TRIAL_ITERATIONS, on_iteration=notify)
        levels.append(residual_levels(one.residual(one.model.forward_project(solver.x)))[1])
        tried.append(replace(one, solver=solver))
    box = levels[0] > BOX * levels[1]
    return [one.take(torch.nonzero(chosen)[:, 0]) for one, chosen in zip(tried, (~box, box), strict=True) if chosen.any()]


def _solver(measurement: Measurement, options: GanrecOptions, mask, init) -> TotalVariation:
    solver = TotalVariation(
        measurement.model, measurement.data, measurement.settings[0].rho, options.nonnegative, mask, measurement.spectrum, options.along
    )
    return solver if init is None else solver.start(init)


def constrained(image: torch.Tensor, options: GanrecOptions, mask: torch.Tensor | None) -> torch.Tensor:
    """The image with what the options promise: not negative, zero outside the field of view."""
    image = image.clamp(min=0) if options.nonnegative else image
    return image if mask is None else image * mask


def start_image(
    measurement: Measurement, options: GanrecOptions, mask, init=None, notify: Callable | None = None
) -> tuple[torch.Tensor, Measurement]:
    """The start image of slices whose settings share ρ and rounds, relative to the scale of the data, like `init`; and the measurement with what it
    has taught of the noise."""
    model, sinogram, settings = measurement.model, measurement.data, measurement.settings
    if options.init == "none":
        if init is None:  # the mean attenuation, in these units; from zero a non-negative generator would have no gradient to leave by
            init = torch.full((sinogram.shape[0], *model.domain_shape), 0.5 if options.nonnegative else 0.0).to(sinogram)
        return constrained(init, options, mask), measurement
    if options.init == "sirt":
        return sirt(model, sinogram, SIRT_ITERATIONS, options.nonnegative, mask, init, notify), measurement
    if options.init == "fbp":
        if not hasattr(model, "theta"):
            raise ValueError("init='fbp' needs a forward model with projection angles `theta`; use init='sirt'")
        return constrained(fbp(model, sinogram, model.theta), options, mask), measurement
    solver, iterations = measurement.solver, TV_ITERATIONS - TRIAL_ITERATIONS
    if solver is None:
        solver, iterations = _solver(measurement, options, mask, init), TV_ITERATIONS
    solver.run(_column((s.strength for s in settings), sinogram), iterations, on_iteration=notify)
    if measurement.response is not None and settings[0].rounds:
        measurement = learn_noise(measurement, solver.x, options)
        settings = measurement.settings
        solver.weigh(measurement.spectrum)
    strength, epsilon = (_column((getattr(s, name) for s in settings), sinogram) for name in ("strength", "epsilon"))
    solver.reweight(strength, epsilon, settings[0].rounds, ROUND_ITERATIONS, notify)
    return solver.x, replace(measurement, solver=solver)


def learn_noise(measurement: Measurement, image: torch.Tensor, options: GanrecOptions) -> Measurement:
    """The measurement with the noise and the model error that an image leaves in its data: weights of frequencies, λ and ε."""
    columns = measurement.data.shape[2]
    low, high = residual_levels(measurement.residual(measurement.model.forward_project(image)) / (columns / 2))
    weight, reference = whitening(low, high, columns)
    settings = [
        refine_settings(s, a, b, measurement.model.theta, options)
        for s, a, b in zip(measurement.settings, low.tolist(), reference.tolist(), strict=True)
    ]
    return replace(measurement, settings=settings, spectrum=measurement.response * weight)


def start_iterations(options: GanrecOptions, rounds: int) -> int:
    """How many times `notify` is called by `measurements` and `start_image`, at most."""
    trial = TRIAL_ITERATIONS if options.pixels == "auto" else 0
    return {"tv": TV_ITERATIONS + trial + rounds * ROUND_ITERATIONS, "sirt": SIRT_ITERATIONS}.get(options.init, 0)
