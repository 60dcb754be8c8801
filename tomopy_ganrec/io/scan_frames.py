"""Tests of whether flat fields, dark fields and projections are what they are called, from a few detector rows."""

import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from .bad_pixels import bad_columns

__all__ = ["check_fields", "empty_projections", "first_numbers", "mean_field", "outlying_fields"]

BEAM_THRESHOLD = 0.1  # of the way from the darkest to the brightest field: below it a frame holds no beam
# Relative to the beam: a flat field further from the others is an outlier; a beam that decays stays nearer.
FLAT_TOLERANCE = 0.3
EMPTY_THRESHOLD = 0.03  # of the brightness of the other projections: below it one holds no beam


def first_numbers(numbers: Iterable[int] | np.ndarray) -> str:
    """The first of some numbers, and the last, for messages."""
    texts = [str(int(k)) for k in numbers]
    return ", ".join(texts[:6]) + (f" … {texts[-1]}" if len(texts) > 6 else "")


def _brightest_row(frames: np.ndarray) -> np.ndarray:
    """The median of the brightest row of each frame (frames, rows, columns); -inf for frames without a number."""
    frames = np.asarray(frames, np.float64)
    frames = np.where(np.isfinite(frames), frames, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows without a number
        level = np.nanmax(np.nanmedian(frames, axis=2), axis=1)
    return np.where(np.isfinite(level), level, -np.inf)


def _refuse_fields_without_beam(flat: np.ndarray, dark: np.ndarray, base: float, top: float, brightest: float) -> None:
    """Raise where the flat fields are not brighter than the dark ones.

    `flat` and `dark` are the levels of the fields, `base` and `top` those of no beam and full beam, `brightest` that of
    the brightest field.
    """
    contrast = top - base
    flat_median = np.median(flat)
    if dark.size:
        dark_median = np.median(dark)
        no_beam = base + BEAM_THRESHOLD * contrast
        if dark_median >= base + 0.5 * contrast and flat_median <= no_beam and top > base:
            raise ValueError(
                f"the dark fields are brighter ({dark_median:.4g}) than the flat fields ({flat_median:.4g}): did they "
                "change places?"
            )
        if dark_median > base + 0.5 * contrast or contrast < 0.01 * abs(top):
            raise ValueError(
                f"each of the {len(dark)} dark fields holds beam (median {dark_median:.4g}, the flat fields "
                f"{flat_median:.4g})"
            )
    if not (flat > base + BEAM_THRESHOLD * contrast).any() or top <= base:
        beside = f", and the projections reach {top:.4g}" if top > brightest else ""
        raise ValueError(
            f"none of the {len(flat)} flat fields holds beam: their median is {flat_median:.4g}, that of the dark "
            f"fields {base:.4g}{beside}"
        )


def outlying_fields(
    flats: np.ndarray | None, darks: np.ndarray | None, data: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Choose the flat and dark fields to use, without outliers.

    Parameters
    ----------
    flats, darks : (frames, rows, columns) array or None
        Some rows of them. A flat field is an outlier that holds no beam, or 30 % more or less than the others; a
        dark field, that holds beam.
    data : (angles, rows, columns) array, optional
        The same rows of the projections: they hold beam.

    Returns
    -------
    flats, darks : int arrays
        The indices of those to use.
    notes : list of str
        What is left out.

    Raises
    ------
    ValueError
        Where the flat fields are not brighter than the dark ones.
    """
    notes: list[str] = []
    flat, dark = (np.zeros(0) if frames is None else _brightest_row(frames) for frames in (flats, darks))
    if not flat.size:
        return np.arange(0), np.arange(len(dark)), notes
    both = np.concatenate([flat, dark])
    both = both[np.isfinite(both)]
    if not both.size:
        raise ValueError("no flat field holds a number")
    base = float(both.min()) if dark.size else min(float(both.min()), 0.0)
    top = float(both.max())
    if data is not None:
        top = max(top, float(np.quantile(_brightest_row(data), 0.9, method="lower")))
    _refuse_fields_without_beam(flat, dark, base, top, both.max())
    lit = flat > base + BEAM_THRESHOLD * (top - base)
    level = float(np.median(flat[lit]))
    spread = 1.4826 * float(np.median(np.abs(flat[lit] - level)))
    use_flat = lit & (np.abs(flat - level) <= max(FLAT_TOLERANCE * (level - base), 6 * spread))
    use_dark = np.isfinite(dark) & (dark <= base + BEAM_THRESHOLD * (level - base))
    if dark.size and not use_dark.any():
        raise ValueError(
            f"each of the {len(dark)} dark fields holds beam (median {np.median(dark):.4g}, the flat fields "
            f"{level:.4g})"
        )
    for name, use, reason in (("flat", use_flat, "without beam or unlike the others"), ("dark", use_dark, "with beam")):
        if not use.all():
            notes.append(
                f"{int((~use).sum())} of {len(use)} {name} fields {reason} "
                f"(number {first_numbers(np.flatnonzero(~use))})"
            )
    return np.flatnonzero(use_flat), np.flatnonzero(use_dark), notes


def mean_field(frames: np.ndarray) -> np.ndarray:
    """Mean of flat or dark fields over the frames, without values that are far from the others of their pixel.

    Parameters
    ----------
    frames : (frames, rows, columns) array

    Returns
    -------
    (rows, columns) float64 array
        0 where no value is finite.
    """
    frames = np.asarray(frames, np.float64)
    finite = np.isfinite(frames)
    if not finite.any():
        return np.zeros(frames.shape[1:])
    if len(frames) < 4:
        if finite.all():
            return frames.mean(0)
        return np.where(finite, frames, 0).sum(0) / np.maximum(finite.sum(0), 1)
    middle = np.median(np.where(finite, frames, 0), axis=0)
    if finite.all():
        spread = 1.4826 * np.median(np.abs(frames - middle), axis=0)
    else:
        spread = np.nanmedian(np.abs(np.where(finite, frames, np.nan) - middle))
    typical = float(np.median(spread))
    far = ~finite | (np.abs(frames - middle) > 8 * np.maximum(spread, typical) + 0.1 * np.abs(middle))
    far &= far.mean(0) < 0.5
    if not far.any() and finite.all():
        return frames.mean(0)
    return np.where(far | ~finite, 0, frames).sum(0) / np.maximum((~far & finite).sum(0), 1)


def empty_projections(data: np.ndarray, flat: np.ndarray | None = None, dark: np.ndarray | None = None) -> np.ndarray:
    """Find the projections that hold no beam.

    Parameters
    ----------
    data : (angles, rows, columns) array
        Some rows, as stored.
    flat, dark : (rows, columns) array, optional
        Averages.

    Returns
    -------
    (angles,) bool array

    Raises
    ------
    ValueError
        Where none holds beam.
    """
    data = np.asarray(data, np.float64)
    if flat is None:
        offset, gain = np.zeros(data.shape[1:]), np.ones(data.shape[1:])
        good = np.ones(gain.shape, bool)
    else:
        offset = np.zeros(data.shape[1:]) if dark is None else dark
        gain = flat - offset
        good = ~np.stack([bad_columns(row) for row in gain])
    if not good.any():
        raise ValueError("its flat fields hold no more than its dark fields")
    with np.errstate(invalid="ignore"):
        light = np.where(np.isfinite(data), data - offset, -np.inf)[:, good] / gain[good]
    bright = np.quantile(light, 0.9, axis=1, method="lower")
    usual = np.quantile(bright, 0.9, method="lower")
    if not usual > (2e-3 if flat is not None else 0):
        raise ValueError(f"none of its {len(data)} projections holds beam")
    return ~(bright >= EMPTY_THRESHOLD * usual)


def check_fields(shape: Sequence[int], **fields: Sequence[int]) -> None:
    """Refuse flat and dark fields whose slices and columns are not those of the projections.

    Parameters
    ----------
    shape : (int, int, int)
        Of the projections.
    **fields : tuple of int
        The shape of the fields, by their name.

    Raises
    ------
    ValueError
    """
    for name, field in fields.items():
        if len(field) != 3 or tuple(field[1:]) != tuple(shape[1:]):
            raise ValueError(
                f"the {name} fields have shape {field}, the projections {shape}; slices and columns must agree"
            )
