"""The modules of the package as files and syntax trees, for the tests of its architecture and of its style."""

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tomopy_ganrec"


@functools.cache
def sources() -> dict[str, tuple[Path, ast.Module]]:
    """The file and the syntax tree of each module, by its name within the package ("" is the package itself)."""
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        trees[name] = path, ast.parse(path.read_text(encoding="utf-8"))
    return trees


def is_folder(name: str) -> bool:
    return sources()[name][0].name == "__init__.py"


def documentation(tree: ast.Module) -> set[int]:
    """The identities of the nodes that are docstrings."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    owners = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return {id(n.body[0].value) for n in owners if ast.get_docstring(n, clean=False) is not None}


MODULES = [name for name in sources() if name]
