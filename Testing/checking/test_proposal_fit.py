"""The head that proposes key slices: which slices fit it, and what is written into the model's folder."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from helpers.long_scans import SLICES, STEP_MM, a_long_cohort
from helpers.spots import a_spot_model

from GTRStagingLib.checking.card_writing import write_proposal
from GTRStagingLib.checking.proposal_fit import SeenSlices, distances_mm, fit_head, fit_proposal
from GTRStagingLib.cli import main as cli
from GTRStagingLib.cohort.cohort import Cohort, write_cohort
from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.model import arrays as arrays_of_models
from GTRStagingLib.model import registry, weights

PATIENTS = 21


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return a_long_cohort(tmp_path_factory.mktemp("long") / "cases", PATIENTS)


@pytest.fixture(scope="module")
def fitted(cases):
    return fit_proposal(a_spot_model(), cases, device="cpu")


@pytest.fixture
def folder(tmp_path):
    weights.save(a_spot_model(), tmp_path / "model")
    return tmp_path / "model"


# -- the fit -------------------------------------------------------------------------------------------------------


def test_the_proposals_are_the_slices_of_the_largest_area(fitted):
    """The network's feature grows with the disc, so that no proposal is wrong by more than a slice."""
    assert fitted.found["p90_mm"] <= STEP_MM
    assert fitted.found["median_mm"] == 0


def test_the_card_counts_slices_and_has_no_identifiers(fitted, cases):
    found = fitted.found
    assert (found["training_cases"], found["training_patients"], found["left_out"]) == (PATIENTS, PATIENTS, 0)
    assert (found["slices"], found["tumour_slices"]) == (PATIENTS * SLICES, PATIENTS * 5)
    assert found["command"] == "gtrstaging models proposal"
    text = json.dumps(found, allow_nan=False)
    assert not any(case.case_id in text or case.patient_id in text or str(case.image) in text for case in cases)


def test_patients_outside_the_training_are_not_even_read(cases, fitted, tmp_path):
    others = [
        replace(cases[0], case_id=split, patient_id=split, split=split, image=tmp_path / "none.nii.gz")
        for split in ("validation", "test", "calibration")
    ]
    again = fit_proposal(a_spot_model(), [*cases, *others], device="cpu")
    assert again.left_out == {}
    np.testing.assert_array_equal(again.head.weights, fitted.head.weights)


def test_a_case_without_an_roi_is_left_out(cases):
    found = fit_proposal(a_spot_model(), [replace(cases[0], roi=None), *cases[1:]], device="cpu")
    assert found.left_out == {cases[0].case_id: "It has no ROI; expected the tumour's."}
    assert found.found["training_patients"] == PATIENTS - 1


def test_too_few_patients_are_refused(cases):
    with pytest.raises(InputError, match="19 patients of the split 'train' have an ROI.*at least 20"):
        fit_proposal(a_spot_model(), cases[:19], device="cpu")


def test_another_cohort_than_that_of_the_training_is_refused(cases):
    model = a_spot_model()
    training = {"data": {"training": {"cases": PATIENTS + 1, "patients": PATIENTS}}}
    with pytest.raises(InputError, match=f"expected {PATIENTS + 1} cases of {PATIENTS} patients"):
        fit_proposal(replace(model, card=replace(model.card, training=training)), cases, device="cpu")


def test_cases_of_a_patient_are_in_one_fold():
    """Labels are drawn at random, and each case occurs twice: only a patient in two folds would make them known."""
    rng = np.random.default_rng(0)
    seen, patients = [], []
    for patient in range(30):
        x, area = rng.normal(size=(8, 300)).astype(np.float32), (rng.random(8) < 0.5).astype(float)
        area[0] = 1.0
        seen += [SeenSlices(x, area, np.arange(8.0), "")] * 2
        patients += [f"p{patient}"] * 2
    _, chosen = fit_head(seen, patients)
    _, in_two_folds = fit_head(seen, [f"case{i}" for i in range(len(seen))])
    assert chosen["log_loss"] > 0.6
    assert in_two_folds["log_loss"] < 0.3


def test_distances_are_those_of_the_smoothed_scores():
    """The lone peak at 0 mm loses against the broad one at 35 mm when it is smoothed."""
    area = np.eye(10)[7]
    one = SeenSlices(np.zeros((10, 1)), area, 5.0 * np.arange(10), "")
    log_odds = [np.array([3.0, -9, -9, -9, -9, 2, 2, 2.5, 2, 2])]
    assert distances_mm([one], log_odds, 0.0).tolist() == [35.0]
    assert distances_mm([one], log_odds, 5.0).tolist() == [0.0]


