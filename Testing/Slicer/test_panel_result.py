"""A result is of what it was made of: another CT, a moved one or an edited segment never wears it."""

import zipfile

import pytest
import SimpleITK as sitk
import slicer
from conftest import ct_like
from GTRStagingSlicer import nodes, samples
from helpers.lists import choose_node
from PySide6 import QtWidgets
from scenes import add_transform, add_volume, rigid
from standin import proxy


def messages(desk):
    return [one.text for one in desk.shown if one.kind == "error"]


def test_another_ct_does_not_show_the_result_of_the_first(staged, scene):
    ui, state = staged.ui, staged._parameterNode
    table, outline = state.agreementTable.GetName(), state.attentionOutline.GetName()
    first = state.agreementTable, state.attentionOutline
    choose_node(ui.inputSelector, add_volume(scene, ct_like(), "other"))
    assert not ui.resultBox.isVisibleTo(ui.stageSection)
    assert not ui.overlayButton.enabled
    ui.thresholdSlider.value = 0.7
    ui.outlineCheckBox.checked = True
    assert [node.GetName() for node in first] == [table, outline]
    assert state.agreementTable is state.attentionOutline is None


def test_another_ct_or_segment_forgets_the_key_slice(loaded, scene, a_small_phantom):
    ui, state = loaded.ui, loaded._parameterNode
    ui.keySliceSlider.value = 8
    lines = state.votingSlices
    assert lines.GetDisplayVisibility()
    choose_node(ui.inputSelector, add_volume(scene, a_small_phantom.ct, "second"))
    assert state.keySlice == -1
    assert not lines.GetDisplayVisibility()
    ui.largestSectionButton.click()
    assert state.keySlice >= 0
    other = samples.add_tumour(scene, state.inputVolume, a_small_phantom.tumour, "again")
    choose_node(ui.tumourSelector, other)
    assert state.keySlice == -1
    ui.keySliceSlider.value = 9
    assert state.keySlice == 9
    choose_node(ui.tumourSelector, None)
    assert state.keySlice == 9  # a slice chosen by hand has nothing to do with the segment


def test_moved_or_edited_the_case_is_no_longer_that_of_the_result(staged, scene, a_small_phantom, tmp_path):
    ui, state = staged.ui, staged._parameterNode
    ui.reportFolderSelector.currentPath = str(tmp_path)
    assert ui.exportButton.enabled
    transform = add_transform(scene, rigid((0, 0, 1), 0, (50, 0, 0)))
    state.inputVolume.SetAndObserveTransformNodeID(transform.GetID())
    staged.enter()  # as a person comes back from the Transforms module
    assert not ui.exportButton.enabled
    state.inputVolume.SetAndObserveTransformNodeID(None)
    staged.enter()
    assert ui.exportButton.enabled
    smaller = sitk.BinaryErode(a_small_phantom.tumour, (1, 1, 0))
    nodes.add_segment(state.tumourSegmentation, smaller, "tumour", (1, 0, 0), samples.TUMOUR)
    staged.enter()  # from the Segment Editor
    assert not ui.exportButton.enabled
    assert "segment have changed" in ui.exportButton.toolTip
    ui.applyButton.click()
    assert ui.exportButton.enabled


def test_a_reloaded_case_with_another_result_is_not_exported(desk, staged, scene, a_small_phantom, tmp_path):
    assert scene.WriteToMRB(str(tmp_path / "a.mrb"))
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "a.mrb"))
    staged.enter()
    smaller = sitk.BinaryErode(a_small_phantom.tumour, (1, 1, 0))
    nodes.add_segment(staged._parameterNode.tumourSegmentation, smaller, "tumour", (1, 0, 0), samples.TUMOUR)
    staged.ui.reportFolderSelector.currentPath = str(tmp_path / "report")
    staged.ui.exportButton.click()
    (text,) = messages(desk)
    assert "gives a result that differs from the one in the scene" in text
    assert not (tmp_path / "report").exists()


