"""The panel, from its real .ui: buttons are pressed, and what they do to scene, tables and report is looked at."""

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import standin
from conftest import ct_like
from GTRStagingSlicer import layers, nodes, samples, scene_staging
from GTRStagingSlicer.bare import bare_scene
from GTRStagingSlicer.state import State
from helpers.lists import choose_node
from helpers.results import box_on
from scenes import add_transform, add_volume, array_of, box, node_ids, rigid

from GTRStagingLib.batch.columns import PREDICTIONS
from GTRStagingLib.errors import InputError
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.results import outputs
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.staging.options import StagingOptions


def messages(desk, kind="error"):
    return [one.text for one in desk.shown if one.kind == kind]


# -- from a button to an overlay, a table and a report ---------------------------------------------------------------


@pytest.mark.smoke
def test_a_sample_is_staged_from_a_button_press_to_a_report(desk, panel, scene, tmp_path):
    """The tutorial, from the Sample Data module on."""
    desk.startup_completed()
    sources = {source.sampleName: source for source in slicer.modules.sampleDataSources["GTR Staging"]}
    assert sorted(sources) == [samples.name_of(stage) for stage in ("T1", "T2", "T3", "T4")]
    ct, tumour = sources[samples.name_of("T3")].customDownloader(sources[samples.name_of("T3")])
    panel.enter()
    ui, state = panel.ui, panel._parameterNode
    assert state.inputVolume is ct
    choose_node(ui.tumourSelector, tumour)
    assert state.tumourSegment == samples.TUMOUR
    assert ui.applyButton.enabled
    assert "largest section" in ui.keySliceLabel.text
    ui.largestSectionButton.click()
    ui.applyButton.click()
    assert messages(desk) == []

    record = scene_staging.record_of(state)
    assert ui.stageLabel.text == record["prediction"]["stage"]
    assert "of 3 slices" in ui.voteLabel.text
    for stage, share in zip(("T1", "T2", "T3", "T4"), record["prediction"]["probabilities"], strict=True):
        assert getattr(ui, f"bar{stage}").format == f"{share:.2f}"
    assert ui.votesTable.rowCount == 3
    assert [ui.votesTable.item(i, 1).text() for i in range(3)] == [
        one["stage"] for one in sorted(record["prediction"]["slices"], key=lambda s: -s["offset"])
    ]
    assert "demonstration" in ui.detailsLabel.text
    assert " s." in ui.detailsLabel.text
    # The overlay.
    for name in ("Red", "Green", "Yellow"):
        view = slicer.app.layoutManager().sliceWidget(name).sliceLogic().GetSliceCompositeNode()
        assert view.GetForegroundVolumeID() == state.attentionVolume.GetID()
        assert view.GetForegroundOpacity() == state.opacity
    # The tables.
    assert f"{record['agreement']['dice']:.3f}" in ui.agreementLabel.text
    assert state.agreementTable.GetTable().GetColumn(1).GetValue(1) == record["agreement"]["dice"]
    ui.plotButton.click()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == state.sweepPlot.GetID()
    ui.tableButton.click()
    assert selection.GetActiveTableID() == state.agreementTable.GetID()
    # The report.
    ui.reportFolderSelector.currentPath = str(tmp_path / "report")
    ui.exportButton.click()
    (folder,) = (tmp_path / "report").iterdir()
    assert folder.name.startswith(record["case_id"])
    assert sorted(p.name for p in folder.iterdir()) == sorted(outputs.OUTPUTS)
    assert json.loads((folder / "result.json").read_text())["prediction"] == record["prediction"]
    assert "report.html" in ui.reportLabel.text
    ui.showFolderButton.click()
    assert desk.record.opened
    assert messages(desk) == []


def test_the_panel_can_be_seen(desk, staged, tmp_path):
    from PIL import Image

    desk.photograph(staged.parent, tmp_path / "panel.png")
    pixels = np.asarray(Image.open(tmp_path / "panel.png").convert("RGB")).astype(int)
    assert pixels.shape[0] > pixels.shape[1]
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 40) & (pixels[..., 2] < 60)
    assert red.sum() > 5000  # the banner of the demonstration model
    assert RESEARCH_USE_ONLY.split(".")[0] in staged.ui.researchUseLabel.text


