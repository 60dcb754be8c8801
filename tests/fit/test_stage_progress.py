"""Progress of the stages: counts, totals, and a callback that stops the fit."""

import math

import pytest
import torch
from fit_cases import QUICK, run

from tomopy_ganrec.fit import Status
from tomopy_ganrec.fit.stage_progress import StageProgress


def test_progress_counts_and_reports_each_iteration():
    seen = []
    progress = StageProgress("fit", seen.append, total=3)
    assert [progress.step(residual) for residual in (0.5, 0.25)] == [False, False]
    assert seen == [Status("fit", 1, 3, 0.5), Status("fit", 2, 3, 0.25)]
    assert progress.count == 2 and not progress.stopped
    progress.step()
    assert math.isnan(seen[-1].residual)


def test_progress_without_a_callback_counts():
    progress = StageProgress("start")
    assert not any(progress.step() for _ in range(5))
    assert progress.count == 5


def test_progress_stops_once():
    """After a stop the callback is not called again, and every step reports the stop."""
    seen = []
    progress = StageProgress("learn", lambda status: seen.append(status.iteration) or status.iteration == 3, total=9)
    assert [progress.step() for _ in range(5)] == [False, False, True, True, True]
    assert seen == [1, 2, 3]
    assert progress.stopped is True and progress.count == 5


@pytest.mark.parametrize("answer", (1, "yes", [0], True))
def test_any_true_answer_stops(answer):
    progress = StageProgress("fit", lambda status: answer)
    assert progress.step() is True


@pytest.mark.parametrize("answer", (0, "", None, False))
def test_an_answer_that_is_not_true_does_not_stop(answer):
    progress = StageProgress("fit", lambda status: answer)
    assert progress.step() is False


def test_total_is_never_below_the_count():
    seen = []
    progress = StageProgress("start", lambda status: seen.append(status.total), total=2)
    for _ in range(4):
        progress.step()
    assert seen == [2, 2, 3, 4]


def test_total_grows_with_what_is_expected():
    seen = []
    progress = StageProgress("start", lambda status: seen.append(status.total))
    progress.expect(2)
    progress.step()
    progress.expect(5)  # five more than the one so far
    progress.step()
    assert seen == [2, 6] and progress.total == 6


@pytest.mark.parametrize("pixel_model", ("area", "auto"))
@pytest.mark.parametrize("iteration", (7, 100, 220))
def test_callback_stops_a_fit_of_any_pixel_model(small_case, pixel_model, iteration):
    seen = []
    result = run(
        small_case,
        pixel_model=pixel_model,
        callback=lambda status: seen.append(status) or status.iteration == iteration,
        **QUICK | dict(reweight_rounds=4),
    )
    assert [s.iteration for s in seen] == list(range(1, iteration + 1)) and result.info[0]["stopped"] == "callback"
    assert result.image.isfinite().all() and result.image.max() > 0


# Total variation: 170, or 120 until the noise is learned, and one round of 28; the trial of both pixel models adds the
# 105 of the one that is not taken.
@pytest.mark.parametrize(("pixel_model", "steps"), (("point", 198), ("area", 148), ("auto", 303)))
def test_callback_sees_each_iteration(three_slices, pixel_model, steps):
    seen = []
    result = run(three_slices, callback=seen.append, pixel_model=pixel_model, max_attenuation=None, **QUICK)
    assert all(isinstance(status, Status) for status in seen)
    starts, fits = [s for s in seen if s.stage == "start"], [s for s in seen if s.stage == "fit"]
    assert seen == starts + fits
    assert [s.iteration for s in starts] == list(range(1, steps + 1)) and {s.total for s in starts} == {steps}
    assert all(math.isnan(s.residual) for s in starts)
    assert [s.iteration for s in fits] == list(range(1, 11)) and {s.total for s in fits} == {10}
    assert [s.residual for s in fits] == pytest.approx(result.history["residual"].max(1)[1:])  # of the worst slice


@pytest.mark.parametrize(("init", "count"), (("sirt", 30), ("fbp", 0), ("none", 0)))
def test_callback_counts_the_iterations_of_each_start(small_case, init, count):
    seen = []
    run(small_case, callback=seen.append, init=init, num_iter=3)
    starts = [s for s in seen if s.stage == "start"]
    assert [s.iteration for s in starts] == list(range(1, count + 1)) and all(s.total == count for s in starts)
    assert [s.iteration for s in seen if s.stage == "fit"] == [1, 2, 3]


def test_callback_stops_the_fit(small_case):
    seen = []
    result = run(
        small_case,
        callback=lambda status: seen.append(status) or status.stage == "fit" and status.iteration == 4,
        **QUICK,
    )
    assert seen[-1].iteration == 4 and result.info[0]["stopped"] == "callback"
    assert result.history["objective"].shape == (5, 1) and result.history["discriminator"].shape == (4, 1)
    assert torch.equal(
        result.image,
        run(small_case, **QUICK, callback=lambda status: status.stage == "fit" and status.iteration == 4).image,
    )


@pytest.mark.parametrize("init", ("tv", "sirt"))
def test_callback_that_stops_the_start_stops_the_fit(small_case, init):
    seen = []
    result = run(small_case, init=init, callback=lambda status: seen.append(status) or status.iteration == 7, **QUICK)
    assert [s.iteration for s in seen] == list(range(1, 8)) and result.info[0]["stopped"] == "callback"
    assert torch.equal(result.image, result.start) and result.image.isfinite().all() and result.image.max() > 0


def test_a_run_that_is_not_stopped_says_so(small_case):
    assert run(small_case, **QUICK).info[0]["stopped"] == "finished"
    assert run(small_case, callback=lambda status: None, **QUICK).info[0]["stopped"] == "finished"
