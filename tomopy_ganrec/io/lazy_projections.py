"""A scan that stays in its file: line integrals of the slices that are asked for, when they are asked for."""

import math
import os

import numpy as np

from . import scan_layout
from .scan_plan import Plan, make_plan
from .sources import read_slices

__all__ = ["Projections", "open_projections"]

BLOCK = 2e8  # bytes read at once where a few projections of many slices are asked for


class Projections:
    """Line integrals (angles, slices, columns) of a Data Exchange file, corrected as they are read. Made by `open_projections`.

    ``projections[:, 10:20]``, ``projections[keep, 10:20]`` or ``projections[:, slices]`` read those slices of the
    scan and of its flat and dark
    fields, and give what `tomopy_ganrec.io.read_projections` gives for them, as float32. At most one axis is indexed
    by an array or a mask. Wrong
    values are found by looking at all angles of a slice: so few projections of many slices are read as slowly as all
    of them.
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

    def __init__(self, plan: Plan):
        layout = plan.layout
        layout.path = os.path.abspath(layout.path)
        self.filename, self._plan, self._first, self.repaired = layout.path, plan, layout.slices[0], {}
        self.shape = len(plan.groups), layout.slices[1] - layout.slices[0], int(layout.shape[2])

    size = property(lambda self: math.prod(self.shape))

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"<Projections: {self._plan.layout.group}/data of {self.filename}, (angles, slices, columns) = {self.shape}>"

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("projections in a file become an array by being read; leave out copy=False")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __getitem__(self, key) -> np.ndarray:
        chosen, single = _selection(key, self.shape)
        block = np.empty([axis.size for axis in chosen], np.float32)
        if all(axis.size for axis in chosen):
            angles = slice(None) if np.array_equal(chosen[0], np.arange(self.shape[0])) else chosen[0]
            columns = slice(None) if np.array_equal(chosen[2], np.arange(self.shape[2])) else chosen[2]
            wanted, places = np.unique(chosen[1], return_inverse=True)
            count = max(1, int(BLOCK / (8 * self._plan.layout.shape[0] * self.shape[2])))
            for start in range(0, wanted.size, count):
                for part, found in read_slices(self._read, wanted[start : start + count]):
                    for k, number in enumerate(range(part.start, part.stop)):
                        block[:, places == start + number] = found[angles, k : k + 1][:, :, columns]
        return block.squeeze(single) if single else block

    def _read(self, rows: slice) -> np.ndarray:
        """Corrected projections of evenly spaced slices of what was selected."""
        layout, step = self._plan.layout, rows.step or 1
        where = slice(rows.start + self._first, rows.stop + self._first, step)
        with scan_layout.opened(self.filename) as file:

            def read(what):
                return scan_layout.frames(file, layout, what, slice(None), where)

            found, repaired = self._plan.slices(read("data"), read, where.start, step)
        self.repaired.update(zip(range(rows.start, rows.stop, step), (int(n) for n in repaired), strict=True))
        return found


def _selection(key, shape):
    """The indices along each axis, and which axes a single number takes away."""
    key = list(key) if isinstance(key, tuple) else [key]
    dots = [k for k, part in enumerate(key) if part is Ellipsis]
    if len(key) - len(dots) > len(shape) or len(dots) > 1 or any(part is None for part in key):
        raise IndexError(
            f"projections{key}: projections have three axes, (angles, slices, columns) = {shape}; give at most one selection for each"
        )
    missing = [slice(None)] * (len(shape) - len(key) + len(dots))
    key = key[: dots[0]] + missing + key[dots[0] + 1 :] if dots else key + missing
    chosen, single, arrays = [], [], 0
    for axis, (part, count) in enumerate(zip(key, shape, strict=True)):
        try:
            found = np.arange(count)[part]
        except IndexError as error:
            raise IndexError(
                f"{part!r} is no selection of the {count} {('angles', 'slices', 'columns')[axis]}: {error}"
            ) from None
        if found.ndim == 0:
            single.append(axis)
        elif not isinstance(part, slice):
            arrays += 1
        if found.ndim > 1 or arrays > 1:
            raise IndexError(
                "projections in a file are indexed by a one-dimensional array along one axis at most; give slices for the others"
            )
        chosen.append(found.reshape(-1))
    return chosen, tuple(single)


def open_projections(path, slices=None, angles=None, group="exchange", minus_log=True, theta=None, trust_theta=False):
    """The same as `tomopy_ganrec.io.read_projections`, for a scan that is larger than memory.

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
    plan = make_plan(path, slices, angles, group, minus_log, theta, trust_theta)
    return Projections(plan), plan.theta
