"""Each CT of a scene has its own result: in the panel, in the subject hierarchy, and in saved and added scenes."""

import json

import pytest
import SimpleITK as sitk
import slicer
import vtk
from GTRStagingSlicer import case_results, nodes, nomograms, samples
from helpers.lists import choose_node

from GTRStagingLib.nomogram import nomogram


def second_case(panel, scene, phantom, name="follow-up"):
    ct = samples.add_ct(scene, phantom.ct, name)
    tumour = samples.add_tumour(scene, ct, phantom.tumour, f"{name} drawn")
    choose_node(panel.ui.inputSelector, ct)
    choose_node(panel.ui.tumourSelector, tumour)
    return ct


@pytest.fixture
def two(staged, scene, a_small_phantom):
    """A panel with a baseline and a follow-up, both staged; the follow-up two slices above its largest section."""
    second_case(staged, scene, a_small_phantom)
    staged.ui.keySliceSlider.value = json.loads(first_text(scene).GetText())["key_slice"]["index"] + 2
    staged.ui.applyButton.click()
    return staged


def first_text(scene):
    return case_results.texts(scene)[0]


def children(hierarchy, item):
    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, found)
    return [found.GetId(i) for i in range(found.GetNumberOfIds())]


def folders(scene):
    """Names of the results' folders, each with the names of the data in it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), found, True)
    items = [found.GetId(i) for i in range(found.GetNumberOfIds())]
    return {
        hierarchy.GetItemName(item): [hierarchy.GetItemDataNode(one).GetID() for one in children(hierarchy, item)]
        for item in items
        if hierarchy.GetItemAttribute(item, "GTRStaging.Result")
    }


def array(volume):
    return nodes.array_of(volume.GetImageData()).copy()


def parts(state):
    found = {name: getattr(state, name) for name in case_results.PARTS}
    return {name: node.GetID() for name, node in found.items() if node is not None}


def test_a_second_ct_does_not_replace_the_result_of_the_first(two, scene):
    state = two._parameterNode
    follow_up = parts(state)
    assert len(case_results.texts(scene)) == 2
    baseline = scene.GetFirstNodeByName("patient")
    choose_node(two.ui.inputSelector, baseline)
    assert not set(parts(state).values()) & set(follow_up.values())
    assert state.resultVolume is baseline
    assert state.resultText.GetName() == "patient result"


def test_the_panel_shows_the_result_and_the_choices_of_the_chosen_ct(two, scene):
    ui, state = two.ui, two._parameterNode
    slices = {
        case_results.ct_of(text).GetName(): json.loads(text.GetText())["key_slice"]["index"]
        for text in case_results.texts(scene)
    }
    assert slices["follow-up"] == slices["patient"] + 2
    for name in ("patient", "follow-up", "patient"):
        choose_node(ui.inputSelector, scene.GetFirstNodeByName(name))
        assert state.keySlice == slices[name]
        assert f"Key slice {slices[name]} " in ui.detailsLabel.text
        assert ui.staleLabel.isVisibleTo(ui.resultBox) is False
        assert state.tumourSegmentation.GetName() == {"patient": "drawn", "follow-up": "follow-up drawn"}[name]


def test_a_ct_without_a_result_shows_none(staged, scene, a_small_phantom):
    second_case(staged, scene, a_small_phantom)
    assert staged._parameterNode.resultText is None
    assert not staged.ui.resultBox.isVisibleTo(staged.ui.stageSection)
    assert not staged.ui.exportButton.enabled


def test_only_the_lines_and_the_outline_of_the_chosen_ct_are_shown(two, scene):
    ui, state = two.ui, two._parameterNode
    other = state.votingSlices, state.attentionOutline
    choose_node(ui.inputSelector, scene.GetFirstNodeByName("patient"))
    assert [node.GetDisplayVisibility() for node in other] == [0, 0]
    assert state.votingSlices.GetDisplayVisibility()
    assert state.attentionOutline.GetDisplayVisibility()


def test_each_result_has_a_folder_under_the_study_of_its_ct(two, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    found = folders(scene)
    assert len(found) == 2
    for text in case_results.texts(scene):
        record = json.loads(text.GetText())
        minute = record["provenance"]["utc"][:16].replace("T", " ")
        ct = case_results.ct_of(text)
        name = f"{ct.GetName()} · {record['prediction']['stage']} · {minute} UTC"
        assert set(found[name]) == {node.GetID() for node in case_results.parts_of(scene, ct).values()}
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(text))
        assert hierarchy.GetItemParent(folder) == hierarchy.GetItemParent(hierarchy.GetItemByDataNode(ct))


def test_the_folder_lies_in_the_study(loaded, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    ct = loaded._parameterNode.inputVolume
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "P1")
    study = hierarchy.CreateStudyItem(patient, "baseline")
    hierarchy.CreateItem(study, ct)
    loaded.ui.largestSectionButton.click()
    loaded.ui.applyButton.click()
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(loaded._parameterNode.resultText))
    assert hierarchy.GetItemParent(folder) == study


def test_apply_again_updates_the_result_of_the_ct(two, scene):
    state = two._parameterNode
    before = parts(state)
    two.ui.largestSectionButton.click()
    two.ui.applyButton.click()
    assert parts(state) == before
    assert len(folders(scene)) == 2


def test_a_new_threshold_keeps_the_nodes_in_their_folder(two, scene):
    before = {name: set(ids) for name, ids in folders(scene).items()}
    two.ui.thresholdSlider.value = 0.7
    assert {name: set(ids) for name, ids in folders(scene).items()} == before


def test_saved_and_loaded_the_scene_keeps_all_results(two, scene, tmp_path):
    before = {name: len(ids) for name, ids in folders(scene).items()}
    assert scene.WriteToMRB(str(tmp_path / "a.mrb"))
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "a.mrb"))
    two.enter()
    assert {name: len(ids) for name, ids in folders(scene).items()} == before
    ui, state = two.ui, two._parameterNode
    for name in ("patient", "follow-up"):
        choose_node(ui.inputSelector, scene.GetFirstNodeByName(name))
        assert state.resultText.GetName() == f"{name} result"
        assert not two.logic.outOfDate(state)


def test_a_scene_added_to_a_scene_keeps_both(staged, scene, a_small_phantom, tmp_path):
    assert scene.WriteToMRB(str(tmp_path / "first.mrb"))
    assert scene.ReadFromMRB(str(tmp_path / "first.mrb"), False)
    staged.enter()
    texts = case_results.texts(scene)
    assert len(texts) == 2
    first, second = (case_results.ct_of(text) for text in texts)
    assert None not in (first, second)
    assert first is not second
    state = staged._parameterNode
    for ct, text in ((first, texts[0]), (second, texts[1])):
        state.inputVolume = ct
        assert state.resultText is text
        assert state.attentionVolume.GetNodeReference("GTRStaging.CT") is ct


def test_export_writes_the_result_of_the_chosen_ct(two, scene, tmp_path):
    ui = two.ui
    for name in ("patient", "follow-up"):
        choose_node(ui.inputSelector, scene.GetFirstNodeByName(name))
        expected = json.loads(two._parameterNode.resultText.GetText())["key_slice"]["index"]
        result = two.logic._current(two._parameterNode)
        assert result.key_slice.index == expected


def test_an_edited_segment_of_another_ct_makes_only_its_own_result_stale(two, scene, a_small_phantom):
    smaller = sitk.BinaryErode(a_small_phantom.tumour, (1, 1, 0))
    nodes.add_segment(scene.GetFirstNodeByName("drawn"), smaller, "tumour", (1, 0, 0), samples.TUMOUR)
    two.enter()
    assert not two.logic.outOfDate(two._parameterNode)
    choose_node(two.ui.inputSelector, scene.GetFirstNodeByName("patient"))
    assert two.logic.outOfDate(two._parameterNode)


def test_profile_and_nomogram_are_those_of_the_chosen_ct(two, scene):
    """Each CT keeps its own, in the folder of its result; deleting the result takes them with it."""
    state = two._parameterNode
    nomograms.choose(state, scene, nomogram.load(nomogram.PUBLISHED))
    made = {}
    for name, size in (("patient", "< 5 cm"), ("follow-up", "≥ 5 cm")):
        choose_node(two.ui.inputSelector, scene.GetFirstNodeByName(name))
        two.ui.profileButton.click()
        nomograms.set_value(state, scene, "size", size)
        made[name] = parts(state)
    assert not set(made["patient"].values()) & set(made["follow-up"].values())
    for name, size in (("patient", "< 5 cm"), ("follow-up", "≥ 5 cm")):
        choose_node(two.ui.inputSelector, scene.GetFirstNodeByName(name))
        assert state.profileText.GetID() == made[name]["profileText"]
        assert "have changed since" not in two.ui.profileLabel.text
        assert nomograms.given_values(state) == {"size": size}
        (folder,) = [ids for title, ids in folders(scene).items() if title.startswith(f"{name} ·")]
        assert set(made[name].values()) == set(folder)
    tables = scene.GetNumberOfNodesByClass("vtkMRMLTableNode")
    case_results.remove(scene, state.resultText)
    assert scene.GetNodeByID(made["follow-up"]["profilePlot"]) is None
    assert scene.GetNodeByID(made["patient"]["profilePlot"]) is not None
    # Those of result, agreement, sweep and profile, and that of the key slice's line.
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == tables - 5


def test_a_result_of_an_older_version_becomes_that_of_its_ct(staged, scene, a_small_phantom):
    state = staged._parameterNode
    text, ct = state.resultText, state.resultVolume
    for name in case_results.PARTS:  # as scenes of older versions have them
        node = getattr(state, name)
        if node is not None:
            node.RemoveAttribute("GTRStaging.Part")
            node.RemoveNodeReferenceIDs("GTRStaging.CT")
    for name in ("GTRStaging.Choices", "GTRStaging.Settings"):
        text.RemoveAttribute(name)
    second_case(staged, scene, a_small_phantom)
    choose_node(staged.ui.inputSelector, ct)
    assert state.resultText is text


def test_a_removed_result_leaves_the_other_and_the_cts(two, scene):
    baseline = scene.GetFirstNodeByName("patient")
    text = case_results.parts_of(scene, baseline)["resultText"]
    case_results.remove(scene, text)
    assert case_results.parts_of(scene, baseline) == {}
    assert [case_results.ct_of(one).GetName() for one in case_results.texts(scene)] == ["follow-up"]
    assert len(folders(scene)) == 1
    assert baseline.GetScene() is scene
    assert scene.GetFirstNodeByName("drawn") is not None
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 4


def test_the_result_of_a_deleted_ct_is_removed_with_its_nodes(two, scene):
    baseline = scene.GetFirstNodeByName("patient")
    text = case_results.parts_of(scene, baseline)["resultText"]
    ids = [node.GetID() for node in case_results.parts_of(scene, baseline).values()]
    scene.RemoveNode(baseline)
    assert "CT deleted" in case_results.title(text)
    case_results.remove(scene, text)
    assert [scene.GetNodeByID(one) for one in ids] == [None] * len(ids)
    assert len(folders(scene)) == 1


def test_undo_takes_a_result_out_of_the_scene(loaded, scene):
    scene.SetUndoOn()
    loaded.ui.largestSectionButton.click()
    loaded.ui.applyButton.click()
    assert len(case_results.texts(scene)) == 1
    scene.Undo()
    assert case_results.texts(scene) == []
    loaded.enter()
    assert not loaded.ui.resultBox.isVisibleTo(loaded.ui.stageSection)
    loaded.ui.applyButton.click()
    assert len(case_results.texts(scene)) == 1


def test_undo_of_a_second_apply_shows_the_first_result_again(staged, scene):
    scene.SetUndoOn()
    state = staged._parameterNode
    first, attention = state.resultText.GetText(), array(state.attentionVolume)
    before = state.keySlice
    staged.ui.keySliceSlider.value += 2
    staged.ui.applyButton.click()
    assert state.resultText.GetText() != first
    scene.Undo()
    assert state.resultText.GetText() == first
    assert (array(state.attentionVolume) == attention).all()
    staged.enter()
    assert state.keySlice == before
    assert f"Key slice {before} " in staged.ui.detailsLabel.text
    assert not staged.logic.outOfDate(state)
    assert staged.logic._current(state).key_slice.index == before
