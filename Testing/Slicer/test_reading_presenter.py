"""What the panel of GTR Reading shows, decided from facts: without Qt, and without a scene."""

import doctest
import importlib
from datetime import UTC, datetime
from typing import get_args

import pytest
from GTRReadingSlicer import keys, presenter
from GTRReadingSlicer.answer_form import STAGES, SUBSTAGES, Form
from GTRReadingSlicer.presenter import Facts, decide

from GTRStagingLib.reading import answers, session
from GTRStagingLib.reading.advice import PARTS, Advice
from GTRStagingLib.stages import TStage

WHOLE = Advice(TStage.T3, (TStage.T3, TStage.T2, TStage.T3), (0.1, 0.2, 0.6, 0.1), "T2-T3")


def shown(**facts):
    return decide(Facts(state="reading", displayed=True, slices=40, slice=10, place=12, total=60, **facts))


@pytest.mark.parametrize("name", ["answer_form", "presenter"])
def test_the_examples_hold(name):
    result = doctest.testmod(importlib.import_module(f"GTRReadingSlicer.{name}"))
    assert (result.failed, result.attempted > 0) == (0, True)


def test_words_are_those_of_the_session():
    states = {presenter.CLOSED, presenter.READING, presenter.PAUSED, presenter.WASHING_OUT, presenter.FINISHED}
    assert states == set(get_args(session.State))
    assert tuple(stage.name for stage in TStage) == STAGES
    assert SUBSTAGES == answers.SUBSTAGES


# -- the form ------------------------------------------------------------------------------------------------------


def test_a_form_begins_without_stage_and_number():
    assert Form().number is None
    assert "stage" in Form().missing
    assert "confidence" in Form().with_stage("T2").missing
    assert Form(stage="T2", confidence="0").missing == ""


NUMBERS = {"0": 0, "100": 100, " 70 ": 70, "101": None, "-1": None, "7.5": None, "": None, "1e1": None, "٧": None,
           "0070": None}  # fmt: skip


@pytest.mark.parametrize(("text", "number"), NUMBERS.items())
def test_the_confidence_is_a_whole_number_up_to_100(text, number):
    assert Form(confidence=text).number == number


def test_substages_belong_to_t4_and_can_be_taken_back():
    assert Form().with_stage("T3").with_substage("T4a").substage is None
    chosen = Form().with_stage("T4").with_substage("T4a")
    assert chosen.substage == "T4a"
    assert chosen.with_substage("T4b").substage == "T4b"
    assert chosen.with_substage("T4a").substage is None
    assert chosen.with_stage("T1").with_stage("T4").substage is None


# -- the panel -----------------------------------------------------------------------------------------------------


def test_start_needs_a_study_and_a_name():
    assert "startButton" not in decide(Facts()).enabled
    assert "startButton" not in decide(Facts(readers=True)).enabled
    ready = decide(Facts(readers=True, reader="r1"))
    assert {"startButton", "readerSelector"} <= ready.enabled
    assert "startBox" in ready.visible
    assert not {"caseBox", "screenBox", "pauseButton", "endButton"} & ready.visible


def test_nothing_of_the_model_is_in_the_panel_without_advice():
    decision = shown()
    assert not {"adviceBox", "mapCheckBox"} & decision.visible
    assert decision.texts["adviceLabel"] == ""
    assert decision.texts["phaseLabel"] == "without the model"


@pytest.mark.parametrize("part", [part for part in PARTS if part != "map"])
def test_each_part_of_the_advice_is_shown_by_itself(part):
    (row,) = presenter.advice_rows(WHOLE.only([part]), [part])
    expected = {"stage": "T3", "votes": "T3 T2 T3", "probabilities": "T1 10 %, T2 20 %, T3 60 %, T4 10 %",
                "set": "T2-T3"}  # fmt: skip
    assert row[1] == expected[part]
    decision = shown(advice=WHOLE.only([part]), shows=(part,), phase="aided")
    assert "adviceBox" in decision.visible
    assert "mapCheckBox" not in decision.visible
    assert expected[part] in decision.texts["adviceLabel"]


def test_a_part_that_a_case_lacks_is_not_given():
    assert presenter.advice_rows(Advice(stage=TStage.T1), ["stage", "set"]) == [("Stage", "T1"),
                                                                                ("Stage set", "not given")]  # fmt: skip


def test_the_map_has_its_switch_if_the_case_has_one(tmp_path):
    assert "mapCheckBox" in shown(advice=Advice(map=tmp_path / "map.nii.gz"), shows=("map",)).visible


def test_progress_counts_training_cases_apart():
    assert shown().texts["progressLabel"] == "12 of 60"
    training = decide(Facts(state="reading", displayed=True, place=1, total=4, practice=True))
    assert training.texts["progressLabel"] == "Training case 1 of 4: it is not analysed"


def test_the_key_slice_is_named_if_the_design_marks_it():
    assert shown().texts["sliceLabel"] == "Slice 10 (0 to 39)"
    assert "keySliceButton" not in shown().visible
    marked = shown(key_slice=10)
    assert marked.texts["sliceLabel"] == "Slice 10 (0 to 39), key slice"
    assert "keySliceButton" in marked.visible
    assert shown(key_slice=11).texts["sliceLabel"] == "Slice 10 (0 to 39)"


@pytest.mark.parametrize(("state", "says", "button"), [
    ("paused", "Paused", "Go on"), ("finished", "Thank you", ""), ("reading", "not on the screen", "Show the case"),
])  # fmt: skip
def test_without_a_case_there_is_a_screen(state, says, button):
    decision = decide(Facts(state=state))
    assert says in decision.texts["screenLabel"]
    assert decision.texts["goOnButton"] == button
    assert ("goOnButton" in decision.visible) == bool(button)
    assert not {"caseBox", "pauseButton", "startBox"} & decision.visible


def test_the_wash_out_names_the_day():
    opens = datetime(2026, 2, 2, 12, 0, tzinfo=UTC)
    text, button = presenter.screen(Facts(state="washing out", opens=opens))
    assert f"{opens.astimezone():%Y-%m-%d %H:%M}" in text
    assert button == "Look again"


def test_substages_are_enabled_with_t4_alone():
    assert not {"T4aButton", "T4bButton"} & shown(stage="T3").enabled
    assert {"T4aButton", "T4bButton"} <= shown(stage="T4").enabled


def test_every_decided_name_is_known():
    for state in get_args(session.State):
        for displayed in (False, True):
            decision = decide(Facts(state=state, displayed=displayed, advice=WHOLE, mark=True, key_slice=1))
            assert decision.visible | decision.enabled <= set(presenter.DECIDED)


def test_missing_packages_are_named():
    assert presenter.lacking_packages("") == ""
    assert "filelock, nibabel" in presenter.lacking_packages("filelock, nibabel")


def test_keys_of_the_panel_are_those_of_the_browser_page():
    """What the page names in its list, but for the size of the image, which is Slicer's own."""
    text = keys.help_table()
    for key in ("1 2 3 4", "A B", "Space", "Enter", "Shift + arrows"):
        assert key in text
    letters = {key.lower() for key in keys.KEYS if len(key) == 1}
    assert letters == set("1234abcnrkmtp")
