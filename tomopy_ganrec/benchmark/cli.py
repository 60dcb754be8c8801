"""``tomopy-ganrec benchmark``: what to compare, in which folder, and what it will cost."""

import argparse
import json
import logging
import shlex
import sys
from pathlib import Path

import torch

from tomopy_ganrec.benchmark.report.write import write_report

from . import cases
from .measured import measured
from .methods import Method, chosen, methods
from .runner import device_name, estimate, pending, run
from .store import Results
from .tasks import Cell, cells, simulated

__all__ = ["add_arguments", "benchmark"]

_FULL = dict(
    objects="shale",
    size=256,
    slices=128,
    wedges=",".join(cases.PAPER_WEDGES),
    photons="none",
    protocol="pixel",
    methods="all",
)
_DEFAULTS = dict(
    objects="shale", size=128, slices=1, wedges="180,150,120,90,60", photons="none", protocol="subpixel", methods=None
)
_RUN = "run.json"

logger = logging.getLogger(__name__)


def _list(text: str) -> list[str]:
    found = [part.strip() for part in str(text).split(",") if part.strip()]
    if not found:
        raise ValueError(f"{text!r} is an empty list; give names or numbers with commas between them")
    return list(dict.fromkeys(found))


def _numbers(text: str, what: str) -> list[int]:
    try:
        found = list(dict.fromkeys(int(part) for part in _list(text)))
    except ValueError:
        raise ValueError(f"{what} {text!r}: give whole numbers with commas between them, as in 0,1,2") from None
    if min(found) < 0:
        raise ValueError(f"{what} {text!r}: give numbers of at least 0")
    return found


def _photons(text: str) -> list[float | None]:
    try:
        return [None if part.lower() == "none" else float(part) for part in _list(text)]
    except ValueError:
        raise ValueError(f"photons {text!r}: give numbers, or 'none' for noise-free, as in none,1e5,1e4") from None


def _slice_range(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    try:
        return int(first), int(last) if last else int(first) + 1
    except ValueError:
        raise ValueError(f"slices {text!r}: of a scan, give FIRST:LAST, as in 0:2") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder for the results; a run that was interrupted goes on from what it holds"
    )
    parser.add_argument(
        "--methods", metavar="NAMES", help="with commas between, or 'all' (default: all but the costly; see --list)"
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="list methods, phantoms and wedges, and why a method cannot run here; then end",
    )
    parser.add_argument(
        "--full", action="store_true", help="the paper's protocol: shale, 256², 128 slices, 180 to 120°, every method"
    )
    parser.add_argument("--report", action="store_true", help="only write the report of what the folder holds")
    parser.add_argument("--dry-run", action="store_true", help="only say what it would cost")
    parser.add_argument(
        "--images",
        default="first",
        choices=("first", "all", "none"),
        help="slices to keep as images (default: first; a scan's full range is kept)",
    )
    parser.add_argument("--seeds", default="0", help="seeds of the fit, for methods that have one (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    parser.add_argument("--title", help="of the report")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    phantom = parser.add_argument_group("phantoms")
    phantom.add_argument(
        "--objects", metavar="NAMES", help="shale, foam, zeolite, textured, with commas between (default: shale)"
    )
    phantom.add_argument("--size", type=int, help="rows and columns of a slice (default: 128)")
    phantom.add_argument(
        "--slices", help="how many, spread along the object (default: 1); of a scan FIRST:LAST (default: 0:1)"
    )
    phantom.add_argument(
        "--wedges",
        help=f"degrees, one projection each, or PROJECTIONS/DEGREES (default: {_DEFAULTS['wedges']}; in situ: {cases.INSITU})",
    )
    phantom.add_argument("--photons", help="a detector column, with commas between (default: none, noise-free)")
    phantom.add_argument(
        "--protocol",
        choices=("pixel", "subpixel"),
        help="how it is simulated: subpixel, finer than the grid; pixel, as in the paper",
    )
    phantom.add_argument("--oversample", type=int, default=4, help="for subpixel: how much finer (default: 4)")
    phantom.add_argument("--object-seeds", default="0", help="seeds of the objects and of their noise (default: 0)")
    scan = parser.add_argument_group("a scan of your own")
    scan.add_argument("--projections", metavar="FILE", help="Data Exchange HDF5 file, instead of phantoms")
    scan.add_argument(
        "--angles",
        metavar="FROM:TO",
        help="use FROM <= theta < TO, in degrees; what lies outside is held out (default: all but every tenth)",
    )
    scan.add_argument("--center", type=float, help="rotation axis in columns (default: the middle of the detector)")
    scan.add_argument(
        "--center-convention", default="edge", choices=("edge", "index"), help="index for a centre from a finder"
    )
    scan.add_argument("--reader", default="auto", choices=("auto", "dxchange", "h5py"))


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {name!r} is not known; choose auto, cpu, cuda or cuda:1")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: torch finds no CUDA GPU here; use cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r}: there are {torch.cuda.device_count()} GPUs here, counted from 0")
    return name


def _listing() -> str:
    lines = ["methods:"]
    for method in methods().values():
        lines.append(f"  {method.name:<26}{method.description}; {method.parameters}")
        if method.unavailable:
            lines.append(f"  {'':<26}not here: {method.unavailable}")
    lines += [f"phantoms: {', '.join(cases.phantoms.OBJECTS)}", f"wedges: {cases.KNOWN_WEDGES}"]
    return "\n".join(lines)


