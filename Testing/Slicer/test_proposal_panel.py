"""The proposal in the panel: three slices with their pictures, of which a click confirms one."""

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from conftest import on_grid_of
from GTRStagingSlicer import samples, scene_staging
from helpers.lists import choose_node

from GTRStagingLib.imaging import keyslice
from GTRStagingLib.staging.proposal import SHOWN


def messages(desk, kind="error"):
    return [one.text for one in desk.shown if one.kind == kind]


@pytest.fixture
def opened(panel, scene, a_small_phantom):
    """The panel with the CT alone."""
    ct = samples.add_ct(scene, a_small_phantom.ct, "patient")
    choose_node(panel.ui.inputSelector, ct)
    return panel


def buttons(panel):
    return [getattr(panel.ui, f"proposal{i}Button") for i in (1, 2, 3)]


def test_the_panel_has_a_button_for_each_proposed_slice(desk):
    from GTRStagingSlicer import proposal_view  # needs Qt

    assert proposal_view.BUTTONS == SHOWN


def test_a_click_on_a_proposed_slice_confirms_it(opened, desk, a_small_phantom):
    ui, state = opened.ui, opened._parameterNode
    assert not any(button.visible for button in buttons(opened))
    ui.proposeButton.click()
    assert messages(desk) == []
    assert state.keySlice == -1  # nothing is chosen by the model
    assert "best first" in ui.proposalLabel.text
    first = buttons(opened)[0]
    assert first.text.startswith("Slice ")
    index = int(first.text.split()[1].rstrip(","))
    largest = keyslice.by_area(a_small_phantom.ct, a_small_phantom.tumour)
    assert abs(index - largest.index) <= 3
    first.click()
    assert (state.keySlice, state.keySliceChosenBy) == (index, scene_staging.CONFIRMED)
    assert "proposed by the model, confirmed by hand" in ui.keySliceLabel.text
    ui.applyButton.click()
    record = scene_staging.record_of(state)
    assert (record["key_slice"]["index"], record["key_slice"]["chosen_by"]) == (index, "confirmed")
    assert not any("PROPOSED" in text for text in record["warnings"])
    assert state.keySliceChosenBy == scene_staging.CONFIRMED
    ui.keySliceSlider.value = index + 1
    assert state.keySliceChosenBy == "hand"


def test_a_segment_of_the_stomach_limits_the_proposal(opened, scene, desk, a_small_phantom):
    mask = sitk.GetArrayFromImage(a_small_phantom.stomach)
    mask[5:] = 0
    assert mask.any()
    node = samples.add_tumour(scene, opened._parameterNode.inputVolume, on_grid_of(mask, a_small_phantom.ct), "organs")
    node.GetSegmentation().GetNthSegment(0).SetName("Stomach")
    opened.ui.proposeButton.click()
    assert messages(desk) == []
    assert "among the slices with stomach" in opened.ui.proposalLabel.text
    assert int(buttons(opened)[0].text.split()[1].rstrip(",")) in np.flatnonzero(mask.any(axis=(1, 2)))
    again = samples.add_tumour(scene, opened._parameterNode.inputVolume, a_small_phantom.stomach, "other")
    again.GetSegmentation().GetNthSegment(0).SetName("stomach")
    opened.ui.proposeButton.click()
    assert "2 segments called “stomach”" in messages(desk)[0]


def test_a_proposal_is_hidden_for_another_model(opened):
    opened.ui.proposeButton.click()
    assert all(button.enabled for button in buttons(opened))
    opened._parameterNode.model = "untrained"
    assert opened.proposal._shown is None


def test_a_model_without_a_head_says_so(opened, desk):
    opened._parameterNode.model = "untrained"
    opened.ui.proposeButton.click()
    assert "has no head that proposes key slices" in messages(desk)[0]


def test_cancel_stops_a_proposal(opened, desk, monkeypatch):
    view, process = opened.proposal, slicer.app.processEvents

    def press_cancel():
        opened.ui.cancelButton.click()
        process()

    monkeypatch.setattr(slicer.app, "processEvents", press_cancel)
    opened.ui.proposeButton.click()
    assert messages(desk) == []
    assert view._shown is None
    assert opened.ui.applyButton.enabled is False
    assert opened._running is False
