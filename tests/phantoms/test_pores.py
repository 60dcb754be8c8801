"""Foam and zeolite: voids, pores and particle as documented."""

import numpy as np
import pytest
from phantom_cases import stack
from scipy.ndimage import label
from scipy.spatial import cKDTree

from tomopy_ganrec.phantoms import ZEOLITE_FIELD_OF_VIEW
from tomopy_ganrec.phantoms.pores import _FOAM_RADIUS, _foam_voids, _gauge, _zeolite_particle

MICROMETRE = ZEOLITE_FIELD_OF_VIEW / 256  # of a reference pixel


def least_gap(spheres, period=0.0):
    """The thinnest wall between two of the (n, 4) spheres, in their unit."""
    if period:  # copies of those near one end, beyond the other
        low, high = spheres[spheres[:, 0] < 50], spheres[spheres[:, 0] > period - 50]
        spheres = np.concatenate([spheres, low + [period, 0, 0, 0], high - [period, 0, 0, 0]])
    order = spheres[np.argsort(-spheres[:, 3])]
    gap, start = np.inf, 0
    while start < len(order):  # by classes of radii within a factor 2, so that the search for neighbours stays short
        largest = order[start, 3]
        stop = start + int((order[start:, 3] > largest / 2).sum())
        alike, rest = order[start:stop], order[start:]
        pairs = cKDTree(alike[:, :3]).sparse_distance_matrix(
            cKDTree(rest[:, :3]), 2 * largest + 3, output_type="coo_matrix"
        )
        i, j, d = pairs.row, pairs.col, pairs.data
        apart = i != j  # the first of the rest are these themselves
        gap = min(gap, (d - alike[i, 3] - rest[j, 3])[apart].min(initial=np.inf))
        start = stop
    return gap


@pytest.mark.parametrize("name, draw", [("foam", _foam_voids), ("zeolite", _zeolite_particle)], ids=["foam", "zeolite"])
def test_drawing_again_is_the_same(name, draw):
    remembered = draw(0)
    again = draw.__wrapped__(0)  # past the cache
    for drawn, kept in zip(again, remembered, strict=True):
        np.testing.assert_array_equal(drawn, kept)


@pytest.mark.parametrize(
    "name, spheres",
    [("foam", _foam_voids), ("zeolite", lambda seed: _zeolite_particle(seed)[1])],
    ids=["foam", "zeolite"],
)
def test_voids_in_the_picture_are_the_discs_of_the_spheres(name, spheres):
    image, (z, y, x, radius) = stack(name, 1024)[0], spheres(0).T
    square = radius**2 - z**2
    # One that the slice cuts near its middle, well away from the zeolite's surface.
    k = np.flatnonzero((square > 36) & (np.hypot(y, x) < 50))[0]
    grid = (np.arange(1024) + 0.5) / 4 - 128
    distance = np.hypot(grid[:, None] - y[k], grid - x[k])
    assert (image[distance < np.sqrt(square[k]) - 1e-6] == 0).all()
    around = (distance > np.sqrt(square[k]) + 1e-6) & (distance < np.sqrt(square[k]) + 0.25)
    assert image[around].mean() > 0.8  # solid at once, but for a neighbour that comes near


# Foam


def test_foam_voids():
    voids = _foam_voids(0)
    z, y, x, radius = voids.T
    # Largest first, then the gaps between them.
    assert 15 < radius.max() <= 20 and 1.5 <= radius.min() < 1.6 and np.median(radius) < 3
    assert (np.hypot(y, x) + radius < _FOAM_RADIUS - 0.99).all()  # none opens to the outside: a skin of 1, in float32
    assert z.min() >= 0 and z.max() < 256 and len(voids) > 10000
    assert least_gap(voids, period=256) > 0.3 - 1e-4  # float32


@pytest.mark.parametrize("seed", range(2))
def test_foam_void_fraction(seed):
    # In the cylinder: 61 % of the volume; a single slice is off by a few points with the large voids that it meets.
    inside = stack("foam", 256, 4, seed, 1, 64.0).mean((1, 2)) / (np.pi * 0.46**2)
    assert (inside > 0.35).all() and (inside < 0.5).all()
    radius = _foam_voids(seed)[:, 3]
    assert (4 / 3 * np.pi * radius**3).sum() / (np.pi * _FOAM_RADIUS**2 * 256) == pytest.approx(0.607, abs=0.01)


