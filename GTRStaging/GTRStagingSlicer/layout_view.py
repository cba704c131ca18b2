"""Connect the buttons that show a result in the views: over the CT, in layouts of the module's own, and back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from GTRStagingLib.imaging import geometry
from GTRStagingSlicer import layers, layouts, nodes, reporting, result_view, scene_staging
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _


class LayoutView:
    """Buttons for the views and layouts.

    Parameters
    ----------
    ui
        Widgets of the panel.
    logic
        Logic of the module.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        self.ui, self._logic = ui, logic
        self._state: State | None = None
        layouts.layout_node(slicer.mrmlScene)
        for button, act in (
            (ui.overlayButton, self.show_overlay),
            (ui.resultLayoutButton, self.show_result),
            (ui.plotButton, lambda state: self._logic.showPlot(state.sweepPlot)),
            (ui.tableButton, lambda state: self._logic.showTable(state.agreementTable)),
            (ui.ownLayoutButton, lambda state: self._logic.showOwnLayout()),
        ):
            button.connect("clicked(bool)", lambda checked=False, act=act: self._act(act))

    def refresh(self, state: State | None) -> None:
        """Offer the way back and the 3-D view where there is one, and fit the result's height."""
        self._state, ui = state, self.ui
        ui.ownLayoutButton.enabled = layouts.can_go_back(slicer.mrmlScene)
        obstacle = layers.reason_no_3d(slicer.app.applicationLogic())
        ui.render3DCheckBox.enabled = obstacle is None
        ui.render3DCheckBox.toolTip = obstacle or _("Renders the attention in the 3-D view.")
        if state is not None and state.resultText is not None:
            result_view.fit_height(ui)

    def leave(self) -> None:
        """Show the user's layout again."""
        self._logic.showOwnLayout()

    def _act(self, act: Callable[[State], None]) -> None:
        if self._state is not None:
            with reporting.errors_shown():
                act(self._state)
            self.ui.ownLayoutButton.enabled = layouts.can_go_back(slicer.mrmlScene)

    def show_overlay(self, state: State) -> None:
        """Show the attention map over the CT again, at the key slice."""
        scene, record = slicer.mrmlScene, scene_staging.record_of(state)
        layers.overlay(scene, state.resultVolume, state.attentionVolume, state.opacity, everywhere=True)
        scene_staging.restyle(state, scene, slicer.app.applicationLogic())
        if record is not None:
            self._logic.showSlice(self._logic.grid(state.resultVolume), record["key_slice"]["index"])

    def show_result(self, state: State) -> None:
        """Show CT and map beside each other, and the map in three views that are centred on its mass."""
        scene, record = slicer.mrmlScene, scene_staging.record_of(state)
        if record is None:
            return
        self._logic.showLayout(layouts.RESULT)
        self.show_overlay(state)
        layouts.show_ct_alone(scene, state.resultVolume)
        layouts.fit(slicer.app.layoutManager().mrmlSliceLogics())  # that of the CT alone may be new
        grid = self._logic.grid(state.resultVolume)
        centre = nodes.slice_centre(grid, record["key_slice"]["index"])
        axis = geometry.direction_matrix(grid)[:, geometry.axial_order(grid).axes[2]] * np.array([-1, -1, 1])
        layouts.centre_on(scene, layouts.mass_centre(state.attentionVolume, centre, axis))
