"""A scan that stays in its file: line integrals of the slices that are asked for, when they are asked for."""

import math
import os
from pathlib import Path

import numpy as np

from . import io
from .sources import read_slices

__all__ = ["Projections", "open_projections"]


class Projections:
    """Line integrals (angles, slices, columns) of a Data Exchange file, corrected as they are read. Made by `open_projections`.

    ``projections[:, 10:20]``, ``projections[keep, 10:20]`` or ``projections[:, slices]`` read those slices of the scan and of its flat and dark
    fields, and give what `tomopy_ganrec.io.read_projections` gives for them, as float32. At most one axis is indexed by an array or a mask.
    ``numpy.asarray(projections)`` reads everything. The file is open only while something is read; a pickled copy in another process reads by itself.

    Attributes
    ----------
    filename : str
    shape : (int, int, int)
        Angles, slices, columns, of what was selected.
    dtype : numpy.dtype
        float32.
    """

    dtype, ndim = np.dtype(np.float32), 3

    def __init__(self, path, group: str, minus_log: bool, keep: np.ndarray, slices: tuple[int, int], columns: int):
        self.filename, self._group, self._minus_log = os.path.abspath(path), group, bool(minus_log)
        self._keep, self._first = keep, slices[0]
        self.shape = len(keep), slices[1] - slices[0], int(columns)

    size = property(lambda self: math.prod(self.shape))

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"<Projections: {self._group}/data of {self.filename}, (angles, slices, columns) = {self.shape}>"

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("projections in a file become an array by being read; leave out copy=False")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __getitem__(self, key) -> np.ndarray:
        chosen, single = _selection(key, self.shape)
        if not all(axis.size for axis in chosen):
            block = np.empty([axis.size for axis in chosen], np.float32)
        else:
            block = self._read(chosen[0], chosen[1])
            everything = np.array_equal(chosen[2], np.arange(self.shape[2]))
            block = block if everything else block[:, :, chosen[2]]
        return block.squeeze(single) if single else block

    def _read(self, angles: np.ndarray, slices: np.ndarray) -> np.ndarray:
        """Corrected projections; both are indices of what was selected, in any order."""
        angles = self._keep[angles]
        low, high = int(angles.min()), int(angles.max()) + 1
        wanted, places = np.unique(slices + self._first, return_inverse=True)
        with io._h5py().File(self.filename, "r") as file:

            def read(name, frames):
                if f"{self._group}/{name}" not in file:
                    return None
                data = file[f"{self._group}/{name}"]
                parts = [block for _, block in read_slices(lambda rows: data[frames, rows], wanted)]
                return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

            data, flat, dark = read("data", slice(low, high)), read("data_white", slice(None)), read("data_dark", slice(None))
        if not np.array_equal(angles, np.arange(low, high)):
            data = data[angles - low]
        block = io.normalize(data, flat, dark, self._minus_log)
        return block if np.array_equal(places, np.arange(len(places))) else block[:, places]


def _selection(key, shape):
    """The indices along each axis, and which axes a single number takes away."""
    key = list(key) if isinstance(key, tuple) else [key]
    dots = [k for k, part in enumerate(key) if part is Ellipsis]
    if len(key) - len(dots) > len(shape) or len(dots) > 1 or any(part is None for part in key):
        raise IndexError(f"projections{key}: projections have three axes, (angles, slices, columns) = {shape}; give at most one selection for each")
    missing = [slice(None)] * (len(shape) - len(key) + len(dots))
    key = key[: dots[0]] + missing + key[dots[0] + 1 :] if dots else key + missing
    chosen, single, arrays = [], [], 0
    for axis, (part, count) in enumerate(zip(key, shape, strict=True)):
        try:
            found = np.arange(count)[part]
        except IndexError as error:
            raise IndexError(f"{part!r} is no selection of the {count} {('angles', 'slices', 'columns')[axis]}: {error}") from None
        if found.ndim == 0:
            single.append(axis)
        elif not isinstance(part, slice):
            arrays += 1
        if found.ndim > 1 or arrays > 1:
            raise IndexError("projections in a file are indexed by a one-dimensional array along one axis at most; give slices for the others")
        chosen.append(found.reshape(-1))
    return chosen, tuple(single)


def open_projections(path, slices=None, angles=None, group="exchange", minus_log=True):
    """The same as `tomopy_ganrec.io.read_projections` by h5py, for a scan that is larger than memory: nothing is read but the angles.

    Parameters
    ----------
    path : str or Path
        Data Exchange HDF5 file with ``exchange/data`` (angles, slices, columns) and, as far as there are any, ``data_white``, ``data_dark`` and
        ``theta`` in degrees.
    slices : (int, int), optional
        First slice and the one after the last.
    angles : str or (float, float), optional
        Keep projections with first ≤ θ < last, in degrees: ``'0:120'`` or (0, 120).
    group : str
        ``exchange``, or ``exchange1`` … for processed data.
    minus_log : bool
        False gives the transmission.

    Returns
    -------
    projections : Projections
        (angles, slices, columns), float32; read and corrected by ``projections[:, first:last]``.
    theta : (angles,) float64 array
        Radians. Without angles in the file: evenly over 180°, with a warning in the log.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        For a file that is missing, not HDF5 or laid out otherwise, a selection that leaves nothing, or without h5py.
    """
    path = Path(path)
    shape, slices = io.inspect_scan(path, slices, group)
    with io._h5py().File(path, "r") as file:
        names = {"flat": f"{group}/data_white", "dark": f"{group}/data_dark"}
        fields = {field: file[name].shape for field, name in names.items() if name in file}
        theta = file[f"{group}/theta"][:] if f"{group}/theta" in file else None
    if "flat" in fields:  # without them the dark fields are not used either
        io.check_fields(shape, **fields)
    keep, theta = io.chosen_angles(path, theta, shape[0], angles)
    return Projections(path, group, minus_log, keep, slices or (0, shape[1]), shape[2]), theta
