"""Reconstructions in forked processes, in callbacks and when Python ends: they work, and nothing waits for ever.

What could hang runs in a process of its own, which an alarm ends.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parent.parent)
BEGIN = """
import functools, multiprocessing, os, signal, sys, threading, time, warnings
signal.alarm(ALARM)
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later say that a fork beside threads is dangerous
import tomopy_ganrec

def child(work):  # what a forked process answers to the question whether it worked
    pid = os.fork()
    if pid == 0:
        signal.alarm(ALARM // 2)
        code = 3
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
""".replace("ALARM // 2", "120").replace("ALARM", "240")
MORE = """
import numpy as np, torch
from tomopy_ganrec import ganrec, recon
torch.set_num_threads(THREADS)
data, theta = np.random.default_rng(0).random((2, 60, 64)).astype(np.float32), np.linspace(0, 2.1, 60)
options = dict(num_iter=1, reweight_rounds=1, pixel_model="point", device="cpu", init="fbp")
run = functools.partial(recon, data, theta, sinogram_order=True, **options)

def same(found, expected):
    return np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)

def as_tomopy_calls(pieces=1):
    out = np.full((2, 64, 64), 1e-6, np.float32)
    parts = [slice(None)] if pieces == 1 else [slice(0, 1), slice(1, 2)]
    threads = [
        threading.Thread(target=ganrec, args=(data[s], np.full(len(data[s]), 32.0), out[s], theta), kwargs=options)
        for s in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out
"""


def in_a_process(code, threads=2, more=MORE):
    """What a Python process prints."""
    script = BEGIN + more.replace("THREADS", str(threads)) + textwrap.dedent(code)
    environment = os.environ | {"PYTHONPATH": ROOT, "OMP_NUM_THREADS": str(threads)}
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert found.returncode == 0, (found.returncode, found.stdout, found.stderr)
    return found.stdout.split()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_child_of_a_process_that_has_reconstructed(threads):
    code = """
    expected = run()
    print(child(lambda: same(run(), expected)), child(lambda: same(run(ncore=2), expected)))
    print(child(lambda: same(as_tomopy_calls(2), expected)))
    print(child(lambda: child(lambda: same(run(), expected)) == 0))
    # Not a reconstruction, but it would hang as well.
    print(child(lambda: bool(torch.exp(torch.ones(3000, 3000)).sum() > 0)))
    print(torch.get_num_threads())
    """
    assert in_a_process(code, threads) == ["0"] * 5 + [str(threads)]


def test_children_of_a_pool():
    code = """
    expected = run()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        images = pool.map(functools.partial(recon, theta=theta, sinogram_order=True, **options), [data] * 3)
        print(*(same(image, expected) for image in images))
    """
    assert in_a_process(code) == ["True"] * 3


def test_a_child_of_a_process_that_has_used_torch_otherwise():
    code = """
    torch.exp(torch.ones(3000, 3000))
    torch.ones(500, 500) @ torch.ones(500, 500)
    print(child(lambda: run().any()))
    """
    assert in_a_process(code) == ["0"]


def test_forks_while_another_thread_reconstructs():
    code = """
    expected, stop, begun = run(), [], threading.Event()
    def work():
        while not stop:
            run(progress=True, callback=lambda status: begun.set())
    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    for k in range(4):
        print(child(lambda: same(run(progress=True), expected)))
        time.sleep(0.02 * k)
    stop.append(1)
    thread.join()
    """
    assert in_a_process(code) == ["0"] * 4


def test_a_child_imports_nothing():
    code = """
    loaded = set(sys.modules)
    print(child(lambda: set(sys.modules) == loaded and not {'torch', 'numpy'} & loaded))
    """
    assert in_a_process(code, more="") == ["0"]


def test_callbacks_that_reconstruct():
    code = """
    expected, found = run(), []
    def once(work):
        left = [work]
        return lambda status: left and found.append(left.pop()()) and False
    def elsewhere(work):
        answers = []
        thread = threading.Thread(target=lambda: answers.append(work()))
        thread.start()
        thread.join()
        return answers[0]
    works = (
        run,
        lambda: elsewhere(run),
        as_tomopy_calls,
        lambda: as_tomopy_calls(2),
        lambda: elsewhere(lambda: run(callback=once(run))),
        lambda: run(callback=once(lambda: elsewhere(run))),
    )
    for work in works:
        print(same(run(callback=once(work)), expected))
    print(len(found), all(same(image, expected) for image in found))
    """
    assert in_a_process(code, 1) == ["True"] * 6 + ["8", "True"]


def test_a_daemon_thread_at_work_when_python_ends():
    code = """
    begun = threading.Event()
    endless = functools.partial(run, num_iter=10**6, patience=0, callback=lambda status: begun.set())
    threading.Thread(target=endless, daemon=True).start()
    begun.wait()
    print("ends")
    """
    assert in_a_process(code, 1) == ["ends"]
