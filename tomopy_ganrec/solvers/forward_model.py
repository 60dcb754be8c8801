"""The linear forward model that the solvers need, and quantities derived from one.

Any model has the four members of `ForwardModel`. What a model can say of its scan beyond them is in
`ParallelBeamModel`; each of those members is optional. Code asks for them by the functions of this module, which state
what holds for a model without them, never by ``hasattr``.
"""

from collections.abc import MutableMapping
from typing import Protocol, TypeGuard
from weakref import WeakKeyDictionary

import numpy as np
import torch

from .operators import power_of_two

__all__ = [
    "ForwardModel",
    "ParallelBeamModel",
    "angles_of",
    "can_resample",
    "center_of",
    "data_scale",
    "dtype_of",
    "field_of_view",
    "has_double_precision",
    "in_single",
    "is_recordable",
    "operator_norm",
    "pixel_size_of",
    "required_angles",
]


class ForwardModel(Protocol):
    """The physics of a measurement, a linear operator and its adjoint: all that the solvers need.

    Attributes
    ----------
    domain_shape : (int, int)
        Rows and columns of an image.
    range_shape : (int, int)
        Angles and detector columns of a sinogram, or what stands for them.
    """

    @property
    def domain_shape(self) -> tuple[int, int]:
        """Rows and columns of an image."""

    @property
    def range_shape(self) -> tuple[int, int]:
        """Angles and detector columns of a sinogram."""

    def forward_project(self, x: torch.Tensor) -> torch.Tensor:
        """(B, *domain_shape) to (B, *range_shape)."""

    def back_project(self, y: torch.Tensor) -> torch.Tensor:
        """The adjoint: (B, *range_shape) to (B, *domain_shape)."""


class ParallelBeamModel(ForwardModel, Protocol):
    """A forward model that also describes its scan, as `ParallelBeamProjector` does; each member may be missing.

    Attributes
    ----------
    theta : (angles,) float64 array
        Projection angles in radians, in any order (`angles_of`, `required_angles`). Without them nothing is known of a
        missing wedge.
    center : float or (B,) array
        Rotation axis on the detector in columns, in the edge convention (`center_of`); without it the middle of the
        detector.
    pixel_size : float
        Side of a pixel in detector columns (`pixel_size_of`); without it 1.
    dtype : torch.dtype
        The precision in which it projects (`dtype_of`); without it that of the data.
    recordable : bool
        Whether projections may be part of a CUDA graph (`is_recordable`); without it they may not.
    """

    @property
    def theta(self) -> np.ndarray:
        """Projection angles in radians: (angles,)."""

    @property
    def center(self) -> float | np.ndarray:
        """Rotation axis in detector columns, one for all slices or one for each."""

    @property
    def pixel_size(self) -> float:
        """Side of a pixel in detector columns."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which it projects."""

    @property
    def recordable(self) -> bool:
        """Whether projections may be part of a CUDA graph."""

    def resampled(self, pixel_size: float | None = None, rays_per_bin: int | None = None) -> "ParallelBeamModel":
        """The same scan on another grid of the same extent, or with other rays per detector column (`can_resample`)."""

    def in_double(self) -> "ParallelBeamModel":
        """The same in float64 where that costs little, else itself (`has_double_precision`)."""


def angles_of(model: ForwardModel) -> np.ndarray | None:
    """The projection angles of a model in radians, (angles,); None where it has none."""
    return getattr(model, "theta", None)


def required_angles(model: ForwardModel) -> np.ndarray:
    """The projection angles of a model in radians, (angles,).

    Raises
    ------
    ValueError
        For a model without angles.
    """
    theta = angles_of(model)
    if theta is None:
        raise ValueError(
            f"the forward model {type(model).__name__} has no projection angles; "
            "give it an attribute `theta`, (angles,) in radians, or leave out what needs them"
        )
    return theta


def center_of(model: ForwardModel) -> float | np.ndarray:
    """The rotation axis in detector columns, one number or one for each slice; by default the detector's middle."""
    return getattr(model, "center", model.range_shape[1] / 2)


def pixel_size_of(model: ForwardModel) -> float:
    """The side of a pixel in detector columns; 1 for a model that does not say."""
    return getattr(model, "pixel_size", 1.0)


