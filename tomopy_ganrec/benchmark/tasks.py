"""Slices, methods and seeds of a benchmark, and their combinations to be run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tomopy_ganrec.projector import ParallelBeamProjector

from .cases import AngularRange, Case
from .implementations import MEMORY_LIMIT
from .methods import Method
from .rows import COLUMNS, Row

__all__ = ["SLOW_RANGES", "BenchmarkRun", "Projections", "SliceCase", "SliceData", "runs_of", "simulated"]

SLOW_RANGES = ("120", "90", "60")  # angular ranges from which peers that are slower than quality='best' run

Projections = tuple[ParallelBeamProjector, torch.Tensor]  # a geometry and its (1, angles, columns) sinogram


@dataclass(frozen=True)
class SliceData:
    """Data of one slice for all methods, and what their results are compared with.

    Attributes
    ----------
    projector : ParallelBeamProjector
    sinogram : (1, angles, columns) float32 tensor
        On the projector's device.
    truth : (rows, cols) float32 array, optional
    held_out : (ParallelBeamProjector, (1, angles, columns) tensor), optional
        Projections that the methods are not given.
    reference : (rows, cols) float32 array, optional
        Of a scan: TV from its full range, with which images and their segmentations are compared.
    material : float, optional
        Attenuation per column of the material, for methods that are told it.
    """

    projector: ParallelBeamProjector
    sinogram: torch.Tensor
    truth: np.ndarray | None = None
    held_out: Projections | None = None
    reference: np.ndarray | None = None
    material: float | None = None


@dataclass(frozen=True)
class SliceCase:
    """One slice of one case.

    Attributes
    ----------
    columns : dict
        Values of `rows.COLUMNS` from ``case`` to ``setup``.
    load : callable
        Returns its `SliceData`.
    keep_images : bool
        Whether its reconstructions are stored.
    full_range : str
        Name of the case with the full range of a scan's angles, for the distance to it; '' for none.
    first : bool
        Whether it is the first slice of the first of a phantom's seeds, or of a scan.
    """

    columns: Row
    load: Callable[[], SliceData]
    keep_images: bool = True
    full_range: str = ""
    first: bool = True

    @property
    def weight(self) -> float:
        """Pixels times projections, to which the time of a projection is proportional."""
        return float(self.columns["size"] ** 2 * self.columns["projections"])


@dataclass(frozen=True)
class BenchmarkRun:
    """One reconstruction of a benchmark: one slice by one method with one seed."""

    slice_case: SliceCase
    method: Method
    seed: int | None

    @property
    def row(self) -> Row:
        """Its row of results before it has run."""
        method = self.method
        chosen = {
            "method": method.name,
            "label": method.label,
            "parameters": method.parameters,
            "oracle": method.oracle,
            "seed": self.seed,
        }
        outcome = {"status": "failed", "error": "", "image": "", "reference": ""}
        return dict.fromkeys(COLUMNS) | self.slice_case.columns | chosen | outcome


def simulated(
    cases: Iterable[Case],
    slices: int = 1,
    object_seeds: Sequence[int] = (0,),
    images: str = "first",
    device: str = "cpu",
) -> list[SliceCase]:
    """Slices of phantoms.

    Parameters
    ----------
    cases : iterable of Case
    slices : int
        Of each object, spread along its axis.
    object_seeds : sequence of int
    images : {'first', 'all', 'none'}
        Slices whose images are kept; 'first': the first of each case.
    device : str
        A torch device.
    """
    return [
        _simulated_slice(case, k, slices, seed, images, device, first=k == 0 and position == 0)
        for case in cases
        for position, seed in enumerate(object_seeds)
        for k in range(slices)
    ]


def _simulated_slice(case: Case, k: int, slices: int, seed: int, images: str, device: str, first: bool) -> SliceCase:
    def load() -> SliceData:
        truth, sinogram = case.slice(k, slices, seed)
        theta = AngularRange(case.angular_range).theta
        projector = ParallelBeamProjector(case.size, theta, case.size, device=device, memory_limit=MEMORY_LIMIT)
        return SliceData(projector, torch.from_numpy(sinogram[None]).to(device), truth, material=1.0)

    sampling = "" if case.protocol == "pixel" else f", {case.oversample} times finer than the grid"
    setup = f"one of {slices} slices{sampling}"
    keep_images = images == "all" or (images == "first" and first)
    columns = case.columns | {"slice": k, "object_seed": seed, "setup": setup}
    return SliceCase(columns, load, keep_images, first=first)


def runs_of(
    slice_cases: Iterable[SliceCase],
    methods: Sequence[Method],
    seeds: Sequence[int] = (0,),
    slow_everywhere: bool = False,
) -> list[BenchmarkRun]:
    """All runs that make sense, slice by slice.

    Oracles run where there is a truth, methods for noise where there is noise; a method with a seed runs once for each
    of `seeds`, the others once. Methods that are not available are left out, and those that need more projections. Slow
    peers run on the first slice of the first object, and of phantoms from the angular ranges `SLOW_RANGES`, unless they
    are to run everywhere.
    """
    return [
        BenchmarkRun(slice_case, method, seed)
        for slice_case in slice_cases
        for method in methods
        if _makes_sense(method, slice_case) and (slow_everywhere or not method.slow or _for_slow_peers(slice_case))
        for seed in (seeds if method.seeded else (None,))
    ]


def _for_slow_peers(slice_case: SliceCase) -> bool:
    measured = slice_case.columns["protocol"] == "measured"
    return slice_case.first and (measured or slice_case.columns["angular_range"] in SLOW_RANGES)


def _makes_sense(method: Method, slice_case: SliceCase) -> bool:
    if method.unavailable or min(slice_case.columns[name] for name in ("size", "projections")) < method.least:
        return False
    if slice_case.columns["protocol"] == "measured":
        return not method.oracle
    return not (method.noisy_only and slice_case.columns["photons"] is None)
