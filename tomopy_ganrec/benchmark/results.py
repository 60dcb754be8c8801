"""Where finished cells are kept, so that a long run can be interrupted, repaired and continued.

A cell is one method on one slice of one case. Its images are written first and its row last, each under another name that is then renamed:
whatever has a row is complete. Nothing else in the folder is needed to continue, and the report is made from these files alone.
"""

import json
import logging
import os
from pathlib import Path

import numpy as np

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


def _write(path: Path, write) -> None:
    """Write a file under another name, then rename it: it is complete or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with open(draft, "wb") as file:
            write(file)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


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
                raise ValueError(f"{self.folder} holds other things and no results; give a new or empty folder, or that of an earlier run")
        if create:
            try:
                cells.mkdir(parents=True, exist_ok=True)
                probe = cells / f".probe.{os.getpid()}"
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise PermissionError(f"results cannot be written into {self.folder}: {error.strerror or error}") from error
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
            row = json.loads(path.read_text())
            if not isinstance(row, dict) or set(row) != set(COLUMNS):
                raise ValueError("it does not have the columns of a result")
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            logger.warning("%s is damaged and does not count: %s", path, error)
            return None
        return row

    def _readable(self, name: str) -> bool:
        try:
            np.load(self.folder / name, mmap_mode="r")
        except (ValueError, EOFError, OSError) as error:
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
        """Write a text file into the folder."""
        _write(self.folder / name, lambda file: file.write(text.encode()))
        return self.folder / name

    def _stored(self) -> list[dict]:
        return [row for path in sorted((self.folder / "cells").rglob("[!.]*.json")) if (row := self._read(path)) is not None]

    def rows(self) -> list[dict]:
        """All rows, finished or failed, sorted by case, slice, method and seed; without the names of images that are gone."""
        found = self._stored()
        for row in found:
            for column in ("image", "reference"):
                if row[column] and not self._readable(row[column]):
                    row[column] = ""
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

    def image(self, name: str) -> np.ndarray:
        """An image of the folder, (rows, cols) float32."""
        return np.load(self.folder / name, allow_pickle=False)


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
