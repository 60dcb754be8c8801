"""Finite differences, filters and other elementary operators on images and sinograms."""

import math

import torch
import torch.nn.functional as F

__all__ = [
    "difference_across",
    "divergence",
    "edge_weights",
    "filter_projections",
    "gaussian_blur",
    "gradient",
    "power_of_two",
    "ramp_filter",
    "upper_quantile",
]


def power_of_two(sinogram: torch.Tensor) -> torch.Tensor:
    """The smallest power of two above the largest absolute value of each sinogram, 1 where all is zero: (B, 1, 1).

    Dividing by it is exact and brings data of any unit to a size whose squares float32 can hold.
    """
    largest = sinogram.abs().amax((1, 2), keepdim=True)
    _, exponent = torch.frexp(largest)
    return torch.where(largest > 0, torch.ldexp(torch.ones_like(largest), exponent.clamp(-125, 127)), 1.0)


def ramp_filter(columns: int, floor: float = 0.0, device: torch.device | str | None = None) -> torch.Tensor:
    """The ramp 2|f| (f in cycles per column, so 1 at Nyquist), not below `floor`: (columns // 2 + 1,) float tensor."""
    return (2 * torch.fft.rfftfreq(columns, device=device, dtype=torch.float64)).clamp(min=floor).float()


def gradient(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Forward differences of (..., rows, cols) along columns and along rows, 0 at the far edge: two such tensors."""
    return F.pad(u[..., 1:] - u[..., :-1], (0, 1)), F.pad(u[..., 1:, :] - u[..., :-1, :], (0, 0, 0, 1))


def divergence(px: torch.Tensor, py: torch.Tensor) -> torch.Tensor:
    """Minus the adjoint of `gradient`; the last column of `px` and the last row of `py` do not count."""
    px, py = F.pad(px[..., :-1], (1, 1)), F.pad(py[..., :-1, :], (0, 0, 1, 1))
    return px[..., 1:] - px[..., :-1] + py[..., 1:, :] - py[..., :-1, :]


def difference_across(x: torch.Tensor) -> torch.Tensor:
    """Forward differences along the batch, between neighbouring slices; 0 for the last slice."""
    return F.pad(x[1:] - x[:-1], (0, 0, 0, 0, 0, 1))


def gaussian_blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (B, rows, cols) images, `sigma` in pixels; cut at 3 `sigma`, images mirrored at their edges."""
    reach = max(1, math.ceil(3 * sigma))
    n = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-(n**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    x = F.pad(x[:, None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def upper_quantile(x: torch.Tensor, quantile: float = 0.998) -> torch.Tensor:
    """The value below which the share `quantile` of |x| lies, for each image of a batch: (B, 1, 1)."""
    flat = x.abs().flatten(1)
    rank = max(1, int(round(quantile * flat.shape[1])))
    return flat.kthvalue(rank, dim=1).values[:, None, None]


def edge_weights(
    x: torch.Tensor, edge_threshold: torch.Tensor, sigma: float = 0.7, across: float = 0.0
) -> torch.Tensor:
    """The weight of each pixel's gradient in the next round of a reweighted total variation.

    It is ε/√(g² + ε²), g the blurred gradient: the weights of the log-sum penalty's majoriser: E. J. Candès, M. B.
    Wakin, S. P. Boyd, J. Fourier Anal. Appl. 14, 877–905 (2008). Strong edges are no longer penalised, streaks and
    noise are.

    Parameters
    ----------
    x : (B, rows, cols) tensor
    edge_threshold : (B, 1, 1) tensor
        ε, positive, in the unit of `x`.
    sigma : float
        Of the blur, in pixels.
    across : float
        Weight of the difference between neighbours of the batch, which belongs to the gradient of slices of a stack; 0:
        they are independent.

    Returns
    -------
    (B, rows, cols) tensor
        From 0 to 1.
    """
    gx, gy = gradient(x)
    squared = gx * gx + gy * gy
    if across:
        squared = squared + (across * difference_across(x)).square()
    return edge_threshold / torch.sqrt(gaussian_blur(squared, sigma) + edge_threshold**2)


def filter_projections(sinogram: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
    """Each projection of (B, angles, columns) filtered along the detector by a real `spectrum`, (columns // 2 + 1,)."""
    return torch.fft.irfft(torch.fft.rfft(sinogram) * spectrum, n=sinogram.shape[-1])
