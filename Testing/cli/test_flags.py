"""Messages of the library name parameters; the command line names its flags in their place."""

import argparse
import ast
import re
import subprocess
import sys

import pytest
from helpers import ROOT

from GTRStagingLib.cli.arguments import every_parser, is_command, out_folder, with_flags
from GTRStagingLib.cli.main import main, make_parser


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["stage", "ct"], "gtrstaging stage"),
        (["models", "import", "a.pth", "--recipe", "gtr", "--name", "a"], "gtrstaging models import"),
        (["cohort", "audit", "a.csv"], "gtrstaging cohort audit"),
    ],
)
def test_a_command_finds_its_own_parser(arguments, command):
    assert make_parser().parse_args(arguments).parser.prog == command


def test_an_error_of_the_library_names_the_flag_of_the_command(monkeypatch, capsys):
    def fail(*_, **__):
        from GTRStagingLib.errors import InputError

        raise InputError("2 CT series; expected one. Give `series`.")

    monkeypatch.setattr("GTRStagingLib.imaging.scans.read_scan", fail)
    assert main(["stage", "ct", "--key-slice", "1", "--json"]) == 1
    assert capsys.readouterr().err.endswith("gtrstaging: 2 CT series; expected one. Give --series.\n")


FILES = {"FILE", "FILE.json", "JSON", "TABLE"}
"""Words of the help for an output that is a file."""


def test_an_output_folder_that_is_a_file_is_refused_by_every_command(tmp_path, capsys):
    """Before the work: the commands are called with inputs that do not exist, which they do not notice."""
    file = tmp_path / "results"
    file.write_text("an earlier result")
    outputs = [one for parser in every_parser(make_parser()) for one in parser._actions if one.dest == "out"]
    folders = [one for one in outputs if one.metavar not in FILES]
    assert len(folders) >= 10
    assert {one.type for one in folders} == {out_folder}
    for out in (file, file / "below"):
        for command in (["stage", "nowhere"], ["batch", "nowhere.csv"], ["evaluate", "nowhere.csv"]):
            with pytest.raises(SystemExit) as left:
                main([*command, "--out", str(out)])
            assert left.value.code == 2
            assert re.search(r"--out: \S+results is a file; expected a folder", capsys.readouterr().err)
    assert file.read_text() == "an earlier result"
    assert out_folder(str(tmp_path)) == tmp_path
    assert out_folder(str(tmp_path / "new" / "folder")) == tmp_path / "new" / "folder"
    with pytest.raises(argparse.ArgumentTypeError, match="name of a folder"):
        out_folder("")


WITHOUT_LIGHTNING = """
import sys
sys.modules["lightning"] = None
from GTRStagingLib import MissingDependencyError
try:
    from GTRStagingLib import train
except MissingDependencyError as error:
    print(isinstance(error, ImportError), error)
"""


def test_without_lightning_the_error_names_the_extra():
    found = subprocess.run([sys.executable, "-c", WITHOUT_LIGHTNING], capture_output=True, text=True, check=True)
    assert found.stdout == "True Training needs lightning: pip install 'gtrstaging[train]'.\n"


# -- remedies exist where they are given ---------------------------------------------------------------------------


def messages():
    """Yield the texts of the library that name parameters in backticks, with X for each value."""
    for path in sorted((ROOT / "GTRStagingLib").rglob("*.py")):
        if path.parent.name == "cli":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bodies = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]
        passed = {id(one.value) for body in bodies for one in body if isinstance(one, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                passed |= {id(inner) for inner in ast.walk(node) if inner is not node}
                text = "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
                text = node.value
            else:
                continue
            if re.search(r"`\w+(=[^`]*)?`", text):
                yield f"{path.name}: {text}", text


MESSAGES = dict(messages())
COMMANDS = [parser for parser in every_parser(make_parser()) if is_command(parser)]
LIBRARY_ONLY = {"mapped", "values", "X"}
"""Parameters of functions that no command calls with wrong values; X is any one of a wrong type (`support.given`)."""


def known_to(parser):
    flags = {action.dest for action in parser._actions if action.option_strings}
    return flags | set(parser.get_default("columns") or {})


def test_every_parameter_in_a_message_is_one_of_some_command():
    assert len(MESSAGES) > 50
    known = set().union(*map(known_to, COMMANDS)) | LIBRARY_ONLY
    named = {name for text in MESSAGES.values() for name in re.findall(r"`(\w+)(?:=[^`]*)?`", text)}
    assert named <= known


@pytest.mark.parametrize("command", COMMANDS, ids=lambda parser: parser.prog.removeprefix("gtrstaging "))
def test_no_command_gives_a_remedy_that_it_does_not_have(command):
    known = known_to(command)
    for where, text in MESSAGES.items():
        shown = with_flags(text, command)
        _first, *others = re.split(r"(?<=\.) (?=[A-Z`-])", shown)
        assert "`" not in shown
        unknown = {name for name in re.findall(r"`(\w+)(?:=[^`]*)?`", text) if name not in known}
        for sentence in others:
            assert not unknown & set(re.findall(r"\w+(?:_\w+)+|(?<==)\w+", sentence)), where
            assert sentence[0].isupper() or sentence.startswith("--"), where


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("batch", "2 series. Give the folder, or its `series` (UID, or number).", "2 series. Give the folder, or its "
         "column series (UID, or number)."),
        ("stage", "2 series. Give the folder, or its `series`.", "2 series. Give the folder, or its --series."),
        ("nomogram list", "2 series. Give the folder, or its `series`.", "2 series. Give the folder."),
        ("batch", "Other grid. Export it, or allow resampling (`resample_roi=True`).",
         "Other grid. Export it, or allow resampling (--resample-roi)."),
        ("train", "Other grid. Export it, or allow resampling (`resample_roi=True`).", "Other grid. Export it."),
        ("train", "X exists. Choose another `name` or `out`, or remove it.",
         "X exists. Choose another --out, or remove it."),
        ("models verify", "X exists. Choose another `name` or `out`, or remove it.", "X exists. Remove it."),
        ("cohort split", "It took too long. Check its files, or raise `time_limit`.",
         "It took too long. Check its files."),
        ("cohort split", "No device X. Set `device` to auto or cpu.", "No device X."),
    ],
)  # fmt: skip
def test_remedies_are_flags_or_columns_or_left_out(command, message, expected):
    (parser,) = (one for one in COMMANDS if one.prog == f"gtrstaging {command}")
    assert with_flags(message, parser) == expected
