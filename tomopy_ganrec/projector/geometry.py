"""The geometry of a parallel-beam scan and its grid, from which a backend is built."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["ScanGeometry"]


@dataclass(frozen=True)
class ScanGeometry:
    """One parallel-beam geometry; lengths in detector columns.

    Attributes
    ----------
    size : (int, int)
        Rows and columns of the grid, centred on the rotation axis.
    theta : (angles,) float64 array
        Projection angles in radians.
    columns : int
        Detector columns.
    center : float
        The rotation axis on the detector in the edge convention: column d is centred at t = d + 0.5 − center.
    pixel_size : float
        Side of a pixel of the grid.
    rays_per_bin : int
        Evenly spaced rays averaged in each detector column.
    """

    size: tuple[int, int]
    theta: np.ndarray = field(compare=False)
    columns: int
    center: float
    pixel_size: float = 1.0
    rays_per_bin: int = 1

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal geometries, and hashable."""
        return self.size, self.theta.tobytes(), self.columns, self.center, self.pixel_size, self.rays_per_bin
