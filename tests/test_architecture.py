"""What imports what, and what only some modules may know or do: the rules of CONTRIBUTING.rst, *Architecture*."""

import ast
import functools
import re
import subprocess
import sys

import pytest
from source_tree import MODULES, PACKAGE, ROOT, documentation, is_folder, sources

# From top to bottom: a module imports from its own layer and from those below. A folder is one member.
LAYERS = [
    {"cli"},
    {"tomopy_registry"},
    {"api", "tomopy_chunks"},
    {"benchmark"},
    {"data_warnings"},
    {"volume"},
    {"fit"},
    {"io"},
    {"solvers"},
    {"projector"},
    {"phantoms", "metrics"},
    {"validation"},
    {"scan_angles"},
    {"angle_units"},
    {"options"},
    {"option_checks"},
    {"mask", "option_names", "option_values", "results", "slice_record", "forks", "package_version"},
]

# What a folder may import of the package besides itself, where that is less than all that lies below it.
OPTIONS = {"mask", "options", "option_names", "option_values"}
ONLY = {
    "fit.measurement": {"fit.data_fit", "slice_record", "solvers", *OPTIONS},
    "fit.gan": {
        "fit.data_fit",
        "fit.measurement",
        "fit.stage_progress",
        "results",
        "slice_record",
        "solvers",
        *OPTIONS,
    },
    "io": {"scan_angles", "angle_units", "slice_record", "validation", *OPTIONS},
    "solvers": set(),
    "projector": {"forks"},
    "phantoms": set(),
    "metrics": set(),
}

# Imported before torch is loaded, which takes seconds: the command line reads its arguments and the scan first.
LIGHT_FOLDERS = ("io", "phantoms")
LIGHT_MODULES = (
    "mask",
    "options",
    "validation",
    "scan_angles",
    "angle_units",
    "slice_record",
    "forks",
    "package_version",
    "metrics",
    "volume",
)
HEAVY = {"torch", "astra", "h5py", "tifffile", "dask", "distributed", "tomopy", "dxchange"}

# TomoPy's callable, its registration and its chunks; algorithms to compare with; tomopy.prep to normalise files.
KNOW_TOMOPY = {"api", "tomopy_registry", "tomopy_chunks", "benchmark.peers", "io.optional"}
PRINT = {"cli", "benchmark.cli", "benchmark.demo"}

each_module = pytest.mark.parametrize("name", MODULES)


def within(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}.")


@functools.cache
def lazy_exports() -> dict[str, str]:
    """The public names of the package itself, and the modules that they are in."""
    (table,) = [
        node.value
        for node in sources()[""][1].body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_LAZY_EXPORTS"
    ]
    return ast.literal_eval(table)


