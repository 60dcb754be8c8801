"""Command line: ``tomopy-ganrec recon FILE``, ``tomopy-ganrec benchmark`` and ``tomopy-ganrec demo``."""

from __future__ import annotations

import argparse
import ast
import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .option_names import RENAMED, nearest_option
from .option_values import shown
from .options import GanrecOptions

if TYPE_CHECKING:
    import numpy as np
    from distributed import Client

    from .io.lazy_projections import Projections

__all__ = ["main"]

_SET_BY_COMMAND = ("progress", "callback", "trust_theta")  # options that are not read as Python values
_HELP = {"mask": "'auto', True, False, 'outline', or a file of 0 and 1 (.npy, .tiff): (rows, columns) or one a slice"}
_OTHER_FLAGS = {"gpu_list": ["--gpus"]}


class _Parser(argparse.ArgumentParser):
    """Takes no abbreviations, and answers an unknown flag with the known one that was probably meant.

    An abbreviation could be the former name of another option: ``--learn`` is not ``--learning-rate``.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]  # overloaded
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flags = [word.partition("=")[0] for word in unknown if word.startswith("--")]
            hints = "; ".join(self._hint(flag) for flag in flags)
            self.error(hints or f"unknown arguments: {' '.join(unknown)}")
        return parsed, unknown

    def _hint(self, flag: str) -> str:
        known = [name[2:].replace("-", "_") for name in self._option_string_actions if name.startswith("--")]
        word = flag[2:].replace("-", "_")
        meant = [name for name in known if name.startswith(word)]
        if not meant or word in RENAMED:
            nearest = nearest_option(word, known)
            meant = [nearest] if nearest in known else []
        if not meant:
            return f"unknown option {flag}; {self.prog} --help lists those there are"
        return f"unknown option {flag}: did you mean {' or '.join('--' + name.replace('_', '-') for name in meant)}?"


def _value(text: str) -> Any:
    """An option's value: a Python literal, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: brackets nested very deeply
        return text


def _slice_range(text: str) -> tuple[int, int]:
    """First slice and the one after the last, from ``FIRST:LAST`` or the number of one slice."""
    first, _, last = text.partition(":")
    try:
        return int(first), int(last) if last else int(first) + 1
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{shown(text)} are no slices; give FIRST:LAST, such as 0:10, or the number of one"
        ) from None


def _grid(text: str) -> tuple[int, int]:
    """Rows and columns of a slice, from ``ROWSxCOLS`` or one number for both."""
    rows, _, cols = text.lower().replace("×", "x").partition("x")
    try:
        size = int(rows), int(cols or rows)
    except ValueError:
        size = 0, 0
    if min(size) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; give ROWSxCOLS, such as 512x640, or one number for both"
        )
    return size


def _parser() -> _Parser:
    parser = _Parser(prog="tomopy-ganrec", description="Missing-wedge tomography by GANrec.")
    commands = parser.add_subparsers(dest="command", required=True)
    recon = commands.add_parser(
        "recon", help="reconstruct a Data Exchange HDF5 file", description="Reconstruct a Data Exchange HDF5 file."
    )
    _add_recon_arguments(recon)
    commands.add_parser(
        "benchmark", help="compare methods on phantoms or on a scan; tables, figures and a page", add_help=False
    )
    demo = commands.add_parser(
        "demo", help="a shale slice from an angular range of 120 degrees by FBP, MLEM, TV and GANrec"
    )
    demo.add_argument("--size", type=int, default=256, help="rows and columns of the slice (default: 256)")
    demo.add_argument(
        "--range",
        "--wedge",
        dest="angular_range",
        type=int,
        default=120,
        metavar="DEGREES",
        help="angular range, one projection per degree (default: 120)",
    )
    demo.add_argument("--photons", type=float, help="photons per detector pixel (default: noise-free)")
    demo.add_argument("--out", default="demo", help="folder for comparison.png and results.json")
    return parser


def _add_recon_arguments(recon: argparse.ArgumentParser) -> None:
    recon.add_argument("file", help="HDF5 file with exchange/data, data_white, data_dark, theta (or --theta)")
    recon.add_argument(
        "--center",
        type=float,
        help="rotation axis on the detector in columns (default: its middle); see --center-convention",
    )
    recon.add_argument(
        "--slices", type=_slice_range, metavar="FIRST:LAST", help="slices FIRST to LAST-1 (default: all)"
    )
    recon.add_argument("--angles", metavar="FROM:TO", help="use projections with FROM <= theta < TO, in degrees")
    recon.add_argument(
        "--theta",
        metavar="START:STEP or FILE",
        help="angles of all projections, in place of the file's: START:STEP in degrees, or a file of degrees (text, "
        ".npy)",
    )
    recon.add_argument(
        "--trust-theta",
        action="store_true",
        default=None,
        help="take the angles as they are, e.g. of a scan of a few degrees",
    )
    recon.add_argument(
        "--grid",
        type=_grid,
        metavar="ROWSxCOLS",
        help="rows and columns of a slice, or one number for both (default: the detector's columns); for a sample "
        "wider than the detector give a larger grid and --mask False",
    )
    recon.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="a folder for TIFFs, or a file ending in .h5; slices are written as they are finished",
    )
    recon.add_argument("--resume", action="store_true", help="go on with an --out that the same command has begun")
    recon.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of this Dask scheduler reconstruct: its address, or its scheduler file",
    )
    recon.add_argument(
        "--reader",
        default="auto",
        choices=("auto", "dxchange", "h5py"),
        help="auto and h5py read slices as they are needed, dxchange all at once",
    )
    recon.add_argument("--quiet", action="store_true", help="no progress bar")
    options = recon.add_argument_group(
        "options of the reconstruction",
        "described in tomopy_ganrec.GanrecOptions; values as in Python",
        argument_default=argparse.SUPPRESS,  # None is a value of some
    )
    for field in fields(GanrecOptions):
        if field.name not in _SET_BY_COMMAND:
            described = f"{_HELP[field.name]}; " if field.name in _HELP else ""
            names = [f"--{field.name.replace('_', '-')}", *_OTHER_FLAGS.get(field.name, ())]
            options.add_argument(*names, type=_value, metavar="VALUE", help=f"{described}default: {field.default!r}")


