"""Evaluation of a table of predictions: the figures of the release, the record's structure, the report."""

import csv
import json
import re
import shutil
import stat

import numpy as np
import pytest
from helpers import accessibility, browser
from helpers.golden_data import GOLDEN, ROWS
from helpers.markup import Page

from GTRStagingLib.cli import main as cli
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation import report
from GTRStagingLib.evaluation.checklist_facts import facts
from GTRStagingLib.evaluation.checklists import CHECKLISTS
from GTRStagingLib.evaluation.evaluate import evaluate
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.evaluation.table_one import describe_patients
from GTRStagingLib.nomogram.fit import fit_nomogram
from GTRStagingLib.nomogram.nomogram import PUBLISHED, load
from GTRStagingLib.radscore.fit import fit_cohort
from GTRStagingLib.radscore.inputs import from_table, read_rows
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.tables.table_files import read_table

COHORT = GOLDEN / "cohort.csv"
PATIENT = r"([^/\\]+?)\.nii"
PREDICTION = ["case_id", "patient_id", "stage", *(f"p_T{k}" for k in (1, 2, 3, 4))]


@pytest.fixture(scope="module")
def found():
    return evaluate(read_predictions(COHORT), strata=["sex", "age"])


@pytest.fixture(scope="module")
def plain():
    """Evaluate the same table without strata."""
    return evaluate(read_predictions(COHORT))


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    report.write_evaluation(found, out, nomogram=load(PUBLISHED))
    return out


@pytest.fixture(scope="module")
def with_own_scores(found, tmp_path_factory):
    """Write the report of the same evaluation with a fitted nomogram and Rad-score; return it with the nomogram."""
    out = tmp_path_factory.mktemp("own")
    fitted = fit_nomogram(read_table(COHORT), ["radscore", "lauren"], name="mine", resamples=5)
    made = fit_cohort(read_rows(COHORT), from_table(GOLDEN / "features.csv"), name="score", folds=5).fit
    report.write_evaluation(found, out, nomogram=fitted, radscore=made.radscore)
    return out, fitted


def few(columns=PREDICTION, step=6):
    """Return the rows of every sixth patient, with the columns that a prediction requires."""
    patients = sorted(set(ROWS["patient_id"]))[::step]
    return ROWS[ROWS["patient_id"].isin(patients)][list(columns)].copy()


@pytest.fixture(scope="module")
def the_release(shared_data):
    return shared_data / "released/test_predictions_resnet152.csv", shared_data / "released/splits/train.csv"


# -- the release ---------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_the_figures_of_the_release_are_reproduced(the_release):
    record = evaluate(read_predictions(the_release[0])).to_json()
    assert record["n_rows"] == 239
    assert record["accuracy"]["value"] == 221 / 239
    assert record["auc"]["macro"]["value"] == pytest.approx(0.9952, abs=5e-5)
    assert record["auc"]["micro"]["value"] == pytest.approx(0.9921, abs=5e-5)
    assert record["kappa"]["linear"]["value"] == pytest.approx(0.9018, abs=5e-5)
    assert record["kappa"]["quadratic"]["value"] == pytest.approx(0.9058, abs=5e-5)
    assert record["confusion_matrix"] == [[58, 1, 1, 0], [0, 55, 4, 0], [1, 2, 57, 0], [2, 5, 2, 51]]


