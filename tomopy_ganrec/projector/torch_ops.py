"""The projection pair as torch operators, each the other's derivative.

``forward_project`` and ``back_project`` are registered with `torch.library`, so that autograd (to any order), vmap,
autocast and ``torch.compile(fullgraph=True)`` all support them. A geometry is too large to travel through a graph; what
travels is an integer handle into a table of backends. The table holds weak references: a geometry lives as long as the
projector that owns it.
"""

import itertools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import torch

__all__ = ["Backend", "back_project", "forward_project", "handle_of"]


class Backend(Protocol):
    """An implementation of the projection pair for one geometry; neither method records gradients.

    Attributes
    ----------
    domain_shape : (int, int)
        Rows and columns of an image.
    range_shape : (int, int)
        Angles and columns of a sinogram.
    dtype : torch.dtype
        Of images and sinograms.
    device : torch.device
        Of images and sinograms.
    nbytes : int
        Memory held, in bytes.
    """

    domain_shape: tuple[int, int]
    range_shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, rows, cols) to (B, angles, columns), both contiguous."""

    def back(self, y: torch.Tensor) -> torch.Tensor:
        """(B, angles, columns) to (B, rows, cols), both contiguous."""


_backends: "weakref.WeakValueDictionary[int, Backend]" = weakref.WeakValueDictionary()
_handles = itertools.count(1)
_register_lock = threading.Lock()


def _renew_lock() -> None:
    """After a fork: a thread that is not in the child may have held it."""
    global _register_lock
    _register_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def handle_of(backend: Backend) -> int:
    """The integer by which the operators find `backend`; the caller keeps the backend alive."""
    with _register_lock:
        handle = getattr(backend, "_handle", None)
        if handle is None:
            handle = next(_handles)
            backend._handle = handle  # type: ignore[attr-defined]  # a mark of this table, not of the interface
        _backends[handle] = backend
    return handle


def _backend(handle: int) -> Backend:
    backend = _backends.get(int(handle))  # a second geometry makes it symbolic under torch.compile
    if backend is None:
        raise RuntimeError(
            "the ParallelBeamProjector behind this operation no longer exists; "
            "keep a reference to it as long as its graphs are used"
        )
    return backend


def _check(backend: Backend, tensor: torch.Tensor, shape: tuple[int, int], name: str) -> None:
    if tensor.ndim != 3 or tuple(tensor.shape[1:]) != tuple(shape):
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; this geometry needs (batch, {shape[0]}, {shape[1]})")
    if tensor.dtype != backend.dtype:
        raise TypeError(
            f"{name} is {tensor.dtype}, the projector {backend.dtype}; "
            f"convert one of them with .to({str(backend.dtype)})"
        )
    if tensor.device != backend.device:
        raise ValueError(
            f"{name} is on {tensor.device}, the projector on {backend.device}; move one of them with .to(device)"
        )


@torch.library.custom_op("tomopy_ganrec::forward_project", mutates_args=())
def forward_project(x: torch.Tensor, handle: int) -> torch.Tensor:
    """Line integrals of the slices `x` (B, rows, cols) by the backend `handle`: (B, angles, columns)."""
    backend = _backend(handle)
    _check(backend, x, backend.domain_shape, "the volume")
    return backend.forward(x.contiguous())


@torch.library.custom_op("tomopy_ganrec::back_project", mutates_args=())
def back_project(y: torch.Tensor, handle: int) -> torch.Tensor:
    """Back projection of the sinograms `y` (B, angles, columns) by the backend `handle`: (B, rows, cols)."""
    backend = _backend(handle)
    _check(backend, y, backend.range_shape, "the sinogram")
    return backend.back(y.contiguous())


@forward_project.register_fake
def _(x: torch.Tensor, handle: int) -> torch.Tensor:
    return x.new_empty((x.shape[0], *_backend(handle).range_shape))


@back_project.register_fake
def _(y: torch.Tensor, handle: int) -> torch.Tensor:
    return y.new_empty((y.shape[0], *_backend(handle).domain_shape))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.handle = inputs[1]


forward_project.register_autograd(
    lambda ctx, grad: (back_project(grad, ctx.handle), None), setup_context=_setup_context
)
back_project.register_autograd(
    lambda ctx, grad: (forward_project(grad, ctx.handle), None), setup_context=_setup_context
)


def _vmap_rule(op: Callable[..., torch.Tensor]) -> Callable[..., tuple[torch.Tensor, int]]:
    """The dimension that vmap maps over joins the batch."""

    def rule(info: Any, in_dims: tuple[Any, ...], tensor: torch.Tensor, handle: int) -> tuple[torch.Tensor, int]:
        tensor = tensor.movedim(in_dims[0], 0)
        projected = op(tensor.reshape(-1, *tensor.shape[2:]), handle)
        return torch.unflatten(projected, 0, tensor.shape[:2]), 0

    return rule


for _op in (forward_project, back_project):
    _op.register_vmap(_vmap_rule(_op))
    for _device_type in ("cpu", "cuda"):
        _op.register_autocast(_device_type, torch.float32)
