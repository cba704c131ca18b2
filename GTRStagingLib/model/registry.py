"""Model registry: list models and read their cards without importing torch."""

import os
import re
from pathlib import Path

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.support.files import read_json
from GTRStagingLib.support.folders import user_folder
from GTRStagingLib.support.given import require_type

CARD_FILE = "card.json"
UNTRAINED = "untrained"
DEFAULT = "demonstration"
"""Default model of the command line, batches and the panel."""

SHIPPED = Path(__file__).parents[1] / "resources" / "models"


def models_folder() -> Path | None:
    """Return the folder of imported models: `$GTRSTAGING_MODELS`, or `gtrstaging/models` in the user's data folder.

    None for a user without a data folder (see `support.folders`).
    """
    if chosen := os.environ.get("GTRSTAGING_MODELS"):
        return Path(chosen)
    own = user_folder("data")
    return None if own is None else own / "models"


def available() -> dict[str, Path | None]:
    """Return the names of the available models and their folders; None for the built-in model, which has no folder.

    Examples
    --------
    >>> from GTRStagingLib.model.registry import available, locate, read_card
    >>> {"untrained", "demonstration"} <= set(available())
    True
    >>> read_card(locate("demonstration")).status
    'demonstration'
    """
    found: dict[str, Path | None] = {UNTRAINED: None}
    for folder in (SHIPPED, models_folder()):
        if folder is not None and folder.is_dir():
            found.update({card.parent.name: card.parent for card in sorted(folder.glob(f"*/{CARD_FILE}"))})
    return {**found, UNTRAINED: None}


def locate(name_or_folder: str) -> Path | None:
    """Return the folder of a model by its name or folder; None for the built-in untrained model."""
    require_type("model", name_or_folder, (str, os.PathLike), "a name or a folder", 'Give model="demonstration".')
    models = available()
    if name_or_folder in models:
        return models[name_or_folder]
    folder = Path(name_or_folder)
    if (folder / CARD_FILE).is_file():
        return folder
    raise WeightsError(
        f"Model {name_or_folder!r} is neither one of {', '.join(models)} nor a folder with {CARD_FILE}. "
        "Choose one of these, or import a checkpoint first."
    )


def folder_for(name: str, out: Path | None = None) -> Path:
    """Return the folder of a new model, in `out` or in `models_folder()`; raise `WeightsError` if it cannot be made."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == UNTRAINED:
        raise WeightsError(f"Model name {name!r}; expected letters, digits, '.', '_' and '-', and not {UNTRAINED!r}.")
    home = out or models_folder()
    if home is None:
        raise WeightsError(
            "There is no home directory for models; expected a folder. Set GTRSTAGING_MODELS to a folder, or give "
            "`out`."
        )
    folder = home / name
    if folder.exists():
        raise WeightsError(f"{folder} exists; expected a new folder. Choose another `name` or `out`, or remove it.")
    return folder


def read_card(folder: Path) -> ModelCard:
    """Read the card of a model folder."""
    data = read_json(folder / CARD_FILE, "the card of a model. Import the model again", error=WeightsError)
    try:
        return ModelCard.from_json(data)
    except WeightsError as error:
        raise WeightsError(f"{folder.name}/{CARD_FILE}: {error}") from error
