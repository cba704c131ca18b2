"""Evaluation by cohort: each part as of a table of its own, Tables 1, 2 and 4, the flow of patients, and alarms."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from helpers.golden_data import ROWS
from scipy.stats import kruskal
from sklearn.metrics import precision_score, recall_score

from GTRStagingLib.batch.columns import HEADER, NO_CALIBRATION, RESULT_COLUMNS
from GTRStagingLib.cli import main as cli
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.checklist_facts import facts
from GTRStagingLib.evaluation.evaluate import UNKNOWN_MODEL, evaluate
from GTRStagingLib.evaluation.figures import figures
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.evaluation.risk_scores import risk_by_scores
from GTRStagingLib.evaluation.scanner_table import ABSENT
from GTRStagingLib.evaluation.set_tables import risk_coverage, stage_sets
from GTRStagingLib.evaluation.tables import tables
from GTRStagingLib.stages import TStage

NUMBER = ROWS["patient_id"].str[1:].astype(int)
COHORTS = np.where(NUMBER < 100, "Training", np.where(NUMBER < 180, "External 1", "External 2"))
PREDICTION = ["case_id", "patient_id", "stage", *(f"p_T{k}" for k in (1, 2, 3, 4))]


def written(rows, path):
    rows.to_csv(path, index=False)
    return path


def read(rows, tmp_path, **options):
    return read_predictions(written(rows, tmp_path / "t.csv"), **options)


def short(rows=ROWS):
    """Return rows without readers and other models, which take most of the time."""
    kept = [*PREDICTION, "centre", "age", "sex", "size_cm", "lauren", "dice", "chance_dice"]
    return rows[kept].assign(cohort=COHORTS[rows.index])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cohorts")


@pytest.fixture(scope="module")
def found(folder):
    return evaluate(read_predictions(written(ROWS.assign(cohort=COHORTS), folder / "t.csv")), cohort_column="cohort")


# -- scores of uncertainty ---------------------------------------------------------------------------------------


def with_scores(rows):
    """Give each row the columns of a batch with several looks; a fifth is not like the training as far as known."""
    four = rows[[f"p_T{k}" for k in (1, 2, 3, 4)]].to_numpy()
    noise = np.random.default_rng(0).random(len(rows))
    percentile = np.where(np.arange(len(rows)) % 5 == 0, "", np.round(100 * noise, 1).astype(str))
    return with_sets(rows).drop(columns="voted").assign(
        looks=6, spread=1 - four.max(axis=1), familiarity_percentile=percentile
    )  # fmt: skip


def test_risk_and_coverage_by_score_and_cohort(tmp_path):
    rows = with_scores(short())
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    scores = {one.name: one for one in found.risk_coverage.scores}
    assert list(scores) == ["softmax", "spread", "familiarity", "set size"]
    true = rows["stage"].str[1].astype(int).to_numpy() - 1
    four = rows[[f"p_T{k}" for k in (1, 2, 3, 4)]].to_numpy()
    wrong = four.argmax(axis=1) != true
    order = np.argsort(1 - four.max(axis=1), kind="stable")
    by_hand = np.mean(np.cumsum(wrong[order]) / np.arange(1, len(rows) + 1))
    assert scores["softmax"].area.value == pytest.approx(by_hand, abs=1e-3)  # but for equal probabilities
    assert scores["spread"].minus_first.value == 0
    assert scores["familiarity"].rows == (np.arange(len(rows)) % 5 > 0).sum()
    assert scores["familiarity"].area.low < scores["familiarity"].random < scores["familiarity"].area.high
    for part in found.cohorts.parts:
        assert part.risk_coverage.scores[0].rows == (COHORTS[rows.index] == part.name).sum()
    table = risk_coverage(found)
    assert [line[:2] for line in table.lines[:4]] == [("all rows", name) for name in scores]
    assert len(table.lines) == 4 * (1 + len(found.cohorts.parts))
    assert "risk_coverage.softmax.area" in {row["name"] for row in tables(found)["estimates"]}
    drawn = figures(found)
    assert {"risk_coverage", "risk_coverage_by_cohort"} <= set(drawn)
    assert scores["softmax"].area.text() in drawn["risk_coverage"][1]


def test_a_table_without_scores_of_this_software_has_no_risk_and_coverage(tmp_path):
    """Probabilities alone are no such score; nor is a column with the name of one, as of the spread of a tumour."""
    for rows in (short(), short().assign(spread=1.0)):
        assert risk_by_scores(read(rows, tmp_path)) is None
    found = evaluate(read(short(), tmp_path))
    assert found.risk_coverage is None
    assert risk_coverage(found) is None
    assert "risk_coverage" not in figures(found)


# -- stage sets --------------------------------------------------------------------------------------------------


def with_sets(rows):
    """Give each row a set of the predicted stage and the one above, and none to every tenth."""
    voted = rows[[f"p_T{k}" for k in (1, 2, 3, 4)]].to_numpy().argmax(axis=1)
    texts = [f"T{v + 1}–T{v + 2}" if v < 3 else "T4" for v in voted.tolist()]
    return rows.assign(stage_set=["" if i % 10 == 0 else text for i, text in enumerate(texts)], voted=voted)


def test_coverage_and_size_of_stage_sets_by_cohort_and_stage(tmp_path):
    rows = with_sets(short())
    found = evaluate(read(rows.drop(columns="voted"), tmp_path), cohort_column="cohort")
    true = rows["stage"].str[1].astype(int).to_numpy() - 1
    given = np.arange(len(rows)) % 10 > 0
    hits = (rows["voted"] <= true) & (true <= rows["voted"] + 1)
    assert found.stage_sets.coverage["all"].value == pytest.approx(hits[given].mean())
    assert (found.stage_sets.rows, found.stage_sets.without) == (given.sum(), (~given).sum())
    for part in found.cohorts.parts:
        own = given & (COHORTS[rows.index] == part.name) & (true == 2)
        assert part.stage_sets.coverage["T3"].value == pytest.approx(hits[own].mean())
        assert part.stage_sets.size["T3"].value == pytest.approx(np.where(rows["voted"][own] < 3, 2, 1).mean())
    record = found.to_json()
    assert record["stage_sets"]["coverage"]["T3"]["method"].startswith("Wilson")
    assert record["cohorts"]["parts"]["External 1"]["stage_sets"]["rows"] < record["stage_sets"]["rows"]
    table = stage_sets(found)
    assert [line[:2] for line in table.lines][:3] == [
        ("all rows", "coverage"), ("all rows", "mean size"), (found.cohorts.parts[0].name, "coverage")
    ]  # fmt: skip
    assert any("stage_sets.coverage.T3" in row["name"] for row in tables(found)["estimates"])


def test_withheld_sets_are_counted_and_a_cohort_of_them_is_shown(tmp_path):
    """A cohort of a new scanner, all of whose sets are withheld, must not vanish."""
    rows = with_sets(short()).drop(columns="voted")
    new = COHORTS[rows.index] == "External 1"
    rows["stage_set"] = np.where(new, "", rows["stage_set"])
    rows["stage_set_note"] = np.where(
        new, "the case is unlike", np.where(rows["stage_set"] == "", NO_CALIBRATION, "90 %")
    )
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    (part,) = [one.stage_sets for one in found.cohorts.parts if one.name == "External 1"]
    assert (part.rows, part.withheld, part.without, part.levels) == (0, new.sum(), 0, ())
    assert part.coverage["all"].value is None
    whole = found.stage_sets
    assert (whole.withheld, whole.rows + whole.without, whole.levels) == (new.sum(), (~new).sum(), (0.9,))
    lines = {line[0]: line for line in stage_sets(found).lines}
    assert lines["External 1"][2:6] == ("not stated", "0", str(new.sum()), "0")
    assert lines["all rows"][2] == "90 %"


def test_results_by_familiarity_stand_beside_those_of_all_rows(tmp_path):
    """The accuracy among cases that are unlike those of the training is what a reader asks first."""
    rows = with_sets(short()).drop(columns="voted")
    verdicts = np.where(np.arange(len(rows)) % 3 == 0, "unlike", "usual")
    found = evaluate(read(rows.assign(familiarity=verdicts, stage_set_note="90 %"), tmp_path))
    predicted = rows[[f"p_T{k}" for k in (1, 2, 3, 4)]].to_numpy().argmax(axis=1)
    right = predicted == rows["stage"].str[1].astype(int).to_numpy() - 1
    groups = found.groups["familiarity"]
    assert list(groups) == ["unlike", "usual"]
    for verdict, one in groups.items():
        assert one.metrics.accuracy.value == pytest.approx(right[verdicts == verdict].mean())
    known = facts(found)
    assert f"unlike, {(verdicts == 'unlike').sum()} rows, accuracy" in known["familiarity"]
    assert "(promised 90 %)" in known["stage_sets"]
    assert "familiarity" not in known.get("subgroups", "")
    assert "familiarity" not in facts(evaluate(read(rows.assign(familiarity="usual"), tmp_path)))


def test_sets_of_two_levels_or_calibrations_are_said_to_be_counted_together(tmp_path):
    rows = with_sets(short()).drop(columns="voted")
    odd = np.arange(len(rows)) % 2 == 1
    plain = evaluate(read(rows.assign(stage_set_note="90 %", card_sha256="a" * 64), tmp_path))
    mixed = rows.assign(stage_set_note=np.where(odd, "95 %", "90 %"), card_sha256=np.where(odd, "b" * 64, "a" * 64))
    (tmp_path / "m").mkdir()
    found = evaluate(read(mixed, tmp_path / "m"))
    assert found.stage_sets.levels == (0.9, 0.95)
    for part in ("several levels (90 %, 95 %)", "2 model cards"):
        assert any(part in note for note in found.notes)
        assert not any(part in note for note in plain.notes)


@pytest.mark.parametrize("split", ["validation", "calibration"])
def test_the_coverage_on_patients_of_the_model_is_said_to_be_circular(tmp_path, split):
    rows = with_sets(short()).drop(columns="voted").assign(split=split)
    found = evaluate(read(rows, tmp_path, split=split))
    assert any("coverage then says nothing of others" in note for note in found.notes)
    (tmp_path / "w").mkdir()
    without = evaluate(read(rows.drop(columns="stage_set"), tmp_path / "w", split=split))
    assert not any("coverage" in note for note in without.notes)


def test_rows_without_a_cohort_are_said_to_be_in_no_test_and_no_training_is_made_up(tmp_path):
    rows = short()
    rows = rows[COHORTS[rows.index] != "Training"].reset_index(drop=True)
    rows.loc[rows.index[::9], "cohort"] = ""
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    (note,) = [one for one in found.notes if "is in no test" in one]
    assert note.startswith("cohort is empty")
    assert not any("In no test of differences" in one for one in found.notes)


def test_a_column_of_sets_is_found_in_any_case(tmp_path):
    rows = with_sets(short()).drop(columns="voted")
    named = evaluate(read(rows.rename(columns={"stage_set": "Stage_Set"}), tmp_path))
    assert named.stage_sets.rows == (rows["stage_set"] != "").sum()


def test_a_table_without_sets_has_no_part_on_them(found):
    assert found.stage_sets is None
    assert stage_sets(found) is None


@pytest.mark.parametrize("wrong", ["T5", "T3–T2", "T1, T2"])
def test_a_cell_that_is_no_set_is_an_error(tmp_path, wrong):
    rows = with_sets(short()).drop(columns="voted")
    rows.loc[rows.index[1], "stage_set"] = wrong
    with pytest.raises(InputError, match="expected a set such as T2"):
        evaluate(read(rows, tmp_path))


# -- parts ---------------------------------------------------------------------------------------------------------


def test_cohorts_are_those_of_the_column_in_its_order(found):
    assert [part.name for part in found.cohorts.parts] == list(dict.fromkeys(COHORTS))
    assert [len(part.predictions) for part in found.cohorts.parts] == list(pd.Series(COHORTS).value_counts(sort=False))


def test_a_cohort_is_evaluated_as_a_table_of_its_own(found, folder):
    """All of its parts, though the readers' columns are in the same table."""
    alone = evaluate(read_predictions(written(ROWS[COHORTS == "External 2"], folder / "alone.csv")))
    part = found.cohorts.parts[-1]
    assert part.name == "External 2"
    assert part.performance.to_json() == alone.performance.to_json()
    assert part.calibration.to_json() == alone.calibration.to_json()
    assert part.decisions.to_json() == alone.decisions.to_json()
    assert part.attention.to_json() == alone.attention.to_json()
    for stage, curve in alone.curves.items():
        np.testing.assert_array_equal(part.curves[stage], curve)


