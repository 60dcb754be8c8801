"""Measured scans in a benchmark: no truth, but held-out projections and slices from the full range."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from tomopy_ganrec import io
from tomopy_ganrec.io.optional import import_h5py
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.validation import check_centers, check_theta

from .implementations import MEMORY_LIMIT, TV_OPTIONS, Problem, fitted
from .tasks import Projections, SliceCase, SliceData

__all__ = ["HTC2022_RANGES", "htc2022", "measured"]

FULL_RANGE = 165.0  # degrees from which on a scan serves as its own reference
HTC2022_RANGES = ("0:90", "0:60", "0:30")  # degrees, of the challenge's levels 1, 4 and 7
HELD_OUT = 10  # of a scan without projections outside the angular range, one in so many is held out


def _split(degrees: np.ndarray, angles: str | None) -> tuple[np.ndarray, np.ndarray, bool]:
    """Indices of the projections used and of those held out, and whether these lie outside the angular range.

    Held out are the projections outside of it, or, where there are none, every tenth of those within. A projection
    and the one half a turn on are mirror images, so that angles count modulo 180°.
    """
    used = io.select_angles(degrees, angles)
    near = np.sort(degrees[used] % 180)
    near = np.concatenate([near[-1:] - 180, near, near[:1] + 180])
    step = np.median(np.diff(np.unique(np.round(near, 6))))
    rest = np.setdiff1d(np.arange(len(degrees)), used)
    rest = rest[np.abs(degrees[rest, None] % 180 - near).min(1) > 0.75 * step] if rest.size else rest
    outside = rest.size > 0
    if not outside:
        rest = used[HELD_OUT // 2 :: HELD_OUT]
        used = np.setdiff1d(used, rest)
    if used.size < 2 or rest.size == 0:
        raise ValueError(
            f"angles={angles!r}: of {len(degrees)} projections {used.size} would be used and {rest.size} held out; "
            "both are needed"
        )
    return used, rest, outside


@dataclass(frozen=True)
class _Scan:
    """Line integrals (angles, slices, columns), angles in radians, axis in columns, and number of the first slice.

    `material` is the attenuation that methods are told; `references` keeps TV from the full range by slice, or is None
    where nothing is compared with it.
    """

    name: str
    projections: np.ndarray
    theta: np.ndarray
    center: float
    first: int
    device: str
    material: float | None = None
    references: dict[int, np.ndarray] | None = None

    @property
    def columns(self) -> int:
        return int(self.projections.shape[2])

    def part(self, indices: np.ndarray, k: int) -> Projections:
        """Some projections of slice `k`."""
        sinogram = np.ascontiguousarray(self.projections[indices, k][None], np.float32)
        projector = ParallelBeamProjector(
            self.columns, self.theta[indices], self.columns, self.center, device=self.device, memory_limit=MEMORY_LIMIT
        )
        return projector, torch.from_numpy(sinogram).to(self.device)

    def reference(self, k: int) -> np.ndarray | None:
        """Slice `k` by TV from all projections, which is made once; None without `references`."""
        if self.references is None:
            return None
        if k not in self.references:
            image = fitted(**TV_OPTIONS)(Problem(*self.part(np.arange(len(self.theta)), k)))
            self.references[k] = torch.as_tensor(image).cpu().numpy()
        return self.references[k]

    def case_name(self, angular_range: str) -> str:
        return f"{self.name}-{self.columns}-{angular_range.replace(':', 'to')}"

    def slice_case(
        self,
        k: int,
        angular_range: str,
        used: np.ndarray,
        held_out: np.ndarray | None = None,
        keep_images: bool = True,
        full_range: str = "",
    ) -> SliceCase:
        """Slice `k` from the projections `used`."""

        def load() -> SliceData:
            return SliceData(
                *self.part(used, k),
                held_out=None if held_out is None else self.part(held_out, k),
                reference=self.reference(k),
                material=self.material,
            )

        data = np.ascontiguousarray(self.projections[:, k], np.float32).tobytes()
        setup = f"axis at {self.center:g} columns, data {hashlib.sha1(data).hexdigest()[:10]}"
        setup += f", material {self.material:g}" if self.material else ""
        setup += ", beside TV of the full range" if self.references is not None else ""
        columns = {
            "case": self.case_name(angular_range),
            "object": self.name,
            "protocol": "measured",
            "size": self.columns,
            "angular_range": angular_range,
            "degrees": round(float(np.ptp(np.rad2deg(self.theta)[used])), 6),
            "projections": len(used),
            "photons": None,
            "slice": self.first + k,
            "object_seed": None,
            "setup": setup,
        }
        return SliceCase(columns, load, keep_images, full_range, first=k == 0)


Scan = str | Path | tuple[np.ndarray, np.ndarray]


def _read(
    scan: Scan, slices: tuple[int, int] | None, reader: Literal["auto", "dxchange", "h5py"], name: str | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Line integrals, angles in radians and name of a scan.

    Raises
    ------
    ValueError
        For shapes that do not fit, and for values that are not finite.
    """
    if isinstance(scan, (str, Path)):
        projections, theta = io.read_projections(scan, slices, reader=reader)
        name = name or Path(scan).stem
    else:
        projections, theta = (np.asarray(array) for array in scan)
        if projections.ndim != 3 or theta.shape != projections.shape[:1]:
            raise ValueError(
                f"projections {projections.shape} and theta {theta.shape}: give (angles, slices, columns) and one "
                "angle for each projection"
            )
        projections, name = projections[:, slice(*slices) if slices else slice(None)], name or "scan"
    if not np.isfinite(projections).all():
        raise ValueError(f"{name}: {np.count_nonzero(~np.isfinite(projections))} of its line integrals are not finite")
    return projections, theta, name


