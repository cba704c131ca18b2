"""The module's layouts, the way back to the user's own, and the legend and lines that the views show."""

import numpy as np
import pytest
import slicer
from conftest import ct_like
from GTRStagingSlicer import layers, layouts, nodes
from helpers.lists import choose_node
from scenes import SliceView, add_volume

FOUR_UP = 3


@pytest.fixture
def arranged(scene):
    """The layout node of a user who works in Slicer's Four-Up."""
    node = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    node.SetViewArrangement(FOUR_UP)
    return node


def composites(scene):
    return {view.GetLayoutName(): view for view in layers._slice_views(scene)}


@pytest.mark.parametrize("layout", [layouts.RESULT, layouts.SWEEP, layouts.TABLE])
def test_back_shows_the_layout_of_the_user_again(scene, arranged, layout):
    layouts.show(scene, layout)
    assert arranged.GetViewArrangement() == layout
    assert layouts.can_go_back(scene)
    layouts.show(scene, layouts.TABLE)  # from one of the module's to another
    layouts.back(scene)
    assert arranged.GetViewArrangement() == FOUR_UP
    assert not layouts.can_go_back(scene)


def test_a_layout_that_the_user_chose_meanwhile_stays(scene, arranged):
    layouts.show(scene, layouts.RESULT)
    arranged.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    layouts.back(scene)
    assert arranged.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_the_layouts_have_the_views_that_they_are_for(scene, arranged):
    layouts.layout_node(scene)
    texts = {number: arranged.GetLayoutDescription(number) for number in layouts.DESCRIPTIONS}
    for name in ("Red", "Yellow", "Green", layouts.CT_VIEW):
        assert f'singletontag="{name}"' in texts[layouts.RESULT]
    assert "vtkMRMLPlotViewNode" in texts[layouts.SWEEP]
    assert "vtkMRMLTableViewNode" in texts[layouts.TABLE]


def test_the_panel_shows_sweep_table_and_result_and_goes_back(staged, scene, arranged):
    ui = staged.ui
    staged.enter()
    for button, layout in (
        (ui.plotButton, layouts.SWEEP),
        (ui.tableButton, layouts.TABLE),
        (ui.resultLayoutButton, layouts.RESULT),
    ):
        button.click()
        assert arranged.GetViewArrangement() == layout
    assert ui.ownLayoutButton.enabled
    ui.ownLayoutButton.click()
    assert arranged.GetViewArrangement() == FOUR_UP
    assert not ui.ownLayoutButton.enabled


def test_ct_and_map_are_fitted_at_one_slice_and_scrolled_together(staged, scene, arranged):
    """As in a desktop Slicer, the view of the CT gets its volume and its size only with the layout."""
    state, red = staged._parameterNode, slicer.app.layoutManager().sliceWidget("Red")
    manager = slicer.app.layoutManager()
    own = red.mrmlSliceNode().GetFieldOfView()
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    logic.SetMRMLScene(scene)
    beside = logic.AddSliceNode(layouts.CT_VIEW)
    beside.SetDimensions(300, 400, 1)
    manager.mrmlSliceLogics().AddItem(logic)
    try:
        staged.ui.resultLayoutButton.click()
        assert beside.GetSliceOffset() == pytest.approx(red.mrmlSliceNode().GetSliceOffset())
        extent = state.inputVolume.GetImageData().GetDimensions()[0] * state.inputVolume.GetSpacing()[0]
        assert min(beside.GetFieldOfView()[:2]) == pytest.approx(extent, rel=0.01)
        pair = [composites(scene)[name] for name in ("Red", layouts.CT_VIEW)]
        assert [one.GetLinkedControl() for one in pair] == [1, 1]
        staged.ui.ownLayoutButton.click()
        assert composites(scene)["Red"].GetLinkedControl() == 0
        assert red.mrmlSliceNode().GetFieldOfView() == pytest.approx(own)
    finally:
        manager.mrmlSliceLogics().RemoveItem(logic)


def test_leaving_the_module_goes_back(staged, arranged):
    staged.ui.plotButton.click()
    staged.exit()
    assert arranged.GetViewArrangement() == FOUR_UP


