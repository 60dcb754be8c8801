"""Generator of the default fit: the start image, free pixels and what a network adds."""

from __future__ import annotations

from typing import Any

import torch

from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.options import GanrecOptions

from .adversary import bfloat16_autocast
from .networks import UNet

__all__ = ["Generator"]

NEAR_BOUND = 2e-3  # of the grey range


class NonNegative(torch.autograd.Function):
    """max(x, 0), whose gradient falls from 1 at 0 to 0 at −`NEAR_BOUND` instead of jumping.

    Where a pixel of the background lies at zero, rounding would otherwise decide whether it takes the next step, and
    Adam makes that step as long as any other.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """The image clamped at 0."""
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient with respect to x."""
        (x,) = ctx.saved_tensors
        return gradient * (1 + x / NEAR_BOUND).clamp(0, 1)


def _nonnegative(x: torch.Tensor) -> torch.Tensor:
    return NonNegative.apply(x)  # type: ignore[no-untyped-call]  # which torch does not annotate


class Generator(torch.nn.Module):
    """support · min(max(start + UNet(start) + free pixels, 0), u): the start image before the first step.

    u is the constraints' maximum, where there is one.

    Parameters
    ----------
    start : (B, rows, cols) tensor
    options : GanrecOptions
    constraints : Constraints
    """

    def __init__(self, start: torch.Tensor, options: GanrecOptions, constraints: Constraints):
        super().__init__()
        self._start, self._constraints = start, constraints
        self.pixels = torch.nn.Parameter(torch.zeros_like(start))
        rng = torch.Generator().manual_seed(options.seed)
        self.network = UNet(start.shape[0], rng).to(start) if options.network else None

    def forward(self) -> torch.Tensor:
        """The image, (B, rows, cols)."""
        image = self._start + self.pixels
        if self.network is not None:
            with bfloat16_autocast(image.device):
                change = self.network(self._start[:, None])
            image = image + change[:, 0].float()
        if self._constraints.nonnegative:
            image = _nonnegative(image)
        maximum = self._constraints.maximum
        if maximum is not None:
            finite = maximum.isfinite()
            image = torch.where(finite, maximum - _nonnegative(maximum.where(finite, 0.0) - image), image)
        return self._constraints.restrict(image)
