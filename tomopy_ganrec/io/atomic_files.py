"""Names of outputs, and files that are written under another name first and then put in their places.

Such a name cannot be foreseen, and the file is made where nothing is: a link that somebody put there beforehand is neither found nor followed.
"""

import contextlib
import os
import re
import secrets
from pathlib import Path

__all__ = ["is_hdf5", "put_in_place", "remove_leftovers", "replacing", "temporary_name"]

HDF5 = (".h5", ".hdf5")
# Suffixes of files of data, of images and of archives, which a folder would be given by mistake only.
_OTHERS = (
    "nxs nx nx5 nexus hdf hdf4 h4 he4 he5 hd5 h5ebsd dream3d nc nc3 nc4 cdf netcdf zarr n5 bp asdf adios exdir",
    "tif tiff btf tf2 tf8 png jpg jpeg jpe jp2 j2k jpx jxl bmp gif webp avif heic heif pgm ppm pbm pnm svg eps ps",
    "pdf psd exr hdr ico npy npz mat raw vol bin dat img data f32 float32 vgi vff vgl rek xrm txrm txm edf cbf",
    "mccd spe sdt sis his hst mrc mrcs rec ali st map ccp4 em spi dm3 dm4 ser emd mha mhd nrrd nhdr nii dcm dicom",
    "ima fits fit fts am amira ics ids lif czi lsm nd2 oib oif stk vsi ims klb vti vtk vtr vts vtu vtp xdmf xmf",
    "pvd stl ply obj csv tsv txt json jsonl xml yaml yml toml ini pkl pickle pt pth onnx safetensors parquet",
    "feather arrow sqlite db xls xlsx log md html zip tar tgz gz bz2 xz zst lz4 7z rar mp4 avi mov mkv py ipynb",
)
OTHERS = frozenset(f".{suffix}" for line in _OTHERS for suffix in line.split())

_PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part")


def is_hdf5(path) -> bool:
    """Whether an output of this name is one HDF5 file; else it is a folder of TIFFs.

    Raises
    ------
    ValueError
        For the suffix of a file of another format, where there is no folder of this name: no such file is written, and a folder is hardly meant.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in OTHERS and not path.is_dir():
        raise ValueError(
            f"{path}: files of the kind {path.suffix} are not written; give a name ending in .h5 or .hdf5 for one HDF5 "
            "file, or the name of a folder, for TIFFs (a folder that exists may have any name)"
        )
    return suffix in HDF5


def temporary_name(path: Path) -> Path:
    """A name beside `path` for a file that takes its place once it is whole; open it so that it must not exist (``"x"``)."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def put_in_place(temporary: Path, path: Path) -> None:
    """Put a finished file, written beside `path`, in its place: readers see the whole of it or nothing, even after a power failure."""
    descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


@contextlib.contextmanager
def replacing(path: Path):
    """``with replacing(path) as file:`` write the file that takes the place of `path` at the end; after an exception nothing has changed."""
    temporary = temporary_name(path)
    with open(temporary, "xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def remove_leftovers(folder: Path, names) -> None:
    """Remove what a kill left of files, of these names, that were to take their places."""
    names = frozenset(names)
    with os.scandir(folder) as entries:
        left = [
            entry
            for entry in entries
            if (found := _PART.fullmatch(entry.name))
            and found["name"] in names
            and entry.is_file(follow_symlinks=False)
        ]
    for entry in left:
        Path(entry.path).unlink(missing_ok=True)
