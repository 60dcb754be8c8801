"""The differentiable parallel-beam forward model and its backends."""

from .parallel_beam import Geometry, ParallelBeamProjector, choose_backend, clear_cache

__all__ = ["Geometry", "ParallelBeamProjector", "choose_backend", "clear_cache"]
