import json
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers import golden_data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import chi2, multinomial, norm
from scipy.stats import t as student
from sklearn.metrics import cohen_kappa_score

from GTRStagingLib.errors import InputError, MissingDependencyError
from GTRStagingLib.stats import readers
from GTRStagingLib.stats.mcnemar import clustered_mcnemar
from GTRStagingLib.stats.reader_study import reader_study
from GTRStagingLib.stats.readers import (
    Reader,
    compare,
    phase_columns,
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


@pytest.fixture(scope="module")
def of_first():
    return compare(*of_cohort(FIRST))


@pytest.fixture(scope="module")
def of_all():
    return compare(*of_cohort(ROWS))


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


def test_accuracy_is_tested_by_patient_with_mcnemars_exact_test_in_addition(of_first):
    by_patient, by_row = (one for one in pair(of_first, "model", "weak").differences if one.measure == "accuracy")
    assert chi2.isf(by_patient.p, 1) == pytest.approx(R["first"]["mcnemar_chi2"] * 239 / 240, rel=1e-10)
    assert by_row.p == pytest.approx(R["first"]["crossing"]["exact"], rel=1e-10)
    assert by_patient.estimate.value == by_row.estimate.value == pytest.approx((60 - 43) / 240)
    assert (by_row.estimate.low, by_row.estimate.high) == (None, None)
    assert "independent" not in by_row.test  # each row is a patient


def test_clustered_accuracy_is_tested_by_patient_with_mcnemar_in_addition(of_all):
    by_patient, by_row = (one for one in pair(of_all, "model", "weak").differences if one.measure == "accuracy")
    assert by_patient.p == pytest.approx(R["all"]["obuchowski"]["p"], rel=1e-10)
    assert by_row.p == pytest.approx(R["all"]["crossing"]["exact"], rel=1e-10)
    assert "Obuchowski" in by_patient.test
    assert "assuming independent rows" in by_row.test
    assert by_patient.family != by_row.family
    assert by_patient.estimate.low < by_patient.estimate.value < by_patient.estimate.high


def squared_score(difference, only_first, only_second, rows):
    """The score statistic, with the likelihood of the share of rows that only the second has maximised numerically."""

    def unlikely(share):
        parts = share + difference, share, 1 - 2 * share - difference
        counts = only_first, only_second, rows - only_first - only_second
        return -sum(count * np.log(part) for count, part in zip(counts, parts, strict=True) if count)

    bounds = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (only_first - only_second - rows * difference) ** 2 / (rows * (2 * share + difference - difference**2))


@pytest.mark.parametrize("table", [FIRST, ROWS], ids=["first", "all"])
def test_the_limits_of_a_difference_are_where_the_score_test_reaches_5_percent(table):
    """The statistic of the rows as if independent, divided by the design effect: clusters' squares over rows'."""
    stages, (model, weak, _), patients = of_cohort(table)
    right, other = model.predicted == stages, weak.predicted == stages
    found, _, _ = clustered_mcnemar(right, other, patients)
    crossed = (right & ~other).sum(), (other & ~right).sum()
    net = [(right[patients == one].astype(int) - other[patients == one]).sum() for one in np.unique(patients)]
    effect = max(1.0, np.sum(np.square(net)) / sum(crossed)) * len(net) / (len(net) - 1)
    assert found.low < found.value < found.high
    for limit in (found.low, found.high):
        assert squared_score(limit, *crossed, len(right)) / effect == pytest.approx(chi2.isf(0.05, 1), rel=1e-5)


@pytest.mark.parametrize("times", [1, 3])
def test_a_difference_of_1_in_every_patient_has_a_one_sided_interval(times):
    """Of n rows all won by the first, the squared score of d is n (1 - d) / (1 + d)."""
    patients = np.repeat(np.arange(24), times)
    right = np.ones(len(patients), bool)
    found, p, _ = clustered_mcnemar(right, ~right, patients)
    critical = chi2.isf(0.05, 1)
    assert (found.value, found.low, found.high) == (1, pytest.approx((23 - critical) / (23 + critical)), 1)
    assert chi2.isf(p, 1) == pytest.approx(23)
    back, p_back, _ = clustered_mcnemar(~right, right, patients)
    assert (back.value, back.low, back.high, p_back) == (-1, -1, pytest.approx(-found.low), p)


def test_rows_of_a_patient_that_contradict_each_other_do_not_count_as_more_rows():
    """Each patient has one row that the first alone has right: with the same difference in all, nothing varies."""
    patients, first = np.repeat(np.arange(24), 2), np.tile([True, False], 24)
    found, p, _ = clustered_mcnemar(first, np.zeros(48, bool), patients)
    alone, _, _ = clustered_mcnemar(first, np.zeros(48, bool), np.arange(48))
    assert found.value == 0.5
    assert found.low < alone.low < alone.value < alone.high < found.high
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.01)
    assert chi2.isf(p, 1) == pytest.approx(24 * 23 / 24)
    # Patients in each of which one row is gained and one lost say no more than the rows do.
    mixed = np.tile([True, False, True, False], 12)
    mixed[0] = False
    assert clustered_mcnemar(mixed, ~mixed, patients)[1] > 0.5