def test_the_rows_of_all_cohorts_are_evaluated_as_without_the_column(found, folder):
    """The column changes nothing but what it adds, and the order of its own levels in Table 1."""
    plain = evaluate(read_predictions(folder / "t.csv")).to_json()
    record = found.to_json()
    added = {"cohorts", "description", "notes", "patient_flow", "provenance"}
    assert {name for name in record if record[name] != plain[name]} <= added
    lines = [sorted(json.dumps(line) for line in one["description"]) for one in (record, plain)]
    assert lines[0] == lines[1]
    assert plain["cohorts"] is None


def test_the_release_has_the_same_figures_with_cohorts(shared_data, tmp_path):
    rows = pd.read_csv(shared_data / "released/test_predictions_resnet152.csv")
    rows["half"] = np.where(np.arange(len(rows)) % 2, "odd", "even")
    record = evaluate(read(rows, tmp_path), cohort_column="half").to_json()
    assert record["accuracy"]["value"] == 221 / 239
    assert record["auc"]["macro"]["value"] == pytest.approx(0.9952, abs=5e-5)
    halves = record["cohorts"]["parts"]
    right = (rows["true_label"] == rows["predicted_label"]).groupby(rows["half"]).sum()
    assert {name: np.trace(one["confusion_matrix"]) for name, one in halves.items()} == right.to_dict()
    json.dumps(record, allow_nan=False)


