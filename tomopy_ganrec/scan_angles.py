"""The angles of a scan: their unit, how a mistaken one is noticed, several turns, and projections taken at the same angle."""

import logging
import math
from pathlib import Path

import numpy as np

from .option_values import real_numbers, shown

__all__ = [
    "TRUST",
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

FARTHEST = 1e9  # degrees: the fraction of a turn is lost beyond
NARROW = 6.4  # degrees: a full turn of radians that are read as degrees spans 6.28
LARGE_STEP = (
    0.2  # radians from one projection to the next: above it, several turns are no continuous rotation but degrees
)
USUAL = (
    60,
    75,
    80,
    90,
    100,
    110,
    120,
    *range(125, 195, 5),
    200,
    210,
    220,
    225,
    240,
    270,
    300,
    360,
    540,
    720,
)  # degrees of a scan
GOLDEN = tuple(
    math.pi * x for x in (0.38196601125, 0.6180339887, 0.7639320225, 1.2360679775)
)  # steps of golden-angle scans, 69 to 222 degrees

TRUST = "if they are right, say so: trust_theta=True, on the command line --trust-theta"

_UNITS = {
    "degrees": ("deg", "degs", "degree", "degrees", "°", "º", "deg."),
    "radians": ("rad", "rads", "radian", "radians", "rad."),
}


def unit_of(attribute, where: str) -> str:
    """'degrees' or 'radians', from the attribute ``units`` of a dataset; degrees where there is none, which is what Data Exchange says.

    Raises
    ------
    ValueError
        For a unit that is neither.
    """
    if isinstance(attribute, np.ndarray):
        attribute = attribute.reshape(-1)[0] if attribute.size else ""
    if isinstance(attribute, bytes):
        attribute = (
            attribute.decode("utf-8", "replace")
            if b"\xb0" not in attribute or b"\xc2" in attribute
            else attribute.decode("latin-1")
        )
    text = "" if attribute is None else str(attribute).strip().strip("\0").lower()
    if not text:
        return "degrees"
    for unit, names in _UNITS.items():
        if text in names:
            return unit
    raise ValueError(
        f"the unit of {where} is {text!r}; degrees ('deg', '°') and radians ('rad') are known: correct the attribute 'units', or give theta="
    )


def in_degrees(values, unit: str) -> np.ndarray:
    """Angles as (n,) float64 degrees."""
    values = np.asarray(values, np.float64)
    return np.rad2deg(values) if unit == "radians" else values


def _span(values: np.ndarray) -> tuple[float, float]:
    """The extent of some angles, and the step from one to the next: in the order given, or where that jumps about, on average."""
    extent = float(np.ptp(values))
    steps = np.abs(np.diff(values))
    steps = steps[steps > 1e-6 * max(extent, 1e-30)]
    if not steps.size:
        return extent, 0.0
    step = float(np.median(steps))
    even = np.abs(steps - step) < 0.05 * step
    return extent, step if even.mean() > 0.9 else float(extent / max(len(np.unique(values)) - 1, 1))


def _whole(extent: float, step: float, unit: float, tolerance: float) -> bool:
    """Whether a range, with or without its last step, is a multiple of `unit`."""
    return any(x > 0.5 * unit and abs(x / unit - round(x / unit)) * unit < tolerance for x in (extent, extent + step))


def _numbers_of_degrees(values: np.ndarray) -> bool:
    """Whether angles that are said to be radians are degrees, as far as can be told.

    Radians of a scan are fractions of pi: a step of 0.25, 0.5 or 1 is none of them. More than two turns are radians
    if they are whole half turns in
    small steps, or a rotation in small steps that does not end where scans in degrees end; the golden angle steps
    further than that.
    """
    extent, step = _span(values)
    if np.unique(values).size > 2 and extent >= 1 and not np.any(np.abs(values * 4 - np.round(values * 4)) > 1e-4):
        return True
    if extent <= 4 * np.pi + 1e-6:
        return False
    if any(abs(step - golden) < 2e-3 * golden for golden in GOLDEN):
        return False
    if step < 0.35 and _whole(extent, step, np.pi, 4e-3):
        return False
    return step > LARGE_STEP or any(
        abs(x - usual) < max(min(1.5 * step, 0.3), 0.05) for usual in USUAL for x in (extent, extent + step)
    )


def check_range(theta: np.ndarray, unit: str, what: str = "theta", trust: bool = False) -> None:
    """Refuse angles that are all equal, and those whose range shows that they are in another unit than they are said to be.

    Parameters
    ----------
    theta : (n,) float array
        Finite, in the unit said.
    unit : {'degrees', 'radians'}
        What they are said to be.
    what : str
        How to call them.
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
            f"{what}: all {theta.size} angles are {low:.6g} {unit}; a tomogram needs projections from different directions"
        )
    if trust:
        return
    if unit == "radians":
        if _numbers_of_degrees(theta):
            raise ValueError(
                f"{what} spans {low:.6g} to {high:.6g}: these look like degrees, and TomoPy expects radians (0 to "
                "3.14 for half a turn); use "
                f"np.deg2rad(theta). As radians they would be {extent / (2 * np.pi):.3g} turns; {TRUST}"
            )
        if np.rad2deg(extent) < NARROW:
            raise ValueError(
                f"{what} spans {extent:.3g} radians, which is {np.rad2deg(extent):.3g} degrees only, from {low:.6g} "
                f"to {high:.6g}. If they were degrees "
                f"that were converted to radians twice, they would span {np.rad2deg(extent):.3g} radians, "
                f"{np.rad2deg(np.rad2deg(extent)):.3g} "
                f"degrees: leave out one np.deg2rad; {TRUST}"
            )
        return
    if extent < NARROW or extent < 13 and _whole(extent, _span(theta)[1], np.pi, 2e-3):
        raise ValueError(
            f"{what} spans {extent:.3g} degrees only, from {low:.6g} to {high:.6g}; read as radians it would be "
            f"{np.rad2deg(extent):.4g} degrees. Is it in "
            f"radians? Then write the attribute units='rad', or give theta= (--theta) in degrees; {TRUST}"
        )


def fold(theta: np.ndarray, turn: float, what: str = "theta") -> np.ndarray:
    """Angles of more than two turns as angles of one, with a note in the log; others unchanged."""
    extent = float(np.ptp(theta))
    if extent <= 2 * turn * (1 + 1e-6):
        return theta
    logger.info("%s spans %.1f turns, which are folded into one", what, extent / turn)
    folded = np.mod(theta, turn)
    folded[turn - folded < 1e-7 * max(turn, extent)] = 0.0  # a whole turn, but for rounding
    return folded


def equal_angles(degrees: np.ndarray) -> list[np.ndarray]:
    """Which projections were taken at the same angle (modulo a turn, to 1 % of the mean step).

    Indices for each angle, in the order of the first of each.
    """
    place = np.mod(np.asarray(degrees, np.float64), 360.0)
    order = np.argsort(place, kind="stable")
    tolerance = 0.01 * np.ptp(place) / max(len(place), 1)
    groups: list[list[int]] = []
    start = -np.inf
    for index in order:
        if place[index] - start > tolerance:
            groups.append([])
            start = place[index]
        groups[-1].append(int(index))
    if len(groups) > 1 and 360.0 - place[groups[-1][0]] + place[groups[0][-1]] <= tolerance and np.ptp(degrees) > 720:
        groups[0] += groups.pop()  # 359.9999 and 0, by rounding, of folded turns
    return sorted((np.array(sorted(group)) for group in groups), key=lambda group: group[0])


def given_degrees(theta, count: int) -> np.ndarray:
    """Angles as a user gives them, in degrees.

    Parameters
    ----------
    theta : (count,) array_like, str or Path
        Degrees; ``'START:STEP'``; or a file: ``.npy``, or text with one number a line (or separated by blanks or
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
                f"theta={str(theta)!r}: there is no such file; give START:STEP in degrees, e.g. 0:1.5, or a file of degrees"
            ) from None
        if not (abs(start) <= FARTHEST and 0 < abs(step) <= FARTHEST):  # NaN is in no range
            raise ValueError(
                f"theta={str(theta)!r}: START and STEP must be numbers of degrees, at most {FARTHEST:g}, and STEP not 0"
            )
        return start + step * np.arange(count)
    try:
        if path.suffix.lower() == ".npy":
            values = np.asarray(np.load(path), np.float64)
        else:
            values = np.array(
                [
                    float(word)
                    for line in path.read_text().splitlines()
                    for word in line.partition("#")[0].replace(",", " ").split()
                ]
            )
    except (ValueError, TypeError, EOFError) as error:
        raise ValueError(f"theta={str(theta)!r} is no file of angles in degrees, as text or .npy: {error}") from None
    return _checked(values, count, f"{path}")


def _checked(values: np.ndarray, count: int, what: str) -> np.ndarray:
    """One finite angle for each projection."""
    if values.size != count or values.ndim > 1 and max(values.shape) != values.size:
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


def rotation_degrees(numbers: dict, count: int, path) -> np.ndarray | None:
    """Angles from what a Data Exchange file says of its rotation, in degrees; None where it says too little.

    Parameters
    ----------
    numbers : dict
        'start', 'step', 'end' in degrees and 'count', as far as they are there.
    count : int
        Projections in the file: perhaps fewer than were meant, in a scan that was aborted.
    """
    start, step, meant = numbers.get("start"), numbers.get("step"), int(numbers.get("count", count))
    if step is None and "end" in numbers and start is not None and meant > 1:
        step = (numbers["end"] - start) / (meant - 1)
    if start is None or step is None:
        return None
    if max(abs(start), abs(step)) > FARTHEST:
        raise ValueError(
            f"{path}: process/acquisition/rotation has the start {start:.6g} and the step {step:.6g}; give theta= (--theta START:STEP)"
        )
    if meant < count:
        raise ValueError(
            f"{path} holds {count} projections, but its process/acquisition/rotation speaks of {meant} angles; give "
            "theta=, on the command line --theta START:STEP"
        )
    if meant > count:
        logger.warning("%s holds %d of %d projections: their angles are taken to be the first ones", path, count, meant)
    return start + step * np.arange(count)


def select_angles(degrees, wedge) -> np.ndarray:
    """Which angles lie in a wedge: the indices with first ≤ θ < last; `wedge` is ``'first:last'``, a pair of degrees, or None for all."""
    degrees = np.asarray(degrees, np.float64)
    if wedge is None:
        return np.arange(degrees.size)
    try:
        first, last = (float(v) for v in (wedge.split(":") if isinstance(wedge, str) else wedge))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"angles={shown(wedge)}: give the wedge in degrees as 'first:last', e.g. '0:120'") from None
    keep = np.flatnonzero((degrees >= first - 1e-6) & (degrees < last - 1e-6))
    if keep.size < 2:
        raise ValueError(
            f"angles={wedge!r} keeps {keep.size} projections; the scan covers {degrees.min():.6g} to {degrees.max():.6g} degrees"
        )
    return keep
