"""Columns of readers and comparators are read, asked about or refused, and never shifted by a stage."""

import json

import numpy as np
import pytest
from helpers.golden_data import ROWS

from GTRStagingLib.cli import main as cli
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.evaluate import evaluate
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.evaluation.report import write_evaluation

STAGES = ["T1", "T2", "T3", "T4", "T2", "T3"]
FOUR = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.1, 0.7], [0.1, 0.7, 0.1, 0.1],
        [0.1, 0.1, 0.7, 0.1]]  # fmt: skip


@pytest.fixture
def a_table(tmp_path):
    """Write a table of six cases with further columns."""

    def write(stages=STAGES, four=FOUR, **columns):
        lines = [",".join(["case_id", "patient_id", "stage", "p_T1", "p_T2", "p_T3", "p_T4", *columns])]
        for i, stage in enumerate(stages):
            cells = [f"c{i}", f"p{i}", str(stage), *map(str, four[i]), *(str(column[i]) for column in columns.values())]
            lines.append(",".join(cells))
        path = tmp_path / "table.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def notes_on(found, name):
    return [note for note in found.notes if name in note]


# -- stages as numbers -------------------------------------------------------------------------------------------------


def test_eus_coded_1_to_4_beside_true_stages_by_name_is_read(a_table):
    found = read_predictions(a_table(EUS=[1, 2, 3, 4, 3, 3]))
    assert found.stages_of("EUS").tolist() == [0, 1, 2, 3, 2, 2]
    assert "EUS" not in found.covariates


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([1, 2, 3, 4, 3, 3], [0, 1, 2, 3, 2, 2]), ([0, 2, 3, 3, 1, 2], [0, 2, 3, 3, 1, 2]),
     (["1.0", "2.0", "3.0", "4.0", "", "3.0"], [0, 1, 2, 3, -1, 2])],
)  # fmt: skip
@pytest.mark.parametrize("truth", [STAGES, [0, 1, 2, 3, 1, 2], [1, 2, 3, 4, 2, 3]])
def test_the_code_of_a_column_is_its_own(a_table, numbers, expected, truth):
    """A 0 or a 4 tells the code, whatever that of the true stages is."""
    assert read_predictions(a_table(truth, EUS=numbers)).stages_of("EUS").tolist() == expected


@pytest.mark.parametrize("truth", [STAGES, [0, 1, 2, 3, 1, 2], [1, 2, 3, 4, 2, 3]])
def test_numbers_from_1_to_3_are_not_read_and_named(a_table, truth):
    found = read_predictions(a_table(truth, EUS=[1, 2, 3, 3, 1, 2]))
    assert found.readers == ()
    (note,) = notes_on(found, "EUS")
    assert "EUS looks like stages and is not read: the numbers 1, 2, 3 are T1 to T3 in code 1-4 and T2 to T4" in note
    assert "(as NAME=EUS:1-4)" in note


def test_named_numbers_from_1_to_3_require_a_code(a_table):
    table = a_table(EUS=[1, 2, 3, 3, 1, 2])
    with pytest.raises(InputError, match=r"EUS: stages 1, 2, 3 are ambiguous.*as EUS=EUS:1-4 or EUS=EUS:0-3 in `comp"):
        read_predictions(table, comparators={"EUS": "EUS"})
    assert read_predictions(table, comparators={"EUS": "EUS:1-4"}).stages_of("EUS").tolist() == [0, 1, 2, 2, 0, 1]
    assert read_predictions(table, comparators={"EUS": "EUS:0-3"}).stages_of("EUS").tolist() == [1, 2, 3, 3, 1, 2]


def test_both_phases_of_a_reader_have_one_code(a_table):
    found = read_predictions(a_table(r_unaided=[1, 2, 3, 3, 1, 2], r_aided=[1, 2, 3, 4, 2, 3]))
    assert found.stages_of("r, unaided").tolist() == [0, 1, 2, 2, 0, 1]
    found = read_predictions(a_table(r_unaided=[1, 2, 3, 3, 1, 2], r_aided=[1, 2, 3, 3, 2, 3]))
    assert found.readers == ()
    (note,) = notes_on(found, "r_unaided")
    assert "`phases` (as NAME=r_unaided,r_aided:1-4)" in note
    named = read_predictions(found_path(a_table), phases={"r": ("r_unaided", "r_aided:1-4")})
    assert named.stages_of("r, aided").tolist() == [0, 1, 2, 2, 1, 2]


def found_path(a_table):
    return a_table(r_unaided=[1, 2, 3, 3, 1, 2], r_aided=[1, 2, 3, 3, 2, 3])


def test_numbers_in_a_column_of_another_name_are_named_in_a_note(a_table):
    found = read_predictions(a_table(endo=[1, 2, 3, 4, 3, 3], grade=[1, 2, 3, 3, 2, 1], sex=[0, 1, 0, 1, 0, 1]))
    assert found.covariates == ("endo", "grade", "sex")
    (note,) = notes_on(found, "endo")
    assert note.startswith("endo and grade: whole numbers from 0 to 4, which are not read as stages")
    assert "(as endo=endo:1-4)" in note
    named = read_predictions(a_table(endo=[1, 2, 3, 4, 3, 3]), comparators={"EUS": "endo"})
    assert (named.readers, named.covariates) == (("EUS",), ())