def test_long_texts_wrap_and_do_not_widen_the_panel(desk, staged):
    """Slicer gives a module about 480 pixels on a common screen; a wider panel would widen its dock with it."""
    from standin import proxy

    ui = staged.ui
    for label in (ui.mapLabel, ui.warningsLabel, ui.agreementLabel, ui.staleLabel):
        label.visible = True
        label.text = "A sentence that is as long as those of a model's check. " * 6
    top = proxy.unwrap(staged.parent)
    top.layout().activate()
    assert top.minimumSizeHint().width() <= 480


# -- before a run ----------------------------------------------------------------------------------------------------


def test_it_opens_empty_and_says_what_is_missing(desk, panel):
    ui = panel.ui
    assert not ui.applyButton.enabled
    assert ui.applyHint.text == ui.applyButton.toolTip == "Choose the CT volume first."
    assert not ui.largestSectionButton.enabled
    assert not ui.exportButton.enabled
    assert ui.exportButton.toolTip == "Stage a case first."


def test_models_carry_their_banner_and_their_card(desk, panel):
    ui = panel.ui
    assert "DEMONSTRATION" in ui.modelBanner.text
    ui.modelSelector.currentIndex = ui.modelSelector.findText("untrained")
    assert panel._parameterNode.model == "untrained"
    assert "UNTRAINED" in ui.modelBanner.text
    ui.modelSelector.currentIndex = ui.modelSelector.findText("demonstration")
    ui.modelCardButton.click()
    (card,) = [one for one in desk.shown if one.kind == "info"]
    assert "3600 slices of 1200 synthetic phantoms" in card.text
    assert json.loads(card.detail)["name"] == "demonstration"


def test_a_trained_model_has_no_banner(desk, scene, monkeypatch, tmp_path, a_model):
    from dataclasses import replace

    monkeypatch.setenv("GTRSTAGING_MODELS", str(tmp_path))
    model = weights.Model(replace(a_model.card, name="mine", status="trained"), a_model.network)
    weights.save(model, tmp_path / "mine")
    panel = desk.open_module()
    panel.ui.modelSelector.currentIndex = panel.ui.modelSelector.findText("mine")
    assert panel.ui.modelBanner.text == ""


def test_the_key_slice_comes_from_view_slider_and_segment(desk, loaded):
    ui, state = loaded.ui, loaded._parameterNode
    grid = loaded.logic.grid(state.inputVolume)
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.JumpSliceByOffsetting(*nodes.slice_centre(grid, 9))
    ui.currentSliceButton.click()
    assert (state.keySlice, state.keySliceChosenBy) == (9, "hand")
    ui.keySliceSlider.value = 12
    assert state.keySlice == 12
    assert nodes.slice_at(grid, nodes.matrix_of(lambda m: m.DeepCopy(red.GetSliceToRAS()))).index == 12
    assert "Voting: 11, 12, 13" in ui.keySliceLabel.text
    ui.largestSectionButton.click()
    assert state.keySliceChosenBy == scene_staging.TUMOUR_AREA
    planes = state.votingSlices.GetPolyData()
    assert planes.GetNumberOfCells() == 3
    heights = sorted({round(planes.GetPoint(i)[2], 3) for i in range(12)})
    assert heights == [
        round(float(nodes.slice_centre(grid, i)[2]), 3) for i in range(state.keySlice - 1, state.keySlice + 2)
    ]


def test_another_segmentation_does_not_keep_the_old_segment(desk, loaded, scene, a_small_phantom):
    ui, state = loaded.ui, loaded._parameterNode
    hollow = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "hollow")
    choose_node(ui.tumourSelector, hollow)
    ui.keySliceSlider.value = 8
    assert state.tumourSegment == ""
    assert not ui.applyButton.enabled
    assert "segment" in ui.applyHint.text
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    nodes.add_segment(other, a_small_phantom.tumour, "liver", (0, 1, 0), "a")
    nodes.add_segment(other, a_small_phantom.tumour, "Gastric tumor", (1, 0, 0), "b")
    choose_node(ui.tumourSelector, other)
    assert state.tumourSegment == "b"
    choose_node(ui.tumourSelector, None)
    assert (state.tumourSegmentation, state.tumourSegment) == (None, "")
    assert ui.applyButton.enabled


def test_a_smaller_scan_forgets_the_key_slice_of_a_larger_one(desk, loaded, scene):
    choose_node(loaded.ui.tumourSelector, None)
    loaded.ui.keySliceSlider.value = 20
    assert loaded.ui.applyButton.enabled
    choose_node(loaded.ui.inputSelector, add_volume(scene, ct_like(), "small"))
    assert loaded._parameterNode.keySlice == -1
    assert not loaded.ui.applyButton.enabled


