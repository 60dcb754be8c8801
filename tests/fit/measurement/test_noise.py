"""Noise estimated from a sinogram, against the noise that was added."""

import functools

import numpy as np
import pytest
import torch

from tomopy_ganrec.fit.measurement.noise import estimate_noise
from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import ParallelBeamProjector

COLUMNS = 128


def degrees(*span):
    return torch.from_numpy(np.deg2rad(np.arange(*span)))


@functools.cache
def rock(size, seed):
    return torch.from_numpy(shale(size, seed=seed))


def clean(theta, size=COLUMNS, center=None, seed=0, columns=COLUMNS):
    projector = ParallelBeamProjector(size, theta, columns, center, backend="matrix")
    return projector.forward_project(rock(size, seed))


def white(shape, sigma, seed=0):
    return sigma * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("wedge", [180, 120, 60])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_white_noise_is_estimated(sigma, wedge):
    theta = degrees(wedge)
    sinogram = clean(theta)
    # Levels of 0.4, 1.4 and 4 % of the largest line integral, 1e5 to 1e3 photons. The weights that follow tolerate an
    # error of 30 %; 5 % is measured.
    assert estimate_noise(sinogram + white(sinogram.shape, sigma), theta, COLUMNS / 2).item() == pytest.approx(
        sigma, rel=0.3
    )


@pytest.mark.parametrize("angles, columns", [(180, 128), (120, 256), (400, 100)])
def test_white_noise_alone(angles, columns):
    # No object leaks: what is left are the statistics of a median over some thousand dependent powers, about 2 %.
    assert estimate_noise(
        white((1, angles, columns), 0.7), degrees(angles) * 180 / angles, columns / 2
    ).item() == pytest.approx(0.7, rel=0.06)


@pytest.mark.parametrize("wedge", [180, 120, 60])
def test_little_noise_is_estimated_where_there_is_none(wedge):
    theta = degrees(wedge)
    sinogram = clean(theta)
    # What the sharp grain boundaries leave above the band limit: 0.14 % of the largest line integral at most.
    assert 0 <= estimate_noise(sinogram, theta, COLUMNS / 2).item() <= 2e-3 * float(sinogram.max())


def test_noise_of_the_simulation():
    simulation = pytest.importorskip("tomopy_ganrec.benchmark.simulation")
    theta = degrees(180)
    sinogram = clean(theta)
    noisy = torch.from_numpy(simulation.add_noise(sinogram.numpy(), 1e4))
    # Poisson noise varies over the sinogram; the median sees its middle.
    true = float((noisy - sinogram).square().mean().sqrt())
    assert estimate_noise(noisy, theta, COLUMNS / 2).item() == pytest.approx(true, rel=0.3)


@pytest.mark.parametrize("center", [52.3, 75.0])
def test_axis_off_the_middle(center):
    theta = degrees(180)
    sinogram = clean(theta, size=96, center=center)
    # As above.
    assert estimate_noise(sinogram + white(sinogram.shape, 1.0), theta, center).item() == pytest.approx(1.0, rel=0.3)


def test_full_turn_and_other_steps():
    for theta in (degrees(0, 360, 2), degrees(-30, 90, 0.5), degrees(180).flip(0)):
        sinogram = clean(theta)
        # As above.
        assert estimate_noise(sinogram + white(sinogram.shape, 1.0), theta, COLUMNS / 2).item() == pytest.approx(
            1.0, rel=0.3
        )


def test_each_slice_has_its_own():
    theta = degrees(120)
    sinograms = torch.cat(
        [clean(theta, seed=0) + white((1, 120, COLUMNS), 0.5), clean(theta, seed=1) + white((1, 120, COLUMNS), 2.0, 1)]
    )
    both = estimate_noise(sinograms, theta, COLUMNS / 2)
    assert tuple(both.shape) == (2, 1, 1) and both.dtype == torch.float32
    for k in range(2):
        # float32 rounding of the FFT
        torch.testing.assert_close(both[k : k + 1], estimate_noise(sinograms[k : k + 1], theta, COLUMNS / 2))


def test_shuffled_angles_change_nothing():
    theta = degrees(180)
    sinogram = clean(theta) + white((1, 180, COLUMNS), 1.0)
    order = torch.randperm(180, generator=torch.Generator().manual_seed(0))
    # They are sorted first: the same numbers, bit for bit.
    assert torch.equal(
        estimate_noise(sinogram[:, order], theta[order], COLUMNS / 2), estimate_noise(sinogram, theta, COLUMNS / 2)
    )


def test_it_scales_with_the_data():
    theta = degrees(180)
    sinogram = clean(theta) + white((1, 180, COLUMNS), 1.0)
    ratio = estimate_noise(sinogram * 1e-3, theta, COLUMNS / 2) / estimate_noise(sinogram, theta, COLUMNS / 2)
    assert ratio.item() == pytest.approx(1e-3, rel=1e-4)  # float32


def test_float64_stays_float64():
    theta = degrees(180)
    assert estimate_noise(clean(theta).double(), theta, COLUMNS / 2).dtype == torch.float64


def irregular():
    return torch.from_numpy(np.random.default_rng(0).uniform(0, np.pi, 60))


