"""Where finished cells are kept, so that a long run can be interrupted, repaired and continued.

A cell is one method on one slice of one case. Its images are written first and its row last, each under another name that is then renamed:
whatever has a row is complete. Nothing else in the folder is needed to continue, and the report is made from these files alone.
"""

import json
import logging
import math
import os
import secrets
from pathlib import Path

import numpy as np

from tomopy_ganrec.option_values import shown

__all__ = ["COLUMNS", "Results"]

logger = logging.getLogger(__name__)

COLUMNS = {
    "case": "object, size, protocol, wedge and noise in one name",
    "object": "name of the phantom, or of the scan's file",
    "protocol": "pixel, subpixel or measured",
    "size": "rows and columns of a slice",
    "wedge": "'120': one projection a degree from 0 to 120; '51/70': 51 projections over 70 degrees; of a scan: '0:120' degrees, or 'full'",
    "degrees": "range of the wedge",
    "projections": "number of projections",
    "photons": "incident photons a detector column; none for noise-free, and for scans",
    "slice": "number of the slice",
    "object_seed": "seed of the object and of its noise; none for scans",
    "setup": "what else decides on the data: of a phantom its sampling, of a scan its axis and a digest of its projections",
    "method": "name of the method",
    "label": "the same for reading",
    "parameters": "all that were set",
    "oracle": "whether a parameter was chosen by the truth",
    "seed": "seed of the fit; none for methods without",
    "status": "ok or failed",
    "error": "why it failed",
    "mssim": "mean structural similarity, Gaussian window of 1.5 pixels",
    "mssim_7x7": "the same with a window of 7 x 7 pixels",
    "rmse": "root mean square error, in units of the object",
    "residual": "relative data residual of the projections used",
    "residual_heldout": "relative data residual of projections that were not used",
    "distance": "relative distance to the same method's slice from the full range",
    "seconds": "of the reconstruction; the sparse matrix of this package's projector is made before",
    "device": "where it ran",
    "versions": "of the packages that took part",
    "image": "the reconstruction, a file in the folder; empty where it was not kept",
    "reference": "what it is compared with: the truth, or the same method's slice from the full range; empty where it was not kept",
}


LARGEST = 1e100  # of a measure: means and deviations of larger ones do not fit into a float


def _text(value) -> bool:
    return isinstance(value, str) and value.encode("utf-8", "ignore").decode() == value  # no half of a surrogate pair


def _count(value) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _number(value) -> bool:
    """A measure; also one that is no finite number."""
    return type(value) is float and not math.isfinite(value) or type(value) in (int, float) and abs(value) <= LARGEST


def _positive(value) -> bool:
    return _number(value) and 0 < value < math.inf


def _finite(value) -> bool:
    return _number(value) and math.isfinite(value)


def _switch(value) -> bool:
    return isinstance(value, bool)


def _status(value) -> bool:
    return value in ("ok", "failed")


# What each column must hold, and in words; a column that may also be empty is in _MAY_BE_NONE.
_KINDS = dict.fromkeys(COLUMNS, (_text, "text"))
_KINDS |= dict.fromkeys(("size", "projections", "slice", "object_seed", "seed"), (_count, "a whole number"))
_KINDS |= dict.fromkeys(
    ("mssim", "mssim_7x7", "rmse", "residual", "residual_heldout", "distance", "seconds"), (_number, "a number")
)
_KINDS |= {"degrees": (_finite, "a finite number"), "photons": (_positive, "a number above 0")}
_KINDS |= {"oracle": (_switch, "true or false"), "status": (_status, "ok or failed")}
_MAY_BE_NONE = frozenset(COLUMNS) - {
    "case",
    "object",
    "protocol",
    "size",
    "wedge",
    "degrees",
    "slice",
    "method",
    "status",
}


def _checked(row) -> dict:
    """A row as it was read, if all its values are what they should be."""
    if not isinstance(row, dict) or set(row) != set(COLUMNS):
        raise ValueError("it does not have the columns of a result")
    for name, value in row.items():
        fits, kind = _KINDS[name]
        if not (value is None and name in _MAY_BE_NONE or fits(value)):
            raise ValueError(f"{name} is {shown(value)}, not {kind}")
    return row


