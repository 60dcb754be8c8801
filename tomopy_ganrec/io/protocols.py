"""Interfaces between the reconstruction of a volume and its data: sources of sinograms, stores of slices, outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

__all__ = ["Indices", "Record", "SliceSink", "SliceSource", "SliceStore"]

Indices: TypeAlias = Sequence[int] | np.ndarray
"""Numbers of slices, counted from 0."""

Record: TypeAlias = dict[str, Any]
"""What is known of a reconstructed slice, as `tomopy_ganrec.ReconInfo.slices` lists it (see `slice_record`)."""


class SliceSource(Protocol):
    """Sinograms that are read a few slices at a time: all that `volume` needs of a `sources.Source`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, angles, columns."""
        ...

    @property
    def nbytes_in_memory(self) -> int:
        """Bytes the data occupy in memory all the time; 0 for data on disk."""
        ...

    def read(self, indices: Indices) -> np.ndarray:
        """Sinograms of some slices, (n, angles, columns) float32, a new C-contiguous array."""
        ...

    def repaired(self, indices: Indices) -> list[dict[str, int]]:
        """For each slice ``{'repaired': values}`` if values of it were repaired in reading, else ``{}``."""
        ...


class SliceStore(Protocol):
    """Reconstructed slices that can be written and read back: all that one worker needs of an output."""

    def write(self, indices: Indices, images: np.ndarray) -> None:
        """Store slices, (n, rows, columns) float32."""
        ...

    def read(self, index: int) -> np.ndarray:
        """One slice that was written before, (rows, columns) float32."""
        ...


class SliceSink(SliceStore, Protocol):
    """An output that has begun and knows which slices are finished: what `volume` needs of an `output_base.Output`."""

    @property
    def done(self) -> np.ndarray:
        """Which slices are finished, (slices,) bool."""
        ...

    @property
    def records(self) -> Sequence[Record | None]:
        """The record of each finished slice, None for the others."""
        ...

    @property
    def path(self) -> Path | None:
        """The file or folder of an output on disk, which outlives the process; None for an array."""
        ...

    @property
    def shared(self) -> bool:
        """Whether a copy that was pickled to another process writes to the same place."""
        ...

    def mark(self, indices: Indices, records: Sequence[Record]) -> None:
        """Enter slices as finished, after `write`, with the record of each."""
        ...
