"""The weights that ``preset='paper'`` carries from slice to slice, in memory or beside an output on disk."""

import shutil
import threading
from pathlib import Path

import torch

from tomopy_ganrec.io.atomic_files import replacing

__all__ = ["States", "states_for"]


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
        """The weights after slice `index`, or None.

        Raises
        ------
        RuntimeError
            For a damaged file; says what to delete.
        """
        if self._folder is None:
            return self._kept.get(index)
        path = self._path(index)
        try:
            with open(path, "rb") as file:
                state = torch.load(file, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever the library meets in a damaged file
            raise self._damaged(path, index, str(error).partition("\n")[0] or type(error).__name__) from error
        if (
            not isinstance(state, dict)
            or not {"generator", "judge"} <= state.keys()
            or not isinstance(state["generator"], dict)
        ):
            raise self._damaged(path, index, "it does not hold the weights of networks")
        return state

    def _damaged(self, path: Path, index: int, reason: str) -> RuntimeError:
        output = path.parent.with_name(path.parent.name.removesuffix(".weights"))
        return RuntimeError(
            f"{path} is damaged ({reason}): slice {index + 1} cannot begin from these weights. Delete {path.parent} and {output} with its "
            "progress.jsonl, then the same call begins anew"
        )

    def keep(self, index: int, state: dict) -> None:
        """Keep the weights after slice `index`, and let go of what nobody needs any more."""
        if self._folder is None:
            with self._lock:
                self._kept[index] = state
                self._kept.pop(index - 1, None)
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._path(index)) as file:
            torch.save(state, file)
        self._path(index - 2).unlink(missing_ok=True)

    def clear(self) -> None:
        """Let go of all."""
        self._kept.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self._folder / f"{index:06d}.pt"


def states_for(output) -> States:
    """Where the weights of a chain are kept: beside an output on disk, else in memory."""
    path = getattr(output, "path", None)
    return States(None if path is None else path.with_name(path.name + ".weights"))