def test_table_2_has_the_measures_of_each_stage(found):
    (line,) = [row for row in tables(found)["table2"] if row["cohort"] == "External 1"]
    rows = ROWS[COHORTS == "External 1"]
    true = rows["stage"].str[1].astype(int) - 1
    called = rows[[f"p_T{k}" for k in (1, 2, 3, 4)]].to_numpy().argmax(axis=1)
    assert (line["rows"], line["patients"]) == (len(rows), rows["patient_id"].nunique())
    assert line["accuracy"].startswith(f"{100 * (true == called).mean():.1f} % (")
    for k, stage in enumerate(TStage):
        expected = {
            "sensitivity": recall_score(true == k, called == k),
            "specificity": recall_score(true != k, called != k),
            "ppv": precision_score(true == k, called == k),
            "npv": precision_score(true != k, called != k),
        }
        for name, value in expected.items():
            assert line[f"{name}_{stage}"].startswith(f"{100 * value:.1f} % ("), (name, stage)


def test_the_data_of_the_figures_has_a_column_of_cohorts(found):
    drawn = tables(found)
    names = [part.name for part in found.cohorts.parts]
    for table in ("confusion", "roc", "calibration", "decision_curves"):
        assert list(dict.fromkeys(row["cohort"] for row in drawn[f"{table}_by_cohort"])) == names
    for rows in drawn.values():
        assert len({tuple(row) for row in rows}) == 1


