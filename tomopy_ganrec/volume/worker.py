"""One device at work on tasks: reading, fitting, putting away."""

import contextlib
import warnings

import numpy as np
import torch

from tomopy_ganrec import forks
from tomopy_ganrec.fit import fit
from tomopy_ganrec.fit.data_fit import compare_with_data, is_checked
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.validation import check_finite

from .devices import lock_of
from .memory import projector_dtype
from .planning import Task

__all__ = ["Worker", "memory_errors"]


@contextlib.contextmanager
def memory_errors(shape: tuple, size: tuple):
    """Turn an exhausted memory into an error that says which options help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _exhausted(error) and "allocate" not in str(error):
            raise
        raise MemoryError(
            f"memory ran out while reconstructing {shape[0]} slices of {size[0]}×{size[1]} from {shape[1]} angles × {shape[2]} columns: {error}. "
            "Options that need less: batch_size=1, backend='astra' (or a smaller projector_memory), device='cpu', a smaller num_gridx and num_gridy; "
            "tomopy_ganrec.estimate_memory tells what is needed"
        ) from error


def _exhausted(error: BaseException) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error)


def _agreed(near: dict, far: dict) -> dict | None:
    """The record of the nearer neighbour, where the two took the same view of what a pixel is."""
    return near if near.get("pixel_model") == far.get("pixel_model") else None


class Worker:
    """Reconstructs tasks on one device, one projector for each centre in turn.

    Parameters
    ----------
    device : torch.device
    source : Source
        Of sinograms (`sources.source_of`).
    output : Output
        For the images (`outputs.output_of`); neighbours are read from it.
    theta : (angles,) array
        Radians.
    size : (int, int)
        Rows and columns of a slice.
    options : GanrecOptions
    init : (slices, rows, cols) array, optional
    states : States, optional
        For ``preset='paper'``: carry the weights from slice to slice, through here.
    """

    def __init__(
        self,
        device: torch.device,
        source,
        output,
        theta,
        size: tuple[int, int],
        options: GanrecOptions,
        init=None,
        states=None,
    ):
        self.device, self._source, self._output, self._theta, self._size = device, source, output, theta, size
        self._options, self._init, self._projector, self._most, self._states = options, init, None, None, states

    def work(self, task: Task, records, notify, call=None) -> list[dict]:
        """Reconstruct the slices of a task, write them to the output, and return their records.

        A GPU whose memory runs out gets half of the slices, and no more than that from then on.

        Parameters
        ----------
        task : Task
        records : sequence of dict
            Of all slices that are done.
        notify : callable
            See `fit`.
        call : optional
            See `devices.DeviceLock`.
        """
        if self._most is not None and len(task.slices) > self._most:
            return [record for half in task.halves() for record in self.work(half, records, notify, call)]
        try:
            with lock_of(self.device).held(call):
                forks.computing(torch.get_num_threads())
                return self._fit(task, records, notify)
        except RuntimeError as error:
            if (
                self.device.type != "cuda"
                or not _exhausted(error)
                or len(task.slices) == 1
                or self._options.joint_slices > 1
            ):
                raise
        self._most = (len(task.slices) + 1) // 2
        torch.cuda.empty_cache()
        warnings.warn(
            f"the memory of {self.device} does not hold {len(task.slices)} slices: going on with {self._most} at a time",
            RuntimeWarning,
            stacklevel=2,
        )
        return self.work(task, records, notify, call)

    def _fit(self, task: Task, records, notify) -> list[dict]:
        projector = self._projector_at(task.center)
        slices = np.array(task.slices)
        data = self._source.read(slices)
        if self._source.nbytes_in_memory == 0:  # what lies in memory has been looked at as a whole
            check_finite(data, slices)
        sinogram = torch.from_numpy(data).to(self.device)
        init, known = None if self._init is None else np.array(self._init[slices], np.float32), {}
        if self._options.preset == "paper":
            known["state"] = self._carried(task)
        elif task.near:
            init, known["near"] = self._neighbours(task), [_agreed(*(records[k] for k in pair)) for pair in task.near]
        start = None if init is None else torch.from_numpy(init).to(self.device)
        result = fit(projector, sinogram, self._options, init=start, callback=notify, **known)
        self._output.write(slices, result.image.cpu().numpy())
        compared = [dict(explained=None)] * len(slices)
        if is_checked(self._options) and all(entry["stopped"] != "callback" for entry in result.info):
            compared = compare_with_data(projector, result.image, sinogram, [entry["noise"] for entry in result.info])
        for index, state in zip(task.slices if self._states else (), result.states or (), strict=False):
            self._states.keep(index, state)
        repaired = self._source.repaired(slices)
        return [
            dict(
                result.info[k],
                **repaired[k],
                **compared[k],
                center=task.center,
                history={name: curve[:, k] for name, curve in result.history.items()},
                seconds={name: value / len(slices) for name, value in result.seconds.items()},
                backend=projector.backend,
                device=str(self.device),
            )
            for k in range(len(slices))
        ]

    def _projector_at(self, center: float) -> ParallelBeamProjector:
        """What a projector has measured and resampled serves all slices of its centre."""
        if self._projector is None or self._projector.center != center:
            options, columns = self._options, self._source.shape[2]
            self._projector = ParallelBeamProjector(
                self._size, self._theta, columns, center, backend=options.backend, device=self.device,
                dtype=projector_dtype(options, self.device, len(self._theta), columns, self._size), memory_limit=options.projector_memory,
            )  # fmt: skip
        return self._projector

    def _carried(self, task: Task) -> list[dict] | None:
        """The weights from which the slices of a chain begin; None for its first."""
        if not task.near or self._states is None:
            return None
        states = [self._states.get(pair[0]) for pair in task.near]
        lost = [pair[0] for pair, state in zip(task.near, states, strict=True) if state is None]
        if lost:
            raise RuntimeError(
                f"the weights after slice {lost[0]}, from which the next one begins, are gone; delete the output and begin anew"
            )
        return states

    def _neighbours(self, task: Task) -> np.ndarray:
        """The images from which the slices begin: their neighbours', interpolated linearly."""
        images = np.empty((len(task.slices), *self._size), np.float32)
        for k, (index, (a, b)) in enumerate(zip(task.slices, task.near, strict=True)):
            share = abs(index - a) / abs(b - a)
            images[k] = (1 - share) * self._output.read(a) + share * self._output.read(b)
        return images
