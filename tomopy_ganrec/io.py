"""Real input and output: Data Exchange files in, TIFF stacks and HDF5 out.

dxchange reads where the real one is installed, h5py the same layout where it is not. Neither is needed to reconstruct.
"""

import importlib
import logging
import warnings
from pathlib import Path

import numpy as np

from .new_files import is_hdf5

__all__ = ["normalize", "open_projections", "read_projections", "select_angles", "write_slices"]  # noqa: F822

logger = logging.getLogger(__name__)


def _dxchange():
    """The real dxchange, or an ImportError that says what is there instead.

    ``pip install dxchange`` fetches another project of the same name (0.0.1, without `read_aps_32id`).
    """
    log = logging.getLogger("dxchange")
    level = log.level
    log.setLevel(logging.ERROR)  # on import it lists every format whose library is missing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its dependencies' age
            module = importlib.import_module("dxchange")
    except ImportError as error:
        raise ImportError(
            f"dxchange cannot be imported ({error}); it is on conda-forge (conda install -c conda-forge dxchange), and in Debian as python3-dxchange"
        ) from error
    finally:
        log.setLevel(level)
    if not hasattr(module, "read_aps_32id"):
        raise ImportError(
            f"the package dxchange {getattr(module, '__version__', '')} that is installed is not the Data Exchange library but another project of "
            "that name from PyPI: pip uninstall dxchange, then conda install -c conda-forge dxchange (or Debian's python3-dxchange)"
        )
    return module


def _h5py():
    try:
        import h5py
    except ImportError as error:
        raise ImportError("reading and writing HDF5 needs h5py: pip install 'tomopy_ganrec[io]'") from error
    return h5py


def _tifffile():
    try:
        import tifffile
    except ImportError as error:
        raise ImportError("writing TIFFs needs tifffile: pip install 'tomopy_ganrec[io]'") from error
    return tifffile


