"""Units of the angles of a scan, and the check that tells degrees from radians."""

import math
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["TRUST_HINT", "Unit", "check_range", "in_degrees", "unit_of"]

Unit: TypeAlias = Literal["degrees", "radians"]
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
