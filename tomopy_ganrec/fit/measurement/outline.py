"""Outline of an object from the edges of its projections: a fitted circle or ellipse, or the convex hull.

An edge of a projection is a line that the object touches: with t = col · cos θ − row · sin θ, the object lies within
a ≤ t ≤ b of the projection at θ. So the edges are values of the support function of its convex hull, h(φ) = max over
the object of col · cos φ − row · sin φ: b at φ = θ and −a at φ = θ + π.

Measured: two acrylic discs (HTC2022, start image, Matthews correlation with the segmentation of the full half turn)
gain from .844 and .815 to .933 and .885 over 60°, from .721 and .715 to .847 and .840 over 30°; with the attenuation
bounded by that of acrylic from .968 and .951 to .983 and .967, and from .835 and .800 to .910 and .860. Where the
outline is a hull it brings less, and not on every object (gaussian MSSIM, 128², mean of three seeds): zeolite over 60°,
bounded, .817 to .821, 51 projections over 70° .898 to .910; shale over 90° .934 to .931. So it is not the default. The
search for the bound itself (``max_attenuation='auto'``) gains, too: over 60° it finds that of acrylic within 1 or 2 %
in both discs, and without the outline in neither.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from tomopy_ganrec.solvers.forward_model import ForwardModel, center_of, pixel_size_of, required_angles

__all__ = ["Outline", "estimate_outline", "outlines"]

# Columns outside and inside of an edge that its fit looks at.
OUTSIDE, INSIDE = 8, 6
EDGE_STEP = 0.05  # columns
# Projections of a round rim begin like the square root of the distance, those of a corner in proportion to it.
POWERS = 0.5, 1.0
# Above the mean of the columns outside, in standard deviations of the noise and relative to the largest values, three
# columns are an edge.
SIGNIFICANT, FAINT = 6.0, 0.01
LARGEST_BACKGROUND = 0.03  # of the largest values: with more outside of an edge, the object is wider than the detector
STEADY = 0.1  # columns: standard error that the mean of neighbouring edges is to have
MOST_NEIGHBOURS = 7  # on either side
LEAST_NEIGHBOURS = 2  # whose mean a circle or an ellipse has to explain, so that a single wrong edge does not decide
OUTLIER = 5.0  # spreads from the median of its neighbours
LARGEST_GAP = np.radians(8)  # between neighbours
# Columns, or shares of the mean radius, by which neighbouring tangents of a circle or an ellipse may be off. Those of
# measured acrylic discs (HTC2022, radius 118) are off by up to .24, those of simulated circles by .05. Of other shapes
# (ovals, rounded squares, wavy circles) a few are within that over 30°, and lose up to 5 % of their area, and nearly
# none over 60°. Over 60° many of them look like an ellipse, which then cuts off up to 17 %; over 90° hardly any.
FIT_TOLERANCE, RELATIVE_TOLERANCE = 0.3, 0.003
SMALLEST_RANGE = {"circle": 0.0, "ellipse": np.radians(75)}  # of the directions on one side
LARGEST_DEVIATION = 3.0  # and standard errors of their mean beyond that: the largest of some hundred
GAUSS_NEWTON_STEPS = 20
CORRELATED = 4.0  # factor of the variance, since errors of neighbouring tangents are alike
CONFIDENCE = 2.0  # standard errors by which the outline is wider
HULL_MARGIN = 0.5  # columns more: the tip of a corner is fainter than what counts as an edge
DIRECTIONS = 360
LEAST_EDGES = 8  # on both sides together, below which there is no outline


class Outline(NamedTuple):
    """Where an object may be.

    Attributes
    ----------
    support : (rows, cols) bool array
    kind : str
        'circle', 'ellipse', 'hull', or 'none' where the edges of the object are not seen: then all of the grid.
    """

    support: np.ndarray
    kind: str


def estimate_outline(
    sinogram: np.ndarray,
    theta: np.ndarray,
    center: float,
    size: tuple[int, int],
    pixel_size: float = 1.0,
    margin: float = 0.75,
) -> Outline:
    """The outline of an object from its sinogram.

    Parameters
    ----------
    sinogram : (angles, columns) array
        Line integrals.
    theta : (angles,) array
        Radians.
    center : float
        Rotation axis on the detector in columns, edge convention.
    size : (int, int)
        Rows and columns of the slice.
    pixel_size : float
        Side of a pixel in detector columns.
    margin : float
        By how much the outline is widened, in columns, beyond its own uncertainty; with the default it holds every
        pixel that the object covers in part.

    Returns
    -------
    Outline
    """
    sinogram, theta = np.asarray(sinogram, np.float64), np.asarray(theta, np.float64)
    direction, tangent, spread = _tangents(sinogram, theta, center)
    if len(tangent) < LEAST_EDGES:
        return Outline(np.ones(size, bool), "none")
    reach = min(MOST_NEIGHBOURS, max(0, int(np.ceil(((spread / STEADY) ** 2 - 1) / 2))))
    error = spread / np.sqrt(2 * reach + 1)
    for kind in ("circle", "ellipse"):
        conic = _Conic.fitted(kind, direction, tangent)
        if conic is None or _range(direction) < SMALLEST_RANGE[kind]:
            continue
        deviation = _smoothed(direction, tangent - conic.tangent(direction), max(reach, LEAST_NEIGHBOURS))
        tolerance = max(FIT_TOLERANCE, RELATIVE_TOLERANCE * float(tangent.mean()))
        if np.abs(deviation).max() <= tolerance + LARGEST_DEVIATION * error:
            every = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
            limit = conic.tangent(every) + CONFIDENCE * conic.error(every) + max(float(deviation.max()), 0.0)
            return Outline(_inside(every, limit + margin, size, pixel_size), kind)
    # The mean over neighbours is for what a circle leaves, which changes little between them.
    design = np.stack([np.ones_like(direction), np.cos(direction), np.sin(direction)], 1)
    circle = design @ np.linalg.lstsq(design, tangent, rcond=None)[0]
    limit = circle + _smoothed(direction, tangent - circle, reach) + CONFIDENCE * error + HULL_MARGIN
    return Outline(_inside(direction, limit + margin, size, pixel_size), "hull")


def outlines(model: ForwardModel, sinogram: torch.Tensor) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The support of each slice by its `estimate_outline`, (n, rows, cols) of 0 and 1, and its kind.

    Parameters
    ----------
    model : ForwardModel
        With angles.
    sinogram : (n, angles, columns) tensor
    """
    theta, pixel_size = required_angles(model), pixel_size_of(model)
    centers = np.broadcast_to(np.asarray(center_of(model), np.float64), len(sinogram))
    rows, cols = model.domain_shape
    found = [
        estimate_outline(one, theta, float(center), (rows, cols), pixel_size)
        for one, center in zip(sinogram.detach().cpu().numpy(), centers, strict=True)
    ]
    support = torch.from_numpy(np.stack([outline.support for outline in found])).to(sinogram)
    return support, tuple(outline.kind for outline in found)


