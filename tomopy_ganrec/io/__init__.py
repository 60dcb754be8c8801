"""Files and arrays that data come from and slices go to; knows no torch."""

from tomopy_ganrec.scan_angles import select_angles

from .data_exchange import normalize, read_projections
from .lazy_projections import open_projections
from .outputs import write_slices

__all__ = ["normalize", "open_projections", "read_projections", "select_angles", "write_slices"]