@pytest.mark.parametrize(("n", "shares"), [(60, (0.06, 0.003)), (60, (0.12, 0.01)), (240, (0.03, 0.001))])
def test_intervals_of_differences_of_rare_shares_hold(n, shares):
    """Every table of a first and a second that are right alone in these shares of rows, by its probability."""
    rows, covered, total = np.arange(n), 0.0, 0.0
    for one in range(20):
        for other in range(5):
            found, _, _ = clustered_mcnemar(rows < one, rows >= n - other, rows)
            if found.low is not None:
                chance = multinomial.pmf([one, other, n - one - other], n, [*shares, 1 - sum(shares)])
                total += chance
                covered += chance * (found.low <= shares[0] - shares[1] <= found.high)
    assert total > 0.95  # without the tables in which nothing differs
    assert 0.94 < covered / total < 0.98


def test_copies_of_rows_within_patients_change_nothing():
    stages, (model, weak, _), patients = of_cohort(FIRST)
    right = model.predicted == stages, weak.predicted == stages
    once, p, _ = clustered_mcnemar(*right, patients)
    thrice, p_thrice, _ = clustered_mcnemar(*(np.tile(one, 3) for one in right), np.tile(patients, 3))
    assert p_thrice == pytest.approx(p, rel=1e-12)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize(("which", "golden"), [("of_first", "first"), ("of_all", "all")])
def test_differences_of_kappas_are_those_of_psych(which, golden, request):
    found = by_measure(pair(request.getfixturevalue(which), "model", "weak"))
    for name, expected in R[golden]["kappas"].items():
        assert found[name].estimate.value == pytest.approx(expected, abs=1e-10)


def test_intervals_of_kappas_are_near_those_of_a_bootstrap_that_draws_rows_in_r(of_all):
    found = by_measure(pair(of_all, "model", "weak"))
    for name, expected in R["all"]["bootstrap"].items():
        width = expected[1] - expected[0]
        assert [found[name].estimate.low, found[name].estimate.high] == pytest.approx(expected, abs=0.1 * width)


def test_the_error_of_a_difference_of_kappas_is_that_of_leaving_out_each_patient(of_all):
    stages, (model, weak, _), patients = of_cohort(ROWS)
    left = []
    for one in range(patients.max() + 1):
        rows = patients != one
        kappas = [
            cohen_kappa_score(stages[rows], reader.predicted[rows], weights="quadratic") for reader in (model, weak)
        ]
        left.append(kappas[0] - kappas[1])
    k, left = len(left), np.array(left)
    error = float(((k - 1) / k * ((left - left.mean()) ** 2).sum()) ** 0.5)
    found = by_measure(pair(of_all, "model", "weak"))["kappa_quadratic"].estimate
    assert found.value - found.low == pytest.approx(found.high - found.value)
    assert found.high - found.value >= student.ppf(0.975, k - 1) * error * 0.999
    assert found.high - found.value == pytest.approx(student.ppf(0.975, k - 1) * error, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(12, 60), st.integers(6, 60), st.floats(0.3, 0.95))
