"""The finer grid and the learned wedge after the fit, where they are asked for."""

from __future__ import annotations

import torch

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.wedge import has_missing_wedge

from .fine_grid import FineGrid, grid_factor
from .reweighted_tv import WEDGE_ITERATIONS, fill_missing_wedge
from .stage_progress import StageProgress
from .wedge_learning import WedgeLearning

__all__ = ["Improvement"]


class Improvement:
    """The finer grid and the learned wedge of slices that share a measurement.

    The slices share a network. All else is computed slice by slice, so that it does not depend on the batch; slices
    that are solved jointly are one body.

    Parameters
    ----------
    measurement : Measurement
    options : GanrecOptions
    """

    def __init__(self, measurement: Measurement, options: GanrecOptions):
        self._across = options.slice_tv_weight
        rounds = options.resolved.wedge_rounds if has_missing_wedge(measurement.model) else 0
        count = len(measurement.data)
        joint = options.joint_slices > 1
        self._parts = [slice(count)] if joint else [slice(k, k + 1) for k in range(count)]
        places = torch.arange(count, device=measurement.data.device)
        self._bodies = [measurement.take(places[part]) for part in self._parts]
        factors = [grid_factor(body, options) for body in self._bodies]
        self._grids = [
            FineGrid(body, factor, self._across) if factor > 1 else None
            for body, factor in zip(self._bodies, factors, strict=True)
        ]
        self._learning = WedgeLearning(measurement, rounds, options.seed, self._across) if rounds else None

    @property
    def steps(self) -> int:
        """Iterations and training steps of `run`, at most."""
        steps = sum(grid.steps for grid in self._grids if grid is not None)
        if self._learning is None:
            return steps
        solves = (WEDGE_ITERATIONS if grid is None else grid.wedge_steps for grid in self._grids)
        return steps + self._learning.steps + sum(solves)

    def run(self, image: torch.Tensor, progress: StageProgress) -> tuple[torch.Tensor, float | None]:
        """The improved image (n, rows, cols), and the weight of the network's answer in it; None without a network.

        After a stop the image is what there is.
        """
        done = image.clone()
        with torch.no_grad():
            for part, grid in zip(self._parts, self._grids, strict=True):
                if grid is not None:
                    grid.run(image[part], progress)
                    if progress.stopped:
                        return done, None
                    done[part] = grid.mean()
        if self._learning is None:
            return done, None
        answer, weight = self._learning.run(image, progress)
        if weight > 0:
            with torch.no_grad():
                self._solve(answer, image, done, progress)
        return done, weight

    def _solve(self, answer: torch.Tensor, first: torch.Tensor, done: torch.Tensor, progress: StageProgress) -> None:
        """Bring the network's answer into agreement with the data, in `done`."""
        for part, grid, body in zip(self._parts, self._grids, self._bodies, strict=True):
            if grid is None:
                done[part] = fill_missing_wedge(body, answer[part], first[part], self._across, progress.step)
            else:
                done[part] = grid.fill_missing_wedge(answer[part], progress)
            if progress.stopped:
                return
