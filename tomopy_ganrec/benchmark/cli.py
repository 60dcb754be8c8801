"""Command ``tomopy-ganrec benchmark``: methods and cases, the estimated time, the reconstructions and their report."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tomopy_ganrec import phantoms

from .arguments import DEFAULTS, PAPER, add_arguments, device_of, noise_levels, slice_range, whole_numbers, words_of
from .cases import KNOWN_RANGES, cases
from .measured import HTC2022_RANGES, htc2022, measured
from .methods import Method, chosen, methods
from .report.write import write_report
from .runner import device_name, estimate, pending, run
from .store import Results
from .tasks import SLOW_RANGES, BenchmarkRun, SliceCase, runs_of, simulated

__all__ = ["add_arguments", "benchmark"]

_RUN_FILE = "run.json"


def _listing() -> str:
    lines = ["methods:"]
    for method in methods().values():
        lines.append(f"  {method.name:<26}{method.description}; {method.parameters}")
        if method.unavailable:
            lines.append(f"  {'':<26}not here: {method.unavailable}")
        if method.slow:
            lines.append(
                f"  {'':<26}slow: at {', '.join(SLOW_RANGES)} degrees of the first object, or --slow-everywhere"
            )
    lines += [f"phantoms: {', '.join(phantoms.OBJECTS)}", f"angular ranges: {KNOWN_RANGES}"]
    return "\n".join(lines)


def _slice_cases(arguments: argparse.Namespace, device: str) -> list[SliceCase]:
    if arguments.projections or arguments.htc2022:
        return _of_scan(arguments, device)
    if arguments.angles or arguments.reference or arguments.center is not None or arguments.material is not None:
        raise ValueError(
            "--angles, --center, --reference and --material belong to a scan: give --projections FILE, or use --ranges"
        )
    given = {name: value for name in DEFAULTS if (value := getattr(arguments, name)) is not None}
    settings = (PAPER if arguments.full else DEFAULTS) | given
    selected = cases(
        words_of(settings["objects"]),
        settings["size"],
        words_of(settings["ranges"]),
        noise_levels(settings["photons"]),
        settings["protocol"],
        arguments.oversample,
    )
    count = whole_numbers(str(settings["slices"]), "slices")
    if len(count) != 1 or not 1 <= count[0] <= 10000:
        raise ValueError(f"slices {settings['slices']!r}: of a phantom, give how many (at least 1, at most 10000)")
    object_seeds = whole_numbers(arguments.object_seeds, "object seeds")
    return simulated(selected, count[0], object_seeds, arguments.images, device)


def _of_scan(arguments: argparse.Namespace, device: str) -> list[SliceCase]:
    clash = [
        f"--{name}" for name in ("objects", "ranges", "photons", "protocol", "size", "full") if getattr(arguments, name)
    ]
    scans = "--projections" if arguments.projections else "--htc2022"
    if clash:
        raise ValueError(
            f"{', '.join(clash)} and {scans} exclude each other: a scan has its own object, angles and noise"
        )
    angles = words_of(arguments.angles) if arguments.angles else None
    if arguments.htc2022:
        clash = [f"--{name}" for name in ("projections", "center", "material", "slices") if getattr(arguments, name)]
        if clash:
            raise ValueError(
                f"{', '.join(clash)} and --htc2022 exclude each other: the files of its discs have their own"
            )
        return htc2022(arguments.htc2022, angles or HTC2022_RANGES, arguments.images, device)
    return measured(
        arguments.projections,
        angles,
        arguments.center,
        arguments.center_convention,
        slice_range(arguments.slices or "0:1"),
        arguments.reader,
        arguments.images,
        device,
        reference=arguments.reference,
        material=arguments.material,
    )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _stored_description(results: Results) -> dict[str, Any]:
    try:
        stored = json.loads((results.folder / _RUN_FILE).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _texts(values: object) -> list[str]:
    return [text for text in values if isinstance(text, str)] if isinstance(values, list) else []


def _describe(
    results: Results, arguments: argparse.Namespace, command: str, selected: Sequence[Method]
) -> dict[str, Any]:
    """The report's title, command and methods; they are stored in the folder, so that later runs add to them."""
    stored = _stored_description(results)
    commands = [*_texts(stored.get("commands")), *([] if arguments.report else [command])]
    asked = sorted({*_texts(stored.get("asked")), *(method.name for method in selected)})
    title = stored.get("title") if isinstance(stored.get("title"), str) else ""
    title = arguments.title or title or "GANrec beside other reconstructions"
    commands = list(dict.fromkeys(commands))
    results.write(_RUN_FILE, json.dumps({"title": title, "commands": commands, "asked": asked}, indent=1))
    known = methods().values()
    return {
        "title": title,
        "command": "\n".join(commands),
        "descriptions": {method.name: method.description for method in known},
        "unavailable": {m.label: m.unavailable for m in known if m.name in asked and m.unavailable},
    }


