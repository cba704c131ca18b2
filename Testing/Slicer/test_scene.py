"""A staged scene: heat where it belongs in a rendered view, agreement as the library's, nodes that do not multiply."""

import json
from functools import cache

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from conftest import a_spot, ct_like, planted_model
from GTRStagingSlicer import layers, nodes, records, samples, scene_staging, tables
from GTRStagingSlicer.bare import bare_scene
from GTRStagingSlicer.state import Method, State, Target, save
from scenes import ORIENTATIONS, SliceView, add_transform, add_volume, array_of, bend, box, node_ids, rigid

from GTRStagingLib.errors import Cancelled, GeometryError, InputError
from GTRStagingLib.imaging import geometry, keyslice, scans
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.results.record import to_json
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import stage_case

KEY = 4


@cache
def a_planted_model():
    return planted_model()


def planted(name="ct_like", radius_mm=6.0):
    """A CT with one bright ball, and the ball's centre (RAS) in the key slice."""
    image = ORIENTATIONS[name](seed=1)
    point = np.array(geometry.axial_lps(image).TransformIndexToPhysicalPoint((30, 17, KEY)))
    return a_spot(image, point, radius_mm=radius_mm), point * [-1, -1, 1]


def a_state(scene, image, mask=None, **changes):
    ct = add_volume(scene, image)
    state = State(inputVolume=ct, keySlice=KEY, keySliceChosenBy="hand", **changes)
    if mask is not None:
        state.tumourSegmentation = samples.add_tumour(scene, ct, mask, "segmentation")
        state.tumourSegment = samples.TUMOUR
    return state


def staged(bare, image, mask=None, **changes):
    state = a_state(bare.scene, image, mask, **changes)
    result = scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
    return state, result


# -- where the heat is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_planted_spot_is_lit_at_its_pixel_of_the_rendered_view(bare, name, moved):
    image, ras = planted(name)
    state = a_state(bare.scene, image)
    if moved:
        matrix = rigid((0.2, 0.1, 1), 9, (4, -3, 12))
        state.inputVolume.SetAndObserveTransformNodeID(add_transform(bare.scene, matrix).GetID())
        ras = (matrix @ [*ras, 1])[:3]
    view = SliceView(bare)
    scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
    grid = nodes.grid_of(state.inputVolume)
    if moved or name in ("oblique", "flipped"):
        view.node.SetSliceToRASByNTP(*_plane_of(grid, ras), 0)
    view.show(ras, fit=70)
    view.composite.SetForegroundOpacity(0.0)
    plain = view.picture().astype(int)
    view.composite.SetForegroundOpacity(1.0)
    heated = view.picture().astype(int)
    row, column = view.pixel(ras)
    difference = np.abs(heated - plain)[..., :3].sum(axis=2)
    lit = difference > 40
    rows, columns = np.nonzero(lit)
    assert lit[row, column]
    # The map's own peak: within a pixel of the CT (1.1 mm) of where the ball is.
    centroid = np.array([rows.mean(), columns.mean()])
    mm = 70 / view.size[0]
    assert np.linalg.norm(centroid - [row, column]) * mm < 3.0
    far = np.hypot(*(np.indices(lit.shape) - np.array([row, column])[:, None, None])) * mm > 45
    assert not lit[far].any()


def _plane_of(grid, ras):
    """Normal and transverse of the scan's own slices, for a view along them."""
    order = geometry.axial_order(grid)
    axes = np.reshape(grid.GetDirection(), (3, 3)) * np.array([[-1], [-1], [1]])
    signs = [-1 if flip else 1 for flip in order.flipped]
    left, normal = axes[:, order.axes[0]] * signs[0], axes[:, order.axes[2]] * signs[2]
    return (*normal, *left, *ras)


