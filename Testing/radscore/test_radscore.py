"""The Rad-score as data: its scores, its errors, and features or a reason for every case."""

import argparse
import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import results

from GTRStagingLib.cli import radscore as cli_radscore
from GTRStagingLib.errors import InputError
from GTRStagingLib.radscore import radscore
from GTRStagingLib.radscore.inputs import CaseFeatures, counted, from_results, from_table, read_rows, scores
from GTRStagingLib.radscore.radscore import RadScore, from_json, of_features
from GTRStagingLib.results import record

SHA = "ab" * 32
SCORE = RadScore(
    name="hand", model="net", model_sha256=SHA, n_features=4, names=("DL-0002", "DL-0004"), indices=(1, 3),
    coefficients=(0.5, -2.0), means=(1.0, 0.0), scales=(2.0, 0.5), intercept=2.5, penalty=0.1, score_mean=2.0,
    score_sd=4.0, warnings=("say this",), record={"cases": 9},
)  # fmt: skip
ROWS = np.array([[9.0, 1, 9, 0], [9, 5, 9, 0.25]])


# -- what it computes ----------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_scores_by_hand():
    assert SCORE.score(ROWS).tolist() == [2.5, 2.5 + 0.5 * 2 - 2 * 0.5]
    assert SCORE.standardised(ROWS).tolist() == [0.125, 0.125]
    assert float(SCORE.score(ROWS[0])) == 2.5


def test_a_case_is_the_mean_of_its_slices():
    slices = np.array([[0, 0, 0, 0], [0, 10, 0, 0.5]], dtype=np.float32)  # as ROWS[1]
    assert of_features(SCORE, slices, SHA) == 0.125
    assert of_features(SCORE, slices, None) == 0.125


def test_features_of_another_length_or_model_are_refused_with_a_remedy():
    with pytest.raises(InputError, match=r"shape \(2, 5\); expected rows of 4.*Stage the case with that network"):
        SCORE.score(np.zeros((2, 5)))
    with pytest.raises(InputError, match=r"sha256 cdcdcd.*expected abababab.*'net'"):
        SCORE.standardised(ROWS, model_sha256="cd" * 32)
    with pytest.raises(InputError, match="another network"):
        of_features(SCORE, np.zeros((3, 512)), "cd" * 32)
    with pytest.raises(InputError, match="not finite"):
        SCORE.score(np.full(4, np.nan))
    with pytest.raises(InputError, match="a row of numbers for each"):
        of_features(SCORE, np.zeros(4), SHA)
    unknown = replace(SCORE, model=None, model_sha256=None)
    assert of_features(unknown, ROWS[:1], "cd" * 32) == 0.125


@pytest.mark.parametrize(
    "change",
    [
        {"indices": (3, 1)},
        {"indices": (1, 4)},
        {"names": ("a",)},
        {"names": (), "indices": (), "coefficients": (), "means": (), "scales": ()},
        {"scales": (0.0, 1.0)},
        {"score_sd": 0.0},
        {"intercept": float("nan")},
        {"slices": "the key slice"},
    ],
)
def test_invalid_fields_are_refused(change):
    with pytest.raises(InputError):
        replace(SCORE, **change)


def test_it_comes_back_from_its_file(tmp_path):
    path = tmp_path / "deeper" / "hand.json"
    radscore.save(SCORE, path)
    assert radscore.read(path) == SCORE
    assert "Research use only" in path.read_text()
    unknown = replace(SCORE, model=None, model_sha256=None)
    assert from_json(json.loads(json.dumps(unknown.to_json()))) == unknown


def test_an_invalid_rad_score_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="none.json is not a file"):
        radscore.read(tmp_path / "none.json")
    scores = {"record": {"in_sample": {"scores": [0.1, "0.2"]}}}
    for change in ({"kind": "nomogram"}, {"schema": 2}, {"features": None}, {"score": {}}, {"n_features": "many"},
                   scores):  # fmt: skip
        path = tmp_path / "x.json"
        path.write_text(json.dumps(SCORE.to_json() | change))
        with pytest.raises(InputError, match=r"x\.json"):
            radscore.read(path)


# -- features of results -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def a_result():
    """A record of a real staging."""
    return record.to_json(results.with_roi())


def batch_of(folder, a_result, rows, sha256=SHA):
    """A batch's folder, with the features given for each case."""
    for case_id, features in rows.items():
        model = a_result["model"] | {"sha256": sha256, "name": "net", "warning": "say this too"}
        written = a_result | {"case_id": case_id, "features": features, "model": model}
        path = folder / "cases" / case_id / "result.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(written))
    return folder


def test_a_result_in_memory_and_in_its_file_have_the_same_score(tmp_path, a_result):
    staged = results.with_roi()
    count = staged.features.shape[1]
    score = replace(SCORE, n_features=count, indices=(1, count - 1), names=("DL-0002", f"DL-{count:04d}"),
                    model_sha256=staged.model.sha256)  # fmt: skip
    path = tmp_path / "result.json"
    path.write_text(json.dumps(a_result))
    found = from_results(path)
    assert found.values.shape == (1, count)
    assert scores(score, found)[0].tolist() == [of_features(score, staged.features, staged.model.sha256)]
    assert "UNTRAINED" in found.warning


