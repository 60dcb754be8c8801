"""CUDA-graph capture and replay, with a graph that only counts: tests/gpu/test_gpu_cuda_graph.py has real ones."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from tomopy_ganrec.solvers import cuda_graph
from tomopy_ganrec.solvers.cuda_graph import WARM_UP, CudaGraphStep


class Steps:
    """A step that changes a tensor in place and returns another that depends on it."""

    def __init__(self):
        self.state, self.calls = torch.zeros(2), 0

    def __call__(self):
        self.calls += 1
        self.state += 1
        return 10 * self.state


@pytest.fixture
def recorder(monkeypatch):
    """A stand-in for torch.cuda.

    Recording runs the step and restores its state; replaying runs the step into the same result.
    """
    log = SimpleNamespace(recorded=0, replayed=0, fail=False, steps=None)

    class Graph:
        def replay(self):
            log.replayed += 1
            self.result.copy_(log.steps())

    @contextlib.contextmanager
    def graph(graph, **options):
        log.recorded += 1
        before = log.steps.state.clone()
        if log.fail:
            raise RuntimeError("operation not permitted when stream is capturing")
        yield
        log.steps.state.copy_(before)
        graph.result = log.replay._result_of_recording()

    @contextlib.contextmanager
    def nothing(*args):
        yield

    stream = SimpleNamespace(wait_stream=lambda other: None)
    fake = SimpleNamespace(
        CUDAGraph=Graph,
        graph=graph,
        device=nothing,
        stream=nothing,
        Stream=lambda device: stream,
        current_stream=lambda device: stream,
    )
    monkeypatch.setattr(cuda_graph.torch, "cuda", fake)
    return log


def on_a_gpu(log, recordable=True):
    log.steps = Steps()
    results = []

    def step():
        results.append(log.steps())
        return results[-1]

    log.replay = CudaGraphStep(step, SimpleNamespace(type="cuda"), SimpleNamespace(recordable=recordable))
    log.replay._result_of_recording = lambda: results[-1]
    return log.replay


def test_on_a_cpu_every_step_is_run():
    steps = Steps()
    run = CudaGraphStep(steps, torch.device("cpu"), SimpleNamespace(recordable=True))
    results = [run() for _ in range(5)]
    assert steps.calls == 5 and [float(r[0]) for r in results] == [10, 20, 30, 40, 50]
    assert run.own_copy(results[-1]) is results[-1]  # nothing is overwritten


def test_first_steps_run_then_one_is_recorded_and_the_others_replayed(recorder):
    run = on_a_gpu(recorder)
    values = [float(run()[0]) for _ in range(6)]
    assert values == [10, 20, 30, 40, 50, 60]  # recording changes nothing: its step is the first that is replayed
    assert recorder.recorded == 1 and recorder.replayed == 6 - WARM_UP


def test_own_copies_are_not_overwritten(recorder):
    run = on_a_gpu(recorder)
    for _ in range(4):
        last = run()
    kept = run.own_copy(last)
    run()
    assert float(kept[0]) == 40 and float(last[0]) == 50


def test_a_step_that_cannot_be_recorded_runs_as_it_is(recorder, caplog):
    run = on_a_gpu(recorder)
    recorder.fail = True
    with caplog.at_level("INFO", "tomopy_ganrec"):
        assert [float(run()[0]) for _ in range(5)] == [10, 20, 30, 40, 50]
    assert recorder.recorded == 1 and recorder.replayed == 0 and "not recorded" in caplog.text


def test_models_that_cannot_be_recorded_are_not_tried(recorder):
    run = on_a_gpu(recorder, recordable=False)
    assert [float(run()[0]) for _ in range(5)] == [10, 20, 30, 40, 50]
    assert recorder.recorded == 0