def imports(name: str) -> set[str]:
    """Every module that a module imports anywhere in its code, by the whole name."""
    tree = sources()[name][1]
    package = ["tomopy_ganrec", *filter(None, name.split("."))]
    if not is_folder(name):
        package.pop()
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(base + ([node.module] if node.module else []))
            modules |= {member(base, alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            modules |= {str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return modules


def member(base: str, name: str) -> str:
    """The module that ``from base import name`` imports."""
    if base == "tomopy_ganrec" and name in lazy_exports():
        return f"{base}.{lazy_exports()[name]}"
    whole = f"{base}.{name}"
    return whole if whole.removeprefix("tomopy_ganrec.") in sources() else base


def called(node: ast.Call) -> str:
    """The last part of the name of what is called."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def own(name: str) -> set[str]:
    """The modules of this package that a module imports, by their names within it."""
    return {m.removeprefix("tomopy_ganrec.") for m in imports(name) if m.startswith("tomopy_ganrec.")}


def layer(name: str) -> int:
    """The number of a module's layer from the top."""
    first = name.split(".")[0]
    layers = [k for k, members in enumerate(LAYERS) if first in members]
    assert len(layers) == 1, f"{first} is in {len(layers)} layers: put it into one of LAYERS, and into CONTRIBUTING.rst"
    return layers[0]


# What imports what


def test_every_layer_is_there():
    assert {name for members in LAYERS for name in members} == {name.split(".")[0] for name in MODULES}


@each_module
def test_nothing_is_imported_upwards(name):
    assert {other for other in own(name) if layer(other) < layer(name)} == set()


@pytest.mark.parametrize("folder", ONLY)
def test_what_a_folder_imports_of_the_package(folder):
    foreign = {
        f"{name} imports {other}"
        for name in MODULES
        if within(name, folder)
        for other in own(name)
        if not any(within(other, allowed) for allowed in {folder, *ONLY[folder]})
    }
    assert foreign == set()


def test_the_adversarial_fit_is_used_by_fit_alone():
    users = {name for name in MODULES if any(within(other, "fit.gan") for other in own(name))}
    assert {name for name in users if not within(name, "fit")} == set()


def circle(edges: dict[str, set[str]]) -> list[str]:
    """A circle in a directed graph, its first member repeated at the end; empty without one."""
    done = set()

    def visit(name, path):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(edges.get(name, ())):
            if turn := visit(other, [*path, name]):
                return turn
        done.add(name)
        return []

    for name in edges:
        if turn := visit(name, []):
            return turn
    return []


def test_no_circle_of_modules():
    assert circle({name: own(name) for name in MODULES}) == []


@pytest.mark.parametrize("folder", [name for name in sources() if is_folder(name)])
def test_no_circle_of_folders(folder):
    """Among the members of each folder, where a sub-folder counts as one."""
    depth = len(folder.split(".")) if folder else 0
    edges: dict[str, set[str]] = {}
    for name in MODULES:
        if name != folder and (within(name, folder) or not folder):
            member = name.split(".")[depth]
            inside = {m for m in own(name) if m != folder and (within(m, folder) or not folder)}
            edges.setdefault(member, set()).update({m.split(".")[depth] for m in inside} - {member})
    assert circle(edges) == []


@each_module
def test_relative_imports_stay_in_the_folder(name):
    """``from .x`` is a file beside this one; what lies elsewhere is named from the package's root.

    A function that a Dask worker receives imports by the whole name, wherever it is.
    """
    path, tree = sources()[name]
    folder = ["tomopy_ganrec", *path.parent.relative_to(PACKAGE).parts]
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [ast.unparse(node) for node in nodes if node.level > 1] == []
    if len(folder) > 1:
        first = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        beside = [node for node in first if not node.level and (node.module or "").split(".")[:-1] == folder]
        assert [ast.unparse(node) for node in beside] == []


# What only some modules know or do


def test_files_and_options_load_no_torch():
    """In a process of its own, one module after the other; the first that loads a heavy package is named."""
    light = [name for name in MODULES if name in LIGHT_MODULES or name.split(".")[0] in LIGHT_FOLDERS]
    code = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module('tomopy_ganrec.' + name)\n"
        f"    loaded = sorted({HEAVY!r} & set(sys.modules))\n"
        "    if loaded: sys.exit(f'{name} loads {loaded}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@each_module
def test_few_modules_know_tomopy(name):
    """Neither by an import nor by the name of one of its modules in a string.

    The benchmark may name the package that a method needs.
    """
    tree = sources()[name][1]
    docstrings = documentation(tree)
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    pattern = r"tomopy(\.\w+)+" if within(name, "benchmark") else r"tomopy(\.\w+)*"
    named = [m for m in imports(name) if m.split(".")[0] == "tomopy"]
    named += [n.value for n in nodes if id(n) not in docstrings and re.fullmatch(pattern, n.value)]
    assert not named or name in KNOW_TOMOPY


@pytest.mark.parametrize("name", [name for name in MODULES if name not in PRINT])
def test_only_the_command_line_prints(name):
    streams = ("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__")
    calls = [node for node in ast.walk(sources()[name][1]) if isinstance(node, ast.Call)]
    prints = [
        ast.unparse(node)
        for node in calls
        if (isinstance(node.func, ast.Name) and node.func.id == "print")
        or (isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in streams)
    ]
    assert prints == []


def test_no_module_is_called_recon():
    """It would take the place of the function `tomopy_ganrec.recon`."""
    assert [name for name in MODULES if name.split(".")[-1] == "recon"] == []
