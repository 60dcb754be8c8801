"""The command line: ``tomopy-ganrec recon FILE``, ``tomopy-ganrec benchmark`` and ``tomopy-ganrec demo``."""

import argparse
import ast
import contextlib
import sys
import warnings
from dataclasses import fields
from pathlib import Path

from .option_values import shown
from .options import GanrecOptions

__all__ = ["main"]

_OWN = ("progress", "callback", "trust_theta")  # set by the command itself
_ALSO = {"gpu_list": ["--gpus"]}  # other names


def _value(text: str):
    """An option's value: a Python literal, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: brackets nested very deeply
        return text


def _slices(text: str) -> tuple[int, int]:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tomopy-ganrec", description="Missing-wedge tomography by GANrec.")
    commands = parser.add_subparsers(dest="command", required=True)
    recon = commands.add_parser(
        "recon", help="reconstruct a Data Exchange HDF5 file", description="Reconstruct a Data Exchange HDF5 file."
    )
    recon.add_argument("file", help="HDF5 file with exchange/data, data_white, data_dark, theta (or --theta)")
    recon.add_argument(
        "--center",
        type=float,
        help="rotation axis on the detector in columns (default: its middle); see --center-convention",
    )
    recon.add_argument("--slices", type=_slices, metavar="FIRST:LAST", help="slices FIRST to LAST-1 (default: all)")
    recon.add_argument("--angles", metavar="FROM:TO", help="use projections with FROM <= theta < TO, in degrees")
    recon.add_argument(
        "--theta",
        metavar="START:STEP or FILE",
        help="angles of all projections, in place of the file's: START:STEP in degrees, or a file of degrees (text, .npy)",
    )
    recon.add_argument(
        "--trust-theta",
        action="store_true",
        default=None,
        help="take the angles as they are, e.g. of a scan of a few degrees",
    )
    recon.add_argument(
        "--grid", type=_grid, metavar="ROWSxCOLS",
        help="rows and columns of a slice, or one number for both (default: the detector's columns); for a sample wider than the detector give a "
        "larger grid and --mask False",
    )  # fmt: skip
    recon.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="a folder for TIFFs, or a file ending in .h5; slices are there as they are finished",
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
        "options of the reconstruction", "described in tomopy_ganrec.GanrecOptions; values as in Python"
    )
    for field in fields(GanrecOptions):
        if field.name not in _OWN:
            names = [f"--{field.name.replace('_', '-')}", *_ALSO.get(field.name, ())]
            options.add_argument(*names, type=_value, metavar="VALUE", help=f"default: {field.default!r}")
    commands.add_parser(
        "benchmark", help="compare methods on phantoms or on a scan; tables, figures and a page", add_help=False
    )
    demo = commands.add_parser("demo", help="a shale slice from 0-120 degrees by FBP, MLEM, TV and GANrec")
    demo.add_argument("--size", type=int, default=256)
    demo.add_argument("--range", type=int, default=120, help="angular range in degrees, one projection each")
    demo.add_argument("--wedge", dest="range", type=int, default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # of 0.1.0
    demo.add_argument("--photons", type=float, help="photons per detector pixel (default: noise-free)")
    demo.add_argument("--out", default="demo", help="folder for comparison.png and results.json")
    return parser


def _benchmark(words) -> int:
    from .benchmark import cli  # loads torch: not before it is asked for

    parser = argparse.ArgumentParser(
        prog="tomopy-ganrec benchmark", description="Set GANrec beside the reconstructions a TomoPy user has."
    )
    cli.add_arguments(parser)
    return cli.benchmark(parser.parse_args(words), words)


def _recon(arguments) -> None:
    chosen = {
        f.name: getattr(arguments, f.name)
        for f in fields(GanrecOptions)
        if f.name not in _OWN and getattr(arguments, f.name) is not None
    }
    options = GanrecOptions.from_mapping(chosen)  # before torch is loaded and the file is read
    from . import io
    from .api import recon
    from .io.lazy_projections import open_projections
    from .io.outputs import output_of

    read, more = (
        (arguments.file, arguments.slices, arguments.angles),
        dict(theta=arguments.theta, trust_theta=bool(arguments.trust_theta)),
    )
    chosen["trust_theta"] = True  # they have been looked at in the unit of the file
    projections, theta = (
        io.read_projections(*read, "dxchange", **more)
        if arguments.reader == "dxchange"
        else open_projections(*read, **more)
    )
    _, slices, columns = projections.shape
    first = arguments.slices[0] if arguments.slices else 0
    rows, cols = arguments.grid or (columns, columns)
    output = output_of(arguments.out, (slices, rows, cols), first)
    with _client(arguments.scheduler) as client:
        try:
            path, info = recon(
                projections, theta, arguments.center, options=chosen, return_info=True, progress=not arguments.quiet,
                out=output, resume=arguments.resume, client=client, num_gridx=rows, num_gridy=cols,
            )  # fmt: skip
        except FileExistsError as error:
            raise FileExistsError(f"{error}. On the command line: --resume") from error
    print(info)
    for record in info.slices if options.levels is not None else ():
        print("levels:", ", ".join(f"{level:.4g}" for level in record["levels"]) or "none found")
    names = [f"recon_{first + k:05d}.tiff" for k in range(slices)] if path.is_dir() else []
    print(f"wrote {path / names[0] if names else path}" + (f" … {names[-1]}" if len(names) > 1 else ""))


@contextlib.contextmanager
def _client(address: str | None):
    """A client of the Dask scheduler at an address or in a scheduler file; None for none."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("--scheduler needs Dask: pip install 'tomopy_ganrec[distributed]'") from error
    try:
        client = Client(scheduler_file=address) if Path(address).is_file() else Client(address, timeout=10)
    except (OSError, ValueError) as error:  # also a time-out
        raise RuntimeError(f"--scheduler {address}: no Dask scheduler answers there ({error})") from error
    with client:
        yield client


def _joined(words) -> list[str]:
    """The words of a command line, with ``--angles -60:60`` as ``--angles=-60:60``: argparse takes -60:60 for an option; --theta likewise."""
    found: list[str] = []
    for word in words:
        if found and found[-1] in ("--angles", "--theta") and word[:2] != "--":
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def _one_line(message, *_) -> str:
    """A warning as the command line shows it."""
    return f"tomopy-ganrec: warning: {message}\n"


def main(arguments=None) -> int:
    """Run the command line; returns the exit status."""
    words = _joined(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character is no reason to fail
    usual, warnings.formatwarning = warnings.formatwarning, _one_line
    try:
        if words[:1] == ["benchmark"]:
            return _benchmark(words[1:])
        arguments = _parser().parse_args(words)
        if arguments.command == "recon":
            _recon(arguments)
        else:
            from .benchmark.demo import demo

            demo(arguments.out, arguments.size, arguments.range, arguments.photons)
    except (ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError) as error:
        print(f"tomopy-ganrec: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tomopy-ganrec: interrupted", file=sys.stderr)
        return 130
    finally:
        warnings.formatwarning = usual
    return 0
