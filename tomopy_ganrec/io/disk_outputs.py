"""Crash-safe, resumable outputs on disk with a journal of the finished slices: what HDF5 and TIFF have in common."""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from .atomic_files import remove_leftovers
from .journal import Journal, differences, plain
from .output_base import Output
from .output_lock import FileLock
from .protocols import Indices, Record

__all__ = ["DiskOutput", "explaining_os_errors"]

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def explaining_os_errors(text: str) -> Iterator[None]:
    """Raise the OSErrors of a ``with`` block with a message that says what failed and what to do.

    Parameters
    ----------
    text : str
        The message; ``{reason}`` in it stands for the system's own words.
    """
    try:
        yield
    except OSError as error:
        message = text.replace("{reason}", error.strerror or str(error) or type(error).__name__)
        raise (OSError(message) if error.errno is None else OSError(error.errno, message)) from error


class DiskOutput(Output):
    """An output on disk with a journal beside it; subclasses store the slices.

    Parameters
    ----------
    path : Path
        The output.
    shape : (int, int, int)
        Slices, rows, columns.
    first : int
        Number of the first slice.
    journal, lock : Path
        Files beside the output.
    """

    path: Path

    def __init__(self, path: Path, shape: Sequence[int], first: int, journal: Path, lock: Path):
        super().__init__(shape, first)
        self.path = path
        self._journal = Journal(journal)
        self._lock_file = lock

    # What a subclass implements

    def _existing(self, shape: Sequence[int], first: int) -> Path | None:
        """A file that exists already of an output of that shape and first number."""
        raise NotImplementedError

    def _create(self) -> None:
        """Make what `write` writes to."""
        raise NotImplementedError

    def _intact(self) -> np.ndarray:
        """Which slices can be there, by files and their sizes, (slices,) bool; prepares `write` where any are."""
        raise NotImplementedError

    def _store(self, indices: np.ndarray, images: np.ndarray) -> None:
        """Write checked slices; they are on the disk when this returns."""
        raise NotImplementedError

    def _refuse_wrong_path(self) -> None:
        """Raise if something at the path is no output of this kind."""
        if self.path.is_symlink() and not self.path.exists():
            raise FileExistsError(
                f"{self.path} is a link to {os.readlink(self.path)}, where nothing is; make the folder or give the "
                "place that is meant itself"
            )

    def _prepare(self) -> None:
        """Do what may fail before anything is written."""

    def _tidy(self) -> None:
        """Remove the temporary files that a killed process left."""
        remove_leftovers(self._journal.path.parent, [self._journal.path.name])

    # Begin, write, mark

    def _new_locks(self) -> list[FileLock]:
        self._refuse_wrong_path()
        with self._explaining_begin():
            try:
                self._lock_file.parent.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        return [FileLock(self._lock_file, self.path)]

    def _explaining_begin(self) -> AbstractContextManager[None]:
        return explaining_os_errors(
            f"{self.path} cannot be written: {{reason}}; choose a place with space where you may write"
        )

    def _explaining_write(self, what: str) -> AbstractContextManager[None]:
        return explaining_os_errors(
            f"{what}: {{reason}}. The slices that were finished are kept: when there is space (or whatever it was is "
            "mended), the same call goes on with the others"
        )

    def _begin(self, identity: dict[str, Any], resume: bool) -> None:
        self._refuse_wrong_path()
        journal = self._journal.path
        header = Journal.header(identity, self.shape, self.first)
        in_the_way = self._existing(self.shape, self.first)
        with explaining_os_errors(f"{journal} cannot be read ({{reason}}); it says how far {self.path} is"):
            earlier, finished = self._journal.read()
        earlier_file = self._existing(earlier["shape"], earlier["first"]) if earlier else None
        if earlier is None or earlier_file is None:
            if in_the_way:
                raise FileExistsError(
                    f"{in_the_way} exists and was not begun by such a reconstruction (there is no {journal.name} for "
                    "it); choose another name for the output, or delete it"
                )
            self._forget()
            self._start(header)
            return
        if not resume:
            raise FileExistsError(
                f"{earlier_file} exists: {len(finished)} of {earlier['shape'][0]} slices are finished. With "
                "resume=True the same call goes on with the rest; or choose another name for the output, or delete it"
            )
        self._refuse_other_identity(earlier, header)
        self._forget()
        intact = self._intact()
        if not intact.any():
            self._start(header)
            return
        with self._explaining_begin():
            self._journal.cut()
            self._tidy()
        for k, record in finished.items():
            if 0 <= k < self.shape[0] and intact[k]:
                self.done[k], self.records[k] = True, record
        logger.info("%s: %d of %d slices are finished already", self.path, self.done.sum(), self.shape[0])

    def _refuse_other_identity(self, earlier: dict[str, Any], header: dict[str, Any]) -> None:
        """Raise if an earlier output, by the first line of its journal, was begun for something else."""
        changed = differences(earlier.get("identity", {}), header["identity"])
        changed += differences(
            {name: value for name, value in earlier.items() if name != "identity"},
            {name: value for name, value in header.items() if name != "identity"},
        )
        if changed:
            raise ValueError(
                f"{self.path} was begun for something else: {'; '.join(changed)}. Call as before to finish it, or "
                f"choose another name for the output, or delete it together with {self._journal.path.name}"
            )

    def _start(self, header: dict[str, Any]) -> None:
        """Begin from scratch, in place of what may be there."""
        with self._explaining_begin():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._prepare()
            self._tidy()
            self._journal.start(header)  # first: a file without a journal would be taken for somebody else's
            self._create()

    def write(self, indices: Indices, images: np.ndarray) -> None:
        """Store slices; they are on the disk when this returns. See `Output.write`."""
        indices, images = self._checked(indices, images)
        if not indices.size:
            return
        which = f"slice {indices[0]}" if indices.size == 1 else f"slices {indices.min()} to {indices.max()}"
        with self._explaining_write(f"{which} cannot be written to {self.path}"):
            self._store(indices, images)

    def _enter(self, indices: list[int], records: list[Record]) -> list[Record]:
        records = [plain(record) for record in records]
        with self._explaining_write(f"{self._journal.path} cannot be written"):
            self._journal.append(indices, records)
        return records

    def result(self) -> Path:
        """The path of the output."""
        return self.path
