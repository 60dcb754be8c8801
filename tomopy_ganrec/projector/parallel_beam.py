"""The differentiable parallel-beam forward model.

>>> projector = ParallelBeamProjector(256, theta, columns=256, center=128.0)
>>> sinogram = projector.forward_project(x)      # (B, 256, 256) to (B, angles, 256)
>>> image = projector.back_project(sinogram)     # the adjoint
"""

import logging
import math
import numbers
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from . import torch_ops
from .backends import BACKENDS, Geometry, backend_cache, bears_double, build_backend, choose_backend

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["ParallelBeamProjector"]

logger = logging.getLogger(__name__)


class ParallelBeamProjector:
    """Parallel-beam forward projection and its adjoint, as differentiable torch operations on batches of slices.

    A pixel at (row′, col′) from the grid's centre, which lies on the rotation axis, is seen at
    t = col′·cos θ − row′·sin θ; detector column d is centred at t = d + 0.5 − center. This is the convention of
    ``tomopy.project`` and of ASTRA's ``parallel`` geometry.

    Parameters
    ----------
    size : int or (int, int)
        Rows and columns of the reconstruction grid.
    theta : (angles,) array_like
        Projection angles in radians, in any order.
    columns : int
        Detector columns.
    center : float or (slices,) array_like, optional
        Rotation axis on the detector, in columns, in the edge convention. The middle of the detector is
        ``columns / 2``, the default. An array gives each slice of a batch its own.
    pixel_size : float
        Side of a grid pixel in detector columns. A grid twice as fine: ``pixel_size=0.5`` with ``rays_per_bin=2``.
    rays_per_bin : int
        Rays averaged in one detector column.
    backend : {'auto', 'fourier', 'matrix', 'astra', 'astra_cuda'}
        ``'matrix'``: Joseph's method as a sparse matrix with its stored transpose, on any device, an exact adjoint
        pair. ``'fourier'``: the same by the Fourier slice theorem, to 1e-3 or better, also an exact adjoint pair; much
        faster from 256² on. ``'astra'``: ASTRA's CPU projector. ``'astra_cuda'``: ASTRA's CUDA projector on torch's
        memory; adjoint to about 1 %. ``'auto'``: on a CPU ``'fourier'`` from 128 rows or columns on, else the matrix;
        where that does not fit into `memory_limit`, ASTRA's. The choice is logged.
    device : str or torch.device
    dtype : torch.dtype
        float32, or float64 for ``'matrix'`` and ``'fourier'``.
    memory_limit : float
        Bytes that the matrices (of rays or of the interpolation) and their transposes, one pair for each distinct
        centre, may take before ``'auto'`` turns to ASTRA; on a GPU no more than a quarter of its memory. The default
        holds 2048² pixels from 1500 angles on a CPU.

    Raises
    ------
    ValueError, TypeError
        For a geometry that makes no sense.
    ImportError, RuntimeError
        For a backend that this machine cannot run.

    Notes
    -----
    Units: an image in attenuation per detector column projects to dimensionless line integrals.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        theta: "ArrayLike | torch.Tensor",
        columns: int,
        center: "float | ArrayLike | None" = None,
        pixel_size: float = 1.0,
        rays_per_bin: int = 1,
        backend: Literal["auto", "fourier", "matrix", "astra", "astra_cuda"] | str = "auto",
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        memory_limit: float = 5e9,
    ):
        given: Any = size
        extent = (given, given) if isinstance(given, numbers.Integral) else tuple(given)
        if len(extent) != 2:
            raise ValueError(f"size is {extent}: give the rows and columns of the grid")
        theta = np.atleast_1d(np.array(theta.cpu() if isinstance(theta, torch.Tensor) else theta, np.float64))
        if theta.ndim != 1 or theta.size < 1 or not np.isfinite(theta).all():
            raise ValueError(
                f"theta must be a one-dimensional array of finite angles in radians; its shape is {theta.shape}"
            )
        whole_numbers: dict[str, tuple[Any, ...]] = dict(size=extent, columns=(columns,), rays_per_bin=(rays_per_bin,))
        for name, counts in whole_numbers.items():
            if not all(isinstance(n, numbers.Integral) and int(n) >= 1 for n in counts):
                raise ValueError(
                    f"{name}={counts if len(counts) > 1 else counts[0]} must be whole numbers of at least 1"
                )
        if not (math.isfinite(pixel_size) and pixel_size > 0):
            raise ValueError(f"pixel_size={pixel_size} must be a finite number above 0")
        if backend not in BACKENDS:
            raise ValueError(f"backend={backend!r} is not known; choose one of {', '.join(map(repr, BACKENDS))}")
        centers = np.array(columns / 2 if center is None else center, np.float64)
        if centers.ndim > 1 or not np.isfinite(centers).all():
            raise ValueError(f"center must be one finite number or one for each slice; it is {center!r}")
        self.theta, self.columns = theta, int(columns)
        self.center: float | np.ndarray = float(centers) if centers.ndim == 0 else centers
        self.domain_shape, self.range_shape = (int(extent[0]), int(extent[1])), (theta.size, int(columns))
        self.pixel_size = float(pixel_size)
        self._geometry = Geometry(self.domain_shape, theta, self.columns, 0.0, float(pixel_size), int(rays_per_bin))
        self._requested, self._memory_limit = backend, memory_limit
        self._resampled: dict[tuple[float, int], ParallelBeamProjector] = {}
        self._double: ParallelBeamProjector | None = None
        self._setup(torch.device(device), dtype)

    def _setup(self, device: torch.device, dtype: torch.dtype) -> None:
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype is {dtype}; the projector computes in float32 or float64")
        if device.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("device='cuda': torch finds no CUDA GPU on this machine; use device='cpu'")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self.device, self.dtype = device, dtype
        name = self._requested
        unique, inverse = np.unique(self.center, return_inverse=True)
        geometries = [replace(self._geometry, center=float(c)) for c in unique]
        if name == "auto":
            limit = self._memory_limit
            if device.type == "cuda":
                limit = min(limit, torch.cuda.get_device_properties(device).total_memory / 4)
            name, reason = choose_backend(geometries, device, dtype, limit)
            logger.log(
                logging.WARNING if "but" in reason else logging.INFO,
                "projector backend %r on %s: %s",
                name,
                device,
                reason,
            )
        self.backend = name
        self._backends = [
            backend_cache.get((g.key, str(device), dtype, name), partial(build_backend, name, g, device, dtype))
            for g in geometries
        ]
        self._handles = [torch_ops.handle_of(b) for b in self._backends]
        self._groups = [torch.from_numpy(np.flatnonzero(inverse == i)).to(device) for i in range(len(unique))]

    def __repr__(self) -> str:
        (rows, cols), (angles, columns) = self.domain_shape, self.range_shape
        return (
            f"ParallelBeamProjector({rows}×{cols} from {angles} angles × {columns} columns, "
            f"{self.backend}, {self.dtype}, {self.device})"
        )

    def resampled(self, pixel_size: float | None = None, rays_per_bin: int | None = None) -> "ParallelBeamProjector":
        """The same scan on a finer or coarser grid of the same extent, or with another number of rays in a column.

        Made once for each pair of values and then remembered. Where the extent is no multiple of the pixel the grid is
        the next larger one.
        """
        pixel = self.pixel_size if pixel_size is None else float(pixel_size)
        rays = self.rays_per_bin if rays_per_bin is None else rays_per_bin
        if (pixel, rays) == (self.pixel_size, self._geometry.rays_per_bin):
            return self
        if (pixel, rays) not in self._resampled:
            rows, cols = self.domain_shape
            if pixel > 0:
                rows, cols = (math.ceil(n * self.pixel_size / pixel - 1e-9) for n in self.domain_shape)
            self._resampled[pixel, rays] = ParallelBeamProjector(
                (rows, cols),
                self.theta,
                self.columns,
                self.center,
                pixel,
                rays,
                self._requested,
                device=self.device,
                dtype=self.dtype,
                memory_limit=self._memory_limit,
            )
        return self._resampled[pixel, rays]

    @property
    def recordable(self) -> bool:
        """Whether projections may be part of a CUDA graph; ASTRA's may not, which allocates and waits by itself."""
        return self.backend != "astra_cuda"

    @property
    def rays_per_bin(self) -> int:
        """Rays averaged in one detector column."""
        return self._geometry.rays_per_bin

    def to(
        self,
        *args: str | torch.device | torch.dtype,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> "ParallelBeamProjector":
        """The same geometry on another device or in another precision, given in any order or by name."""
        for value in args:
            if isinstance(value, torch.dtype):
                dtype = value
            else:
                device = value
        moved = object.__new__(ParallelBeamProjector)
        moved.__dict__.update(self.__dict__, _resampled={}, _double=None)
        moved._setup(torch.device(device or self.device), dtype or self.dtype)
        return moved

    def in_double(self) -> "ParallelBeamProjector":
        """The same in float64 where that costs little (`backends.bears_double`), else itself; remembered."""
        if self._double is None:
            # Two rays, since `resampled` will be asked for them.
            two_rays = replace(self._geometry, rays_per_bin=max(2, self.rays_per_bin))
            cheap = bears_double(two_rays, self._requested, self.device, self._memory_limit / len(self._backends))
            self._double = self.to(torch.float64) if cheap and self.dtype == torch.float32 else self
        return self._double

    def forward_project(self, x: torch.Tensor) -> torch.Tensor:
        """Line integrals of slices.

        Parameters
        ----------
        x : (B, rows, cols) tensor
            Attenuation per detector column, in the projector's precision and on its device; a float64 projector takes
            float32, too.

        Returns
        -------
        (B, angles, columns) tensor
            Dimensionless, contiguous, of the precision of `x`.
        """
        return self._apply(torch_ops.forward_project, x)

    def back_project(self, y: torch.Tensor) -> torch.Tensor:
        """Unfiltered back projection, the adjoint of `forward_project`.

        Parameters
        ----------
        y : (B, angles, columns) tensor
            In the projector's precision and on its device; a float64 projector takes float32, too.

        Returns
        -------
        (B, rows, cols) tensor
            Contiguous, of the precision of `y`.
        """
        return self._apply(torch_ops.back_project, y)

    def _apply(self, operator: Callable[[torch.Tensor, int], torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(self.center, np.ndarray) and tensor.shape[0] != len(self.center):
            raise ValueError(
                f"the batch holds {tensor.shape[0]} slices, center {len(self.center)} values; "
                "give one centre, or one for each slice"
            )
        if tensor.dtype == torch.float32 and self.dtype == torch.float64:
            return self._apply(operator, tensor.double()).float()
        if len(self._handles) == 1:
            return operator(tensor, self._handles[0])
        parts = [operator(tensor[group], handle) for group, handle in zip(self._groups, self._handles, strict=True)]
        return torch.cat(parts)[torch.argsort(torch.cat(self._groups))]
