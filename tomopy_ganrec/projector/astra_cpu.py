"""ASTRA's CPU projector, for geometries whose matrix would not fit in memory."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from .astra_common import fold_rays, import_astra, unfold_rays

if TYPE_CHECKING:
    from .geometry import ScanGeometry

__all__ = ["AstraBackend", "astra_project"]


def astra_project(projector: int, image: np.ndarray, sinogram: np.ndarray, back: bool = False) -> None:
    """Project an image into a sinogram on the CPU, or with `back` the sinogram into the image.

    It uses data objects and an algorithm, since ``astra.projector.direct_FP`` is younger than conda-forge's ASTRA
    (2.3.1).

    Parameters
    ----------
    projector : int
        ASTRA's identifier of a two-dimensional projector.
    image : (rows, columns) float32 array, C-contiguous and writable
        Read, or overwritten with `back`.
    sinogram : (angles, columns) float32 array, C-contiguous and writable
        Overwritten, or read with `back`.
    """
    astra = import_astra()
    data: list[int] = []
    algorithm = None
    try:
        data.append(astra.data2d.link("-vol", astra.projector.volume_geometry(projector), image))
        data.append(astra.data2d.link("-sino", astra.projector.projection_geometry(projector), sinogram))
        settings = astra.astra_dict("BP" if back else "FP")
        settings.update(
            {
                "ProjectorId": projector,
                "ReconstructionDataId" if back else "VolumeDataId": data[0],
                "ProjectionDataId": data[1],
            }
        )
        algorithm = astra.algorithm.create(settings)
        astra.algorithm.run(algorithm)
    finally:
        if algorithm is not None:
            astra.algorithm.delete(algorithm)
        astra.data2d.delete(data)


class AstraBackend:
    """ASTRA's ``linear`` (Joseph) projector on the CPU, slice by slice; back projection by its exact transpose.

    The rotation axis may lie at any fraction of a column: the detector is moved instead.

    Parameters
    ----------
    geometry : ScanGeometry
    """

    name = "astra"

    def __init__(self, geometry: "ScanGeometry"):
        astra = self._astra = import_astra()
        rows, cols = geometry.size
        rays, pixel = geometry.rays_per_bin, geometry.pixel_size
        proj_geom = astra.create_proj_geom("parallel", 1.0 / rays, geometry.columns * rays, geometry.theta)
        # Moving the detector is in units of its own columns.
        proj_geom = astra.geom_postalignment(proj_geom, (geometry.columns / 2 - geometry.center) * rays)
        vol_geom = astra.create_vol_geom(
            rows, cols, -cols * pixel / 2, cols * pixel / 2, -rows * pixel / 2, rows * pixel / 2
        )
        self._projector = astra.create_projector("linear", proj_geom, vol_geom)
        self._rays = rays
        self.domain_shape, self.range_shape = (rows, cols), (len(geometry.theta), geometry.columns)
        self.dtype, self.device = torch.float32, torch.device("cpu")
        self.nbytes = 0

    def __del__(self) -> None:
        # At the interpreter's exit ASTRA's module may be gone before this object.
        if hasattr(self, "_projector") and getattr(self._astra, "projector", None) is not None:
            self._astra.projector.delete(self._projector)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, rows, cols) to (B, angles, columns), both contiguous."""
        angles, columns = self.range_shape
        fine = torch.empty((x.shape[0], angles, columns * self._rays))
        for image, sinogram in zip(x.numpy(), fine.numpy(), strict=True):
            astra_project(self._projector, image, sinogram)
        return fold_rays(fine, self._rays).contiguous()

    def back(self, y: torch.Tensor) -> torch.Tensor:
        """(B, angles, columns) to (B, rows, cols), both contiguous."""
        fine = unfold_rays(y, self._rays).contiguous()
        image = torch.empty((y.shape[0], *self.domain_shape))
        for sinogram, out in zip(fine.numpy(), image.numpy(), strict=True):
            astra_project(self._projector, out, sinogram, back=True)
        return image
