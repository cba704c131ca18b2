"""What the documents tell a reader to type works, and what they link to exists.

A block of commands or of Python is run, in the order of its page and from an empty folder for each page, unless the
line before it is `<!-- not run: REASON -->`.
"""

import ast
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from GTRStagingLib.cli.arguments import every_parser, is_command
from GTRStagingLib.cli.main import make_parser
from GTRStagingLib.stages import RESEARCH_USE_ONLY

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""Documents whose blocks are run or carry their reason."""
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *GUIDES[1:]]

REASON = "<!-- not run: "
PROGRAMS = ("gtrstaging", "make", "pip", "python", "python3", "Slicer", "dask", "docker", "helm", "kubectl", "sudo")
HEADLESS = ROOT / "GTRStaging" / "GTRStagingSlicer" / "headless.py"


class Block(NamedTuple):
    """A fenced block: its language, its text, and why it is not run."""

    language: str
    text: str
    reason: str | None

    @property
    def runs(self):
        return self.language in ("sh", "python") and self.reason is None


def blocks_of(path):
    """The fenced blocks of a document, directives left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found, at = [], 0
    while at < len(lines):
        fence = re.match(r"( *)(```+)(\S*)", lines[at])
        if fence is None:
            at += 1
            continue
        end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == fence[2])
        text = "\n".join(line.removeprefix(fence[1]) for line in lines[at + 1 : end])
        before = lines[at - 1].strip() if at else ""
        reason = before.removeprefix(REASON).removesuffix("-->").strip() if before.startswith(REASON) else None
        if not fence[3].startswith("{"):
            found.append(Block(fence[3], text, reason))
        at = end + 1
    return found


def name_of(path):
    return path.relative_to(ROOT).as_posix()


# -- what is run ---------------------------------------------------------------------------------------------------

RUN = [path for path in GUIDES if any(block.runs for block in blocks_of(path))]


