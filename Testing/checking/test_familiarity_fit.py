"""The reference of a model: which cases fit it, and what is written into the model's folder."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.spots import HALF, a_spot_model, a_spotted_cohort

from GTRStagingLib.checking.card_writing import write_familiarity
from GTRStagingLib.checking.familiarity_fit import fit_familiarity
from GTRStagingLib.cli import main as cli
from GTRStagingLib.cohort.cohort import Cohort, write_cohort
from GTRStagingLib.errors import InputError, LeakageError, WeightsError
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model import arrays as arrays_of_models
from GTRStagingLib.model import registry, weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.staging.pipeline import stage_case

TRAINING, HELD_OUT = 24, 20


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    made = a_spotted_cohort(tmp_path_factory.mktemp("spots") / "cases", TRAINING + HELD_OUT)
    return [replace(one, split="train" if i < TRAINING else "validation") for i, one in enumerate(made)]


@pytest.fixture(scope="module")
def fitted(cases):
    return fit_familiarity(a_spot_model(), cases, device="cpu")


@pytest.fixture
def folder(tmp_path):
    weights.save(a_spot_model(), tmp_path / "model")
    return tmp_path / "model"


def test_the_card_counts_cases_and_has_no_identifiers(fitted, cases):
    found = fitted.found
    assert (found["side"], found["training_cases"], found["held_out_patients"]) == ("validation", TRAINING, HELD_OUT)
    assert found["parts"] == ["features", "picture", "tissue", "acquisition"]
    assert found["ranges"]["slice_mm"] == [5.0, 5.0]
    text = json.dumps(found, allow_nan=False)
    assert not any(case.case_id in text or case.patient_id in text or str(case.image) in text for case in cases)


def test_calibration_patients_take_the_place_of_validation(cases):
    moved = [replace(one, split="calibration") if one.split == "validation" else one for one in cases]
    extra = [replace(one, case_id=f"extra{i}", patient_id=f"extra{i}", split="validation")
             for i, one in enumerate(cases[:3])]  # fmt: skip
    found = fit_familiarity(a_spot_model(), [*moved, *extra], device="cpu").found
    assert (found["side"], found["held_out_patients"]) == ("calibration", HELD_OUT)


def test_one_case_of_each_patient_is_held_out(cases):
    """Ten further cases of one patient change nothing."""
    repeated = [replace(cases[-1], case_id=f"again{i}", image=cases[0].image, roi=cases[0].roi) for i in range(10)]
    alone, more = (fit_familiarity(a_spot_model(), one, device="cpu") for one in (cases, [*cases, *repeated]))
    np.testing.assert_array_equal(more.reference.held_out, alone.reference.held_out)


def test_at_most_some_training_cases_are_used(cases):
    found = fit_familiarity(a_spot_model(), cases, device="cpu", most=20)
    assert (found.found["training_cases"], found.found["cohort_training_cases"]) == (20, TRAINING)


def test_too_few_patients_are_refused(cases):
    with pytest.raises(InputError, match=r"24 cases of the split 'train' and 5 patients of the split 'validation'"):
        fit_familiarity(a_spot_model(), cases[: TRAINING + 5], device="cpu")


def test_held_out_patients_that_trained_are_refused(cases):
    own = [replace(case, case_id=f"again{i}", split="validation") for i, case in enumerate(cases[:3])]
    with pytest.raises(LeakageError, match="patients of the split 'validation' that are also in the split 'train': 3;"):
        fit_familiarity(a_spot_model(), [*cases, *own], device="cpu")


def trained_on(cases, patients):
    model = a_spot_model()
    training = {"data": {"training": {"cases": cases, "patients": patients}}}
    return replace(model, card=replace(model.card, training=training))


@pytest.mark.parametrize("on_card", [(TRAINING + 1, TRAINING), (TRAINING, TRAINING - 1)])
def test_another_cohort_than_that_of_the_training_is_refused(cases, on_card):
    """The table of a hospital, which the model never saw, would make its patients familiar."""
    with pytest.raises(InputError, match=rf"24 cases of 24 patients.*expected {on_card[0]} cases of {on_card[1]} pat"):
        fit_familiarity(trained_on(*on_card), cases, device="cpu")


def test_the_cohort_is_compared_before_cases_are_drawn(cases):
    found = fit_familiarity(trained_on(TRAINING, TRAINING), cases, device="cpu", most=20).found
    assert found["training_cases"] == 20


def test_a_case_that_cannot_be_read_is_left_out(cases, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    found = fit_familiarity(a_spot_model(), [replace(cases[0], image=broken), *cases[1:]], device="cpu")
    assert list(found.left_out) == [cases[0].case_id]
    assert (found.found["training_cases"], found.found["left_out"]) == (TRAINING - 1, 1)


def test_the_folder_contains_the_reference_and_the_same_weights(folder, fitted, cases):
    before = (folder / weights.WEIGHTS_FILE).read_bytes()
    assert weights.load(str(folder)).reference is None
    card = write_familiarity(fitted, folder, weights_sha256=registry.read_card(folder).sha256)
    model = weights.load(str(folder))
    assert model.card == card == registry.read_card(folder)
    assert (folder / weights.WEIGHTS_FILE).read_bytes() == before
    np.testing.assert_allclose(model.reference.held_out, fitted.reference.held_out)
    result = stage_case(read_scan(cases[-1].image), ready(model, "cpu", "torch"), key_slice=1)
    assert result.familiarity.verdict in ("usual", "unusual")
    assert f"the {HELD_OUT} held-out ones (validation)" in result.familiarity.promise


def test_altered_arrays_are_not_loaded(folder, fitted):
    write_familiarity(fitted, folder)
    path = folder / arrays_of_models.FEATURES_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="its card gives"):
        weights.load(str(folder))


def test_weights_that_were_replaced_meanwhile_get_no_reference(folder, fitted):
    with pytest.raises(WeightsError, match="replaced during the check"):
        write_familiarity(fitted, folder, weights_sha256="0" * 64)
    assert registry.read_card(folder).familiarity is None


def test_a_card_with_a_reference_and_no_arrays_is_refused(folder, fitted):
    card = write_familiarity(fitted, folder)
    with pytest.raises(WeightsError, match="the hash of its arrays"):
        replace(card, features_sha256=None)
    with pytest.raises(WeightsError, match="the hash of its arrays"):
        replace(card, familiarity={}, features_sha256=None)
    with pytest.raises(WeightsError, match="training_cases"):
        replace(card, familiarity={})


def test_the_command_writes_what_the_model_learned_from(folder, cases, tmp_path, capsys):
    table = tmp_path / "cohort.csv"
    write_cohort(Cohort(tuple(cases)), table)
    command = ["models", "familiarity", str(folder), str(table), "--workers", "0", "--device", "cpu"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert f"Fitted to {TRAINING} training cases, compared by features, picture, tissue, acquisition." in out
    assert f"Of patients like the {HELD_OUT} held-out ones (validation)" in out
    assert weights.load(str(folder)).card.recipe == HALF
    assert registry.read_card(folder).familiarity["training_cases"] == TRAINING
    assert cli.main(["models", "show", str(folder)]) == 0
    assert (
        f"by the table given: {TRAINING} of {TRAINING} training cases, compared with {HELD_OUT} held-out patients"
        in capsys.readouterr().err
    )


def test_the_built_in_model_has_no_card_to_write(tmp_path, capsys):
    assert cli.main(["models", "familiarity", "untrained", str(tmp_path / "none.csv")]) == 1
    err = capsys.readouterr().err
    assert "is built in" in err
    assert "dry-run" not in err


@pytest.mark.parametrize("wrong", [["--cases", "0"], ["--workers", "-1"], ["--seed", "-1"]])
def test_wrong_use_is_code_2(tmp_path, wrong, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["models", "familiarity", "demonstration", str(tmp_path / "none.csv"), *wrong])
    assert left.value.code == 2
    assert wrong[0] in capsys.readouterr().err
