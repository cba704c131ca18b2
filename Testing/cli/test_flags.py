"""Messages of the library name parameters; the command line names its flags in their place."""

import subprocess
import sys

import pytest

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
