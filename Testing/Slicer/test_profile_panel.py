"""The staging along the scan in the panel: chart, table and words are those of the library's profile."""

import json

import numpy as np
import pytest
import slicer
from GTRStagingSlicer import charts, nodes, profiles, samples, scene_staging
from helpers.lists import choose_node
from scenes import node_ids
from vtk.util import numpy_support

from GTRStagingLib.imaging import keyslice
from GTRStagingLib.model.backbone import load_model
from GTRStagingLib.results.profile_outputs import fields
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.staging.profile import slices_near
from GTRStagingLib.staging.scanning import profile_scan


def messages(desk, kind="error"):
    return [one.text for one in desk.shown if one.kind == kind]


def column(table, name):
    found = table.GetTable().GetColumnByName(name)
    if found.IsA("vtkStringArray"):
        return [found.GetValue(i) for i in range(found.GetNumberOfValues())]
    return numpy_support.vtk_to_numpy(found).tolist()


def series_of(plot):
    return {one.GetName(): one for one in charts.series_of(plot)}


@pytest.fixture
def profiled(loaded):
    """The panel with the phantom and its tumour, staged along the scan."""
    loaded.ui.profileButton.click()
    return loaded


def library_profile(panel, phantom):
    """The same by the library alone, without a scene; positions are those of the phantom's own grid."""
    state = panel._parameterNode
    scan = scene_staging.case_of(state).scan
    areas = keyslice.areas_mm2(phantom.ct, phantom.tumour)
    roi = nodes.roi_of(
        state.tumourSegmentation, state.tumourSegment, state.inputVolume, nodes.placed(state.inputVolume)
    )
    indices = np.flatnonzero(areas)
    return profile_scan(
        scan, load_model("demonstration", "cpu"), tumour=roi, indices=range(indices[0], indices[-1] + 1)
    )


def test_chart_and_table_are_those_of_the_librarys_profile(desk, profiled, a_small_phantom):
    ui, state = profiled.ui, profiled._parameterNode
    assert messages(desk) == []
    expected = library_profile(profiled, a_small_phantom)
    table, series = state.profileTable, series_of(state.profilePlot)
    assert len(expected.slices) > 3
    rows = [fields(expected, one) for one in expected.slices]
    assert column(table, "Slice") == [one["slice"] for one in rows]
    assert column(table, "Position S (mm)") == [one["position_mm"] for one in rows]
    for stage in ("T1", "T2", "T3", "T4"):
        assert series[stage].GetTableNode() is table
        assert (series[stage].GetXColumnName(), series[stage].GetYColumnName()) == ("Position S (mm)", stage)
        assert column(table, stage) == pytest.approx([one[f"p_{stage}"] for one in rows], abs=1e-5)
    assert column(table, "Likeness") == [one["familiarity"] for one in rows]
    inside = [np.nan if one["attention_inside"] is None else one["attention_inside"] for one in rows]
    assert column(table, "Share of the attention in it") == pytest.approx(inside, abs=1e-4, nan_ok=True)
    key = keyslice.by_area(a_small_phantom.ct, a_small_phantom.tumour)
    line = series[f"Key slice {key.index}"]
    assert column(line.GetTableNode(), "Position S (mm)") == pytest.approx([key.position_mm] * 2)
    assert column(line.GetTableNode(), line.GetYColumnName()) == [0.0, 1.0]
    low, high = state.profilePlot.GetXAxisRange()
    assert low < min(one["position_mm"] for one in rows)
    assert high > max(one["position_mm"] for one in rows)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == state.profilePlot.GetID()
    ui.profileTableButton.click()
    assert selection.GetActiveTableID() == table.GetID()


def test_the_panel_describes_the_profile_and_keeps_its_key_slice(profiled, a_small_phantom):
    ui, state = profiled.ui, profiled._parameterNode
    key = keyslice.by_area(a_small_phantom.ct, a_small_phantom.tumour)
    assert (state.keySlice, state.keySliceChosenBy) == (key.index, scene_staging.TUMOUR_AREA)
    record = profiles.record_of(state)
    assert f"{record['stage']} at the key slice {key.index}" in ui.profileLabel.text
    assert "towards the head" in ui.profileLabel.text
    assert "unusual" in ui.profileLabel.text  # 128 pixels in a row, where the training had 256
    for text in (ui.profileLabel.text, state.profilePlot.GetTitle(), record["research_use_only"]):
        assert RESEARCH_USE_ONLY in text
    assert "demonstration" in state.profilePlot.GetTitle()
    assert ui.profileLabel.styleSheet == ""