# -- stages as text ----------------------------------------------------------------------------------------------------


def test_prefixes_and_subdivisions_are_read(a_table):
    found = read_predictions(a_table(EUS=["uT1b", "uT2", "uT3", "uT4a", "", "ycT3"]))
    assert found.stages_of("EUS").tolist() == [0, 1, 2, 3, -1, 2]


def test_one_uncertain_cell_is_named_with_its_row(a_table):
    table = a_table(EUS=["T1", "T2", "T3?", "T4", "T2", "T3"])
    found = read_predictions(table)
    assert found.readers == ()
    (note,) = notes_on(found, "EUS")
    assert "EUS looks like stages and is not read: row 4 'T3?' (1 such row); uncertain" in note
    assert "Correct these cells, or leave them empty" in note
    with pytest.raises(InputError, match=r"table.csv, EUS: row 4 'T3\?' \(1 such row\); uncertain.*leave them empty"):
        read_predictions(table, comparators={"EUS": "EUS"})


@pytest.mark.parametrize("cell", ["T2-3", "T2b", "Tis", "3", "T3N1", "not seen"])
def test_a_cell_that_is_no_stage_never_becomes_one(a_table, cell):
    found = read_predictions(a_table(EUS=["T1", "T2", cell, "T4", "T2", "T3"]))
    assert found.readers == ()
    assert any(repr(cell) in note for note in notes_on(found, "EUS"))


def test_a_column_of_true_stages_is_no_comparator(a_table):
    table = a_table(label=["T1", "T2", "T3", "T4a", "T2", "T3"])
    found = read_predictions(table)
    assert found.readers == ()
    assert any("by its name it contains true stages" in note for note in notes_on(found, "label"))
    assert read_predictions(table, comparators={"second opinion": "label"}).readers == ("second opinion",)


def test_columns_of_other_content_are_not_mentioned(a_table):
    found = read_predictions(a_table(lauren=["diffuse", "mixed", "", "diffuse", "mixed", "mixed"], eus_mm=range(60, 66),
                                     level=["T10", "T11", "T12", "L1", "L1", "L2"]))  # fmt: skip
    assert found.covariates == ("lauren", "eus_mm", "level")
    assert not [note for note in found.notes if "stages" in note]


# -- what the user says ------------------------------------------------------------------------------------------------


def test_named_columns_are_shown_by_their_names(a_table):
    table = a_table(endo=STAGES, first=STAGES, a=STAGES, b=STAGES)
    found = read_predictions(table, readers={"Reader 1": "first"}, comparators={"EUS": "endo:T"},
                             phases={"Reader 2": ("a", "b")})  # fmt: skip
    assert found.readers == ("Reader 1", "EUS", "Reader 2, unaided", "Reader 2, aided")
    assert [one.kind for one in found.opinions] == ["reader", "comparator", "reader", "reader"]
    assert found.covariates == ()
    again = found.of(found.stages > 0)
    assert again.stages_of("EUS").tolist() == [1, 2, 3, 1, 2]


@pytest.mark.parametrize(
    ("named", "fragment"),
    [({"comparators": {"EUS": "nothing"}}, r"no column 'nothing'; expected one of case_id.*for `comparators`"),
     ({"comparators": {"EUS": "endo:5-8"}}, r"no column 'endo:5-8'.*A code follows a colon, and is one of T, 1-4, 0-3"),
     ({"comparators": {"EUS": "endo:0-3"}}, r"endo: row 2 'T1'.*expected whole numbers from 0 to 3"),
     ({"comparators": {"EUS": "empty"}}, r"empty is empty in the rows"),
     ({"comparators": {"EUS": "endo"}, "readers": {"R": "endo"}}, r"column 'endo' is given twice"),
     ({"comparators": {"EUS": "endo"}, "readers": {"EUS": "other"}}, r"name 'EUS' is given twice"),
     ({"phases": {"R": ("endo", "age")}}, r"age: row 2 '60'.*expected T1 to T4")],
)  # fmt: skip
def test_wrong_names_are_refused_with_the_remedy(a_table, named, fragment):
    table = a_table(endo=STAGES, other=STAGES, empty=[""] * 6, age=range(60, 66))
    with pytest.raises(InputError, match=fragment):
        read_predictions(table, **named)


