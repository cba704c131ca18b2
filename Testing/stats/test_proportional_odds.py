"""The proportional-odds model against R, and what cannot be fitted.

Reference numbers: golden/ordinal.R (MASS, rms, VGAM). Brant's test is there on `glm`, and where patients repeat by
rms's sandwich on three copies of the rows.
"""

import numpy as np
import pytest
from helpers.golden_data import FIRST, ROWS, golden, patients, stages
from scipy.special import expit, logit
from scipy.stats import norm, somersd
from statsmodels.stats.outliers_influence import variance_inflation_factor

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats import proportional_odds_checks
from GTRStagingLib.stats.proportional_odds import CLUSTERED, MODEL_BASED, Design, fit, maximum
from GTRStagingLib.stats.proportional_odds_checks import (
    brant,
    calibration_error,
    concordance,
    concordance_estimates,
    validate,
    variance_inflation,
)

R = golden("ordinal")
TERMS = {"radscore": [0], "size_cm": [1], "differentiation": [2, 3], "lauren": [4, 5]}


def a_design(rows):
    columns = {
        "radscore": rows["radscore"],
        "size_cm": rows["size_cm"],
        **{f"differentiation={level}": rows["differentiation"] == level for level in ("moderate", "poor")},
        **{f"lauren={level}": rows["lauren"] == level for level in ("diffuse", "mixed")},
    }
    return Design(tuple(columns), np.column_stack(list(columns.values())).astype(float), stages(rows), patients(rows))


@pytest.fixture(scope="module")
def independent():
    return fit(a_design(FIRST))


@pytest.fixture(scope="module")
def repeated():
    return fit(a_design(ROWS))


