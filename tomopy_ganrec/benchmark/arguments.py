"""Arguments of ``tomopy-ganrec benchmark``: their definitions, defaults and values."""

import argparse
from typing import Any

from tomopy_ganrec.volume.devices import resolve_device

from . import cases
from .tasks import SLOW_RANGES

__all__ = [
    "DEFAULTS",
    "PAPER",
    "add_arguments",
    "device_of",
    "noise_levels",
    "slice_range",
    "whole_numbers",
    "words_of",
]

PAPER: dict[str, Any] = {
    "objects": "shale",
    "size": 256,
    "slices": 128,
    "ranges": ",".join(cases.PAPER_RANGES),
    "photons": "none",
    "protocol": "pixel",
    "methods": "all",
}
DEFAULTS: dict[str, Any] = {
    "objects": "shale",
    "size": 128,
    "slices": 1,
    "ranges": "180,150,120,90,60",
    "photons": "none",
    "protocol": "subpixel",
    "methods": None,
}


def words_of(text: str) -> list[str]:
    """The parts of a list with commas, each once."""
    words = [part.strip() for part in str(text).split(",") if part.strip()]
    if not words:
        raise ValueError(f"{text!r} is an empty list; give names or numbers with commas between them")
    return list(dict.fromkeys(words))


def whole_numbers(text: str, what: str) -> list[int]:
    """The whole numbers of a list with commas; `what` they are is named in errors."""
    try:
        numbers = list(dict.fromkeys(int(part) for part in words_of(text)))
    except ValueError:
        raise ValueError(f"{what} {text!r}: give whole numbers with commas between them, as in 0,1,2") from None
    if min(numbers) < 0:
        raise ValueError(f"{what} {text!r}: give numbers of at least 0")
    return numbers


def noise_levels(text: str) -> list[float | None]:
    """Photons per detector pixel; None for noise-free."""
    try:
        return [None if part.lower() == "none" else float(part) for part in words_of(text)]
    except ValueError:
        raise ValueError(f"photons {text!r}: give numbers, or 'none' for noise-free, as in none,1e5,1e4") from None


def slice_range(text: str) -> tuple[int, int]:
    """The first slice of a scan, and the one after the last."""
    first, _, last = text.partition(":")
    try:
        return int(first), int(last) if last else int(first) + 1
    except ValueError:
        raise ValueError(f"slices {text!r}: of a scan, give FIRST:LAST, as in 0:2") from None


def device_of(name: str) -> str:
    """The torch device of ``--device``.

    Raises
    ------
    ValueError
        For a name that means no device, and for a GPU that is not there.
    """
    try:
        return str(resolve_device(name))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"--device {name}: {error}") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder for the results; a run that was interrupted goes on from what it holds"
    )
    parser.add_argument(
        "--methods", metavar="NAMES", help="with commas between, or 'all' (default: all but the costly; see --list)"
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="list methods, phantoms and angular ranges, and why a method cannot run here; then end",
    )
    parser.add_argument(
        "--full", action="store_true", help="the paper's protocol: shale, 256², 128 slices, 180 to 120°, every method"
    )
    parser.add_argument("--report", action="store_true", help="only write the report of what the folder holds")
    parser.add_argument("--dry-run", action="store_true", help="only estimate the time")
    parser.add_argument(
        "--images",
        default="first",
        choices=("first", "all", "none"),
        help="slices to keep as images (default: first; a scan's full range is kept)",
    )
    parser.add_argument("--seeds", default="0", help="seeds of the fit, for methods that have one (default: 0)")
    parser.add_argument(
        "--slow-everywhere",
        action="store_true",
        help="run peers that are slower than ganrec-best in all cases (default: on the first object alone, and of "
        f"phantoms at {', '.join(SLOW_RANGES)} degrees)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    parser.add_argument("--title", help="of the report")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_phantoms(parser.add_argument_group("phantoms"))
    _add_scan(parser.add_argument_group("a scan of your own"))


def _add_phantoms(phantom: argparse._ArgumentGroup) -> None:
    phantom.add_argument(
        "--objects", metavar="NAMES", help="shale, foam, zeolite, textured, with commas between (default: shale)"
    )
    phantom.add_argument("--size", type=int, help="rows and columns of a slice (default: 128)")
    phantom.add_argument(
        "--slices", help="how many, spread along the object (default: 1); of a scan FIRST:LAST (default: 0:1)"
    )
    phantom.add_argument(
        "--ranges",
        help="angular ranges: degrees, one projection each, or PROJECTIONS/DEGREES "
        f"(default: {DEFAULTS['ranges']}; in situ: {cases.INSITU})",
    )
    # The name of --ranges in 0.1.0.
    phantom.add_argument("--wedges", dest="ranges", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    phantom.add_argument("--photons", help="per detector pixel, with commas between (default: none, noise-free)")
    phantom.add_argument(
        "--protocol",
        choices=("pixel", "subpixel"),
        help="how it is simulated: subpixel, finer than the grid; pixel, as in the paper",
    )
    phantom.add_argument("--oversample", type=int, default=4, help="for subpixel: how much finer (default: 4)")
    phantom.add_argument("--object-seeds", default="0", help="seeds of the objects and of their noise (default: 0)")


def _add_scan(scan: argparse._ArgumentGroup) -> None:
    scan.add_argument("--projections", metavar="FILE", help="Data Exchange HDF5 file, instead of phantoms")
    scan.add_argument(
        "--angles",
        metavar="FROM:TO",
        help="use FROM <= theta < TO, in degrees, or several with commas between; what lies outside is held out "
        "(default: all but every tenth)",
    )
    scan.add_argument(
        "--reference",
        action="store_true",
        help="compare images and their segmentations (Otsu's threshold; MCC) with those of TV from the full range",
    )
    scan.add_argument(
        "--material",
        type=float,
        help="attenuation of the material per column, for methods that are told it (default: they do without)",
    )
    scan.add_argument(
        "--htc2022",
        metavar="FOLDER",
        help="discs of the Helsinki Tomography Challenge 2022 instead of one scan: files htc2022_*.h5 in the Data "
        "Exchange layout, over 0-180 degrees, with --reference and --angles 0:90,0:60,0:30",
    )
    scan.add_argument("--center", type=float, help="rotation axis in columns (default: the middle of the detector)")
    scan.add_argument(
        "--center-convention", default="edge", choices=("edge", "index"), help="index for a centre from a finder"
    )
    scan.add_argument("--reader", default="auto", choices=("auto", "dxchange", "h5py"))
