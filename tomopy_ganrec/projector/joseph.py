"""Joseph's forward projector as a sparse matrix, and the backend that applies it.

P. M. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Trans. Med. Imaging 1, 192–196
(1982): a ray steps through the grid along the axis it is steeper to, one row (or column) at a time, and reads the image
there by linear interpolation between the two nearest pixels, times the length of the step.

Held as CSR with 32-bit indices, the matrix and its transpose both, because the transpose through the other's storage is
about 100 times slower. The back projection is therefore the exact adjoint.
"""

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
import torch

from .sparse import applied, nbytes, torch_csr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from .geometry import ScanGeometry

__all__ = ["JosephBackend", "estimated_bytes", "joseph_matrix"]


def estimated_bytes(
    rows: int, cols: int, angles: int, columns: int, rays_per_bin: int = 1, itemsize: int = 4, pixel_size: float = 1.0
) -> int:
    """Upper estimate of the memory of the matrix and its transpose, in bytes.

    Each column meets at most max(rows, cols) lines, two pixels on each and those between its rays.
    """
    between = math.ceil(math.sqrt(2) * (1 - 1 / rays_per_bin) / pixel_size - 1e-9)
    return 2 * (itemsize + 4) * min(2 * rays_per_bin, 2 + between) * angles * columns * max(rows, cols)


def joseph_matrix(
    size: tuple[int, int],
    theta: "ArrayLike",
    columns: int,
    center: float,
    pixel_size: float = 1.0,
    rays_per_bin: int = 1,
    dtype: "DTypeLike" = np.float32,
) -> scipy.sparse.csr_matrix:
    """Joseph's projector of a parallel-beam geometry.

    Parameters
    ----------
    size : (int, int)
        Rows and columns of the grid, centred on the rotation axis.
    theta : (angles,) float array
        Projection angles in radians. A pixel at (row′, col′) from the grid's centre is seen at
        t = col′·cos θ − row′·sin θ.
    columns : int
        Detector columns, of width 1.
    center : float
        The axis on the detector in the edge convention: column d is centred at t = d + 0.5 − center.
    pixel_size : float
        Side of a pixel of the grid, in detector columns.
    rays_per_bin : int
        Evenly spaced rays averaged in each detector column.
    dtype : numpy dtype
        Of the values.

    Returns
    -------
    scipy.sparse.csr_matrix
        (angles·columns, rows·cols), values in detector columns (the length of the ray in a pixel), so that attenuation
        per detector column projects to a dimensionless line integral.
    """
    rows, cols = size
    offsets = (np.arange(rays_per_bin) + 0.5) / rays_per_bin  # of the rays in a column
    t = (np.arange(columns) + offsets[0] - center) / pixel_size  # of the first of them, in grid pixels
    row_axis, col_axis = np.arange(rows) - (rows - 1) / 2, np.arange(cols) - (cols - 1) / 2
    theta = np.asarray(theta, np.float64)
    samples = estimated_bytes(rows, cols, 1, columns, rays_per_bin, 4, pixel_size) // 16
    # As large as all angles can need at most: growing lists would copy everything once more.
    indices, values = np.empty(len(theta) * samples, np.int32), np.empty(len(theta) * samples, dtype)
    pointer, filled = np.zeros(len(theta) * columns + 1, np.int64), 0
    for k, angle in enumerate(theta):
        c, s = np.cos(angle), np.sin(angle)
        if abs(c) >= abs(s):  # one sample in every row, interpolated along it
            position, step = (t[:, None] + row_axis * s) / c + (cols - 1) / 2, 1 / (c * pixel_size)
            length = pixel_size / abs(c)
            start, stride, limit = np.arange(rows) * cols, 1, cols
        else:  # one sample in every column
            position, step = (col_axis * c - t[:, None]) / s + (rows - 1) / 2, -1 / (s * pixel_size)
            length = pixel_size / abs(s)
            start, stride, limit = np.arange(cols), cols, rows
        # The rays of a column share pixels: each pixel from the first that one of them reads to the last has the sum of
        # their weights.
        reads = (offsets - offsets[0]) * step
        low = np.floor(position + reads.min())
        within = (position - low).astype(dtype)
        weight = np.zeros((*low.shape, math.ceil(np.ptp(reads) - 1e-9) + 2), dtype)
        for slot, read in itertools.product(range(weight.shape[-1]), reads.astype(dtype)):
            weight[..., slot] += np.maximum(0, 1 - np.abs(within + (read - slot)))
        weight *= length / rays_per_bin
        pixel = low.astype(np.int32)[..., None] + np.arange(weight.shape[-1], dtype=np.int32)
        inside = (weight > 0) & (pixel >= 0) & (pixel < limit)
        index = pixel * np.int32(stride) + start[:, None].astype(np.int32)
        pointer[k * columns + 1 : (k + 1) * columns + 1] = inside.reshape(columns, -1).sum(1)
        kept = np.flatnonzero(inside)
        np.take(index.ravel(), kept, out=indices[filled : filled + kept.size])
        values[filled : filled + kept.size] = weight.ravel()[kept]
        filled += kept.size
    if filled > np.iinfo(np.int32).max:
        raise ValueError(
            f"the projection matrix would hold {filled} values, more than 32-bit indices can count; use backend='astra'"
        )
    np.cumsum(pointer, out=pointer)
    matrix = (values[:filled], indices[:filled], pointer.astype(np.int32))
    return scipy.sparse.csr_matrix(matrix, shape=(len(theta) * columns, rows * cols))


class JosephBackend:
    """Joseph's matrix and its stored transpose on one device, in one precision.

    Parameters
    ----------
    matrix : (angles·columns, rows·cols) sparse CSR tensor
    transpose : (rows·cols, angles·columns) sparse CSR tensor
    domain_shape : (int, int)
        Rows and columns of an image.
    range_shape : (int, int)
        Angles and columns of a sinogram.
    """

    name = "matrix"

    def __init__(
        self, matrix: torch.Tensor, transpose: torch.Tensor, domain_shape: tuple[int, int], range_shape: tuple[int, int]
    ):
        self.matrix, self.transpose = matrix, transpose
        self.domain_shape, self.range_shape = domain_shape, range_shape
        self.dtype, self.device = matrix.dtype, matrix.values().device

    @classmethod
    def build(cls, geometry: "ScanGeometry", device: torch.device, dtype: torch.dtype) -> "JosephBackend":
        """The matrix of a geometry on a device, in float32 or float64."""
        matrix = joseph_matrix(
            geometry.size,
            geometry.theta,
            geometry.columns,
            geometry.center,
            geometry.pixel_size,
            geometry.rays_per_bin,
            np.float64 if dtype == torch.float64 else np.float32,
        )
        range_shape = len(geometry.theta), geometry.columns
        return cls(torch_csr(matrix).to(device), torch_csr(matrix.T.tocsr()).to(device), geometry.size, range_shape)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return nbytes(self.matrix, self.transpose)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, rows, cols) to (B, angles, columns), both contiguous."""
        return torch.unflatten(applied(self.matrix, x.flatten(1)), 1, self.range_shape)

    def back(self, y: torch.Tensor) -> torch.Tensor:
        """(B, angles, columns) to (B, rows, cols), both contiguous."""
        return torch.unflatten(applied(self.transpose, y.flatten(1)), 1, self.domain_shape)
