"""Cases of a benchmark with phantoms: angular ranges, noise and phantoms by name."""

import numpy as np
import pytest

pytest.importorskip("astra")
from tomopy_ganrec import phantoms
from tomopy_ganrec.benchmark.cases import PAPER_RANGES, AngularRange, Case, cases


@pytest.mark.parametrize("degrees", [180, 120, 60])
def test_one_projection_a_degree(degrees):
    np.testing.assert_allclose(np.rad2deg(AngularRange(str(degrees)).theta), np.arange(degrees), atol=1e-12)


def test_the_in_situ_range():
    theta = np.rad2deg(AngularRange("51/70").theta)
    assert len(theta) == 51 and theta[0] == -35 and theta[-1] == 35
    np.testing.assert_allclose(np.diff(theta), 1.4, atol=1e-12)
    assert AngularRange("51/70").degrees == 70


def test_the_papers_ranges():
    assert [AngularRange(name).degrees for name in PAPER_RANGES] == [180, 170, 160, 150, 140, 130, 120]


@pytest.mark.parametrize("name", ["", "x", "0", "1", "181", "-120", "120.5", "1/70", "51/", "51/181", "51/70/2"])
def test_ranges_that_are_not(name):
    with pytest.raises(ValueError, match=r"not known; give degrees .*180, 170.*51/70"):
        AngularRange(name)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(phantom="shael"), r"did you mean 'shale'.*shale, foam, zeolite, textured"),
        (dict(phantom="x"), "choose from shale"),
        (dict(angular_range="200"), "not known"),
        (dict(protocol="voxel"), "'pixel' or 'subpixel'"),
        (dict(size=8), "at least 16"),
        (dict(photons=0), "above 0"),
        (dict(photons=float("inf")), "at most 1e15"),
        (dict(oversample=0), "at least 1"),
    ],
)
def test_bad_cases_say_what_is_known(wrong, message):
    with pytest.raises(ValueError, match=message):
        Case(**wrong)


@pytest.mark.parametrize("photons, name", [(None, "clean"), (1e5, "1e5"), (1e4, "1e4"), (25000, "2.5e4"), (500, "5e2")])
def test_names(photons, name):
    assert Case("foam", 64, "51/70", photons).name == f"foam-64-subpixel-51over70-{name}"


def test_an_angular_range_has_one_name():
    assert Case(angular_range="0120") == Case(angular_range="120") and AngularRange("051/70").name == "51/70"
    assert len(cases(["shale"], 64, ["120", "0120"], [1e5, 100000.0])) == 1


def test_all_combinations():
    found = cases(["shale", "foam"], 64, ["180", "51/70"], [None, 1e4], "pixel")
    assert len({case.name for case in found}) == 8 and {case.protocol for case in found} == {"pixel"}


@pytest.mark.parametrize("protocol, oversample", [("pixel", 4), ("subpixel", 3)])
def test_truth_and_sinogram(protocol, oversample):
    case = Case("shale", 48, "51/70", None, protocol, oversample)
    truth, sinogram = case.slice(1, 3, seed=2)
    assert truth.shape == (48, 48) and truth.dtype == np.float32 and sinogram.shape == (51, 48)
    # Strip integrals keep the mass; a bin is as wide as a pixel.
    np.testing.assert_allclose(sinogram.sum(1), truth.sum(), rtol=1e-3)
    spacing = 48 / 2 / 3
    if protocol == "pixel":
        np.testing.assert_array_equal(truth, phantoms.shale(48, 3, 2, spacing=spacing)[1])
    else:
        np.testing.assert_allclose(
            truth, phantoms.shale(48, 3, 2, oversample, spacing)[1], atol=1e-6
        )  # the area mean, in float32


def test_128_slices_of_256_are_neighbours():
    k = 5
    np.testing.assert_array_equal(
        Case(size=256, protocol="pixel", angular_range="2").slice(k, 128)[0], phantoms.shale(256, k + 1)[k]
    )


def test_noise_of_a_slice_is_its_own():
    clean, noisy = (Case("shale", 32, "60", photons) for photons in (None, 1e4))
    noise = [noisy.slice(k, 2, seed)[1] - clean.slice(k, 2, seed)[1] for seed in (0, 1) for k in (0, 1)]
    for i in range(4):
        assert 0.01 < noise[i].std() < 0.5
        for j in range(i):
            # 1920 samples: chance correlation is 0.02
            assert abs(np.corrcoef(noise[i].ravel(), noise[j].ravel())[0, 1]) < 0.1
    np.testing.assert_array_equal(noisy.slice(1, 2, 1)[1], noisy.slice(1, 2, 1)[1])


def test_the_truth_is_not_shared():
    truth, _ = Case("shale", 32, "60", None, "pixel").slice()
    kept = truth.copy()
    truth *= 0
    np.testing.assert_array_equal(Case("shale", 32, "60", None, "pixel").slice()[0], kept)
