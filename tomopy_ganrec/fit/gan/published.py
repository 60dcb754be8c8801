"""The algorithm as published by X. Yang et al., J. Synchrotron Rad. 27, 486–493 (2020), in units of attenuation."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.stage_progress import StageProgress
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.results import FitResult, NonFiniteError, Status
from tomopy_ganrec.solvers.forward_model import ForwardModel
from tomopy_ganrec.solvers.operators import power_of_two

from .adversary import AdversarialOptimizer
from .networks import PaperDiscriminator, PaperGenerator

__all__ = ["fit_paper", "unit_range"]

AUTHORS_RATES = dict(generator=1e-3, discriminator=1e-5)  # the authors' defaults
HUGE = 2.0**40  # data beyond this, or below its inverse, are taken in a unit of their own


def unit_range(x: torch.Tensor) -> torch.Tensor:
    """Each slice of (B, …) from its minimum, 0, to its maximum, 1."""
    flat = x.flatten(1)
    low, high = flat.amin(1), flat.amax(1)
    shape = (-1, *[1] * (x.ndim - 1))
    return (x - low.view(shape)) / (high - low).clamp(min=torch.finfo(x.dtype).tiny).view(shape)


def standardized(x: torch.Tensor) -> torch.Tensor:
    """Each slice of (B, …) to mean 0 and variance 1."""
    dims = tuple(range(1, x.ndim))
    return (x - x.mean(dims, keepdim=True)) / x.std(dims, keepdim=True, unbiased=False).clamp(
        min=torch.finfo(x.dtype).tiny
    )


def _least_squares(
    projected: torch.Tensor, view: torch.Tensor, sinogram: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    columns = torch.stack([projected.flatten(1), view.expand_as(projected).flatten(1)], 2).double().cpu()
    # gelsd: an image without contrast leaves the two columns dependent
    solution = torch.linalg.lstsq(columns, sinogram.flatten(1)[..., None].double().cpu(), driver="gelsd").solution.to(
        sinogram
    )
    return solution[:, 0, :, None], solution[:, 1, :, None]


def slice_states(module: torch.nn.Module, slices: int) -> list[dict]:
    """The weights of each slice of a batch: the equal parts of each tensor along its first axis (`networks`)."""
    parts = {name: value.detach().cpu().unflatten(0, (slices, -1)) for name, value in module.state_dict().items()}
    return [{name: value[k].clone() for name, value in parts.items()} for k in range(slices)]


def load_slice_states(module: torch.nn.Module, states: list[dict]) -> None:
    """Undo `slice_states`."""
    module.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})


class _BestDistance:
    """For each slice the iterate whose sinogram is nearest to the measured one, in the L1 distance."""

    def __init__(self, image: torch.Tensor, projected: torch.Tensor, distance: torch.Tensor):
        self.image, self.projected, self.distance = image, projected, distance
        self.iteration = torch.zeros(len(image), dtype=torch.long, device=image.device)

    def update(self, image: torch.Tensor, projected: torch.Tensor, distance: torch.Tensor, iteration: int) -> None:
        better = distance < self.distance
        self.image = torch.where(better[:, None, None], image, self.image)
        self.projected = torch.where(better[:, None, None], projected, self.projected)
        self.distance = torch.where(better, distance, self.distance)
        self.iteration = torch.where(better, iteration, self.iteration)


def fit_paper(
    model: ForwardModel,
    sinogram: torch.Tensor,
    options: GanrecOptions,
    callback: Callable[[Status], object] | None = None,
    state: list[dict] | None = None,
) -> FitResult:
    """The paper's fit of a batch; the arguments are those of `fit`.

    Two-step normalisation: the generated slice goes to the range 0–1, its sinogram to mean 0 and variance 1 and then to
    the range 0–1, as the measured one does. The generator minimises the cross entropy of the discriminator's answer
    plus λ times the L1 distance; the iterate of lowest L1 distance is kept and its grey values are mapped to
    attenuation by a least-squares scale and offset.

    `state` holds the weights with which each slice begins (`FitResult.states`), those of the slice before it; then
    `GanrecOptions.warm_iter` iterations do.
    """
    return _PublishedFit(model, sinogram, options, state).run(StageProgress("fit", callback))


class _PublishedFit:
    """The networks, data and curves of `fit_paper`."""

    def __init__(self, model: ForwardModel, sinogram: torch.Tensor, options: GanrecOptions, state: list[dict] | None):
        self._began, batch = time.perf_counter(), sinogram.shape[0]
        self._model, self._options, self._warm = model, options, bool(state)
        self._total = options.resolved.warm_iter if state else options.resolved.num_iter
        unit = power_of_two(sinogram)
        # A unit of its own for data whose squares and sums float32 cannot hold.
        self._unit = torch.where((unit > HUGE) | (unit < 1 / HUGE), unit, 1.0)
        self._sinogram = sinogram = sinogram / self._unit
        constraints = Constraints.of_slices(model, sinogram, options)
        self._outline, support = constraints.outline, constraints.support
        self._support = torch.ones(model.domain_shape).to(sinogram) if support is None else support
        self._measured = unit_range(standardized(sinogram))
        rng = torch.Generator().manual_seed(options.seed)
        self._generator = PaperGenerator(batch, model.range_shape, model.domain_shape, rng).to(sinogram)
        self._discriminator = PaperDiscriminator(batch, rng).to(sinogram) if options.adversarial > 0 else None
        if state:
            load_slice_states(self._generator, [s["generator"] for s in state])
            if self._discriminator is not None:
                load_slice_states(self._discriminator, [s["discriminator"] for s in state])
        self._optimizer = AdversarialOptimizer(
            [dict(params=self._generator.parameters(), lr=options.learning_rate or AUTHORS_RATES["generator"])],
            self._discriminator,
            options.discriminator_rate or AUTHORS_RATES["discriminator"],
        )
        support = self._support.expand(batch, *model.domain_shape).contiguous()
        self._support_projected = model.forward_project(support)
        self._history: dict[str, list[np.ndarray]] = {"objective": [], "discriminator": []}
        self._best: _BestDistance | None = None
        self._start: torch.Tensor

    def run(self, progress: StageProgress) -> FitResult:
        progress.total, stopped = self._total, False
        for iteration in range(self._total + 1):
            image = unit_range(self._generator(self._measured[:, None])[:, 0]) * self._support
            projected = self._model.forward_project(image)
            model_sinogram = unit_range(standardized(projected))
            distance = (model_sinogram - self._measured).abs().mean((1, 2))
            self._compare(image, projected, distance, iteration)
            if iteration > 0:
                stopped = progress.step(float(distance.detach().max()))
            if stopped or iteration == self._total:
                break
            self._step(model_sinogram, distance)
        return self._result("callback" if stopped else "finished")

    @torch.no_grad()
    def _compare(self, image: torch.Tensor, projected: torch.Tensor, distance: torch.Tensor, iteration: int) -> None:
        """Keep the iterate where it is the best so far."""
        if not torch.isfinite(distance).all():
            error = NonFiniteError(
                f"the fit became infinite or NaN at iteration {iteration}; lower learning_rate or check the data for "
                "extreme values"
            )
            error.result = self._result("finished") if self._best is not None else None
            raise error
        if self._best is None:
            self._best = _BestDistance(image.detach(), projected.detach(), distance.detach())
            self._start = self._attenuation(image, projected)
        else:
            self._best.update(image, projected, distance, iteration)
        self._history["objective"].append(distance.detach().cpu().numpy())

    def _step(self, model_sinogram: torch.Tensor, distance: torch.Tensor) -> None:
        """One step of the generator and one of the discriminator."""
        loss = self._options.data_weight * distance
        if self._discriminator is not None:
            loss = loss + self._optimizer.adversarial_loss(model_sinogram)
        self._optimizer.step_generator(loss)
        discriminator_loss = self._optimizer.step_discriminator(self._measured, model_sinogram)
        if discriminator_loss is not None:
            self._history["discriminator"].append(discriminator_loss.cpu().numpy())

    def _attenuation(self, image: torch.Tensor, projected: torch.Tensor) -> torch.Tensor:
        """The image whose grey values fit the measured sinogram best."""
        scale, offset = _least_squares(projected, self._support_projected, self._sinogram)
        image = scale * image + offset * self._support
        return image.clamp(min=0) if self._options.nonnegative else image

    @torch.no_grad()
    def _result(self, reason: str) -> FitResult:
        best, sinogram = self._best, self._sinogram
        assert best is not None
        image = self._attenuation(best.image, best.projected)
        norm = sinogram.flatten(1).norm(dim=1) + torch.finfo(sinogram.dtype).tiny
        residual = (self._model.forward_project(image) - sinogram).flatten(1).norm(dim=1) / norm
        info = [
            dict(
                iteration=int(iteration),
                objective=float(distance),
                residual=float(value),
                loss="l1",
                levels=None,
                stopped=reason,
                warm=self._warm,
            )
            for iteration, distance, value in zip(best.iteration, best.distance, residual, strict=True)
        ]
        for record, kind in zip(info, self._outline, strict=False):
            record["outline"] = kind
        curves = {name: np.stack(values) for name, values in self._history.items() if values}
        seconds = dict(start=0.0, fit=time.perf_counter() - self._began)
        return FitResult(image * self._unit, self._start * self._unit, info, curves, seconds, self._states())

    def _states(self) -> list[dict]:
        """The networks' weights of each slice."""
        batch = len(self._sinogram)
        generators = slice_states(self._generator, batch)
        discriminators: list = [None] * batch
        if self._discriminator is not None:
            discriminators = slice_states(self._discriminator, batch)
        return [dict(generator=g, discriminator=d) for g, d in zip(generators, discriminators, strict=True)]
