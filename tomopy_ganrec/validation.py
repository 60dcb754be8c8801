"""Checks of the data, angles, centres and grid before anything is computed."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .angle_units import check_range
from .option_values import real_numbers
from .scan_angles import fold

__all__ = [
    "check_array",
    "check_centers",
    "check_finite",
    "check_init",
    "check_order",
    "check_projections",
    "check_size",
    "check_theta",
]

MIN_SIZE = 4  # rows, columns and detector columns
# Rows and columns of a slice, relative to the detector's columns; twice the columns hold all that is seen from all
# directions.
MAX_GRID_FACTOR = 64


def check_theta(theta: Any, angles: int, trust: bool = False) -> np.ndarray:
    """`theta` as (angles,) float64 radians; more than two turns are folded into one, with a note in the log.

    Parameters
    ----------
    theta : (angles,) array_like
        Radians.
    angles : int
        Projections of the data.
    trust : bool
        Take the angles as they are, as the option ``trust_theta`` says.

    Raises
    ------
    ValueError
        For a wrong number of angles, values that are not finite or all equal, degrees, and a range of a few degrees
        only.
    """
    theta = real_numbers(theta, np.float64, "theta", "one angle in radians for each projection")
    if theta.ndim != 1 or theta.size != angles:
        raise ValueError(
            f"theta has shape {theta.shape}, the data {angles} projections; give one angle for each projection"
        )
    bad = np.flatnonzero(~np.isfinite(theta))
    if bad.size:
        raise ValueError(
            f"theta holds {bad.size} values that are not finite, the first at index {bad[0]}; remove those projections"
        )
    check_range(theta, "radians", trust=trust)
    return fold(theta, 2 * np.pi)


def check_array(tomo: Any) -> Any:
    """`tomo` itself if it has a shape, otherwise as a numpy.ndarray.

    Raises
    ------
    ValueError
        For lists of unequal lengths.
    """
    if hasattr(tomo, "shape"):
        return tomo
    try:
        return np.asarray(tomo)
    except ValueError:
        raise ValueError("the data are lists of unequal lengths; give one array of (angles, slices, columns)") from None


def check_order(theta: Any, shape: Sequence[int], sinogram_order: bool) -> None:
    """Refuse data whose axes are in another order than `sinogram_order` says, as the number of angles shows.

    Parameters
    ----------
    theta : (angles,) array_like
    shape : tuple of int
        Of the data, as they were given.
    sinogram_order : bool

    Raises
    ------
    ValueError
        Where there are as many angles as slices (or columns), and not as many as projections.
    """
    theta = real_numbers(theta, np.float64, "theta", "one angle in radians for each projection")
    count, right = theta.size, 1 if sinogram_order else 0
    if len(shape) != 3 or theta.ndim != 1 or count == shape[right] or count not in shape:
        return
    if count == shape[1 - right]:
        axis, changed = 1 - right, "slices and angles"
        order_hint = " without sinogram_order=True" if sinogram_order else ", or sinogram_order=True"
        remedy = f"Give (angles, slices, columns){order_hint}"
    else:
        axis, changed = 2, "columns and angles"
        remedy = f"Give ({'slices, angles' if sinogram_order else 'angles, slices'}, columns)"
    raise ValueError(
        f"theta has {count} angles, and so has axis {axis} of the data of shape {tuple(shape)}; axis {right}, where "
        f"the projections should be, has {shape[right]}. Did {changed} change places? {remedy}"
    )


def check_projections(tomo: np.ndarray) -> None:
    """Refuse sinograms from which nothing can be reconstructed.

    Parameters
    ----------
    tomo : (slices, angles, columns) array

    Raises
    ------
    ValueError
        For a wrong shape, NaN or infinity.
    """
    if tomo.ndim != 3:
        raise ValueError(
            f"the data have {tomo.ndim} dimensions, shape {tomo.shape}; give (angles, slices, columns), in sinogram "
            "order (slices, angles, columns)"
        )
    slices, angles, columns = tomo.shape
    if slices < 1:
        raise ValueError(f"the data hold no slices (slices, angles, columns = {tomo.shape}); give at least one")
    if angles < 2:
        raise ValueError(
            f"the data hold {angles} projections; a tomogram needs at least 2, and many more to look like anything"
        )
    if columns < MIN_SIZE:
        raise ValueError(
            f"the projections are {columns} column{'' if columns == 1 else 's'} wide; a slice needs at least "
            f"{MIN_SIZE}, or did slices and columns change places?"
        )
    check_finite(tomo)


def check_finite(tomo: np.ndarray, slices: Sequence[int] | np.ndarray | None = None) -> None:
    """Refuse sinograms with NaN or infinity.

    Parameters
    ----------
    tomo : (n, angles, columns) array
    slices : (n,) int array_like, optional
        Their numbers in the volume, for the message; default: 0 to n − 1.

    Raises
    ------
    ValueError
    """
    finite = np.isfinite(tomo)
    if finite.all():
        return
    first = [int(i) for i in np.argwhere(~finite)[0]]
    if slices is not None:
        first[0] = int(slices[first[0]])
    among = "" if slices is None else " among the slices read last"
    raise ValueError(
        f"the data hold {int((~finite).sum())} values that are NaN or infinite{among}, the first at (slice, angle, "
        f"column) = {tuple(first)}; repair them first, e.g. with tomopy.misc.corr.remove_nan, or check the flat fields "
        "for zeros"
    )


def check_size(size: tuple[int, int], columns: int) -> None:
    """Refuse grids that are too small, or far larger than what the detector can see.

    Parameters
    ----------
    size : (int, int)
        Rows and columns.
    columns : int
        Of the detector.

    Raises
    ------
    ValueError
    """
    grid = f"the grid has {size[0]} rows and {size[1]} columns (num_gridx={size[0]}, num_gridy={size[1]})"
    if min(size) < MIN_SIZE:
        raise ValueError(f"{grid}; a slice needs at least {MIN_SIZE} of each")
    if max(size) > MAX_GRID_FACTOR * columns:
        raise ValueError(
            f"{grid}, the detector {columns} columns: give at most {MAX_GRID_FACTOR * columns} of each. What is "
            f"further from the axis than {columns} columns is seen from a few directions only"
        )


def check_centers(center: Any, slices: int, columns: int, convention: Literal["edge", "index"] = "edge") -> np.ndarray:
    """The rotation axis of each slice in the edge convention.

    Parameters
    ----------
    center : float or (slices,) array_like, optional
        Detector column of the axis; None for the middle of the detector.
    slices, columns : int
        Of the data.
    convention : {'edge', 'index'}
        Of `center`: 0 at the first column's outer edge, or at its middle.

    Returns
    -------
    (slices,) float64 array

    Raises
    ------
    ValueError
        For a wrong number of centres, NaN, or an axis off the detector.
    """
    center = columns / 2 - (0.5 if convention == "index" else 0.0) if center is None else center
    center = real_numbers(
        center, np.float64, "center", "the column of the rotation axis, one number or one for each slice"
    )
    if center.ndim > 1 or (center.ndim == 1 and center.size not in (1, slices)):
        raise ValueError(
            f"center has shape {center.shape}, the data {slices} slices; give one number, or one for each slice"
        )
    centers = np.broadcast_to(center.reshape(-1), (slices,)).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(centers))
    if bad.size:
        raise ValueError(
            f"center is {centers[bad[0]]} for slice {bad[0]}; give the column of the rotation axis, or None for the "
            "middle of the detector"
        )
    edge = centers + 0.5 if convention == "index" else centers
    off = np.flatnonzero((edge < 0) | (edge > columns))
    if off.size:
        raise ValueError(
            f"center {centers[off[0]]:.6g} of slice {off[0]} is off the detector of {columns} columns; it is counted "
            "in columns from the first"
        )
    return edge


def check_init(init: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """`init_recon` as a float32 array.

    Parameters
    ----------
    init : array_like
    shape : (int, int, int)
        Slices, rows, columns of the reconstruction.

    Raises
    ------
    ValueError
        For another shape, or values that are not finite.
    """
    init = real_numbers(init, np.float32, "init_recon", f"an array of (slices, rows, columns) = {shape}")
    if init.shape != shape:
        raise ValueError(
            f"init_recon has shape {init.shape}; the reconstruction will be (slices, rows, columns) = {shape}"
        )
    if not np.isfinite(init).all():
        raise ValueError("init_recon holds values that are NaN or infinite; replace them, e.g. with np.nan_to_num")
    return init
