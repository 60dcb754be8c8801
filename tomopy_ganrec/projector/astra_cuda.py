"""ASTRA's CUDA projection on torch's own memory: a batch of slices in one ``parallel3d`` call, nothing copied.

Requirements of ASTRA 2.5.0's source on a caller, and how they are met here:

* its CUDA entry kills a process without a GPU: the backend is refused before the first call unless
  ``astra.use_cuda()``;
* ``direct_FP3D`` swallows failures such as memory exhausted: linked data objects and ``do_composite_FP/BP`` raise
  instead;
* it works on a blocking stream of its own, ordered after torch's default stream only: any other current stream is
  synchronised first;
* the geometry lies in constant memory without a lock: there is one lock for each device.

The forward projection is ray-driven (Joseph), the back projection pixel-driven: they are adjoint to about 1 % on smooth
data, good as a gradient but not for `torch.autograd.gradcheck`.
"""

import os
import threading
from collections import defaultdict
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .astra_common import fold_rays, import_astra, unfold_rays

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .geometry import ScanGeometry

__all__ = ["AstraCudaBackend", "projection_vectors", "require_cuda"]

_device_locks: "defaultdict[int, threading.RLock]" = defaultdict(threading.RLock)
os.register_at_fork(after_in_child=_device_locks.clear)


def projection_vectors(theta: "ArrayLike", columns: int, center: float, rays_per_bin: int = 1) -> np.ndarray:
    """ASTRA's ``parallel3d_vec`` rows (ray, detector centre, u, v) for this package's geometry.

    In three dimensions ASTRA counts rows upwards along +y (in two dimensions downwards), so that
    t = col′·cos θ − row′·sin θ needs u = (cos θ, −sin θ, 0). The detector's centre sits at t = columns/2 − center.

    Returns
    -------
    (angles, 12) float64 array
        In detector columns.
    """
    c, s = np.cos(np.asarray(theta, np.float64)), np.sin(np.asarray(theta, np.float64))
    zero, one = np.zeros_like(c), np.ones_like(c)
    shift = columns / 2 - center
    return np.stack(
        [s, c, zero, shift * c, -shift * s, zero, c / rays_per_bin, -s / rays_per_bin, zero, zero, zero, one], axis=1
    )


def require_cuda(device: torch.device) -> ModuleType:
    """ASTRA with a working GPU.

    Raises
    ------
    ImportError, RuntimeError
        Where there is none; the message says what is missing.
    """
    astra = import_astra()
    if device.type != "cuda":
        raise RuntimeError(
            f"backend='astra_cuda' projects tensors on a GPU, this projector is on {device}; "
            "pass device='cuda' or use backend='matrix'"
        )
    if not astra.use_cuda():
        raise RuntimeError(
            "backend='astra_cuda': ASTRA finds no usable CUDA GPU (astra.use_cuda() is False); use backend='matrix'"
        )
    return astra


class AstraCudaBackend:
    """ASTRA's CUDA parallel-beam projector on one GPU.

    Parameters
    ----------
    geometry : ScanGeometry
    device : torch.device
    """

    name = "astra_cuda"
    dtype = torch.float32
    nbytes = 0

    def __init__(self, geometry: "ScanGeometry", device: torch.device):
        self._astra = require_cuda(device)
        import astra.experimental  # noqa: F401  (not imported by astra itself)

        self._geometry = geometry
        self._vectors = projection_vectors(geometry.theta, geometry.columns, geometry.center, geometry.rays_per_bin)
        self.domain_shape, self.range_shape = geometry.size, (len(geometry.theta), geometry.columns)
        self.device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)

    def _geometries(self, batch: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """ASTRA's volume and projection geometries of a batch."""
        rows, cols = self.domain_shape
        half_y, half_x = rows * self._geometry.pixel_size / 2, cols * self._geometry.pixel_size / 2
        volume = self._astra.create_vol_geom(rows, cols, batch, -half_x, half_x, -half_y, half_y, -batch / 2, batch / 2)
        projections = self._astra.create_proj_geom(
            "parallel3d_vec", batch, self.range_shape[1] * self._geometry.rays_per_bin, self._vectors
        )
        return volume, projections

    def _run(self, operation: str, volume: torch.Tensor, sinogram: torch.Tensor) -> None:
        astra = self._astra
        vol_geom, proj_geom = self._geometries(volume.shape[0])
        created = []
        with _device_locks[self.device.index], torch.cuda.device(self.device):
            stream = torch.cuda.current_stream(self.device)
            if stream != torch.cuda.default_stream(self.device):
                stream.synchronize()
            try:
                projector = astra.create_projector("cuda3d", proj_geom, vol_geom)
                created.append((astra.projector3d.delete, projector))
                vol_id = astra.data3d.link("-vol", vol_geom, volume)
                created.append((astra.data3d.delete, vol_id))
                proj_id = astra.data3d.link("-sino", proj_geom, sinogram)
                created.append((astra.data3d.delete, proj_id))
                getattr(astra.experimental, operation)(projector, [vol_id], [proj_id])
            except astra.experimental.AstraError as error:
                free, total = torch.cuda.mem_get_info(self.device)
                raise RuntimeError(
                    f"ASTRA could not project {tuple(volume.shape)} slices to {tuple(sinogram.shape)} on {self.device} "
                    f"({free / 1e9:.1f} of {total / 1e9:.1f} GB free): {error}. "
                    "If memory is exhausted, project fewer slices at a time."
                ) from error
            finally:
                for delete, identifier in reversed(created):
                    delete(identifier)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, rows, cols) to (B, angles, columns), both contiguous."""
        angles, columns = self.range_shape
        fine = torch.empty((x.shape[0], angles, columns * self._geometry.rays_per_bin), device=self.device)
        self._run("do_composite_FP", x.detach(), fine)
        return fold_rays(fine, self._geometry.rays_per_bin).contiguous()

    def back(self, y: torch.Tensor) -> torch.Tensor:
        """(B, angles, columns) to (B, rows, cols), both contiguous."""
        fine = unfold_rays(y.detach(), self._geometry.rays_per_bin).contiguous()
        image = torch.empty((y.shape[0], *self.domain_shape), device=self.device)
        self._run("do_composite_BP", image, fine)
        return image
