"""Reader studies of two phases: on the same rows, on other patients, and on some of the same."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import golden_data
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from statsmodels.stats.inter_rater import fleiss_kappa
from statsmodels.stats.proportion import confint_proportions_2indep

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats.estimates import Estimate, at_most, proportion
from GTRStagingLib.stats.reader_study import ALL, combined, fleiss, late_area, reader_study
from GTRStagingLib.stats.readers import Reader

R = golden_data.golden("readers")
ROWS, FIRST = golden_data.ROWS, golden_data.FIRST
PHASES = ("reader1_unaided", "reader1_aided", "reader2_unaided", "reader2_aided")


def parts_of(table):
    """Truth, the readers' stages in both phases, the model, and the patients."""
    phases = {name: tuple(golden_data.stages(table, f"{name}_{phase}") for phase in ("unaided", "aided"))
              for name in ("reader1", "reader2")}  # fmt: skip
    model = Reader("model", golden_data.probabilities(table).argmax(axis=1))
    return golden_data.stages(table), phases, model, golden_data.patients(table)


def study_of(table, model=True):
    stages, phases, network, patients = parts_of(table)
    return reader_study(stages, phases, network if model else None, patients)


def by_measure(differences):
    """The first test of each measure: that by patient, where there are two."""
    return {one.measure: one for one in reversed(differences)}


@pytest.fixture(scope="module")
def study():
    return study_of(FIRST)


# -- on the same rows -------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_the_study_is_that_of_r(study):
    for row, holm in zip(study.rows[:2], R["study"]["holm"], strict=True):
        expected = R["study"]["readers"][row.reader]
        assert row.unaided.accuracy.value == pytest.approx(expected["unaided"] / 240)
        assert row.aided.accuracy.value == pytest.approx(expected["aided"] / 240)
        by_patient, by_row = (one for one in row.gains if one.measure == "accuracy")
        assert by_patient.estimate.value == by_row.estimate.value
        assert by_patient.estimate.low < by_patient.estimate.value < by_patient.estimate.high
        assert (by_row.estimate.low, by_row.estimate.high) == (None, None)
        assert by_row.p == pytest.approx(expected["exact"], rel=1e-9)
        assert by_row.p_holm == pytest.approx(holm, rel=1e-9)
        for stage, cells in expected["by_stage"].items():
            changes = row.by_stage[stage]
            assert (changes.n, changes.only_second, changes.only_first) == (cells["n"], cells["gained"], cells["lost"])


def test_all_readers_together_are_clustered_by_patient(study):
    together = study.rows[-1]
    assert together.reader == ALL
    assert together.gains[0].p == pytest.approx(R["study"]["pooled"]["p"], rel=1e-9)
    assert together.gains[0].p_holm == together.gains[0].p
    assert "assuming independent rows" in together.gains[1].test
    assert "clustered by patient" in together.unaided.accuracy.method


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
        assert (row.unaided.accuracy.value * n, row.aided.accuracy.value * n) == (
            pytest.approx(kept + lost),
            pytest.approx(kept + gained),
        )
        assert row.gains[0].estimate.value * n == pytest.approx(gained - lost)
    for stage in per_stage.index:
        assert together.by_stage[stage].only_second == sum(one.by_stage[stage].only_second for one in each)
    right = sum(share.value * per_stage[stage] for stage, share in found.model.sensitivity.items())
    assert found.model.accuracy.value * len(table) == pytest.approx(right)


def test_the_model_is_compared_with_either_phase(study):
    stages, _, model, _ = parts_of(FIRST)
    accuracy = (model.predicted == stages).mean()
    for row in study.rows:
        unaided, aided = (next(one for one in row.against_model if one.measure == "accuracy" and phase in one.second)
                          for phase in (", unaided", ", aided"))  # fmt: skip
        assert unaided.estimate.value == pytest.approx(accuracy - row.unaided.accuracy.value)
        assert aided.estimate.value == pytest.approx(accuracy - row.aided.accuracy.value)
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
    found = fleiss(five, patients)
    assert found.value == pytest.approx(R["study"]["fleiss"]["five"], abs=1e-10)
    votes = (five[..., None] == np.arange(4)).sum(axis=0)
    assert found.value == pytest.approx(fleiss_kappa(votes), abs=1e-12)
    rng = np.random.default_rng(1)
    drawn = [fleiss_kappa(votes[rng.integers(0, len(votes), len(votes))]) for _ in range(4000)]
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.007)


