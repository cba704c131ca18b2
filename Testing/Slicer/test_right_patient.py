"""Several patients in a scene: what is shown, chosen, outlined and staged is of one of them."""

import pytest
import slicer
from conftest import ct_like
from GTRStagingSlicer import candidates, layers, nodes, presenter, samples, scene_staging, terminology
from helpers.lists import choose_node, entries
from scenes import add_volume, box

ATTENTION_VOLUME = "vtkMRMLScalarVolumeNode"


def messages(desk, kind="error"):
    return [one.text for one in desk.shown if one.kind == kind]


def composite(name="Red"):
    return slicer.app.layoutManager().sliceWidget(name).sliceLogic().GetSliceCompositeNode()


def show(volume):
    for name in ("Red", "Green", "Yellow"):
        composite(name).SetBackgroundVolumeID(volume.GetID())


def in_study(scene, node, name):
    """Put a node into a study of a patient of its own in the subject hierarchy, as the DICOM module does."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), f"patient {name}")
    study = hierarchy.CreateStudyItem(patient, name)
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node)
    hierarchy.SetItemParent(item, study)


# -- what is shown and what is chosen --------------------------------------------------------------------------------


def test_choosing_a_ct_shows_it(loaded, scene):
    other = add_volume(scene, ct_like(), "other")
    choose_node(loaded.ui.inputSelector, other)
    assert {composite(name).GetBackgroundVolumeID() for name in ("Red", "Green", "Yellow")} == {other.GetID()}
    assert loaded.ui.otherCtLabel.text == ""


def test_the_panel_opens_with_what_is_shown(desk, panel, scene):
    """Not with the first CT of the scene."""
    panel.exit()
    first, second = add_volume(scene, ct_like(), "first"), add_volume(scene, ct_like(seed=1), "second")
    show(second)
    panel.enter()
    assert panel._parameterNode.inputVolume is second
    panel.exit()
    show(first)
    panel.enter()
    assert panel._parameterNode.inputVolume is first


def test_views_of_another_ct_are_said_in_red_and_give_no_slice_and_no_stage(loaded, scene):
    ui, state = loaded.ui, loaded._parameterNode
    other = add_volume(scene, ct_like(), "other")
    ui.keySliceSlider.value = 8
    assert ui.applyButton.enabled
    show(other)
    assert "“other”" in ui.otherCtLabel.text
    assert ui.otherCtLabel.styleSheet == presenter.ALARM
    assert not ui.applyButton.enabled
    assert not ui.profileButton.enabled
    assert not ui.currentSliceButton.enabled
    ui.currentSliceButton.click()
    ui.applyButton.click()
    assert (state.keySlice, state.resultText) == (8, None)
    ui.showCtButton.click()
    assert composite().GetBackgroundVolumeID() == state.inputVolume.GetID()
    assert ui.otherCtLabel.text == ""
    assert ui.applyButton.enabled


def test_two_volumes_of_one_name_are_told_apart(panel, scene):
    first, second = samples.add_ct(scene, ct_like(), "x"), samples.add_ct(scene, ct_like(), "y")
    for volume in (first, second):
        volume.SetName("CT")
    panel.enter()
    assert entries(panel.ui.inputSelector)[1:] == ["CT (1 of 2)", "CT (2 of 2)"]
    in_study(scene, first, "baseline")
    in_study(scene, second, "follow-up")
    panel.enter()
    assert entries(panel.ui.inputSelector)[1:] == ["CT (baseline)", "CT (follow-up)"]
    choose_node(panel.ui.inputSelector, second)
    assert panel._parameterNode.inputVolume is second


def test_attention_is_not_offered_as_a_ct_also_when_the_staged_ct_is_deleted(desk, staged, scene):
    ui, state = staged.ui, staged._parameterNode
    assert entries(ui.inputSelector)[1:] == ["patient"]
    attention = state.attentionVolume
    scene.RemoveNode(state.inputVolume)
    assert scene.IsNodePresent(attention)
    assert state.attentionVolume is None  # no result belongs to no CT
    assert state.inputVolume is None
    assert entries(ui.inputSelector) == ["Choose the CT"]
    staged.exit()
    staged.enter()
    assert state.inputVolume is None
    state.inputVolume = attention  # of a scene that an earlier version saved
    staged._refresh()
    assert not ui.applyButton.enabled
    assert "is an attention map" in scene_staging.reason_not_ready(state)


def test_the_legend_is_where_its_heat_is(staged, scene):
    state, other = staged._parameterNode, add_volume(scene, ct_like(), "other")
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(state.attentionVolume)
    red, green = (slicer.app.layoutManager().sliceWidget(n).mrmlSliceNode().GetID() for n in ("Red", "Green"))

    def legend_views():
        if not legend.GetVisibility():
            return set()
        assert legend.GetNumberOfViewNodeIDs()  # none would mean every view
        return {legend.GetNthViewNodeID(i) for i in range(legend.GetNumberOfViewNodeIDs())}

    assert legend_views() == {red}
    first = state.inputVolume
    choose_node(staged.ui.inputSelector, other)
    assert composite().GetForegroundVolumeID() in (None, "")
    assert legend_views() == set()
    choose_node(staged.ui.inputSelector, first)
    assert composite().GetForegroundVolumeID() == state.attentionVolume.GetID()
    assert legend_views() == {red}
    composite("Red").SetForegroundVolumeID(None)
    composite("Yellow").SetForegroundVolumeID(None)
    assert legend_views() == {green}


# -- whose tumour ----------------------------------------------------------------------------------------------------


def test_a_tumour_of_another_ct_is_asked_about_and_said(desk, loaded, scene, a_small_phantom):
    ui, state = loaded.ui, loaded._parameterNode
    second = samples.add_ct(scene, a_small_phantom.ct, "second")
    choose_node(ui.inputSelector, second)
    assert "drawn on “patient”, not on “second”" in ui.otherSegmentationLabel.text
    assert ui.otherSegmentationLabel.styleSheet == presenter.ALARM
    desk.record.confirm = False
    ui.applyButton.click()
    ui.largestSectionButton.click()
    assert len(messages(desk, "confirm")) == 2
    assert (state.resultText, state.keySlice) == (None, -1)
    desk.record.confirm = True
    ui.applyButton.click()
    assert len(messages(desk, "confirm")) == 3
    assert any("drawn on another volume" in text for text in scene_staging.record_of(state)["warnings"])
    ui.applyButton.click()
    assert len(messages(desk, "confirm")) == 3  # asked once


def test_a_tumour_of_another_study_is_refused(desk, loaded, scene, a_small_phantom):
    ui, state = loaded.ui, loaded._parameterNode
    first, second = state.inputVolume, samples.add_ct(scene, a_small_phantom.ct, "second")
    in_study(scene, first, "baseline")
    in_study(scene, second, "follow-up")
    assert ui.applyButton.enabled
    choose_node(ui.inputSelector, second)
    assert not ui.applyButton.enabled
    assert "is of another study (baseline) than the CT (follow-up)" in ui.applyHint.text


# -- which segment ---------------------------------------------------------------------------------------------------


def test_the_attention_outline_is_never_offered_as_a_tumour(desk, staged, scene):
    ui, state = staged.ui, staged._parameterNode
    assert state.attentionOutline is not None
    assert entries(ui.tumourSelector) == ["None", "drawn"]
    inner = state.attentionOutline.GetSegmentation()
    state.tumourSegmentation.GetSegmentation().CopySegmentFromSegmentation(inner, layers.OUTLINE)
    staged._refresh()
    assert entries(ui.segmentSelector)[1:] == ["tumour"]
    state.tumourSegmentation, state.tumourSegment = state.attentionOutline, layers.OUTLINE
    assert "Choose the tumour's segment" in scene_staging.reason_not_ready(state)


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([("liver", None), ("stomach", None)], None),
        ([("stomach", None)], None),
        ([("Segment_1", None)], None),
        ([("liver", None), ("Gastric tumor", None)], "Gastric tumor"),
        ([("stomach", None), ("gastric_mass", None)], "gastric_mass"),
        ([("stomach", None), ("Lesion 1", None), ("lesion 2", None)], None),
        ([("stomach", None), ("massive ascites", None)], None),
        ([("stomach", None), ("peritumoral margin", None)], None),
        ([("stomach", terminology.STOMACH), ("Segment_2", terminology.TUMOUR)], "Segment_2"),
    ],
)
def test_only_what_is_called_a_tumour_is_preselected(panel, scene, segments, expected):
    ct = add_volume(scene, ct_like())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    for i, (name, codes) in enumerate(segments):
        nodes.add_segment(node, box(ct_like()), name, (0, 1, 0), f"s{i}", terminology=codes)
    choose_node(panel.ui.inputSelector, ct)
    choose_node(panel.ui.tumourSelector, node)
    state = panel._parameterNode
    assert nodes.segments_of(node).get(state.tumourSegment) == expected
    if expected is None:
        assert panel.ui.segmentSelector.currentIndex == 0
        assert not panel.ui.applyButton.enabled
        assert panel.ui.applyHint.text == "Choose the tumour's segment, or no segmentation."


def test_volumes_that_are_no_ct_are_not_offered(scene):
    ct = add_volume(scene, ct_like())
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    hidden = scene.AddNewNodeByClass(ATTENTION_VOLUME, "hidden")
    hidden.SetHideFromEditors(True)
    assert candidates.cts(scene) == [ct]
