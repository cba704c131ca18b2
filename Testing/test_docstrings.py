"""What docstrings say must be so: the lists of rooms, references to other modules, and the examples."""

import ast
import doctest
import io
import re
from pathlib import Path

import pytest

import GTRStagingLib

PACKAGE = Path(GTRStagingLib.__file__).parent
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))


def listed_in(room):
    """Module -> names, as the lines '- `module`: `name`, `name`' of a room's docstring give them."""
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    found = re.findall(r"^- `(\w+)`: (.+)$", text, flags=re.MULTILINE)
    assert len(dict(found)) == len(found), f"{room.name} lists a module twice"
    return {module: re.findall(r"`([^`]+)`", names) for module, names in found}


def defined_in(path):
    """Names that a module makes itself, at its top level: one that it only imports belongs to another."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_lists_its_modules_and_what_is_in_them(room):
    listed = listed_in(room)
    assert set(listed) == {path.stem for path in room.glob("*.py")} - {"__init__"}
    for module, names in listed.items():
        assert names, f"{room.name}.{module} is listed without a name"
        assert set(names) <= set(defined_in(room / f"{module}.py")), f"{room.name}.{module}"


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
REFERENCE = re.compile(r"`([a-z_]+)((?:\.\w+)+)(?:\([^`]*\))?`")
FILES = {"ckpt", "csv", "html", "json", "nrrd", "parquet", "png", "py", "safetensors"}


def defined_below(folder):
    return {name for path in folder.glob("*.py") for name in defined_in(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_reference_leads_to_a_name(path):
    """`module.name` of the same room, `room.module.name` or `room.name` of another; the head may be anything else."""
    for head, rest in REFERENCE.findall(path.read_text(encoding="utf-8")):
        names = rest[1:].split(".")
        if names[-1] in FILES:
            continue
        sibling, room = path.with_name(f"{head}.py"), PACKAGE / head
        if sibling.is_file() and path.parent != PACKAGE:
            assert names[0] in defined_in(sibling), head + rest
        elif room.is_dir():
            module = room / f"{names[0]}.py"
            if module.is_file() and len(names) > 1:
                assert names[1] in defined_in(module), head + rest
            else:
                assert module.is_file() or names[0] in defined_below(room), head + rest


def docstrings():
    """(name, file, line, text) of every docstring with an example."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            text = ast.get_docstring(node) or ""
            if ">>> " in text:
                name = ".".join([*path.relative_to(PACKAGE).with_suffix("").parts, getattr(node, "name", "")])
                yield name, path, node.body[0].lineno, text


EXAMPLES = list(docstrings())
AT_LEAST = 35
"""Docstrings with examples, so that none is lost unseen."""


@pytest.mark.parametrize(("name", "path", "line", "text"), EXAMPLES, ids=[name for name, *_ in EXAMPLES])
def test_an_example_gives_what_it_says(name, path, line, text, tmp_path, monkeypatch):
    """From nothing but its own imports, as a reader would type it; files are written into an empty folder."""
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, name, str(path), line)
    said = io.StringIO()
    result = doctest.DocTestRunner().run(example, out=said.write)
    assert result.attempted == text.count(">>> ")
    assert result.failed == 0, said.getvalue()


def test_no_example_was_lost():
    assert len(EXAMPLES) >= AT_LEAST
    written = sum(path.read_text(encoding="utf-8").count(">>> ") for path in PACKAGE.rglob("*.py"))
    assert written == sum(text.count(">>> ") for *_, text in EXAMPLES)