def _benchmark(words: list[str]) -> int:
    from .benchmark import cli  # loads torch: not before it is asked for

    parser = _Parser(
        prog="tomopy-ganrec benchmark", description="Compare GANrec with the reconstructions a TomoPy user has."
    )
    cli.add_arguments(parser)
    return cli.benchmark(parser.parse_args(words), words)


def _recon(arguments: argparse.Namespace) -> None:
    chosen = {
        field.name: getattr(arguments, field.name)
        for field in fields(GanrecOptions)
        if field.name not in _SET_BY_COMMAND and hasattr(arguments, field.name)
    }
    if isinstance(chosen.get("mask"), str) and chosen["mask"] not in ("auto", "outline"):
        from .io.mask_file import read_mask

        chosen["mask"] = read_mask(chosen["mask"])
    options = GanrecOptions.from_mapping(chosen)  # before torch is loaded and the file is read
    from . import io
    from .api import recon
    from .io.lazy_projections import open_projections
    from .io.outputs import output_of

    selection = arguments.file, arguments.slices, arguments.angles
    angles = dict(theta=arguments.theta, trust_theta=bool(arguments.trust_theta))
    projections: np.ndarray | Projections
    if arguments.reader == "dxchange":
        projections, theta = io.read_projections(*selection, "dxchange", **angles)
    else:
        projections, theta = open_projections(*selection, **angles)
    chosen["trust_theta"] = True  # the angles were checked in the unit of the file
    _, slices, columns = projections.shape
    first = arguments.slices[0] if arguments.slices else 0
    rows, cols = arguments.grid or (columns, columns)
    output = output_of(arguments.out, (slices, rows, cols), first)
    with _client(arguments.scheduler) as client:
        try:
            path, info = recon(
                projections,
                theta,
                arguments.center,
                options=chosen,
                return_info=True,
                progress=not arguments.quiet,
                out=output,
                resume=arguments.resume,
                client=client,
                num_gridx=rows,
                num_gridy=cols,
            )
        except FileExistsError as error:
            raise FileExistsError(f"{error}. On the command line: --resume") from error
    print(info)
    for record in info.slices if options.levels is not None else ():
        print("levels:", ", ".join(f"{level:.4g}" for level in record["levels"]) or "none found")
    names = [f"recon_{first + k:05d}.tiff" for k in range(slices)] if path.is_dir() else []
    print(f"wrote {path / names[0] if names else path}" + (f" … {names[-1]}" if len(names) > 1 else ""))


@contextlib.contextmanager
def _client(address: str | None) -> Iterator[Client | None]:
    """A client of the Dask scheduler at an address or in a scheduler file; None for None."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("--scheduler needs Dask: pip install 'tomopy_ganrec[distributed]'") from error
    try:
        where = dict(scheduler_file=address) if Path(address).is_file() else dict(address=address, timeout=10)
        client = Client(**where)  # type: ignore[no-untyped-call]  # Dask's
    except (OSError, ValueError) as error:  # also a time-out
        raise RuntimeError(f"--scheduler {address}: no Dask scheduler answers there ({error})") from error
    with client:
        yield client


def _joined(words: Sequence[str]) -> list[str]:
    """A command line with ``--angles=-60:60`` for ``--angles -60:60``; --theta likewise.

    argparse takes the word -60:60 for an option.
    """
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--angles", "--theta") and word[:2] != "--":
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _one_line(message: Warning | str, *_: Any, **__: Any) -> str:
    """A warning as the command line shows it."""
    return f"tomopy-ganrec: warning: {message}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of this process.

    Returns
    -------
    int
        The exit status: 0, 1 after an error that was reported in one line, 130 after an interrupt.
    """
    words = _joined(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # so that no character makes a terminal fail
    previous_format = warnings.formatwarning
    warnings.formatwarning = _one_line
    try:
        if words[:1] == ["benchmark"]:
            return _benchmark(words[1:])
        parsed = _parser().parse_args(words)
        if parsed.command == "recon":
            _recon(parsed)
        else:
            from .benchmark.demo import demo

            demo(parsed.out, parsed.size, parsed.angular_range, parsed.photons)
    except (ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError) as error:
        print(f"tomopy-ganrec: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tomopy-ganrec: interrupted", file=sys.stderr)
        return 130
    finally:
        warnings.formatwarning = previous_format
    return 0
