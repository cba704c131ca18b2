"""Words that readers see: docstrings, messages and documents keep to plain terms, and messages to parameters."""

import ast
import re
from pathlib import Path

import pytest

from GTRStagingLib.cli.arguments import every_parser
from GTRStagingLib.cli.main import make_parser

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    [
        *(ROOT / "GTRStagingLib").rglob("*.py"),
        *(ROOT / "GTRStaging").rglob("*.py"),
        *(ROOT / "GTRReading").rglob("*.py"),
    ]
)
LIBRARY = [path for path in SOURCES if path.is_relative_to(ROOT / "GTRStagingLib") and path.parent.name != "cli"]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

BANNED = re.compile(r"\b(?:[Ss]aid|[Tt]old|[Aa]loud|as it were|(?<!there )(?:is|are) none)\b")
"""Words that made readers stop; `docs/glossary.md` has the project's terms."""

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def name_of(path):
    return str(path.relative_to(ROOT))


def texts(tree):
    """(line, text) of every string, docstrings included; the fixed parts of f-strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def docstring_nodes(tree):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds) and ast.get_docstring(node)]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_strings_and_docstrings_use_plain_words(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [f"{line}: {found[0]}" for line, text in texts(tree) if (found := BANNED.search(text))] == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_first_line_of_a_docstring_is_one_short_sentence(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in docstring_nodes(tree):
        text = ast.get_docstring(node)
        first = text.splitlines()[0]
        assert first.endswith((".", "!", "?")), first
        assert not re.search(r"[;:]\s.*[;:]\s", first), f"two breaks in one line: {first}"


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_names_no_flags(path):
    """The command line adds them (`cli.arguments.with_flags`); docstrings may name flags of other programs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {node.body[0].value for node in docstring_nodes(tree)}
    inside = {id(part) for node in docstrings for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            assert not FLAG.search(node.value), f"{name_of(path)}:{node.lineno}: {node.value}"


@pytest.fixture(scope="module")
def parameters():
    """Names of the parameters of functions, the fields of classes and the options of commands."""
    options = {action.dest for parser in every_parser(make_parser()) for action in parser._actions}
    return options.union(_parameters())


def _parameters():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.arg):
                yield node.arg
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_backticks_in_errors_name_parameters(path, parameters):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise):
            for _, text in texts(node):
                named = re.findall(r"`(\w+)[^`]*`", text)
                assert set(named) <= parameters, f"{name_of(path)}:{node.lineno}: {named}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_documents_use_plain_words(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [f"{n}: {line}" for n, line in enumerate(lines, 1) if BANNED.search(line)] == []
