"""The differentiable parallel-beam forward model and its backends."""

from .backends import Geometry, choose_backend, clear_cache
from .parallel_beam import ParallelBeamProjector

__all__ = ["Geometry", "ParallelBeamProjector", "choose_backend", "clear_cache"]
