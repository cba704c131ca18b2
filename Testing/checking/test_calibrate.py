"""Calibration of a model on a cohort of one's own: temperature, stage sets, and the new folder."""

import json
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.spots import a_spot_model, a_spotted_cohort

from GTRStagingLib.checking import calibrate
from GTRStagingLib.checking.calibrate import Seen, calibrate_model
from GTRStagingLib.checking.card_writing import write_calibrated
from GTRStagingLib.cli import main as cli
from GTRStagingLib.cohort.cohort import Cohort, write_cohort
from GTRStagingLib.errors import InputError, LeakageError, WeightsError
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model import registry, weights
from GTRStagingLib.model.backbone import load_model, verify
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.stage_set import scores
from GTRStagingLib.support.files import sha256_of

LEVEL = 0.8
"""Level of the sets here, which needs four patients of a stage."""

SETS = {"T1": 5, "T2": 5, "T3": 13, "T4": 5}
"""Of 7 patients of a stage 2 fit the temperature and 5 calibrate the sets; of the 21 of T3, 8 and 13."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Half of the patients have T3, which the model says of every case: its temperature has a best value."""
    cases = a_spotted_cohort(tmp_path_factory.mktemp("spots") / "cases", 42)
    return Cohort((*cases[:28], *(replace(case, stage=TStage.T3) for case in cases[28:])))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models") / "spots"
    weights.save(a_spot_model(), made)
    return made


@pytest.fixture(scope="module")
def found(folder, cohort):
    return calibrate_model(str(folder), cohort, level=LEVEL, device="cpu")


@pytest.fixture
def seen_once(folder, cohort, monkeypatch, seen):
    """The network's answers, taken once for all tests that ask again."""
    monkeypatch.setattr(
        calibrate, "run_network", lambda model, cases, **_: ({c.case_id: seen[c.case_id] for c in cases}, {})
    )


@pytest.fixture(scope="module")
def seen(folder, cohort):
    return calibrate.run_network(str(folder), cohort.cases, device="cpu")[0]


def test_some_patients_of_each_stage_fit_the_temperature_and_the_others_the_sets(found, folder):
    assert found.stage_sets["patients"] == SETS
    how = f"temperature {found.temperature:.3f}, before 1.000, fitted on 14 other patients"
    assert found.stage_sets["source"] == f"one case of each of 28 patients, by models calibrate; {how}"
    assert (found.stage_sets["warning"], found.left_out) == (None, {})
    assert found.temperature != registry.read_card(folder).temperature


def test_scores_are_those_of_staging_with_the_new_card(found, cohort, tmp_path):
    write_calibrated(found, tmp_path / "own")
    ready = load_model(str(tmp_path / "own"), "cpu")
    (case, *_) = [case for case in cohort if case.stage == TStage.T3]
    result = stage_case(read_scan(case.image), ready, key_slice=case.key_slice)
    assert scores(result.prediction)[TStage.T3] == 0 == found.stage_sets["scores"]["T3"][-1]
    # Every case gets nearly the same logits, so that the scores of another stage hardly differ.
    assert scores(result.prediction)[TStage.T1] == pytest.approx(found.stage_sets["scores"]["T1"][0], abs=0.1)
    assert result.stage_set is not None
    assert result.prediction.stage in result.stage_set.stages


def test_the_order_of_the_table_does_not_matter(found, folder, cohort, seen_once):
    again = calibrate_model(str(folder), Cohort(cohort.cases[::-1]), level=LEVEL)
    assert (again.temperature, again.stage_sets) == (pytest.approx(found.temperature), found.stage_sets)


def test_nothing_of_the_patients_is_in_the_card(found, cohort):
    text = json.dumps(found.stage_sets)
    assert not any(case.case_id in text or case.patient_id in text for case in cohort)


def test_a_second_case_of_a_patient_does_not_count(found, folder, cohort, seen_once):
    second = [replace(case, case_id=f"{case.case_id}-2") for case in cohort.cases[:8]]
    again = calibrate_model(str(folder), Cohort((*cohort.cases, *second)), level=LEVEL)
    assert again.stage_sets == found.stage_sets


