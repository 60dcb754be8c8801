"""Reconstruction of tasks on one device: read the sinograms, fit, write the images."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from tomopy_ganrec import forks
from tomopy_ganrec.fit import fit
from tomopy_ganrec.fit.data_fit import compare_with_data, is_checked
from tomopy_ganrec.io.protocols import Record, SliceSource, SliceStore
from tomopy_ganrec.mask import Mask
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.results import FitResult, Status
from tomopy_ganrec.validation import check_finite

from .devices import lock_of
from .memory import projector_dtype
from .planning import Task
from .weight_store import WeightStore

__all__ = ["InitialImages", "Records", "Worker", "WorkerJob", "memory_errors", "options_of_slices"]

Records = Sequence[Record | None] | Mapping[int, Record]
"""The record of each slice that is done, by its number."""


class InitialImages(Protocol):
    """Initial images of slices, as an array of (slices, rows, cols) gives them."""

    def __getitem__(self, indices: np.ndarray, /) -> np.ndarray: ...


class WorkerJob(Protocol):
    """All that one worker needs of a `Job`; the properties are described there."""

    @property
    def source(self) -> SliceSource: ...  # noqa: D102
    @property
    def output(self) -> SliceStore: ...  # noqa: D102
    @property
    def theta(self) -> np.ndarray: ...  # noqa: D102
    @property
    def grid(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def options(self) -> GanrecOptions: ...  # noqa: D102
    @property
    def init(self) -> InitialImages | None: ...  # noqa: D102


@contextlib.contextmanager
def memory_errors(shape: tuple[int, int, int], grid: tuple[int, int]) -> Iterator[None]:
    """Turn exhausted memory into an error that says which options help.

    Parameters
    ----------
    shape : (int, int, int)
        Of the data: slices, angles, columns.
    grid : (int, int)
        Rows and columns of a slice.

    Raises
    ------
    MemoryError
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _is_exhausted(error) and "allocate" not in str(error):
            raise
        raise MemoryError(
            f"memory ran out while reconstructing {shape[0]} slices of {grid[0]}×{grid[1]} from {shape[1]} angles × "
            f"{shape[2]} columns: {error}. Options that need less: batch_size=1, backend='astra' (or a smaller "
            "projector_memory), device='cpu', a smaller num_gridx and num_gridy; tomopy_ganrec.estimate_memory says "
            "what is needed"
        ) from error


def _is_exhausted(error: BaseException) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error)


