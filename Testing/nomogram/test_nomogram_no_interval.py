"""A nomogram of patients that allow no interval: every output has the values without intervals, and the reason."""

import json
import re

import pytest
from helpers.golden_data import ROWS

from GTRStagingLib.cli.main import make_parser
from GTRStagingLib.cli.nomogram import _effect_line
from GTRStagingLib.evaluation import nomogram_tables
from GTRStagingLib.nomogram.drawing import figure
from GTRStagingLib.nomogram.effects import Effect, effects
from GTRStagingLib.nomogram.fit import fit_nomogram
from GTRStagingLib.nomogram.nomogram import load, save
from GTRStagingLib.nomogram.page import page
from GTRStagingLib.tables.table_files import read_table

REASON = "one patient has 200 of 230 rows, more than a fifth"
ON = ["radscore", "size_cm", "lauren"]


def fitted_on(rows, folder):
    rows.to_csv(folder / "rows.csv", index=False)
    return fit_nomogram(read_table(folder / "rows.csv"), ON, name="one", resamples=10)


@pytest.fixture(scope="module")
def dominated(tmp_path_factory):
    """230 rows, of which one patient has 200."""
    rows = ROWS[:230].assign(patient_id=["P" if i < 200 else f"p{i}" for i in range(230)])
    return fitted_on(rows, tmp_path_factory.mktemp("dominated"))


def test_the_record_has_values_without_intervals_and_tests(dominated):
    record = json.loads(json.dumps(dominated.record, allow_nan=False))
    estimates = [row[kind] for row in record["coefficients"] for kind in ("coefficient", "odds_ratio")]
    estimates += [*record["thresholds"], *record["c_index"].values()]
    assert len(estimates) == 2 * 4 + 3 + 2
    for one in estimates:
        assert one["value"] is not None
        assert one["low"] is one["high"] is None
    assert all(REASON in one["method"] for one in estimates[:-2])
    assert all("no interval, one patient has" in one["method"] for one in estimates[-2:])  # of one stage
    assert all(row["p"] is row["standard_error"] is None for row in record["coefficients"])
    assert all(row["standard_error"] is None for row in record["thresholds"])
    odds = record["proportional_odds"]
    for test in (record["likelihood_ratio"], record["radscore_test"], odds["omnibus"], *odds["terms"].values()):
        assert test["chi2"] is test["p"] is None
        assert test["method"] == f"not defined: {REASON}"
    index = record["validation"]["c_index"]
    assert [record["c_index"][kind]["value"] for kind in ("apparent", "corrected")] == [
        index["apparent"], index["corrected"],
    ]  # fmt: skip


def test_a_warning_states_the_reason_once(dominated):
    assert [REASON in warning for warning in dominated.warnings].count(True) == 1


def test_it_comes_back_from_its_file(dominated, tmp_path):
    save(dominated, tmp_path / "n.json")
    assert load(tmp_path / "n.json") == dominated


def test_its_effects_are_without_interval_and_p_value(dominated):
    for one in effects(dominated):
        assert one.interval is None
        assert one.p == ""
        assert one.odds_text.endswith("(reference)" if one.is_reference else "(no interval)")
        assert one.sentence.endswith(one.odds_text)


def test_page_drawing_and_tables_show_the_reason(dominated):
    html = page(dominated)
    assert REASON in html
    assert html.count("(no interval)") == 4
    drawn = " ".join(text.get_text() for text in figure(dominated).axes[0].texts)
    assert REASON in drawn
    assert drawn.count("(no interval)") == 4
    assert [line[3] for line in nomogram_tables.terms(dominated).lines] == ["–"] * 8
    assert {line[4] for line in nomogram_tables.tests(dominated).lines} == {f"not defined: {REASON}"}
    c_index = nomogram_tables.validation(dominated).lines[0]
    assert [cell.endswith("(no interval)") for cell in c_index] == [False, True, False, True]


def test_the_command_prints_the_reason(dominated, tmp_path, capsys):
    save(dominated, tmp_path / "n.json")
    options = make_parser().parse_args(["nomogram", "show", str(tmp_path / "n.json")])
    options.run(options)
    output = capsys.readouterr().out
    assert f"all terms against none: not defined: {REASON}" in output
    assert "(no interval) on the rows of the fit" in output
    assert f"WARNING  The coefficients have no intervals, and there are no p values: {REASON}." in output
    (line,) = (line for line in output.splitlines() if line.startswith("radscore (Rad-score)"))
    assert line.endswith("none")


def test_the_command_separates_the_p_value_from_a_long_interval():
    line = _effect_line("size", Effect("size", None, "Size", 20.0, 4.9e8, (123456.789, 2345678901.25), "0.020"))
    assert line.split()[-4:] == ["123456.789", "to", "2345678901.250", "0.020"]


def test_few_patients_leave_no_interval_either(tmp_path):
    """Seven patients with as many rows each."""
    rows = ROWS[:210].assign(patient_id=[f"p{i % 7}" for i in range(210)])
    record = fitted_on(rows, tmp_path).record
    assert record["coefficients"][0]["odds_ratio"]["low"] is None
    assert record["likelihood_ratio"]["method"] == "not defined: 7 patients, fewer than 8"
    enough = ROWS[:208].assign(patient_id=[f"p{i % 8}" for i in range(208)])
    record = fitted_on(enough, tmp_path).record
    assert record["coefficients"][0]["odds_ratio"]["low"] > 0
    # The sandwich of 8 patients has a rank of 7: a statistic of all differences would be a rounding error.
    method = record["proportional_odds"]["omnibus"]["method"]
    assert re.fullmatch(r"not defined: \d+ differences of coefficients are too many for 8 patients", method)