def test_every_case_of_a_batch_has_features_or_a_reason(tmp_path, a_result):
    rows = {"a": [[0, 0, 0, 0], [0, 10, 0, 0.5]], "b": [[1, 2, 3, 4]], "ragged": [[1, 2], [3]], "nan": [[1, None, 2]]}
    folder = batch_of(tmp_path, a_result, rows)
    (folder / "cases" / "half").mkdir()
    (folder / "cases" / "half" / "result.json").write_text('{"schema_version": "1.1", "case')
    (folder / "cases" / "bad").mkdir()
    (folder / "cases" / "bad" / "failed.json").write_text('{"error": "no ROI"}')
    batch_of(tmp_path, a_result | {"schema_version": "3.0"}, {"later": [[1, 2, 3, 4]]})
    batch_of(tmp_path, a_result | {"schema_version": "1.2"}, {"earlier": [[1, 2, 3, 4]]})
    (folder / "cases" / "a").rename(folder / "cases" / "moved")
    batch_of(tmp_path, a_result, {"a": rows["a"]})
    found = from_results(folder)
    assert found.case_ids == ("a", "b", "earlier")
    assert found.values.tolist() == [[0, 5, 0, 0.25], [1, 2, 3, 4], [1, 2, 3, 4]]
    assert found.names[:2] == ("DL-0001", "DL-0002")
    assert (found.model, found.model_sha256, found.warning) == ("net", SHA, "say this too")
    assert counted(found.excluded.values()) == {"staging failed": 1, "result cannot be read": 5}
    assert str(found.excluded["bad"]) == "staging failed: no ROI"
    assert "schema_version 3.0; expected 1.x or 2.x" in str(found.excluded["later"])
    assert "to case 'a'" in str(found.excluded["moved"])
    asked = from_results(folder, ["b", "nobody"])
    assert (asked.case_ids, counted(asked.excluded.values())) == (("b",), {"no result": 1})


def test_results_of_two_models_or_lengths_are_refused(tmp_path, a_result):
    folder = batch_of(tmp_path / "two", a_result, {"a": [[1, 2, 3, 4]]})
    batch_of(folder, a_result, {"b": [[1, 2, 3, 4]]}, sha256="cd" * 32)
    with pytest.raises(InputError, match=r"Results of 2 models: 1 of 'net' \(abab.*as a\); 1 of 'net' \(cdcd"):
        from_results(folder)
    assert from_results(folder, ["a"]).case_ids == ("a",)
    with pytest.raises(InputError, match=r"lengths \[3, 4\]"):
        from_results(batch_of(tmp_path / "lengths", a_result, {"a": [[1, 2, 3, 4]], "b": [[1, 2, 3]]}))
    with pytest.raises(InputError, match=r"no case with features \(1 × no result\)"):
        from_results(folder, ["nobody"])
    with pytest.raises(InputError, match="no folder 'cases'"):
        from_results(tmp_path)
    with pytest.raises(InputError, match="no such folder or file"):
        from_results(tmp_path / "nowhere")


# -- tables --------------------------------------------------------------------------------------------------------


def table(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_features_of_a_table(tmp_path):
    found = from_table(table(tmp_path, "\ufeffcase_id,DL-0001,DL-0002\n007,1,-2e-3\nx,,3\n"))
    assert (found.case_ids, found.names, found.model_sha256) == (("007",), ("DL-0001", "DL-0002"), None)
    assert found.values.tolist() == [[1, -0.002]]
    assert str(found.excluded["x"]) == "a feature is missing: DL-0001"


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("case_id,a,sex\n1,2,F\n", r"row 2, sex 'F': expected a finite number"),
        ("case_id,a\n1,inf\n", r"row 2, a 'inf': expected a finite number"),
        ("case_id,a\nX,1\nx,2\n", r"row 3, case_id 'x': expected a unique id, ignoring case; row 2"),
        ("case_id,a\n,1\n", r"row 2, case_id is empty: expected an id"),
        ("case_id,a\n1,\n", r"no case has all 1 features"),
        ("case_id\n1\n", r"no column beside case_id"),
        ("id,a\n1,2\n", r"column case_id is missing; found id, a"),
    ],
)
def test_errors_of_a_feature_table(tmp_path, text, fragment):
    with pytest.raises(InputError, match=fragment):
        from_table(table(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("case_id,stage\n1,T1\n", r"column patient_id is missing; found case_id, stage"),
        ("case_id,patient_id,stage\n1,p,T5\n", r"row 2, stage 'T5': expected T1 to T4"),
        ("case_id,patient_id,stage\n1,,T1\n", r"row 2, patient_id is empty: expected an id"),
        ("case_id,patient_id,stage\n../a,p,T1\n", r"row 2, case_id '\.\./a'.*valid folder name"),
        ("case_id,patient_id,stage\n1,p,T1\n1,q,T1\n", r"row 3, case_id '1'"),
        ("case_id,patient_id,stage,split\n1,p,T1,dev\n", r"row 2, split 'dev'"),
    ],
)
def test_errors_of_a_cohort_table(tmp_path, text, fragment):
    with pytest.raises(InputError, match=fragment):
        read_rows(table(tmp_path, text))


