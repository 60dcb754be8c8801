"""Rotations and mirrors at random, and images that are rotated."""

import math

import pytest
import torch
from wedge_cases import degrees, pixel_offset_grid, relative_differences, seeded, smooth_noise

from tomopy_ganrec.fit.rotations import random_rotations, rotate
from tomopy_ganrec.solvers.wedge import measured_frequencies, middle_angle


@pytest.mark.parametrize("count", (1, 2, 7, 8))
def test_random_rotations_are_rotations_and_mirrors(count):
    matrices = random_rotations(count, seeded())
    assert tuple(matrices.shape) == (count, 2, 2)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(2).expand(count, 2, 2), rtol=0, atol=1e-6)  # float32
    # Every second one is mirrored.
    assert torch.linalg.det(matrices).round().tolist() == [-1.0 if k % 2 else 1.0 for k in range(count)]


def test_random_rotations_are_not_below_25_degrees():
    matrices = torch.cat([random_rotations(8, seeded(seed))[::2] for seed in range(50)])
    angle = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert float((angle % 180).min()) >= 25 - 1e-3 and float((angle % 180).max()) <= 155 + 1e-3  # float32
    assert (
        0.3 < float((angle < 0).float().mean()) < 0.7
    )  # half turns at random, 200 of them: .035 is one standard deviation
    # One in each quarter of the 130°.
    assert (((angle % 180 - 25) // 32.5).reshape(50, 4) == torch.arange(4)).all()


def test_random_rotations_repeat_for_a_seed():
    assert torch.equal(random_rotations(8, seeded(3)), random_rotations(8, seeded(3)))
    assert not torch.equal(random_rotations(8, seeded(3)), random_rotations(8, seeded(4)))


@pytest.mark.parametrize("shape", ((6, 6), (7, 7), (8, 6), (7, 11)))
def test_a_quarter_turn_is_rot90(shape):
    """By (column, row) → (−row, column): counterclockwise, as rot90 and as the eye sees it with rows downwards."""
    x = torch.zeros(1, *shape)
    rows, cols = shape
    side = min(shape)
    middle = slice((rows - side) // 2, (rows + side) // 2), slice((cols - side) // 2, (cols + side) // 2)
    x[(0, *middle)] = torch.rand(side, side, generator=seeded())
    expected = torch.zeros(1, *shape)
    expected[(0, *middle)] = torch.rot90(x[(0, *middle)])
    rotated = rotate(x, torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]))
    assert rotated.shape == x.shape
    # float32 positions, to 1e-7 of the width, between pixels that differ by 1.
    torch.testing.assert_close(rotated, expected, rtol=0, atol=1e-5)
    assert float(expected.max()) > 0.5  # it is not empty


@pytest.mark.parametrize("shape", ((6, 6), (7, 5), (4, 9)))
def test_rotate_by_a_mirror_is_a_flip(shape):
    x = torch.rand(3, *shape, generator=seeded())
    matrices = torch.stack([torch.diag(torch.tensor(d)) for d in ((1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0))])
    expected = torch.stack([x[0].flip(0), x[1].flip(1), x[2].flip(0, 1)])
    torch.testing.assert_close(rotate(x, matrices), expected, rtol=0, atol=1e-5)  # float32 positions


@pytest.mark.parametrize("shape", ((64, 64), (65, 65), (64, 48), (41, 64)))
def test_rotating_there_and_back(shape):
    x, matrices = smooth_noise(*shape, 8), random_rotations(8, seeded())
    back = rotate(rotate(x, matrices), matrices.mT)
    assert back.shape == x.shape
    # .02 to .03 measured, from bicubic interpolation twice; rotated once, it is above 1.
    assert float(relative_differences(back, x).max()) < 0.05
    assert float(relative_differences(rotate(x, matrices), x).min()) > 0.5


def test_rotate_takes_zero_outside_of_the_image():
    x = torch.ones(1, 32, 32)
    rotated = rotate(x, random_rotations(1, seeded(1)))
    y, x = pixel_offset_grid(32, 32)
    inside = torch.hypot(y, x) < 13
    torch.testing.assert_close(rotated[0][inside], torch.ones_like(rotated[0][inside]), rtol=0, atol=1e-5)  # float32
    assert float(rotated[0, 0, 0]) == 0 and float(rotated[0, -1, -1]) == 0


@pytest.mark.parametrize("first", (0, 20, -60, 75))
def test_an_image_mirrored_about_the_wedge_has_the_same_wedge(first):
    theta = degrees(first, first + 120, 4)
    angle = -middle_angle(theta)  # rows run downwards
    mirror = torch.tensor(
        [[math.cos(2 * angle), math.sin(2 * angle)], [math.sin(2 * angle), -math.cos(2 * angle)]], dtype=torch.float32
    )
    plain, mirrored = (measured_frequencies(theta, (32, 32), m) for m in (None, mirror[None]))
    torch.testing.assert_close(plain, mirrored, rtol=0, atol=1e-3)  # float32 angles; it falls by 1 over two steps
