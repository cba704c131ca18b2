"""Control charts: limits against published tables and plain simulations, alarms, and refusals."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats import control_charts
from GTRStagingLib.stats.control_charts import (
    WEIGHT,
    normal_scores,
    number_chart,
    share_chart,
    smoothed,
    stability_index,
)

STREAMS = 400
"""Each has a reference of its own, so that the number of alarms is binomial."""

LEAST, MOST = (int(one) for one in binom.ppf([0.0005, 0.9995], STREAMS, 0.1))
"""Central 99.9 % of that distribution if 10 % of the streams raise an alarm: 22 and 61."""


def test_an_average_starts_at_its_start_and_forgets_by_its_weight():
    assert smoothed(np.array([1.0, 0.0, 0.0])) == pytest.approx([0.05, 0.05 * 0.95, 0.05 * 0.95**2])
    assert smoothed(np.array([[0.3, 0.3], [1.3, 0.3]]), 0.3) == pytest.approx(np.array([[0.3, 0.3], [0.35, 0.3475]]))


def test_scores_are_normal_quantiles_of_mean_ranks():
    """Of 9 reference numbers, 0.5, 5 and 9.5 of 10 places; a value tied with two of them stands between both."""
    reference = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9])
    found = normal_scores(reference, np.array([0.0, 4.5, 99.0]))
    assert found == pytest.approx([-1.6448536, -0.1256613, 1.6448536], abs=1e-6)  # 0.05, 0.45, 0.95 of R's qnorm
    assert normal_scores(np.array([1.0, 2, 2, 3]), np.array([2.0])) == pytest.approx([0])


def test_the_limit_of_a_large_reference_is_that_of_the_published_table():
    """Lucas and Saccucci 1990: with weight 0.05, 2.615 standard deviations give a run length of 500 cases.

    Run lengths are nearly exponential, so that such a chart crosses its limit within 500 cases with 1 - 1/e.
    """
    published = 2.615 * math.sqrt(WEIGHT / (2 - WEIGHT))
    assert control_charts._rank_limit(2000, 500, 1 - math.exp(-1), 0) == pytest.approx(published, rel=0.05)


@pytest.mark.parametrize("size", [30, 300])
def test_undisturbed_numbers_cross_the_limit_as_often_as_stated(size):
    """Whatever their distribution, and with a small reference: skewed streams, 10 % of which may alarm."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(STREAMS):
        reference, values = rng.lognormal(size=size), rng.lognormal(size=80)
        alarms += number_chart(reference, values, horizon=80, probability=0.1).first is not None
    assert LEAST <= alarms <= MOST


def alarms_of_shares(truths, rng, monkeypatch):
    """Number of streams with an alarm, one of 60 cases against 200 reference cases for each of the true shares."""
    monkeypatch.setattr(control_charts, "DRAWS", 1000)  # an error of 10 % of a limit's rate: new for each reference
    streams = ((rng.multinomial(200, shares), rng.choice(len(shares), 60, p=shares)) for shares in truths)
    found = (share_chart(counts, codes, horizon=60, probability=0.1, seed=987) for counts, codes in streams)
    return sum(chart.first is not None for chart in found)


@pytest.mark.parametrize("truth", [(0.5, 0.5), (0.95, 0.05), (0.25, 0.25, 0.25, 0.25)])
def test_undisturbed_shares_cross_the_limit_at_most_as_often_as_stated(truth, monkeypatch):
    assert alarms_of_shares([truth] * STREAMS, np.random.default_rng(8), monkeypatch) <= MOST


@pytest.mark.parametrize("categories", [2, 4])
def test_shares_from_the_prior_cross_the_limit_as_often_as_stated(categories, monkeypatch):
    """Over true shares from Jeffreys' prior the rate is exact, but for steps of the statistic."""
    rng = np.random.default_rng(8)
    truths = rng.dirichlet([0.5] * categories, STREAMS)
    assert LEAST <= alarms_of_shares(truths, rng, monkeypatch) <= MOST


def test_ties_do_not_raise_more_alarms():
    rng = np.random.default_rng(9)
    alarms = 0
    for _ in range(300):
        reference, values = (rng.choice([3.0, 5.0], n) for n in (100, 80))
        alarms += number_chart(reference, values, horizon=80, probability=0.1).first is not None
    assert alarms <= 50


def test_a_shift_is_found_in_its_direction_and_where_it_began():
    rng = np.random.default_rng(10)
    values = np.concatenate([rng.normal(size=100), rng.normal(size=60) - 1.5])
    chart = number_chart(rng.normal(size=400), values, horizon=200, probability=0.01)
    assert 100 <= chart.first < 125
    assert chart.statistic[chart.first] < 0
    assert 85 <= chart.since <= 105


def test_a_category_that_the_reference_does_not_have_raises_an_alarm_by_itself():
    codes = np.where(np.arange(60) < 30, np.arange(60) % 2, 2)
    chart = share_chart([100, 100, 0], codes, horizon=100, probability=0.01)
    assert 30 <= chart.first < 45


def test_the_same_seed_gives_the_same_limit():
    first, again = (control_charts._rank_limit.__wrapped__(50, 60, 0.1, seed) for seed in (3, 3))
    assert first == again


def test_the_stability_index_is_its_formula():
    before, after = np.array([60.5, 40.5]) / 101, np.array([10.5, 30.5]) / 41
    assert stability_index([60, 40], [10, 30]) == pytest.approx(((after - before) * np.log(after / before)).sum())


@pytest.mark.parametrize(
    ("reference", "cases", "horizon", "probability", "word"),
    [(10, 30, 40, 0.1, "larger reference"), (50, 41, 40, 0.1, "`horizon`"), (50, 0, 40, 0.1, "at least one case"),
     (50, 30, 40, 1e-6, "watch fewer measures")],
)  # fmt: skip
def test_what_cannot_be_charted_is_refused(reference, cases, horizon, probability, word):
    with pytest.raises(InputError, match=word):
        number_chart(np.arange(reference, dtype=float), np.zeros(cases), horizon=horizon, probability=probability)
