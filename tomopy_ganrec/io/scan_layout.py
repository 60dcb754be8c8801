"""Layout of a Data Exchange file: shapes, fields and angles, read without the projections. Refuses unusable files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import psutil

from tomopy_ganrec.angle_units import Unit, in_degrees, unit_of
from tomopy_ganrec.scan_angles import rotation_degrees

from .hdf5_reading import find_dataset, member_names, read_number, read_part

__all__ = ["Frames", "Layout", "check_memory", "read_angles", "read_frames", "read_layout", "sampled_rows"]

ACQUISITION = "process/acquisition"
MIN_WRITTEN = 0.01  # share of a dataset's chunks: with fewer written ones it counts as missing
# Values of the projections, at most, that are read to find frames that are not what they are called.
MAX_SAMPLED_VALUES = 20_000_000
_ROTATION_NAMES = {
    "start": ("rotation_start", "start_angle", "start"),
    "step": ("rotation_step", "angular_step", "angle_step", "step"),
    "end": ("rotation_end", "rotation_stop", "end_angle", "stop_angle", "end", "stop"),
    "count": ("num_angles", "number_of_angles", "num_projections"),
}

Frames = Literal["data", "flat", "dark"]
"""Projections, flat fields or dark fields."""

_DATASETS: dict[Frames, str] = {"data": "data", "flat": "data_white", "dark": "data_dark"}


@dataclass
class Layout:
    """Shapes and names of the datasets of a scan.

    Attributes
    ----------
    path, group : str
    shape : (int, int, int)
        Angles, slices, columns.
    dtype : numpy.dtype
        As stored.
    slices : (int, int)
        First, and the one after the last.
    fields : dict
        ``'flat'`` and ``'dark'``: the number of frames, or None where there are none.
    constants : dict
        ``'flat'`` and ``'dark'``: the number that stands for the frames, or None.
    """

    path: str
    group: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    slices: tuple[int, int]
    fields: dict[str, int | None] = field(default_factory=dict)
    constants: dict[str, float | None] = field(default_factory=dict)

    def dataset(self, file: Any, what: Frames) -> Any:
        """The dataset of the projections, the flat or the dark fields of an open file."""
        return find_dataset(file, f"{self.group}/{_DATASETS[what]}")


def _slice_range(slices: Sequence[int] | None, count: int, path: str) -> tuple[int, int]:
    """The argument `slices` of a reader, checked."""
    if slices is None:
        return 0, count
    try:
        first, last = (int(s) for s in slices)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"slices={slices!r}: give the first slice and the one after the last, e.g. (10, 20)") from None
    if not 0 <= first < last <= count:
        raise ValueError(
            f"slices {first}:{last} are not among the {count} of {path}; give first < last, counted from 0"
        )
    return first, last


def read_layout(file: Any, slices: Sequence[int] | None, group: str) -> Layout:
    """The layout of a scan; nothing is read but numbers that stand for fields.

    Parameters
    ----------
    file : h5py.File
    slices : (int, int), optional
        First slice and the one after the last.
    group : str
        Of the projections, such as ``exchange``.

    Raises
    ------
    OSError, ValueError
        For a file that cannot be a scan, or one of whose slices no memory holds.
    """
    path = file.filename
    data = find_dataset(file, f"{group}/data")
    if data is None:
        raise ValueError(
            f"{path} holds no dataset '{group}/data'; its top level has {member_names(file) or 'nothing'}. Is it a "
            "Data Exchange file?"
        )
    shape = data.shape
    if len(shape) != 3 or 0 in shape:
        raise ValueError(
            f"{group}/data of {path} has shape {shape}; Data Exchange files hold (angles, slices, columns) there"
        )
    layout = Layout(path, group, shape, data.dtype, _slice_range(slices, shape[1], path))
    if data.chunks and not data.is_virtual:
        written = data.id.get_num_chunks()
        expected = math.prod(-(-n // c) for n, c in zip(shape, data.chunks, strict=True))
        if written < MIN_WRITTEN * expected:
            raise ValueError(
                f"{group}/data of {path} has shape {shape}, but only {written} of its {expected} chunks have been "
                "written"
            )
    slice_bytes = 4 * shape[0] * shape[2]
    if 3 * slice_bytes > psutil.virtual_memory().available:
        raise ValueError(
            f"{group}/data of {path} has shape {shape}: a single slice takes {slice_bytes / 1e9:.3g} GB, which this "
            "machine's memory does not hold thrice"
        )
    _read_fields(file, layout)
    return layout


def _read_fields(file: Any, layout: Layout) -> None:
    """Enter the flat and dark fields of a file into its layout."""
    fields: tuple[tuple[Frames, str], ...] = (("flat", "flat_fields"), ("dark", "dark_fields"))
    for what, folder in fields:
        node = layout.dataset(file, what)
        if node is None or node.size == 0:
            layout.fields[what] = None
            layout.constants[what] = read_number(file, f"{ACQUISITION}/{folder}/{what}_field_value")
            continue
        shape = node.shape if node.ndim == 3 else (1, *node.shape)
        if len(shape) != 3 or tuple(shape[1:]) != tuple(layout.shape[1:]):
            raise ValueError(
                f"{layout.path}: the {what} fields have shape {node.shape}, the projections {layout.shape}; slices and "
                "columns must agree"
            )
        layout.fields[what] = shape[0]
        layout.constants[what] = None


def read_frames(
    file: Any, layout: Layout, what: Frames, frames: slice, rows: slice, columns: slice = slice(None)
) -> np.ndarray:
    """Some frames, rows and columns of the projections, flat or dark fields, (frames, rows, columns) as stored."""
    node = layout.dataset(file, what)
    if node.ndim == 2:
        return read_part(node, (rows, columns))[None][frames]
    return read_part(node, (frames, rows, columns))


def check_memory(layout: Layout) -> None:
    """Refuse to read everything at once where that does not fit into the memory.

    Raises
    ------
    ValueError
    """
    count = layout.slices[1] - layout.slices[0]
    size = layout.shape[0] * count * layout.shape[2] * (4 + layout.dtype.itemsize)
    free = psutil.virtual_memory().available
    if size > free:
        raise ValueError(
            f"{layout.path}: {count} slices of {layout.shape[0]} projections of {layout.shape[2]} columns take "
            f"{size / 1e9:.3g} GB, more than the {free / 1e9:.3g} GB that are free; read fewer at once with slices=, "
            "or use open_projections"
        )


def read_angles(file: Any, layout: Layout) -> tuple[np.ndarray, Unit] | None:
    """The angles of a file and their unit; None where it holds none.

    Raises
    ------
    OSError, ValueError
        For angles that are not finite, of another number than the projections, or of an unknown unit.
    """
    path, count, name = layout.path, layout.shape[0], f"{layout.group}/theta"
    node = find_dataset(file, name)
    if node is not None:
        if node.size != count or max(node.shape, default=1) != node.size:
            raise ValueError(
                f"{path} holds {count} projections but {node.size} angles ('{name}' has shape {node.shape}); one for "
                "each is needed"
            )
        values = read_part(node).astype(np.float64).reshape(-1)
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise ValueError(
                f"{path}: {bad.size} of its {count} angles are not finite, the first that of projection {bad[0]}"
            )
        return values, unit_of(node.attrs.get("units"), f"'{name}' of {path}")
    degrees = rotation_degrees(_rotation_numbers(file), count, path)
    return None if degrees is None else (degrees, "degrees")


def _rotation_numbers(file: Any) -> dict[str, float]:
    """What a file says of its rotation: 'start', 'step' and 'end' in degrees, and 'count', those that it has."""
    numbers = {}
    for what, names in _ROTATION_NAMES.items():
        for candidate in names:
            name = f"{ACQUISITION}/rotation/{candidate}"
            value = read_number(file, name)
            if value is None:
                continue
            if what != "count":
                unit = unit_of(find_dataset(file, name).attrs.get("units"), f"'{name}' of {file.filename}")
                value = float(in_degrees(value, unit))
            numbers[what] = value
            break
    return numbers


def sampled_rows(layout: Layout, most: int = 3) -> tuple[list[int], list[slice]]:
    """Rows, evenly over the detector, and column ranges that are read to find frames that are not what they are called.

    The ranges are all columns, except of a very large scan.
    """
    angles, count, columns = layout.shape
    most = max(1, min(most, count, MAX_SAMPLED_VALUES // (angles * columns)))
    rows = sorted({int((k + 0.5) * count / most) for k in range(most)})
    if angles * columns <= MAX_SAMPLED_VALUES:
        return rows, [slice(0, columns)]
    width = max(2, min(columns, MAX_SAMPLED_VALUES // angles) // 8)
    return rows, [slice(at, at + width) for at in sorted({int(k * (columns - width) / 7) for k in range(8)})]
