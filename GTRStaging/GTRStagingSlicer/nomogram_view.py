"""Show the panel's nomogram: a control for each term, and the probabilities for the values of the controls."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram import nomogram as nomogram_module
from GTRStagingLib.nomogram.nomogram import RADSCORE, REFERENCE, Nomogram, Term
from GTRStagingSlicer import nomogram_content, nomograms, reporting, result_view
from GTRStagingSlicer.logic import GTRStagingParameterNode
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import plain
from GTRStagingSlicer.words import tr as _


class NomogramView:
    """Section 6 of the panel; the user's choices are stored in the state of the last `refresh`."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._state: GTRStagingParameterNode | None = None
        self._shown: tuple[object, ...] | None = None
        self._built: Nomogram | None = None
        self._controls: dict[str, _Choice | _Number] = {}
        self._names: list[str] = []
        self._listed = False  # whether the selector is up to date
        self._filling = False
        ui.nomogramSelector.connect("currentIndexChanged(int)", self._on_chosen)
        ui.nomogramFileButton.connect("clicked(bool)", lambda checked=False: self._on_file())

    def offer(self) -> None:
        """List the available nomograms; add those that were fitted since."""
        self._names = list(nomogram_module.available())
        self._listed = False

    # -- from the state to the widgets -----------------------------------------------------------------------------

    def refresh(self, state: GTRStagingParameterNode | None, stale: bool) -> None:
        """Update the section, if anything has changed; the state may be None."""
        self._state = state
        now = None if state is None else _inputs_of(state, stale)
        if now is not None and now == self._shown and self._listed:
            return
        if self._built is None and state is not None and state.nomogramText is not None:
            self._ui.nomogramSection.collapsed = False  # a scene was loaded
        error_text, status = "", None
        try:
            status = None if state is None else nomograms.show(state, slicer.mrmlScene, stale)
        except InputError as error:  # the scene's text is not a nomogram
            error_text = plain(error)
        self._shown = None if state is None else _inputs_of(state, stale)
        self._filling = True
        try:
            nomogram = None if status is None else status.nomogram
            if nomogram != self._built or not self._listed:
                self._show_choice(nomogram)
            if nomogram != self._built:
                self._build(nomogram)
            self._show_values(status)
            self._show_reading(status, error_text)
        finally:
            self._filling = False

    def _show_choice(self, nomogram: Nomogram | None) -> None:
        selector = self._ui.nomogramSelector
        name = None if nomogram is None else nomograms.local_name(nomogram)
        shown = nomogram_content.selection(nomogram, name, self._names)
        if [selector.itemText(i) for i in range(selector.count)] != shown.entries:
            selector.clear()
            selector.addItems(shown.entries)
        selector.currentIndex = shown.index
        self._ui.nomogramSourceLabel.visible = bool(shown.about)
        self._ui.nomogramSourceLabel.text = shown.about
        self._ui.nomogramValuesBox.visible = nomogram is not None
        self._listed = True

    def _build(self, nomogram: Nomogram | None) -> None:
        """Replace the controls by one for each term of a nomogram."""
        layout = self._ui.nomogramValuesBox.layout()
        self._controls = {}
        while layout.rowCount():
            layout.removeRow(0)
        for term in () if nomogram is None else nomogram.terms:
            made = _Choice(term, self._on_value) if term.is_choice else _Number(term, self._on_value)
            self._controls[term.name] = made
            layout.addRow(made.label, made.widget)
        self._built = nomogram

    def _show_values(self, status: "nomograms.Status | None") -> None:
        if status is not None:
            for name, control in self._controls.items():
                control.show(status.values.get(name), locked=status.computed and name == RADSCORE)
        self._ui.nomogramRadscoreLabel.text = "" if status is None else status.radscore
        self._ui.nomogramRadscoreLabel.visible = status is not None and bool(status.radscore)

    def _show_reading(self, status: "nomograms.Status | None", error_text: str) -> None:
        ui, content = self._ui, nomogram_content.reading_content(status, error_text)
        ui.nomogramWarnings.text, ui.nomogramWarnings.visible = content.warnings, bool(content.warnings)
        ui.nomogramMessage.text, ui.nomogramMessage.visible = content.message, bool(content.message)
        ui.nomogramStageLabel.text, ui.nomogramNetworkLabel.text = content.stage, content.network
        result_view.fill_bars(ui, "nomogramBar", content.bars)
        result_view.fill(ui.nomogramTable, content.table.heads, content.table.rows)
        ui.nomogramBox.visible = content.read

    # -- from the widgets to the state -----------------------------------------------------------------------------

    def _on_chosen(self, index: int) -> None:
        if self._state is None or self._filling or index < 0:
            return
        name = self._ui.nomogramSelector.itemText(index)
        with reporting.errors_shown():
            if index == nomogram_content.NONE:
                self._choose(None)
            elif name in self._names:
                self._choose(nomogram_module.load(nomogram_module.available()[name]))
        self._refresh_selector()

    def _on_file(self) -> None:
        if self._state is None:
            return
        with reporting.errors_shown():
            path = qt.QFileDialog.getOpenFileName(self._ui.nomogramSection, _("Nomogram"), "", _("Nomograms (*.json)"))
            if path:
                self._choose(nomogram_module.load(Path(path)))
        self._refresh_selector()

    def _choose(self, nomogram: Nomogram | None) -> None:
        if self._state is not None:
            with slicer.util.NodeModify(self._state):
                nomograms.choose(self._state, slicer.mrmlScene, nomogram)

    def _on_value(self, name: str, value: str | float | None) -> None:
        if self._state is None or self._filling or nomograms.given_values(self._state).get(name) == value:
            return
        nomograms.set_value(self._state, slicer.mrmlScene, name, value)
        self._state.Modified()  # the panel observes it, not the text

    def _refresh_selector(self) -> None:
        """Reset the selector to the chosen nomogram, in case loading has failed."""
        self._listed = False
        if self._state is not None:
            self._state.Modified()


