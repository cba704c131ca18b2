"""The Rad-score's fit: against glmnet, on planted signal and on pure noise, with folds by patient."""

import argparse
import json

import numpy as np
import pytest
from helpers.golden_data import GOLDEN
from sklearn.linear_model import Lasso, lasso_path
from sklearn.preprocessing import StandardScaler

from GTRStagingLib.cli import radscore as cli_radscore
from GTRStagingLib.errors import InputError, LeakageError
from GTRStagingLib.radscore import figures, radscore
from GTRStagingLib.radscore.fit import fit, fit_cohort, r_squared, spearman
from GTRStagingLib.radscore.inputs import CaseFeatures, Excluded, from_table, read_rows
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats import lasso
from GTRStagingLib.stats.lasso import _Lasso, fit_scores, grid, overlap, path_of, patient_folds
from GTRStagingLib.tables.case_row import CaseRow


def features_of(values, sha256="a" * 64):
    n, count = values.shape
    return CaseFeatures(
        tuple(f"c{i}" for i in range(n)), values, tuple(f"DL-{i + 1:04d}" for i in range(count)), "net", sha256
    )


def planted(n=200, count=100, seed=0, signal=(0.9, -0.7, 0.5)):
    """Stages that go with the first features; two cases a patient, alike."""
    rng = np.random.default_rng(seed)
    patients = np.arange(n) // 2
    values = rng.normal(size=(n // 2, count))[patients] + 0.3 * rng.normal(size=(n, count))
    latent = (values[:, : len(signal)] @ np.array(signal) + 0.5 * rng.normal(size=n // 2)[patients])[::2]
    stages = np.searchsorted(np.quantile(latent, [0.25, 0.5, 0.75]), latent)[patients]
    return features_of(values), stages, patients


@pytest.fixture(scope="module")
def oracle():
    """Results of glmnet on features.csv, with the features and stages."""
    features = from_table(GOLDEN / "features.csv")
    targets = np.array([int(row.stage) + 1.0 for row in read_rows(GOLDEN / "cohort.csv")])
    return json.loads((GOLDEN / "radscore.json").read_text()), features.values, targets


@pytest.fixture(scope="module")
def a_path(oracle):
    results, values, targets = oracle
    fold = np.array(results["foldid"]) - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lasso, "TOLERANCE", 1e-13)  # its error is far below the differences to find
        return path_of(values, targets, fold, np.array(results["lambda"]), patience=None)


# -- against glmnet ------------------------------------------------------------------------------------------------


def test_coefficients_are_glmnets(oracle, a_path):
    path, unsettled = a_path
    ours = path.coefficients[:, np.array(oracle[0]["at"]) - 1]
    assert ours == pytest.approx(np.array(oracle[0]["coefficients_per_sd"]), abs=2e-8)
    assert path.kept.tolist() == oracle[0]["nzero"]
    assert unsettled == 0


def test_cross_validated_errors_and_choices_are_cv_glmnets(oracle, a_path):
    results, (path, _) = oracle[0], a_path
    assert path.errors == pytest.approx(np.array(results["cvm"]), abs=2e-8)
    assert path.standard_errors == pytest.approx(np.array(results["cvsd"]), abs=2e-8)
    assert path.penalties[path.chosen("min")] == pytest.approx(results["lambda_min"], rel=1e-6)
    assert path.penalties[path.chosen("1se")] == pytest.approx(results["lambda_1se"], rel=1e-6)
    assert path.held_out[:, path.chosen("min")] == pytest.approx(np.array(results["held_out"]), abs=2e-7)


def test_the_grid_begins_where_glmnets_does_and_falls_as_fast(oracle):
    results, values, targets = oracle
    penalties = grid(values, targets)
    assert penalties[0] == pytest.approx(results["own_lambda_first"], rel=1e-6)
    assert penalties[1] / penalties[0] == pytest.approx(results["own_lambda_ratio"], rel=1e-6)


def test_a_saved_score_gives_glmnets_predictions(oracle, a_path):
    """Coefficients, means and scales of the selected features, at the penalty that both chose."""
    results, values, targets = oracle
    path, _ = a_path
    index = path.chosen("min")
    kept = np.flatnonzero(path.coefficients[:, index])
    score = radscore.RadScore(
        "g", None, None, values.shape[1], tuple(f"x{i}" for i in kept), tuple(kept.tolist()),
        tuple(path.coefficients[kept, index]), tuple(values[:, kept].mean(axis=0)), tuple(values[:, kept].std(axis=0)),
        float(targets.mean()), results["lambda_min"], 2.5, 1.0,
    )  # fmt: skip
    assert score.score(values) == pytest.approx(np.array(results["fitted"]), abs=2e-7)


@pytest.mark.parametrize(("n", "count"), [(60, 200), (150, 40)])
def test_leaving_features_out_ahead_changes_nothing(monkeypatch, n, count):
    monkeypatch.setattr(lasso, "TOLERANCE", 1e-11)
    rng = np.random.default_rng(n)
    values = rng.normal(size=(n, count)) + rng.normal(size=(n, 1))
    targets = values[:, :4].sum(axis=1) + rng.normal(size=n)
    penalties = grid(values, targets)[:60]
    path, _ = path_of(values, targets, np.arange(n) % 3, penalties, patience=None)
    whole = StandardScaler().fit_transform(values)
    _, expected, _ = lasso_path(whole, targets - targets.mean(), alphas=penalties, tol=1e-11, max_iter=100_000)
    assert path.coefficients == pytest.approx(expected, abs=1e-6)
    assert path.kept[-1] > 15


def test_features_that_violate_the_rule_are_added():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(80, 30))
    targets = values[:, :6].sum(axis=1) + rng.normal(size=80)
    lasso = _Lasso(values, targets, 1e-11)
    penalties = np.array([0.3, 0.1]) * lasso.largest
    lasso.penalty = 0.0  # now the rule asks for twice the penalty, and errs
    found = lasso.down(penalties)
    _, expected, _ = lasso_path(lasso.x, lasso.y, alphas=penalties, tol=1e-11, max_iter=100_000)
    assert found == pytest.approx(expected, abs=1e-6)
    assert lasso.down(np.array([2 * lasso.largest])).any() == np.False_


# -- folds ---------------------------------------------------------------------------------------------------------


def test_folds_keep_patients_together_in_any_order_of_rows():
    _, stages, patients = planted()
    fold = patient_folds(stages, patients, 5, seed=3)
    assert all(len(set(fold[patients == p])) == 1 for p in set(patients))
    counts = np.array([np.bincount(stages[fold == k], minlength=4) for k in range(5)])
    assert np.ptp(counts, axis=0).max() <= 2
    order = np.random.default_rng(0).permutation(len(stages))
    assert (patient_folds(stages[order], patients[order], 5, seed=3) == fold[order]).all()
    assert (patient_folds(stages, patients, 5, seed=4) != fold).any()


def test_too_many_folds_for_a_stage_are_refused():
    stages, patients = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 2, 3, 4, 5])
    with pytest.raises(InputError, match="T1 has 2; expected 3 or more"):
        patient_folds(stages, patients, 3, seed=0)
    with pytest.raises(InputError, match="`folds` is 1"):
        patient_folds(stages, patients, 1, seed=0)


