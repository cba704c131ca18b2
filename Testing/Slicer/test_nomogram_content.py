"""What the panel's nomogram shows, without Qt: terms, values and readings in; texts, states and tables out."""

import math

import pytest
from GTRStagingSlicer import nomogram_content
from GTRStagingSlicer.nomogram_content import Scale, number_content, reading_content, scale_of, selection
from GTRStagingSlicer.nomograms import Status
from GTRStagingSlicer.result_content import Bar
from helpers.entries import REFUSED

from GTRStagingLib.nomogram import nomogram
from GTRStagingLib.nomogram.nomogram import REFERENCE, Nomogram, Term

SIZE = Term("size_cm", "Tumour size", "cm", 0.3, (0.0, 15.0), typical=4.0)
LAUREN = Term("lauren", "Lauren type", levels={"intestinal": 0.0, "diffuse": 0.7}, reference="intestinal")
FITTED = Nomogram("clinic", "Fitted for this test", (-2.0, -0.5, 1.5), (SIZE, LAUREN), warnings=("Of one clinic.",))


def status(values, *, network=None, reason="why"):
    reading = FITTED.read(values) if len(values) == 2 else None
    return Status(FITTED, values, False, "", network, reading, "" if reading else reason)


def test_the_scenes_own_nomogram_is_an_entry_only_where_this_computer_lacks_it():
    names = ["a", "b"]
    nothing = selection(None, None, names)
    assert (list(nothing.entries), nothing.index, nothing.about) == (["None", "a", "b"], nomogram_content.NONE, "")
    here = selection(FITTED, "b", names)
    assert (here.entries, here.entries[here.index]) == (["None", "a", "b"], "b")
    elsewhere = selection(FITTED, None, names)
    assert elsewhere.entries == ["None", "clinic (of this scene)", "a", "b"]
    assert elsewhere.index == nomogram_content.FROM_SCENE
    assert elsewhere.about.startswith("Fitted for this test\n")


def test_a_nomogram_called_none_is_not_taken_for_no_nomogram():
    found = selection(FITTED, "None", ["None", "a"])
    assert (found.entries, found.index) == (["None", "None", "a"], 1)


def test_levels_are_offered_after_not_given_and_left_out():
    assert nomogram_content.choices(LAUREN) == {
        None: "not given",
        REFERENCE: "left out",
        "intestinal": "intestinal",
        "diffuse": "diffuse",
    }


def test_labels_state_unit_range_and_reference():
    assert nomogram_content.label_of(SIZE) == "Tumour size (cm):"
    assert nomogram_content.label_of(LAUREN) == "Lauren type:"
    assert nomogram_content.tip_of(SIZE) == "Tumour size, 0 to 15 cm; odds ratio compared with 4."
    assert nomogram_content.tip_of(LAUREN) == "Lauren type; odds ratio compared with intestinal."


@pytest.mark.parametrize(
    ("bounds", "decimals", "steps"),
    [((0.0, 15.0), 1, 150), ((-3.0, 3.0), 1, 60), ((0.0, 100.0), 0, 100), ((0, 0.4), 3, 400)],
)
def test_a_slider_has_enough_steps_and_gives_its_values_back(bounds, decimals, steps):
    scale = scale_of(Term("x", "X", "", 0.1, bounds))
    assert (scale.decimals, scale.maximum) == (decimals, steps)
    assert [scale.step_of(float(scale.value_of(step))) for step in range(steps + 1)] == list(range(steps + 1))


@pytest.mark.parametrize("value", [None, REFERENCE, "large", math.nan, math.inf, -7.0])
def test_a_slider_rests_where_a_value_has_no_step(value):
    assert Scale(0.0, 15.0, 1).step_of(value) == 0
    assert Scale(0.0, 15.0, 1).step_of(99.0) == 150


def test_controls_of_a_number_follow_its_value():
    given = number_content(SIZE, 6.5, locked=False)
    assert (given.text, given.step, given.enabled, given.style) == ("6.5", 65, True, "")
    assert given.tip == nomogram_content.tip_of(SIZE)
    empty = number_content(SIZE, None, locked=False)
    assert (empty.text, empty.placeholder, empty.enabled, empty.left_out) == ("", "not given", True, False)
    left_out = number_content(SIZE, REFERENCE, locked=False)
    assert (left_out.text, left_out.placeholder, left_out.enabled, left_out.left_out) == ("", "left out", False, True)
    assert not number_content(SIZE, 6.5, locked=True).enabled


@pytest.mark.parametrize("text", REFUSED)
def test_a_refused_value_is_marked_with_its_reason(text):
    from GTRStagingSlicer.nomograms import number_or_text

    score = Term("radscore", "Rad-score", "SD", 0.8, (-3.0, 3.0))
    content = number_content(score, number_or_text(text), locked=False)
    assert content.style == nomogram_content.REFUSED
    assert "expected a" in content.tip


def test_a_reading_has_bars_stages_and_a_row_for_each_factor():
    values = {"size_cm": 6.5, "lauren": "diffuse"}
    reading, content = FITTED.read(values), reading_content(status(values, network="T2"))
    assert content.read
    assert content.bars == {f"T{i + 1}": Bar(round(1000 * p), f"{p:.2f}") for i, p in enumerate(reading.probabilities)}
    assert f">{reading.stage}<" in content.stage
    assert ">T2<" in content.network
    assert "from the image alone" in content.network
    assert [row[0] for row in content.table.rows] == ["Tumour size", "Lauren type", "Total"]
    assert content.table.rows[-1][2] == f"{reading.total_points:.1f}"
    assert content.message == ""


def test_without_a_result_of_the_network_its_stage_is_a_dash():
    content = reading_content(status({"size_cm": 6.5, "lauren": "diffuse"}))
    assert ">–<" in content.network
    assert "no up-to-date result" in content.network


def test_without_a_reading_no_stage_of_earlier_values_is_left():
    for content, message, warnings in (
        (reading_content(status({"size_cm": 6.5}, reason="Missing values")), "Missing values", "Of one clinic."),
        (reading_content(None, "not a nomogram"), "not a nomogram", ""),
        (reading_content(None), "", ""),
    ):
        assert (content.message, content.warnings) == (message, warnings)
        assert (content.read, content.stage, content.network, content.table.rows) == (False, "", "", ())
        assert content.bars == dict.fromkeys(("T1", "T2", "T3", "T4"), Bar(0, ""))


def test_the_published_one_states_its_odds_ratios():
    found = nomogram.load(nomogram.PUBLISHED)
    assert "Rad-score, per SD: 2.39 (1.80 to 3.20), p < 0.001" in nomogram_content.about(found)
