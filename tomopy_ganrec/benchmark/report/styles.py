"""Colours, markers and lines of methods in figures."""

from collections.abc import Iterable
from typing import Any

__all__ = ["Style", "styles"]

Style = dict[str, Any]  # keyword arguments of `Axes.plot`

# Okabe & Ito's colours without yellow, which is too pale for lines, and with Tol's wine for black, which is the truth's
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#882255", "#D55E00")
_MARKERS = "osD^vPX<>*phd8H1234+x"


def styles(order: Iterable[str]) -> dict[str, Style]:
    """A colour, a marker and a line for each method, the same in all figures."""
    looks = {}
    for k, method in enumerate(order):
        color, again = _COLORS[k % len(_COLORS)], k // len(_COLORS) % 3
        looks[method] = {
            "color": color,
            "marker": _MARKERS[k % len(_MARKERS)],
            "linestyle": ("-", "--", ":")[again],
            "markerfacecolor": "white" if again == 1 else color,
        }
    return looks
