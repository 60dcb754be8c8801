"""Groups of slices that are solved together, and the start images that come of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.measurement.regularization import (
    RegularizationWeights,
    SliceWeights,
    initial_weights,
    weights_of_neighbour,
)
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.slice_record import SliceRecord
from tomopy_ganrec.solvers.forward_model import ForwardModel

__all__ = ["Group", "Start", "groups_of"]


@dataclass(frozen=True)
class Group:
    """Slices of a batch whose weights share what slices that are solved together must share.

    Attributes
    ----------
    index : (n,) tensor
        Their places in the batch.
    data : (n, angles, columns) tensor
        In units of `scale`.
    scale : (n, 1, 1) tensor
    weights : RegularizationWeights
    init : (n, rows, cols) tensor or None
        The image given, or that of their neighbours where they have some.
    neighbours : tuple of SliceRecord
        The records of their neighbours for a warm start; none: they start from scratch.
    own_weights : RegularizationWeights or None
        The weights that they have without neighbours.
    """

    index: torch.Tensor
    data: torch.Tensor
    scale: torch.Tensor
    weights: RegularizationWeights
    init: torch.Tensor | None = None
    neighbours: tuple[SliceRecord, ...] = ()
    own_weights: RegularizationWeights | None = None

    def from_scratch(self, chosen: torch.Tensor) -> Group:
        """Some of the slices, without their neighbours."""
        weights = self.own_weights or self.weights
        return Group(self.index[chosen], self.data[chosen], self.scale[chosen], weights.take(chosen))


@dataclass(frozen=True)
class Start:
    """Start images of slices that share a measurement.

    Attributes
    ----------
    index : (n,) tensor
        Their places in the batch.
    measurement : Measurement
    image : (n, rows, cols) tensor
        Relative to the scale of the data.
    warm_rounds : (n,) tensor of int or None
        The rounds of a warm start; None: from scratch.
    """

    index: torch.Tensor
    measurement: Measurement
    image: torch.Tensor
    warm_rounds: torch.Tensor | None = None

    def single(self) -> Start:
        """The same in float32."""
        return Start(self.index, self.measurement.single(), self.image.float(), self.warm_rounds)


def groups_of(
    model: ForwardModel,
    sinogram: torch.Tensor,
    scale: torch.Tensor,
    options: GanrecOptions,
    init: torch.Tensor | None,
    neighbours: Sequence[SliceRecord | None] | None,
) -> list[Group]:
    """The groups of a batch.

    Parameters
    ----------
    model : ForwardModel
    sinogram : (B, angles, columns) tensor
    scale : (B, 1, 1) tensor
    options : GanrecOptions
    init : (B, rows, cols) tensor or None
        Attenuation per detector column.
    neighbours : sequence of (SliceRecord or None), or None
        See `fit`.
    """
    own = initial_weights(model, sinogram, scale, options)
    if options.joint_slices > 1:  # one regularisation for all, by the slice of middle noise
        own = [sorted(own, key=lambda weights: weights.relative_noise)[len(own) // 2]] * len(own)
    members: dict[tuple, list[tuple[int, SliceWeights]]] = defaultdict(list)
    for k, weights in enumerate(own):
        neighbour = None if neighbours is None else neighbours[k]
        warm = None if neighbour is None else weights_of_neighbour(weights, neighbour, options)
        chosen = warm or weights
        pixel_model = neighbour.pixel_model if warm and neighbour else None
        members[chosen.shared, weights.shared, pixel_model].append((k, chosen))
    groups = []
    for (*_, pixel_model), slices in members.items():
        places = [k for k, _ in slices]
        index = torch.tensor(places, device=sinogram.device)
        given = init is not None and (neighbours is None or pixel_model)
        groups.append(
            Group(
                index,
                sinogram[index] / scale[index],
                scale[index],
                RegularizationWeights(tuple(weights for _, weights in slices)),
                init[index] / scale[index] if given and init is not None else None,
                tuple(n for n in (neighbours[k] for k in places) if n) if pixel_model and neighbours else (),
                RegularizationWeights(tuple(own[k] for k in places)),
            )
        )
    return groups
