"""The projector by the Fourier slice theorem: two-dimensional FFTs and a short interpolation.

A projection's Fourier transform is the image's along a line through the origin (R. N. Bracewell, Aust. J. Phys. 9,
198–217, 1956). It is wanted between the points of an FFT: the image is divided by the transform of a Kaiser–Bessel
window (P. J. Beatty, D. G. Nishimura, J. M. Pauly, IEEE Trans. Med. Imaging 24, 799–808, 2005), padded, transformed,
and interpolated with the weights of least squares for that division (J. A. Fessler, B. P. Sutton, IEEE Trans. Signal
Process. 51, 560–574, 2003). The line is then multiplied by the frequency response of Joseph's interpolation and of the
rays of a column: this backend approximates `joseph.joseph_matrix`. That method samples a projection at single rays, so
that frequencies above the detector's Nyquist frequency fold back; those are computed, too, from the fewer points the
weaker they are.

The interpolation is a sparse matrix with 9 to 25 values for each frequency of a projection, where Joseph's has two for
each pixel that a ray meets: at 256² a seventh of them, and the fewer the larger the grid. Its transpose is stored, too:
the back projection is the exact adjoint.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
import torch

from .sparse import applied, nbytes, torch_csr

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from .geometry import ScanGeometry

__all__ = ["FourierBackend", "estimated_bytes"]

OVERSAMPLING = 1.5  # of the padded grid
# (top, points): frequencies up to `top` cycles per column are interpolated from so many points along each axis.
# Relative errors: 2e-4, 6e-3 where what folds back is a third of the whole at most, 5e-2 where it is a twentieth.
WIDTHS = ((0.5, 5), (1.0, 4), (math.inf, 3))
WINDOW = WIDTHS[0][1]  # its width, in points of the padded grid
# Its shape (Beatty et al., eq. 5).
BETA = math.pi * math.sqrt((WINDOW / OVERSAMPLING * (OVERSAMPLING - 0.5)) ** 2 - 0.8)
NEGLIGIBLE = 5e-3  # response below which a frequency is left out
BLOCK = 20_000  # frequencies whose weights are made at once
TABLE_STEPS = 512  # between two points of the padded grid, at which the weights are tabled


def _good_size(n: float) -> int:
    """The next even number without a prime factor above 5: its FFT is fast."""
    size = 2 * math.ceil(n / 2)
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2


def _period(size: tuple[int, int], columns: int, center: float, pixel_size: float) -> int:
    """Columns after which a projection may repeat without its copies reaching the detector."""
    return _good_size(pixel_size * math.hypot(*size) / 2 + 1 + max(center, columns - center))


def _zones(rays_per_bin: int) -> int:
    """How many times the detector's Nyquist frequency a projection is followed.

    The rays in a column let through frequencies near their number in cycles per column.
    """
    return 2 * rays_per_bin + 1


def estimated_bytes(
    size: tuple[int, int],
    angles: int,
    columns: int,
    center: float,
    rays_per_bin: int = 1,
    itemsize: int = 4,
    pixel_size: float = 1.0,
) -> int:
    """Upper estimate of the bytes of the interpolation and its transpose, with the factors of each frequency."""
    taps, below, zones = 0.0, 0.0, _zones(rays_per_bin)
    for top, width in WIDTHS:
        taps += width**2 * max(0.0, min(top, zones / 2) - below)
        below = top
    frequencies = angles * _period(size, columns, center, pixel_size)
    padded = math.prod(_good_size(OVERSAMPLING * n) for n in size)
    return int(frequencies * (2 * (itemsize + 4) * 2 * taps + zones / 2 * (4 * itemsize + 8)) + 2 * itemsize * padded)


def _apodization(count: int, padded: int) -> np.ndarray:
    """One over the window's transform at the pixels of an axis."""
    n = np.arange(count) - count // 2
    root = np.sqrt((BETA**2 - (math.pi * WINDOW * n / padded) ** 2).astype(complex))
    return (root / np.sinh(root)).real


def _weights(count: int, padded: int, width: int) -> np.ndarray:
    """The weights of `width` points of an axis for the interpolation at positions g between them.

    With them Σ w_l exp(2πi (l − g) n / padded) / window(n) is nearest to 1 over the axis' pixels n.

    Returns
    -------
    (TABLE_STEPS + 1, width) array
        For offsets of the first point from g − width / 2, from 0 to 1.
    """
    n, scale, points = np.arange(count) - count // 2, _apodization(count, padded), np.arange(width)
    distance = np.linspace(0, 1, TABLE_STEPS + 1)[:, None] - width / 2 + points
    products = np.cos(2 * np.pi * (points[:, None, None] - points[:, None]) * n / padded) @ scale**2
    return np.linalg.solve(products, (np.cos(2 * np.pi * distance[..., None] * n / padded) @ scale).T).T


