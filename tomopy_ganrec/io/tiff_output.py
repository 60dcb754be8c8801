"""Slices in a folder of TIFFs, one file each."""

import logging
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from .atomic_files import remove_leftovers, replacing
from .disk_outputs import DiskOutput, explaining_os_errors
from .optional import import_tifffile

__all__ = ["TiffOutput", "tiff_name"]

logger = logging.getLogger(__name__)

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # + for files of more than 4 GB


def tiff_name(number: int) -> str:
    """The name of the file of the slice with this number."""
    return f"recon_{number:05d}.tiff"


class TiffOutput(DiskOutput):
    """A folder of 32-bit TIFFs ``recon_00000.tiff`` …, as `tomopy_ganrec.io.write_slices` names them.

    Each file appears when it is complete.
    """

    def __init__(self, path: str | os.PathLike[str], shape: Sequence[int], first: int = 0):
        path = Path(os.path.abspath(path))
        super().__init__(path, shape, first, path / "progress.jsonl", path / ".progress.lock")

    def _file_of(self, index: int) -> Path:
        return self.path / tiff_name(self.first + int(index))

    def _refuse_wrong_path(self) -> None:
        super()._refuse_wrong_path()
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(
                f"{self.path} is a file; give a folder for TIFFs, or a name ending in .h5 for one HDF5 file"
            )

    def _existing(self, shape: Sequence[int], first: int) -> Path | None:
        files = (self.path / tiff_name(first + k) for k in range(shape[0]))
        return next((file for file in files if os.path.lexists(file)), None)

    def _prepare(self) -> None:
        import_tifffile()
        self.path.mkdir(exist_ok=True)

    def _create(self) -> None:
        """Nothing: each slice makes its own file."""

    def _intact(self) -> np.ndarray:
        needed = 4 * self.shape[1] * self.shape[2]
        files = [self._file_of(k) for k in range(self.shape[0])]
        return np.array(
            [file.is_file() and file.stat().st_size >= needed and self._begins_like_a_tiff(file) for file in files]
        )

    @staticmethod
    def _begins_like_a_tiff(path: Path) -> bool:
        with open(path, "rb") as file:
            if file.read(4) in TIFF_SIGNATURES:
                return True
        logger.warning("%s is not a TIFF file any more: the slice is reconstructed again", path)
        return False

    def _tidy(self) -> None:
        super()._tidy()
        remove_leftovers(self.path, [self._file_of(k).name for k in range(self.shape[0])])

    def _store(self, indices: np.ndarray, images: np.ndarray) -> None:
        for index, image in zip(indices, images, strict=True):
            # In memory: tifffile writes to a file by numpy.tofile, whose errors do not say that a disk is full.
            encoded = BytesIO()
            import_tifffile().imwrite(encoded, image)
            with replacing(self._file_of(index)) as file:
                file.write(encoded.getbuffer())

    def read(self, index: int) -> np.ndarray:
        """One slice, (rows, columns) float32, that was written before.

        Raises
        ------
        OSError
            For a file that is missing or damaged.
        """
        path, image = self._file_of(index), None
        with explaining_os_errors(f"slice {index} of {self.path} cannot be read: {{reason}}"):
            content = path.read_bytes()
        try:
            image = np.asarray(import_tifffile().imread(BytesIO(content)))
        except Exception as error:  # whatever the library meets in a damaged file
            reason = f"{type(error).__name__}: {error}"
        else:
            reason = f"it holds {image.shape} {image.dtype}, not {self.shape[1:]} float32"
        if image is None or image.shape != self.shape[1:] or image.dtype != np.float32:
            raise OSError(
                f"slice {index} of {self.path} cannot be read: {path} is damaged ({reason}); delete it, and the same "
                "call makes it anew"
            )
        return image
