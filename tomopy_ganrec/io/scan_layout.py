"""What a Data Exchange file holds, found out without reading it, and refused in one line where it cannot be used."""

import contextlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from .optional import import_h5py

__all__ = ["Layout", "inspect", "opened", "read_angles", "refusing_damage"]

PROCESS = "process/acquisition"
WRITTEN = 0.01  # of the chunks of a dataset: with fewer it is none
SAMPLED = (
    20_000_000  # values of the projections that are looked at to find frames that are not what they are called, at most
)
_ROTATION = {
    "start": ("rotation_start", "start_angle", "start"),
    "step": ("rotation_step", "angular_step", "angle_step", "step"),
    "end": ("rotation_end", "rotation_stop", "end_angle", "stop_angle", "end", "stop"),
    "count": ("num_angles", "number_of_angles", "num_projections"),
}


def opened(path):
    """An HDF5 file opened for reading.

    Raises
    ------
    OSError, ValueError
        With the file's name, for what is missing, a folder, or no HDF5 file.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder; give one Data Exchange HDF5 file (exchange/data …). Stacks of TIFFs are not read"
        )
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    h5py = import_h5py()
    try:
        good = h5py.is_hdf5(path)
        file = h5py.File(path, "r") if good else None
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise OSError(f"{path} cannot be opened: {error}") from error
    if file is None:
        raise ValueError(f"{path} is not an HDF5 file; this function reads Data Exchange files (exchange/data …)")
    return file


@contextlib.contextmanager
def refusing_damage(path):
    """What h5py says of a damaged file, as an OSError with the file's name; this package's own errors pass."""
    try:
        yield
    except (OSError, RuntimeError, LookupError) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or str(path) in str(error)):
            raise
        raise OSError(f"{path} is damaged: {_words(error)}") from error


def dataset(file, name: str):
    """The dataset `name` of an open file, None where there is nothing of that name; nothing is read.

    Raises
    ------
    OSError
        For a link to what is not there, and damaged files.
    ValueError
        For a group, or values that are no real numbers.
    """
    h5py, path = import_h5py(), file.filename
    try:
        link, parent = None, ""
        for part in name.split("/"):  # a broken link may be on the way
            parent = f"{parent}/{part}".lstrip("/")
            link = file.get(parent, getlink=True)
            if link is None:
                return None
            if isinstance(link, (h5py.ExternalLink, h5py.SoftLink)):
                break
        node = file[name]
    except (KeyError, OSError, RuntimeError, ValueError, TypeError) as error:
        if isinstance(link, h5py.ExternalLink):
            raise OSError(
                f"{path}: '{name}' is a link to '{link.path}' in the file {link.filename}, which is not there or cannot be opened"
            ) from error
        if isinstance(link, h5py.SoftLink):
            raise OSError(f"{path}: '{name}' is a link to '{link.path}', which is not there") from error
        raise OSError(f"{path}: '{name}' cannot be opened: {_words(error)}") from error
    if not isinstance(node, h5py.Dataset):
        raise ValueError(
            f"{path}: '{name}' is a group, not a dataset"
            + (f"; it holds {_members(node)}" if isinstance(node, h5py.Group) and len(node) else "")
        )
    try:
        kind, shape, virtual = node.dtype.kind, node.shape, node.is_virtual
        sources = node.virtual_sources() if virtual else []
    except Exception as error:
        raise OSError(f"{path}: '{name}' cannot be opened: {_words(error)}") from error
    if shape is None:
        raise ValueError(f"{path}: '{name}' is an empty dataset")
    if kind not in "biuf":
        raise ValueError(f"{path}: '{name}' holds values of type {node.dtype}; real numbers are needed")
    for source in sources:
        name_of = source.file_name
        if (
            name_of != "."
            and "%" not in name_of
            and not any((folder / name_of).is_file() for folder in (Path(path).parent, Path()))
        ):
            raise OSError(f"{path}: '{name}' is a virtual dataset whose source {name_of} is not there")
    return node


def _words(error: BaseException) -> str:
    return " ".join(str(error).strip("'\"").split()) or type(error).__name__


def _members(group) -> str:
    """The first names in a group; of a damaged file they may be bytes."""
    return ", ".join(name if isinstance(name, str) else name.decode("utf-8", "replace") for name in list(group)[:8])


def read(node, key=()) -> np.ndarray:
    """Part of a dataset, or an OSError with the file's name."""
    try:
        return np.asarray(node[key])
    except MemoryError:
        raise
    except Exception as error:
        raise OSError(f"{node.file.filename}: '{node.name}' cannot be read: {_words(error)}") from error


def number(file, name: str) -> float | None:
    """A dataset that holds one number (or the same one several times), None where it is not there."""
    node = dataset(file, name)
    if node is None or not node.size:
        return None
    if node.size > 1000:
        raise ValueError(f"{file.filename}: '{name}' holds {node.size} values where one is expected")
    values = read(node).astype(np.float64).reshape(-1)
    if not np.isfinite(values).all():
        raise ValueError(f"{file.filename}: '{name}' is {values[0]}")
    return float(values.mean())


