"""Answers of a reader study: numbers by hand, planted behaviour, tables of others, what is not estimable."""

import csv
import json
import re
from itertools import product

import numpy as np
import pytest
from helpers.reading_studies import SimulatedReader, Watch, make_study, read_all
from helpers.study_tables import READ, TRUE, a_study, written
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from GTRStagingLib.cli import main as cli
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.answer_tables import rows_of_files
from GTRStagingLib.evaluation.evaluate import evaluate
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.evaluation.report import write_evaluation
from GTRStagingLib.evaluation.study_answers import answers_beside, read_answers
from GTRStagingLib.reading.collect import collect, write_collected
from GTRStagingLib.reading.designs import Design
from GTRStagingLib.stats.reader_study import ALL


def analysed(folder, *args, **how):
    table, path = a_study(folder, *args, **how)
    found = read_predictions(table)
    return evaluate(found, answers=read_answers(path, found))


@pytest.mark.smoke
def test_a_tiny_study_has_the_numbers_that_are_worked_out_by_hand(tmp_path):
    """Wrong advice: cases 3 (true T4, advice T3), 4 (T2, T3) and 5 (T3, T4); right advice: cases 0, 1, 2.

    Reader a takes it in 3 and 5: unaided T4 (right) in 3, T4 (the advice) in 5. So 2 of 3 are taken, 1 of 3 agreed
    unaided, and of two that were right unaided (3, 4), one switched. Of the right advice, case 2 is ignored; of one
    that was wrong unaided (1), one is corrected. Reader b takes it in 4 and 5; unaided in 4 alone; of 3 and 5, right
    unaided, 5 switched. Of the right advice case 1 is ignored; of 0 and 1, wrong unaided, 0 is corrected.
    """
    found = analysed(tmp_path).answers
    rows = {one.reader: one for one in found.advice.rows}
    a, b, both = (rows[name] for name in ("a", "b", ALL))
    for one, times in ((a, 1), (b, 1), (both, 2)):
        assert (one.n_wrong, one.n_right, one.design) == (3 * times, 3 * times, "paired")
        assert one.wrong_taken.value == pytest.approx(2 / 3)
        assert one.wrong_agreed_alone.value == pytest.approx(1 / 3)
        assert one.wrong_excess.value == pytest.approx(1 / 3)
        assert one.right_ignored.value == pytest.approx(1 / 3)
    assert (a.n_right_before, a.switched_to_wrong.value) == (2, 0.5)
    assert (b.n_right_before, b.switched_to_wrong.value) == (2, 0.5)
    assert (a.n_wrong_before, a.switched_to_right.value) == (1, 1.0)
    assert (b.n_wrong_before, b.switched_to_right.value) == (2, 0.5)
    assert (both.n_wrong_before, both.switched_to_right.value) == (3, pytest.approx(2 / 3))
    changes = {(one["advice"], one["unaided"], one["aided"]): one["n"] for one in a.changes if one["n"]}
    assert changes == {
        ("wrong", "right", "as advised"): 1,  # case 3
        ("wrong", "right", "right"): 1,  # case 4
        ("wrong", "as advised", "as advised"): 1,  # case 5
        ("right", "right", "right"): 1,  # case 0
        ("right", "otherwise wrong", "right"): 1,  # case 1
        ("right", "right", "otherwise wrong"): 1,  # case 2
    }
    # The six other changes of wrong advice have the number 0; as right advice, no answer is wrong.
    assert len(a.changes) == 9 + 4
    assert {(one["unaided"], one["aided"]) for one in a.changes if one["advice"] == "right"} == set(
        product(("right", "otherwise wrong"), repeat=2)
    )
    assert (found.times[0].median, found.times[1].median) == (20, 10)
    assert found.time_changes[0].ratio.value == pytest.approx(0.5)
    same = {one.phase: one.agreement.value for one in found.concord}
    assert same == {"unaided": pytest.approx(2 / 6), "aided": pytest.approx(2 / 6)}  # cases 2, 3; cases 0, 5


