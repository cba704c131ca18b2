"""Decide the rows of the list of results, and which of its buttons are enabled; without Qt."""

from dataclasses import dataclass

from GTRStagingSlicer import case_results, records
from GTRStagingSlicer.mrml import Scene, TextNode
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
        Texts of the row. Two CTs of one name are numbered in the scene's order.
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
    texts = case_results.texts(scene)
    names = [_name_of(text) for text in texts]
    found = []
    for i, (text, name) in enumerate(zip(texts, names, strict=True)):
        record = records.read(text.GetText())
        if names.count(name) > 1:
            name = f"{name} ({names[: i + 1].count(name)})"
        found.append(
            Row(
                text=text.GetID(),
                case=name,
                stage=record["prediction"]["stage"],
                time=case_results.time_of(record["provenance"]["utc"]),
                chosen=text is state.resultText,
                has_ct=case_results.ct_of(text) is not None,
            )
        )
    return tuple(found)


def _name_of(text: TextNode) -> str:
    ct = case_results.ct_of(text)
    return str(_("CT deleted") if ct is None else ct.GetName())


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
