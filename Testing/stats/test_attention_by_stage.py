import json
import warnings

import numpy as np
import pytest
from helpers import golden_data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats import attention_by_stage
from GTRStagingLib.stats.attention_by_stage import attention, trend
from GTRStagingLib.stats.estimates import Clusters, mean

R = golden_data.golden("trend")
ROWS = golden_data.ROWS
STAGES, PATIENTS = golden_data.stages(ROWS), golden_data.patients(ROWS)
MEASURES = {name: ROWS[name].to_numpy() for name in ("dice", "chance_dice")}
NAN = float("nan")


@pytest.fixture(scope="module")
def cohort():
    return attention(STAGES, MEASURES, PATIENTS, seed=1)


@pytest.fixture
def few_permutations(monkeypatch):
    """For tests that do not look at how fine a permutation's p-value is."""
    monkeypatch.setattr(attention_by_stage, "PERMUTATIONS", 99)


@pytest.fixture
def strict(few_permutations):
    """Any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# -- against R ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["T1", "T2", "T3", "T4"])
def test_quartiles_and_means_equal_those_of_r(cohort, stage):
    found = cohort.measures["dice"][stage]
    assert [found.q1, found.median, found.q3] == pytest.approx(R["median"][stage], abs=1e-12)
    assert found.mean.value == pytest.approx(R["mean"][stage], abs=1e-12)
    assert (found.n, found.n_undefined) == (int((ROWS["stage"] == stage).sum()), 0)


def test_intervals_are_near_those_of_a_bootstrap_that_draws_rows_in_r(cohort):
    first = (ROWS["stage"] == "T1").to_numpy()
    of_first = mean(MEASURES["dice"][first], PATIENTS[first], (0.0, 1.0))  # a cohort shows none of so few patients
    for found, expected in (
        (of_first, R["bootstrap"]["dice_T1"]),
        (cohort.against["chance"]["all"].difference, R["bootstrap"]["above"]),
    ):
        width = expected[1] - expected[0]
        assert [found.low, found.high] == pytest.approx(expected, abs=0.08 * width)


@pytest.mark.parametrize("measure", ["dice", "chance_dice"])
def test_the_trend_is_rs(cohort, measure):
    found = cohort.trends[measure]
    assert found.statistic == R[measure]["J"]
    assert found.share == pytest.approx(R[measure]["J"] / R[measure]["pairs"])
    assert found.p == pytest.approx(R[measure]["p"], rel=1e-9)
    assert found.n == ROWS["patient_id"].nunique()


def test_permutations_agree_with_rs_and_with_the_approximation(cohort):
    assert cohort.trends["chance_dice"].p_permutation == pytest.approx(R["chance_dice"]["p_permuted"], abs=0.03)
    assert cohort.trends["dice"].p_permutation < 0.001  # 3.8e-5 by the approximation; 9,999 cannot say less than 2e-4


def test_a_small_set_is_permuted_in_full():
    small = R["small"]
    found = trend(np.array(small["x"]), np.array(small["level"]) - 1, np.arange(7))
    assert found.statistic == small["J"]
    assert found.p_permutation == pytest.approx(small["p"], abs=1e-12)
    assert found.permutation_test.startswith("all 5040 permutations")


@pytest.mark.usefixtures("few_permutations")
def test_the_distance_from_chance_is_tested_as_in_r(cohort):
    for group, expected in R["above"].items():
        assert cohort.against["chance"][group].p == pytest.approx(expected, rel=1e-9)
    assert "exact" in cohort.against["chance"]["T1"].test
    for group, shift in (("all", 0.28), ("T1", 0.2)):
        moved = {**MEASURES, "chance_dice": MEASURES["chance_dice"] + shift}
        found = attention(STAGES, moved, PATIENTS).against["chance"][group]
        assert found.p == pytest.approx(R["centred"][group], rel=1e-9)


# -- by their definitions ----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.integers(1, 12))
def test_j_counts_pairs_and_is_kendalls_s(seed, n, levels):
    rng = np.random.default_rng(seed)
    values, stages = rng.integers(0, levels + 1, n) / 8, rng.integers(0, 4, n)
    j = float(attention_by_stage._jonckheere(values, stages))
    low, high = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    pair = stages[low] < stages[high]
    assert j == ((values[low] < values[high]) + 0.5 * (values[low] == values[high]))[pair].sum()

    s = (np.sign(values[high] - values[low]) * pair).sum()
    assert 2 * j - pair.sum() == s
    untied = [n * (n - 1) / 2 - sum(c * (c - 1) / 2 for c in np.unique(x, return_counts=True)[1])
              for x in (values, stages)]  # fmt: skip
    if all(untied):
        assert s == pytest.approx(kendalltau(stages, values).statistic * np.sqrt(untied[0] * untied[1]))


def test_j_of_many_orders_at_once_is_that_of_each():
    rng = np.random.default_rng(3)
    values = rng.integers(0, 6, 20) / 5
    orders = rng.integers(0, 4, (7, 20))
    found = attention_by_stage._jonckheere(values, orders)
    assert found.tolist() == [float(attention_by_stage._jonckheere(values, one)) for one in orders]


@pytest.mark.usefixtures("few_permutations")
def test_a_measure_turned_round_turns_the_trend_round():
    there, back = (trend(sign * MEASURES["dice"], STAGES, PATIENTS) for sign in (1, -1))
    assert there.share + back.share == pytest.approx(1)
    assert there.share > 0.5
    assert there.p == pytest.approx(back.p)


@pytest.mark.usefixtures("few_permutations")
def test_copies_of_rows_within_patients_change_nothing():
    once = attention(STAGES, MEASURES, PATIENTS)
    again = attention(np.tile(STAGES, 3), {k: np.tile(v, 3) for k, v in MEASURES.items()}, np.tile(PATIENTS, 3))
    assert again.trends["dice"].p == pytest.approx(once.trends["dice"].p)
    assert again.trends["dice"].p_permutation == once.trends["dice"].p_permutation
    assert again.against["chance"]["all"].p == pytest.approx(once.against["chance"]["all"].p)
    a, b = again.measures["dice"]["T2"], once.measures["dice"]["T2"]
    assert [a.mean.low, a.mean.high] == pytest.approx([b.mean.low, b.mean.high], abs=0.003)  # of a width of 0.05
    assert (a.n, a.median) == (3 * b.n, pytest.approx(b.median, abs=0.01))


def test_no_trend_is_found_in_5_percent_of_cohorts_without_one():
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(40), 2)
    below = 0
    for _ in range(1000):
        stages, easy = rng.integers(0, 4, 40)[ids], rng.normal(size=40)[ids]
        noisy = easy + 0.1 * rng.normal(size=80)
        ranked, levels = attention_by_stage._one_a_stage(noisy, stages, Clusters.of(ids))
        below += kendalltau(levels, ranked, method="asymptotic").pvalue < 0.05
    assert 0.033 < below / 1000 < 0.067


def test_a_mean_of_few_patients_has_no_interval():
    """A Dice needs 30 effective patients; a distance, whose largest values make up most of the mean, 100."""
    rng = np.random.default_rng(1)
    for n, some in ((29, ()), (30, ("dice",)), (99, ("dice",)), (100, ("dice", "hd95_mm"))):
        measures = {"dice": rng.random(n), "chance_dice": rng.random(n) / 9, "hd95_mm": np.exp(rng.normal(size=n))}
        found = attention(np.ones(n, int), measures, np.arange(n))
        for name in ("dice", "hd95_mm"):
            of_all, of_stage = (found.measures[name][group].mean for group in ("all", "T2"))
            assert of_all == of_stage
            assert (of_all.low is not None) == (name in some)
            assert name in some or f"no interval, {n} patients, fewer than" in of_all.method
        assert (found.against["chance"]["T2"].difference.low is not None) == ("dice" in some)


def test_a_mean_is_that_of_its_measures_range_and_of_its_own_rows():
    """Between 0 and 1 for a Dice, above 0 for a distance; and rows of other stages do not matter."""
    rng = np.random.default_rng(1)
    measures = {"dice": rng.random(400) ** 3, "hd95_mm": np.exp(2 + rng.normal(size=400))}
    stages, ids = np.arange(400) % 4, np.arange(400)
    found = attention(stages, measures, ids).measures
    for name, within in (("dice", (0.0, 1.0)), ("hd95_mm", (0.0, np.inf))):
        assert found[name]["T2"].mean == mean(measures[name][stages == 1], np.arange(100), within)
        assert found[name]["all"].mean == mean(measures[name], ids, within)
    against = attention(stages, {"dice": measures["dice"], "chance_dice": np.full(400, 0.2)}, ids).against["chance"]
    assert against["all"].difference == mean(measures["dice"] - 0.2, ids, (-1.0, 1.0))


def test_a_binary_measure_has_the_interval_of_a_proportion():
    hits = np.array([1.0, 0, 1, NAN, 1, 1])
    found = attention(np.array([0, 0, 1, 1, 2, 2]), {"pointing_hit": hits}, np.arange(6)).measures["pointing_hit"]
    assert (found["all"].mean.value, found["all"].mean.method) == (0.8, "Wilson, 95 %")
    assert (found["all"].n, found["all"].n_undefined, found["T2"].n_undefined) == (5, 1, 1)


def test_a_patient_with_several_stages_is_noted():
    found = trend(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 2, 2]), np.array([0, 0, 1, 2]))
    assert found.n == 4
    assert "several stages" in found.test


# -- what is not defined -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("strict")
def test_a_stage_without_rows_is_left_out():
    kept = STAGES != 1
    found = attention(STAGES[kept], {k: v[kept] for k, v in MEASURES.items()}, PATIENTS[kept])
    missing = found.measures["dice"]["T2"]
    assert (missing.n, missing.n_undefined, missing.median, missing.mean.value) == (0, 0, None, None)
    assert missing.mean.method == "not defined: no row has a value"
    assert (found.against["chance"]["T2"].n, found.against["chance"]["T2"].p) == (0, None)
    assert found.trends["dice"].test.endswith("over T1, T3, T4")
    assert found.trends["dice"].p is not None


@pytest.mark.usefixtures("strict")
def test_undefined_values_are_counted_and_left_out():
    rng = np.random.default_rng(0)
    gone = rng.random(len(STAGES)) < 0.2
    holed = {**MEASURES, "dice": np.where(gone, NAN, MEASURES["dice"])}
    found, kept = attention(STAGES, holed, PATIENTS), ~gone
    only = attention(STAGES[kept], {k: v[kept] for k, v in MEASURES.items()}, PATIENTS[kept])
    for group, one in found.measures["dice"].items():
        rows = np.full(len(STAGES), True) if group == "all" else ROWS["stage"].to_numpy() == group
        assert (one.n, one.n_undefined) == ((rows & kept).sum(), (rows & gone).sum())
        assert one.mean.value == pytest.approx(only.measures["dice"][group].mean.value)
        assert found.against["chance"][group].n == one.n
        assert found.against["chance"][group].p == pytest.approx(only.against["chance"][group].p)
    assert found.trends["dice"].p == only.trends["dice"].p


@pytest.mark.usefixtures("strict")
def test_a_measure_without_any_value_is_not_defined():
    found = attention(STAGES, {**MEASURES, "hd95_mm": np.full(len(STAGES), NAN)}, PATIENTS)
    assert found.measures["hd95_mm"]["all"].n_undefined == len(STAGES)
    assert found.measures["hd95_mm"]["all"].mean.value is None
    assert found.trends["hd95_mm"].test == "not defined: 0 patients have a value, fewer than three"
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.usefixtures("strict")
def test_a_constant_has_no_trend_to_test():
    same = np.full(len(STAGES), 0.3)
    found = attention(STAGES, {"dice": same, "chance_dice": same}, PATIENTS)
    assert (found.trends["dice"].share, found.trends["dice"].p, found.trends["dice"].p_permutation) == (0.5, None, None)
    assert "every value is the same" in found.trends["dice"].test
    assert found.against["chance"]["all"].p is None
    assert "fewer than two patients have a difference" in found.against["chance"]["all"].test
    mean = found.measures["dice"]["all"].mean
    assert (mean.value, mean.low, mean.high) == (pytest.approx(0.3), None, None)
    assert "does not vary" in mean.method


@pytest.mark.usefixtures("strict")
def test_one_patient_has_values_but_neither_intervals_nor_tests():
    measures = {"dice": np.array([0.2, 0.4, 0.5]), "chance_dice": np.array([0.1, 0.1, 0.2])}
    found = attention(np.array([2, 2, 2]), {**measures, "pointing_hit": np.array([1, 0, 1])}, np.zeros(3, int))
    for one in (found.measures["dice"]["all"].mean, found.measures["dice"]["T3"].mean,
                found.against["chance"]["all"].difference, found.measures["pointing_hit"]["T3"].mean):  # fmt: skip
        assert one.value is not None
        assert (one.low, one.high) == (None, None)
        assert "one patient" in one.method
    assert found.against["chance"]["all"].p is None
    assert found.trends["dice"].p is None


@pytest.mark.usefixtures("strict")
def test_one_stage_has_no_trend():
    found = trend(np.arange(9.0), np.full(9, 3), np.arange(9))
    assert (found.statistic, found.test) == (None, "not defined: fewer than two stages have values")


@pytest.mark.usefixtures("few_permutations")
def test_dice_is_compared_with_the_available_baselines():
    assert attention(STAGES, {"dice": MEASURES["dice"]}, PATIENTS).against == {}
    assert attention(STAGES, {"chance_dice": MEASURES["dice"]}, PATIENTS).against == {}
    both = {**MEASURES, "mean_mask_dice": MEASURES["dice"] - 0.1}
    found = attention(STAGES, both, PATIENTS)
    assert list(found.against) == ["chance", "mean_mask"]
    by_stage = found.against["mean_mask"]
    assert [by_stage[group].difference.value for group in ("all", "T1", "T4")] == pytest.approx([0.1] * 3)
    assert found.against["chance"] == attention(STAGES, MEASURES, PATIENTS).against["chance"]


def test_very_many_patients_are_not_permuted(monkeypatch):
    monkeypatch.setattr(attention_by_stage, "MOST_PERMUTED", 239)
    found = trend(MEASURES["dice"], STAGES, PATIENTS)
    assert (found.p_permutation, found.permutation_test) == (None, "not computed above 239 patients")
    assert found.p == pytest.approx(R["dice"]["p"], rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": STAGES + 1}, r"expected whole numbers 0 to 3"),
        ({"stages": STAGES.astype(float)}, r"expected whole numbers 0 to 3"),
        ({"measures": {}}, "0 measures, 300 stages"),
        ({"patients": PATIENTS[1:]}, "299 patients; expected .* one patient per row"),
        ({"measures": {"dice": np.zeros(4)}}, r"dice has shape \(4,\); expected \(300,\)"),
        (
            {"measures": {"hd95_mm": np.where(STAGES == 0, np.inf, 1)}},
            r"hd95_mm, row \d+: inf; expected a number, or NaN",
        ),
        ({"measures": {"pointing_hit": np.full(300, 0.5)}}, "contains 0.5; expected 0, 1"),
    ],
)
def test_arrays_that_do_not_match_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        attention(**{"stages": STAGES, "measures": MEASURES, "patients": PATIENTS, **change})


def test_it_is_plain_data_and_depends_on_the_seed_only(cohort):
    text = json.dumps(cohort.to_json(), allow_nan=False)
    assert text == json.dumps(attention(STAGES, MEASURES, PATIENTS, seed=1).to_json())
    assert text != json.dumps(attention(STAGES, MEASURES, PATIENTS, seed=2).to_json())
    assert set(cohort.to_json()["measures"]["dice"]["T1"]["mean"]) == {"value", "low", "high", "method"}
