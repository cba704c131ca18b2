"""The case of a reader study in a real MRML scene: what is in it, what was seen of it, and what is left of it."""

import numpy as np
import pytest
import slicer
from GTRReadingSlicer.case_scene import CaseScene, View, holds_data
from GTRStagingSlicer import nodes
from scenes import SliceView, add_volume, node_ids

from GTRStagingLib.imaging.geometry import Grid
from GTRStagingLib.reading.case_voxels import CaseVoxels

BEGIN = View(slice=3, level=50, width=350)


@pytest.fixture
def voxels():
    """A CT of air with a bright block at the patient's right and front of slice 5; the map is at its maximum there."""
    ct = np.full((12, 48, 64), -1000, np.int16)
    ct[5, 6:12, 8:16] = 400
    drawn = np.zeros(ct.shape, np.uint8)
    drawn[5, 6:12, 8:16] = 255
    # Tilted and far from the origin: nothing of it may be seen.
    return CaseVoxels(Grid((64, 48, 12), (2.0, 2.5, 5.0), (-60.0, -50.0, -300.0), (1, 0, 0, 0, 0.8, -0.6, 0, 0.6, 0.8)),
                      ct, drawn)  # fmt: skip


@pytest.fixture
def view(bare):
    return SliceView(bare, size=(128, 96))


@pytest.fixture
def case(scene, view):
    changes = []
    made = CaseScene(scene, lambda: changes.append(made.slice), view.logic.FitSliceToBackground)
    made.changes = changes
    return made


def test_slices_are_those_of_the_library_and_the_patients_right_is_at_the_left(case, voxels, view):
    case.show(voxels, BEGIN, key_slice=None)
    assert case.slice == 3
    case.go_to(5)
    picture = view.picture()[..., 0].astype(float)
    rows, columns = np.nonzero(picture > 100)
    assert columns.max() < 128 / 2 - 10
    assert rows.max() < 96 / 2
    case.go_to(4)
    assert not (view.picture()[..., 0] > 100).any()


def test_the_window_is_the_first_one_of_the_design(case, voxels):
    case.show(voxels, BEGIN, key_slice=None)
    assert case.window == (50, 350)
    case.set_window(5000, 1)
    assert case.window == (3000, 10)
    case.reset(50, 350)
    assert (case.window, case.slice) == ((50, 350), 3)


def test_what_was_seen_is_noted_from_the_first_slice_on_and_not_what_fitting_moved_past(case, voxels, view):
    case.show(voxels, BEGIN, key_slice=None)
    assert case.seen == {3}
    case.step(1)
    case.step(5)
    case.step(100)
    assert case.seen == {3, 4, 9, 11}
    assert case.changes[-1] == 11
    view.node.SetOrientation("Coronal")
    assert case.slice is None
    view.node.SetOrientation("Axial")
    view.node.SetSliceOffset(400)
    assert case.slice is None
    assert case.seen == {3, 4, 9, 11}
    case.forget()
    assert case.seen == set()


def test_the_key_slice_has_a_frame_in_its_slice_alone(case, voxels, scene):
    case.show(voxels, BEGIN, key_slice=5)
    frame = scene.GetFirstNodeByName("Key slice")
    low, high = frame.GetPolyData().GetBounds()[4:]
    assert 4 * 5.0 < low < 5 * 5.0 < high < 6 * 5.0
    case.show(voxels, BEGIN, key_slice=None)
    assert scene.GetFirstNodeByName("Key slice") is None


def test_the_map_is_drawn_over_the_ct_and_can_be_switched_off(case, voxels, view):
    case.show(voxels, BEGIN, key_slice=None)
    case.go_to(5)
    coloured = view.picture()[..., :3].astype(int)
    assert (coloured.max(-1) - coloured.min(-1) > 40).sum() > 100
    assert case.map_shown
    case.show_map(False)
    grey = view.picture()[..., :3].astype(int)
    assert (grey.max(-1) - grey.min(-1)).max() == 0
    assert not case.map_shown


def test_without_advice_there_is_no_map(case, voxels, scene):
    case.show(CaseVoxels(voxels.grid, voxels.ct), BEGIN, key_slice=None)
    assert [node.GetName() for node in nodes.of_class(scene, "vtkMRMLScalarVolumeNode")] == ["CT"]


def test_nothing_of_a_case_stays_in_the_scene(case, voxels, scene, view):
    before = node_ids(scene)
    for _ in range(2):
        case.show(voxels, BEGIN, key_slice=5)
        case.clear()
    kept = [scene.GetNodeByID(one) for one in set(node_ids(scene)) - set(before)]
    assert {node.GetClassName() for node in kept} <= {"vtkMRMLSubjectHierarchyNode"}
    assert view.composite.GetBackgroundVolumeID() is None
    assert view.composite.GetForegroundVolumeID() is None
    view.logic.UpdatePipeline()
    assert view.logic.GetImageDataConnection() is None
    assert not holds_data(scene)


def test_nothing_of_a_case_is_saved_with_a_scene(case, voxels, scene, tmp_path, a_ct):
    def saved():
        scene.SetURL(str(tmp_path / "scene.mrml"))
        assert scene.Commit()
        return " ".join((tmp_path / "scene.mrml").read_text(encoding="utf-8").split())

    case.show(voxels, View(3, 50, 350, mark=(10.0, 10.0, 5.0)), key_slice=5)
    text = saved()
    for kind in ("<Volume id", "<VolumeDisplay", "<Model id", "<MarkupsFiducial", "GTR Staging attention"):
        assert kind not in text
    add_volume(scene, a_ct)
    assert "<Volume id" in saved()


def test_positions_say_nothing_about_the_patient(case, voxels, scene):
    case.show(voxels, BEGIN, key_slice=None)
    matrix = nodes.matrix_of(scene.GetFirstNodeByName("CT").GetIJKToRASMatrix)
    centre = matrix @ ((64 - 1) / 2, (48 - 1) / 2, 0, 1)
    assert centre[:3].tolist() == [0, 0, 0]
    assert np.array_equal(matrix[:3, :3], np.diag([-2.0, -2.5, 5.0]))


def test_a_mark_is_in_voxels_and_comes_back_with_the_view(case, voxels, scene):
    case.show(voxels, BEGIN, key_slice=None)
    assert case.mark is None
    scene.AddNewNodeByClass("vtkMRMLSelectionNode")
    scene.AddNewNodeByClass("vtkMRMLInteractionNode")
    case.start_placing()
    assert case.placing
    node = scene.GetFirstNodeByName("Mark")
    matrix = nodes.matrix_of(scene.GetFirstNodeByName("CT").GetIJKToRASMatrix)
    node.AddControlPoint(*(matrix @ (10, 8, 5, 1))[:3])
    assert case.mark == (10, 8, 5)
    kept = case.view
    case.clear()
    assert case.mark is None
    case.show(voxels, kept, key_slice=None)
    assert case.mark == (10, 8, 5)
    case.remove_mark()
    assert case.mark is None
    assert not nodes.of_class(scene, "vtkMRMLMarkupsFiducialNode")


def test_somebodys_data_are_recognised(scene, a_ct, view):
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    assert not holds_data(scene)
    added = add_volume(scene, a_ct)
    assert holds_data(scene)
    scene.RemoveNode(added)
    assert not holds_data(scene)
    scene.AddNewNodeByClass("vtkMRMLTextNode", "record")
    assert holds_data(scene)