def test_confidence_and_repeats_have_the_numbers_that_are_worked_out_by_hand(tmp_path):
    repeats = [("a", "unaided", 0, "T1"), ("a", "unaided", 1, "T2"), ("a", "aided", 0, "T1"), ("b", "aided", 5, "T4")]
    table, path = a_study(tmp_path, repeats=repeats)
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    for (
        row
    ) in rows:  # reader a, unaided, is right in 0, 2, 3, 4 (confidence 10, 30, 40, 50) and wrong in 1 and 5 (20, 60)
        row["confidence"] = 10 * int(row["place"])
    written(path, rows)
    found = evaluate(read_predictions(table), answers=read_answers(path, read_predictions(table))).answers
    one = found.confidence[0]
    assert (one.reader, one.phase, one.n_right, one.n_wrong) == ("a", "unaided", 4, 2)
    assert (one.mean_right.value, one.mean_wrong.value) == (pytest.approx(32.5), pytest.approx(40))
    assert one.auc.value == pytest.approx(3 / 8)  # of the pairs with 20, three are in order; of those with 60, none
    again = {one.reader: (one.n, one.agreement.value) for one in found.constancy}
    assert again == {"a": (3, pytest.approx(2 / 3)), "b": (1, 1.0), ALL: (4, 0.75)}


def test_what_is_not_there_is_not_estimable_and_not_0(tmp_path):
    right = analysed(tmp_path / "right", TRUE, TRUE).answers
    for one in right.advice.rows:
        assert (one.n_wrong, one.wrong_taken.value, one.wrong_taken.text()) == (0, None, "not defined")
        assert "no wrong advice was shown" in one.wrong_taken.method
        assert one.right_ignored.value is not None
    assert right.constancy == ()
    assert all(effect.estimate.value is None for effect in right.advice.over_readers["wrong_taken"])
    alone = analysed(tmp_path / "alone", read={"a": READ["a"]}).answers
    assert alone.advice.over_readers == {}
    assert alone.concord[0].fleiss.value is None
    hidden = analysed(tmp_path / "hidden", shown="map", seconds=("", "")).answers
    assert (hidden.advice, hidden.without_advice, hidden.shown) == (None, 12, {"map": 12})
    assert (hidden.times[0].median, hidden.times[0].missing) == (None, 6)
    assert hidden.time_changes[0].ratio.value is None
    assert hidden.deviations is None


def test_phases_of_other_patients_are_compared_as_such(tmp_path):
    halves = {"a": (("T1", "T3", "", "T3", "", ""), ("", "", "T4", "", "T2", "T4"))}
    one = analysed(tmp_path, read=halves).answers.advice.rows[0]
    assert (one.design, one.n_wrong, one.n_wrong_alone) == ("unpaired", 2, 1)
    assert (one.wrong_taken.value, one.wrong_agreed_alone.value, one.wrong_excess.value) == (0.5, 1.0, -0.5)
    assert (one.n_right_before, one.switched_to_wrong.value) == (0, None)


