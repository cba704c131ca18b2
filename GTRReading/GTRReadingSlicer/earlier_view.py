"""Connect the widgets that change earlier answers, where the design lets readers do so."""

from collections.abc import Callable
from typing import Any

from GTRStagingSlicer.words import tr as _

from GTRReadingSlicer.answer_form import STAGES, SUBSTAGES, Form
from GTRReadingSlicer.presenter import earlier_label
from GTRReadingSlicer.sitting import Sitting


class EarlierView:
    """The panel's section with the earlier answers of this period; images are not shown again.

    Parameters
    ----------
    do
        Does work for the reader, and shows the sentence after it or the refusal.
    """

    def __init__(self, ui: Any, sitting: Sitting, do: Callable[[Callable[[], object], str], None]) -> None:
        self._ui, self._sitting, self._do = ui, sitting, do
        self._listed: dict[int, str] = {}
        ui.revisedStageSelector.addItems([f"c{one}" for one in (*STAGES, *SUBSTAGES)])
        ui.earlierSelector.connect("currentIndexChanged(int)", self.fill)
        ui.reviseButton.connect("clicked(bool)", lambda checked=False: self.onRevise())

    def refresh(self) -> None:
        """List the answers again, if they have changed."""
        session, selector = self._sitting.session, self._ui.earlierSelector
        listed = {} if session is None else {
            place: earlier_label(session.name_of(place), answer) for place, answer in self._sitting.earlier.items()
        }  # fmt: skip
        if listed == self._listed:
            return
        place, self._listed = self._place(), listed
        selector.blockSignals(True)
        selector.clear()
        selector.addItems(list(listed.values()))
        selector.currentIndex = list(listed).index(place) if place in listed else 0 if listed else -1
        selector.blockSignals(False)
        self.fill()

    def fill(self, index: int = 0) -> None:
        """Show the chosen answer in the widgets."""
        answer = self._sitting.earlier.get(self._place() or 0)
        if answer is not None:
            chosen = self._ui.revisedStageSelector.findText(f"c{answer.substage or answer.stage.name}")
            self._ui.revisedStageSelector.currentIndex = chosen
            self._ui.revisedConfidenceEdit.text = f"{answer.confidence:.0f}"
            self._ui.revisedRemarksEdit.text = answer.remarks.replace("\n", " ")

    def onRevise(self) -> None:
        """Write the changed answer beside the earlier one."""
        stage = self._ui.revisedStageSelector.currentText.removeprefix("c")
        form = Form(stage[:2], stage if stage in SUBSTAGES else None, self._ui.revisedConfidenceEdit.text,
                    self._ui.revisedRemarksEdit.text)  # fmt: skip
        place = self._place() or 0
        self._do(lambda: self._sitting.revise(place, form), _("Changed. Both answers stand."))

    def _place(self) -> int | None:
        """Return the place of the chosen answer."""
        index = self._ui.earlierSelector.currentIndex
        return list(self._listed)[index] if 0 <= index < len(self._listed) else None


__all__ = ["EarlierView"]
