"""Warnings of data that are no line integrals, or that the options do not suit; none of sound data."""

import re
import warnings

import numpy as np
import pytest

from tomopy_ganrec import ganrec, recon
from tomopy_ganrec.data_warnings import warn_of_data
from tomopy_ganrec.io.sources import source_of
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.phantoms import OBJECTS

pytest.importorskip("astra")
from tomopy_ganrec.benchmark.cases import AngularRange, Case

N = 64
EACH = pytest.mark.parametrize("name", OBJECTS)
RANGES = pytest.mark.parametrize("angular_range", ("180", "120", "51/70"))
KINDS = {
    "transmission": "look like transmission.*minus_log",
    "counts": "look like raw counts.*flat fields",
    "negative": "below zero.*nonnegative=False",
    "wide": "wider than the detector.*num_gridx=.*num_gridy=.*mask=False",
    "grid": "reaches beyond the grid.*num_gridx=.*num_gridy=",
    "levels": "levels=.*far from the attenuation",
}


def scan(name="shale", angular_range="120", size=N, photons=None, seed=1000):
    return Case(name, size, angular_range, photons).slice(0, 1, seed)[1][None], AngularRange(angular_range).theta


def transmission(data, least, photons=None, seed=0):
    """Counts over the photons of an object whose thickest ray lets through `least`."""
    t = np.exp(np.log(least) * data / data.max())
    return (t if photons is None else np.random.default_rng(seed).poisson(photons * t) / photons).astype(np.float32)


def warned_of(data, theta, center=None, size=None, **options):
    """The `KINDS` of warnings of these data."""
    center = np.full(len(data), data.shape[2] / 2 if center is None else center)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warned = warn_of_data(
            source_of(np.asarray(data), True), theta, center, size or (data.shape[2],) * 2, GanrecOptions(**options)
        )
    texts = [str(w.message) for w in caught]
    kinds = [kind for kind, pattern in KINDS.items() if any(re.search(pattern, text, re.DOTALL) for text in texts)]
    assert len(kinds) == len(texts) and warned is bool(texts)
    return kinds


@EACH
@RANGES
@pytest.mark.parametrize("photons", (None, 1e5, 1e3))
def test_line_integrals_give_no_warning(name, angular_range, photons):
    data, theta = scan(name, angular_range, photons=photons)
    clean, _ = scan(name, angular_range)
    for shift in (0, 0.02, -0.02):  # a flat field that drifted
        assert warned_of(data + np.float32(shift * clean.max()), theta) == []
    assert warned_of(data, theta, N / 2 + 2) == []
    assert (
        warned_of(np.rint(clean), theta) == warned_of(np.rint(clean).astype(np.uint16), theta) == []
    )  # whole numbers, and large ones, are no counts
    assert warned_of(data * 1e20, theta) == warned_of(data * 1e-30, theta) == []
    assert warned_of(np.pad(data, ((0, 0), (0, 0), (20, 20))), theta) == []


@EACH
@RANGES
@pytest.mark.parametrize("least", (0.17, 0.5, 0.8))
def test_transmission_is_noticed(name, angular_range, least):
    data, theta = scan(name, angular_range)
    for photons in (None, 1e5, 1e3):
        assert warned_of(transmission(data, least, photons), theta) == ["transmission"]
    gains = np.random.default_rng(0).normal(1, 0.02, N)
    for flat in (2e4, 500):  # by what they look like, not by their size
        counts = np.random.default_rng(1).poisson(flat * gains * transmission(data, least)) + 20
        assert warned_of(counts.astype(np.uint16), theta) == ["counts"]


@pytest.mark.parametrize("radius", (4, 16, 30))
@pytest.mark.parametrize("offset", (0, 8, 0.999))
def test_transmission_of_discs_of_any_size(radius, offset):
    # The largest offset puts the disc's rim at the detector's edge for some angles.
    theta = np.deg2rad(np.arange(0, 180, 2.0))
    offset = min(offset if offset > 1 else offset * (N / 2 - radius), N / 2 - radius)
    t = np.arange(N) + 0.5 - N / 2 - offset * np.cos(theta)[:, None]
    data = 2 * np.sqrt(np.maximum(radius**2 - t**2, 0))[None]
    assert warned_of(transmission(data, 0.5), theta) == ["transmission"] and warned_of(data, theta) == []


