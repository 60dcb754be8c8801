"""Values that a detector got wrong: found in the transmission of one slice, and replaced by what their neighbours say.

A column is wrong that gives the same value at every angle, or one that is far from its neighbours'. A value is wrong
that the two adjacent projections
show nowhere near: what belongs to the object moves by a few columns from one projection to the next, and stays about
as bright.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.fft import dct, idct
from scipy.ndimage import maximum_filter1d, median_filter, minimum_filter1d

__all__ = ["MOST_COLUMNS", "MOST_VALUES", "Repaired", "bad_columns", "repair"]

MOST_COLUMNS, MOST_VALUES = 0.2, 0.3  # shares beyond which nothing is repaired
SIGMAS = 8.0  # standard deviations of the noise by which a value must stand out
EMPTY, FULL = (
    0.2,
    2.0,
)  # of its neighbours' median: a pixel with less, or more, light than that is not sensitive as they are
GREATER = 2.0  # a transmission above it is none
DEEPER = 2.2  # a line integral so many times its neighbours' largest: an object finer than a column may double it
ROUNDS = 20
WINDOW = 8  # columns on each side from which a wrong one is estimated
LONGEST = 6  # adjacent wrong columns that are estimated so


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
    """Columns whose flat minus dark field (columns,) is far from that of the columns around."""
    gain = np.nan_to_num(np.asarray(gain, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    size = min(21, len(gain) // 2 * 2 - 1)
    around = median_filter(gain, size, mode="nearest") if size >= 3 else np.full_like(gain, np.median(gain))
    typical = np.median(gain)
    around = np.where(around > EMPTY * 0.1 * typical, around, typical)
    return (gain <= EMPTY * around) | (gain > FULL * around)


def _windows(values: np.ndarray, half: np.ndarray, lowest: bool) -> np.ndarray:
    """The extreme value within ± `half` columns, for rows of several widths."""
    extreme = minimum_filter1d if lowest else maximum_filter1d
    out = np.empty_like(values)
    for width in np.unique(half):
        rows = half == width
        out[rows] = extreme(values[rows], 2 * int(width) + 1, axis=1, mode="nearest")
    return out


def _nearby(values: np.ndarray, bad: np.ndarray, reach: np.ndarray, lowest: bool) -> np.ndarray:
    """The lowest (or highest) value that adjacent projections show near each place: of the two on each side the second mildest, so that one of them
    may be wrong.

    `values` (angles, columns) are sorted by angle, `reach` (angles - 1,) columns is how far things move between two
    of them. In
    place of the wrong values stand those of other angles, or of other columns.
    """
    if bad.any():
        known = np.where(bad, np.nan, values)
        along = _interpolated(known.T)[0].T
        values = np.where(np.isfinite(along), along, _interpolated(known)[0])
    sides = []
    for distance in (1, 2):
        width = reach if distance == 1 else reach[:-1] + reach[1:]
        before, after = np.full_like(values, np.nan), np.full_like(values, np.nan)
        before[distance:], after[:-distance] = (
            _windows(values[:-distance], width, lowest),
            _windows(values[distance:], width, lowest),
        )
        sides.append((before, after))
    both = []
    for distance in (0, 1):  # where one side ends, the other counts twice
        before, after = sides[distance]
        both += [np.where(np.isnan(before), after, before), np.where(np.isnan(after), before, after)]
    near, far = np.array(both[:2]), np.array(both[2:])
    four = np.sort(np.concatenate([near, np.where(np.isnan(far), near, far)]), axis=0)
    return four[2] if lowest else four[1]


def _noise(values: np.ndarray, bad: np.ndarray) -> float:
    """Standard deviation of the transmission where it is 1, if its variance goes with the transmission (photons).

    Of the differences that the object leaves in least: from the neighbours in the columns, in the angles, or in both.
    """
    clean, found = np.where(bad, np.nan, values), []
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
            found.append(1.4826 * np.median(np.abs(difference)) / np.sqrt(variance))
    return float(min(found, default=0.0))


def _stuck(values: np.ndarray, bad: np.ndarray, s: float, air: float, distance: int) -> np.ndarray:
    """Columns that do not follow the object: constant beside columns that are not, far from them at most angles, or far noisier.

    They are compared with columns at least `distance` away: those of a block of wrong ones do not vouch for each other.
    """
    angles, columns = values.shape
    if angles < 5 or columns < 2 * distance + 1 or bad.all(0).mean() > MOST_COLUMNS:
        return np.zeros(columns, bool)
    clean = np.where(bad, np.nan, values)
    left, right = np.full_like(values, np.nan), np.full_like(values, np.nan)
    for shift in (distance + 2, distance + 1, distance):
        if shift < columns:
            left[:, shift:] = np.where(np.isfinite(clean[:, :-shift]), clean[:, :-shift], left[:, shift:])
            right[:, :-shift] = np.where(np.isfinite(clean[:, shift:]), clean[:, shift:], right[:, :-shift])
    both = np.isfinite(left).any(0) & np.isfinite(right).any(0)
    left, right = np.where(np.isfinite(left), left, right), np.where(np.isfinite(right), right, left)
    low, high = np.fmin(left, right), np.fmax(left, right)
    for edge in (slice(0, distance + 2), slice(-distance - 2, None)):  # the object may end there
        high[:, edge] = np.fmax(high[:, edge], air)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns without any value
        margin = SIGMAS / 2 * s * np.sqrt(np.clip(high, 1e-3, None)) + 1e-4
        off = ((values < low - margin) | (values > high + margin)) & np.isfinite(low)
        share = off.mean(0)
        far = (off & ((values < EMPTY * low) | (values > FULL * high))).mean(0) > 0.5
        constant = np.ptp(values, axis=0) <= 1e-6 * np.abs(values).max(0)
        spread, moving, still = (
            np.nanstd(clean, axis=0),
            *(f(np.nanstd(left, axis=0), np.nanstd(right, axis=0)) for f in (np.fmax, np.fmin)),
        )
        jitter = np.nanmedian(np.abs(np.diff(clean, axis=0)), axis=0)
        around = median_filter(np.nan_to_num(jitter), min(21, columns // 2 * 2 - 1), mode="nearest")
        return ~bad.all(0) & (
            far
            | (constant & (moving > 0) & (share > 0.2))
            | (both & (spread < 0.4 * still) & (share > 0.5))
            | ((jitter > 6 * around + 4 * s) & (share > 0.2))
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
    place = np.argsort(order, kind="stable")
    t = values[order].astype(np.float64)
    wrong = ~np.isfinite(t)
    if bad is not None:
        wrong |= bad[order]
    dead = np.zeros(t.shape[1], bool) if columns is None else np.array(columns, bool)
    wrong |= dead
    ordinary = t[~wrong]
    if not ordinary.size:
        return Repaired(values, 0, "none of its columns measures")
    air = max(1.0, float(np.percentile(ordinary, 90)))
    with np.errstate(invalid="ignore"):
        wrong |= t > GREATER * air
    t = np.where(np.isfinite(t), t, 0.0)
    s = _noise(t, wrong)
    dead |= _stuck(t, wrong, s, air, 2)
    if dead.any():  # those beside a wrong one are compared with columns further away
        dead |= _stuck(t, wrong | dead, s, air, 4) & maximum_filter1d(dead, 5)
    dead |= wrong.mean(0) > 0.5
    wrong |= dead
    if dead.mean() > MOST_COLUMNS:
        return Repaired(values, 0, f"{int(dead.sum())} of its {len(dead)} columns do not measure")
    s = _noise(t, wrong)
    if len(t) > 3:
        wrong = _outliers(t, np.asarray(degrees, np.float64)[order], wrong, s, air)
    if wrong.mean() > MOST_VALUES:
        return Repaired(values, 0, f"{wrong.mean():.0%} of its values are wrong")
    floor = min(max(1e-6, 0.1 * s * s), 1e-3)  # a tenth of what a single photon gives
    t = np.where(wrong, t, np.maximum(t, floor))
    count = int(wrong.sum())
    t = _filled(t, wrong, dead, np.asarray(degrees, np.float64)[order]) if count else t
    return Repaired(t[place].astype(np.float32), count)


def _outliers(t: np.ndarray, degrees: np.ndarray, wrong: np.ndarray, s: float, air: float) -> np.ndarray:
    """`wrong`, and the values that the adjacent projections show nowhere near."""
    gaps = np.deg2rad(np.diff(degrees))
    reach = np.minimum(np.ceil(0.5 * t.shape[1] * gaps) + 1, t.shape[1]).astype(int)
    bright = _brightness(t, wrong)
    # a gap between two grains lets light through at one angle only, the more rarely seen by its neighbours the wider
    # the steps
    brighter = 1 + 0.25 * (np.minimum(np.r_[reach[:1], reach], np.r_[reach, reach[-1:]])[:, None] - 1)
    u = t / bright[:, None]
    for lowest in (True, False):  # first what is too dark
        for _ in range(ROUNDS):
            low, high = (_nearby(u, wrong, reach, which) for which in (True, False))
            if lowest:
                deepest = np.clip(-np.log(np.clip(low, 1e-6, None)), 0, None)
                noise = SIGMAS * s * np.sqrt(np.clip(low, s * s, None)) + 1e-4
                more = u < np.minimum(low - noise, np.maximum(np.exp(-DEEPER * deepest - 0.3), 0.03 * low))
            else:
                noise = SIGMAS * s * np.sqrt(np.clip(high, s * s, None)) + 0.03
                above = np.maximum(high + 0.5 * np.maximum(high - low, 0), np.minimum(brighter * high, air))
                more = u > above + noise
            more &= ~wrong
            if not more.any():
                break
            wrong = wrong | more
    return wrong


def _brightness(t: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """How much brighter each projection is than those beside it, for beams that flicker."""
    clean = np.where(wrong | (t <= 0), np.nan, t)
    factor = np.ones(len(t))
    if len(t) < 3:
        return factor
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns without any value
        padded = np.concatenate([clean[2:0:-1], clean, clean[-2:-4:-1]])
        ratio = clean / np.nanmedian([padded[k : k + len(t)] for k in range(5)], axis=0)
    for k, row in enumerate(ratio):
        row = row[np.isfinite(row)]
        if row.size >= 0.3 * t.shape[1]:
            factor[k] = np.median(row)
    return np.where((factor > 0.1) & (factor < 10), factor, 1.0)


def _filled(t: np.ndarray, wrong: np.ndarray, dead: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Wrong values interpolated: along the columns where the gap is short, along the angles where it is not, and by both where both are near.

    Columns that are wrong at all angles are interpolated by what the spectrum of a sinogram is (`_columns`).
    """
    p = np.where(wrong, np.nan, -np.log(np.maximum(t, 1e-6)))
    across, gap_across = _interpolated(p)
    along, gap_along = (x.T for x in _interpolated(p.T))
    weight = [1.0 / gap**2 for gap in (gap_across, gap_along)]
    total = weight[0] + weight[1]
    filled = (np.nan_to_num(across) * weight[0] + np.nan_to_num(along) * weight[1]) / np.where(total > 0, total, 1)
    p = np.where(wrong, filled, p)
    if dead.any() and len(p) > 4:
        p = _columns(p, dead, degrees)
    return np.where(wrong, np.exp(-p), t)


