"""Constraints that every image of a fit satisfies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

__all__ = ["Constraints"]


@dataclass(frozen=True)
class Constraints:
    """A convex set of images, and the projection onto it.

    Attributes
    ----------
    nonnegative : bool
        Attenuation is not below 0.
    support : (rows, cols) tensor of 0 and 1, or None
        Where the image may differ from 0; None: everywhere.
    """

    nonnegative: bool = True
    support: torch.Tensor | None = None

    def project(self, image: torch.Tensor) -> torch.Tensor:
        """The nearest image that satisfies the constraints, (..., rows, cols)."""
        return self.restrict(image.clamp(min=0) if self.nonnegative else image)

    def restrict(self, image: torch.Tensor) -> torch.Tensor:
        """The image with zeros outside of the support, (..., rows, cols)."""
        return image if self.support is None else image * self.support

    def to(self, dtype: torch.dtype) -> Constraints:
        """The same with a support of another dtype."""
        return self if self.support is None else replace(self, support=self.support.to(dtype))
