"""What the panel's result shows, without Qt: a record in; texts, bars, tables and styles out."""

import copy

import pytest
from GTRStagingSlicer import result_content
from GTRStagingSlicer.presenter import ALARM
from GTRStagingSlicer.result_content import Bar, agreement_content, stage_content
from helpers.results import with_roi, without_roi

from GTRStagingLib.results.record import to_json


@pytest.fixture(scope="module")
def of_roi():
    return to_json(with_roi())


@pytest.fixture
def record(of_roi):
    return copy.deepcopy(of_roi)


def test_bars_and_votes_are_the_probabilities_of_the_record(record):
    record["prediction"]["probabilities"] = [0.1, 0.2, 0.6994, 0.0006]
    content = stage_content(record)
    assert content.stage == record["prediction"]["stage"]
    assert content.bars == {
        "T1": Bar(100, "0.10"),
        "T2": Bar(200, "0.20"),
        "T3": Bar(699, "0.70"),
        "T4": Bar(1, "0.00"),
    }
    assert content.votes.heads == ["Slice", "Vote", "T1", "T2", "T3", "T4"]
    by_offset = {one["offset"]: one for one in record["prediction"]["slices"]}
    named = [row[0] for row in content.votes.rows]
    assert named == [
        f"{by_offset[1]['index']} (+1)",
        f"{by_offset[0]['index']} (key)",
        f"{by_offset[-1]['index']} (-1)",
    ]
    assert [row[1] for row in content.votes.rows] == [by_offset[i]["stage"] for i in (1, 0, -1)]


@pytest.mark.parametrize("stage", ["T1", "T2", "T3", "T4"])
def test_every_stage_has_its_meaning_beside_the_vote(record, stage):
    record["prediction"]["stage"] = stage
    assert f"<br>{result_content.meaning_of(stage)}<br>" in stage_content(record).vote


def test_a_case_unlike_the_training_is_an_alarm_as_large_as_the_stage(record):
    record["familiarity"].update(verdict="usual")
    usual = stage_content(record)
    record["familiarity"].update(verdict="unlike")
    unlike = stage_content(record)
    assert (usual.likeness_style, unlike.likeness_style) == ("", ALARM)
    assert "font-size: 13px" in usual.likeness
    assert "font-size: 44px" in unlike.likeness


def test_only_a_failed_check_of_the_shown_method_is_an_alarm(record):
    method = record["attention"]["method"]
    for check, style in (
        ({"verdict": "failed", "method": method}, ALARM),
        ({"verdict": "failed", "method": "another"}, result_content.BOLD),
        ({"verdict": "passed", "method": method}, result_content.BOLD),
        (None, result_content.BOLD),
    ):
        record["model"]["check"] = check
        assert stage_content(record).map_style == style


def test_details_give_slice_model_device_and_the_sum_of_the_seconds(record):
    record["timings_s"] = {"reading": 0.5, "network": 1.25}
    record["key_slice"].update(index=7, position_mm=-12.34)
    record["provenance"]["device"], record["model"]["name"] = "cpu", "mine"
    assert stage_content(record).details == "Key slice 7 at S -12.3 mm. Model mine. cpu, 1.8 s."


def test_text_of_a_record_is_no_markup(record):
    record["familiarity"].update(verdict="unlike", reasons=["<b>pixels</b>"])
    record["prediction"]["set"] = {"text": "", "stages": [], "withheld": "<unlike>", "warning": None}
    content = stage_content(record)
    assert "&lt;unlike&gt;" in content.vote
    assert "<b>pixels" not in content.likeness


def test_an_agreement_is_of_the_threshold_that_is_asked_for(record):
    cuts = {round(one["threshold"], 2): one for one in record["agreement"]["sweep"]}
    assert cuts[0.3]["dice"] != cuts[0.8]["dice"]
    for threshold in (0.3, 0.8):
        content = agreement_content(record, threshold)
        assert f"{cuts[threshold]['dice']:.3f}" in content.text
        assert ["Dice", f"{cuts[threshold]['dice']:.3f}"] in content.table.rows
    hits = {}
    for hit in (True, False, None):
        record["agreement"]["pointing_hit"] = hit
        hits[hit] = dict(agreement_content(record, 0.5).table.rows)["Maximum lies in the ROI"]
    assert hits == {True: "yes", False: "no", None: "–"}


def test_without_a_result_or_a_segment_there_is_a_reason_and_no_table():
    for record, text in ((None, "Stage a case first."), (to_json(without_roi()), "No segment was chosen")):
        content = agreement_content(record, 0.5)
        assert content.text.startswith(text)
        assert content.table is None


def test_every_step_of_a_run_has_words():
    from GTRStagingSlicer.time_left import USUAL_S

    words = [result_content.step_in_words(step) for step in USUAL_S]
    assert all(text.endswith("…") for text in words)
    assert len(set(words)) == len(USUAL_S)