def test_a_comparator_that_a_cohort_lacks_is_empty_there(tmp_path):
    rows = short().assign(eus=ROWS["eus"])
    rows.loc[rows["cohort"] == "External 2", "eus"] = None
    drawn = tables(evaluate(read(rows, tmp_path), cohort_column="cohort"))["decision_curves_by_cohort"]
    without = {row["cohort"] for row in drawn if row["eus"] is None}
    assert without == {"External 2"}


@pytest.mark.parametrize("size", [1, 4])
def test_a_small_cohort_is_evaluated_as_far_as_possible(tmp_path, size):
    rows = short(ROWS.iloc[::5])
    rows["cohort"] = "large"
    rows.iloc[:size, rows.columns.get_loc("cohort")] = "small"
    record = evaluate(read(rows, tmp_path), cohort_column="cohort").to_json()
    small = record["cohorts"]["parts"]["small"]
    stages = set(rows["stage"].iloc[:size])
    assert small["n_rows"] == size
    assert small["auc"]["macro"]["value"] is None
    missing = " or ".join(sorted({"T1", "T2", "T3", "T4"} - stages))
    assert small["notes"] == [f"No row is {missing}, so measures that require such rows are not defined."]
    json.dumps(record, allow_nan=False)


def test_stages_alone_have_no_areas_in_any_cohort(tmp_path):
    rows = ROWS[["case_id", "patient_id", "stage"]].assign(predicted_stage=ROWS["eus"], cohort=COHORTS)
    cohorts = evaluate(read(rows, tmp_path), cohort_column="cohort").cohorts
    assert all(part.calibration is None and part.performance.areas is None for part in cohorts.parts)
    assert "macro AUC" not in [one.measure for one in cohorts.heterogeneity]


# -- Table 1 -------------------------------------------------------------------------------------------------------


def lines_of(found):
    return {(line.variable, line.level): line for line in found.cohorts.description}


