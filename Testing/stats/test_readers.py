import json
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers import golden_data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from statsmodels.stats.inter_rater import fleiss_kappa

from GTRStagingLib.errors import InputError, MissingDependencyError
from GTRStagingLib.stats import readers
from GTRStagingLib.stats.readers import (
    ALL,
    Reader,
    clustered_mcnemar,
    compare,
    fleiss,
    phase_columns,
    reader_study,
)

R = golden_data.golden("readers")
ROWS, FIRST = golden_data.ROWS, golden_data.FIRST
PHASES = ("reader1_unaided", "reader1_aided", "reader2_unaided", "reader2_aided")


def model_of(table, name, prefix):
    probabilities = golden_data.probabilities(table, prefix)
    return Reader(name, probabilities.argmax(axis=1), probabilities)


def of_cohort(table):
    """Truth, the network, the weaker one and EUS, and the patients."""
    three = [
        model_of(table, "model", "p"),
        model_of(table, "weak", "q"),
        Reader("eus", golden_data.stages(table, "eus")),
    ]
    return golden_data.stages(table), three, golden_data.patients(table)


def study_of(table, model=True, **options):
    stages, three, patients = of_cohort(table)
    phases = {name: tuple(golden_data.stages(table, f"{name}_{phase}") for phase in ("unaided", "aided"))
              for name in ("reader1", "reader2")}  # fmt: skip
    return reader_study(stages, phases, three[0] if model else None, patients, **options)


@pytest.fixture(scope="module")
def of_first():
    return compare(*of_cohort(FIRST), seed=1)


@pytest.fixture(scope="module")
def of_all():
    return compare(*of_cohort(ROWS), seed=1)


@pytest.fixture(scope="module")
def study():
    return study_of(FIRST, seed=1)


def pair(comparison, first, second):
    return next(one for one in comparison.pairs if (one.first, one.second) == (first, second))


def by_measure(found):
    """The first test of each measure: that by patient, where there are two."""
    return {one.measure: one for one in reversed(found.differences)}


# -- pairs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("which", "golden"), [("of_first", "first"), ("of_all", "all")])
def test_rows_cross_as_in_r(which, golden, request):
    crossing = pair(request.getfixturevalue(which), "model", "weak").crossing
    expected = R[golden]["crossing"]
    for cell in ("both_right", "only_first", "only_second", "both_wrong"):
        assert getattr(crossing, cell) == expected[cell]
    assert crossing.n == len({"first": FIRST, "all": ROWS}[golden])


def test_only_the_exact_mcnemar_test_is_run_with_one_row_per_patient(of_first):
    found = [one for one in pair(of_first, "model", "weak").differences if one.measure == "accuracy"]
    assert [one.p for one in found] == pytest.approx([R["first"]["crossing"]["exact"]], rel=1e-10)
    assert found[0].estimate.value == pytest.approx((60 - 43) / 240)


def test_clustered_accuracy_is_tested_by_patient_with_mcnemar_in_addition(of_all):
    by_patient, by_row = (one for one in pair(of_all, "model", "weak").differences if one.measure == "accuracy")
    assert by_patient.p == pytest.approx(R["all"]["obuchowski"]["p"], rel=1e-10)
    assert by_row.p == pytest.approx(R["all"]["crossing"]["exact"], rel=1e-10)
    assert "Obuchowski" in by_patient.test
    assert "assuming independent rows" in by_row.test
    assert by_patient.family != by_row.family
    assert by_patient.estimate == by_row.estimate


def test_the_clustered_test_of_single_rows_is_mcnemars():
    stages, (model, weak, _), patients = of_cohort(FIRST)
    p, _ = clustered_mcnemar(model.predicted == stages, weak.predicted == stages, patients)
    assert chi2.isf(p, 1) == pytest.approx(R["first"]["mcnemar_chi2"] * 239 / 240, rel=1e-10)


def test_copies_of_rows_within_patients_change_nothing():
    stages, (model, weak, _), patients = of_cohort(FIRST)
    right = model.predicted == stages, weak.predicted == stages
    once = clustered_mcnemar(*right, patients)[0]
    thrice = clustered_mcnemar(*(np.tile(one, 3) for one in right), np.tile(patients, 3))[0]
    assert thrice == pytest.approx(once, rel=1e-12)


@pytest.mark.parametrize(("which", "golden"), [("of_first", "first"), ("of_all", "all")])
def test_differences_of_kappas_are_those_of_psych(which, golden, request):
    found = by_measure(pair(request.getfixturevalue(which), "model", "weak"))
    for name, expected in R[golden]["kappas"].items():
        assert found[name].estimate.value == pytest.approx(expected, abs=1e-10)


