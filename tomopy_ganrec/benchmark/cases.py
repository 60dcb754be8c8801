"""What is measured: an object, a grid, a wedge and its noise, by name."""

import difflib
import functools
import re
from dataclasses import dataclass

import numpy as np

from .. import phantoms
from ..phantoms._grid import area_mean
from .simulation import simulate

__all__ = ["INSITU", "KNOWN_WEDGES", "PAPER_WEDGES", "Case", "Wedge", "cases", "near"]

PAPER_WEDGES = ("180", "170", "160", "150", "140", "130", "120")
INSITU = "51/70"
KNOWN_WEDGES = (
    f"degrees with one projection each (2 to 180; the paper's are {', '.join(PAPER_WEDGES)}; 90 and 60 go beyond), "
    f"or projections/degrees: '{INSITU}' is 51 projections over 70 degrees"
)


@dataclass(frozen=True)
class Wedge:
    """The projections of a measurement.

    ``'120'``: one projection a degree, 0 ≤ θ < 120. ``'51/70'``: 51 projections over 70°, evenly from −35 to 35° with both ends, as in an
    in-situ cell.
    """

    name: str

    def __post_init__(self):
        name = str(self.name).strip()
        object.__setattr__(self, "name", name)
        found = re.fullmatch(r"(?:(\d+)/)?(\d+)", name)
        if not found or not 2 <= int(found[2]) <= 180 or (found[1] and int(found[1]) < 2):
            raise ValueError(f"wedge {name!r} is not known; give {KNOWN_WEDGES}")
        object.__setattr__(self, "name", "/".join(str(int(part)) for part in name.split("/")))

    @property
    def degrees(self) -> float:
        """Range in degrees."""
        return float(self.name.split("/")[-1])

    @property
    def theta(self) -> np.ndarray:
        """(projections,) angles in radians."""
        if "/" in self.name:
            return np.deg2rad(np.linspace(-self.degrees / 2, self.degrees / 2, int(self.name.split("/")[0])))
        return np.deg2rad(np.arange(self.degrees))


@dataclass(frozen=True)
class Case:
    """One object on one grid, seen through one wedge with one noise.

    Parameters
    ----------
    object : str
        A name of `phantoms.OBJECTS`.
    size : int
        Rows, columns, and detector columns.
    wedge : str
        See `Wedge`.
    photons : float, optional
        Incident photons a detector column; None: noise-free.
    protocol : {'pixel', 'subpixel'}
        See `protocol`.
    oversample : int
        For ``subpixel``: how much finer than the detector the simulated object is.
    """

    object: str = "shale"
    size: int = 256
    wedge: str = "120"
    photons: float | None = None
    protocol: str = "subpixel"
    oversample: int = 4

    def __post_init__(self):
        if self.object not in phantoms.OBJECTS:
            raise ValueError(
                f"phantom {self.object!r} is not known{near(self.object, phantoms.OBJECTS)}; choose from {', '.join(phantoms.OBJECTS)}"
            )
        if self.protocol not in ("pixel", "subpixel"):
            raise ValueError(f"protocol {self.protocol!r} is not known; choose 'pixel' or 'subpixel'")
        if self.size < 16:
            raise ValueError(f"size={self.size} is too small for a benchmark; give at least 16")
        if self.oversample < 1:
            raise ValueError(f"oversample={self.oversample} must be at least 1")
        if self.photons is not None and not 0 < self.photons <= 1e15:
            raise ValueError(f"photons={self.photons} must be above 0 and at most 1e15, or 'none' for no noise")
        object.__setattr__(self, "wedge", Wedge(self.wedge).name)

    @property
    def noise(self) -> str:
        """'clean', or the photons, as in '1e5'."""
        if self.photons is None:
            return "clean"
        mantissa, exponent = f"{self.photons:.6e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"

    @property
    def name(self) -> str:
        """All of it in one name that a file may have."""
        return f"{self.object}-{self.size}-{self.protocol}-{self.wedge.replace('/', 'over')}-{self.noise}"

    @property
    def columns(self) -> dict:
        """What a row of the results says of the case."""
        wedge = Wedge(self.wedge)
        return dict(
            case=self.name, object=self.object, protocol=self.protocol, size=self.size, wedge=wedge.name, degrees=wedge.degrees,
            projections=len(wedge.theta), photons=self.photons,
        )  # fmt: skip

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
        one = _objects(self.object, self.size * fine, count, seed, fine * self.size / 2 / count)[k]
        return area_mean(one, fine), simulate(
            one[None], Wedge(self.wedge).theta, self.protocol, fine, self.photons, (seed, k)
        )[0]


@functools.lru_cache(maxsize=4)
def _objects(name: str, size: int, count: int, seed: int, spacing: float) -> np.ndarray:
    objects = phantoms.OBJECTS[name](size, count, seed, spacing=spacing)
    objects.flags.writeable = False
    return objects


def near(name: str, known) -> str:
    """' (did you mean …?)' with the known name that is nearest to one that is not, or nothing."""
    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def cases(objects, size, wedges, photons, protocol="subpixel", oversample=4) -> list[Case]:
    """All combinations."""
    return list(
        dict.fromkeys(Case(o, size, w, p, protocol, oversample) for o in objects for p in photons for w in wedges)
    )
