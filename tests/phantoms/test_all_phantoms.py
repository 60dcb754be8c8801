"""All test objects: the same from the same seed, at every size and depth; arguments that they refuse."""

import numpy as np
import pytest
from phantom_cases import all_objects, block_mean, other_objects, stack

from tomopy_ganrec.phantoms import OBJECTS, foam, shale, textured, zeolite


def test_objects_by_name():
    assert {"shale": shale, "foam": foam, "zeolite": zeolite, "textured": textured} == OBJECTS


@other_objects
def test_shape_and_range(name):
    slices = stack(name, 256, slices=17)
    assert slices.shape == (17, 256, 256) and slices.dtype == np.float32
    assert slices.min() == 0 and 0.9 < slices.max() <= 1


@pytest.mark.parametrize("name", ["foam", "zeolite"])
def test_two_levels(name):
    np.testing.assert_array_equal(np.unique(stack(name, size=256)), [0, 1])


@other_objects
def test_the_same_seed_is_the_same_object(name):
    np.testing.assert_array_equal(OBJECTS[name](256), stack(name, 256))


@pytest.mark.parametrize("name", ["foam", "zeolite"])
def test_the_result_is_the_callers_own(name):
    first = OBJECTS[name](32)
    kept = first.copy()
    first[:] = 7  # the spheres are remembered, the picture is not
    np.testing.assert_array_equal(OBJECTS[name](32), kept)


@other_objects
def test_another_seed_is_another_object(name):
    first, second = (stack(name, 256, seed=seed)[0] for seed in (0, 1))
    # Two of a kind share an outline: they differ by 0.14 (textured) to 0.3 (foam).
    assert np.abs(first - second).mean() > 0.1


@other_objects
def test_every_size_is_the_same_object(name):
    reference, image = block_mean(stack(name, 256, seed=1)[0], 4), stack(name, 64, seed=1, oversample=4)[0]
    np.testing.assert_allclose(image, reference, atol=1e-6)  # means of the same 256² points in float32
    points = stack(name, 64, seed=1)[0]
    # 0.84 for foam, where most voids are smaller than a pixel of 64².
    assert np.corrcoef(reference.ravel(), points.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("name", ["foam", "zeolite"])
def test_sizes_that_256_is_no_multiple_of(name):
    np.testing.assert_allclose(stack(name, 75, oversample=3)[0], block_mean(stack(name, 225)[0], 3), atol=1e-6)


@other_objects
def test_slices_continue(name):
    slices = stack(name, 256, slices=17)
    distances = [np.abs(slices[:-k] - slices[k:]).mean() for k in (1, 2, 4, 8, 16)]
    assert distances == sorted(distances) and distances[0] > 0
    # 16 pixels are past all but the largest pores, one is inside all but the smallest.
    assert distances[0] < 0.5 * distances[-1]


@pytest.mark.parametrize("name", ["foam", "textured"])
def test_a_slice_does_not_depend_on_how_many_are_asked_for(name):
    for slices in (1, 5):
        np.testing.assert_array_equal(stack(name, 256, slices=slices), stack(name, 256, slices=17)[:slices])


@all_objects
def test_spacing_leaves_slices_out(name):
    np.testing.assert_array_equal(stack(name, slices=3, spacing=4), stack(name, slices=9)[::4])


def test_spacing_counts_pixels():
    np.testing.assert_allclose(
        stack("foam", 64, slices=3, spacing=2, oversample=2),
        [block_mean(s, 2) for s in stack("foam", slices=3, spacing=4)],
    )


@all_objects
@pytest.mark.parametrize("spacing", [0, -1.0, float("nan"), float("inf"), "1", None], ids=str)
def test_bad_spacing(name, spacing):
    with pytest.raises(ValueError, match=f"spacing is {spacing!r}"):
        OBJECTS[name](32, spacing=spacing)


@other_objects
@pytest.mark.parametrize("arguments", [dict(size=0), dict(size=32.5), dict(slices=0), dict(oversample=1.5)], ids=str)
def test_bad_counts(name, arguments):
    ((argument, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"{argument} is {value}"):
        OBJECTS[name](**arguments)
