"""The repository's own files: workflows, forms and metadata are valid, and nothing is promised that does not exist.

The workflows run on GitHub alone; here they are checked against GitHub's schema, and their shell scripts by shellcheck.
On GitHub actionlint checks them as well.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML  # comes with check-jsonschema

import GTRStagingLib

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, flags=re.MULTILINE))

BESIDE_PYTHON = [str(Path(sys.executable).parent), os.environ["PATH"]]  # the virtual environment, if there is one
SHELLCHECK = shutil.which("shellcheck", path=os.pathsep.join(BESIDE_PYTHON))


def read(path):
    """YAML 1.2, where `on` is a word."""
    return YAML(typ="safe").load(path)


def jobs():
    return [(path, name, job) for path in WORKFLOWS for name, job in read(path)["jobs"].items()]


def steps():
    return [(path, step) for path, _, job in jobs() for step in job["steps"]]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("custom.github-workflows-require-timeout", WORKFLOWS),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"]),
        ("vendor.dependabot", [ROOT / ".github" / "dependabot.yml"]),
        ("vendor.citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_files_follow_their_schemas(schema, files):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, "--default-filetype", "yaml"]
    done = subprocess.run([*command, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# -- workflows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_nothing_else(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    assert "concurrency" in workflow


def test_actions_are_github_s_own_at_a_major_version():
    used = {step["uses"] for _, step in steps() if "uses" in step}
    assert used
    assert {action for action in used if not re.fullmatch(r"actions/[a-z-]+@v\d+", action)} == set()


def test_no_credentials_stay_in_a_checkout():
    checkouts = [step for _, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_what_workflows_call_exists():
    scripts = "\n".join(step.get("run", "") for _, step in steps())
    assert set(re.findall(r"\bmake (?:-s )?([a-z-]+)", scripts)) <= TARGETS
    for name in re.findall(r"(?:^|[\s\"])((?:Testing|GTRStaging|GTRReading|\.ci)/[\w./-]+)", scripts):
        assert (ROOT / name).exists(), name


def test_tests_that_need_data_are_skipped_on_github():
    """GitHub sets CI, and under CI a test without its data fails."""
    for path, name, job in jobs():
        script = "\n".join(step.get("run", "") for step in job["steps"])
        if re.search(r"make (test|coverage)|python -m pytest", script):
            workflow = read(path)
            assert {**workflow.get("env", {}), **job.get("env", {})}.get("CI") == "", f"{path.name}: {name}"


def test_every_supported_python_is_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    minors = [m[1] for line in project["classifiers"] if (m := re.fullmatch(r".*:: (3\.\d+)", line))]
    assert read(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["linux"]["strategy"]["matrix"]["python"] == minors


def test_shell_scripts_are_sound(tmp_path):
    assert SHELLCHECK, "no shellcheck; the extra test brings it"
    scripts = [ROOT / ".ci" / "run"]
    for number, (path, step) in enumerate(steps()):
        if "run" in step:
            script = tmp_path / f"{path.stem}-{number}.sh"
            script.write_text("#!/bin/bash -e\n" + re.sub(r"\$\{\{.*?\}\}", "expression", step["run"]))
            scripts.append(script)
    done = subprocess.run([SHELLCHECK, "--format=gcc", *scripts], capture_output=True, text=True)
    # SC2046: the list of libraries is to be split into words.
    found = [line for line in done.stdout.splitlines() if "SC2046" not in line]
    assert found == []


# -- tools on each commit ------------------------------------------------------------------------------------------


def test_commits_are_checked_by_the_tools_of_make_check():
    """By the same programs, so that there is one list of versions."""
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)[1].replace("$(BIN)", ".venv/bin")
    tools = {" ".join(line.split()[:2]) if "ruff" in line else line.split()[0] for line in recipe.splitlines()}
    hooks = [hook for repo in read(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    for tool in tools:
        assert any(f"{hook['entry']} ".startswith(f"{tool} ") for hook in hooks), tool
    assert all(hook["language"] == "system" for hook in hooks)


def test_the_hooks_are_valid():
    if importlib.util.find_spec("pre_commit") is None:
        pytest.skip("no pre-commit; the extra dev brings it")
    command = [sys.executable, "-m", "pre_commit", "validate-config", ROOT / ".pre-commit-config.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("subject", "fault"),
    [
        ("Report non-finite NIfTI header values", None),
        ("Embed the fonts in the report", None),
        ("Pass the seed on", None),
        ("Merge branch 'x' into y, which git writes by itself and which may therefore be long.", None),
        ("R" + "e" * 71 + "t", "it has 73 characters"),
        ("report values", "a capital letter"),
        ("Report values.", "no full stop"),
        ("Reported values", "not 'Reported'"),
        ("Reports values", "not 'Reports'"),
        ("Reporting values", "not 'Reporting'"),
    ],
)
def test_subjects_of_commits(subject, fault, tmp_path):
    message = tmp_path / "message"
    message.write_text(f"{subject}\n\nA body that says why.\n# a comment of git's\n", encoding="utf-8")
    command = [sys.executable, ROOT / ".ci" / "commit_subject.py", message]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode == 0) == (fault is None), done.stderr
    assert (fault or "") in done.stderr


# -- metadata and promises -----------------------------------------------------------------------------------------


def test_the_citation_is_of_this_version_and_of_the_article():
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == GTRStagingLib.__version__
    (article,) = citation["references"]
    assert article["doi"] == "10.1038/s41746-025-02002-5"
    assert len(article["authors"]) == 19


def test_the_change_log_begins_with_this_version():
    """2.3.0.dev0 comes before [2.3.0]."""
    release = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    assert re.sub(r"\.?(dev|rc)\d+$", "", GTRStagingLib.__version__) == release


@pytest.fixture(scope="module")
def texts():
    """Name -> text of every file that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    found = {}
    for name in filter(None, listed.stdout.split("\0")):
        try:
            found[name] = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
    return found


def matches(texts, pattern):
    expression = re.compile(pattern, flags=re.IGNORECASE)
    return {f"{name}: {m[0]}" for name, text in texts.items() if name != "Testing/test_repository.py"
            for m in expression.finditer(text)}  # fmt: skip


def test_nobody_s_address_is_given(texts):
    licences = "-LICENSES.txt"  # of others, whose copyright lines are kept as they are
    ours = {name: text for name, text in texts.items() if not name.endswith(licences)}
    assert matches(ours, r"\b[\w.+-]+@[\w-]+(\.[\w-]+)*\.[a-z]{2,}\b") == set()


def test_no_badge_is_shown(texts):
    assert matches(texts, r"shields\.io|badge\.svg|/badges?/|badge\.fury|codecov\.io|app\.readthedocs") == set()


def test_the_repository_has_no_address_but_that_in_cmake(texts):
    """As long as there is a placeholder, no address that looks real; afterwards, that one everywhere."""
    home = re.search(r'EXTENSION_HOMEPAGE "https://([^"]+)"', (ROOT / "CMakeLists.txt").read_text())[1]
    found = matches(texts, r"(?:git(?:hub|lab)(?:usercontent)?\.com|codeberg\.org|readthedocs\.io|github\.io|pypi\.org)"
                           r"/[\w./-]*gtr-?staging[\w.-]*|gtr-?staging\.(?:readthedocs|github)\.io")  # fmt: skip
    assert {match for match in found if home not in match} == set()


def test_the_tests_have_one_conftest():
    """A second one takes the name, so that `from conftest import` fails in tests that are collected after it."""
    assert list(ROOT.glob("Testing/**/conftest.py")) == [ROOT / "Testing" / "conftest.py"]
