"""What a process that was forked must know: locks that another thread held stay locked in it, and torch's threads are gone.

OpenMP's threads do not exist in the child of `os.fork`, and a calculation that counts on them waits for ever: such a child computes with one thread.
Locks are renewed by the modules that own them.
"""

import os
import sys

__all__ = ["computing", "with_torch"]

_inherited = _used = False


def with_torch() -> bool:
    """Whether this process was forked from one in which torch was loaded, so that torch may use one thread only."""
    return _inherited


def computing(threads: int) -> None:
    """Tell that torch computes with so many threads in this process."""
    global _used
    _used = _used or threads > 1


def _in_child() -> None:
    global _inherited, _used
    torch = sys.modules.get("torch")
    if not hasattr(torch, "set_num_threads"):  # not loaded, or half
        return
    _inherited = True
    if _used:  # whatever the child does with torch would hang, not only a reconstruction
        torch.set_num_threads(1)
    _used = False


os.register_at_fork(after_in_child=_in_child)
