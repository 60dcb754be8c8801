"""Projections of a scan that stays in its file: line integrals of the slices that are asked for, read when needed."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tomopy_ganrec.scan_angles import AngularRange

from .hdf5_reading import open_hdf5
from .scan_layout import Frames, read_frames
from .scan_plan import ScanPlan, make_scan_plan
from .source_base import read_slices

__all__ = ["Projections", "open_projections"]

BLOCK_BYTES = 2e8  # read at once where a few projections of many slices are asked for


class Projections:
    """Line integrals of a Data Exchange file, (angles, slices, columns), corrected as they are read.

    Made by `open_projections`. ``projections[:, 10:20]``, ``projections[keep, 10:20]`` or ``projections[:, slices]``
    read those slices of the scan and of its flat and dark fields, and give what `tomopy_ganrec.io.read_projections`
    gives for them, as float32. At most one axis is indexed by an array or a mask. Wrong values are found by looking at
    all angles of a slice: so a few projections of many slices are read as slowly as all of them.
    ``numpy.asarray(projections)`` reads everything. The file is open only while something is read; a pickled copy in
    another process reads by itself.

    Attributes
    ----------
    filename : str
    shape : (int, int, int)
        Angles, slices, columns, of what was selected.
    dtype : numpy.dtype
        float32.
    repaired : dict of int to int
        How many values were wrong in the slices that this process has read so far.
    """

    dtype, ndim = np.dtype(np.float32), 3

    def __init__(self, plan: ScanPlan):
        layout = plan.layout
        layout.path = os.path.abspath(layout.path)
        self.filename = layout.path
        self.shape = len(plan.groups), layout.slices[1] - layout.slices[0], int(layout.shape[2])
        self.repaired: dict[int, int] = {}
        self._plan, self._first = plan, layout.slices[0]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        dataset = f"{self._plan.layout.group}/data"
        return f"<Projections: {dataset} of {self.filename}, (angles, slices, columns) = {self.shape}>"

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("projections in a file become an array by being read; leave out copy=False")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __getitem__(self, key: Any) -> np.ndarray:
        (angles, slices, columns), single = _selection(key, self.shape)
        selected = np.empty((angles.size, slices.size, columns.size), np.float32)
        if selected.size:
            all_angles, all_columns = (np.arange(self.shape[axis]) for axis in (0, 2))
            angle_key = slice(None) if np.array_equal(angles, all_angles) else angles
            column_key = slice(None) if np.array_equal(columns, all_columns) else columns
            wanted, positions = np.unique(slices, return_inverse=True)
            count = max(1, int(BLOCK_BYTES / (8 * self._plan.layout.shape[0] * self.shape[2])))
            for start in range(0, wanted.size, count):
                for part, block in read_slices(self._read, wanted[start : start + count]):
                    for k, number in enumerate(range(part.start, part.stop)):
                        selected[:, positions == start + number] = block[angle_key, k : k + 1][:, :, column_key]
        return selected.squeeze(single) if single else selected

    def _read(self, rows: slice) -> np.ndarray:
        """Corrected projections of evenly spaced slices of what was selected."""
        layout, step = self._plan.layout, rows.step or 1
        rows_in_file = slice(rows.start + self._first, rows.stop + self._first, step)
        with open_hdf5(self.filename) as file:

            def read(what: Frames) -> np.ndarray:
                return read_frames(file, layout, what, slice(None), rows_in_file)

            values, repaired = self._plan.correct(read("data"), read, rows_in_file.start, step)
        self.repaired.update(zip(range(rows.start, rows.stop, step), (int(n) for n in repaired), strict=True))
        return values


def _selection(key: Any, shape: tuple[int, int, int]) -> tuple[list[np.ndarray], tuple[int, ...]]:
    """The indices along each axis, and which axes a single number takes away.

    Raises
    ------
    IndexError
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [k for k, part in enumerate(parts) if part is Ellipsis]
    if len(parts) - len(dots) > len(shape) or len(dots) > 1 or any(part is None for part in parts):
        raise IndexError(
            f"projections{parts}: projections have three axes, (angles, slices, columns) = {shape}; give at most one "
            "selection for each"
        )
    missing = [slice(None)] * (len(shape) - len(parts) + len(dots))
    parts = parts[: dots[0]] + missing + parts[dots[0] + 1 :] if dots else parts + missing
    chosen: list[np.ndarray] = []
    single: list[int] = []
    arrays = 0
    for axis, (part, count) in enumerate(zip(parts, shape, strict=True)):
        try:
            indices = np.asarray(np.arange(count)[part])
        except IndexError as error:
            axis_name = ("angles", "slices", "columns")[axis]
            raise IndexError(f"{part!r} is no selection of the {count} {axis_name}: {error}") from None
        if indices.ndim == 0:
            single.append(axis)
        elif not isinstance(part, slice):
            arrays += 1
        if indices.ndim > 1 or arrays > 1:
            raise IndexError(
                "projections in a file are indexed by a one-dimensional array along one axis at most; give slices for "
                "the others"
            )
        chosen.append(indices.reshape(-1))
    return chosen, tuple(single)


def open_projections(
    path: str | os.PathLike[str],
    slices: Sequence[int] | None = None,
    angles: AngularRange | None = None,
    group: str = "exchange",
    minus_log: bool = True,
    theta: ArrayLike | str | Path | None = None,
    trust_theta: bool = False,
) -> tuple[Projections, np.ndarray]:
    """Open a scan that is larger than memory; otherwise the same as `tomopy_ganrec.io.read_projections`.

    A few slices are looked at, the others are read when needed.

    Parameters
    ----------
    path, slices, angles, group, minus_log, theta, trust_theta
        See `tomopy_ganrec.io.read_projections`.

    Returns
    -------
    projections : Projections
        (angles, slices, columns), float32; read and corrected by ``projections[:, first:last]``.
    theta : (angles,) float64 array
        Radians.

    Raises
    ------
    OSError, ValueError, ImportError
        As by `read_projections`, or without h5py.
    """
    plan = make_scan_plan(path, slices, angles, group, minus_log, theta, trust_theta)
    return Projections(plan), plan.theta