def measured(
    scan: Scan,
    angles: str | Sequence[str] | None = None,
    center: float | None = None,
    center_convention: Literal["edge", "index"] = "edge",
    slices: tuple[int, int] | None = None,
    reader: Literal["auto", "dxchange", "h5py"] = "auto",
    images: str = "first",
    device: str = "cpu",
    name: str | None = None,
    reference: bool = False,
    material: float | None = None,
) -> list[SliceCase]:
    """Slices of a measured scan.

    Held out are the projections outside of `angles` (modulo 180°), or every tenth where there are none outside. Where
    the whole scan spans 165° and more, and `angles` leaves some of it out, each method also reconstructs the full range
    first, and is compared with that. With `reference`, images and their segmentations by Otsu's threshold are compared
    with those of total variation from the full range instead.

    Parameters
    ----------
    scan : str or Path, or (array_like, array_like)
        A Data Exchange file, see `io.read_projections`; or line integrals (angles, slices, columns) and angles in
        radians.
    angles : str or sequence of str, optional
        ``'first:last'`` in degrees, one or several; None: the whole scan.
    center : float, optional
        Rotation axis in columns; None: the middle of the detector.
    center_convention : {'edge', 'index'}
        'index' for a centre from a finder.
    slices : (int, int), optional
        First, and the one after the last.
    reader : {'auto', 'dxchange', 'h5py'}
        Of a file.
    images : {'first', 'all', 'none'}
        Slices whose reconstructions are kept; those of the full range are always kept, to be compared with.
    device : str
        A torch device.
    name : str, optional
        In tables; None: the file's, or 'scan'.
    reference : bool
        Whether to compare with total variation from the full range.
    material : float, optional
        Attenuation of the material per column, for methods that are told it.

    Raises
    ------
    ValueError
        For arrays that do not fit together or are not finite, a centre off the detector, and angles that leave no
        projection to use or none to hold out; for a reference from a scan of less than 165°, or from all that is used;
        for a material that is not above 0.
    """
    projections, theta, name = _read(scan, slices, reader, name)
    columns, degrees = projections.shape[2], np.rad2deg(theta)
    axis = float(check_centers(center, 1, columns, center_convention)[0])
    if not np.isfinite(degrees).all():
        raise ValueError(f"{name}: theta of projection {np.flatnonzero(~np.isfinite(degrees))[0]} is not finite")
    if not isinstance(scan, (str, Path)):
        theta = check_theta(theta, len(theta))
        degrees = np.rad2deg(theta)
    if material is not None and not 0 < material < np.inf:
        raise ValueError(f"material={material}: its attenuation per column must be above 0")
    references: dict[int, np.ndarray] | None = {} if reference else None
    opened = _Scan(name, projections, theta, axis, slices[0] if slices else 0, device, material, references)
    ranges = [angles] if angles is None or isinstance(angles, str) else list(angles)
    parts = [_split(degrees, angular_range) for angular_range in ranges]
    full = np.ptp(degrees) >= FULL_RANGE
    if reference and not (full and all(outside for _, _, outside in parts)):
        raise ValueError(
            f"{name}: a reference needs a scan of {FULL_RANGE:g}° and more, of which the angular range leaves some "
            f"out; it has {np.ptp(degrees):.4g}°, and angles={angles!r}"
        )
    slice_cases: list[SliceCase] = []
    for k in range(projections.shape[1]):
        keep = images == "all" or (images == "first" and k == 0)
        own_full_range = ""
        if full and not reference and any(outside for _, _, outside in parts):
            slice_cases.append(opened.slice_case(k, "full", np.arange(len(degrees))))
            own_full_range = opened.case_name("full")
        for angular_range, (used, held_out, outside) in zip(ranges, parts, strict=True):
            compared = own_full_range if outside else ""
            slice_cases.append(opened.slice_case(k, angular_range or "all", used, held_out, keep, compared))
    return slice_cases


def htc2022(
    folder: str | Path,
    angles: str | Sequence[str] = HTC2022_RANGES,
    images: str = "first",
    device: str = "cpu",
) -> list[SliceCase]:
    """Discs of the Helsinki Tomography Challenge 2022, each by itself, beside the reference from the full half turn.

    The challenge scores a segmentation of limited-angle data by its Matthews correlation (MCC) with that of the full
    scan (A. Meaney, F. Silva de Moura, M. Juvonen and S. Siltanen, doi:10.5281/zenodo.8041800).

    Parameters
    ----------
    folder : str or Path
        With files ``htc2022_*.h5`` in the Data Exchange layout, one disc each: the challenge's data rebinned to
        parallel rays over half a turn. Attributes of ``/exchange``: ``center``, the axis in columns (edge convention),
        else the middle; ``attenuation_of_the_material`` per column, which is told to the methods that use it.
    angles : str or sequence of str
        Angular ranges in degrees.
    images : {'first', 'all', 'none'}
    device : str

    Raises
    ------
    FileNotFoundError
        For a folder without such files.
    ValueError
        As of `measured`.
    """
    paths = sorted(Path(folder).glob("htc2022_*.h5"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no files htc2022_*.h5; give the folder with the discs of the challenge")
    slice_cases = []
    for path in paths:
        with import_h5py().File(path, "r") as file:
            attributes = file["exchange"].attrs
            center, material = (
                float(attributes[key]) if key in attributes else None
                for key in ("center", "attenuation_of_the_material")
            )
        slice_cases += measured(
            path, angles, center, slices=(0, 1), images=images, device=device, reference=True, material=material
        )
    return slice_cases
