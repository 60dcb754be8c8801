"""Porous phantoms of two levels: a foam and a zeolite particle, whose pores are spheres that do not touch."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ._grid import REFERENCE, area_mean, points, positive, whole

__all__ = ["ZEOLITE_FIELD_OF_VIEW", "foam", "zeolite"]

_VOXEL = 2.0  # side in reference pixels of the voxels that hold one candidate centre each


def _candidates(rng: np.random.Generator, shape: tuple[int, int, int], low: tuple[float, float, float]) -> np.ndarray:
    """One random point (z, y, x) in each voxel of a box from `low` on: (3, *shape) float32 in reference pixels."""
    centres = rng.random((3, *shape), np.float32)
    for axis, start, index in zip(centres, low, np.indices(shape, np.float32, sparse=True), strict=True):
        axis += index
        axis *= np.float32(_VOXEL)
        axis += np.float32(start)
    return centres


def _pack(
    rng: np.random.Generator,
    centres: np.ndarray,
    low: tuple[float, float, float],
    clearance: np.ndarray,
    radii: np.ndarray,
    volumes: np.ndarray,
    wall: float,
    others: Iterable[Sequence[float]] = (),
    period: float = 0.0,
) -> np.ndarray:
    """Random spheres that keep a distance of `wall` from each other, the largest first. Lengths in reference pixels.

    Parameters
    ----------
    rng : numpy.random.Generator
    centres : (3, *shape) float32 array
        Possible centres of spheres: one point (z, y, x) for each voxel of a box that starts at `low`.
    low : (float, float, float)
        The corner (z, y, x) of the box.
    clearance : (*shape) float32 array
        The largest radius that the surroundings leave each centre; overwritten.
    radii : (n + 1,) array
        Falling bounds of n classes of radii.
    volumes : (n,) array
        A class is closed when all spheres together fill this volume, or when no centre has the clearance for its
        smallest radius.
    wall : float
        The least distance between two spheres.
    others : (m, 4) array
        Spheres (z, y, x, radius) that are there already.
    period : float
        Along z; 0 for a box that ends.

    Returns
    -------
    (spheres, 4) float64 array
        z, y, x and radius.
    """
    flat, positions = clearance.reshape(-1), centres.reshape(3, -1)
    spheres, filled = [], 0.0

    def exclude(z: float, y: float, x: float, radius: float, largest: float) -> None:
        """Lower the clearance around a new sphere, given the `largest` radius that is still to come."""
        reach = radius + wall + largest  # no sphere to come touches one that is farther away
        for image in (z - period, z, z + period) if period else (z,):
            spans = [
                (int((c - reach - start) // _VOXEL), int((c + reach - start) // _VOXEL) + 1)
                for c, start in zip((image, y, x), low, strict=True)
            ]
            box = tuple(slice(max(first, 0), max(last, 0)) for first, last in spans)
            dz, dy, dx = (axis[box] - np.float32(c) for axis, c in zip(centres, (image, y, x), strict=True))
            distance = np.sqrt(dz * dz + dy * dy + dx * dx)
            np.minimum(clearance[box], distance - np.float32(radius + wall), out=clearance[box])

    for z, y, x, radius in others:
        exclude(z, y, x, radius, radii[0])
    for largest, smallest, volume in zip(radii[:-1].tolist(), radii[1:].tolist(), volumes, strict=True):
        order = rng.permutation(np.flatnonzero(flat >= smallest))
        for i, part in zip(order.tolist(), rng.random(len(order)).tolist(), strict=True):
            if filled >= volume:
                break
            if (free := float(flat[i])) >= smallest:
                z, y, x = positions[:, i].tolist()
                radius = min(free, smallest + part * (largest - smallest))
                exclude(z, y, x, radius, largest)
                spheres.append((z, y, x, radius))
                filled += 4 / 3 * np.pi * radius**3
    return np.array(spheres)


def _carve(solid: np.ndarray, axis: np.ndarray, spheres: np.ndarray, heights: np.ndarray) -> None:
    """Set the discs in which spheres cut a slice to False.

    Parameters
    ----------
    solid : (n, n) bool array
        The slice; overwritten.
    axis : (n,) array
        The positions of its rows and of its columns.
    spheres : (m, 4) array
        z, y, x and radius.
    heights : (m,) array
        Of the centres above the slice.
    """
    square = spheres[:, 3] ** 2 - heights**2
    for (_, y, x, _), s in zip(spheres[square > 0].tolist(), square[square > 0].tolist(), strict=True):
        rows, cols = (slice(*np.searchsorted(axis, [c - s**0.5, c + s**0.5])) for c in (y, x))
        solid[rows, cols] &= (axis[rows, None] - y) ** 2 + (axis[cols] - x) ** 2 > s


# Of the cylinder, of the walls at least, and of the largest and the smallest voids, in reference pixels.
_FOAM_RADIUS, _FOAM_WALL, _FOAM_VOIDS = 0.92 * REFERENCE / 2, 0.3, (20.0, 1.5)


@lru_cache(maxsize=8, typed=True)
def _foam_voids(seed: int) -> np.ndarray:
    """(voids, 4) float64 in reference pixels: z, from 0 to the period 256, y and x from the axis, and the radius."""
    rng = np.random.default_rng((seed, 10))
    half = int(np.ceil(_FOAM_RADIUS / _VOXEL))
    low = (0.0, -half * _VOXEL, -half * _VOXEL)
    centres = _candidates(rng, (int(REFERENCE / _VOXEL), 2 * half, 2 * half), low)
    clearance = np.float32(_FOAM_RADIUS - 1) - np.sqrt(centres[1] ** 2 + centres[2] ** 2)
    volumes = np.linspace(0, 0.9, 17)[1:] * np.pi * _FOAM_RADIUS**2 * REFERENCE
    radii = np.geomspace(*_FOAM_VOIDS, 17)
    voids = _pack(rng, centres, low, clearance, radii, volumes, _FOAM_WALL, period=REFERENCE)
    voids.setflags(write=False)
    return voids


def foam(size: int = 256, slices: int = 1, seed: int = 0, oversample: int = 1, spacing: float = 1.0) -> np.ndarray:
    """A cylinder of foam in the manner of D. Pelt's foam_ct_phantom: closed spherical voids of widely varied sizes.

    Two levels, 1 in the solid and 0 in voids and air; voids take about 60 % of the cylinder. Of 256 pixels across,
    their radii are 1.5 to 20 and the walls between them 0.3 or more. The object is a function of the seed alone:
    another size samples the same foam. Along the cylinder it repeats after `size` pixels.

    Parameters
    ----------
    size, slices, oversample, spacing
        As of `shale`.
    seed : int
        Chooses the voids.

    Returns
    -------
    (slices, size, size) float32 array
        Attenuation per pixel, 0 to 1.

    Raises
    ------
    ValueError
        For counts that are no whole numbers of at least 1, or a spacing that is no finite number above 0.
    """
    size, slices, oversample = whole(size=size, slices=slices, oversample=oversample)
    (spacing,) = positive(spacing=spacing)
    voids, axis = _foam_voids(seed), points(size * oversample) - (REFERENCE - 1) / 2
    cylinder = axis[:, None] ** 2 + axis**2 <= _FOAM_RADIUS**2
    stack = np.empty((slices, size, size), np.float32)
    for k in range(slices):
        heights = voids[:, 0] - k * spacing * (REFERENCE / size)
        solid = cylinder.copy()
        _carve(solid, axis, voids, heights - REFERENCE * np.round(heights / REFERENCE))
        stack[k] = area_mean(solid, oversample)
    return stack


ZEOLITE_FIELD_OF_VIEW = 4.6  # µm across

_PER_MICROMETRE = REFERENCE / ZEOLITE_FIELD_OF_VIEW
_FACETS, _EQUIVALENT = 26, 3.2  # number, and the diameter in µm of the sphere of the particle's volume
_ZEOLITE_WALL, _ZEOLITE_PORES = 0.04 * _PER_MICROMETRE, (0.3 * _PER_MICROMETRE, 0.06 * _PER_MICROMETRE)


def _directions(n: int) -> np.ndarray:
    """`n` unit vectors spread evenly, (n, 3) float64."""
    z, turn = 1 - (2 * np.arange(n) + 1) / n, np.arange(n) * np.pi * (3 - np.sqrt(5))
    return np.stack([z, np.sqrt(1 - z**2) * np.sin(turn), np.sqrt(1 - z**2) * np.cos(turn)], 1)


def _gauge(facets: np.ndarray, z: float | np.ndarray, y: float | np.ndarray, x: float | np.ndarray) -> np.ndarray:
    """The relative distance of points from the middle of a rounded polyhedron, to the power 16.

    Relative to the surface's distance in the same direction: above 1 outside.
    """
    total: Any = 0.0
    for a, b, c in facets.tolist():
        part = np.maximum((a * z + b * y) + c * x, 0)  # 1 on the facet
        for _ in range(4):
            part *= part
        total += part
    return total


@lru_cache(maxsize=8, typed=True)
def _zeolite_particle(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Facets (26, 3), normals over distances, and pores (n, 4): z, y, x from the middle and radius.

    Both float64, in reference pixels.
    """
    rng = np.random.default_rng((seed, 20))
    facets = _directions(_FACETS) + rng.normal(0, 0.2, (_FACETS, 3))
    facets /= np.linalg.norm(facets, axis=1, keepdims=True) * rng.uniform(0.92, 1.08, (_FACETS, 1))
    surface = _gauge(facets, *_directions(4000).T) ** (-1 / 16)
    scale = _EQUIVALENT / 2 * _PER_MICROMETRE / np.mean(surface**3) ** (1 / 3)
    facets, inner = facets / scale, np.float32(scale * surface.min())
    half = 56
    low = (-half * _VOXEL, -half * _VOXEL, -half * _VOXEL)
    centres = _candidates(rng, (2 * half, 2 * half, 2 * half), low)
    share = _gauge(facets, *centres)
    for _ in range(4):
        share = np.sqrt(share)
    # The particle is convex and holds a sphere of radius `inner`: around a point at the share g of the way to the
    # surface, one of 1 − g of it.
    depth = (1 - share) * inner
    largest, smallest = _ZEOLITE_PORES
    # The pores that the surface cuts lie near it: no thin lid is left on a pore.
    near_surface = np.where((depth > 1) & (depth < 5), np.float32(2 * largest), np.float32(-1))
    radii = np.linspace(largest, 1.8 * smallest, 21)
    cut = _pack(rng, centres, low, near_surface, radii, 4 / 3 * np.pi * np.cumsum(radii[1:] ** 3), _ZEOLITE_WALL)
    volumes = np.linspace(0, 1.2, 15)[1:] * np.pi / 6 * (_EQUIVALENT * _PER_MICROMETRE) ** 3
    clearance, radii = depth - np.float32(_ZEOLITE_WALL), np.geomspace(largest, smallest, 15)
    inside = _pack(rng, centres, low, clearance, radii, volumes, _ZEOLITE_WALL, others=cut)
    pores = np.concatenate([cut, inside])
    facets.setflags(write=False)
    pores.setflags(write=False)
    return facets, pores