# -- the run ---------------------------------------------------------------------------------------------------------


def test_running_again_adds_no_nodes(staged, scene):
    before = node_ids(scene)
    staged.ui.applyButton.click()
    assert node_ids(scene) == before


def test_changed_settings_make_the_result_out_of_date(staged, tmp_path):
    ui = staged.ui
    ui.reportFolderSelector.currentPath = str(tmp_path)
    assert ui.exportButton.enabled
    ui.targetSelector.currentIndex = 1
    assert "press Apply" in ui.exportButton.toolTip
    assert "Press Apply" in ui.staleLabel.text
    assert not ui.exportButton.enabled
    ui.applyButton.click()
    assert ui.exportButton.enabled
    assert scene_staging.record_of(staged._parameterNode)["attention"]["target"] == "T1"


def test_looks_change_without_a_new_run(staged, scene):
    ui, state = staged.ui, staged._parameterNode
    record = state.resultText.GetText()
    ui.opacitySlider.value = 0.25
    view = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert view.GetForegroundOpacity() == 0.25
    ui.shownFromSlider.value = 0.4
    assert state.attentionVolume.GetDisplayNode().GetLowerThreshold() == 0.4
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(state.attentionVolume)
    assert legend.GetVisibility()
    assert legend.GetTitleText() == f"Attention\nfor {ui.stageLabel.text}"
    ui.legendCheckBox.checked = False
    assert not legend.GetVisibility()
    ui.outlineCheckBox.checked = True
    at_half = array_of(state.attentionVolume)[layers.above(state.attentionVolume, state.threshold)].size
    ui.thresholdSlider.value = 0.8
    drawn = nodes.roi_of(state.attentionOutline, layers.OUTLINE, state.inputVolume, nodes.placed(state.inputVolume))
    assert 0 < sitk.GetArrayFromImage(drawn.mask).sum() < at_half
    cut = {round(one["threshold"], 2): one for one in json.loads(record)["agreement"]["sweep"]}[0.8]
    assert f"{cut['dice']:.3f}" in ui.agreementLabel.text
    ui.render3DCheckBox.checked = True
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeRenderingDisplayNode") == 1
    assert state.resultText.GetText() == record


def test_a_report_is_of_the_threshold_that_is_shown(staged, tmp_path):
    staged.ui.thresholdSlider.value = 0.7
    staged.ui.reportFolderSelector.currentPath = str(tmp_path)
    staged.ui.exportButton.click()
    (written,) = tmp_path.glob("*/result.json")
    assert json.loads(written.read_text())["agreement"]["threshold"] == 0.7


def test_cancel_takes_effect_between_steps(desk, loaded):
    loaded.ui.largestSectionButton.click()
    steps, real = [], loaded._onStep

    def step(name):
        steps.append(name)
        if name == "network":
            assert loaded.ui.cancelButton.enabled
            assert not loaded.ui.applyButton.enabled
            loaded.ui.cancelButton.click()
        real(name)

    loaded._onStep = step
    loaded.ui.applyButton.click()
    assert steps[-1] == "network"
    assert loaded._parameterNode.resultText is None
    assert loaded.ui.applyButton.enabled
    assert not loaded.ui.cancelButton.enabled
    assert messages(desk) == []


@pytest.mark.parametrize("at", ["reading", "attention", "showing"])
def test_a_scene_that_is_closed_during_a_run_leaves_nothing(desk, loaded, scene, at):
    loaded.ui.largestSectionButton.click()
    real = loaded._onStep

    def step(name):
        if name == at:
            scene.Clear(False)
        real(name)

    loaded._onStep = step
    loaded.ui.applyButton.click()
    assert messages(desk) == []
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert loaded._parameterNode.inputVolume is None
    assert loaded._parameterNode.resultText is None
    assert not loaded.ui.applyButton.enabled


def test_after_a_scene_is_closed_the_panel_is_reset(staged, scene):
    scene.Clear(False)
    assert staged._parameterNode.resultText is None
    assert staged._parameterNode.attentionVolume is None
    assert not staged.ui.applyButton.enabled
    assert staged.ui.agreementLabel.text == "Stage a case first."


