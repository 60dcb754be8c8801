"""Network that fills the missing wedge of slices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from tomopy_ganrec.fit.gan.networks import decode

__all__ = ["WedgeNetwork"]


def _conv(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    """A convolution whose weights are still to be set: torch's own would be drawn from the global random state."""
    return nn.utils.skip_init(nn.Conv2d, inputs, outputs, size, padding=size // 2, dtype=torch.float32)


class _Block(nn.Sequential):
    """Two 3×3 convolutions, each followed by a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(_conv(inputs, outputs, 3), nn.LeakyReLU(0.1), _conv(outputs, outputs, 3), nn.LeakyReLU(0.1))


class WedgeNetwork(nn.Module):
    """A U-Net from an image and its filtered back projection, (n, 2, rows, cols), to the repaired image.

    Its output is added to the image, and zero before the first step. On blocks of 2×2 pixels as `networks.UNet`, but
    one set of weights for all images, and without normalisation: grey values matter here.

    Parameters
    ----------
    rng : torch.Generator
        Source of the initial weights.
    widths : sequence of int
        Channels of each level.
    """

    def __init__(self, rng: torch.Generator, widths: Sequence[int] = (16, 32)):
        super().__init__()
        self.down = nn.ModuleList(_Block(i, o) for i, o in zip((8, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(_Block(widths[k] + widths[k - 1], widths[k - 1]) for k in range(len(widths) - 1, 0, -1))
        self.out = _conv(widths[0], 4, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                bound = 0.0 if module is self.out else 1 / math.sqrt(module.weight[0].numel())
                with torch.no_grad():
                    uniform = torch.rand(module.weight.shape, generator=rng, dtype=torch.float32) * 2 - 1
                    module.weight.copy_(uniform * bound)
                    if module.bias is not None:
                        module.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The repaired image."""
        rows, cols = x.shape[-2:]
        skips, padded = [], F.pad(x, (0, cols % 2, 0, rows % 2), mode="replicate")
        h = F.pixel_unshuffle(padded, 2)
        for k, block in enumerate(self.down):
            h = block(h if k == 0 else F.avg_pool2d(h, 2, ceil_mode=True))
            skips.append(h)
        return x[:, 0] + F.pixel_shuffle(self.out(decode(skips, self.up)), 2)[:, 0, :rows, :cols]
