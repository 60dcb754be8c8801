"""Data of slices as one forward model explains them: pixel model, frequency weights, regularisation, constraints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.forward_model import (
    ForwardModel,
    can_resample,
    in_single,
    pixel_size_of,
    required_angles,
)
from tomopy_ganrec.solvers.operators import filter_projections

from .constraints import Constraints
from .noise import residual_levels, whitening
from .pixel_response import compensate_response, pixel_response
from .regularization import RegularizationWeights, weights_from_residual

__all__ = ["AttenuationBound", "Measurement"]

RAYS_PER_BIN = 2  # of the projector that sees pixels as area means


@dataclass(frozen=True)
class AttenuationBound:
    """The upper bound of one slice's attenuation.

    Attributes
    ----------
    value : float
        Relative to the scale of the data.
    origin : str
        'given', 'found' in the slice's data, or 'neighbour'.
    residual_rise : float
        √(R² − R₀²) of the relative residuals R with and R₀ without the bound; NaN where it was not tried.
    """

    value: float
    origin: str
    residual_rise: float = math.nan


@dataclass(frozen=True)
class Measurement:
    """Slices of a batch as one forward model explains them.

    Attributes
    ----------
    index : (n,) tensor
        Their places in the batch.
    model : ForwardModel
    data : (n, *range_shape) tensor
        Relative to the scale of the data; without the pixel's response, where there is one.
    weights : RegularizationWeights
    constraints : Constraints
    response : (angles, columns // 2 + 1) tensor or None
        `pixel_response` of pixels that are area means; None for point pixels.
    spectrum : tensor or None
        Weights of the frequencies of a residual of `data`, (n or 1, angles, columns // 2 + 1).
    bounds : tuple of (AttenuationBound or None)
        Of each slice, as in the constraints; empty: none has one.
    """

    index: torch.Tensor
    model: ForwardModel
    data: torch.Tensor
    weights: RegularizationWeights
    constraints: Constraints
    response: torch.Tensor | None = None
    spectrum: torch.Tensor | None = None
    bounds: tuple[AttenuationBound | None, ...] = ()

    @classmethod
    def of_point_pixels(
        cls, model: ForwardModel, sinogram: torch.Tensor, weights: RegularizationWeights, constraints: Constraints
    ) -> Measurement:
        """Data of an object that is constant in each pixel, as the model projects it."""
        index = torch.arange(len(sinogram), device=sinogram.device)
        return cls(index, model, sinogram, weights, constraints)

    @classmethod
    def of_area_means(
        cls, model: ForwardModel, sinogram: torch.Tensor, weights: RegularizationWeights, constraints: Constraints
    ) -> Measurement:
        """Data of an object of which a pixel is the mean over its area; the model must know its own response.

        The data are compensated for the response of the projector, and their residual is weighed so that the noise
        stays white.
        """
        index = torch.arange(len(sinogram), device=sinogram.device)
        fine = _resampled(model)
        response = _response(fine, sinogram)
        data = compensate_response(sinogram, response)
        return cls(index, fine, data, weights, constraints, response, response[None])

    @property
    def pixel_model(self) -> str:
        """'area' or 'point'."""
        return "point" if self.response is None else "area"

    def residual(self, model_sinogram: torch.Tensor) -> torch.Tensor:
        """What a model sinogram leaves unexplained, as the detector would see it: (n, *range_shape)."""
        residual = model_sinogram - self.data
        return residual if self.response is None else filter_projections(residual, self.response)

    def relative_residual(self, image: torch.Tensor) -> torch.Tensor:
        """‖A x − b‖/‖b‖ of each slice of an image (n, rows, cols): (n,)."""
        norm = self.data.flatten(1).norm(dim=1) + torch.finfo(image.dtype).tiny
        return self.residual(self.model.forward_project(image)).flatten(1).norm(dim=1) / norm

    @property
    def whitener(self) -> torch.Tensor | None:
        """Weights of the frequencies of what the detector sees, (n or 1, 1, columns // 2 + 1)."""
        if self.response is None or self.spectrum is None:
            return None
        return (self.spectrum / self.response)[:, :1]

    def noise(self, owner: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Fresh noise and model error such as `data` have.

        Parameters
        ----------
        owner : (m,) tensor of int
            The slices to which the noise belongs, by their place in this measurement.
        rng : torch.Generator

        Returns
        -------
        (m, *range_shape) tensor
        """
        sigma = self.weights.take(owner).residual_level(self.data) * self.data.shape[2] / 2
        shape = len(owner), *self.data.shape[1:]
        noise = torch.randn(shape, generator=rng, dtype=torch.float32).to(self.data) * sigma
        spectrum = self.spectrum_of(owner)
        return noise if spectrum is None else filter_projections(noise, torch.reciprocal(spectrum))

    def spectrum_of(self, index: torch.Tensor) -> torch.Tensor | None:
        """The `spectrum` of some slices, by their place in this measurement."""
        if self.spectrum is None or len(self.spectrum) == 1:
            return self.spectrum
        return self.spectrum[index]

    def single(self) -> Measurement:
        """The same in float32; the model stays as it is."""
        response, spectrum = (x if x is None else x.float() for x in (self.response, self.spectrum))
        constraints = self.constraints.to(torch.float32)
        return replace(self, data=self.data.float(), constraints=constraints, response=response, spectrum=spectrum)

    def in_single(self) -> Measurement:
        """The same with a model that projects in float32, where the data are in float32 and it can."""
        return replace(self, model=in_single(self.model)) if self.data.dtype == torch.float32 else self

    def take(self, index: torch.Tensor) -> Measurement:
        """Some of the slices, by their place in this measurement."""
        return replace(
            self,
            index=self.index[index],
            data=self.data[index],
            weights=self.weights.take(index),
            constraints=self.constraints.take(index),
            spectrum=self.spectrum_of(index),
            bounds=tuple(self.bounds[k] for k in index.tolist()) if self.bounds else (),
        )

    def bounded(self, bounds: Sequence[AttenuationBound | None]) -> Measurement:
        """With an upper bound for the attenuation of each slice, or none."""
        if not any(bounds):
            return replace(self, constraints=replace(self.constraints, maximum=None), bounds=())
        values = [math.inf if bound is None else bound.value for bound in bounds]
        maximum = torch.tensor(values, dtype=torch.float64).to(self.data)[:, None, None]
        return replace(self, constraints=replace(self.constraints, maximum=maximum), bounds=tuple(bounds))

    def whitened(self) -> Measurement:
        """With the frequency weights that the noise and residual levels of its weights ask for."""
        if self.response is None:
            return self
        noise_level, residual_level = (
            level(self.data)[:, 0, 0] for level in (self.weights.noise_level, self.weights.residual_level)
        )
        weight, _ = whitening(noise_level, residual_level, self.data.shape[2])
        return replace(self, spectrum=self.response * weight)

    def learn_noise(self, image: torch.Tensor, options: GanrecOptions) -> Measurement:
        """With the noise and the model error that an image leaves in data of area means: frequency weights, λ and ε."""
        response, _ = self._frequencies()
        theta = required_angles(self.model)
        columns = self.data.shape[2]
        residual = self.residual(self.model.forward_project(image))
        noise_level, high_level = residual_levels(residual / (columns / 2))
        weight, residual_level = whitening(noise_level, high_level, columns)
        levels = zip(self.weights.slices, noise_level.tolist(), residual_level.tolist(), strict=True)
        weights = [weights_from_residual(one, low, reference, theta, options) for one, low, reference in levels]
        return replace(self, weights=RegularizationWeights(tuple(weights)), spectrum=response * weight)

    def on_finer_grid(self, factor: int, tv_factor: float) -> Measurement:
        """The same data, of area means, on a grid `factor` times finer, with λ times `tv_factor`."""
        old_response, spectrum = self._frequencies()
        model = _resampled(self.model, pixel_size_of(self.model) / factor)
        response = _response(model, self.data)
        return replace(
            self,
            model=model,
            data=compensate_response(filter_projections(self.data, old_response), response),
            weights=self.weights.scaled(tv_factor),
            constraints=self.constraints.on_finer_grid(model, factor),
            response=response,
            spectrum=spectrum / old_response * response,
        )

    def _frequencies(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The response and the spectrum of area means."""
        if self.response is None or self.spectrum is None:
            raise ValueError("the pixels of this measurement are points, whose response is not known")
        return self.response, self.spectrum


def _resampled(model: ForwardModel, pixel_size: float | None = None) -> ForwardModel:
    """The model with the rays, and perhaps the pixels, of area means."""
    if not can_resample(model):
        raise ValueError(f"the response of the forward model {type(model).__name__} is not known")
    return model.resampled(pixel_size=pixel_size, rays_per_bin=RAYS_PER_BIN)


def _response(model: ForwardModel, like: torch.Tensor) -> torch.Tensor:
    """The response of a model's pixels, on the device and in the precision of sinograms `like`."""
    theta, pixel_size = required_angles(model), pixel_size_of(model)
    return pixel_response(theta, like.shape[2], pixel_size, RAYS_PER_BIN).to(like)
