"""The panel says which case of a batch failed and why, and opens folder, table and cases."""

import pytest
import SimpleITK as sitk
import slicer
from conftest import ct_like
from GTRStagingSlicer import batch_cases, samples
from helpers.results import box_on

HEAD = "case_id,status,reason,stage,key_slice\n"


def results(tmp_path, rows):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.csv").write_text(HEAD + rows)
    return tmp_path / "out"


def test_failed_cases_come_first_with_their_reasons(tmp_path):
    out = results(tmp_path, 'a,done,,T3,4\nb,failed,"no such file, x",,\nc,skipped,excluded,,\n')
    found = batch_cases.read(out)
    assert [(one.case_id, one.status, one.key_slice) for one in found] == [
        ("b", "failed", -1),
        ("a", "done", 4),
        ("c", "skipped", -1),
    ]
    assert [one.in_words for one in found] == ["b: failed", "a: T3", "c: skipped"]
    assert batch_cases.failures_in_words(found) == "b: no such file, x"
    assert found[1].folder == out / "cases" / "a"


def test_many_failures_are_counted(tmp_path):
    out = results(tmp_path, "".join(f"c{i},failed,broken,,\n" for i in range(8)))
    words = batch_cases.failures_in_words(batch_cases.read(out)).splitlines()
    assert words == [*(f"c{i}: broken" for i in range(5)), "and 3 more: see the table."]


def test_a_folder_without_results_has_no_cases(tmp_path):
    assert batch_cases.read(tmp_path) == ()


@pytest.fixture
def ended(panel, tmp_path):
    """The panel with a folder of a batch that has ended."""
    out = results(tmp_path, "a,done,,T3,4\nlost,failed,no.nrrd does not exist,,\n")
    ct = ct_like()
    sitk.WriteImage(ct, tmp_path / "ct.nrrd")
    sitk.WriteImage(box_on(ct).mask, tmp_path / "roi.nrrd")
    (tmp_path / "cases.csv").write_text("case_id,image,roi\na,ct.nrrd,roi.nrrd\nlost,no.nrrd,\n")
    assert not panel.ui.batchCasesBox.visible
    panel.ui.batchSection.collapsed = False
    panel.ui.batchTableSelector.currentPath = str(tmp_path / "cases.csv")
    panel.ui.batchFolderSelector.currentPath = str(out)
    return panel


def test_the_panel_names_the_failure_and_opens_folder_and_table(desk, ended, tmp_path):
    ui = ended.ui
    assert ui.batchFailuresLabel.visible
    assert ui.batchFailuresLabel.text == "lost: no.nrrd does not exist"
    ui.batchOpenFolderButton.click()
    assert desk.record.opened[-1].endswith("/out")
    ui.batchTableButton.click()
    assert slicer.app.applicationLogic().GetSelectionNode().GetActiveTableID() == ended.batch.table.GetID()
    assert ended.batch.table.GetTable().GetColumnByName("reason").GetValue(1) == "no.nrrd does not exist"


def test_a_finished_case_is_opened_with_roi_and_key_slice(desk, ended):
    ui, state = ended.ui, ended._parameterNode
    ui.batchCaseSelector.currentIndex = ui.batchCaseSelector.findText("a: T3")
    ui.batchCaseButton.click()
    assert [one for one in desk.shown if one.kind == "error"] == []
    assert state.inputVolume.GetName() == "a"
    assert (state.keySlice, state.tumourSegment) == (4, samples.TUMOUR)
    assert ui.applyButton.enabled
    assert "Press Apply" in ui.batchLabel.text


def test_a_case_that_failed_says_so_when_its_files_cannot_be_read(desk, ended):
    ended.ui.batchCaseSelector.currentIndex = 0
    ended.ui.batchCaseButton.click()
    (error,) = [one.text for one in desk.shown if one.kind == "error"]
    assert "no.nrrd" in error


def test_a_scene_file_is_opened_where_there_is_one(desk, ended, tmp_path, monkeypatch):
    (tmp_path / "out" / "cases" / "a").mkdir(parents=True)
    (tmp_path / "out" / "cases" / "a" / "scene.mrb").write_bytes(b"")
    opened = []
    monkeypatch.setattr(slicer.util, "loadScene", opened.append, raising=False)
    ended.ui.batchCaseSelector.currentIndex = 1
    ended.ui.batchCaseButton.click()
    assert opened == [str(tmp_path / "out" / "cases" / "a" / "scene.mrb")]