def test_the_excess_of_a_reader_with_missing_answers_is_on_the_cases_with_both(tmp_path):
    """Taken: cases 3, 4 and 5 of three; both answers: 4 and 5, where the own answers were the advice in none."""
    read = {**READ, "a": (("T1", "T3", "T3", "", "T2", "T3"), ("T1", "T2", "T4", "T3", "T3", "T3"))}
    rows = rows_of_files(analysed(tmp_path, read=read).answers)["reader_advice"]
    found = {row["measure"]: (row["n"], row["value"]) for row in rows if row["reader"] == "a"}
    assert found["wrong_taken"] == (3, pytest.approx(2 / 3))
    assert found["wrong_agreed_alone"] == (2, 0)
    assert found["wrong_excess"] == (2, pytest.approx(1 / 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row | {"reader": "c"}, "has no answer of a, b; expected answers of each reader of table.csv"),
        (lambda row: row | {"case_id": f"x{row['case_id']}"}, "row 2: case 'xcase0' is not in table.csv"),
        (lambda row: row | {"true_stage": "T4"}, "row 2: true stage T4 of case case0, but T1 in table.csv"),
        (lambda row: row | {"stage": "T1"}, r"T1 of a, unaided, to case case1, and table.csv has T3 \(5 such"),
        (lambda row: row | {"stage": "5"}, "row 2, stage '5'; expected T1 to T4"),
        (lambda row: row | {"confidence": "high"}, "row 2, confidence 'high'; expected a number"),
        (lambda row: row | {"time": "yesterday"}, "row 2, time 'yesterday'; expected a time with its zone"),
        (lambda row: row | {"phase": "second"}, "in the phase 'second'; expected"),
        (lambda row: {k: v for k, v in row.items() if k != "advice_stage"}, "has no column advice_stage"),
    ],
)  # fmt: skip
def test_answers_of_another_table_are_refused(tmp_path, change, message):
    table, path = a_study(tmp_path)
    written(path, [change(row) for row in csv.DictReader(path.open(encoding="utf-8"))])
    with pytest.raises(InputError, match=message):
        read_answers(path, read_predictions(table))


def test_a_missing_or_a_doubled_answer_is_refused(tmp_path):
    table, path = a_study(tmp_path)
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    written(path, rows[1:])
    with pytest.raises(InputError, match="has no answer of a, unaided, to case case0, and table.csv has T1"):
        read_answers(path, read_predictions(table))
    written(path, [rows[0], *rows])
    with pytest.raises(InputError, match="a has two final answers to the first reading of a case, unaided"):
        read_answers(path, read_predictions(table))


def test_the_command_finds_the_answers_beside_the_table_and_refuses_those_of_another(tmp_path, capsys):
    table, path = a_study(tmp_path)
    assert answers_beside(table, read_predictions(table)) == path
    assert cli.main(["evaluate", str(table)]) == 0
    printed = capsys.readouterr().out
    assert "Advice        of 6 wrong ones taken 66.7 %" in printed
    assert "Protocol      not known: there is no deviations.csv" in printed
    written(path, [row | {"stage": "T1"} for row in csv.DictReader(path.open(encoding="utf-8"))])
    assert cli.main(["evaluate", str(table)]) == 1
    assert "choose the answers of this table in --readings ('none' for no answers)" in capsys.readouterr().err
    assert cli.main(["evaluate", str(table), "--readings", "none"]) == 0
    assert "Advice " not in capsys.readouterr().out


# -- simulated readers -------------------------------------------------------------------------------------------------

SKILLED = {"r1": (0.5, 0.8), "r2": (0.65, 0.4), "r3": (0.8, 0.1)}
"""Skill and trust."""


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """The collected table of a study on 60 phantoms, read by three simulated readers through the real logic."""
    folder = tmp_path_factory.mktemp("simulated")
    study = make_study(folder, cases=60, readers=tuple(SKILLED), shows=("stage",), design=Design(seed=3, repeats=8))
    watch = Watch()
    for _ in range(2):
        for name, (skill, trust) in SKILLED.items():
            read_all(study, name, watch, think=SimulatedReader(study, name, skill, trust))
        watch.pass_by(days=28)
    found = collect(study, study / "organiser" / "truth.csv", folder / "data" / "batch" / "predictions.csv",
                    now=watch.time)  # fmt: skip
    return write_collected(found, folder / "out" / "table.csv")[0]


def evaluation_of(table):
    found = read_predictions(table)
    return evaluate(found, answers=read_answers(answers_beside(table, found), found))


