"""Nomograms as data, fitted from tables, and through the command line."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.entries import REFUSED, TAKEN
from helpers.golden_data import GOLDEN, ROWS, golden

from GTRStagingLib.cli.main import make_parser
from GTRStagingLib.errors import InputError, StagingError
from GTRStagingLib.nomogram import nomogram
from GTRStagingLib.nomogram.effects import effects
from GTRStagingLib.nomogram.fit import Wording, fit_nomogram
from GTRStagingLib.nomogram.nomogram import PUBLISHED, REFERENCE, Nomogram, Term, available, from_json, load, save
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.tables.table_files import read_table

COHORT = GOLDEN / "cohort.csv"
ON = ["radscore", "size_cm", "differentiation", "lauren"]
WORDINGS = {
    "differentiation": Wording("Differentiation", reference="well"),
    "lauren": Wording("Lauren type", reference="intestinal"),
    "size_cm": Wording("Tumour size", "cm"),
}
LEFT_OUT = dict.fromkeys(["size", "differentiation", "lauren"], REFERENCE)
ALL_LEFT_OUT = [f"{name}={REFERENCE}" for name in LEFT_OUT]


@pytest.fixture(scope="module")
def fitted():
    return fit_nomogram(read_table(COHORT), ON, name="mine", wordings=WORDINGS, resamples=5)


@pytest.fixture
def written(fitted, tmp_path):
    save(fitted, tmp_path / "mine.json")
    return tmp_path / "mine.json"


def a_table(path, change=lambda rows: rows):
    change(ROWS.copy()).to_csv(path, index=False)
    return read_table(path)


# -- the published one ---------------------------------------------------------------------------------------------


def logistic(x):
    return 1 / (1 + math.exp(-x))


TABLE_3 = {
    ("radscore", None): (0.87, 2.39, 1.8, 3.2, "< 0.001"),
    ("size", "≥ 5 cm"): (0.69, 2.00, 1.45, 2.75, "< 0.001"),
    ("differentiation", "poor"): (1.15, 3.16, 2.10, 4.75, "< 0.001"),
    ("lauren", "diffuse"): (1.06, 2.90, 1.95, 4.32, "< 0.001"),
    ("differentiation", "moderate"): (0.22, 1.25, 0.85, 1.82, "0.26"),
    ("lauren", "mixed"): (-0.08, 0.92, 0.65, 1.30, "0.64"),
}
"""Coefficient, odds ratio, interval and p value, as the article prints them."""


def test_the_published_one_is_table_3_of_the_article():
    published = load(PUBLISHED)
    found = {(one.term, one.level): one for one in effects(published)}
    references = {key for key, one in found.items() if one.is_reference}
    assert references == {("size", "< 5 cm"), ("differentiation", "well"), ("lauren", "intestinal")}
    assert {
        key: (one.coefficient, one.odds_ratio, *one.interval, one.p)
        for key, one in found.items()
        if key not in references
    } == TABLE_3
    assert published.thresholds == (-3.20, -1.17, 1.24)
    for coefficient, ratio, *_ in TABLE_3.values():  # the article rounds both
        assert math.log(ratio) == pytest.approx(coefficient, abs=0.006)


def test_a_tumour_of_6_cm_by_hand():
    """The odds of T1..Tk are those of theta_k minus the sum of the terms, in which a size of 6 cm counts once."""
    lp = 0.87 * 0.8 + 0.69 + 1.15 + 1.06
    assert lp == pytest.approx(3.596)
    t1, up_to_t2, up_to_t3 = logistic(-3.20 - lp), logistic(-1.17 - lp), logistic(1.24 - lp)
    by_hand = (t1, up_to_t2 - t1, up_to_t3 - up_to_t2, 1 - up_to_t3)
    assert by_hand == pytest.approx((0.0011, 0.0073, 0.0781, 0.9134), abs=5e-5)
    values = {"radscore": 0.8, "size": "≥ 5 cm", "differentiation": "poor", "lauren": "diffuse"}
    assert load(PUBLISHED).read(values).probabilities == pytest.approx(by_hand, abs=1e-12)


def test_the_published_model_at_its_references_reproduces_by_hand():
    """Rad-score 0 and the reference levels: T1 is logistic(-3.20) = 0.0392, T4 1 - logistic(1.24) = 0.2244."""
    levels = {"size": "< 5 cm", "differentiation": "well", "lauren": "intestinal"}
    for others in (LEFT_OUT, levels):
        reading = load(PUBLISHED).read({"radscore": 0, **others})
        assert reading.probabilities == pytest.approx((0.0392, 0.1977, 0.5387, 0.2244), abs=0.0005)
        assert reading.stage is TStage.T3


@pytest.mark.parametrize("at", [-1.5, 0.0, 2.0])
def test_a_standard_deviation_of_rad_score_multiplies_the_odds(at):
    def odds(radscore):
        p = np.array(load(PUBLISHED).read({"radscore": radscore, **LEFT_OUT}).probabilities)
        higher = 1 - p.cumsum()[:3]
        return higher / (1 - higher)

    assert odds(at + 1) / odds(at) == pytest.approx(2.387, abs=0.0005)


def test_a_missing_rad_score_is_an_error():
    with pytest.raises(InputError, match=r"no value for radscore.*standardised.*apply a fitted Rad-score"):
        load(PUBLISHED).read(LEFT_OUT)


@pytest.mark.parametrize("size", [6, 6.0, "6", "6 cm", "5", "large"])
def test_a_size_in_centimetres_is_refused_with_the_choice(size):
    with pytest.raises(InputError, match=r"Tumour size .*; expected one of < 5 cm, ≥ 5 cm\. Choose one of them"):
        load(PUBLISHED).read({"radscore": 0, **LEFT_OUT, "size": size})


@pytest.mark.parametrize("size", ["≥ 5 cm", ">= 5 cm", ">=5cm", "≥5 CM"])
def test_a_level_can_be_typed_without_its_sign(size):
    reading = load(PUBLISHED).read({"radscore": 0, **LEFT_OUT, "size": size})
    assert reading.values["size"] == "≥ 5 cm"
    assert reading.linear_predictor == 0.69


def test_levels_that_differ_in_case_are_not_guessed():
    term = Term("a", "A", levels={"x": 0, "X": 1, "y": 2}, reference="x")
    assert (term.weight("X"), term.weight("Y")) == (1, 2)
    two = Term("a", "A", levels={"ab": 0, "Ab": 1}, reference="ab")
    with pytest.raises(InputError, match="expected one of ab, Ab"):
        two.weight("AB")


@pytest.mark.parametrize("value", REFUSED)
def test_a_number_that_cannot_be_one_is_refused(value):
    with pytest.raises(InputError, match=r"Rad-score .*; expected a number in SD, from -21 to 21, without separators"):
        load(PUBLISHED).read({**LEFT_OUT, "radscore": value})


@pytest.mark.parametrize(("text", "value"), TAKEN)
def test_a_number_may_have_a_decimal_comma(text, value):
    assert load(PUBLISHED).read({**LEFT_OUT, "radscore": text}).values["radscore"] == value


def test_a_value_is_refused_three_widths_outside_of_the_range():
    """Widths of 3, from -2 to 1: at most 9 below -2, and 9 above 1."""
    term = Term("a", "A", coefficient=1.0, range=(-2, 1))
    assert term.limits == (-11, 10)
    assert [term.weight(value) for value in (-11, 10)] == [-11, 10]
    for value in (-11.001, 10.001, math.inf, -math.inf, 10**400, True, None, [1]):
        with pytest.raises(InputError, match="expected a number, from -11 to 10"):
            term.weight(value)


def test_its_warnings_are_in_every_reading():
    published = load(PUBLISHED)
    reading = published.read({"radscore": 4, **LEFT_OUT, "lauren": "diffuse"})
    assert set(published.warnings) < set(reading.warnings)
    assert any("opposite sign" in w and "+1.06" in w for w in reading.warnings)
    assert any("reference levels are inferred" in w for w in reading.warnings)
    assert "Rad-score 4 is outside the range of this nomogram, -3 to 3." in reading.warnings
    assert any("Tumour size, Differentiation left out" in w for w in reading.warnings)


# -- points --------------------------------------------------------------------------------------------------------


def test_points_are_linear_in_the_log_odds(fitted):
    low = fitted.read({"radscore": fitted.term("radscore").range[0], "size_cm": fitted.term("size_cm").range[0],
                       "differentiation": "well", "lauren": "intestinal"})  # fmt: skip
    assert low.total_points == pytest.approx(0, abs=1e-9)
    for values in ({"radscore": 0, "size_cm": 5, "differentiation": "poor", "lauren": "mixed"},
                   {"radscore": -1, "size_cm": 2, "differentiation": "moderate", "lauren": "diffuse"}):  # fmt: skip
        reading = fitted.read(values)
        moved = reading.linear_predictor - low.linear_predictor
        assert reading.total_points == pytest.approx(moved * fitted.points_per_unit)
        assert fitted.probabilities(fitted.base + reading.total_points / fitted.points_per_unit) == pytest.approx(
            reading.probabilities
        )


def test_the_widest_scale_has_100_points_and_a_decreasing_one_starts_at_its_high_end():
    two = Nomogram("two", "made up", (-1, 0, 1), (Term("a", "A", coefficient=-2.0, range=(0, 3), typical=1),
                                                  Term("b", "B", coefficient=1.0, range=(0, 3))))  # fmt: skip
    assert two.read({"a": 0, "b": 0}).points == {"a": pytest.approx(100), "b": pytest.approx(0)}
    assert two.read({"a": 3, "b": 3}).points == {"a": pytest.approx(0), "b": pytest.approx(50)}
    assert two.read({"a": 3, "b": 3}).contributions == {"a": -4, "b": 3}


# -- as data -------------------------------------------------------------------------------------------------------


def test_a_nomogram_comes_back_from_its_file(fitted, written):
    assert load(written) == fitted
    assert from_json(json.loads(json.dumps(fitted.to_json()))) == fitted


def test_a_users_own_is_found_by_its_name(fitted, tmp_path, monkeypatch):
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    save(fitted, nomogram.nomograms_folder() / "ours.json")
    assert set(available()) >= {"ours", PUBLISHED}
    assert load("ours") == fitted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": [0, 1, 1]}, "three, ascending"),
        ({"thresholds": [0, 1]}, "not a nomogram"),
        ({"terms": []}, "one or more"),
        ({"kind": "model"}, "expected a nomogram of schema 1"),
        ({"terms": [{"name": "a"}]}, "not a nomogram"),
        ({"terms": [{"name": "a", "label": "A", "levels": {"x": 1}, "reference": "x"}]}, "level with coefficient 0"),
        ({"terms": [{"name": "a", "label": "A", "coefficient": 1, "range": [3, 2]}]}, "lower one first"),
        ({"terms": [{"name": "a", "label": "A", "coefficient": None}]}, "Term a has no coefficient; expected a number"),
        ({"terms": [{"name": "a", "label": "A", "levels": {"x": 0, "y": None}}]}, "Term a has no coefficient of y"),
    ],
)
def test_an_invalid_file_is_refused(fitted, tmp_path, change, message):
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(fitted.to_json() | change))
    with pytest.raises(InputError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (1e300, "expected numbers of at most 1e"),
        (1e-300, "differ by more than rounding"),
        (1e-4, "size_cm change by up to .* per unit, .* smaller unit, as in mm"),
    ],
)
def test_numbers_without_a_finite_odds_ratio_are_refused(tmp_path, factor, message):
    def change(rows):
        rows["size_cm"] = rows["size_cm"].astype(float) * factor
        return rows

    with pytest.raises(InputError, match=message):
        fit_nomogram(a_table(tmp_path / "x.csv", change), ["size_cm"], name="x", resamples=2)


def test_a_level_may_have_a_large_coefficient_but_not_an_absurd_one():
    assert Term("a", "A", coefficient=2000.0, range=(0.0, 0.01)).weights_of_range() == (0, 20)
    wrongs = ({"coefficient": 2000.0}, {"coefficient": 1e13}, {"levels": {"a": 0, "b": 301}}, {"range": (0, 1e13)})
    for wrong in wrongs:
        with pytest.raises(InputError, match="expected"):
            Term("a", "A", **wrong)


# -- fitting -------------------------------------------------------------------------------------------------------


def test_a_fit_has_rs_coefficients_under_the_levels_names(fitted):
    wanted = golden("ordinal")["robust"]
    found = {}
    for term in fitted.terms:
        if term.is_choice:
            found |= {f"{term.name}={level}": c for level, c in term.levels.items() if level != term.reference}
        else:
            found[term.name] = term.coefficient
    assert found == pytest.approx(wanted["coefficients"], abs=1e-5)
    assert fitted.thresholds == pytest.approx(wanted["thresholds"], abs=1e-5)
    assert fitted.term("lauren").reference == "intestinal"
    assert fitted.term("lauren").levels["intestinal"] == 0


def test_another_reference_moves_the_coefficients_and_no_probability(fitted):
    other = fit_nomogram(
        read_table(COHORT), ON, name="other", wordings={"lauren": Wording(reference="mixed")}, resamples=1
    )
    assert other.term("lauren").reference == "mixed"
    assert other.term("differentiation").reference == ROWS["differentiation"].mode()[0]  # the most frequent
    assert other.term("lauren").levels["intestinal"] == pytest.approx(-fitted.term("lauren").levels["mixed"], abs=1e-5)
    values = {"radscore": 0.3, "size_cm": 6, "differentiation": "moderate", "lauren": "diffuse"}
    assert other.read(values).probabilities == pytest.approx(fitted.read(values).probabilities, abs=1e-6)


def test_the_record_holds_cohort_intervals_tests_and_validation(fitted):
    record = json.loads(json.dumps(fitted.record, allow_nan=False))
    assert record["rows"] == {"in_table": 300, "of_another_split": 0, "incomplete": 0, "used": 300}
    assert record["patients"] == 240
    assert sum(record["stages"].values()) == 300
    assert "clustered by patient" in record["covariance"]
    row = record["coefficients"][0]
    assert (row["term"], row["level"]) == ("radscore", None)
    assert row["odds_ratio"]["value"] == pytest.approx(math.exp(fitted.term("radscore").coefficient))
    assert [t["value"] for t in record["thresholds"]] == list(fitted.thresholds)
    assert record["proportional_odds"]["omnibus"]["p"] == pytest.approx(
        golden("ordinal")["brant_clustered"]["omnibus"]["p"]
    )
    assert set(record["variance_inflation"]) == set(ON)
    assert record["variance_inflation"]["lauren"]["df"] == 2
    assert record["validation"]["resamples"] == 5
    assert any("not proportional" in w for w in fitted.warnings)
    assert any("few patients" in w for w in fitted.warnings)


def test_ranges_and_typical_values_are_the_cohorts(fitted):
    size = fitted.term("size_cm")
    assert size.range == (ROWS["size_cm"].min(), ROWS["size_cm"].max())
    assert size.typical == pytest.approx(ROWS["size_cm"].mean())
    assert (size.label, size.unit) == ("Tumour size", "cm")


def test_predictors_without_a_label_are_shown_in_words(tmp_path):
    wordings = {"age": Wording("Age at surgery"), "size_cm": Wording(unit="inch")}
    found = fit_nomogram(
        read_table(GOLDEN / "cohort.csv"), ["radscore", "size_cm", "age", "lauren"], name="x", wordings=wordings,
        resamples=2,
    )  # fmt: skip
    assert [(term.name, term.label, term.unit) for term in found.terms] == [
        ("radscore", "Rad-score", ""), ("size_cm", "Size", "inch"), ("age", "Age at surgery", ""),
        ("lauren", "Lauren type", ""),
    ]  # fmt: skip
    size = fit_nomogram(read_table(GOLDEN / "cohort.csv"), ["size_cm"], name="x", resamples=2).term("size_cm")
    assert (size.label, size.unit) == ("Size", "cm")


def test_rows_that_are_incomplete_or_of_another_split_are_counted(tmp_path):
    def change(rows):
        rows["split"] = np.where(rows["patient_id"] < "P200", "train", "test")
        rows.loc[:9, "size_cm"] = np.nan
        rows.loc[5:14, "lauren"] = None
        rows.loc[20, "stage"] = None
        return rows

    others = int((ROWS["patient_id"] >= "P200").sum())

    found = fit_nomogram(a_table(tmp_path / "t.csv", change), ON, name="n", splits=["train"], resamples=1)
    assert found.record["rows"] == {
        "in_table": 300, "of_another_split": others, "incomplete": 16, "used": 300 - others - 16,
    }  # fmt: skip
    assert found.record["missing"]["size_cm"] == 10
    assert found.record["missing"]["lauren"] == 10
    assert "split train" in found.source


def test_without_patient_ids_each_row_counts_as_a_patient(tmp_path):
    table = a_table(tmp_path / "t.csv", lambda rows: rows.drop(columns="patient_id"))
    found = fit_nomogram(table, ["radscore"], name="n", resamples=1)
    assert found.record["patients"] == 300
    assert "no patient_id" in found.record["patients_are"]
    assert "model-based" in found.record["covariance"]


def test_a_rad_score_is_embedded(tmp_path):
    score = {"kind": "radscore", "mean": 1.5}
    found = fit_nomogram(read_table(COHORT), ["radscore"], name="n", radscore=score, resamples=1)
    save(found, tmp_path / "n.json")
    assert load(tmp_path / "n.json").radscore == score
    with pytest.raises(InputError, match="`radscore` is given without the predictor 'radscore'"):
        fit_nomogram(read_table(COHORT), ["size_cm"], name="n", radscore=score)


def test_rare_levels_and_collinear_predictors_give_warnings(tmp_path):
    def change(rows):
        rows["site"] = np.where(np.arange(300) % 75 == 0, "pylorus", "body")
        rows["size_mm"] = 10 * rows["size_cm"] + np.random.default_rng(0).normal(0, 0.5, 300)
        return rows

    found = fit_nomogram(a_table(tmp_path / "t.csv", change), ["size_cm", "size_mm", "site"], name="n", resamples=1)
    assert any("Site, pylorus: 4 rows" in w for w in found.warnings)
    assert any("Size (mm) is nearly collinear" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("change", "on", "how", "message"),
    [
        ({}, ["tumour"], {}, "no column tumour"),
        ({}, ["radscore", "radscore"], {}, "each once"),
        ({}, ["stage"], {}, "stage as a predictor"),
        ({"Split": "test"}, ["lauren", "Split"], {}, "Split as a predictor"),  # the test rows would be fitted on
        ({"PatientID": "1"}, ["lauren", "PatientID"], {}, "PatientID as a predictor"),
        ({}, ["case_id"], {}, "300 different text"),
        (
            {},
            ["lauren"],
            {"wordings": {"lauren": Wording(reference="other")}},
            "Reference 'other' of lauren; expected one",
        ),
        ({}, ["lauren"], {"wordings": {"size_cm": Wording("Size")}}, "for size_cm; expected predictors: lauren"),
        ({}, ["lauren"], {"wordings": {"lauren": Wording(unit="cm")}}, "a unit for numbers only"),
        ({}, ["lauren"], {"splits": ["train"]}, "no row of the table has a split"),
        ({"split": "test"}, ["lauren"], {}, "No row is in split train"),
        ({"split": "train"}, ["lauren"], {"splits": ["test"]}, "the test split must not be used"),
        ({"lauren": ""}, ["lauren"], {}, "No row of t.csv has all of"),
        ({"stage": "T3?"}, ["lauren"], {}, r"Stage T3\?; expected T1 to T4"),
        ({"stage": "T3"}, ["lauren"], {}, "No row of T1, T2, T4"),
        ({"lauren": "mixed"}, ["lauren"], {}, "1 different text"),
        ({"lauren": [f"{n} cm" for n in range(len(ROWS))]}, ["lauren"], {}, "numbers, write them without units"),
        ({"size_cm": 3.5}, ["size_cm"], {}, "size_cm is 3.5 in all rows"),
        ({"lauren": "reference"}, ["lauren"], {}, "rename it"),
    ],
)
def test_tables_that_cannot_be_fitted_give_a_reason(tmp_path, change, on, how, message):
    table = a_table(tmp_path / "t.csv", lambda rows: rows.assign(**change))
    with pytest.raises(InputError, match=message):
        fit_nomogram(table, on, name="n", **how)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3,5", "column 'size_cm' has commas and points, as in '3,5'"),
        ("about 3", "size_cm has numbers and also 'about 3'"),
    ],
)
def test_a_text_among_numbers_is_named_and_not_taken_for_a_choice(tmp_path, text, message):
    def change(rows):
        rows["size_cm"] = rows["size_cm"].astype(str)
        rows.loc[7, "size_cm"] = text
        return rows

    with pytest.raises(InputError, match=message):
        fit_nomogram(a_table(tmp_path / "t.csv", change), ["size_cm"], name="n")


# -- the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys):
    """Runs `gtrstaging nomogram ...`; gives the exit code, what was printed, and the error."""

    def runs(*words):
        capsys.readouterr()
        try:
            options = make_parser().parse_args(["nomogram", *map(str, words)])
            code, error = options.run(options) or 0, ""
        except SystemExit as stop:
            code, error = stop.code, ""
        except (StagingError, OSError) as problem:
            code, error = 1, str(problem)
        seen = capsys.readouterr()
        return code, seen.out, error + seen.err

    return runs


@pytest.mark.smoke
def test_fit_show_and_predict_go_together(run, tmp_path):
    out = tmp_path / "new" / "mine.json"
    wording = ["--reference", "lauren=intestinal", "differentiation=well", "--label", "size_cm=Tumour size", "--unit",
               "size_cm=cm"]  # fmt: skip
    code, output, _ = run("fit", COHORT, "--on", *ON, *wording, "--out", out, "--resamples", 5)
    assert code == 0
    assert "300 used" in output
    assert "WARNING  Fitted to few patients" in output
    assert RESEARCH_USE_ONLY in output
    assert load(out).name == "mine"
    code, shown, _ = run("show", out)
    assert code == 0
    assert "3.824  2.771 to 5.279" in shown  # exp of rms's coefficient, and Wald's interval of its sandwich
    assert "-0.7469, 1.1839, 3.0244" in shown
    assert "intestinal  (reference)" in shown
    code, output, _ = run("predict", out, "--set", "radscore=1.2", "size_cm=4", "--set", "lauren=diffuse",
                        "differentiation=poor")  # fmt: skip
    assert code == 0
    reading = load(out).read({"radscore": 1.2, "size_cm": 4, "lauren": "diffuse", "differentiation": "poor"})
    assert f"P(T4)    {reading.probabilities[3]:.4f}" in output
    assert f"{reading.total_points:.1f}" in output
    assert "4 cm" in output
    assert "Nomogram's stage  T4" in output


def test_the_console_names_the_measures_in_words(run, tmp_path):
    _, output, _ = run("fit", COHORT, "--on", "size_cm", "--out", tmp_path / "n.json", "--resamples", 5)
    index = load(tmp_path / "n.json").record["c_index"]
    shown = ["{value:.3f} ({low:.3f} to {high:.3f})".format(**index[kind]) for kind in ("apparent", "corrected")]
    assert f"C-index: {shown[0]} on the rows of the fit, {shown[1]} corrected for optimism" in output
    assert "Somers' D: " in output
    for name in ("c_index", "dxy", "nagelkerke_r2", "calibration_", "gvif"):
        assert name not in output


def test_predict_and_show_print_the_warnings(run):
    for words in (
        ("show", PUBLISHED),
        ("predict", PUBLISHED, "--set", "radscore=1", *ALL_LEFT_OUT),
    ):
        code, output, _ = run(*words)
        assert code == 0
        assert "WARNING  The published coefficient of the diffuse type (+1.06)" in output
        assert output.rstrip().endswith(RESEARCH_USE_ONLY)
        assert "WARNING  The reference levels are inferred" in output
    shown = run("show", PUBLISHED)[1]
    assert "2.390  1.800 to 3.200    < 0.001" in shown
    assert "0.920  0.650 to 1.300    0.64" in shown


@pytest.mark.parametrize("value", [one for one in REFUSED if isinstance(one, str) and one.strip()])
def test_predict_refuses_what_the_nomogram_refuses_and_prints_no_stage(run, value):
    code, output, error = run("predict", PUBLISHED, "--set", f"radscore={value}", *ALL_LEFT_OUT)
    assert (code, output) == (1, "")
    assert "expected a number in SD, from -21 to 21" in error


def test_a_copy_of_the_published_file_with_other_coefficients_is_refused(run, tmp_path):
    """As an earlier file asked for: the size in centimetres, each of them with the odds of 5 cm or more."""
    data = json.loads(run("show", PUBLISHED, "--json")[1])
    data["terms"][1] = {"name": "size_cm", "label": "Tumour size", "unit": "cm", "coefficient": 0.69, "range": [0, 15]}
    copy = tmp_path / "filled.json"
    copy.write_text(json.dumps(data))
    code, _, error = run("show", copy)
    assert code == 1
    assert "is named published-2025, but differs from Table 3" in error


def test_json_is_json_and_nothing_else(run):
    assert json.loads(run("show", PUBLISHED, "--json")[1])["thresholds"] == [-3.20, -1.17, 1.24]
    _, output, _ = run("predict", PUBLISHED, "--json", "--set", "radscore=0", "size=>= 5 cm",
                     "differentiation=reference", "lauren=intestinal")  # fmt: skip
    found = json.loads(output)
    assert found["linear_predictor"] == 0.69
    assert found["values"]["size"] == "≥ 5 cm"
    assert sum(found["probabilities"]) == pytest.approx(1)


def test_a_table_is_read_row_by_row_and_the_counts_add_up(run, written, tmp_path, fitted):
    def change(rows):
        rows["size_cm"] = rows["size_cm"].astype(object)
        rows.loc[3, "size_cm"] = None
        rows.loc[4, "size_cm"] = "large"
        rows.loc[5, "lauren"] = "unknown"
        rows.loc[6, "size_cm"] = 30.0
        return rows

    a_table(tmp_path / "t.csv", change)
    code, output, _ = run("predict", written, "--table", tmp_path / "t.csv", "--out", tmp_path / "out.csv")
    assert code == 1
    assert "row 5: size_cm: no value" in output
    assert "row 6: Tumour size 'large'; expected a number in cm" in output
    assert "row 7: Lauren type 'unknown'; expected one of" in output
    assert "300 rows: 297 predicted, 3 not" in output
    assert "Tumour size 30 is outside" in output
    out = read_table(tmp_path / "out.csv")
    assert [row["nomogram_stage"] is None for row in out.rows[:7]] == [False, False, False, True, True, True, False]
    row = ROWS.iloc[0]
    wanted = fitted.read({name: row[name] for name in ON})
    assert [float(out.rows[0][f"nomogram_T{k}"]) for k in (1, 2, 3, 4)] == pytest.approx(wanted.probabilities)
    assert out.rows[0]["stage"] == row["stage"]  # the truth, or the network's, stays as it was


def test_one_value_may_be_given_for_all_rows_of_a_table(run, tmp_path):
    words = ("predict", PUBLISHED, "--table", COHORT, "--out", tmp_path / "out.csv", "--set")
    code, output, _ = run(*words, *ALL_LEFT_OUT)
    assert code == 0
    assert "300 rows: 300 predicted, 0 not" in output
    assert "left out: the reference is used. (300 rows)" in output


def test_list_names_the_published_one(run):
    code, output, _ = run("list")
    assert code == 0
    assert PUBLISHED in output


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("predict", PUBLISHED, "--set", "radscore"), 2, "expected NAME=VALUE"),
        (("predict", PUBLISHED, "--set", "radscore=1", "radscore=2"), 1, "radscore twice"),
        (("predict", PUBLISHED, "--set", "tumour=1"), 1, "'tumour' is not a term"),
        (
            ("predict", PUBLISHED, "--set", "radscore=high", *ALL_LEFT_OUT),
            1,
            "Rad-score 'high'; expected a number in SD",
        ),
        (("predict", PUBLISHED), 2, "expected --set"),
        (("predict", PUBLISHED, "--table", COHORT), 2, "--table requires --out"),
        (("predict", PUBLISHED, "--table", COHORT, "--out", "x.csv", "--json"), 2, "without --json"),
        (("predict", "nobody", "--set", "a=1"), 1, "no such nomogram"),
        (("show", COHORT), 1, "cannot be read as JSON"),
        (("show", GOLDEN / "ordinal.json"), 1, "not a nomogram"),
        (("fit", COHORT, "--on", "size_cm", "--out", "x.csv"), 1, "ends in .json"),
        (("fit", COHORT, "--on", "length", "--out", "x.json"), 1, "no column length"),
        (("fit", "nowhere.csv", "--on", "length", "--out", "x.json"), 1, "is not a file"),
        (
            ("fit", COHORT, "--on", "radscore", "--out", "x.json", "--radscore", COHORT),
            1,
            "expected the file of a fitted Rad-score",
        ),
        (("fit", COHORT, "--on", "radscore", "--out", "x.json", "--resamples", "0"), 2, "1 or more"),
        (("draw", PUBLISHED, "--out", "x.jpg"), 1, "ends in .pdf, .png, .svg"),
    ],
)
def test_wrong_arguments_are_reported(run, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    found, output, error = run(*words)
    assert found == code
    assert message in error
    assert output == ""
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(run, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("here")
    assert run("draw", PUBLISHED, "--out", in_the_way / "x.png")[0] == 1
    assert list(tmp_path.iterdir()) == [in_the_way]


def test_columns_that_are_there_already_are_not_overwritten(run, tmp_path):
    a_table(tmp_path / "t.csv", lambda rows: rows.assign(nomogram_stage="T1"))
    code, _, error = run("predict", PUBLISHED, "--table", tmp_path / "t.csv", "--out", tmp_path / "out.csv", "--set",
                         *ALL_LEFT_OUT)  # fmt: skip
    assert code == 1
    assert "already has nomogram_stage" in error
    assert not (tmp_path / "out.csv").exists()


def test_a_damaged_nomogram_of_ones_own_does_not_hide_the_others(run, tmp_path, monkeypatch):
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = nomogram.nomograms_folder()
    folder.mkdir(parents=True)
    Path(folder / "broken.json").write_text("{")
    code, output, _ = run("list")
    assert code == 0
    assert "DAMAGED" in output
    assert PUBLISHED in output


def test_a_name_may_be_given_and_a_record_need_not_be_whole(run, fitted, tmp_path):
    save(replace(fitted, name="theirs", record={"covariance": "unknown"}), tmp_path / "x.json")
    code, output, _ = run("show", tmp_path / "x.json")
    assert code == 0
    assert output.startswith("theirs: ")


def test_a_number_that_is_left_out_has_its_typical_value():
    size = Term("size_cm", "Tumour size", "cm", coefficient=0.5, range=(1, 9), typical=5)
    one = Nomogram("n", "s", (-1.0, 0.0, 1.0), (size,))
    left_out, typical = one.read({"size_cm": "reference"}), one.read({"size_cm": 5})
    assert left_out.linear_predictor == 2.5
    assert left_out.probabilities == typical.probabilities
    assert left_out.points == typical.points
    assert left_out.contributions == {"size_cm": 0}
