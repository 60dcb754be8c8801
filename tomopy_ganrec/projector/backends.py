"""Choice, construction and cache of the projector backends."""

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import RLock

import torch

from . import fourier, joseph
from .astra_common import import_astra
from .astra_cpu import AstraBackend
from .astra_cuda import AstraCudaBackend
from .geometry import ScanGeometry
from .torch_ops import Backend

__all__ = [
    "BACKENDS",
    "BackendCache",
    "Geometry",
    "backend_cache",
    "bears_double",
    "build_backend",
    "choose_backend",
    "clear_cache",
]

BACKENDS = ("auto", "fourier", "matrix", "astra", "astra_cuda")

# Rows or columns from which 'fourier' is faster than the matrix on a CPU, whatever the batch and the number of angles.
FOURIER_MIN_SIZE = 128


@dataclass(frozen=True)
class Geometry(ScanGeometry):
    """One parallel-beam geometry, as `ScanGeometry`, with the memory that its backends need."""

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


class BackendCache:
    """The backends last used, by geometry, device and precision; bounded in number and in memory.

    Parameters
    ----------
    entries : int
        The number of backends kept.
    nbytes : float
        The memory that they may hold together, in bytes; a single backend may exceed it.
    """

    def __init__(self, entries: int = 16, nbytes: float = 4e9):
        self._entries, self._nbytes = entries, nbytes
        self._items: OrderedDict[Hashable, Backend] = OrderedDict()
        self._lock = RLock()

    def get(self, key: Hashable, build: Callable[[], Backend]) -> Backend:
        """The backend of this key, built if need be; the ones used longest ago are dropped when a bound is exceeded."""
        with self._lock:  # concurrent chunks of one volume want the same matrix: the second waits and finds it
            if key not in self._items:
                self._items[key] = build()
            self._items.move_to_end(key)
            while len(self._items) > 1 and (
                len(self._items) > self._entries or sum(b.nbytes for b in self._items.values()) > self._nbytes
            ):
                self._items.popitem(last=False)
            return self._items[key]

    def clear(self) -> None:
        """Drop all backends; projectors keep theirs."""
        with self._lock:
            self._items.clear()

    def renew_lock(self) -> None:
        """After a fork: a thread that is not in the child may have held it."""
        self._lock = RLock()


backend_cache = BackendCache()

os.register_at_fork(after_in_child=backend_cache.renew_lock)

clear_cache = backend_cache.clear


def _installed_astra() -> bool:
    try:
        import_astra()
    except ImportError:
        return False
    return True


def _preferred_backend(size: tuple[int, int], device: torch.device) -> str:
    """The faster of the backends that hold their geometry in memory."""
    return "fourier" if device.type == "cpu" and max(size) >= FOURIER_MIN_SIZE else "matrix"


def choose_backend(
    geometries: list[Geometry], device: torch.device, dtype: torch.dtype, memory_limit: float
) -> tuple[str, str]:
    """The backend that ``auto`` takes for geometries that differ in their centres, and why.

    Parameters
    ----------
    geometries : list of Geometry
    device : torch.device
    dtype : torch.dtype
        float32 or float64.
    memory_limit : float
        Bytes.

    Returns
    -------
    (str, str)
        One of `BACKENDS` but ``'auto'``, and the reason in words.
    """
    double = 2 if dtype == torch.float64 else 1
    needs = {
        "matrix": sum(g.matrix_bytes for g in geometries) * double,
        "fourier": sum(g.fourier_bytes for g in geometries) * double,
    }
    name = _preferred_backend(geometries[0].size, device)
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
    least = min(needs, key=needs.__getitem__)
    return least, f"{why}, but {missing or 'ASTRA finds no GPU'}"


def bears_double(geometry: Geometry, backend: str, device: torch.device, memory_limit: float) -> bool:
    """Whether float64 costs little: on a CPU (a third more time than float32) and within the limit in bytes."""
    if device.type != "cpu" or backend not in ("auto", "matrix", "fourier"):
        return False
    name = _preferred_backend(geometry.size, device) if backend == "auto" else backend
    return 2 * (geometry.fourier_bytes if name == "fourier" else geometry.matrix_bytes) <= memory_limit


def build_backend(name: str, geometry: ScanGeometry, device: torch.device, dtype: torch.dtype) -> Backend:
    """The backend `name` of a geometry, on a device and in a precision.

    Raises
    ------
    ValueError
        For a precision or a device that the backend does not have.
    ImportError, RuntimeError
        For a backend that this machine cannot run.
    """
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