def test_the_command_asks_with_its_own_flags(a_table, tmp_path, capsys):
    table = a_table(EUS=[1, 2, 3, 3, 1, 2], r=STAGES)
    assert cli.main(["evaluate", str(table)]) == 0
    assert "name the column and its code in --comparator or --reader (as NAME=EUS:1-4)" in capsys.readouterr().out
    assert cli.main(["evaluate", str(table), "--comparator", "EUS=EUS"]) == 1
    assert "Add the code, as EUS=EUS:1-4 or EUS=EUS:0-3 in --comparator." in capsys.readouterr().err
    out = tmp_path / "out"
    assert cli.main(["evaluate", str(table), "--comparator", "EUS=EUS:1-4", "--out", str(out)]) == 0
    record = json.loads((out / "metrics.json").read_text())
    assert list(record["comparison"]["readers"]) == ["model", "EUS", "r"]
    # T1 T2 T3 T3 T1 T2 beside T1 T2 T3 T4 T2 T3.
    assert record["comparison"]["readers"]["EUS"]["accuracy"]["value"] == 0.5
    assert record["decisions"]["treatment"]["EUS"]["under"]["value"] == pytest.approx(1 / 6)


# -- probabilities -----------------------------------------------------------------------------------------------------


def test_probabilities_with_two_decimals_are_read(a_table):
    """0.254 0.254 0.254 0.238 and its opposite: sums of 0.99 and 1.02."""
    four = [["0.25", "0.25", "0.25", "0.24"], ["0.26", "0.26", "0.26", "0.24"], *FOUR[2:]]
    found = read_predictions(a_table(four=four))
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert found.probabilities[1, 0] == pytest.approx(0.26 / 1.02)
    assert any("within rounding to two decimals (at most 0.0200 off)" in note for note in found.notes)


@pytest.mark.parametrize(
    "first", [["0.25", "0.25", "0.25", "0.22"], ["0.250", "0.250", "0.250", "0.240"], ["0.3", "0.3", "0.3", "0.2"]]
)
def test_sums_that_rounding_does_not_explain_are_refused(a_table, first):
    with pytest.raises(InputError, match="add up to"):
        read_predictions(a_table(four=[first, *FOUR[1:]]))


def test_another_model_with_two_decimals_is_read(a_table):
    other = {f"other_T{k + 1}": [["0.25", "0.25", "0.25", "0.24"][k]] * 6 for k in range(4)}
    found = read_predictions(a_table(**other))
    np.testing.assert_allclose(found.other_probabilities("other").sum(axis=1), 1)


# -- in the evaluation -------------------------------------------------------------------------------------------------


def test_treatment_of_a_comparator_is_compared_with_the_models():
    found = evaluate(read_predictions(golden_table()))
    (pair,) = [one for one in found.comparison.pairs if (one.first, one.second) == ("model", "eus")]
    tests = {one.measure: one for one in reversed(pair.differences)}
    treated = found.decisions.treatment
    for name in ("over", "under"):
        expected = getattr(treated["model"], name).value - getattr(treated["eus"], name).value
        assert tests[f"{name}_treatment"].estimate.value == pytest.approx(expected)
    benefit = {name: (one.tp - one.fp) / 300 for name, one in treated.items()}
    assert tests["net_benefit"].estimate.value == pytest.approx(benefit["model"] - benefit["eus"])
    assert 1 / treated["eus"].nnt.value == pytest.approx(benefit["eus"])
    assert tests["net_benefit"].p is not None


def golden_table():
    from helpers.golden_data import GOLDEN

    return GOLDEN / "cohort.csv"


def test_a_study_on_halves_is_reported_as_such(tmp_path):
    half = ROWS["patient_id"] < "P120"
    rows = ROWS.copy()
    for reader in ("reader1", "reader2"):
        rows.loc[~half, f"{reader}_unaided"] = None
        rows.loc[half, f"{reader}_aided"] = None
    rows.to_csv(tmp_path / "t.csv", index=False)
    found = evaluate(read_predictions(tmp_path / "t.csv"))
    assert [row.overlap.design for row in found.study.rows] == ["unpaired"] * 3
    assert found.study.rows[0].unaided.n_rows == half.sum()
    write_evaluation(found, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "No patient is in both phases: the phases are compared by patient" in text
    assert "Gains and losses" not in text
    assert {"readers.csv", "reader_differences.csv", "reader_mrmc.csv"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    differences = (tmp_path / "out" / "reader_differences.csv").read_text()
    assert "unpaired phases, by patient, from the two intervals (MOVER)" in differences


def test_one_reader_is_evaluated_with_a_note(tmp_path):
    rows = ROWS.drop(columns=["reader2_unaided", "reader2_aided"])
    rows.to_csv(tmp_path / "t.csv", index=False)
    found = evaluate(read_predictions(tmp_path / "t.csv"))
    assert found.study.mrmc == ()
    assert any("needs two or more" in note for note in found.notes)


def test_a_phase_without_readings_is_noted(tmp_path):
    rows = ROWS.copy()
    rows.loc[rows["centre"] == "North", "reader1_aided"] = None
    rows.to_csv(tmp_path / "t.csv", index=False)
    found = read_predictions(tmp_path / "t.csv")
    north = evaluate(found.of((ROWS["centre"] == "North").to_numpy()))
    assert [row.reader for row in north.study.rows] == ["reader2", "all readers"]
    assert any("Reader reader1 is left out of the reader study" in note for note in north.notes)
