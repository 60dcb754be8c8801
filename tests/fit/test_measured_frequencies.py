"""Frequencies that a scan measures, of its own slice and of rotated ones, and whether a wedge is missing."""

import math

import pytest
import torch
from wedge_cases import degrees, filtered, pixel_offset_grid, relative_differences, seeded, smooth_noise

from tomopy_ganrec.fit.rotations import random_rotations, rotate
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.wedge import has_missing_wedge, measured_frequencies


@pytest.mark.parametrize("shape", ((128, 128), (96, 128), (97, 131)))
@pytest.mark.parametrize("first", (0, 17, 100))
def test_share_of_the_frequencies(shape, first):
    frequencies = measured_frequencies(degrees(first, first + 120), shape)
    assert tuple(frequencies.shape) == (1, shape[0], shape[1] // 2 + 1)
    assert float(frequencies.min()) == 0
    assert float(frequencies.max()) == 1
    twice = torch.full((shape[1] // 2 + 1,), 2.0)  # rfft leaves out the other half
    twice[0] = 1
    if shape[1] % 2 == 0:
        twice[-1] = 1
    # Without the corners, which belong to the measured side or to the other.
    disc = torch.hypot(torch.fft.fftfreq(shape[0])[:, None], torch.fft.rfftfreq(shape[1])) < 0.5
    share = float((frequencies[0] * twice)[disc].sum() / twice.expand_as(disc)[disc].sum())
    assert 2 / 3 < share < 2 / 3 + 0.04  # four borders that fall to 0 over 2 steps add 4/(64 π) = .02
    assert (frequencies[0, :2, 0] == 1).all()  # the mean, and next to it


@pytest.mark.parametrize("theta", (degrees(0, 180), degrees(0, 180, 3) + 1.0, degrees(0, 360, 2)))
def test_half_a_turn_and_more_measures_all(theta):
    assert (measured_frequencies(theta, (32, 33)) == 1).all()


@pytest.mark.parametrize("first", (0, 20, -35, 100))
def test_frequencies_by_the_fourier_slice_theorem(first):
    """A wave in a Gaussian window is kept where the projector sees it.

    Its wave vector is that of projection θ, (cos θ, −sin θ) in (column, row).

    Its spectrum is 0.02 cycles per pixel wide at 0.2, which is 6°.
    """
    y, x = pixel_offset_grid(64, 64)
    theta = degrees(first, first + 120, 2)
    model, frequencies = ParallelBeamProjector(64, theta, 64), measured_frequencies(theta, (64, 64))
    for direction, measured in ((60, True), (30, True), (95, True), (150, False), (143, False), (157, False)):
        angle = math.radians(first + direction)
        wave = torch.exp(-(x**2 + y**2) / (2 * 8**2)) * torch.cos(
            2 * math.pi * 0.2 * (x * math.cos(angle) - y * math.sin(angle))
        )
        seen = float(model.forward_project(wave[None]).norm() / wave.norm()) / math.sqrt(len(theta))
        share = float(filtered(wave, frequencies).norm() / wave.norm())
        if measured:
            assert seen > 1.2 and share > 0.99  # 1.37 and more, 1.000
        else:
            # Tails of the window: .02 in the middle of the missing wedge, below .1 at 7° from it.
            assert seen < 0.12 and share < 0.15


def test_frequencies_of_rotated_images():
    """An image filtered and then rotated is the image rotated and then filtered by the rotated mask."""
    theta, matrices = degrees(0, 90), random_rotations(8, seeded())
    x = smooth_noise(64, 64, 8)
    plain, frequencies = measured_frequencies(theta, (64, 64)), measured_frequencies(theta, (64, 64), matrices)
    assert tuple(frequencies.shape) == (8, 64, 33)
    rotated_last, rotated_first = rotate(filtered(x, plain), matrices), filtered(rotate(x, matrices), frequencies)
    # .06 to .07 measured: interpolation, corners, borders of the mask.
    assert float(relative_differences(rotated_last, rotated_first).max()) < 0.12
    for wrong in (plain, measured_frequencies(theta, (64, 64), matrices.mT)):
        rotations = relative_differences(rotated_last, filtered(rotate(x, matrices), wrong))[
            ::2
        ]  # a mirror is its own inverse
        assert float(rotations.min()) > 0.3  # .38 to 1.01 measured


def test_frequencies_of_images_that_are_not_rotated():
    theta = degrees(10, 100)
    torch.testing.assert_close(
        measured_frequencies(theta, (20, 31), torch.eye(2)[None]), measured_frequencies(theta, (20, 31))
    )
    # Half a turn.
    torch.testing.assert_close(
        measured_frequencies(theta, (20, 31), -torch.eye(2)[None]), measured_frequencies(theta, (20, 31))
    )


@pytest.mark.parametrize(("last", "missing"), ((180, False), (177, False), (175, True), (120, True), (60, True)))
def test_has_missing_wedge(last, missing):
    assert has_missing_wedge(ParallelBeamProjector(16, degrees(0, last), 16)) == missing


def test_a_model_without_angles_has_no_missing_wedge():
    assert not has_missing_wedge(object())
