"""The nomogram that a scene has chosen, what is given of the patient, and what it says of both; without Qt.

The nomogram lies in the scene whole, as text: the scene opens the same on another computer, and no path is saved.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram import nomogram as nomogram_module
from GTRStagingLib.nomogram.nomogram import RADSCORE, REFERENCE, Nomogram, Reading
from GTRStagingSlicer import layers, scene_staging, tables
from GTRStagingSlicer.mrml import Scene
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _


@dataclass(frozen=True)
class Standing:
    """How the nomogram of a scene stands.

    Attributes
    ----------
    values
        What is given, and the Rad-score where it was computed.
    computed
        Whether it was.
    radscore
        Where the Rad-score is from, or why it is not filled in; empty where the nomogram takes none.
    network
        The network's stage; None while there is none that is up to date.
    reading, reason
        What the nomogram says, or why it says nothing yet.
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
    """The scene's nomogram; None where none is chosen.

    Raises
    ------
    InputError
        If the text in the scene is no nomogram.
    """
    text = state.nomogramText
    return None if text is None or not text.GetText() else _read(text.GetText())


@lru_cache(maxsize=2)
def _read(text: str) -> Nomogram:
    try:
        return nomogram_module.from_json(json.loads(text))
    except (ValueError, InputError) as error:
        said = _("The scene's nomogram cannot be read ({error}); expected one that was chosen here. Choose it again.")
        raise InputError(said.format(error=error)) from error


def choose(state: State, scene: Scene, nomogram: Nomogram | None) -> None:
    """Put a nomogram into the scene, or take it out; what was given for another one goes."""
    state.nomogramValues = ""
    _drop(state, scene, "nomogramTable")
    if nomogram is None:
        _drop(state, scene, "nomogramText")
        return
    name = _("Nomogram {name}").format(name=nomogram.name)
    text = layers.keep(scene, state.nomogramText, "vtkMRMLTextNode", name)
    text.SetText(json.dumps(nomogram.to_json(), allow_nan=False))
    state.nomogramText = text


def known_as(nomogram: Nomogram) -> str | None:
    """Under which name this computer has the same one; None where it has none: an edited copy is another."""
    for name, path in nomogram_module.available().items():
        try:
            if nomogram_module.load(path) == nomogram:
                return name
        except InputError:  # said when it is chosen
            continue
    return None


def _drop(state: State, scene: Scene, field: str) -> None:
    node = getattr(state, field)
    setattr(state, field, None)
    if node is not None and node.GetScene() is scene:
        scene.RemoveNode(node)


# -- the values ----------------------------------------------------------------------------------------------------


def given(state: State) -> dict[str, str | float]:
    """What is given of the patient of the chosen CT, by the terms' names; nothing that was given of another one."""
    if not state.nomogramValues or state.nomogramVolume is not state.inputVolume:
        return {}
    values: dict[str, str | float] = json.loads(state.nomogramValues)
    return values


def give(state: State, name: str, value: str | float | None) -> None:
    """Give a term its value, `REFERENCE` to leave it out, or None to take it back."""
    values = given(state)
    values.pop(name, None)
    if value is not None:
        values[name] = value
    state.nomogramVolume = state.inputVolume
    state.nomogramValues = json.dumps(values) if values else ""


def number_or_text(text: str) -> float | str | None:
    """What a person typed: a number, with point or comma; None for nothing; else the text, for the library to judge."""
    text = text.strip()
    try:
        return float(text.replace(",", ".")) if text else None
    except ValueError:
        return text


def radscore_of(nomogram: Nomogram, record: Mapping[str, Any] | None, stale: bool) -> tuple[float | None, str]:
    """The Rad-score of a result, where the nomogram says how it is computed; and where it is from, or why it is not.

    Parameters
    ----------
    record, stale
        The result's record, None where there is none; whether it is out of date.
    """
    if all(term.name != RADSCORE for term in nomogram.terms):
        return None, ""
    by_hand = _(
        "Give a standardised one, in standard deviations of the cohort that it was fitted on, as `gtrstaging radscore "
        "apply` writes it, or leave it out."
    )
    if nomogram.radscore is None:
        return None, " ".join((_("This nomogram does not say how its Rad-score is computed."), by_hand))
    if record is None:
        return None, _("The Rad-score is computed from the network's features once the case is staged.")
    if stale:
        return None, _("The result of section 3 is out of date: press Apply, and the Rad-score is computed from it.")
    import numpy as np

    from GTRStagingLib.radscore import radscore

    model = record["model"]
    try:
        carried = radscore.from_json(nomogram.radscore)
        if carried.model_sha256 is None:  # it might be of any network
            said = _("The Rad-score of this nomogram does not say which network's features it is made of.")
            return None, " ".join((said, by_hand))
        value = radscore.of_features(carried, np.asarray(record["features"]), model["sha256"])
    except InputError as error:
        return None, f"{error} {by_hand}"
    said = _("Rad-score {value:.2f} SD: computed by “{score}” from the features of this result, model “{model}”.")
    return value, " ".join((said.format(value=value, score=carried.name, model=model["name"]), *carried.warnings))


# -- what it says --------------------------------------------------------------------------------------------------


def standing(state: State, stale: bool) -> Standing | None:
    """How the nomogram of the scene stands; None where none is chosen.

    Parameters
    ----------
    stale
        Whether the result is out of date: then nothing is taken from it.
    """
    nomogram = chosen(state)
    if nomogram is None:
        return None
    record = scene_staging.record_of(state)
    score, said = radscore_of(nomogram, record, stale)
    values = given(state)
    if score is not None and values.get(RADSCORE) != REFERENCE:
        values[RADSCORE] = score
    reading, reason = None, ""
    missing = [term.label for term in nomogram.terms if term.name not in values]
    if missing:
        reason = _("Not given yet: {names}. Give a value, or leave it out.").format(names=", ".join(missing))
    else:
        try:
            reading = nomogram.read(values)
        except InputError as error:
            reason = str(error)
    network = None if record is None or stale else record["prediction"]["stage"]
    return Standing(nomogram, values, score is not None, said, network, reading, reason)


def show(state: State, scene: Scene, stale: bool) -> Standing | None:
    """The same, and the scene's table of it; another CT clears what was given."""
    if state.nomogramValues and state.nomogramVolume is not state.inputVolume:
        state.nomogramValues = ""
    now = standing(state, stale)
    if now is None or now.reading is None:
        _drop(state, scene, "nomogramTable")
    else:
        ct = state.inputVolume
        state.nomogramTable = tables.show_nomogram(
            scene, state.nomogramTable, now.nomogram, now.reading, now.network, now.radscore, ct
        )
    return now
