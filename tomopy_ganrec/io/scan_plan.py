"""Line integrals from the projections of a scan: the frames that are used, and the correction of each slice."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from tomopy_ganrec.angle_units import Unit, check_range, in_degrees
from tomopy_ganrec.scan_angles import AngularRange, fold, given_degrees, select_angles

from .bad_pixels import bad_columns, repair
from .frame_choice import angle_groups, frames_used, mean_angles
from .hdf5_reading import open_hdf5, refusing_damage
from .scan_frames import mean_field
from .scan_layout import Frames, Layout, read_angles, read_frames, read_layout, sampled_rows

__all__ = ["ScanPlan", "make_scan_plan"]

logger = logging.getLogger(__name__)

MAX_NEIGHBOUR_DISTANCE = 3  # slices: from so far a slice is taken in place of one that was not measured

Field = np.ndarray | float
"""A mean flat or dark field, (rows, columns), or a number that stands for it."""


def _row_of(field: Field, row: int) -> Field:
    return field[row] if isinstance(field, np.ndarray) else field


@dataclass
class ScanPlan:
    """The frames of a scan that are used, and their angles; small, and the same in every process.

    Attributes
    ----------
    layout : Layout
    minus_log : bool
        Whether the result is line integrals; otherwise transmission.
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
    groups: list[np.ndarray]
    theta: np.ndarray
    flats: np.ndarray
    darks: np.ndarray

    @property
    def has_flat_field(self) -> bool:
        """Whether there are flat fields, or a number that stands for them."""
        return bool(len(self.flats)) or self.layout.constants["flat"] is not None

    def _mean_fields(self, read: Callable[[Frames], np.ndarray]) -> tuple[Field, Field]:
        """The mean flat and dark field, 0 where there is none; `read` gives the frames of some rows."""
        fields: dict[str, Field] = {}
        chosen: tuple[tuple[Frames, np.ndarray], ...] = (("flat", self.flats), ("dark", self.darks))
        for what, numbers in chosen:
            constant = self.layout.constants[what]
            if len(numbers):
                fields[what] = mean_field(read(what)[numbers])
            else:
                fields[what] = 0.0 if constant is None else constant
        return fields["flat"], fields["dark"]

    def correct(
        self, data: np.ndarray, read: Callable[[Frames], np.ndarray], first: int, step: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
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
        values : (angles, slices, columns) float32 array
        repaired : (slices,) int array
            How many values of each slice were repaired.

        Raises
        ------
        ValueError
            For a slice that cannot be repaired, and whose neighbours cannot either.
        """
        count = data.shape[1]
        out, repaired = np.empty((len(self.groups), count, data.shape[2]), np.float32), np.zeros(count, int)
        flat, dark = self._mean_fields(read)
        uses_all = len(self.keep) == len(data) and np.array_equal(self.keep, np.arange(len(data)))
        for k in range(count):
            raw = data[:, k] if uses_all else data[self.keep, k]
            values, repaired[k], reason = self._correct_slice(raw, _row_of(flat, k), _row_of(dark, k))
            if reason:
                values = self._from_neighbours(first + step * k, reason)
                repaired[k] = len(self.keep) * data.shape[2]
            out[:, k] = self._averaged(values)
        if self.minus_log:
            np.negative(np.log(out, out=out), out=out)
        return out, repaired

    def _correct_slice(self, raw: np.ndarray, flat: Field, dark: Field) -> tuple[np.ndarray, int, str]:
        """Transmission, number of repaired values, and why it cannot be repaired, of one slice (frames, columns)."""
        if not self.has_flat_field and not self.minus_log:
            return np.asarray(raw, np.float32), 0, ""  # whatever the values are
        bad, columns, values = np.zeros(raw.shape, bool), None, np.asarray(raw, np.float64)
        if self.has_flat_field:
            gain = np.broadcast_to(np.asarray(flat - dark, np.float64), raw.shape[1:])
            columns = bad_columns(gain)
            typical = float(np.median(gain))
            if not typical > 0 or columns.all():
                return values, 0, "its flat fields hold no more than its dark fields"
            values = (values - dark) / np.where(columns, typical, np.maximum(gain, 1e-6))
            if raw.dtype.kind in "iu":
                most = np.iinfo(raw.dtype).max
                bad |= (raw == most) & (flat < 0.98 * most)
                bad |= (raw == 0) & (np.asarray(dark) >= 20)
        repaired = repair(values, self.degrees, columns, bad)
        return repaired.transmission, repaired.count, repaired.reason

    def _averaged(self, values: np.ndarray) -> np.ndarray:
        """The mean of the projections of each angle."""
        if len(self.groups) == len(values):
            return values
        return np.stack([values[group].mean(0) for group in self.groups])

    def _from_neighbours(self, row: int, reason: str) -> np.ndarray:
        """The transmission of a slice that was not measured, from the nearest ones that were, weighted by distance."""
        weighted = []
        with open_hdf5(self.layout.path) as file:
            for sign in (-1, 1):
                for distance in range(1, MAX_NEIGHBOUR_DISTANCE + 1):
                    neighbour = row + sign * distance
                    if not 0 <= neighbour < self.layout.shape[1]:
                        break
                    only = slice(neighbour, neighbour + 1)

                    def read(what: Frames, only: slice = only) -> np.ndarray:
                        return read_frames(file, self.layout, what, slice(None), only)

                    raw = read("data")[self.keep, 0]
                    flat, dark = self._mean_fields(read)
                    values, _, unusable = self._correct_slice(raw, _row_of(flat, 0), _row_of(dark, 0))
                    if not unusable:
                        weighted.append((1 / distance, values))
                        break
        if not weighted:
            raise ValueError(
                f"slice {row} of {self.layout.path} cannot be repaired: {reason}, and its neighbours are no better; "
                "choose other slices"
            )
        total: np.ndarray = sum(weight * values for weight, values in weighted)  # type: ignore[assignment]  # not 0
        return total / sum(weight for weight, _ in weighted)


def make_scan_plan(
    path: str | PathLike[str],
    slices: Sequence[int] | None,
    angles: AngularRange | None,
    group: str,
    minus_log: bool,
    theta: ArrayLike | str | Path | None = None,
    trust: bool = False,
) -> ScanPlan:
    """Decide which frames of a file are used; of the projections and fields a few slices are read.

    Parameters
    ----------
    path, slices, angles, group, minus_log, theta
        See `tomopy_ganrec.io.read_projections`.
    trust : bool
        Its ``trust_theta``.

    Raises
    ------
    OSError, ValueError
        With the file's name.
    """
    with open_hdf5(path) as file, refusing_damage(path):
        layout = read_layout(file, slices, group)
        scan_angles: tuple[np.ndarray, Unit] | None
        if theta is not None:
            scan_angles = given_degrees(theta, layout.shape[0]), "degrees"
        else:
            scan_angles = read_angles(file, layout)
        if scan_angles is None:
            raise ValueError(
                f"{path} holds no angles ({group}/theta, or rotation_start and rotation_step in "
                "process/acquisition/rotation). Give them: theta='START:STEP' in degrees, a file or an array; on the "
                "command line --theta START:STEP or --theta FILE"
            )
        rows, blocks = sampled_rows(layout)

        def sample(what: Frames) -> np.ndarray:
            row_parts = [
                np.concatenate(
                    [read_frames(file, layout, what, slice(None), slice(row, row + 1), columns) for columns in blocks],
                    axis=2,
                )
                for row in rows
            ]
            return np.concatenate(row_parts, axis=1)

        try:
            keep, flats, darks, notes = frames_used(layout, sample, minus_log)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    if layout.constants["flat"] is not None and not len(flats):
        logger.warning(
            "%s: the flat field is one number; gains that differ from column to column stay in the data and draw rings",
            path,
        )
    if notes:
        warnings.warn(f"{path}: left out: {'; '.join(notes)}", UserWarning, stacklevel=3)
    values, unit = scan_angles
    what = "theta" if theta is not None and not isinstance(theta, str) else f"theta of {path}"
    check_range(values[keep], unit, what, trust)
    degrees = fold(in_degrees(values[keep], unit), 360.0, what)
    chosen = select_angles(degrees, angles)
    keep, degrees = keep[chosen], degrees[chosen]
    groups = angle_groups(degrees, path)
    return ScanPlan(
        layout=layout,
        minus_log=bool(minus_log),
        keep=keep,
        degrees=degrees,
        groups=groups,
        theta=np.deg2rad(mean_angles(degrees, groups)),
        flats=flats,
        darks=darks,
    )