def test_table_1_describes_the_patients_of_each_cohort(found):
    patients = ROWS.assign(cohort=COHORTS).groupby("patient_id").first()
    groups = [patients[patients["cohort"] == part.name] for part in found.cohorts.parts]
    line = lines_of(found)["size_cm", "mean ± SD"]
    assert line.cells == tuple(f"{g['size_cm'].mean():.2f} ± {g['size_cm'].std():.2f}" for g in (*groups, patients))
    assert line.p == pytest.approx(kruskal(*(g["size_cm"] for g in groups)).pvalue)
    assert line.test == "Kruskal-Wallis"
    apart = [
        abs(a["size_cm"].mean() - b["size_cm"].mean()) / ((a["size_cm"].var() + b["size_cm"].var()) / 2) ** 0.5
        for a, b in [(groups[0], groups[1]), (groups[0], groups[2]), (groups[1], groups[2])]
    ]
    assert line.difference == pytest.approx(max(apart))
    median = lines_of(found)["size_cm", "median (quartiles)"]
    assert (median.p, median.test, median.difference) == (None, "", None)
    women = lines_of(found)["sex", "F"].cells
    assert women == tuple(
        f"{(g['sex'] == 'F').sum()} ({100 * (g['sex'] == 'F').mean():.1f} %)" for g in (*groups, patients)
    )
    assert lines_of(found)["Patients", "n"].cells == tuple(str(len(g)) for g in (*groups, patients))


def test_table_1_has_the_stage_of_each_patient(found):
    highest = ROWS.assign(cohort=COHORTS).groupby("patient_id").agg({"stage": "max", "cohort": "first"})
    first = highest["cohort"] == found.cohorts.parts[0].name
    assert lines_of(found)["T stage", "T3"].cells[0].startswith(f"{(highest['stage'][first] == 'T3').sum()} (")


def test_table_1_by_stage_lists_the_cohorts_in_the_order_of_all_tables(tmp_path):
    rows = short(ROWS.iloc[::3]).assign(cohort=["2", "10", "1", "3"] * 25)
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    assert [line.level for line in found.description if line.variable == "cohort" and "rows" not in line.level] == [
        part.name for part in found.cohorts.parts
    ]


def test_missing_values_are_counted_and_not_part_of_shares(tmp_path):
    rows = short().drop_duplicates("patient_id")
    rows.loc[rows["cohort"] == "External 1", ["sex", "age"]] = None
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    position = [part.name for part in found.cohorts.parts].index("External 1")
    n = str((rows["cohort"] == "External 1").sum())
    for variable in ("sex", "age"):
        assert lines_of(found)[variable, "not given"].cells[position] == n
    assert lines_of(found)["sex", "F"].cells[position] == "–"
    assert lines_of(found)["age", "mean ± SD"].cells[position] == "–"
    given = rows.dropna(subset="age")
    groups = [one["age"] for _, one in given.groupby("cohort")]
    assert lines_of(found)["age", "mean ± SD"].p == pytest.approx(kruskal(*groups).pvalue)


# -- differences ---------------------------------------------------------------------------------------------------


def test_differences_are_tested_without_the_cohort_of_training(found):
    tests = {one.measure: one for one in found.cohorts.heterogeneity}
    expected = [
        "accuracy",
        "macro AUC",
        *(f"{m} of T{k}" for m in ("sensitivity", "specificity") for k in (1, 2, 3, 4)),
        "mean Dice",
    ]
    assert list(tests) == expected
    assert {one.df for one in tests.values()} == {1}  # two cohorts
    assert all(one.p_holm >= one.p for one in tests.values())
    assert [part.training for part in found.cohorts.parts] == [part.name == "Training" for part in found.cohorts.parts]
    assert any(note.startswith("In no test of differences between cohorts: Training, on") for note in found.notes)
    assert any(note.startswith("Cohort Training: By its name") for note in found.notes)


def test_the_checklists_state_the_tests(found, folder):
    answer = facts(found)["heterogeneity"]
    assert "were tested by Cochran's Q: accuracy p" in answer
    untested = evaluate(read_predictions(written(short(ROWS.iloc[::10]).assign(cohort="one"), folder / "one.csv")),
                        cohort_column="cohort")  # fmt: skip
    assert facts(untested)["heterogeneity"].endswith("differences between cohorts could not be tested.")


def test_a_worse_cohort_is_found(tmp_path):
    rows = short().drop_duplicates("patient_id")
    worse = rows["cohort"] == "External 2"
    four = [f"p_T{k}" for k in (1, 2, 3, 4)]
    rows.loc[worse, four] = np.roll(rows.loc[worse, four].to_numpy(), 1, axis=1)
    tests = {one.measure: one for one in evaluate(read(rows, tmp_path), cohort_column="cohort").cohorts.heterogeneity}
    assert tests["accuracy"].p_holm < 0.001
    assert tests["macro AUC"].p_holm < 0.001
    assert tests["accuracy"].i2 > 0.9


