"""Reconstruction methods of the benchmark under one signature, and which of them this machine can run.

``methods()[name].run(problem)`` takes a `Problem` and returns a slice. Weights are fixed, or set by a rule that does
not use the truth; a method that uses the truth is marked (`oracle`).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from tomopy_ganrec.projector.astra_common import import_astra

from . import peers
from .cases import did_you_mean
from .implementations import Image, Problem, gridrec
from .method_table import COSTLY, METHODS, PADDED_GRIDREC, PLAIN_GRIDREC, Method

__all__ = ["Method", "Problem", "chosen", "methods", "reconstruct"]

_ON_ASTRA_GPU = ("astra-mlem", "astra-sirt", "astra-sart")  # on one core where ASTRA has no GPU


def _gridrec(pad: bool) -> Method:
    """TomoPy's gridrec, or midas-tomo's where TomoPy is not installed."""
    name, label = ("gridrec-padded", "gridrec, padded") if pad else ("gridrec", "gridrec")
    parameters = PADDED_GRIDREC if pad else PLAIN_GRIDREC
    absent = peers.missing("tomopy")
    provider: Callable[..., np.ndarray] = peers.tomopy_gridrec
    if absent:
        stand_in_absent = peers.missing("midas_tomo")
        absent = stand_in_absent and f"{absent}, and {stand_in_absent}"
        provider, label, parameters = peers.midas_gridrec, f"{label} (midas-tomo)", f"{parameters}, scaled by 1.12"
    description = "gridrec; its grid's shift undone"
    return Method(name, label, description, parameters, gridrec(provider, pad), 0.03, absent, cpu_only=True)


def methods() -> dict[str, Method]:
    """All methods by name, in the order of tables; those that this machine cannot run carry the reason."""
    absent = {package: peers.missing(package) for package in ("astra", "tomopy", "svmbir", "ganrectorch")}
    astra_on_cpu = bool(absent["astra"]) or not import_astra().use_cuda()
    available = [
        replace(
            method,
            unavailable=absent[method.package] if method.package else None,
            cpu_only=method.cpu_only or (astra_on_cpu and method.name in _ON_ASTRA_GPU),
        )
        for method in METHODS
    ]
    return {method.name: method for method in (available[0], _gridrec(False), _gridrec(True), *available[1:])}


def chosen(names: Sequence[str] | None = None) -> list[Method]:
    """Methods by name, in the order of tables.

    Parameters
    ----------
    names : sequence of str, optional
        None for the default ones, 'all' or ['all'] for all.

    Raises
    ------
    ValueError
        For a name that is not known.
    """
    known = methods()
    if names is None:
        names = [name for name in known if name not in COSTLY]
    elif names in ("all", ["all"]):
        names = list(known)
    for name in names:
        if name not in known:
            raise ValueError(
                f"method {name!r} is not known{did_you_mean(name, known)}; choose from {', '.join(known)}, or 'all'"
            )
    return [method for name, method in known.items() if name in names]


def reconstruct(method: Method, problem: Problem) -> tuple[np.ndarray, float]:
    """Run a method, or take what another made on its way: the slice, (rows, cols) float32, and the seconds it took.

    Raises
    ------
    RuntimeError
        Where the method cannot run here, needs a truth that is not there, or its slice is not finite.
    """
    if method.unavailable:
        raise RuntimeError(method.unavailable)
    if method.oracle and problem.truth is None:
        raise RuntimeError("it chooses by the truth, and there is none")
    result: Image
    if method.name in problem.by_product:
        result, seconds = problem.by_product[method.name]
    else:
        _synchronize(problem)
        began = time.perf_counter()
        result = method.run(problem)
        _synchronize(problem)
        seconds = time.perf_counter() - began
    image = np.array(result.cpu().numpy() if isinstance(result, torch.Tensor) else result, np.float32)
    if not np.isfinite(image).all():
        raise RuntimeError(f"its slice has {np.count_nonzero(~np.isfinite(image))} values that are not finite")
    return image, seconds


def _synchronize(problem: Problem) -> None:
    if problem.cuda:
        torch.cuda.synchronize(problem.sinogram.device)
