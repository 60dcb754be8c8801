"""Sizes of modules, functions and test files, and the words of code and documents."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import ROOT, is_folder, sources

MODULE_LINES = 320
FUNCTION_LINES = 60
TEST_LINES = 400

# Metaphors for technical things, each with the plural and the tenses in use.
METAPHORS = (
    r"doors?|rooms|room of|homes?|houses?|storeys?|games?|plays?|played|players?|playing",
    r"judges?|verdicts?|teachers?|lessons?|crews?|bench|benches|rubbish|strangers?|business",
    r"(?:pay|pays|paid|paying) for|(?:let|lets|letting) go|from nothing",
)
# The same words where they mean the thing itself, and in files that earlier versions have written.
LITERAL = (
    *("home folder", "home directory", "Path.home", "Keys.HOME", '"HOME"', "to judge", "to_judge"),
    "move to another and let go",  # the button of a mouse
    '"judge"',  # the discriminator's weights in stored states
    '"3 lessons for wedges below 176°"',  # in stored results
)


@pytest.mark.parametrize("name", list(sources()))
def test_a_module_names_its_subject(name):
    text = ast.get_docstring(sources()[name][1])
    if text is None:
        assert is_folder(name) and not sources()[name][1].body, "a module has a docstring"
    else:
        assert text.split()[0].rstrip(",:;.") not in ("What", "Which", "How", "Where", "Who", "When", "Whether", "Why")


@pytest.mark.parametrize("name", list(sources()))
def test_modules_are_short(name):
    lines = len(sources()[name][0].read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES, f"{lines} lines"


def code_lines(path: Path) -> set[int]:
    """The numbers of the lines that hold code or a part of a string, not those of comments and empty lines."""
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines


@pytest.mark.parametrize("name", list(sources()))
def test_functions_are_short(name):
    """Signatures, docstrings, comments and empty lines are not counted."""
    path, tree = sources()[name]
    code = code_lines(path)
    long = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = code & set(range(node.body[0].lineno, node.end_lineno + 1))
            for inner in ast.walk(node):
                if isinstance(inner, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(inner) is not None:
                    lines -= set(range(inner.body[0].lineno, inner.body[0].end_lineno + 1))
            if len(lines) > FUNCTION_LINES:
                long[node.name] = len(lines)
    assert long == {}


def test_test_files_are_short_and_have_different_names():
    """pytest imports test files by their names alone, as their folders are no packages."""
    files = sorted((ROOT / "tests").rglob("*.py"))
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > TEST_LINES} == {}
    names = [path.name for path in files if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def texts() -> Iterator[Path]:
    """Code, documents and what builds the package, but this file, which holds the words themselves."""
    for folder, patterns in {
        "tomopy_ganrec": ("*.py", "*.html"),
        "tests": ("*.py",),
        "performance": ("*.py", "*.md", "*.txt"),
        "docs": ("*.py", "*.rst"),
        "notebooks": ("*.py",),
    }.items():
        for pattern in patterns:
            yield from sorted(path for path in (ROOT / folder).rglob(pattern) if path != Path(__file__))
    for suffix in ("rst", "yml", "cff", "cfg", "toml"):
        yield from sorted(ROOT.glob(f"*.{suffix}"))
    yield from (ROOT / "Makefile", ROOT / "constraints.txt", ROOT / ".ci" / "run")


@pytest.mark.parametrize("path", list(texts()), ids=lambda path: str(path.relative_to(ROOT)))
def test_things_are_called_by_their_names(path):
    """No metaphors for technical things, not within identifiers either (``_Player``, ``home_of``)."""
    words = re.compile(rf"\b({'|'.join(METAPHORS)})\b", re.IGNORECASE)
    metaphors = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for literal in LITERAL:
            line = line.replace(literal, "")
        parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", line).replace("_", " ")
        metaphors += [f"{number}: {word}" for word in words.findall(parts)]
    assert metaphors == []
