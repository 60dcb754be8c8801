"""Base of every source of sinograms: slices read by number, whatever holds them."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tomopy_ganrec.validation import check_projections

from .protocols import Indices

__all__ = ["Source", "read_slices"]


def read_slices(read: Callable[[slice], np.ndarray], indices: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Read an increasing list of slices in as few pieces as plain slicing allows.

    Parameters
    ----------
    read : callable
        Given a `slice`, reads it.
    indices : (n,) int array
        Strictly increasing.

    Yields
    ------
    part : slice
        Which of `indices` were read.
    block : array
        What `read` gave for them.
    """
    steps = np.diff(indices)
    if indices.size > 1 and (steps == steps[0]).all():
        yield slice(0, indices.size), read(slice(int(indices[0]), int(indices[-1]) + 1, int(steps[0])))
        return
    ends = np.flatnonzero(steps > 1) + 1
    for first, last in zip([0, *ends], [*ends, indices.size], strict=True):
        yield slice(int(first), int(last)), read(slice(int(indices[first]), int(indices[last - 1]) + 1))


class Source:
    """Sinograms that are read a few at a time. Made by `source_of`; serves anything with a shape, a dtype and slicing.

    A copy that has been pickled to another process reads by itself, from the same file, where there is one.

    Parameters
    ----------
    array : (angles, slices, columns) array_like
    sinogram_order : bool
        Whether the axes are (slices, angles, columns) instead.
    kind, what : str
        See below.

    Attributes
    ----------
    shape : (int, int, int)
        Slices, angles, columns.
    dtype : numpy.dtype
        Of the storage; `read` gives float32.
    kind : str
        ``'array'``, ``'memmap'``, ``'hdf5'``, ``'zarr'``, ``'dask'``, or the name of the type.
    what : str
        A description of the data for messages.
    nbytes_in_memory : int
        Bytes the data occupy in memory all the time; 0 for data on disk.

    Raises
    ------
    TypeError, ValueError
        See `source_of`.
    """

    shape: tuple[int, int, int]

    def __init__(self, array: Any, sinogram_order: bool, kind: str, what: str):
        self._array: Any = array
        self.sinogram_order = bool(sinogram_order)
        self.kind, self.what = kind, what
        self.dtype = np.dtype(array.dtype)
        if np.issubdtype(self.dtype, np.complexfloating):
            raise TypeError(
                f"{what} holds complex numbers ({self.dtype}); a reconstruction needs real line integrals: take the "
                "part that is wanted first, e.g. its phase or −log of its modulus"
            )
        if not np.issubdtype(self.dtype, np.number) or self.dtype.kind == "m":
            raise TypeError(
                f"{what} holds values of type {self.dtype}; give line integrals as numbers, float32 at best"
            )
        sizes = tuple(int(n) for n in array.shape)
        if len(sizes) == 3 and not sinogram_order:
            sizes = sizes[1], sizes[0], sizes[2]
        if len(sizes) != 3 or sizes[0] < 1 or min(sizes[1:]) < 2:
            check_projections(np.broadcast_to(np.float32(0), sizes))  # refuses each of these by its shape alone
        slices, angles, columns = sizes
        self.shape = slices, angles, columns

    @property
    def nbytes_in_memory(self) -> int:
        """Bytes the data occupy in memory all the time; 0 for data on disk."""
        return 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.what}, (slices, angles, columns) = {self.shape}, {self.dtype}>"

    def _take(self, key: tuple[slice, ...]) -> np.ndarray:
        """The values that the storage gives for a tuple of slices."""
        return np.asarray(self._array[key])

    def read(self, indices: Indices) -> np.ndarray:
        """Read some slices, and nothing else.

        Parameters
        ----------
        indices : (n,) int array_like
            In any order; best neighbours, or evenly spaced: those are read in one piece.

        Returns
        -------
        (n, angles, columns) float32 array
            New, C-contiguous.

        Raises
        ------
        IndexError
            For slices that are not there.
        OSError
            Where the storage fails; the cause is chained.
        """
        indices = np.asarray(indices)
        if indices.ndim != 1 or (indices.size and not np.issubdtype(indices.dtype, np.integer)):
            raise IndexError(
                f"indices of shape {indices.shape} and type {indices.dtype}; give a one-dimensional array of slice "
                "numbers"
            )
        if indices.size and not 0 <= indices.min() <= indices.max() < self.shape[0]:
            raise IndexError(
                f"slices {indices.min()} to {indices.max()} are not among the {self.shape[0]} of {self.what}, counted "
                "from 0"
            )
        out = np.empty((indices.size, *self.shape[1:]), np.float32)
        if not indices.size:
            return out
        wanted, positions = np.unique(indices, return_inverse=True)
        sorted_already = np.array_equal(wanted, indices)
        target = out if sorted_already else np.empty((wanted.size, *self.shape[1:]), np.float32)
        for part, block in read_slices(self._read_block, wanted):
            target[part] = block
        if not sorted_already:
            np.take(target, positions, axis=0, out=out)
        return out

    def _read_block(self, rows: slice) -> np.ndarray:
        """Evenly spaced slices, (n, angles, columns) of the storage's type, perhaps a view."""
        try:
            block = self._take((rows,)) if self.sinogram_order else self._take((slice(None), rows)).swapaxes(0, 1)
            expected = (len(range(rows.start, rows.stop, rows.step or 1)), *self.shape[1:])
            if block.shape != expected:
                raise ValueError(
                    f"the storage gave the shape {block.shape} where (slices, angles, columns) = {expected} was asked "
                    "for"
                )
        except MemoryError:
            raise
        except Exception as error:
            which = f"slice {rows.start}" if rows.stop - rows.start == 1 else f"slices {rows.start} to {rows.stop - 1}"
            reason = str(error) or type(error).__name__
            raise OSError(f"{which} of {self.what} cannot be read: {reason}") from error
        return block

    def repaired(self, indices: Indices) -> list[dict[str, int]]:
        """For the records of slices that were read before: the number of values that were repaired in reading.

        ``{'repaired': values}`` for each slice whose array counts them (`lazy_projections.Projections`), else ``{}``.
        """
        counts = getattr(self._array, "repaired", None)
        counts = counts if isinstance(counts, dict) else {}
        return [{"repaired": counts[int(k)]} if int(k) in counts else {} for k in indices]

    def identity(self) -> dict[str, Any]:
        """A fingerprint that distinguishes these data from others, at the cost of reading three slices.

        Returns
        -------
        dict
            For JSON: ``kind``, ``shape`` (slices, angles, columns), ``dtype``, and ``sha256`` of the first, the middle
            and the last slice in float32.
        """
        digest = hashlib.sha256()
        for index in sorted({0, self.shape[0] // 2, self.shape[0] - 1}):
            digest.update(self.read([index]).astype("<f4", copy=False).data)
        return {"kind": self.kind, "shape": list(self.shape), "dtype": str(self.dtype), "sha256": digest.hexdigest()}
