"""Simulated measurements: exact strip integrals and photon noise."""

import functools

import numpy as np
import pytest
import torch

from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import ParallelBeamProjector

pytest.importorskip("astra")
from tomopy_ganrec.benchmark.simulation import add_noise, simulate  # needs ASTRA, and torch before it

THETA = np.deg2rad(np.arange(0, 180, 7.0))
SIZE = 64
PROTOCOLS = [("pixel", 1), ("subpixel", 1), ("subpixel", 2), ("subpixel", 3), ("subpixel", 6)]
protocols = pytest.mark.parametrize("protocol, oversample", PROTOCOLS, ids=str)


@functools.cache
def object_of(oversample, slices=1):
    return shale(SIZE * oversample, slices=slices)


def area_mean(image, n):
    return image.reshape(len(image), image.shape[1] // n, n, -1, n).mean((2, 4))


@protocols
def test_shapes_and_mass(protocol, oversample):
    objects = object_of(oversample, slices=2)
    sinograms = simulate(objects, THETA, protocol, oversample)
    assert sinograms.shape == (2, len(THETA), SIZE) and sinograms.dtype == np.float32
    # Strip integrals lose nothing: every projection adds up to the object, in units of the detector's columns.
    # Float32 leaves 1e-6.
    np.testing.assert_allclose(
        sinograms.sum(2), np.tile(objects.sum((1, 2))[:, None] / oversample**2, len(THETA)), rtol=1e-3
    )


@protocols
def test_the_projector_sees_the_same_object(protocol, oversample):
    objects = object_of(oversample)
    sinogram = simulate(objects, THETA, protocol, oversample)
    projector = ParallelBeamProjector(SIZE, THETA, SIZE, backend="matrix")
    ours = projector.forward_project(torch.from_numpy(area_mean(objects, oversample))).numpy()
    # Strips against lines, and (finer) structure within a pixel: 1 to 2 %.
    # Another orientation or half a column would be 5 % and more.
    assert np.linalg.norm(sinogram - ours) <= 0.03 * np.linalg.norm(ours)


def test_disk_against_its_chords():
    radius, oversample = 25.0, 6
    axis = (np.arange(SIZE * oversample) + 0.5) / oversample - SIZE / 2
    disk = (np.hypot(axis[:, None], axis) <= radius).astype(np.float32)[None]
    edges = np.clip(np.arange(SIZE + 1) - SIZE / 2, -radius, radius)
    truth = np.diff(edges * np.sqrt(radius**2 - edges**2) + radius**2 * np.arcsin(edges / radius))
    sinogram = simulate(disk, THETA, "subpixel", oversample)[0]
    # The disk's edge is a staircase of 1/6 column on 50 columns.
    assert np.linalg.norm(sinogram - truth) <= 2e-3 * np.linalg.norm(np.tile(truth, (len(THETA), 1)))


def test_pixel_is_the_slice_itself():
    objects = object_of(1)
    difference = simulate(objects, THETA, "pixel") - simulate(objects, THETA, "subpixel")
    # Repeated pixels are the same piecewise constant object, and two half-bins are one bin:
    # only ASTRA's float32 weights differ.
    assert np.abs(difference).max() <= 1e-4 * SIZE


def test_slices_are_independent_and_inputs_untouched():
    objects = object_of(2, slices=3)
    before = objects.copy()
    sinograms = simulate(objects, THETA, "subpixel", 2)
    np.testing.assert_array_equal(simulate(objects[1:2], THETA, "subpixel", 2)[0], sinograms[1])
    np.testing.assert_array_equal(objects, before)


def test_attenuation_is_linear():
    objects = object_of(1)
    np.testing.assert_allclose(
        simulate(objects * 0.01, THETA), simulate(objects, THETA) * 0.01, rtol=1e-4, atol=1e-6
    )  # float32


# Noise


def steps(scale=1.0):
    """Half of the rays at the largest line integral, half at a quarter of it; twice, in other units."""
    sinogram = np.full((200, 200), 10.0, np.float32)
    sinogram[:, :100] = 2.5
    return np.stack([sinogram, sinogram * 7]) * np.float32(scale)


@pytest.mark.parametrize("photons", [1e5, 1e4])
def test_variance_of_the_noise(photons):
    clean = steps()
    noisy = add_noise(clean, photons)
    assert noisy.shape == clean.shape and noisy.dtype == np.float32
    for k, largest in enumerate((10.0, 70.0)):
        mu = 2 / largest
        for part in (slice(0, 100), slice(100, 200)):
            counts = photons * np.exp(-mu * clean[k, 0, part][0])
            expected = 1 / (mu * np.sqrt(counts))  # of the logarithm of a Poisson count
            error = noisy[k, :, part] - clean[k, :, part]
            assert error.std() == pytest.approx(expected, rel=0.03)  # 20 000 samples: 0.5 %, six times that
            assert abs(error.mean()) <= 5 * expected / np.sqrt(error.size) + 1 / (
                2 * counts * mu
            )  # five standard errors, and the log's bias


def test_noise_is_white():
    error = (add_noise(steps(), 1e5) - steps())[0, :, :100]
    error = error / error.std()
    for shifted in (error[1:] * error[:-1], error[:, 1:] * error[:, :-1]):
        assert abs(shifted.mean()) <= 5 / np.sqrt(shifted.size)  # five standard errors


def test_noise_follows_its_seed():
    first = add_noise(steps(), 1e4, seed=1)
    np.testing.assert_array_equal(first, add_noise(steps(), 1e4, seed=1))
    assert (first != add_noise(steps(), 1e4, seed=2)).mean() > 0.9
    assert (
        np.corrcoef((first[0] - steps()[0]).ravel(), (first[1] - steps()[1]).ravel())[0, 1] < 0.05
    )  # each slice its own


def test_simulate_adds_the_same_noise():
    objects = object_of(1, slices=2)
    clean = simulate(objects, THETA)
    np.testing.assert_array_equal(simulate(objects, THETA, photons=1e4, seed=5), add_noise(clean, 1e4, 5))


def test_units_of_the_object_cancel():
    # The scale is set by the largest line integral: the same counts.
    # Float32 data may round one count in many the other way.
    np.testing.assert_allclose(add_noise(steps(0.125), 1e4) * 8, add_noise(steps(), 1e4), rtol=1e-5)


def test_starved_rays_stay_finite():
    noisy = add_noise(steps(), 1.0)
    assert np.isfinite(noisy).all() and noisy.max() <= 70.0  # no count is taken as one count


def test_an_empty_slice_stays_finite():
    noisy = add_noise(np.stack([np.zeros((20, 30), np.float32), steps()[0, :20, :30]]), 1e4)
    assert np.isfinite(noisy).all()


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(protocol="voxel"), "'voxel'.*'pixel'.*'subpixel'"),
        (dict(protocol="pixel", oversample=2), "oversample must be 1"),
        (dict(protocol="subpixel", oversample=3), "oversample"),
        (dict(protocol="subpixel", oversample=0), "oversample"),
        (dict(objects=np.zeros((64, 64))), "shape"),
        (dict(objects=np.zeros((1, 64, 48))), "shape"),
        (dict(photons=0.0), "photons"),
        (dict(photons=-1.0), "photons"),
    ],
    ids=[
        "unknown",
        "pixel with oversample",
        "64 by 3",
        "zero oversample",
        "one image",
        "not square",
        "no photons",
        "negative photons",
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        simulate(**{"objects": object_of(1), "theta": THETA, **changes})
