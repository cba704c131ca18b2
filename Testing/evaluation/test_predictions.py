"""Tables of predictions, of this software and others, valid and invalid."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.golden_data import GOLDEN, ROWS, probabilities, stages

from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.predictions import read_predictions

HEAD = "prob_0,prob_1,prob_2,prob_3,true_label,image_path\n"
GOOD = "0.7,0.1,0.1,0.1,0,a_1.png\n0.1,0.7,0.1,0.1,1,a_2.png\n0.1,0.1,0.1,0.7,3,b_1.png\n"


@pytest.fixture
def a_table(tmp_path):
    def write(text, name="table.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_a_table_of_this_software():
    found = read_predictions(GOLDEN / "cohort.csv")
    np.testing.assert_array_equal(found.stages, stages(ROWS))
    np.testing.assert_allclose(found.probabilities, probabilities(ROWS), atol=1e-12)
    np.testing.assert_array_equal(found.predicted, probabilities(ROWS).argmax(axis=1))
    assert (len(found), len(found.patient_names), found.clustered) == (300, 240, True)
    assert found.readers == ("eus", "reader1, unaided", "reader1, aided", "reader2, unaided", "reader2, aided")
    assert found.covariates == ("age", "sex", "size_cm", "differentiation", "lauren", "radscore")
    np.testing.assert_array_equal(found.stages_of("eus"), stages(ROWS, "eus"))
    np.testing.assert_array_equal(found.stages_of("reader2, aided"), stages(ROWS, "reader2_aided"))
    np.testing.assert_allclose(found.other_probabilities("q"), probabilities(ROWS, "q"))
    np.testing.assert_array_equal(found.numbers("age"), ROWS["age"])
    assert found.numbers("sex") is None
    assert found.flow.to_json() == {"read": 300, "used": 300, "excluded": {}}


def test_a_batch_gets_its_true_stages_from_the_cohort(a_table):
    batch = a_table(
        "case_id,status,stage,unanimous,p_T1,p_T2,p_T3,p_T4,dice\nc1,done,T1,yes,0.7,0.1,0.1,0.1,0.2\n"
        "c2,failed,,,,,,,\nc3,done,T3,no,0.1,0.1,0.5,0.3,0.4\nc9,done,T3,no,0.1,0.1,0.5,0.3,0.4\n"
    )
    with pytest.raises(InputError, match=r"no column of the true stages.*`truth`"):
        read_predictions(batch)
    cohort = a_table("case_id,patient_id,image,stage,age\nc1,p1,x,T2,61\nc2,p2,x,T1,62\nc3,p1,x,T3,61\n", "cohort.csv")
    found = read_predictions(batch, truth=cohort)
    assert found.stages.tolist() == [1, 2]
    assert found.predicted.tolist() == [0, 2]
    assert found.flow.to_json() == {"read": 4, "used": 2, "excluded": {"failed": 1, "no true stage": 1}}
    assert found.clustered
    assert found.numbers("age").tolist() == [61, 61]


def test_a_vote_that_is_not_the_highest_probability_is_kept_and_noted(a_table):
    found = read_predictions(
        a_table("case_id,true_stage,predicted_stage,p_T1,p_T2,p_T3,p_T4\na,T1,T2,0.6,0.2,0.1,0.1\n")
    )
    assert found.predicted.tolist() == [1]
    assert any("In 1 of 1 rows" in note for note in found.notes)


@pytest.mark.parametrize(
    "edit",
    [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: t.rstrip("\n"),
     lambda t: t.replace(",", " , ")],
    ids=["BOM", "CRLF", "no last newline", "blanks"],
)  # fmt: skip
def test_tables_as_people_save_them(a_table, edit):
    found = read_predictions(a_table(edit(HEAD + GOOD)), patient_pattern="^(.)_")
    assert found.stages.tolist() == [0, 1, 3]
    assert found.patients.tolist() == [0, 0, 1]
    assert found.case_names.tolist() == ["a_1.png", "a_2.png", "b_1.png"]


def test_parquet_gives_the_same(tmp_path):
    ROWS.to_parquet(tmp_path / "cohort.parquet")
    found, expected = read_predictions(tmp_path / "cohort.parquet"), read_predictions(GOLDEN / "cohort.csv")
    np.testing.assert_array_equal(found.stages, expected.stages)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-12)
    assert found.readers == expected.readers


@pytest.mark.parametrize("labels", [["T1", "T2", "T4"], ["pT1", "t2", "T4a"], ["0", "1", "3"], ["1", "2", "4"],
                                    ["1.0", "2.0", "4.0"]])  # fmt: skip
def test_stages_are_read_as_they_are_written(a_table, labels):
    rows = GOOD
    for old, new in zip((",0,a_1", ",1,a_2", ",3,b_1"), labels, strict=True):
        rows = rows.replace(old, f",{new},{old[-3:]}")
    assert read_predictions(a_table(HEAD + rows)).stages.tolist() == [0, 1, 3]


def test_predictions_that_do_not_show_where_they_begin_require_labels_from(a_table):
    """1 to 3 beside true stages from 0 to 3: T1 to T3, or T2 to T4."""
    table = a_table("id,y_true,y_pred\na,0,1\nb,1,2\nc,3,3\n")
    with pytest.raises(InputError, match=r"y_pred: stages 1, 2, 3 are ambiguous.*y_true has 0-3. Set `labels_from`"):
        read_predictions(table)
    assert read_predictions(table, labels_from=0).predicted.tolist() == [1, 2, 3]


def test_ambiguous_stages_require_labels_from(a_table):
    table = a_table(HEAD + GOOD.replace(",0,a", ",2,a").replace(",3,b", ",2,b"))
    with pytest.raises(InputError, match=r"stages 1, 2 are ambiguous; expected 0 to 3 or 1 to 4.*`labels_from`"):
        read_predictions(table)
    assert read_predictions(table, labels_from=0).stages.tolist() == [2, 1, 2]
    assert read_predictions(table, labels_from=1).stages.tolist() == [1, 0, 1]


BAD = {
    "no truth": (HEAD.replace("true_label", "xyz") + GOOD, "no column of the true stages"),
    "no probabilities": (HEAD.replace("prob_3", "other") + GOOD, "no predictions among"),
    "sum": (HEAD + GOOD + "0.7,0.3,0.1,0.1,0,c_1.png\n", r"row 5: probabilities 0.7 0.3 0.1 0.1 add up to 1.2000"),
    "logits": (HEAD + GOOD + "-2,3,0.1,0.1,0,c_1.png\n", r"row 5: probabilities -2 3 0.1 0.1.*softmax"),
    "per cent": (HEAD + GOOD + "70,10,10,10,0,c_1.png\n", r"row 5.*divide them by 100"),
    "out of range": (HEAD + GOOD + "0.7,0.1,0.1,0.1,7,c_1.png\n", r"true_label: row 5 '7'"),
    "two codes": (HEAD + GOOD + "0.7,0.1,0.1,0.1,4,c_1.png\n", r"true_label: row 5 '4' \(1 such row\)"),
    "Tis": (HEAD + GOOD + "0.7,0.1,0.1,0.1,Tis,c_1.png\n", r"row 5 'Tis'"),
    "doubled id": (HEAD + GOOD + "0.7,0.1,0.1,0.1,0,a_1.png\n", r"image_path 'a_1.png' in rows 2, 5"),
    "decimal comma": (
        HEAD + GOOD + '"0,7","0,1","0,1","0,1",0,c_1.png\n',
        r"'prob_0' has commas and points, .* '0,7' .*with a point",
    ),
    "bars": ((HEAD + GOOD).replace(".", "_").replace(",", "|"), r"separated by '\|'"),
    "text": (HEAD + GOOD + "high,0.1,0.1,0.1,0,c_1.png\n", r"row 5, prob_0 'high'; expected a finite number"),
    "infinite": (HEAD + GOOD + "inf,0.1,0.1,0.1,0,c_1.png\n", r"prob_0 'inf'; expected a finite number"),
    "ragged": (HEAD + GOOD + "0.7,0.1,0.1\n", r"row 5: 3 cells; expected 6"),
    "empty": ("", "is empty"),
    "header alone": (HEAD, "no rows"),
    "doubled column": (HEAD.replace("prob_1", "prob_0") + GOOD, "'prob_0' twice"),
    "nothing usable": (HEAD + "0.7,0.1,0.1,0.1,,a.png\n,,,,1,b.png\n", r"no row can be used \(no true stage: 1, no "),
}


@pytest.mark.parametrize(("text", "fragment"), BAD.values(), ids=BAD)
def test_errors_of_invalid_tables_name_place_and_remedy(a_table, text, fragment):
    with pytest.raises(InputError, match=fragment) as error:
        read_predictions(a_table(text))
    assert "table.csv" in str(error.value)
    assert "expected" in str(error.value)


def test_rows_without_a_value_are_left_out_and_counted(a_table):
    rows = "0.7,0.1,0.1,0.1,,c_1.png\nNaN,0.1,0.1,0.1,0,c_2.png\nNA,NA,NA,NA,NA,c_3.png\n"
    found = read_predictions(a_table(HEAD + GOOD + rows))
    assert found.flow.to_json() == {"read": 6, "used": 3, "excluded": {"no true stage": 2, "no probabilities": 1}}


@pytest.mark.parametrize("empty", ["", "NA", "N/A", "nan"])
def test_every_spelling_of_a_missing_value_is_an_empty_cell(a_table, empty):
    """So that probabilities with two decimals stay such beside a missing one, whose row another model leaves out."""
    four = "0.33,0.33,0.33,0.00"
    table = a_table(
        f"id,label,p_T1,p_T2,p_T3,p_T4,q_T1,q_T2,q_T3,q_T4\na,T1,{four},{four}\nb,T4,{four},{empty}{',' * 3}\n"
    )
    found = read_predictions(table)
    assert found.frame["q_T1"].tolist() == ["0.33", ""]
    np.testing.assert_allclose(found.other_probabilities("q")[0], np.array([1, 1, 1, 0]) / 3)


def test_an_uncertain_stage_is_named_with_its_row_and_what_to_write(a_table):
    with pytest.raises(InputError) as error:
        read_predictions(a_table("id,true_stage,predicted\na,T1,T1\nb,T3?,T3\n"))
    assert str(error.value) == (
        "table.csv, true_stage: row 3 'T3?' (1 such row); expected one of T1 to T4, 0 to 3, or 1 to 4. Write one stage "
        "into the cell, or leave it empty to leave the row out."
    )


def test_rounded_probabilities_are_divided_by_their_sum_with_a_note(a_table):
    found = read_predictions(a_table(HEAD + GOOD + "0.333,0.333,0.333,0,0,c_1.png\n"))
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert any("0.0010 off" in note for note in found.notes)


def test_without_patients_every_row_counts_as_one_with_a_note(a_table):
    found = read_predictions(a_table(HEAD + GOOD))
    assert not found.clustered
    assert any("too narrow" in note for note in found.notes)


def test_patterns_that_do_not_fit_are_errors(a_table):
    table = a_table(HEAD + GOOD)
    with pytest.raises(InputError, match=r"'a_1.png' does not fit"):
        read_predictions(table, patient_pattern="^(X)_")
    with pytest.raises(InputError, match="expected a regular expression"):
        read_predictions(table, patient_pattern="(")


def test_one_split_is_selected(a_table):
    text = "case_id,split,stage,p_T1,p_T2,p_T3,p_T4\n" + "".join(
        f"c{i},{side},T1,0.7,0.1,0.1,0.1\n" for i, side in enumerate(["train", "test", "test", "validation"])
    )
    table = a_table(text)
    assert read_predictions(table).flow.excluded == {"not in split test": 2}
    assert len(read_predictions(table, split="all")) == 4
    assert len(read_predictions(table, split="train")) == 1
    with pytest.raises(InputError, match=r"no row in split 'tset'; expected one of test, train, validation"):
        read_predictions(table, split="tset")


def test_columns_can_be_named(a_table):
    table = a_table("who,A,B,C,D,verdict\nx,0.7,0.1,0.1,0.1,T1\ny,0.1,0.7,0.1,0.1,T4\n")
    columns = {"truth": "verdict", "probabilities": "A,B,C,D", "patient": "who"}
    found = read_predictions(table, columns=columns)
    assert found.stages.tolist() == [0, 3]
    assert found.patient_names.tolist() == ["x", "y"]
    for wrong, text in (({"truth": "nope"}, "no column 'nope'"), ({"stage": "verdict"}, "'stage' is not a role"),
                        ({**columns, "probabilities": "A,B"}, "expected four columns")):  # fmt: skip
        with pytest.raises(InputError, match=text):
            read_predictions(table, columns=wrong)


def test_one_stage_and_one_row_are_read(a_table):
    found = read_predictions(a_table(HEAD + "0.7,0.1,0.1,0.1,0,a\n"))
    assert (found.stages.tolist(), len(found.of(np.array([True])))) == ([0], 1)


def test_some_of_the_rows_keep_their_patients():
    found = read_predictions(GOLDEN / "cohort.csv")
    north = found.of((ROWS["centre"] == "North").to_numpy())
    assert north.flow.read == 300
    names = north.patient_names[north.patients]
    assert names.tolist() == ROWS["patient_id"][ROWS["centre"] == "North"].tolist()


@pytest.mark.slow
def test_two_million_rows_fit(tmp_path):
    """In a separate process, to measure its memory."""
    import subprocess
    import sys

    rng = np.random.default_rng(0)
    n = 2_000_000
    table = pd.DataFrame(rng.dirichlet(np.ones(4), size=n).round(6), columns=[f"p_T{k}" for k in (1, 2, 3, 4)])
    table.insert(0, "patient_id", [f"P{i // 2}" for i in range(n)])
    table.insert(0, "case_id", [f"c{i}" for i in range(n)])
    table["stage"] = np.array(["T1", "T2", "T3", "T4"])[rng.integers(4, size=n)]
    table.to_csv(tmp_path / "large.csv", index=False)
    code = (
        "import json, resource, sys; from pathlib import Path\n"
        "from GTRStagingLib.evaluation.predictions import read_predictions\n"
        "from GTRStagingLib.evaluation.evaluate import evaluate\n"
        "e = evaluate(read_predictions(Path(sys.argv[1])))\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20\n"
        "print(json.dumps([e.performance.metrics.n_rows, e.performance.metrics.n_patients, peak]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "large.csv")], capture_output=True, text=True, check=True
    )
    rows, patients, peak_gb = json.loads(done.stdout)
    assert (rows, patients) == (n, n // 2)
    assert peak_gb < 4


def test_patients_may_have_several_rows_without_any_other_id(a_table):
    text = "patient_id,stage,p_T1,p_T2,p_T3,p_T4\na,T1,0.7,0.1,0.1,0.1\na,T2,0.7,0.1,0.1,0.1\n"
    found = read_predictions(a_table(text))
    assert found.patients.tolist() == [0, 0]
    assert found.case_names.tolist() == ["row 2", "row 3"]


def test_splits_ignore_case_and_pooling_is_noted(a_table):
    text = "case_id,split,stage,p_T1,p_T2,p_T3,p_T4\nc1,Train,T1,0.7,0.1,0.1,0.1\nc2,TEST,T1,0.7,0.1,0.1,0.1\n"
    assert read_predictions(a_table(text)).case_names.tolist() == ["c2"]
    pooled = read_predictions(a_table(text.replace("TEST", "fold2")))
    assert any("train: 1, fold2: 1" in note for note in pooled.notes)


def test_a_status_of_the_patient_is_not_that_of_a_batch(a_table):
    text = "case_id,status,stage,p_T1,p_T2,p_T3,p_T4\na,alive,T1,0.7,0.1,0.1,0.1\n"
    assert read_predictions(a_table(text)).columns.truth == "stage"


def test_a_given_cohort_replaces_the_true_stages_with_a_note(a_table):
    table = a_table("case_id,true_stage,p_T1,p_T2,p_T3,p_T4\na,T1,0.7,0.1,0.1,0.1\n")
    found = read_predictions(table, truth=a_table("case_id,stage\na,T3\n", "cohort.csv"))
    assert found.stages.tolist() == [2]
    assert any("cohort.csv" in note and "1 differ" in note for note in found.notes)