def simulated(n, coefficients, thresholds=(-2.0, 0.2, 1.9), seed=0, rows_each=1):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(n, len(coefficients))) * np.array([1.0, 10.0, 0.1, 1.0])[: len(coefficients)]
    truth = np.searchsorted(thresholds, columns @ coefficients + rng.logistic(size=n))
    names = tuple("abcd")[: len(coefficients)]
    return Design(names, columns, truth, np.arange(n) // rows_each)


# -- the fit -------------------------------------------------------------------------------------------------------


def listed(named):
    return list(named.values())


@pytest.mark.parametrize("program", ["polr", "orm"])
def test_coefficients_thresholds_and_their_errors_are_those_of_r(independent, program):
    reference = R[program]
    assert independent.design.names == tuple(reference["coefficients"])
    assert independent.coefficients == pytest.approx(listed(reference["coefficients"]), abs=1e-5)
    assert independent.thresholds == pytest.approx(reference["thresholds"], abs=1e-5)
    assert [e.standard_error for e in independent.effects] == pytest.approx(listed(reference["se"]), abs=1e-5)
    assert independent.threshold_errors == pytest.approx(reference["threshold_se"], abs=1e-5)
    assert independent.covariance_method == MODEL_BASED


def test_the_likelihood_and_its_derived_measures_are_those_of_r(independent):
    assert independent.log_likelihood == pytest.approx(R["polr"]["log_likelihood"], abs=1e-8)
    ratio = independent.likelihood_ratio
    assert (ratio.chi2, ratio.df) == (pytest.approx(R["lrm"]["likelihood_ratio"], abs=1e-6), R["lrm"]["df"])
    assert independent.nagelkerke_r2 == pytest.approx(R["lrm"]["nagelkerke_r2"], abs=1e-8)
    assert [e.p for e in independent.effects] == pytest.approx(listed(R["lrm"]["p"]), rel=1e-3)


def test_clustered_errors_are_the_sandwich_of_r(repeated):
    reference = R["robust"]
    assert repeated.covariance_method == CLUSTERED
    assert repeated.coefficients == pytest.approx(listed(reference["coefficients"]), abs=1e-5)
    assert [e.standard_error for e in repeated.effects] == pytest.approx(listed(reference["se"]), abs=1e-5)
    assert repeated.threshold_errors == pytest.approx(reference["threshold_se"], abs=1e-5)
    naive = listed(reference["naive_se"])
    assert all(e.standard_error > n for e, n in zip(repeated.effects, naive, strict=True))
    assert "sandwich" in repeated.effects[0].odds_ratio.method
    assert "independent" in repeated.likelihood_ratio.method


def test_thresholds_are_thresholds_and_not_logarithms_of_their_distances(independent):
    # With them, the model's mean probabilities are the stages' frequencies, as the likelihood's gradient demands.
    below = expit(independent.thresholds - independent.linear_predictor[:, None])
    counted = [(independent.design.stages <= k).mean() for k in range(3)]
    assert below.mean(axis=0) == pytest.approx(counted, abs=0.01)
    assert (np.diff(independent.thresholds) > 0).all()


def test_intervals_are_walds(independent):
    z = norm.ppf(0.975)
    for effect in independent.effects:
        c, odds = effect.coefficient, effect.odds_ratio
        assert (c.low, c.high) == pytest.approx(
            (c.value - z * effect.standard_error, c.value + z * effect.standard_error)
        )
        assert (odds.value, odds.low, odds.high) == pytest.approx(tuple(np.exp([c.value, c.low, c.high])))


def test_coefficients_and_thresholds_are_recovered():
    true, thresholds = np.array([1.0, -0.05, 4.0, 0.0]), np.array([-2.0, 0.2, 1.9])
    found = fit(simulated(20_000, true))
    errors = np.array([e.standard_error for e in found.effects])
    assert (np.abs(found.coefficients - true) < 3 * errors).all()
    assert (np.abs(found.thresholds - thresholds) < 3 * found.threshold_errors).all()
    assert errors.max() < 0.2


def test_repeating_every_patient_leaves_the_clustered_errors_as_they_were():
    design = simulated(300, [1.0, -0.05])
    twice = Design(
        design.names, np.tile(design.columns, (2, 1)), np.tile(design.stages, 2), np.tile(design.patients, 2)
    )
    once = Design(design.names, design.columns, design.stages, design.patients)
    ratio = fit(twice).threshold_errors / fit(once).threshold_errors
    assert ratio == pytest.approx(1, abs=0.15)  # taken as independent rows it would be 0.71


def test_newtons_refit_is_statsmodels_fit(independent):
    coefficients, thresholds, log_likelihood = maximum(independent.design.columns, independent.design.stages)
    assert coefficients == pytest.approx(independent.coefficients, abs=1e-5)
    assert thresholds == pytest.approx(independent.thresholds, abs=1e-5)
    assert log_likelihood == pytest.approx(independent.log_likelihood, abs=1e-8)


def test_newtons_refit_returns_none_without_a_maximum():
    columns, apart = np.arange(40.0)[:, None], np.repeat(np.arange(4), 10)
    assert maximum(columns, apart) is None
    assert maximum(columns, np.repeat([0, 1, 2, 2], 10)) is None
    assert maximum(np.ones((40, 1)), apart) is None


# -- what cannot be fitted -----------------------------------------------------------------------------------------


def changed(**what):
    design = simulated(120, [1.0, -0.05])
    given = {name: getattr(design, name).copy() if name != "names" else design.names for name in vars(design)}
    return Design(**(given | what))


def test_a_stage_that_is_absent_is_named():
    with pytest.raises(InputError, match="No row of T2 among 120 usable rows"):
        changed(stages=np.repeat([0, 2, 3], 40))
    with pytest.raises(InputError, match="Stage 4; expected 0 to 3"):
        changed(stages=np.repeat([1, 2, 3, 4], 30))


def test_a_constant_column_is_named():
    with pytest.raises(InputError, match="b is 3 in all rows"):
        changed(columns=np.column_stack([np.arange(120.0), np.full(120, 3.0)]))


def test_linearly_dependent_columns_are_named():
    a = np.random.default_rng(0).normal(size=(120, 2))
    with pytest.raises(InputError, match="c is determined by a, b;"):
        changed(names=("a", "b", "c"), columns=np.column_stack([a, 2 * a[:, 0] - a[:, 1] + 7]))


def test_numbers_that_are_missing_and_too_few_rows_are_refused():
    with pytest.raises(InputError, match="not finite"):
        changed(columns=np.full((120, 2), np.nan))
    with pytest.raises(InputError, match="5 rows for 5 parameters"):
        Design(("a", "b"), np.random.default_rng(0).normal(size=(5, 2)), np.array([0, 1, 2, 3, 3]), np.arange(5))
    with pytest.raises(InputError, match="one name per column"):
        changed(names=("a",))


def test_complete_and_quasi_complete_separation_are_refused_and_the_column_is_named():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 30)
    noise = rng.normal(size=120)
    complete = np.column_stack([noise, truth + rng.uniform(0, 0.9, size=120)])
    with pytest.raises(InputError, match="separated perfectly by .*b"):
        fit(changed(stages=truth, columns=complete))
    rare = (truth == 3) & (np.arange(120) % 10 == 0)  # three rows of a level, all of them of T4
    with pytest.raises(InputError, match="separated perfectly by b"):
        fit(changed(stages=truth, columns=np.column_stack([noise, rare])))
    rare[0] = True  # one of T1 among them: now they overlap
    assert np.isfinite(fit(changed(stages=truth, columns=np.column_stack([noise, rare]))).coefficients).all()


