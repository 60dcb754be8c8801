"""The linear forward model that the solvers need, and what is derived from one."""

from typing import Protocol
from weakref import WeakKeyDictionary

import torch

from .operators import power_of_two

__all__ = ["ForwardModel", "data_scale", "field_of_view", "operator_norm"]


class ForwardModel(Protocol):
    """The physics of a measurement: a linear operator and its adjoint. Radon is the first, not the last."""

    domain_shape: tuple[int, int]
    range_shape: tuple[int, int]

    def forward_project(self, x: torch.Tensor) -> torch.Tensor:
        """(B, *domain_shape) to (B, *range_shape)."""

    def back_project(self, y: torch.Tensor) -> torch.Tensor:
        """The adjoint: (B, *range_shape) to (B, *domain_shape)."""


def field_of_view(model: ForwardModel, device=None) -> torch.Tensor:
    """The disc around the rotation axis that a full turn would see: (rows, cols) float tensor of 0 and 1."""
    (rows, cols), columns = model.domain_shape, model.range_shape[1]
    center, pixel = (
        float(torch.as_tensor(getattr(model, "center", columns / 2)).max()),
        getattr(model, "pixel_size", 1.0),
    )
    y = torch.arange(rows, device=device) - (rows - 1) / 2
    x = torch.arange(cols, device=device) - (cols - 1) / 2
    return (torch.hypot(y[:, None], x[None]) * pixel <= max(center, columns - center)).float()


def data_scale(model: ForwardModel, sinogram: torch.Tensor, mask=None) -> torch.Tensor:
    """Twice the mean attenuation in the field of view, read off the projections' sums: (B, 1, 1), positive.

    Where positive and negative values cancel (a phase tomogram) the root mean square of the data over the width takes over; 1 for no signal.
    """
    pixels = float(model.domain_shape[0] * model.domain_shape[1] if mask is None else mask.sum())
    unit = power_of_two(sinogram)  # for squares and sums that float32 can hold
    sinogram = (sinogram / unit).double()  # the same on any processor
    mean = 2 * sinogram.sum(2).mean(1).abs() / pixels / getattr(model, "pixel_size", 1.0) ** 2
    rms = sinogram.square().mean((1, 2)).sqrt() / sinogram.shape[2]
    scale = torch.maximum(mean, rms)[:, None, None].to(unit) * unit
    return torch.where(scale > 0, scale, torch.ones_like(scale))


_norms: "WeakKeyDictionary[ForwardModel, dict]" = WeakKeyDictionary()


def operator_norm(
    model: ForwardModel, like: torch.Tensor, response: torch.Tensor | None = None, iterations=20
) -> float:
    """Largest eigenvalue of AᵀFA, F a filter along the detector with the real frequency `response` (none: ‖A‖²), by power iteration.

    Remembered for each model: all batches of a volume share it. `like` gives precision and device.
    """
    try:
        known = _norms.setdefault(model, {})
    except TypeError:  # a model that cannot be hashed is measured each time
        known = {}
    key = response is None, like.dtype
    if key not in known:
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(1, *model.domain_shape, generator=generator, dtype=torch.float32).to(like)
        norm = torch.ones(()).to(like)
        for _ in range(iterations):
            y = model.forward_project(x / norm)
            if response is not None:
                y = torch.fft.irfft(torch.fft.rfft(y) * response, n=y.shape[2])
            x = model.back_project(y)
            norm = x.norm()
        known[key] = float(norm)
    return known[key]