def test_a_typed_threshold_goes_to_the_nearest_step(staged):
    staged.ui.thresholdSlider.value = 0.52
    assert staged._parameterNode.threshold == staged.ui.thresholdSlider.value == 0.5
    staged.ui.thresholdSlider.value = 0.33
    assert staged._parameterNode.threshold == 0.35


def test_deleted_nodes_cannot_be_shown(desk, staged, scene):
    ui, state = staged.ui, staged._parameterNode
    for node in (state.sweepPlot, state.agreementTable, state.attentionVolume):
        scene.RemoveNode(node)
    staged.enter()
    assert not ui.plotButton.enabled
    assert not ui.tableButton.enabled
    assert not ui.overlayButton.enabled
    ui.opacitySlider.value = 0.2
    ui.applyButton.click()
    assert messages(desk) == []
    assert ui.plotButton.enabled


def test_views_of_another_volume_are_left_alone(loaded, scene):
    other = add_volume(scene, ct_like(), "PET")
    manager = slicer.app.layoutManager()
    yellow = manager.sliceWidget("Yellow").sliceLogic().GetSliceCompositeNode()
    red = manager.sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    yellow.SetBackgroundVolumeID(other.GetID())
    red.SetBackgroundVolumeID(loaded._parameterNode.inputVolume.GetID())
    loaded.ui.applyButton.click()
    assert yellow.GetBackgroundVolumeID() == other.GetID()
    assert red.GetForegroundVolumeID() == loaded._parameterNode.attentionVolume.GetID()
    loaded.ui.overlayButton.click()
    assert yellow.GetForegroundVolumeID() == loaded._parameterNode.attentionVolume.GetID()


def test_paths_do_not_travel_with_a_scene(staged, scene, tmp_path):
    folder = tmp_path / "Doe_Jane"
    staged.ui.reportFolderSelector.currentPath = str(folder)
    staged.ui.batchFolderSelector.currentPath = str(folder)
    staged.ui.exportButton.click()
    assert list(folder.glob("*/result.json"))
    assert scene.WriteToMRB(str(tmp_path / "a.mrb"))
    with zipfile.ZipFile(tmp_path / "a.mrb") as bundle:
        assert not any(b"Doe_Jane" in bundle.read(name) for name in bundle.namelist())


def test_a_volume_without_an_even_grid_is_said_to_be_one(desk, panel, scene):
    skewed = add_volume(scene, ct_like(), "skewed")
    axes = nodes.matrix_of(skewed.GetIJKToRASMatrix)
    axes[:3, 0] += axes[:3, 1]
    skewed.SetIJKToRASMatrix(nodes.vtk_matrix(axes))
    choose_node(panel.ui.inputSelector, skewed)
    assert "the axes are skewed" in panel.ui.keySliceLabel.text
    assert not panel.ui.keySliceSlider.enabled
    panel._parameterNode.keySlice = 3
    panel.ui.applyButton.click()
    assert "the axes are skewed" in messages(desk)[0]


@pytest.mark.parametrize("width", [380, 560])
def test_no_line_of_the_result_is_printed_over_the_vote_table(desk, staged, width):
    """The panel is as low as its scroll area lets it be, which is its minimum height."""
    box = proxy.unwrap(staged.ui.resultBox)
    top = box.window()
    top.resize(width, 100)
    for _ in range(3):
        QtWidgets.QApplication.processEvents()
    staged.enter()  # refreshes the panel, at its new width
    for _ in range(3):
        top.resize(width, top.minimumSizeHint().height())
        QtWidgets.QApplication.processEvents()
    assert box.height() >= box.layout().heightForWidth(box.width())
    table, details = (proxy.unwrap(one).geometry() for one in (staged.ui.votesTable, staged.ui.detailsLabel))
    assert details.top() > table.bottom()