@pytest.mark.slow
@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_every_block_of_a_page_runs_in_its_order(path, tmp_path):
    binaries = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([binaries, os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "GTRSTAGING_MODELS": str(tmp_path / "models"),
    }
    folder = tmp_path / "empty"
    folder.mkdir()
    for block in blocks_of(path):
        if block.runs:
            command = ["bash", "-eo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
            done = subprocess.run([*command, block.text], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    if path.name in ("README.md", "stage-a-case.md"):
        for name in ("result.json", "attention.nrrd", "overlay.png", "report.html"):
            assert (folder / "result" / name).stat().st_size > 1000


@pytest.mark.parametrize("path", GUIDES, ids=name_of)
def test_a_block_that_is_not_run_has_its_reason(path):
    for block in blocks_of(path):
        if not block.runs and (commands := [line for line in commands_in(block.text) if line]):
            assert block.reason, f"{commands[0]}: run it (```sh), or write why not before it"
        if block.reason is not None:
            assert len(block.reason) > 8, block


# -- commands ------------------------------------------------------------------------------------------------------


def commands_in(text):
    """The lines of a block that begin with a program, continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split()
        if words and words[0].rpartition("/")[2] in PROGRAMS:
            yield line


def calls_in(text) -> Iterator[list[str]]:
    """The arguments of every `gtrstaging` in a shell script."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars=";|&<>\n")
    lexer.whitespace, lexer.whitespace_split = " \t\r", True
    command: list[str] = []
    for word in [*lexer, "\n"]:
        if not set(word) <= set(";|&<>\n"):
            command.append(word)
            continue
        if "gtrstaging" in command and command[0] in ("gtrstaging", "timeout", "until"):
            arguments = command[command.index("gtrstaging") + 1 :]
            yield arguments[:-1] if word == ">" and arguments[-1:] == ["2"] else arguments
        command = []


def heredocs_left_out(text):
    return re.sub(r"<<'END'\n.*?\nEND$", "", text, flags=re.DOTALL | re.MULTILINE)


def refused_by(parser, arguments):
    """What the parser says against arguments; None where it accepts them."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        parser.parse_args(arguments)
        return None
    return None if arguments[-1:] in (["--help"], ["--version"]) else said.getvalue()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_command_is_accepted_by_the_parser(path):
    parser = make_parser()
    for block in blocks_of(path):
        if block.language == "sh" or any(commands_in(block.text)):
            for arguments in calls_in(heredocs_left_out(block.text)):
                assert refused_by(parser, arguments) is None, shlex.join(arguments)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_in_sentences_name_what_exists(path):
    for command in re.findall(r"`gtrstaging ([^`]+)`", path.read_text(encoding="utf-8")):
        parser = make_parser()
        for word in command.split():
            below = [action for action in parser._actions if hasattr(action.choices, "items")]
            if below and word.islower() and not word.startswith("-"):
                assert word in below[0].choices, command
                parser = below[0].choices[word]
            elif word.startswith("--"):
                assert word.partition("=")[0] in parser._option_string_actions, command


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_make_has_every_target_that_is_named(path):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"`make ([a-z][\w-]*)`", text)
    for block in blocks_of(path):
        named += re.findall(r"^make ([a-z][\w-]*)", block.text, flags=re.MULTILINE)
    assert set(named) <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_headless_has_every_option_that_is_given(path):
    options = set(re.findall(r'"(--[\w-]+)"', HEADLESS.read_text(encoding="utf-8")))
    for block in blocks_of(path):
        for line in block.text.replace("\\\n", " ").splitlines():
            if "headless.py -- " in line:
                given = set(re.findall(r"--[\w-]+", line.partition("headless.py -- ")[2]))
                assert given <= options


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_programs_of_this_repository_that_are_named_exist(path):
    for name in re.findall(r"\b((?:benchmarks|Testing|Resources)/[\w/]+\.py)\b", path.read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_python_is_python(path):
    for block in blocks_of(path):
        if block.language == "python":
            ast.parse(block.text)


# -- links ---------------------------------------------------------------------------------------------------------


def anchors_of(path):
    """Anchors of the headings, as repository hosts and Sphinx make them; and those that are set by hand."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {
        *(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings),
        *re.findall(r"^\(([\w-]+)\)=$", text, flags=re.MULTILINE),
    }


@pytest.mark.parametrize("path", [*DOCUMENTS, *(ROOT / ".github").rglob("*.md")], ids=name_of)
def test_links_and_pictures_point_at_what_exists(path):
    text = re.sub(r"^```\w*\n.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(<?([^)>\s]+)>?[^)]*\)", text)
    links += re.findall(r"^```\{(?:image|figure)\} (\S+)", text, flags=re.MULTILINE)
    for link in links:
        target, _, anchor = link.partition("#")
        if ":" in target or (not target and not anchor):
            continue
        file = path if not target else path.parent / target
        assert file.exists(), link
        made = file.name == "command-line.md"  # its headings are made when the documentation is built
        if anchor and file.suffix == ".md" and not made:
            assert anchor in anchors_of(file), link


def test_links_into_the_command_line_name_commands():
    commands = {one.prog.replace(" ", "-") for one in every_parser(make_parser()) if is_command(one)}
    for path in GUIDES:
        for anchor in re.findall(r"command-line\.md#([\w-]+)", path.read_text(encoding="utf-8")):
            assert anchor in commands | {"headless-py"}, path.name


def test_pictures_have_a_description():
    for path in GUIDES:
        for block in re.findall(r"^```\{image\}.*?^```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M):
            assert re.search(r"^:alt: .{20}", block, flags=re.MULTILINE), f"{path.name}: {block}"


# -- words ---------------------------------------------------------------------------------------------------------


def test_the_readme_opens_with_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.index("make demo") < 100
    assert readme.index("make test") < 200


def test_the_readme_is_read_in_three_minutes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 130
    assert len(re.findall(r"\w+", readme)) <= 900


STARTS = [ROOT / "README.md", ROOT / "docs" / "index.md", *(ROOT / "docs" / "tutorials").glob("*.md")]


@pytest.mark.parametrize("path", STARTS, ids=name_of)
def test_research_use_only_is_stated(path):
    assert RESEARCH_USE_ONLY in " ".join(path.read_text(encoding="utf-8").replace(">", "").replace("*", "").split())


SOURCES = [
    *(ROOT / "GTRStagingLib").rglob("*.py"),
    *(ROOT / "GTRStaging").rglob("*.py"),
    *(ROOT / "GTRReading").rglob("*.py"),
    ROOT / "Makefile",
]


def test_messages_that_the_pages_explain_are_those_of_the_code():
    """Between quotation marks stands a part of a message, as the code has it."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    code = re.sub(r'"\s*\n?\s*f?"', "", code)
    for page in ("how-to/troubleshooting.md", "tutorials/clinician.md"):
        rows = re.findall(r"^\|.*\|$", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
        for quoted in re.findall("“([^”]+)”", "\n".join(rows)):
            for part in filter(None, (one.strip() for one in quoted.split("…"))):
                assert part in code, f"{page}: {part}"