def test_fleiss_kappa_at_its_ends():
    patients = np.arange(8)
    same = np.tile(np.arange(8) % 4, (3, 1))
    # Agreement by chance is 1/4, so that one disagreement in a share u of the rows takes u / (3/4) from kappa.
    perfect = fleiss(same, patients)
    assert (perfect.value, perfect.low, perfect.high) == (1, pytest.approx(1 - at_most(8) / 0.75), 1)
    assert fleiss(same[:1], patients).method == "not defined: fewer than two readers"
    assert fleiss(np.zeros((3, 8), int), patients).method == "not defined: every reading is of one stage"
    assert fleiss(same, np.zeros(8, int)).low is None


def test_a_study_without_readers_or_with_a_reader_called_all_is_refused():
    stages, _, _, patients = parts_of(FIRST)
    for phases in ({}, {ALL: (stages, stages)}):
        with pytest.raises(InputError, match="expected one or more, and other names than"):
            reader_study(stages, phases, None, patients)
    with pytest.raises(InputError, match="A, aided has 239 readings"):
        reader_study(stages, {"A": (stages, stages[:-1])}, None, patients)


def test_a_stage_without_rows_has_no_gains():
    stages = np.array([1, 1, 2, 3])
    found = reader_study(stages, {"A": (stages, stages)}, Reader("m", stages), np.arange(4))
    assert found.rows[0].by_stage["T1"].n == 0
    assert found.model.sensitivity["T1"].value is None
    by_patient, by_row = (one for one in found.rows[0].gains if one.measure == "accuracy")
    assert by_patient.p is None
    assert by_row.p == 1  # of no discordant row
    assert found.fleiss["aided"].value is None


def test_the_model_is_measured_on_the_rows_that_were_read():
    stages, phases, model, patients = parts_of(FIRST)
    half = np.arange(len(FIRST)) < 100
    some = {name: tuple(np.where(half, one, -1) for one in two) for name, two in phases.items()}
    found = reader_study(stages, some, model, patients)
    alone = reader_study(
        stages[half], {n: tuple(p[half] for p in two) for n, two in phases.items()}, model.at(half), patients[half]
    )
    assert (found.n_rows, found.n_patients) == (100, 100)
    assert replace(found, mrmc=()) == replace(alone, mrmc=())
    for one, other in zip(found.mrmc, alone.mrmc, strict=True):
        assert one.n_patients == 100
        for here, there in zip(one.effects, other.effects, strict=True):
            assert (here.estimate.low, here.estimate.high) == pytest.approx((there.estimate.low, there.estimate.high))


# -- on other rows -----------------------------------------------------------------------------------------------------


def on_halves(table, unaided, aided):
    """The study with each phase on some of the rows, given as (n,) bool."""
    stages, phases, model, patients = parts_of(table)
    apart = {n: (np.where(unaided, u, -1), np.where(aided, a, -1)) for n, (u, a) in phases.items()}
    return reader_study(stages, apart, model, patients), phases, stages, model


@pytest.fixture(scope="module")
def halves():
    first = np.arange(len(FIRST)) < 120
    return (*on_halves(FIRST, first, ~first), first)


def test_two_phases_on_other_patients_are_compared_without_pairs(halves):
    """Newcombe's interval of two independent shares, by statsmodels."""
    found, phases, stages, _, first = halves
    for row in found.rows[:2]:
        assert row.overlap.design == "unpaired"
        assert (row.overlap.patients_both, row.overlap.patients_unaided_only, row.overlap.patients_aided_only) == (
            0,
            120,
            120,
        )
        unaided, aided = phases[row.reader]
        right = int((aided == stages)[~first].sum()), int((unaided == stages)[first].sum())
        low, high = confint_proportions_2indep(right[0], 120, right[1], 120, method="newcomb", compare="diff")
        gain = by_measure(row.gains)["accuracy"]
        assert gain.estimate.value == pytest.approx((right[0] - right[1]) / 120)
        assert (gain.estimate.low, gain.estimate.high) == pytest.approx((low, high), abs=1e-9)
        assert gain.test.startswith("unpaired phases, by patient")
        assert (gain.p < 0.05) == (low > 0 or high < 0)


