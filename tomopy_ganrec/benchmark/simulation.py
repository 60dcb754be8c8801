"""Simulated projections of phantoms by exact strip integrals, with photon noise.

The operator is never the one that reconstructs. Two protocols by name. ``pixel`` (the figures of the GANrec paper): the
slice itself, each pixel repeated 2×2, is projected by exact strip integrals onto half-width bins that are averaged in
pairs. ``subpixel``: an object several times finer than the grid is projected by exact strip integrals onto the
detector's bins; the truth is its area mean.
"""

import numpy as np
from numpy.typing import ArrayLike

from tomopy_ganrec.projector.astra_common import import_astra
from tomopy_ganrec.projector.astra_cpu import astra_project

__all__ = ["add_noise", "simulate"]


def _strip_integrals(image: np.ndarray, size: int, theta: np.ndarray, columns: int) -> np.ndarray:
    """Exact strip integrals of `image`, which covers size × size detector columns: (angles, columns), bin means."""
    astra = import_astra()
    bins = columns * (2 if image.shape[0] == 2 * size else 1)
    proj_geom = astra.create_proj_geom("parallel", columns / bins, bins, theta)
    half = size / 2
    projector = astra.create_projector(
        "strip", proj_geom, astra.create_vol_geom(*image.shape, -half, half, -half, half)
    )
    try:
        sinogram = np.empty((len(theta), bins), np.float32)
        astra_project(projector, np.require(image, np.float32, ("C", "W")), sinogram)  # ASTRA refuses read-only arrays
    finally:
        astra.projector.delete(projector)
    return sinogram.reshape(len(theta), columns, -1).mean(2)


def simulate(
    objects: ArrayLike,
    theta: ArrayLike,
    protocol: str = "pixel",
    oversample: int = 1,
    photons: float | None = None,
    seed: int | tuple[int, ...] = 0,
) -> np.ndarray:
    """Sinograms of objects, with or without photon noise.

    Parameters
    ----------
    objects : (slices, n·oversample, n·oversample) array_like
        Attenuation per detector column.
    theta : (angles,) array_like
        Radians.
    protocol : {'pixel', 'subpixel'}
        See this module. ``pixel`` takes objects on the reconstruction grid (oversample 1).
    oversample : int
        How much finer than the detector the objects are sampled.
    photons : float, optional
        Incident photons per detector pixel; None for noise-free.
    seed : int or tuple of int
        Of the noise.

    Returns
    -------
    (slices, angles, n) float32 array
        Line integrals.

    Raises
    ------
    ValueError
        For an unknown protocol, objects that are not square, or an `oversample` that does not divide them.
    """
    objects, theta = np.asarray(objects, np.float32), np.asarray(theta, np.float64)
    if protocol not in ("pixel", "subpixel"):
        raise ValueError(f"protocol={protocol!r} is not known; choose 'pixel' or 'subpixel'")
    if protocol == "pixel" and oversample != 1:
        raise ValueError("the 'pixel' protocol projects the truth itself: oversample must be 1")
    if objects.ndim != 3 or objects.shape[1] != objects.shape[2]:
        raise ValueError(f"the objects have shape {objects.shape}; give square slices, (slices, n, n)")
    if oversample < 1 or objects.shape[1] % oversample:
        raise ValueError(f"oversample={oversample} does not divide the objects' {objects.shape[1]} samples")
    size = objects.shape[1] // oversample
    if protocol == "pixel":
        objects = objects.repeat(2, 1).repeat(2, 2)
    sinograms = np.stack([_strip_integrals(image, size, theta, size) for image in objects])
    return sinograms if photons is None else add_noise(sinograms, photons, seed)


def add_noise(sinograms: np.ndarray, photons: float, seed: int | tuple[int, ...] = 0) -> np.ndarray:
    """Poisson noise on line integrals, in the units they are given in.

    The largest line integral of a slice is taken as an attenuation of 2. Counts are Poisson with mean I₀·exp(−µ·s),
    and the data are −log(max(count, 1)/I₀)/µ.

    Parameters
    ----------
    sinograms : (slices, angles, columns) float32 array
    photons : float
        I₀, the incident photons per detector pixel.
    seed : int or tuple of int

    Returns
    -------
    (slices, angles, columns) float32 array

    Raises
    ------
    ValueError
        For `photons` not above 0.
    """
    if not photons > 0:
        raise ValueError(f"photons={photons} must be above 0, or None for no noise")
    rng = np.random.default_rng(seed)
    noisy = np.empty_like(sinograms)
    for k, sinogram in enumerate(sinograms):
        mu = 2.0 / sinogram.max() if sinogram.max() > 0 else 1.0  # an empty slice is taken in units of its own
        counts = rng.poisson(photons * np.exp(-mu * sinogram.astype(np.float64)))
        noisy[k] = -np.log(np.maximum(counts, 1) / photons) / mu
    return noisy
