"""The analysis of Obuchowski and Rockette, compared with the published example of Van Dyke's readers.

Van Dyke et al. 1993 (RSNA): five readers judged 114 patients, 45 of them with an aortic dissection, on spin-echo and
cine MRI. The figures are printed in the guide of the R package MRMCaov (Smith, Hillis and Pesce; version 0.3.0, data
`VanDyke`, empirical AUC and sensitivity, covariances by jackknife).
"""

import numpy as np
import pytest

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats import mrmc

AREAS = np.array([[0.9196457, 0.8587762, 0.9038647, 0.9731079, 0.8297907],
                  [0.9478261, 0.9053140, 0.9217391, 0.9993559, 0.9299517]])  # fmt: skip
R = AREAS.shape[1]
PAIRED = {"error": 0.0008022883, "cov1": 0.0003466137, "cov2": 0.0003440748, "cov3": 0.0002390284}


def covariance_of(variances, cov2, cov1=0.0, cov3=0.0):
    """A matrix of both conditions with the published mean variance and covariances of each."""
    matrix = np.full((2, R, 2, R), cov3)
    for j in range(R):
        matrix[0, j, 1, j] = matrix[1, j, 0, j] = cov1
    for i in range(2):
        matrix[i, :, i, :] = cov2[i]
        for j in range(R):
            matrix[i, j, i, j] = variances[i]
    return matrix.reshape(2 * R, 2 * R)


MATRIX = covariance_of((0.0010141028, 0.0005904738), (0.0004839618, 0.0002041879), 0.0003466137, 0.0002390284)


def test_the_components_are_the_published_ones():
    found = mrmc.components(AREAS, MATRIX)
    assert found.ms_t == pytest.approx(0.004796171, rel=1e-5)
    assert found.ms_tr == pytest.approx(0.0005510306, rel=1e-5)
    for name, value in PAIRED.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6)


@pytest.mark.smoke
def test_the_test_of_the_difference_is_the_published_one():
    found = mrmc.components(AREAS, MATRIX)
    random, fixed = mrmc.difference("2 − 1", AREAS[1].mean() - AREAS[0].mean(), R, found)
    assert random.estimate.value == pytest.approx(0.04380032, abs=2e-8)
    assert random.statistic**2 == pytest.approx(4.456319, rel=1e-5)
    assert random.df == pytest.approx(15.25967, rel=1e-5)
    assert random.p == pytest.approx(0.05166569, rel=1e-5)
    assert (random.estimate.low, random.estimate.high) == pytest.approx((-0.0003588544, 0.0879594986), abs=2e-7)
    assert fixed.statistic**2 == pytest.approx(5.475953, rel=1e-5)
    assert fixed.p == pytest.approx(0.01927984, rel=1e-5)
    assert (fixed.estimate.low, fixed.estimate.high) == pytest.approx((0.00711473, 0.08048591), abs=2e-7)
    assert fixed.df is None


@pytest.mark.parametrize(
    ("condition", "random", "fixed"),
    [(0, (0.8970370, 0.8252236, 0.9688505, 12.74465), (0.8494301, 0.9446440)),
     (1, (0.9408374, 0.8941378, 0.9875369, 12.71019), (0.9079564, 0.9737183))],
)  # fmt: skip
def test_the_means_of_each_condition_are_the_published_ones(condition, random, fixed):
    part = slice(condition * R, (condition + 1) * R)
    similar, these = mrmc.mean("mean", AREAS[condition], MATRIX[part, part])
    estimate = similar.estimate
    assert (estimate.value, estimate.low, estimate.high, similar.df) == pytest.approx(random, rel=1e-5)
    assert (these.estimate.low, these.estimate.high) == pytest.approx(fixed, rel=1e-6)
    assert (similar.p, these.p) == (None, None)


def test_conditions_with_other_patients_are_tested_as_published():
    """Cases nested within tests: no covariance between the conditions."""
    nested = mrmc.Components(
        ms_t=0.004796171, ms_tr=0.0005510306, error=0.0008058382, cov1=0, cov2=0.0003455973, cov3=0
    )
    random, _ = mrmc.difference("2 − 1", 0.04380032, R, nested)
    assert random.statistic**2 == pytest.approx(2.104491, rel=1e-5)
    assert random.df == pytest.approx(68.42325, rel=1e-5)
    assert random.p == pytest.approx(0.1514363, rel=1e-5)
    assert (random.estimate.low, random.estimate.high) == pytest.approx((-0.01644178, 0.10404242), abs=2e-7)


