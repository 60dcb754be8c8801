"""The start image of a fit, by one of the classical reconstructions, and the data as the fit is to see them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tomopy_ganrec.fit.measurement.pixel_response import HIGH, MIDDLE, pixel_response, residual_level, residual_levels, unblurred, whitening
from tomopy_ganrec.fit.measurement.regularization import Settings, refine_settings
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.classical import fbp, sirt
from tomopy_ganrec.solvers.forward_model import ForwardModel
from tomopy_ganrec.solvers.operators import edge_weights, filtered, top_level
from tomopy_ganrec.solvers.total_variation import TotalVariation

__all__ = [
    "ROUND_ITERATIONS",
    "Measurement",
    "between",
    "column",
    "constrained",
    "measurements",
    "solver_of",
    "start_image",
    "start_iterations",
    "trial_iterations",
]

TV_ITERATIONS, ROUND_ITERATIONS, SIRT_ITERATIONS, TRIAL_ITERATIONS = 170, 28, 30, 105
MEAN_ITERATIONS = 120  # of total variation before the noise is read off its residual
# Ratio of the residuals of 'mean' and 'box' above which an object counts as made of square pixels: with little noise between 0.1 and 0.2 cycles per
# column, where both have settled after the trial; with more, where the model error is largest.
QUIET, BOX_QUIET, BOX = 3e-3, 0.98, 0.97
# ‖change‖/‖image‖ in a round at and below which a slice has no more rounds, and from which on it has another one for certain. In between the image
# is a mean of this round's and what follows, so that rounding decides nothing.
SETTLED, MOVING = 2.5e-3, 3.5e-3


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

    def relative_residual(self, image: torch.Tensor) -> torch.Tensor:
        """‖A x − b‖/‖b‖ of each slice: (n,)."""
        norm = self.data.flatten(1).norm(dim=1) + torch.finfo(image.dtype).tiny
        return self.residual(self.model.forward_project(image)).flatten(1).norm(dim=1) / norm

    @property
    def whitener(self) -> torch.Tensor | None:
        """Weights of the frequencies of what the detector sees, (n or 1, 1, columns // 2 + 1)."""
        return None if self.response is None else (self.spectrum / self.response)[:, :1]

    def noise(self, owner: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Noise and model error such as `data` have, afresh, for slices `owner`, by their place in this measurement: (len(owner), *range_shape)."""
        sigma = column((self.settings[k].level for k in owner.tolist()), self.data) * self.data.shape[2] / 2
        noise = torch.randn((len(owner), *self.data.shape[1:]), generator=generator, dtype=torch.float32).to(self.data) * sigma
        if self.response is None:
            return noise
        spectrum = self.spectrum if len(self.spectrum) == 1 else self.spectrum[owner]
        return filtered(noise, 1 / spectrum)

    def single(self) -> "Measurement":
        """The same in float32, without a solver that has begun; the model stays as it is."""
        response, spectrum = (x if x is None else x.float() for x in (self.response, self.spectrum))
        return replace(self, data=self.data.float(), response=response, spectrum=spectrum, solver=None)

    def take(self, index: torch.Tensor) -> "Measurement":
        """Some of the slices, by their place in this measurement."""
        data = self.data[index]
        spectrum = self.spectrum if self.spectrum is None or len(self.spectrum) == 1 else self.spectrum[index]
        return replace(
            self, index=self.index[index], data=data, spectrum=spectrum, settings=[self.settings[k] for k in index.tolist()],
            solver=self.solver and self.solver.take(index, data, spectrum),
        )  # fmt: skip


def column(values, like: torch.Tensor) -> torch.Tensor:
    """A number for each slice, (B, 1, 1)."""
    return torch.tensor(list(values), dtype=torch.float64).to(like)[:, None, None]


def pixels_of(model: ForwardModel, options: GanrecOptions) -> str:
    """'mean', 'box', or 'auto' where a trial has to show it."""
    known = hasattr(model, "resampled")
    if options.pixels == "mean" and not known:
        raise ValueError("pixels='mean' needs a projector whose response is known, such as ParallelBeamProjector; use pixels='auto' or 'box'")
    return "box" if not known or options.pixels == "auto" and options.init != "tv" else options.pixels


def measurements(model, sinogram, options: GanrecOptions, settings: list[Settings], mask, init, notify) -> list[Measurement]:
    """A batch whose settings share ρ, split by what its pixels are.

    For ``pixels='auto'`` both models have 105 iterations of total variation; the one that explains the data better is taken. On the phantoms,
    noise-free, the ratio of the residuals, 'mean' to 'box', is .55 to .945 for structure below the pixel and 1.02 to 1.6 for objects made of
    square pixels (128² and 256², 60 to 180°). With 1e5 photons the two overlap, and with 1e4 they are alike: then 'mean' is taken but for few.
    """
    index = torch.arange(len(settings), device=sinogram.device)
    plain = Measurement(index, model, sinogram, None, None, [replace(s, along=options.along or 1.0) for s in settings])
    kind = pixels_of(model, options)
    if kind == "box":
        return [plain]
    fine = model.resampled(rays_per_bin=2)
    response = pixel_response(model.theta, sinogram.shape[2], model.pixel_size, 2).to(sinogram)
    mean = Measurement(index, fine, unblurred(sinogram, response), response, response[None], settings)
    if kind == "mean":
        return [mean]
    strength, levels = column((s.strength for s in settings), sinogram), []
    quiet = torch.tensor([s.relative_noise < QUIET for s in settings], device=sinogram.device)
    tried = []
    for one in (mean, plain):
        solver = solver_of(one, options, mask, init)
        solver.run(strength, TRIAL_ITERATIONS, on_iteration=notify)
        residual = one.residual(one.model.forward_project(solver.x))
        levels.append(torch.where(quiet, residual_level(residual, MIDDLE), residual_level(residual, HIGH)))
        tried.append(replace(one, solver=solver))
    ratio = torch.where(quiet, BOX_QUIET, BOX)
    box = levels[0] > ratio * levels[1]
    if options.stack > 1:  # neighbours stay together
        box[:] = levels[0].mean() > ratio[0] * levels[1].mean()
    return [one.take(torch.nonzero(chosen)[:, 0]) for one, chosen in zip(tried, (~box, box), strict=True) if chosen.any()]


def solver_of(measurement: Measurement, options: GanrecOptions, mask, init) -> TotalVariation:
    """Total variation of the data as the measurement explains them, at `init` or at zero."""
    first = measurement.settings[0]
    solver = TotalVariation(
        measurement.model, measurement.data, first.rho, options.nonnegative, mask, measurement.spectrum, first.along, options.across
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
    learning = measurement.response is not None and settings[0].rounds > 0
    solver, iterations = measurement.solver, MEAN_ITERATIONS if learning else TV_ITERATIONS
    if solver is None:
        solver = solver_of(measurement, options, mask, init)
    else:
        iterations -= TRIAL_ITERATIONS
    solver.run(column((s.strength for s in settings), sinogram), iterations, on_iteration=notify)
    if learning:
        measurement = learn_noise(measurement, solver.x, options)
        settings = measurement.settings
        solver.weigh(measurement.spectrum)
    strength, epsilon = (column((getattr(s, name) for s in settings), sinogram) for name in ("strength", "epsilon"))
    measurement = replace(measurement, solver=None)
    return reweighted(solver, measurement, strength, epsilon, notify), measurement


def between(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """0 up to `low`, 1 from `high` on, linear in between: a threshold at which rounding does not decide."""
    return ((value - low) / (high - low)).clamp(0, 1)


def reweighted(solver: TotalVariation, measurement: Measurement, strength, epsilon, notify: Callable | None) -> torch.Tensor:
    """The images after the rounds of reweighting; a slice that has settled takes no more part. Neighbours of a stack stay together."""
    rounds, open_ = measurement.settings[0].rounds, torch.arange(len(solver.x), device=solver.x.device)
    if not rounds:
        return solver.x
    image, share = torch.zeros_like(solver.x), torch.ones(len(open_)).to(solver.x)  # what of each image is still to come
    epsilon, ended = epsilon * top_level(solver.x) + torch.finfo(image.dtype).tiny, False

    def tell():
        nonlocal ended
        ended = ended or bool(notify and notify())
        return ended

    for done in range(1, rounds + 1):
        before = solver.x
        solver.run(strength, ROUND_ITERATIONS, edge_weights(before, epsilon, across=solver.across), tell)
        norm = solver.x.flatten(1).norm(dim=1) + torch.finfo(image.dtype).tiny
        goes_on = between((solver.x - before).flatten(1).norm(dim=1) / norm, SETTLED, MOVING)
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
            strength, epsilon = strength[stay], epsilon[stay]
            solver = solver.take(stay, measurement.data, measurement.spectrum)
    return image


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


def start_iterations(measurement: Measurement, options: GanrecOptions) -> int:
    """How many times `notify` is called by `start_image`."""
    if options.init != "tv":
        return SIRT_ITERATIONS if options.init == "sirt" else 0
    rounds = measurement.settings[0].rounds
    plain = MEAN_ITERATIONS if measurement.response is not None and rounds else TV_ITERATIONS
    return plain - (TRIAL_ITERATIONS if measurement.solver is not None else 0) + rounds * ROUND_ITERATIONS


def trial_iterations(model: ForwardModel, options: GanrecOptions) -> tuple[int, int]:
    """How many times `notify` is called by `measurements`, and what `start_image` may add to it at most."""
    if pixels_of(model, options) != "auto":
        return 0, 0
    return 2 * TRIAL_ITERATIONS, TV_ITERATIONS - TRIAL_ITERATIONS + options.rounds * ROUND_ITERATIONS
