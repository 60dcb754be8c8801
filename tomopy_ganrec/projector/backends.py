"""Choice, construction and cache of the projector backends."""

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock

import numpy as np
import torch

from . import fourier, joseph
from .astra_common import import_astra
from .astra_cpu import AstraBackend
from .astra_cuda import AstraCudaBackend

__all__ = ["Geometry", "choose_backend"]

BACKENDS = ("auto", "fourier", "matrix", "astra", "astra_cuda")


FOURIER_FROM = (
    128  # rows or columns from which it is faster than the matrix on a CPU, whatever the batch and the angles
)


@dataclass(frozen=True)
class Geometry:
    """One parallel-beam geometry; lengths in detector columns, angles in radians, the axis in the edge convention."""

    size: tuple[int, int]
    theta: np.ndarray = field(compare=False)
    columns: int
    center: float
    pixel_size: float = 1.0
    rays_per_bin: int = 1

    @property
    def key(self):
        """Equal for equal geometries, and hashable."""
        return self.size, self.theta.tobytes(), self.columns, self.center, self.pixel_size, self.rays_per_bin

    @property
    def matrix_bytes(self) -> int:
        """Upper estimate of the float32 matrix and its transpose."""
        return joseph.estimated_bytes(
            *self.size, len(self.theta), self.columns, self.rays_per_bin, pixel_size=self.pixel_size
        )

    @property
    def fourier_bytes(self) -> int:
        """Upper estimate of the float32 interpolation between Fourier transforms and its transpose."""
        return fourier.estimated_bytes(
            self.size, len(self.theta), self.columns, self.center, self.rays_per_bin, pixel_size=self.pixel_size
        )


class _Cache:
    """The backends last used, by geometry, device and precision; bounded in number and in memory."""

    def __init__(self, entries: int = 16, nbytes: float = 4e9):
        self._entries, self._nbytes, self._items, self._lock = entries, nbytes, OrderedDict(), RLock()

    def get(self, key, build: Callable):
        with self._lock:  # concurrent chunks of one volume want the same matrix: the second waits and finds it
            if key not in self._items:
                self._items[key] = build()
            self._items.move_to_end(key)
            while len(self._items) > 1 and (
                len(self._items) > self._entries or sum(b.nbytes for b in self._items.values()) > self._nbytes
            ):
                self._items.popitem(last=False)
            return self._items[key]

    def clear(self):
        with self._lock:
            self._items.clear()

    def renew_lock(self):
        """After a fork: a thread that is not in the child may have held it."""
        self._lock = RLock()


_cache = _Cache()


os.register_at_fork(after_in_child=_cache.renew_lock)


clear_cache = _cache.clear


def _installed_astra() -> bool:
    try:
        import_astra()
    except ImportError:
        return False
    return True


def choose_backend(
    geometries: list[Geometry], device: torch.device, dtype: torch.dtype, memory_limit: float
) -> tuple[str, str]:
    """The backend that ``auto`` takes for geometries that differ in their centres, and why."""
    double = 2 if dtype == torch.float64 else 1
    needs = {
        "matrix": sum(g.matrix_bytes for g in geometries) * double,
        "fourier": sum(g.fourier_bytes for g in geometries) * double,
    }
    name = "fourier" if device.type == "cpu" and max(geometries[0].size) >= FOURIER_FROM else "matrix"
    why = f"it needs at most {needs[name] / 1e9:.2f} GB, the limit is {memory_limit / 1e9:.2f} GB"
    if needs[name] <= memory_limit:
        return name, why
    why = f"{name!r} needs up to {needs[name] / 1e9:.2f} GB, the limit is {memory_limit / 1e9:.2f} GB"
    if dtype == torch.float64:
        return name, f"{why}, but ASTRA has no float64"
    missing = None if _installed_astra() else "the ASTRA toolbox is not installed"
    if device.type == "cpu" and not missing:
        return "astra", why
    if not missing and import_astra().use_cuda():
        return "astra_cuda", why
    least = min(needs, key=needs.get)
    return least, f"{why}, but {missing or 'ASTRA finds no GPU'}"


def bears_double(geometry: Geometry, backend: str, device: torch.device, memory_limit: float) -> bool:
    """Whether float64 is to be had at little cost: on a CPU, where it takes a third longer than float32, and within the limit."""
    if device.type != "cpu" or backend not in ("auto", "matrix", "fourier"):
        return False
    name = backend if backend != "auto" else "fourier" if max(geometry.size) >= FOURIER_FROM else "matrix"
    return 2 * (geometry.fourier_bytes if name == "fourier" else geometry.matrix_bytes) <= memory_limit


def _build(name: str, geometry: Geometry, device: torch.device, dtype: torch.dtype):
    if name == "fourier":
        return fourier.FourierBackend(geometry, device, dtype)
    if name == "matrix":
        return joseph.JosephBackend.build(geometry, device, dtype)
    if dtype != torch.float32:
        raise ValueError(f"backend={name!r} computes in float32, not {dtype}; use backend='matrix'")
    if name == "astra":
        if device.type != "cpu":
            raise ValueError(f"backend='astra' projects on the CPU, not on {device}; use 'astra_cuda' or 'matrix'")
        return AstraBackend(geometry)
    return AstraCudaBackend(geometry, device)