# -- signal and noise ----------------------------------------------------------------------------------------------


def test_planted_signal_is_recovered():
    features, stages, patients = planted()
    made = fit(features, stages, patients, folds=5, rule="1se")
    weights = dict(zip(made.radscore.indices, made.radscore.coefficients, strict=True))
    assert set(weights) >= {0, 1, 2}
    assert np.sign([weights[i] for i in range(3)]).tolist() == [1, -1, 1]
    largest = sorted(weights, key=lambda i: -abs(weights[i]))[:3]
    assert set(largest) == {0, 1, 2}
    new, new_stages, _ = planted(seed=1)
    apart = spearman(made.radscore.score(new.values), new_stages)
    assert apart > 0.7
    # The out-of-fold performance equals that on new patients.
    outside = made.radscore.record["out_of_fold"]["spearman"]
    assert outside["low"] < outside["value"] < outside["high"]
    assert outside["value"] == pytest.approx(apart, abs=0.1)
    assert outside["low"] > 0.4


def noise(seed, n=100, count=100):
    rng = np.random.default_rng(seed)
    return features_of(rng.normal(size=(n, count))), rng.permutation(np.arange(n) % 4), np.arange(n)


@pytest.mark.slow
def test_a_rad_score_of_noise_does_not_look_significant():
    """At most 8 % of the fits that select a feature; with the penalty chosen on the same folds more."""
    made, unnested = [], []
    for seed in range(40):
        features, stages, patients = noise(seed, n=80, count=60)
        try:
            found = fit(features, stages, patients, folds=4, seed=seed)
        except InputError:
            continue
        low = found.radscore.record["out_of_fold"]["spearman"]["low"]
        made.append(low is not None and low > 0)  # None: the same score in all rows
        r = spearman(found.path.held_out[:, found.path.chosen("min")], stages + 1.0)
        unnested.append(np.arctanh(r) - 1.96 / np.sqrt(len(stages) - 3) > 0)
    assert len(made) > 12
    assert np.mean(made) <= 0.08
    assert np.mean(unnested) > 0.16


