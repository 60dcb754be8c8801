"""A measured scan: no truth, so methods are judged by projections they were not given, and by their own slice from the full range."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from tomopy_ganrec import io
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.validation import check_centers, check_theta

from .implementations import MEMORY_LIMIT
from .tasks import Measurement, Task

__all__ = ["measured"]

FULL_RANGE = 165.0  # degrees from which on a scan serves as its own reference
HELD_OUT = 10  # of a scan without projections outside the wedge, one in so many is kept back


def _split(degrees: np.ndarray, angles) -> tuple[np.ndarray, np.ndarray, bool]:
    """Indices of the projections used and of those held out: what lies outside the wedge (true), or, where nothing does, every tenth of it.

    A projection and the one half a turn on are mirror images, so that angles count modulo 180°.
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
            f"angles={angles!r}: of {len(degrees)} projections {used.size} would be used and {rest.size} held out; both are needed"
        )
    return used, rest, outside


def measured(
    scan,
    angles=None,
    center=None,
    center_convention="edge",
    slices=None,
    reader="auto",
    images="first",
    device="cpu",
    name=None,
) -> list[Task]:
    """Tasks for a measured scan.

    Held out are the projections outside of `angles` (modulo 180°), or every tenth where there are none outside. Where the whole scan spans
    165° and more, and `angles` leaves some of it out, each method also reconstructs the full range first, and is compared with that.

    Parameters
    ----------
    scan : str or Path, or (array_like, array_like)
        A Data Exchange file, see `io.read_projections`; or line integrals (angles, slices, columns) and angles in radians.
    angles : str, optional
        ``'first:last'`` in degrees; None: the whole scan.
    center : float, optional
        Rotation axis in columns; None: the middle of the detector.
    center_convention : {'edge', 'index'}
        'index' for a centre from a finder.
    slices : (int, int), optional
        First, and the one after the last.
    reader : {'auto', 'dxchange', 'h5py'}
        Of a file.
    images : {'first', 'all', 'none'}
        Of which slices to keep reconstructions; those of the full range are always kept, to be compared with.
    device : str
    name : str, optional
        In tables; None: the file's, or 'scan'.
    """
    if isinstance(scan, (str, Path)):
        projections, theta = io.read_projections(scan, slices, reader=reader)
        name = name or Path(scan).stem
    else:
        projections, theta = (np.asarray(array) for array in scan)
        if projections.ndim != 3 or theta.shape != projections.shape[:1]:
            raise ValueError(
                f"projections {projections.shape} and theta {theta.shape}: give (angles, slices, columns) and one angle for each projection"
            )
        projections, name = projections[:, slice(*slices) if slices else slice(None)], name or "scan"
    if not np.isfinite(projections).all():
        raise ValueError(f"{name}: {np.count_nonzero(~np.isfinite(projections))} of its line integrals are not finite")
    columns, degrees, first = projections.shape[2], np.rad2deg(theta), slices[0] if slices else 0
    center = float(check_centers(center, 1, columns, center_convention)[0])
    if not np.isfinite(degrees).all():
        raise ValueError(f"{name}: theta of projection {np.flatnonzero(~np.isfinite(degrees))[0]} is not finite")
    if not isinstance(scan, (str, Path)):
        theta = check_theta(theta, len(theta))
        degrees = np.rad2deg(theta)
    used, rest, outside = _split(degrees, angles)
    with_full = outside and np.ptp(degrees) >= FULL_RANGE

    def task(k: int, digest: str, wedge: str, keep: np.ndarray, held_out: np.ndarray | None) -> Task:
        def part(indices):
            sinogram = np.ascontiguousarray(projections[indices, k][None], np.float32)
            model = ParallelBeamProjector(
                columns, theta[indices], columns, center, device=device, memory_limit=MEMORY_LIMIT
            )
            return model, torch.from_numpy(sinogram).to(device)

        def load():
            return Measurement(*part(keep), held_out=None if held_out is None else part(held_out))

        known = dict(
            case=f"{name}-{columns}-{wedge.replace(':', 'to')}", object=name, protocol="measured", size=columns, wedge=wedge,
            degrees=round(float(np.ptp(degrees[keep])), 6), projections=len(keep), photons=None, slice=first + k, object_seed=None,
            setup=f"axis at {center:g} columns, data {digest}",
        )  # fmt: skip
        keep_images = images == "all" or images == "first" and k == 0 or wedge == "full"
        return Task(known, load, keep_images, f"{name}-{columns}-full" if held_out is not None and with_full else "")

    tasks = []
    for k in range(projections.shape[1]):
        digest = hashlib.sha1(np.ascontiguousarray(projections[:, k], np.float32).tobytes()).hexdigest()[:10]
        if with_full:
            tasks.append(task(k, digest, "full", np.arange(len(degrees)), None))
        tasks.append(task(k, digest, angles or "all", used, rest))
    return tasks
