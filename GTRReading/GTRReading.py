"""GTR Reading in 3D Slicer: the module and its panel, in which a reader of a study reads.

GTRStagingLib holds the rules of a study, GTRReadingSlicer shows a session in a scene; this file connects it to widgets.
"""

import importlib.util
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk  # noqa: F401 (the panel's .ui names its widgets)
import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

# An installed extension has everything in one folder. In the source tree, Slicer knows the folders that it was given.
for package, folder in (("GTRStagingLib", "."), ("GTRStagingSlicer", "GTRStaging")):
    if importlib.util.find_spec(package) is None:
        sys.path.append(str(Path(__file__).resolve().parents[1] / folder))

from GTRReadingSlicer import keys, presenter
from GTRReadingSlicer.answer_form import Form
from GTRReadingSlicer.earlier_view import EarlierView
from GTRReadingSlicer.form_view import FormView
from GTRReadingSlicer.selftest import GTRReadingTest  # noqa: F401 (Slicer runs it by this name)
from GTRReadingSlicer.sitting import Sitting, readers_in
from GTRStagingSlicer import dependencies, help_texts, layouts, reporting
from GTRStagingSlicer.words import plain

from GTRStagingLib.errors import StagingError

PAGES = (("docs/reader-study.md", _("Reader study")), ("docs/how-to/troubleshooting.md", _("Troubleshooting")))


