"""GTR Staging in 3D Slicer: the module and its panel. Slicer finds the logic and the self-test through this file.

GTRStagingLib computes the results, GTRStagingSlicer shows them in a scene; this file connects both to widgets.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk  # noqa: F401 (the panel's .ui names its widgets)
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

try:
    import GTRStagingLib  # noqa: F401
except ModuleNotFoundError:  # run from the source tree: only this folder is on Slicer's path
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from GTRStagingSlicer import (
    candidates,
    dependencies,
    dicom_view,
    help_texts,
    key_slice_content,
    layers,
    models,
    nodes,
    presenter,
    reporting,
    result_view,
    samples,
    scene_staging,
)  # fmt: skip
from GTRStagingSlicer.batch_cases_view import BatchCasesView
from GTRStagingSlicer.batch_process import BatchProcess
from GTRStagingSlicer.case_view import CaseView
from GTRStagingSlicer.input_view import InputView
from GTRStagingSlicer.layout_view import LayoutView
from GTRStagingSlicer.loading_view import LOADING, Loading, Steps
from GTRStagingSlicer.logic import GTRStagingLogic, GTRStagingParameterNode
from GTRStagingSlicer.model_view import ModelView
from GTRStagingSlicer.nomogram_view import NomogramView
from GTRStagingSlicer.packages_row import PackagesRow
from GTRStagingSlicer.profile_view import ProfileView
from GTRStagingSlicer.proposal_view import ProposalView
from GTRStagingSlicer.report_view import ReportView
from GTRStagingSlicer.scene_watch import SceneWatch
from GTRStagingSlicer.segment_view import SegmentView
from GTRStagingSlicer.selftest import GTRStagingTest  # noqa: F401 (Slicer runs it by this name)
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import plain

from GTRStagingLib.errors import Cancelled, StagingError
from GTRStagingLib.imaging import geometry, keyslice


class GTRStaging(ScriptedLoadableModule):
    """Title, category and help text for Slicer's module list."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("GTR Staging")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Oncology")]
        self.parent.dependencies = []
        self.parent.contributors = ["The GTR Staging developers"]
        help_text = _(
            "Predicts the T stage of gastric cancer from a portal-venous CT and the slice that shows the tumour best, "
            "shows the network's attention, and measures its agreement with a segment. Research use only. "
            "Not a medical device; not for diagnosis or treatment decisions."
        )
        self.parent.helpText = help_texts.with_links(help_text)
        self.parent.acknowledgementText = help_texts.acknowledgement()
        slicer.app.connect("startupCompleted()", samples.register)


class GTRStagingWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Panel of the module; its sections are in the order of the steps of staging."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._parameterNode: GTRStagingParameterNode | None = None
        self._guiTag = 0
        self._seen: dict[str, object] = {}
        self._refreshing = self._running = self._stop = False

    # -- life ------------------------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Load the panel and connect its widgets, without importing large packages."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/GTRStaging.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = GTRStagingLogic()
        self.loading, self.steps = Loading(self.ui, self.logic), Steps(self.ui)
        self.inputs = InputView(self.ui, lambda ct: self.logic.showCt(self._state, ct))
        self.watch = SceneWatch(self._onWatched)
        self.batch = BatchProcess(self.ui, reporting.show_error)
        self.packages = PackagesRow(self.ui, self._onPackages)
        caller = (lambda: self._state, self.packages.ensure)
        self.batchCases = BatchCasesView(self.ui, self.logic, self.batch, *caller)
        self.nomogram = NomogramView(self.ui)
        meanwhile = (self.steps, self._tick)
        self.proposal = ProposalView(self.ui, self.logic, self._run, *meanwhile, self._chooseKeySlice)
        self.profile = ProfileView(self.ui, self.logic, self._runIfAgreed, *meanwhile)
        self.segments = SegmentView(self.ui, self.logic)
        self.models = ModelView(self.ui, *caller)
        self.layouts = LayoutView(self.ui, self.logic)
        self.cases = CaseView(self.ui)
        self._listModels()

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        ui = self.ui
        self.dicom = dicom_view.Buttons(ui, self.logic, self.packages.ensure)
        self.report = ReportView(ui, self.logic, self.packages.ensure)
        ui.modelSelector.connect("currentIndexChanged(int)", self.onModelChanged)
        ui.keySliceSlider.connect("valueChanged(double)", self.onKeySliceMoved)
        for selector in (ui.reportFolderSelector, ui.batchTableSelector, ui.batchFolderSelector):
            selector.connect("currentPathChanged(QString)", self.onPathsChanged)
            selector.connect("validInputChanged(bool)", self.onPathsChanged)  # sent when emptied
        for button, act in (
            (ui.showCtButton, self.onShowCt),
            (ui.currentSliceButton, self.onUseCurrentSlice),
            (ui.largestSectionButton, self.onLargestSection),
            (ui.applyButton, self.onApply),
            (ui.cancelButton, self.onCancel),
        ):
            button.connect("clicked(bool)", lambda checked=False, act=act: act())
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Stop a running batch and all observers; called when the module's widget is destroyed."""
        self._stop = True
        if hasattr(self, "batch"):  # the panel was set up
            self.batch.stop()
            self.loading.stop()
            self.segments.close()
            self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        """Refresh the panel; called each time the module is opened."""
        self._listModels()
        self.initializeParameterNode()
        self.packages.show()
        self._load()

    def exit(self) -> None:
        """Stop following the scene, and show the user's layout; called each time another module is opened."""
        self.layouts.leave()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: object, event: str) -> None:
        """Stop a running case, since the scene is about to close."""
        self._stop = True
        self.logic.forget()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: object, event: str) -> None:
        """Follow the new or loaded scene's parameters, if the panel is open."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Observe the scene's parameters; choose the CT that the views show, or show the chosen one or the first."""
        state = self.logic.getParameterNode()
        self.setParameterNode(state)
        ct = self.logic.ctToOffer(state)
        if state.inputVolume is not ct:
            state.inputVolume = ct
        if ct is not None and self.logic.shownVolume() is None:
            self.logic.showCt(state, ct)

    def setParameterNode(self, parameterNode: GTRStagingParameterNode | None) -> None:
        """Follow a parameter node, or with None stop following."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._refresh)
        self._parameterNode = parameterNode
        self._seen = {}
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._refresh)
        if parameterNode is None:
            self.watch.follow(None, slicer.mrmlScene)
        self._refresh()

    def _onWatched(self) -> None:
        """Update the panel after a change of the case's nodes or of the views; a run updates it at its end."""
        if not self._running and not slicer.mrmlScene.IsBatchProcessing():
            self._refresh()

    @property
    def _state(self) -> GTRStagingParameterNode:
        """The parameters that the buttons act on; the buttons are enabled only while the panel follows a scene."""
        if self._parameterNode is None:
            raise RuntimeError("The panel follows no parameter node; expected the node of an open scene.")
        return self._parameterNode

    # -- from the state to the widgets -----------------------------------------------------------------------------

    def _changed(self, name: str, value: object) -> bool:
        """Return whether a value differs from that of the last call."""
        changed = self._seen.get(name) != value
        self._seen[name] = value
        return changed

    def _refresh(self, *event: object) -> None:
        """Update every widget from the state; redraw only what has changed."""
        if self._refreshing or slicer.mrmlScene.IsImporting():
            return  # while a scene is being loaded, only some of its nodes exist
        self._refreshing = True
        try:
            state = self._parameterNode
            if state is not None:
                self._turnToCt(state)
            self.inputs.refresh(state)
            if state is not None:
                self.watch.follow(state, slicer.mrmlScene)
                self._refreshInputs(state)
                self._refreshKeySlice(state)
                self._refreshLayers(state)
                if state.attentionVolume is not None:
                    layers.place_legend(slicer.mrmlScene, state.attentionVolume, state.showLegend)
            stale = state is not None and self.logic.outOfDate(state)
            self._refreshResult(state)
            self.nomogram.refresh(state, stale)
            self._refreshButtons(state, stale)
        finally:
            self._refreshing = False

    def _turnToCt(self, state: GTRStagingParameterNode) -> None:
        """Show the result of the chosen CT, with the choices it came from."""
        if not self._running and self.logic.turnToCt(state):
            if state.resultText is not None:
                self._seen.update({"volume": state.inputVolume.GetID(), "segment": self._segmentOf(state)})
            self._seen.pop("threshold", None)
            scene_staging.rethreshold(state, slicer.mrmlScene, slicer.app.applicationLogic())

    def _refreshInputs(self, state: State) -> None:
        ui = self.ui
        if ui.modelSelector.currentText != state.model:
            index = ui.modelSelector.findText(state.model)
            if index < 0:
                ui.modelSelector.addItem(state.model)  # from a scene of another computer; the banner reports it
                index = ui.modelSelector.count - 1
            ui.modelSelector.currentIndex = index
        if self._changed("model", state.model):
            warning = models.warning_of(state.model)
            ui.modelBanner.text = warning or ""
            ui.modelBanner.visible = warning is not None
        step = scene_staging.nearest_step(state.threshold)
        if state.threshold != step:
            state.threshold = step  # results contain only the thresholds of the sweep

    def _refreshKeySlice(self, state: State) -> None:
        ui, volume = self.ui, state.inputVolume
        grid, reason = None, _("Choose the CT volume first.")
        try:
            grid = self.logic.grid(volume)
        except StagingError as error:  # the volume's grid is not regular
            reason = plain(error)
        ui.keySliceSlider.enabled = grid is not None and not self._running
        if grid is None:
            ui.keySliceLabel.text = reason
            return
        last = geometry.axial_size(grid)[2] - 1
        known = "volume" in self._seen
        other_scan = self._changed("volume", volume.GetID()) and known
        other_segment = self._changed("segment", self._segmentOf(state)) and known
        by_area = state.keySliceChosenBy == scene_staging.TUMOUR_AREA
        within = state.keySlice <= last
        if not presenter.keeps_key_slice(
            other_scan=other_scan, other_segment=other_segment, by_area=by_area, within=within
        ):
            state.keySlice = -1  # it was chosen in another scan, or for another segment
        if ui.keySliceSlider.maximum != last:
            ui.keySliceSlider.maximum = last
        ui.keySliceLabel.text = key_slice_content.key_slice_in_words(state, grid)
        if state.keySlice < 0:
            if state.votingSlices is not None:
                state.votingSlices.SetDisplayVisibility(False)
            return
        if ui.keySliceSlider.value != state.keySlice:
            ui.keySliceSlider.value = state.keySlice
        key = keyslice.by_index(grid, state.keySlice)
        if self._changed("key slice", (volume.GetID(), nodes.geometry_key(volume), key.index)):
            state.votingSlices = layers.show_voting(
                slicer.mrmlScene, state.votingSlices, grid, key, volume, shown=state.showVoting
            )
            self.logic.showSlice(grid, key.index)

    def _segmentOf(self, state: State) -> tuple[str, str] | None:
        segmentation = state.tumourSegmentation
        return None if segmentation is None else (segmentation.GetID(), state.tumourSegment)

    def _refreshLayers(self, state: State) -> None:
        """Redraw the attention of an existing result with the chosen threshold and style."""
        if state.attentionVolume is None or state.resultVolume is None or self._running:
            return
        style = (state.opacity, state.shownFrom, state.showLegend, state.showOutline, state.show3D, state.showVoting)
        first = "threshold" not in self._seen
        moved = self._changed("threshold", state.threshold)
        restyled = self._changed("style", style)
        if first:
            return  # already drawn: by the saved scene, or by the run that has just ended
        if moved:
            scene_staging.rethreshold(state, slicer.mrmlScene, slicer.app.applicationLogic())
        elif restyled:
            scene_staging.restyle(state, slicer.mrmlScene, slicer.app.applicationLogic())

    def _refreshResult(self, state: State | None) -> None:
        text = None if state is None else state.resultText
        shown = None if text is None else (text.GetID(), text.GetMTime())
        if not self._changed("result", (shown, None if state is None else state.threshold)) and shown:
            return
        record = None if state is None else scene_staging.record_of(state)
        result_view.show_stage(self.ui, record)
        result_view.show_agreement(self.ui, record, 0.5 if state is None else state.threshold)

    def _refreshButtons(self, state: GTRStagingParameterNode | None, stale: bool) -> None:
        ui, idle = self.ui, not self._running
        decision = presenter.decide(self._facts(state, stale))
        for name in presenter.BUTTONS:
            getattr(ui, name).enabled = name in decision.enabled
        for name, text in decision.tool_tips.items():
            getattr(ui, name).toolTip = text
        if idle:
            ui.applyHint.text = decision.hint
            ui.applyHint.visible = bool(decision.hint)
        ui.showCtButton.visible = bool(decision.other_ct)
        for label, text in (
            (ui.otherCtLabel, decision.other_ct),
            (ui.otherSegmentationLabel, decision.other_segmentation),
            (ui.staleLabel, decision.stale),
            (ui.staleAttentionLabel, decision.stale),
            (ui.staleAgreementLabel, decision.stale),
        ):
            label.text, label.visible = text, bool(text)
        self.dicom.refresh(state, idle, decision.not_current)
        self.report.refresh(state, stale)
        self.segments.refresh(state, idle)
        self.layouts.refresh(state)
        self.proposal.refresh(state, idle)
        self.profile.refresh(state, idle, decision.not_ready)
        self.batch.refresh(state is not None)
        self.batchCases.refresh()
        self.cases.refresh(state, idle)
        ui.deviceSelector.enabled = idle
        for section in (ui.inputSection, ui.keySliceSection, ui.attentionSection, ui.nomogramSection, ui.reportSection):
            section.enabled = idle

    def _facts(self, state: State | None, stale: bool) -> presenter.Facts:
        """Collect what the buttons depend on."""
        folder = self.ui.reportFolderSelector.currentPath
        of_folder: dict[str, Any] = {"folder": folder, "folder_exists": bool(folder) and Path(folder).is_dir()}
        if state is None:
            return presenter.Facts(scene=False, running=self._running, **of_folder)
        staged = state.resultText is not None
        return presenter.Facts(
            running=self._running,
            not_ready=self.logic.reasonNotReady(state),
            ct=self.inputs.label_of(state.inputVolume),
            shown=self.inputs.label_of(self.logic.otherVolumeShown(state.inputVolume)),
            drawn_on=self.inputs.label_of(candidates.drawn_on_another(state)),
            segment=scene_staging.has_segment(state),
            staged=staged,
            stale=stale,
            map=state.attentionVolume is not None and state.resultVolume is not None,
            sweep=state.sweepPlot is not None,
            agreement=state.agreementTable is not None,
            **of_folder,
        )

    def _listModels(self) -> None:
        """List the available models and nomograms; add those that were imported since."""
        self.nomogram.offer()
        self.models.offer()

    def _onPackages(self) -> None:
        """List the user's own models, which can be found from now on, and load in the background."""
        self._listModels()
        self._load()

    def _load(self) -> None:
        """Load packages and model in the background, unless packages are missing."""
        self.loading.start(self._parameterNode, dependencies.missing())

    # -- from the widgets to the state -----------------------------------------------------------------------------

    def onModelChanged(self, index: int) -> None:
        """Store the chosen model."""
        if self._parameterNode is not None and not self._refreshing and index >= 0:
            self._parameterNode.model = self.ui.modelSelector.currentText

    def onKeySliceMoved(self, value: float) -> None:
        """Store the slider's slice as a key slice that was chosen by hand."""
        if self._parameterNode is not None and not self._refreshing:
            self._chooseKeySlice(round(value), "hand")

    def onPathsChanged(self, *arguments: object) -> None:
        """Update the buttons after a change of the report's folder, the case table or the batch's folder."""
        # Paths are not saved with a scene: they often contain names of patients.
        self._refresh()

    def _chooseKeySlice(self, index: int, chosen_by: str) -> None:
        with slicer.util.NodeModify(self._state):
            self._state.keySlice = index
            self._state.keySliceChosenBy = chosen_by

    # -- buttons ---------------------------------------------------------------------------------------------------

    def onShowCt(self) -> None:
        """Show the chosen CT in the slice views."""
        with reporting.errors_shown():
            self.logic.showCt(self._state, self._state.inputVolume)

    def onUseCurrentSlice(self) -> None:
        """Choose the slice that the Red view shows."""
        with reporting.errors_shown():
            grid = self.logic.grid(self._state.inputVolume)
            plane = nodes.matrix_of(lambda m: m.DeepCopy(self.logic.redSlice().GetSliceToRAS()))
            self._chooseKeySlice(nodes.slice_at(grid, plane).index, "hand")

    def onLargestSection(self) -> None:
        """Choose the slice with the segment's largest section."""
        if not self.inputs.agrees():
            return
        with reporting.errors_shown(), reporting.waiting():
            key = scene_staging.largest_section(self._state, nodes.placed(self._state.inputVolume))
            self._chooseKeySlice(key.index, scene_staging.TUMOUR_AREA)

    def onApply(self) -> None:
        """Stage the case."""
        stage = self.steps.folding(lambda: self.logic.stage(self._state, self._onStep, self._tick))
        self._runIfAgreed(stage)

    def _runIfAgreed(self, work: Callable[[], object]) -> None:
        """Run work that uses the segment, unless it was drawn on another CT and the user does not agree."""
        if self.inputs.agrees():
            self._run(work)

    def _run(self, work: Callable[[], object]) -> None:
        """Run work on the case. The panel shows each step; Cancel is heard during each of them."""
        if self._running:
            return
        self._running, self._stop, whole = True, False, False  # first: the question about packages has an event loop
        with reporting.errors_shown():
            try:
                if not self.packages.ensure():
                    return
                self.loading.stop()
                self.steps.begin()
                self._refresh()
                self.steps.enter(LOADING)
                self.logic.load(self._state.model, self._state.device.value, self._tick)
                work()
                whole = True
            finally:
                self._running = False
                self.steps.end(whole=whole)
                self._seen.pop("threshold", None)
                self._refresh()

    def _onStep(self, step: str) -> None:
        self.steps.enter(step)
        self._tick()

    def _tick(self) -> None:
        """Keep the window alive during a run, and hear Cancel."""
        self.steps.show()
        slicer.app.processEvents()
        if self._stop:
            raise Cancelled("Staging was cancelled")

    def onCancel(self) -> None:
        """Stop the run; what its thread computes is dropped."""
        self._stop = True