def test_a_profile_of_other_settings_is_said_to_be_out_of_date(profiled, scene):
    ui, state = profiled.ui, profiled._parameterNode
    before = node_ids(scene)
    ui.keySliceSlider.value = state.keySlice + 1
    assert "have changed since" in ui.profileLabel.text
    assert "#b3001b" in ui.profileLabel.styleSheet
    index = state.keySlice
    ui.profileButton.click()
    assert "have changed since" not in ui.profileLabel.text
    assert node_ids(scene) == before  # the nodes of the first profile are filled again
    assert f"Key slice {index}" in series_of(state.profilePlot)
    nodes.add_segment(state.tumourSegmentation, library_mask(state), "tumour", (1, 0, 0), samples.TUMOUR)
    profiled.enter()  # from the Segment Editor
    assert "have changed since" in ui.profileLabel.text


def library_mask(state):
    return nodes.roi_of(
        state.tumourSegmentation, state.tumourSegment, state.inputVolume, nodes.placed(state.inputVolume)
    ).mask


def test_without_a_segment_the_slices_around_the_key_slice_are_asked(desk, panel, scene, a_small_phantom):
    ct = samples.add_ct(scene, a_small_phantom.ct, "patient")
    choose_node(panel.ui.inputSelector, ct)
    assert not panel.ui.profileButton.enabled
    assert "Choose the key slice" in panel.ui.profileButton.toolTip
    panel.ui.keySliceSlider.value = 2
    panel.ui.profileButton.click()
    assert messages(desk) == []
    table = panel._parameterNode.profileTable
    assert column(table, "Slice") == list(slices_near(a_small_phantom.ct, [2]))
    assert table.GetTable().GetColumnByName("Share of the attention in it") is None
    assert panel._parameterNode.keySliceChosenBy == "hand"


def test_slices_on_the_way_to_a_key_slice_beyond_the_segment_are_asked(loaded, a_small_phantom):
    first = int(np.flatnonzero(keyslice.areas_mm2(a_small_phantom.ct, a_small_phantom.tumour))[0])
    loaded.ui.keySliceSlider.value = first - 2
    loaded.ui.profileButton.click()
    assert column(loaded._parameterNode.profileTable, "Slice")[:3] == [first - 2, first - 1, first]
    assert "NaN" not in loaded._parameterNode.profileText.GetText()


@pytest.mark.parametrize("unlike", [(), (0, 1), "all"])
def test_slices_that_are_unlike_the_training_are_marked(profiled, scene, unlike):
    """Crosses at their positions alone; the alarm if the key slice is one of them; no line without one."""
    state = profiled._parameterNode
    record = profiles.record_of(state)
    for row, one in enumerate(record["slices"]):
        one["familiarity"] = "unlike" if unlike == "all" or row in unlike else "usual"
    state.profileText.SetText(json.dumps(record))
    profiles.draw(record, state, scene, state.inputVolume)
    profiled.enter()
    expected = [one["familiarity"] == "unlike" for one in record["slices"]]
    assert ("UNLIKE THE TRAINING" in series_of(state.profilePlot)) == any(expected)
    if any(expected):
        crosses = series_of(state.profilePlot)["UNLIKE THE TRAINING"]
        assert crosses.GetLineStyle() == charts.NONE
        assert np.isfinite(column(state.profileTable, crosses.GetYColumnName())).tolist() == expected
        assert f"{sum(expected)} UNLIKE" in profiled.ui.profileLabel.text
    assert ("#b3001b" in profiled.ui.profileLabel.styleSheet) == (unlike == "all")


def test_cancel_leaves_the_scene_as_it_was(desk, loaded, scene, monkeypatch):
    before = node_ids(scene)
    asked = []
    process = slicer.app.processEvents

    def press_cancel():
        asked.append(loaded.ui.applyHint.text)
        loaded.ui.cancelButton.click()
        process()

    monkeypatch.setattr(slicer.app, "processEvents", press_cancel)
    loaded.ui.profileButton.click()
    assert messages(desk) == []
    assert len(asked) == 1
    assert node_ids(scene) == before
    assert loaded._parameterNode.profileText is None
    assert not loaded.ui.profilePlotButton.enabled
    assert loaded.ui.applyButton.enabled


def test_a_reloaded_scene_shows_its_profile(desk, profiled, scene, tmp_path):
    words = profiled.ui.profileLabel.text
    assert scene.WriteToMRB(str(tmp_path / "a.mrb"))
    scene.Clear(False)
    assert not profiled.ui.profileLabel.visible
    assert scene.ReadFromMRB(str(tmp_path / "a.mrb"))
    profiled.enter()
    assert profiled.ui.profileLabel.text == words
    profiled.ui.profilePlotButton.click()
    state = profiled._parameterNode
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == state.profilePlot.GetID()
    before = node_ids(scene)
    profiled.ui.profileButton.click()
    assert messages(desk) == []
    assert node_ids(scene) == before


def test_a_case_that_cannot_be_staged_says_why(desk, loaded, monkeypatch):
    """Of all slices none can be staged: the message is that of the library, and no profile is left."""
    volume = loaded._parameterNode.inputVolume
    nodes.array_of(volume.GetImageData())[:] = -1024
    volume.GetImageData().Modified()
    loaded.ui.profileButton.click()
    (text,) = messages(desk)
    assert "None of the" in text
    assert loaded._parameterNode.profileText is None
