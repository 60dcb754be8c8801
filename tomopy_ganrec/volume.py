"""Many slices: batches on a device, one after the other, with progress and a way to stop."""

import contextlib
import math
import threading
import time
from collections import defaultdict

import numpy as np
import torch
from tqdm.auto import tqdm

from .fit import fit
from .options import GanrecOptions
from .projector import ParallelBeamProjector
from .result import Status

__all__ = ["Cancelled", "cancel", "reconstruct", "resolve_device"]

STAGES = {"start": (0.0, 0.3), "fit": (0.3, 0.7), "learn": (0.3, 0.7), "spread": (1.0, 0.0)}  # begin and length of each in the progress of a slice

_device_locks: "defaultdict[str, threading.Lock]" = defaultdict(threading.Lock)
_cancelled_before = 0.0


class Cancelled(RuntimeError):
    """The reconstruction was stopped by `cancel`."""


def cancel() -> None:
    """Stop all reconstructions that are running in this process; each raises `Cancelled` at its next iteration.

    For ``tomopy.recon``, whose threads do not see an interrupt from the keyboard: after Ctrl-C call this.
    """
    global _cancelled_before
    _cancelled_before = time.monotonic()


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


def batch_size(options: GanrecOptions, device: torch.device, rows: int, cols: int) -> int:
    """Slices fitted at once: a stack, or as given; else 1 on a CPU, where it makes a slice independent of the chunking, and on a GPU 8 of 256² and
    in proportion."""
    if options.stack > 1:
        return options.stack
    if options.batch_size != "auto":
        return options.batch_size
    if device.type == "cpu":
        return 1
    return max(1, min(8, 8 * 256 * 256 // (rows * cols)))


@contextlib.contextmanager
def _memory_errors(shape: tuple, size: tuple):
    """Turn an exhausted memory into an error that says which options help."""
    try:
        yield
    except (MemoryError, torch.cuda.OutOfMemoryError, RuntimeError) as error:
        exhausted = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
        if not exhausted and "allocate" not in str(error) and "out of memory" not in str(error):
            raise
        raise MemoryError(
            f"memory ran out while reconstructing {shape[0]} slices of {size[0]}×{size[1]} from {shape[1]} angles × {shape[2]} columns: {error}. "
            "Options that need less: batch_size=1, backend='astra' (or a smaller projector_memory), device='cpu', a smaller num_gridx and num_gridy"
        ) from error


def _progress(bar, done: int, count: int, status: Status) -> None:
    """The bar counts slices; how far one has come is a rough share by stage."""
    if bar is None:
        return
    first, length = STAGES[status.stage]
    share = first + length * status.iteration / status.total
    label = {"start": "start image", "learn": "learning", "spread": "spread"}.get(status.stage)
    bar.set_postfix_str(label if math.isnan(status.residual) else f"residual {status.residual:.2e}", refresh=False)
    bar.update(max(0.0, done + count * share - bar.n))


def _batches(centers: np.ndarray, size: int, neighbours: bool = False):
    """(centre, indices of slices) with at most `size` slices each."""
    for center in np.unique(centers):
        members = np.flatnonzero(centers == center)
        runs = np.split(members, np.flatnonzero(np.diff(members) > 1) + 1) if neighbours else [members]
        for run in runs:
            for first in range(0, len(run), size):
                yield float(center), run[first : first + size]


def reconstruct(tomo: np.ndarray, centers: np.ndarray, theta: np.ndarray, size: tuple[int, int], options: GanrecOptions, init=None):
    """Reconstruct sinograms batch by batch.

    Parameters
    ----------
    tomo : (slices, angles, columns) array
        Never written to.
    centers : (slices,) array
        Edge convention.
    theta : (angles,) array
        Radians.
    size : (int, int)
        Rows and columns of a slice.
    options : GanrecOptions
    init : (slices, rows, cols) array, optional

    Returns
    -------
    (slices, rows, cols) float32 array, and the record of each slice (a list of dict)
    """
    began = time.monotonic()
    device = resolve_device(options.device)
    out = np.empty((tomo.shape[0], *size), np.float32)
    records: list = [None] * tomo.shape[0]
    bar = None
    if options.progress:
        bar = tqdm(total=tomo.shape[0], desc="ganrec", unit="slice", bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}")
    done, projector = 0, None

    def notify(status: Status):
        if _cancelled_before >= began:
            raise Cancelled("the reconstruction was cancelled")
        _progress(bar, done, len(members), status)
        return options.callback is not None and options.callback(status)

    try:
        with _memory_errors(tomo.shape, size):
            for center, members in _batches(centers, batch_size(options, device, *size), options.stack > 1):
                with _device_locks[str(device)]:  # chunks of one call queue for the device instead of fighting over it
                    if projector is None or projector.center != center:  # what it has measured and resampled serves all slices of a centre
                        projector = ParallelBeamProjector(
                            size, theta, tomo.shape[2], center, backend=options.backend, device=device, memory_limit=options.projector_memory
                        )
                    sinogram = torch.from_numpy(np.array(tomo[members], np.float32)).to(device)
                    start = None if init is None else torch.from_numpy(np.array(init[members], np.float32)).to(device)
                    result = fit(projector, sinogram, options, init=start, callback=notify)
                    out[members] = result.image.cpu().numpy()
                for k, index in enumerate(members):
                    history = {name: curve[:, k] for name, curve in result.history.items()}
                    seconds = {name: value / len(members) for name, value in result.seconds.items()}
                    records[index] = dict(result.info[k], center=center, history=history, seconds=seconds, backend=projector.backend)
                done += len(members)
        if bar is not None:
            bar.update(tomo.shape[0] - bar.n)
    finally:
        if bar is not None:
            bar.close()
    return out, records
