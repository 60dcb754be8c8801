"""The weights that ``preset='paper'`` carries from slice to slice, in memory or beside an output on disk."""

import os
import shutil
import threading
from pathlib import Path

import torch

__all__ = ["States"]


class States:
    """Weights by slice. On disk they outlive a kill: those of a slice stay until the one after the next is kept.

    Parameters
    ----------
    folder : Path, optional
        None: in memory.
    """

    def __init__(self, folder: Path | None = None):
        self._folder, self._kept, self._lock = folder, {}, threading.Lock()

    def get(self, index: int) -> dict | None:
        """The weights after slice `index`, or None."""
        if self._folder is None:
            return self._kept.get(index)
        path = self._path(index)
        return torch.load(path, weights_only=True) if path.is_file() else None

    def keep(self, index: int, state: dict) -> None:
        """Keep the weights after slice `index`, and let go of what nobody needs any more."""
        if self._folder is None:
            with self._lock:
                self._kept[index] = state
                self._kept.pop(index - 1, None)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._path(index).with_suffix(".part")
        torch.save(state, temporary)
        os.replace(temporary, self._path(index))
        self._path(index - 2).unlink(missing_ok=True)

    def clear(self) -> None:
        """Let go of all."""
        self._kept.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self._folder / f"{index:06d}.pt"
