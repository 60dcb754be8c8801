"""Which devices a reconstruction runs on, and one lock for each."""

import contextlib
import threading
from collections import defaultdict

import torch

from .options import GanrecOptions

__all__ = ["cpu_threads", "lock_of", "resolve_device", "resolve_devices"]

_locks: "defaultdict[str, threading.Lock]" = defaultdict(threading.Lock)


def lock_of(device: torch.device) -> threading.Lock:
    """Held while a batch is on the device: chunks of one call queue for it instead of fighting over it."""
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return _locks[str(device)]


def resolve_device(name: str) -> torch.device:
    """The torch device for an option: ``'auto'`` is the first CUDA GPU, or the CPU.

    Raises
    ------
    RuntimeError
        For a GPU that is not there.
    ValueError
        For a name that means no device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name!r} is not a device; give 'auto', 'cpu', 'cuda' or 'cuda:1'") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name!r} is not supported; give 'auto', 'cpu', 'cuda' or 'cuda:1'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RuntimeError(f"device={name!r}: torch finds {torch.cuda.device_count()} CUDA GPUs on this machine; use device='cpu' or 'auto'")
    return device


def resolve_devices(options: GanrecOptions) -> list[torch.device]:
    """The devices that share the slices: those of ``gpu_list``, or the one of ``device``.

    Raises
    ------
    RuntimeError, ValueError
        As `resolve_device`.
    """
    if options.gpu_list is None:
        return [resolve_device(options.device)]
    return [resolve_device(f"cuda:{k}") for k in options.gpu_list]


@contextlib.contextmanager
def cpu_threads(count: int | None):
    """At most `count` CPU threads for torch; None leaves them as they are."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(max(1, int(count)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
