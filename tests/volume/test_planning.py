"""Order of a volume: every slice once, each after the neighbours that it is initialised from."""

import itertools

import numpy as np
import pytest

from tomopy_ganrec.volume.planning import Task, plan

COUNTS = (1, 2, 3, 5, 8, 17, 33, 50)
EVERY = (1, 2, 3, 4, 7, 8, 16)
TWO_CENTERS = np.array([16.0, 15.5, 15.5, 16.0, 16.0] * 20)


def slices_of(tasks):
    return [k for task in tasks for k in task.slices]


def neighbours_of(tasks):
    """{slice: its neighbours}, for slices that have any."""
    return {k: near for task in tasks for k, near in zip(task.slices, task.neighbours, strict=False)}


def assert_order(tasks):
    done = set()
    for task in tasks:
        assert all(k in done for near in task.neighbours for k in near)
        done.update(task.slices)


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("batch", (1, 2, 3, 8))
@pytest.mark.parametrize("centers", ("one", "two"))
def test_every_slice_once_after_its_neighbours_and_near_them(every, batch, centers):
    for count in COUNTS:
        chosen = TWO_CENTERS[:count] if centers == "two" else np.full(count, 16.0)
        tasks = plan(chosen, batch, every)
        assert sorted(slices_of(tasks)) == list(range(count))
        assert_order(tasks)
        assert all(1 <= len(task.slices) <= batch and len(task.neighbours) in (0, len(task.slices)) for task in tasks)
        assert all(chosen[k] == task.center for task in tasks for k in task.slices)
        for k, (first, second) in neighbours_of(tasks).items():
            assert min(first, second) < k < max(first, second)  # one on either side
            # The middle of an odd gap is half a slice off.
            assert abs(k - first) <= every / 2 and abs(k - second) <= (every + 1) // 2
            assert abs(k - first) <= abs(k - second)  # the nearer one first


@pytest.mark.parametrize("every", EVERY)
def test_as_few_as_promised_are_cold_started(every):
    for count in COUNTS:
        tasks = plan(np.full(count, 16.0), 4, every)
        cold = set(range(count)) - set(neighbours_of(tasks))
        assert cold == {*range(0, count, every), count - 1}


def test_cold_slices_come_first():
    kinds = [bool(task.neighbours) for task in plan(np.full(40, 16.0), 4, 8)]
    assert kinds == sorted(kinds) and kinds[0] is False and kinds[-1] is True


def levels_of(tasks):
    """Slices by how many halvings separate them from the cold ones, and by centre: what may share a task."""
    depth, levels = {}, {}
    neighbours = neighbours_of(tasks)
    for task in tasks:
        for k in task.slices:
            depth[k] = 1 + max(depth[j] for j in neighbours[k]) if k in neighbours else 0
            levels.setdefault((depth[k], task.center), []).append(k)
    return levels


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("batch", (2, 3, 5, 8))
def test_no_slice_alone_where_two_can_share(every, batch):
    """A batch of one adds in another order. With pairs an odd one out is alone for want of a third place."""
    for count, centers in itertools.product(COUNTS, ("one", "two")):
        tasks = plan(TWO_CENTERS[:count] if centers == "two" else np.full(count, 16.0), batch, every)
        level = {k: members for members in levels_of(tasks).values() for k in members}
        for task in tasks:
            if len(task.slices) == 1:
                together = level[task.slices[0]]
                assert len(together) == 1 or batch == 2 and len(together) % 2 == 1


def test_tasks_of_a_level_are_of_about_equal_length():
    assert [len(task.slices) for task in plan(np.full(9, 16.0), 8)] == [5, 4]  # not 8 and 1


@pytest.mark.parametrize("every", (1, 4))
def test_joint_slices_are_runs_of_neighbours_all_cold_started(every):
    centers = [16.0, 16.0, 15.0, 16.0, 16.0, 16.0, 16.0, 15.0]
    tasks = plan(centers, 8, every, joint_slices=3)
    assert [(task.center, task.slices) for task in tasks] == [
        (15.0, (2,)),
        (15.0, (7,)),
        (16.0, (0, 1)),
        (16.0, (3, 4, 5)),
        (16.0, (6,)),
    ]
    assert not any(task.neighbours for task in tasks)


def test_chains():
    tasks = plan(np.full(10, 16.0), 2, 4, chains=True)
    assert [task.slices for task in tasks] == [(0, 4), (1, 5), (2, 6), (3, 7), (8,), (9,)]
    assert [task.neighbours for task in tasks] == [
        (),
        ((0, 0), (4, 4)),
        ((1, 1), (5, 5)),
        ((2, 2), (6, 6)),
        (),
        ((8, 8),),
    ]


@pytest.mark.parametrize("batch", (1, 2, 5))
@pytest.mark.parametrize("every", (1, 3, 32))
@pytest.mark.parametrize("centers", ("one", "two"))
def test_chains_link_each_slice_to_the_one_before(every, batch, centers):
    for count in COUNTS:
        chosen = TWO_CENTERS[:count] if centers == "two" else np.full(count, 16.0)
        tasks = plan(chosen, batch, every, chains=True)
        assert sorted(slices_of(tasks)) == list(range(count))
        assert_order(tasks)
        assert neighbours_of(tasks) == {k: (k - 1, k - 1) for k in range(count) if k % every}
        assert all(len(task.slices) <= batch and {chosen[k] for k in task.slices} == {task.center} for task in tasks)


@pytest.mark.parametrize(("count", "parts"), ((2, (1, 1)), (3, (2, 1)), (8, (4, 4))))
def test_halves(count, parts):
    neighbours = tuple((k - 1, k + 1) for k in range(count))
    first, second = Task(tuple(range(count)), 15.0, neighbours).halves()
    assert (len(first.slices), len(second.slices)) == parts
    assert first.slices + second.slices == tuple(range(count)) and first.neighbours + second.neighbours == neighbours
    assert first.center == second.center == 15.0
    assert all(half.neighbours == () for half in Task(tuple(range(count)), 15.0).halves())