def test_an_interval_excludes_0_exactly_where_its_p_is_below_005(seed, n, patients, accuracy):
    rng = np.random.default_rng(seed)
    stages, ids = rng.integers(0, 4, n), rng.integers(0, patients, n)
    one, other = (np.where(rng.random(n) < share, stages, rng.integers(0, 4, n)) for share in (accuracy, 0.5))
    four = [0.5 * np.eye(4)[seen] + 0.5 * rng.dirichlet(np.ones(4), n) for seen in (one, other)]
    found = compare(stages, [Reader("a", one, four[0]), Reader("b", other, four[1])], ids).pairs[0]
    gains = reader_study(stages, {"r": (other, one)}, Reader("m", one), ids).rows
    for test in (*found.differences, *(gain for row in gains for gain in (*row.gains, *row.against_model))):
        if "exact" in test.test:
            assert test.estimate.low is None
        elif test.estimate.low is None:
            assert test.p is None
        else:
            assert (test.p < 0.05) == (test.estimate.low > 0 or test.estimate.high < 0), test
            assert test.estimate.low < test.estimate.high


def test_paired_areas_are_those_of_proc(of_first):
    found = by_measure(pair(of_first, "model", "weak"))
    for name, expected in R["first"]["areas"].items():
        assert found[name].estimate.value == pytest.approx(expected["difference"], abs=1e-10)
        # pROC's p is of the normal distribution, ours of Student's with 10 to 239 degrees.
        statistic = norm.isf(expected["p"] / 2)
        assert 2 * student.sf(statistic, 239) <= found[name].p * (1 + 1e-8)
        assert found[name].p <= 2 * student.sf(statistic, 10)
        assert "DeLong" in found[name].test


def test_areas_need_probabilities_of_both(of_first):
    assert not [m for m in by_measure(pair(of_first, "model", "eus")) if m.startswith("auc")]
    assert of_first.readers["weak"].auc_macro.value is not None
    assert of_first.readers["eus"].auc_macro is None


def test_holm_is_rs_and_stays_within_a_family(of_first):
    for names, p, p_holm in zip(*(R["first"]["holm"][key] for key in ("pairs", "p", "p_holm")), strict=True):
        one = next(one for one in pair(of_first, *names).differences if "exact" in one.test)
        assert (one.p, one.p_holm) == (pytest.approx(p, rel=1e-10), pytest.approx(p_holm, rel=1e-10))
    found = by_measure(pair(of_first, "model", "weak"))
    assert found["auc_macro"].p_holm == found["auc_macro"].p  # the only pair with two areas
    assert found["auc_T2"].p_holm == pytest.approx(4 * found["auc_T2"].p, rel=1e-8)  # least of four


def test_a_reader_compared_with_itself_has_no_difference():
    stages, (model, *_), patients = of_cohort(ROWS)
    found = by_measure(compare(stages, [model, replace(model, name="again")], patients).pairs[0])
    assert {one.estimate.value for one in found.values()} == {0.0}
    assert {one.estimate.low for one in found.values()} == {None}
    for name in ("accuracy", "kappa_linear", "auc_macro", "auc_T3"):
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
        below += clustered_mcnemar(first, second, patients)[1] < 0.05
        apart = first.astype(int) - second
        naive += apart.sum() ** 2 / (apart**2).sum() > 3.841
    assert 0.035 < below / 2000 < 0.065
    assert naive / 2000 > 0.08  # what is warned of


def test_readers_are_compared_on_the_rows_that_both_have_read():
    """Another reader's missing rows change nothing."""
    stages, (model, weak, eus), patients = of_cohort(FIRST)
    half = np.arange(len(FIRST)) < 100
    some = Reader("some", np.where(half, eus.predicted, -1))
    found = compare(stages, [model, weak, some], patients)
    assert pair(found, "model", "weak") == replace_holm(compare(stages, [model, weak], patients).pairs[0], found)
    assert pair(found, "model", "some").crossing.n == 100
    alone = compare(stages[half], [model.at(half), Reader("some", eus.predicted[half])], patients[half])
    assert found.readers["some"] == alone.readers["some"]
    expected = [(one.measure, one.estimate, one.p) for one in alone.pairs[0].differences]
    assert [(one.measure, one.estimate, one.p) for one in pair(found, "model", "some").differences] == expected


def replace_holm(one, found):
    """Return a pair with the corrected p-values of the same pair among others, which depend on the others."""
    others = pair(found, one.first, one.second).differences
    return replace(one, differences=tuple(replace(a, p_holm=b.p_holm) for a, b in zip(one.differences, others,
                                                                                       strict=True)))  # fmt: skip


def test_readers_without_a_common_row_have_no_differences():
    stages = np.array([0, 1, 2, 3])
    first, second = (Reader(name, np.where(rows, stages, -1)) for name, rows in
                     (("a", stages < 2), ("b", stages > 1)))  # fmt: skip
    found = compare(stages, [first, second], np.arange(4)).pairs[0]
    assert (found.crossing.n, found.differences) == (0, ())


