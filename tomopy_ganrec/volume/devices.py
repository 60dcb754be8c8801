"""Which devices a reconstruction runs on, one lock for each, and how many threads of the CPU it takes."""

import contextlib
import numbers
import os
import threading
import time
from collections import defaultdict
from dataclasses import dataclass

import torch

from tomopy_ganrec import forks
from tomopy_ganrec.option_values import shown
from tomopy_ganrec.options import GanrecOptions

__all__ = ["DeviceLock", "check_ncore", "cpu_threads", "lock_of", "resolve_device", "resolve_devices"]

LEND = 0.5  # seconds that a callback takes before other calls may use the device meanwhile


@dataclass(eq=False)
class _Turn:
    """Who holds a device: a thread that works for a call; `lent`: since when its callback is running, None while it works itself."""

    thread: int
    call: object
    lent: float | None = None


class DeviceLock:
    """Held while a batch is on a device: chunks of one call, and other calls, queue for it instead of fighting over it.

    While the user's callback runs (`lent`), a reconstruction that the callback itself calls goes ahead at once, and one
    of another call, for which the callback may be waiting in some thread, after `LEND` seconds. The chunks of the same
    call go on waiting: more of them might not fit into memory.
    """

    def __init__(self):
        self._changed, self._turns = threading.Condition(), []

    @contextlib.contextmanager
    def held(self, call=None):
        """Wait for the device, and hold it.

        Parameters
        ----------
        call : optional
            What chunks have in common that must not be on the device together, such as a `calls.Call`.
        """
        turn = _Turn(threading.get_ident(), call)
        with self._changed:
            while not self._open_to(turn):
                self._changed.wait(LEND)
            self._turns.append(turn)
        try:
            yield
        finally:
            with self._changed:
                self._turns.remove(turn)
                self._changed.notify_all()

    def _open_to(self, turn: _Turn) -> bool:
        if not self._turns or self._turns[-1].thread == turn.thread:  # in the latter case its callback calls
            return True
        since = self._turns[-1].lent
        if since is None or turn.call is not None and any(other.call is turn.call for other in self._turns):
            return False
        return time.monotonic() - since >= LEND

    @contextlib.contextmanager
    def lent(self):
        """For a callback, in the thread that holds the device: others may use it until the callback has returned."""
        turn = next((turn for turn in reversed(self._turns) if turn.thread == threading.get_ident()), None)
        if turn is None:
            yield
            return
        turn.lent = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                turn.lent = None
                while self._turns[-1] is not turn:
                    self._changed.wait()


_locks: "defaultdict[str, DeviceLock]" = defaultdict(DeviceLock)
os.register_at_fork(after_in_child=_locks.clear)  # some thread that is not in the child may have held them


def lock_of(device: torch.device) -> DeviceLock:
    """The lock of a device."""
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
    except (RuntimeError, ValueError, OverflowError) as error:
        raise ValueError(f"device={shown(name)} is not a device; give 'auto', 'cpu', 'cuda' or 'cuda:1'") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={shown(name)} is not supported; give 'auto', 'cpu', 'cuda' or 'cuda:1'")
    number = name.partition(":")[2] or "0"  # torch keeps eight bits of it: cuda:256 would be cuda:0
    if device.type == "cuda" and int(number) >= torch.cuda.device_count():
        raise RuntimeError(
            f"device={shown(name)}: torch finds {torch.cuda.device_count()} CUDA GPUs on this machine; use device='cpu' or 'auto'"
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


def check_ncore(ncore) -> int | None:
    """The number of CPU threads that was asked for, at most one for each CPU that this process may use; None where it was left open.

    Raises
    ------
    TypeError
        For what is no whole number.
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
    return int(min(ncore, len(os.sched_getaffinity(0))))


@contextlib.contextmanager
def cpu_threads(count: int | None):
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
