"""One progress bar for the chunks of one reconstruction, and their cancellation."""

import math
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from chunk_calls import QUICK, THETA, N, chunk, plain, shared, sinograms

from tomopy_ganrec import cancel, ganrec
from tomopy_ganrec.results import Status
from tomopy_ganrec.volume import progress
from tomopy_ganrec.volume.progress import Cancelled


class Bars(list):
    """Stands in for tqdm: the bars that were made."""

    class Bar:
        def __init__(self, total, **kwargs):
            self.total, self.n, self.closed, self.way = total, 0.0, 0, [0.0]

        def set_postfix_str(self, text, refresh):
            pass

        def update(self, by):
            assert not self.closed and by >= 0
            self.n += by
            self.way.append(self.n)

        def close(self):
            self.closed += 1

    def make(self, total, **kwargs):
        self.append(self.Bar(total))
        return self[-1]


@pytest.fixture
def bars(monkeypatch):
    made = Bars()
    monkeypatch.setattr(progress, "tqdm", made.make)
    return made


def assert_one_full_bar(bars, total):
    (bar,) = bars
    assert bar.total == total and bar.closed
    assert bar.n == pytest.approx(total, abs=1e-9)  # sums of float64
    assert len(bar.way) > 10  # it moves within slices, too


# One bar


@pytest.mark.parametrize("array", (plain, shared))
@pytest.mark.parametrize("threads", (1, 2))
@pytest.mark.parametrize("size", (1, 2))
def test_chunks_of_one_array_share_a_bar(bars, array, threads, size):
    out = array(5)
    parts = [slice(first, min(first + size, 5)) for first in range(0, 5, size)]
    if threads == 1:
        for s in parts:
            chunk(out, s)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda s: chunk(out, s), parts))
    assert_one_full_bar(bars, 5)
    np.testing.assert_array_equal(out[0] > 0.5, out[4] > 0.5)  # and all is there
    assert (out[0] > 0.5).any()


def test_a_chunk_of_two_dimensions_belongs_to_its_call(bars):
    out = plain(2)
    for k in range(2):
        ganrec(sinograms(1)[0], N / 2, out[k], THETA, **QUICK, progress=True)
    assert_one_full_bar(bars, 2)


def test_the_bar_is_drawn_once(capsys):
    out = plain(4)
    for k in range(4):
        chunk(out, slice(k, k + 1))
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1  # each bar ends its line when it is closed
    shares = [int(part) for part in re.findall(r"(\d+)%", shown)]
    assert shares == sorted(shares) and shares[-1] == 100


def test_a_second_call_with_the_same_array_has_a_bar_of_its_own(bars):
    out = plain(2)
    for _ in range(2):
        for k in range(2):
            chunk(out, slice(k, k + 1))
    assert len(bars) == 2 and all(bar.n == pytest.approx(2) and bar.closed for bar in bars)


def test_calls_of_two_arrays_at_once_have_a_bar_each(bars):
    outs = [plain(3), plain(2)]

    def meet(status):  # neither is over before the other has begun; they take turns on the device
        end = time.monotonic() + 30
        while len(bars) < 2 and time.monotonic() < end:
            time.sleep(0.01)

    def whole(out):
        chunk(out, slice(None), callback=meet)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(whole, outs))
    assert sorted(bar.total for bar in bars) == [2, 3] and all(
        bar.n == pytest.approx(bar.total) and bar.closed for bar in bars
    )


def test_a_call_after_one_that_failed_has_a_bar_of_its_own(bars):
    out = plain(2)

    def fail(status):
        raise KeyError("a user's callback")

    chunk(out, slice(0, 1))
    with pytest.raises(KeyError):
        chunk(out, slice(1, 2), callback=fail)
    assert bars[0].closed and bars[0].n < 2
    for k in range(2):
        chunk(out, slice(k, k + 1))
    assert len(bars) == 2 and bars[1].n == pytest.approx(2) and bars[1].closed


def test_no_bar_without_progress(bars, capsys):
    chunk(plain(2), slice(None), progress=False)
    assert not bars and capsys.readouterr().err == ""


def test_the_share_of_a_stage_never_goes_back(bars):
    call = progress.Progress(4, True)
    for stage, iteration in (("start", 5), ("start", 10), ("fit", 3), ("start", 1), ("fit", 10), ("uncertainty", 1)):
        call.update("a", 2, Status(stage, iteration, 10, math.nan))
    call.done("a", 2)
    # By hand: two slices, 30 % of each for the start and the rest for the fit.
    assert bars[0].way == pytest.approx([0, 0.3, 0.6, 1.02, 1.02, 2, 2, 2])


# cancel


def test_cancel_stops_what_runs_and_what_comes_right_after_but_no_new_call(bars):
    out, started, cancelled, stopped, late = plain(4), threading.Event(), [], threading.Event(), []

    def notify(status):
        started.set()
        if stopped.is_set():
            late.append(status)

    def run(k):
        try:
            chunk(out, slice(k, k + 1), num_iter=10**6, callback=notify)
        except Cancelled:
            cancelled.append(k)

    with ThreadPoolExecutor(2) as pool:  # as TomoPy: two at work, two wait
        jobs = [pool.submit(run, k) for k in range(4)]
        assert started.wait(60)
        cancel()
        stopped.set()
        [job.result(60) for job in jobs]
    assert len(late) <= 2  # the iterations that were under way, of a million
    assert sorted(cancelled) == [0, 1, 2, 3]
    assert (out == np.float32(1e-6)).all()
    assert len(bars) == 1 and bars[0].closed
    fresh = plain(1)
    chunk(fresh, slice(None))  # at once, with another array
    assert fresh.max() > 0.5
    time.sleep(progress.NEXT_CHUNK_TIMEOUT + 0.1)
    chunk(out, slice(None))  # with the same one, when no chunk can be missing
    assert out.max() > 0.5
    assert len(bars) == 3


def test_cancel_without_a_run_does_nothing():
    cancel()
    out = plain(1)
    chunk(out, slice(None), progress=False)
    assert out.max() > 0.5
