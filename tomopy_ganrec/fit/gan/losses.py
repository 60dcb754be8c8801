"""Losses of the fit: functions of tensors that give one value for each slice, (B,)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tomopy_ganrec.solvers.operators import gradient

__all__ = ["adversarial", "data_l1", "data_l2", "discrimination", "level_distance", "log_sum", "weighted_variation"]


# Residual, relative to the grey range, below which `data_l1` is smooth: what is smaller is rounding and model error.
SMOOTHING = 3e-4


def data_l1(residual: torch.Tensor, half_ramp: torch.Tensor) -> torch.Tensor:
    """Mean absolute value of a residual (B, angles, columns) after a filter.

    The square root of the ramp gives each spatial frequency of the image the same weight; without it the low ones drown
    the rest. The kink at zero is rounded off, √(e² + δ²) − δ with δ = 3e-4 (P. Charbonnier et al., IEEE Trans. Image
    Process. 6, 298, 1997): at it a descent amplifies what the order of a sum does to the last bit.

    Parameters
    ----------
    residual : (B, angles, columns) tensor
    half_ramp : (columns + 1,) tensor
        The filter, at the frequencies of a projection padded with zeros to twice its length.
    """
    columns = residual.shape[2]
    filtered = torch.fft.irfft(torch.fft.rfft(residual, n=2 * columns) * half_ramp, n=2 * columns)
    return _magnitude_above(filtered[..., :columns].square(), SMOOTHING)


def _magnitude_above(squared: torch.Tensor, edge_threshold: float) -> torch.Tensor:
    return (torch.sqrt(squared + edge_threshold**2) - edge_threshold).mean((1, 2))


def data_l2(residual: torch.Tensor) -> torch.Tensor:
    """Mean square of the residual (B, angles, columns): the likelihood of white noise."""
    return residual.square().mean((1, 2))


def _magnitude(x: torch.Tensor, edge_threshold: float) -> torch.Tensor:
    gx, gy = gradient(x)
    return torch.sqrt(gx * gx + gy * gy + edge_threshold**2)


def weighted_variation(x: torch.Tensor, weight: torch.Tensor | float) -> torch.Tensor:
    """Mean of the weighted length of the gradient of images (B, rows, cols), smooth below 1e-3 for its derivative."""
    return (weight * (_magnitude(x, 1e-3) - 1e-3)).mean((1, 2))


def log_sum(x: torch.Tensor, edge_threshold: torch.Tensor) -> torch.Tensor:
    """Mean of ε·asinh(|∇x|/ε): its tangent at an image is the total variation with `solvers.operators.edge_weights`."""
    gx, gy = gradient(x)
    return (edge_threshold * torch.asinh(torch.hypot(gx, gy) / edge_threshold)).mean((1, 2))


def level_distance(x: torch.Tensor, levels: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Mean distance of images from the nearest of their levels, at most `reach`.

    Parameters
    ----------
    x : (B, rows, cols) tensor
    levels : (B, L) tensor
        NaN for none.
    reach : (B, 1, 1) tensor
    """
    distance = (x[:, None] - levels[:, :, None, None]).abs().nan_to_num(torch.inf)
    return torch.minimum(distance.amin(1), reach).mean((1, 2))


def adversarial(logits_of_model: torch.Tensor) -> torch.Tensor:
    """The generator's adversarial loss, −log D: sigmoid cross entropy of the model's logits against 'measured'."""
    return F.softplus(-logits_of_model).flatten(1).mean(1)


def discrimination(logits_of_data: torch.Tensor, logits_of_model: torch.Tensor) -> torch.Tensor:
    """The discriminator's loss: sigmoid cross entropy of both. Its input from the generator must be detached."""
    return F.softplus(-logits_of_data).flatten(1).mean(1) + F.softplus(logits_of_model).flatten(1).mean(1)