def test_without_attention_the_ct_is_unchanged(bare):
    image, ras = planted()
    view = SliceView(bare)
    state, _result = staged(bare, image)
    view.show(ras, fit=70)
    view.composite.SetForegroundOpacity(1.0)
    heated = view.picture()
    shares = array_of(state.attentionVolume)
    view.composite.SetForegroundVolumeID(None)
    plain = view.picture()
    cold = np.argwhere(shares[KEY - (KEY - 1)] < state.shownFrom)
    there = nodes.placed(state.attentionVolume).image
    checked = 0
    for y, x in cold[:: max(1, len(cold) // 200)]:
        point = np.array(there.TransformIndexToPhysicalPoint((int(x), int(y), 1))) * [-1, -1, 1]
        row, column = view.pixel(point)
        if 0 <= row < 256 and 0 <= column < 256:
            assert np.array_equal(heated[row, column], plain[row, column])
            checked += 1
    assert checked > 20


def test_the_slices_that_did_not_vote_have_no_heat(bare):
    image, _ras = planted()
    state, result = staged(bare, image)
    view = SliceView(bare)
    layers.overlay(bare.scene, state.inputVolume, state.attentionVolume, 1.0)
    for index in range(9):
        view.show(nodes.slice_centre(result.scan.image, index), fit=70)
        heated = view.picture()
        view.composite.SetForegroundOpacity(0.0)
        lit = not np.array_equal(heated, view.picture())
        view.composite.SetForegroundOpacity(1.0)
        assert lit == (index in (KEY - 1, KEY, KEY + 1))


def test_the_voxels_are_shares_of_the_maximum_on_a_fixed_scale(bare):
    image, _ras = planted()
    state, result = staged(bare, image)
    raw = sitk.GetArrayFromImage(result.attention_volume)
    shares = array_of(state.attentionVolume)
    assert shares.max() == 1.0
    assert np.allclose(shares * float(state.attentionVolume.GetAttribute(layers.PEAK)), raw, rtol=1e-6)
    display = state.attentionVolume.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
    assert display.GetLowerThreshold() == state.shownFrom


def test_the_colours_are_the_reports(bare):
    from GTRStagingLib.results import overlay

    image, _ras = planted()
    state, _result = staged(bare, image)
    table = state.attentionVolume.GetDisplayNode().GetColorNode().GetLookupTable()
    for share in (0.2, 0.5, 1.0):
        wanted = overlay.heat_colours(np.array([[share]]), 1.0)[0, 0, :3]
        assert np.allclose(table.GetTableValue(round(255 * share))[:3], wanted, atol=0.02)


def test_a_slice_without_a_map_differs_from_an_empty_one(bare):
    image, _ras = planted(radius_mm=18.0)
    state = a_state(bare.scene, image, box(image))
    backbone = ready(a_planted_model())
    result = scene_staging.stage(state, backbone, bare.scene, bare.application, neighbour_maps=False)
    shares = array_of(state.attentionVolume)
    assert [bool(one.any()) for one in shares] == list(result.attention.mapped) == [False, True, False]
    shown_text = f"These slices voted, but no map was computed for them: {KEY - 1}, {KEY + 1}."
    assert shown_text in rows_of(state.resultTable)["Attention"]
    scene_staging.stage(state, backbone, bare.scene, bare.application)
    assert "no map" not in rows_of(state.resultTable)["Attention"]


def rows_of(node):
    """A table of two columns as a dictionary."""
    table = node.GetTable()
    return {table.GetValue(i, 0).ToString(): table.GetValue(i, 1).ToString() for i in range(table.GetNumberOfRows())}


@pytest.mark.parametrize(
    ("method", "title"),
    [
        (Method.AUTO, "Attention for T3"),
        (Method.GRADCAM, "Attention for T3"),
        (Method.GRADCAMPP, "Grad-CAM++ (similar for every stage)"),
        (Method.LAYERCAM, "LayerCAM (similar for every stage)"),
        (Method.EIGENCAM, "EigenCAM (the same for every stage)"),
    ],
)
def test_only_a_map_of_a_stage_is_called_the_attention_for_it(bare, method, title):
    image, _ras = planted()
    state, _result = staged(bare, image, method=method, target=Target.T3)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(state.attentionVolume)
    assert " ".join(legend.GetTitleText().split()) == title  # it is broken over lines
    assert state.attentionVolume.GetName() == f"CT: {title}"
    shown_text = rows_of(state.resultTable)["Attention"]
    assert ("for T3" in shown_text) == title.endswith("T3")
    assert rows_of(state.resultTable)["Check of the map"] == "This map has not been checked for this model."


def test_an_empty_map_is_shown_as_none(bare):
    """A target that nothing speaks for: no heat, no outline, and no number made of it."""
    image, _ras = planted()
    state, result = staged(bare, image, box(image), target=Target.T1, showOutline=True)
    assert all(result.attention.empty)
    assert array_of(state.attentionVolume).max() == 0
    assert not layers.above(state.attentionVolume, 0.5).any()
    rows = tables.agreement_rows(scene_staging.record_of(state)["agreement"], 0.5)
    assert np.isnan({name: value for name, value, *_ in rows}["Dice"])


# -- agreement -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_dice_against_a_segment_is_the_librarys(bare, name):
    image, _ras = planted(name)
    mask = box(image, slice(2, 20), slice(2, 5), slice(2, 8)) if name == "permuted" else box(image, x=slice(20, 36))
    state, result = staged(bare, image, mask)
    alone = stage_case(
        scans.scan_of(image, "CT"),
        ready(a_planted_model()),
        tumour=Roi(mask, "tumour"),
        key_slice=keyslice.by_index(image, KEY),
    )
    for mine, theirs in zip(result.agreement.sweep, alone.agreement.sweep, strict=True):
        assert (mine.dice, mine.iou, mine.chance_dice) == (theirs.dice, theirs.iou, theirs.chance_dice)
        assert mine.hd95_mm == pytest.approx(theirs.hd95_mm, abs=1e-6)
    assert scene_staging.record_of(state)["agreement"]["dice"] == alone.agreement.dice


def test_the_outline_is_the_region_that_dice_was_measured_on(bare):
    image, _ras = planted()
    state, result = staged(bare, image, box(image, x=slice(20, 36)), showOutline=True)
    there = nodes.placed(state.inputVolume)
    drawn = nodes.roi_of(state.attentionOutline, layers.OUTLINE, state.inputVolume, there)
    on_ct = sitk.GetArrayFromImage(geometry.onto_grid(drawn.mask, image))[KEY].astype(bool)
    wanted = sitk.GetArrayFromImage(box(image, x=slice(20, 36)))[KEY].astype(bool)
    assert 2 * (on_ct & wanted).sum() / (on_ct.sum() + wanted.sum()) == pytest.approx(result.agreement.dice, abs=1e-12)


def test_a_new_threshold_is_looked_up_in_the_sweep(bare):
    image, _ras = planted()
    state, result = staged(bare, image, box(image, x=slice(20, 36)))
    state.threshold = 0.3
    scene_staging.rethreshold(state, bare.scene, bare.application)
    (cut,) = [one for one in result.agreement.sweep if one.threshold == 0.3]
    table = state.agreementTable.GetTable()
    dice = table.GetColumnByName("At the threshold").GetValue(1)
    assert dice == cut.dice
    assert scene_staging.at_threshold(result, 0.3).agreement.dice == cut.dice
    assert records.cut_at(scene_staging.record_of(state)["agreement"], 0.33)["threshold"] == 0.35


def test_the_sweeps_table_and_plot_are_the_records(bare):
    image, _ras = planted()
    state, result = staged(bare, image, box(image, x=slice(20, 36)))
    table = state.sweepTable.GetTable()
    assert table.GetNumberOfRows() == len(result.agreement.sweep)
    for i, cut in enumerate(result.agreement.sweep):
        assert table.GetColumnByName("Dice").GetValue(i) == cut.dice
        assert table.GetColumnByName("Chance Dice").GetValue(i) == cut.chance_dice
        assert table.GetColumnByName("Dice of a centred blob").GetValue(i) == cut.blob_dice
    drawn = series_of(state.sweepPlot)
    assert [one.GetYColumnName() for one in drawn] == ["Dice", "Chance Dice", "Dice of a centred blob"]
    assert all(one.GetTableNode() is state.sweepTable for one in drawn)


def series_of(plot):
    return [plot.GetNthPlotSeriesNode(i) for i in range(plot.GetNumberOfPlotSeriesNodes())]


def test_the_mean_mask_is_a_line_of_the_sweep_while_there_is_one(bare):
    """Of the next model, which has none, no line is left over."""
    image, _ras = planted()
    state, _result = staged(bare, image, box(image))
    before = node_ids(bare.scene)
    agreement = scene_staging.record_of(state)["agreement"]
    known = {**agreement, "sweep": [{**cut, "mean_mask_dice": 0.25} for cut in agreement["sweep"]]}
    for given in (known, agreement):
        tables.show_sweep(bare.scene, state.sweepTable, state.sweepPlot, given, state.inputVolume)
        names = [one.GetYColumnName() for one in series_of(state.sweepPlot)]
        assert ("Dice of the mean mask" in names) == (given is known)
        assert len(names) == (4 if given is known else 3)
    assert node_ids(bare.scene) == before


def test_without_a_segment_no_agreement_is_shown_or_left_over(bare):
    image, _ras = planted()
    state, _result = staged(bare, image, box(image))
    assert state.agreementTable is not None
    assert bare.scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") > 0
    state.tumourSegmentation, state.tumourSegment = None, ""
    scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
    assert state.agreementTable is state.sweepTable is state.sweepPlot is None
    assert bare.scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 0


# -- the scene -----------------------------------------------------------------------------------------------------


def test_running_again_updates_the_nodes_it_made(bare):
    image, _ras = planted(radius_mm=18.0)
    state, _result = staged(bare, image, box(image), showOutline=True, show3D=True)
    before = node_ids(bare.scene)
    state.method, state.target, state.keySlice = Method.LAYERCAM, Target.T3, KEY + 1
    scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
    assert node_ids(bare.scene) == before
    assert scene_staging.record_of(state)["attention"]["method"] == "layercam"
    assert scene_staging.record_of(state)["key_slice"]["index"] == KEY + 1


def test_results_are_placed_where_the_ct_stands(bare):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(bare.scene)
    image, _ras = planted()
    state = a_state(bare.scene, image, box(image), showOutline=True)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    hierarchy.CreateItem(study, state.inputVolume)
    scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
    for node in (state.attentionVolume, state.resultTable, state.agreementTable, state.sweepTable, state.sweepPlot,
                 state.resultText, state.attentionOutline):  # fmt: skip
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
        assert hierarchy.GetItemAttribute(folder, layers.FOLDER)
        assert hierarchy.GetItemParent(folder) == study


def test_everything_that_matters_survives_an_mrb(bare, tmp_path):
    image, _ras = planted()
    state, result = staged(bare, image, box(image), showOutline=True, opacity=0.35, method=Method.LAYERCAM)
    state.threshold = 0.4
    save(state, bare.scene)
    save(state, bare.scene)  # twice in a session: still one parameter node
    assert bare.scene.GetNumberOfNodesByClass("vtkMRMLScriptedModuleNode") == 1
    target = tmp_path / "case.mrb"
    assert bare.scene.WriteToMRB(str(target))
    again = bare_scene()
    try:
        assert again.scene.ReadFromMRB(str(target))
        node = again.scene.GetSingletonNode("GTRStaging", "vtkMRMLScriptedModuleNode")
        assert node.GetAttribute("ModuleName") == "GTRStaging"
        assert node.GetParameter("opacity") == "0.35"
        assert node.GetParameter("threshold") == "0.4"
        assert node.GetParameter("method") == "LAYERCAM"
        assert node.GetParameter("keySlice") == str(KEY)
        record = json.loads(node.GetNodeReference("resultText").GetText())
        assert record["prediction"]["stage"] == str(result.prediction.stage)
        assert record["features"] == scene_staging.record_of(state)["features"]
        volume, attention = node.GetNodeReference("inputVolume"), node.GetNodeReference("attentionVolume")
        assert np.array_equal(array_of(volume), array_of(state.inputVolume))
        assert np.allclose(array_of(attention), array_of(state.attentionVolume), atol=1e-7)
        assert geometry.same_grid(nodes.placed(attention).image, nodes.placed(state.attentionVolume).image)
        assert attention.GetAttribute(layers.PEAK) == state.attentionVolume.GetAttribute(layers.PEAK)
        display = attention.GetDisplayNode()
        assert display.GetColorNode().GetName() == layers.COLOURS
        assert (display.GetLowerThreshold(), display.GetApplyThreshold()) == (state.shownFrom, 1)
        for name in ("resultTable", "agreementTable", "sweepTable"):
            mine, theirs = getattr(state, name).GetTable(), node.GetNodeReference(name).GetTable()
            assert mine.GetNumberOfRows() == theirs.GetNumberOfRows() > 0
        series = node.GetNodeReference("sweepPlot").GetNthPlotSeriesNode(0)
        assert series.GetTableNode() is node.GetNodeReference("sweepTable")
    finally:
        again.close()


def test_a_bent_ct_is_staged_in_the_world(bare):
    image, _ras = planted()
    state = a_state(bare.scene, image)
    state.inputVolume.SetAndObserveTransformNodeID(bend(bare.scene).GetID())
    result = scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
    assert state.attentionVolume.GetParentTransformNode() is None
    assert any("bends its grid" in text for text in result.warnings)


# -- before and around ---------------------------------------------------------------------------------------------


def test_missing_inputs_are_reported_one_at_a_time(scene):
    state = State()
    assert "CT volume" in scene_staging.reason_not_ready(state)
    state.inputVolume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert "“empty” contains no voxels" in scene_staging.reason_not_ready(state)
    state.inputVolume = add_volume(scene, ct_like())
    assert "key slice" in scene_staging.reason_not_ready(state)
    state.tumourSegmentation = samples.add_tumour(scene, state.inputVolume, box(ct_like()), "s")
    assert "segment" in scene_staging.reason_not_ready(state)
    state.tumourSegment = samples.TUMOUR
    assert scene_staging.reason_not_ready(state) is None
    state.tumourSegmentation, state.keySlice = None, 3
    assert scene_staging.reason_not_ready(state) is None


def test_without_a_key_slice_the_segments_largest_section_is_taken(bare):
    image, _ras = planted(radius_mm=18.0)
    mask = sitk.Or(box(image, z=slice(2, 3)), box(image, slice(5, 40), slice(5, 35), slice(6, 7)))
    state = a_state(bare.scene, image, mask)
    state.keySlice = -1
    result = scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
    assert result.key_slice.index == state.keySlice == 6
    assert state.keySliceChosenBy == scene_staging.TUMOUR_AREA
    assert not scene_staging.out_of_date(state)
    assert scene_staging.largest_section(state, nodes.placed(state.inputVolume)).index == 6


def test_a_proposed_key_slice_stays_proposed_until_somebody_chooses(bare):
    """A scene of `gtrstaging stage --propose-key-slice --mrb` must not tell that somebody chose the slice by hand."""
    state = a_state(bare.scene, planted()[0])
    state.keySliceChosenBy = scene_staging.PROPOSED
    result = scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
    assert result.key_slice.chosen_by == state.keySliceChosenBy == scene_staging.PROPOSED
    assert any("PROPOSED BY THE MODEL" in text for text in scene_staging.record_of(state)["warnings"])


def test_the_table_of_a_result_of_several_looks_tells_their_votes_and_spread(bare):
    state, result = staged(bare, planted()[0])
    record = to_json(stage_case(result.scan, ready(a_planted_model()), StagingOptions(tta=True), key_slice=KEY))
    table = tables.show_result(bare.scene, None, record, state.inputVolume)
    cells = [table.GetTable().GetValue(row, 1).ToString() for row in range(table.GetNumberOfRows())]
    assert [text for text in cells if text.startswith("6 looks: ") and "of 2 bits" in text]


def test_a_result_is_out_of_date_once_a_setting_changes(bare):
    image, _ras = planted()
    state, _result = staged(bare, image)
    assert not scene_staging.out_of_date(state)
    for name, value in (("keySlice", 5), ("method", Method.GRADCAM), ("target", Target.T4), ("model", "untrained")):
        before = getattr(state, name)
        setattr(state, name, value)
        assert scene_staging.out_of_date(state), name
        setattr(state, name, before)
    state.opacity, state.threshold = 0.1, 0.2  # how it looks, not what it is
    assert not scene_staging.out_of_date(state)


@pytest.mark.parametrize("at", ["reading", "network", "agreement", "showing"])
def test_cancelled_between_steps_the_scene_is_as_it_was(bare, at):
    image, _ras = planted()
    state = a_state(bare.scene, image, box(image))
    before = node_ids(bare.scene)

    def stop(step):
        if step == at:
            raise Cancelled

    with pytest.raises(Cancelled):
        scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application, progress=stop)
    assert node_ids(bare.scene) == before
    assert state.resultText is None


def test_a_segment_of_another_scan_is_refused(bare):
    image, _ras = planted()
    state = a_state(bare.scene, image)
    elsewhere = ct_like(origin=(500.0, 500.0, 500.0))
    other = add_volume(bare.scene, elsewhere, name="other")
    state.tumourSegmentation = samples.add_tumour(bare.scene, other, box(elsewhere), "s")
    state.tumourSegment = samples.TUMOUR
    with pytest.raises(GeometryError, match="no voxel inside the CT"):
        scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
    assert state.resultText is None


def test_a_segment_on_other_voxels_is_resampled_and_the_result_says_so(bare):
    """In Slicer a segment is what it is wherever it was drawn: nearest neighbours, and a warning."""
    image, _ras = planted()
    state = a_state(bare.scene, image)
    finer = geometry.resized_grid(image, (100, 80))
    ct2 = add_volume(bare.scene, sitk.Resample(image, finer, sitk.Transform(), sitk.sitkLinear, -1000.0))
    state.tumourSegmentation = samples.add_tumour(
        bare.scene, ct2, box(finer, slice(40, 72), slice(28, 56), slice(3, 6)), "s"
    )
    state.tumourSegment = samples.TUMOUR
    result = scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
    assert any("nearest neighbour" in text for text in result.warnings)
    assert result.agreement.roi_area_mm2 == pytest.approx(16 * 14 * 0.9 * 1.1, rel=0.1)


def test_a_key_slice_outside_the_scan_is_refused(bare):
    image, _ras = planted()
    state = a_state(bare.scene, image)
    state.keySlice = 40
    with pytest.raises(InputError, match="Key slice 40 does not exist; expected an index from 0 .* to 8"):
        scene_staging.stage(state, ready(a_planted_model()), bare.scene, bare.application)
