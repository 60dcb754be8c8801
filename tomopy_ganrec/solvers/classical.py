"""FBP, SIRT and MLEM for any linear forward model. Total variation: `total_variation`.

All take sinograms (B, angles, columns) and a `ForwardModel` and return images (B, rows, cols) on the sinograms' device,
in their precision. They are scale-free: k times the data give k times the image.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from .forward_model import ForwardModel, pixel_size_of
from .wedge import angular_weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["fbp", "mlem", "sirt"]

# Share of the longest ray's length within the grid below which a ray counts as missing it.
MIN_RAY_LENGTH = 1e-2
# Share of what one projection adds to the best covered pixel. A pixel to which all projections together add less counts
# as seen by none.
MIN_COVERAGE = 0.5


def fbp(model: ForwardModel, sinogram: torch.Tensor, theta: "ArrayLike") -> torch.Tensor:
    """Filtered back projection.

    The ramp filter of A. C. Kak and M. Slaney, *Principles of Computerized Tomographic Imaging* (1988), eq. 3.61,
    sampled in space so that the mean is right.

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
    return model.back_project((filtered * weights[:, None]).contiguous()) / pixel_size_of(model) ** 2


def _sums(model: ForwardModel, sinogram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The row sums (B, angles, columns) and the column sums (B, rows, cols) of A.

    0 for rays that miss the grid and for pixels that no projection sees. A projector by Fourier transforms leaves
    ripples of either sign there, of 0.1 of what one projection adds; their inverse would be an artefact.
    """
    rows = model.forward_project(torch.ones(sinogram.shape[0], *model.domain_shape).to(sinogram))
    columns = model.back_project(torch.ones_like(sinogram))
    shortest = MIN_RAY_LENGTH * rows.amax((1, 2), keepdim=True)
    least = MIN_COVERAGE / sinogram.shape[1] * columns.amax((1, 2), keepdim=True)
    return torch.where(rows > shortest, rows, 0.0), torch.where(columns > least, columns, 0.0)


def _inverse(x: torch.Tensor) -> torch.Tensor:
    """1/x where x is above 1e-6, else 0."""
    return torch.where(x > 1e-6, 1 / x.clamp(min=1e-6), torch.zeros_like(x))


def sirt(
    model: ForwardModel,
    sinogram: torch.Tensor,
    iterations: int = 30,
    nonnegative: bool = True,
    mask: torch.Tensor | None = None,
    init: torch.Tensor | None = None,
    on_iteration: Callable[[], object] | None = None,
) -> torch.Tensor:
    """Simultaneous iterative reconstruction technique: x ← x + C Aᵀ R (b − A x).

    C and R are the inverse column and row sums of A. P. Gilbert, J. Theor. Biol. 36, 105–117 (1972).

    Parameters
    ----------
    model : ForwardModel
    sinogram : (B, angles, columns) tensor
    iterations : int
    nonnegative : bool
        Negative values are set to 0 after each iteration.
    mask : (rows, cols) or (B, rows, cols) tensor, optional
        Multiplied with the image after each iteration.
    init : (B, rows, cols) tensor, optional
        The start image; without it 0.
    on_iteration : callable, optional
        Called without arguments after each iteration; a true answer stops.

    Returns
    -------
    (B, rows, cols) tensor
    """
    rows, columns = (_inverse(sums) for sums in _sums(model, sinogram))
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


def mlem(
    model: ForwardModel, sinogram: torch.Tensor, iterations: int = 200, init: torch.Tensor | None = None
) -> torch.Tensor:
    """Maximum-likelihood expectation maximisation: x ← x · Aᵀ(b / A x) / Aᵀ1.

    L. A. Shepp and Y. Vardi, IEEE Trans. Med. Imaging 1, 113–122 (1982).

    Parameters
    ----------
    model : ForwardModel
    sinogram : (B, angles, columns) tensor
        Negative data count as 0.
    iterations : int
    init : (B, rows, cols) tensor, optional
        The start image, positive; without it uniform.

    Returns
    -------
    (B, rows, cols) tensor
        Not negative.
    """
    rows, columns = _sums(model, sinogram)
    data, inverse_columns = sinogram.clamp(min=0), _inverse(columns)
    mean = data.sum((1, 2), keepdim=True) / rows.sum((1, 2), keepdim=True)
    x = torch.ones_like(columns) * mean if init is None else init
    floor = 1e-6 * mean + torch.finfo(x.dtype).tiny
    for _ in range(iterations):
        ratio = model.back_project(data / torch.maximum(model.forward_project(x), floor))
        x = x * inverse_columns * ratio.clamp(min=0)  # ripples, as in `_sums`
    return x
