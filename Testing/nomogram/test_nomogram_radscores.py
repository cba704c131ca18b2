"""The Rad-score in a nomogram: rows of the training side, origin of the scores, its test, and its optimism."""

import argparse
import json

import numpy as np
import pytest
from helpers.golden_data import GOLDEN, ROWS
from scipy.stats import chi2, norm
from statsmodels.miscmodels.ordinal_model import OrderedModel

from GTRStagingLib.cli.main import make_parser
from GTRStagingLib.errors import InputError, LeakageError
from GTRStagingLib.nomogram.fit import fit_nomogram
from GTRStagingLib.nomogram.radscores import RadScoreChain, origin_of, refitted
from GTRStagingLib.radscore import radscore as radscores
from GTRStagingLib.radscore.fit import fit, fit_cohort
from GTRStagingLib.radscore.inputs import CaseFeatures
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.proportional_odds import Design
from GTRStagingLib.tables.case_row import CaseRow
from GTRStagingLib.tables.table_files import read_table, write_table

N, FEATURES, FOLDS = 120, 20, 3


@pytest.fixture(scope="module")
def cohort():
    """One row a patient, two thirds for training; the first feature follows the stage, `size_cm` too."""
    rng = np.random.default_rng(0)
    stages = np.arange(N) % 4
    values = rng.normal(size=(N, FEATURES))
    values[:, 0] += 0.6 * stages
    ids = tuple(f"c{i}" for i in range(N))
    features = CaseFeatures(ids, values, tuple(f"DL-{i + 1:04d}" for i in range(FEATURES)), "net", "a" * 64)
    sizes = 3 + 0.5 * stages + rng.normal(size=N)
    rows = tuple(
        CaseRow(
            case_id=i,
            patient_id=f"p{i}",
            stage=TStage(int(s)),
            split="train" if k < 80 else "test",
            given={"size_cm": f"{size:.2f}"},
        )
        for k, (i, s, size) in enumerate(zip(ids, stages, sizes, strict=True))
    )
    return fit_cohort(rows, features, folds=FOLDS), features


@pytest.fixture
def table(cohort, tmp_path):
    """The table that `radscore fit` writes."""
    write_table(tmp_path / "scores.csv", cohort[0].table())
    return read_table(tmp_path / "scores.csv")


def changed(table, **columns):
    """The table with columns computed from its rows; None removes one."""
    rows = [dict(row) for row in table.rows]
    for name, of in columns.items():
        for row in rows:
            if of is None:
                row.pop(name, None)
            else:
                row[name] = of(row)
    return type(table)(table.path, tuple(rows[0]), tuple(rows), table.numbers)


def fitted(table, on=("radscore",), **options):
    return fit_nomogram(table, list(on), name="n", **({"resamples": 1} | options))


# -- rows ----------------------------------------------------------------------------------------------------------


def test_the_table_of_a_rad_score_is_fitted_on_its_training_side(table):
    found = fitted(table)
    assert found.record["rows"] == {"in_table": N, "of_another_split": 40, "incomplete": 0, "used": 80}
    assert found.record["split"] == ["train"]
    assert "split train" in found.source
    assert found.thresholds == fitted(changed(table, stage=lambda r: r["stage"] if r["split"] == "train" else "T1")
                                      ).thresholds  # fmt: skip


def test_other_rows_are_used_by_request_and_every_output_says_so(table):
    divided = changed(table, split=lambda r: "validation" if r["split"] == "test" else r["split"])
    found = fitted(divided, splits=["train", "validation"])
    assert found.record["rows"]["used"] == N
    assert found.record["split"] == ["train", "validation"]
    assert "split train and validation" in found.source
    assert any("split train and validation, by request" in warning for warning in found.warnings)
    assert found.warnings[0] in found.read({"radscore": 0.0}).warnings
    with pytest.raises(InputError, match="the test split must not be used in a fit"):
        fitted(table, splits=["train", "test"])


