"""Fits that several test files look at, each computed once a session."""

import functools

import pytest
from fit_cases import run

from tomopy_ganrec.fit import wedge_learning


@pytest.fixture(scope="session")
def default_fit(shale_case):
    """A function (wedge, oversample, photons) that gives a case of 64² shale and its default fit, each computed once.

    Objects made of the grid's own pixels are fitted as point pixels.
    """

    @functools.cache
    def fitted(wedge=120, oversample=1, photons=None):
        case = shale_case(wedge=wedge, oversample=oversample, photons=photons)
        return case, run(case, pixel_model="point" if oversample == 1 else "auto")

    return fitted


@pytest.fixture(scope="session")
def clean_fit(default_fit):
    """The default fit of the 64² shale over 120°, noise-free."""
    return default_fit()[1]


@pytest.fixture(scope="session")
def three_slices(shale_case):
    """Three slices of 32² shale."""
    return shale_case(size=32, slices=3)


@pytest.fixture
def brief_pairs(monkeypatch):
    """Few copies, reconstructed and trained on in a few steps."""
    for name, value in dict(
        COPIES=4, MOST_COPIES=4, PLAIN_ITERATIONS=10, ROUNDS=1, ROUND_ITERATIONS=5, TRAINING_STEPS=6
    ).items():
        monkeypatch.setattr(wedge_learning, name, value)


@pytest.fixture
def brief_learning(brief_pairs, monkeypatch):
    """A wedge learning of about a second, which is used although no good image is expected of it."""
    monkeypatch.setattr(wedge_learning.WedgeTrainer, "weight", lambda self, pairs: 1.0)
