"""Risk-coverage curves and the area under them, compared with definitions and enumerations."""

import itertools

import numpy as np
import pytest

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats.risk_coverage import _area, risk_coverage


def by_definition(wrong, order):
    """Mean over k of the share of errors among the first k rows in an order."""
    return np.mean([np.mean([wrong[i] for i in order[:k]]) for k in range(1, len(order) + 1)])


def of_all_orders(wrong, score):
    """Mean area over every order of the rows that sorts the score."""
    orders = [o for o in itertools.permutations(range(len(score))) if all(np.diff([score[i] for i in o]) >= 0)]
    return np.mean([by_definition(wrong, order) for order in orders])


@pytest.mark.parametrize("seed", range(6))
def test_the_area_is_the_mean_over_the_orders_of_equal_scores(seed):
    rng = np.random.default_rng(seed)
    wrong, score = rng.random(6) < 0.4, rng.integers(0, 3, 6).astype(float)
    assert _area(wrong, score)[0] == pytest.approx(of_all_orders(wrong, score), abs=1e-12)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_change_without_each_row_is_that_of_leaving_it_out(levels):
    rng = np.random.default_rng(levels)
    wrong, score = rng.random(40) < 0.3, rng.integers(0, levels, 40).astype(float)
    area, apart = _area(wrong, score)
    for i in range(40):
        rest = np.arange(40) != i
        assert apart[i] == pytest.approx(_area(wrong[rest], score[rest])[0] - area, abs=1e-12)


def test_order_at_random_and_best_order():
    wrong = np.array([True] * 20 + [False] * 80)
    scores = {"constant": np.zeros(100), "best": wrong.astype(float), "worst": 1.0 - wrong}
    found = {one.name: one for one in risk_coverage(wrong, scores, np.arange(100)).scores}
    assert found["constant"].area.value == pytest.approx(0.2)
    assert found["constant"].random == pytest.approx(0.2)
    assert found["best"].area.value == found["best"].best == found["worst"].best < 0.2 < found["worst"].area.value
    # With all errors last, the risk at k > 80 is (k - 80) / k.
    assert found["best"].best == pytest.approx(sum((k - 80) / k for k in range(81, 101)) / 100)
    assert found["constant"].minus_first is None
    assert found["best"].minus_first.high < 0 < found["worst"].minus_first.low
    assert found["best"].p < 0.001


def test_the_interval_contains_the_true_area_in_most_samples():
    """The score is the true probability of an error, uniform in 0..0.3, so that the area is known: 0.075."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(200):
        score = rng.uniform(0, 0.3, 300)
        found = risk_coverage(rng.random(300) < score, {"score": score}, np.arange(300)).scores[0].area
        inside += found.low <= 0.075 <= found.high
    assert 180 <= inside <= 199


def test_rows_of_one_patient_do_not_make_the_interval_narrower():
    rng = np.random.default_rng(3)
    score = rng.random(120)
    wrong = rng.random(120) < score / 2
    once = risk_coverage(wrong, {"s": score}, np.arange(120)).scores[0].area
    thrice = risk_coverage(np.repeat(wrong, 3), {"s": np.repeat(score, 3)}, np.repeat(np.arange(120), 3)).scores[0].area
    assert thrice.high - thrice.low >= 0.9 * (once.high - once.low)


def test_missing_scores_are_left_out_and_differences_are_of_common_rows():
    rng = np.random.default_rng(5)
    wrong, score = rng.random(80) < 0.2, rng.random(80)
    part = np.where(np.arange(80) < 60, score, np.nan)
    nothing = np.full(80, np.nan)
    first, second, third = risk_coverage(wrong, {"a": score, "b": part, "c": nothing}, np.arange(80)).scores
    assert (first.rows, second.rows, third.rows) == (80, 60, 0)
    assert second.minus_first.value == 0
    assert third.area.value is None
    assert "no row" in third.area.method
    assert risk_coverage(wrong, {"a": score}, np.arange(80)).to_json()["a"]["rows"] == 80


def test_few_patients_have_no_interval():
    found = risk_coverage(np.arange(20) % 5 == 0, {"s": np.arange(20.0)}, np.arange(20)).scores[0]
    assert found.area.low is None
    assert "fewer than 50" in found.area.method


def test_no_error_has_a_one_sided_interval():
    found = risk_coverage(np.zeros(100, bool), {"s": np.arange(100.0)}, np.arange(100)).scores[0]
    assert found.area.value == found.area.low == found.best == 0 < found.area.high


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="expected"):
        risk_coverage(np.zeros(3, bool), {"s": np.zeros(4)}, np.arange(3))
    with pytest.raises(InputError, match="No score"):
        risk_coverage(np.zeros(3, bool), {}, np.arange(3))