# -- the folder ----------------------------------------------------------------------------------------------------


def test_the_folder_contains_the_head_and_the_same_weights(folder, fitted):
    before, card_before = (folder / weights.WEIGHTS_FILE).read_bytes(), registry.read_card(folder)
    assert weights.load(str(folder)).proposal_head is None
    card = write_proposal(fitted, folder, weights_sha256=card_before.sha256)
    model = weights.load(str(folder))
    assert model.card == card == registry.read_card(folder)
    assert card.card_sha256 != card_before.card_sha256
    assert (folder / weights.WEIGHTS_FILE).read_bytes() == before
    np.testing.assert_allclose(model.proposal_head.weights, fitted.head.weights, rtol=1e-6)
    assert (model.proposal_head.smoothing_mm, model.proposal_head.patients) == (fitted.head.smoothing_mm, PATIENTS)


def test_a_copy_with_the_head_has_the_same_weights(folder, fitted, tmp_path):
    card = write_proposal(fitted, folder, out=tmp_path / "copy")
    assert (card.name, registry.read_card(folder).proposal) == ("copy", None)
    assert weights.load(str(tmp_path / "copy")).proposal_head is not None
    assert (tmp_path / "copy" / weights.WEIGHTS_FILE).read_bytes() == (folder / weights.WEIGHTS_FILE).read_bytes()
    with pytest.raises(WeightsError, match="exists; expected a new folder"):
        write_proposal(fitted, folder, out=tmp_path / "copy")
    with pytest.raises(WeightsError, match="was replaced during the fit of the head"):
        write_proposal(fitted, folder, out=tmp_path / "other", weights_sha256="0" * 64)


def test_a_damaged_head_is_not_loaded(folder, fitted):
    write_proposal(fitted, folder)
    path = folder / arrays_of_models.PROPOSAL_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="its card gives"):
        weights.load(str(folder))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"weights": np.ones(7, np.float32), "bias": np.zeros(1, np.float32)}, r"have the shapes \(7,\) and \(1,\)"),
        ({"weights": np.zeros(512, np.float32), "bias": np.zeros(1, np.float32)}, "weights are all 0"),
        ({"weights": np.full(512, np.nan, np.float32), "bias": np.zeros(1, np.float32)}, "not finite"),
        ({"weights": np.ones(512, np.float32)}, "has the arrays weights; expected weights and bias"),
    ],
)
def test_the_head_of_another_model_is_refused(folder, fitted, arrays, message):
    from GTRStagingLib.support.files import sha256_of

    card = write_proposal(fitted, folder)
    safetensors.numpy.save_file(arrays, folder / arrays_of_models.PROPOSAL_FILE)
    card = replace(card, proposal_sha256=sha256_of(folder / arrays_of_models.PROPOSAL_FILE))
    (folder / registry.CARD_FILE).write_text(card.to_text())
    with pytest.raises(WeightsError, match=f"{message}.*Fit it again"):
        weights.load(str(folder))


def test_a_card_with_a_head_and_no_hash_or_counts_is_refused(folder, fitted):
    card = write_proposal(fitted, folder)
    for wrong in ({"proposal_sha256": None}, {"proposal": None}, {"proposal": {**fitted.found, "slices": 0}},
                  {"proposal": {**fitted.found, "smoothing_mm": None}}):  # fmt: skip
        with pytest.raises(WeightsError, match="Fit the head again"):
            replace(card, **wrong)


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_writes_the_head(folder, cases, tmp_path, capsys):
    table = tmp_path / "cohort.csv"
    write_cohort(Cohort(tuple(cases)), table)
    out = tmp_path / "with-head"
    command = ["models", "proposal", str(folder), str(table), "--workers", "0", "--device", "cpu", "--out", str(out)]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert f"fitted to {PATIENTS * SLICES} slices of {PATIENTS} training patients" in printed
    assert registry.read_card(folder).proposal is None
    assert cli.main(["models", "show", str(out)]) == 0
    assert f"fitted to {PATIENTS * SLICES} slices" in capsys.readouterr().err
    assert cli.main(["models", "show", str(folder)]) == 0
    assert "no head that proposes key slices" in capsys.readouterr().err


def test_the_built_in_model_has_no_card_to_write(tmp_path, capsys):
    assert cli.main(["models", "proposal", "untrained", str(tmp_path / "none.csv")]) == 1
    assert "is built in" in capsys.readouterr().err