def test_a_scene_comes_back_with_the_panel_as_it_was(desk, staged, scene, tmp_path):
    ui = staged.ui
    ui.opacitySlider.value, ui.thresholdSlider.value = 0.3, 0.75
    ui.outlineCheckBox.checked = True
    shown = ui.stageLabel.text, ui.agreementLabel.text, ui.keySliceLabel.text, ui.detailsLabel.text
    assert scene.WriteToMRB(str(tmp_path / "a.mrb"))
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "a.mrb"))
    staged.enter()
    state = staged._parameterNode
    assert (state.opacity, state.threshold, state.showOutline) == (0.3, 0.75, True)
    assert (ui.stageLabel.text, ui.agreementLabel.text, ui.keySliceLabel.text, ui.detailsLabel.text) == shown
    assert ui.segmentSelector.itemData(ui.segmentSelector.currentIndex) == samples.TUMOUR
    assert not scene_staging.out_of_date(state)
    # Its report is made again with the same content.
    ui.reportFolderSelector.currentPath = str(tmp_path / "report")
    ui.exportButton.click()
    (written,) = tmp_path.glob("report/*/result.json")
    again = json.loads(written.read_text())
    assert again["prediction"] == scene_staging.record_of(state)["prediction"]
    assert again["agreement"]["threshold"] == 0.75
    before = node_ids(scene)
    ui.applyButton.click()
    assert node_ids(scene) == before


def test_a_scene_written_outside_slicer_opens_with_the_panel_filled_in(
    desk, panel, scene, tmp_path, a_small_phantom, a_model
):
    from GTRStagingSlicer.mrb import write_mrb

    from GTRStagingLib.imaging.rois import Roi
    from GTRStagingLib.imaging.scans import scan_of
    from GTRStagingLib.staging.pipeline import stage_case

    roi = Roi(a_small_phantom.tumour, "tumour")
    result = stage_case(
        scan_of(a_small_phantom.ct, "CT"),
        ready(a_model),
        StagingOptions(method="layercam"),
        tumour=roi,
    )
    write_mrb(result, tmp_path / "a.mrb", tumour=roi)
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "a.mrb"))
    panel.enter()
    assert panel.ui.stageLabel.text == str(result.prediction.stage)
    assert f"{result.agreement.dice:.3f}" in panel.ui.agreementLabel.text
    assert panel._parameterNode.method.value == "layercam"


