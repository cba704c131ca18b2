"""Decide the rows of the list of results, and which of its buttons are enabled; without Qt."""

from dataclasses import dataclass

from GTRStagingSlicer import candidates, case_results, records
from GTRStagingSlicer.mrml import Scene
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _


@dataclass(frozen=True)
class Row:
    """Row of the list: a result of the scene.

    Attributes
    ----------
    text
        Id of the text node with the result's record.
    case, stage, time
        Texts of the row; the case is labelled as in the list of CTs.
    chosen
        Whether the panel shows this result.
    has_ct
        Whether the result's CT is still in the scene.
    """

    text: str
    case: str
    stage: str
    time: str
    chosen: bool
    has_ct: bool


@dataclass(frozen=True)
class Button:
    """State of a button: whether it is enabled, and its tooltip, which tells why it is not."""

    enabled: bool
    tip: str


@dataclass(frozen=True)
class Buttons:
    """States of the list's buttons for the selected row."""

    show: Button
    delete: Button
    export: Button


def rows(scene: Scene, state: State) -> tuple[Row, ...]:
    """Return a row for each result of the scene, in the scene's order."""
    labels = candidates.labels(candidates.cts(scene))
    found = []
    for text in case_results.texts(scene):
        record, ct = records.read(text.GetText()), case_results.ct_of(text)
        found.append(
            Row(
                text=text.GetID(),
                case=_("CT deleted") if ct is None else labels.get(ct.GetID(), ct.GetName()),
                stage=record["prediction"]["stage"],
                time=case_results.time_of(record["provenance"]["utc"]),
                chosen=text is state.resultText,
                has_ct=ct is not None,
            )
        )
    return tuple(found)


def buttons(row: Row | None, *, idle: bool, folder: str) -> Buttons:
    """Return the states of the buttons for a selected row.

    Parameters
    ----------
    row
        The selected row; None if none is selected.
    idle
        Whether no case is running.
    folder
        Folder of the report; empty before one is chosen.
    """
    obstacle = None
    if not idle:
        obstacle = _("A case is running.")
    elif row is None:
        obstacle = _("Select a result first.")
    lost = obstacle
    if obstacle is None and row is not None and not row.has_ct:
        lost = _("The CT of this result was deleted.")
    nowhere = lost or (None if folder else _("Choose a folder for the report."))
    return Buttons(
        show=Button(lost is None, lost or _("Chooses this CT, and shows its result with the choices it came from.")),
        delete=Button(obstacle is None, obstacle or _("Removes this result from the scene; the CT stays.")),
        export=Button(nowhere is None, nowhere or _("Shows this result, and writes its report.")),
    )
