"""Slices that are solved together."""

from collections import defaultdict
from dataclasses import dataclass

import torch

from tomopy_ganrec.fit.measurement.regularization import initial_weights, weights_of_neighbour
from tomopy_ganrec.options import GanrecOptions

__all__ = []


@dataclass(frozen=True)
class Group:
    """Slices of a batch that share ρ, rounds and loss, in units of `scale`; with `near`, the records of their neighbours, `init` is the neighbours'
    image, and `own` the settings that the slices have by themselves."""

    index: torch.Tensor
    data: torch.Tensor
    scale: torch.Tensor
    settings: list
    init: torch.Tensor | None
    near: list | None = None
    own: list | None = None

    def take(self, chosen: torch.Tensor) -> "Group":
        """Some of the slices, from nothing."""
        return Group(
            self.index[chosen], self.data[chosen], self.scale[chosen], [self.own[k] for k in chosen.tolist()], None
        )


def groups_of(model, sinogram, scale, options: GanrecOptions, init, near) -> list[Group]:
    settings = initial_weights(model, sinogram, scale, options)
    if options.joint_slices > 1:  # one regularisation for all, by the slice of middle noise
        settings = [sorted(settings, key=lambda s: s.relative_noise)[len(settings) // 2]] * len(settings)
    groups = defaultdict(list)
    for k, own in enumerate(settings):
        warm = None if near is None or near[k] is None else weights_of_neighbour(own, near[k], options)
        s = warm or own
        groups[
            s.step_ratio,
            s.rounds,
            s.loss,
            s.wedge_tv_weight,
            own.step_ratio,
            own.loss,
            own.wedge_tv_weight,
            near[k].pixel_model if warm else None,
        ].append((k, s))
    found = []
    for (*_, pixels), members in groups.items():
        places = [k for k, _ in members]
        index = torch.tensor(places, device=sinogram.device)
        given = init is not None and (near is None or pixels)
        found.append(
            Group(
                index,
                sinogram[index] / scale[index],
                scale[index],
                [s for _, s in members],
                init[index] / scale[index] if given else None,
                [near[k] for k in places] if pixels else None,
                [settings[k] for k in places],
            )  # fmt: skip
        )
    return found
