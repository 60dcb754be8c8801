"""Porous objects of two levels: a foam and a zeolite particle, whose pores are spheres that do not touch."""

from functools import lru_cache

import numpy as np

from ._grid import REFERENCE, area_mean, points, positive, whole

__all__ = ["ZEOLITE_FIELD_OF_VIEW", "foam", "zeolite"]

_CELL = 2.0  # side in reference pixels of the cells that hold one candidate centre each


def _candidates(rng: np.random.Generator, cells: tuple[int, int, int], low: tuple[float, float, float]) -> np.ndarray:
    """One random point (z, y, x) in each cell of a box that starts at `low`: (3, *cells) float32 in reference pixels."""
    centres = rng.random((3, *cells), np.float32)
    for axis, start, index in zip(centres, low, np.indices(cells, np.float32, sparse=True), strict=True):
        axis += index
        axis *= np.float32(_CELL)
        axis += np.float32(start)
    return centres


def _pack(rng, centres, low, room, radii, volumes, wall, others=(), period=0.0) -> np.ndarray:
    """Random spheres that keep a distance of `wall` from each other, the largest first. Lengths in reference pixels.

    Parameters
    ----------
    rng : numpy.random.Generator
    centres : (3, *cells) float32 array
        Where a sphere can lie: one point (z, y, x) for each cell of a box that starts at `low`.
    room : (*cells) float32 array
        The largest radius that the surroundings leave each centre; overwritten.
    radii : (n + 1,) array
        Falling bounds of n classes of radii.
    volumes : (n,) array
        A class is closed when all spheres together fill this volume, or when no centre has room for its smallest.
    others : (m, 4) array
        Spheres (z, y, x, radius) that are there already.
    period : float
        Along z; 0 for a box that ends.

    Returns
    -------
    (spheres, 4) float64 array
        z, y, x and radius.
    """
    flat, where, spheres, filled = room.reshape(-1), centres.reshape(3, -1), [], 0.0

    def keep_off(z, y, x, radius, largest):
        reach = radius + wall + largest  # no sphere to come touches one that is farther away
        for image in (z - period, z, z + period) if period else (z,):
            spans = [
                (int((c - reach - start) // _CELL), int((c + reach - start) // _CELL) + 1)
                for c, start in zip((image, y, x), low, strict=True)
            ]
            box = tuple(slice(max(first, 0), max(last, 0)) for first, last in spans)
            dz, dy, dx = (axis[box] - np.float32(c) for axis, c in zip(centres, (image, y, x), strict=True))
            np.minimum(room[box], np.sqrt(dz * dz + dy * dy + dx * dx) - np.float32(radius + wall), out=room[box])

    for sphere in others:
        keep_off(*sphere, radii[0])
    for largest, smallest, volume in zip(radii[:-1].tolist(), radii[1:].tolist(), volumes, strict=True):
        order = rng.permutation(np.flatnonzero(flat >= smallest))
        for i, part in zip(order.tolist(), rng.random(len(order)).tolist(), strict=True):
            if filled >= volume:
                break
            if (free := float(flat[i])) >= smallest:
                sphere = *where[:, i].tolist(), min(free, smallest + part * (largest - smallest))
                keep_off(*sphere, largest)
                spheres.append(sphere)
                filled += 4 / 3 * np.pi * sphere[3] ** 3
    return np.array(spheres)


def _carve(solid: np.ndarray, axis: np.ndarray, spheres: np.ndarray, heights: np.ndarray) -> None:
    """Empty the discs that `spheres`, with centres `heights` above a slice, cut out of it; `axis` holds its rows' and columns' places."""
    square = spheres[:, 3] ** 2 - heights**2
    for (_, y, x, _), s in zip(spheres[square > 0].tolist(), square[square > 0].tolist(), strict=True):
        rows, cols = (slice(*np.searchsorted(axis, [c - s**0.5, c + s**0.5])) for c in (y, x))
        solid[rows, cols] &= (axis[rows, None] - y) ** 2 + (axis[cols] - x) ** 2 > s


_FOAM_RADIUS, _FOAM_WALL, _FOAM_VOIDS = 0.92 * REFERENCE / 2, 0.3, (20.0, 1.5)


@lru_cache(maxsize=8, typed=True)
def _foam_voids(seed: int) -> np.ndarray:
    """(voids, 4) float64: z, from 0 to the period 256, y and x from the cylinder's axis, and the radius, in reference pixels."""
    rng = np.random.default_rng((seed, 10))
    half = int(np.ceil(_FOAM_RADIUS / _CELL))
    low = (0.0, -half * _CELL, -half * _CELL)
    centres = _candidates(rng, (int(REFERENCE / _CELL), 2 * half, 2 * half), low)
    room = np.float32(_FOAM_RADIUS - 1) - np.sqrt(centres[1] ** 2 + centres[2] ** 2)
    volumes = np.linspace(0, 0.9, 17)[1:] * np.pi * _FOAM_RADIUS**2 * REFERENCE
    voids = _pack(rng, centres, low, room, np.geomspace(*_FOAM_VOIDS, 17), volumes, _FOAM_WALL, period=REFERENCE)
    voids.setflags(write=False)
    return voids


def foam(size=256, slices=1, seed=0, oversample=1, spacing=1.0) -> np.ndarray:
    """A cylinder of foam in the manner of D. Pelt's foam_ct_phantom: closed spherical voids of widely varied sizes.

    Two levels, 1 in the solid and 0 in voids and air; voids take about 60 % of the cylinder. Of 256 pixels across, their radii are 1.5 to
    20 and the walls between them 0.3 or more. The object is a function of the seed alone: another size samples the same foam. Along the cylinder
    it repeats after `size` pixels.

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


def _gauge(facets: np.ndarray, z, y, x) -> np.ndarray:
    """A point's distance from the middle over the surface's in its direction, to the power 16: above 1 outside a rounded polyhedron."""
    total = 0.0
    for a, b, c in facets.tolist():
        part = np.maximum((a * z + b * y) + c * x, 0)  # 1 on the facet
        for _ in range(4):
            part *= part
        total += part
    return total


@lru_cache(maxsize=8, typed=True)
def _zeolite_particle(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Facets (26, 3), normals over distances, and pores (n, 4), z, y, x from the middle and radius; float64 in reference pixels."""
    rng = np.random.default_rng((seed, 20))
    facets = _directions(_FACETS) + rng.normal(0, 0.2, (_FACETS, 3))
    facets /= np.linalg.norm(facets, axis=1, keepdims=True) * rng.uniform(0.92, 1.08, (_FACETS, 1))
    surface = _gauge(facets, *_directions(4000).T) ** (-1 / 16)
    scale = _EQUIVALENT / 2 * _PER_MICROMETRE / np.mean(surface**3) ** (1 / 3)
    facets, inner = facets / scale, np.float32(scale * surface.min())
    half = 56
    low = (-half * _CELL,) * 3
    centres = _candidates(rng, (2 * half,) * 3, low)
    share = _gauge(facets, *centres)
    for _ in range(4):
        share = np.sqrt(share)
    # The particle is convex and holds a sphere of radius `inner`: around a point at the share g of the way to the surface, one of 1 − g of it.
    depth = (1 - share) * inner
    largest, smallest = _ZEOLITE_PORES
    room = np.where(
        (depth > 1) & (depth < 5), np.float32(2 * largest), np.float32(-1)
    )  # near the surface: no thin lid is left on a pore
    radii = np.linspace(largest, 1.8 * smallest, 21)
    cut = _pack(rng, centres, low, room, radii, 4 / 3 * np.pi * np.cumsum(radii[1:] ** 3), _ZEOLITE_WALL)
    volumes = np.linspace(0, 1.2, 15)[1:] * np.pi / 6 * (_EQUIVALENT * _PER_MICROMETRE) ** 3
    inside = _pack(
        rng,
        centres,
        low,
        depth - np.float32(_ZEOLITE_WALL),
        np.geomspace(largest, smallest, 15),
        volumes,
        _ZEOLITE_WALL,
        others=cut,
    )
    pores = np.concatenate([cut, inside])
    facets.setflags(write=False)
    pores.setflags(write=False)
    return facets, pores


def zeolite(size=256, slices=1, seed=0, oversample=1, spacing=1.0, envelope=False) -> np.ndarray:
    """A zeolite particle with large spherical pores, an irregular rounded polyhedron in a field of view of `ZEOLITE_FIELD_OF_VIEW` = 4.6 µm.

    Two levels, 1 in the framework and 0 in pores and air. The particle has the volume of a sphere of 3.2 µm; its pores have diameters of 120
    to 600 nm, walls of 40 nm or more, and about 40 % of its volume. Some are cut open by the surface. The object is a function of the
    seed alone: another size samples the same particle.

    The stack is centred on the particle: slice k lies (k − (slices − 1) / 2)·`spacing` pixels above its middle, and a single slice is its
    equator. Slices beyond the particle are empty.

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