def _inside(direction: np.ndarray, limit: np.ndarray, size: tuple[int, int], pixel_size: float) -> np.ndarray:
    """The pixels with col · cos φ − row · sin φ ≤ limit for all directions φ, (rows, cols)."""
    y = (np.arange(size[0]) - (size[0] - 1) / 2)[:, None] * pixel_size
    x = (np.arange(size[1]) - (size[1] - 1) / 2)[None] * pixel_size
    c, s = np.cos(direction), np.sin(direction)
    limit = limit + y * s  # of x · cos φ, in each row
    right, left = c > 1e-9, c < -1e-9
    last = np.min(limit[:, right] / c[right], axis=1, initial=np.inf, keepdims=True)
    first = np.max(limit[:, left] / c[left], axis=1, initial=-np.inf, keepdims=True)
    within = (limit[:, ~right & ~left] >= 0).all(1, keepdims=True)
    return within & (first <= x) & (x <= last)


def _tangents(sinogram: np.ndarray, theta: np.ndarray, center: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Directions φ and values h(φ) of the support function that edges show, and the spread of one value.

    Values far from those of their neighbours are left out.
    """
    columns = sinogram.shape[1]
    right, left = columns - _first_edges(sinogram[:, ::-1]) - center, center - _first_edges(sinogram)
    direction = np.concatenate([theta, theta + np.pi]) % (2 * np.pi)
    tangent = np.concatenate([right, left])
    known = np.isfinite(tangent)
    order = np.flatnonzero(known)[np.argsort(direction[known], kind="stable")]
    direction, tangent = direction[order], tangent[order]
    if len(tangent) < LEAST_EDGES:
        return direction, tangent, 0.0
    between = tangent - tangent[_neighbours(direction, 1)].mean(1)  # σ · √⅔ of independent errors
    spread = 1.4826 * float(np.median(np.abs(between))) / np.sqrt(2 / 3)
    deviation = tangent - np.median(tangent[_neighbours(direction, 2)], axis=1)
    good = np.abs(deviation) <= max(OUTLIER * spread, 1.0)
    return direction[good], tangent[good], spread


def _first_edges(projections: np.ndarray) -> np.ndarray:
    """The edge of the object nearest to the first column, in columns from there, (angles,); NaN: not seen."""
    count, columns = projections.shape
    if columns < OUTSIDE + INSIDE + 4:
        return np.full(count, np.nan)
    top = float(np.quantile(projections, 0.98))
    outer = projections[:, :6]
    second = outer[:, 2:] - 2 * outer[:, 1:-1] + outer[:, :-2]
    noise = float(np.median(np.abs(second))) / 0.6745 / np.sqrt(6)
    threshold = max(SIGNIFICANT * noise / np.sqrt(3), FAINT * top)
    background = np.cumsum(projections, 1) / np.arange(1, columns + 1)  # mean of the columns up to each
    ahead = (projections[:, :-2] + projections[:, 1:-1] + projections[:, 2:]) / 3
    k = np.arange(3, columns - 2 - INSIDE)
    rises = ahead[:, k] - background[:, k - 2] > threshold
    every, first = np.arange(count), k[rises.argmax(1)] + 1
    level = background[every, first - 3]
    seen = rises.any(1) & (np.abs(level) <= LARGEST_BACKGROUND * top)
    near = first[:, None] + np.arange(-OUTSIDE, INSIDE)
    values = np.where(near < 0, level[:, None], projections[every[:, None], near.clip(min=0)])
    offsets, bases = _edge_models()
    explained = np.square(np.einsum("nw,kwj->nkj", values, bases)).sum(2)
    return np.where(seen, first + offsets[explained.argmax(1)], np.nan)


def _edge_models() -> tuple[np.ndarray, np.ndarray]:
    """Edges relative to the first column inside, (k,), and orthonormal bases of the projections there, (k, window, 2).

    A projection is a background + a multiple of max(t − edge, 0) to a power, averaged over each column.
    """
    offsets = np.tile(np.arange(-4.0, 3.0 + EDGE_STEP / 2, EDGE_STEP), len(POWERS))
    powers = np.repeat(POWERS, len(offsets) // len(POWERS))[:, None]
    column = np.arange(-OUTSIDE, INSIDE + 1) - offsets[:, None]
    rise = np.diff(np.maximum(column, 0) ** (powers + 1), axis=1) / (powers + 1)
    bases, _ = np.linalg.qr(np.stack([np.ones_like(rise), rise], 2))
    return offsets, bases


def _neighbours(direction: np.ndarray, reach: int) -> np.ndarray:
    """Indices of values on either side, (n, 2 · reach + 1); the value itself in place of those beyond `LARGEST_GAP`."""
    n = len(direction)
    index = (np.arange(n)[:, None] + np.arange(-reach, reach + 1)) % n
    gap = np.abs((direction[index] - direction[:, None] + np.pi) % (2 * np.pi) - np.pi)
    return np.where(gap <= LARGEST_GAP, index, np.arange(n)[:, None])


def _range(direction: np.ndarray) -> float:
    """The angular range of the scan that the tangents come from, at most π."""
    ordered = np.sort(direction % np.pi)
    return float(np.pi - np.diff(ordered, append=ordered[0] + np.pi).max())


def _smoothed(direction: np.ndarray, values: np.ndarray, reach: int) -> np.ndarray:
    """Means over neighbouring directions, so many on either side."""
    return values[_neighbours(direction, reach)].mean(1)


class _Conic:
    """A circle or an ellipse by its support function c · n + √(A + B cos 2φ + C sin 2φ), n = (cos φ, −sin φ)."""

    def __init__(self, parameters: np.ndarray, covariance: np.ndarray):
        self._parameters, self._covariance = parameters, covariance

    @classmethod
    def fitted(cls, kind: str, direction: np.ndarray, tangent: np.ndarray) -> _Conic | None:
        """By least squares of the tangents, with Huber's weights; None where there is none."""
        count = 3 if kind == "circle" else 5
        radius = max((tangent.max() + tangent.min()) / 2, 1.0)
        parameters = np.array([0.0, 0.0, radius**2, 0.0, 0.0])
        for _ in range(GAUSS_NEWTON_STEPS):
            if not _is_positive(parameters):
                return None
            design, value = _linearised(parameters, direction)
            design, residual = design[:, :count], tangent - value
            scale = 1.4826 * np.median(np.abs(residual)) + 1e-6
            weight = np.sqrt(np.minimum(1, 1.5 * scale / np.maximum(np.abs(residual), 1e-12)))
            parameters[:count] += np.linalg.lstsq(design * weight[:, None], residual * weight, rcond=None)[0]
        if not _is_positive(parameters):
            return None
        variance = float(np.square(residual).mean())
        covariance = np.zeros((5, 5))
        covariance[:count, :count] = CORRELATED * variance * np.linalg.pinv(design.T @ design)
        return cls(parameters, covariance)

    def tangent(self, direction: np.ndarray) -> np.ndarray:
        """h(φ)."""
        return _linearised(self._parameters, direction)[1]

    def error(self, direction: np.ndarray) -> np.ndarray:
        """The standard error of h(φ)."""
        design, _ = _linearised(self._parameters, direction)
        return np.sqrt(np.einsum("ni,ij,nj->n", design, self._covariance, design))


def _is_positive(parameters: np.ndarray) -> bool:
    return bool(parameters[2] > 1.01 * np.hypot(parameters[3], parameters[4]))


def _linearised(parameters: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The derivatives of the support function by the parameters of a conic, (n, 5), and its values, (n,)."""
    c, s, double = np.cos(direction), -np.sin(direction), 2 * direction
    shape = np.stack([np.ones_like(c), np.cos(double), np.sin(double)], 1)
    half_width = np.sqrt(shape @ parameters[2:])
    design = np.concatenate([np.stack([c, s], 1), shape / (2 * half_width[:, None])], 1)
    return design, c * parameters[0] + s * parameters[1] + half_width
