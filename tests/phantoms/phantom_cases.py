"""Stacks of the test objects, drawn once for all tests that only look at them."""

import functools

import pytest

from tomopy_ganrec.phantoms import OBJECTS

all_objects = pytest.mark.parametrize("name", OBJECTS)
other_objects = pytest.mark.parametrize("name", ("foam", "zeolite", "textured"))


@functools.cache
def stack(name, size=128, slices=1, seed=0, oversample=1, spacing=1.0, **more):
    """A stack by the name of its object, for tests that do not write into it."""
    return OBJECTS[name](size, slices, seed, oversample, spacing, **more)


def block_mean(image, n):
    """The means over blocks of n × n pixels."""
    return image.reshape(image.shape[0] // n, n, -1, n).mean((1, 3))