def _pending(results: Results | None, runs: list[BenchmarkRun], device: str) -> list[BenchmarkRun]:
    """The runs that are not finished; prints how many they are and the time that they will take."""
    unfinished = runs if results is None else pending(results, runs)
    _print(
        f"{len(runs)} reconstructions, {len(runs) - len(unfinished)} finished before; {len(unfinished)} to do on "
        f"{device_name(torch.device(device))}"
    )
    if unfinished:
        _print(f"estimated time: {_time(estimate(unfinished, device))}")
    return unfinished


def _runs(arguments: argparse.Namespace, selected: Sequence[Method], device: str) -> list[BenchmarkRun]:
    runs = runs_of(
        _slice_cases(arguments, device), selected, whole_numbers(arguments.seeds, "seeds"), arguments.slow_everywhere
    )
    for method in selected:
        if method.unavailable:
            _print(f"without {method.label}: {method.unavailable}")
    if not runs:
        raise ValueError(
            "nothing to run: none of the methods chosen is available, or makes sense for these cases; see --list, and "
            "--slow-everywhere for slow peers"
        )
    return runs


def _report(results: Results, arguments: argparse.Namespace, command: str, selected: Sequence[Method]) -> None:
    paths = write_report(results, _describe(results, arguments, command, selected))
    table = next(path for path in paths if path.name == "table.md")
    _print(_first_table(table.read_text()))
    _print(f"wrote {results.folder / 'report.html'}, results.csv and {len(paths) - 2} more")


def benchmark(arguments: argparse.Namespace, command: list[str]) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of a parser with `add_arguments`.
    command : list of str
        The words of the command line, for the report.

    Returns
    -------
    int
        The exit status: 0; 1 where reconstructions failed; 130 where it was interrupted.

    Raises
    ------
    ValueError, OSError
        For arguments that make no sense, and for a folder that holds other things or cannot be written.
    """
    if arguments.list:
        _print(_listing())
        return 0
    if not arguments.out:
        raise ValueError("give a folder for the results: --out FOLDER")
    device = device_of(arguments.device)
    names = arguments.methods or (PAPER["methods"] if arguments.full else None)
    selected = chosen(None if names is None else words_of(names))
    full_command = "tomopy-ganrec benchmark " + shlex.join(command)
    if arguments.report:
        _report(Results(arguments.out, create=False), arguments, full_command, [])
        return 0
    runs = _runs(arguments, selected, device)
    if arguments.dry_run and not Path(arguments.out).exists():
        _pending(None, runs, device)
        return 0
    results = Results(arguments.out)
    unfinished = _pending(results, runs, device)
    if arguments.dry_run:
        return 0
    _describe(results, arguments, full_command, selected)
    status = failures = 0
    try:
        failures = run(results, unfinished, not arguments.quiet)
    except KeyboardInterrupt:
        _print("\ninterrupted; the same command goes on from here")
        status = 130
        if not results.rows():
            return status
    _report(results, arguments, full_command, selected)
    if failures:
        _print(f"{failures} of the reconstructions failed; the report lists the reasons")
    return status or (1 if failures else 0)


def _first_table(text: str) -> str:
    lines = text.splitlines()
    start = next((k for k, line in enumerate(lines) if line.startswith("|")), 0)
    end = next((k for k in range(start, len(lines)) if not lines[k].startswith("|")), len(lines))
    return "\n".join(lines[start:end])
