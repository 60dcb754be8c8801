"""Angles of a scan: how they are given, several turns, projections at the same angle, and the selection of a range."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .option_values import real_numbers, shown

__all__ = ["AngularRange", "equal_angles", "fold", "given_degrees", "rotation_degrees", "select_angles"]

logger = logging.getLogger(__name__)

AngularRange: TypeAlias = str | Sequence[float]
"""``'first:last'`` or a pair of degrees."""


MAX_DEGREES = 1e9  # beyond it the fraction of a turn is lost in rounding


def fold(theta: np.ndarray, turn: float, what: str = "theta") -> np.ndarray:
    """Angles of more than two turns as angles of one, with a note in the log; others unchanged.

    Parameters
    ----------
    theta : (n,) float array
    turn : float
        A full turn in the unit of `theta`.
    what : str
        Their name in the log.
    """
    extent = float(np.ptp(theta))
    if extent <= 2 * turn * (1 + 1e-6):
        return theta
    logger.info("%s spans %.1f turns, which are folded into one", what, extent / turn)
    folded = np.mod(theta, turn)
    folded[turn - folded < 1e-7 * max(turn, extent)] = 0.0  # a whole turn, but for rounding
    return folded


def equal_angles(degrees: np.ndarray) -> list[np.ndarray]:
    """Group the projections that were taken at the same angle (modulo a turn, to 1 % of the mean step).

    Parameters
    ----------
    degrees : (n,) array

    Returns
    -------
    list of int arrays
        Indices for each angle, in the order of the first of each.
    """
    angles = np.mod(np.asarray(degrees, np.float64), 360.0)
    order = np.argsort(angles, kind="stable")
    tolerance = 0.01 * np.ptp(angles) / max(len(angles), 1)
    groups: list[list[int]] = []
    start = -np.inf
    for index in order:
        if angles[index] - start > tolerance:
            groups.append([])
            start = angles[index]
        groups[-1].append(int(index))
    if len(groups) > 1 and np.ptp(degrees) > 720 and 360.0 - angles[groups[-1][0]] + angles[groups[0][-1]] <= tolerance:
        groups[0] += groups.pop()  # 359.9999 and 0, by rounding, of folded turns
    return sorted((np.array(sorted(group)) for group in groups), key=lambda group: group[0])


def given_degrees(theta: ArrayLike | str | Path, count: int) -> np.ndarray:
    """Angles as a user gives them, in degrees.

    Parameters
    ----------
    theta : (count,) array_like, str or Path
        Degrees; ``'START:STEP'``; or a file: ``.npy``, or text with one number per line (or separated by blanks or
        commas).
    count : int
        Projections of the scan.

    Returns
    -------
    (count,) float64 array

    Raises
    ------
    OSError, ValueError
        For a file that is not there or holds something else, another number of angles.
    """
    if not isinstance(theta, (str, Path)):
        values = real_numbers(
            theta, np.float64, "theta", "one angle in degrees for each projection, 'START:STEP', or a file of them"
        )
        return _checked(values, count, "theta")
    path = Path(theta)
    if not path.is_file():
        try:
            start, step = (float(part) for part in str(theta).split(":"))
        except ValueError:
            raise FileNotFoundError(
                f"theta={str(theta)!r}: there is no such file; give START:STEP in degrees, e.g. 0:1.5, or a file of "
                "degrees"
            ) from None
        if not (abs(start) <= MAX_DEGREES and 0 < abs(step) <= MAX_DEGREES):  # NaN is in no range
            raise ValueError(
                f"theta={str(theta)!r}: START and STEP must be numbers of degrees, at most {MAX_DEGREES:g}, and STEP "
                "not 0"
            )
        return start + step * np.arange(count)
    try:
        if path.suffix.lower() == ".npy":
            values = np.asarray(np.load(path), np.float64)
        else:
            lines = [line.partition("#")[0].replace(",", " ") for line in path.read_text().splitlines()]
            values = np.array([float(word) for line in lines for word in line.split()])
    except (ValueError, TypeError, EOFError) as error:
        raise ValueError(f"theta={str(theta)!r} is no file of angles in degrees, as text or .npy: {error}") from None
    return _checked(values, count, f"{path}")


def _checked(values: np.ndarray, count: int, what: str) -> np.ndarray:
    """One finite angle for each projection."""
    if values.size != count or (values.ndim > 1 and max(values.shape) != values.size):
        raise ValueError(
            f"{what} holds angles of shape {values.shape}, the scan {count} projections; give one angle for each"
        )
    values = values.reshape(-1)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ValueError(
            f"{what}: {bad.size} of its {count} angles are not finite, the first that of projection {bad[0]}"
        )
    return values


def rotation_degrees(numbers: Mapping[str, float], count: int, path: str | Path) -> np.ndarray | None:
    """Angles from what a Data Exchange file says of its rotation, in degrees; None where it says too little.

    Parameters
    ----------
    numbers : dict
        'start', 'step', 'end' in degrees and 'count', those that are there.
    count : int
        Projections in the file: perhaps fewer than were planned, in a scan that was aborted.
    path : str or Path
        For messages.

    Raises
    ------
    ValueError
        For numbers out of range, and more projections than angles.
    """
    start, step, planned = numbers.get("start"), numbers.get("step"), int(numbers.get("count", count))
    if step is None and "end" in numbers and start is not None and planned > 1:
        step = (numbers["end"] - start) / (planned - 1)
    if start is None or step is None:
        return None
    if max(abs(start), abs(step)) > MAX_DEGREES:
        raise ValueError(
            f"{path}: process/acquisition/rotation has the start {start:.6g} and the step {step:.6g}; give theta= "
            "(--theta START:STEP)"
        )
    if planned < count:
        raise ValueError(
            f"{path} holds {count} projections, but its process/acquisition/rotation speaks of {planned} angles; give "
            "theta=, on the command line --theta START:STEP"
        )
    if planned > count:
        logger.warning(
            "%s holds %d of %d projections: their angles are taken to be the first ones", path, count, planned
        )
    return start + step * np.arange(count)


def select_angles(degrees: ArrayLike, angular_range: AngularRange | None) -> np.ndarray:
    """Select the projections within an angular range.

    Parameters
    ----------
    degrees : (n,) array_like
    angular_range : str or (float, float), optional
        ``'first:last'`` or a pair of degrees; None for all.

    Returns
    -------
    int array
        The indices with first ≤ θ < last.

    Raises
    ------
    ValueError
        For a range that means nothing, and one that keeps fewer than two projections.
    """
    degrees = np.asarray(degrees, np.float64)
    if angular_range is None:
        return np.arange(degrees.size)
    ends = angular_range.split(":") if isinstance(angular_range, str) else angular_range
    try:
        first, last = (float(end) for end in ends)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"angles={shown(angular_range)}: give the angular range in degrees as 'first:last', e.g. '0:120'"
        ) from None
    keep = np.flatnonzero((degrees >= first - 1e-6) & (degrees < last - 1e-6))
    if keep.size < 2:
        raise ValueError(
            f"angles={angular_range!r} keeps {keep.size} projections; the scan covers {degrees.min():.6g} to "
            f"{degrees.max():.6g} degrees"
        )
    return keep