def test_columns_in_another_order_are_refused():
    renamed = CaseFeatures(("a",), np.zeros((1, 4)), ("DL-0002", "DL-0001", "DL-0003", "DL-0004"))
    with pytest.raises(InputError, match="Feature 2 is named 'DL-0001'; expected 'DL-0002'"):
        scores(SCORE, renamed)
    with pytest.raises(InputError, match="expected rows of 4"):
        scores(SCORE, CaseFeatures(("a",), np.zeros((1, 2)), ("DL-0001", "DL-0002")))


# -- the command ---------------------------------------------------------------------------------------------------


def run(*arguments):
    parser = argparse.ArgumentParser()
    cli_radscore.add_to(parser.add_subparsers(required=True))
    options = parser.parse_args(["radscore", *map(str, arguments)])
    return options.run(options) or 0


def test_apply_gives_every_case_a_row(tmp_path, a_result, capsys):
    folder = batch_of(tmp_path / "batch", a_result, {"a": [[9, 1, 9, 0]], "b": [[9, 5, 9, 0.25]]})
    (folder / "cases" / "bad").mkdir()
    (folder / "cases" / "bad" / "failed.json").write_text('{"error": "no ROI"}')
    radscore.save(SCORE, tmp_path / "hand.json")
    assert run("apply", tmp_path / "hand.json", "--results", folder, "--out", tmp_path / "s.csv") == 1
    output = capsys.readouterr()
    assert "3 cases: 2 scored by 'hand', 1 without a score." in output.out
    assert "1 × staging failed: bad" in output.out
    assert "say this" in output.err
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [tuple(row.values()) for row in rows] == [
        ("a", "0.125", "2.5", ""), ("b", "0.125", "2.5", ""), ("bad", "", "", "staging failed: no ROI"),
    ]  # fmt: skip
    one = folder / "cases" / "a" / "result.json"
    assert run("apply", tmp_path / "hand.json", "--results", one, "--out", tmp_path / "one.csv") == 0


def test_apply_to_a_table_notes_that_its_model_is_unknown(tmp_path, capsys):
    radscore.save(SCORE, tmp_path / "hand.json")
    features = table(tmp_path, "case_id,DL-0001,DL-0002,DL-0003,DL-0004\na,9,1,9,0\n")
    assert run("apply", tmp_path / "hand.json", "--features", features, "--out", tmp_path / "s.csv") == 0
    assert "does not name the model of its features" in capsys.readouterr().err


def test_the_command_needs_one_source_and_a_json(tmp_path, a_result):
    with pytest.raises(SystemExit):
        run("apply", "r.json", "--out", "s.csv")
    with pytest.raises(SystemExit):
        run("fit", "c.csv", "--results", "b", "--out", "r.json", "--split", "test")
    with pytest.raises(InputError, match=r"ends in \.json"):
        run("fit", "c.csv", "--results", "b", "--out", tmp_path / "r.csv")


def test_fit_reads_a_batch(tmp_path, a_result, capsys):
    rng = np.random.default_rng(0)
    stages, toward = np.arange(40) % 4, np.array([1, 0, -1, 0, 0, 0])
    rows = {f"c{i:02d}": (rng.normal(size=(3, 6)) + s * toward).tolist() for i, s in enumerate(stages)}
    folder = batch_of(tmp_path / "batch", a_result, rows)
    (folder / "cases" / "c39" / "result.json").unlink()
    split = ["test" if i >= 32 else "train" for i in range(40)]
    lines = [f"c{i:02d},p{i},T{s + 1},{split[i]},x" for i, s in enumerate(stages)]
    cohort = table(tmp_path, "case_id,patient_id,stage,split,other\n" + "\n".join(lines) + "\n")
    out = tmp_path / "r.json"
    assert run("fit", cohort, "--results", folder, "--out", out, "--folds", 4, "--figures", tmp_path / "figs") == 0
    output = capsys.readouterr().out
    assert "40 rows: 32 used for the fit (32 patients), 7 only scored, 1 excluded." in output
    assert "1 × no result: c39" in output
    found = radscore.read(out)
    assert (found.model, found.model_sha256, found.record["split"]) == ("net", SHA, ["train"])
    assert {"DL-0001", "DL-0003"} <= set(found.names)
    assert found.warnings == ("say this too",)
    assert len(list((tmp_path / "figs").iterdir())) == 6
    with (tmp_path / "r-scores.csv").open() as file:
        scored = list(csv.DictReader(file))
    assert [row["radscore_in_sample"] == "" for row in scored] == [row["split"] == "test" for row in scored]
    applied = of_features(found, np.array(rows["c35"]), SHA)
    assert float(scored[35]["radscore"]) == pytest.approx(applied, abs=1e-12)