def test_a_share_of_rows_is_tested_as_published():
    """Sensitivity at a rating of 3; the shares of 45 patients are printed with three digits."""
    shares = np.array([[0.889, 0.778, 0.822, 0.933, 0.689], [0.978, 0.822, 0.911, 1.0, 0.889]])
    shares = np.round(shares * 45) / 45
    matrix = covariance_of((0.0023681257,) * 2, (0.0010145903,) * 2, 0.0009943883, 0.0006604938)
    found = mrmc.components(shares, matrix)
    assert (found.ms_t, found.ms_tr) == pytest.approx((0.02390123, 0.001802469), rel=1e-6)
    random, _ = mrmc.difference("2 − 1", float(shares[1].mean() - shares[0].mean()), R, found)
    assert random.df == pytest.approx(15.71732, rel=1e-5)
    assert random.p == pytest.approx(0.02008822, rel=1e-5)
    assert (random.estimate.low, random.estimate.high) == pytest.approx((0.0175185, 0.1780371), abs=1e-6)


def test_the_jackknife_of_means_gives_their_covariance():
    values = np.random.default_rng(0).normal(size=(3, 40))
    without = (values.sum(axis=1, keepdims=True) - values) / 39
    np.testing.assert_allclose(mrmc.jackknife_covariance(without), np.cov(values) / 40)


def test_figures_of_other_patients_are_independent():
    values = np.random.default_rng(0).normal(size=(2, 40))
    without = (values.sum(axis=1, keepdims=True) - values) / 39
    gap = np.full((1, 40), np.nan)
    apart = np.vstack([np.hstack([without[:1], gap]), np.hstack([gap, without[1:]])])
    np.testing.assert_allclose(mrmc.jackknife_covariance(apart), np.diag(values.var(axis=1, ddof=1) / 40))


def test_a_result_about_all_readers_is_not_surer_than_one_about_these():
    """Two readers without any difference: the plain analysis finds one in 10 % of the studies."""
    rng = np.random.default_rng(2)
    covariance = np.full((4, 4), 0.0002)  # Cov3
    covariance[:2, :2] = covariance[2:, 2:] = 0.0003
    covariance[[0, 1, 2, 3], [2, 3, 0, 1]] = 0.0004
    np.fill_diagonal(covariance, 0.001)
    studies = rng.multivariate_normal(np.full(4, 0.7), covariance, size=2000).reshape(-1, 2, 2)
    p, plain = [], 0
    for values in studies:
        found = mrmc.components(values, covariance)
        random, fixed = mrmc.difference("", float(values[1].mean() - values[0].mean()), 2, found)
        p.append((random.p, fixed.p))
        plain += found.ms_t / (found.ms_tr + 2 * 0.0001) > random_quantile(found)
    of_random, of_fixed = (np.mean(np.array(p) < 0.05, axis=0)).tolist()
    assert plain / 2000 > 0.07
    assert of_random < 0.05
    assert of_fixed == pytest.approx(0.05, abs=0.015)


def random_quantile(found):
    from scipy.stats import f

    return f.ppf(0.95, 1, (found.ms_tr + 0.0002) ** 2 / found.ms_tr**2)


def test_figures_that_do_not_vary_have_neither_interval_nor_test():
    found = mrmc.analyse("accuracy", ["a", "b"], np.ones((2, 2)), np.ones((2, 2, 5)), ("unaided", "aided"))
    for effect in found.effects:
        assert (effect.estimate.low, effect.p) == (None, None)
        assert "do not vary" in effect.estimate.method


def test_a_figure_that_is_not_defined_leaves_the_analysis_undefined():
    values = np.array([[0.5, np.nan], [0.6, 0.7]])
    found = mrmc.analyse("auc", ["a", "b"], values, np.ones((2, 2, 5)), ("unaided", "aided"))
    assert found.components is None
    assert [effect.estimate.value for effect in found.effects] == [None] * 6


@pytest.mark.parametrize(("readers", "shape"), [(["a"], (2, 1)), (["a", "b"], (2, 3)), (["a", "b"], (1, 2))])
def test_one_reader_or_other_shapes_are_refused(readers, shape):
    with pytest.raises(InputError, match="expected two or more readers"):
        mrmc.analyse("accuracy", readers, np.ones(shape), np.ones((*shape, 5)), ("unaided", "aided"))
