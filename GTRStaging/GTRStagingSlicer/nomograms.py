"""Store the nomogram of a scene and the patient's values, and compute its result; without Qt.

The scene contains the whole nomogram as text, and no path: it opens the same on another computer.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram import nomogram as nomogram_module
from GTRStagingLib.nomogram.nomogram import RADSCORE, REFERENCE, Nomogram, Reading
from GTRStagingLib.nomogram.terms import entered_number
from GTRStagingLib.support.files import parse_json
from GTRStagingSlicer import case_results, layers, nodes, scene_staging, tables
from GTRStagingSlicer.mrml import Scene
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import plain
from GTRStagingSlicer.words import tr as _


@dataclass(frozen=True)
class Status:
    """Nomogram of a scene with its values and its result.

    Attributes
    ----------
    values
        The given values, and the Rad-score if it was computed.
    computed
        Whether the Rad-score was computed.
    radscore
        Source of the Rad-score, or why it is missing; empty if the nomogram has no Rad-score.
    network
        The network's stage; None without an up-to-date result.
    reading, reason
        Result of the nomogram, or why it is missing.
    """

    nomogram: Nomogram
    values: Mapping[str, str | float]
    computed: bool
    radscore: str
    network: str | None
    reading: Reading | None
    reason: str


# -- the choice ----------------------------------------------------------------------------------------------------


def chosen(state: State) -> Nomogram | None:
    """Return the scene's nomogram; None if none is chosen.

    Raises
    ------
    InputError
        If the text in the scene is not a nomogram.
    """
    text = state.nomogramText
    return None if text is None or not text.GetText() else _read(text.GetText())


@lru_cache(maxsize=2)
def _read(text: str) -> Nomogram:
    try:
        return nomogram_module.from_json(parse_json(text))
    except (ValueError, InputError) as error:
        template = _("The scene's nomogram cannot be read ({error}). Choose it again.")
        raise InputError(template.format(error=plain(error))) from error


def choose(state: State, scene: Scene, nomogram: Nomogram | None) -> None:
    """Store a nomogram in the scene, or with None remove it; remove values and tables of an earlier one, of all CTs."""
    state.nomogramGiven = state.nomogramTable = None
    for class_name in ("vtkMRMLTextNode", "vtkMRMLTableNode"):
        for node in nodes.of_class(scene, class_name):
            if node.GetAttribute(layers.PART) in ("nomogramGiven", "nomogramTable"):
                scene.RemoveNode(node)
    if nomogram is None:
        _remove_node(state, scene, "nomogramText")
        return
    name = _("Nomogram {name}").format(name=nomogram.name)
    text = layers.reuse_or_add(scene, state.nomogramText, "vtkMRMLTextNode", name)
    text.SetText(json.dumps(nomogram.to_json(), allow_nan=False))
    state.nomogramText = text


def local_name(nomogram: Nomogram) -> str | None:
    """Return the name of an equal nomogram on this computer; None without one."""
    for name, path in nomogram_module.available().items():
        try:
            if nomogram_module.load(path) == nomogram:
                return name
        except InputError:  # reported when it is chosen
            continue
    return None


def _remove_node(state: State, scene: Scene, field: str) -> None:
    """Remove the node of a field from the scene."""
    node = getattr(state, field)
    setattr(state, field, None)
    if node is not None and node.GetScene() is scene:
        scene.RemoveNode(node)


# -- the values ----------------------------------------------------------------------------------------------------


def given_values(state: State) -> dict[str, str | float]:
    """Return the values given for the chosen CT's patient, by the names of the terms; empty for another patient."""
    text = state.nomogramGiven
    if text is None or not layers.belongs_to(text, state.inputVolume):
        return {}
    try:
        values = parse_json(text.GetText() or "{}")
    except ValueError:  # the text of a scene that somebody else made
        return {}
    return values if isinstance(values, dict) else {}