def test_a_table_without_splits_is_used_whole(table):
    for without in (changed(table, split=None), changed(table, split=lambda _: None)):
        found = fitted(without)
        assert (found.record["rows"]["used"], found.record["split"]) == (N, None)


def test_a_patient_on_two_sides_is_an_error_or_a_warning(table):
    leaking = changed(table, patient_id=lambda r: "pc0" if r["case_id"] == "c100" else r["patient_id"])
    with pytest.raises(LeakageError, match="1 patient is in train and also in another split") as caught:
        fitted(leaking)
    assert caught.value.details == "Patients: pc0"
    assert "pc0" not in str(caught.value)
    assert "LEAKING" in fitted(leaking, allow_leakage=True).warnings[0]


# -- origin of the scores ------------------------------------------------------------------------------------------


def test_in_sample_scores_are_refused(cohort, table):
    file = cohort[0].fit.radscore.to_json()
    copied = changed(table, score=lambda r: r["radscore_in_sample"])
    replaced = changed(table, radscore=lambda r: r["radscore_in_sample"] or "0", radscore_in_sample=None)
    for given, on, score in (
        (table, ["radscore_in_sample"], None),
        (copied, ["size_cm", "score"], None),
        (replaced, ["radscore"], file),
    ):
        with pytest.raises(InputError, match=r"in-sample scores of a Rad-score.*Use the column radscore"):
            fitted(given, on, radscore=score)


@pytest.mark.parametrize(
    "copy",
    [
        lambda score: f"{score:.2f}",  # as a spreadsheet shows it
        lambda score: repr(2.5 + 0.31 * score),  # on the scale of the stages
        lambda score: repr(-score),
    ],
)
def test_a_copy_of_the_in_sample_scores_is_refused_under_every_name(table, copy):
    copied = changed(table, size=lambda r: copy(float(r["radscore_in_sample"] or r["radscore"])))
    with pytest.raises(InputError, match="size has the in-sample scores of a Rad-score"):
        fitted(copied, ["radscore", "size"])


@pytest.mark.parametrize("decimals", [1, 2, 3, 6])
@pytest.mark.parametrize("rounded", ["radscore", "radscore_in_sample"])
def test_a_rounded_copy_in_the_column_radscore_is_refused(table, decimals, rounded):
    copied = changed(table, radscore=lambda r: r["radscore_in_sample"] or r["radscore"])
    copied = changed(copied, **{rounded: lambda r: r[rounded] and f"{float(r[rounded]):.{decimals}f}"})
    with pytest.raises(InputError, match="radscore has the in-sample scores"):
        fitted(copied)


def test_a_rounded_copy_in_the_column_radscore_does_not_excuse_another_column(table):
    copied = changed(table, radscore=lambda r: f"{float(r['radscore_in_sample'] or r['radscore']):.2f}")
    with pytest.raises(InputError, match="score has the in-sample scores"):
        fitted(changed(copied, score=lambda r: r["radscore"]), ["score"])


def test_rounded_scores_beside_in_sample_scores_are_of_unknown_origin(table):
    """With two decimals, in-sample scores of another fit are equal to those beside them by chance."""
    for decimals, words in ((2, "unknown"), (3, "unknown"), (4, "out of 10 folds")):
        rounded = changed(table, radscore=lambda r, n=decimals: f"{float(r['radscore']):.{n}f}")
        assert fitted(rounded).record["radscore"]["scores"].startswith(words)


def test_the_in_sample_column_is_refused_alone_and_in_another_spelling(table):
    alone = changed(table, **{"Radscore-In-Sample": lambda r: r["radscore_in_sample"] or "0"}, radscore=None,
                    radscore_in_sample=None)  # fmt: skip
    with pytest.raises(InputError, match="Radscore-In-Sample has the in-sample scores"):
        fitted(alone, ["size_cm", "Radscore-In-Sample"])


