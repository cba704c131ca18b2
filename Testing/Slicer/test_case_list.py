"""The list of results: its rows and buttons, without Qt; and Show, Delete and Export in the panel."""

import json

import pytest
import SimpleITK as sitk
from GTRStagingSlicer import case_list, case_results, layers, nodes, samples
from GTRStagingSlicer.state import State
from helpers.lists import choose_node


def a_record(stage, utc):
    return {
        "attention": {"layers": ["head"], "empty": [False]},
        "model": {"name": "a model"},
        "agreement": None,
        "prediction": {"stage": stage},
        "provenance": {"utc": utc},
    }


@pytest.fixture
def three(bare, a_small_phantom):
    """Two CTs of one name and a third, each with a result; the state has the second."""
    scene, made = bare.scene, []
    for name, stage, utc in (
        ("abdomen", "T2", "2026-01-05T08:00:59+00:00"),
        ("abdomen", "T3", "2026-04-07T09:30:00+00:00"),
        ("chest", "T4", "2026-04-08T23:59:00+00:00"),
    ):
        ct = samples.add_ct(scene, a_small_phantom.ct, name)
        ct.SetName(name)  # as of two studies that were loaded from DICOM
        text = scene.AddNewNodeByClass("vtkMRMLTextNode", f"{name} result")
        text.SetText(json.dumps(a_record(stage, utc)))
        layers.mark(text, ct, "resultText")
        made.append((ct, text))
    return scene, State(inputVolume=made[1][0], resultText=made[1][1]), made


def test_rows_tell_case_stage_and_time_and_label_ct_as_the_list_of_cts(three):
    scene, state, _made = three
    rows = case_list.rows(scene, state)
    assert [(row.case, row.stage, row.time) for row in rows] == [
        ("abdomen (1 of 2)", "T2", "2026-01-05 08:00 UTC"),
        ("abdomen (2 of 2)", "T3", "2026-04-07 09:30 UTC"),
        ("chest", "T4", "2026-04-08 23:59 UTC"),
    ]
    assert [row.chosen for row in rows] == [False, True, False]


def test_a_result_without_its_ct_is_listed_and_can_only_be_deleted(three):
    scene, state, made = three
    scene.RemoveNode(made[2][0])
    row = case_list.rows(scene, state)[2]
    assert (row.case, row.has_ct) == ("CT deleted", False)
    buttons = case_list.buttons(row, idle=True, folder="/reports")
    assert (buttons.show.enabled, buttons.delete.enabled, buttons.export.enabled) == (False, True, False)
    assert "deleted" in buttons.show.tip
    assert "deleted" in buttons.export.tip


def test_an_empty_scene_has_no_rows(bare):
    assert case_list.rows(bare.scene, State()) == ()


@pytest.mark.parametrize(
    ("selected", "idle", "folder", "expected", "why"),
    [
        (False, True, "/reports", (False, False, False), "Select a result first."),
        (True, False, "/reports", (False, False, False), "A case is running."),
        (True, True, "", (True, True, False), "Choose a folder for the report."),
        (True, True, "/reports", (True, True, True), "writes its report"),
    ],
)
def test_buttons_are_enabled_or_tell_why_not(three, selected, idle, folder, expected, why):
    scene, state, _made = three
    row = case_list.rows(scene, state)[0] if selected else None
    buttons = case_list.buttons(row, idle=idle, folder=folder)
    assert (buttons.show.enabled, buttons.delete.enabled, buttons.export.enabled) == expected
    assert why in buttons.export.tip


# -- in the panel --------------------------------------------------------------------------------------------------


@pytest.fixture
def two(staged, scene, a_small_phantom):
    """A panel with a baseline and a follow-up, both staged; the follow-up is chosen."""
    ct = samples.add_ct(scene, a_small_phantom.ct, "follow-up")
    choose_node(staged.ui.inputSelector, ct)
    choose_node(staged.ui.tumourSelector, samples.add_tumour(scene, ct, a_small_phantom.tumour, "again"))
    staged.ui.largestSectionButton.click()
    staged.ui.applyButton.click()
    return staged


def listed(panel):
    table = panel.ui.casesTable
    return [table.item(i, 0).text() for i in range(table.rowCount)]


def test_the_list_marks_and_selects_the_result_of_the_chosen_ct(two, scene):
    assert listed(two) == ["patient", "▸ follow-up"]
    assert two.ui.casesTable.currentRow() == 1
    choose_node(two.ui.inputSelector, scene.GetFirstNodeByName("patient"))
    assert listed(two) == ["▸ patient", "follow-up"]


def test_show_chooses_the_ct_of_the_row(two, scene):
    two.ui.casesTable.selectRow(0)
    two.ui.caseShowButton.click()
    state = two._parameterNode
    assert state.inputVolume.GetName() == "patient"
    assert state.resultText.GetName() == "patient result"


def test_delete_asks_and_removes_only_this_result(desk, two, scene):
    two.ui.casesTable.selectRow(0)
    desk.record.confirm = False
    two.ui.caseDeleteButton.click()
    assert len(listed(two)) == 2
    desk.record.confirm = True
    two.ui.caseDeleteButton.click()
    assert listed(two) == ["▸ follow-up"]
    assert scene.GetFirstNodeByName("patient") is not None
    assert two._parameterNode.resultText.GetName() == "follow-up result"


def test_delete_of_the_result_that_is_shown_empties_the_panel(desk, two):
    desk.record.confirm = True
    two.ui.casesTable.selectRow(1)
    two.ui.caseDeleteButton.click()
    assert listed(two) == ["patient"]
    assert two._parameterNode.resultText is None
    assert not two.ui.resultBox.isVisibleTo(two.ui.stageSection)


def test_export_writes_the_report_of_the_row(two, scene, tmp_path):
    two.ui.reportFolderSelector.currentPath = str(tmp_path)
    two.ui.casesTable.selectRow(0)
    two.ui.caseExportButton.click()
    assert two._parameterNode.inputVolume.GetName() == "patient"
    (written,) = tmp_path.rglob("result.json")
    texts = {case_results.ct_of(one).GetName(): json.loads(one.GetText()) for one in case_results.texts(scene)}
    assert json.loads(written.read_text())["provenance"]["utc"] == texts["patient"]["provenance"]["utc"]


def test_export_of_an_outdated_result_tells_why_it_is_refused(desk, two, scene, a_small_phantom, tmp_path):
    smaller = sitk.BinaryErode(a_small_phantom.tumour, (1, 1, 0))
    nodes.add_segment(scene.GetFirstNodeByName("drawn"), smaller, "tumour", (1, 0, 0), samples.TUMOUR)
    two.ui.reportFolderSelector.currentPath = str(tmp_path)
    two.ui.casesTable.selectRow(0)
    two.ui.caseExportButton.click()
    assert [one.kind for one in desk.shown][-1:] == ["error"]
    assert not list(tmp_path.rglob("result.json"))
