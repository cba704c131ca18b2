"""Where models are kept, told without loading any: a program that has no torch yet can still offer them."""

import json
import os
from pathlib import Path

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.support.folders import user_folder

CARD_FILE = "card.json"
UNTRAINED = "untrained"
DEFAULT = "demonstration"
"""What is staged with unless a model is named: by the command line, in batches and in the panel."""

SHIPPED = Path(__file__).parents[1] / "resources" / "models"


def models_folder() -> Path | None:
    """Where imported models are kept: `$GTRSTAGING_MODELS`, or `gtrstaging/models` under the user's data folder.

    None where there is no such folder (see `support.folders`).
    """
    if chosen := os.environ.get("GTRSTAGING_MODELS"):
        return Path(chosen)
    own = user_folder("data")
    return None if own is None else own / "models"


def available() -> dict[str, Path | None]:
    """Names of the models at hand and their folders; None for the built-in one, whose name no folder can take.

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
    """Folder of a model, None for the built-in untrained one."""
    models = available()
    if name_or_folder in models:
        return models[name_or_folder]
    folder = Path(name_or_folder)
    if (folder / CARD_FILE).is_file():
        return folder
    raise WeightsError(
        f"Model {name_or_folder!r} is neither one of {', '.join(models)} nor a folder with {CARD_FILE}. "
        "See `gtrstaging models list`; import a checkpoint with `gtrstaging models import`."
    )


def read_card(folder: Path) -> ModelCard:
    """The card of a model's folder."""
    path = folder / CARD_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Import the model again.") from error
    try:
        return ModelCard.from_json(data)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
