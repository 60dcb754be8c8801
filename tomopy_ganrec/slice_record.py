"""The record of a reconstructed slice: reported by a fit, kept in the journal, and used by a warm start from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from .option_names import RENAMED as RENAMED_OPTIONS
from .option_names import renamed_options

__all__ = ["SliceRecord", "renamed_record"]

# Names of fields in journals from before they were renamed, which are still read: the options', and others.
RENAMED = RENAMED_OPTIONS | {
    "level": "residual_level",
    "low": "noise_level",
    "rounds": "reweight_rounds",
    "spread": "uncertainty",
}


@dataclass(frozen=True, kw_only=True)
class SliceRecord:
    """What is known of one slice once it is reconstructed.

    Attributes
    ----------
    pixel_model : str
        'area' or 'point', see `GanrecOptions.pixel_model`.
    noise : float
        Standard deviation of the data's noise, in their units.
    relative_noise : float
        The same relative to the scale of the data and half the detector's columns, as are `residual_level` and
        `noise_level`.
    residual_level, noise_level : float
        What the residual should be, and its part that is noise.
    tv_weight, edge_threshold, wedge_tv_weight : float
        As used, see `GanrecOptions`.
    reweight_rounds : int
    loss : str
        'l1' or 'l2'.
    warm : bool
        Whether the slice started from its neighbours' images, after `warm_rounds` rounds.
    warm_rounds : int
    iteration : int
        The iteration of the fit with the lowest objective; 0 is the start image.
    objective, residual, start_objective, start_residual : float
        Of the result and of the start image; the residual is ‖A x − b‖/‖b‖.
    levels : list of float or None
        Grey levels, attenuation per detector column.
    stopped : str
        'finished', 'plateau' or 'callback'.
    max_attenuation : float or None
        The upper bound, attenuation per detector column; None: no bound.
    bound_origin : str or None
        Where the bound comes from: 'given', 'found' in the slice's data, or 'neighbour'.
    bound_rise : float or None
        What the bound costs: √(R² − R₀²) of the relative residuals R with and R₀ without it.
    network_weight : float or None
        How much of the answer of the network that repairs the missing wedge is in the image, 0 to 1, by how well it
        repairs copies on which it was not trained; None: no network was trained.
    """

    pixel_model: str
    noise: float
    relative_noise: float
    residual_level: float
    noise_level: float
    tv_weight: float
    edge_threshold: float
    wedge_tv_weight: float
    reweight_rounds: int
    loss: str
    warm: bool
    warm_rounds: int
    iteration: int
    objective: float
    residual: float
    start_objective: float
    start_residual: float
    levels: list[float] | None
    stopped: str
    max_attenuation: float | None = None
    bound_origin: str | None = None
    bound_rise: float | None = None
    network_weight: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> SliceRecord | None:
        """A record from a dictionary that may hold more; None where fields are missing, as with ``preset='paper'``."""
        names = [field.name for field in fields(cls)]
        needed = [field.name for field in fields(cls) if field.default is MISSING]
        if not all(name in record for name in needed):
            return None
        return cls(**{name: record[name] for name in names if name in record})


def renamed_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's dictionary with the present names and values of its fields.

    Parameters
    ----------
    record : mapping
        Under the present names, or those of `RENAMED`.

    Returns
    -------
    dict
        A new one.
    """
    return renamed_options(record, RENAMED)
