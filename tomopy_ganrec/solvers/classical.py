"""Classical reconstructions, each also usable on its own; total variation has a room of its own, `variation`.

All take sinograms (B, angles, columns) and a forward model with ``domain_shape``, ``range_shape``, ``forward_project`` and
``back_project``, and return images (B, rows, cols) on the sinograms' device. They are scale-free: k times the data give k times the image.
"""

import math

import torch

from .forward_model import ForwardModel
from .wedge import angular_weights

__all__ = ["fbp", "mlem", "sirt"]


def fbp(model: ForwardModel, sinogram: torch.Tensor, theta) -> torch.Tensor:
    """Filtered back projection with the ramp filter of A. C. Kak and M. Slaney, *Principles of Computerized Tomographic Imaging* (1988),
    eq. 3.61, sampled in space so that the mean is right.

    Parameters
    ----------
    model : ForwardModel
    sinogram : (B, angles, columns) tensor
    theta : (angles,) array_like
        Radians.

    Returns
    -------
    (B, rows, cols) tensor
        Attenuation per detector column; negative values are kept.
    """
    columns = sinogram.shape[2]
    length = 2 ** math.ceil(math.log2(2 * columns))
    n = torch.arange(length, device=sinogram.device)
    n = torch.minimum(n, length - n)
    kernel = torch.where(n % 2 == 1, -1 / (math.pi * n.clamp(min=1)) ** 2, 0.0)
    kernel[0] = 0.25
    filtered = torch.fft.irfft(
        torch.fft.rfft(sinogram, n=length) * torch.fft.rfft(kernel.to(sinogram.dtype)), n=length
    )[..., :columns]
    weights = angular_weights(torch.as_tensor(theta, dtype=torch.float64)).to(sinogram)
    # Joseph's adjoint spreads a ray over pixels in proportion to its length in them: a factor of the pixel's area.
    pixel = getattr(model, "pixel_size", 1.0)
    return model.back_project((filtered * weights[:, None]).contiguous()) / pixel**2


SHORT, SEEN = (
    1e-2,
    0.5,
)  # of the longest ray's length, and of what one projection adds to a pixel at most, below which the two do not meet


def _sums(model: ForwardModel, sinogram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The row and column sums of A, zero for rays that miss the grid and pixels that no projection sees.

    A projector by Fourier transforms leaves ripples of either sign there, of 0.1 of what one projection adds, whose inverse would make up values.
    """
    rows = model.forward_project(torch.ones(sinogram.shape[0], *model.domain_shape).to(sinogram))
    columns = model.back_project(torch.ones_like(sinogram))
    long, seen = SHORT * rows.amax((1, 2), keepdim=True), SEEN / sinogram.shape[1] * columns.amax((1, 2), keepdim=True)
    return torch.where(rows > long, rows, 0.0), torch.where(columns > seen, columns, 0.0)


def _inverse(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 1e-6, 1 / x.clamp(min=1e-6), torch.zeros_like(x))


def sirt(
    model: ForwardModel,
    sinogram: torch.Tensor,
    iterations=30,
    nonnegative=True,
    mask=None,
    init=None,
    on_iteration=None,
) -> torch.Tensor:
    """Simultaneous iterative reconstruction: x ← x + C Aᵀ R (b − A x), C and R the inverse column and row sums of A.

    P. Gilbert, J. Theor. Biol. 36, 105–117 (1972). `init` is where it begins (zero), `on_iteration` as in `variation.TotalVariation.run`.
    """
    rows, columns = (_inverse(s) for s in _sums(model, sinogram))
    x = torch.zeros_like(columns) if init is None else init
    for _ in range(iterations):
        x = x + columns * model.back_project(rows * (sinogram - model.forward_project(x)))
        if nonnegative:
            x = x.clamp_(min=0)
        if mask is not None:
            x = x * mask
        if on_iteration is not None and on_iteration():
            break
    return x


def mlem(model: ForwardModel, sinogram: torch.Tensor, iterations=200, init=None) -> torch.Tensor:
    """Maximum-likelihood expectation maximisation: x ← x · Aᵀ(b / A x) / Aᵀ1. Negative data count as 0. `init`: where it begins (uniform).

    L. A. Shepp and Y. Vardi, IEEE Trans. Med. Imaging 1, 113–122 (1982).
    """
    rows, columns = _sums(model, sinogram)
    data, norm = sinogram.clamp(min=0), _inverse(columns)
    total = data.sum((1, 2), keepdim=True) / rows.sum((1, 2), keepdim=True)
    x = torch.ones_like(columns) * total if init is None else init
    floor = 1e-6 * total + torch.finfo(x.dtype).tiny
    for _ in range(iterations):
        ratio = model.back_project(data / torch.maximum(model.forward_project(x), floor))
        x = x * norm * ratio.clamp(min=0)  # ripples, as in `_sums`
    return x
