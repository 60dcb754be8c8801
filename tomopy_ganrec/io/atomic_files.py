"""Names of outputs, and files that are written under a temporary name and renamed once they are complete.

The temporary name is random, and the file is created only where nothing exists: a link that somebody put there
beforehand is neither found nor followed.
"""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["is_hdf5", "put_in_place", "remove_leftovers", "replacing", "temporary_name"]

HDF5_SUFFIXES = (".h5", ".hdf5")
# Suffixes of files of data, of images and of archives, which a folder would be given by mistake only.
_OTHER_SUFFIXES = (
    "nxs nx nx5 nexus hdf hdf4 h4 he4 he5 hd5 h5ebsd dream3d nc nc3 nc4 cdf netcdf zarr n5 bp asdf adios exdir",
    "tif tiff btf tf2 tf8 png jpg jpeg jpe jp2 j2k jpx jxl bmp gif webp avif heic heif pgm ppm pbm pnm svg eps ps",
    "pdf psd exr hdr ico npy npz mat raw vol bin dat img data f32 float32 vgi vff vgl rek xrm txrm txm edf cbf",
    "mccd spe sdt sis his hst mrc mrcs rec ali st map ccp4 em spi dm3 dm4 ser emd mha mhd nrrd nhdr nii dcm dicom",
    "ima fits fit fts am amira ics ids lif czi lsm nd2 oib oif stk vsi ims klb vti vtk vtr vts vtu vtp xdmf xmf",
    "pvd stl ply obj csv tsv txt json jsonl xml yaml yml toml ini pkl pickle pt pth onnx safetensors parquet",
    "feather arrow sqlite db xls xlsx log md html zip tar tgz gz bz2 xz zst lz4 7z rar mp4 avi mov mkv py ipynb",
)
OTHER_SUFFIXES = frozenset(f".{suffix}" for line in _OTHER_SUFFIXES for suffix in line.split())

_TEMPORARY_NAME = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part")
_CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # of file systems that do not sync folders


def is_hdf5(path: str | os.PathLike[str]) -> bool:
    """Whether an output of this name is one HDF5 file; otherwise it is a folder of TIFFs.

    Raises
    ------
    ValueError
        For the suffix of a file of another format, where there is no folder of this name: no such file is written, and
        a folder is hardly meant.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in OTHER_SUFFIXES and not path.is_dir():
        raise ValueError(
            f"{path}: files of the kind {path.suffix} are not written; give a name ending in .h5 or .hdf5 for one HDF5 "
            "file, or the name of a folder, for TIFFs (a folder that exists may have any name)"
        )
    return suffix in HDF5_SUFFIXES


def temporary_name(path: Path) -> Path:
    """A random name beside `path`, for a file that replaces it once complete; open that file in mode ``"x"``."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a complete file, written beside `path`, to `path`.

    Readers see the whole file or none of it, even after a power failure: the content is on the disk before the name
    is, and both are when this returns.
    """
    descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _rename(temporary, path)


def _rename(temporary: Path, path: Path) -> None:
    """Rename a file whose content is on the disk, and write the names in its folder to the disk."""
    os.replace(temporary, path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that replaces `path` at the end of the ``with`` block, as by `put_in_place`.

    An exception in the block leaves `path` as it was and removes the temporary file.
    """
    temporary = temporary_name(path)
    with open(temporary, "xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove the temporary files that a killed process left of files of these names."""
    names = frozenset(names)
    with os.scandir(folder) as entries:
        leftovers = [
            Path(entry.path)
            for entry in entries
            if (match := _TEMPORARY_NAME.fullmatch(entry.name))
            and match["name"] in names
            and entry.is_file(follow_symlinks=False)
        ]
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