def inspect_scan(path: Path, slices, group: str):
    """The shape of ``{group}/data`` and the slices as integers (None for all), after refusing what is not there; nothing is read."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if not _h5py().is_hdf5(path):
        raise ValueError(f"{path} is not an HDF5 file; this function reads Data Exchange files (exchange/data …)")
    with _h5py().File(path, "r") as file:
        if f"{group}/data" not in file:
            raise ValueError(f"{path} holds no dataset '{group}/data'; its top level has {', '.join(file) or 'nothing'}. Is it a Data Exchange file?")
        shape = file[f"{group}/data"].shape
    if len(shape) != 3:
        raise ValueError(f"{group}/data of {path} has shape {shape}; Data Exchange files hold (angles, slices, columns) there")
    if slices is not None:
        slices = tuple(int(s) for s in slices)
        if not 0 <= slices[0] < slices[1] <= shape[1]:
            raise ValueError(f"slices {slices[0]}:{slices[1]} are not among the {shape[1]} of {path}; give first < last, counted from 0")
    return shape, slices


def chosen_angles(path: Path, theta, count: int, wedge):
    """Which of `count` projections a wedge keeps, and their angles in radians; `theta` in degrees, None where the file has none."""
    if theta is None:
        logger.warning("%s holds no angles: %d projections are taken to lie evenly over 180 degrees", path, count)
        theta = np.linspace(0, 180, count, endpoint=False)
    theta = np.asarray(theta, np.float64)
    if len(theta) != count:
        raise ValueError(f"{path} holds {count} projections but {len(theta)} angles")
    keep = select_angles(theta, wedge)
    return keep, np.deg2rad(theta[keep])


def _read_h5py(path: Path, sino, group: str):
    """Projections, flats, darks (None where absent) and theta in degrees (None) from the Data Exchange layout."""
    with _h5py().File(path, "r") as file:
        rows = slice(*sino) if sino else slice(None)

        def read(name):
            return file[f"{group}/{name}"][:, rows] if f"{group}/{name}" in file else None

        theta = file[f"{group}/theta"][:] if f"{group}/theta" in file else None
        return read("data"), read("data_white"), read("data_dark"), theta


def _read_dxchange(path: Path, sino, group: str):
    dxchange = _dxchange()
    if group == "exchange":
        data, flat, dark, theta = dxchange.read_aps_32id(str(path), sino=sino)
        return data, flat, dark, np.rad2deg(theta)
    rows = (None, sino) if sino else None
    data, flat, dark = (dxchange.read_hdf5(str(path), f"/{group}/{name}", slc=rows) for name in ("data", "data_white", "data_dark"))
    return data, flat, dark, dxchange.read_hdf5(str(path), f"/{group}/theta")


def check_fields(shape, **fields) -> None:
    """Refuse flat and dark fields, given by their shapes, whose slices and columns are not those of the projections (`shape`)."""
    for name, field in fields.items():
        if len(field) != 3 or tuple(field[1:]) != tuple(shape[1:]):
            raise ValueError(f"the {name} fields have shape {field}, the projections {shape}; slices and columns must agree")


def normalize(projections, flat=None, dark=None, minus_log=True) -> np.ndarray:
    """Flat- and dark-field correction, then −log: by TomoPy where it is installed, else by the same formulas in NumPy.

    Parameters
    ----------
    projections : (angles, slices, columns) array_like
        Counts.
    flat, dark : (frames, slices, columns) array_like, optional
        Averaged over the frames. Without a flat the projections are taken as transmission already.
    minus_log : bool

    Returns
    -------
    (angles, slices, columns) float32 array
        −log((projection − dark) / (flat − dark)), or the transmission itself. Transmissions below 1e-6 count as 1e-6, so that no dead pixel
        becomes infinite.
    """
    transmission = np.asarray(projections, np.float32)
    if flat is not None:
        flat = np.asarray(flat, np.float32)
        dark = np.zeros_like(flat[:1]) if dark is None else np.asarray(dark, np.float32)
        check_fields(transmission.shape, flat=flat.shape, dark=dark.shape)
        try:
            prep = importlib.import_module("tomopy.prep.normalize")
        except ImportError:
            dark = dark.mean(0)
            transmission = (transmission - dark) / np.maximum(flat.mean(0) - dark, 1e-6)
        else:
            transmission = prep.normalize(transmission, flat, dark)
    transmission = np.maximum(transmission, np.float32(1e-6))
    return -np.log(transmission) if minus_log else transmission


def read_projections(path, slices=None, angles=None, reader="auto", group="exchange", minus_log=True):
    """Line integrals and angles from a Data Exchange HDF5 file (F. De Carlo et al., J. Synchrotron Rad. 21, 1224, 2014).

    Parameters
    ----------
    path : str or Path
        HDF5 file with ``exchange/data`` (angles, slices, columns) and, as far as there are any, ``data_white``, ``data_dark`` and ``theta`` in
        degrees.
    slices : (int, int), optional
        First slice and the one after the last.
    angles : str or (float, float), optional
        Keep projections with first ≤ θ < last, in degrees: ``'0:120'`` or (0, 120).
    reader : {'auto', 'dxchange', 'h5py'}
        'auto': the real dxchange where it is installed, else h5py.
    group : str
        ``exchange``, or ``exchange1`` … for processed data.
    minus_log : bool
        False returns the transmission.

    Returns
    -------
    projections : (angles, slices, columns) float32 array
    theta : (angles,) float64 array
        Radians. Without angles in the file: evenly over 180°, with a warning in the log.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        For a file that is missing, not HDF5 or laid out otherwise, a selection that leaves nothing, a reader that is not installed.
    """
    path = Path(path)
    if reader not in ("auto", "dxchange", "h5py"):
        raise ValueError(f"reader={reader!r} is not known; choose 'auto', 'dxchange' or 'h5py'")
    _, slices = inspect_scan(path, slices, group)
    if reader == "auto":
        try:
            _dxchange()
            reader = "dxchange"
        except ImportError as error:
            logger.info("reading with h5py: %s", error)
            reader = "h5py"
    data, flat, dark, theta = (_read_dxchange if reader == "dxchange" else _read_h5py)(path, slices, group)
    keep, theta = chosen_angles(path, theta, len(data), angles)
    return normalize(np.asarray(data)[keep], flat, dark, minus_log), theta


def select_angles(degrees, wedge) -> np.ndarray:
    """Which angles lie in a wedge: the indices with first ≤ θ < last; `wedge` is ``'first:last'``, a pair of degrees, or None for all."""
    degrees = np.asarray(degrees, np.float64)
    if wedge is None:
        return np.arange(degrees.size)
    try:
        first, last = (float(v) for v in (wedge.split(":") if isinstance(wedge, str) else wedge))
    except (TypeError, ValueError):
        raise ValueError(f"angles={wedge!r}: give the wedge in degrees as 'first:last', e.g. '0:120'") from None
    keep = np.flatnonzero((degrees >= first - 1e-6) & (degrees < last - 1e-6))
    if keep.size < 2:
        raise ValueError(f"angles={wedge!r} keeps {keep.size} projections; the scan covers {degrees.min():.6g} to {degrees.max():.6g} degrees")
    return keep


def write_slices(volume, path, first=0) -> list[Path]:
    """Write a reconstruction.

    Parameters
    ----------
    volume : (slices, rows, cols) array_like
    path : str or Path
        ``….h5`` or ``….hdf5``: one file with the dataset ``exchange/data``; anything else, but for the suffixes of other files: a folder of 32-bit
        TIFFs ``recon_00000.tiff`` …
    first : int
        Number of the first slice.

    Returns
    -------
    list of Path
        The files written.
    """
    volume, path = np.asarray(volume, np.float32), Path(path)
    if volume.ndim != 3:
        raise ValueError(f"the volume has shape {volume.shape}; give (slices, rows, columns)")
    if is_hdf5(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _h5py().File(path, "w") as file:
            data = file.create_dataset("exchange/data", data=volume)
            data.attrs["units"], data.attrs["first_slice"] = "attenuation per pixel", first
        return [path]
    tifffile = _tifffile()
    path.mkdir(parents=True, exist_ok=True)
    names = [path / f"recon_{first + k:05d}.tiff" for k in range(len(volume))]
    for name, image in zip(names, volume, strict=True):
        tifffile.imwrite(name, image)
    return names


def __getattr__(name):
    if name == "open_projections":  # it needs this module
        from .scanfile import open_projections

        return open_projections
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