# -- what it assumes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "reference"), [(FIRST, "brant"), (ROWS, "brant_clustered")])
def test_brants_test_is_that_of_r(rows, reference):
    omnibus, each = brant(a_design(rows), TERMS)
    for test, wanted in [(omnibus, R[reference]["omnibus"]), *((each[t], R[reference]["terms"][t]) for t in TERMS)]:
        assert test.chi2 == pytest.approx(wanted["chi2"], rel=1e-6)
        assert (test.df, test.p) == (wanted["df"], pytest.approx(wanted["p"], rel=1e-5))
    assert ("clustered" in omnibus.method) == (reference == "brant_clustered")


def test_brants_test_agrees_with_the_likelihood_ratio_of_vgam():
    omnibus, _ = brant(a_design(FIRST), TERMS)
    assert omnibus.df == R["apart"]["df"]
    assert omnibus.chi2 == pytest.approx(R["apart"]["chi2"], rel=0.15)  # asymptotically the same, not the same number
    assert omnibus.p == pytest.approx(R["apart"]["p"], abs=0.05)


def test_brants_test_detects_odds_that_are_not_proportional():
    design = simulated(4000, [1.0, 0.0])
    assert brant(design, {"a": [0], "b": [1]})[0].p > 0.01
    late = np.where(design.stages == 3, design.columns[:, 1] + 10, design.columns[:, 1])  # b tells T4 only
    omnibus, each = brant(
        Design(design.names, np.column_stack([design.columns[:, 0], late]), design.stages, design.patients),
        {"a": [0], "b": [1]},
    )
    assert omnibus.p < 1e-6
    assert each["b"].p < 1e-6


def test_brants_test_is_not_defined_without_every_binary_model():
    truth = np.repeat(np.arange(4), 30)
    level = (truth >= 2) & (np.arange(120) % 3 == 0)  # T3 and T4 only: of the cut at T3 it is separated
    noise = np.random.default_rng(1).normal(size=120)
    omnibus, each = brant(changed(stages=truth, columns=np.column_stack([noise, level])), {"a": [0], "b": [1]})
    assert omnibus.chi2 is None
    assert omnibus.p is None
    assert "not defined" in each["a"].method


def test_variance_inflation_is_that_of_r_and_of_statsmodels():
    design = a_design(FIRST)
    found = variance_inflation(design, TERMS)
    assert found == pytest.approx({term: R["gvif"][term] for term in TERMS}, rel=1e-9)
    x = np.column_stack([np.ones(len(design.stages)), design.columns])
    assert found["size_cm"] == pytest.approx(variance_inflation_factor(x, 2), rel=1e-9)
    alone = Design(("a",), design.columns[:, :1], design.stages, design.patients)
    assert variance_inflation(alone, {"a": [0]}) == {"a": None}


# -- validation ----------------------------------------------------------------------------------------------------


