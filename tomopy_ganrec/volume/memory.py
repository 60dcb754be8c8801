"""How much memory a reconstruction takes, and how many slices at once that leaves room for."""

import math
from dataclasses import dataclass

import numpy as np
import psutil
import torch

from tomopy_ganrec.option_values import grid_size
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import Geometry, choose_backend
from tomopy_ganrec.projector.backends import bears_double

from .devices import resolve_devices

__all__ = ["MOST_ON_CPU", "MOST_ON_GPU", "MemoryEstimate", "batch_size", "estimate_memory", "projector_dtype"]

MOST_ON_CPU, MOST_ON_GPU = (
    8,
    32,
)  # slices at once: beyond them the caches of a CPU are full, and the launches of a GPU paid for
SHARE = 0.6  # of the free memory that 'auto' may fill
# Measured on a CPU, 64² to 256², 60 and 120 angles, 1 to 8 slices: how much of its upper bound a matrix takes, by rays in a column; a slice at
# work takes 38 to 60 times its image and sinogram (gradients, dual variables, edge weights, spectra, the network's activations).
FILLED, COPIES, BASE = {1: 0.86, 2: 0.74}, 48, 5e6
LEARNING = 4  # slices that the lessons of one are like
PAPER_WEIGHTS, PAPER_MAPS = (
    5,
    900,
)  # copies of a paper network's weights (gradients, two moments, a state to carry on), and of an image in its maps


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
        The result, where it is kept in memory.
    batch_size : int
    """

    projector: float
    slices_at_work: float
    volume: float
    batch_size: int

    @property
    def total(self) -> float:
        """All of it, in bytes; on a GPU all but `volume` is on the device."""
        return self.projector + self.slices_at_work + self.volume + BASE

    def __str__(self):
        parts = ", ".join(
            f"{value / 1e9:.2f} GB {name}" for name, value in (("projector", self.projector), ("volume", self.volume))
        )
        return f"{self.total / 1e9:.2f} GB ({parts}, {self.slices_at_work / 1e9:.2f} GB for {self.batch_size} slices at once)"


def _geometries(options: GanrecOptions, angles: int, columns: int, size: tuple[int, int]) -> list[Geometry]:
    """Of the projectors that are kept at once."""
    kinds = [(1, 1)]
    if options.preset != "paper" and options.pixel_model != "point" and options.init == "tv":
        kinds.append((1, 2))
    refine = options.resolved.grid_factor
    if refine > 1:
        kinds.append((refine, 2))
    return [
        Geometry((size[0] * n, size[1] * n), np.zeros(angles), columns, columns / 2, 1 / n, rays) for n, rays in kinds
    ]


def projector_dtype(
    options: GanrecOptions, device: torch.device, angles: int, columns: int, size: tuple[int, int]
) -> torch.dtype:
    """The precision of the projector and of the start image: float64 on a CPU where `GanrecOptions.projector_memory` holds it, else float32.

    Reweighted total variation is not convex: what float32 rounds, 2e-6 of an image, it can amplify five hundred times where walls are as thin as
    a pixel, and then a slice depends on its batch and on the processor.
    """
    if options.preset == "paper" or options.init != "tv":
        return torch.float32
    bears = (
        bears_double(g, options.backend, device, options.projector_memory)
        for g in _geometries(options, angles, columns, size)
    )
    return torch.float64 if all(bears) else torch.float32


def _projector_bytes(
    options: GanrecOptions, device: torch.device, angles: int, columns: int, size: tuple[int, int]
) -> float:
    """Of the matrices that are kept at once."""
    dtype, found = projector_dtype(options, device, angles, columns, size), 0.0
    share = 1.5 if dtype == torch.float64 else 1.0  # values of 8 bytes beside indices of 4
    for geometry in _geometries(options, angles, columns, size):
        backend = options.backend
        if backend == "auto":
            backend, _ = choose_backend([geometry], device, dtype, options.projector_memory)
        found += share * {
            "matrix": FILLED[geometry.rays_per_bin] * geometry.matrix_bytes,
            "fourier": geometry.fourier_bytes,
        }.get(backend, 0.0)
    return found


def _slice_bytes(options: GanrecOptions, angles: int, columns: int, size: tuple[int, int]) -> float:
    """Of one slice at work."""
    image, sinogram = 4.0 * size[0] * size[1], 4.0 * angles * columns
    if options.preset == "paper":
        return PAPER_WEIGHTS * 128 * (image + sinogram) + PAPER_MAPS * image
    refine = options.resolved.grid_factor
    return COPIES * (image * refine**2 + sinogram)


def _free(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def batch_size(options: GanrecOptions, device: torch.device, scan: tuple[int, int], size: tuple[int, int]) -> int:
    """Slices fitted at once: a stack, or as given, or as many as the free memory of the device holds.

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
    if options.batch_size != "auto":
        return options.batch_size
    room = SHARE * _free(device) - _projector_bytes(options, device, *scan, size) - BASE
    most = MOST_ON_GPU if device.type == "cuda" else MOST_ON_CPU
    return int(min(most, max(1, room // _slice_bytes(options, *scan, size))))


def estimate_memory(
    shape, options=None, *, sinogram_order=False, num_gridx=None, num_gridy=None, out=None
) -> MemoryEstimate:
    """What a reconstruction by `recon` would take, before it is started. Within 25 % of what was measured; for one rotation axis.

    Parameters
    ----------
    shape : (int, int, int)
        Of the data: (angles, slices, columns); with `sinogram_order` (slices, angles, columns).
    options : GanrecOptions or dict, optional
    sinogram_order : bool
    num_gridx, num_gridy : int, optional
        Rows and columns of a slice; default: the detector's columns.
    out : optional
        As for `recon`: given, the result is not kept in memory.

    Returns
    -------
    MemoryEstimate
    """
    if len(shape) != 3 or not all(isinstance(n, int | np.integer) and n >= 1 for n in shape):
        raise ValueError(
            f"shape={tuple(shape)} must be three whole numbers, (angles, slices, columns), or (slices, angles, columns) in sinogram order"
        )
    options = options if isinstance(options, GanrecOptions) else GanrecOptions.from_mapping(options)
    slices, angles, columns = (int(n) for n in (shape if sinogram_order else (shape[1], shape[0], shape[2])))
    size = grid_size(columns, num_gridx, num_gridy)
    device = resolve_devices(options)[0]
    batch = min(slices, batch_size(options, device, (angles, columns), size))
    at_work = max(batch, LEARNING if options.resolved.wedge_rounds else 0) * _slice_bytes(
        options, angles, columns, size
    )
    volume = 0.0 if out is not None else 4.0 * math.prod((slices, *size))
    return MemoryEstimate(_projector_bytes(options, device, angles, columns, size), at_work, volume, batch)
