"""Data that a Dask client and its workers exchange: the job, work items and their results."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field

import numpy as np

from tomopy_ganrec.io.protocols import Record, SliceSource, SliceStore
from tomopy_ganrec.options import GanrecOptions

from .planning import Task

__all__ = ["ClusterJob", "WorkItem", "WorkResult", "process_id"]


@dataclass(frozen=True, eq=False)
class ClusterJob:
    """The part of a `Job` that all its work items share.

    Attributes
    ----------
    shape : (int, int, int)
        Of the data: slices, angles, columns.
    nbytes_in_memory : int
        Of the source.
    source : SliceSource or None
        None where sinograms are sent with the work items.
    output : SliceStore or None
        None where images are sent back with the results.
    theta : (angles,) array
        Radians.
    grid : (int, int)
        Rows and columns of a slice.
    options : GanrecOptions
    has_init : bool
        Whether initial images are sent with the work items.
    carries_weights : bool
        See `Job.carries_weights`.
    weights_on_disk : bool
        Whether these weights are stored beside the output, where every worker finds them.
    client_process : (str, int)
        `process_id` of the client.
    """

    shape: tuple[int, int, int]
    nbytes_in_memory: int
    source: SliceSource | None
    output: SliceStore | None
    theta: np.ndarray
    grid: tuple[int, int]
    options: GanrecOptions
    has_init: bool
    carries_weights: bool
    weights_on_disk: bool
    client_process: tuple[str, int]


@dataclass(frozen=True, eq=False)
class WorkItem:
    """Tasks that one worker does one after the other, with what they need, by number of slice.

    Without tasks it asks for how many slices the worker has memory.

    Attributes
    ----------
    name : str
        For Dask's diagnostics.
    key : str
        Dask's key of the item, unique.
    tasks : tuple of Task
    sinograms, init : dict of int to array
        (angles, columns) and (rows, cols), of the item's slices.
    images : dict of int to (rows, cols) array
        Of neighbours.
    records : dict of int to dict
        Of neighbours.
    ranks : dict of str to int
        The number of each worker among those of its machine, by name.
    """

    name: str = "ganrec-memory"
    key: str = ""
    tasks: tuple[Task, ...] = ()
    sinograms: dict[int, np.ndarray] = field(default_factory=dict)
    init: dict[int, np.ndarray] = field(default_factory=dict)
    images: dict[int, np.ndarray] = field(default_factory=dict)
    records: dict[int, Record] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)

    @property
    def slices(self) -> list[int]:
        """The slices of all tasks."""
        return [k for task in self.tasks for k in task.slices]


@dataclass
class WorkResult:
    """The result of a work item.

    An exception comes as a value: Dask replaces exceptions that are raised in a worker and that it cannot pickle.

    Attributes
    ----------
    records : list of dict
        Of the item's slices.
    images : dict of int to (rows, cols) array
        Of the item's slices, unless the worker has written them into the output.
    batch : int
        For how many slices the worker has memory, if that was asked.
    warnings : list of (str, type)
        Messages and categories of what was warned of.
    error : BaseException or None
    traceback : str
        Where `error` was raised.
    """

    records: list[Record] = field(default_factory=list)
    images: dict[int, np.ndarray] = field(default_factory=dict)
    batch: int = 0
    warnings: list[tuple[str, type[Warning]]] = field(default_factory=list)
    error: BaseException | None = None
    traceback: str = ""


def process_id() -> tuple[str, int]:
    """A name for this process that no other one in the network has."""
    return socket.gethostname(), os.getpid()
