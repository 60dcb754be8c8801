"""CONTRIBUTING.rst: the files and names that it gives are there, and its picture has every part of the package."""

import re

import pytest
from source_tree import MODULES, PACKAGE, ROOT

TEXT = (ROOT / "CONTRIBUTING.rst").read_text(encoding="utf-8")
# ``folder/file.py`` or ``folder/file.py: NAME``, from the package's folder or from the repository's
NAMED = sorted(set(re.findall(r"``((?:[\w.-]+/)*[\w.-]+\.(?:py|md|csv|rst|txt|cfg|toml|yml))(?:: (\w+))?``", TEXT)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda value: value or "-")
def test_what_is_named_is_there(file, name):
    paths = [folder / file for folder in (PACKAGE, ROOT) if (folder / file).is_file()]
    assert paths, f"{file} is neither in the package nor in the repository"
    assert not name or re.search(rf"^(?:class |def )?{name}\b", paths[0].read_text(encoding="utf-8"), re.MULTILINE)


def picture():
    """The lines of the picture of what may import what, without the descriptions."""
    block = TEXT.split("from the lines below, never from above::\n")[1].strip("\n").split("\n\n")[0]
    return [re.split(r"\s{4,}", line.strip())[0] for line in block.splitlines()]


def test_the_picture_has_every_part_of_the_package():
    drawn = {word.removesuffix(".py").rstrip("/") for line in picture() for word in line.split()}
    assert {name.split(".")[0] for name in MODULES} <= drawn
    assert drawn - {part for name in MODULES for part in name.split(".")} == set()
