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

__all__ = ["BenchmarkRun", "Projections", "SliceCase", "SliceData", "runs_of", "simulated"]

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
    """

    projector: ParallelBeamProjector
    sinogram: torch.Tensor
    truth: np.ndarray | None = None
    held_out: Projections | None = None


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
    """

    columns: Row
    load: Callable[[], SliceData]
    keep_images: bool = True
    full_range: str = ""

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
        _simulated_slice(
            case, k, slices, seed, images == "all" or (images == "first" and k == 0 and position == 0), device
        )
        for case in cases
        for position, seed in enumerate(object_seeds)
        for k in range(slices)
    ]


def _simulated_slice(case: Case, k: int, slices: int, seed: int, keep_images: bool, device: str) -> SliceCase:
    def load() -> SliceData:
        truth, sinogram = case.slice(k, slices, seed)
        theta = AngularRange(case.angular_range).theta
        projector = ParallelBeamProjector(case.size, theta, case.size, device=device, memory_limit=MEMORY_LIMIT)
        return SliceData(projector, torch.from_numpy(sinogram[None]).to(device), truth)

    sampling = "" if case.protocol == "pixel" else f", {case.oversample} times finer than the grid"
    setup = f"one of {slices} slices{sampling}"
    return SliceCase(case.columns | {"slice": k, "object_seed": seed, "setup": setup}, load, keep_images)


def runs_of(
    slice_cases: Iterable[SliceCase], methods: Sequence[Method], seeds: Sequence[int] = (0,)
) -> list[BenchmarkRun]:
    """All runs that make sense, slice by slice.

    Oracles run where there is a truth, methods for noise where there is noise; a method with a seed runs once for each
    of `seeds`, the others once. Methods that are not available are left out.
    """
    return [
        BenchmarkRun(slice_case, method, seed)
        for slice_case in slice_cases
        for method in methods
        if _makes_sense(method, slice_case)
        for seed in (seeds if method.seeded else (None,))
    ]


def _makes_sense(method: Method, slice_case: SliceCase) -> bool:
    if method.unavailable:
        return False
    if slice_case.columns["protocol"] == "measured":
        return not method.oracle
    return not (method.noisy_only and slice_case.columns["photons"] is None)
