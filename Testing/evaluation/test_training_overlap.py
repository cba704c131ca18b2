"""Overlap of evaluated rows with a training table: ids in several spellings, and no false result of no leak."""

import pytest
from helpers.golden_data import ROWS

from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.evaluate import evaluate
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.evaluation.training_overlap import find_siblings

HEAD = "image_path,stage,p_T1,p_T2,p_T3,p_T4\n"


def rows_of(names):
    return HEAD + "".join(f"{name},T1,0.7,0.1,0.1,0.1\n" for name in names)


def compared(folder, own, theirs, pattern, head="image_path,stage"):
    (folder / "own.csv").write_text(rows_of(own))
    (folder / "train.csv").write_text(head + "\n" + "".join(f"{name},T1\n" for name in theirs))
    found = read_predictions(folder / "own.csv", patient_pattern=pattern)
    return find_siblings(found, folder / "train.csv", pattern)


def test_a_pattern_finds_the_same_patient_in_any_folder(tmp_path):
    own = [r"D:\x\P1_slice2.png", r"D:\x\P2_slice2.png"]
    overlap = compared(tmp_path, own, ["P1_slice1.png", "P3_slice1.png"], "^(.+?)_slice")
    assert overlap.related.tolist() == [True, False]
    assert overlap.listed.tolist() == [False, False]
    assert overlap.unseen.tolist() == [False, True]


def test_repeated_file_names_are_distinguished_by_their_folders(tmp_path):
    own = ["/d/P1/image.nii.gz", "/d/P2/image.nii.gz"]
    overlap = compared(tmp_path, own, ["/d/P2/image.nii.gz", "/d/P3/image.nii.gz"], r"(P\d+)")
    assert overlap.listed.tolist() == [False, True]
    assert overlap.related.tolist() == [False, False]
    assert overlap.leaks


def test_the_same_table_is_a_leak_without_siblings(tmp_path):
    rows = ROWS[ROWS["patient_id"] > "P200"][["case_id", "patient_id", "stage", *(f"p_T{k}" for k in (1, 2, 3, 4))]]
    rows.to_csv(tmp_path / "t.csv", index=False)
    overlap = evaluate(read_predictions(tmp_path / "t.csv"), training=tmp_path / "t.csv")
    assert overlap.siblings.listed.all()
    assert not overlap.siblings.related.any()
    assert overlap.unseen is None
    assert f"{len(rows)} of {len(rows)} rows are also in t.csv" in overlap.siblings.sentence


def test_ids_without_overlap_are_shown_as_examples(tmp_path):
    overlap = compared(tmp_path, ["P1_s1", "P2_s1"], ["p1_s1", "p2_s2"], "^(.+?)_s")
    assert not overlap.leaks
    assert "'P1' here and 'p1' there" in overlap.sentence
    assert "two ways to write ids" in overlap.sentence


def test_without_ids_in_common_it_is_not_known_whether_rows_are_listed(tmp_path):
    (tmp_path / "own.csv").write_text("patient_id,stage,p_T1,p_T2,p_T3,p_T4\na,T1,0.7,0.1,0.1,0.1\n")
    (tmp_path / "train.csv").write_text("patient_id,stage\na,T1\nb,T1\n")
    overlap = find_siblings(read_predictions(tmp_path / "own.csv"), tmp_path / "train.csv", None)
    assert overlap.listed is None
    assert overlap.related.tolist() == [True]
    assert overlap.sentence.startswith(
        "LEAK: 1 of 1 patients also appear in train.csv. Row-level overlap could not be checked (no id column)."
    )
    (tmp_path / "train.csv").write_text("stage\nT1\n")
    with pytest.raises(InputError, match="no column of patients among stage"):
        find_siblings(read_predictions(tmp_path / "own.csv"), tmp_path / "train.csv", None)