def test_a_rad_score_of_noise_has_a_warning():
    features, stages, patients = noise(2)
    found = fit(features, stages, patients, folds=4).radscore
    assert found.record["out_of_fold"]["spearman"]["low"] <= 0
    assert any("no association with the stage out of fold" in warning for warning in found.warnings)


def test_patients_that_allow_no_interval_leave_the_correlation_without_one(capsys):
    """One patient has 200 of 230 rows."""
    rng = np.random.default_rng(0)
    stages = np.arange(230) % 4
    values = rng.normal(size=(230, 10))
    values[:, 0] += stages
    rows = tuple(row(f"c{i}", "p0" if i < 200 else f"p{i}", TStage(int(stage)), None) for i, stage in enumerate(stages))
    found = fit_cohort(rows, features_of(values), folds=3)
    reason = "one patient has 200 of 230 rows, more than a fifth"
    outside = found.fit.radscore.record["out_of_fold"]
    for name in ("spearman", "r2"):
        assert outside[name]["value"] > 0.3
        assert outside[name]["low"] is outside[name]["high"] is None
        assert outside[name]["method"].endswith(f"no interval, {reason}")
    (warning,) = (one for one in found.fit.radscore.warnings if reason in one)
    assert "not known whether the Rad-score is associated" in warning
    assert not any("no association" in one for one in found.fit.radscore.warnings)
    cli_radscore._print_fit(found, len(rows))
    output = capsys.readouterr().out
    assert f"Spearman {outside['spearman']['value']:.2f} (no interval)" in output
    assert "95 %" not in output
    assert f"WARNING: {warning}" in output


def test_a_moderate_signal_remains_significant_out_of_fold():
    features, stages, patients = noise(0, n=150, count=200)
    features.values[:, :3] += 0.4 * stages[:, None]  # each has a correlation of 0.41 with the stage
    found = fit(features, stages, patients, folds=5).radscore
    assert found.record["out_of_fold"]["spearman"]["low"] > 0.2
    assert found.warnings == ()


def test_pure_noise_fits_in_sample_and_not_out_of_fold():
    """Why a nomogram is fitted on out-of-fold scores: in-sample scores follow the stages without any signal."""
    inside, outside = [], []
    for seed in range(6):
        features, stages, patients = planted(n=120, count=240, seed=seed, signal=())
        targets = stages + 1.0
        penalties = grid(features.values, targets)[24:25]
        fold = patient_folds(stages, patients, 4, seed=seed)
        path, _ = path_of(features.values, targets, fold, penalties)
        whole = StandardScaler().fit_transform(features.values)
        inside.append(spearman(whole @ path.coefficients[:, 0], targets))
        outside.append(spearman(path.held_out[:, 0], targets))
    assert min(inside) > 0.8
    assert abs(np.mean(outside)) < 0.12


def test_folds_by_row_would_find_signal_in_noise_and_folds_by_patient_do_not():
    features, stages, patients = planted(n=160, count=300, seed=5, signal=())
    targets = stages + 1.0
    penalties = grid(features.values, targets)[:30:3]
    rows = np.random.default_rng(0).integers(0, 5, size=len(stages))
    by_row, _ = path_of(features.values, targets, rows, penalties, patience=None)
    by_patient, _ = path_of(features.values, targets, patient_folds(stages, patients, 5, seed=0), penalties)
    assert r_squared(by_row.held_out[:, by_row.chosen("min")], targets) > 0.3
    assert r_squared(by_patient.held_out[:, by_patient.chosen("min")], targets) < 0.1


def test_a_fit_without_features_is_an_error():
    features, stages, patients = planted(n=160, count=20, seed=0, signal=())
    with pytest.raises(InputError, match="LASSO selected no feature"):
        fit(features, stages, patients, folds=5, rule="1se")


# -- what is kept of a fit -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    features, stages, patients = planted()
    return features, stages, patients, fit(features, stages, patients, folds=5)


