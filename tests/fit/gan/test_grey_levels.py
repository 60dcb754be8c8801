"""Grey levels of segmented materials: found in an image, and whether an image has some."""

import functools

import numpy as np
import pytest
import torch

from tomopy_ganrec.fit.gan.grey_levels import find_levels, has_levels
from tomopy_ganrec.phantoms import shale

SHALE = torch.tensor([0, 1 / 3, 2 / 3, 1])


def noise(shape, sigma, seed=0):
    return sigma * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@functools.cache
def rock(**arguments):
    return torch.from_numpy(shale(128, **arguments))


def two_grains():
    image = torch.zeros(1, 128, 128)
    image[:, :, 60:] = 0.5
    return image


def ramp():
    return torch.linspace(0, 1, 128).expand(1, 128, 128).contiguous()


@pytest.mark.parametrize("seed", range(3))
def test_levels_of_shale(seed):
    levels = find_levels(rock(seed=seed))
    # Most flat pixels hold the level itself, so does their median.
    torch.testing.assert_close(levels, SHALE[None], atol=1e-6, rtol=0)


def test_levels_with_blurred_boundaries_and_noise():
    image = rock(oversample=2)
    levels = find_levels(image + noise(image.shape, 0.004))
    torch.testing.assert_close(levels, SHALE[None], atol=0.01, rtol=0)  # a few bins of 1/256; the inclusions are small
    assert bool(has_levels(image, levels)[0])


def test_levels_follow_scale_and_offset():
    levels = find_levels(rock() * 0.02 - 0.003)
    torch.testing.assert_close(levels, SHALE[None] * 0.02 - 0.003, atol=1e-6, rtol=0)


def test_shorter_rows_are_padded_with_nan():
    levels = find_levels(torch.cat([two_grains(), rock()]))
    assert tuple(levels.shape) == (2, 4) and levels.dtype == torch.float32
    torch.testing.assert_close(levels[0, :2], torch.tensor([0, 0.5]), atol=1e-6, rtol=0)
    torch.testing.assert_close(levels[1], SHALE, atol=1e-6, rtol=0)
    assert bool(levels[0, 2:].isnan().all())


def bimodal(sigma):
    """Equal amounts of grey around 0.3 and 0.7, cut off 2 sigma outside.

    Pixels are in the order of their grey value, so that each of them is flat.
    """
    grey = np.linspace(0.3 - 2 * sigma, 0.7 + 2 * sigma, 4001)
    density = sum(np.exp(-((grey - mean) ** 2) / (2 * sigma**2)) for mean in (0.3, 0.7))
    share = np.cumsum(density) / density.sum()
    return torch.from_numpy(np.interp((np.arange(2**15) + 0.5) / 2**15, share, grey)).float().reshape(1, 1024, 32)


def test_a_deep_valley_separates_two_levels():
    # The valley lies at 2·exp(−2) = 27 % of the peaks, below 40 %. A median over 8 bins of a skewed peak: a bin or two.
    torch.testing.assert_close(find_levels(bimodal(0.1)), torch.tensor([[0.3, 0.7]]), atol=0.01, rtol=0)


def test_a_shallow_valley_does_not_separate_levels():
    levels = find_levels(bimodal(0.13))  # the valley lies at 61 %
    assert int(torch.isfinite(levels).sum()) < 2


@pytest.mark.parametrize("side, expected", [(10, 3), (5, 2)])
def test_an_inclusion_is_a_level_from_a_share_on(side, expected):
    image = two_grains()
    image[:, 10 : 10 + side, 10 : 10 + side] = 1.0  # 0.5 and 0.1 % of the pixels inside its rim; 0.3 % count
    assert int(torch.isfinite(find_levels(image)).sum()) == expected


def test_levels_ascend():
    levels = find_levels(rock() * -1)[0]
    assert bool((levels.diff() > 0).all())


def test_has_levels_by_image():
    images = torch.cat(
        [two_grains(), rock(), ramp(), torch.rand(1, 128, 128, generator=torch.Generator().manual_seed(0))]
    )
    assert has_levels(images, find_levels(images)).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "smooth", [ramp(), ramp() + ramp().mT, torch.hypot(ramp() - 0.5, ramp().mT - 0.5)], ids=["ramp", "diagonal", "cone"]
)
def test_a_smooth_image_has_no_levels(smooth):
    assert has_levels(smooth, find_levels(smooth)).tolist() == [False]


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_constant_image_has_no_levels(value):
    image = torch.full((2, 32, 32), value)
    levels = find_levels(image)
    assert tuple(levels.shape) == (2, 2) and bool(levels.isnan().all())
    assert has_levels(image, levels).tolist() == [False, False]


def test_one_level_is_not_enough():
    image = torch.zeros(1, 32, 32)
    assert has_levels(image, torch.tensor([[0.0, np.nan]])).tolist() == [False]


def test_the_share_of_pixels_near_a_level():
    image = torch.zeros(1, 10, 10)
    image[0, :3] = 0.5  # 30 % halfway between the levels
    levels = torch.tensor([[0.0, 1.0, np.nan]])
    assert has_levels(image, levels).tolist() == [False] and has_levels(image, levels, share=0.7).tolist() == [True]


def test_near_is_measured_by_the_smallest_spacing():
    levels = torch.tensor([[0.0, 1.0, 1.2]])
    assert has_levels(torch.full((1, 4, 4), 0.029), levels).tolist() == [True]  # within 0.15·0.2
    assert has_levels(torch.full((1, 4, 4), 0.031), levels).tolist() == [False]