def _tasks(arguments, device: str):
    if arguments.projections:
        clash = [
            f"--{name.replace('_', '-')}"
            for name in ("objects", "wedges", "photons", "protocol", "size", "full")
            if getattr(arguments, name)
        ]
        if clash:
            raise ValueError(
                f"{', '.join(clash)} and --projections exclude each other: a scan has its own object, angles and noise"
            )
        return measured(
            arguments.projections, arguments.angles, arguments.center, arguments.center_convention, _slice_range(arguments.slices or "0:1"),
            arguments.reader, arguments.images, device,
        )  # fmt: skip
    if arguments.angles or arguments.center is not None:
        raise ValueError("--angles and --center belong to a scan: give --projections FILE, or use --wedges")
    settings = (_FULL if arguments.full else _DEFAULTS) | {
        n: v for n in _DEFAULTS if (v := getattr(arguments, n)) is not None
    }
    found = cases.cases(
        _list(settings["objects"]),
        settings["size"],
        _list(settings["wedges"]),
        _photons(settings["photons"]),
        settings["protocol"],
        arguments.oversample,
    )
    count = _numbers(str(settings["slices"]), "slices")
    if len(count) != 1 or not 1 <= count[0] <= 10000:
        raise ValueError(f"slices {settings['slices']!r}: of a phantom, give how many (at least 1, at most 10000)")
    return simulated(found, count[0], _numbers(arguments.object_seeds, "object seeds"), arguments.images, device)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _remember(results: Results, arguments, command: str, selected: list[Method]) -> dict:
    """What the report says besides the rows; kept in the folder, so that later runs add to it."""
    try:
        known = json.loads((results.folder / _RUN).read_text())
    except (OSError, ValueError, RecursionError):
        known = {}
    known = known if isinstance(known, dict) else {}

    def texts(name):
        found = known.get(name)
        return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []

    commands = [*texts("commands"), *([] if arguments.report else [command])]
    asked = sorted({*texts("asked"), *(method.name for method in selected)})
    title = (
        arguments.title
        or (known.get("title") if isinstance(known.get("title"), str) else "")
        or "GANrec beside other reconstructions"
    )
    kept = {"title": title, "commands": list(dict.fromkeys(commands)), "asked": asked}
    results.write(_RUN, json.dumps(kept, indent=1))
    return {
        "title": title,
        "command": "\n".join(kept["commands"]),
        "descriptions": {method.name: method.description for method in methods().values()},
        "unavailable": {m.label: m.unavailable for m in methods().values() if m.name in asked and m.unavailable},
    }


def _start(results: Results | None, everything: list[Cell], device: str) -> list[Cell]:
    todo = everything if results is None else pending(results, everything)
    _say(
        f"{len(everything)} cells, {len(everything) - len(todo)} finished before; {len(todo)} to do on {device_name(torch.device(device))}"
    )
    if todo:
        _say(f"estimated time: {_time(estimate(todo, device))}")
    return todo


def benchmark(arguments, command: list[str]) -> int:
    """Run the command; returns the exit status: 0, 1 where cells failed, 130 where it was interrupted."""
    if arguments.list:
        _say(_listing())
        return 0
    if not arguments.out:
        raise ValueError("give a folder for the results: --out FOLDER")
    device = _device(arguments.device)
    names = arguments.methods or (_FULL["methods"] if arguments.full else None)
    selected = chosen(None if names is None else _list(names))
    said = "tomopy-ganrec benchmark " + shlex.join(command)
    status = failures = 0
    if arguments.report:
        results = Results(arguments.out, create=False)
    else:
        everything = cells(_tasks(arguments, device), selected, _numbers(arguments.seeds, "seeds"))
        for method in selected:
            if method.unavailable:
                _say(f"without {method.label}: {method.unavailable}")
        if not everything:
            raise ValueError(
                "nothing to run: none of the methods chosen is available, or makes sense for these cases; see --list"
            )
        results = None if arguments.dry_run and not Path(arguments.out).exists() else Results(arguments.out)
        todo = _start(results, everything, device)
        if arguments.dry_run:
            return 0
        _remember(results, arguments, said, selected)
        try:
            failures = run(results, todo, not arguments.quiet)
        except KeyboardInterrupt:
            _say("\ninterrupted; the same command goes on from here")
            status = 130
    if status and not results.rows():
        return status
    paths = write_report(results, _remember(results, arguments, said, selected if not arguments.report else []))
    table = next(path for path in paths if path.name == "table.md")
    _say(_first_table(table.read_text()))
    _say(f"wrote {results.folder / 'report.html'}, results.csv and {len(paths) - 2} more")
    if failures:
        _say(f"{failures} cells failed; the report says why")
    return status or (1 if failures else 0)


def _first_table(text: str) -> str:
    lines = text.splitlines()
    start = next((k for k, line in enumerate(lines) if line.startswith("|")), 0)
    return "\n".join(
        lines[start : next((k for k in range(start, len(lines)) if not lines[k].startswith("|")), len(lines))]
    )