class GTRReading(ScriptedLoadableModule):
    """Title, category and help text for Slicer's module list."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("GTR Reading")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Oncology")]
        self.parent.dependencies = []
        self.parent.contributors = ["The GTR Staging developers"]
        help_text = _(
            "Lets a reader of a study stage gastric cancer on CTs, without and with the advice of a model, in the "
            "order and by the rules of the study folder. Research use only. Not a medical device; not for diagnosis "
            "or treatment decisions."
        )
        self.parent.helpText = help_texts.with_links(help_text, PAGES)
        self.parent.acknowledgementText = help_texts.acknowledgement()


class GTRReadingWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Panel of the module."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._folders: dict[str, Path] = {}
        self._refreshing = self._busy = False

    # -- life ------------------------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Load the panel and connect its widgets, without importing large packages."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/GTRReading.ui"))
        self.layout.addWidget(panel)
        ui = self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.sitting = Sitting(slicer.mrmlScene, self.refresh, _fit_views)
        self.form = FormView(ui, lambda: self.sitting.form, self._onForm, self.onSave)
        self.earlier = EarlierView(ui, self.sitting, self._do)
        self.keys = keys.Shortcuts(qt, slicer.util.mainWindow() or panel, self._onKey)
        ui.keysLabel.text = keys.help_table()
        for button, act in (
            (ui.folderButton, self.onFolder),
            (ui.startButton, self.onStart),
            (ui.goOnButton, self.onGoOn),
            (ui.pauseButton, self.onPause),
            (ui.endButton, self.onEnd),
            (ui.keySliceButton, self.onKeySlice),
            (ui.resetButton, self.onReset),
            (ui.markButton, self.onMark),
            (ui.unmarkButton, self.sitting.case.remove_mark),
            (ui.saveButton, self.onSave),
            (ui.nextButton, self.onNext),
        ):
            button.connect("clicked(bool)", lambda checked=False, act=act: act())
        ui.readerSelector.connect("currentIndexChanged(int)", lambda index: self.refresh())
        ui.mapCheckBox.connect("toggled(bool)", self.sitting.case.show_map)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneChanges)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneChanges)
        self._say("")
        self.refresh()

    def cleanup(self) -> None:
        """End the session; called when the module's widget is destroyed, also as Slicer exits."""
        if hasattr(self, "keys"):  # the panel was set up
            self.keys.switch(False)
            self.sitting.close()
        self.removeObservers()

    def enter(self) -> None:
        """Refresh the panel; called each time the module is opened."""
        lacking = presenter.lacking_packages(dependencies.in_words(dependencies.missing()))
        if lacking:
            self._say(lacking, refused=True)
        self.keys.switch(self.sitting.session is not None)
        self.refresh()

    def exit(self) -> None:
        """Pause, and take the case out of the scene, so that no other module sees it."""
        self._busy = False  # whatever is under way: the case must leave the scene
        self._do(self.sitting.leave)
        self.keys.switch(False)

    def onSceneChanges(self, caller: object, event: str) -> None:
        """End the session, since the scene is closed or another one is loaded."""
        if self.sitting.session is not None:
            self._end()
            self._say(_("The scene was closed or another one was loaded, so the session has ended. Saved answers are "
                        "on the disk. Start again to go on."), refused=True)  # fmt: skip

    # -- from the session to the widgets ---------------------------------------------------------------------------

    def refresh(self) -> None:
        """Update every widget."""
        if self._refreshing or self._busy:
            return
        self._refreshing = True
        try:
            decision = presenter.decide(self._facts())
            for name in presenter.DECIDED:
                getattr(self.ui, name).visible = name in decision.visible
                getattr(self.ui, name).enabled = name in decision.enabled
            for name, text in decision.texts.items():
                getattr(self.ui, name).text = text
            self.ui.mapCheckBox.checked = self.sitting.case.map_shown
            self.form.refresh(self.sitting.form)
            self.earlier.refresh()
        finally:
            self._refreshing = False

    def _facts(self) -> presenter.Facts:
        """Collect what the panel depends on."""
        sitting = self.sitting
        session, reader = sitting.session, self.ui.readerSelector.currentText
        if session is None:
            return presenter.Facts(readers=bool(self._folders), reader=reader)
        progress, item = session.progress, session.item
        return presenter.Facts(
            state=session.state,
            displayed=sitting.displayed,
            place=progress.place,
            total=progress.total,
            practice=progress.practice,
            phase=progress.phase,
            opens=progress.opens,
            slices=0 if item is None else item.slices,
            slice=sitting.case.slice,
            key_slice=None if item is None else item.key_slice,
            advice=None if item is None else item.advice,
            shows=session.rules.shows,
            stage=sitting.form.stage,
            mark=sitting.case.mark is not None,
            placing=sitting.case.placing,
            earlier=bool(sitting.earlier),
        )

    def _say(self, text: str, *, refused: bool = False) -> None:
        """Show a sentence in the panel; a refusal in the style of a warning."""
        label = self.ui.messageLabel
        label.text, label.visible = text, bool(text)
        label.styleSheet = presenter.ALARM if refused else presenter.NOTE

    def _do(self, work: Callable[[], object], done: str = "") -> None:
        """Do what the reader asks for, one thing at a time; what is refused is shown as a sentence.

        What the reader presses while a case is loaded is not taken for the next one.
        """
        if self._busy:
            return
        self._busy = True
        with reporting.errors_shown():
            try:
                self._say("")
                with reporting.waiting():
                    work()
                if done:  # what happened meanwhile, such as the end of the session, may have been said
                    self._say(done)
            except StagingError as error:
                logging.info("GTR Reading: %s", traceback.format_exc())
                self._say(plain(error), refused=True)
            finally:
                self._busy = False
                self.keys.switch(self.sitting.session is not None)
                self.refresh()

    # -- the study -------------------------------------------------------------------------------------------------

    def onFolder(self) -> None:
        """Choose the study folder, and list its readers."""
        folder = qt.QFileDialog.getExistingDirectory(self.ui.folderButton, _("Study folder"))
        if folder:
            self._do(lambda: self.openFolder(Path(folder)))

    def openFolder(self, folder: Path) -> None:
        """List the readers of a study folder; none of them is chosen yet."""
        self._folders = {}
        self.ui.readerSelector.clear()
        self.ui.folderLabel.text = _("No folder is chosen.")
        if lacking := dependencies.missing():
            if not slicer.util.confirmOkCancelDisplay(
                dependencies.question(lacking), windowTitle=_("Install packages")
            ):
                return
            dependencies.install()
        self._folders = readers_in(folder)
        self.ui.folderLabel.text = folder.name
        self.ui.readerSelector.addItems(["", *self._folders])

    def onStart(self) -> None:
        """Open the session of the chosen reader."""
        reader = self.ui.readerSelector.currentText
        self._do(lambda: self.sitting.start(self._folders[reader], reader))

    def onEnd(self) -> None:
        """End the session, after asking if the case on the screen is not saved."""
        session = self.sitting.session
        question = _("End the session? The answer to the case on the screen is not saved; the case is shown again.")
        unsaved = session is not None and (
            (session.item is not None and not self.sitting.saved) or self.sitting.has_unsaved_form
        )
        if not unsaved or slicer.util.confirmOkCancelDisplay(question, windowTitle=_("End the session")):
            self._end()
            self._say(_("The session has ended. Saved answers are on the disk."))

    def _end(self) -> None:
        self.sitting.close()
        self.keys.switch(False)
        self.refresh()

    # -- the case --------------------------------------------------------------------------------------------------

    def _onForm(self, form: Form) -> None:
        """Take a changed form."""
        if not self._busy:
            self.sitting.form = form
            self._say("")
            self.refresh()

    def onSave(self) -> None:
        """Save the answer."""
        self._do(self.sitting.save, _("Saved. It can be given again until Next."))

    def onNext(self) -> None:
        """Save the answer, and show the next case."""
        self._do(self.sitting.next)

    def onPause(self) -> None:
        """Stop the clock, and hide the images."""
        self._do(self.sitting.pause)

    def onGoOn(self) -> None:
        """Go on after a pause, look whether the second part is open, or show the case again."""
        self._do(self.sitting.go_on)

    def onKeySlice(self) -> None:
        """Show the key slice, if the design marks it."""
        session = self.sitting.session
        if session is not None and session.item is not None and session.item.key_slice is not None:
            self.sitting.case.go_to(session.item.key_slice)

    def onReset(self) -> None:
        """Set the first window and size."""
        if (session := self.sitting.session) is not None and self.sitting.displayed:
            self.sitting.case.reset(session.rules.window_level, session.rules.window_width)

    def onMark(self) -> None:
        """Let the next click mark the tumour; pressed again, it does not."""
        case = self.sitting.case
        case.stop_placing() if case.placing else case.start_placing()
        self.refresh()

    def _onKey(self, name: str, argument: str) -> None:
        """Do what a key does; without a case on the screen, go on by the keys that save, go on and pause."""
        ui, case = self.ui, self.sitting.case
        if self._busy:
            return
        if not self.sitting.displayed:
            if name in ("save", "next", "pause") and ui.goOnButton.visible:
                self.onGoOn()
            return
        if name in ("stage", "substage"):
            form = self.sitting.form
            self._onForm(form.with_stage(argument) if name == "stage" else form.with_substage(argument))
        elif name in ("confidence", "remarks", "images"):
            {"confidence": ui.confidenceEdit, "remarks": ui.remarksEdit, "images": ui.caseBox}[name].setFocus()
        elif name == "scroll":
            case.step(int(argument))
        elif name in ("level", "width"):
            level, width = case.window
            case.set_window(level + int(argument) * (name == "level"), width + int(argument) * (name == "width"))
        elif name == "map":
            ui.mapCheckBox.checked = ui.mapCheckBox.visible and not ui.mapCheckBox.checked
        else:
            {"save": self.onSave, "next": self.onNext, "pause": self.onPause, "key slice": self.onKeySlice,
             "reset": self.onReset, "mark": self.onMark, "unmark": case.remove_mark}[name]()  # fmt: skip


def _fit_views() -> None:
    """Fit the CT into the slice views."""
    slicer.app.processEvents()  # the views of a new layout get their sizes
    if (manager := slicer.app.layoutManager()) is not None:
        layouts.fit(manager.mrmlSliceLogics())
