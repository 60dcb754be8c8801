"""Slices in an HDF5 file or a folder of TIFFs, with a journal of what is finished."""

import contextlib
import errno
import logging
import os
from io import BytesIO
from pathlib import Path

import numpy as np

from .atomic_files import put_in_place, remove_leftovers, replacing, temporary_name
from .journal import Journal, differences, plain
from .optional import import_h5py, import_tifffile
from .output_base import Output
from .output_lock import FileLock

__all__ = ["Hdf5Output", "TiffOutput"]

logger = logging.getLogger(__name__)
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how a file begins; + for those of more than 4 GB


@contextlib.contextmanager
def _explained(text: str):
    """OSErrors of the system as one that says what could not be done, and what to do; `text` has a place for the reason."""
    try:
        yield
    except OSError as error:
        told = text.replace("{reason}", error.strerror or str(error) or type(error).__name__)
        raise (OSError(told) if error.errno is None else OSError(error.errno, told)) from error


class _DiskOutput(Output):
    """What the outputs on disk have in common: the journal beside them."""

    def __init__(self, path, shape, first: int, journal: Path, lock: Path):
        super().__init__(shape, first)
        self.path, self._journal, self._lock_file = path, Journal(journal), lock

    def _new_locks(self):
        self._refuse_what_cannot_be()
        with self._placing():
            try:
                self._lock_file.parent.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        return [FileLock(self._lock_file, self.path)]

    def _placing(self):
        return _explained(f"{self.path} cannot be written: {{reason}}; choose a place with space where you may write")

    def _refuse_what_cannot_be(self) -> None:
        """Raise for what is at the path and is no output of this kind."""
        if self.path.is_symlink() and not self.path.exists():
            raise FileExistsError(
                f"{self.path} is a link to {os.readlink(self.path)}, where nothing is; make the folder or give the place that is meant itself"
            )

    def _existing(self, shape, first: int) -> Path | None:
        """A file that is there already of an output of that shape and first number."""
        raise NotImplementedError

    def _create(self) -> None:
        """Make what `write` writes to."""
        raise NotImplementedError

    def _intact(self) -> np.ndarray:
        """Which slices can be there, as far as files and their sizes say, (slices,) bool; makes `write` possible where any are."""
        raise NotImplementedError

    def _store(self, indices, images) -> None:
        raise NotImplementedError

    def _begin(self, identity, resume):
        self._refuse_what_cannot_be()
        journal, header = self._journal.path, Journal.header(identity, self.shape, self.first)
        in_the_way = self._existing(self.shape, self.first)
        with _explained(f"{journal} cannot be read ({{reason}}); it says how far {self.path} is"):
            earlier, finished = self._journal.read()
        there = earlier and self._existing(earlier["shape"], earlier["first"])
        if not there and in_the_way:
            raise FileExistsError(
                f"{in_the_way} exists and was not begun by such a reconstruction (there is no {journal.name} for it); choose another name for the "
                "output, or delete it"
            )
        if there and not resume:
            raise FileExistsError(
                f"{there} exists: {len(finished)} of {earlier['shape'][0]} slices are finished. With resume=True the same call goes on with the "
                "rest; or choose another name for the output, or delete it"
            )
        if there:
            changed = differences(earlier.pop("identity", {}), header["identity"])
            changed += differences(earlier, {name: value for name, value in header.items() if name != "identity"})
            if changed:
                raise ValueError(
                    f"{self.path} was begun for something else: {'; '.join(changed)}. Call as before to finish it, or choose another name for the "
                    f"output, or delete it together with {journal.name}"
                )
        self._forget()
        intact = self._intact() if there else None
        with self._placing():
            if intact is None or not intact.any():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._prepare()
                self._tidy()
                self._journal.start(header)  # first: a file without a journal would be taken for somebody else's
                self._create()
                return
            self._journal.cut()
            self._tidy()
        for k, record in finished.items():
            if 0 <= k < self.shape[0] and intact[k]:
                self.done[k], self.records[k] = True, record
        logger.info("%s: %d of %d slices are finished already", self.path, self.done.sum(), self.shape[0])

    def _prepare(self) -> None:
        """What may fail before anything is written."""

    def _tidy(self) -> None:
        """Remove what a kill left half written."""
        remove_leftovers(self._journal.path.parent, [self._journal.path.name])

    def _keeping(self, what: str):
        return _explained(
            f"{what}: {{reason}}. The slices that were finished are kept: when there is space (or whatever it was is mended), the same call goes on "
            "with the others"
        )

    def write(self, indices, images) -> None:
        indices, images = self._checked(indices, images)
        if not indices.size:
            return
        which = f"slice {indices[0]}" if indices.size == 1 else f"slices {indices.min()} to {indices.max()}"
        with self._keeping(f"{which} cannot be written to {self.path}"):
            self._store(indices, images)

    def _enter(self, indices, records):
        records = [plain(record) for record in records]
        with self._keeping(f"{self._journal.path} cannot be written"):
            self._journal.append(indices, records)
        return records

    def result(self) -> Path:
        return self.path


