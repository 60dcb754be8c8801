"""Chunks of one call: one bar, stopped together, and TomoPy's variable after what goes wrong."""

import contextlib
import gc
import math
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tomopy_ganrec import cancel, ganrec, tomopy_chunks
from tomopy_ganrec.results import Status
from tomopy_ganrec.tomopy_chunks import shared_progress
from tomopy_ganrec.volume import progress
from tomopy_ganrec.volume.progress import Cancelled

N, ANGLES = 24, 20
THETA = np.linspace(0, np.pi, ANGLES, endpoint=False)
QUICK = dict(num_iter=2, reweight_rounds=1, pixel_model="point", device="cpu")


def sinograms(count):
    """The shadow of a disc, (count, ANGLES, N)."""
    x = (np.arange(N) + 0.5) / N * 2 - 1
    return np.broadcast_to(N / 2 * np.sqrt(np.clip(0.64 - x * x, 0, None)), (count, ANGLES, N)).astype(np.float32)


def plain(count):
    return np.full((count, N, N), 1e-6, np.float32)


def shared(count):
    """Over memory that is no array, as TomoPy's (`tomopy.util.mproc`, `numpy.frombuffer` of a shared block)."""
    out = np.frombuffer(bytearray(4 * count * N * N), np.float32).reshape(count, N, N)
    out[:] = 1e-6
    return out


def chunk(out, s, **options):
    part = out[s]
    ganrec(sinograms(len(part)), np.full(len(part), N / 2), part, THETA, **(QUICK | {"progress": True} | options))


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


def test_a_call_is_forgotten_with_its_array():
    out = plain(1)
    gc.collect()  # what other tests have left
    before = len(tomopy_chunks._progress_of)
    chunk(out, slice(None))
    assert len(tomopy_chunks._progress_of) == before + 1
    del out
    gc.collect()
    assert len(tomopy_chunks._progress_of) == before


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

    def tell(status):
        started.set()
        if stopped.is_set():
            late.append(status)

    def run(k):
        try:
            chunk(out, slice(k, k + 1), num_iter=10**6, callback=tell)
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


def test_concurrent_chunks_count_as_one_call_until_the_last_has_left():
    out = plain(4)
    with shared_progress(out[:2], False) as first:
        with shared_progress(out[2:], False) as second:
            assert second is first and first.active == 2
        assert first.active == 1
    with shared_progress(out[:2], False) as third:
        assert third is first  # two slices are missing: the same call


# TomoPy's variable

TOMOPY = '''
import os
import concurrent.futures as cf

def _dist_recon(parts, algorithm, ncore):
    """As in TomoPy 1.15.2."""
    pythreads = os.environ.get("TOMOPY_PYTHON_THREADS")
    os.environ["TOMOPY_PYTHON_THREADS"] = "{}".format(ncore)
    if ncore == 1:
        for part in parts:
            algorithm(part)
    else:
        with cf.ThreadPoolExecutor(ncore) as e:
            futures = [e.submit(algorithm, part) for part in parts]
        done, _ = cf.wait(futures, return_when=cf.ALL_COMPLETED)
        for f in done:
            if f.exception() is not None:
                raise f.exception()
    if pythreads is not None:
        os.environ["TOMOPY_PYTHON_THREADS"] = "{}".format(pythreads)
    elif os.environ.get("TOMOPY_PYTHON_THREADS"):
        del os.environ["TOMOPY_PYTHON_THREADS"]
'''


class Sees:
    """An algorithm as TomoPy calls it: `ganrec` on a chunk, which notes what the variable is."""

    def __init__(self, out, **options):
        self.out, self.options, self.seen, self.left = out, options, [], 0

    def __call__(self, s):
        self.seen.append(os.environ.get(tomopy_chunks.THREADS))
        try:
            chunk(self.out, s, progress=False, **self.options)
        finally:
            self.left += 1


@pytest.fixture(params=[None, "3"], ids=["unset", "set by the user"])
def variable(request, monkeypatch):
    """What the user has set, before this package was imported."""
    monkeypatch.setattr(tomopy_chunks, "_users_threads", request.param)
    if request.param is None:
        monkeypatch.delenv(tomopy_chunks.THREADS, raising=False)
    else:
        monkeypatch.setenv(tomopy_chunks.THREADS, request.param)
    return request.param