def test_a_phase_on_its_own_rows_has_every_measure_of_the_article(halves):
    found, phases, stages, _, first = halves
    row = found.rows[0]
    for reading, rows, of in ((row.unaided, first, 0), (row.aided, ~first, 1)):
        truth, read = stages[rows], phases["reader1"][of][rows]
        assert reading.n_rows == 120
        assert reading.accuracy.value == pytest.approx((truth == read).mean())
        assert reading.over_staged.value == pytest.approx((read > truth).mean())
        assert reading.under_staged.value == pytest.approx((read < truth).mean())
        for k in range(4):
            assert reading.sensitivity[f"T{k + 1}"].value == pytest.approx((read[truth == k] == k).mean())
        for name, weights in (("kappa_linear", "linear"), ("kappa_quadratic", "quadratic")):
            expected = cohen_kappa_score(truth, read, weights=weights)
            assert getattr(reading, name).value == pytest.approx(expected)
    gains = by_measure(row.gains)
    assert gains["kappa_quadratic"].estimate.value == pytest.approx(
        row.aided.kappa_quadratic.value - row.unaided.kappa_quadratic.value
    )
    for one in row.gains:
        if one.p is not None:
            assert (one.p < 0.05) == (one.estimate.low > 0 or one.estimate.high < 0), one.measure


def test_the_model_is_compared_on_the_rows_of_the_phase(halves):
    found, phases, stages, model, first = halves
    for row in found.rows[:2]:
        for phase, rows in (("unaided", first), ("aided", ~first)):
            by_patient, by_row = (
                one for one in row.against_model if one.measure == "accuracy" and one.second.endswith(f", {phase}")
            )
            read = phases[row.reader][phase == "aided"]
            expected = (model.predicted == stages)[rows].mean() - (read == stages)[rows].mean()
            assert by_patient.estimate.value == by_row.estimate.value == pytest.approx(expected)
            assert (by_patient.test, by_row.test) == ("McNemar's test", "McNemar's test, exact")


def test_no_gains_and_losses_are_counted_without_common_rows(halves):
    found = halves[0]
    assert {crossing.n for row in found.rows for crossing in row.by_stage.values()} == {0}
    assert "no row has the readings of all readers" not in found.fleiss["unaided"].method


def test_readers_of_other_hospitals_read_other_rows():
    """Two readers in two hospitals: each on its own rows, in both phases."""
    stages, phases, model, patients = parts_of(FIRST)
    north = np.arange(len(FIRST)) < 120
    own = {"reader1": north, "reader2": ~north}
    apart = {n: tuple(np.where(own[n], one, -1) for one in two) for n, two in phases.items()}
    found = reader_study(stages, apart, model, patients)
    assert [row.overlap.design for row in found.rows] == ["paired"] * 3
    assert [row.unaided.n_rows for row in found.rows] == [120, 120, 240]
    assert "no row has the readings of all readers" in found.fleiss["unaided"].method
    accuracy = found.mrmc[0]
    assert (accuracy.components.cov2, accuracy.components.cov3) == (0, 0)
    assert accuracy.components.cov1 > 0


# -- on some of the same rows ------------------------------------------------------------------------------------------


def test_phases_that_overlap_are_compared_by_patient():
    unaided, aided = np.arange(len(FIRST)) < 160, np.arange(len(FIRST)) >= 80
    found, *_ = on_halves(FIRST, unaided, aided)
    overlap = found.rows[0].overlap
    assert overlap.design == "partly overlapping"
    assert (overlap.rows_both, overlap.rows_unaided_only, overlap.rows_aided_only) == (80, 80, 80)
    assert "partly overlapping phases, by patient" in by_measure(found.rows[0].gains)["accuracy"].test


def test_almost_the_same_rows_give_almost_the_paired_interval(study):
    """One row is missing in a phase: the correlation of the patients in both phases is used."""
    every = np.ones(len(FIRST), bool)
    found, *_ = on_halves(FIRST, every, np.arange(len(FIRST)) > 0)
    for row, expected in zip(found.rows[:2], study.rows[:2], strict=True):
        gain, paired = by_measure(row.gains)["accuracy"].estimate, by_measure(expected.gains)["accuracy"].estimate
        assert (gain.low, gain.high) == pytest.approx((paired.low, paired.high), abs=0.012)
        apart, _ = combined(row.aided.accuracy, row.unaided.accuracy)
        assert gain.high - gain.low < 0.99 * (apart.high - apart.low)


