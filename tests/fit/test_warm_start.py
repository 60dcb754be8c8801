"""Warm starts from the images of neighbours: as good, in fewer iterations, and only where these explain the data."""

import numpy as np
import pytest
import torch

from tomopy_ganrec import GanrecOptions, recon
from tomopy_ganrec.fit import fit
from tomopy_ganrec.io.sources import source_of
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.volume.planning import choose_warm_interval

THETA = np.deg2rad(np.arange(0, 120, 2.0))
SIZE, SMALL = 64, 32
QUICK = dict(num_iter=4, reweight_rounds=2, pixel_model="point", device="cpu", sinogram_order=True)


def project(truth):
    n = truth.shape[-1]
    return (
        ParallelBeamProjector(n, THETA, n)
        .forward_project(torch.from_numpy(np.ascontiguousarray(truth, np.float32)))
        .numpy()
    )


def volume_of(size, slices, spacing):
    truth = shale(size, slices, spacing=spacing)
    return truth, project(truth)


@pytest.fixture(scope="module")
def rock():
    """Nine 64² slices of shale of square pixels, half a pixel of a 256² slice apart: truth and sinograms."""
    return volume_of(SIZE, 9, 0.125)


@pytest.fixture(scope="module")
def small():
    """Nine 32² slices of shale: for behaviour, not quality."""
    return volume_of(SMALL, 9, 0.05)


@pytest.fixture(scope="module")
def cold_and_warm(rock):
    """Default options but for the pixel model, which 60 angles of 64 columns do not always show.

    Images and records, by the interval of the slices that start from scratch.
    """
    results = {}
    for every in (0, 4):
        image, info = recon(
            rock[1], THETA, sinogram_order=True, device="cpu", pixel_model="point", warm_start=every, return_info=True
        )
        results[every] = image, info.slices
    return results


def relative(a, b):
    return float(np.linalg.norm(np.asarray(a) - np.asarray(b)) / np.linalg.norm(np.asarray(b)))


# Quality and cost


def test_warm_is_not_worse_than_cold(rock, cold_and_warm):
    (cold, _), (warm, records) = cold_and_warm[0], cold_and_warm[4]
    assert [s["warm"] for s in records] == [k % 4 != 0 for k in range(9)]
    for truth, a, b in zip(rock[0], cold, warm, strict=True):
        assert mssim(truth, b) >= mssim(truth, a) - 0.005  # the requirement; .002 measured
    for a, b in zip(cold[::4], warm[::4], strict=True):  # the same slices, in a batch of three instead of nine
        assert relative(a, b) <= 1e-4  # the requirement


def test_warm_takes_half_the_iterations(rock, cold_and_warm):
    records, image = cold_and_warm[4][1], cold_and_warm[4][0]
    steps = {}
    model, sinogram = ParallelBeamProjector(SIZE, THETA, SIZE), torch.from_numpy(rock[1][[1, 3]])
    for kind in ("cold", "warm"):
        count = []
        near = dict(near=[records[0], records[4]], init=torch.from_numpy(image[[0, 4]])) if kind == "warm" else {}
        options = GanrecOptions(pixel_model="point", max_attenuation=None)
        result = fit(model, sinogram, options, callback=count.append, **near)
        assert [info["warm"] for info in result.info] == [kind == "warm"] * 2
        steps[kind] = {stage: sum(s.stage == stage for s in count) for stage in ("start", "fit")}
    # 170 and up to 8 rounds of 28, then up to 50; 6 to 8 rounds of 28, then up to 25.
    assert 170 + 5 * 28 <= steps["cold"]["start"] <= 170 + 8 * 28 and (steps["cold"]["start"] - 170) % 28 == 0
    assert 6 * 28 <= steps["warm"]["start"] <= 8 * 28 and steps["warm"]["start"] % 28 == 0
    assert 25 <= steps["cold"]["fit"] <= 50 and steps["warm"]["fit"] <= 25
    assert max(s["warm_rounds"] for s in records) <= 8 and min(s["warm_rounds"] for s in records if s["warm"]) == 6


# Neighbours that do not explain the data


@pytest.fixture(scope="module")
def unlike_slices(rock):
    """The rock with a little noise, slice 2 empty, slice 3 another object, and slice 5 with ten times the noise."""
    rng = np.random.default_rng(0)
    tomo = rock[1].copy()
    tomo[3] = project(np.ascontiguousarray(rock[0][:1, ::-1, ::-1].swapaxes(1, 2)))[0]
    noise = 0.02 * rng.standard_normal(tomo.shape)
    noise[5] *= 10
    tomo = (tomo + noise).astype(np.float32)
    tomo[2] = 0
    return tomo


@pytest.mark.parametrize("pixels", ("point", "area"))
def test_slices_that_their_neighbours_do_not_explain_start_from_scratch(unlike_slices, pixels):
    options = dict(
        sinogram_order=True, device="cpu", pixel_model=pixels, num_iter=10, reweight_rounds=3, return_info=True
    )
    images, info = recon(unlike_slices, THETA, warm_start=8, **options)
    alone, _ = recon(unlike_slices[[2, 3, 5]], THETA, warm_start=0, **options)
    warm = [s["warm"] for s in info.slices]
    assert not warm[2] and not warm[3] and not warm[5] and not warm[0] and not warm[8]
    assert (images[2] == 0).all()
    for k, image in ((3, alone[1]), (5, alone[2])):
        assert relative(images[k], image) <= 1e-4  # the requirement, between a batch of one and of three
    assert any(warm)  # others are not affected


