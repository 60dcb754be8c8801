"""A job: its batches, its tasks, and what makes it the same as an earlier one."""

from dataclasses import fields

import numpy as np
import pytest

from tomopy_ganrec.io.outputs import output_of
from tomopy_ganrec.io.sources import source_of
from tomopy_ganrec.options import ExecutionOptions, GanrecOptions
from tomopy_ganrec.volume.job import Job

SLICES, ANGLES, N = 12, 5, 8


def job(warm_interval=1, init=None, theta=None, **options):
    theta = np.arange(ANGLES, dtype=np.float64) if theta is None else theta
    source = source_of(np.zeros((SLICES, ANGLES, N), np.float32), sinogram_order=True)
    output = output_of(None, (SLICES, N, N))
    output.begin({})
    centers = np.full(SLICES, N / 2)
    return Job(source, output, theta, centers, (N, N), GanrecOptions(**options), init, warm_interval)


def test_weights_are_carried_in_chains_of_the_papers_networks_only():
    assert job(4, preset="paper").carries_weights
    assert not job(1, preset="paper").carries_weights and not job(4).carries_weights


@pytest.mark.parametrize(
    ("batch", "workers", "options", "expected"),
    (
        (8, 1, {}, 8),
        (8, 2, {}, 6),
        (8, 3, {}, 4),
        (8, 100, {}, 2),  # no slice alone where two can share a task
        (3, 2, {}, 3),
        (8, 2, dict(batch_size=8), 8),  # as given
        (8, 2, dict(preset="paper", warm_interval=4), 2),  # three chains for two workers
    ),
)
def test_every_worker_gets_a_share(batch, workers, options, expected):
    assert job(**options).shared_batch(batch, workers) == expected


def test_pending_tasks_leave_out_what_is_done():
    some = job(4)
    every = [k for task in some.pending_tasks(3) for k in task.slices]
    assert sorted(every) == list(range(SLICES))
    some.output.mark([0, 4], [{}, {}])
    remaining = [k for task in some.pending_tasks(3) for k in task.slices]
    assert sorted(remaining) == [k for k in range(SLICES) if k not in (0, 4)]


def test_the_identity_changes_with_all_that_decides_about_the_result():
    same = job().identity()
    assert job().identity() == same
    changed = {
        "every": job(2),
        "theta": job(theta=np.arange(ANGLES) + 0.1),
        "init_recon": job(init=np.zeros((SLICES, N, N), np.float32)),
        "options": job(num_iter=3),
    }
    for name, other in changed.items():
        assert {key for key, value in other.identity().items() if value != same[key]} == {name}


def test_execution_options_are_no_part_of_the_identity():
    free = dict(progress=True, callback=print, device="cpu", batch_size=2, projector_memory=1e9, trust_theta=True)
    assert set(free) < {field.name for field in fields(ExecutionOptions)}
    assert job(**free).identity() == job().identity()
