"""Names and order of cases and methods in tables, figures and on the page."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["CASE_PARTS", "case_key", "case_name", "case_parts", "method_order", "varying"]

CASE_PARTS = ("object", "protocol", "size", "noise", "angular range")


def case_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sorts rows by case: scans last, little noise first, wide angular ranges first."""
    photons = -math.inf if row["photons"] is None else -row["photons"]
    measured, evenly_spread = row["protocol"] == "measured", "/" in row["angular_range"]
    return (
        measured,
        row["object"],
        row["protocol"],
        row["size"],
        photons,
        -row["degrees"],
        evenly_spread,
        row["case"],
    )


def _noise(row: Mapping[str, Any]) -> str:
    if row["protocol"] == "measured":
        return "measured"
    if row["photons"] is None:
        return "noise-free"
    exponent = math.floor(math.log10(row["photons"]))
    number = f"{row['photons']:g}" if exponent < 4 else f"{row['photons'] / 10**exponent:g}e{exponent}"
    return f"{number} photons"


def _angular_range(name: str) -> str:
    if "/" in name:
        return "{} over {}°".format(*name.split("/", 1))
    if ":" in name:
        return "{}–{}°".format(*name.split(":", 1))
    return {"full": "full range", "all": "all angles"}.get(name, f"{name}°")


def case_parts(row: Mapping[str, Any]) -> dict[str, str]:
    """Object, protocol, size, noise and angular range of a row, for reading, by the names in `CASE_PARTS`."""
    texts = (row["object"], row["protocol"], f"{row['size']}²", _noise(row), _angular_range(row["angular_range"]))
    return dict(zip(CASE_PARTS, texts, strict=True))


def case_name(row: Mapping[str, Any], parts: Iterable[str] = CASE_PARTS) -> str:
    """The case of a row in one line, or some parts of it.

    A scan's protocol and noise are the same word, which is written once.
    """
    named = case_parts(row)
    return ", ".join(dict.fromkeys(named[part] for part in parts))


def varying(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The parts in which the cases of rows differ."""
    parts = [case_parts(row) for row in rows]
    return [name for name in CASE_PARTS if len({part[name] for part in parts}) > 1]


def method_order(rows: Iterable[Mapping[str, Any]], first: Iterable[str] = ()) -> list[str]:
    """The methods that have rows: those of `first` in its order, then the others by the alphabet."""
    present, first = {row["method"] for row in rows}, list(first)
    return [name for name in dict.fromkeys(first) if name in present] + sorted(present.difference(first))
