"""Deep image prior with total variation: an untrained network that is fitted to one sinogram."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tomopy_ganrec.solvers.forward_model import ForwardModel, field_of_view, operator_norm
from tomopy_ganrec.solvers.operators import filter_projections, gradient, ramp_filter
from tomopy_ganrec.solvers.total_variation import RAMP_FLOOR

__all__ = ["deep_image_prior"]

INPUT_CHANNELS = 8
WARM_UP = 0.1  # share of the iterations in which the rate rises: without it some fits end at an image of zeros
AVERAGE = 0.98  # of the exponential average of the images, which is what is returned


class _Convolutions(nn.Sequential):
    """Two 3×3 convolutions, each with group normalisation and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int):
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            convolution = nn.utils.skip_init(nn.Conv2d, channels, outputs, 3, padding=1)
            layers += [convolution, nn.GroupNorm(4, outputs), nn.LeakyReLU(0.1)]
        super().__init__(*layers)


class _Network(nn.Module):
    """A U-Net from fixed noise, (1, `INPUT_CHANNELS`, rows, cols), to an image (1, rows, cols), not negative."""

    def __init__(self, rng: torch.Generator, widths: tuple[int, ...]):
        super().__init__()
        pairs = list(zip((INPUT_CHANNELS, *widths[:-1]), widths, strict=True))
        self.down = nn.ModuleList(_Convolutions(*pair) for pair in pairs)
        self.up = nn.ModuleList(_Convolutions(low + high, low) for low, high in reversed(pairs[1:]))
        self.out = nn.utils.skip_init(nn.Conv2d, widths[0], 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # torch's own weights would be drawn from the global random state
                bound = 1 / math.sqrt(module.weight[0].numel())
                for parameter in module.parameters():
                    values = torch.rand(parameter.shape, generator=rng) * 2 - 1
                    parameter.data.copy_(values * bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The image."""
        skips: list[torch.Tensor] = []
        for block in self.down:
            x = block(F.avg_pool2d(x, 2, ceil_mode=True) if skips else x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, skip.shape[-2:], mode="bilinear"), skip], 1))
        return F.softplus(self.out(x)[:, 0], beta=10)


def deep_image_prior(
    model: ForwardModel,
    sinogram: torch.Tensor,
    tv_weight: float,
    iterations: int,
    learning_rate: float = 5e-3,
    seed: int = 0,
    widths: tuple[int, ...] = (16, 32, 64, 64),
) -> torch.Tensor:
    """Total variation of an image that is the output of an untrained network.

    The problem is ::

        minimise over φ   ½ s² ‖h^½ (A f(φ) − b)‖² + λ ‖D f(φ)‖₁,      s² = 8/‖Aᵀ h A‖,

    with h the ramp filter along the detector (without it a thousand steps fit blurred images), f a U-Net of weights φ
    that is given noise which stays the same (D. Ulyanov, A. Vedaldi and V. Lempitsky, CVPR 2018; with total variation
    for tomography D. O. Baguer, J. Leuschner and M. Schmidt, Inverse Problems 36, 094004, 2020). Adam, whose rate rises
    first, and falls to 0 along a cosine from half-way on; a running average of the images.

    Parameters
    ----------
    model : ForwardModel
    sinogram : (1, angles, columns) tensor
        b, divided by a scale of your choice: λ is relative to it.
    tv_weight : float
        λ.
    iterations : int
    learning_rate : float
    seed : int
        Of the noise and the first weights.
    widths : tuple of int
        Channels of each level of the network, multiples of 4.

    Returns
    -------
    (1, rows, cols) tensor
        0 outside of the field of view.
    """
    rng = torch.Generator().manual_seed(seed)
    network = _Network(rng, widths).to(sinogram)
    noise = 0.1 * torch.rand(1, INPUT_CHANNELS, *model.domain_shape, generator=rng).to(sinogram)
    mask = field_of_view(model, sinogram.device).to(sinogram)
    ramp = ramp_filter(sinogram.shape[2], floor=RAMP_FLOOR).to(sinogram)
    data_weight = 4.0 / operator_norm(model, sinogram, ramp)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    average = torch.zeros(1, *model.domain_shape).to(sinogram)
    for k in range(iterations):
        decay = min(1.0, 1 + math.cos(math.pi * k / iterations))
        optimizer.param_groups[0]["lr"] = learning_rate * decay * min(1.0, (k + 1) / (WARM_UP * iterations))
        with torch.enable_grad():
            image = network(noise) * mask
            g_cols, g_rows = gradient(image)
            length = torch.sqrt(g_cols.square() + g_rows.square() + 1e-8).sum()
            residual = filter_projections(model.forward_project(image) - sinogram, ramp.sqrt())
            loss = data_weight * residual.square().sum() + tv_weight * length
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        average.lerp_(image.detach(), max(1 - AVERAGE, 1 / (k + 1)))
    return average
