"""Memory that a reconstruction takes, and the number of slices that are fitted at once in what is free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch

from tomopy_ganrec.option_values import grid_size
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import Geometry, choose_backend
from tomopy_ganrec.projector.backends import bears_double

from .devices import resolve_devices

__all__ = [
    "FREE_MEMORY_SHARE",
    "MAX_BATCH_ON_CPU",
    "MAX_BATCH_ON_GPU",
    "MemoryEstimate",
    "batch_size",
    "estimate_memory",
    "projector_dtype",
]

MAX_BATCH_ON_CPU = 8  # more slices at once do not fit into a CPU's caches
MAX_BATCH_ON_GPU = 32  # with more slices at once the launches of kernels no longer count
FREE_MEMORY_SHARE = 0.6  # that batch_size='auto' may fill
# Measured on a CPU, 64² to 256², 60 and 120 angles, 1 to 8 slices: the part of its upper bound that a matrix takes, by
# the number of rays in a detector column; and a slice at work takes 38 to 60 times its image and sinogram (gradients,
# dual variables, edge weights, spectra, the network's activations).
MATRIX_FILL = {1: 0.86, 2: 0.74}
COPIES_OF_A_SLICE = 48
BASE_BYTES = 5e6
# While the missing wedge of one slice is learned, its training pairs take as much as so many slices at work.
SLICES_OF_WEDGE_LEARNING = 4
# With preset='paper': copies of the networks' weights (gradients, two moments, a state to carry on), and of an image in
# their feature maps.
COPIES_OF_PAPER_WEIGHTS = 5
COPIES_IN_PAPER_MAPS = 900


@dataclass(frozen=True)
class MemoryEstimate:
    """What a reconstruction needs, in bytes, beside the libraries and the data that are loaded already.

    Attributes
    ----------
    projector : float
        Projection matrices; 0 with ASTRA.
    slices_at_work : float
        Of all slices of a batch.
    volume : float
        The result, if it is kept in memory.
    batch_size : int
        Slices fitted at once.
    """

    projector: float
    slices_at_work: float
    volume: float
    batch_size: int

    @property
    def total(self) -> float:
        """All of it, in bytes; on a GPU all but `volume` is on the device."""
        return self.projector + self.slices_at_work + self.volume + BASE_BYTES

    def __str__(self) -> str:
        return (
            f"{self.total / 1e9:.2f} GB ({self.projector / 1e9:.2f} GB projector, {self.volume / 1e9:.2f} GB volume, "
            f"{self.slices_at_work / 1e9:.2f} GB for {self.batch_size} slices at once)"
        )


def _geometries(options: GanrecOptions, angles: int, columns: int, size: tuple[int, int]) -> list[Geometry]:
    """The geometries of the projectors that are kept at once."""
    kinds = [(1, 1)]  # (pixels within a detector column along each axis, rays within a detector column)
    if options.preset != "paper" and options.pixel_model != "point" and options.init == "tv":
        kinds.append((1, 2))
    factor = options.resolved.grid_factor
    if factor > 1:
        kinds.append((factor, 2))
    return [
        Geometry((size[0] * n, size[1] * n), np.zeros(angles), columns, columns / 2, 1 / n, rays) for n, rays in kinds
    ]


def projector_dtype(
    options: GanrecOptions, device: torch.device, angles: int, columns: int, size: tuple[int, int]
) -> torch.dtype:
    """The precision of the projector and of the start image.

    float64 on a CPU if `GanrecOptions.projector_memory` holds the matrices in it, else float32. Reweighted total
    variation is not convex: it can amplify the rounding errors of float32, 2e-6 of an image, five hundred times where
    walls are as thin as a pixel, and then a slice depends on its batch and on the processor.
    """
    if options.preset == "paper" or options.init != "tv":
        return torch.float32
    fits_double = (
        bears_double(geometry, options.backend, device, options.projector_memory)
        for geometry in _geometries(options, angles, columns, size)
    )
    return torch.float64 if all(fits_double) else torch.float32


def _projector_bytes(
    options: GanrecOptions, device: torch.device, angles: int, columns: int, size: tuple[int, int]
) -> float:
    """Bytes of the matrices that are kept at once."""
    dtype = projector_dtype(options, device, angles, columns, size)
    precision_factor = 1.5 if dtype == torch.float64 else 1.0  # values of 8 bytes beside indices of 4
    total = 0.0
    for geometry in _geometries(options, angles, columns, size):
        backend: str = options.backend
        if backend == "auto":
            backend, _ = choose_backend([geometry], device, dtype, options.projector_memory)
        if backend == "matrix":
            total += precision_factor * (MATRIX_FILL[geometry.rays_per_bin] * geometry.matrix_bytes)
        elif backend == "fourier":
            total += precision_factor * geometry.fourier_bytes
    return total


def _slice_bytes(options: GanrecOptions, angles: int, columns: int, size: tuple[int, int]) -> float:
    """Bytes of one slice at work."""
    image, sinogram = 4.0 * size[0] * size[1], 4.0 * angles * columns
    if options.preset == "paper":
        return COPIES_OF_PAPER_WEIGHTS * 128 * (image + sinogram) + COPIES_IN_PAPER_MAPS * image
    return COPIES_OF_A_SLICE * (image * options.resolved.grid_factor**2 + sinogram)


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def batch_size(options: GanrecOptions, device: torch.device, scan: tuple[int, int], size: tuple[int, int]) -> int:
    """Slices fitted at once: ``joint_slices``, or as given, or as many as the free memory of the device holds.

    Parameters
    ----------
    options : GanrecOptions
    device : torch.device
    scan : (int, int)
        Angles and columns.
    size : (int, int)
        Rows and columns of a slice.
    """
    if options.joint_slices > 1:
        return options.joint_slices
    if not isinstance(options.batch_size, str):
        return options.batch_size
    usable = FREE_MEMORY_SHARE * _free_bytes(device) - _projector_bytes(options, device, *scan, size) - BASE_BYTES
    largest = MAX_BATCH_ON_GPU if device.type == "cuda" else MAX_BATCH_ON_CPU
    return int(min(largest, max(1, usable // _slice_bytes(options, *scan, size))))


def estimate_memory(
    shape: Sequence[int],
    options: GanrecOptions | Mapping[str, Any] | None = None,
    *,
    sinogram_order: bool = False,
    num_gridx: int | None = None,
    num_gridy: int | None = None,
    out: object = None,
) -> MemoryEstimate:
    """Memory that a reconstruction by `recon` would take, before it is started.

    Within 25 % of what was measured; for one rotation axis.

    Parameters
    ----------
    shape : (int, int, int)
        Of the data: (angles, slices, columns); with `sinogram_order` (slices, angles, columns).
    options : GanrecOptions or dict, optional
    sinogram_order : bool
    num_gridx, num_gridy : int, optional
        Rows and columns of a slice; default: the detector's columns.
    out : optional
        As for `recon`: if it is given, the result is not kept in memory.

    Returns
    -------
    MemoryEstimate

    Raises
    ------
    ValueError, TypeError, RuntimeError
        For a shape that is not three whole numbers, and for options as `recon`.
    """
    if len(shape) != 3 or not all(isinstance(n, int | np.integer) and n >= 1 for n in shape):
        raise ValueError(
            f"shape={tuple(shape)} must be three whole numbers, (angles, slices, columns), or (slices, angles, "
            "columns) in sinogram order"
        )
    if not isinstance(options, GanrecOptions):
        options = GanrecOptions.from_mapping(options)
    slices, angles, columns = (int(n) for n in (shape if sinogram_order else (shape[1], shape[0], shape[2])))
    size = grid_size(columns, num_gridx, num_gridy)
    device = resolve_devices(options)[0]
    batch = min(slices, batch_size(options, device, (angles, columns), size))
    equivalent_slices = max(batch, SLICES_OF_WEDGE_LEARNING if options.resolved.wedge_rounds else 0)
    return MemoryEstimate(
        projector=_projector_bytes(options, device, angles, columns, size),
        slices_at_work=equivalent_slices * _slice_bytes(options, angles, columns, size),
        volume=0.0 if out is not None else 4.0 * math.prod((slices, *size)),
        batch_size=batch,
    )
