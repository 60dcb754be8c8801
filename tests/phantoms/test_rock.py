"""Shale: levels, shares, continuity, and the same rock at every size; textured rock: the shale with variation."""

import functools

import numpy as np
import pytest
from phantom_cases import block_mean, stack

from tomopy_ganrec.phantoms import shale

rock = functools.cache(shale)  # for the tests that only look at it
LEVELS = np.float32([0, 1 / 3, 2 / 3, 1])


def test_levels_and_their_shares():
    shares = np.zeros(4)
    for seed in range(3):
        slices = rock(256, seed=seed)
        assert slices.shape == (1, 256, 256) and slices.dtype == np.float32
        assert np.isin(slices, LEVELS).all()  # nothing between the levels
        shares += [(slices == level).mean() / 3 for level in LEVELS]
    # 4 points: grains are large enough for a rock to differ from the mean by a few; the inclusions have one point of
    # room.
    np.testing.assert_allclose(shares[:3], [0.33, 0.35, 0.31], atol=0.04)
    assert shares[3] == pytest.approx(0.012, abs=0.01)


def test_the_core_is_round_and_inside():
    image = rock(128)[0]
    y, x = np.mgrid[:128, :128] - 63.5
    assert (image[np.hypot(x, y) > 0.93 * 64] == 0).all()
    assert (image[np.hypot(x, y) < 0.75 * 64] > 0).all()  # chips are shallow


def test_the_same_seed_is_the_same_rock():
    np.testing.assert_array_equal(shale(32, slices=2, seed=3), shale(32, slices=2, seed=3))


def test_global_random_state_is_neither_read_nor_moved():
    np.random.seed(1)  # noqa: NPY002
    first, state = shale(32), np.random.get_state()[1].copy()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(shale(32), first)
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_another_seed_is_another_rock():
    assert np.abs(rock(64, seed=0) - rock(64, seed=1)).mean() > 0.05  # two unrelated rocks differ by about 0.13


def test_slices_continue():
    stack = rock(128, slices=9)
    distances = [np.abs(stack[:-k] - stack[k:]).mean() for k in (1, 2, 4, 8)]
    assert distances == sorted(distances)
    assert 0 < distances[0] < 0.4 * distances[-1]  # a step is a fifth of the grains' size, eight steps are past it


def test_a_slice_does_not_depend_on_how_many_are_asked_for():
    for slices in (1, 2, 5):
        np.testing.assert_array_equal(shale(128, slices=slices), rock(128, slices=9)[:slices])


@pytest.mark.parametrize("oversample", [2, 3])
def test_oversampling_is_the_area_mean(oversample):
    mean, fine = shale(64, oversample=oversample)[0], rock(64 * oversample)[0]
    np.testing.assert_allclose(mean, block_mean(fine, oversample), atol=1e-6)  # float32
    assert mean.mean() == pytest.approx(float(fine.mean()), rel=1e-5)
    between = ~np.isclose(mean[..., None], LEVELS, atol=1e-4).any(-1)
    # Grain boundaries, and not all of the image.
    assert 0.05 < between.mean() < 0.6 and mean.min() == 0 and mean.max() <= 1


def test_oversampled_slices_are_those_of_the_size():
    fine, coarse = shale(64, slices=3, oversample=2), rock(64, slices=3)
    # The same depth: a slice is nearer to its own area mean than to its neighbours'.
    own = [np.abs(fine[k] - coarse[k]).mean() for k in range(3)]
    other = [np.abs(fine[k] - coarse[j]).mean() for k in range(3) for j in range(3) if j != k]
    assert max(own) < min(other)


@pytest.mark.parametrize("size", [64, 128])
def test_every_size_is_the_same_rock(size):
    reference, image = block_mean(rock(256, seed=1)[0], 256 // size), rock(size, seed=1)[0]
    agree = np.isclose(reference, image, atol=1e-4)
    # Away from boundaries a pixel holds one level.
    assert agree[np.isin(np.round(reference * 12), [0, 4, 8, 12])].mean() > 0.7
    # Point samples against area means: they differ at boundaries.
    assert np.corrcoef(reference.ravel(), image.ravel())[0, 1] > 0.93


def test_depth_scales_with_the_size():
    coarse, fine = rock(64, slices=3), rock(128, slices=9)[:5]
    for k in range(3):  # slice k of the small one lies at slice 2k of the large one
        distances = [np.abs(coarse[k] - block_mean(single, 2)).mean() for single in fine]
        assert int(np.argmin(distances)) == 2 * k


def test_rock_far_apart_is_the_rock_of_the_dense_stack():
    # 32 reference pixels apart, planes of noise in between are left out for all fields but two; what is drawn must not
    # notice.
    np.testing.assert_array_equal(stack("shale", 64, slices=2, spacing=8), stack("shale", 64, slices=9)[::8])


@pytest.mark.parametrize(
    "arguments",
    [dict(size=0), dict(size=-4), dict(size=32.5), dict(slices=0), dict(oversample=0), dict(oversample=1.5)],
    ids=str,
)
def test_bad_arguments_of_shale(arguments):
    (name, value), *_ = arguments.items()
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        shale(**arguments)


def test_whole_numbers_of_any_type():
    for size in (np.int64(32), np.uint8(32)):
        np.testing.assert_array_equal(shale(size, slices=np.int32(1)), rock(32))


# Textured rock


def test_textured_has_no_levels():
    image = stack("textured", 256)[0]
    rock = image[image > 0]
    counts = np.histogram(rock, 200, (0, 1))[0] / rock.size
    assert counts.max() < 0.04 and (counts > 0.002).sum() > 80  # shale: three bins, the two largest 52 and 46 %
    assert np.unique(rock).size > 0.95 * rock.size
    assert (rock == 1).mean() < 1e-3  # inclusions are not cut off at 1


def test_textured_is_the_shale_with_variation():
    rock, image = stack("shale", 256)[0], stack("textured", 256)[0]
    np.testing.assert_array_equal(image == 0, rock == 0)  # air stays air
    for level in np.float32([1 / 3, 2 / 3]):
        here = image[rock == level]
        # 0.05 and 0.03 in squares are 0.058; the smooth field has some hundred independent patches in a grain type.
        assert here.mean() == pytest.approx(float(level), abs=0.02) and here.std() == pytest.approx(0.058, abs=0.012)
    bright = image[rock == 1]
    assert 0.9 < bright.mean() < 1 and bright.min() > 0.7


def test_texture_has_two_scales():
    rock, image = stack("shale", 256)[0], stack("textured", 256)[0]
    variation = np.where((rock > 0) & (rock < 1), image - rock, np.nan)

    def correlation(shift):
        a, b = variation[shift:], variation[:-shift]
        both = np.isfinite(a) & np.isfinite(b)
        return np.corrcoef(a[both], b[both])[0, 1]

    smooth = 0.05**2 / (0.05**2 + 0.03**2)  # what is left when the fine field has lost its memory, 0.74
    assert correlation(1) > 0.9
    assert correlation(6) == pytest.approx(smooth * np.exp(-36 / 400), abs=0.1)  # Gaussian smoothing: exp(−d²/4σ²)
    assert correlation(40) < 0.35
