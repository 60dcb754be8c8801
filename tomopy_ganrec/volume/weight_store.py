"""Network weights that ``preset='paper'`` carries from slice to slice, in memory or beside an output on disk."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import torch

from tomopy_ganrec.io.atomic_files import replacing

__all__ = ["WeightStore", "weight_store_for"]

# Names that networks had in files while 0.1.0 was written; volumes begun then are still resumed.
RENAMED = {"judge": "discriminator"}


class WeightStore:
    """Network weights by number of slice.

    On disk they survive a kill: the weights of a slice stay until those of the slice after the next are stored.

    Parameters
    ----------
    folder : Path, optional
        None: in memory.
    """

    def __init__(self, folder: Path | None = None):
        self._folder = folder
        self._in_memory: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def get(self, index: int) -> dict[str, Any] | None:
        """The weights after slice `index`, or None.

        Raises
        ------
        RuntimeError
            For a damaged file; says what to delete.
        """
        if self._folder is None:
            return self._in_memory.get(index)
        path = _path(self._folder, index)
        try:
            with open(path, "rb") as file:
                weights = torch.load(file, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever the library raises for a damaged file
            raise _damaged(path, index, str(error).partition("\n")[0] or type(error).__name__) from error
        if isinstance(weights, dict):
            weights = {RENAMED.get(name, name): value for name, value in weights.items()}
            if {"generator", "discriminator"} <= weights.keys() and isinstance(weights["generator"], dict):
                return weights
        raise _damaged(path, index, "it does not hold the weights of networks")

    def keep(self, index: int, weights: dict[str, Any]) -> None:
        """Store the weights after slice `index`, and delete those that no later slice depends on."""
        if self._folder is None:
            with self._lock:
                self._in_memory[index] = weights
                self._in_memory.pop(index - 1, None)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(_path(self._folder, index)) as file:
            torch.save(weights, file)
        _path(self._folder, index - 2).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all weights."""
        self._in_memory.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.pt"


def _damaged(path: Path, index: int, reason: str) -> RuntimeError:
    output = path.parent.with_name(path.parent.name.removesuffix(".weights"))
    return RuntimeError(
        f"{path} is damaged ({reason}): slice {index + 1} cannot begin from these weights. Delete {path.parent} and "
        f"{output} with its progress.jsonl, then the same call begins anew"
    )


def weight_store_for(output: object) -> WeightStore:
    """The store of a chain's weights: beside an output on disk (one with a ``path``), else in memory."""
    path = getattr(output, "path", None)
    return WeightStore(None if path is None else path.with_name(path.name + ".weights"))
