"""Names of columns in words, as tables and figures show them."""

import pytest

from GTRStagingLib.tables.column_words import label_and_unit, label_of


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("tumour_size_cm", "Tumour size (cm)"),
        ("TumourSizeCm", "Tumour size (cm)"),
        ("DIFFERENTIATION", "Differentiation"),
        ("SEX", "Sex"),
        ("age", "Age"),
        ("lauren", "Lauren type"),
        ("radscore", "Rad-score"),
        ("bmi_kg_m2", "BMI (kg/m²)"),
        ("ca19_9_u_ml", "CA 19-9 (U/ml)"),
        ("CA19-9", "CA 19-9"),
        ("kVp", "kVp"),
        ("slice_thickness_mm", "Slice thickness (mm)"),
        ("hd95_mm", "HD95 (mm)"),
        ("pT", "pT"),
        ("uT_stage", "uT stage"),
        ("cN1", "cN1"),
        ("eus", "EUS"),
        ("reader12_aided", "Reader 12, aided"),
        ("centre_b", "Centre b"),
        ("p_T1", "Probability of T1"),
        ("prob_T4", "Probability of T4"),
        ("clip_model_T2", "Probability of T2 (clip model)"),
        ("tumour size at CT, cm", "Tumour size at CT, cm"),
        ("中心", "中心"),
        ("mm", "Mm"),
    ],
)
def test_a_column_is_put_into_words(column, words):
    assert label_of(column) == words


@pytest.mark.parametrize("column", ["_", "-", "age_", "__x__", "2_cm", "T5", "Größe_cm"])
def test_every_name_gives_a_text(column):
    assert label_of(column).strip()
    assert label_of(label_of(column)).strip()


@pytest.mark.parametrize(
    ("column", "label", "unit"),
    [("cea_ng_ml", "CEA", "ng/ml"), ("ageYears", "Age", "years"), ("kVp", "kVp", ""), ("mm", "Mm", ""),
     ("size in cm", "Size in cm", ""), ("p_T1", "Probability of T1", "")],
)  # fmt: skip
def test_the_unit_is_told_from_the_words(column, label, unit):
    assert label_and_unit(column) == (label, unit)
