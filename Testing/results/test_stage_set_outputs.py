"""The stage set in the outputs of a case: record, words, report, overlay, row of a batch."""

import json
from dataclasses import replace

import jsonschema
import pytest
from helpers import results

from GTRStagingLib.batch.records import row_of
from GTRStagingLib.results import overlay, report, words
from GTRStagingLib.results.record import schema, to_json
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.stage_set import StageSet

PATIENTS = dict.fromkeys(TStage, 60)
PAIR = StageSet((TStage.T2, TStage.T3), 0.9, PATIENTS)
WITHHELD = StageSet((), 0.9, PATIENTS, "the case is unlike the training")
WEAKER = replace(PAIR, warning="The model was chosen by these patients.")
FEW = replace(PAIR, patients={**PATIENTS, TStage.T1: 8})


def shown(found):
    return replace(results.split_vote(), stage_set=found)


def test_the_record_contains_the_set():
    record = to_json(shown(PAIR))
    jsonschema.Draft202012Validator(schema()).validate(record)
    assert record["prediction"]["set"] == {
        "stages": ["T2", "T3"], "level": 0.9, "text": "T2–T3", "patients": {"T1": 60, "T2": 60, "T3": 60, "T4": 60},
        "withheld": None, "warning": None,
    }  # fmt: skip
    weaker = to_json(shown(WEAKER))
    jsonschema.Draft202012Validator(schema()).validate(weaker)
    assert weaker["prediction"]["set"]["warning"] == "The model was chosen by these patients."
    assert record["provenance"]["card_sha256"] == shown(PAIR).provenance.card_sha256
    withheld = to_json(shown(WITHHELD))
    jsonschema.Draft202012Validator(schema()).validate(withheld)
    assert withheld["prediction"]["set"]["withheld"] == "the case is unlike the training"
    assert to_json(shown(None))["prediction"]["set"] is None


@pytest.mark.parametrize(("stages", "withheld"), [([], None), (["T2"], "a reason"), (["T5"], None)])
def test_the_schema_refuses_contradictory_sets(stages, withheld):
    record = to_json(shown(PAIR))
    record["prediction"]["set"] |= {"stages": stages, "withheld": withheld}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(record)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (None, "no stage set: the model has no calibration"),
        (WITHHELD, "withheld: the case is unlike the training"),
        (PAIR, "T2–T3: contains the true stage in 90 % or more of the patients of each stage, on average over "
               "calibrations, if they are like those of the calibration (T1 60, T2 60, T3 60, T4 60)"),
        (WEAKER, "T2–T3: meant to contain the true stage in 90 % of the patients of each stage, but may do so less "
                 "often: see the warnings (calibration: T1 60, T2 60, T3 60, T4 60)"),
    ],
)  # fmt: skip
def test_the_set_in_words_on_the_report(found, sentence):
    assert words.stage_set_in_words(shown(found)) == sentence
    page = report.html(shown(found), overlay.png(shown(found)))
    assert f"<dt>Stage set</dt><dd>{sentence[0].upper()}{sentence[1:]}</dd>" in page


def test_the_words_name_stages_that_no_set_can_exclude():
    assert words.stage_set_in_words(shown(FEW)).endswith("; T1 is in every set, for too few patients")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (PAIR, "Stage set T2–T3 (90 %)"),
        (WEAKER, "Stage set T2–T3 (90 %, weaker promise)"),
        (WITHHELD, "Stage set withheld"),
        (None, "No stage set"),
    ],
)
def test_the_overlay_shows_the_set_on_a_line_of_its_own(found, text):
    assert {text, "2 of 3 slices"} <= {one.words for one in overlay.render(shown(found)).texts}


@pytest.mark.parametrize(
    ("found", "text", "note"),
    [
        (PAIR, "T2-T3", "90 %"),  # a plain hyphen, which Excel reads in a CSV
        (WITHHELD, "", "the case is unlike the training"),
        (None, "", "the model has no calibration"),
    ],
)
def test_the_row_of_a_batch(found, text, note):
    row = row_of(shown(found))
    assert (row["stage_set"], row["stage_set_note"]) == (text, note)
    assert row["card_sha256"] == shown(found).provenance.card_sha256


def test_two_calibrations_of_the_same_weights_have_different_hashes():
    card = results.a_small_model().card
    assert replace(card, temperature=1.5).card_sha256 != card.card_sha256
    assert json.loads(card.to_text()) == json.loads(json.dumps(card.to_json()))
