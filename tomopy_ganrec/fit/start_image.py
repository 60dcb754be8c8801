"""The start image of a fit from scratch: the choice of the pixel model, and one of the classical reconstructions."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import AttenuationBound, Measurement
from tomopy_ganrec.fit.measurement.noise import MIDDLE, residual_level
from tomopy_ganrec.fit.measurement.pixel_model_evidence import are_area_means, position_between
from tomopy_ganrec.fit.measurement.regularization import RegularizationWeights
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.classical import fbp, sirt
from tomopy_ganrec.solvers.forward_model import ForwardModel, angles_of, can_resample, required_angles
from tomopy_ganrec.solvers.total_variation import TotalVariation

from .attenuation_bound import AttenuationBoundStage
from .grouping import Group, Start
from .reweighted_tv import ROUND_ITERATIONS, reweighted_tv, tv_solver
from .stage_progress import StageProgress

__all__ = ["PixelModelTrial", "StartImage", "cold_starts"]

TV_ITERATIONS, SIRT_ITERATIONS = 170, 30
TRIAL_ITERATIONS = 105  # of total variation with each pixel model before they are compared
# Relative noise below which data are nearly noise-free, and the ratio of the residuals above which pixels are points.
QUIET_NOISE, POINT_RATIO = 3e-3, 0.98
NOISE_ITERATIONS = 120  # of total variation before the noise is read off its residual


class PixelModelTrial:
    """Splits a batch by what its pixels are, area means or points.

    With ``pixel_model='auto'`` each of the two has 105 iterations of total variation, and `position_between` says to
    which of them the data are nearer. Nearly noise-free data must also be explained better by points: the ratio of the
    residuals between 0.1 and 0.2 cycles per column, area means to points, is .55 to .945 for structure below the pixel
    and 1.02 to 1.6 for square pixels (60 to 180°).

    Measured without that ratio on 60 slices (seeds 6000 to 6059; the four phantoms, round and angular
    grains, smooth contours; 64² and 128², one of 256²; 60 to 180°; noise-free, 1e5 and 1e4 photons), half with
    structure below the pixel, half of square pixels: the kind is found in 100, 95 and 80 % (by the ratio of the
    residuals 100, 75 and 55 %), always where there is structure below the pixel. Against the better of the two, the
    start image loses .0022 of MSSIM in the mean (.0081), at most .026 where the kind is mistaken: square pixels with
    noise and a fine texture or few angles. Mostly over 60 to 90° the wrong kind is at times the better one, by up to
    .033; no comparison with the data can show that.

    Parameters
    ----------
    model : ForwardModel
    options : GanrecOptions

    Attributes
    ----------
    kind : str
        'area', 'point', or 'auto' where a trial has to show it.

    Raises
    ------
    ValueError
        For area means and a model whose response is not known.
    """

    def __init__(self, model: ForwardModel, options: GanrecOptions):
        known = can_resample(model)
        if options.pixel_model == "area" and not known:
            raise ValueError(
                "pixel_model='area' needs a projector whose response is known, such as ParallelBeamProjector; use "
                "pixel_model='auto' or 'point'"
            )
        undecidable = options.pixel_model == "auto" and options.init != "tv"
        self.kind = options.pixel_model if known and not undecidable else "point"
        self._model, self._options = model, options

    @property
    def steps(self) -> int:
        """Iterations of `run`."""
        return 2 * TRIAL_ITERATIONS if self.kind == "auto" else 0

    def run(
        self,
        data: torch.Tensor,
        weights: RegularizationWeights,
        constraints: Constraints,
        init: torch.Tensor | None,
        progress: StageProgress,
    ) -> list[tuple[Measurement, TotalVariation | None]]:
        """One or two measurements, with the solver of the trial where there was one.

        Parameters
        ----------
        data : (n, angles, columns) tensor
            Relative to their scale.
        weights : RegularizationWeights
        constraints : Constraints
        init : (n, rows, cols) tensor or None
            Where the trial begins.
        progress : StageProgress
        """
        point_weights = weights.changed(wedge_tv_weight=self._options.wedge_tv_weight or 1.0)
        point = Measurement.of_point_pixels(self._model, data, point_weights, constraints)
        if self.kind == "point":
            return [(point, None)]
        area = Measurement.of_area_means(self._model, data, weights, constraints)
        if self.kind == "area":
            return [(area, None)]
        across, solvers, seen, left = self._options.slice_tv_weight, [], [], []
        for measurement in (area, point):
            solver = tv_solver(measurement, init, across)
            solver.run(weights.tv_weight(data), TRIAL_ITERATIONS, on_iteration=progress.step)
            residual = measurement.residual(measurement.model.forward_project(solver.x))
            seen.append(data + residual)
            left.append(residual_level(residual, MIDDLE))
            solvers.append(solver)
        noise = weights.noise_level(data) * data.shape[2] / 2
        joint = self._options.joint_slices > 1  # neighbours stay together
        position, error = position_between(data, seen[1], seen[0], noise, joint)
        is_area = are_area_means(position, error, required_angles(self._model))
        quiet = torch.tensor([one.relative_noise < QUIET_NOISE for one in weights.slices], device=data.device)
        ratio = (left[0].mean() / left[1].mean()).expand_as(left[0]) if joint else left[0] / left[1]
        is_area |= quiet & ~(ratio > POINT_RATIO)
        parts: list[tuple[Measurement, TotalVariation | None]] = []
        for measurement, solver, chosen in zip((area, point), solvers, (is_area, ~is_area), strict=True):
            if chosen.any():
                index = torch.nonzero(chosen)[:, 0]
                parts.append((measurement.take(index), solver.take(index)))
        return parts


class StartImage:
    """The start image of slices that share a measurement, relative to the scale of their data.

    Parameters
    ----------
    measurement : Measurement
    options : GanrecOptions
    scale : (n, 1, 1) tensor
        Of the data.
    solver : TotalVariation, optional
        That has had the iterations of the trial.
    """

    def __init__(
        self,
        measurement: Measurement,
        options: GanrecOptions,
        scale: torch.Tensor,
        solver: TotalVariation | None = None,
    ):
        self._options, self._solver = options, solver
        given = options.resolved.max_attenuation
        if options.init != "tv" and given is not None and not isinstance(given, str):
            bounds = [AttenuationBound(given / value, "given") for value in scale.flatten().tolist()]
            measurement = measurement.bounded(bounds)
        self._measurement, self._scale = measurement, scale

    @property
    def steps(self) -> int:
        """Iterations of `run`, at most."""
        if self._options.init != "tv":
            return SIRT_ITERATIONS if self._options.init == "sirt" else 0
        bound = AttenuationBoundStage(self._measurement, self._options, self._scale)
        return self._plain_iterations + bound.steps + self._measurement.weights.rounds * ROUND_ITERATIONS

    @property
    def _learns_noise(self) -> bool:
        return self._measurement.response is not None and self._measurement.weights.rounds > 0

    @property
    def _plain_iterations(self) -> int:
        iterations = NOISE_ITERATIONS if self._learns_noise else TV_ITERATIONS
        return iterations if self._solver is None else iterations - TRIAL_ITERATIONS

    def run(self, init: torch.Tensor | None, progress: StageProgress) -> tuple[torch.Tensor, Measurement]:
        """The start image (n, rows, cols), and the measurement with what the start image has shown of the noise.

        Parameters
        ----------
        init : (n, rows, cols) tensor or None
            Where it begins; with ``init='none'`` the start image itself.
        progress : StageProgress

        Raises
        ------
        ValueError
            For ``init='fbp'`` and a model without angles.
        """
        measurement, constraints = self._measurement, self._measurement.constraints
        model, data = measurement.model, measurement.data
        kind = self._options.init
        if kind == "none":
            if init is None:
                # The mean attenuation, in these units; at zero a non-negative generator would have no gradient.
                middle = 0.5 if constraints.nonnegative else 0.0
                init = torch.full((len(data), *model.domain_shape), middle).to(data)
            return constraints.project(init), measurement
        if kind == "sirt":
            image = sirt(
                model, data, SIRT_ITERATIONS, constraints.nonnegative, constraints.support, init, progress.step
            )
            return constraints.clamp(image), measurement
        if kind == "fbp":
            theta = angles_of(model)
            if theta is None:
                raise ValueError("init='fbp' needs a forward model with projection angles `theta`; use init='sirt'")
            return constraints.project(fbp(model, data, theta)), measurement
        return self._total_variation(init, progress)

    def _total_variation(self, init: torch.Tensor | None, progress: StageProgress) -> tuple[torch.Tensor, Measurement]:
        measurement, solver = self._measurement, self._solver
        if solver is None:
            solver = tv_solver(measurement, init, self._options.slice_tv_weight)
        tv_weight = measurement.weights.tv_weight(measurement.data)
        solver.run(tv_weight, self._plain_iterations, on_iteration=progress.step)
        if self._learns_noise:
            measurement = measurement.learn_noise(solver.x, self._options)
            solver.set_residual_weights(measurement.spectrum)
        measurement = AttenuationBoundStage(measurement, self._options, self._scale).run(solver, progress)
        return reweighted_tv(solver, measurement, progress.step), measurement


def cold_starts(
    model: ForwardModel, group: Group, options: GanrecOptions, constraints: Constraints, progress: StageProgress
) -> Iterator[Start]:
    """The start images of a group, from scratch or from the image given, one measurement after the other."""
    trial = PixelModelTrial(model, options)
    later = TV_ITERATIONS - TRIAL_ITERATIONS + options.resolved.reweight_rounds * ROUND_ITERATIONS
    progress.expect(trial.steps + (later if trial.steps else 0))
    with torch.no_grad():
        parts = trial.run(group.data, group.weights, constraints, group.init, progress)
    stages = [StartImage(part, options, group.scale[part.index], solver) for part, solver in parts]
    progress.expect(sum(stage.steps for stage in stages))
    for (measurement, _), stage in zip(parts, stages, strict=True):
        init = None if group.init is None else group.init[measurement.index]
        with torch.no_grad():
            image, measurement = stage.run(init, progress)
        yield Start(group.index[measurement.index], measurement, image)