def _inputs_of(state: State, stale: bool) -> tuple[object, ...]:
    """Return the inputs of the section; it is redrawn if they differ."""
    ct, texts = state.inputVolume, (state.nomogramText, state.nomogramGiven, state.resultText)
    times = [None if node is None else (node.GetID(), node.GetMTime()) for node in texts]
    return *times, None if ct is None else ct.GetID(), stale


# -- controls of the terms -----------------------------------------------------------------------------------------


class _Choice:
    """Control of a term with levels."""

    def __init__(self, term: Term, set_value: Callable[[str, str | float | None], None]) -> None:
        self._term, self._set_value = term, set_value
        choices = nomogram_content.choices(term)
        self._values = list(choices)
        self.label = _label(term)
        self.widget = qt.QComboBox()
        self.widget.name = f"nomogramValue_{term.name}"
        self.widget.toolTip = self.label.toolTip
        self.widget.addItems(list(choices.values()))
        self.widget.connect("currentIndexChanged(int)", self._on_index)

    def show(self, value: str | float | None, locked: bool) -> None:
        """Show a value."""
        self.widget.currentIndex = self._values.index(value) if value in self._values else 0

    def _on_index(self, index: int) -> None:
        self._set_value(self._term.name, self._values[index])


class _Number:
    """Control of a number: a slider over its range, a text field, and a box to leave the term out."""

    def __init__(self, term: Term, set_value: Callable[[str, str | float | None], None]) -> None:
        self._term, self._set_value = term, set_value
        self._scale = nomogram_content.scale_of(term)
        self.label = _label(term)
        self.widget = qt.QWidget()
        self.widget.toolTip = self.label.toolTip
        self._slider, self._field, self._left_out = qt.QSlider(qt.Qt.Horizontal), qt.QLineEdit(), qt.QCheckBox()
        self._slider.name, self._field.name = f"nomogramSlider_{term.name}", f"nomogramValue_{term.name}"
        self._left_out.name = f"nomogramLeftOut_{term.name}"
        self._slider.toolTip = self.label.toolTip
        self._left_out.toolTip = _("Leaves this factor out: the reference is used.")
        self._left_out.text = _("left out")
        self._slider.maximum = self._scale.maximum
        self._field.setMaximumWidth(110)
        row = qt.QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider, 1)
        row.addWidget(self._field)
        row.addWidget(self._left_out)
        self._slider.connect("valueChanged(int)", self._on_slider)
        self._field.connect("editingFinished()", self._on_typed)
        self._left_out.connect("toggled(bool)", lambda on: self._set_value(term.name, REFERENCE if on else None))

    def show(self, value: str | float | None, locked: bool) -> None:
        """Show a value; `locked` disables the controls of a computed one."""
        content = nomogram_content.number_content(self._term, value, locked=locked)
        self._left_out.checked = content.left_out
        self._field.placeholderText = content.placeholder
        if self._field.text != content.text:
            self._field.text = content.text
        self._field.toolTip, self._field.styleSheet = content.tip, content.style
        self._slider.value = content.step
        self._slider.enabled = self._field.enabled = content.enabled

    def _on_slider(self, step: int) -> None:
        self._set_value(self._term.name, self._scale.value_of(step))

    def _on_typed(self) -> None:
        self._set_value(self._term.name, nomograms.number_or_text(self._field.text))


def _label(term: Term) -> "qt.QLabel":
    """Return a label with the term's name and unit; its tooltip states range and reference."""
    label = qt.QLabel()
    label.setTextFormat(qt.Qt.PlainText)
    label.text, label.toolTip = nomogram_content.label_of(term), nomogram_content.tip_of(term)
    return label
