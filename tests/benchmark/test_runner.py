"""Reconstructions of a benchmark one after the other: which run, which fail, which are kept."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("astra")
from tomopy_ganrec import ParallelBeamProjector, metrics
from tomopy_ganrec.benchmark import runner
from tomopy_ganrec.benchmark.cases import Case
from tomopy_ganrec.benchmark.methods import Method, chosen
from tomopy_ganrec.benchmark.rows import COLUMNS
from tomopy_ganrec.benchmark.runner import estimate, pending, run
from tomopy_ganrec.benchmark.store import Results
from tomopy_ganrec.benchmark.tasks import SliceCase, SliceData, runs_of, simulated

CASE = Case("shale", 32, "60")
CALLS = []


def method(name="flat", give=lambda problem: np.full(problem.projector.domain_shape, 0.25), **more):
    def compute(problem):
        CALLS.append((name, problem.seed))
        return give(problem)

    return Method(name, name.title(), "test", "none", compute, 1.0, **more)


def test_slow_peers_run_in_few_cases():
    cases = simulated([Case("shale", 32, angular_range) for angular_range in ("150", "120", "60")], 1, (1000, 1001))
    slow, fast = method("slow", slow=True), method("fast")
    runs = runs_of(cases, [slow, fast])
    of_slow = [run.slice_case.columns for run in runs if run.method is slow]
    assert [(c["angular_range"], c["object_seed"]) for c in of_slow] == [("120", 1000), ("60", 1000)]
    assert len(runs) == 6 + 2 and len(runs_of(cases, [slow], slow_everywhere=True)) == 6


def test_a_method_that_needs_many_projections_runs_with_many():
    cases = simulated([Case("shale", 32, "60"), Case("shale", 32, "30")])
    assert [run.slice_case.columns["projections"] for run in runs_of(cases, [method(least=33)])] == []
    cases = simulated([Case("shale", 48, "60"), Case("shale", 48, "30")])
    assert [run.slice_case.columns["projections"] for run in runs_of(cases, [method(least=40)])] == [60]


@pytest.fixture(autouse=True)
def forget():
    CALLS.clear()


def test_a_row_has_what_was_measured(tmp_path):
    results = Results(tmp_path)
    assert run(results, runs_of(simulated([CASE], 2), [method()]), progress=False) == 0
    rows = results.rows()
    assert [set(row) for row in rows] == [set(COLUMNS)] * 2
    for k, row in enumerate(rows):
        truth, sinogram = CASE.slice(k, 2)
        image = np.full((32, 32), 0.25, np.float32)
        assert row["mssim"] == metrics.mssim(truth, image) and row["rmse"] == metrics.rmse(truth, image)
        assert row["mssim_7x7"] == metrics.mssim(truth, image, gaussian=False)
        known = dict(
            slice=k,
            method="flat",
            status="ok",
            seed=None,
            case=CASE.name,
            degrees=60,
            projections=60,
            error="",
            photons=None,
        )
        assert {name: row[name] for name in known} == known
        assert row["seconds"] > 0 and "torch" in row["versions"] and "threads" in row["device"]
        model = (
            ParallelBeamProjector(32, np.deg2rad(np.arange(60)), 32)
            .forward_project(torch.from_numpy(image[None]))[0]
            .numpy()
        )
        assert row["residual"] == pytest.approx(
            np.linalg.norm(model - sinogram) / np.linalg.norm(sinogram), rel=1e-4
        )  # float32
        if k == 0:  # the first slice's images are kept
            np.testing.assert_array_equal(results.image(row["image"]), image)
            np.testing.assert_allclose(results.image(row["reference"]), truth)
        else:
            assert row["image"] == row["reference"] == ""


def test_which_runs_make_sense():
    noisy = Case("shale", 32, "60", 1e4)
    several = [
        method("plain"),
        method("random", seeded=True),
        method("stop", oracle=True, noisy_only=True),
        method("gone", unavailable="not here"),
    ]
    runs = runs_of(simulated([CASE, noisy]), several, (0, 7))
    found = [(run.slice_case.columns["case"], run.method.name, run.seed) for run in runs]
    clean_runs = [(CASE.name, "plain", None), (CASE.name, "random", 0), (CASE.name, "random", 7)]
    assert found == clean_runs + [(noisy.name, *run[1:]) for run in clean_runs] + [(noisy.name, "stop", None)]


def test_seeds_reach_the_method(tmp_path):
    run(Results(tmp_path), runs_of(simulated([CASE]), [method(seeded=True)], (3, 5)), progress=False)
    assert CALLS == [("flat", 3), ("flat", 5)]


def raising(problem):
    raise ValueError("λ <too> large")


@pytest.mark.parametrize(
    "give, message",
    [
        (raising, "ValueError: λ <too> large"),
        (lambda problem: np.full((32, 32), np.nan), "1024 values that are not finite"),
        (lambda problem: np.zeros((3, 3)), "shape"),
        (lambda problem: None, ""),
    ],
)
def test_a_method_that_fails_is_reported_and_the_others_go_on(tmp_path, give, message):
    results = Results(tmp_path)
    assert run(results, runs_of(simulated([CASE], 2), [method("bad", give), method("good")]), progress=False) == 2
    rows = {(row["method"], row["slice"]): row for row in results.rows()}
    assert {rows["good", k]["status"] for k in (0, 1)} == {"ok"}
    assert (
        rows["bad", 0]["status"] == "failed" and message in rows["bad", 0]["error"] and rows["bad", 0]["mssim"] is None
    )
    # Tried again when the run is repeated; what is finished is not.
    CALLS.clear()
    todo = pending(results, runs_of(simulated([CASE], 2), [method("bad"), method("good")]))
    assert run(results, todo, progress=False) == 0
    assert CALLS == [("bad", 0), ("bad", 0)] and {row["status"] for row in results.rows()} == {"ok"}


def test_a_slice_that_cannot_be_loaded_fails_alone(tmp_path):
    def load():
        raise MemoryError("no room")

    good = simulated([CASE])
    broken = SliceCase(good[0].columns | {"slice": 5}, load)
    results = Results(tmp_path)
    assert run(results, runs_of([broken, *good], [method("a"), method("b")]), progress=False) == 2
    assert [row["error"] for row in results.rows() if row["slice"] == 5] == ["MemoryError: no room"] * 2


def test_warnings_of_a_method_do_not_stop_it(tmp_path):
    import warnings

    def warn(problem):
        warnings.warn("careful", RuntimeWarning, stacklevel=1)
        return np.zeros((32, 32))

    assert run(Results(tmp_path), runs_of(simulated([CASE]), [method(give=warn)]), progress=False) == 0


def test_an_interrupted_run_keeps_what_is_finished(tmp_path):
    def interrupted(problem):
        if len(CALLS) == 3:
            raise KeyboardInterrupt
        return np.zeros((32, 32))

    results, several = Results(tmp_path), [method(name, interrupted) for name in "abcd"]
    with pytest.raises(KeyboardInterrupt):
        run(results, runs_of(simulated([CASE]), several), progress=False)
    assert [row["method"] for row in results.rows()] == ["a", "b"]
    CALLS.clear()
    run(results, pending(results, runs_of(simulated([CASE]), [method(name) for name in "abcd"])), progress=False)
    assert [name for name, _ in CALLS] == ["c", "d"]


@pytest.mark.parametrize(
    "images, kept", [("first", [True, False, False, False]), ("all", [True] * 4), ("none", [False] * 4)]
)
def test_which_images_are_kept(images, kept):
    assert [slice_case.keep_images for slice_case in simulated([CASE], 2, (0, 1), images)] == kept


def test_the_estimate_grows_with_the_work(monkeypatch):
    """A microsecond for each value of a sinogram and each row of the image, instead of the machine's own clock."""
    clock = [0.0]

    def mlem(projector, sinogram, iterations):
        clock[0] += 1e-6 * iterations * sinogram.numel() * projector.domain_shape[0]
        return sinogram

    monkeypatch.setattr(runner, "mlem", mlem)
    monkeypatch.setattr(runner, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    small, large = (
        runs_of(simulated([Case("shale", size, "60")]), chosen(["fbp", "tv", "ganrec"])) for size in (32, 64)
    )
    assert estimate([]) == 0
    assert estimate(small) > 0 and estimate(large) == pytest.approx(
        4 * estimate(small)
    )  # twice the columns, twice the rows
    assert estimate(large * 4) == pytest.approx(4 * estimate(large))


def test_distance_to_the_full_range(tmp_path):
    base = simulated([CASE])[0]
    levels = iter([2.0, 1.0])

    def slice_case(case, full):
        def load():
            m = base.load()
            return SliceData(m.projector, m.sinogram, None, (m.projector, 2 * m.sinogram))

        return SliceCase(base.columns | dict(case=case, protocol="measured"), load, True, full)

    results = Results(tmp_path)
    flat = method(give=lambda problem: np.full((32, 32), next(levels)))
    run(results, runs_of([slice_case("full", ""), slice_case("part", "full")], [flat]), progress=False)
    full, part = results.rows()
    assert part["distance"] == 0.5 and full["distance"] is None and part["mssim"] is None
    assert part["reference"] == full["image"]
    # Held-out data twice as large: ‖A x − 2 b‖ / ‖2 b‖
    m = base.load()
    model = m.projector.forward_project(torch.ones(1, 32, 32))
    assert part["residual_heldout"] == pytest.approx(
        float((model - 2 * m.sinogram).norm() / (2 * m.sinogram).norm()), rel=1e-5
    )
