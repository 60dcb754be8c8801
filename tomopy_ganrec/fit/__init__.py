"""One batch of sinograms to one batch of slices: the stages in order."""

from tomopy_ganrec.results import FitResult, Status

from .pipeline import fit

__all__ = ["FitResult", "Status", "fit"]