def test_the_result_layout_is_centred_on_the_mass_of_the_map(staged, scene, arranged):
    state = staged._parameterNode
    view = slicer.vtkMRMLSliceCompositeNode()
    view.SetLayoutName(layouts.CT_VIEW)
    scene.AddNode(view)
    staged.ui.resultLayoutButton.click()
    shares = nodes.array_of(state.attentionVolume.GetImageData())
    z, y, x = np.argwhere(shares > 0).T
    to_ras = nodes.matrix_of(state.attentionVolume.GetIJKToRASMatrix)
    points = (to_ras @ np.array([x, y, z, np.ones_like(x)]))[:3]
    mass = (points * shares[z, y, x]).sum(axis=1) / shares.sum()
    for name in ("Yellow", "Green"):
        plane = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().GetSliceToRAS()
        at = [plane.GetElement(i, 3) for i in range(3)]
        assert np.allclose(at[:2], mass[:2], atol=0.01)
    shown = composites(scene)
    assert shown[layouts.CT_VIEW].GetBackgroundVolumeID() == state.inputVolume.GetID()
    assert not shown[layouts.CT_VIEW].GetForegroundVolumeID()
    assert shown["Red"].GetForegroundVolumeID() == state.attentionVolume.GetID()


# -- legend, lines, 3-D --------------------------------------------------------------------------------------------


def legend_of(state):
    return slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(state.attentionVolume)


def test_the_legend_is_in_the_views_of_its_heat_alone(loaded, scene):
    other = add_volume(scene, ct_like(), "PET")
    shown = composites(scene)
    shown["Yellow"].SetBackgroundVolumeID(other.GetID())
    shown["Red"].SetBackgroundVolumeID(loaded._parameterNode.inputVolume.GetID())
    loaded.ui.largestSectionButton.click()
    loaded.ui.applyButton.click()
    legend = legend_of(loaded._parameterNode)
    names = [scene.GetNodeByID(one).GetLayoutName() for one in legend.GetViewNodeIDs()]
    assert "Red" in names
    assert "Yellow" not in names


def test_the_legend_goes_with_the_result(staged, scene):
    legend = legend_of(staged._parameterNode)
    assert legend.GetVisibility()
    choose_node(staged.ui.inputSelector, add_volume(scene, ct_like(), "other"))
    assert not legend.GetVisibility()


def test_the_legend_covers_no_body(bare, a_small_phantom):
    """In a view as those of Slicer at 1280×800 beside the panel, with the CT fitted into it.

    In a desktop Slicer the legend is 48 pixels wide and 78 high there, with its title.
    """
    ct = add_volume(bare.scene, a_small_phantom.ct)
    size = (415, 320)
    view = SliceView(bare, size=size)
    view.composite.SetBackgroundVolumeID(ct.GetID())
    view.logic.FitSliceToAll()
    grid = nodes.grid_of(ct)
    width, height = 50, 80
    left, top = size[0] - width, size[1] - height
    for index in range(a_small_phantom.ct.GetSize()[2]):
        view.node.JumpSliceByOffsetting(*nodes.slice_centre(grid, index))
        body = nodes.array_of(ct.GetImageData())[index] > -300
        rows, columns = np.nonzero(body)
        to_ras = nodes.matrix_of(ct.GetIJKToRASMatrix)
        points = to_ras @ np.array([columns, rows, np.full_like(rows, index), np.ones_like(rows)])
        to_xy = np.linalg.inv(nodes.matrix_of(lambda m: m.DeepCopy(view.node.GetXYToRAS())))
        seen = to_xy @ points
        across, down = seen[0], size[1] - 1 - seen[1]
        covered = (across >= left) & (across < left + width) & (down >= top) & (down < top + height)
        assert not covered.any(), index


def test_the_voting_lines_stay_off_and_are_no_slab(staged, scene):
    ui, state = staged.ui, staged._parameterNode
    display = state.votingSlices.GetDisplayNode()
    assert display.GetVisibility2D()
    assert not display.GetVisibility3D()
    ui.votingCheckBox.checked = False
    assert not display.GetVisibility()
    ui.keySliceSlider.value += 1
    assert not display.GetVisibility()
    ui.applyButton.click()
    assert not state.votingSlices.GetDisplayNode().GetVisibility()
    ui.votingCheckBox.checked = True
    assert display.GetVisibility()


def test_3d_says_so_without_volume_rendering(bare):
    assert layers.reason_no_3d(bare.application) is None
    assert "Volume Rendering" in layers.reason_no_3d(None)
    assert "Volume Rendering" in layers.reason_no_3d(slicer.vtkSlicerApplicationLogic())


def test_the_check_box_3d_is_off_without_volume_rendering(desk, staged, monkeypatch):
    assert staged.ui.render3DCheckBox.enabled
    monkeypatch.setattr(slicer.app, "applicationLogic", lambda: slicer.vtkSlicerApplicationLogic())
    staged.enter()
    assert not staged.ui.render3DCheckBox.enabled
    assert "not loaded" in staged.ui.render3DCheckBox.toolTip
