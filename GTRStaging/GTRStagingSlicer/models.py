"""List the models that the panel offers, with cards and warnings, without importing torch."""

import json

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import registry
from GTRStagingLib.model.card import ModelCard, untrained_warning
from GTRStagingLib.staging.options import methods_for
from GTRStagingSlicer.model_import import performance_in_words
from GTRStagingSlicer.state import Method
from GTRStagingSlicer.words import plain
from GTRStagingSlicer.words import tr as _


def names() -> list[str]:
    """Return the names of the available models, the untrained one last."""
    return sorted(registry.available(), key=lambda name: (name == registry.UNTRAINED, name))


def warning_of(name: str) -> str | None:
    """Return the warning of a model, also if it is missing or its card cannot be read; None without a warning."""
    folder = registry.available().get(name)
    if name == registry.UNTRAINED:
        return untrained_warning(name)
    if folder is None:
        return _("The model “{name}” is not on this computer. Choose another, or import it.").format(name=name)
    try:
        return registry.read_card(folder).warning
    except WeightsError as error:
        return plain(error)


def reason_no_map(name: str, method: Method) -> str | None:
    """Return why a model has no map of a method; None if it has one, or if its card cannot be read (see the banner)."""
    folder = registry.available().get(name)
    if method is Method.AUTO or (folder is None and name != registry.UNTRAINED):
        return None
    try:
        head = "mean" if folder is None else registry.read_card(folder).head
    except WeightsError:
        return None
    if method.value in methods_for(head):
        return None
    own = Method.GATED.label() if head == "gated" else Method.FINE.label()
    return _(
        "The model “{name}” has no map of the method “{method}”. Choose “{automatic}” or “{own}” in section 4."
    ).format(name=name, method=method.label(), automatic=Method.AUTO.label(), own=own)


def card_in_words(name: str) -> tuple[str, str]:
    """Return a summary of a model card, and the whole card as JSON."""
    folder = registry.available().get(name)
    if folder is None:
        return warning_of(name) or name, ""
    return words_of(registry.read_card(folder))


def words_of(card: ModelCard) -> tuple[str, str]:
    """Return a summary of a card, and the whole card as JSON."""
    rows = (
        (_("Model"), f"{card.name} ({card.status})"),
        (_("Network"), f"ResNet-{card.depth}, fusion {card.fusion}"),
        (_("Head"), card.head_in_words),
        (_("Performance"), performance_in_words(card)),
        (_("Map"), card.check_in_words),
        (_("Familiarity"), card.familiarity_in_words),
        (_("Recipe"), card.recipe.name),
        (_("Trained on"), card.trained_on),
        (_("Provenance"), card.provenance),
        (_("Intended use"), card.intended_use),
        (_("Licence"), card.licence),
        (_("Citation"), card.citation),
        (_("Weights sha256"), card.sha256),
    )
    text = "\n".join(f"{head}: {value}" for head, value in rows)
    return "\n\n".join(filter(None, (text, card.warning))), json.dumps(card.to_json(), indent=2)
