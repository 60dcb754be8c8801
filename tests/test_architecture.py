"""The layers of the package: what may import what, and what only some parts may know or do."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "tomopy_ganrec"

# From top to bottom: a module imports from its own layer and from those below. By the first part of its name within the package.
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
    {"results", "validation"},
    {"scan_angles"},
    {"options", "slice_record", "forks"},
]
TORCH_FREE = {
    "io",
    "options",
    "slice_record",
    "validation",
    "scan_angles",
    "forks",
    "phantoms",
    "metrics",
    "volume.planning",
}


@functools.cache
def sources() -> dict:
    """The syntax tree of each module, by its name within the package."""
    trees = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        trees[name] = path, ast.parse(path.read_text(encoding="utf-8"))
    return trees


def imports(name: str) -> set:
    """Every module of any package that a module imports anywhere, with those of this package named within it."""
    path, tree = sources()[name]
    package = ["tomopy_ganrec", *name.split(".")]
    if path.name != "__init__.py":
        package.pop()
    package = [part for part in package if part]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(base + ([node.module] if node.module else []))
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full.removeprefix("tomopy_ganrec.") in sources() else base)
    return found


def own(name: str) -> set:
    """The modules of the package that a module imports."""
    return {m.removeprefix("tomopy_ganrec.") for m in imports(name) if m.startswith("tomopy_ganrec.")}


def layer(name: str) -> int:
    (place,) = [k for k, members in enumerate(LAYERS) if name.split(".")[0] in members]
    return place


MODULES = [name for name in sources() if name]


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_imported_upwards(name):
    assert {other for other in own(name) if layer(other) < layer(name)} == set()


def test_no_circle():
    """Neither of modules nor, by their first names, of folders."""
    edges = {name: own(name) for name in MODULES}
    done = set()

    def visit(name, path):
        assert name not in path, f"circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            for other in sorted(edges.get(name, ())):
                visit(other, [*path, name])
            done.add(name)

    for name in MODULES:
        visit(name, [])


@pytest.mark.parametrize("name", [name for name in MODULES if {name, name.split(".")[0]} & TORCH_FREE])
def test_files_and_options_know_no_torch(name):
    """They are imported before torch is loaded, which takes seconds."""
    _, tree = sources()[name]
    first = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name.split(".")[0] for node in first if isinstance(node, ast.Import) for alias in node.names}
    names |= {
        (node.module or "").split(".")[0] for node in first if isinstance(node, ast.ImportFrom) and not node.level
    }
    assert not names & {"torch", "astra", "h5py", "dask", "distributed", "tomopy"}


# TomoPy's callable and its registration know TomoPy; files may be normalised by tomopy.prep.
TOMOPY = {"api", "tomopy_registry", "io.optional", "benchmark.peers"}


@pytest.mark.parametrize("name", MODULES)
def test_few_modules_know_tomopy(name):
    _, tree = sources()[name]
    named = {m.split(".")[0] for m in imports(name)}
    named |= {
        node.args[0].value.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("import_module", "__import__")
    }  # fmt: skip
    assert "tomopy" not in named or name in TOMOPY


PRINTS = {"cli", "benchmark.cli", "benchmark.demo"}


@pytest.mark.parametrize("name", [name for name in MODULES if name not in PRINTS])
def test_nobody_prints(name):
    _, tree = sources()[name]
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [f for f in calls if isinstance(f, ast.Name) and f.id == "print"]
    assert not [
        f
        for f in calls
        if isinstance(f, ast.Attribute) and f.attr == "write" and ast.unparse(f.value) in ("sys.stdout", "sys.stderr")
    ]
