"""Files that somebody else wrote are read or refused in words for users; no other exception leaves the library."""

import json
from collections import Counter

import numpy as np
import pytest
from helpers import hostile, results
from helpers.golden_data import GOLDEN
from helpers.hostile import altered_json, altered_rows, outcome

from GTRStagingLib.cli.main import main
from GTRStagingLib.model import registry, weights
from GTRStagingLib.nomogram import nomogram, page
from GTRStagingLib.nomogram.nomogram import REFERENCE
from GTRStagingLib.radscore import inputs, radscore
from GTRStagingLib.results import record

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
            weights.probabilities(np.array([[1.0, 2, 3, 4]]), found)

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
