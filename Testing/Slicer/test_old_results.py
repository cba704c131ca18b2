"""A result that is no longer of what is in the scene says so at once, and no report is made of it."""

import numpy as np
import SimpleITK as sitk
import slicer
from conftest import ct_like
from GTRStagingSlicer import nodes, presenter, samples
from helpers.lists import choose_node
from scenes import add_transform, add_volume, array_of, rigid
from vtk.util import numpy_support


def messages(desk, kind="error"):
    return [one.text for one in desk.shown if one.kind == kind]


def stale_texts(ui):
    return {label.text for label in (ui.staleLabel, ui.staleAttentionLabel, ui.staleAgreementLabel)}


def test_a_segment_that_is_edited_while_the_panel_is_open_is_noticed(staged, a_small_phantom):
    ui, state = staged.ui, staged._parameterNode
    assert stale_texts(ui) == {""}
    smaller = sitk.BinaryErode(a_small_phantom.tumour, (1, 1, 0))
    nodes.add_segment(state.tumourSegmentation, smaller, "tumour", (1, 0, 0), samples.TUMOUR)
    (text,) = stale_texts(ui)
    assert text.startswith("OUT OF DATE")
    assert {one.styleSheet for one in (ui.staleLabel, ui.staleAttentionLabel, ui.staleAgreementLabel)} == {
        presenter.ALARM
    }
    ui.applyButton.click()
    assert stale_texts(ui) == {""}


def test_a_transform_that_is_moved_is_noticed_for_the_ct_and_for_the_segmentation(staged, scene):
    ui, state = staged.ui, staged._parameterNode
    for node in (state.inputVolume, state.tumourSegmentation):
        transform = add_transform(scene, rigid((0, 0, 1), 0, (0, 0, 0)))
        node.SetAndObserveTransformNodeID(transform.GetID())
        ui.applyButton.click()
        assert stale_texts(ui) == {""}
        transform.SetMatrixTransformToParent(nodes.vtk_matrix(rigid((0, 0, 1), 0, (2, 0, 0))))
        assert "" not in stale_texts(ui)
        ui.applyButton.click()


def test_changed_voxels_and_names_are_noticed(staged):
    ui, state = staged.ui, staged._parameterNode
    slicer.util.arrayFromVolume(state.inputVolume)[0] += 1
    slicer.util.arrayFromVolumeModified(state.inputVolume)
    assert "" not in stale_texts(ui)
    ui.applyButton.click()
    assert stale_texts(ui) == {""}
    state.tumourSegmentation.GetSegmentation().GetSegment(samples.TUMOUR).SetName("tumour of the antrum")
    assert "" not in stale_texts(ui)


def test_voxels_that_changed_without_a_word_are_found_at_the_export(desk, staged, tmp_path):
    """A script writes into the arrays and reports nothing: the content is compared before a report is written."""
    ui, state = staged.ui, staged._parameterNode
    ui.reportFolderSelector.currentPath = str(tmp_path)
    array_of(state.inputVolume)[3, 2, 1] += 7
    assert ui.exportButton.enabled
    ui.exportButton.click()
    assert "have changed since this result" in messages(desk)[0]
    assert not list(tmp_path.iterdir())
    ui.applyButton.click()
    drawn = slicer.vtkOrientedImageData()
    state.tumourSegmentation.GetBinaryLabelmapRepresentation(samples.TUMOUR, drawn)
    shared = state.tumourSegmentation.GetSegmentation().GetSegment(samples.TUMOUR)
    voxels = shared.GetRepresentation("Binary labelmap").GetPointData().GetScalars()
    values = numpy_support.vtk_to_numpy(voxels)
    values[np.flatnonzero(values)[:5]] = 0
    ui.exportButton.click()
    assert "have changed since this result" in messages(desk)[1]
    assert not list(tmp_path.iterdir())


# -- reports ---------------------------------------------------------------------------------------------------------


def test_two_patients_do_not_share_a_report(desk, staged, scene, tmp_path):
    ui = staged.ui
    ui.reportFolderSelector.currentPath = str(tmp_path)
    ui.exportButton.click()
    choose_node(ui.tumourSelector, None)
    choose_node(ui.inputSelector, add_volume(scene, ct_like(), "other"))
    ui.keySliceSlider.value = 4
    ui.applyButton.click()
    ui.exportButton.click()
    assert messages(desk) == messages(desk, "confirm") == []
    assert len(list(tmp_path.glob("*/report.html"))) == 2


def test_a_report_is_replaced_only_after_asking(desk, staged, tmp_path):
    ui = staged.ui
    ui.reportFolderSelector.currentPath = str(tmp_path)
    ui.exportButton.click()
    (report,) = tmp_path.glob("*/result.json")
    report.write_text("annotated")
    desk.record.confirm = False
    ui.exportButton.click()
    (question,) = messages(desk, "confirm")
    assert "already contains" in question
    assert report.read_text() == "annotated"
    desk.record.confirm = True
    ui.exportButton.click()
    assert report.read_text() != "annotated"


def test_written_goes_when_it_is_no_longer_true(staged, tmp_path):
    ui = staged.ui
    ui.reportFolderSelector.currentPath = str(tmp_path)

    def written():
        return ui.reportLabel.text.startswith("Written: ")

    ui.exportButton.click()
    assert written()
    ui.thresholdSlider.value = 0.7
    assert not written()
    ui.exportButton.click()
    assert written()
    ui.targetSelector.currentIndex = 1
    assert not written()
    ui.applyButton.click()
    assert not written()
