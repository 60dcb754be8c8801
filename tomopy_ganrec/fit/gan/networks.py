"""Generator and discriminator networks for a batch of independent slices, each with weights of its own.

The weights of B slices are stacked and applied as grouped convolutions, so that a batch costs one call, and no slice
sees another. All slices start from the same weights, drawn from one seed: what a slice becomes does not depend on its
place in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["Discriminator", "PaperDiscriminator", "PaperGenerator", "UNet", "decode"]

BLOCK = 4  # pixels a side that the U-Net takes together


class SliceConv2d(nn.Module):
    """A square convolution with ``slices`` sets of weights, padded to keep the size at stride 1.

    It takes (B, in, H, W) or (n, B, in, H, W) to (…, B, out, H', W').
    """

    def __init__(
        self,
        slices: int,
        inputs: int,
        outputs: int,
        kernel: int,
        rng: torch.Generator,
        stride: int = 1,
        zero: bool = False,
    ):
        super().__init__()
        bound = 0.0 if zero else math.sqrt(3.0 / (inputs * kernel * kernel))
        weight = (torch.rand(outputs, inputs, kernel, kernel, generator=rng, dtype=torch.float32) * 2 - 1) * bound
        self.weight = nn.Parameter(weight.repeat(slices, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(slices * outputs, dtype=torch.float32))
        self._slices, self._stride, self._padding = slices, stride, kernel // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve each slice with its own weights."""
        merged = x.flatten(-4, -3)
        result = F.conv2d(merged, self.weight, self.bias, self._stride, self._padding, groups=self._slices)
        return torch.unflatten(result, -3, (self._slices, -1))


