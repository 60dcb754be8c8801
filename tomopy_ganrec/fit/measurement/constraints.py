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
    maximum : (n, 1, 1) tensor or None
        Attenuation that no pixel of a slice exceeds; infinite for slices without a bound; None: for all of them.
    """

    nonnegative: bool = True
    support: torch.Tensor | None = None
    maximum: torch.Tensor | None = None

    def project(self, image: torch.Tensor) -> torch.Tensor:
        """The nearest image that satisfies the constraints, (n, rows, cols)."""
        return self.restrict(self.clamp(image))

    def clamp(self, image: torch.Tensor) -> torch.Tensor:
        """The image (n, rows, cols) with values within the bounds, whatever the support."""
        if self.nonnegative:
            image = image.clamp(min=0)
        return image if self.maximum is None else torch.minimum(image, self.maximum)

    def restrict(self, image: torch.Tensor) -> torch.Tensor:
        """The image with zeros outside of the support, (..., rows, cols)."""
        return image if self.support is None else image * self.support

    def take(self, index: torch.Tensor) -> Constraints:
        """Those of some slices."""
        return self if self.maximum is None else replace(self, maximum=self.maximum[index])

    def to(self, dtype: torch.dtype) -> Constraints:
        """The same in another precision."""
        support, maximum = (x if x is None else x.to(dtype) for x in (self.support, self.maximum))
        return replace(self, support=support, maximum=maximum)
