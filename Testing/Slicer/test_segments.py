"""The stomach is recognised by name or code or chosen, and the tumour's segment goes to the Segment Editor and back."""

from types import SimpleNamespace

import pytest
import slicer
from GTRStagingSlicer import organs, samples, scene_staging, terminology
from helpers.lists import choose_node


def errors(desk):
    return [one.text for one in desk.shown if one.kind == "error"]


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("Stomach ", "", True),
        ("stomach wall", "", False),
        ("Segment_1", terminology.STOMACH, True),
        ("Segment_1", "c~SCT^1^x~SRT^T-57000^Stomach~^^~a~^^~^^", True),
        ("Segment_1", terminology.TUMOUR, False),  # its region is the stomach, its type is not
        ("Segment_1", "~~", False),
    ],
)
def test_a_stomach_is_recognised_by_name_or_type(name, entry, expected):
    assert organs.is_stomach(name, entry) is expected


def add(scene, ct, mask, name, entry=None):
    return samples.add_segmentation(scene, ct, mask, "organs", name, samples.YELLOW, "any", entry)


def test_a_coded_stomach_is_used_and_named(desk, loaded, scene, a_small_phantom):
    state = loaded._parameterNode
    assert not loaded.ui.stomachHint.visible
    node = add(scene, state.inputVolume, a_small_phantom.stomach, "Segment_1", terminology.STOMACH)
    loaded.enter()
    assert loaded.ui.stomachHint.text == "Recognised: organs / Segment_1"
    assert scene_staging.called_stomach(state) == [(node, "any")]


def test_of_several_the_chosen_one_is_used(desk, loaded, scene, a_small_phantom):
    ui, state = loaded.ui, loaded._parameterNode
    add(scene, state.inputVolume, a_small_phantom.stomach, "stomach")
    second = add(scene, state.inputVolume, a_small_phantom.stomach, "stomach")
    loaded.enter()
    assert "Several are recognised" in ui.stomachHint.text
    assert ui.stomachSelector.currentIndex == 0
    ui.stomachSelector.setCurrentIndex(ui.stomachSelector.findText(f"{second.GetName()} / stomach"))
    ui.stomachSelector.activated(ui.stomachSelector.currentIndex)
    assert (state.stomachSegmentation, state.stomachSegment) == (second, "any")
    assert not ui.stomachHint.visible
    loaded.ui.applyButton.click()
    assert errors(desk) == []
    assert not any("not compared" in text for text in scene_staging.record_of(state)["warnings"])


def test_the_stomach_comes_back_with_the_scene(desk, loaded, scene, a_small_phantom, tmp_path):
    node = add(scene, loaded._parameterNode.inputVolume, a_small_phantom.stomach, "S")
    state = loaded._parameterNode
    state.stomachSegmentation, state.stomachSegment = node, "any"
    assert loaded.ui.stomachSelector.currentText == "organs / S"
    assert scene.WriteToMRB(str(tmp_path / "a.mrb"))
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "a.mrb"))
    loaded.enter()
    assert loaded._parameterNode.stomachSegment == "any"
    assert loaded.ui.stomachSelector.currentText == "organs / S"


class Editor:
    """The calls of the Segment Editor's widget that the panel makes."""

    def __init__(self):
        self.node, self.source, self.segment = None, None, ""

    def setSegmentationNode(self, node):  # noqa: N802
        self.node = node

    def setSourceVolumeNode(self, node):  # noqa: N802
        self.source = node

    def setCurrentSegmentID(self, segment):  # noqa: N802
        self.segment = segment

    def segmentationNode(self):  # noqa: N802
        return self.node

    def currentSegmentID(self):  # noqa: N802
        return self.segment


@pytest.fixture
def other(desk, monkeypatch):
    """The Segment Editor, as far as it is called, and the modules that are selected."""
    opened, editor = [], Editor()
    qt = desk.qt
    frame = qt.QWidget()
    layout = qt.QVBoxLayout(frame)
    widget = SimpleNamespace(self=lambda: SimpleNamespace(editor=editor), layout=lambda: layout)
    monkeypatch.setattr(
        slicer.modules, "segmenteditor", SimpleNamespace(widgetRepresentation=lambda: widget), raising=False
    )
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    return SimpleNamespace(opened=opened, editor=editor, frame=frame)


def test_a_new_segment_opens_in_the_editor_and_is_used_from_there(desk, panel, scene, a_small_phantom, other):
    ct = samples.add_ct(scene, a_small_phantom.ct, "patient")
    choose_node(panel.ui.inputSelector, ct)
    panel.ui.keySliceSlider.value = 9
    panel.ui.newSegmentButton.click()
    assert errors(desk) == []
    state, editor = panel._parameterNode, other.editor
    assert other.opened == ["SegmentEditor"]
    assert (editor.node, editor.source, editor.segment) == (state.tumourSegmentation, ct, samples.TUMOUR)
    assert "9" in panel.ui.keySliceLabel.text
    another = samples.add_tumour(scene, ct, a_small_phantom.tumour, "drawn elsewhere")
    editor.node = another
    (use,) = other.frame.findChildren(desk.qt.QPushButton)
    use.click()
    assert (state.tumourSegmentation, state.tumourSegment) == (another, samples.TUMOUR)
    assert other.opened == ["SegmentEditor", "GTRStaging"]
    editor.segment = ""
    use.click()
    assert "expected the tumour's" in errors(desk)[0]
    panel.ui.newSegmentButton.click()
    assert len(other.frame.findChildren(desk.qt.QPushButton)) == 1


def test_total_segmentator_is_offered_only_if_it_is_installed(desk, loaded, monkeypatch, other):
    assert not loaded.ui.totalSegmentatorButton.visible
    node = loaded.logic.getParameterNode()
    parameters = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "TotalSegmentator")
    widget = SimpleNamespace(self=lambda: SimpleNamespace(logic=SimpleNamespace(getParameterNode=lambda: parameters)))
    module = SimpleNamespace(widgetRepresentation=lambda: widget)
    monkeypatch.setattr(slicer.modules, "totalsegmentator", module, raising=False)
    loaded.enter()
    assert loaded.ui.totalSegmentatorButton.visible
    loaded.ui.totalSegmentatorButton.click()
    assert parameters.GetNodeReference("InputVolume") is node.inputVolume
    assert parameters.GetParameter("Fast") == "true"
    assert other.opened == ["TotalSegmentator"]
