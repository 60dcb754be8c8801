"""How the projections of a scan become line integrals: what is used of them, decided once, and the correction of each slice."""

import logging
import warnings
from dataclasses import dataclass

import numpy as np

from tomopy_ganrec.scan_angles import check_range, equal_angles, fold, given_degrees, in_degrees

from . import scan_frames
from .bad_pixels import bad_columns, repair
from .scan_layout import Layout, frames, opened, read_angles, refusing_damage, sampled_rows

__all__ = ["Plan", "make_plan"]

logger = logging.getLogger(__name__)

NEAREST = 3  # slices away from which one that has not been measured is taken


@dataclass
class Plan:
    """What is used of a scan; small, and the same in every process.

    Attributes
    ----------
    layout : Layout
    minus_log : bool
    keep : (frames,) int array
        Projections used, numbers in the file.
    degrees : (frames,) array
        Their angles.
    groups : list of int arrays
        Which of these are averaged, for each angle of the result.
    theta : (angles,) array
        Radians.
    flats, darks : int arrays
        Numbers of the fields used.
    """

    layout: Layout
    minus_log: bool
    keep: np.ndarray
    degrees: np.ndarray
    groups: list
    theta: np.ndarray
    flats: np.ndarray
    darks: np.ndarray

    @property
    def corrected(self) -> bool:
        """Whether there are flat fields."""
        return bool(len(self.flats)) or self.layout.constants["flat"] is not None

    def fields(self, read) -> dict:
        """The mean flat and dark field (rows, columns) or number; `read(what)` gives the frames of some rows."""
        found = {}
        for what, chosen in (("flat", self.flats), ("dark", self.darks)):
            constant = self.layout.constants[what]
            found[what] = scan_frames.mean_field(read(what)[chosen]) if len(chosen) else constant
        found["dark"] = 0.0 if found["dark"] is None else found["dark"]
        return found

    def slices(self, data, read, first: int, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Line integrals, or transmission, of some slices.

        Parameters
        ----------
        data : (all angles, slices, columns) array
            As stored.
        read : callable
            ``read('flat')`` and ``read('dark')``: those slices of the fields.
        first, step : int
            Numbers of the slices in the file.

        Returns
        -------
        (angles, slices, columns) float32 array, (slices,) int array
            And how many values of each were repaired.
        """
        count = data.shape[1]
        out, repaired = np.empty((len(self.groups), count, data.shape[2]), np.float32), np.zeros(count, int)
        fields = self.fields(read)
        everything = len(self.keep) == len(data) and np.array_equal(self.keep, np.arange(len(data)))
        for k in range(count):
            raw = data[:, k] if everything else data[self.keep, k]
            flat, dark = (
                field[k] if isinstance(field, np.ndarray) else field for field in (fields["flat"], fields["dark"])
            )
            values, repaired[k], reason = self._one(raw, flat, dark)
            if reason:
                values, repaired[k] = self._beside(first + step * k, reason), len(self.keep) * data.shape[2]
            out[:, k] = self._averaged(values)
        if self.minus_log:
            np.negative(np.log(out, out=out), out=out)
        return out, repaired

    def _one(self, raw, flat, dark):
        """(transmission, values repaired, why it cannot be) of one slice, (frames, columns)."""
        if not self.corrected and not self.minus_log:
            return np.asarray(raw, np.float32), 0, ""  # whatever they are
        integers = raw.dtype.kind in "iu"
        bad, columns, values = np.zeros(raw.shape, bool), None, np.asarray(raw, np.float64)
        if self.corrected:
            gain = np.broadcast_to(np.asarray(flat - dark, np.float64), raw.shape[1:])
            columns = bad_columns(gain)
            typical = float(np.median(gain))
            if not typical > 0 or columns.all():
                return values, 0, "its flat fields hold no more than its dark fields"
            values = (values - dark) / np.where(columns, typical, np.maximum(gain, 1e-6))
            if integers:
                most = np.iinfo(raw.dtype).max
                bad |= (raw == most) & (flat < 0.98 * most)
                bad |= (raw == 0) & (np.asarray(dark) >= 20)
        found = repair(values, self.degrees, columns, bad)
        return found.transmission, found.count, found.reason

    def _averaged(self, values):
        """The mean of the projections of each angle."""
        if len(self.groups) == len(values):
            return values
        return np.stack([values[group].mean(0) for group in self.groups])

    def _beside(self, row: int, reason: str) -> np.ndarray:
        """The transmission of a slice that was not measured, from the nearest ones that were."""
        layout, found = self.layout, []
        with opened(layout.path) as file:
            for sign in (-1, 1):
                for distance in range(1, NEAREST + 1):
                    other = row + sign * distance
                    if not 0 <= other < layout.shape[1]:
                        break
                    raw = frames(file, layout, "data", slice(None), slice(other, other + 1))[self.keep, 0]
                    fields = self.fields(
                        lambda what, at=other: frames(file, layout, what, slice(None), slice(at, at + 1))
                    )
                    values, _, bad = self._one(
                        raw, *(f[0] if isinstance(f, np.ndarray) else f for f in (fields["flat"], fields["dark"]))
                    )
                    if not bad:
                        found.append((1 / distance, values))
                        break
        if not found:
            raise ValueError(
                f"slice {row} of {layout.path} cannot be repaired: {reason}, and its neighbours are no better; choose other slices"
            )
        return sum(weight * values for weight, values in found) / sum(weight for weight, _ in found)


def make_plan(path, slices, wedge, group: str, minus_log: bool, theta=None, trust: bool = False) -> Plan:
    """Look at a file and decide what is used of it; of the projections and fields a few slices are read.

    Raises
    ------
    OSError, ValueError
        With the file's name.
    """
    from tomopy_ganrec.scan_angles import select_angles

    from .scan_layout import inspect

    with opened(path) as file, refusing_damage(path):
        layout = inspect(file, slices, group)
        degrees, unit = (
            (given_degrees(theta, layout.shape[0]), "degrees") if theta is not None else read_angles(file, layout)
        )
        if degrees is None:
            raise ValueError(
                f"{path} holds no angles ({group}/theta, or rotation_start and rotation_step in "
                "process/acquisition/rotation). Give them: "
                "theta='START:STEP' in degrees, a file or an array; on the command line --theta START:STEP or "
                "--theta FILE"
            )
        rows, blocks = sampled_rows(layout)

        def sample(what):
            found = [
                frames(file, layout, what, slice(None), slice(row, row + 1), columns)
                for row in rows
                for columns in blocks
            ]
            return np.concatenate(
                [np.concatenate(found[k : k + len(blocks)], axis=2) for k in range(0, len(found), len(blocks))], axis=1
            )

        try:
            keep, flats, darks, notes = _frames_used(layout, sample, minus_log)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    if layout.constants["flat"] is not None and not len(flats):
        logger.warning(
            "%s: the flat field is one number; gains that differ from column to column stay in the data and draw rings",
            path,
        )
    if notes:
        warnings.warn(f"{path}: left out: {'; '.join(notes)}", UserWarning, stacklevel=4)
    what = "theta" if theta is not None and not isinstance(theta, str) else f"theta of {path}"
    used = degrees[keep]
    if np.ptp(used) > 0 or used.size:
        check_range(used, unit, what, trust)
    used = fold(in_degrees(used, unit), 360.0, what)
    chosen = select_angles(used, wedge)
    keep, used = keep[chosen], used[chosen]
    groups = equal_angles(used)
    if len(groups) < 2:
        raise ValueError(
            f"{path}: the {len(keep)} projections that are used were all taken at {used[0]:.6g} degrees; a tomogram needs different directions"
        )
    if len(groups) < len(keep):
        logger.info(
            "%s: %d projections at %d angles; those at the same angle are averaged", path, len(keep), len(groups)
        )
    else:
        groups = [np.array([k]) for k in range(len(keep))]
    mean = np.array([used[group[0]] + np.mean((used[group] - used[group[0]] + 180) % 360 - 180) for group in groups])
    return Plan(layout, bool(minus_log), keep, used, groups, np.deg2rad(mean), flats, darks)


def _frames_used(layout: Layout, sample, minus_log: bool):
    """The projections, flat and dark fields that are used, and what is left out, in words."""
    data = sample("data")
    everything = np.arange(layout.shape[0])
    has_flat = layout.fields["flat"] is not None or layout.constants["flat"] is not None
    if not has_flat and not minus_log:
        return everything, np.arange(0), np.arange(0), []
    scan_frames.refuse_wrapped(data, "projections")
    fields = {what: sample(what) if layout.fields[what] is not None else None for what in ("flat", "dark")}
    for what, found in fields.items():
        if found is not None:
            scan_frames.refuse_wrapped(found, f"{what} fields")
    if not has_flat:
        refused = scan_frames.empty_projections(data)
        scan_frames.refuse_without_flat(data[~refused])
        flats, darks, notes, flat, dark = np.arange(0), np.arange(0), [], None, None
    else:
        flats, darks, notes = scan_frames.outlying_fields(fields["flat"], fields["dark"], data)
        shape = data.shape[1:]
        flat = scan_frames.mean_field(fields["flat"][flats]) if len(flats) else np.full(shape, layout.constants["flat"])
        constant = layout.constants["dark"]
        dark = (
            scan_frames.mean_field(fields["dark"][darks])
            if len(darks)
            else np.full(shape, 0.0 if constant is None else constant)
        )
        if not len(flats) and not np.median(flat - dark) > 0:
            raise ValueError(
                f"the flat field ({np.median(flat):.4g}) is not brighter than the dark field ({np.median(dark):.4g})"
            )
        scan_frames.refuse_deeply_wrapped(data, flat)
        refused = scan_frames.empty_projections(data, flat, dark)
    if refused.any():
        notes.append(
            f"{int(refused.sum())} of {len(refused)} projections without beam (number {scan_frames.some(np.flatnonzero(refused))})"
        )
        if (~refused).sum() < 2:
            raise ValueError(f"{int(refused.sum())} of its {len(refused)} projections hold no beam")
    return everything[~refused], flats, darks, notes