@dataclass
class Layout:
    """Shapes and names of what a scan holds.

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
    shape: tuple
    dtype: np.dtype
    slices: tuple
    fields: dict = field(default_factory=dict)
    constants: dict = field(default_factory=dict)

    NAMES = {"data": "data", "flat": "data_white", "dark": "data_dark"}

    def node(self, file, what: str):
        """The dataset of the projections ('data'), the flat or the dark fields."""
        return dataset(file, f"{self.group}/{self.NAMES[what]}")


def _chosen(slices, count: int, path) -> tuple[int, int]:
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


def inspect(file, slices, group: str) -> Layout:
    """Refuse what cannot be a scan, or what no memory holds; nothing is read but constants.

    Raises
    ------
    OSError, ValueError
    """
    path = file.filename
    data = dataset(file, f"{group}/data")
    if data is None:
        raise ValueError(
            f"{path} holds no dataset '{group}/data'; its top level has {_members(file) or 'nothing'}. Is it a Data Exchange file?"
        )
    shape = data.shape
    if len(shape) != 3 or 0 in shape:
        raise ValueError(
            f"{group}/data of {path} has shape {shape}; Data Exchange files hold (angles, slices, columns) there"
        )
    layout = Layout(path, group, shape, data.dtype, _chosen(slices, shape[1], path))
    if data.chunks and not data.is_virtual:
        written, expected = (
            data.id.get_num_chunks(),
            math.prod(-(-n // c) for n, c in zip(shape, data.chunks, strict=True)),
        )
        if written < WRITTEN * expected:
            raise ValueError(
                f"{group}/data of {path} has shape {shape}, but only {written} of its {expected} chunks have been written"
            )
    one = 4 * shape[0] * shape[2]
    if 3 * one > psutil.virtual_memory().available:
        raise ValueError(
            f"{group}/data of {path} has shape {shape}: a single slice takes {one / 1e9:.3g} GB, which this machine's memory does not hold thrice"
        )
    for what, folder in (("flat", "flat_fields"), ("dark", "dark_fields")):
        node = layout.node(file, what)
        if node is not None and node.size == 0:
            node = None
        layout.constants[what] = number(file, f"{PROCESS}/{folder}/{what}_field_value") if node is None else None
        layout.fields[what] = None
        if node is not None:
            found = node.shape if node.ndim == 3 else (1, *node.shape)
            if len(found) != 3 or tuple(found[1:]) != tuple(shape[1:]):
                raise ValueError(
                    f"{path}: the {what} fields have shape {node.shape}, the projections {shape}; slices and columns must agree"
                )
            layout.fields[what] = found[0]
    return layout


def frames(file, layout: Layout, what: str, which, rows, columns=slice(None)) -> np.ndarray:
    """Some frames (a slice), rows and columns of the projections, flat or dark fields, as stored, (frames, rows, columns)."""
    node = layout.node(file, what)
    if node.ndim == 2:
        return read(node, (rows, columns))[None][which]
    return read(node, (which, rows, columns))


def check_memory(layout: Layout) -> None:
    """Refuse to read everything at once where that does not fit into the memory."""
    count = layout.slices[1] - layout.slices[0]
    size = layout.shape[0] * count * layout.shape[2] * (4 + layout.dtype.itemsize)
    free = psutil.virtual_memory().available
    if size > free:
        raise ValueError(
            f"{layout.path}: {count} slices of {layout.shape[0]} projections of {layout.shape[2]} columns take "
            f"{size / 1e9:.3g} GB, more than the "
            f"{free / 1e9:.3g} GB that are free; read fewer at once with slices=, or use open_projections"
        )


def read_angles(file, layout: Layout):
    """The angles of a file and their unit, as (values, 'degrees' or 'radians'); (None, '') where it says nothing of them.

    Raises
    ------
    OSError, ValueError
    """
    from tomopy_ganrec.scan_angles import in_degrees, rotation_degrees, unit_of

    path, count, name = layout.path, layout.shape[0], f"{layout.group}/theta"
    node = dataset(file, name)
    if node is not None:
        if node.size != count or max(node.shape, default=1) != node.size:
            raise ValueError(
                f"{path} holds {count} projections but {node.size} angles ('{name}' has shape {node.shape}); one for each is needed"
            )
        values = read(node).astype(np.float64).reshape(-1)
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise ValueError(
                f"{path}: {bad.size} of its {count} angles are not finite, the first that of projection {bad[0]}"
            )
        return values, unit_of(node.attrs.get("units"), f"'{name}' of {path}")
    numbers = {}
    for what, names in _ROTATION.items():
        for candidate in names:
            full = f"{PROCESS}/rotation/{candidate}"
            value = number(file, full)
            if value is not None:
                unit = (
                    unit_of(dataset(file, full).attrs.get("units"), f"'{full}' of {path}")
                    if what != "count"
                    else "degrees"
                )
                numbers[what] = float(in_degrees(value, unit))
                break
    values = rotation_degrees(numbers, count, path)
    return (values, "degrees") if values is not None else (None, "")


def sampled_rows(layout: Layout, most: int = 3) -> tuple[list[int], list[slice]]:
    """Rows that are looked at to tell frames apart, evenly over the detector, and parts of them: everything, but of a very large scan."""
    angles, count, columns = layout.shape
    most = max(1, min(most, count, SAMPLED // (angles * columns)))
    rows = sorted({int((k + 0.5) * count / most) for k in range(most)})
    if angles * columns <= SAMPLED:
        return rows, [slice(0, columns)]
    width = max(2, min(columns, SAMPLED // angles) // 8)
    return rows, [slice(at, at + width) for at in sorted({int(k * (columns - width) / 7) for k in range(8)})]
