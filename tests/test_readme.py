"""README.rst: its tables are drawn from the results, its markup is well-formed, its links lead to files."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_the_tables_are_drawn_from_the_results():
    pytest.importorskip("astra")
    spec = importlib.util.spec_from_file_location("result_tables", ROOT / "docs" / "tools" / "result_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for name, drawings in tables.DOCUMENTS.items():
        text = (ROOT / name).read_text()
        assert tables.drawn(text, drawings) == text, "run make readme"
    assert "GANrec" in tables.angles() and "51 over 70°" in tables.when() and "without bound" in tables.ablation()


@pytest.mark.parametrize("name", ["README.rst", "CHANGELOG.rst", "CONTRIBUTING.rst", "docs/quality.rst"])
def test_the_markup_is_well_formed(name):
    core = pytest.importorskip("docutils.core")
    core.publish_doctree(
        (ROOT / name).read_text(),
        settings_overrides={"halt_level": 2, "report_level": 2, "file_insertion_enabled": False},
    )


def test_pictures_and_links_are_there():
    text = (ROOT / "README.rst").read_text()
    page = (ROOT / "docs" / "quality.rst").read_text()
    assert all((ROOT / "docs" / name).is_file() for name in re.findall(r"image:: (\S+)", page))
    named = re.findall(r"image:: (\S+)", text) + re.findall(r"<(notebooks/[^>]+)>`_", text)
    assert len(named) >= 6 and not [name for name in named if not (ROOT / name).is_file()]