def test_in_sample_scores_are_the_scores_own_and_have_unit_spread(made):
    features, _, _, found = made
    assert found.radscore.standardised(features.values) == pytest.approx(found.in_sample, abs=1e-6)
    assert (found.in_sample.mean(), found.in_sample.std(ddof=1)) == pytest.approx((0, 1))
    index = found.path.chosen("min")
    assert found.radscore.penalty == found.path.penalties[index]


def test_an_out_of_fold_score_is_that_of_a_lasso_of_the_other_folds(made):
    """Also its penalty, which scikit-learn chooses here on the same inner folds."""
    features, stages, patients, found = made
    rest, out = found.fold != 2, found.fold == 2
    inner = patient_folds(stages[rest], patients[rest], 5, seed=0)
    scaler = StandardScaler().fit(features.values[rest])
    part, _ = path_of(features.values[rest], stages[rest] + 1.0, inner, grid(features.values[rest], stages[rest] + 1.0))
    model = Lasso(part.penalties[part.errors.argmin()], tol=1e-10).fit(
        scaler.transform(features.values[rest]), stages[rest] + 1
    )
    raw = found.out_of_fold * found.radscore.score_sd + found.radscore.score_mean
    assert raw[out] == pytest.approx(model.predict(scaler.transform(features.values[out])), abs=1e-3)
    assert found.radscore.record["out_of_fold"]["features_by_fold"][2] == np.count_nonzero(model.coef_)


def test_an_out_of_fold_score_does_not_depend_on_the_rows_stage(made, monkeypatch):
    """The penalty does not either: chosen on all folds, it would."""
    features, stages, patients, found = made
    drawn = lasso.patient_folds
    outer = {len(stages): found.fold}
    monkeypatch.setattr(lasso, "patient_folds", lambda s, p, k, seed: outer.get(len(s), drawn(s, p, k, seed=seed)))
    changed = np.where(found.fold == 2, np.random.default_rng(0).permutation(stages), stages)
    one, other = (fit_scores(features.values, s, patients, folds=5, rule="min", seed=0) for s in (stages, changed))
    assert one.path.chosen("min") != other.path.chosen("min")
    assert (other.held_out == one.held_out)[found.fold == 2].all()
    assert np.abs(other.held_out - one.held_out)[found.fold != 2].max() > 0.1


def test_rows_of_a_fold_without_features_have_the_mean_stage_of_the_others():
    rng = np.random.default_rng(3)
    stages = np.arange(80) % 4
    found = fit_scores(rng.normal(size=(80, 10)), stages, np.arange(80), folds=4, rule="1se", seed=0)
    (empty, *_) = np.flatnonzero(found.selected == 0)
    out = found.fold == empty
    assert found.held_out[out] == pytest.approx(np.full(out.sum(), stages[~out].mean() + 1))


def test_the_interval_out_of_fold_is_widened_for_the_overlap_of_the_folds(made):
    """Fisher's z with the standard error of the bootstrap, times the root of 1 + k / (k - 1), here of five folds."""
    outside = made[3].radscore.record["out_of_fold"]
    found = outside["spearman"]
    raw, targets, patients = made[3].out_of_fold, made[1] + 1.0, made[2]
    rng = np.random.default_rng(9)
    z = []
    for _ in range(1000):
        rows = np.concatenate([np.flatnonzero(patients == p) for p in rng.integers(100, size=100)])
        z.append(np.arctanh(spearman(raw[rows], targets[rows])))
    half = 1.96 * np.std(z) * 1.5
    assert overlap(5) == 1.5**2
    assert np.arctanh([found["low"], found["high"]]) == pytest.approx(
        np.arctanh(found["value"]) + half * np.array([-1, 1]), abs=0.1 * half
    )
    assert outside["r2"]["low"] < outside["r2"]["value"] < outside["r2"]["high"]


def test_too_few_patients_for_nested_folds_are_refused():
    stages = np.repeat([0, 1, 2, 3], [2, 20, 20, 20])
    with pytest.raises(InputError, match="expected 3 or more patients of every stage"):
        fit_scores(np.random.default_rng(0).normal(size=(62, 5)), stages, np.arange(62), folds=2, rule="min", seed=0)


def test_a_fit_is_reproducible_and_recorded(made):
    features, stages, patients, found = made
    again = fit(features, stages, patients, folds=5)
    assert again.radscore.to_json() == found.radscore.to_json()
    record = found.radscore.record
    assert (record["cases"], record["patients"]) == (200, 100)
    assert record["stages"] == {"T1": 50, "T2": 50, "T3": 50, "T4": 50}
    assert record["path"]["features_kept"][0] == 0
    assert record["in_sample"]["r2"] > record["out_of_fold"]["r2"]["value"]
    json.dumps(found.radscore.to_json(), allow_nan=False)


