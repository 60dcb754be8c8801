"""Interpolation of wrong values of a sinogram from their neighbours in columns and angles."""

import numpy as np
from scipy.fft import dct, idct

__all__ = ["fill", "interpolate_rows"]

WINDOW = 8  # columns on each side from which a wrong one is estimated
LONGEST_RUN = 6  # adjacent wrong columns that are estimated by the covariance of columns


def interpolate_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NaN replaced by linear interpolation along each row.

    Parameters
    ----------
    values : (rows, columns) float array

    Returns
    -------
    filled, gap : (rows, columns) arrays
        `gap` is the distance to the farther one of the two values used; infinite where a row holds no value.
    """
    filled, gap = values.copy(), np.full(values.shape, np.inf)
    positions = np.arange(values.shape[1])
    for k in np.flatnonzero(np.isnan(values).any(1)):
        missing = np.isnan(values[k])
        if missing.all():
            continue
        known = positions[~missing]
        filled[k, missing] = np.interp(positions[missing], known, values[k, known])
        after = np.searchsorted(known, positions[missing])
        right, left = known[np.minimum(after, len(known) - 1)], known[np.maximum(after - 1, 0)]
        distance = np.maximum(np.abs(right - positions[missing]), np.abs(left - positions[missing])) * 1.0
        gap[k, missing] = np.where((after == 0) | (after == len(known)), 4 * distance + 4, distance)
    return filled, gap


def fill(transmission: np.ndarray, wrong: np.ndarray, dead: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Replace wrong values by interpolated ones.

    Interpolation of the line integrals along the columns where the gap is short, along the angles where it is not,
    and a mean of both where both have near values. Columns that are wrong at all angles are estimated by the spectrum
    of a sinogram (`_estimate_columns`).

    Parameters
    ----------
    transmission : (angles, columns) array
    wrong : (angles, columns) bool array
    dead : (columns,) bool array
        Columns that are wrong at all angles.
    degrees : (angles,) array
        Increasing.

    Returns
    -------
    (angles, columns) float64 array
    """
    integrals = np.where(wrong, np.nan, -np.log(np.maximum(transmission, 1e-6)))
    across, gap_across = interpolate_rows(integrals)
    along, gap_along = (values.T for values in interpolate_rows(integrals.T))
    weight_across, weight_along = 1.0 / gap_across**2, 1.0 / gap_along**2
    total = weight_across + weight_along
    weighted = np.nan_to_num(across) * weight_across + np.nan_to_num(along) * weight_along
    integrals = np.where(wrong, weighted / np.where(total > 0, total, 1), integrals)
    if dead.any() and len(integrals) > 4:
        integrals = _estimate_columns(integrals, dead, degrees)
    return np.where(wrong, np.exp(-integrals), transmission)


def _estimate_columns(integrals: np.ndarray, dead: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Estimate wrong columns from those around them, one frequency along the angles after the other.

    A point at the distance r from the axis moves through the columns, and the frequency k along the angles of its
    trace is at most r times that along the columns: the sinogram's spectrum fills |k| <= r w, and falls as that of an
    image with edges does. That is the covariance of the columns.
    """
    angles, columns = integrals.shape
    span = max(np.deg2rad(np.ptp(degrees)) * angles / max(angles - 1, 1), 1e-3)
    coefficients = dct(integrals, axis=0, norm="ortho")
    radius, w = columns / 2, np.linspace(np.pi / 256, np.pi, 256)
    k = np.pi * np.arange(angles)[:, None] / span
    spectrum = (w**2 + (2 * np.pi / columns) ** 2) ** -2.0 / (1 + (k / (radius * w)) ** 8)
    covariance = spectrum @ np.cos(w[:, None] * np.arange(2 * WINDOW + LONGEST_RUN))
    covariance, noise = covariance / covariance[:, :1], 1e-3
    known = np.flatnonzero(~dead)
    for run in np.split(np.flatnonzero(dead), np.flatnonzero(np.diff(np.flatnonzero(dead)) > 1) + 1):
        near = known[(known >= run[0] - WINDOW) & (known <= run[-1] + WINDOW)]
        if len(run) > LONGEST_RUN or not near.size or not near[0] < run[0] <= run[-1] < near[-1]:
            continue
        between, to_run = np.abs(near[:, None] - near), np.abs(run[:, None] - near)
        matrix = np.ones((angles, len(near) + 1, len(near) + 1))
        matrix[:, :-1, :-1] = covariance[:, between] + noise * np.eye(len(near))
        matrix[:, -1, -1] = 0  # the weights add up to 1
        right = np.concatenate([covariance[:, to_run].swapaxes(1, 2), np.ones((angles, 1, len(run)))], axis=1)
        weights = np.linalg.solve(matrix, right)[:, :-1]
        coefficients[:, run] = np.einsum("jn,jnr->jr", coefficients[:, near], weights)
    return np.where(dead, idct(coefficients, axis=0, norm="ortho"), integrals)
