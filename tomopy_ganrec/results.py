"""Status reports during a fit, its result, and the error of a fit that diverged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["FitResult", "NonFiniteError", "Status"]


@dataclass(frozen=True)
class Status:
    """The argument of a callback: how far a reconstruction is.

    Attributes
    ----------
    stage : str
        'start' (the start image), 'fit', 'learn' (of the missing wedge) or 'uncertainty'.
    iteration : int
        The iteration of this stage that was just done, from 1 to `total`.
    total : int
    residual : float
        Relative data residual ‖A x − b‖/‖b‖ of the worst slice; NaN except in the fit.
    """

    stage: str
    iteration: int
    total: int
    residual: float = math.nan


@dataclass
class FitResult:
    """A batch of reconstructed slices, and how they came about.

    Attributes
    ----------
    image, start : (B, rows, cols) float32 tensor
        The reconstruction and the image it started from, attenuation per detector column, on the model's device.
    info : list of dict
        For each slice its weights (``noise``, ``tv_weight``, ``edge_threshold``, ``reweight_rounds``, ``loss``), the
        ``iteration`` returned (0 is the start image), its ``objective`` and relative data ``residual``, those of the
        start image (``start_objective``, ``start_residual``), the ``levels`` found, and why the fit ``stopped``:
        'finished', 'plateau' or 'callback'; whether it was started ``warm``, and after how many ``warm_rounds``. See
        `slice_record.SliceRecord`.
    history : dict of str to (iterations, B) float arrays
        ``objective``, ``residual`` and, with a discriminator, ``discriminator``; NaN where a slice had stopped.
    seconds : dict of str to float
        Of the ``start`` and the ``fit``.
    states : list of dict or None
        With ``preset='paper'`` the networks' weights of each slice, for the next one.
    """

    image: torch.Tensor
    start: torch.Tensor
    info: list[dict[str, Any]] = field(default_factory=list)
    history: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    states: list[dict[str, Any]] | None = None


class NonFiniteError(RuntimeError):
    """The losses of a fit became infinite or NaN.

    Attributes
    ----------
    result : FitResult or None
        The best finite images so far.
    image : (B, rows, cols) tensor or None
        Those of the slices that were fitted together, in the units of the fit.
    """

    result: FitResult | None = None
    image: torch.Tensor | None = None
