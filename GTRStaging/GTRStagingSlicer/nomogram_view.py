"""Show the panel's nomogram: a control for each term, and the probabilities for the values of the controls."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram import nomogram as nomogram_module
from GTRStagingLib.nomogram.effects import effects
from GTRStagingLib.nomogram.nomogram import RADSCORE, REFERENCE, Nomogram, Term
from GTRStagingSlicer import nomograms, reporting, result_view, tables
from GTRStagingSlicer.logic import GTRStagingParameterNode
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import plain
from GTRStagingSlicer.words import tr as _

NONE, FROM_SCENE = 0, 1
"""Indices in the selector: of no nomogram, and of the scene's nomogram if this computer does not have it."""

FEWEST_STEPS = 50
"""Least number of steps of a slider over a term's range."""


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
        own = (
            [] if nomogram is None or name in self._names else [_("{name} (of this scene)").format(name=nomogram.name)]
        )
        entries = [_("None"), *own, *self._names]
        if [selector.itemText(i) for i in range(selector.count)] != entries:
            selector.clear()
            for entry in entries:
                selector.addItem(entry)
        selector.currentIndex = NONE if nomogram is None else FROM_SCENE if own else entries.index(name, 1)
        self._ui.nomogramSourceLabel.visible = nomogram is not None
        self._ui.nomogramSourceLabel.text = "" if nomogram is None else _about(nomogram)
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
        self._ui.nomogramValuesBox.visible = nomogram is not None
        self._built = nomogram

    def _show_values(self, status: "nomograms.Status | None") -> None:
        if status is not None:
            for name, control in self._controls.items():
                control.show(status.values.get(name), locked=status.computed and name == RADSCORE)
        self._ui.nomogramRadscoreLabel.text = "" if status is None else status.radscore
        self._ui.nomogramRadscoreLabel.visible = status is not None and bool(status.radscore)

    def _show_reading(self, status: "nomograms.Status | None", error_text: str) -> None:
        ui, reading = self._ui, None if status is None else status.reading
        warnings = () if status is None else status.nomogram.warnings if reading is None else reading.warnings
        ui.nomogramWarnings.visible = bool(warnings)
        ui.nomogramWarnings.text = plain("\n".join(warnings))
        reason = error_text if status is None else status.reason
        ui.nomogramMessage.visible = bool(reason)
        ui.nomogramMessage.text = reason
        ui.nomogramBox.visible = reading is not None
        if status is None or reading is None:
            for label in (ui.nomogramStageLabel, ui.nomogramNetworkLabel):
                label.text = ""  # a stage of earlier values must not come back with the box
            for stage in tables.STAGES:
                bar = getattr(ui, f"nomogramBar{stage}")
                bar.value, bar.format = 0, ""
            result_view.fill(ui.nomogramTable, [], [])
            return
        from_image = _("from the image alone") if status.network else _("no up-to-date result")
        for label, stage, source, how in (
            (ui.nomogramStageLabel, str(reading.stage), _("By the nomogram"), _("with the values above")),
            (ui.nomogramNetworkLabel, status.network or "–", _("By the network"), from_image),
        ):
            label.text = f"{source}<br><span style='font-size: 22px; font-weight: bold;'>{stage}</span><br>{how}"
        for stage, share in zip(tables.STAGES, reading.probabilities, strict=True):
            bar = getattr(ui, f"nomogramBar{stage}")
            bar.value = round(1000 * share)
            bar.format = f"{share:.2f}"
        rows = [list(row) for row in tables.nomogram_rows(status.nomogram, reading)]
        rows.append([_("Total"), "", f"{reading.total_points:.1f}", "", ""])
        result_view.fill(
            ui.nomogramTable, [_("Factor"), _("Value"), _("Points"), _("Odds ratio"), _("Compared with")], rows
        )

    # -- from the widgets to the state -----------------------------------------------------------------------------

    def _on_chosen(self, index: int) -> None:
        if self._state is None or self._filling or index < 0:
            return
        name = self._ui.nomogramSelector.itemText(index)
        with reporting.errors_shown():
            if index == NONE:
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
        self._entries: list[str | None] = [None, REFERENCE, *term.levels]
        self.label = _label(term)
        self.widget = qt.QComboBox()
        self.widget.name = f"nomogramValue_{term.name}"
        self.widget.toolTip = self.label.toolTip
        for i, entry in enumerate(self._entries):
            self.widget.addItem(_("not given") if entry is None else _("left out") if i == 1 else entry)
        self.widget.connect("currentIndexChanged(int)", self._on_index)

    def show(self, value: str | float | None, locked: bool) -> None:
        """Show a value."""
        self.widget.currentIndex = self._entries.index(value) if value in self._entries else 0

    def _on_index(self, index: int) -> None:
        self._set_value(self._term.name, self._entries[index])


