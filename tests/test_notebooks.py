"""The notebooks are made from their scripts, have the outputs of a real run, are small, and name no machine's paths.

That they run is tested by ``pytest --nbmake notebooks``, which ``make test`` does too.
"""

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NAMES = ("quickstart", "missing_wedge_benchmark", "insitu_zeolite", "real_tooth")
each = pytest.mark.parametrize("name", NAMES)


def cells(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]


def texts(output):
    """An output without its pictures, whose encoding may contain any word."""
    return {key: value for key, value in output.items() if key != "data"} | {
        k: v for k, v in output.get("data", {}).items() if k != "image/png"
    }


@each
def test_it_is_its_script(name):
    jupytext = pytest.importorskip("jupytext")
    script = [(cell.cell_type, cell.source) for cell in jupytext.read(FOLDER / f"{name}.py").cells]
    assert script == [(cell["cell_type"], "".join(cell["source"])) for cell in cells(name)], "run make notebooks"


@each
def test_it_shows_what_it_computed(name):
    code = [cell for cell in cells(name) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))  # run once, in order
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    said = "".join("".join(output["text"]) for output in outputs if output.get("name") == "stderr")
    assert "Warning" not in said and "Traceback" not in said  # progress bars may stand there


@each
def test_it_is_small_and_belongs_to_no_machine(name):
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert len(text.encode()) < 2_000_000
    shown = json.dumps(
        [[cell["source"], [texts(output) for output in cell.get("outputs", ())]] for cell in cells(name)]
    ).replace("\\n", "\n")
    # A slash that begins a word begins a path from the root, whatever the machine; a link's begin with their scheme.
    assert re.findall(r"(?<![\w.])(?<!http:)(?<!https:)/+\w+/", shown) == [] and "file://" not in shown


def test_no_other_notebooks():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
