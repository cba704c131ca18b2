"""The entry for the Extensions Index obeys the Index's rules.

Sources, read in August 2026: `scripts/check_description_files.py` and `.github/PULL_REQUEST_TEMPLATE.md` of
Slicer/ExtensionsIndex, and `Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json` of Slicer/Slicer. The rules are
in this file's own words; what needs a network (the repository's topic, the pictures' addresses) is checked there alone.
"""

import json
import re
import subprocess
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]
ENTRY = ROOT / "Resources" / "GTRStaging.json"
PAGE = ROOT / "docs" / "project" / "extensions-index.md"
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json"
)
PLACEHOLDER = "set-at-publication.invalid"

REQUIRED = {"$schema": str, "category": str, "scm_url": str}
OPTIONAL = {"scm_revision": str, "scm_type": str, "build_dependencies": list, "build_subdirectory": str,
            "dicom_support_rule": str, "enabled": bool, "tier": int}  # fmt: skip
FITTING = {"Analysis", "Informatics", "Quantification", "Segmentation", "Utilities"}
"""Categories of the Index's list that could be ours; Oncology is not in the list."""


@pytest.fixture(scope="module")
def entry():
    return json.loads(ENTRY.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def metadata():
    """EXTENSION_… of CMakeLists.txt, which the Index reads from single-line literals."""
    top = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"\n]+)"\)$', top, flags=re.MULTILINE))


def pictures(metadata):
    return [metadata["ICONURL"], *metadata["SCREENSHOTURLS"].split()]


def repository(entry):
    return PurePosixPath(urlsplit(entry["scm_url"]).path).stem


def test_the_entry_follows_the_schema(entry):
    assert entry["$schema"].removesuffix("#") == SCHEMA
    types = REQUIRED | OPTIONAL
    assert REQUIRED.keys() <= entry.keys() <= types.keys()
    assert {key: type(value) for key, value in entry.items()} == {key: types[key] for key in entry}
    assert all(isinstance(name, str) for name in entry["build_dependencies"])
    assert entry["scm_type"] in ("git", "local")
    assert 1 <= entry["tier"] <= 5


def test_lines_end_as_the_index_wants():
    assert b"\r" not in ENTRY.read_bytes()


def test_the_extension_is_named_as_its_file_and_not_after_slicer():
    name = re.search(r"^project\((\w+)\)", (ROOT / "CMakeLists.txt").read_text(), flags=re.MULTILINE)[1]
    assert name == ENTRY.stem
    assert not name.lower().startswith("slicer")


def test_the_category_is_in_the_index_s_list(entry):
    assert entry["category"] in FITTING


def test_the_repository_can_be_cloned_by_its_address(entry):
    assert urlsplit(entry["scm_url"]).scheme in ("git", "https")
    assert entry["scm_url"].endswith(".git")


def test_the_repository_s_name_starts_with_slicer_or_an_exception_is_asked_for(entry):
    name = repository(entry)
    request = PAGE.read_text(encoding="utf-8").partition("## Request for an exception")[2]
    assert name.startswith("Slicer") or f"an exception for the repository `{name}`" in request


def test_the_description_is_short_and_says_research(metadata):
    assert {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"} <= metadata.keys()
    assert metadata["DESCRIPTION"].count(". ") <= 1
    assert "Research use only" in metadata["DESCRIPTION"]


def test_entry_and_cmake_say_the_same(entry, metadata):
    assert entry["build_dependencies"] == metadata["DEPENDS"].split() == ["PyTorch"]
    assert entry["scm_url"].removesuffix(".git") == metadata["HOMEPAGE"]


def test_pictures_are_of_a_kind_that_is_shown_and_are_in_the_repository(metadata):
    found = pictures(metadata)
    assert len(found) >= 2  # the icon, and at least one screenshot
    for url in found:
        assert url.startswith("https://")
        assert PurePosixPath(url).suffix in (".png", ".jpg", ".jpeg", ".gif")
        assert (ROOT / url.partition("/main/")[2]).is_file(), url


@pytest.mark.parametrize("variable", ["README", "LICENSE"])
def test_the_files_that_cmake_names_exist(variable):
    top = (ROOT / "CMakeLists.txt").read_text()
    file = re.search(rf"EXTENSION_{variable}_FILE \"\${{CMAKE_CURRENT_SOURCE_DIR}}/([\w.]+)\"", top)[1]
    assert (ROOT / file).is_file()


def test_addresses_are_all_placeholders_or_all_real(entry, metadata):
    addresses = [entry["scm_url"], metadata["HOMEPAGE"], *pictures(metadata)]
    assert len({urlsplit(address).hostname == PLACEHOLDER for address in addresses}) == 1


def test_the_repository_is_small_enough():
    """At most 100 MB with its history; the files alone leave room for that."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert sum(file.stat().st_size for file in files if file.is_file()) < 50_000_000


def test_the_home_page_contains_what_the_index_asks_for():
    """README: name, licence, a picture, the publication, and a sentence for each module."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# GTR Staging")
    assert re.search(r"Apache(-| License,? (Version )?)2\.0", text)
    assert re.search(r"!\[[^]]+\]\([^)]+\.png\)|<img ", text)
    assert "10.1038/s41746-025-02002-5" in text
    for module in ("GTR Staging", "GTR Reading"):
        assert re.search(rf"\*{{1,2}}{module}\*{{1,2}}", text), f"expected {module} in a sentence of its own"