# -- alarms --------------------------------------------------------------------------------------------------------


def test_patients_in_several_cohorts_are_an_alarm(tmp_path):
    rows = short()
    rows["cohort"] = np.where(rows["patient_id"].duplicated(), "second", "first")
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    several = int((rows.groupby("patient_id")["cohort"].nunique() > 1).sum())
    assert found.cohorts.shared_patients == several > 0
    assert any(note.startswith(f"LEAK: {several} of 240 patients have rows in several cohorts") for note in found.notes)
    assert found.cohorts.heterogeneity == ()
    reason = (
        f"Differences between cohorts are not tested: {several} patients of the compared cohorts have rows in several"
    )
    assert any(note.startswith(reason) for note in found.notes)
    tests = {line.test for line in found.cohorts.description if line.test}
    assert tests == {f"not tested: {several} patients in several cohorts"}
    assert {line.p for line in found.cohorts.description} == {None}


def test_patients_of_training_that_are_in_a_test_cohort_leave_the_tests_of_the_others(tmp_path):
    """Only the compared cohorts need different patients; the leak is an alarm all the same."""
    rows = short().drop_duplicates("patient_id")
    twice = rows[rows["cohort"] == "External 1"].head(3).assign(case_id=["x", "y", "z"], cohort="Training")
    found = evaluate(read(pd.concat([rows, twice]), tmp_path), cohort_column="cohort")
    assert found.cohorts.shared_patients == 3
    assert any(one.p is not None for one in found.cohorts.heterogeneity)


def test_a_cohort_that_the_split_removes_is_named(tmp_path):
    rows = short().assign(split=np.where(COHORTS == "Training", "train", "test"))
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    assert [part.name for part in found.cohorts.parts] == ["External 1", "External 2"]
    n = (COHORTS == "Training").sum()
    (note,) = [note for note in found.notes if "Cohort Training is not evaluated" in note]
    assert f"all of its {n} rows are left out ({n} not in split test)" in note


