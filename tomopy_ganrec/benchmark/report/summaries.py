"""Means and deviations of results over slices and seeds, for each case and method."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tomopy_ganrec.benchmark.rows import Row

from .case_names import case_key

__all__ = ["PEERS", "VALUES", "is_finite", "peer_of", "slice_key", "summarize"]

PEERS = ("mlem", "astra-mlem")  # the time of the first of them that ran is 1
VALUES = ("mssim", "mssim_7x7", "rmse", "mcc", "residual", "residual_heldout", "distance", "seconds")
_OF_CASE = ("case", "object", "protocol", "size", "angular_range", "degrees", "projections", "photons")


def is_finite(value: float | None) -> bool:
    """Whether a value is there, and is a finite number."""
    return value is not None and math.isfinite(value)


def slice_key(row: Row) -> tuple[int | None, int]:
    """What tells the slices of a case apart."""
    return row["object_seed"], row["slice"]


def peer_of(rows: Iterable[Row]) -> str | None:
    """The method to whose time the others are relative; None where none of `PEERS` ran."""
    present = {row["method"] for row in rows}
    return next((name for name in PEERS if name in present), None)


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _by_slice(rows: Iterable[Row], value: str) -> dict[tuple, list[float]]:
    """Finite values of one method, one for each seed of the fit, by slice."""
    values: dict[tuple, list[float]] = {}
    for row in rows:
        if row["status"] == "ok" and is_finite(row[value]):
            values.setdefault(slice_key(row), []).append(row[value])
    return values


def summarize(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """One summary for each case and method, in the order of the tables.

    Returns
    -------
    list of dict
        The columns that a case and method share (``case`` … ``photons``, ``method``, ``label``, ``oracle``), and
        ``slices`` that the case has by any method, ``seeds`` of the fit, ``runs``, ``failed`` runs. For each value v of
        a row (``mssim`` … ``seconds``): ``v``, the mean over slices of the mean over seeds; ``v_n``, slices with a
        finite value; ``v_std``, standard deviation over slices (n − 1); ``v_std_seeds``, mean over slices of the
        standard deviation over seeds. None where there is nothing to take it of. ``time``: seconds relative to those
        of the peer (`peer_of`) on the same slices.
    """
    rows = sorted(rows, key=lambda row: (case_key(row), row["method"]))
    peer = peer_of(rows)
    cases: dict[str, dict[str | None, list[Row]]] = {}
    for row in rows:
        cases.setdefault(row["case"], {}).setdefault(row["method"], []).append(row)
    summaries = []
    for methods in cases.values():
        slices = len({slice_key(row) for group in methods.values() for row in group})
        peer_seconds = _by_slice(methods.get(peer, ()), "seconds")
        summaries += [_summary(group, slices, peer_seconds) for group in methods.values()]
    return summaries


def _summary(rows: Sequence[Row], slices: int, peer_seconds: dict[tuple, list[float]]) -> dict[str, Any]:
    """The summary of one method in one case."""
    first = rows[0]
    summary = {name: first[name] for name in _OF_CASE}
    summary |= {
        "method": first["method"],
        "label": first["label"] or first["method"],
        "oracle": any(row["oracle"] for row in rows),
        "slices": slices,
        "seeds": len({row["seed"] for row in rows}),
        "runs": len(rows),
        "failed": sum(row["status"] != "ok" for row in rows),
    }
    for value in VALUES:
        by_slice = _by_slice(rows, value)
        means = [float(np.mean(values)) for values in by_slice.values()]
        over_seeds = [float(np.std(values, ddof=1)) for values in by_slice.values() if len(values) > 1]
        summary |= {
            value: _mean(means),
            f"{value}_n": len(means),
            f"{value}_std": _deviation(means),
            f"{value}_std_seeds": _mean(over_seeds),
        }
    return summary | _relative_time(_by_slice(rows, "seconds"), peer_seconds)


def _relative_time(seconds: dict[tuple, list[float]], peer_seconds: dict[tuple, list[float]]) -> dict[str, Any]:
    shared = [key for key in seconds if key in peer_seconds]
    peer_total = sum(float(np.mean(peer_seconds[key])) for key in shared)
    own_total = sum(float(np.mean(seconds[key])) for key in shared)
    return {
        "time": own_total / peer_total if peer_total > 0 else None,
        "time_n": len(shared),
        "time_std": None,
        "time_std_seeds": None,
    }