@pytest.fixture
def dist_recon(monkeypatch):
    module = type(sys)("tomopy.recon.algorithm")
    exec(TOMOPY, module.__dict__)
    monkeypatch.setitem(sys.modules, "tomopy.recon.algorithm", module)
    return module._dist_recon


PARTS = [slice(k, k + 1) for k in range(4)]


@pytest.mark.parametrize("ncore", (1, 2))
def test_the_variable_after_success_is_left_to_tomopy(variable, dist_recon, ncore):
    algorithm = Sees(plain(4))
    dist_recon(PARTS, algorithm, ncore)
    assert algorithm.seen == [str(ncore)] * 4  # nobody has changed it in between
    assert os.environ.get(tomopy_chunks.THREADS) == variable


@pytest.mark.parametrize("ncore", (1, 2))
@pytest.mark.parametrize("where", ("options", "fit"))
def test_the_variable_after_an_exception_is_as_before(variable, dist_recon, ncore, where):
    def fail(status):
        raise KeyError("a user's callback")

    wrong, error = ({"num_iter": -1}, ValueError) if where == "options" else ({"callback": fail}, KeyError)
    with pytest.raises(error):
        dist_recon(PARTS, Sees(plain(4), **wrong), ncore)
    assert os.environ.get(tomopy_chunks.THREADS) == variable


@pytest.mark.parametrize("ncore", (1, 2))
def test_the_variable_after_cancel_is_as_before(variable, dist_recon, ncore):
    with pytest.raises(Cancelled):
        dist_recon(PARTS, Sees(plain(4), callback=lambda status: cancel()), ncore)
    assert os.environ.get(tomopy_chunks.THREADS) == variable


def test_the_variable_is_left_alone_without_tomopy(monkeypatch):
    monkeypatch.delitem(sys.modules, "tomopy.recon.algorithm", raising=False)
    monkeypatch.setenv(tomopy_chunks.THREADS, "5")
    with contextlib.suppress(ValueError):
        chunk(plain(1), slice(None), num_iter=-1)
    assert os.environ[tomopy_chunks.THREADS] == "5"


@pytest.mark.parametrize("user", (None, "3"))
def test_the_variable_after_an_interrupt_while_chunks_go_on(user, tmp_path):
    """The main thread leaves TomoPy's function while its threads work: the last of them tidies up. In a process of its own, to be interrupted."""
    (tmp_path / "tomopy" / "recon").mkdir(parents=True)
    for name in ("tomopy/__init__.py", "tomopy/recon/__init__.py"):
        (tmp_path / name).touch()
    # An interrupt while __exit__ of the pool waits for its threads: they go on.
    (tmp_path / "tomopy/recon/algorithm.py").write_text(TOMOPY)
    script = textwrap.dedent(
        """
        import os, signal, sys, threading, time
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
        sys.path[:0] = [sys.argv[1], sys.argv[2]]
        import torch
        torch.set_num_threads(1)
        import tomopy.recon.algorithm as algorithm
        from test_progress import PARTS, Sees, plain
        started, go_on = threading.Event(), threading.Event()

        def hold(status):
            started.set()
            go_on.wait(60)

        def interrupt():
            started.wait(60)
            time.sleep(0.2)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        out = plain(4)
        sees = Sees(out, callback=hold)
        try:
            algorithm._dist_recon(PARTS, sees, 2)
        except KeyboardInterrupt:
            during = os.environ.get("TOMOPY_PYTHON_THREADS")
            go_on.set()
            while sees.left < 4:
                time.sleep(0.05)
            print(during, os.environ.get("TOMOPY_PYTHON_THREADS"), (out.max((1, 2)) > 0.5).sum())
        """
    )
    environment = {name: value for name, value in os.environ.items() if name != tomopy_chunks.THREADS} | (
        {} if user is None else {tomopy_chunks.THREADS: user}
    )
    command = [sys.executable, "-c", script, str(tmp_path), os.path.dirname(__file__)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    during, after, finished = done.stdout.split() or pytest.fail(done.stderr)
    assert during == "2"  # TomoPy has left it behind
    assert after == str(user) and finished == "4"
