"""What a fit tells while it runs, and what it returns."""

import math
from dataclasses import dataclass, field

import torch

__all__ = ["FitResult", "NonFiniteError", "Status"]


@dataclass(frozen=True)
class Status:
    """What a callback sees: the `stage` ('start', 'fit', 'learn' or 'uncertainty'), the `iteration` just done of `total` in that stage,
    and the relative data `residual` ‖A x − b‖/‖b‖ of the worst slice (NaN but in the fit)."""

    stage: str
    iteration: int
    total: int
    residual: float = math.nan


@dataclass
class FitResult:
    """A batch of slices and how they came about.

    Attributes
    ----------
    image, start : (B, rows, cols) tensor
        The reconstruction and the image it started from, attenuation per detector column.
    info : list of dict
        For each slice its settings (noise, strength, epsilon, rounds, loss), the ``iteration`` returned (0 is the start), its ``objective`` and
        relative data ``residual``, those of the start (``start_objective``, ``start_residual``), the ``levels`` found, and why the run
        ``stopped``: 'finished', 'plateau' or 'callback'; whether it began ``warm``, and with how many ``warm_rounds``.
    history : dict of str to (iterations, B) float arrays
        ``objective``, ``residual`` and, with a discriminator, ``discriminator``; NaN where a slice had stopped.
    seconds : dict
        Of the ``start`` and the ``fit``.
    states : list of dict or None
        With ``preset='paper'`` the networks' weights of each slice, for the next one.
    """

    image: torch.Tensor
    start: torch.Tensor
    info: list = field(default_factory=list)
    history: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)
    states: list | None = None


class NonFiniteError(RuntimeError):
    """The losses of a fit became infinite or NaN. ``result`` holds the best finite images so far (a `result.FitResult`)."""

    result: FitResult | None = None
    image: torch.Tensor | None = None