def test_foam_is_a_round_cylinder_inside_the_field():
    image = stack("foam", 256, oversample=4)[0]
    y, x = np.mgrid[:256, :256] - 127.5
    assert (image[np.hypot(y, x) > _FOAM_RADIUS + 1] == 0).all()
    ring = np.abs(np.hypot(y, x) - _FOAM_RADIUS + 0.5) < 0.2
    assert image[ring].min() > 0.3  # the skin of one pixel has no holes


def test_foam_repeats_along_z():
    slices = stack("foam", 64, slices=3, spacing=32)
    np.testing.assert_array_equal(slices[0], stack("foam", 64, slices=2, spacing=64)[1])
    assert np.abs(slices[0] - slices[1]).mean() > 0.1
    # Across the seam slices continue as they do elsewhere.
    seam = stack("foam", 256, slices=3, spacing=255)[1]
    assert (
        np.abs(seam - stack("foam", 256)[0]).mean()
        < 1.5 * np.abs(np.diff(stack("foam", 256, slices=17), axis=0)).mean()
    )


# Zeolite


def test_zeolite_slices_are_centred():
    nine, five = stack("zeolite", slices=9), stack("zeolite", slices=5)
    np.testing.assert_array_equal(nine[2:7], five)
    np.testing.assert_array_equal(nine[4], stack("zeolite")[0])  # a single slice is the equator
    # An even number has no slice there: the middle two lie half a pixel off it, as those of a stack at half the spacing
    # do.
    np.testing.assert_array_equal(stack("zeolite", slices=2), stack("zeolite", slices=3, spacing=0.5)[::2])


@pytest.mark.parametrize("seed", range(4))
def test_zeolite_pores(seed):
    facets, pores = _zeolite_particle(seed)
    diameter = 2 * pores[:, 3] * MICROMETRE
    assert 0.12 - 1e-9 <= diameter.min() < 0.15 and 0.5 < diameter.max() <= 0.6 + 1e-9  # µm, 120 to 600 nm
    # Μm; the packing is dense: some walls have the least thickness.
    assert least_gap(pores) * MICROMETRE == pytest.approx(0.04, abs=1e-4)
    # Seen from the pore's surface in many directions, a closed pore is inside of the particle by a wall; a cut one is
    # open.
    directions = np.random.default_rng(0).normal(size=(2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    reach = np.array([_gauge(facets, *(p[:3] + (p[3] + 0.03 / MICROMETRE) * directions).T).max() for p in pores])
    surface = np.array([_gauge(facets, *(p[:3] + p[3] * directions).T).max() for p in pores])
    cut = surface > 1
    assert 8 <= cut.sum() <= 30 and not (cut[30:]).any()  # the cut ones come first
    assert (reach[~cut] < 1).all()  # closed by 30 nm at the least; 40 by construction
    assert (_gauge(facets, *pores[:, :3].T) < 1).all()  # all centres are inside


@pytest.mark.parametrize("seed", range(4))
def test_zeolite_size_and_fractions(seed):
    whole, porous = stack("zeolite", slices=128, seed=seed, envelope=True), stack("zeolite", slices=128, seed=seed)
    for axes in ((1, 2), (0, 2), (0, 1)):
        filled = np.flatnonzero(whole.any(axes))
        width = (np.ptp(filled) + 1) * ZEOLITE_FIELD_OF_VIEW / 128
        assert 2.5 < width < 4  # µm
        assert filled[0] >= 6 and filled[-1] < 122  # an empty rim of 0.2 µm
    assert (6 * whole.mean() * ZEOLITE_FIELD_OF_VIEW**3 / np.pi) ** (1 / 3) == pytest.approx(3.2, abs=0.02)  # µm
    assert (porous <= whole).all()
    assert 0.35 < 1 - porous.mean() / whole.mean() < 0.5  # 41 %
    equator = 1 - stack("zeolite", 256, seed=seed).mean() / stack("zeolite", 256, seed=seed, envelope=True).mean()
    assert 0.35 < equator < 0.55
    for volume in (whole, porous):  # one piece, with and without pores; a thin rim at a cut pore may lose a point
        assert np.bincount(label(volume, np.ones((3, 3, 3)))[0].ravel())[1:].max() > 0.9999 * volume.sum()


def test_zeolite_is_not_a_ball():
    widths = [
        np.ptp(np.flatnonzero(stack("zeolite", seed=seed, envelope=True)[0].any(axis)))
        for seed in range(4)
        for axis in (0, 1)
    ]
    assert max(widths) > 1.05 * min(widths)


def test_zeolite_ends():
    ends = stack("zeolite", 64, slices=3, spacing=40)
    assert not ends[0].any() and ends[1].any() and not ends[2].any()