def _columns(p: np.ndarray, dead: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Wrong columns estimated from those around them, one frequency along the angles after the other.

    A point at the distance r from the axis moves through the columns, and the frequency k along the angles of its
    trace is at most r times that along
    the columns: the sinogram's spectrum fills |k| <= r w, and falls as that of an image with edges does. That is the
    covariance of the columns.
    """
    angles, columns = p.shape
    span = max(np.deg2rad(np.ptp(degrees)) * angles / max(angles - 1, 1), 1e-3)
    coefficients = dct(p, axis=0, norm="ortho")
    radius, w = columns / 2, np.linspace(np.pi / 256, np.pi, 256)
    k = np.pi * np.arange(angles)[:, None] / span
    spectrum = (w**2 + (2 * np.pi / columns) ** 2) ** -2.0 / (1 + (k / (radius * w)) ** 8)
    covariance = spectrum @ np.cos(w[:, None] * np.arange(2 * WINDOW + LONGEST))
    covariance, noise = covariance / covariance[:, :1], 1e-3
    known = np.flatnonzero(~dead)
    for run in np.split(np.flatnonzero(dead), np.flatnonzero(np.diff(np.flatnonzero(dead)) > 1) + 1):
        near = known[(known >= run[0] - WINDOW) & (known <= run[-1] + WINDOW)]
        if len(run) > LONGEST or not near.size or not near[0] < run[0] <= run[-1] < near[-1]:
            continue
        between, to = np.abs(near[:, None] - near), np.abs(run[:, None] - near)
        a = np.ones((angles, len(near) + 1, len(near) + 1))
        a[:, :-1, :-1] = covariance[:, between] + noise * np.eye(len(near))
        a[:, -1, -1] = 0  # the weights add up to 1
        right = np.concatenate([covariance[:, to].swapaxes(1, 2), np.ones((angles, 1, len(run)))], axis=1)
        coefficients[:, run] = np.einsum("jn,jnr->jr", coefficients[:, near], np.linalg.solve(a, right)[:, :-1])
    return np.where(dead, idct(coefficients, axis=0, norm="ortho"), p)


def _interpolated(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NaN interpolated linearly along the rows, and how long the gap is (infinite where a row has nothing)."""
    out, gap = p.copy(), np.full(p.shape, np.inf)
    where = np.arange(p.shape[1])
    for k in np.flatnonzero(np.isnan(p).any(1)):
        missing = np.isnan(p[k])
        if missing.all():
            continue
        known = where[~missing]
        out[k, missing] = np.interp(where[missing], known, p[k, known])
        after = np.searchsorted(known, where[missing])
        right, left = known[np.minimum(after, len(known) - 1)], known[np.maximum(after - 1, 0)]
        distance = np.maximum(np.abs(right - where[missing]), np.abs(left - where[missing])) * 1.0
        gap[k, missing] = np.where((after == 0) | (after == len(known)), 4 * distance + 4, distance)
    return out, gap


def warn_of_repairs(counts, values: int, what: str) -> None:
    """One warning that so many of `values` values a slice were repaired, if any were; `counts` for each slice."""
    counts = np.asarray(counts)
    if counts.any():
        warnings.warn(
            f"{what}: {int(counts.sum())} values in {int((counts > 0).sum())} of {counts.size} slices were dead, saturated or struck by a zinger, "
            f"at most {counts.max() / values:.2%} of a slice; they are interpolated from their neighbours",
            UserWarning,
            stacklevel=3,
        )