def test_its_leak_is_reported_with_results_without_siblings(the_release, tmp_path, capsys):
    table, training = the_release
    arguments = ["evaluate", str(table), "--patient-pattern", PATIENT, "--training", str(training), "--out"]
    assert cli.main([*arguments, str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "221/239 = 0.9247" in output
    assert "LEAK: 239 of 239 rows" in output
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (record["n_rows"], record["n_patients"], record["clustered_by_patient"]) == (239, 179, True)
    assert record["leakage"]["patients_with_siblings_in_training"] == 177
    apart = record["without_siblings"]
    assert (apart["n_patients"], apart["n_rows"], np.trace(apart["confusion_matrix"])) == (2, 6, 2)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "TRAINING DATA IN THE EVALUATION" in page


def test_rows_that_share_patients_widen_the_intervals(the_release):
    table = the_release[0]
    naive = evaluate(read_predictions(table)).performance.metrics.accuracy
    honest = evaluate(read_predictions(table, patient_pattern=PATIENT)).performance.metrics.accuracy
    assert honest.value == naive.value
    assert honest.high - honest.low > 1.1 * (naive.high - naive.low)


# -- the record ----------------------------------------------------------------------------------------------------

ESTIMATES = [
    "accuracy", "auc.macro", "auc.micro", *(f"auc.per_class.T{k}" for k in (1, 2, 3, 4)),
    "kappa.plain", "kappa.linear", "kappa.quadratic", "mean_absolute_error", "over_staged", "under_staged",
    *(f"per_class.T{k}.{m}" for k in (1, 2, 3, 4) for m in ("sensitivity", "specificity", "ppv", "npv", "f1")),
    "boundaries.T2-4 against T1.sensitivity", "boundaries.T3-4 against T1-2.specificity",
]  # fmt: skip


@pytest.mark.parametrize("path", ESTIMATES)
def test_the_record_has_every_estimate_with_interval_and_method(written, path):
    node = json.loads((written / "metrics.json").read_text())
    for name in path.split("."):
        node = node[name]
    assert set(node) == {"value", "low", "high", "method"}
    assert node["low"] <= node["value"] <= node["high"]
    assert "95 %" in node["method"]


@pytest.mark.smoke
def test_the_counts_of_the_flow_and_of_the_groups_add_up(written):
    record = json.loads((written / "metrics.json").read_text())
    assert record["flow"]["read"] == record["flow"]["used"] + sum(record["flow"]["excluded"].values()) == 300
    for levels in record["groups"].values():
        assert sum(one["n_rows"] for one in levels.values()) == record["n_rows"]
    assert np.sum(record["confusion_matrix"]) == record["n_rows"]
    assert set(record["groups"]) == {"centre", "sex", "age"}
    assert set(record["groups"]["centre"]) == {"North", "South", "West"}


def test_readers_and_attention_are_detected(found):
    assert list(found.comparison.readers) == ["model", "q", "eus"]
    assert [row.reader for row in found.study.rows] == ["reader1", "reader2", "all readers"]
    assert set(found.attention.measures) == {"dice", "chance_dice"}
    assert set(found.decisions.treatment) == {"model", "q", "eus", "reader1, unaided", "reader1, aided",
                                              "reader2, unaided", "reader2, aided"}  # fmt: skip


def test_dice_of_an_old_table_is_compared_with_chance_and_missing_baselines_are_noted(found, written):
    assert list(found.attention.against) == ["chance"]
    missing = [note for note in found.notes if note.startswith("Dice is not compared with a centred blob and the mean")]
    assert len(missing) == 1
    page = Page((written / "report.html").read_text(encoding="utf-8"))
    assert missing[0] in page.words
    assert "computed at the threshold that was set before the cases were staged" in page.words
    assert "not comparable with the 0.56 to 0.63 that the article reports" in page.words


def test_a_baseline_without_a_number_is_not_called_a_missing_column(tmp_path):
    """As the mean mask of several models, of which the first has none."""
    ROWS.assign(blob_dice=(ROWS["dice"] - 0.2).round(3), mean_mask_dice="").to_csv(tmp_path / "rows.csv", index=False)
    notes = evaluate(read_predictions(tmp_path / "rows.csv")).notes
    (note,) = [one for one in notes if "Dice is not compared" in one]
    assert note.endswith("the mean mask of the model's cases: no row has both Dice and a number in mean_mask_dice.")
    assert any("requires a model with a mean mask, of several models the first one" in one for one in notes)


def test_dice_is_compared_with_every_baseline_in_the_table(tmp_path):
    rows = ROWS.assign(blob_dice=(ROWS["dice"] - 0.2).round(3), mean_mask_dice=(ROWS["dice"] - 0.1).round(3))
    rows.to_csv(tmp_path / "predictions.csv", index=False)
    found = evaluate(read_predictions(tmp_path / "predictions.csv"))
    against = {name: by_stage["T3"].difference.value for name, by_stage in found.attention.against.items()}
    assert list(against) == ["chance", "blob", "mean_mask"]
    assert [against["blob"], against["mean_mask"]] == pytest.approx([0.2, 0.1])
    assert not [note for note in found.notes if "Dice is not compared" in note]
    report.write_evaluation(found, tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    (line,) = [row for row in page.rows if row[:2] == ["the mean mask of the model's cases", "all"]]
    assert line[3].startswith("0.100 (")
    record = {row["name"] for row in csv.DictReader((tmp_path / "out" / "estimates.csv").open())}
    assert {f"attention.against.{name}.T1.difference" for name in ("chance", "blob", "mean_mask")} <= record
    figure = (tmp_path / "out" / "attention.svg").read_text(encoding="utf-8")
    assert figure.startswith("<?xml")
    assert facts(found)["attention"].endswith(
        "compared with chance, a centred blob, the mean mask of the model's cases."
    )


def test_treating_all_starts_at_the_prevalence(found):
    for curve, first in zip(found.decisions.curves, ("T2", "T3", "T4"), strict=True):
        prevalence = (ROWS["stage"] >= first).mean()
        assert curve.net_benefit["treat all"][0] == pytest.approx(prevalence)
        assert curve.net_benefit["model"][0] == pytest.approx(prevalence)
        assert set(curve.net_benefit["treat none"]) == {0.0}


def test_a_seed_gives_the_same_evaluation(found, plain):
    """Strata add their results and change no others."""
    first, again = found.to_json(), plain.to_json()
    for one in (first, again):
        one["provenance"] = {k: v for k, v in one["provenance"].items() if k != "utc"}
    assert [first["groups"].pop(column) is None for column in ("sex", "age")] == [False, False]
    assert again == first


def test_table_1_is_of_patients(found):
    lines = {(line.variable, line.level): line.cells for line in found.description}
    patients = ROWS.groupby("patient_id").first()
    assert lines["Patients", "n"][0] == "240"
    assert lines["sex", "F"][0].startswith(f"{(patients['sex'] == 'F').sum()} ")
    median, low, high = patients["age"].quantile([0.5, 0.25, 0.75])
    assert lines["age", "median (quartiles)"][0] == f"{median:.4g} ({low:.4g} to {high:.4g})"


def test_contradictions_within_a_patient_are_counted(tmp_path):
    rows = ROWS.copy()
    again = rows["patient_id"].duplicated()
    rows.loc[again, "sex"] = rows.loc[again, "sex"].map({"F": "M", "M": "F"})
    rows.to_csv(tmp_path / "t.csv", index=False)
    lines = describe_patients(read_predictions(tmp_path / "t.csv"))
    (line,) = [one for one in lines if one.level == "patients with contradictory rows"]
    assert (line.variable, line.cells[0]) == ("sex", "60")


@pytest.mark.parametrize("keep", ["one stage", "one patient", "one row", "stages alone", "no T1"])
def test_small_tables_are_evaluated_as_far_as_possible(tmp_path, keep):
    some = few(ROWS.columns, step=4)
    rows = {
        "one stage": some[some["stage"] == "T3"],
        "one patient": ROWS[ROWS["patient_id"] == ROWS["patient_id"][299]],
        "one row": ROWS.head(1),
        "stages alone": ROWS[["case_id", "patient_id", "stage", "eus"]].rename(columns={"eus": "predicted_stage"}),
        "no T1": some[some["stage"] != "T1"],
    }[keep]
    rows.to_csv(tmp_path / "t.csv", index=False)
    assert cli.main(["evaluate", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["n_rows"] == len(rows)
    if keep != "stages alone":
        assert record["auc"]["macro"]["value"] is None
        assert "not defined" in record["auc"]["macro"]["method"]
    else:
        assert record["auc"] is None
        assert record["calibration"] is None


# -- the files -----------------------------------------------------------------------------------------------------


def test_the_record_lists_the_files_and_older_files_are_removed(written, plain, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(written, out)
    record = json.loads((out / "metrics.json").read_text())
    assert set(record["files"]) == {p.name for p in out.iterdir()}
    assert "forest_sex.png" in record["files"]
    (out / "mine.txt").write_text("stays")
    paths = report.write_evaluation(plain, out)
    record = json.loads((out / "metrics.json").read_text())
    assert set(record["files"]) == set(paths) == {p.name for p in out.iterdir()} - {"mine.txt"}
    assert not (out / "forest_sex.png").exists()
    assert (out / "mine.txt").exists()


def test_figures_are_the_same_files_each_time(written, with_own_scores):
    """All figures but those of the nomogram, which differs here and has a test of its own."""
    again, _ = with_own_scores
    of_nomogram = ("nomogram", "table3", *CHECKLISTS)
    compared = [p for p in (*written.glob("*.svg"), *written.glob("*.csv")) if not p.name.startswith(of_nomogram)]
    assert len(compared) > 10
    for path in compared:
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_the_table_of_estimates_contains_all_of_the_record(written):
    with (written / "estimates.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    record = json.loads((written / "metrics.json").read_text())
    for path in ESTIMATES:
        node = record
        for name in path.split("."):
            node = node[name]
        assert float(rows[path]["value"]) == node["value"]
        assert float(rows[path]["high"]) == node["high"]


def test_both_checklists_are_complete_and_unknown_answers_empty(written):
    for name, items in (("claim-2024", 44), ("tripod-ai", 52)):
        with (written / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == items
        assert {row["status"] for row in rows} >= {"answered", "to be filled in by the authors"}
        assert all(not row["answer"] for row in rows if row["status"] == "to be filled in by the authors")


def test_a_folder_that_is_not_writable_is_reported(tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    few().to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(SystemExit) as left:
        cli.main(["evaluate", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")])
    assert left.value.code == 2
    assert "out is a file; expected a folder, new or existing. Choose another name" in capsys.readouterr().err
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert list(locked.iterdir()) == []


# -- the page ------------------------------------------------------------------------------------------------------


def test_the_page_opens_without_errors_is_accessible_prints_and_fits_a_phone(chromium, written):
    with chromium.open(written / "report.html") as view:
        assert accessibility.violations(view) == []
        assert view.pdf().startswith(b"%PDF-")
        assert view.page.locator(".nomogram").count() >= 1
        view.resize(browser.PHONE)
        assert view.overflow == 0
        assert view.complaints == []


@pytest.mark.smoke
def test_the_page_has_the_required_content(written):
    text = (written / "report.html").read_text()
    page = Page(text)
    assert RESEARCH_USE_ONLY in text
    assert not re.findall(r'(?:src|href)="https?:', text)
    for heading in ("Flow of patients", "Table 1", "Table 2", "Table 3", "Calibration", "Decisions", "checklists"):
        assert heading in text, heading
    assert "opposite sign" in text  # the published nomogram's warning
    assert page is not None


def test_the_report_shows_a_fitted_nomogram_and_rad_score(chromium, with_own_scores):
    out, fitted = with_own_scores
    ratio = fitted.record["coefficients"][0]["odds_ratio"]
    text = (out / "report.html").read_text().replace("\u00a0", " ")
    assert f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" in text
    assert (out / "radscore_coefficients.png").exists()
    with chromium.open(out / "report.html") as view:
        assert view.complaints == []
        assert accessibility.violations(view) == []


# -- wrong use -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["--stratum", "nothing"], "no column 'nothing'"),
        (["--columns", "truth"], "expected NAME=VALUE"),
        (["--phase", "r=eus"], "expected two columns"),
        (["--comparator", "EUS"], "--comparator EUS: expected NAME=VALUE"),
        (["--phase", "r=eus,age"], "age: row 2 '63'"),
        (["--nomogram", "nowhere"], "no such nomogram"),
        (["--training", "nowhere.csv"], "is not a file"),
        (["--split", "test"], "no column 'split'; expected one to select by --split"),
    ],
)
def test_wrong_use_reports_the_expected_input(options, fragment, capsys):
    try:
        code = cli.main(["evaluate", str(COHORT), *options])
    except SystemExit as error:
        code = error.code
    assert code in (1, 2)
    assert fragment in capsys.readouterr().err


def test_a_training_table_without_patients_is_an_error(tmp_path):
    (tmp_path / "t.csv").write_text("case_id,stage,p_T1,p_T2,p_T3,p_T4\na,T1,0.7,0.1,0.1,0.1\n")
    with pytest.raises(InputError, match="does not identify patients"):
        evaluate(read_predictions(tmp_path / "t.csv"), training=COHORT)


def test_rows_of_other_patients_are_not_siblings(tmp_path):
    rows = few()
    half = rows["patient_id"] < "P120"
    rows[half].to_csv(tmp_path / "train.csv", index=False)
    rows[~half].to_csv(tmp_path / "test.csv", index=False)
    record = evaluate(read_predictions(tmp_path / "test.csv"), training=tmp_path / "train.csv")
    assert not record.siblings.leaks
    assert record.with_siblings is None
    assert record.without_siblings.metrics.n_rows == (~half).sum()


def test_centres_that_are_numbers_are_levels(tmp_path):
    rows = few(step=3)
    rows["centre"] = rows["patient_id"].str[1:].astype(int) % 11 + 1
    rows.to_csv(tmp_path / "t.csv", index=False)
    record = evaluate(read_predictions(tmp_path / "t.csv"))
    assert list(record.groups["centre"]) == [str(k) for k in range(1, 12)]
    rows["centre"] = rows["patient_id"]
    rows.to_csv(tmp_path / "t.csv", index=False)
    record = evaluate(read_predictions(tmp_path / "t.csv"))
    assert record.groups == {}
    assert any("No results by centre" in note for note in record.notes)


def test_readers_that_cannot_be_compared_are_noted(tmp_path):
    """Each is compared with the model on its own rows; the two have no row in common."""
    rows = ROWS[["case_id", "patient_id", "stage", *[f"p_T{k}" for k in (1, 2, 3, 4)], "eus"]].assign(other=ROWS["eus"])
    rows.loc[:150, "eus"] = None
    rows.loc[151:, "other"] = None
    rows.to_csv(tmp_path / "t.csv", index=False)
    record = evaluate(read_predictions(tmp_path / "t.csv"))
    assert [pair.crossing.n for pair in record.comparison.pairs] == [149, 151, 0]
    assert record.comparison.readers["eus"].n_rows == 149
    assert "eus and other are not compared: no row has values of both." in record.notes
    assert any(note.startswith("eus has no stage in 151 of 300 rows") for note in record.notes)
    treated = record.decisions.treatment["eus"]
    assert treated.tp + treated.fp + treated.fn + treated.tn == 149
    assert "eus" not in record.decisions.curves[0].net_benefit


def test_the_console_gives_each_reason_once(tmp_path, capsys):
    """No row is T4; each of two patients has half of the rows."""
    rows = ["case_id,patient_id,stage,p_T1,p_T2,p_T3,p_T4,cohort"]
    rows += [f"c{i},p{i % 2},T{i % 3 + 1},{'0.7,0.1,0.1,0.1' if i % 2 else '0.1,0.1,0.7,0.1'},A" for i in range(12)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(rows) + "\n")
    assert cli.main(["evaluate", str(table), "--cohort-column", "cohort", "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    (undefined,) = [line for line in lines if line.startswith("NOTE") and "macro AUC" in line]
    assert "macro AUC, macro AUC of A: not defined: " in undefined
    (without,) = [line for line in lines if "no interval, one patient has 6 of 12 rows" in line]
    assert without.startswith("NOTE          accuracy, kappa, ")
    assert any(line.startswith("  A: 12 rows of 2 patients, ") for line in lines)


def test_the_console_names_the_word_document(tmp_path, capsys):
    pytest.importorskip("docx")
    table = tmp_path / "t.csv"
    table.write_text("case_id,patient_id,stage,predicted\na,1,T1,T1\nb,2,T4,T3\n")
    assert cli.main(["evaluate", str(table), "--format", "docx", "--out", str(tmp_path / "out")]) == 0
    assert "report.html with metrics.json, manuscript.docx, figures and tables" in capsys.readouterr().out
