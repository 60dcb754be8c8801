"""Methods that other groups published, restated on this package's projector."""

import numpy as np
import torch

from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.directional_tv import directional_tv
from tomopy_ganrec.solvers.forward_model import data_scale, field_of_view

from .deep_image_prior import deep_image_prior
from .implementations import Image, Problem

__all__ = ["DIP_ITERATIONS", "DIRECTIONAL_TV_ITERATIONS", "dip_tv", "directional_tv_in_circle", "enclosing_circle"]

# λ of CIL's entry to HTC2022 at its 512 columns, where the material is 1 and s² = 8/‖A‖²: its α = 0.01 for least
# squares over 181 projections of 90°, pixels of 0.148 mm and acrylic of 0.0409/mm, is 37.5 for ½‖A x − b‖² in columns.
# An edge is as long as the object is wide, the data term as large as its area: λ grows with the number of columns.
TV_WEIGHT_AT_512 = 3.2e-3
DIRECTIONAL_SHARE = 3.0  # μ/λ, as there
DIRECTIONAL_TV_ITERATIONS = 300
DIP_ITERATIONS = 800
MEASURABLE = 0.05  # share of the largest line integral from which on a ray counts as through the object
MARGIN = 1.0  # columns around the fitted circle: the edges are known to a column


def enclosing_circle(sinogram: np.ndarray, theta: np.ndarray, center: float) -> tuple[float, float, float]:
    """The circle whose tangents are nearest to the measured edges of an object, with all of these inside.

    The edges of a projection, from the axis, are ``col cos θ − row sin θ ± radius`` for a disc at (row, col): a linear
    least-squares problem. The radius is then made larger by the largest distance of an edge outside of the circle.

    Parameters
    ----------
    sinogram : (angles, columns) array
    theta : (angles,) array
        Radians.
    center : float
        Axis in columns, edge convention.

    Returns
    -------
    row, col, radius : float
        In columns, from the axis.
    """
    inside = sinogram > MEASURABLE * sinogram.max()
    seen = inside.any(1)
    if not seen.any():
        return 0.0, 0.0, float(sinogram.shape[1])
    inside, theta = inside[seen], np.asarray(theta)[seen]
    first = inside.argmax(1) - center
    last = inside.shape[1] - inside[:, ::-1].argmax(1) - center
    position = np.stack([-np.sin(theta), np.cos(theta)], 1)
    ones = np.ones((len(theta), 1))
    system = np.concatenate([np.hstack([position, ones]), np.hstack([-position, ones])])
    edges = np.concatenate([last, -first])
    solution = np.linalg.lstsq(system, edges, rcond=None)[0]
    row, col, radius = (float(value) for value in solution)
    return row, col, radius + max(0.0, float((edges - system @ solution).max()))


def _scale(problem: Problem) -> float:
    """The material's attenuation where it is told, else twice the mean in the field of view."""
    if problem.material:
        return problem.material
    mask = field_of_view(problem.projector, problem.sinogram.device).to(problem.sinogram)
    return float(data_scale(problem.projector, problem.sinogram, mask))


def _circular_mask(projector: ParallelBeamProjector, row: float, col: float, radius: float) -> torch.Tensor:
    rows, cols = projector.domain_shape
    y, x = np.mgrid[:rows, :cols]
    return torch.from_numpy(np.hypot(y - (rows - 1) / 2 - row, x - (cols - 1) / 2 - col) <= radius + MARGIN)


def directional_tv_in_circle(problem: Problem) -> Image:
    """`directional_tv`, from 0 to the material's attenuation inside the circle that encloses the object."""
    scale, projector = _scale(problem), problem.projector
    mask = _circular_mask(projector, *enclosing_circle(*problem.measured)).to(problem.sinogram.device)
    upper = torch.where(mask, 1.0 if problem.material else torch.inf, 0.0)
    weight = TV_WEIGHT_AT_512 * projector.columns / 512
    data = problem.sinogram / scale
    return (
        scale * directional_tv(projector, data, weight, DIRECTIONAL_SHARE * weight, upper, DIRECTIONAL_TV_ITERATIONS)[0]
    )


def dip_tv(problem: Problem) -> Image:
    """`deep_image_prior` with the weight of total variation of `directional_tv_in_circle`."""
    scale, projector = _scale(problem), problem.projector
    weight = TV_WEIGHT_AT_512 * projector.columns / 512
    image = deep_image_prior(projector, problem.sinogram / scale, weight, DIP_ITERATIONS, seed=problem.seed)
    return scale * image[0]
