"""A grid finer than the detector: edges lie where they are, not on pixel borders, and the mean over each pixel is what is returned.

It pays where the noise is low enough to see structure below the pixel; with more noise it costs time and some quality.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from tomopy_ganrec.fit.measurement.measurement import Measurement, per_slice
from tomopy_ganrec.fit.measurement.pixel_response import compensate_response, pixel_response
from tomopy_ganrec.fit.measurement.regularization import LOW_NOISE
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.forward_model import field_of_view
from tomopy_ganrec.solvers.operators import filter_projections
from tomopy_ganrec.solvers.wedge import measured_frequencies

from .reweighted_tv import ROUND_ITERATIONS, fill_missing_wedge, tv_solver

__all__ = ["FineGrid", "fine_grid_steps", "refinement"]

STRENGTH = 0.7  # of λ on a grid twice as fine, by which total variations of the same image are about twice as large and s² four times
WARM = 42  # iterations before the first reweighting


def refinement(measurement: Measurement, options: GanrecOptions) -> int:
    """How many times finer the grid is to be."""
    if measurement.response is None or options.init != "tv":
        return 1
    if options.grid_factor is not None:
        return options.grid_factor
    low = max(s.relative_noise for s in measurement.settings) < LOW_NOISE
    return 2 if options.quality == "best" and low else 1


def fine_grid_steps(measurement: Measurement) -> int:
    """How many times `FinerGrid.begin` calls `notify`."""
    return WARM + measurement.settings[0].rounds * ROUND_ITERATIONS


@dataclass
class FineGrid:
    """Slices on a grid `factor` times finer.

    Attributes
    ----------
    measurement : Measurement
        The data as the finer grid's projector sees them.
    image : (B, factor · rows, factor · cols) tensor
    """

    factor: int
    measurement: Measurement
    options: GanrecOptions
    mask: torch.Tensor | None
    image: torch.Tensor

    @classmethod
    def begin(
        cls, measurement: Measurement, image: torch.Tensor, factor: int, options: GanrecOptions, notify
    ) -> "FineGrid":
        """Edge-reweighted total variation from `image`, (B, rows, cols)."""
        model = measurement.model.resampled(pixel_size=measurement.model.pixel_size / factor, rays_per_bin=2)
        columns = measurement.data.shape[2]
        response = pixel_response(model.theta, columns, model.pixel_size, 2).to(image)
        data = compensate_response(filter_projections(measurement.data, measurement.response), response)
        settings = [replace(s, tv_weight=STRENGTH * s.tv_weight) for s in measurement.settings]
        fine = replace(
            measurement, model=model, data=data, response=response, settings=settings, solver=None,
            spectrum=measurement.spectrum / measurement.response * response,
        )  # fmt: skip
        mask = field_of_view(model, image.device).to(image) if options.mask else None
        solver = tv_solver(fine, options, mask, _up(image, factor))
        tv_weight, edge_threshold = (
            per_slice((getattr(s, name) for s in settings), image) for name in ("tv_weight", "edge_threshold")
        )
        solver.run(tv_weight, WARM, on_iteration=notify)
        solver.reweight(tv_weight, edge_threshold, settings[0].rounds, ROUND_ITERATIONS, notify)
        return cls(factor, fine, options, mask, solver.x)

    def mean(self) -> torch.Tensor:
        """(B, rows, cols): over each pixel."""
        return F.avg_pool2d(self.image[:, None], self.factor)[:, 0]

    def agree(self, answer: torch.Tensor, notify) -> torch.Tensor:
        """The mean over each pixel once the image has taken from a network's answer, (B, rows, cols), what the scan has not measured."""
        missing = 1 - measured_frequencies(self.measurement.model.theta, answer.shape[1:]).to(answer)
        news = torch.fft.irfft2(torch.fft.rfft2(answer - self.mean()) * missing, s=answer.shape[1:])
        self.image = fill_missing_wedge(
            self.measurement, self.image + _up(news, self.factor), self.image, self.options, self.mask, notify
        )
        return self.mean()


def _up(x: torch.Tensor, factor: int) -> torch.Tensor:
    return F.interpolate(x[:, None], scale_factor=factor, mode="bilinear", align_corners=False)[:, 0]
