"""Public names, the cost of importing, files that travel with the package, and lists of requirements that agree."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import tomopy_ganrec

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")

# What conda-forge holds together, by its own recipes: tomopy 1.15.3 with dxchange 0.2.1.
CONDA = {
    "python": "3.12",
    "tomopy": "1.15.3",
    "dxchange": "0.2.1",
    "numpy": "2.2.6",
    "scipy": "1.13.1",
    "scikit-image": "0.25.2",
    "tifffile": "2024.12.12",
    "astra-toolbox": "2.3.1",
}


def test_public_names():
    for name in tomopy_ganrec.__all__:
        assert getattr(tomopy_ganrec, name) is not None
    assert callable(tomopy_ganrec.ganrec) and callable(tomopy_ganrec.recon)
    assert set(tomopy_ganrec.__all__) == set(dir(tomopy_ganrec))


def test_import_is_light():
    heavy = ("torch", "scipy", "astra", "h5py")
    code = f"import sys, tomopy_ganrec; tomopy_ganrec.GanrecOptions; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_files_that_are_no_modules_travel_with_the_package():
    """The mark that its annotations are meant for others, and the page of the report."""
    for package, patterns in setup()["options.package_data"].items():
        folder = ROOT.joinpath(*package.split("."))
        assert all(list(folder.glob(pattern)) for pattern in patterns.split())
    assert "py.typed" in setup()["options.package_data"]["tomopy_ganrec"].split()


def test_the_citation_names_the_software_and_the_article():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    metadata = setup()["metadata"]
    assert citation["title"] == metadata["name"] and citation["license"] == metadata["license"]
    (article,) = citation["references"]
    assert article["doi"] == "10.1107/S1600577520000831" and article["authors"][0]["family-names"] == "Yang"


# Requirements


def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def requirements(text):
    """By canonical name; comments and empty lines left out."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return [Requirement(line) for line in lines]


def required(extras):
    """What setup.cfg asks for, with the extras named."""
    listed = requirements(setup()["options"]["install_requires"])
    for extra in extras:
        listed += requirements(setup()["options.extras_require"][extra])
    return listed


def all_extras():
    return list(setup()["options.extras_require"])


def lowest(specifier):
    """The lower bound of a specifier; 0 without one."""
    return max(
        (Version(part.version) for part in specifier if part.operator in (">=", "==", "~=")), default=Version("0")
    )


def conda_environment():
    """The environment file's entries for conda, name: SpecifierSet, and those for pip."""
    conda, pip = {}, []
    for entry in yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]:
        if isinstance(entry, dict):
            assert list(entry) == ["pip"]
            pip += entry["pip"]
        else:
            name, specifier = re.fullmatch(r"([a-z0-9_.-]+?) *([<>=!~].*)?", entry).groups()
            assert name not in conda
            conda[name] = SpecifierSet(specifier or "")
    return conda, pip


def test_the_pythons_named_are_those_allowed():
    metadata = setup()
    named = re.findall(r"Python :: (3\.\d+)$", metadata["metadata"]["classifiers"], re.MULTILINE)
    assert tuple(named) == PYTHONS
    allowed = SpecifierSet(metadata["options"]["python_requires"])
    assert all(f"{python}.0" in allowed for python in PYTHONS) and "3.9.18" not in allowed


def test_the_linters_are_those_of_the_hooks():
    """`make lint` and a commit run the same ones, and each is a requirement of the extra `dev`."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    hooked = {Path(hook["entry"].split()[0]).name for hook in hooks}
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert hooked == set(re.findall(r"\$\(BIN\)/(\w+)", recipe.group(1)))
    assert hooked <= {requirement.name for requirement in required(["dev"])}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_constraints_hold_one_version_of_each_requirement(python):
    environment = default_environment() | {"python_version": python, "python_full_version": f"{python}.0"}
    pins = {}
    for pin in requirements((ROOT / "constraints.txt").read_text(encoding="utf-8")):
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and not specifier.version.endswith("*")
        versions = pins.setdefault(canonicalize_name(pin.name), [])
        if pin.marker is None or pin.marker.evaluate(environment):
            versions.append(specifier.version)
    assert {name: versions for name, versions in pins.items() if len(versions) != 1} == {}
    for requirement in required(all_extras()):
        (version,) = pins[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} is pinned to {version}"


def test_the_conda_environment_has_every_requirement():
    conda, _ = conda_environment()
    # dev: the linters; gridrec: a stand-in for what TomoPy brings, and not on conda-forge
    for requirement in required(set(all_extras()) - {"dev", "gridrec"}):
        name = {"torch": "pytorch"}.get(requirement.name, requirement.name)
        assert name in conda, f"{requirement} is not in environment.yml"
        # pip leaves alone what conda brought
        assert lowest(conda[name]) >= lowest(requirement.specifier), (
            f"environment.yml has {name}{conda[name]}, setup.cfg {requirement}"
        )


@pytest.mark.parametrize("name", CONDA)
def test_the_conda_environment_can_be_solved(name):
    conda, _ = conda_environment()
    assert CONDA[name] in conda[name]
    for requirement in required(all_extras()):
        if requirement.name == name:
            assert CONDA[name] in requirement.specifier
    if name == "python":
        assert f"{CONDA[name]}.0" in SpecifierSet(setup()["options"]["python_requires"])
        # scipy 1.13, which dxchange needs, is built for no later one
        assert "3.13" not in conda[name] and "3.13.0" not in conda[name]


def test_pip_installs_this_folder_alone():
    """conda hands the list to pip as a requirements file, where options such as --no-deps are refused."""
    conda, pip = conda_environment()
    assert pip == ["-e ."] and "pip" in conda


def test_a_source_tree_that_is_not_installed_has_a_version():
    """`recon` keeps the version with an output: without one, a checkout on the path could not reconstruct."""
    code = (
        "import importlib.metadata as metadata\n"
        "def missing(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = missing\n"
        "import tomopy_ganrec; from tomopy_ganrec.package_version import VERSION\n"
        "print(VERSION, tomopy_ganrec.__version__)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["0.0.0", "0.0.0"]
