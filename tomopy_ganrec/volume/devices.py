"""Devices of a reconstruction: their choice, a lock for each, and the number of CPU threads."""

from __future__ import annotations

import contextlib
import numbers
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tomopy_ganrec import forks
from tomopy_ganrec.option_values import shown
from tomopy_ganrec.options import GanrecOptions

__all__ = ["DeviceLock", "check_ncore", "cpu_threads", "lock_of", "resolve_device", "resolve_devices"]

LEND_AFTER = 0.5  # seconds that a callback has to take before other reconstructions may use the device meanwhile


@dataclass(eq=False)
class _Holder:
    """A thread that has a device, and the reconstruction it works for.

    `lent_since` is the time at which the user's callback was called; None while the thread itself computes.
    """

    thread: int
    owner: object
    lent_since: float | None = None


class DeviceLock:
    """Held while a batch is on a device: chunks of one reconstruction, and other reconstructions, wait for it.

    While the user's callback runs (`lent`), a reconstruction that the callback itself calls goes ahead at once, and one
    of another owner, for which the callback may be waiting in some thread, after `LEND_AFTER` seconds. The chunks of
    the same reconstruction go on waiting: more of them might not fit into memory.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders: list[_Holder] = []

    @contextlib.contextmanager
    def held(self, owner: object = None) -> Iterator[None]:
        """Wait for the device, and hold it.

        Parameters
        ----------
        owner : optional
            What chunks have in common that must not be on the device together, such as their `Progress`.
        """
        holder = _Holder(threading.get_ident(), owner)
        with self._changed:
            while not self._is_open_to(holder):
                self._changed.wait(LEND_AFTER)
            self._holders.append(holder)
        try:
            yield
        finally:
            with self._changed:
                self._holders.remove(holder)
                self._changed.notify_all()

    def _is_open_to(self, newcomer: _Holder) -> bool:
        if not self._holders or self._holders[-1].thread == newcomer.thread:  # in the latter case its callback calls
            return True
        since = self._holders[-1].lent_since
        if since is None:
            return False
        if newcomer.owner is not None and any(holder.owner is newcomer.owner for holder in self._holders):
            return False
        return time.monotonic() - since >= LEND_AFTER

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """For a callback, in the thread that holds the device: others may use it until the callback has returned."""
        own = (holder for holder in reversed(self._holders) if holder.thread == threading.get_ident())
        holder = next(own, None)
        if holder is None:
            yield
            return
        holder.lent_since = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                holder.lent_since = None
                while self._holders[-1] is not holder:
                    self._changed.wait()


_locks: defaultdict[str, DeviceLock] = defaultdict(DeviceLock)
os.register_at_fork(after_in_child=_locks.clear)  # some thread that is not in the child may have held them


def lock_of(device: torch.device) -> DeviceLock:
    """The lock of a device."""
    if str(device) == "cuda":  # without a number
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
    except (RuntimeError, ValueError, OverflowError) as error:
        raise ValueError(f"device={shown(name)} is not a device; give 'auto', 'cpu', 'cuda' or 'cuda:1'") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={shown(name)} is not supported; give 'auto', 'cpu', 'cuda' or 'cuda:1'")
    number = name.partition(":")[2] or "0"  # torch keeps eight bits of it: cuda:256 would be cuda:0
    if device.type == "cuda" and int(number) >= torch.cuda.device_count():
        raise RuntimeError(
            f"device={shown(name)}: torch finds {torch.cuda.device_count()} CUDA GPUs on this machine; use "
            "device='cpu' or 'auto'"
        )
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


def check_ncore(ncore: object) -> int | None:
    """The number of CPU threads that was asked for, at most one for each CPU this process may use; None for None.

    Raises
    ------
    TypeError
        For what is not a whole number.
    ValueError
        For less than one.
    """
    if ncore is None:
        return None
    wanted = "a whole number of CPU threads, at least 1, or None for as many as torch takes by itself"
    if isinstance(ncore, bool) or not isinstance(ncore, numbers.Integral):
        raise TypeError(f"ncore={shown(ncore)}: give {wanted}")
    if ncore < 1:
        raise ValueError(f"ncore={shown(ncore)}: give {wanted}")
    return min(int(ncore), len(os.sched_getaffinity(0)))


@contextlib.contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """At most `count` CPU threads for torch; None leaves them as they are. In a forked process one (`forks`)."""
    before = torch.get_num_threads()
    if forks.with_torch():
        torch.set_num_threads(1)
    elif count is not None:
        torch.set_num_threads(max(1, int(count)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