class _Number:
    """Control of a number: a slider over its range, a text field, and a box to leave the term out."""

    def __init__(self, term: Term, set_value: Callable[[str, str | float | None], None]) -> None:
        self._term, self._set_value = term, set_value
        self.label = _label(term)
        low, high = term.range
        self._decimals = max(0, math.ceil(math.log10(FEWEST_STEPS / (high - low))))
        self.widget = qt.QWidget()
        self.widget.toolTip = self.label.toolTip
        self._slider, self._field, self._left_out = qt.QSlider(qt.Qt.Horizontal), qt.QLineEdit(), qt.QCheckBox()
        self._slider.name, self._field.name = f"nomogramSlider_{term.name}", f"nomogramValue_{term.name}"
        self._left_out.name = f"nomogramLeftOut_{term.name}"
        self._slider.toolTip = self._field.toolTip = self.label.toolTip
        self._left_out.toolTip = _("Leaves this factor out: the reference is used.")
        self._left_out.text = _("left out")
        self._slider.maximum = round((high - low) * 10**self._decimals)
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
        left_out = value == REFERENCE
        self._left_out.checked = left_out
        self._field.placeholderText = _("left out") if left_out else _("not given")
        text = "" if value is None or left_out else f"{value:.4g}" if isinstance(value, float) else value
        if self._field.text != text:
            self._field.text = text
        low, high = self._term.range
        at = min(max(value, low), high) if isinstance(value, float) and math.isfinite(value) else low
        self._slider.value = round((at - low) * 10**self._decimals)
        self._slider.enabled = self._field.enabled = not left_out and not locked
        self._mark(_refusal(self._term, value))

    def _mark(self, refusal: str) -> None:
        """Mark the field of a value that the term refuses; an empty text removes the mark."""
        self._field.styleSheet = "border: 2px solid #b00020;" if refusal else ""
        self._field.toolTip = refusal or self.label.toolTip

    def _on_slider(self, steps: int) -> None:
        self._set_value(self._term.name, round(self._term.range[0] + steps * 10**-self._decimals, self._decimals))

    def _on_typed(self) -> None:
        self._set_value(self._term.name, nomograms.number_or_text(self._field.text))


def _about(nomogram: Nomogram) -> str:
    """Return the source of a nomogram, and its odds ratios with intervals and p values."""
    lines = [one.sentence for one in effects(nomogram) if not one.is_reference]
    return "\n".join([nomogram.source, _("Odds ratios of a higher stage (95 % interval):"), *lines])


def _refusal(term: Term, value: str | float | None) -> str:
    """Return why a term refuses a value; empty if it takes it, or without a value."""
    try:
        if value is not None:
            term.accepted(value)
    except InputError as error:
        return plain(error)
    return ""


def _label(term: Term) -> "qt.QLabel":
    """Return a label with the term's name and unit; its tooltip states range and reference."""
    label = qt.QLabel()
    label.setTextFormat(qt.Qt.PlainText)
    unit = term.unit and f" ({term.unit})"
    label.text = f"{term.label}{unit}:"
    if term.is_choice:
        label.toolTip = _("{label}; odds ratio compared with {reference}.").format(
            label=term.label, reference=term.reference or "–"
        )
    else:
        label.toolTip = _("{label}, {low:g} to {high:g} {unit}; odds ratio compared with {typical:g}.").format(
            label=term.label, low=term.range[0], high=term.range[1], unit=term.unit, typical=term.typical
        )
    return label
