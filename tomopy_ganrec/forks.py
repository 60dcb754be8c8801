"""State of a forked process: locks that another thread held stay locked in it, and torch's threads do not exist.

OpenMP's threads do not exist in the child of `os.fork`, and a calculation that counts on them waits for ever: such a
child computes with one thread. Locks are renewed by the modules that own them.
"""

import os
import sys

__all__ = ["note_threads", "with_torch"]

_inherited_torch = False  # whether torch was loaded in the process that this one was forked from
_used_threads = False  # whether torch has computed with several threads in this process


def with_torch() -> bool:
    """Whether this process was forked from one in which torch was loaded, so that torch may use one thread only."""
    return _inherited_torch


def note_threads(count: int) -> None:
    """Remember that torch computes with so many threads in this process."""
    global _used_threads
    _used_threads = _used_threads or count > 1


def _in_child() -> None:
    global _inherited_torch, _used_threads
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "set_num_threads"):  # the latter while it is being loaded
        return
    _inherited_torch = True
    if _used_threads:  # whatever the child does with torch would hang, not only a reconstruction
        torch.set_num_threads(1)
    _used_threads = False


os.register_at_fork(after_in_child=_in_child)
