"""Masks that users give: what is taken, what is refused, and that equal ones count as equal."""

import pickle

import numpy as np
import pytest

from tomopy_ganrec.mask import Mask
from tomopy_ganrec.options import GanrecOptions

DISC = np.hypot(*np.ogrid[-3.5:4, -4:5]) < 3
EACH = np.stack([DISC, DISC[::-1] | (np.arange(9) < 2), np.ones_like(DISC)])


@pytest.mark.parametrize("dtype", (bool, np.uint8, np.int64, np.float32, np.float64))
def test_zeros_and_ones_of_any_type_are_taken(dtype):
    mask = GanrecOptions(mask=DISC.astype(dtype)).mask
    assert isinstance(mask, Mask) and mask.shape == DISC.shape and not mask.per_slice
    np.testing.assert_array_equal(np.asarray(mask), DISC)
    assert np.asarray(mask).dtype == bool and np.asarray(mask, np.float32).sum() == DISC.sum()


def test_lists_are_taken():
    np.testing.assert_array_equal(np.asarray(GanrecOptions(mask=[[0, 1], [1, 1]]).mask), [[0, 1], [1, 1]])


@pytest.mark.parametrize("value", (True, False, "outline", np.True_, np.False_))
def test_words_and_switches(value):
    assert GanrecOptions(mask=value).mask == value and type(GanrecOptions(mask=value).mask) in (bool, str)
    assert GanrecOptions.from_mapping({"mask": np.array(value)}).mask == value


@pytest.mark.parametrize("value", (0, 1, None, 1.0, "disc", "yes", b"1", {"a": 1}, [[1], [1, 2]], object), ids=repr)
def test_what_is_no_mask_is_refused(value):
    with pytest.raises(TypeError, match=r"mask=.* must be 'auto', True, False, 'outline' or an array of 0 and 1"):
        GanrecOptions(mask=value)


@pytest.mark.parametrize(
    ("array", "message"),
    (
        (np.ones(5), r"shape \(5,\) is no support; give 0 and 1 .* as \(rows, columns\)"),
        (np.ones((2, 2, 2, 2)), r"shape \(2, 2, 2, 2\) is no support"),
        (np.ones((0, 4)), r"shape \(0, 4\) is no support"),
        (np.zeros((4, 4)), "shape .4, 4. is 0 everywhere: no pixel is left"),
        (np.stack([DISC, 0 * DISC]), "slice 1, is 0 everywhere"),
        (np.where(DISC, np.nan, 1), r"holds \d+ values other than 0 and 1, the first is nan at \(1, 3\)"),
        (255 * DISC, r"values other than 0 and 1, the first is 255 .* such as array > 0.5"),
        (0.5 * DISC, "the first is 0.5"),
        (-1 * DISC, "the first is -1"),
    ),
)
def test_wrong_arrays_are_refused(array, message):
    with pytest.raises(ValueError, match=f"option mask: an array of .*{message}"):
        GanrecOptions(mask=array)


def test_the_shape_is_that_of_the_slices():
    Mask(DISC).check(5, DISC.shape)
    Mask(EACH).check(3, DISC.shape)
    for mask, slices, size in ((Mask(DISC), 5, (9, 8)), (Mask(EACH), 2, DISC.shape)):
        with pytest.raises(ValueError, match=rf"shape .*{slices} slices of {size[0]} rows and {size[1]} columns.*give"):
            mask.check(slices, size)


def test_a_mask_is_a_copy_that_travels_and_compares():
    array = DISC.copy()
    options = GanrecOptions(mask=array)
    same = GanrecOptions(mask=DISC.astype(np.float32))
    array[:] = True
    np.testing.assert_array_equal(np.asarray(options.mask), DISC)
    assert options == same and hash(options) == hash(same)
    assert options != GanrecOptions(mask=~DISC) and options != GanrecOptions()
    assert pickle.loads(pickle.dumps(options)) == options
    assert options.replace(seed=3).mask == options.mask and options.resolved.mask == options.mask
    assert options.mask.identity() != Mask(~DISC).identity() != Mask(DISC[None]).identity()
    assert "8×9" in repr(options.mask) and len(repr(options)) < 3000


def test_slices_of_a_mask():
    np.testing.assert_array_equal(np.asarray(Mask(EACH).take([2, 0])), EACH[[2, 0]])
    assert Mask(EACH).take([2, 0]) == Mask(EACH[[2, 0]]) and len(Mask(EACH)) == 3
    assert Mask(DISC).take([2, 0]) == Mask(DISC)
