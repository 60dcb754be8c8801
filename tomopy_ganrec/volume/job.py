"""A reconstruction of a volume: its data, output, geometry and options, passed as one value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from tomopy_ganrec.io.protocols import SliceSink, SliceSource
from tomopy_ganrec.mask import Mask
from tomopy_ganrec.options import FitOptions, GanrecOptions
from tomopy_ganrec.package_version import VERSION

from .planning import Task, plan, unfinished_tasks

__all__ = ["IdentifiedSource", "Job"]


class IdentifiedSource(SliceSource, Protocol):
    """A source whose data can be told from others, so that an interrupted reconstruction is resumed with the same."""

    def identity(self) -> dict[str, Any]:
        """See `io.sources.Source.identity`."""
        ...


@dataclass(frozen=True, eq=False)
class Job:
    """A volume to reconstruct.

    Attributes
    ----------
    source : IdentifiedSource
        The sinograms (`io.sources.source_of`).
    output : SliceSink
        Receives the images (`io.outputs.output_of`); slices that warm start are initialised from what it holds.
    theta : (angles,) float64 array
        Radians.
    centers : (slices,) float64 array
        Rotation axis of each slice in detector columns, edge convention.
    grid : (int, int)
        Rows and columns of a slice.
    options : GanrecOptions
    init : (slices, rows, cols) float32 array, optional
        Initial images, attenuation per detector column.
    warm_interval : int
        Spacing between cold-started slices (`planning.choose_warm_interval`); 1: every slice is cold-started.
    """

    source: IdentifiedSource
    output: SliceSink
    theta: np.ndarray
    centers: np.ndarray
    grid: tuple[int, int]
    options: GanrecOptions
    init: np.ndarray | None = None
    warm_interval: int = 1

    @property
    def carries_weights(self) -> bool:
        """Whether network weights go from slice to slice, in chains of `warm_interval`, as with ``preset='paper'``."""
        return self.options.preset == "paper" and self.warm_interval > 1

    def shared_batch(self, batch: int, workers: int) -> int:
        """The batch size with which each of several workers gets something to do.

        Parameters
        ----------
        batch : int
            Slices for which one worker has memory.
        workers : int

        Returns
        -------
        int
            `batch`, unless ``batch_size='auto'`` and it is so large that a worker would have no task. Never made
            smaller than 2: a slice alone is summed in another order (`planning.plan`).
        """
        if self.options.batch_size != "auto" or workers < 2:
            return batch
        # The slices of a chain follow one another: only whole chains can be shared out.
        count = len(range(0, len(self.centers), self.warm_interval)) if self.carries_weights else len(self.centers)
        return max(2, min(batch, -(-count // workers)))

    def pending_tasks(self, batch: int) -> list[Task]:
        """The tasks, of up to `batch` slices, that complete the output, each after those that it depends on."""
        tasks = plan(self.centers, batch, self.warm_interval, self.options.joint_slices, self.carries_weights)
        return unfinished_tasks(tasks, self.output.done)

    def identity(self) -> dict[str, Any]:
        """All that decides about the result, as a dictionary; an output is resumed only by a job of the same identity.

        Arrays are represented by their SHA-256; of the options only `FitOptions` count.
        """
        return dict(
            data=self.source.identity(),
            theta=_digest(self.theta),
            center=_digest(self.centers),
            init_recon=None if self.init is None else _digest(self.init),
            every=self.warm_interval,
            options={field.name: _plain(getattr(self.options, field.name)) for field in fields(FitOptions)},
            version=VERSION,
        )


def _plain(value: Any) -> Any:
    return value.identity() if isinstance(value, Mask) else value


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
