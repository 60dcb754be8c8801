"""The client's connection to a Dask cluster: numbers of workers."""

import pytest

pytest.importorskip("distributed")
pytest.importorskip("h5py")

from tomopy_ganrec.volume import dask_cluster


def test_each_worker_of_a_machine_has_a_number():
    def workers(*given):
        return {f"tcp://{host}:{port}": dict(name=name, host=host) for name, host, port in given}

    ranks = dask_cluster._ranks_on_machines({}, workers(("x", "b", 20), ("y", "a", 10), ("z", "a", 11)))
    assert ranks == {"x": 0, "y": 0, "z": 1}
    assert dask_cluster._ranks_on_machines(
        ranks, workers(("x", "b", 20), ("z", "a", 11), ("y", "a", 12), ("w", "a", 9))
    ) == {
        "x": 0,
        "y": 0,
        "z": 1,
        "w": 2,
    }
    assert dask_cluster._ranks_on_machines(ranks, workers(("z", "a", 11), ("w", "a", 9))) == {"z": 1, "w": 0}