def test_volumes_of_noise_and_of_zeros():
    noise = np.random.default_rng(0).standard_normal((5, len(THETA), SMALL)).astype(np.float32)
    for tomo in (noise, np.zeros_like(noise)):
        image = recon(tomo, THETA, warm_start=4, nonnegative=False, **QUICK)
        assert np.isfinite(image).all()


# Interval of the slices that start from scratch


def interval(tomo, default="auto", **options):
    return choose_warm_interval(GanrecOptions(**options), source_of(tomo, True), default)


def test_interval_for_alike_and_unlike_slices(rock):
    alike = np.repeat(rock[1][:1], 40, 0)
    unlike = np.random.default_rng(0).random((40, 20, 32), np.float32) * np.random.default_rng(1).random(
        (40, 1, 32), np.float32
    )
    assert interval(alike) == 16 and interval(unlike) == 1
    assert interval(alike[:17]) == 16
    assert interval(alike[:9]) == 8
    assert interval(alike[:3]) == 2
    assert interval(alike[:2]) == interval(alike[:1]) == 1
    assert interval(np.zeros_like(alike)) == 16
    # Noise does not count as a difference between neighbours: 0.5 % of the values of a sinogram, averaged over 4 × 4.
    noisy = alike + 0.05 * alike.mean() * np.random.default_rng(0).standard_normal(alike.shape).astype(np.float32)
    assert interval(noisy) == 16


@pytest.mark.slow
def test_interval_falls_as_slices_move_apart():
    intervals = [interval(volume_of(SMALL, 17, spacing)[1]) for spacing in (0.02, 0.3, 8.0)]
    assert intervals == sorted(intervals, reverse=True) and intervals[0] > 4 and intervals[-1] == 1


def test_interval_as_given(rock):
    tomo = rock[1]
    assert [interval(tomo, warm_start=k) for k in (0, 1, 4, 100)] == [1, 1, 4, 100]
    assert interval(tomo, joint_slices=3) == interval(tomo, joint_slices=3, warm_start=4) == 1
    assert interval(tomo, default=0) == 1 and interval(tomo, default=0, warm_start="auto") == interval(tomo)
    assert interval(tomo, preset="paper") == 32
    assert interval(tomo, preset="paper", warm_start=5) == 5
    assert interval(tomo, default=0, preset="paper") == 1


# Other options


def test_a_callback_ends_a_warm_start(small):
    tomo, seen = small[1], []

    def stop_in_the_second_batch(status):
        seen.append(status)
        fits = [k for k, s in enumerate(seen) if s.stage == "fit"]
        return bool(fits) and status.stage == "start" and len(seen) - fits[-1] > 42

    image, info = recon(tomo, THETA, warm_start=8, return_info=True, callback=stop_in_the_second_batch, **QUICK)
    middle = info.slices[4]
    # In the second round of 28.
    assert middle["warm"] and middle["stopped"] == "callback" and middle["warm_rounds"] == 2
    assert info.slices[0]["stopped"] == "finished"
    assert np.isfinite(image).all()
    assert relative(image[4], small[0][4]) < 0.5


@pytest.mark.filterwarnings("ignore:levels='auto'.*no discrete grey levels:RuntimeWarning")
@pytest.mark.parametrize(
    "options",
    (
        dict(reweight_rounds=0),
        dict(init="sirt"),
        dict(init="fbp"),
        dict(levels="auto"),
        dict(levels=(0, 1 / 3, 2 / 3, 1)),
    ),
    ids=str,
)
def test_warm_starts_with_other_options_fit_the_data_as_well(small, options):
    options = QUICK | dict(num_iter=20) | options
    cold, before = recon(small[1], THETA, warm_start=0, return_info=True, **options)
    warm, after = recon(small[1], THETA, warm_start=4, return_info=True, **options)
    assert [s["warm"] for s in after.slices] == [k % 4 != 0 for k in range(9)]
    for truth, a, b in zip(small[0], cold, warm, strict=True):
        assert mssim(truth, b) > mssim(truth, a) - 0.02
    assert max(s["residual"] for s in after.slices) < 1.5 * max(s["residual"] for s in before.slices)


def test_the_papers_weights_go_from_slice_to_slice(small):
    options = dict(preset="paper", num_iter=6, warm_iter=3)
    image, info = recon(
        small[1][:3], THETA, warm_start=3, sinogram_order=True, device="cpu", return_info=True, **options
    )
    assert [s["warm"] for s in info.slices] == [False, True, True]
    assert [len(s["history"]["objective"]) for s in info.slices] == [7, 4, 4]
    model, state = ParallelBeamProjector(SMALL, THETA, SMALL), None
    for k in range(3):
        result = fit(model, torch.from_numpy(small[1][k : k + 1]), GanrecOptions(**options), state=state)
        np.testing.assert_array_equal(result.image[0].numpy(), image[k])
        state = result.states
    fresh = fit(model, torch.from_numpy(small[1][2:3]), GanrecOptions(**options).replace(num_iter=3))
    assert info.slices[2]["objective"] < fresh.info[0]["objective"]  # it begins with weights that have been trained
