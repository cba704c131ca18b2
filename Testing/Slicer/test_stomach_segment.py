"""A key slice outside the stomach is warned of where the scene has a segment of the stomach."""

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from conftest import on_grid_of
from GTRStagingSlicer import nodes, presenter, samples, scene_staging
from helpers.lists import choose_node
from scenes import add_transform, rigid
from standin import proxy

from GTRStagingLib.errors import InputError


def messages(desk):
    return [one.text for one in desk.shown if one.kind == "error"]


def add_stomach(scene, ct, mask, name="Stomach"):
    return samples.add_segmentation(scene, ct, mask, "organs", name, samples.YELLOW, "any id")


def lower_part(phantom, slices=5):
    """The stomach in its lowest slices alone, and the slices that it has there."""
    mask = sitk.GetArrayFromImage(phantom.stomach)
    first = int(np.flatnonzero(mask.any(axis=(1, 2)))[0])
    mask[first + slices :] = 0
    return on_grid_of(mask, phantom.ct), range(first, first + slices)


def stomach_warnings(panel):
    return [text for text in scene_staging.record_of(panel._parameterNode)["warnings"] if "stomach" in text.lower()]


def test_a_key_slice_outside_the_stomach_is_warned_of(desk, loaded, scene, a_small_phantom):
    mask, there = lower_part(a_small_phantom)
    add_stomach(scene, loaded._parameterNode.inputVolume, mask)
    loaded.ui.keySliceSlider.value = there[-1]
    loaded.ui.applyButton.click()
    assert stomach_warnings(loaded) == []
    loaded.ui.keySliceSlider.value = there[-1] + 1
    loaded.ui.applyButton.click()
    assert messages(desk) == []
    (warning,) = stomach_warnings(loaded)
    assert f"The key slice {there[-1] + 1} " in warning
    assert "shows NO STOMACH" in warning
    assert "shows NO STOMACH" in loaded.ui.warningsLabel.text


def test_a_slice_without_stomach_is_warned_of_beside_the_stage(desk, loaded, scene, a_small_phantom):
    """In red, above the probabilities: the stage is not to be read without it."""
    mask, there = lower_part(a_small_phantom)
    add_stomach(scene, loaded._parameterNode.inputVolume, mask)
    ui = loaded.ui
    ui.keySliceSlider.value = there[-1] + 1
    ui.applyButton.click()
    slicer.app.processEvents()
    assert "shows NO STOMACH" in ui.warningsLabel.text
    assert ui.warningsLabel.styleSheet == presenter.ALARM
    tops = [proxy.unwrap(one).geometry().top() for one in (ui.stageLabel, ui.warningsLabel, ui.barT1)]
    assert tops == sorted(tops)


def test_without_such_a_segment_nothing_is_said(staged):
    assert stomach_warnings(staged) == []


def test_a_stomach_that_was_edited_makes_the_result_out_of_date(staged, scene, a_small_phantom, tmp_path):
    staged.ui.reportFolderSelector.currentPath = str(tmp_path)
    node = add_stomach(scene, staged._parameterNode.inputVolume, a_small_phantom.stomach)
    staged.enter()
    assert not staged.ui.exportButton.enabled
    staged.ui.applyButton.click()
    assert staged.ui.exportButton.enabled
    nodes.add_segment(node, lower_part(a_small_phantom)[0], "Stomach", samples.YELLOW, "any id")
    staged.enter()
    assert not staged.ui.exportButton.enabled


@pytest.mark.parametrize("kind", ["two", "empty", "of another CT"])
def test_a_stomach_that_cannot_be_compared_is_said_to_be_so(desk, loaded, scene, a_small_phantom, kind):
    """It is of another patient, or is to be drawn still: the case is staged nevertheless, but not in silence."""
    ct, mask = loaded._parameterNode.inputVolume, a_small_phantom.stomach
    if kind == "empty":
        mask = sitk.Cast(mask * 0, sitk.sitkUInt8)
    node = add_stomach(scene, ct, mask)
    if kind == "two":
        add_stomach(scene, ct, mask)
    if kind == "of another CT":
        node.SetAndObserveTransformNodeID(add_transform(scene, rigid((0, 0, 1), 0, (900, 0, 0))).GetID())
    loaded.ui.applyButton.click()
    assert messages(desk) == []
    (warning,) = stomach_warnings(loaded)
    assert warning.startswith("The key slice was not compared with the stomach.")
    expected = {"two": "2 segments called", "empty": "is empty", "of another CT": "has no voxel inside the CT"}[kind]
    assert expected in warning


def test_names_of_nodes_do_not_reach_the_report(loaded, scene, a_small_phantom, monkeypatch):
    """They are often those of patients: the reason is part of the record."""
    ct = loaded._parameterNode.inputVolume
    ct.SetName("Doe_Jane CT")
    add_stomach(scene, ct, a_small_phantom.stomach).SetName("Doe_Jane organs")
    roi_of = nodes.roi_of

    def refused(segmentation, segment, volume, placed_ct):
        if segmentation.GetName().endswith("organs"):
            raise InputError(f"“{segmentation.GetName()}” does not fit “{volume.GetName()}”; expected one that does.")
        return roi_of(segmentation, segment, volume, placed_ct)

    monkeypatch.setattr(nodes, "roi_of", refused)
    loaded.ui.applyButton.click()
    (warning,) = stomach_warnings(loaded)
    assert "“(SegmentationName)” does not fit “(VolumeName)”" in warning
    assert "Doe" not in warning


def test_a_chosen_segment_called_stomach_is_not_counted_twice(desk, panel, scene, a_small_phantom):
    """The attention may be compared with the stomach itself; the mask of the stomach is then the other one."""
    mask, there = lower_part(a_small_phantom)
    ct = samples.add_ct(scene, a_small_phantom.ct, "patient")
    chosen = add_stomach(scene, ct, a_small_phantom.stomach)
    choose_node(panel.ui.inputSelector, ct)
    choose_node(panel.ui.tumourSelector, chosen)
    panel.ui.segmentSelector.currentIndex = 1
    panel.ui.keySliceSlider.value = there[-1] + 1
    panel.ui.applyButton.click()
    assert stomach_warnings(panel) == []
    add_stomach(scene, ct, mask)
    panel.ui.applyButton.click()
    assert messages(desk) == []
    assert "shows NO STOMACH" in stomach_warnings(panel)[0]
