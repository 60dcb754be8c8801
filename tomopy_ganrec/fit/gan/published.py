"""The algorithm of X. Yang et al., J. Synchrotron Rad. 27, 486–493 (2020), as published, returned in attenuation units."""

import time

import numpy as np
import torch

from tomopy_ganrec.results import FitResult, NonFiniteError, Status
from tomopy_ganrec.solvers.forward_model import ForwardModel, field_of_view
from tomopy_ganrec.solvers.operators import power_of_two

from .adversary import AdversarialOptimizer
from .networks import PaperDiscriminator, PaperGenerator

__all__ = ["fit_paper", "scale_and_offset", "unit_range"]

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


def scale_and_offset(
    model: ForwardModel, image: torch.Tensor, sinogram: torch.Tensor, view: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The a and b, (B, 1, 1) each, for which a·image + b·view fits the sinograms best in the least-squares sense."""
    return _least_squares(model.forward_project(image), model.forward_project(view.expand_as(image)), sinogram)


def slice_states(module: torch.nn.Module, slices: int) -> list[dict]:
    """The weights of each slice of a batch: those of slice k are the k-th of equal parts along the first axis (`networks`)."""
    parts = {name: value.detach().cpu().unflatten(0, (slices, -1)) for name, value in module.state_dict().items()}
    return [{name: value[k].clone() for name, value in parts.items()} for k in range(slices)]


def load_slice_states(module: torch.nn.Module, states: list[dict]) -> None:
    """Undo `slice_states`."""
    module.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})


def fit_paper(model: ForwardModel, sinogram: torch.Tensor, options, callback=None, state=None):
    """The paper's fit of a batch; the arguments are those of `fit`. `state`: the weights with which each slice begins (`FitResult.states`), those of
    the slice before it; then `GanrecOptions.warm_iter` iterations do.

    Two-step normalisation: the generated slice goes to the range 0–1, its sinogram to mean 0 and variance 1 and then to the range 0–1, as the
    measured one does. The generator minimises the cross entropy of the discriminator's verdict plus λ times the L1 distance; the iterate of
    lowest L1 distance is kept and its grey values are mapped to attenuation by a least-squares scale and offset.
    """
    began, batch, total = (
        time.perf_counter(),
        sinogram.shape[0],
        options.warm_iterations if state else options.iterations,
    )
    unit = power_of_two(sinogram)
    unit = torch.where((unit > HUGE) | (unit < 1 / HUGE), unit, 1.0)  # squares and sums that float32 can hold
    sinogram = sinogram / unit
    view = field_of_view(model, sinogram.device).to(sinogram)
    mask = view if options.mask else torch.ones_like(view)
    measured = unit_range(standardized(sinogram))
    seed = torch.Generator().manual_seed(options.seed)
    generator = PaperGenerator(batch, model.range_shape, model.domain_shape, seed).to(sinogram)
    judge = PaperDiscriminator(batch, seed).to(sinogram) if options.adversarial > 0 else None
    if state:
        load_slice_states(generator, [s["generator"] for s in state])
        if judge is not None:
            load_slice_states(judge, [s["judge"] for s in state])
    rates = (
        options.learning_rate or AUTHORS_RATES["generator"],
        options.discriminator_rate or AUTHORS_RATES["discriminator"],
    )
    game = AdversarialOptimizer([dict(params=generator.parameters(), lr=rates[0])], judge, rates[1])
    norm = sinogram.flatten(1).norm(dim=1) + torch.finfo(sinogram.dtype).tiny
    view_projected = model.forward_project(mask.expand(batch, *mask.shape).contiguous())
    best_image, best_projected, start, best_distance = None, None, None, torch.full((batch,), torch.inf).to(sinogram)
    best_iteration = torch.zeros(batch, dtype=torch.long, device=sinogram.device)
    history = {"objective": [], "discriminator": []}
    stopped = "finished"

    def attenuation(image, projected):
        scale, offset = _least_squares(projected, view_projected, sinogram)
        image = scale * image + offset * mask
        return image.clamp(min=0) if options.nonnegative else image

    @torch.no_grad()
    def result():
        image = attenuation(best_image, best_projected)
        residual = (model.forward_project(image) - sinogram).flatten(1).norm(dim=1) / norm
        info = [
            dict(
                iteration=int(i),
                objective=float(d),
                residual=float(r),
                loss="l1",
                levels=None,
                stopped=stopped,
                warm=bool(state),
            )
            for i, d, r in zip(best_iteration, best_distance, residual, strict=True)
        ]
        curves = {k: np.stack(v) for k, v in history.items() if v}
        weights = [
            slice_states(network, batch) if network is not None else [None] * batch for network in (generator, judge)
        ]
        states = [dict(generator=g, judge=d) for g, d in zip(*weights, strict=True)]
        return FitResult(
            image * unit, start * unit, info, curves, dict(start=0.0, fit=time.perf_counter() - began), states
        )

    for iteration in range(total + 1):
        image = unit_range(generator(measured[:, None])[:, 0]) * mask
        projected = model.forward_project(image)
        model_sinogram = unit_range(standardized(projected))
        distance = (model_sinogram - measured).abs().mean((1, 2))
        if not torch.isfinite(distance).all():
            error = NonFiniteError(
                f"the fit became infinite or NaN at iteration {iteration}; lower learning_rate or check the data for extreme values"
            )
            error.result = result() if best_image is not None else None
            raise error
        with torch.no_grad():
            if best_image is None:
                best_image, best_projected, start = image, projected, attenuation(image, projected)
            better = distance < best_distance
            best_image = torch.where(better[:, None, None], image, best_image)
            best_projected = torch.where(better[:, None, None], projected, best_projected)
            best_distance = torch.where(better, distance, best_distance)
            best_iteration = torch.where(better, iteration, best_iteration)
        history["objective"].append(distance.detach().cpu().numpy())
        if (
            callback is not None
            and iteration > 0
            and callback(Status("fit", iteration, total, float(distance.detach().max())))
        ):
            stopped = "callback"
        if stopped != "finished" or iteration == total:
            break
        loss = options.data_weight * distance
        game.step_generator(loss + game.adversarial_loss(model_sinogram) if judge is not None else loss)
        verdict = game.step_discriminator(measured, model_sinogram)
        if verdict is not None:
            history["discriminator"].append(verdict.cpu().numpy())
    return result()
