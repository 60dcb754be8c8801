"""Detection and repair of dead, hot, stuck and saturated detector pixels and of zingers in the transmission of a slice.

A column is wrong that gives the same value at every angle, or one that is far from its neighbours'. A value is wrong
that is far from everything nearby in the two adjacent projections: a feature of the object moves by a few columns from
one projection to the next, and stays about as bright.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d, median_filter, minimum_filter1d

from .pixel_interpolation import fill, interpolate_rows

__all__ = ["MAX_WRONG_COLUMNS", "MAX_WRONG_VALUES", "Repaired", "bad_columns", "repair", "warn_of_repairs"]

MAX_WRONG_COLUMNS, MAX_WRONG_VALUES = 0.2, 0.3  # shares beyond which nothing is repaired
OUTLIER_SIGMAS = 8.0  # standard deviations of the noise by which a wrong value must stand out
# Of its neighbours' median: a pixel with less, or more, light than that is not sensitive as they are.
MIN_GAIN, MAX_GAIN = 0.2, 2.0
MAX_TRANSMISSION = 2.0  # relative to air: a larger value is no transmission
# A line integral so many times its neighbours' largest is wrong: an object finer than a column may double it.
MAX_INTEGRAL_RATIO = 2.2
MAX_ROUNDS = 20  # of looking for outliers


@dataclass
class Repaired:
    """A slice after its repair.

    Attributes
    ----------
    transmission : (angles, columns) float32 array
    count : int
        Values that were replaced.
    reason : str
        Why it cannot be repaired, '' where it was: the transmission is then as given.
    """

    transmission: np.ndarray
    count: int = 0
    reason: str = ""


def bad_columns(gain: np.ndarray) -> np.ndarray:
    """Columns whose flat minus dark field (columns,) is far from that of the columns around, (columns,) bool."""
    gain = np.nan_to_num(np.asarray(gain, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    size = min(21, len(gain) // 2 * 2 - 1)
    around = median_filter(gain, size, mode="nearest") if size >= 3 else np.full_like(gain, np.median(gain))
    typical = np.median(gain)
    around = np.where(around > MIN_GAIN * 0.1 * typical, around, typical)
    return (gain <= MIN_GAIN * around) | (gain > MAX_GAIN * around)


def _extremes_within(values: np.ndarray, half_widths: np.ndarray, lowest: bool) -> np.ndarray:
    """The lowest or highest value within ± `half_widths` columns, which differ from row to row."""
    extreme = minimum_filter1d if lowest else maximum_filter1d
    out = np.empty_like(values)
    for width in np.unique(half_widths):
        rows = half_widths == width
        out[rows] = extreme(values[rows], 2 * int(width) + 1, axis=1, mode="nearest")
    return out


def _adjacent_extremes(values: np.ndarray, bad: np.ndarray, reach: np.ndarray, lowest: bool) -> np.ndarray:
    """The lowest (or highest) value that adjacent projections show near each position.

    Of the two projections on each side the second mildest, so that one of them may be wrong. `values`
    (angles, columns) are sorted by angle; `reach` (angles - 1,) is the number of columns by which features move
    between two of them. Wrong values are replaced by those of other angles, or of other columns.
    """
    if bad.any():
        known = np.where(bad, np.nan, values)
        along = interpolate_rows(known.T)[0].T
        values = np.where(np.isfinite(along), along, interpolate_rows(known)[0])
    sides = []
    for distance in (1, 2):
        width = reach if distance == 1 else reach[:-1] + reach[1:]
        before, after = np.full_like(values, np.nan), np.full_like(values, np.nan)
        before[distance:] = _extremes_within(values[:-distance], width, lowest)
        after[:-distance] = _extremes_within(values[distance:], width, lowest)
        sides.append((before, after))
    both = []
    for before, after in sides:  # where one side ends, the other counts twice
        both += [np.where(np.isnan(before), after, before), np.where(np.isnan(after), before, after)]
    near, far = np.array(both[:2]), np.array(both[2:])
    four = np.sort(np.concatenate([near, np.where(np.isnan(far), near, far)]), axis=0)
    return four[2] if lowest else four[1]


def _noise(values: np.ndarray, bad: np.ndarray) -> float:
    """Standard deviation of the transmission where it is 1, if its variance is proportional to it (photons).

    From the differences in which the object leaves least: to the neighbours in the columns, in the angles, or in both.
    """
    clean, estimates = np.where(bad, np.nan, values), []
    level = np.sqrt(np.clip(values, 1e-3, None))
    across = clean[:, 1:-1] - (clean[:, :-2] + clean[:, 2:]) / 2
    candidates = [(across / level[:, 1:-1], 1.5)]
    if len(values) > 2:
        along = clean[1:-1] - (clean[:-2] + clean[2:]) / 2
        both = across[1:-1] - (across[:-2] + across[2:]) / 2
        candidates += [(along / level[1:-1], 1.5), (both / level[1:-1, 1:-1], 2.25)]
    for difference, variance in candidates:
        difference = difference[np.isfinite(difference)]
        if difference.size:
            estimates.append(1.4826 * np.median(np.abs(difference)) / np.sqrt(variance))
    return float(min(estimates, default=0.0))


def _neighbour_columns(values: np.ndarray, bad: np.ndarray, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """For each column the nearest sound values to its left and right, at least `distance` away; NaN where none is."""
    clean = np.where(bad, np.nan, values)
    left, right = np.full_like(values, np.nan), np.full_like(values, np.nan)
    for shift in (distance + 2, distance + 1, distance):
        if shift < values.shape[1]:
            left[:, shift:] = np.where(np.isfinite(clean[:, :-shift]), clean[:, :-shift], left[:, shift:])
            right[:, :-shift] = np.where(np.isfinite(clean[:, shift:]), clean[:, shift:], right[:, :-shift])
    return left, right


def _stuck_columns(values: np.ndarray, bad: np.ndarray, noise: float, air: float, distance: int) -> np.ndarray:
    """Columns that do not follow the object, (columns,) bool.

    Constant beside columns that are not, far from them at most angles, or far noisier. They are compared with columns
    at least `distance` away, so that the columns of a wrong block are not compared with each other.
    """
    angles, columns = values.shape
    if angles < 5 or columns < 2 * distance + 1 or bad.all(0).mean() > MAX_WRONG_COLUMNS:
        return np.zeros(columns, bool)
    clean = np.where(bad, np.nan, values)
    left, right = _neighbour_columns(values, bad, distance)
    has_both = np.isfinite(left).any(0) & np.isfinite(right).any(0)
    left, right = np.where(np.isfinite(left), left, right), np.where(np.isfinite(right), right, left)
    low, high = np.fmin(left, right), np.fmax(left, right)
    for edge in (slice(0, distance + 2), slice(-distance - 2, None)):  # the object may end there
        high[:, edge] = np.fmax(high[:, edge], air)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns without any value
        margin = OUTLIER_SIGMAS / 2 * noise * np.sqrt(np.clip(high, 1e-3, None)) + 1e-4
        off = ((values < low - margin) | (values > high + margin)) & np.isfinite(low)
        share = off.mean(0)
        far = (off & ((values < MIN_GAIN * low) | (values > MAX_GAIN * high))).mean(0) > 0.5
        constant = np.ptp(values, axis=0) <= 1e-6 * np.abs(values).max(0)
        spread, left_spread, right_spread = (np.nanstd(part, axis=0) for part in (clean, left, right))
        moving, still = np.fmax(left_spread, right_spread), np.fmin(left_spread, right_spread)
        jitter = np.nanmedian(np.abs(np.diff(clean, axis=0)), axis=0)
        around = median_filter(np.nan_to_num(jitter), min(21, columns // 2 * 2 - 1), mode="nearest")
        return ~bad.all(0) & (
            far
            | (constant & (moving > 0) & (share > 0.2))
            | (has_both & (spread < 0.4 * still) & (share > 0.5))
            | ((jitter > 6 * around + 4 * noise) & (share > 0.2))
        )


def repair(
    values: np.ndarray, degrees: np.ndarray, columns: np.ndarray | None = None, bad: np.ndarray | None = None
) -> Repaired:
    """Find the wrong values of one slice and replace them.

    Parameters
    ----------
    values : (angles, columns) float array
        Transmission; NaN and infinity are wrong values.
    degrees : (angles,) float array
        In any order, with repeats.
    columns : (columns,) bool array, optional
        Columns known to be wrong.
    bad : (angles, columns) bool array, optional
        Values known to be wrong, e.g. saturated.

    Returns
    -------
    Repaired
    """
    values = np.asarray(values, np.float32)
    order = np.argsort(degrees, kind="stable")
    original_order = np.argsort(order, kind="stable")
    sorted_degrees = np.asarray(degrees, np.float64)[order]
    transmission = values[order].astype(np.float64)
    wrong = ~np.isfinite(transmission)
    if bad is not None:
        wrong |= bad[order]
    dead = np.zeros(transmission.shape[1], bool) if columns is None else np.array(columns, bool)
    wrong |= dead
    ordinary = transmission[~wrong]
    if not ordinary.size:
        return Repaired(values, 0, "none of its columns measures")
    air = max(1.0, float(np.percentile(ordinary, 90)))
    with np.errstate(invalid="ignore"):
        wrong |= transmission > MAX_TRANSMISSION * air
    transmission = np.where(np.isfinite(transmission), transmission, 0.0)
    noise = _noise(transmission, wrong)
    dead |= _stuck_columns(transmission, wrong, noise, air, 2)
    if dead.any():  # those beside a wrong one are compared with columns further away
        dead |= _stuck_columns(transmission, wrong | dead, noise, air, 4) & maximum_filter1d(dead, 5)
    dead |= wrong.mean(0) > 0.5
    wrong |= dead
    if dead.mean() > MAX_WRONG_COLUMNS:
        return Repaired(values, 0, f"{int(dead.sum())} of its {len(dead)} columns do not measure")
    noise = _noise(transmission, wrong)
    if len(transmission) > 3:
        wrong = _with_outliers(transmission, sorted_degrees, wrong, noise, air)
    if wrong.mean() > MAX_WRONG_VALUES:
        return Repaired(values, 0, f"{wrong.mean():.0%} of its values are wrong")
    floor = min(max(1e-6, 0.1 * noise * noise), 1e-3)  # a tenth of what a single photon gives
    transmission = np.where(wrong, transmission, np.maximum(transmission, floor))
    count = int(wrong.sum())
    if count:
        transmission = fill(transmission, wrong, dead, sorted_degrees)
    return Repaired(transmission[original_order].astype(np.float32), count)


def _with_outliers(
    transmission: np.ndarray, degrees: np.ndarray, wrong: np.ndarray, noise: float, air: float
) -> np.ndarray:
    """`wrong`, and the values that are far from everything nearby in the adjacent projections."""
    gaps = np.deg2rad(np.diff(degrees))
    reach = np.minimum(np.ceil(0.5 * transmission.shape[1] * gaps) + 1, transmission.shape[1]).astype(int)
    # A gap between two grains lets light through at one angle only; the wider the steps, the more rarely its
    # neighbours show it.
    narrower_step = np.minimum(np.r_[reach[:1], reach], np.r_[reach, reach[-1:]])[:, None]
    brighter = 1 + 0.25 * (narrower_step - 1)
    levelled = transmission / _brightness(transmission, wrong)[:, None]
    for lowest in (True, False):  # first what is too dark
        for _ in range(MAX_ROUNDS):
            low, high = (_adjacent_extremes(levelled, wrong, reach, which) for which in (True, False))
            if lowest:
                deepest = np.clip(-np.log(np.clip(low, 1e-6, None)), 0, None)
                margin = OUTLIER_SIGMAS * noise * np.sqrt(np.clip(low, noise * noise, None)) + 1e-4
                below = np.maximum(np.exp(-MAX_INTEGRAL_RATIO * deepest - 0.3), 0.03 * low)
                outliers = levelled < np.minimum(low - margin, below)
            else:
                margin = OUTLIER_SIGMAS * noise * np.sqrt(np.clip(high, noise * noise, None)) + 0.03
                above = np.maximum(high + 0.5 * np.maximum(high - low, 0), np.minimum(brighter * high, air))
                outliers = levelled > above + margin
            outliers &= ~wrong
            if not outliers.any():
                break
            wrong = wrong | outliers
    return wrong


def _brightness(transmission: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Brightness of each projection relative to the adjacent ones, for beams that flicker, (angles,)."""
    clean = np.where(wrong | (transmission <= 0), np.nan, transmission)
    factors = np.ones(len(transmission))
    if len(transmission) < 3:
        return factors
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns without any value
        padded = np.concatenate([clean[2:0:-1], clean, clean[-2:-4:-1]])
        ratio = clean / np.nanmedian([padded[k : k + len(transmission)] for k in range(5)], axis=0)
    for k, row in enumerate(ratio):
        row = row[np.isfinite(row)]
        if row.size >= 0.3 * transmission.shape[1]:
            factors[k] = np.median(row)
    return np.where((factors > 0.1) & (factors < 10), factors, 1.0)


def warn_of_repairs(counts: Sequence[int] | np.ndarray, values: int, what: str) -> None:
    """Warn once of repaired values, if there are any.

    Parameters
    ----------
    counts : sequence of int
        Repaired values of each slice.
    values : int
        Values of a slice.
    what : str
        The data, for the message.
    """
    counts = np.asarray(counts)
    if counts.any():
        warnings.warn(
            f"{what}: {int(counts.sum())} values in {int((counts > 0).sum())} of {counts.size} slices were dead, "
            f"saturated or struck by a zinger, at most {counts.max() / values:.2%} of a slice; they are interpolated "
            "from their neighbours",
            UserWarning,
            stacklevel=3,
        )