def test_the_new_folder_has_the_same_files_and_another_card(found, folder, tmp_path):
    card = write_calibrated(found, tmp_path / "own")
    before, after = registry.read_card(folder), registry.read_card(tmp_path / "own")
    assert after == card
    changed = {"name": "own", "temperature": found.temperature, "stage_sets": found.stage_sets}
    assert after == replace(before, **changed)
    assert sha256_of(tmp_path / "own" / registry.CARD_FILE) == card.card_sha256 != before.card_sha256
    for path in folder.glob("*.safetensors"):
        assert (tmp_path / "own" / path.name).read_bytes() == path.read_bytes()
    assert verify(str(tmp_path / "own")) == card


def test_only_files_of_the_card_are_copied_and_their_hashes_are_verified(found, folder, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(folder, source)
    (source / ".features.safetensors").write_bytes(b"left by a process that ended")
    of_source = replace(found, model=str(source))
    write_calibrated(of_source, tmp_path / "own")
    assert {path.name for path in (tmp_path / "own").iterdir()} == {registry.CARD_FILE, weights.WEIGHTS_FILE}
    with (source / weights.WEIGHTS_FILE).open("ab") as stream:
        stream.write(b"damage")
    with pytest.raises(WeightsError, match=r"model\.safetensors has sha256 .* Nothing was written"):
        write_calibrated(of_source, tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()


def test_a_model_that_was_replaced_meanwhile_is_not_written(found, folder, tmp_path):
    with pytest.raises(WeightsError, match="was replaced during the calibration"):
        write_calibrated(replace(found, weights_sha256="0" * 64), tmp_path / "own")
    assert not (tmp_path / "own").exists()


# -- who may calibrate ---------------------------------------------------------------------------------------------


def of_splits(cohort, *splits):
    return Cohort(tuple(replace(c, split=splits[i % len(splits)]) for i, c in enumerate(cohort.cases)))


def test_training_cases_are_refused(folder, cohort):
    mixed = Cohort((replace(cohort.cases[0], split="train"), *cohort.cases[1:]))
    with pytest.raises(InputError, match="1 of 42 cases are in the split 'train'"):
        calibrate_model(str(folder), mixed, device="cpu")


def test_a_patient_of_the_training_is_a_leak(folder, cohort):
    first = replace(cohort.cases[0], case_id="again", split="train")
    both = Cohort((*of_splits(cohort, "calibration").cases, first))
    with pytest.raises(LeakageError, match="patients of the calibration that are also in the split 'train': 1;"):
        calibrate_model(str(folder), both, split="calibration", device="cpu")


def test_validation_patients_calibrate_with_a_warning_in_every_result(folder, cohort, seen_once, tmp_path):
    chosen = calibrate_model(str(folder), of_splits(cohort, "validation"), level=LEVEL)
    assert "42 of the 42 patients of the calibration are of the split 'validation'" in chosen.stage_sets["warning"]
    write_calibrated(chosen, tmp_path / "own")
    result = stage_case(read_scan(cohort.cases[0].image), load_model(str(tmp_path / "own"), "cpu"), key_slice=1)
    assert chosen.stage_sets["warning"] in result.warnings


def test_another_case_of_a_patient_in_the_validation_is_warned_of(folder, cohort, seen_once):
    """The first patient fits the temperature or calibrates the sets; either way the model was chosen by them."""
    others = [replace(case, case_id=f"{case.case_id}-2", split="validation") for case in cohort.cases[:3]]
    mixed = Cohort((*others, *of_splits(cohort, "calibration").cases))
    found = calibrate_model(str(folder), mixed, split="calibration", level=LEVEL)
    assert "3 of the 42 patients of the calibration are of the split 'validation'" in found.stage_sets["warning"]


def test_too_few_patients_are_refused_with_their_numbers_before_any_case_is_read(cohort):
    few = Cohort(tuple(replace(case, image=case.image.parent / "none.nii.gz") for case in cohort.cases[:20]))
    with pytest.raises(InputError, match="T1 3, T2 3, T3 3, T4 3 patients, beside 8 for the temperature; expected 4"):
        calibrate_model("demonstration", few, level=LEVEL, device="cpu")


@pytest.mark.parametrize(
    ("change", "shown_text"),
    [({"stage": None}, "42 cases have no stage"), ({"split": "test"}, "no case in split 'calibration'")],
)
def test_cohorts_that_cannot_calibrate(folder, cohort, change, shown_text):
    other = Cohort(tuple(replace(case, **change) for case in cohort))
    split = "calibration" if "split" in change else None
    with pytest.raises(InputError, match=shown_text):
        calibrate_model(str(folder), other, split=split, device="cpu")


def test_a_temperature_that_the_patients_do_not_determine_stays(folder, cohort, monkeypatch):
    """With every slice right, the lower the temperature the better: no patient limits the certainty."""
    right = {case.case_id: Seen(10.0 * np.eye(4)[[int(case.stage)]], (0,), case.case_id) for case in cohort}
    monkeypatch.setattr(calibrate, "run_network", lambda *_, **__: (right, {}))
    same = calibrate_model(str(folder), cohort, level=LEVEL)
    assert same.temperature == registry.read_card(folder).temperature
    assert "as before, which 14 other patients do not determine" in same.stage_sets["source"]


# -- the command ---------------------------------------------------------------------------------------------------


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_makes_a_model_of_ones_own(folder, cohort, seen_once, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GTRSTAGING_MODELS", str(tmp_path / "models"))
    table = tmp_path / "cohort.csv"
    fewer = [case for case in cohort if case.stage != TStage.T1 or case.case_id in ("case0", "case4", "case8")]
    write_cohort(Cohort(tuple(fewer)), table)
    calibrate_ = ("models", "calibrate", folder, table, "--device", "cpu", "--workers", "0", "--level", LEVEL)
    code, out, _ = run(capsys, *calibrate_)
    assert code == 0
    assert "T1 has 2 patients, fewer than 4: it is in every set." in out
    card = registry.read_card(tmp_path / "models" / f"{registry.read_card(folder).name}-calibrated")
    assert f"card sha256 {card.card_sha256}" in out
    assert card.stage_sets["patients"] == {**SETS, "T1": 2}
    code, out, err = run(capsys, *calibrate_)
    assert (code, out) == (1, "")
    assert "exists; expected a new folder. Choose another --out" in err


def test_the_printed_command_can_be_pasted(folder, cohort, seen_once, tmp_path, capsys):
    write_cohort(cohort, tmp_path / "cohort.csv")
    out = tmp_path / "my model"
    code, printed, _ = run(capsys, "models", "calibrate", folder, tmp_path / "cohort.csv", "--device", "cpu",
                           "--workers", "0", "--level", LEVEL, "--out", out)  # fmt: skip
    assert code == 0
    (line,) = [line for line in printed.splitlines() if "Use it: " in line]
    assert shlex.split(line.partition("Use it: ")[2]) == ["gtrstaging", "stage", "CT", "--model", str(out)]


def test_a_name_of_two_lines_is_refused_before_any_case_is_read(folder, tmp_path, capsys):
    code, _, err = run(capsys, "models", "calibrate", folder, tmp_path / "none.csv", "--out", tmp_path / "two\nlines")
    assert (code, "a text of one line" in err) == (1, True)


def test_a_place_that_cannot_be_written_is_wrong_use(folder, tmp_path, capsys):
    (tmp_path / "a file").touch()
    with pytest.raises(SystemExit) as left:
        run(capsys, "models", "calibrate", folder, tmp_path / "none.csv", "--out", tmp_path / "a file" / "own")
    assert left.value.code == 2
    assert "is a file; expected a folder" in capsys.readouterr().err


def test_the_built_in_model_cannot_be_calibrated(cohort, tmp_path, capsys):
    write_cohort(cohort, tmp_path / "cohort.csv")
    code, _, err = run(capsys, "models", "calibrate", "untrained", tmp_path / "cohort.csv")
    assert (code, "is built in" in err) == (1, True)


@pytest.mark.parametrize("wrong", [["--level", "1"], ["--workers", "-1"], ["--split", "train"]])
def test_wrong_use_is_code_2(wrong, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["models", "calibrate", "demonstration", "cohort.csv", *wrong])
    assert left.value.code == 2
    assert wrong[0] in capsys.readouterr().err