def test_splits_as_cohorts_are_all_evaluated_and_training_is_said_to_be(tmp_path, capsys):
    rows = short().assign(split=np.where(COHORTS == "Training", "train", "test")).drop(columns="cohort")
    table = written(rows, tmp_path / "t.csv")
    out = tmp_path / "out"
    assert cli.main(["evaluate", str(table), "--cohort-column", "split", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    n = (COHORTS == "Training").sum()
    assert f"Cohort train: {n} of {n} rows are of the split of training: the model was fitted on them" in text
    record = json.loads((out / "metrics.json").read_text())
    assert set(record["cohorts"]["parts"]) == {"train", "test"}
    assert record["n_rows"] == len(rows)
    with pytest.raises(InputError, match="rows of other splits were left out; expected all"):
        evaluate(read_predictions(table), cohort_column="split")


def test_the_model_of_a_batch_is_known_from_its_table(tmp_path, capsys):
    warning = "Model 'demonstration' is a DEMONSTRATION model"
    rows = short().assign(model="demonstration", model_warning=warning)
    found = evaluate(read(rows, tmp_path))
    assert (found.models, found.model_warning) == (("demonstration",), warning)
    assert "model" not in found.predictions.covariates
    assert cli.main(["evaluate", str(tmp_path / "t.csv")]) == 0
    assert warning in capsys.readouterr().out
    record = json.loads(json.dumps(found.to_json()))
    assert (record["models"], record["model_warning"]) == (["demonstration"], warning)
    trained = evaluate(read(short().assign(model="mine", model_warning=""), tmp_path))
    assert (trained.models, trained.model_warning) == (("mine",), None)


def test_an_older_table_of_a_batch_does_not_state_its_model(tmp_path):
    rows = short().rename(columns={"stage": "true_stage"}).assign(status="done", unanimous="yes")
    assert UNKNOWN_MODEL in evaluate(read(rows, tmp_path)).notes
    assert UNKNOWN_MODEL not in evaluate(read(short(), tmp_path)).notes  # of other software


# -- wrong use -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "fragment"),
    [("nothing", "--cohort-column 'nothing' is not in t.csv"), ("case_id", "has 300 different values")],
)
def test_a_column_that_is_no_column_of_cohorts_is_an_error(tmp_path, capsys, column, fragment):
    table = written(short(), tmp_path / "t.csv")
    assert cli.main(["evaluate", str(table), "--cohort-column", column]) == 1
    assert fragment in capsys.readouterr().err


def test_a_cohort_with_another_mean_dice_is_found(tmp_path):
    rows = short().drop_duplicates("patient_id")
    rows.loc[rows["cohort"] == "External 2", "dice"] /= 2
    tests = {one.measure: one for one in evaluate(read(rows, tmp_path), cohort_column="cohort").cohorts.heterogeneity}
    dice = [rows.loc[rows["cohort"] == name, "dice"].dropna() for name in ("External 1", "External 2")]
    odds = [np.log(one.mean() / (1 - one.mean())) for one in dice]
    errors = [one.sem() / (one.mean() * (1 - one.mean())) for one in dice]
    assert tests["mean Dice"].statistic == pytest.approx((odds[0] - odds[1]) ** 2 / (errors[0] ** 2 + errors[1] ** 2))
    assert tests["mean Dice"].p_holm < 0.001


def test_empty_cells_are_a_cohort_of_the_tables_and_of_no_test(tmp_path):
    """The tests are those of the table without these rows."""
    rows = short().drop_duplicates("patient_id")
    rows["cohort"] = rows["cohort"].replace("Training", None)
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    without = evaluate(read(rows.dropna(subset="cohort"), tmp_path), cohort_column="cohort")
    assert [part.name for part in found.cohorts.parts] == list(dict.fromkeys(rows["cohort"].fillna("not given")))
    assert found.cohorts.heterogeneity == without.cohorts.heterogeneity
    assert {(one.variable, one.p, one.difference) for one in found.cohorts.description if one.test} == {
        (one.variable, one.p, one.difference) for one in without.cohorts.description if one.test
    }
    n = rows["cohort"].isna().sum()
    assert any(note.startswith(f"cohort is empty, or 'not given', in {n} of 240 rows:") for note in found.notes)
    assert not any("is empty" in note for note in without.notes)


def test_a_column_without_a_cohort_tests_nothing(tmp_path):
    rows = short(ROWS.iloc[::6]).assign(cohort=None)
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    assert found.cohorts.heterogeneity == ()
    assert {line.p for line in found.cohorts.description} == {None}
    assert any(note.startswith("cohort is empty in all rows, so there are no") for note in found.notes)


def test_one_value_is_noted(tmp_path):
    found = evaluate(read(short(ROWS.iloc[::6]).assign(cohort="all of them"), tmp_path), cohort_column="cohort")
    assert found.cohorts.heterogeneity == ()
    assert any("has one value, 'all of them'" in note for note in found.notes)


def test_cohorts_that_differ_in_case_only_are_named(tmp_path):
    rows = short(ROWS.iloc[::2])
    rows["cohort"] = np.where(np.arange(len(rows)) % 2, "External", "external")
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    assert any("differ in case only (external, External)" in note for note in found.notes)


# -- subgroup, flow and scanners -----------------------------------------------------------------------------------


def test_early_stages_are_a_subgroup(found, tmp_path):
    rows = ROWS[ROWS["stage"].isin(["T1", "T2"])]
    called = rows[[f"p_T{k}" for k in (1, 2, 3, 4)]].to_numpy().argmax(axis=1)
    true = rows["stage"].str[1].astype(int) - 1
    early = found.early
    assert early.metrics.n_rows == len(rows)
    for k, stage in enumerate(("T1", "T2")):
        assert early.metrics.per_class[stage].sensitivity.value == pytest.approx((called == k)[true == k].mean())
    assert early.areas.boundaries["T2-4 against T1"].value is not None
    late = short(ROWS[ROWS["stage"] > "T2"].iloc[::4])
    assert evaluate(read(late, tmp_path)).early is None
    groups = {row["group"] for row in tables(found)["performance"]}
    assert {"true stage T1 or T2", "cohort"} <= groups


def test_rows_and_patients_leave_in_the_order_of_the_exclusions(tmp_path):
    rows = short().assign(split="test").reset_index(drop=True)
    rows.loc[rows["patient_id"] < "P010", "split"] = "train"
    rows.loc[rows.index[-30:], "stage"] = None
    found = evaluate(read(rows, tmp_path), cohort_column="cohort")
    steps = {step.text: step for step in found.flow.steps}
    assert list(steps) == ["read", "not in split test", "no true stage", "evaluated"]
    assert [step.excluded for step in steps.values()] == [False, True, True, False]
    in_split = rows[rows["split"] == "test"]
    evaluated = in_split[in_split["stage"].notna()]
    assert (steps["read"].rows, steps["read"].patients) == (300, 240)
    assert steps["not in split test"].rows == 300 - len(in_split)
    assert steps["no true stage"].patients == in_split["patient_id"].nunique() - evaluated["patient_id"].nunique()
    assert steps["evaluated"].patients == found.predictions.clusters.number == evaluated["patient_id"].nunique()
    for cohort in set(COHORTS):
        counts = [step.cohorts[cohort] for step in found.flow.steps]
        assert counts[0].rows == (rows["cohort"] == cohort).sum() == sum(one.rows for one in counts[1:])
        assert counts[0].patients == sum(one.patients for one in counts[1:])


def test_patients_of_excluded_rows_are_found_by_the_same_pattern(tmp_path):
    rows = ROWS[["stage"]].assign(predicted_stage=ROWS["eus"], case_id=ROWS["patient_id"] + "_" + ROWS["case_id"])
    rows.loc[:20, "stage"] = None
    flow = evaluate(read(rows, tmp_path, patient_pattern="^(P[0-9]+)_")).flow
    assert (flow.steps[0].patients, flow.steps[0].rows) == (240, 300)
    assert [step.patients for step in evaluate(read(rows, tmp_path)).flow.steps] == [None, None, None]


def test_scanners_are_described_by_cohort(tmp_path):
    rows = short(ROWS.iloc[:12]).assign(
        cohort=["A", "B"] * 6,
        ct_manufacturer=["Toshiba", "Philips"] * 6,
        ct_model=["Aquilion", "Ingenuity"] * 5 + ["Aquilion", "iCT"],
        ct_tube_voltage_kv=["120", "120.0"] * 6,
        ct_slice_thickness_mm=[str(k) for k in range(12)],
        ct_contrast_rate_ml_s=["3.0/3.0", ""] * 6,
        ct_kernel=["", "B"] * 6,
    )
    lines = {one.parameter: one.cells for one in evaluate(read(rows, tmp_path), cohort_column="cohort").scanners}
    assert lines["CT scanner"][:2] == ("Toshiba Aquilion", "Philips Ingenuity (5), Philips iCT (1)")
    assert lines["Tube voltage (kV)"] == ("120", "120", "120")
    assert lines["Slice thickness (mm)"] == ("5 (0 to 10)", "6 (1 to 11)", "5.5 (0 to 11)")
    assert lines["Injection rate (ml/s)"] == ("3", ABSENT, f"3; {ABSENT}: 6")
    assert lines["Reconstruction kernel"] == (ABSENT, "B", f"B; {ABSENT}: 6")
    assert lines["Scan delay (s)"] == (ABSENT, ABSENT, ABSENT)
    delay = evaluate(read(rows.assign(ct_scan_delay_s=["60", "70"] * 6), tmp_path)).scanners
    assert {one.parameter: one.cells for one in delay}["Scan delay (s)"] == ("60 (6), 70 (6)",)


def test_columns_named_after_dicom_keywords_are_read_and_no_covariates(tmp_path):
    rows = short(ROWS.iloc[:6]).assign(KVP="120", Manufacturer="GE")
    found = evaluate(read(rows, tmp_path))
    lines = {one.parameter: one.cells for one in found.scanners}
    assert (lines["CT scanner"], lines["Tube voltage (kV)"]) == (("GE",), ("120",))
    assert not {"KVP", "Manufacturer"} & set(found.predictions.covariates)
    assert evaluate(read(short(ROWS.iloc[:6]), tmp_path)).scanners == ()
    assert set(HEADER) < set(RESULT_COLUMNS)


def test_the_tables_are_written_beside_the_report(tmp_path):
    table = written(short(ROWS.iloc[::4]).assign(KVP="120"), tmp_path / "t.csv")
    out = tmp_path / "out"
    assert cli.main(["evaluate", str(table), "--cohort-column", "cohort", "--out", str(out)]) == 0
    for name in ("table1_by_cohort", "table2", "table4", "flow", "heterogeneity", "roc_by_cohort"):
        with (out / f"{name}.csv").open(newline="") as file:
            assert list(csv.DictReader(file)), name
    with (out / "table4.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert header == ["parameter", *(f"cohort {name}" for name in dict.fromkeys(COHORTS[::4])), "all"]
