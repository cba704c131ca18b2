"""docs/architecture.md names every room and existing types only, and stays short; ARCHITECTURE.md is a map."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import GTRStagingLib

ROOT = Path(__file__).parents[1]
PACKAGE = Path(GTRStagingLib.__file__).parent
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(heading):
    return PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_the_page_has_a_line_for_every_room():
    rows = re.findall(r"^\| `(\w+)` \| \S.+ \|$", section("Rooms"), flags=re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == ROOMS


def test_the_pages_stay_short():
    assert len(PAGE.splitlines()) <= 150
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize(
    ("name", "module"), re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", section("Main types"), flags=re.MULTILINE)
)
def test_a_main_type_is_defined_where_the_page_says(name, module):
    assert getattr(import_module(f"GTRStagingLib.{module}"), name).__module__ == f"GTRStagingLib.{module}"


def test_files_to_change_exist():
    paths = re.findall(r"`((?:\w+/)+\w+\.(?:py|json))`", section("Where to change what"))
    assert len(paths) > 15
    for path in paths:
        assert any((folder / path).is_file() for folder in (ROOT, PACKAGE, ROOT / "GTRStaging")), path


def test_the_page_of_dependencies_names_every_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    packages = {re.match(r"[\w-]+", one)[0].lower().removesuffix("-essentials") for some in lists for one in some}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    named = set(re.findall(r"[\w-]+", page))
    assert packages - {"gtrstaging"} - named == set()


def test_the_page_of_installation_names_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page, re.MULTILINE)
    named = [name for line in lines for name in re.findall(r"\w+", line)]
    assert sorted(named) == sorted(project["optional-dependencies"])
