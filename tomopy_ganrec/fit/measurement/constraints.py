"""Constraints that every image of a fit satisfies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from tomopy_ganrec.mask import Mask
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.forward_model import ForwardModel, angles_of, field_of_view
from tomopy_ganrec.solvers.wedge import measured_range

from .outline import outlines

__all__ = ["Constraints"]

FIELD_OF_VIEW = "field of view"
# Angular range from which on mask='auto' looks for circles. Over 30° ovals look like circles that cut off up to 5 % of
# them, over 60° less than .1 %.
CIRCLE_RANGE = math.radians(45)


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
        What the support of each slice was estimated to be (`outline.Outline.kind`, or 'field of view' where only a
        circle is wanted and there is none); else empty.
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
        if options.mask == "auto" and _shows_circles(model, options):
            support, kinds = outlines(model, sinogram)
            kinds = tuple("circle" if kind == "circle" else FIELD_OF_VIEW for kind in kinds)
            if "circle" not in kinds:
                return cls(options.nonnegative, view, outline=kinds)
            circle = torch.tensor([kind == "circle" for kind in kinds], device=view.device)[:, None, None]
            return cls(options.nonnegative, view * support.where(circle, 1.0), None, False, kinds)._simplest()
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
        outline = tuple(self.outline[k] for k in index.tolist()) if self.outline else ()
        return replace(self, support=support, maximum=maximum, outline=outline)._simplest()

    def _simplest(self) -> Constraints:
        """The same, known as the field of view where that is the support of every slice."""
        if self.support is None or not self.outline or set(self.outline) != {FIELD_OF_VIEW}:
            return self
        support = self.support if self.support.ndim == 2 else self.support[0]
        return replace(self, support=support, is_field_of_view=True)

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


def _shows_circles(model: ForwardModel, options: GanrecOptions) -> bool:
    """Whether ``mask='auto'`` looks for circles."""
    theta = angles_of(model)
    return options.preset == "default" and theta is not None and measured_range(theta) >= CIRCLE_RANGE
