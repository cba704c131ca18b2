"""Files that somebody else wrote are read or refused in words for users; no other exception leaves the library."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from helpers import hostile, results
from helpers.golden_data import GOLDEN
from helpers.hostile import altered_json, altered_rows, outcome

from GTRStagingLib.cli.main import main
from GTRStagingLib.errors import StagingError, printable
from GTRStagingLib.model import registry
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.nomogram import nomogram, page
from GTRStagingLib.nomogram.nomogram import REFERENCE
from GTRStagingLib.radscore import inputs, radscore
from GTRStagingLib.results import record
from GTRStagingLib.support.files import parse_json

SHIPPED = registry.SHIPPED / "demonstration" / "card.json"


@pytest.fixture(scope="module")
def run():
    """Run a command in this process; return its exit code, and fail unless what it prints is for users."""

    def call(capsys, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", "120")
            code = main([str(one) for one in arguments])
        printed = capsys.readouterr()
        assert code in (0, 1)
        if code:
            hostile.require_plain(printed.err or printed.out)
        assert not hostile.CONTROLS.search(printed.out + printed.err)
        return code

    return call


@pytest.mark.parametrize("part", range(4))
def test_altered_model_cards_are_read_or_refused(tmp_path, part):
    card = json.loads(SHIPPED.read_text())
    path, seen = tmp_path / "card.json", Counter()
    for seed in range(part * 100, part * 100 + 100):
        path.write_bytes(altered_json(card, seed))

        def use():
            found = registry.read_card(tmp_path)
            words = (found.warning, found.check_in_words, found.head_in_words, found.map_check("fine"))
            json.dumps([found.to_json(), words], allow_nan=False).encode()
            probabilities(np.array([[1.0, 2, 3, 4]]), found)

        seen[outcome(use)] += 1
    assert seen["read"]
    assert seen["refused"] > 30


def a_nomogram():
    from GTRStagingLib.nomogram.fit import Wording, fit_nomogram
    from GTRStagingLib.tables.table_files import read_table

    wordings = {"lauren": Wording("Lauren type", reference="intestinal"), "size_cm": Wording("Tumour size", "cm")}
    table = read_table(GOLDEN / "cohort.csv")
    return fit_nomogram(table, ["radscore", "size_cm", "lauren"], name="mine", wordings=wordings, resamples=2)


@pytest.mark.parametrize("part", range(4))
def test_altered_nomograms_are_read_or_refused(tmp_path, part, run, capsys):
    data = json.loads(json.dumps(a_nomogram().to_json()))
    path, seen = tmp_path / "mine.json", Counter()
    for seed in range(part * 100, part * 100 + 100):
        path.write_bytes(altered_json(data, seed))

        def use(seed=seed):
            found = nomogram.load(path)
            for factor in (0, 1, 1e3):
                values = {t.name: next(iter(t.levels)) if t.is_choice else t.range[1] * factor for t in found.terms}
                outcome(lambda values=values: json.dumps(found.read(values).to_json(), allow_nan=False))
            found.read({term.name: REFERENCE for term in found.terms})
            page.page(found).encode()
            if seed % 10 == 0:
                from GTRStagingLib.nomogram.drawing import draw

                draw(found, tmp_path / "x.png")

        seen[outcome(use)] += 1
        run(capsys, "nomogram", "show", path)
    assert seen["read"]
    assert seen["refused"] > 30


@pytest.mark.parametrize("part", range(4))
def test_altered_rad_scores_are_read_or_refused(tmp_path, part):
    from GTRStagingLib.evaluation.checklist_facts import _radscore
    from GTRStagingLib.radscore.figures import coefficients_figure

    score = radscore.RadScore(
        name="mine", model="net", model_sha256="ab" * 32, n_features=4, names=("f1", "f3"), indices=(1, 3),
        coefficients=(0.4, -0.2), means=(10.0, 0.5), scales=(2.0, 0.1), intercept=2.5, penalty=0.1, score_mean=2.5,
        score_sd=0.25, warnings=("few cases",), record={"rule": "min", "folds": {"number": 5}},
    )  # fmt: skip
    data = json.loads(json.dumps(score.to_json()))
    path, seen = tmp_path / "mine.json", Counter()
    for seed in range(part * 100, part * 100 + 100):
        path.write_bytes(altered_json(data, seed))

        def use():
            found = radscore.read(path)
            json.dumps(found.to_json(), allow_nan=False).encode()
            rows = np.ones((3, found.n_features if found.n_features < 10_000 else 4))
            assert np.isfinite(found.standardised(rows)).all()
            _radscore(found)
            coefficients_figure(found)

        seen[outcome(use)] += 1
    assert seen["read"]
    assert seen["refused"] > 30


@pytest.mark.parametrize("part", range(3))
def test_altered_results_have_features_or_a_reason(tmp_path, part):
    data = json.loads(json.dumps(record.to_json(results.with_roi())))
    data["features"] = [row[:5] for row in data["features"]]
    folder, seen = tmp_path / "cases" / "a", Counter()
    folder.mkdir(parents=True)
    for seed in range(part * 100, part * 100 + 100):
        # Most parts of a result are not read: alter those that are.
        read = {name: data[name] for name in ("schema_version", "case_id", "model", "features")}
        (folder / "result.json").write_bytes(altered_json(read | {"case_id": "a"}, seed))
        seen[outcome(inputs.from_results, tmp_path)] += 1
        (folder / "result.json").unlink()
        (folder / "failed.json").write_bytes(altered_json({"error": "no ROI", "traceback": ""}, seed))
        assert outcome(inputs.from_results, tmp_path) == "refused"
    assert seen["read"]
    assert seen["refused"] > 30


def of_golden(count=40):
    lines = (GOLDEN / "cohort.csv").read_text().splitlines()
    return [line.split(",") for line in lines[:count]]


def cohort_rows():
    header = ["case_id", "patient_id", "image", "roi", "segment", "key_slice", "stage", "split", "age", "centre"]
    rows = [[f"c{i}", f"p{i}", f"{i}.nii", "", "", "", f"T{i % 4 + 1}", ("train", "test")[i % 2], str(50 + i), "A"]
            for i in range(12)]  # fmt: skip
    return [header, *rows]


def prediction_rows():
    header = ["case_id", "patient_id", "true_stage", "stage", "p_T1", "p_T2", "p_T3", "p_T4", "status", "age", "dice"]
    rng, rows = np.random.default_rng(1), []
    for i in range(24):
        shares = rng.dirichlet(np.ones(4)).round(4)
        shares[0] = 1 - shares[1:].sum()
        rows.append([f"c{i}", f"p{i // 2}", f"T{i % 4 + 1}", f"T{shares.argmax() + 1}", *(f"{p:.4f}" for p in shares),
                     "done", str(40 + i), f"{rng.random():.3f}"])  # fmt: skip
    return [header, *rows]


def read_all_tables(path):
    from GTRStagingLib.batch.cases import read_cases
    from GTRStagingLib.cohort.cohort import read_cohort, split_cohort, write_cohort
    from GTRStagingLib.radscore.inputs import from_table, read_rows

    def cohort():
        found = read_cohort(path)
        write_cohort(found, path.with_name("again.csv"))
        split_cohort(found)

    return Counter(outcome(use, *given) for use, *given in (
        (read_cases, path), (cohort,), (read_rows, path), (from_table, path)
    ))  # fmt: skip


@pytest.mark.parametrize("part", range(4))
def test_altered_case_tables_are_read_or_refused(tmp_path, part):
    path, seen = tmp_path / "cases.csv", Counter()
    for seed in range(part * 100, part * 100 + 100):
        path.write_bytes(altered_rows(cohort_rows(), seed))
        seen += read_all_tables(path)
    assert seen["read"]
    assert seen["refused"]


@pytest.mark.parametrize("part", range(4))
def test_altered_predictions_are_evaluated_or_refused(tmp_path, part):
    from GTRStagingLib.evaluation.evaluate import evaluate
    from GTRStagingLib.evaluation.predictions import read_predictions

    path, seen = tmp_path / "predictions.csv", Counter()
    for seed in range(part * 60, part * 60 + 60):
        path.write_bytes(altered_rows(prediction_rows(), seed))

        def use(seed=seed):
            found = read_predictions(path)
            if seed % 6 == 0:
                evaluate(found)

        seen[outcome(use)] += 1
    assert seen["read"]
    assert seen["refused"]


NUMBERS = ("1e308", "-1e308", "1e154", "1e-320", "5e-324", "0", "-1", "1e12", "NA", "", "1e999", "inf", "x", "true")


@pytest.mark.parametrize("part", range(3))
def test_columns_of_absurd_numbers_are_evaluated_or_refused(tmp_path, part):
    from GTRStagingLib.evaluation.evaluate import evaluate
    from GTRStagingLib.evaluation.predictions import read_predictions

    path, seen = tmp_path / "predictions.csv", Counter()
    for seed in range(part * 30, part * 30 + 30):
        rng, rows = random.Random(seed), prediction_rows()
        more = ["EUS", "other_T1", "other_T2", "other_T3", "other_T4", "chance_dice", "blob_dice", "centre"]
        rows[0] += more
        for row in rows[1:]:
            row += [f"T{rng.randint(1, 4)}", *["0.25"] * 4, "0.1", "0.2", rng.choice("AB")]
        names = ["p_T2", "age", "dice", *more]
        column, rows = rows[0].index(rng.choice(names)), rows[: rng.choice((2, 3, 8, 25, 25))]
        one = rng.choice(NUMBERS)
        for row in rows[1:]:
            if rng.random() < 0.6:
                row[column] = one if seed % 2 else rng.choice(NUMBERS)
        path.write_text("\n".join(map(",".join, rows)))
        seen[outcome(lambda: evaluate(read_predictions(path)))] += 1
    assert seen["read"]
    assert seen["refused"]


@pytest.mark.parametrize("part", range(2))
def test_nomograms_are_fitted_to_altered_tables_or_not(tmp_path, part):
    from GTRStagingLib.nomogram.fit import fit_nomogram
    from GTRStagingLib.tables.table_files import read_table

    path, seen = tmp_path / "cohort.csv", Counter()
    for seed in range(part * 40, part * 40 + 40):
        path.write_bytes(altered_rows(of_golden(120), seed))

        def use():
            fitted = fit_nomogram(read_table(path), ["radscore", "size_cm"], name="x", resamples=2)
            nomogram.save(fitted, tmp_path / "x.json")
            nomogram.load(tmp_path / "x.json")

        seen[outcome(use)] += 1
    assert seen["read"]
    assert seen["refused"]


def test_altered_records_of_a_batch_are_taken_or_made_again(tmp_path):
    from pathlib import Path

    from GTRStagingLib.batch import records
    from GTRStagingLib.batch.batch import _outcome_or_job
    from GTRStagingLib.batch.columns import PREDICTIONS
    from GTRStagingLib.tables.case_row import CaseRow

    job = records.Job(CaseRow(case_id="a", image=Path("ct.nii")), tmp_path / "cases" / "a", "digest", "run")
    records.record_done(job, {"stage": "T2", "p_T1": "0.1", "key_slice": "3", "warnings": ""}, [], "content")
    data = json.loads((job.folder / "done.json").read_text())
    seen = Counter()
    for seed in range(300):
        (job.folder / "done.json").write_bytes(altered_json(data, seed))
        found = _outcome_or_job(job)
        records.write_tables(tmp_path, [job], ["case_id", "status", "stage", "p_T1", "key_slice"], {})
        rows = len((tmp_path / PREDICTIONS).read_text().splitlines()) - 1
        known = records.read_record(job) is not None
        assert known or found is job
        seen[known, rows >= 1] += 1
    assert set(seen) == {(True, True), (False, False)}


def test_altered_records_of_a_training_are_taken_or_refused(tmp_path):
    from GTRStagingLib.training import train
    from GTRStagingLib.training.plan import Plan

    data = {"plan": Plan(depth=10).to_json(), "data": {"digest": "ab" * 32}, "audit": {"leaks": 0}, "versions": {}}
    seen = Counter()
    for seed in range(300):
        (tmp_path / train.RECORD).write_bytes(altered_json(data, seed))

        def use():
            record = train._recorded(tmp_path)
            train._require_same(record, Plan(depth=10), data["data"], tmp_path)

        seen[outcome(use)] += 1
    assert seen["read"]
    assert seen["refused"] > 100


def test_altered_truths_of_phantoms_are_taken_or_refused(tmp_path):
    from GTRStagingLib.phantoms.phantom_cohort import _make_case
    from GTRStagingLib.stages import TStage

    folder = tmp_path / "cases" / "phantom-000001"
    job = (tmp_path, "nifti", TStage.T2, 1, "A", 64)
    _make_case(job)
    data = json.loads((folder / "truth.json").read_text())
    seen = Counter()
    for seed in range(150):
        (folder / "truth.json").write_bytes(altered_json(data, seed))
        seen[outcome(_make_case, job)] += 1
    assert seen["read"]
    assert seen["refused"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"case_id,image\na," + b"x" * 200_000, r"more than 131,072 characters; expected short cells"),
        (b"case_id,image\na\0,b\n", "row 2: a NUL character"),
        ("case_id,image\na,b\n".encode("utf-16-le"), "row 1: a NUL character"),
        (b"\xff\xfec\x00a", "is not UTF-16"),
        (b"\n\n", "is empty"),
        (b"case_id,image,key_slice\na,b," + b"9" * 5000, "expected a whole number from 0"),
    ],
)
def test_a_table_that_is_no_text_is_refused_by_its_cause(tmp_path, content, message):
    from GTRStagingLib.batch.cases import read_cases

    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(StagingError, match=message) as met:
        read_cases(tmp_path / "x.csv")
    hostile.require_plain(str(met.value))


def parquet_columns():
    import datetime
    import decimal

    return {
        "lists": [["a"], ["b"]],
        "objects": [{"a": 1}, {"a": 2}],
        "bytes": [b"a", b"\xff"],
        "times": [datetime.datetime(2020, 1, 2), None],
        "dates": [datetime.date(2020, 1, 2), None],
        "decimals": [decimal.Decimal("1.50"), decimal.Decimal("2.25")],
        "large numbers": [2**62, -(2**62)],
        "not finite": [float("nan"), float("inf")],
        "truth values": [True, None],
        "durations": [datetime.timedelta(1), None],
    }


@pytest.mark.parametrize("kind", parquet_columns())
def test_columns_of_parquet_are_read_as_text_or_refused_by_name(tmp_path, kind):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    columns = {"case_id": ["a", "b"], "patient_id": ["1", "2"], "image": ["x", "y"], "age": parquet_columns()[kind]}
    parquet.write_table(pyarrow.table(columns), path)
    seen = read_all_tables(path)
    if kind in ("lists", "objects", "bytes"):
        assert seen == {"refused": 4}
        with pytest.raises(StagingError, match=r"columns of lists, objects or bytes: age \(.*Convert these columns"):
            inputs.from_table(path)
    else:
        assert seen["read"]


def test_two_columns_of_one_name_are_refused_in_parquet(tmp_path):
    import pyarrow
    from pyarrow import parquet

    cells = [pyarrow.array(["a"])] * 3
    parquet.write_table(pyarrow.Table.from_arrays(cells, names=["case_id", "image", "image"]), tmp_path / "x.parquet")
    with pytest.raises(StagingError, match="column 'image' twice"):
        inputs.from_table(tmp_path / "x.parquet")


@pytest.mark.parametrize("stage", ["9" * 400, "9" * 5000, "1" + "." + "0" * 400, "-1", "٣", "T٣", "²", "1e5"])
def test_a_stage_of_any_length_is_refused(tmp_path, stage):
    from GTRStagingLib.evaluation.predictions import read_predictions

    (tmp_path / "x.csv").write_text(f"case_id,true_stage,predicted\na,{stage},1\nb,4,2\n")
    with pytest.raises(StagingError, match="expected (one of )?T1 to T4") as met:
        read_predictions(tmp_path / "x.csv")
    hostile.require_plain(str(met.value))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b"[" * 65 + b"]" * 65, "nested deeper"),
        (b"1" * 400, "beyond the range"),
        (b"1" * 5000, "beyond the range"),
        (b"[1e999]", "beyond the range"),
        (b"[NaN]", "NaN, which is not a number"),
        (b'{"a": 1, "a": 2}', "key 'a' twice"),
        (b'["\\udc80"]', "half of a surrogate pair"),
        (b'{"\\ud800": 1}', "half of a surrogate pair"),
        (b"", "Expecting value"),
    ],
)
def test_json_that_others_read_differently_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        parse_json(content)


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf[1]", "\ufeff[1]", b"[" * 64 + b"]" * 64, '["\\ud83d\\ude00"]', "1e308"]
)
def test_unusual_json_is_read(content):
    assert parse_json(content)


def test_a_pipe_is_no_json(tmp_path):
    import os

    os.mkfifo(tmp_path / "card.json")
    with pytest.raises(StagingError, match="card.json is not a file"):
        registry.read_card(tmp_path)


def test_messages_show_hidden_characters_and_have_an_end():
    assert printable("a\x1b[31mb\u202ec\ud800 d\te\nf 胃é") == "a\\x1b[31mb\\u202ec\\ud800 d\te\nf 胃é"
    assert str(StagingError("\x1b[2J")) == "\\x1b[2J"
    assert len(str(StagingError("x" * 10**6))) < 10_000
