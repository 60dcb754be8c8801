"""What is refused before anything is computed, and what is warned of."""

import warnings

import numpy as np

from .scan_angles import check_range, fold

__all__ = ["check_centers", "check_init", "check_projections", "check_theta"]


def check_theta(theta, angles: int, trust: bool = False) -> np.ndarray:
    """`theta` as (angles,) float64 radians; more than two turns are folded into one, with a note in the log.

    Parameters
    ----------
    theta : array_like
    angles : int
        Projections of the data.
    trust : bool
        Take them as they are, as the option ``trust_theta`` says.

    Raises
    ------
    ValueError
        For a wrong number of angles, values that are not finite or all equal, degrees, and a range of a few degrees only.
    """
    try:
        theta = np.asarray(theta, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"theta={theta!r} holds no numbers; give one angle in radians for each projection") from None
    if theta.ndim != 1 or theta.size != angles:
        raise ValueError(f"theta has shape {theta.shape}, the data {angles} projections; give one angle for each projection")
    bad = np.flatnonzero(~np.isfinite(theta))
    if bad.size:
        raise ValueError(f"theta holds {bad.size} values that are not finite, the first at index {bad[0]}; remove those projections")
    check_range(theta, "radians", trust=trust)
    return fold(theta, 2 * np.pi)


def check_projections(tomo: np.ndarray) -> None:
    """Refuse sinograms (slices, angles, columns) that nothing can be reconstructed from; warn of data that were not −log-transformed.

    Raises
    ------
    ValueError
        For a wrong shape, NaN or infinity.
    """
    if tomo.ndim != 3:
        raise ValueError(
            f"the data have {tomo.ndim} dimensions, shape {tomo.shape}; give (angles, slices, columns), in sinogram order (slices, angles, columns)"
        )
    slices, angles, columns = tomo.shape
    if slices < 1:
        raise ValueError(f"the data hold no slices (slices, angles, columns = {tomo.shape}); give at least one")
    if angles < 2:
        raise ValueError(f"the data hold {angles} projections; a tomogram needs at least 2, and many more to look like anything")
    if columns < 2:
        raise ValueError(f"the projections are {columns} column wide; a slice needs at least 2, or did slices and columns change places?")
    finite = np.isfinite(tomo)
    if not finite.all():
        first = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"the data hold {int((~finite).sum())} values that are NaN or infinite, the first at (slice, angle, column) = {first}; "
            "repair them first, e.g. with tomopy.misc.corr.remove_nan, or check the flat fields for zeros"
        )
    edge = max(1, columns // 50)
    border = np.median(np.concatenate([tomo[..., :edge], tomo[..., -edge:]], axis=2))
    middle = np.median(tomo[..., columns // 4 : columns - columns // 4])
    if border > 0 and middle > 0 and border > 1.5 * middle:
        warnings.warn(
            f"the detector's edges (median {border:.3g}) are brighter than its middle ({middle:.3g}): the data look like transmission. "
            "Attenuation is expected; apply tomopy.minus_log after the flat-field correction",
            UserWarning,
            stacklevel=4,
        )


def check_centers(center, slices: int, columns: int, convention: str = "edge") -> np.ndarray:
    """The rotation axis of each slice in the edge convention, (slices,) float64.

    Raises
    ------
    ValueError
        For a wrong number of centres, NaN, or an axis off the detector.
    """
    center = np.asarray(columns / 2 - (0.5 if convention == "index" else 0.0) if center is None else center, np.float64)
    if center.ndim > 1 or center.ndim == 1 and center.size not in (1, slices):
        raise ValueError(f"center has shape {center.shape}, the data {slices} slices; give one number, or one for each slice")
    centers = np.broadcast_to(center.reshape(-1), (slices,)).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(centers))
    if bad.size:
        raise ValueError(
            f"center is {centers[bad[0]]} for slice {bad[0]}; give the column of the rotation axis, or None for the middle of the detector"
        )
    edge = centers + 0.5 if convention == "index" else centers
    off = np.flatnonzero((edge < 0) | (edge > columns))
    if off.size:
        raise ValueError(
            f"center {centers[off[0]]:.6g} of slice {off[0]} is off the detector of {columns} columns; it is counted in columns from the first"
        )
    return edge


def check_init(init, shape: tuple[int, int, int]) -> np.ndarray:
    """`init_recon` as a float32 array of `shape` (slices, rows, columns).

    Raises
    ------
    ValueError
        For another shape, or values that are not finite.
    """
    init = np.asarray(init, np.float32)
    if init.shape != shape:
        raise ValueError(f"init_recon has shape {init.shape}; the reconstruction will be (slices, rows, columns) = {shape}")
    if not np.isfinite(init).all():
        raise ValueError("init_recon holds values that are NaN or infinite; replace them, e.g. with np.nan_to_num")
    return init
