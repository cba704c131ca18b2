"""Connect the widgets of an answer: stage, substage, confidence and remarks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from GTRReadingSlicer.answer_form import STAGES, SUBSTAGES, Form


class FormView:
    """The panel's part with the answer.

    Parameters
    ----------
    get, put
        Give the form, and take a changed one.
    save
        Called for a space in the field of the confidence, where the key Space would write it.
    """

    def __init__(self, ui: Any, get: Callable[[], Form], put: Callable[[Form], None], save: Callable[[], None]) -> None:
        self._ui, self._get, self._put, self._save = ui, get, put, save
        for stage in STAGES:
            button = getattr(ui, f"{stage}Button")
            button.connect("clicked(bool)", lambda on=False, stage=stage: put(get().with_stage(stage)))
        for substage in SUBSTAGES:
            button = getattr(ui, f"{substage}Button")
            button.connect("clicked(bool)", lambda on=False, one=substage: put(get().with_substage(one)))
        ui.confidenceEdit.connect("textChanged(QString)", self.onConfidence)
        ui.remarksEdit.connect("textChanged()", self.onRemarks)

    def refresh(self, form: Form) -> None:
        """Write a form into the widgets."""
        ui = self._ui
        for value, chosen in (*((one, form.stage) for one in STAGES), *((one, form.substage) for one in SUBSTAGES)):
            getattr(ui, f"{value}Button").checked = value == chosen
        for field, name, text in (
            (ui.confidenceEdit, "text", form.confidence),
            (ui.remarksEdit, "plainText", form.remarks),
        ):
            if getattr(field, name) != text:  # else the cursor would jump
                field.blockSignals(True)
                setattr(field, name, text)
                field.blockSignals(False)

    def onConfidence(self, text: str) -> None:
        """Take what was typed; a space saves the answer."""
        self._put(replace(self._get(), confidence=text.replace(" ", "")))
        if " " in text:
            self._save()

    def onRemarks(self) -> None:
        """Take what was typed."""
        self._put(replace(self._get(), remarks=self._ui.remarksEdit.plainText))


__all__ = ["FormView"]