def test_a_copy_is_refused_whatever_the_spelling_of_the_in_sample_column(table):
    spelt = changed(table, **{"Radscore in sample": lambda r: r["radscore_in_sample"]}, radscore_in_sample=None)
    copied = changed(spelt, lp=lambda r: r["Radscore in sample"] or "0")
    with pytest.raises(InputError, match="lp has the in-sample scores"):
        fitted(copied, ["lp"])
    renamed = changed(copied, **{"Rad-Score": lambda r: r["lp"]}, radscore=None)
    with pytest.raises(InputError, match="Rad-Score has the in-sample scores"):
        fitted(renamed, ["Rad-Score"])
    assert fitted(spelt).record["radscore"]["scores"].startswith("out of 10 folds")


def test_the_file_recognises_in_sample_scores_that_are_rounded_or_of_some_rows(cohort, table):
    file = cohort[0].fit.radscore.to_json()

    def some(row):  # three in ten; the others are of nobody
        score = float(row["radscore_in_sample"] or row["radscore"])
        return repr(score if int(row["case_id"][1:]) % 10 < 3 else score + 0.0123)

    bare = {"radscore_in_sample": None}
    rounded = changed(table, other=lambda r: f"{float(r['radscore_in_sample'] or r['radscore']):.4f}", **bare)
    for given, on in ((rounded, ["radscore", "other"]), (changed(table, radscore=some, **bare), ["radscore"])):
        with pytest.raises(InputError, match=f"{on[-1]} has the in-sample scores"):
            fitted(given, on, radscore=file)


def test_the_file_does_not_say_of_rounded_scores_whose_they_are(cohort, table):
    """With three decimals or fewer, scores of other patients are equal to those of the fit by chance."""
    rounded = changed(table, radscore_in_sample=None, radscore=lambda r: f"{float(r['radscore']):.3f}")
    found = fitted(rounded, radscore=cohort[0].fit.radscore.to_json())
    assert found.record["radscore"]["scores"].startswith("unknown")
    assert any("not rounded" in warning for warning in found.warnings)


def test_out_of_fold_scores_are_accepted_beside_in_sample_scores_that_hardly_differ(table):
    """As of a Rad-score of few features in many patients: correlation 0.99999."""
    near = changed(table, radscore_in_sample=lambda r: repr(float(r["radscore"]) + 1e-5 * (int(r["case_id"][1:]) % 3)))
    assert fitted(near).record["radscore"]["scores"].startswith("out of 10 folds")
    assert "score" in [term.name for term in fitted(changed(near, score=lambda r: r["radscore"]), ["score"]).terms]


def test_a_score_of_unknown_origin_is_stated_in_every_output(table, tmp_path, capsys):
    """In-sample scores joined by hand, without a trace of where they come from."""
    joined = changed(table, RadScore=lambda r: r["radscore_in_sample"] or r["radscore"], radscore=None,
                     radscore_in_sample=None)  # fmt: skip
    found = fitted(joined, ["RadScore", "size_cm"])
    assert found.record["scores_of_unknown_origin"] == ["RadScore"]
    (warning,) = (one for one in found.warnings if "origin of the column RadScore is not known" in one)
    assert "If it is a clinical score, nothing is wrong; if it is a Rad-score, give the fit the file" in warning
    assert "and its scores in the column radscore" in warning
    assert warning in found.record["warnings"]
    assert warning in found.read({"RadScore": 0, "size_cm": 4}).warnings
    write_table(tmp_path / "joined.csv", {name: [row[name] for row in joined.rows] for name in joined.columns})
    options = make_parser().parse_args(["nomogram", "fit", str(tmp_path / "joined.csv"), "--on", "RadScore", "size_cm",
                                        "--resamples", "1", "--out", str(tmp_path / "n.json")])  # fmt: skip
    options.run(options)
    output = capsys.readouterr().out
    assert f"WARNING  {warning}" in output
    assert "--radscore radscore.json" in output