def test_one_warning_for_many_slices_wherever_they_lie(tmp_path):
    data, theta = scan()
    volume = np.repeat(transmission(data, 0.5), 6, 0)
    mapped = np.lib.format.open_memmap(tmp_path / "t.npy", "w+", np.float32, volume.shape)
    mapped[:] = volume
    for source in (volume, mapped):
        with pytest.warns(UserWarning) as caught:
            recon(source, theta, sinogram_order=True, init="fbp", num_iter=0, batch_size=2)
        assert (
            len(caught) == 1 and "look like transmission" in str(caught[0].message) and caught[0].filename == __file__
        )


@pytest.mark.parametrize("share", (1.0, 0.5))
@EACH
def test_negative_data(name, share):
    data, theta = scan(name, photons=1e4)
    data = -data if share == 1 else data - np.float32(share) * data.mean()  # reversed logarithm; phase without its mean
    assert warned_of(data, theta) == ["negative"] and warned_of(data, theta, nonnegative=False) == []


def test_noise_below_zero_is_none():
    rng = np.random.default_rng(0)
    theta = np.linspace(0, 3, 90)
    for data in (rng.normal(size=(3, 90, N)), rng.uniform(size=(1, 90, N)), np.zeros((1, 90, N))):
        assert warned_of(data, theta) == []


@EACH
@RANGES
def test_a_sample_wider_than_the_detector(name, angular_range):
    data, theta = scan(name, angular_range)
    cut = data[..., N // 4 : -N // 4]
    assert warned_of(cut, theta) == ["wide"] and warned_of(cut, theta, size=(N, N), mask=False) == []
    assert warned_of(cut, theta, size=(N, N)) == ["wide"]  # with the mask nothing is outside of what a turn sees


@pytest.mark.parametrize("name", ("shale", "foam", "textured"))
@pytest.mark.parametrize("mirrored", (False, True))
@pytest.mark.parametrize("beside", (4, 12))
def test_half_acquisition(name, mirrored, beside):
    data, theta = scan(name, "180")
    turn = np.concatenate([data, data[..., ::-1]], 1)[..., : N // 2 + beside]
    center = N / 2
    if mirrored:
        turn, center = turn[..., ::-1], beside
    theta = np.concatenate([theta, theta + np.pi])
    assert warned_of(turn, theta, center) == ["grid"] and warned_of(turn, theta, center, (N, N)) == []
    with pytest.warns(UserWarning, match="reaches beyond") as caught:
        warn_of_data(
            source_of(np.ascontiguousarray(turn), True),
            theta,
            np.array([float(center)]),
            turn.shape[2:] * 2,
            GanrecOptions(),
        )
    words = str(caught[0].message)
    need = int(words.split("num_gridx=")[1].split(",")[0])
    assert warned_of(turn, theta, center, (need, need)) == [] and need <= N + 4


def test_levels_far_from_the_data():
    data, theta = scan("shale")
    assert warned_of(data, theta, levels=(0, 0.5, 1.0)) == warned_of(data, theta, levels="auto") == []
    assert warned_of(data * 1e19, theta, levels=(0, 0.5e19, 1e19)) == []
    for levels in ((0, 30.0), (20.0, 25.0), (0, 1e-3)):
        assert warned_of(data, theta, levels=levels) == ["levels"]
    assert warned_of(data * 0.01, theta, levels=(0.1, 0.2)) == ["levels"]


def test_slices_that_are_not_finite_give_no_warning():
    data, theta = scan()
    data = np.repeat(data, 3, 0)
    data[1, 0, 0] = np.nan
    assert warned_of(data, theta) == [] and warned_of(np.full_like(data, np.nan), theta) == []


def test_inside_tomopy_the_caller_is_named():
    data, theta = scan()
    with pytest.warns(UserWarning, match="transmission") as caught:
        ganrec(
            transmission(data, 0.5),
            np.array([N / 2]),
            np.full((1, N, N), 1e-6, np.float32),
            theta,
            init="fbp",
            num_iter=0,
        )
    assert len(caught) == 1 and caught[0].filename == __file__
