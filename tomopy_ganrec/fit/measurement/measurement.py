"""The data of a batch of slices as a forward model sees them: pixel model, spectrum, weights."""

from dataclasses import dataclass, replace

import torch

from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.forward_model import ForwardModel
from tomopy_ganrec.solvers.operators import filter_projections
from tomopy_ganrec.solvers.total_variation import TotalVariation

from .noise import residual_levels, whitening
from .pixel_response import compensate_response, pixel_response
from .regularization import RegularizationWeights, weights_from_residual

__all__ = ["Measurement", "constrained", "known_measurement", "per_slice"]


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
    settings: list[RegularizationWeights]
    solver: TotalVariation | None = None

    def residual(self, model_sinogram: torch.Tensor) -> torch.Tensor:
        """What a model sinogram leaves unexplained, as the detector would see it."""
        residual = model_sinogram - self.data
        return residual if self.response is None else filter_projections(residual, self.response)

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
        sigma = per_slice((self.settings[k].residual_level for k in owner.tolist()), self.data) * self.data.shape[2] / 2
        noise = (
            torch.randn((len(owner), *self.data.shape[1:]), generator=generator, dtype=torch.float32).to(self.data)
            * sigma
        )
        if self.response is None:
            return noise
        spectrum = self.spectrum if len(self.spectrum) == 1 else self.spectrum[owner]
        return filter_projections(noise, 1 / spectrum)

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


def per_slice(values, like: torch.Tensor) -> torch.Tensor:
    """A number for each slice, (B, 1, 1)."""
    return torch.tensor(list(values), dtype=torch.float64).to(like)[:, None, None]


def constrained(image: torch.Tensor, options: GanrecOptions, mask: torch.Tensor | None) -> torch.Tensor:
    """The image with what the options promise: not negative, zero outside the field of view."""
    image = image.clamp(min=0) if options.nonnegative else image
    return image if mask is None else image * mask


def learn_noise(measurement: Measurement, image: torch.Tensor, options: GanrecOptions) -> Measurement:
    """The measurement with the noise and the model error that an image leaves in its data: weights of frequencies, λ and ε."""
    columns = measurement.data.shape[2]
    low, high = residual_levels(measurement.residual(measurement.model.forward_project(image)) / (columns / 2))
    weight, reference = whitening(low, high, columns)
    settings = [
        weights_from_residual(s, a, b, measurement.model.theta, options)
        for s, a, b in zip(measurement.settings, low.tolist(), reference.tolist(), strict=True)
    ]
    return replace(measurement, settings=settings, spectrum=measurement.response * weight)


def known_measurement(model, sinogram: torch.Tensor, settings: list[RegularizationWeights], pixels: str) -> Measurement:
    """The slices as the model explains them whose pixels and noise are known."""
    index = torch.arange(len(settings), device=sinogram.device)
    if pixels == "point":
        return Measurement(index, model, sinogram, None, None, settings)
    fine, columns = model.resampled(rays_per_bin=2), sinogram.shape[2]
    response = pixel_response(model.theta, columns, model.pixel_size, 2).to(sinogram)
    low = per_slice((s.noise_level for s in settings), sinogram)[:, 0, 0]
    reference = per_slice((s.residual_level for s in settings), sinogram)[:, 0, 0]
    weight, _ = whitening(low, reference, columns)
    return Measurement(index, fine, compensate_response(sinogram, response), response, response * weight, settings)
