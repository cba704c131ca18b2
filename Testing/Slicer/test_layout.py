"""The panel on a small screen: no text is cut at 380 pixels, and the stage is seen without scrolling after Apply."""

import pytest
from standin import proxy

HEIGHT_OF_PANEL = 560
"""Pixels that Slicer leaves for a module's panel on a screen of 1280 x 800, below its bars and above the data probe."""


def test_the_panel_is_as_narrow_as_380_pixels(desk, staged):
    ui = staged.ui
    for section in (ui.inputSection, ui.keySliceSection, ui.nomogramSection, ui.casesSection, ui.batchSection):
        section.collapsed = False
    packages = (ui.installButton, ui.fullButton, ui.wheelsButton, ui.removeButton)
    for widget in (*packages, ui.totalSegmentatorButton, ui.batchCasesBox, ui.stomachHint):
        widget.visible = True
    top = proxy.unwrap(staged.parent)
    top.layout().activate()
    wide = {
        child.objectName(): child.minimumSizeHint().width()
        for child in top.findChildren(type(top).__mro__[1])
        if child.isVisible() and child.objectName() and child.minimumSizeHint().width() > 340
    }
    assert top.minimumSizeHint().width() <= 380, wide


@pytest.mark.parametrize("width", [380, 480])
def test_the_stage_is_visible_without_scrolling_after_apply(desk, staged, tmp_path, width):
    assert staged.ui.inputSection.collapsed
    assert staged.ui.keySliceSection.collapsed
    desk.photograph(staged.parent, tmp_path / "panel.png", width)
    label, top = proxy.unwrap(staged.ui.stageLabel), proxy.unwrap(staged.parent)
    bottom = label.mapTo(top, label.rect().bottomLeft()).y()
    assert 0 < bottom <= HEIGHT_OF_PANEL


def test_a_run_that_is_cancelled_folds_nothing(desk, loaded):
    loaded.ui.largestSectionButton.click()
    real = loaded._onStep

    def step(name):
        loaded.ui.cancelButton.click()
        real(name)

    loaded._onStep = step
    loaded.ui.applyButton.click()
    assert not loaded.ui.inputSection.collapsed