def test_a_moved_case_is_staged_where_it_was_moved_to(staged, scene):
    state = staged._parameterNode
    before = scene_staging.record_of(state)
    transform = add_transform(scene, rigid((0, 0, 1), 4, (10, 20, 30)))
    for node in (state.inputVolume, state.tumourSegmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    staged.ui.applyButton.click()
    after = scene_staging.record_of(state)
    assert state.attentionVolume.GetParentTransformNode() is transform
    assert after["key_slice"]["position_mm"] == pytest.approx(before["key_slice"]["position_mm"] + 30)
    assert after["prediction"]["probabilities"] == pytest.approx(before["prediction"]["probabilities"], abs=1e-4)


# -- errors ----------------------------------------------------------------------------------------------------------


def test_an_error_is_shown_once_with_its_remedy(desk, loaded, scene):
    choose_node(loaded.ui.inputSelector, add_volume(scene, box(ct_like()), "mask"))
    choose_node(loaded.ui.tumourSelector, None)
    loaded.ui.keySliceSlider.value = 4
    loaded.ui.applyButton.click()
    (text,) = messages(desk)
    assert "“mask” is not in HU" in text
    assert "Convert the CT again" in text
    assert loaded.ui.applyButton.enabled
    assert loaded._parameterNode.resultText is None


def test_messages_of_the_library_lose_their_backticks(desk, loaded, monkeypatch):
    def fail(*arguments):
        raise InputError("2 CT series; expected one. Give `series`.")

    monkeypatch.setattr(loaded.logic, "stage", fail)
    loaded.ui.largestSectionButton.click()
    loaded.ui.applyButton.click()
    assert messages(desk) == ["2 CT series; expected one. Give series."]


def test_an_unexpected_error_is_shown_once_with_its_details(desk, loaded):
    loaded.ui.largestSectionButton.click()

    def broken(state, progress, tick):
        raise ZeroDivisionError("by nothing")

    loaded.logic.stage = broken
    loaded.ui.applyButton.click()
    (one,) = [one for one in desk.shown if one.kind == "error"]
    assert "report it" in one.text
    assert "ZeroDivisionError" in one.detail


def test_a_rotated_view_and_a_read_only_folder_are_errors(desk, staged, tmp_path):
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.SetOrientation("Sagittal")
    staged.ui.currentSliceButton.click()
    assert "expected an axial view" in messages(desk)[-1]
    (tmp_path / "file").write_text("in the way")
    staged.ui.reportFolderSelector.currentPath = str(tmp_path / "file")
    staged.ui.exportButton.click()
    assert "cannot be written" in messages(desk)[-1]
    assert len(messages(desk)) == 2


# -- packages --------------------------------------------------------------------------------------------------------


def test_declining_the_packages_changes_nothing(desk, loaded, monkeypatch):
    from GTRStagingSlicer import dependencies
    from packaging.requirements import Requirement

    monkeypatch.setattr(dependencies, "missing", lambda *, full=False: [Requirement("safetensors>=99")])
    desk.record.confirm = False
    loaded.ui.largestSectionButton.click()
    loaded.ui.applyButton.click()
    (asked,) = messages(desk, "confirm")
    assert "safetensors" in asked
    assert "Slicer's own packages are not replaced" in asked
    assert loaded._parameterNode.resultText is None
    assert desk.record.installed == []


def test_the_users_models_are_offered_after_the_installation(desk, panel, monkeypatch, tmp_path):
    """Until platformdirs is there only what is shipped is on offer; installing adds the user's own at once."""
    from GTRStagingSlicer import dependencies
    from packaging.requirements import Requirement

    monkeypatch.delenv("GTRSTAGING_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    mine = tmp_path / "gtrstaging" / "models" / "mine"
    mine.mkdir(parents=True)
    (mine / "card.json").write_text("{}")
    with monkeypatch.context() as bare:
        bare.setitem(sys.modules, "platformdirs", None)
        panel.exit()
        panel.enter()
        assert panel.ui.modelSelector.findText("demonstration") >= 0
        assert panel.ui.modelSelector.findText("mine") < 0
    lacking = [Requirement("platformdirs>=4")]
    monkeypatch.setattr(dependencies, "missing", lambda *, full=False: list(lacking))
    monkeypatch.setattr(dependencies, "install", lambda wheels, *, full=False: lacking.clear())
    panel.ui.installButton.click()
    assert len(messages(desk, "confirm")) == 1
    assert panel.ui.modelSelector.findText("mine") >= 0


# -- batch -----------------------------------------------------------------------------------------------------------


def test_a_batch_runs_in_a_separate_process(desk, panel, scene, tmp_path):
    ct = ct_like()
    sitk.WriteImage(ct, tmp_path / "ct.nrrd")
    sitk.WriteImage(box_on(ct).mask, tmp_path / "roi.nrrd")
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        head = ["case_id", "image", "roi", "key_slice"]
        csv.writer(file).writerows([head, ["a", "ct.nrrd", "roi.nrrd", ""], ["lost", "no.nrrd", "", "1"]])
    ui = panel.ui
    assert not ui.batchRunButton.enabled
    ui.batchTableSelector.currentPath = str(tmp_path / "cases.csv")
    ui.batchFolderSelector.currentPath = str(tmp_path / "out")
    ui.batchRunButton.click()
    assert panel.batch.running
    assert not ui.batchRunButton.enabled
    assert ui.applyButton.toolTip  # the panel is alive meanwhile
    wait(lambda: not panel.batch.running)
    assert ui.batchLabel.text == "2 of 2 cases, 1 failed."
    table = panel.batch.table.GetTable()
    assert [table.GetColumnByName("status").GetValue(i) for i in range(2)] == ["done", "failed"]
    assert messages(desk) == []


A_SLOW_BATCH = """
import json, signal, sys, time
from pathlib import Path

def tell(done):
    print(json.dumps({"settled": done, "total": 200, "failed": 0, "seconds_left": 60}), flush=True)

def end(*_):
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    out.mkdir()
    (out / "predictions.csv").write_text("case_id,status\\nc0,done\\n")
    sys.exit(1)

signal.signal(signal.SIGTERM, end)
tell(0)
tell(1)
time.sleep(120)
"""
"""Code with the output of a batch that is stopped after a case, without staging."""


@pytest.mark.parametrize("by", ["a script", pytest.param("the command", marks=pytest.mark.slow)])
def test_a_stopped_batch_keeps_finished_cases(desk, panel, tmp_path, monkeypatch, by):
    if by == "a script":
        monkeypatch.setattr("GTRStagingSlicer.batch_process._START", A_SLOW_BATCH)
    sitk.WriteImage(ct_like(), tmp_path / "ct.nrrd")
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        rows = [["case_id", "image", "key_slice"], *([f"c{i}", "ct.nrrd", "4"] for i in range(200))]
        csv.writer(file).writerows(rows)
    panel.ui.batchTableSelector.currentPath = str(tmp_path / "cases.csv")
    panel.ui.batchFolderSelector.currentPath = str(tmp_path / "out")
    panel.ui.batchRunButton.click()
    wait(lambda: panel.ui.batchProgress.value >= 1)
    panel.ui.batchCancelButton.click()
    assert not panel.batch.running
    assert panel.ui.batchLabel.text.startswith("Stopped.")
    assert 1 <= panel.batch.table.GetNumberOfRows() < 200
    assert panel.ui.batchRunButton.enabled
    assert messages(desk) == []


def test_a_batch_that_fails_to_start_shows_no_earlier_table(desk, panel, tmp_path):
    sitk.WriteImage(ct_like(), tmp_path / "ct.nrrd")
    (tmp_path / "cases.csv").write_text("case_id,image,key_slice\na,ct.nrrd,4\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / PREDICTIONS).write_text("case_id,status\nOLD,done\n")
    panel._parameterNode.model = "gone"
    panel.ui.batchTableSelector.currentPath = str(tmp_path / "cases.csv")
    panel.ui.batchFolderSelector.currentPath = str(tmp_path / "out")
    panel.ui.batchRunButton.click()
    wait(lambda: not panel.batch.running)
    assert "The batch ended early" in messages(desk)[0]
    assert "'gone'" in messages(desk)[0]
    assert panel.batch.table is None


def test_an_invalid_case_table_is_an_error_before_the_start(desk, panel, tmp_path):
    (tmp_path / "cases.csv").write_text("name,file\na,b\n")
    panel.ui.batchTableSelector.currentPath = str(tmp_path / "cases.csv")
    panel.ui.batchFolderSelector.currentPath = str(tmp_path / "out")
    panel.ui.batchRunButton.click()
    assert not panel.batch.running
    assert "column case_id, image is missing; found name, file" in messages(desk)[0]


def test_notes_on_the_case_table_are_shown_with_the_result(panel, tmp_path, monkeypatch):
    code = 'import json\nprint(json.dumps({"settled": 1, "total": 1, "failed": 0}), flush=True)\n'
    monkeypatch.setattr("GTRStagingSlicer.batch_process._START", code)
    (tmp_path / "cases.csv").write_text("case_id;image;key_slice\na;ct.nrrd;4\n")
    panel.ui.batchTableSelector.currentPath = str(tmp_path / "cases.csv")
    panel.ui.batchFolderSelector.currentPath = str(tmp_path / "out")
    panel.ui.batchRunButton.click()
    wait(lambda: not panel.batch.running)
    assert panel.ui.batchLabel.text == "1 of 1 cases, 0 failed. cases.csv is separated by semicolons."


def wait(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        slicer.app.processEvents()
        time.sleep(0.05)


# -- the module ------------------------------------------------------------------------------------------------------


def test_the_typed_parameters_are_those_of_the_state(desk, panel):
    import dataclasses

    from GTRStagingSlicer.logic import GTRStagingParameterNode

    fresh = GTRStagingParameterNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "fresh"))
    for field in dataclasses.fields(State):
        assert getattr(fresh, field.name) == field.default


def test_the_selftest_passes(desk, panel):
    from GTRStaging import GTRStagingTest

    test = GTRStagingTest()
    test.setUp()
    test.stages_a_sample("T2")
    test.setUp()
    test.test_several_cases_of_a_scene()


def test_leaving_and_reopening_the_panel_changes_nothing(staged):
    shown = staged.ui.stageLabel.text
    staged.exit()
    assert staged._parameterNode is None
    staged.enter()
    assert staged.ui.stageLabel.text == shown
    staged.cleanup()


def test_it_opens_as_on_slicer_5_10(bare):
    """Without slicer.packaging and without named categories of sample data."""
    made = standin.install(bare, version="5.10")
    try:
        panel = made.open_module()
        made.startup_completed()
        assert len(slicer.modules.sampleDataSources["GTR Staging"]) == 4
        assert panel.ui.applyButton.toolTip
    finally:
        made.uninstall()


def test_bare_scenes_are_independent():
    one, other = bare_scene(), bare_scene()
    add_volume(one.scene, ct_like())
    assert other.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    folders = Path(one.unpacked.name), Path(other.unpacked.name)
    one.close()
    other.close()
    assert not any(folder.exists() for folder in folders)