def test_a_fit_on_a_table_notes_that_the_model_is_unknown(made):
    features, stages, patients, _ = made
    unknown = CaseFeatures(features.case_ids, features.values, features.names)
    found = fit(unknown, stages, patients, folds=5)
    assert found.radscore.model_sha256 is None
    assert "cannot be checked" in found.radscore.warnings[0]


def test_wrong_rows_are_refused():
    features, stages, patients = planted(n=40)
    with pytest.raises(InputError, match="expected one of each per case"):
        fit(features, stages[:-1], patients)
    with pytest.raises(InputError, match="two stages or more"):
        fit(features, np.zeros(40, dtype=int), patients)


def row(case_id, patient_id, stage, split):
    return CaseRow(case_id=case_id, patient_id=patient_id, stage=stage, split=split)


# -- cohorts -------------------------------------------------------------------------------------------------------


def divided(features, stages, patients, side):
    rows = tuple(
        row(case_id, f"p{p}", TStage(int(s)), side(p))
        for case_id, s, p in zip(features.case_ids, stages, patients, strict=True)
    )
    return rows, features


def sides(patient):
    return "test" if patient % 4 == 0 else "train"


def test_the_test_split_is_not_used_in_the_fit():
    features, stages, patients = planted()
    rows, _ = divided(features, stages, patients, sides)
    found = fit_cohort(rows, features, folds=5)
    shuffled = [row(r.case_id, r.patient_id, TStage.T1 if r.split == "test" else r.stage, r.split) for r in rows]
    values = features.values.copy()
    values[[r.split == "test" for r in rows]] += 7
    other = fit_cohort(shuffled, features_of(values), folds=5)
    assert other.fit.radscore == found.fit.radscore
    test = np.array([row.split == "test" for row in rows])
    assert np.isnan(found.in_sample[test]).all()
    assert not np.isnan(found.in_sample[~test]).any()
    assert found.radscore[test] == pytest.approx(found.fit.radscore.standardised(features.values[test]))
    assert np.abs(found.radscore - found.in_sample)[~test].max() > 0.05
    with pytest.raises(InputError, match="the test split must not be used in a fit"):
        fit_cohort(rows, features, splits=["test"])
    with pytest.raises(InputError, match="the calibration split must not be used in a fit"):
        fit_cohort(rows, features, splits=["train", "calibration"])


def test_excluded_cases_are_counted_by_reason():
    features, stages, patients = planted()
    rows, _ = divided(features, stages, patients, lambda _: None)
    rows = (
        row("c0", "p0", None, None),
        *rows[1:],
        row("gone", "p0", TStage.T1, None),
        row("x", "p0", TStage.T1, None),
    )
    named = CaseFeatures(features.case_ids, features.values, features.names, "net", "a" * 64, None,
                         {"gone": Excluded("staging failed", "no ROI")})  # fmt: skip
    found = fit_cohort(rows, named, folds=5)
    record = found.fit.radscore.record
    assert record["excluded"] == {"no stage": 1, "staging failed": 1, "no features": 1}
    assert record["cases"] + record["only_applied"] + sum(record["excluded"].values()) == record["rows"] == 202
    with pytest.raises(InputError, match="no row of the table has a split"):
        fit_cohort(rows, named, splits=["train"])


def test_a_patient_in_two_splits_is_an_error_or_a_warning():
    features, stages, patients = planted()
    rows, _ = divided(features, stages, patients, sides)
    leaking = (row(rows[0].case_id, rows[2].patient_id, rows[0].stage, "test"), *rows[1:])
    with pytest.raises(LeakageError, match="LEAK: 1 patient is in train and also in another split"):
        fit_cohort(leaking, features)
    found = fit_cohort(leaking, features, folds=5, allow_leakage=True)
    assert "LEAKING" in found.fit.radscore.warnings[0]


