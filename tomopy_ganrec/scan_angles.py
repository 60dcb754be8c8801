"""The angles of a scan: their unit and tests for a mistaken one, several turns, and projections at the same angle."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .option_values import real_numbers, shown

__all__ = [
    "TRUST_HINT",
    "AngularRange",
    "Unit",
    "check_range",
    "equal_angles",
    "fold",
    "given_degrees",
    "in_degrees",
    "rotation_degrees",
    "select_angles",
    "unit_of",
]

logger = logging.getLogger(__name__)

AngularRange: TypeAlias = str | Sequence[float]
"""``'first:last'`` or a pair of degrees."""

Unit: TypeAlias = Literal["degrees", "radians"]

MAX_DEGREES = 1e9  # beyond it the fraction of a turn is lost in rounding
MIN_RANGE = 6.4  # degrees: a full turn of radians that are read as degrees spans 6.28
# Radians from one projection to the next: with larger steps, several turns are no continuous rotation but degrees.
LARGE_STEP = 0.2
# Degrees that scans usually span.
USUAL_RANGES = (60, 75, 80, 90, 100, 110, 120, *range(125, 195, 5), 200, 210, 220, 225, 240, 270, 300, 360, 540, 720)
# Steps of golden-angle scans, radians: 69 to 222 degrees.
GOLDEN_STEPS = tuple(math.pi * x for x in (0.38196601125, 0.6180339887, 0.7639320225, 1.2360679775))

TRUST_HINT = "if they are right, say so: trust_theta=True, on the command line --trust-theta"

_UNIT_NAMES: dict[Unit, tuple[str, ...]] = {
    "degrees": ("deg", "degs", "degree", "degrees", "°", "º", "deg."),
    "radians": ("rad", "rads", "radian", "radians", "rad."),
}


def unit_of(attribute: Any, where: str) -> Unit:
    """'degrees' or 'radians', from the attribute ``units`` of a dataset; degrees without one, as Data Exchange says.

    Parameters
    ----------
    attribute : str, bytes, array of one of them or None
    where : str
        The dataset, for the message.

    Raises
    ------
    ValueError
        For a unit that is neither.
    """
    if isinstance(attribute, np.ndarray):
        attribute = attribute.reshape(-1)[0] if attribute.size else ""
    if isinstance(attribute, bytes):
        is_latin_1 = b"\xb0" in attribute and b"\xc2" not in attribute  # the degree sign alone
        attribute = attribute.decode("latin-1") if is_latin_1 else attribute.decode("utf-8", "replace")
    text = "" if attribute is None else str(attribute).strip().strip("\0").lower()
    if not text:
        return "degrees"
    for unit, names in _UNIT_NAMES.items():
        if text in names:
            return unit
    raise ValueError(
        f"the unit of {where} is {text!r}; degrees ('deg', '°') and radians ('rad') are known: correct the attribute "
        "'units', or give theta="
    )


def in_degrees(values: ArrayLike, unit: Unit) -> np.ndarray:
    """Angles as (n,) float64 degrees."""
    values = np.asarray(values, np.float64)
    return np.asarray(np.rad2deg(values)) if unit == "radians" else values


def _span(values: np.ndarray) -> tuple[float, float]:
    """The extent of some angles, and the step between them: in the order given, or on average if that is irregular."""
    extent = float(np.ptp(values))
    steps = np.abs(np.diff(values))
    steps = steps[steps > 1e-6 * max(extent, 1e-30)]
    if not steps.size:
        return extent, 0.0
    step = float(np.median(steps))
    even = np.abs(steps - step) < 0.05 * step
    return extent, step if even.mean() > 0.9 else float(extent / max(len(np.unique(values)) - 1, 1))


def _is_multiple(extent: float, step: float, unit: float, tolerance: float) -> bool:
    """Whether a range, with or without its last step, is a multiple of `unit`."""
    return any(x > 0.5 * unit and abs(x / unit - round(x / unit)) * unit < tolerance for x in (extent, extent + step))


def _look_like_degrees(values: np.ndarray) -> bool:
    """Whether angles that are said to be radians are probably degrees.

    Radians of a scan are fractions of pi: a step of 0.25, 0.5 or 1 is none of them. More than two turns are radians
    if they are whole half turns in small steps, or a rotation in small steps that does not end where scans in degrees
    end; the golden angle is a larger step than that.
    """
    extent, step = _span(values)
    if np.unique(values).size > 2 and extent >= 1 and not np.any(np.abs(values * 4 - np.round(values * 4)) > 1e-4):
        return True
    if extent <= 4 * np.pi + 1e-6:
        return False
    if any(abs(step - golden) < 2e-3 * golden for golden in GOLDEN_STEPS):
        return False
    if step < 0.35 and _is_multiple(extent, step, np.pi, 4e-3):
        return False
    return step > LARGE_STEP or any(
        abs(x - usual) < max(min(1.5 * step, 0.3), 0.05) for usual in USUAL_RANGES for x in (extent, extent + step)
    )


def check_range(theta: np.ndarray, unit: Unit, what: str = "theta", trust: bool = False) -> None:
    """Refuse angles that are all equal, and those whose range shows that they are in another unit than given.

    Parameters
    ----------
    theta : (n,) float array
        Finite.
    unit : {'degrees', 'radians'}
        Their unit as the caller gave it.
    what : str
        Their name in messages.
    trust : bool
        Refuse equal angles only.

    Raises
    ------
    ValueError
    """
    low, high = float(theta.min()), float(theta.max())
    extent = high - low
    if extent <= 1e-9 * max(1.0, abs(low), abs(high)):
        raise ValueError(
            f"{what}: all {theta.size} angles are {low:.6g} {unit}; a tomogram needs projections from different "
            "directions"
        )
    if trust:
        return
    if unit == "radians":
        if _look_like_degrees(theta):
            raise ValueError(
                f"{what} spans {low:.6g} to {high:.6g}: these look like degrees, and TomoPy expects radians (0 to "
                "3.14 for half a turn); use np.deg2rad(theta). As radians they would be "
                f"{extent / (2 * np.pi):.3g} turns; {TRUST_HINT}"
            )
        if np.rad2deg(extent) < MIN_RANGE:
            raise ValueError(
                f"{what} spans {extent:.3g} radians, which is {np.rad2deg(extent):.3g} degrees only, from {low:.6g} "
                f"to {high:.6g}. If they were degrees that were converted to radians twice, they would span "
                f"{np.rad2deg(extent):.3g} radians, {np.rad2deg(np.rad2deg(extent)):.3g} degrees: leave out one "
                f"np.deg2rad; {TRUST_HINT}"
            )
        return
    if extent < MIN_RANGE or (extent < 13 and _is_multiple(extent, _span(theta)[1], np.pi, 2e-3)):
        raise ValueError(
            f"{what} spans {extent:.3g} degrees only, from {low:.6g} to {high:.6g}; read as radians it would be "
            f"{np.rad2deg(extent):.4g} degrees. Is it in radians? Then write the attribute units='rad', or give theta= "
            f"(--theta) in degrees; {TRUST_HINT}"
        )


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
