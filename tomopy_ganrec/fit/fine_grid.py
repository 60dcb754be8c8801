"""Reconstruction on a grid finer than the detector, averaged over its pixels: edge positions below the pixel size.

It pays where the noise is low enough to see structure below the pixel; with more noise it costs time and some quality.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.fit.measurement.regularization import LOW_NOISE
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.forward_model import required_angles
from tomopy_ganrec.solvers.reweighting import reweighted_rounds
from tomopy_ganrec.solvers.wedge import measured_frequencies

from .reweighted_tv import PRIOR_WEIGHT, ROUND_ITERATIONS, fill_missing_wedge, tv_solver
from .stage_progress import StageProgress

__all__ = ["FineGrid", "grid_factor"]

# Factor of λ on a grid twice as fine, where total variations of the same image are about twice as large and s² is four
# times as large.
FINE_GRID_TV_FACTOR = 0.7
FINE_PRIOR_FACTOR = 0.5  # of the weight of the image that fills the missing wedge
FINE_WEDGE_ROUNDS = 5  # of the solve that fills it; seven gain less than .001 MSSIM
PLAIN_ITERATIONS = 42  # before the first reweighting


def grid_factor(measurement: Measurement, options: GanrecOptions) -> int:
    """How many times finer the grid is to be."""
    if measurement.response is None or options.init != "tv":
        return 1
    if options.grid_factor is None and measurement.weights.largest_relative_noise >= LOW_NOISE:
        return 1
    return options.resolved.grid_factor


class FineGrid:
    """Slices on a grid some times finer than the detector.

    Parameters
    ----------
    measurement : Measurement
        On the detector's grid, of area means.
    factor : int
        How many times finer the grid is.
    across : float
        Weight of the difference between neighbouring slices.

    Attributes
    ----------
    measurement : Measurement
        From `run` on, the data as the finer grid's projector sees them.
    image : (n, factor · rows, factor · cols) tensor
        From `run` on.
    """

    def __init__(self, measurement: Measurement, factor: int, across: float = 0.0):
        self.measurement, self.factor, self._across = measurement, factor, across
        self.image: torch.Tensor

    @property
    def wedge_steps(self) -> int:
        """Iterations of `fill_missing_wedge`."""
        return FINE_WEDGE_ROUNDS * ROUND_ITERATIONS

    @property
    def steps(self) -> int:
        """Iterations of `run`."""
        return PLAIN_ITERATIONS + self.measurement.weights.rounds * ROUND_ITERATIONS

    def run(self, image: torch.Tensor, progress: StageProgress) -> None:
        """Edge-reweighted total variation from an image (n, rows, cols)."""
        self.measurement = self.measurement.on_finer_grid(self.factor, FINE_GRID_TV_FACTOR)
        weights, data = self.measurement.weights, self.measurement.data
        solver = tv_solver(self.measurement, self._finer(image), self._across)
        tv_weight = weights.tv_weight(data)
        solver.run(tv_weight, PLAIN_ITERATIONS, on_iteration=progress.step)
        self.image, _ = reweighted_rounds(
            solver,
            tv_weight,
            weights.edge_threshold(data),
            weights.rounds,
            ROUND_ITERATIONS,
            on_iteration=progress.step,
        )

    def mean(self) -> torch.Tensor:
        """The mean over each pixel of the detector's grid, (n, rows, cols)."""
        return F.avg_pool2d(self.image[:, None], self.factor)[:, 0]

    def fill_missing_wedge(self, prior_image: torch.Tensor, progress: StageProgress) -> torch.Tensor:
        """The mean over each pixel with what was not measured taken from a prior image (n, rows, cols)."""
        missing = 1 - measured_frequencies(required_angles(self.measurement.model), prior_image.shape[1:]).to(
            prior_image
        )
        difference = torch.fft.rfft2(prior_image - self.mean()) * missing
        change = torch.fft.irfft2(difference, s=prior_image.shape[1:])
        prior = self.image + self._finer(change)
        self.image = fill_missing_wedge(
            self.measurement,
            prior,
            self.image,
            self._across,
            progress.step,
            FINE_PRIOR_FACTOR * PRIOR_WEIGHT,
            FINE_WEDGE_ROUNDS,
        )
        return self.mean()

    def _finer(self, x: torch.Tensor) -> torch.Tensor:
        """An image (n, rows, cols) interpolated to the finer grid."""
        return F.interpolate(x[:, None], scale_factor=self.factor, mode="bilinear", align_corners=False)[:, 0]