def test_concordance_is_that_of_r_and_of_scipy(independent):
    truth, lp = independent.design.stages, independent.linear_predictor
    assert 2 * concordance(lp, truth).value - 1 == pytest.approx(R["lrm"]["dxy"], abs=1e-9)
    rounded = lp.round(0)  # many ties
    assert 2 * concordance(rounded, truth).value - 1 == pytest.approx(somersd(truth, rounded).statistic, abs=1e-12)
    assert concordance(lp, np.zeros_like(truth)) is None


def test_the_interval_of_the_c_index_has_the_standard_error_of_the_bootstrap(repeated):
    """Patients are drawn here by hand; the interval is symmetric in the log odds."""
    truth, lp, codes = repeated.design.stages, repeated.linear_predictor, repeated.design.clusters.codes
    found = concordance_estimates(repeated, validate(repeated, seed=0, resamples=1))["apparent"]
    rng = np.random.default_rng(1)
    rows_of = [np.flatnonzero(codes == patient) for patient in range(codes.max() + 1)]
    drawn = []
    for _ in range(300):
        rows = np.concatenate([rows_of[k] for k in rng.integers(len(rows_of), size=len(rows_of))])
        drawn.append(concordance(lp[rows], truth[rows]).value)
    assert np.std(drawn) == pytest.approx(
        (logit(found.high) - logit(found.low)) / 2 / 1.96 * found.value * (1 - found.value), rel=0.12
    )


def test_optimism_on_the_same_draws_is_that_of_rms(independent, monkeypatch):
    drawn = [np.array(rows) - 1 for rows in R["drawn"]["rows"]]
    monkeypatch.setattr(proportional_odds_checks, "patient_draws", lambda *a, **k: drawn)
    found = validate(independent, seed=0, resamples=len(drawn)).indices
    assert found["dxy"].optimism == pytest.approx(R["drawn"]["dxy"], abs=1e-6)
    assert found["nagelkerke_r2"].optimism == pytest.approx(R["drawn"]["r2"], abs=1e-6)
    assert found["calibration_slope"].optimism == pytest.approx(R["drawn"]["slope"], abs=1e-5)


def test_optimism_on_draws_of_our_own_is_that_of_rms_within_chance(independent):
    found = validate(independent, seed=0)
    for ours, theirs, chance in (
        ("dxy", "dxy", 0.043),
        ("nagelkerke_r2", "r2", 0.05),
        ("calibration_slope", "slope", 0.11),
    ):
        index, reference = found.indices[ours], R["validate"][theirs]
        assert index.apparent == pytest.approx(reference["index.orig"], abs=1e-3)
        # `chance`: the spread of one draw's optimism; of 200 and of rms's 2,000 draws, three of its standard errors.
        assert index.optimism == pytest.approx(reference["optimism"], abs=3 * chance * (1 / 200 + 1 / 2000) ** 0.5)
        assert index.corrected == pytest.approx(index.apparent - index.optimism)
    assert (found.used, found.seed) == (200, 0)


def test_validation_draws_patients_and_can_be_drawn_again(repeated):
    once = validate(repeated, seed=3, resamples=20)
    assert validate(repeated, seed=3, resamples=20) == once
    assert validate(repeated, seed=4, resamples=20) != once
    apart = Design(*(getattr(repeated.design, name) for name in ("names", "columns", "stages")), np.arange(len(ROWS)))
    assert validate(fit(apart), seed=3, resamples=20).indices["dxy"].optimism != once.indices["dxy"].optimism


def test_optimism_is_none_if_too_few_resamples_can_be_fitted(independent, monkeypatch):
    of_one_stage = np.flatnonzero(independent.design.stages == 2)
    monkeypatch.setattr(proportional_odds_checks, "patient_draws", lambda *a, **k: [of_one_stage] * 10)
    found = validate(independent, seed=0, resamples=10)
    assert found.used == 0
    assert found.indices["c_index"].corrected is None
    assert found.indices["c_index"].apparent > 0.5
    assert "too few" in found.method


def test_the_calibration_error_is_the_distance_from_the_frequency():
    rng = np.random.default_rng(0)
    truly = rng.uniform(0.1, 0.9, size=20_000)
    happened = rng.uniform(size=20_000) < truly
    assert calibration_error(truly, happened) < 0.01
    assert calibration_error(truly - 0.1, happened) == pytest.approx(0.1, abs=0.01)