def dtype_of(model: ForwardModel) -> torch.dtype | None:
    """The precision in which a model projects; None where it does not say."""
    return getattr(model, "dtype", None)


def is_recordable(model: ForwardModel) -> bool:
    """Whether a model's projections may be part of a CUDA graph."""
    return getattr(model, "recordable", False)


def can_resample(model: ForwardModel) -> TypeGuard[ParallelBeamModel]:
    """Whether a model can project the same scan on other grids and with other rays (``resampled``)."""
    return hasattr(model, "resampled")


def has_double_precision(model: ForwardModel) -> TypeGuard[ParallelBeamModel]:
    """Whether a model offers itself in float64 (``in_double``)."""
    return hasattr(model, "in_double")


def in_single(model: ForwardModel) -> ForwardModel:
    """A model that projects in float32, where one in float64 offers it (``to``, as torch's modules do); else itself."""
    if dtype_of(model) == torch.float64 and hasattr(model, "to"):
        return model.to(torch.float32)
    return model


def field_of_view(model: ForwardModel, device: torch.device | str | None = None) -> torch.Tensor:
    """The disc around the rotation axis that a full turn would see: (rows, cols) float tensor of 0 and 1."""
    (rows, cols), columns = model.domain_shape, model.range_shape[1]
    center, pixel = float(torch.as_tensor(center_of(model)).max()), pixel_size_of(model)
    y = torch.arange(rows, device=device) - (rows - 1) / 2
    x = torch.arange(cols, device=device) - (cols - 1) / 2
    return (torch.hypot(y[:, None], x[None]) * pixel <= max(center, columns - center)).float()


def data_scale(model: ForwardModel, sinogram: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Twice the mean attenuation in the field of view, from the sums of the projections: (B, 1, 1), positive.

    Where positive and negative values cancel (a phase tomogram) the root mean square of the data over the width is
    taken instead; 1 for no signal.

    Parameters
    ----------
    model : ForwardModel
    sinogram : (B, angles, columns) tensor
    mask : (rows, cols) tensor, optional
        The field of view, 0 and 1; without it the whole grid.
    """
    pixels = float(model.domain_shape[0] * model.domain_shape[1] if mask is None else mask.sum())
    unit = power_of_two(sinogram)  # for squares and sums that float32 can hold
    sinogram = (sinogram / unit).double()  # the same on any processor
    mean = 2 * sinogram.sum(2).mean(1).abs() / pixels / pixel_size_of(model) ** 2
    rms = sinogram.square().mean((1, 2)).sqrt() / sinogram.shape[2]
    scale = torch.maximum(mean, rms)[:, None, None].to(unit) * unit
    return torch.where(scale > 0, scale, torch.ones_like(scale))


_norms: MutableMapping[ForwardModel, dict[tuple[bool, torch.dtype], float]] = WeakKeyDictionary()


def operator_norm(
    model: ForwardModel, like: torch.Tensor, response: torch.Tensor | None = None, iterations: int = 20
) -> float:
    """Largest eigenvalue of AᵀFA by power iteration, F a filter along the detector; ‖A‖² without a filter.

    It is remembered for each model, with and without a filter, so that all batches of a volume share it.

    Parameters
    ----------
    model : ForwardModel
    like : tensor
        Gives precision and device.
    response : (columns // 2 + 1,) tensor, optional
        F at each frequency, real.
    iterations : int
    """
    try:
        norms = _norms.setdefault(model, {})
    except TypeError:  # a model that cannot be hashed is measured each time
        norms = {}
    key = response is None, like.dtype
    if key not in norms:
        rng = torch.Generator().manual_seed(0)
        x = torch.rand(1, *model.domain_shape, generator=rng, dtype=torch.float32).to(like)
        norm = torch.ones(()).to(like)
        for _ in range(iterations):
            y = model.forward_project(x / norm)
            if response is not None:
                y = torch.fft.irfft(torch.fft.rfft(y) * response, n=y.shape[2])
            x = model.back_project(y)
            norm = x.norm()
        norms[key] = float(norm)
    return norms[key]