def test_planted_skill_and_trust_are_in_the_intervals_and_readers_are_told_apart(collected):
    """Without wavering, a reader switches to advice, wrong or right, with the probability of the trust."""
    found = evaluation_of(collected)
    readings = {row.reader: row.unaided for row in found.study.rows}
    rows = {one.reader: one for one in found.answers.advice.rows}
    for name, (skill, trust) in SKILLED.items():
        assert readings[name].accuracy.low < skill < readings[name].accuracy.high
        for share in (rows[name].switched_to_wrong, rows[name].switched_to_right):
            assert share.low < trust < share.high, (name, share)
    assert rows["r3"].switched_to_wrong.high < 0.8  # of r1
    assert rows["r1"].wrong_excess.low > 0
    assert rows["r1"].wrong_p < 0.05
    for one in found.answers.constancy:
        assert one.agreement.value == 1  # nobody wavers
    assert found.answers.deviations == ()


def test_the_report_has_the_section_and_the_same_answers_give_the_same_tables(collected, tmp_path):
    files = [write_evaluation(evaluation_of(collected), tmp_path / name) for name in ("one", "other")]
    for name, path in files[0].items():
        if name.endswith((".csv", ".svg", ".png")):
            assert path.read_bytes() == files[1][name].read_bytes(), name
    assert {f"reader_{one}.csv" for one in ("advice", "changes", "times", "confidence", "repeats")} <= set(files[0])
    text = files[0]["report.html"].read_text(encoding="utf-8")
    for words in ("Reader study", "Supplementary Table 1", "Automation bias", "0 deviations"):
        assert words in text
    record = json.loads(files[0]["metrics.json"].read_text())["reader_answers"]
    assert [one["reader"] for one in record["advice"]["rows"]] == [*SKILLED, ALL]


def test_files_have_no_remark_and_no_id_of_a_case_or_patient(tmp_path):
    table, path = a_study(tmp_path)
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    token = re.compile(rb"ZZTOKEN")
    written(path, [row | {"remarks": "ZZTOKEN", "patient_id": "ZZTOKEN"} for row in rows])
    for name, file in write_evaluation(evaluation_of(table), tmp_path / "out").items():
        assert not token.search(file.read_bytes()), name
        if name.startswith(("reader", "metrics")):
            assert not re.search(rb"case\d", file.read_bytes()), name


@pytest.mark.slow
def test_intervals_of_advice_cover_the_planted_values_in_200_studies(tmp_path):
    """Two readers of one trust, 120 cases, of which 40 have wrong advice: 400 intervals of each share.

    Shares of 40 take few values: with a trust of 0.35, Wilson's interval covers it in 93.3 % (by the binomial
    distribution), not in 95 %. The limits are 2.6 standard errors from that.
    """
    trust, skill, inside = 0.35, 0.6, {"switched_to_wrong": 0, "wrong_taken": 0}
    counts = np.arange(41)
    low, high = proportion_confint(counts, 40, method="wilson")
    exact = binom.pmf(counts, 40, trust)[(low <= trust) & (trust <= high)].sum()
    assert exact == pytest.approx(0.933, abs=0.001)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        stages = rng.integers(4, size=120)
        advice = np.where(np.arange(120) < 40, (stages + 1) % 4, stages)
        read = {}
        for name in ("a", "b"):
            own = np.where(rng.random(120) < skill, stages, (stages + 2) % 4)
            aided = np.where(rng.random(120) < trust, advice, own)
            read[name] = tuple(tuple(f"T{k + 1}" for k in one) for one in (own, aided))
        named = [tuple(f"T{k + 1}" for k in one) for one in (stages, advice)]
        for one in analysed(tmp_path, *named, read).answers.advice.rows[:2]:
            for name in inside:  # the wrong stage of a reader is never the advised one, so both shares are the trust
                share = getattr(one, name)
                inside[name] += share.low <= trust <= share.high
    reach = 2.6 * (exact * (1 - exact) * 400) ** 0.5
    assert abs(inside["wrong_taken"] - 400 * exact) <= reach
    assert inside["switched_to_wrong"] >= 400 * exact - reach
