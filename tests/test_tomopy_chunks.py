"""Chunks of one call of tomopy.recon, and its environment variable after success and failure."""

import contextlib
import gc
import os
import subprocess
import sys
import textwrap

import pytest
from chunk_calls import chunk, plain

from tomopy_ganrec import cancel, tomopy_chunks
from tomopy_ganrec.tomopy_chunks import shared_progress
from tomopy_ganrec.volume.progress import Cancelled


def test_a_call_is_forgotten_with_its_array():
    out = plain(1)
    gc.collect()  # what other tests have left
    before = len(tomopy_chunks._progress_of)
    chunk(out, slice(None))
    assert len(tomopy_chunks._progress_of) == before + 1
    del out
    gc.collect()
    assert len(tomopy_chunks._progress_of) == before


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
    """The main thread leaves TomoPy's function while its threads work: the last of them resets the variable.

    In a process of its own, which is interrupted.
    """
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
        from chunk_calls import plain
        from test_tomopy_chunks import PARTS, Sees
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
