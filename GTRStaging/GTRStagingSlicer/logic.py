"""Logic and typed parameters of the module: the actions of the panel's buttons, also for scripts.

`scene_staging` stages the case and shows its result; the logic keeps the loaded model and the last result, and moves
the views.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import slicer
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import geometry
from GTRStagingLib.staging.options import SWEEP
from GTRStagingSlicer import (
    background,
    candidates,
    case_results,
    content,
    dicom_export,
    layers,
    layouts,
    models,
    nodes,
    nomograms,
    profiles,
    scene_staging,
)
from GTRStagingSlicer.mrml import PlotNode, TableNode, VolumeNode
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _

if TYPE_CHECKING:
    from GTRStagingLib.model.passes import Backbone
    from GTRStagingLib.staging.profile import Profile
    from GTRStagingLib.staging.proposal import Proposal
    from GTRStagingLib.staging.result import StagingResult

KEPT = 4
"""Number of results in memory beside that of the chosen CT; the others are staged again before they are exported."""


class Staged(NamedTuple):
    """Result of this session, and of what: when CT and segments last changed, and a hash of their voxels."""

    result: "StagingResult"
    times: tuple[object, ...]
    digest: str


@parameterNodeWrapper
class GTRStagingParameterNode(State):
    """State of the panel in the scene: the fields of `State`, limited to the ranges of their sliders."""

    opacity: Annotated[float, WithinRange(0.0, 1.0)] = State.opacity
    shownFrom: Annotated[float, WithinRange(0.0, 1.0)] = State.shownFrom
    threshold: Annotated[float, WithinRange(SWEEP[0], SWEEP[-1])] = State.threshold

    if TYPE_CHECKING:  # the methods of the wrapper that the panel calls

        def connectGui(self, gui: Any) -> int:
            """Connect the widgets that name a parameter; return a tag for `disconnectGui`."""

        def disconnectGui(self, tag: int) -> None:
            """Undo `connectGui`."""

        def Modified(self) -> None:
            """Notify every observer of a change."""


class GTRStagingLogic(ScriptedLoadableModuleLogic):
    """Logic that stages a case in the application's scene."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.worker = background.Worker()
        self._model: tuple[tuple[str, str | None, str], Backbone] | None = None
        self.forget()

    def forget(self) -> None:
        """Forget results and profiles, since their scene is closed."""
        self._staged: Staged | None = None
        self._of: tuple[str, str] | None = None
        self._others: dict[tuple[str, str] | None, Staged | None] = {}
        self._profiled: dict[str, tuple[object, ...]] = {}  # id of a profile's text -> when its nodes last changed
        self._grid: tuple[tuple[object, ...] | None, geometry.ImageOrGrid | None] = (None, None)

    def turnToCt(self, state: State) -> bool:
        """Give the state the result of its CT, with the choices it came from; return whether it has another now."""
        changed = case_results.turn_to_ct(state, slicer.mrmlScene)
        if changed:
            case_results.restore_choices(state)
        self._turnTo(state)
        return changed

    def _turnTo(self, state: State) -> None:
        """Put the result in memory aside, and take that of the state's CT, if it was made in this session."""
        text = state.resultText
        of = None if text is None else (text.GetID(), text.GetText())  # undo gives a node its earlier text again
        if of != self._of:
            self._others[self._of] = self._staged
            while len(self._others) > KEPT:
                del self._others[next(iter(self._others))]
            self._staged = self._others.pop(of, None)
            self._of = of

    def getParameterNode(self) -> GTRStagingParameterNode:
        """Return the module's parameter node of the scene; add one if it is missing."""
        return GTRStagingParameterNode(super().getParameterNode())

    def stage(
        self,
        state: State,
        progress: Callable[[str], None] = lambda step: None,
        tick: Callable[[], None] | None = None,
    ) -> "StagingResult":
        """Stage the case of the parameters and show its result in the scene; the packages must be installed.

        Parameters
        ----------
        progress
            Called with the name of each step, in the calling thread.
        tick
            If given, the library computes in a thread, and this is called meanwhile in the calling one; an exception
            that it raises (`Cancelled`) is heard at once.

        Raises
        ------
        GTRStagingLib.errors.StagingError
            If the case cannot be staged, or its nodes or settings were changed meanwhile; the scene is left as it is.
        """
        times, digest = _content_of(state)  # before the run, in which windows are open
        of = scene_staging.settings_of(state)
        result, placed_ct = scene_staging.compute(
            state, self.backbone(state), progress=progress, apart=self._apart(tick)
        )
        progress("showing")
        _refuse_changed(state, of, times)
        scene_staging.show(result, state, slicer.mrmlScene, slicer.app.applicationLogic(), placed_ct=placed_ct)
        self._turnTo(state)
        self._staged = Staged(result, times, digest)
        return result

    def _apart(self, tick: Callable[[], None] | None) -> Callable[..., Any]:
        """Return what does the work that needs no scene: in a thread if there is something to do meanwhile."""
        return background.at_once if tick is None else partial(self.worker.steps, tick=tick)

    def propose(
        self,
        state: State,
        progress: Callable[[int, int], None] = lambda done, total: None,
        tick: Callable[[], None] | None = None,
    ) -> "Proposal":
        """Let the model propose the key slice of the parameters' CT; see `stage` and `scene_staging.propose`."""
        of, times = scene_staging.settings_of(state), content.times_of(state, stomach=True)
        found = scene_staging.propose(state, self.backbone(state), progress=progress, apart=self._apart(tick))
        _refuse_changed(state, of, times)
        return found

    def profile(
        self,
        state: State,
        progress: Callable[[int, int], None] = lambda done, total: None,
        tick: Callable[[], None] | None = None,
    ) -> "Profile":
        """Stage the parameters' CT along its slices, and show the profile; see `stage` and `profiles.compute`."""
        of, times = scene_staging.settings_of(state), content.times_of(state, stomach=True)
        found = profiles.compute(state, self.backbone(state), progress=progress, apart=self._apart(tick))
        _refuse_changed(state, of, times)
        profiles.show(found, state, slicer.mrmlScene)
        self._profiled[state.profileText.GetID()] = content.times_of(state)
        return found

    def profileOutOfDate(self, state: State) -> bool:
        """Return whether settings, or (in this session) voxels of CT or segment, have changed since the profile."""
        if profiles.record_of(state) is None:
            return False
        times = self._profiled.get(state.profileText.GetID())
        return (times is not None and times != content.times_of(state)) or profiles.out_of_date(state)

    def reasonNotReady(self, state: State) -> str | None:
        """Return why the case cannot be staged yet, for the Apply button; None if it can."""
        return scene_staging.reason_not_ready(state) or models.reason_no_map(state.model, state.method)

    def backbone(self, state: State) -> "Backbone":
        """Load the model of the parameters on their device, or return the loaded one if its card has not changed.

        Waits for the thread first, also if its run was cancelled: a model is used by one thread at a time.
        """
        self.worker.settle()
        return self._backbone(state.model, state.device.value)

    def _backbone(self, model: str, device: str) -> "Backbone":
        from GTRStagingLib.model import registry
        from GTRStagingLib.model.backbone import load_model

        folder = registry.locate(model)
        sha256 = None if folder is None else registry.read_card(folder).card_sha256
        wanted = model, sha256, device
        if self._model is None or self._model[0] != wanted:
            self._model = wanted, load_model(model, device)
        return self._model[1]

    def load(self, model: str, device: str, tick: Callable[[], None] | None = None) -> None:
        """Load a model and what staging with it imports, in a thread.

        Parameters
        ----------
        tick
            If given, wait for it and call this meanwhile, which may raise `Cancelled`; without it, only begin.

        Raises
        ------
        GTRStagingLib.errors.StagingError
            If the model cannot be loaded, with `tick` alone; without it, that is left to what needs the model.
        """

        def work(tell: background.Tell) -> None:
            import GTRStagingLib.results.record
            import GTRStagingLib.staging.pipeline
            import GTRStagingLib.staging.proposal  # noqa: F401

            self._backbone(model, device)

        if tick is None:
            self.worker.begin(lambda: work(lambda *step: None))
        else:
            self.worker.steps(work, lambda *step: None, tick=tick)

    def outOfDate(self, state: State) -> bool:
        """Return whether settings, or (in this session) voxels of CT or segment, have changed since the result."""
        if scene_staging.out_of_date(state):
            return True
        return self._staged is not None and self._staged.times != content.times_of(state, stomach=True)

    def export(self, state: State, folder: Path) -> tuple[str, ...]:
        """Write the report's files. A reloaded scene is staged again first, and its result must be the same.

        Returns
        -------
        The files' names.

        Raises
        ------
        GTRStagingLib.errors.StagingError
            If the result differs: the CT, the segment or the model has changed.
        """
        from GTRStagingLib.results.outputs import write_outputs

        result = self._current(state)
        read = nomograms.status(state, stale=False)
        extra: dict[str, Any] = {} if read is None else {"nomogram": read.nomogram, "values": read.values}
        return tuple(write_outputs(scene_staging.at_threshold(result, state.threshold), folder, **extra))

    def exportDicom(self, state: State) -> dicom_export.Exported:
        """Write the result as DICOM objects into Slicer's DICOM database, and mark its map in the subject hierarchy.

        A reloaded scene is staged again first, as for `export`.

        Raises
        ------
        GTRStagingLib.errors.StagingError
            If the result differs, or the CT is not that of its DICOM images (`dicom_export.export`).
        """
        result = scene_staging.at_threshold(self._current(state), state.threshold)
        exported = dicom_export.export(
            result, state.resultVolume, threshold=state.threshold, codes="private" if state.privateCodes else "standard"
        )
        dicom_export.mark(slicer.mrmlScene, state.attentionVolume, exported)
        return exported

    def _current(self, state: State) -> "StagingResult":
        """Return the result of the scene; that of a reloaded scene is staged again, and compared."""
        if self._staged is not None:
            if self._staged.digest != content.digest_of(state, stomach=True):
                raise InputError(
                    _("The voxels of the CT, or the segment, have changed since this result; expected those that were "
                      "staged. Press Apply, then export.")
                )  # fmt: skip
        else:
            times, digest = _content_of(state)
            record = scene_staging.record_of(state)
            result, _placed_ct = scene_staging.compute(state, self.backbone(state))
            if record is None or scene_staging.differs(record, result):
                raise InputError(
                    _("Staging this case again gives a result that differs from the one in the scene; expected the "
                      "same. The CT, the segment or the model has changed. Press Apply, then export.")
                )  # fmt: skip
            self._staged = Staged(result, times, digest)
        return self._staged.result

    # -- views -----------------------------------------------------------------------------------------------------

    def grid(self, volume: VolumeNode | None) -> geometry.ImageOrGrid | None:
        """Return the grid of a volume in world coordinates; None without a volume."""
        if volume is None or volume.GetImageData() is None:
            return None
        parent = volume.GetParentTransformNode()
        key = (volume.GetID(), volume.GetMTime(), None if parent is None else parent.GetTransformToWorldMTime())
        if self._grid[0] != key:
            self._grid = key, nodes.grid_of(volume)
        return self._grid[1]

    def redSlice(self) -> Any:
        """Return the Red view's slice node; None without views."""
        manager = slicer.app.layoutManager()
        widget = None if manager is None else manager.sliceWidget("Red")
        return None if widget is None else widget.mrmlSliceNode()

    def otherVolumeShown(self, ct: VolumeNode | None) -> VolumeNode | None:
        """Return the volume that the Red view shows instead of a CT; None if it shows the CT, or nothing."""
        shown = self.shownVolume()
        return None if ct is None or shown is ct else shown

    def shownVolume(self) -> VolumeNode | None:
        """Return the volume in the background of the Red view; None without one."""
        manager = slicer.app.layoutManager()
        widget = None if manager is None else manager.sliceWidget("Red")
        if widget is None:
            return None
        return slicer.mrmlScene.GetNodeByID(widget.sliceLogic().GetSliceCompositeNode().GetBackgroundVolumeID() or "")

    def showCt(self, state: State, ct: VolumeNode) -> None:
        """Show a CT in the slice views, with the attention of its result if there is one."""
        attention = state.attentionVolume if state.resultVolume is ct else None
        layers.show_ct(slicer.mrmlScene, ct, attention, state.opacity)
        slicer.util.setSliceViewerLayers(fit=True)

    def ctToOffer(self, state: State) -> VolumeNode | None:
        """Return the CT for the panel as it opens: what the Red view shows, else the chosen one, else the first."""
        shown = self.shownVolume()
        if candidates.is_ct(shown):
            return shown
        return state.inputVolume or next(iter(candidates.cts(slicer.mrmlScene)), None)

    def showSlice(self, grid: geometry.ImageOrGrid, index: int) -> None:
        """Move the Red view to an axial slice, without rotating it."""
        view = self.redSlice()
        if view is not None:
            view.JumpSliceByOffsetting(*nodes.slice_centre(grid, index))

    def showLayout(self, layout: int) -> None:
        """Show a layout of the module, with the CT fitted into its views at the slices that they show."""
        layouts.show(slicer.mrmlScene, layout)
        slicer.app.processEvents()  # the views get their sizes
        if (manager := slicer.app.layoutManager()) is not None:
            layouts.fit(manager.mrmlSliceLogics())

    def showOwnLayout(self) -> None:
        """Show the user's layout again, with its zoom."""
        if layouts.can_go_back(slicer.mrmlScene):
            layouts.back(slicer.mrmlScene)
            slicer.app.processEvents()
            layouts.zoom_back(slicer.mrmlScene)

    def showPlot(self, plot: PlotNode) -> None:
        """Show a chart, in the module's layout with a plot view."""
        self.showLayout(layouts.SWEEP)
        slicer.app.applicationLogic().GetSelectionNode().SetActivePlotChartID(plot.GetID())
        slicer.app.applicationLogic().PropagatePlotChartSelection()

    def showTable(self, table: TableNode) -> None:
        """Show a table, in the module's layout with a table view."""
        self.showLayout(layouts.TABLE)
        slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()


def _content_of(state: State) -> tuple[tuple[object, ...], str]:
    """Return when CT, segment and stomach of a state last changed, and a hash of their voxels."""
    return content.times_of(state, stomach=True), content.digest_of(state, stomach=True)


def _refuse_changed(state: State, settings: str, times: tuple[object, ...]) -> None:
    """Raise an error if settings or nodes of a state differ from those at the start of a run."""
    if (settings, times) != (scene_staging.settings_of(state), content.times_of(state, stomach=True)):
        raise InputError(
            _("The CT, the segment or the settings were changed while the case was staged; expected those of its "
              "start. Nothing is shown. Start again.")
        )  # fmt: skip
