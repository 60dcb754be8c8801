"""Finite differences, filters and other elementary operators on images and sinograms."""

import math

import torch
import torch.nn.functional as F

__all__ = ["edge_weights", "filter_projections", "gaussian_blur", "gradient", "ramp_filter", "upper_quantile"]


def power_of_two(sinogram: torch.Tensor) -> torch.Tensor:
    """The power of two at the largest absolute value of each sinogram, 1 where all is zero: (B, 1, 1)."""
    largest = sinogram.abs().amax((1, 2), keepdim=True)
    _, exponent = torch.frexp(largest)
    return torch.where(largest > 0, torch.ldexp(torch.ones_like(largest), exponent.clamp(-125, 127)), 1.0)


def ramp_filter(columns: int, floor: float = 0.0, device=None) -> torch.Tensor:
    """The ramp 2|f| (f in cycles per column, so 1 at Nyquist), not below `floor`: (columns // 2 + 1,) float tensor."""
    return (2 * torch.fft.rfftfreq(columns, device=device, dtype=torch.float64)).clamp(min=floor).float()


def gradient(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Forward differences along columns and rows, 0 at the far edge."""
    return F.pad(u[..., 1:] - u[..., :-1], (0, 1)), F.pad(u[..., 1:, :] - u[..., :-1, :], (0, 0, 0, 1))


def divergence(px: torch.Tensor, py: torch.Tensor) -> torch.Tensor:
    """Minus the adjoint of `gradient`; the last column of `px` and the last row of `py` do not count."""
    px, py = F.pad(px[..., :-1], (1, 1)), F.pad(py[..., :-1, :], (0, 0, 1, 1))
    return px[..., 1:] - px[..., :-1] + py[..., 1:, :] - py[..., :-1, :]


def gaussian_blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (B, rows, cols) images, mirrored at the edges."""
    reach = max(1, math.ceil(3 * sigma))
    n = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-(n**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    x = F.pad(x[:, None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def upper_quantile(x: torch.Tensor, quantile=0.998) -> torch.Tensor:
    """The value below which `quantile` of |x| lies, for each image: (B, 1, 1)."""
    flat = x.abs().flatten(1)
    rank = max(1, int(round(quantile * flat.shape[1])))
    return flat.kthvalue(rank, dim=1).values[:, None, None]


def edge_weights(
    x: torch.Tensor, edge_threshold: torch.Tensor, sigma: float = 0.7, across: float = 0.0
) -> torch.Tensor:
    """The weight of each pixel's gradient in the next round of a reweighted total variation: ε/√(g² + ε²), g the smoothed gradient.

    The weights of the log-sum penalty's majoriser: E. J. Candès, M. B. Wakin, S. P. Boyd, J. Fourier Anal. Appl. 14, 877–905 (2008). Real
    edges are no longer paid for, streaks and noise are. With `across` the slices are neighbours and their difference, times it, counts too.
    """
    gx, gy = gradient(x)
    squared = gx * gx + gy * gy
    if across:
        squared = squared + (across * difference_across(x)).square()
    return edge_threshold / torch.sqrt(gaussian_blur(squared, sigma) + edge_threshold**2)


def difference_across(x: torch.Tensor) -> torch.Tensor:
    """Forward differences along the batch, 0 for the last slice."""
    return F.pad(x[1:] - x[:-1], (0, 0, 0, 0, 0, 1))


def filter_projections(sinogram: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
    """Each projection of (B, angles, columns) times a real `spectrum` along the detector."""
    return torch.fft.irfft(torch.fft.rfft(sinogram) * spectrum, n=sinogram.shape[-1])
