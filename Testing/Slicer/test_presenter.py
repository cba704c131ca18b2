"""What the panel decides, without Qt: facts in; enabled buttons, tooltips and alarms out."""

import subprocess
import sys

import pytest
from GTRStagingSlicer.presenter import (
    ALARM,
    BUTTONS,
    Facts,
    Listed,
    batch,
    batch_ended_early,
    batch_progress,
    choices,
    decide,
    dicom_buttons,
    keeps_key_slice,
    packages,
    profile_in_html,
    question_before_replacing,
    report_folder,
    stomach_hint,
    told_apart,
    warnings_beside,
)
from helpers.colour_vision import contrast, rgb_of

READY = Facts(ct="A", segment=True)
STAGED = Facts(ct="A", segment=True, staged=True, map=True, sweep=True, agreement=True, folder="/f", folder_exists=True)


@pytest.mark.parametrize(
    "module", ["presenter", "result_content", "nomogram_content", "key_slice_content", "candidates", "case_list"]
)
def test_decisions_need_no_qt(module):
    code = (
        f"import sys; sys.modules['qt'] = sys.modules['ctk'] = None; import GTRStagingSlicer.{module}; "
        "print([m for m in ('PySide6', 'torch') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


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


def test_a_list_begins_with_a_row_that_chooses_nothing():
    found = choices("Choose the CT", {"id1": "CT", "id2": "CT"}, "id2")
    assert found.rows == (("", "Choose the CT"), ("id1", "CT"), ("id2", "CT"))
    assert found.index == 2
    for chosen in ("", "deleted"):
        assert choices("Choose the CT", {"id1": "CT"}, chosen).index == 0
    assert choices("None", {}, "").rows == (("", "None"),)


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


# -- the other sections --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({}, True),
        ({"other_scan": True}, False),
        ({"other_segment": True}, True),  # a slice chosen by hand has nothing to do with the segment
        ({"by_area": True}, True),
        ({"other_segment": True, "by_area": True}, False),
        ({"within": False}, False),
    ],
)
def test_a_key_slice_is_kept_only_for_what_it_was_chosen_on(changed, kept):
    facts = {"other_scan": False, "other_segment": False, "by_area": False, "within": True, **changed}
    assert keeps_key_slice(**facts) is kept


def test_a_recognised_stomach_is_named_unless_one_is_chosen():
    assert stomach_hint(["organs / S"], chosen=False) == "Recognised: organs / S"
    assert stomach_hint(["a / S", "b / S"], chosen=False).startswith("Several are recognised: a / S, b / S.")
    assert stomach_hint(["a / S"], chosen=True) == stomach_hint([], chosen=False) == ""


@pytest.mark.parametrize(
    ("familiarity", "stale", "style"),
    [("usual", False, ""), ("unlike", False, ALARM), (None, False, ALARM), ("usual", True, ALARM)],
)
def test_an_outdated_profile_and_one_unlike_the_training_are_alarms(familiarity, stale, style):
    marked = profile_in_html(["T3 in 4 of 5 <slices>.", "A note."], familiarity, stale=stale)
    assert marked.style == style
    assert marked.text.startswith("<b>T3 in 4 of 5 &lt;slices&gt;.</b><br>")
    assert ("Press “Stage along the scan”" in marked.text) is stale
    assert marked.text.endswith("<br>A note.")


def test_dicom_is_offered_for_a_result_that_can_be_exported_and_an_obstacle_is_said():
    free = dicom_buttons(idle=True, obstacle=None)
    assert (free.enabled, "database" in free.export_tip, "server" in free.send_tip) == (True, True, True)
    hindered = dicom_buttons(idle=True, obstacle="No DICOM.")
    assert (hindered.enabled, hindered.export_tip, hindered.send_tip) == (False, "No DICOM.", "No DICOM.")
    assert not dicom_buttons(idle=False, obstacle=None).enabled


@pytest.mark.parametrize(
    ("lacking", "lacking_full", "removable", "text", "visible"),
    [
        ("", False, False, "all installed", set()),
        ("", True, True, "light installation", {"fullButton", "wheelsButton", "removeButton"}),
        ("jinja2", True, False, "missing: jinja2", {"installButton", "fullButton", "wheelsButton"}),
        ("", False, True, "all installed", {"removeButton"}),
    ],
)
def test_the_row_of_the_packages_offers_what_would_change_something(lacking, lacking_full, removable, text, visible):
    row = packages(lacking, lacking_full=lacking_full, removable=removable)
    assert (row.text, row.visible) == (text, visible)


def test_a_batch_starts_with_a_table_and_a_folder_and_one_at_a_time():
    facts = {"scene": True, "running": False, "table": "t", "folder": "f"}
    assert batch(**facts).can_start
    for missing in ({"scene": False}, {"table": ""}, {"folder": ""}):
        found = batch(**{**facts, **missing})
        assert (found.can_start, found.tip) == (False, "Choose a case table and a folder for the results.")
    assert batch(**{**facts, "running": True}).tip == "A batch is running."
    assert not batch(**{**facts, "running": True}).can_start


def test_the_progress_of_a_batch_has_the_time_left_until_all_are_done():
    assert batch_progress(2, 10, 0, 59.0) == "2 of 10 cases, 0 failed. 1 min left."
    assert batch_progress(2, 10, 0, 0.0) == "2 of 10 cases, 0 failed. 0 min left."
    assert batch_progress(2, 10, 0) == "2 of 10 cases, 0 failed."
    assert batch_progress(10, 10, 3, 5.0) == "10 of 10 cases, 3 failed."


@pytest.mark.parametrize(
    ("code", "failed", "stopped", "early"),
    [(0, 0, False, False), (1, 2, False, False), (1, 0, False, True), (2, 2, False, True), (-9, 0, False, True),
     (-15, 0, True, False)],
)  # fmt: skip
def test_a_batch_that_ends_for_another_reason_than_its_cases_is_an_error(code, failed, stopped, early):
    assert batch_ended_early(code, failed=failed, stopped=stopped) is early
