"""Slices of one solid, of several and of none: drawn six times finer than the grid, measured with or without noise."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from tomopy_ganrec.projector import ParallelBeamProjector

SIZE, FINER = 64, 6
SOLID = 1.0  # attenuation of the one solid, per detector column


class Scan(NamedTuple):
    """The area means of an object, (n, n), its sinogram, (1, angles, n), and the forward model."""

    truth: np.ndarray
    sinogram: torch.Tensor
    model: ParallelBeamProjector


def _grid():
    y, x = (np.mgrid[: SIZE * FINER, : SIZE * FINER] + 0.5) / (SIZE * FINER) * 2 - 1
    return y, x


def _discs(rng, count, smallest, largest, apart, reach=0.8):
    """Centres and radii of discs that keep apart."""
    placed = []
    for _ in range(20000):
        r, (y, x) = rng.uniform(smallest, largest), rng.uniform(-reach, reach, 2)
        if np.hypot(y, x) + r < reach and all(np.hypot(y - b, x - a) > r + s + apart for b, a, s in placed):
            placed.append((y, x, r))
            if len(placed) == count:
                break
    return placed


def _inside(placed):
    y, x = _grid()
    return np.any([np.hypot(y - b, x - a) < r for b, a, r in placed], 0)


def holes(rng):
    """A disc with holes."""
    y, x = _grid()
    return SOLID * ((np.hypot(y, x) < 0.85) & ~_inside(_discs(rng, 30, 0.05, 0.13, 0.02)))


def grains(rng):
    """Separate grains."""
    return SOLID * _inside(_discs(rng, 26, 0.07, 0.15, 0.02, 0.85))


def fibres(rng):
    """Cut fibres of one thickness."""
    return SOLID * _inside(_discs(rng, 45, 0.075, 0.075, 0.01, 0.85))


def solids(rng):
    """A disc of three solids, in grains."""
    y, x = _grid()
    image = 0.45 * (np.hypot(y, x) < 0.85)
    for k, disc in enumerate(_discs(rng, 30, 0.06, 0.15, 0.01)):
        image[_inside([disc])] = (1.0, 0.7, 0.0)[k % 3]
    return image


def textured(rng):
    """A disc whose attenuation varies everywhere."""
    y, x = _grid()
    waves = sum(
        np.cos(np.pi * (a * x + b * y) + c) / 12
        for a, b, c in zip(rng.uniform(-9, 9, 12), rng.uniform(-9, 9, 12), rng.uniform(0, 6.28, 12), strict=True)
    )
    return (0.6 + 0.8 * waves).clip(0) * ((np.hypot(y, x) < 0.85) & ~_inside(_discs(rng, 12, 0.05, 0.1, 0.05)))


def inclusions(rng):
    """A disc with holes and a few bright grains, of twice its attenuation."""
    y, x = _grid()
    image = 0.5 * (np.hypot(y, x) < 0.85)
    for k, disc in enumerate(_discs(rng, 26, 0.05, 0.13, 0.02)):
        image[_inside([disc])] = 0.0 if k % 4 else 1.0
    return image


@cache
def scan(draw, angular_range=90, photons=None, seed=0):
    """A `Scan` of an object, one projection a degree; computed once."""
    from tomopy_ganrec.benchmark.simulation import simulate

    fine = draw(np.random.default_rng(seed)).astype(np.float32)
    theta = np.deg2rad(np.arange(angular_range))
    sinogram = simulate(fine[None], theta, "subpixel", FINER, photons, seed)
    truth = fine.reshape(SIZE, FINER, SIZE, FINER).mean((1, 3))
    return Scan(truth, torch.from_numpy(sinogram), ParallelBeamProjector(SIZE, theta, SIZE))