class Worker:
    """Reconstructs tasks on one device, with one projector for each rotation axis in turn.

    Parameters
    ----------
    device : torch.device
    job : Job
    weights : WeightStore, optional
        For ``preset='paper'``: where the weights that go from slice to slice are kept.
    """

    def __init__(self, device: torch.device, job: WorkerJob, weights: WeightStore | None = None):
        self.device = device
        self._job = job
        self._weights = weights
        self._projector: ParallelBeamProjector | None = None
        self._max_slices: int | None = None

    def work(
        self, task: Task, records: Records, notify: Callable[[Status], object], owner: object = None
    ) -> list[Record]:
        """Reconstruct the slices of a task, write them to the output, and return their records.

        A GPU whose memory runs out gets half of the slices, and no more than that from then on.

        Parameters
        ----------
        task : Task
        records : sequence or mapping of dict
            Of all slices that are done.
        notify : callable
            The callback of `fit`.
        owner : optional
            See `devices.DeviceLock.held`.
        """
        if self._max_slices is not None and len(task.slices) > self._max_slices:
            return [record for half in task.halves() for record in self.work(half, records, notify, owner)]
        try:
            with lock_of(self.device).held(owner):
                forks.note_threads(torch.get_num_threads())
                return self._fit(task, records, notify)
        except RuntimeError as error:
            cannot_halve = len(task.slices) == 1 or self._job.options.joint_slices > 1
            if self.device.type != "cuda" or not _is_exhausted(error) or cannot_halve:
                raise
        self._max_slices = (len(task.slices) + 1) // 2
        torch.cuda.empty_cache()
        warnings.warn(
            f"the memory of {self.device} does not hold {len(task.slices)} slices: going on with {self._max_slices} at "
            "a time",
            RuntimeWarning,
            stacklevel=2,
        )
        return self.work(task, records, notify, owner)

    def _fit(self, task: Task, records: Records, notify: Callable[[Status], object]) -> list[Record]:
        source, options = self._job.source, self._job.options
        projector = self._projector_at(task.center)
        slices = np.array(task.slices)
        data = source.read(slices)
        if source.nbytes_in_memory == 0:  # data in memory were checked as a whole
            check_finite(data, slices)
        sinogram = torch.from_numpy(data).to(self.device)
        carries_weights = options.preset == "paper"
        warm = bool(task.neighbours) and not carries_weights
        init = self._neighbours_images(task) if warm else self._given_images(slices)
        result = fit(
            projector,
            sinogram,
            options_of_slices(options, slices),
            init=None if init is None else torch.from_numpy(init).to(self.device),
            callback=notify,
            near=_neighbours_records(task, records) if warm else None,
            state=self._carried_weights(task) if carries_weights else None,
        )
        self._job.output.write(slices, result.image.cpu().numpy())
        if self._weights is not None:
            for index, weights in zip(task.slices, result.states or (), strict=False):
                self._weights.keep(index, weights)
        return self._records(task, projector, sinogram, result)

    def _records(
        self, task: Task, projector: ParallelBeamProjector, sinogram: torch.Tensor, result: FitResult
    ) -> list[Record]:
        """The records of the slices: of the fit, of their data, and of the device they were reconstructed on."""
        count = len(task.slices)
        compared: list[Record] = [dict(explained=None)] * count
        if is_checked(self._job.options) and all(entry["stopped"] != "callback" for entry in result.info):
            compared = compare_with_data(projector, result.image, sinogram, [entry["noise"] for entry in result.info])
        repaired = self._job.source.repaired(np.array(task.slices))
        return [
            dict(
                result.info[k],
                **repaired[k],
                **compared[k],
                center=task.center,
                history={name: curve[:, k] for name, curve in result.history.items()},
                seconds={name: value / count for name, value in result.seconds.items()},
                backend=projector.backend,
                device=str(self.device),
            )
            for k in range(count)
        ]

    def _projector_at(self, center: float) -> ParallelBeamProjector:
        """The projector of a rotation axis, kept until another axis comes: it is expensive to make."""
        if self._projector is None or self._projector.center != center:
            options, columns, theta, grid = (
                self._job.options,
                self._job.source.shape[2],
                self._job.theta,
                self._job.grid,
            )
            self._projector = ParallelBeamProjector(
                grid,
                theta,
                columns,
                center,
                backend=options.backend,
                device=self.device,
                dtype=projector_dtype(options, self.device, len(theta), columns, grid),
                memory_limit=options.projector_memory,
            )
        return self._projector

    def _carried_weights(self, task: Task) -> list[dict[str, Any]] | None:
        """The weights from which the slices of a chain begin; None for its first slice."""
        if not task.neighbours or self._weights is None:
            return None
        carried = []
        for index, _ in task.neighbours:
            weights = self._weights.get(index)
            if weights is None:
                raise RuntimeError(
                    f"the weights after slice {index}, from which the next one begins, are gone; delete the output and "
                    "begin anew"
                )
            carried.append(weights)
        return carried

    def _given_images(self, slices: np.ndarray) -> np.ndarray | None:
        init = self._job.init
        return None if init is None else np.array(init[slices], np.float32)

    def _neighbours_images(self, task: Task) -> np.ndarray:
        """The images of a warm start: those of the two neighbours, interpolated linearly."""
        output = self._job.output
        images = np.empty((len(task.slices), *self._job.grid), np.float32)
        for k, (index, (a, b)) in enumerate(zip(task.slices, task.neighbours, strict=True)):
            share = abs(index - a) / abs(b - a)
            images[k] = (1 - share) * output.read(a) + share * output.read(b)
        return images


def options_of_slices(options: GanrecOptions, slices: np.ndarray) -> GanrecOptions:
    """The options with the masks of some slices of the volume, where each slice has its own."""
    mask = options.mask
    return options.replace(mask=mask.take(slices)) if isinstance(mask, Mask) and mask.per_slice else options


def _neighbours_records(task: Task, records: Records) -> list[Record | None]:
    """For each slice the record of its nearer neighbour, if both neighbours used the same pixel model."""
    nearer = []
    for near, far in task.neighbours:
        record, other = records[near], records[far]
        assert record is not None and other is not None, "a task begins once its neighbours are done"
        nearer.append(record if record.get("pixel_model") == other.get("pixel_model") else None)
    return nearer