def test_other_numbers_are_no_scores(table):
    plain = changed(table, age=lambda r: str(40 + int(r["case_id"][1:]) % 37), radius_mm=lambda r: r["size_cm"] + "1")
    assert fitted(plain, ["age", "size_cm"]).record["scores_of_unknown_origin"] == []
    assert not any("origin" in warning for warning in fitted(plain, ["age", "radius_mm"]).warnings)


def test_points_of_a_clinical_score_are_no_fitted_scores(table):
    plain = changed(table, ecog_score=lambda r: str(int(r["case_id"][1:]) % 5), cea_score=lambda r: r["size_cm"])
    found = fitted(plain, ["ecog_score", "cea_score"])
    assert found.record["scores_of_unknown_origin"] == ["cea_score"]


@pytest.mark.parametrize("count", [1_000, 10_000])
def test_scores_of_a_large_fit_are_told_from_chance(count):
    """With four decimals, a quarter of 10,000 normal scores is equal to one of 10,000 others."""
    inside, outside, others = np.random.default_rng(0).normal(size=(3, count))
    part = np.where(np.arange(count) % 10 < 3, inside, others)  # three in ten are of the fit
    record = {"in_sample": {"scores": inside.tolist()}, "out_of_fold": {"scores": outside.tolist()}}

    def origin(scores):
        found = origin_of([{"radscore": f"{one:.4f}"} for one in scores], ["radscore"], {"record": record})
        return found.kind

    assert (origin(outside), origin(others)) == ("out of fold", "of other patients")
    for scores in (inside, part):
        with pytest.raises(InputError, match="radscore has the in-sample scores"):
            origin(scores)


def test_the_origin_of_the_scores_is_recognised(cohort, table):
    file = cohort[0].fit.radscore.to_json()
    bare = changed(table, radscore_in_sample=None)
    others = changed(bare, radscore=lambda r: f"{float(r['radscore']) + 0.0123:.4f}")
    found = {name: fitted(*given) if len(given) == 1 else fitted(given[0], radscore=given[1])
             for name, given in {"table": (table,), "file": (bare, file), "others": (others, file),
                                 "unknown": (bare,)}.items()}  # fmt: skip
    words = {name: one.record["radscore"]["scores"] for name, one in found.items()}
    assert words["file"].startswith("out of 3 folds; standard error times 1.58")  # the root of 1 + 3 / 2
    assert words["table"].startswith("out of 10 folds")  # the default: the table does not tell
    assert "other patients" in words["others"]
    assert "unknown" in words["unknown"]
    assert any("origin of the column radscore is not known" in warning for warning in found["unknown"].warnings)
    assert found["file"].record["radscore"]["out_of_fold"]["spearman"] == file["record"]["out_of_fold"]["spearman"]


def test_the_effect_of_out_of_fold_scores_has_a_wider_interval(cohort, table):
    bare = changed(table, radscore_in_sample=None)
    plain, wide = (fitted(bare, ["radscore", "size_cm"], radscore=score).record["coefficients"]
                   for score in (None, cohort[0].fit.radscore.to_json()))  # fmt: skip
    assert wide[0]["standard_error"] == pytest.approx(plain[0]["standard_error"] * 2.5**0.5)
    value = wide[0]["coefficient"]["value"]
    assert value == plain[0]["coefficient"]["value"]
    assert wide[0]["p"] == pytest.approx(2 * norm.sf(abs(value) / wide[0]["standard_error"]))
    low = value - norm.ppf(0.975) * wide[0]["standard_error"]
    assert wide[0]["odds_ratio"]["low"] == pytest.approx(np.exp(low))
    assert wide[1] == plain[1]


# -- its test ------------------------------------------------------------------------------------------------------


def ordered(stages, columns):
    return OrderedModel(stages, columns, distr="logit").fit(method="bfgs", disp=0, gtol=1e-8).llf