class Hdf5Output(_DiskOutput):
    """An HDF5 file with ``exchange/data``, as `tomopy_ganrec.io.write_slices` makes it.

    The HDF5 library makes the file once, in full length, and closes it; slices are then written into their places by plain writes, so that at no
    moment the file is anything else than a whole HDF5 file. Slices not written yet are zero. The space is taken as slices are written.
    """

    def __init__(self, path, shape, first: int = 0):
        path = Path(os.path.abspath(path))
        super().__init__(
            path, shape, first, path.with_name(path.name + ".progress.jsonl"), path.with_name(f".{path.name}.lock")
        )
        self._offset = None

    def _existing(self, shape, first):
        return self.path if os.path.lexists(self.path) else None

    def _prepare(self):
        import_h5py()

    def _tidy(self):
        super()._tidy()
        remove_leftovers(self.path.parent, [self.path.name])

    def _create(self):
        h5py = import_h5py()
        places = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        places.set_layout(h5py.h5d.CONTIGUOUS)
        places.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        places.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        temporary = temporary_name(self.path)
        with h5py.File(temporary, "x") as file:
            data = file.create_dataset("exchange/data", self.shape, "<f4", dcpl=places)
            data.attrs["units"], data.attrs["first_slice"] = "attenuation per pixel", self.first
            self._offset = data.id.get_offset()
        put_in_place(temporary, self.path)

    def _intact(self):
        needed = 4 * int(np.prod(self.shape, dtype=np.int64))
        size = self.path.stat().st_size
        whole, reason = False, ""
        if size >= needed:
            try:
                with import_h5py().File(self.path, "r") as file:
                    data = file["exchange/data"]
                    whole = (
                        data.shape == self.shape and data.dtype == np.dtype("<f4") and data.id.get_offset() is not None
                    )
                    self._offset = data.id.get_offset()
            except (OSError, KeyError) as error:
                reason = str(error)
        if whole and size >= self._offset + needed:
            return np.ones(self.shape[0], bool)
        if size >= needed and "truncated" not in reason:
            raise FileExistsError(
                f"{self.path} cannot be taken up: {reason or f'its exchange/data is not {self.shape} float32, contiguous'}; choose another "
                f"name for the output, or delete it together with {self._journal.path.name}"
            )
        logger.warning("%s has lost its end (%d bytes of more than %d): it is begun anew", self.path, size, needed)
        return np.zeros(self.shape[0], bool)

    def _place(self, index: int) -> int:
        if self._offset is None:
            raise RuntimeError(
                f"{self.path} has not been begun; call begin() first, then pickle copies for other processes"
            )
        return self._offset + 4 * self.shape[1] * self.shape[2] * int(index)

    def _store(self, indices, images):
        runs = np.split(np.arange(indices.size), np.flatnonzero(np.diff(indices) != 1) + 1)
        with open(self.path, "r+b") as file:
            for run in runs:
                file.seek(self._place(indices[run[0]]))
                file.write(images[run[0] : run[-1] + 1])
            file.flush()
            os.fsync(file.fileno())

    def read(self, index: int) -> np.ndarray:
        image, place = np.empty(self.shape[1:], "<f4"), self._place(index)
        with _explained(f"slice {index} of {self.path} cannot be read: {{reason}}"), open(self.path, "rb") as file:
            file.seek(place)
            if file.readinto(image) != image.nbytes:
                raise OSError("the file is too short")
        return image.astype(np.float32, copy=False)


class TiffOutput(_DiskOutput):
    """A folder of 32-bit TIFFs ``recon_00000.tiff`` …, as `tomopy_ganrec.io.write_slices` names them; each appears when it is whole."""

    def __init__(self, path, shape, first: int = 0):
        path = Path(os.path.abspath(path))
        super().__init__(path, shape, first, path / "progress.jsonl", path / ".progress.lock")

    def _name(self, index: int, first: int | None = None) -> Path:
        return self.path / f"recon_{(self.first if first is None else first) + int(index):05d}.tiff"

    def _refuse_what_cannot_be(self):
        super()._refuse_what_cannot_be()
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(
                f"{self.path} is a file; give a folder for TIFFs, or a name ending in .h5 for one HDF5 file"
            )

    def _existing(self, shape, first):
        return next((name for name in (self._name(k, first) for k in range(shape[0])) if os.path.lexists(name)), None)

    def _prepare(self):
        import_tifffile()
        self.path.mkdir(exist_ok=True)

    def _create(self):
        pass

    def _intact(self):
        needed = 4 * self.shape[1] * self.shape[2]
        names = [self._name(k) for k in range(self.shape[0])]
        return np.array(
            [name.is_file() and name.stat().st_size >= needed and self._begins_like_a_tiff(name) for name in names]
        )

    @staticmethod
    def _begins_like_a_tiff(name: Path) -> bool:
        with open(name, "rb") as file:
            if file.read(4) in TIFF:
                return True
        logger.warning("%s is not a TIFF file any more: the slice is reconstructed again", name)
        return False

    def _tidy(self):
        super()._tidy()
        remove_leftovers(self.path, [self._name(k).name for k in range(self.shape[0])])

    def _store(self, indices, images):
        for index, image in zip(indices, images, strict=True):
            picture = (
                BytesIO()
            )  # tifffile writes to a file by numpy.tofile, whose errors do not say that a disk is full
            import_tifffile().imwrite(picture, image)
            with replacing(self._name(index)) as file:
                file.write(picture.getbuffer())

    def read(self, index: int) -> np.ndarray:
        name, image = self._name(index), None
        with _explained(f"slice {index} of {self.path} cannot be read: {{reason}}"):
            content = name.read_bytes()
        try:
            image = import_tifffile().imread(BytesIO(content))
        except Exception as error:  # whatever the library meets in a damaged file
            reason = f"{type(error).__name__}: {error}"
        else:
            reason = f"it holds {image.shape} {image.dtype}, not {self.shape[1:]} float32"
        if image is None or image.shape != self.shape[1:] or image.dtype != np.float32:
            raise OSError(
                f"slice {index} of {self.path} cannot be read: {name} is damaged ({reason}); delete it, and the same call makes it anew"
            )
        return image