def _points(frequency: np.ndarray, count: int, padded: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The points of the padded grid around frequencies (m,) in cycles per pixel, and their weights: (m, width) each."""
    position = frequency * padded
    first = np.ceil(position - width / 2)
    step = (first - position + width / 2) * TABLE_STEPS
    low = np.minimum(step.astype(np.int64), TABLE_STEPS - 1)
    table, part = _weights(count, padded, width), (step - low)[:, None]
    point = first.astype(np.int64)[:, None] + np.arange(width)
    sign = 1 - 2 * (point % 2)  # the image's middle lies in the middle of the padded grid
    return point, (table[low] * (1 - part) + table[low + 1] * part) * sign


def _interpolation(
    u: np.ndarray, v: np.ndarray, width: np.ndarray, size: tuple[int, int], padded: tuple[int, int], dtype: "DTypeLike"
) -> scipy.sparse.csr_matrix:
    """The interpolation from the real FFT of an image to its transform at other frequencies.

    Parameters
    ----------
    u, v : (m,) float arrays
        The frequencies, along columns and along rows, in cycles per pixel.
    width : (m,) int array
        Points that each is interpolated from along each axis; 0: it is left out.
    size, padded : (int, int)
        Rows and columns of the image and of the padded grid.
    dtype : numpy dtype
        Of the values.

    Returns
    -------
    scipy.sparse.csr_matrix
        (2·m, 2·rows·half), half the columns of the real FFT. Real and imaginary parts take turns on both sides.
    """
    (rows, cols), half = padded, padded[1] // 2 + 1
    pointer = np.concatenate([[0], np.cumsum(np.repeat(width.astype(np.int64) ** 2, 2))])
    if max(pointer[-1], 2 * rows * half) > np.iinfo(np.int32).max:
        raise ValueError(
            f"the interpolation would hold {pointer[-1]} values, more than 32-bit indices can count; "
            "use backend='astra'"
        )
    index, value, blocks = np.empty(pointer[-1], np.int32), np.empty(pointer[-1], dtype), []
    for points in np.unique(width[width > 0]):
        frequencies = np.flatnonzero(width == points)
        blocks += [(points, part) for part in np.array_split(frequencies, -(-len(frequencies) // BLOCK))]
    for points, frequencies in blocks:  # making a block takes several times the memory of its result
        row, row_weight = _points(v[frequencies], size[0], rows, points)
        col, col_weight = _points(u[frequencies], size[1], cols, points)
        col %= cols
        # The other half of the transform is this one's complex conjugate, mirrored.
        mirrored = (col > cols // 2)[:, None, :]
        col = np.where(mirrored, cols - col[:, None, :], col[:, None, :])
        row = np.where(mirrored, -row[:, :, None], row[:, :, None]) % rows
        weight = row_weight[:, :, None] * col_weight[:, None, :]
        real_part = 2 * (row * half + col)  # its index in the real FFT; the imaginary part follows
        entries = pointer[2 * frequencies][:, None] + np.arange(2 * points**2)  # of the sparse matrix
        index[entries] = np.stack([real_part, real_part + 1], 1).reshape(entries.shape)
        value[entries] = np.stack([weight, np.where(mirrored, -weight, weight)], 1).reshape(entries.shape)
    return scipy.sparse.csr_matrix((value, index, pointer.astype(np.int32)), shape=(2 * u.size, 2 * rows * half))


def _each(
    operation: Callable[[torch.Tensor], torch.Tensor], tensor: torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    """An operation on the slices, one by one on a CPU: they stay in its caches, and are the same in any batch."""
    if not len(tensor):
        return tensor.new_zeros(0, *shape)
    if tensor.device.type != "cpu" or len(tensor) == 1:
        return operation(tensor)
    return torch.cat([operation(single[None]) for single in tensor])


class FourierBackend:
    """The Fourier slice theorem on one device, in one precision.

    Parameters
    ----------
    geometry : ScanGeometry
    device : torch.device
    dtype : torch.dtype
        float32 or float64.
    """

    name = "fourier"

    def __init__(self, geometry: "ScanGeometry", device: torch.device, dtype: torch.dtype):
        size, pixel = geometry.size, geometry.pixel_size
        columns, center = geometry.columns, geometry.center
        real, kind = (np.float64, torch.complex128) if dtype == torch.float64 else (np.float32, torch.complex64)
        self.domain_shape, self.range_shape = size, (len(geometry.theta), columns)
        self.dtype, self.device = dtype, device
        self._padded = _good_size(OVERSAMPLING * size[0]), _good_size(OVERSAMPLING * size[1])
        self._zones = _zones(geometry.rays_per_bin)
        self._inside = tuple(
            slice(p // 2 - n // 2, p // 2 - n // 2 + n) for p, n in zip(self._padded, size, strict=True)
        )
        apodization = [_apodization(n, p) for n, p in zip(size, self._padded, strict=True)]
        self._apodization = torch.from_numpy(np.outer(*apodization).astype(real)).to(device)

        period = _period(size, columns, center, pixel)
        self._length = period * self._zones
        f = np.arange(self._length // 2 + 1) / period  # cycles per column
        c, s = np.cos(geometry.theta)[:, None], np.sin(geometry.theta)[:, None]
        u, v = pixel * f * c, -pixel * f * s  # cycles per pixel
        # Joseph's method interpolates linearly along the axis that is more parallel to the detector: a triangle in the
        # projection.
        offsets = (np.arange(geometry.rays_per_bin) + 0.5) / geometry.rays_per_bin - 0.5
        response = np.sinc(pixel * f * np.maximum(np.abs(c), np.abs(s))) ** 2 * np.cos(
            2 * np.pi * f[:, None] * offsets
        ).mean(1)
        response[:, -1] = 0  # at the highest frequency a shift has no real inverse FFT
        width = np.select([f <= top for top, _ in WIDTHS], [points for _, points in WIDTHS])
        width = np.where(np.abs(response) < NEGLIGIBLE, 0, width)
        forward = _interpolation(u.ravel(), v.ravel(), width.ravel(), size, self._padded, real)
        # The real FFT has one half of the frequencies; what comes back from it counts twice, but for the columns that
        # both halves share.
        share = np.full((self._padded[0], self._padded[1] // 2 + 1, 2), 0.5, real)
        share[:, [0, -1]] = 1
        back = forward.T.tocsr()
        back.data *= np.repeat(share.ravel(), np.diff(back.indptr))
        self._forward, self._back = (torch_csr(m).to(device) for m in (forward, back))

        # The FFT counts from the pixel count // 2 and from the first column; both sides are seen from the axis.
        shift = f * (0.5 - center) - u * (size[1] // 2 - (size[1] - 1) / 2) - v * (size[0] // 2 - (size[0] - 1) / 2)
        factor = pixel**2 * response * np.exp(2j * np.pi * shift)
        adjoint = factor.conj() * np.where(f == 0, 1.0, 2.0) / period
        self._factor, self._adjoint = (torch.from_numpy(a).to(device, kind) for a in (self._zones * factor, adjoint))

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return nbytes(self._forward, self._back) + self._factor.nbytes + self._adjoint.nbytes + self._apodization.nbytes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, rows, cols) to (B, angles, columns), both contiguous."""
        return _each(self._project, x, self.range_shape)

    def back(self, y: torch.Tensor) -> torch.Tensor:
        """(B, angles, columns) to (B, rows, cols), both contiguous."""
        return _each(self._project_back, y, self.domain_shape)

    def _project(self, x: torch.Tensor) -> torch.Tensor:
        rows, cols = self._inside
        padded = x.new_zeros(x.shape[0], *self._padded)
        torch.mul(x, self._apodization, out=padded[:, rows, cols])
        transform = torch.view_as_real(torch.fft.rfft2(padded)).flatten(1)
        lines = torch.view_as_complex(
            torch.unflatten(applied(self._forward, transform), 1, (self.range_shape[0], -1, 2))
        )
        fine = torch.fft.irfft(lines.mul_(self._factor), n=self._length)
        return fine[..., : self.range_shape[1] * self._zones : self._zones].contiguous()

    def _project_back(self, y: torch.Tensor) -> torch.Tensor:
        rows, cols = self._inside
        fine = torch.nn.functional.pad(y[..., None], (0, self._zones - 1)).flatten(2)
        lines = torch.view_as_real(torch.fft.rfft(fine, n=self._length).mul_(self._adjoint)).flatten(1)
        transform = torch.view_as_complex(torch.unflatten(applied(self._back, lines), 1, (self._padded[0], -1, 2)))
        transform = torch.fft.ifft(transform, dim=1, norm="forward")[:, rows].contiguous()
        for shared in (0, -1):  # of a real image these are real, and not every library ignores an imaginary part
            torch.view_as_real(transform)[:, :, shared, 1] = 0
        return torch.fft.irfft(transform, n=self._padded[1], norm="forward")[..., cols] * self._apodization
