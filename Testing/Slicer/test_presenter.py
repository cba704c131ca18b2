"""What the panel decides, without Qt: facts in; enabled buttons, tooltips and alarms out."""

import subprocess
import sys

import pytest
from GTRStagingSlicer.presenter import (
    ALARM,
    BUTTONS,
    Facts,
    Listed,
    decide,
    question_before_replacing,
    report_folder,
    told_apart,
    warnings_beside,
)
from helpers.colour_vision import contrast, rgb_of

READY = Facts(ct="A", segment=True)
STAGED = Facts(ct="A", segment=True, staged=True, map=True, sweep=True, agreement=True, folder="/f", folder_exists=True)


def test_it_needs_no_qt():
    code = (
        "import sys; sys.modules['qt'] = None; import GTRStagingSlicer.presenter; "
        "print([m for m in ('vtk', 'PySide6', 'torch') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in found.stdout
    assert "PySide6" not in found.stdout


@pytest.mark.parametrize(
    ("facts", "enabled"),
    [
        (Facts(scene=False), set()),
        (Facts(not_ready="Choose the CT volume first."), set()),
        (READY, {"applyButton", "currentSliceButton", "largestSectionButton"}),
        (Facts(ct="A", not_ready="no slice"), {"currentSliceButton"}),
        (Facts(ct="A", shown="B", segment=True), {"largestSectionButton", "showCtButton"}),
        (Facts(ct="A", running=True, staged=True, sweep=True, folder="/f"), {"cancelButton", "plotButton"}),
        (STAGED, set(BUTTONS) - {"cancelButton", "showCtButton"}),
        (
            Facts(ct="A", staged=True, stale=True, map=True, folder="/f"),
            {"applyButton", "currentSliceButton", "overlayButton", "resultLayoutButton"},
        ),
    ],
)
def test_buttons_follow_the_facts(facts, enabled):
    decision = decide(facts)
    assert decision.enabled == enabled
    assert ("applyButton" in decision.enabled) == (not decision.hint and not facts.running)
    assert bool(decision.tool_tips["exportButton"])


def test_another_volume_in_the_views_is_said_and_keeps_apply_off():
    decision = decide(Facts(ct="A", shown="B", segment=True))
    assert "“B”" in decision.other_ct
    assert "“A”" in decision.other_ct
    assert decision.hint == decision.tool_tips["currentSliceButton"] == decision.other_ct
    assert decide(READY).other_ct == ""


def test_a_segmentation_of_another_ct_is_said():
    assert "drawn on “B”, not on “A”" in decide(Facts(ct="A", drawn_on="B")).other_segmentation
    assert decide(READY).other_segmentation == ""


def test_only_a_stale_result_is_out_of_date():
    stale = decide(Facts(ct="A", staged=True, stale=True))
    assert stale.stale.startswith("OUT OF DATE")
    assert "press Apply" in stale.not_current
    assert (decide(STAGED).stale, decide(STAGED).not_current) == ("", None)
    assert decide(Facts(ct="A", stale=True)).stale == ""


def test_alarms_can_be_read_in_a_light_and_in_a_dark_slicer():
    """They set both colours, so that the palette has no part in them; WCAG 2, 1.4.3."""
    style = dict(one.split(": ") for one in ALARM[ALARM.index("{") + 1 : ALARM.index("}")].strip(" ;").split("; "))
    assert style["color"] == "white"
    back, front = rgb_of([style["background-color"], "#ffffff"])
    assert contrast(back, front) >= 4.5


def test_nodes_of_one_name_are_told_apart_by_study_or_number():
    one, two, other = Listed("1", "CT", "2026-01"), Listed("2", "CT", "2026-06"), Listed("3", "PET")
    assert told_apart([one, two, other]) == ["CT (2026-01)", "CT (2026-06)", "PET"]
    again = Listed("4", "CT", "2026-06")
    assert told_apart([one, two, again]) == ["CT (2026-01)", "CT (2 of 3)", "CT (3 of 3)"]
    assert told_apart([Listed("1", "CT"), Listed("2", "CT")]) == ["CT (1 of 2)", "CT (2 of 2)"]


def test_warnings_that_banner_and_likeness_say_are_not_said_twice():
    record = {
        "model": {"warning": "A DEMONSTRATION."},
        "familiarity": {"reasons": ["pixels of 3 mm", "much fat"]},
        "warnings": ["A DEMONSTRATION.", "NO STOMACH.", "This case is unusual. Found: pixels of 3 mm; much fat."],
    }
    assert warnings_beside(record) == ["NO STOMACH."]
    record["model"]["warning"], record["familiarity"]["reasons"] = None, []
    assert warnings_beside(record) == record["warnings"]


def test_reports_have_a_folder_by_case_and_time_and_are_not_replaced_in_silence():
    record = {"case_id": "case-1a", "provenance": {"utc": "2026-12-02T15:04:05+00:00"}}
    assert report_folder(record) == "case-1a_20261202T150405"
    assert question_before_replacing("x", []) is None
    assert "report.html" in question_before_replacing("x", ["report.html"])