def test_intervals_are_those_of_a_bootstrap_that_draws_rows_in_r(of_all):
    found = by_measure(pair(of_all, "model", "weak"))
    for name, expected in R["all"]["bootstrap"].items():
        width = expected[1] - expected[0]
        assert [found[name].estimate.low, found[name].estimate.high] == pytest.approx(expected, abs=0.06 * width)


def test_a_bootstrap_p_is_below_005_where_the_interval_leaves_0_out(of_all, of_first):
    tested = [one for comparison in (of_all, of_first) for two in comparison.pairs for one in two.differences
              if one.measure.startswith("kappa")]  # fmt: skip
    assert len(tested) == 12
    for one in tested:
        assert (one.p < 0.05) == (one.estimate.low > 0 or one.estimate.high < 0)
    assert {one.p < 0.05 for one in tested} == {True, False}


def test_paired_areas_are_those_of_proc(of_first):
    found = by_measure(pair(of_first, "model", "weak"))
    for name, expected in R["first"]["areas"].items():
        assert found[name].estimate.value == pytest.approx(expected["difference"], abs=1e-10)
        assert found[name].p == pytest.approx(expected["p"], rel=1e-8)
        assert "DeLong" in found[name].test


def test_areas_need_probabilities_of_both(of_first):
    assert not [m for m in by_measure(pair(of_first, "model", "eus")) if m.startswith("auc")]
    assert "auc_macro" in of_first.readers["weak"]
    assert "auc_macro" not in of_first.readers["eus"]


def test_holm_is_rs_and_stays_within_a_family(of_first):
    for names, p, p_holm in zip(*(R["first"]["holm"][key] for key in ("pairs", "p", "p_holm")), strict=True):
        one = by_measure(pair(of_first, *names))["accuracy"]
        assert (one.p, one.p_holm) == (pytest.approx(p, rel=1e-10), pytest.approx(p_holm, rel=1e-10))
    found = by_measure(pair(of_first, "model", "weak"))
    assert found["auc_macro"].p_holm == found["auc_macro"].p  # the only pair with two areas
    assert found["auc_T2"].p_holm == pytest.approx(4 * R["first"]["areas"]["auc_T2"]["p"], rel=1e-8)  # least of four