def test_other_rows_of_the_same_patients_are_not_unpaired():
    stages, phases, model, _ = parts_of(FIRST)
    first = np.arange(len(FIRST)) % 2 == 0
    apart = {n: (np.where(first, u, -1), np.where(first, -1, a)) for n, (u, a) in phases.items()}
    found = reader_study(stages, apart, model, np.arange(len(FIRST)) // 2)
    assert found.rows[0].overlap.design == "partly overlapping"
    assert (found.rows[0].overlap.rows_both, found.rows[0].overlap.patients_both) == (0, 120)


def test_the_combined_interval_holds_and_keeps_its_level():
    """2,000 studies of 60 and 60 patients, the same accuracy in both phases."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(2000):
        one, other = (proportion(rng.random(60) < 0.7, np.arange(60)) for _ in range(2))
        found, p = combined(one, other)
        assert (p < 0.05) == (found.low > 0 or found.high < 0)
        wrong += p < 0.05
    assert 0.035 < wrong / 2000 < 0.065


@pytest.mark.parametrize("shared", [20, 40])
def test_phases_that_overlap_keep_their_level(shared):
    """1,000 studies of 60 and 60 rows, some of them in both phases, where hard rows are hard in both."""
    rng = np.random.default_rng(3)
    n = 120 - shared
    unaided, aided = np.arange(n) < 60, np.arange(n) >= n - 60
    wrong = 0
    for _ in range(1000):
        easy = np.where(rng.random(n) < 0.5, 0.55, 0.85)
        sides = [(rng.random(n) < easy, rows) for rows in (aided, unaided)]
        one, other = (proportion(right[rows], np.arange(60)) for right, rows in sides)
        influences = [np.where(rows, right - right[rows].mean(), 0) for right, rows in sides]
        correlation = (influences[0] * influences[1]).sum() / np.prod([(i**2).sum() ** 0.5 for i in influences])
        wrong += combined(one, other, correlation)[1] < 0.05
    assert 0.03 < wrong / 1000 < 0.07


def test_a_correlation_narrows_the_combined_interval():
    one, other = Estimate(0.8, 0.7, 0.9, ""), Estimate(0.6, 0.5, 0.7, "")
    apart, p = combined(one, other)
    assert p == pytest.approx(2 * norm.sf(0.2 * norm.ppf(0.975) / 0.02**0.5))
    together, smaller = combined(one, other, 0.5)
    assert (together.low, together.high) == pytest.approx((0.2 - 0.1, 0.2 + 0.1))
    assert together.low > apart.low
    assert smaller < p


@pytest.mark.parametrize("missing", [Estimate(None, None, None, "not defined: x"), Estimate(0.5, None, None, "none")])
def test_without_two_intervals_there_is_no_combined_one(missing):
    found, p = combined(Estimate(0.8, 0.7, 0.9, ""), missing)
    assert (found.low, found.high, p) == (None, None, None)


# -- several readers ---------------------------------------------------------------------------------------------------


def test_the_analysis_of_several_readers_has_both_measures_and_the_model(study):
    assert [one.measure for one in study.mrmc] == ["accuracy", "auc_T3-4"]
    for one in study.mrmc:
        names = ["unaided", "aided", "aided − unaided", "model − unaided", "model − aided"]
        assert [effect.name for effect in one.effects] == [name for name in names for _ in range(2)]
    accuracy = {(one.name, one.readers): one for one in study.mrmc[0].effects}
    together = study.rows[-1]
    assert accuracy["unaided", "fixed"].estimate.value == pytest.approx(together.unaided.accuracy.value)
    gain = by_measure(together.gains)["accuracy"].estimate
    fixed = accuracy["aided − unaided", "fixed"].estimate
    assert fixed.value == pytest.approx(gain.value)
    assert (fixed.low, fixed.high) == pytest.approx((gain.low, gain.high), abs=0.01)  # of these readers, either way


def test_the_jackknife_leaves_whole_patients_out():
    """Against a loop over patients with several rows."""
    found = study_of(ROWS).mrmc[0]
    stages, phases, _, patients = parts_of(ROWS)
    values = [[(one == stages) for one in two] for two in phases.values()]
    names = np.unique(patients)
    without = np.array([[[values[j][i][patients != p].mean() for p in names] for j in range(2)] for i in range(2)])
    flat = without.reshape(4, -1)
    covariance = np.cov(flat) * (len(names) - 1) ** 2 / len(names)
    assert found.components.error == pytest.approx(np.diag(covariance).mean())
    assert found.components.cov1 == pytest.approx((covariance[0, 2] + covariance[1, 3]) / 2)
    assert found.components.cov3 == pytest.approx((covariance[0, 3] + covariance[1, 2]) / 2)


def test_the_area_of_stages_is_scikit_learns():
    stages, phases, *_ = parts_of(FIRST)
    for read in phases["reader1"]:
        counts = np.bincount(stages * 4 + read, minlength=16)
        assert float(late_area(counts)) == pytest.approx(roc_auc_score(stages >= 2, read))


def test_one_reader_has_no_analysis_of_several():
    stages, phases, model, patients = parts_of(FIRST)
    assert reader_study(stages, {"reader1": phases["reader1"]}, model, patients).mrmc == ()


def test_a_study_is_plain_data_and_the_same_each_time(study):
    text = json.dumps(study.to_json(), allow_nan=False)
    assert text == json.dumps(study_of(FIRST).to_json())
