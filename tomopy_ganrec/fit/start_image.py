"""The start image of a fit, by one of the classical reconstructions, and the data as the fit is to see them."""

from collections.abc import Callable
from dataclasses import replace

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement, constrained, learn_noise, per_slice
from tomopy_ganrec.fit.measurement.noise import HIGH, MIDDLE, residual_level
from tomopy_ganrec.fit.measurement.pixel_response import compensate_response, pixel_response
from tomopy_ganrec.fit.measurement.regularization import RegularizationWeights
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.classical import fbp, sirt
from tomopy_ganrec.solvers.forward_model import ForwardModel

from .grouping import Group
from .reweighted_tv import ROUND_ITERATIONS, SIRT_ITERATIONS, TRIAL_ITERATIONS, TV_ITERATIONS, reweighted_tv, tv_solver
from .stage_progress import _StartSteps

__all__ = ["select_pixel_model", "start_image", "start_iterations", "trial_iterations"]

MEAN_ITERATIONS = 120  # of total variation before the noise is read off its residual
# Ratio of the residuals of 'area' and 'point' above which an object counts as made of square pixels: with little noise between 0.1 and 0.2 cycles per
# column, where both have settled after the trial; with more, where the model error is largest.
QUIET, BOX_QUIET, BOX = 3e-3, 0.98, 0.97


def known_pixel_model(model: ForwardModel, options: GanrecOptions) -> str:
    """'area', 'point', or 'auto' where a trial has to show it."""
    known = hasattr(model, "resampled")
    if options.pixel_model == "area" and not known:
        raise ValueError(
            "pixel_model='area' needs a projector whose response is known, such as ParallelBeamProjector; use pixel_model='auto' or 'point'"
        )
    return "point" if not known or options.pixel_model == "auto" and options.init != "tv" else options.pixel_model


def select_pixel_model(
    model, sinogram, options: GanrecOptions, settings: list[RegularizationWeights], mask, init, notify
) -> list[Measurement]:
    """A batch whose settings share ρ, split by what its pixels are.

    For ``pixel_model='auto'`` both models have 105 iterations of total variation; the one that explains the data better is taken. On the phantoms,
    noise-free, the ratio of the residuals, 'area' to 'point', is .55 to .945 for structure below the pixel and 1.02 to 1.6 for objects made of
    square pixels (128² and 256², 60 to 180°). With 1e5 photons the two overlap, and with 1e4 they are alike: then 'area' is taken but for few.
    """
    index = torch.arange(len(settings), device=sinogram.device)
    plain = Measurement(
        index,
        model,
        sinogram,
        None,
        None,
        [replace(s, wedge_tv_weight=options.wedge_tv_weight or 1.0) for s in settings],
    )
    kind = known_pixel_model(model, options)
    if kind == "point":
        return [plain]
    fine = model.resampled(rays_per_bin=2)
    response = pixel_response(model.theta, sinogram.shape[2], model.pixel_size, 2).to(sinogram)
    mean = Measurement(index, fine, compensate_response(sinogram, response), response, response[None], settings)
    if kind == "area":
        return [mean]
    tv_weight, levels = per_slice((s.tv_weight for s in settings), sinogram), []
    quiet = torch.tensor([s.relative_noise < QUIET for s in settings], device=sinogram.device)
    tried = []
    for one in (mean, plain):
        solver = tv_solver(one, options, mask, init)
        solver.run(tv_weight, TRIAL_ITERATIONS, on_iteration=notify)
        residual = one.residual(one.model.forward_project(solver.x))
        levels.append(torch.where(quiet, residual_level(residual, MIDDLE), residual_level(residual, HIGH)))
        tried.append(replace(one, solver=solver))
    ratio = torch.where(quiet, BOX_QUIET, BOX)
    box = levels[0] > ratio * levels[1]
    if options.joint_slices > 1:  # neighbours stay together
        box[:] = levels[0].mean() > ratio[0] * levels[1].mean()
    return [
        one.take(torch.nonzero(chosen)[:, 0]) for one, chosen in zip(tried, (~box, box), strict=True) if chosen.any()
    ]


def start_image(
    measurement: Measurement, options: GanrecOptions, mask, init=None, notify: Callable | None = None
) -> tuple[torch.Tensor, Measurement]:
    """The start image of slices whose settings share ρ and rounds, relative to the scale of the data, like `init`; and the measurement with what it
    has taught of the noise."""
    model, sinogram, settings = measurement.model, measurement.data, measurement.settings
    if options.init == "none":
        if (
            init is None
        ):  # the mean attenuation, in these units; from zero a non-negative generator would have no gradient to leave by
            init = torch.full((sinogram.shape[0], *model.domain_shape), 0.5 if options.nonnegative else 0.0).to(
                sinogram
            )
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
        solver = tv_solver(measurement, options, mask, init)
    else:
        iterations -= TRIAL_ITERATIONS
    solver.run(per_slice((s.tv_weight for s in settings), sinogram), iterations, on_iteration=notify)
    if learning:
        measurement = learn_noise(measurement, solver.x, options)
        settings = measurement.settings
        solver.set_residual_weights(measurement.spectrum)
    tv_weight, edge_threshold = (
        per_slice((getattr(s, name) for s in settings), sinogram) for name in ("tv_weight", "edge_threshold")
    )
    measurement = replace(measurement, solver=None)
    return reweighted_tv(solver, measurement, tv_weight, edge_threshold, notify), measurement


def start_iterations(measurement: Measurement, options: GanrecOptions) -> int:
    """How many times `notify` is called by `start_image`."""
    if options.init != "tv":
        return SIRT_ITERATIONS if options.init == "sirt" else 0
    rounds = measurement.settings[0].rounds
    plain = MEAN_ITERATIONS if measurement.response is not None and rounds else TV_ITERATIONS
    return plain - (TRIAL_ITERATIONS if measurement.solver is not None else 0) + rounds * ROUND_ITERATIONS


def trial_iterations(model: ForwardModel, options: GanrecOptions) -> tuple[int, int]:
    """How many times `notify` is called by `measurements`, and what `start_image` may add to it at most."""
    if known_pixel_model(model, options) != "auto":
        return 0, 0
    return 2 * TRIAL_ITERATIONS, TV_ITERATIONS - TRIAL_ITERATIONS + options.rounds * ROUND_ITERATIONS


def cold_starts(model, group: Group, options: GanrecOptions, mask, steps: "_StartSteps"):
    """(slices of the batch, measurement, start image, None) of slices that begin at nothing or at the image given."""
    trial, more = trial_iterations(model, options)
    steps.total = steps.count + trial + more
    with torch.no_grad():
        parts = select_pixel_model(model, group.data, options, group.settings, mask, group.init, steps)
    steps.total = steps.count + sum(start_iterations(part, options) for part in parts)
    for part in parts:
        with torch.no_grad():
            start, part = start_image(
                part, options, mask, None if group.init is None else group.init[part.index], steps
            )
        yield group.index[part.index], part, start, None
