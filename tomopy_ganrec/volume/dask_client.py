"""Reconstruction of a volume on a Dask cluster: submits tasks once their dependencies are done.

The client plans as `local.run_local` does. Tasks that have been submitted are independent of each other: a worker that
dies costs only the tasks it was executing. Which worker executes which task is decided by Dask. Data and images that
lie in files are sent as the files' names.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

from tomopy_ganrec.io.protocols import Record, SliceSink, SliceSource

from .dask_cluster import LARGEST_SENT_SOURCE, Cluster
from .dask_messages import ClusterJob, WorkItem, process_id
from .job import Job
from .planning import Task
from .progress import Progress
from .weight_store import weight_store_for

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["run_on_cluster"]

TASKS_PER_WORKER = 2  # in flight: the next one is there when one ends


def run_on_cluster(job: Job, progress: Progress, client: Client) -> list[str]:
    """Reconstruct the slices that the job's output does not have yet on the workers of a Dask cluster.

    A worker takes one task at a time, whatever its number of threads, and lets torch use them all. On machines with
    GPUs it takes the one of its rank among the workers of its machine, unless ``options.device`` names another; workers
    that dask-cuda started keep the GPU they were given.

    Sinograms in memory are sent with the task they are for; those of a file are read by the workers, which must see it
    under the same path. Images are written by the workers if the output is on disk, and by this process otherwise.

    Parameters
    ----------
    job : Job
        With an output that has begun.
    progress : Progress
        Is updated, and stops the reconstruction when it is stopped.
    client : distributed.Client
        Not an asynchronous one.

    Returns
    -------
    list of str
        The devices that were used: ``['cpu']``, ``['cuda:0', 'cuda:1']``.

    Raises
    ------
    TypeError
        For a `client` that is not a Dask client, or is asynchronous.
    ValueError
        For ``options.callback``, which cannot travel.
    RuntimeError
        Where the scheduler does not answer, no worker is there for `dask_cluster.ANSWER_TIMEOUT` seconds, or a task
        ends several workers. Finished slices are kept, as after any other exception that a worker raises; that one
        comes with its own type and message.
    """
    _check_client(client)
    if job.options.callback is not None:
        raise ValueError(
            "option callback: it cannot travel to the workers of a Dask cluster; leave it out, or reconstruct without "
            "client"
        )
    progress.done(None, int(job.output.done.sum()))
    if not job.output.done.all():
        _run(job, progress, client)
    return sorted({record["device"] for record in job.output.records if record is not None})


def _check_client(client: object) -> None:
    try:
        from distributed import Client
    except ImportError as error:
        raise TypeError(
            f"client is of type {type(client).__name__!r}; it should be a Client of distributed, which is not "
            "installed: pip install 'tomopy_ganrec[distributed]'"
        ) from error
    if not isinstance(client, Client):
        raise TypeError(
            f"client is of type {type(client).__name__!r}; give a dask.distributed.Client, such as "
            "Client('tcp://scheduler:8786')"
        )
    if client.asynchronous:
        raise TypeError("client is asynchronous, and this call is not; give a Client made without asynchronous=True")


def _run(job: Job, progress: Progress, client: Client) -> None:
    cluster_job = _cluster_job(job)
    in_memory_chains = job.carries_weights and not cluster_job.weights_on_disk
    with Cluster(client, cluster_job, progress, _what_is_kept(job.output)) as cluster:
        batch = job.shared_batch(cluster.batch_size(), cluster.workers)
        waiting = _grouped(job.pending_tasks(batch), in_memory_chains)
        while waiting or cluster.in_flight:
            for tasks in list(waiting):
                if cluster.in_flight >= TASKS_PER_WORKER * max(1, cluster.workers):
                    break
                if all(job.output.done[k] for k in _dependencies(tasks)):
                    waiting.remove(tasks)
                    cluster.submit(_work_item(tasks, job, cluster_job))
            item, result = cluster.wait()
            if cluster_job.output is None:
                job.output.write(list(result.images), np.stack(list(result.images.values())))
            job.output.mark(item.slices, result.records)
            progress.done(None, len(item.slices))
    if cluster_job.weights_on_disk:
        weight_store_for(job.output).clear()


def _cluster_job(job: Job) -> ClusterJob:
    in_file = job.source.nbytes_in_memory == 0 and _can_travel(job.source)
    return ClusterJob(
        shape=job.source.shape,
        nbytes_in_memory=job.source.nbytes_in_memory,
        source=job.source if in_file else None,
        output=job.output if job.output.shared else None,
        theta=job.theta,
        grid=job.grid,
        options=job.options.replace(progress=False),
        has_init=job.init is not None,
        carries_weights=job.carries_weights,
        weights_on_disk=job.carries_weights and job.output.path is not None,
        client_process=process_id(),
    )


def _can_travel(source: SliceSource) -> bool:
    """Whether a copy of a source in another process reads for itself."""
    import cloudpickle

    try:
        return len(cloudpickle.dumps(source)) <= LARGEST_SENT_SOURCE
    except Exception:  # whatever a library raises for what it cannot pickle
        return False


def _what_is_kept(output: SliceSink) -> str:
    """What becomes of the slices that are finished when a reconstruction fails, for messages."""
    if output.path is None:
        return (
            "the slices that were finished are lost; with out='recon.h5' they would be kept, and the same call would "
            "go on with the rest"
        )
    return f"the slices that were finished are kept in {output.path}, the same call goes on with the rest"


def _grouped(tasks: Iterable[Task], chains_together: bool) -> list[tuple[Task, ...]]:
    """The groups of tasks that one worker must do.

    With `chains_together` those of a chain, whose weights stay in that worker's memory; otherwise single tasks.
    """
    if not chains_together:
        return [(task,) for task in tasks]
    groups: list[tuple[Task, ...]] = []
    for task in tasks:
        same_chain = [
            group for group in groups if any(not task.dependencies.isdisjoint(member.slices) for member in group)
        ]
        groups = [group for group in groups if group not in same_chain]
        groups.append((*itertools.chain(*same_chain), task))
    return groups


def _dependencies(tasks: Collection[Task]) -> set[int]:
    """The slices that must be finished before the tasks begin and that are not among their own."""
    needed = {k for task in tasks for k in task.dependencies}
    return needed.difference(*(task.slices for task in tasks))


def _work_item(tasks: tuple[Task, ...], job: Job, cluster_job: ClusterJob) -> WorkItem:
    """Tasks with all that a worker cannot read for itself."""
    slices = [k for task in tasks for k in task.slices]
    neighbours = sorted(_dependencies(tasks))
    sinograms, init, images = {}, {}, {}
    if cluster_job.source is None:
        sinograms = dict(zip(slices, job.source.read(np.array(slices)), strict=True))
    if job.init is not None:
        init = {k: np.array(job.init[k], np.float32) for k in slices}
    if cluster_job.output is None:
        images = {k: job.output.read(k) for k in neighbours}
    return WorkItem(
        f"ganrec-slices-{min(slices)}-{max(slices)}",
        tasks=tasks,
        sinograms=sinograms,
        init=init,
        images=images,
        records={k: _without_history(job.output.records[k]) for k in neighbours},
    )


def _without_history(record: Record | None) -> Record:
    return {name: value for name, value in (record or {}).items() if name != "history"}
