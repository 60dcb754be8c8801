"""Cases of a benchmark with phantoms: a phantom, a grid, an angular range and its noise, by name."""

import difflib
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tomopy_ganrec import phantoms
from tomopy_ganrec.phantoms._grid import area_mean

from .simulation import simulate

__all__ = ["INSITU", "KNOWN_RANGES", "PAPER_RANGES", "AngularRange", "Case", "cases", "did_you_mean"]

PAPER_RANGES = ("180", "170", "160", "150", "140", "130", "120")
INSITU = "51/70"
KNOWN_RANGES = (
    f"degrees with one projection each (2 to 180; the paper's are {', '.join(PAPER_RANGES)}; 90 and 60 go beyond), "
    f"or projections/degrees: '{INSITU}' is 51 projections over 70 degrees"
)


@dataclass(frozen=True)
class AngularRange:
    """The angles at which projections are measured; the missing wedge is the rest of 180°.

    ``'120'``: one projection a degree, 0 ≤ θ < 120. ``'51/70'``: 51 projections over 70°, evenly from −35 to 35° with
    both ends, as in an in-situ cell.

    Raises
    ------
    ValueError
        For a name that is neither.
    """

    name: str

    def __post_init__(self) -> None:
        name = str(self.name).strip()
        parts = re.fullmatch(r"(?:(\d+)/)?(\d+)", name)
        if not parts or not 2 <= int(parts[2]) <= 180 or (parts[1] and int(parts[1]) < 2):
            raise ValueError(f"angular range {name!r} is not known; give {KNOWN_RANGES}")
        object.__setattr__(self, "name", "/".join(str(int(part)) for part in name.split("/")))

    @property
    def degrees(self) -> float:
        """Range in degrees."""
        return float(self.name.split("/")[-1])

    @property
    def theta(self) -> np.ndarray:
        """(projections,) float64 angles in radians."""
        if "/" in self.name:
            return np.deg2rad(np.linspace(-self.degrees / 2, self.degrees / 2, int(self.name.split("/")[0])))
        return np.deg2rad(np.arange(self.degrees))


@dataclass(frozen=True)
class Case:
    """One phantom on one grid, measured over one angular range with one noise level.

    Parameters
    ----------
    phantom : str
        A name of `phantoms.OBJECTS`.
    size : int
        Rows, columns, and detector columns.
    angular_range : str
        See `AngularRange`.
    photons : float, optional
        Incident photons per detector pixel; None: noise-free.
    protocol : {'pixel', 'subpixel'}
        See `simulation`.
    oversample : int
        For ``subpixel``: how much finer than the detector the simulated object is.

    Raises
    ------
    ValueError
        For a phantom, an angular range or a protocol that is not known, and for numbers out of range.
    """

    phantom: str = "shale"
    size: int = 256
    angular_range: str = "120"
    photons: float | None = None
    protocol: str = "subpixel"
    oversample: int = 4

    def __post_init__(self) -> None:
        if self.phantom not in phantoms.OBJECTS:
            raise ValueError(
                f"phantom {self.phantom!r} is not known{did_you_mean(self.phantom, phantoms.OBJECTS)}; "
                f"choose from {', '.join(phantoms.OBJECTS)}"
            )
        if self.protocol not in ("pixel", "subpixel"):
            raise ValueError(f"protocol {self.protocol!r} is not known; choose 'pixel' or 'subpixel'")
        if self.size < 16:
            raise ValueError(f"size={self.size} is too small for a benchmark; give at least 16")
        if self.oversample < 1:
            raise ValueError(f"oversample={self.oversample} must be at least 1")
        if self.photons is not None and not 0 < self.photons <= 1e15:
            raise ValueError(f"photons={self.photons} must be above 0 and at most 1e15, or 'none' for no noise")
        object.__setattr__(self, "angular_range", AngularRange(self.angular_range).name)

    @property
    def noise(self) -> str:
        """'clean', or the photons, as in '1e5'."""
        if self.photons is None:
            return "clean"
        mantissa, exponent = f"{self.photons:.6e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"

    @property
    def name(self) -> str:
        """Phantom, size, protocol, angular range and noise in one word that is also the name of a file."""
        return f"{self.phantom}-{self.size}-{self.protocol}-{self.angular_range.replace('/', 'over')}-{self.noise}"

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of `rows.COLUMNS` that describe the case."""
        angular_range = AngularRange(self.angular_range)
        return {
            "case": self.name,
            "object": self.phantom,
            "protocol": self.protocol,
            "size": self.size,
            "angular_range": angular_range.name,
            "degrees": angular_range.degrees,
            "projections": len(angular_range.theta),
            "photons": self.photons,
        }

    def slice(self, k: int = 0, count: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Slice `k` of `count` that are spread evenly over half the object's width along its axis, and its sinogram.

        128 slices of 256² are neighbours, as in the paper.

        Parameters
        ----------
        k, count : int
        seed : int
            Of the object and of the noise; each slice has noise of its own, whatever the others.

        Returns
        -------
        truth : (size, size) float32 array
            Attenuation per pixel.
        sinogram : (projections, size) float32 array
            Line integrals.
        """
        fine = self.oversample if self.protocol == "subpixel" else 1
        image = _objects(self.phantom, self.size * fine, count, seed, fine * self.size / 2 / count)[k]
        theta = AngularRange(self.angular_range).theta
        return area_mean(image, fine), simulate(image[None], theta, self.protocol, fine, self.photons, (seed, k))[0]


@functools.lru_cache(maxsize=4)
def _objects(name: str, size: int, count: int, seed: int, spacing: float) -> np.ndarray:
    objects = phantoms.OBJECTS[name](size, count, seed, spacing=spacing)
    objects.flags.writeable = False
    return objects


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """' (did you mean …?)' with the one of `names` that is nearest to an unknown `name`; '' where none is near."""
    close = difflib.get_close_matches(name, names, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def cases(
    names: Iterable[str],
    size: int,
    ranges: Iterable[str],
    photons: Iterable[float | None],
    protocol: str = "subpixel",
    oversample: int = 4,
) -> list[Case]:
    """All combinations of phantoms (by name), noise levels and angular ranges, each once."""
    ranges, photons = list(ranges), list(photons)
    return list(
        dict.fromkeys(
            Case(name, size, angular_range, count, protocol, oversample)
            for name in names
            for count in photons
            for angular_range in ranges
        )
    )
