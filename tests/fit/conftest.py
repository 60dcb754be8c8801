"""Fits that several test files look at, each computed once a session."""

import functools

import pytest
from fit_cases import run


@pytest.fixture(scope="module")
def default_fit(shale_case):
    """A function that gives the case and the default fit of the 64² shale, each fitted once; one made of the grid's own pixels is known to be."""

    @functools.cache
    def fitted(wedge=120, oversample=1, photons=None):
        case = shale_case(wedge=wedge, oversample=oversample, photons=photons)
        return case, run(case, pixel_model="point" if oversample == 1 else "auto")

    return fitted


@pytest.fixture(scope="module")
def clean(default_fit):
    return default_fit()[1]


@pytest.fixture(scope="module")
def three(shale_case):
    """Three slices of 32² shale."""
    return shale_case(size=32, slices=3)