def test_the_command_fits_and_writes_everything(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    cli_radscore.add_to(parser.add_subparsers())
    out = tmp_path / "new" / "score.json"
    options = parser.parse_args(["radscore", "fit", str(GOLDEN / "cohort.csv"), "--features",
                                 str(GOLDEN / "features.csv"), "--out", str(out), "--folds", "5"])  # fmt: skip
    assert not options.run(options)
    output = capsys.readouterr().out
    assert "300 rows: 300 used for the fit (240 patients), 0 only scored, 0 excluded." in output
    kinds = ("error", "paths", "coefficients")
    drawn = {f"score-{kind}.{suffix}" for kind in kinds for suffix in ("png", "svg")}
    assert {path.name for path in out.parent.iterdir()} == {"score.json", "score-scores.csv", *drawn}
    head, *lines = (out.parent / "score-scores.csv").read_text().splitlines()
    assert head.startswith("case_id,patient_id,stage,radscore_in_sample,radscore,split,centre,age,")
    assert head.count("radscore") == 2  # the cohort's own column of that name gives way
    assert len(lines) == 300
    assert radscore.read(out).name == "score"


def test_scores_of_the_cases_of_the_fit_are_named_in_sample(tmp_path, capsys):
    """The command scores the same cases, and other cases."""
    rng = np.random.default_rng(3)
    stages, values = np.arange(120) % 4, rng.normal(size=(120, 4))
    values[:, 0] += stages
    everyone = features_of(values, None)
    fitted = fit(CaseFeatures(everyone.case_ids[:80], values[:80], everyone.names), stages[:80], np.arange(80), folds=3)
    radscore.save(fitted.radscore, tmp_path / "r.json")
    parser = argparse.ArgumentParser()
    cli_radscore.add_to(parser.add_subparsers())
    for which, count in ((range(120), 80), (range(80, 120), 0)):
        lines = [f"c{i},{','.join(repr(float(x)) for x in values[i])}" for i in which]
        (tmp_path / "f.csv").write_text("\n".join([",".join(["case_id", *everyone.names]), *lines]) + "\n")
        options = parser.parse_args(["radscore", "apply", str(tmp_path / "r.json"), "--features",
                                     str(tmp_path / "f.csv"), "--out", str(tmp_path / "s.csv")])  # fmt: skip
        options.run(options)
        error = capsys.readouterr().err
        assert (f"WARNING: {count} scores are of cases that the Rad-score was fitted on" in error) == bool(count)


def test_the_command_spells_out_the_rules():
    from typing import get_args

    from GTRStagingLib.stats.lasso import FOLDS, Rule

    assert get_args(Rule) == cli_radscore.RULES
    parser = argparse.ArgumentParser()
    cli_radscore.add_to(parser.add_subparsers())
    given = parser.parse_args(["radscore", "fit", "c.csv", "--results", "b", "--out", "r.json"])
    assert (given.folds, given.rule) == (FOLDS, "min")


# -- figures -------------------------------------------------------------------------------------------------------


def test_the_bars_are_the_largest_coefficients(made, monkeypatch):
    found = made[3].radscore
    assert len(found.names) > 6
    monkeypatch.setattr(figures, "TOP", 6)
    (axes,) = figures.coefficients_figure(found).axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    widths = {round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in axes.patches}
    drawn = [(labels[row], widths[row]) for row in sorted(widths)]
    pairs = zip(found.names, found.coefficients, strict=True)
    assert drawn == sorted(pairs, key=lambda pair: -abs(pair[1]))[:6]


def test_the_error_figure_marks_both_choices_and_names_the_chosen_one(made):
    found = made[3]
    figure = figures.error_figure(found)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    least, within = (found.path.chosen(rule) for rule in ("min", "1se"))
    assert f"least error: {found.path.penalties[least]:.3g}, keeps {found.path.kept[least]} (chosen)" in words
    assert f"largest penalty within 1 SE: {found.path.penalties[within]:.3g}, keeps {found.path.kept[within]}" in words


def test_the_scores_are_written_with_the_cohorts_other_columns(tmp_path):
    """So that a nomogram can be fitted on both."""
    rows = ["case_id,patient_id,image,stage,size_cm"]
    features = ["case_id,f1,f2"]
    rng = np.random.default_rng(0)
    for i in range(40):
        stage = i % 4
        rows.append(f"c{i},p{i},x,T{stage + 1},{2 + 0.1 * i:.1f}")
        features.append(f"c{i},{stage + rng.normal():.3f},{rng.normal():.3f}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "features.csv").write_text("\n".join(features) + "\n")
    made = fit_cohort(read_rows(tmp_path / "cohort.csv"), from_table(tmp_path / "features.csv"), name="n", folds=5)
    table = made.table()
    assert table["size_cm"][:2] == ["2.0", "2.1"]
    assert {"case_id", "image", "stage", "radscore", "radscore_in_sample"} <= set(table)
