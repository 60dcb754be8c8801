"""Folder of benchmark results, so that a long benchmark can be interrupted, repaired and continued.

A row is one reconstruction: one slice of one case by one method. Its images are written first and the row last, each
under another name that is then renamed: whatever has a row is complete. Nothing else in the folder is needed to
continue, and the report is made from these files alone.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Literal

import numpy as np

from tomopy_ganrec.io.atomic_files import replacing

from .rows import COLUMNS, Row, checked

__all__ = ["Results"]

logger = logging.getLogger(__name__)

ABANDONED = 3600.0  # seconds after which an unfinished file is taken for the rest of a killed process

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}(\.part|\.\d+\.draft)")  # .draft: of 0.1.0


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file that is complete or not there, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        write(file)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left half written; a file that may still be being written stays."""
    for path in folder.rglob(".*"):
        if _UNFINISHED.fullmatch(path.name):
            try:
                if time.time() - path.lstat().st_mtime > ABANDONED:
                    path.unlink()
            except FileNotFoundError:  # its process has just renamed or removed it
                continue


class Results:
    """A folder of finished reconstructions.

    Parameters
    ----------
    folder : str or Path
        Made where it is missing, unless `create` is false.
    create : bool

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError
        Where nothing could be kept.
    ValueError
        For a folder with other contents.
    """

    def __init__(self, folder: str | Path, create: bool = True):
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"{self.folder} is a file; give a folder for the results")
        self._rows_folder = self.folder / "cells"
        if not self._rows_folder.is_dir():
            if not create:
                raise FileNotFoundError(f"{self.folder} holds no results: it has no folder 'cells'")
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise ValueError(
                    f"{self.folder} holds other things and no results; give a new or empty folder, "
                    "or that of an earlier run"
                )
        if create:
            self._prepare()

    def _prepare(self) -> None:
        try:
            self._rows_folder.mkdir(parents=True, exist_ok=True)
            probe = self._rows_folder / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise PermissionError(f"results cannot be written into {self.folder}: {error.strerror or error}") from error
        _remove_abandoned(self.folder)

    def _path(self, row: Row) -> Path:
        seed = "" if row["seed"] is None else f"-{row['seed']}"
        return self._rows_folder / row["case"] / _slice_name(row) / f"{row['method']}{seed}.json"

    def finished(self, row: Row, with_image: bool = False) -> Row | None:
        """The stored row of a reconstruction that is done and ok with the same parameters, else None.

        Parameters
        ----------
        row : dict
            The reconstruction, with the columns up to ``seed``.
        with_image : bool
            The row must name an image. An image that it names must be there in any case.
        """
        stored = self._read(self._path(row))
        if stored is None or stored["status"] != "ok" or stored["parameters"] != row["parameters"]:
            return None
        names = [stored[column] for column in ("image", "reference") if stored[column]]
        return stored if all(map(self._readable, names)) and (stored["image"] or not with_image) else None

    def _read(self, path: Path) -> Row | None:
        """A row, or None where there is none, or a broken one."""
        try:
            return checked(json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except RecursionError:
            logger.warning("%s is damaged and does not count: it is nested too deeply", path)
        except (ValueError, OSError) as error:
            logger.warning("%s is damaged and does not count: %s", path, error)
        return None

    def _readable(self, name: str) -> bool:
        try:
            self.image(name, mmap_mode="r")
        except (ValueError, TypeError, EOFError, OSError, OverflowError, MemoryError) as error:
            logger.warning("the image %s cannot be read: %s", self.folder / name, error)
            return False
        return True

    def keep_image(self, row: Row, name: str, image: np.ndarray) -> str:
        """Store an image of a reconstruction, (rows, cols), as float32; returns its name for the row."""
        path = Path("images") / row["case"] / _slice_name(row) / f"{name}.npy"
        _write(self.folder / path, lambda file: np.save(file, np.asarray(image, np.float32), allow_pickle=False))
        return path.as_posix()

    def save(self, row: Row) -> None:
        """Store a row; the reconstruction is then finished."""
        text = json.dumps({name: row[name] for name in COLUMNS}, indent=1)
        _write(self._path(row), lambda file: file.write(text.encode()))

    def write(self, name: str, text: str) -> Path:
        """Write a text file into the folder; half a surrogate pair, which no file holds, becomes a question mark."""
        _write(self.folder / name, lambda file: file.write(text.encode(errors="replace")))
        return self.folder / name

    def _stored(self) -> list[Row]:
        paths = sorted(self._rows_folder.rglob("[!.]*.json"))
        return [row for path in paths if (row := self._read(path)) is not None]

    def rows(self) -> list[Row]:
        """All rows, finished or failed, sorted by case, slice, method and seed; without names of missing images."""
        rows = self._stored()
        for row in rows:
            for column in ("image", "reference"):
                if row[column] and not self._readable(row[column]):
                    row[column] = ""
            if row["image"] and row["reference"] and self._shape(row["image"]) != self._shape(row["reference"]):
                logger.warning(
                    "the image %s is of another size than %s, with which it is compared", row["image"], row["reference"]
                )
                row["reference"] = ""
        return rows

    def check_setup(self, rows: Iterable[Row]) -> None:
        """Refuse rows whose slices are here already, but from other data: one table would mix them.

        Parameters
        ----------
        rows : iterable of dict
            With the columns up to ``setup``.

        Raises
        ------
        ValueError
            For the first such row.
        """
        setups = {(row["case"], row["slice"], row["object_seed"]): row["setup"] for row in self._stored()}
        for row in rows:
            stored = setups.get((row["case"], row["slice"], row["object_seed"]), row["setup"])
            if stored != row["setup"]:
                raise ValueError(
                    f"{self.folder} holds {row['case']}, slice {row['slice']}, from other data ({stored}; "
                    f"now {row['setup']}); give another folder"
                )

    def image(self, name: str, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
        """An image of the folder, (rows, cols) float32.

        Raises
        ------
        ValueError
            For a file that is no image, or lies outside of the folder.
        OSError
            For one that cannot be read.
        """
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(f"{path} is not in the folder of the results")
        image = np.load(path, mmap_mode, allow_pickle=False)
        if not isinstance(image, np.ndarray) or image.ndim != 2 or image.dtype.kind not in "fiu" or not image.size:
            raise ValueError(f"{path} does not hold a slice of (rows, columns)")
        return image

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.image(name, "r").shape


def _slice_name(row: Row) -> str:
    return f"slice{row['slice']:03d}" + ("" if row["object_seed"] is None else f"-object{row['object_seed']}")
