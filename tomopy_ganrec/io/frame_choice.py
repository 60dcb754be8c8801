"""Choice of the projections and fields of a scan that are used."""

import logging
from collections.abc import Callable
from os import PathLike

import numpy as np

from tomopy_ganrec.scan_angles import equal_angles

from .count_checks import refuse_deeply_wrapped, refuse_without_flat, refuse_wrapped
from .scan_frames import empty_projections, first_numbers, mean_field, outlying_fields
from .scan_layout import Frames, Layout

__all__ = ["angle_groups", "field_or_constant", "frames_used", "mean_angles"]

logger = logging.getLogger(__name__)


def angle_groups(degrees: np.ndarray, path: str | PathLike[str]) -> list[np.ndarray]:
    """The projections that are averaged, for each angle; raises ValueError where there is one angle only."""
    groups = equal_angles(degrees)
    if len(groups) < 2:
        raise ValueError(
            f"{path}: the {len(degrees)} projections that are used were all taken at {degrees[0]:.6g} degrees; a "
            "tomogram needs different directions"
        )
    if len(groups) == len(degrees):  # in the order of the file
        return [np.array([k]) for k in range(len(degrees))]
    logger.info(
        "%s: %d projections at %d angles; those at the same angle are averaged", path, len(degrees), len(groups)
    )
    return groups


def mean_angles(degrees: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """The mean angle of each group, also where it lies around 0 and 360 degrees."""
    return np.array(
        [degrees[group[0]] + np.mean((degrees[group] - degrees[group[0]] + 180) % 360 - 180) for group in groups]
    )


def frames_used(
    layout: Layout, sample: Callable[[Frames], np.ndarray], minus_log: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """The numbers of the projections, flat and dark fields that are used, and what is left out, in words.

    `sample` gives some rows of all frames of a kind.
    """
    data = sample("data")
    projections, none = np.arange(layout.shape[0]), np.arange(0)
    has_flat = layout.fields["flat"] is not None or layout.constants["flat"] is not None
    if not has_flat and not minus_log:
        return projections, none, none, []
    refuse_wrapped(data, "projections")
    flat_frames = sample("flat") if layout.fields["flat"] is not None else None
    dark_frames = sample("dark") if layout.fields["dark"] is not None else None
    for name, frames in (("flat", flat_frames), ("dark", dark_frames)):
        if frames is not None:
            refuse_wrapped(frames, f"{name} fields")
    if has_flat:
        flats, darks, notes = outlying_fields(flat_frames, dark_frames, data)
        flat = field_or_constant(flat_frames, flats, layout.constants["flat"], data.shape[1:])
        dark = field_or_constant(dark_frames, darks, layout.constants["dark"], data.shape[1:])
        if not len(flats) and not np.median(flat - dark) > 0:
            raise ValueError(
                f"the flat field ({np.median(flat):.4g}) is not brighter than the dark field ({np.median(dark):.4g})"
            )
        refuse_deeply_wrapped(data, flat)
        empty = empty_projections(data, flat, dark)
    else:
        flats, darks, notes = none, none, []
        empty = empty_projections(data)
        refuse_without_flat(data[~empty])
    if empty.any():
        notes.append(
            f"{int(empty.sum())} of {len(empty)} projections without beam "
            f"(number {first_numbers(np.flatnonzero(empty))})"
        )
        if (~empty).sum() < 2:
            raise ValueError(f"{int(empty.sum())} of its {len(empty)} projections hold no beam")
    return projections[~empty], flats, darks, notes


def field_or_constant(
    frames: np.ndarray | None, used: np.ndarray, constant: float | None, shape: tuple[int, ...]
) -> np.ndarray:
    """The mean of the frames that are used, or else the constant (0 without one) as an array of this shape."""
    if frames is not None and len(used):
        return mean_field(frames[used])
    return np.full(shape, 0.0 if constant is None else constant)
