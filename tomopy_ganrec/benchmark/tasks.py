"""What a benchmark runs: slices, methods and seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tomopy_ganrec.projector import ParallelBeamProjector

from .cases import Case, Wedge
from .implementations import MEMORY_LIMIT
from .methods import Method
from .store import COLUMNS

__all__ = ["Cell", "Measurement", "Task", "cells", "simulated"]


@dataclass(frozen=True)
class Measurement:
    """What a task's methods are given, and what they are judged by.

    Attributes
    ----------
    projector : ParallelBeamProjector
    sinogram : (1, angles, columns) tensor
    truth : (rows, cols) array, optional
    held_out : (ParallelBeamProjector, (1, angles, columns) tensor), optional
        Projections that are not used.
    """

    projector: ParallelBeamProjector
    sinogram: torch.Tensor
    truth: np.ndarray | None = None
    held_out: tuple | None = None


@dataclass(frozen=True)
class Task:
    """One slice of one case.

    Attributes
    ----------
    columns : dict
        What its rows say of it: `results.COLUMNS` from ``case`` to ``setup``.
    load : callable
        Gives its `Measurement`.
    keep_images : bool
    full_range : str
        Name of the case with the full range of a scan's angles, for the distance to it.
    """

    columns: dict
    load: Callable[[], Measurement]
    keep_images: bool = True
    full_range: str = ""

    @property
    def weight(self) -> float:
        """Samples that a projection touches: its time is in proportion."""
        return self.columns["size"] ** 2 * self.columns["projections"]


@dataclass(frozen=True)
class Cell:
    """One method, with one seed, on one task."""

    task: Task
    method: Method
    seed: int | None

    @property
    def row(self) -> dict:
        """Its row before it ran."""
        method = self.method
        known = dict(
            method=method.name, label=method.label, parameters=method.parameters, oracle=method.oracle, seed=self.seed
        )
        return (
            dict.fromkeys(COLUMNS) | self.task.columns | known | dict(status="failed", error="", image="", reference="")
        )


def simulated(cases: Sequence[Case], slices=1, object_seeds=(0,), images="first", device="cpu") -> list[Task]:
    """Tasks for cases of phantoms: `images` of which slices to keep, 'first' (of each case), 'all' or 'none'."""
    tasks = []
    for case in cases:
        for seed in object_seeds:
            for k in range(slices):

                def load(case=case, k=k, seed=seed):
                    truth, sinogram = case.slice(k, slices, seed)
                    projector = ParallelBeamProjector(
                        case.size, Wedge(case.wedge).theta, case.size, device=device, memory_limit=MEMORY_LIMIT
                    )
                    return Measurement(projector, torch.from_numpy(sinogram[None]).to(device), truth)

                keep = images == "all" or images == "first" and k == 0 and seed == object_seeds[0]
                sampling = "" if case.protocol == "pixel" else f", {case.oversample} times finer than the grid"
                setup = f"one of {slices} slices{sampling}"
                tasks.append(Task(case.columns | dict(slice=k, object_seed=seed, setup=setup), load, keep))
    return tasks


def cells(tasks: Sequence[Task], methods: Sequence[Method], seeds=(0,)) -> list[Cell]:
    """All cells that make sense: oracles where there is a truth, methods with a seed once a seed, the others once."""
    found = []
    for task in tasks:
        measured = task.columns["protocol"] == "measured"
        for method in methods:
            if (
                method.unavailable
                or method.oracle
                and measured
                or method.noisy_only
                and task.columns["photons"] is None
                and not measured
            ):
                continue
            found += [Cell(task, method, seed) for seed in (seeds if method.seeded else (None,))]
    return found