def test_a_reader_compared_with_itself_has_no_difference():
    stages, (model, *_), patients = of_cohort(ROWS)
    found = by_measure(compare(stages, [model, replace(model, name="again")], patients).pairs[0])
    assert {one.estimate.value for one in found.values()} == {0.0}
    assert found["kappa_linear"].p == 1
    assert (found["kappa_linear"].estimate.low, found["kappa_linear"].estimate.high) == (0, 0)
    for name in ("accuracy", "auc_macro", "auc_T3"):
        assert (found[name].p, found[name].p_holm) == (None, None)
    assert "equally often in every patient" in found["accuracy"].test
    assert "does not vary" in found["auc_macro"].test


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 12))
def test_exchanged_readers_change_signs_only(seed, n, patients):
    rng = np.random.default_rng(seed)
    stages, a, b = (rng.integers(0, 4, n) for _ in range(3))
    ids = rng.integers(0, patients, n)
    probabilities = [rng.dirichlet(np.ones(4), n) for _ in range(2)]
    one, other = Reader("a", a, probabilities[0]), Reader("b", b, probabilities[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        there = compare(stages, [one, other], ids).pairs[0]
        back = compare(stages, [other, one], ids).pairs[0]
    assert there.crossing.n == n
    assert (there.crossing.only_first, there.crossing.both_wrong) == (
        back.crossing.only_second,
        back.crossing.both_wrong,
    )
    for x, y in zip(there.differences, back.differences, strict=True):
        assert x.p is None or 0 <= x.p <= x.p_holm <= 1
        if not x.measure.startswith("kappa"):  # their p-values are drawn
            assert x.p == (None if y.p is None else pytest.approx(y.p, abs=1e-9))
        if x.estimate.value is None:
            assert x.estimate.method.startswith("not defined")
        else:
            assert x.estimate.value == pytest.approx(-y.estimate.value, abs=1e-12)


def test_the_clustered_test_keeps_its_level():
    """2,000 cohorts without a difference, two or three rows a patient that agree: 5 % of them below 0.05."""
    rng = np.random.default_rng(7)
    below = naive = 0
    for _ in range(2000):
        patients = np.repeat(np.arange(80), rng.integers(2, 4, 80))
        sides = rng.random((80, 2))[patients]  # a patient is easy or hard for a reader, in all of its rows
        first, second = (rng.random((len(patients), 2)) < np.where(sides < 0.5, 0.15, 0.85)).T
        below += clustered_mcnemar(first, second, patients)[0] < 0.05
        apart = first.astype(int) - second
        naive += apart.sum() ** 2 / (apart**2).sum() > 3.841
    assert 0.035 < below / 2000 < 0.065
    assert naive / 2000 > 0.08  # what is warned of


# -- what is not defined -----------------------------------------------------------------------------------------------


def test_one_patient_has_values_but_neither_intervals_nor_tests():
    stages = np.array([0, 1, 2, 3, 0, 1])
    two = [Reader("a", np.array([0, 1, 2, 3, 1, 1])), Reader("b", np.array([0, 1, 2, 0, 0, 2]))]
    found = compare(stages, two, np.zeros(6, int))
    for one in found.pairs[0].differences:
        assert (one.estimate.low, one.estimate.high) == (None, None)
        assert one.p is None or "assuming independent rows" in one.test
    assert all(one.low is None for one in found.readers["a"].values())


def test_a_missing_stage_leaves_its_area_undefined():
    stages, three, patients = of_cohort(FIRST)
    kept = stages != 0
    two = [Reader(one.name, one.predicted[kept], one.probabilities[kept]) for one in three[:2]]
    found = by_measure(compare(stages[kept], two, patients[kept]).pairs[0])
    for name in ("auc_T1", "auc_macro"):
        assert (found[name].estimate.value, found[name].p) == (None, None)
    assert found["auc_T2"].p is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, r, p: (s, r[:1], p), "1 reader to compare"),
        (lambda s, r, p: (s, [r[0], r[0]], p), "expected unique names"),
        (lambda s, r, p: (s[:-1], r, p[:-1]), r"240 readings for 239 rows.*Remove"),
        (lambda s, r, p: (s, r, p[:-1]), "240 stages, 239 patients"),
        (lambda s, r, p: (s + 1, r, p), "True stages include 4; expected 0 to 3"),
        (lambda s, r, p: (s.astype(float), r, p), "whole numbers"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        compare(*change(*of_cohort(FIRST)))


@pytest.mark.parametrize(
    ("predicted", "probabilities", "message"),
    [
        ([0, 4], None, "Stages of x include 4"),
        ([0, -1], None, "Stages of x include -1"),
        ([0, 1], [[0.25] * 4], r"shape \(1, 4\); expected \(2, 4\)"),
        ([0, 1], [[0.25] * 4, [0.5] * 4], r"row 1: \[0.5, .*sum to 1"),
        ([0, 1], [[0.25] * 4, [float("nan")] * 4], "row 1"),
        ([0, 1], [[0.25] * 4, [-0.5, 0.5, 0.5, 0.5]], "row 1"),
    ],
)
def test_a_reader_with_invalid_readings_is_refused(predicted, probabilities, message):
    with pytest.raises(InputError, match=message):
        Reader("x", np.array(predicted), None if probabilities is None else np.array(probabilities))


# -- the two-phase study -----------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_the_study_is_that_of_r(study):
    for row, holm in zip(study.rows[:2], R["study"]["holm"], strict=True):
        expected = R["study"]["readers"][row.reader]
        assert row.unaided.value == pytest.approx(expected["unaided"] / 240)
        assert row.aided.value == pytest.approx(expected["aided"] / 240)
        assert row.gains[0].p == pytest.approx(expected["exact"], rel=1e-9)
        assert row.gains[0].p_holm == pytest.approx(holm, rel=1e-9)
        for stage, cells in expected["by_stage"].items():
            changes = row.by_stage[stage]
            assert (changes.n, changes.only_second, changes.only_first) == (cells["n"], cells["gained"], cells["lost"])


def test_all_readers_together_are_clustered_by_patient(study):
    together = study.rows[-1]
    assert together.reader == ALL
    assert together.gains[0].p == pytest.approx(R["study"]["pooled"]["p"], rel=1e-9)
    assert together.gains[0].p_holm == together.gains[0].p
    assert "assuming independent rows" in together.gains[1].test
    assert "clustered by patient" in together.unaided.method


@pytest.mark.parametrize("table", [FIRST, ROWS], ids=["first", "all"])
def test_the_studys_counts_add_up(table):
    found = study_of(table)
    per_stage = table["stage"].value_counts()
    *each, together = found.rows
    for row, times in (*((one, 1) for one in each), (together, 2)):
        assert {stage: changes.n for stage, changes in row.by_stage.items()} == (times * per_stage).to_dict()
        gained, lost, kept = (sum(getattr(c, cell) for c in row.by_stage.values())
                              for cell in ("only_second", "only_first", "both_right"))  # fmt: skip
        n = times * len(table)
        assert (row.unaided.value * n, row.aided.value * n) == (
            pytest.approx(kept + lost),
            pytest.approx(kept + gained),
        )
        assert row.gains[0].estimate.value * n == pytest.approx(gained - lost)
    for stage in per_stage.index:
        assert together.by_stage[stage].only_second == sum(one.by_stage[stage].only_second for one in each)
    right = sum(share.value * per_stage[stage] for stage, share in found.model.by_stage.items())
    assert found.model.accuracy.value * len(table) == pytest.approx(right)


def test_the_model_is_compared_with_either_phase(study):
    stages, (model, *_), _ = of_cohort(FIRST)
    accuracy = (model.predicted == stages).mean()
    for row in study.rows:
        unaided, aided = row.against_model if row.reader != ALL else row.against_model[::2]
        assert unaided.estimate.value == pytest.approx(accuracy - row.unaided.value)
        assert aided.estimate.value == pytest.approx(accuracy - row.aided.value)
        assert (unaided.first, unaided.second) == ("model", f"{row.reader}, unaided")


def test_a_study_without_a_model_is_valid():
    found = study_of(FIRST, model=False)
    assert found.model is None
    assert all(row.against_model == () for row in found.rows)


def test_fleiss_kappa_is_rs_and_statsmodels(study):
    patients = np.arange(len(FIRST))
    assert study.fleiss["unaided"].value == pytest.approx(R["study"]["fleiss"]["unaided"], abs=1e-10)
    assert study.fleiss["aided"].value == pytest.approx(R["study"]["fleiss"]["aided"], abs=1e-10)
    five = np.stack([golden_data.stages(FIRST, name) for name in (*PHASES, "eus")])
    found = fleiss(five, patients, seed=3)
    assert found.value == pytest.approx(R["study"]["fleiss"]["five"], abs=1e-10)
    votes = (five[..., None] == np.arange(4)).sum(axis=0)
    assert found.value == pytest.approx(fleiss_kappa(votes), abs=1e-12)
    rng = np.random.default_rng(1)
    drawn = [fleiss_kappa(votes[rng.integers(0, len(votes), len(votes))]) for _ in range(4000)]
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.005)


def test_fleiss_kappa_at_its_ends():
    patients = np.arange(8)
    same = np.tile(np.arange(8) % 4, (3, 1))
    assert fleiss(same, patients).value == pytest.approx(1)
    assert fleiss(same[:1], patients).method == "not defined: fewer than two readers"
    assert fleiss(np.zeros((3, 8), int), patients).method == "not defined: every reading is of one stage"
    assert fleiss(same, np.zeros(8, int)).low is None


def test_columns_of_a_study_are_found_by_their_names():
    found, alone = phase_columns(
        ["case_id", *PHASES, "Dr. A unaided", "Dr. A Aided", "reader3_aided", "aided", "unaided"]
    )
    assert found == {
        "reader1": ("reader1_unaided", "reader1_aided"),
        "reader2": ("reader2_unaided", "reader2_aided"),
        "Dr. A": ("Dr. A unaided", "Dr. A Aided"),
    }
    assert alone == ["reader3_aided"]


def test_a_study_without_readers_or_with_a_reader_called_all_is_refused():
    stages, _, patients = of_cohort(FIRST)
    for phases in ({}, {ALL: (stages, stages)}):
        with pytest.raises(InputError, match="expected one or more, and other names than"):
            reader_study(stages, phases, None, patients)
    with pytest.raises(InputError, match="A, aided has 239 readings"):
        reader_study(stages, {"A": (stages, stages[:-1])}, None, patients)


def test_a_stage_without_rows_has_no_gains():
    stages = np.array([1, 1, 2, 3])
    found = reader_study(stages, {"A": (stages, stages)}, Reader("m", stages), np.arange(4))
    assert found.rows[0].by_stage["T1"].n == 0
    assert found.model.by_stage["T1"].value is None
    assert found.rows[0].gains[0].p == 1  # of no discordant row
    assert found.fleiss["aided"].value is None


# -- as data -----------------------------------------------------------------------------------------------------------


def test_both_are_plain_data_and_depend_on_the_seed_only(of_first, study):
    for found, again in ((of_first, compare(*of_cohort(FIRST), seed=1)), (study, study_of(FIRST, seed=1))):
        text = json.dumps(found.to_json(), allow_nan=False)
        assert text == json.dumps(again.to_json())
    first = of_first.to_json()["pairs"][0]["differences"][0]
    assert set(first["estimate"]) == {"value", "low", "high", "method"}
    other = compare(*of_cohort(FIRST), seed=2).to_json()["pairs"][0]["differences"][0]
    assert other["estimate"]["low"] != first["estimate"]["low"]
    assert other["estimate"]["value"] == first["estimate"]["value"]


def test_without_statsmodels_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.stats.contingency_tables", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'gtrstaging\[evaluate\]'"):
        compare(*of_cohort(FIRST))


def test_every_exported_name_exists():
    assert all(hasattr(readers, name) for name in readers.__all__)
