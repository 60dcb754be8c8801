"""Reading of HDF5 files, with errors of one line that name the file."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .optional import import_h5py

__all__ = ["find_dataset", "member_names", "open_hdf5", "read_number", "read_part", "refusing_damage"]


def open_hdf5(path: str | os.PathLike[str]) -> Any:
    """Open an HDF5 file for reading.

    Returns
    -------
    h5py.File

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
        file = h5py.File(path, "r") if h5py.is_hdf5(path) else None
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise OSError(f"{path} cannot be opened: {error}") from error
    if file is None:
        raise ValueError(f"{path} is not an HDF5 file; this function reads Data Exchange files (exchange/data …)")
    return file


@contextlib.contextmanager
def refusing_damage(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise h5py's errors about a damaged file as an OSError with the file's name; this package's own errors pass."""
    try:
        yield
    except (OSError, RuntimeError, LookupError) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or str(path) in str(error)):
            raise
        raise OSError(f"{path} is damaged: {_one_line(error)}") from error


def find_dataset(file: Any, name: str) -> Any:
    """The dataset `name` of an open file, None where nothing has that name; no values are read.

    Raises
    ------
    OSError
        For a link whose target is missing, and damaged files.
    ValueError
        For a group, or values that are no real numbers.
    """
    h5py, path = import_h5py(), file.filename
    link: Any = None
    parent = ""
    try:
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
                f"{path}: '{name}' is a link to '{link.path}' in the file {link.filename}, which is not there or "
                "cannot be opened"
            ) from error
        if isinstance(link, h5py.SoftLink):
            raise OSError(f"{path}: '{name}' is a link to '{link.path}', which is not there") from error
        raise OSError(f"{path}: '{name}' cannot be opened: {_one_line(error)}") from error
    if not isinstance(node, h5py.Dataset):
        members = f"; it holds {member_names(node)}" if isinstance(node, h5py.Group) and len(node) else ""
        raise ValueError(f"{path}: '{name}' is a group, not a dataset{members}")
    _refuse_unusable(node, name, path)
    return node


def _refuse_unusable(node: Any, name: str, path: str) -> None:
    """Raise for a dataset that is empty, holds no real numbers, or is virtual with a missing source."""
    try:
        kind, shape = node.dtype.kind, node.shape
        sources = node.virtual_sources() if node.is_virtual else []
    except Exception as error:
        raise OSError(f"{path}: '{name}' cannot be opened: {_one_line(error)}") from error
    if shape is None:
        raise ValueError(f"{path}: '{name}' is an empty dataset")
    if kind not in "biuf":
        raise ValueError(f"{path}: '{name}' holds values of type {node.dtype}; real numbers are needed")
    for source in sources:
        source_name = source.file_name
        if source_name == "." or "%" in source_name:  # the file itself, or a pattern
            continue
        if not any((folder / source_name).is_file() for folder in (Path(path).parent, Path())):
            raise OSError(f"{path}: '{name}' is a virtual dataset whose source {source_name} is not there")


def _one_line(error: BaseException) -> str:
    """The message of an error in one line."""
    return " ".join(str(error).strip("'\"").split()) or type(error).__name__


def member_names(group: Any) -> str:
    """The first names in a group, for messages; in a damaged file they may be bytes."""
    return ", ".join(name if isinstance(name, str) else name.decode("utf-8", "replace") for name in list(group)[:8])


def read_part(node: Any, key: Any = ()) -> np.ndarray:
    """Part of a dataset, or an OSError with the file's name."""
    try:
        return np.asarray(node[key])
    except MemoryError:
        raise
    except Exception as error:
        raise OSError(f"{node.file.filename}: '{node.name}' cannot be read: {_one_line(error)}") from error


def read_number(file: Any, name: str) -> float | None:
    """A dataset that holds one number (or the same one several times), None where it is missing.

    Raises
    ------
    OSError, ValueError
        Also for more than 1000 values, and those that are not finite.
    """
    node = find_dataset(file, name)
    if node is None or not node.size:
        return None
    if node.size > 1000:
        raise ValueError(f"{file.filename}: '{name}' holds {node.size} values where one is expected")
    values = read_part(node).astype(np.float64).reshape(-1)
    if not np.isfinite(values).all():
        raise ValueError(f"{file.filename}: '{name}' is {values[0]}")
    return float(values.mean())