def _write(path: Path, write) -> None:
    """Write a file under another name, then rename it: it is complete or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.{os.getpid()}.draft")
    with open(draft, "xb") as file:  # a new file: a link of that name would not be followed
        try:
            write(file)
            file.flush()
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


class Results:
    """A folder of finished cells.

    Parameters
    ----------
    folder : str or Path
        Made where it is missing, unless `create` is false.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError
        Where nothing could be kept.
    ValueError
        For a folder with other contents.
    """

    def __init__(self, folder, create=True):
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"{self.folder} is a file; give a folder for the results")
        cells = self.folder / "cells"
        if not cells.is_dir():
            if not create:
                raise FileNotFoundError(f"{self.folder} holds no results: it has no folder 'cells'")
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise ValueError(
                    f"{self.folder} holds other things and no results; give a new or empty folder, or that of an earlier run"
                )
        if create:
            try:
                cells.mkdir(parents=True, exist_ok=True)
                probe = cells / f".probe.{os.getpid()}"
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise PermissionError(
                    f"results cannot be written into {self.folder}: {error.strerror or error}"
                ) from error
            for draft in self.folder.rglob(".*.draft"):  # what a killed run left half written
                process = draft.name.split(".")[-2]
                if process.isdigit() and not _alive(int(process)):
                    draft.unlink(missing_ok=True)

    def _path(self, row: dict) -> Path:
        run = "" if row["seed"] is None else f"-{row['seed']}"
        return self.folder / "cells" / row["case"] / _slice_name(row) / f"{row['method']}{run}.json"

    def finished(self, row: dict, with_image=False) -> dict | None:
        """The row of a cell that is done and ok with the same parameters, else None; `row` says which cell, with the columns up to `seed`.

        An image that it names must be there; with `with_image` it must name one.
        """
        found = self._read(self._path(row))
        if found is None or found["status"] != "ok" or found["parameters"] != row["parameters"]:
            return None
        names = [found[column] for column in ("image", "reference") if found[column]]
        return found if all(map(self._readable, names)) and (found["image"] or not with_image) else None

    def _read(self, path: Path) -> dict | None:
        """A row, or None where there is none, or a broken one."""
        try:
            return _checked(json.loads(path.read_text()))
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

    def keep_image(self, row: dict, name: str, image) -> str:
        """Keep an image of a cell; returns what goes into the row."""
        path = Path("images") / row["case"] / _slice_name(row) / f"{name}.npy"
        _write(self.folder / path, lambda file: np.save(file, np.asarray(image, np.float32), allow_pickle=False))
        return path.as_posix()

    def save(self, row: dict) -> None:
        """Keep a row; the cell is then finished."""
        text = json.dumps({name: row[name] for name in COLUMNS}, indent=1)
        _write(self._path(row), lambda file: file.write(text.encode()))

    def write(self, name: str, text: str) -> Path:
        """Write a text file into the folder; half a surrogate pair, which no file holds, becomes a question mark."""
        _write(self.folder / name, lambda file: file.write(text.encode(errors="replace")))
        return self.folder / name

    def _stored(self) -> list[dict]:
        return [
            row for path in sorted((self.folder / "cells").rglob("[!.]*.json")) if (row := self._read(path)) is not None
        ]

    def rows(self) -> list[dict]:
        """All rows, finished or failed, sorted by case, slice, method and seed; without the names of images that are gone."""
        found = self._stored()
        for row in found:
            for column in ("image", "reference"):
                if row[column] and not self._readable(row[column]):
                    row[column] = ""
            if (
                row["image"]
                and row["reference"]
                and self.image(row["image"], "r").shape != self.image(row["reference"], "r").shape
            ):
                logger.warning(
                    "the image %s is of another size than %s, with which it is compared", row["image"], row["reference"]
                )
                row["reference"] = ""
        return found

    def check_setup(self, wanted) -> None:
        """Refuse rows (with the columns up to `setup`) whose slices are here already, but from other data: one table would mix them."""
        known = {(row["case"], row["slice"], row["object_seed"]): row["setup"] for row in self._stored()}
        for row in wanted:
            there = known.get((row["case"], row["slice"], row["object_seed"]), row["setup"])
            if there != row["setup"]:
                raise ValueError(
                    f"{self.folder} holds {row['case']}, slice {row['slice']}, from other data ({there}; now {row['setup']}); give another folder"
                )

    def image(self, name: str, mmap_mode: str | None = None) -> np.ndarray:
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
        found = np.load(path, mmap_mode, allow_pickle=False)
        if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu" or not found.size:
            raise ValueError(f"{path} does not hold a slice of (rows, columns)")
        return found


def _slice_name(row: dict) -> str:
    return f"slice{row['slice']:03d}" + ("" if row["object_seed"] is None else f"-object{row['object_seed']}")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