def zeolite(
    size: int = 256,
    slices: int = 1,
    seed: int = 0,
    oversample: int = 1,
    spacing: float = 1.0,
    envelope: bool = False,
) -> np.ndarray:
    """A zeolite particle with large spherical pores, an irregular rounded polyhedron.

    The field of view is `ZEOLITE_FIELD_OF_VIEW` = 4.6 µm. Two levels, 1 in the framework and 0 in pores and air. The
    particle has the volume of a sphere of 3.2 µm; its pores have diameters of 120 to 600 nm, walls of 40 nm or more,
    and about 40 % of its volume. Some are cut open by the surface. The object is a function of the seed alone: another
    size samples the same particle.

    The stack is centred on the particle: slice k lies (k − (slices − 1) / 2)·`spacing` pixels above its middle, and a
    single slice is its equator. Slices beyond the particle are empty.

    Parameters
    ----------
    size, slices, oversample, spacing
        As of `shale`; a pixel is 4.6 µm / `size`.
    seed : int
        Chooses the particle and its pores.
    envelope : bool
        The particle without its pores, cut ones included: the pore volume fraction is ``1 - zeolite(...).mean() /
        zeolite(..., envelope=True).mean()``.

    Returns
    -------
    (slices, size, size) float32 array
        Attenuation per pixel, 0 to 1.

    Raises
    ------
    ValueError
        For counts that are no whole numbers of at least 1, or a spacing that is no finite number above 0.
    """
    size, slices, oversample = whole(size=size, slices=slices, oversample=oversample)
    (spacing,) = positive(spacing=spacing)
    (facets, pores), axis = _zeolite_particle(seed), points(size * oversample) - (REFERENCE - 1) / 2
    stack = np.empty((slices, size, size), np.float32)
    for k in range(slices):
        z = (k - (slices - 1) / 2) * spacing * (REFERENCE / size)
        solid = _gauge(facets, z, axis[:, None], axis) <= 1
        if not envelope:
            _carve(solid, axis, pores, pores[:, 0] - z)
        stack[k] = area_mean(solid, oversample)
    return stack