def test_over_staging_sensitivity_and_treatment_are_compared_too():
    """Of ten rows: counts by hand."""
    stages = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 3])
    model = Reader("model", np.array([0, 0, 0, 1, 1, 2, 2, 3, 3, 2]))  # one T4 is read as T3
    eus = Reader("EUS", np.array([0, 1, 2, 1, 2, 2, 1, 3, 2, 2]))
    found = by_measure(compare(stages, [model, eus], np.arange(10)).pairs[0])
    values = {name: one.estimate.value for name, one in found.items()}
    assert values["accuracy"] == pytest.approx(0.9 - 0.4)
    assert values["over_staged"] == pytest.approx(0 - 0.3)
    assert values["under_staged"] == pytest.approx(0.1 - 0.3)
    assert values["sensitivity_T1"] == pytest.approx(1 - 1 / 3)
    assert values["sensitivity_T4"] == pytest.approx(2 / 3 - 1 / 3)
    assert values["over_treatment"] == pytest.approx(0 - 0.2)  # T1 and T2 that EUS reads as T3
    assert values["under_treatment"] == pytest.approx(0 - 0.1)  # T3 that EUS reads as T2
    assert values["net_benefit"] == pytest.approx((5 - 0) / 10 - (4 - 2) / 10)  # TP - FP of either
    assert found["over_treatment"].family != found["accuracy"].family
    assert {found[f"sensitivity_T{k}"].family for k in (1, 2, 3, 4)} == {"sensitivity of each stage"}


# -- what is not defined -----------------------------------------------------------------------------------------------


def test_one_patient_has_values_but_neither_intervals_nor_tests():
    stages = np.array([0, 1, 2, 3, 0, 1])
    two = [Reader("a", np.array([0, 1, 2, 3, 1, 1])), Reader("b", np.array([0, 1, 2, 0, 0, 2]))]
    found = compare(stages, two, np.zeros(6, int))
    for one in found.pairs[0].differences:
        assert (one.estimate.low, one.estimate.high) == (None, None)
        assert one.p is None or "assuming independent rows" in one.test
    assert found.readers["a"].accuracy.low is None
    assert found.readers["a"].kappa_linear.low is None


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
        (lambda s, r, p: (s[:-1], r, p[:-1]), r"240 readings for 239 rows.*to -1"),
        (lambda s, r, p: (s, r, p[:-1]), "240 stages, 239 patients"),
        (lambda s, r, p: (s + 1, r, p), "True stages include 4; expected 0 to 3"),
        (lambda s, r, p: (s.astype(float), r, p), "whole numbers"),
        (lambda s, r, p: (s, [r[0], Reader("b", np.full(240, -1))], p), "b has no reading in 240 rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        compare(*change(*of_cohort(FIRST)))


@pytest.mark.parametrize(
    ("predicted", "probabilities", "message"),
    [
        ([0, 4], None, "Stages of x include 4"),
        ([0, -2], None, "Stages of x include -2"),
        ([0, 1], [[0.25] * 4], r"shape \(1, 4\); expected \(2, 4\)"),
        ([0, 1], [[0.25] * 4, [0.5] * 4], r"row 1: \[0.5, .*sum to 1"),
        ([0, 1], [[0.25] * 4, [float("nan")] * 4], "row 1"),
        ([0, 1], [[0.25] * 4, [-0.5, 0.5, 0.5, 0.5]], "row 1"),
    ],
)
def test_a_reader_with_invalid_readings_is_refused(predicted, probabilities, message):
    with pytest.raises(InputError, match=message):
        Reader("x", np.array(predicted), None if probabilities is None else np.array(probabilities))


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


# -- as data -----------------------------------------------------------------------------------------------------------


def test_a_comparison_is_plain_data_and_the_same_each_time(of_first):
    text = json.dumps(of_first.to_json(), allow_nan=False)
    assert text == json.dumps(compare(*of_cohort(FIRST)).to_json())
    first = of_first.to_json()["pairs"][0]["differences"][0]
    assert set(first["estimate"]) == {"value", "low", "high", "method"}


def test_without_statsmodels_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.stats.contingency_tables", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'gtrstaging\[evaluate\]'"):
        compare(*of_cohort(FIRST))


def test_every_exported_name_exists():
    assert all(hasattr(readers, name) for name in readers.__all__)