class SliceLinear(nn.Module):
    """A fully connected layer with ``slices`` sets of weights: (B, in) to (B, out)."""

    def __init__(self, slices: int, inputs: int, outputs: int, rng: torch.Generator):
        super().__init__()
        bound = math.sqrt(3.0 / inputs)
        weight = (torch.rand(inputs, outputs, generator=rng, dtype=torch.float32) * 2 - 1) * bound
        self.weight = nn.Parameter(weight.repeat(slices, 1, 1))
        self.bias = nn.Parameter(torch.zeros(slices, 1, outputs, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply each slice by its own weights."""
        return torch.baddbmm(self.bias, x[:, None], self.weight)[:, 0]


def _layer_norm(x: torch.Tensor) -> torch.Tensor:
    """Each slice to mean 0 and variance 1 over all its values, without gains."""
    return F.layer_norm(x, x.shape[1:])


def _instance_norm(x: torch.Tensor) -> torch.Tensor:
    return F.instance_norm(x) if x.shape[-2] * x.shape[-1] > 1 else x


class _Block(nn.Module):
    """Two 3×3 convolutions, each followed by instance normalisation and a leaky ReLU; the first may halve the size."""

    def __init__(self, slices: int, inputs: int, outputs: int, rng: torch.Generator, stride: int = 1):
        super().__init__()
        self.first = SliceConv2d(slices, inputs, outputs, 3, rng, stride)
        self.second = SliceConv2d(slices, outputs, outputs, 3, rng)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The features of a level."""
        x = F.leaky_relu(_instance_norm(self.first(x)), 0.1)
        return F.leaky_relu(_instance_norm(self.second(x)), 0.1)


def decode(features: Sequence[torch.Tensor], blocks: Iterable[nn.Module]) -> torch.Tensor:
    """The expanding half of a U-Net: each block takes the level below, enlarged, beside the features of its own level.

    Parameters
    ----------
    features : sequence of (B, channels, H, W) tensors
        Of the contracting half, the coarsest level last.
    blocks : iterable of Module
        One for each level but the coarsest, the finest last.
    """
    x = features[-1]
    for block, own in zip(blocks, reversed(features[:-1]), strict=True):
        enlarged = F.interpolate(x, size=own.shape[-2:], mode="bilinear", align_corners=False)
        x = block(torch.cat([enlarged, own], 1))
    return x


class UNet(nn.Module):
    """The change that the default generator makes to its start image, (B, 1, H, W); zero before the first step.

    O. Ronneberger, P. Fischer, T. Brox, MICCAI 2015, with strides instead of pooling and bilinear upsampling, on blocks
    of 4×4 pixels taken as sixteen channels (W. Shi et al., CVPR 2016): what is finer is left to the free pixels beside
    it.

    Parameters
    ----------
    slices : int
        B.
    rng : torch.Generator
        Source of the initial weights.
    widths : sequence of int
        Channels of each level.
    """

    def __init__(self, slices: int, rng: torch.Generator, widths: Sequence[int] = (8, 16, 32)):
        super().__init__()
        inputs = (BLOCK**2, *widths[:-1])
        self.down = nn.ModuleList(
            _Block(slices, i, o, rng, 1 if k == 0 else 2) for k, (i, o) in enumerate(zip(inputs, widths, strict=True))
        )
        self.up = nn.ModuleList(
            _Block(slices, widths[k] + widths[k - 1], widths[k - 1], rng) for k in range(len(widths) - 1, 0, -1)
        )
        self.out = SliceConv2d(slices, widths[0], BLOCK**2, 1, rng, zero=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The change of an image (B, 1, H, W)."""
        rows, cols = x.shape[-2:]
        x = F.pixel_unshuffle(F.pad(x, (0, -cols % BLOCK, 0, -rows % BLOCK), mode="replicate"), BLOCK)
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        return F.pixel_shuffle(self.out(decode(skips, self.up)), BLOCK)[..., :rows, :cols]


class Discriminator(nn.Module):
    """Four stride-2 convolutions that tell patches of a measured sinogram from a model's.

    It takes (B, 1, H, W) to logits (B, 1, H/16, W/16), and several batches at once as (n, B, 1, H, W).
    """

    def __init__(self, slices: int, rng: torch.Generator, widths: Sequence[int] = (8, 16, 32)):
        super().__init__()
        channels = (1, *widths, 1)
        self.layers = nn.ModuleList(
            SliceConv2d(slices, i, o, 3, rng, stride=2) for i, o in zip(channels, channels[1:], strict=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits of sinograms."""
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), 0.1)
        return self.layers[-1](x)


class PaperGenerator(nn.Module):
    """The generator of X. Yang et al., J. Synchrotron Rad. 27, 486–493 (2020).

    Four fully connected layers with softplus, then nine convolutions with ReLU, each followed by layer normalisation.
    Widths and kernels are those of the authors' published code (128-128-128-rows·cols; 5, 5, 3; 5, 5, 3; 5, 5, 3),
    without its per-pixel gains.

    Parameters
    ----------
    slices : int
        B.
    shape : (int, int)
        Angles and columns of the sinogram that it reads.
    size : (int, int)
        Rows and columns of the slice that it makes.
    rng : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        slices: int,
        shape: tuple[int, int],
        size: tuple[int, int],
        rng: torch.Generator,
        units: int = 128,
        channels: int = 32,
    ):
        super().__init__()
        widths = (shape[0] * shape[1], units, units, units, size[0] * size[1])
        self.size = size
        self.dense = nn.ModuleList(SliceLinear(slices, i, o, rng) for i, o in zip(widths, widths[1:], strict=False))
        depths = (1, *[channels] * 8, 1)
        self.convolutions = nn.ModuleList(
            SliceConv2d(slices, i, o, k, rng) for i, o, k in zip(depths, depths[1:], (5, 5, 3) * 3, strict=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The slices (B, 1, rows, cols) of sinograms (B, 1, angles, columns)."""
        x = x.flatten(1)
        for layer in self.dense:
            x = _layer_norm(F.softplus(layer(x)))
        x = x.unflatten(1, (1, *self.size))
        for layer in self.convolutions:
            x = _layer_norm(F.relu(layer(x)))
        return x


class PaperDiscriminator(nn.Module):
    """The paper's discriminator: four stride-2 convolutions with ReLU, the last of which gives the logits."""

    def __init__(self, slices: int, rng: torch.Generator, channels: int = 32):
        super().__init__()
        widths = (1, channels, 2 * channels, 4 * channels, 8 * channels)
        self.layers = nn.ModuleList(
            SliceConv2d(slices, i, o, 3, rng, stride=2) for i, o in zip(widths, widths[1:], strict=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits of sinograms."""
        for layer in self.layers:
            x = F.relu(layer(x))
        return x
