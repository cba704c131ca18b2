"""`gtrstaging models check`: the verdict in the card, on the screen and in every later word about the model."""

import json
import re
import sys
from dataclasses import replace

import pytest
from helpers.spots import a_spot_model, a_spotted_cohort

from GTRStagingLib.checking.model_check import LATE
from GTRStagingLib.cli import main as cli
from GTRStagingLib.cohort.cohort import Cohort, write_cohort
from GTRStagingLib.model import registry, weights
from GTRStagingLib.model.randomised import parts_of


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    cases = a_spotted_cohort(folder / "cases", 22)
    sides = ["train", "train"] + ["validation"] * 20
    write_cohort(Cohort(tuple(replace(c, split=s) for c, s in zip(cases, sides, strict=True))), folder / "cohort.csv")
    return folder / "cohort.csv"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's models, among them one that sees spots."""
    monkeypatch.setenv("GTRSTAGING_MODELS", str(tmp_path / "models"))
    weights.save(a_spot_model(), tmp_path / "models" / "spots")
    return tmp_path


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_check_from_the_cohort_to_the_card(home, table, capsys):
    check = ("models", "check", "spots", table, "--split", "validation", "--device", "cpu")
    assert "not checked" in spots_of(run(capsys, "models", "list")[1])
    code, out, _ = run(capsys, *check, "--json", home / "numbers.json")
    assert code == 0
    for name in ("empty maps", "location", "other stage", "deletion", "random weights"):
        (line,) = [line for line in out.splitlines() if line.startswith(name)]
        assert line[17:].startswith("passed")
    assert "PASSED: 20 cases; Dice 0." in out
    card = registry.read_card(home / "models" / "spots")
    found = json.loads((home / "numbers.json").read_text())
    assert card.check == {**found, "mean_mask": "of a check"}
    assert (found["verdict"], found["stages"]) == ("passed", {"T1": 5, "T2": 5, "T3": 5, "T4": 5})
    assert "passed" in spots_of(run(capsys, "models", "list")[1])
    _, shown, shown_text = run(capsys, "models", "show", "spots")
    assert json.loads(shown)["check"]["verdict"] == "passed"
    assert f"The map of this model passed its check ({found['summary']})." in shown_text


def spots_of(listing):
    (line,) = [line for line in listing.splitlines() if line.startswith("spots ")]
    return line


def test_a_dry_run_and_too_few_patients_leave_the_card(home, table, capsys):
    before = (home / "models" / "spots" / registry.CARD_FILE).read_bytes()
    check = ("models", "check", "spots", table, "--split", "validation", "--device", "cpu", "--workers", "0", "--cases")
    code, out, _ = run(capsys, *check, "8", "--dry-run")
    assert (code, "NOT CHECKED: 8 patients, fewer than 20" in out) == (1, True)
    code, out, err = run(capsys, *check, "1")
    assert (code, "NOT CHECKED: 1 patient, fewer than 20" in out) == (1, True)
    assert "1 case of 1 patient\n" in out
    assert "Give more cases" in err
    assert (home / "models" / "spots" / registry.CARD_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "shown_text"),
    [
        (["none", "{table}"], "neither one of"),
        (["untrained", "{table}"], "--dry-run"),
        (["spots", "{table}", "--split", "test"], "no case in 'test'"),
        (["spots", "none.csv"], "none.csv"),
        (["spots", "{table}"], "2 of the 22 cases of {table} are in the split 'train'; expected cases outside"),
        (["spots", "{table}", "--dry-run"], "Give --split validation or --split test"),
        (
            ["spots", "{table}", "--split", "validation", "--json", "{folder}"],
            "{folder} is a folder; expected a writable file",
        ),
        (["spots", "{table}", "--split", "validation", "--json", "{table}/a.json"], "{table} is not a writable folder"),
    ],
)
def test_an_impossible_check_is_an_error_with_a_remedy(home, table, capsys, arguments, shown_text):
    places = {"table": table, "folder": table.parent}
    code, out, err = run(capsys, "models", "check", *(one.format(**places) for one in arguments))
    assert (code, out) == (1, "")
    assert shown_text.format(**places) in err
    assert registry.read_card(home / "models" / "spots").check is None


def test_the_bar_ends_with_the_work(home, table, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    check = ("models", "check", "spots", table, "--split", "validation", "--device", "cpu", "--workers", "0")
    _, _, err = run(capsys, *check, "--dry-run")
    drawn = [(int(done), int(total)) for done, total in re.findall(r"(\d+)/(\d+)", err)]
    assert {total for _, total in drawn} == {20 + len(parts_of("mean")) + len(LATE)}
    assert all(done <= total for done, total in drawn)


@pytest.mark.parametrize(
    "wrong", [["--cases", "0"], ["--workers", "-1"], ["--split", "all"], ["--seed", "-1"], ["--seed", str(2**32)]]
)
def test_wrong_use_is_code_2(table, wrong, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["models", "check", "spots", str(table), *wrong])
    assert left.value.code == 2
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.slow
def test_processes_find_what_one_finds(home, table, capsys):
    check = ("models", "check", "spots", table, "--split", "validation", "--dry-run", "--device", "cpu", "--json")
    run(capsys, *check, home / "alone.json", "--workers", "0")
    run(capsys, *check, home / "shared.json", "--workers", "2")
    alone, shared = (json.loads((home / name).read_text()) for name in ("alone.json", "shared.json"))
    assert {**shared, "utc": alone["utc"]} == alone
