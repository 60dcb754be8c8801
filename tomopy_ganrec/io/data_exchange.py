"""Line integrals and angles from Data Exchange files, and flat-field correction.

dxchange reads where the real one is installed, h5py the same layout where it is not. Neither is needed to reconstruct.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tomopy_ganrec.scan_angles import AngularRange, select_angles

from .bad_pixels import warn_of_repairs
from .hdf5_reading import open_hdf5
from .optional import import_dxchange, import_tomopy_normalize
from .scan_frames import check_fields
from .scan_layout import Frames, check_memory, read_frames
from .scan_plan import make_scan_plan

__all__ = ["normalize", "read_projections", "select_angles"]

logger = logging.getLogger(__name__)

MIN_TRANSMISSION = 1e-6  # smaller ones count as this, so that no dead pixel becomes infinite


def normalize(
    projections: ArrayLike, flat: ArrayLike | None = None, dark: ArrayLike | None = None, minus_log: bool = True
) -> np.ndarray:
    """Flat- and dark-field correction, then −log: by TomoPy where it is installed, else by the same formulas in NumPy.

    Parameters
    ----------
    projections : (angles, slices, columns) array_like
        Counts.
    flat, dark : (frames, slices, columns) array_like, optional
        Averaged over the frames. Without a flat field the projections are taken as transmission already.
    minus_log : bool

    Returns
    -------
    (angles, slices, columns) float32 array
        −log((projection − dark) / (flat − dark)), or the transmission itself. Transmissions below 1e-6 count as 1e-6,
        so that no dead pixel becomes infinite.

    Raises
    ------
    ValueError
        For fields whose slices and columns are not those of the projections.
    """
    transmission = np.asarray(projections, np.float32)
    if flat is not None:
        flats = np.asarray(flat, np.float32)
        darks = np.zeros_like(flats[:1]) if dark is None else np.asarray(dark, np.float32)
        check_fields(transmission.shape, flat=flats.shape, dark=darks.shape)
        try:
            prep = import_tomopy_normalize()
        except ImportError:
            mean_dark = darks.mean(0)
            transmission = (transmission - mean_dark) / np.maximum(flats.mean(0) - mean_dark, 1e-6)
        else:
            transmission = prep.normalize(transmission, flats, darks)
    transmission = np.maximum(transmission, np.float32(MIN_TRANSMISSION))
    return -np.log(transmission) if minus_log else transmission


def read_projections(
    path: str | os.PathLike[str],
    slices: Sequence[int] | None = None,
    angles: AngularRange | None = None,
    reader: Literal["auto", "dxchange", "h5py"] = "auto",
    group: str = "exchange",
    minus_log: bool = True,
    theta: ArrayLike | str | Path | None = None,
    trust_theta: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Line integrals and angles from a Data Exchange HDF5 file.

    The format: F. De Carlo et al., J. Synchrotron Rad. 21, 1224, 2014.

    Flat fields without beam, dark fields with beam and projections without beam are left out. Pixels that are dead,
    hot or saturated, zeros, zingers and NaN are found (`bad_pixels`) and interpolated from their neighbours before
    −log. Projections at the same angle are averaged, and several turns are folded into one. Frames left out and values
    repaired are warned of, once each.

    Parameters
    ----------
    path : str or Path
        HDF5 file with ``exchange/data`` (angles, slices, columns); ``data_white`` and ``data_dark`` or, as numbers,
        ``process/acquisition/flat_fields/flat_field_value`` and ``…/dark_fields/dark_field_value``; ``theta`` with its
        attribute ``units`` (degrees where it has none), or ``rotation_start`` and ``rotation_step`` in
        ``process/acquisition/rotation``. Without any flat field the data have to be transmissions, 0 to 1 as floating
        point numbers.
    slices : (int, int), optional
        First slice and the one after the last.
    angles : str or (float, float), optional
        Keep projections with first ≤ θ < last, in degrees: ``'0:120'`` or (0, 120).
    reader : {'auto', 'dxchange', 'h5py'}
        The library that reads projections and fields. 'auto': the real dxchange where it is installed, else h5py. The
        result is the same.
    group : str
        ``exchange``, or ``exchange1`` … for processed data.
    minus_log : bool
        False returns the transmission; data without flat fields are then returned as they are.
    theta : (angles,) array_like or str, optional
        Angles of all projections in the file, in place of its own: degrees, ``'START:STEP'`` in degrees, or a file of
        degrees (text or ``.npy``).
    trust_theta : bool
        Take the angles as they are, without the check that tells degrees from radians, so that a scan of a few degrees
        can be read.

    Returns
    -------
    projections : (angles, slices, columns) float32 array
    theta : (angles,) float64 array
        Radians.

    Raises
    ------
    OSError, ValueError, ImportError
        For a file that is missing, damaged, not HDF5 or laid out otherwise, holds no angles, counts without flat
        fields, no beam, integers that have wrapped round, more bad pixels than can be repaired; for a selection that
        leaves nothing, a reader that is not installed.
    """
    if reader not in ("auto", "dxchange", "h5py"):
        raise ValueError(f"reader={reader!r} is not known; choose 'auto', 'dxchange' or 'h5py'")
    dxchange = None
    if reader != "h5py":
        try:
            dxchange = import_dxchange()
        except ImportError as error:
            if reader == "dxchange":
                raise
            logger.info("reading with h5py: %s", error)
    plan = make_scan_plan(path, slices, angles, group, minus_log, theta, trust_theta)
    layout = plan.layout
    check_memory(layout)
    rows = slice(*layout.slices)
    with open_hdf5(layout.path) as file:

        def read(what: Frames) -> np.ndarray:
            node = layout.dataset(file, what)
            if dxchange is None or node.ndim < 3:
                return read_frames(file, layout, what, slice(None), rows)
            frames = dxchange.read_hdf5(str(path), node.name, slc=(None, layout.slices))
            if frames is None or frames.shape[1:] != (layout.slices[1] - layout.slices[0], layout.shape[2]):
                raise OSError(f"{path}: dxchange does not read '{node.name}'; choose reader='h5py'")
            return np.asarray(frames)

        projections, repaired = plan.correct(read("data"), read, layout.slices[0])
    warn_of_repairs(repaired, projections.shape[2] * len(plan.keep), layout.path)
    return projections, plan.theta