def test_the_test_of_the_rad_score_is_the_likelihood_ratio_of_statsmodels(table):
    bare = changed(table, radscore_in_sample=None)
    used = [row for row in bare.rows if row["split"] == "train"]
    stages = np.array([int(row["stage"][1]) for row in used])
    score, size = (np.array([float(row[name]) for row in used])[:, None] for name in ("radscore", "size_cm"))
    for on, without in ((["radscore", "size_cm"], ordered(stages, size)), (["radscore"], None)):
        if without is None:  # thresholds alone: 20 rows of each stage
            without, columns = 80 * np.log(1 / 4), score
        else:
            columns = np.hstack([score, size])
        test = fitted(bare, on).record["radscore_test"]
        ratio = 2 * (ordered(stages, columns) - without)
        assert (test["chi2"], test["df"]) == (pytest.approx(ratio, abs=1e-5), 1)
        assert test["p"] == pytest.approx(chi2.sf(ratio, 1))
        assert test["method"] == "likelihood ratio with and without the term"


def test_the_test_is_divided_for_out_of_fold_scores(cohort, table):
    bare = changed(table, radscore_in_sample=None)
    plain = fitted(bare).record["radscore_test"]["chi2"]
    test = fitted(bare, radscore=cohort[0].fit.radscore.to_json()).record["radscore_test"]
    assert test["chi2"] == pytest.approx(plain / 2.5)
    assert "divided by 2.50" in test["method"]


def test_the_test_is_walds_where_patients_have_several_rows():
    record = fitted(read_table(GOLDEN / "cohort.csv"), ["radscore", "size_cm"]).record
    row = record["coefficients"][0]
    assert record["patients"] < len(ROWS)
    assert record["radscore_test"]["chi2"] == pytest.approx((row["coefficient"]["value"] / row["standard_error"]) ** 2)
    assert record["radscore_test"]["p"] == pytest.approx(row["p"])
    assert "sandwich by patient" in record["radscore_test"]["method"]


def test_a_nomogram_without_a_rad_score_has_no_test_of_it(table):
    assert {"radscore", "radscore_test"}.isdisjoint(fitted(table, ["size_cm"]).record)


# -- optimism ------------------------------------------------------------------------------------------------------


def test_a_resample_fits_the_rad_score_again_and_tests_it_on_new_patients(cohort):
    """The same as `radscore.fit.fit` on the drawn rows, applied to the others."""
    _, features = cohort
    rng = np.random.default_rng(4)
    rows = np.sort(rng.integers(N, size=N))
    stages, size = np.arange(N) % 4, rng.normal(size=N)
    design = Design(("size", "radscore"), np.column_stack([size, rng.normal(size=N)]), stages, np.arange(N))
    chain = RadScoreChain(dict(zip(features.case_ids, features.values, strict=True)), folds=FOLDS, seed=5)
    drawn, out, others = refitted(design, 1, features.values, chain)(rows)
    assert sorted({*rows.tolist(), *out.tolist()}) == list(range(N))
    assert not set(rows) & set(out)
    again = fit(CaseFeatures(tuple(f"x{i}" for i in range(N)), features.values[rows], features.names),
                stages[rows], rows, folds=FOLDS, seed=5)  # fmt: skip
    assert drawn == pytest.approx(np.column_stack([size[rows], again.out_of_fold]))
    assert others == pytest.approx(np.column_stack([size[out], again.radscore.standardised(features.values[out])]))


def test_the_validation_states_whether_it_includes_the_rad_score(cohort, table):
    made, features = cohort
    chain = RadScoreChain(dict(zip(features.case_ids, features.values, strict=True)), folds=FOLDS)
    file = made.fit.radscore.to_json()
    without, included = (fitted(table, radscore=file, features=given, resamples=8).record for given in (None, chain))
    assert "not included" in without["radscore"]["optimism"]
    assert "fitted again in each resample" in included["radscore"]["optimism"]
    assert "patients that were not drawn" in included["validation"]["method"]
    assert included["validation"]["resamples"] == 8
    assert included["validation"]["used"] > 4
    assert included["validation"]["c_index"]["apparent"] == without["validation"]["c_index"]["apparent"]


