"""The module's logic and its typed parameters: what the panel's buttons do, for scripts as well.

Thin: what is staged and shown is told by `staging`; here live the model that is loaded, the last result, and the views.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import geometry
from GTRStagingLib.staging.options import SWEEP
from GTRStagingSlicer import models, nodes, nomograms, scene_staging
from GTRStagingSlicer.mrml import PlotNode, TableNode, VolumeNode
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _

if TYPE_CHECKING:
    from GTRStagingLib.model.backbone import Backbone
    from GTRStagingLib.model.weights import Model
    from GTRStagingLib.staging.result import StagingResult


@parameterNodeWrapper
class GTRStagingParameterNode(State):
    """The panel's state, in the scene: every field of `State`, those with a slider within its range."""

    opacity: Annotated[float, WithinRange(0.0, 1.0)] = State.opacity
    shownFrom: Annotated[float, WithinRange(0.0, 1.0)] = State.shownFrom
    threshold: Annotated[float, WithinRange(SWEEP[0], SWEEP[-1])] = State.threshold

    if TYPE_CHECKING:  # what the wrapper adds, as far as the panel calls it

        def connectGui(self, gui: Any) -> int:
            """Tie the widgets that name a parameter to it; returns what ends that."""

        def disconnectGui(self, tag: int) -> None:
            """Undo `connectGui`."""

        def Modified(self) -> None:
            """Tell every observer that something has changed."""


class GTRStagingLogic(ScriptedLoadableModuleLogic):
    """Staging in the application's scene."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._model: tuple[tuple[str, str | None], Model] | None = None
        self.forget()

    def forget(self) -> None:
        """Let go of the last result, whose scene is closed."""
        self._result: StagingResult | None = None
        self._content: tuple[int | None, ...] | None = None
        self._grid: tuple[tuple[object, ...] | None, geometry.ImageOrGrid | None] = (None, None)

    def getParameterNode(self) -> GTRStagingParameterNode:
        """The scene's parameters of this module, made if there are none."""
        return GTRStagingParameterNode(super().getParameterNode())

    def stage(self, state: State, progress: Callable[[str], None] = lambda step: None) -> "StagingResult":
        """Stage what the parameters name and show it in the scene; the packages must be installed.

        Raises
        ------
        GTRStagingLib.errors.StagingError
            With the value, the expectation and the remedy.
        """
        result = scene_staging.stage(
            state, self.backbone(state), slicer.mrmlScene, slicer.app.applicationLogic(), progress=progress
        )
        self._keep(result, state)
        return result

    def reasonNotReady(self, state: State) -> str | None:
        """Why nothing can be staged yet, as the Apply button says it; None when all is there."""
        return scene_staging.reason_not_ready(state) or models.reason_against(state.model, state.method)

    def model(self, name: str) -> "Model":
        """A model by name, loaded once; again if another one has taken its name."""
        from GTRStagingLib.model import registry, weights

        folder = registry.locate(name)
        sha256 = None if folder is None else registry.read_card(folder).sha256
        if self._model is None or self._model[0] != (name, sha256):
            self._model = (name, sha256), weights.load(name)
        return self._model[1]

    def backbone(self, state: State) -> "Backbone":
        """The model that the parameters name, made ready on the device that they name."""
        from GTRStagingLib.model.backbone import ready

        return ready(self.model(state.model), state.device.value)

    def outOfDate(self, state: State) -> bool:
        """Whether the result is older than what now stands; within a session, also than the voxels and the segment."""
        if scene_staging.out_of_date(state):
            return True
        return self._result is not None and self._content != scene_staging.content_of(state)

    def export(self, state: State, folder: Path) -> tuple[str, ...]:
        """Write the report's files; a scene that was reloaded is staged again for it, and must come out the same.

        Returns
        -------
        The files' names.

        Raises
        ------
        GTRStagingLib.errors.StagingError
            If it does not: CT, segment or model are no longer what the scene's result was made of.
        """
        from GTRStagingLib.results.outputs import write_outputs

        result = self._result
        if result is None:
            record = scene_staging.record_of(state)
            result, _there = scene_staging.compute(state, self.backbone(state))
            if record is None or scene_staging.differs(record, result):
                raise InputError(
                    _("Staged again, this case comes out other than its result in the scene; expected the same. The "
                      "CT, the segment or the model has changed since: press Apply, then export.")
                )  # fmt: skip
            self._keep(result, state)
        read = nomograms.standing(state, stale=False)
        extra: dict[str, Any] = {} if read is None else {"nomogram": read.nomogram, "values": read.values}
        return tuple(write_outputs(scene_staging.at_threshold(result, state.threshold), folder, **extra))

    def _keep(self, result: "StagingResult", state: State) -> None:
        self._result, self._content = result, scene_staging.content_of(state)

    # -- views -----------------------------------------------------------------------------------------------------

    def grid(self, volume: VolumeNode | None) -> geometry.ImageOrGrid | None:
        """Where a volume's voxels lie in the world, without them where that can be; None where there is no volume."""
        if volume is None or volume.GetImageData() is None:
            return None
        parent = volume.GetParentTransformNode()
        key = (volume.GetID(), volume.GetMTime(), None if parent is None else parent.GetTransformToWorldMTime())
        if self._grid[0] != key:
            self._grid = key, nodes.grid_of(volume)
        return self._grid[1]

    def redSlice(self) -> Any:
        """The Red view's slice node; None where there are no views."""
        manager = slicer.app.layoutManager()
        widget = None if manager is None else manager.sliceWidget("Red")
        return None if widget is None else widget.mrmlSliceNode()

    def showSlice(self, grid: geometry.ImageOrGrid, index: int) -> None:
        """Move the Red view to an axial slice, without turning it."""
        view = self.redSlice()
        if view is not None:
            view.JumpSliceByOffsetting(*nodes.slice_centre(grid, index))

    def showPlot(self, plot: PlotNode) -> None:
        """Show a chart, in a layout that has room for one."""
        layout = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView
        slicer.app.layoutManager().setLayout(layout)
        slicer.app.applicationLogic().GetSelectionNode().SetActivePlotChartID(plot.GetID())
        slicer.app.applicationLogic().PropagatePlotChartSelection()

    def showTable(self, table: TableNode) -> None:
        """Show a table, in a layout that has room for one."""
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
        slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()
