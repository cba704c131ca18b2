"""Ids that nobody can misread, and cells that no spreadsheet takes for formulas."""

import csv

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from GTRStagingLib.batch import batch, columns, local
from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.cohort.cohort import read_cohort
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.parsing import read_cells
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.tables.cells import guarded, key_slice_of, unguarded, visible_text
from GTRStagingLib.tables.table_files import read_table, write_table

FORMULAS = ("=1+1", "+SUM(A1)", "-2+3", "@x", "=cmd|' /C calc'!A0", "\uff1d1", "'=1", "''@x", "-inf", "+49 30 1234")
HARMLESS = ("-0.5", "+3", "1e-3", "-1E+05", "-.5", "'quoted'", "T3", "a=b", "'", "", "3-4")
INVISIBLE = (
    "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
    "\u00ad\u061c\u2028\u3164\x1b"
)
NAMES = ("患者七", "张　三", "Müller", "患者 7", "Ñandú", "e\u0301", "李\U00020000", "الف")


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("12.0", 12), ("ko", "ko"), ("KO", "ko"), (" ko", "ko")])
def test_a_key_slice_is_an_index_or_a_key_object_selection(text, value):
    assert key_slice_of(text) == value


@pytest.mark.parametrize("text", ["-1", "1.5", "k o", "key object", "ok"])
def test_other_texts_are_no_key_slice(text):
    with pytest.raises(ValueError, match=r"expected a whole number from 0 .*, 'ko'"):
        key_slice_of(text)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_is_a_formula_gets_an_apostrophe(text):
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_other_texts_stay(text):
    assert guarded(text) == text
    assert unguarded(text) == text


@settings(max_examples=300, deadline=None)
@given(st.text("'=+-@\t\rx1.e", max_size=6))
@example("'=")
@example("'''-")
def test_what_is_guarded_is_read_again(text):
    written = guarded(text)
    assert unguarded(written) == text
    assert written[:1] not in tuple("=@\t\r") or not written


@pytest.mark.parametrize("empty", ["", ",,", "  ,,"])
def test_cells_keep_the_row_numbers_of_a_spreadsheet_beside_empty_rows(tmp_path, empty):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["a,b,c", "1,2,3", empty, "4,5,6", "7,,", empty, ""]), encoding="utf-8")
    frame, _ = read_cells(path)
    assert frame.index.tolist() == [2, 4, 5] == list(read_table(path).numbers)
    assert frame["a"].tolist() == ["1", "4", "7"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_give_the_texts_back(tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    texts = [text for text in (*FORMULAS, *HARMLESS) if text]
    write_table(path, {"case_id": [str(i) for i in range(len(texts))], "=note": texts, "value": [-0.5] * len(texts)})
    table = read_table(path)
    assert table.columns == ("case_id", "=note", "value")
    assert [row["=note"] for row in table.rows] == texts
    assert {row["value"] for row in table.rows} == {"-0.5"}
    frame, _ = read_cells(path)
    assert list(frame["=note"]) == texts
    if suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert [cell for cell in cells if cell[:1] in "=@\uff1d" and cell] == []
        assert "-0.5" in cells


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ('case_id,stage\na,"T1\nb,T2\n', "expected closed quotes"),  # row b would be a part of the cell above
        ("case_id,stage\na,T1\nb\0c,T2\n", "row 3: a NUL character"),
        ("\ncase_id,stage\na,T1\n", "is empty"),
    ],
)
def test_a_damaged_table_is_refused_by_an_evaluation_as_by_every_command(tmp_path, cells, message):
    path = tmp_path / "table.csv"
    path.write_text(cells)
    for read in (read_cells, read_table):
        with pytest.raises(InputError, match=message):
            read(path)


def test_a_header_of_two_lines_is_no_row(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('case_id,"true\nstage"\na,T1\nb,T2\n')
    frame, _ = read_cells(path)
    assert list(frame["true\nstage"]) == ["T1", "T2"]


def test_the_tables_of_a_batch_have_no_formulas_and_the_same_texts(tmp_path):
    path = tmp_path / "cases.csv"
    head = ["case_id", "image", "note", "=head", "exclude"]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [head, ["=a", "x.nii", "=1+1", "-0.5", "later"], ["b", "x.nii", "@x", "+1+", "no pay"]]
        )
    cases = read_cases(path)
    out = tmp_path / "out"
    list(batch.Batch(cases, out, {}).run(batch.one_by_one(local.stage_from_files(None, None))))
    with (out / columns.PREDICTIONS).open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert {"'=a", "'=1+1", "'@x", "'=head", "'+1+", "-0.5"} <= set(cells)
    assert not [cell for cell in cells if cell[:1] in ("=", "@", "+")]
    both = [read_table(out / name) for name in (columns.PREDICTIONS, columns.PARQUET)]
    assert [row["case_id"] for row in both[0].rows] == ["=a", "b"]
    assert [(row["note"], row["=head"]) for row in both[0].rows] == [("=1+1", "-0.5"), ("@x", "+1+")]
    assert [row["note"] for row in both[1].rows] == ["=1+1", "@x"]


@pytest.mark.parametrize("character", INVISIBLE)
def test_invisible_characters_in_ids_are_errors(tmp_path, character):
    with pytest.raises(ValueError, match=f"U\\+{ord(character):04X}"):
        visible_text(f"P{character}7")
    if character in "\x1b\u2028":
        return
    table = tmp_path / "cohort.csv"
    for row in (f"P{character}7,1,,x.nii", f"7,P{character}1,,x.nii", f"7,1,A{character},x.nii"):
        table.write_text(f"case_id,patient_id,centre,image\n{row}\n", encoding="utf-8")
        with pytest.raises(InputError, match=f"row 2, .*U\\+{ord(character):04X}"):
            read_cohort(table)
    table.write_text(f"case_id,image\nP{character}7,x.nii\n", encoding="utf-8")
    with pytest.raises(InputError, match="row 2, case_id .*invisible"):
        read_cases(table)
    table.write_text(f"case_id,true_stage,p_T1,p_T2,p_T3,p_T4\nP{character}7,T1,1,0,0,0\n", encoding="utf-8")
    with pytest.raises(InputError, match="case_id .*invisible"):
        read_predictions(table)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_all_scripts_are_ids(tmp_path, name):
    assert visible_text(name) == name
    table = tmp_path / "cohort.csv"
    table.write_text(f"case_id,patient_id,centre,image\n{name},{name},{name},x.nii\n", encoding="utf-8")
    (case,) = read_cohort(table)
    assert (case.case_id, case.patient_id, case.centre) == (name, name, name)
    assert read_cases(table)[0].case_id == name