@pytest.mark.parametrize(
    "theta",
    [irregular(), degrees(0, 180, 30), degrees(1), torch.zeros(20)],
    ids=["irregular", "six", "one", "all the same"],
)
def test_without_an_empty_region_it_takes_differences(theta):
    noise = white((2, len(theta), COLUMNS), 2.0)
    estimate = estimate_noise(noise, theta, COLUMNS / 2)
    assert tuple(estimate.shape) == (2, 1, 1)
    # The median over 126 second differences, five points dependent, varies by about 15 %; by much less for more angles.
    assert estimate[0].item() == pytest.approx(2.0, rel=0.5)
    # Fine structure counts, and is finite.
    assert float(estimate_noise(clean(theta), theta, COLUMNS / 2)) <= 0.05 * COLUMNS


@pytest.mark.parametrize("columns", [1, 2, 3, 15])
def test_narrow_detectors(columns):
    estimate = estimate_noise(white((3, 40, columns), 1.0), degrees(40), columns / 2)
    assert tuple(estimate.shape) == (3, 1, 1) and bool(torch.isfinite(estimate).all())
    assert bool((estimate == 0).all()) == (columns < 3)  # nothing separates noise from signal


GOLDEN = np.pi * (np.sqrt(5) - 1) / 2
EVEN = np.deg2rad(np.arange(120.0))


def uneven_angles():
    """Orders and spacings that scans have, and for which the two-dimensional spectrum has no meaning."""
    rng = np.random.default_rng(0)
    return {
        "one missing": np.delete(EVEN, 57),
        "first and second missing": np.delete(EVEN, [1, 30]),
        "five missing": np.delete(EVEN, [3, 4, 50, 57, 80]),
        "a gap": np.delete(EVEN, slice(40, 60)),
        "missing and unordered": rng.permutation(np.delete(EVEN, 20)),
        "each twice": np.repeat(EVEN[::2], 2),
        "fifty of one": np.concatenate([np.full(50, 0.4), EVEN]),
        "jittered": EVEN + np.deg2rad(rng.uniform(-0.3, 0.3, 120)),
        "rounded": np.deg2rad(np.round(np.arange(0, 120, 0.83), 1)),
        "at random": rng.uniform(0, np.pi, 100),
        "golden angle": np.arange(120) * GOLDEN % np.pi,
        "golden angle over a turn": np.arange(180) * GOLDEN % (2 * np.pi),
        "two densities": np.deg2rad(np.concatenate([np.arange(0, 60, 0.5), np.arange(60, 150, 2)])),
        "full turn, one missing": np.delete(np.deg2rad(np.arange(0, 360, 2.0)), 33),
        "equal slopes": np.arctan(np.linspace(-2, 2, 81)),
        "in situ, one missing": np.delete(np.deg2rad(np.linspace(-35, 35, 51)), 20),
        "many": np.sort(rng.uniform(0, np.pi, 400)),
        "two turns, one missing": np.delete(np.deg2rad(np.arange(0, 720, 2.0)), 100),
    }


UNEVEN = uneven_angles()
uneven = pytest.mark.parametrize("theta", [torch.from_numpy(t) for t in UNEVEN.values()], ids=UNEVEN)


@uneven
@pytest.mark.parametrize("columns", [64, 128])
def test_noise_of_uneven_angles_is_estimated(theta, columns):
    sinogram = clean(theta, columns, columns=columns)
    sigma = 0.01 * float(sinogram.max())
    # Eight draws: a mean within 10 %, single ones within the 20 % that a few dozen values allow.
    noise = white((8, len(theta), columns), sigma)
    ratio = estimate_noise(sinogram + noise, theta, columns / 2).flatten() / sigma
    assert 0.9 <= float(ratio.mean()) <= 1.1 and 0.8 <= float(ratio.min()) <= float(ratio.max()) <= 1.2


@uneven
def test_little_noise_is_estimated_for_uneven_angles_where_there_is_none(theta):
    sinogram = clean(theta)
    assert 0 <= estimate_noise(sinogram, theta, COLUMNS / 2).item() <= 2e-3 * float(sinogram.max())  # as for even ones


@pytest.mark.parametrize("kind", ["one missing", "golden angle", "each twice"])
def test_uneven_angles_in_any_order_and_unit(kind):
    theta = torch.from_numpy(UNEVEN[kind])
    sinogram = clean(theta) + white((1, len(theta), COLUMNS), 1.0)
    expected = estimate_noise(sinogram, theta, COLUMNS / 2)
    order = torch.randperm(len(theta), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(estimate_noise(sinogram[:, order], theta[order], COLUMNS / 2), expected)
    assert torch.equal(estimate_noise(sinogram * 2.0**70, theta, COLUMNS / 2), expected * 2.0**70)


@pytest.mark.parametrize("angles", [180, 20], ids=["spectrum", "differences"])
@pytest.mark.parametrize("factor", [2.0**100, 2.0**-100])
def test_squares_do_not_overflow(angles, factor):
    theta = degrees(angles)
    sinogram = white((2, angles, COLUMNS), 1.0)
    assert torch.equal(
        estimate_noise(sinogram * factor, theta, COLUMNS / 2), estimate_noise(sinogram, theta, COLUMNS / 2) * factor
    )
