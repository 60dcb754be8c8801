"""Constraints that every image of a fit satisfies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from tomopy_ganrec.mask import Mask
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.forward_model import ForwardModel, field_of_view

from .outline import outlines

__all__ = ["Constraints"]


@dataclass(frozen=True)
class Constraints:
    """A convex set of images, and the projection onto it.

    Attributes
    ----------
    nonnegative : bool
        Attenuation is not below 0.
    support : (rows, cols) or (n, rows, cols) tensor of 0 and 1, or None
        Where the image may differ from 0, of all slices or of each; None: everywhere.
    maximum : (n, 1, 1) tensor or None
        Attenuation that no pixel of a slice exceeds; infinite for slices without a bound; None: for all of them.
    is_field_of_view : bool
        Whether the support is the disc that the detector sees in a full turn.
    outline : tuple of str
        What the support of each slice of the batch was estimated to be (`outline.Outline.kind`); else empty.
    """

    nonnegative: bool = True
    support: torch.Tensor | None = None
    maximum: torch.Tensor | None = None
    is_field_of_view: bool = True
    outline: tuple[str, ...] = ()

    @classmethod
    def of_slices(cls, model: ForwardModel, sinogram: torch.Tensor, options: GanrecOptions) -> Constraints:
        """Those that options ask for.

        Parameters
        ----------
        model : ForwardModel
        sinogram : (n, *range_shape) tensor
        options : GanrecOptions

        Raises
        ------
        ValueError
            For a mask of another shape, and for ``mask='outline'`` and a model without angles.
        """
        if options.mask is False:
            return cls(options.nonnegative)
        if isinstance(options.mask, Mask):
            options.mask.check(len(sinogram), model.domain_shape)
            support = torch.from_numpy(np.array(options.mask)).to(sinogram)
            return cls(options.nonnegative, support, is_field_of_view=False)
        view = field_of_view(model, sinogram.device).to(sinogram)
        if options.mask == "outline":
            support, kinds = outlines(model, sinogram)
            return cls(options.nonnegative, view * support, is_field_of_view=False, outline=kinds)
        return cls(options.nonnegative, view)

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
        maximum = None if self.maximum is None else self.maximum[index]
        support = self.support if self.support is None or self.support.ndim == 2 else self.support[index]
        return replace(self, support=support, maximum=maximum)

    def on_finer_grid(self, model: ForwardModel, factor: int) -> Constraints:
        """The same for the grid of a model, which is `factor` times finer."""
        support = self.support
        if support is not None and self.is_field_of_view:
            support = field_of_view(model, support.device).to(support)
        elif support is not None:
            support = support.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
        return replace(self, support=support)

    def of_copies(self, owner: torch.Tensor, rotate: Callable[[torch.Tensor], torch.Tensor]) -> Constraints:
        """Those of rotated copies of slices, whose support is rotated with them.

        Parameters
        ----------
        owner : (m,) tensor of int
            The slice of each copy.
        rotate : callable
            Rotates images (m, rows, cols).
        """
        copies = self.take(owner)
        support = copies.support
        if support is None or self.is_field_of_view:
            return copies
        rotated = rotate(support.expand(len(owner), *support.shape[-2:]))
        return replace(copies, support=(rotated > 0.5).to(support))

    def to(self, dtype: torch.dtype) -> Constraints:
        """The same in another precision."""
        support, maximum = (x if x is None else x.to(dtype) for x in (self.support, self.maximum))
        return replace(self, support=support, maximum=maximum)