def set_value(state: State, scene: Scene, name: str, value: str | float | None) -> None:
    """Set the value of a term for the chosen CT's patient: `REFERENCE` leaves the term out, None removes the value."""
    case_results.turn_to_ct(state, scene)
    values = given_values(state)
    values.pop(name, None)
    if value is not None:
        values[name] = value
    ct = state.inputVolume
    words = _("Values of the nomogram") if ct is None else _("{ct} values of the nomogram").format(ct=ct.GetName())
    text = layers.reuse_or_add(scene, state.nomogramGiven, "vtkMRMLTextNode", words)
    text.SetText(json.dumps(values))
    if ct is not None:
        layers.place_beside(scene, text, ct)
    layers.mark(text, ct, "nomogramGiven")  # before the state has it, which notifies the panel
    state.nomogramGiven = text
    case_results.file_in_folder(state, scene)


def number_or_text(text: str) -> float | str | None:
    """Parse typed text: a number, None for no text, else the text for the nomogram to refuse."""
    text = text.strip()
    number = entered_number(text)
    return number if number is not None else text or None


def radscore_of(nomogram: Nomogram, record: Mapping[str, Any] | None, stale: bool) -> tuple[float | None, str]:
    """Compute the Rad-score of a result, if the nomogram contains its definition; return it with its source.

    Parameters
    ----------
    record, stale
        The result's record, or None; whether the result is out of date.

    Returns
    -------
    The Rad-score, None if it is missing; and its source, or why it is missing.
    """
    if all(term.name != RADSCORE for term in nomogram.terms):
        return None, ""
    by_hand = _(
        "Enter a standardised Rad-score, in standard deviations of the cohort that it was fitted on, as “gtrstaging "
        "radscore apply” writes it, or leave it out."
    )
    if nomogram.radscore is None:
        return None, " ".join((_("This nomogram does not contain the definition of its Rad-score."), by_hand))
    if record is None:
        return None, _("The Rad-score is computed from the network's features when the case is staged.")
    if stale:
        return None, _("The result of section 3 is out of date: press Apply to compute the Rad-score.")
    import numpy as np

    from GTRStagingLib.radscore import radscore

    model = record["model"]
    try:
        carried = radscore.from_json(nomogram.radscore)
        if carried.model_sha256 is None:  # its network is unknown
            reason = _("The Rad-score of this nomogram does not name the network of its features.")
            return None, " ".join((reason, by_hand))
        value = radscore.of_features(carried, np.asarray(record["features"]), model["sha256"])
    except InputError as error:
        return None, f"{plain(error)} {by_hand}"
    source = _("Rad-score {value:.2f} SD: computed by “{score}” from the features of this result, model “{model}”.")
    return value, plain(
        " ".join((source.format(value=value, score=carried.name, model=model["name"]), *carried.warnings))
    )


# -- the result ----------------------------------------------------------------------------------------------------


def status(state: State, stale: bool) -> Status | None:
    """Compute the result of the scene's nomogram; return None if none is chosen.

    Parameters
    ----------
    stale
        Whether the case's result is out of date; then it is not used.
    """
    nomogram = chosen(state)
    if nomogram is None:
        return None
    record = scene_staging.record_of(state)
    score, source = radscore_of(nomogram, record, stale)
    values = given_values(state)
    if score is not None and values.get(RADSCORE) != REFERENCE:
        values[RADSCORE] = score
    reading, reason = None, ""
    missing = [term.label for term in nomogram.terms if term.name not in values]
    if missing:
        reason = _("Missing values: {names}. Enter each value, or leave it out.").format(names=", ".join(missing))
    else:
        try:
            reading = nomogram.read(values)
        except InputError as error:
            reason = plain(error)
    network = None if record is None or stale else record["prediction"]["stage"]
    return Status(nomogram, values, score is not None, source, network, reading, reason)


def show(state: State, scene: Scene, stale: bool) -> Status | None:
    """Compute the result as `status`, and fill the table of the chosen CT."""
    case_results.turn_to_ct(state, scene)
    now = status(state, stale)
    if now is None or now.reading is None:
        _remove_node(state, scene, "nomogramTable")
    else:
        ct = state.inputVolume
        table = tables.show_nomogram(
            scene, state.nomogramTable, now.nomogram, now.reading, now.network, now.radscore, ct
        )
        layers.mark(table, ct, "nomogramTable")
        state.nomogramTable = table
        case_results.file_in_folder(state, scene)
    return now