def test_features_without_a_use_are_refused(cohort, table):
    made, features = cohort
    chain = RadScoreChain(dict(zip(features.case_ids[1:], features.values[1:], strict=True)), folds=FOLDS)
    with pytest.raises(InputError, match="`features` is given without the predictor 'radscore'"):
        fitted(table, ["size_cm"], features=chain)
    with pytest.raises(InputError, match="1 of 80 rows have no features"):
        fitted(table, features=chain)
    others = changed(table, radscore_in_sample=None, radscore=lambda r: f"{float(r['radscore']) + 0.0123:.4f}")
    with pytest.raises(InputError, match="fitted on other patients"):
        fitted(others, radscore=made.fit.radscore.to_json(), features=chain)


def test_the_c_index_has_intervals(table):
    record = fitted(table, ["radscore", "size_cm"], resamples=20).record
    apparent, corrected = record["c_index"]["apparent"], record["c_index"]["corrected"]
    index = record["validation"]["c_index"]
    assert (apparent["value"], corrected["value"]) == (index["apparent"], index["corrected"])
    assert apparent["low"] < apparent["value"] < apparent["high"]
    shift = index["optimism"]
    assert 0 < corrected["low"] < corrected["value"] < corrected["high"] < 1
    assert (corrected["low"], corrected["high"]) == pytest.approx((apparent["low"] - shift, apparent["high"] - shift))
    json.dumps(record, allow_nan=False)


# -- cells ---------------------------------------------------------------------------------------------------------


def test_levels_in_two_spellings_are_refused(table):
    for one, other in (("Poor", "poor"), ("poorly-cohesive", "poorly cohesive"), ("Ｐoor", "poor")):
        given = changed(table, grade=lambda r, a=one, b=other: (a, b, "well")[int(r["case_id"][1:]) % 3])
        with pytest.raises(InputError, match="grade has the levels .*differ only in case, blanks or hyphens"):
            fitted(given, ["grade"])
    apart = changed(table, grade=lambda r: ("A+", "A-", "1-2a", "12a")[int(r["case_id"][1:]) // 4 % 4])
    assert set(fitted(apart, ["grade"]).term("grade").levels) == {"A+", "A-", "1-2a", "12a"}


def test_divided_stages_are_read_as_in_an_evaluation(table):
    divided = changed(table, stage=lambda r: {"T4": "T4a", "T1": "pT1b"}.get(r["stage"], r["stage"]))
    assert fitted(divided).thresholds == fitted(table).thresholds


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_names_split_test_and_optimism(cohort, table, tmp_path, capsys):
    made, features = cohort
    radscores.save(made.fit.radscore, tmp_path / "r.json")
    columns = {"case_id": list(features.case_ids)}
    columns |= {name: features.values[:, i].tolist() for i, name in enumerate(features.names)}
    write_table(tmp_path / "features.csv", columns)

    def run(*words):
        options = make_parser().parse_args(["nomogram", "fit", str(table.path), "--on", "radscore", "--out",
                                            str(tmp_path / "n.json"), *map(str, words)])  # fmt: skip
        assert isinstance(options, argparse.Namespace)
        options.run(options)
        return capsys.readouterr().out

    score = ("--radscore", tmp_path / "r.json")
    output = run(*score, "--resamples", 2)
    assert "Split         train" in output
    assert "out of 3 folds" in output
    assert "likelihood ratio with and without the term" in output
    assert "the optimism of the Rad-score itself is not included" in output
    output = run(*score, "--features", tmp_path / "features.csv", "--resamples", 3)
    assert "the Rad-score is fitted again in each resample" in output
    with pytest.raises(InputError, match="Features are given without a Rad-score"):
        run("--features", tmp_path / "features.csv")
