"""Import a model from a folder, a zip file or a checkpoint, after its card was read; no Qt."""

import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import registry
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.support.files import new_folder, sha256_of
from GTRStagingSlicer.words import tr as _

CHECKPOINTS = (".pth", ".pt", ".ckpt")
PARTS = (".json", ".safetensors", ".onnx", ".md", ".txt")
"""Endings of the files of a model folder; a zip file with another one is refused."""

MOST_MEMBERS = 64
MOST_BYTES = 4 << 30
"""Bounds of a zip file: members, and bytes after unpacking. The published network has 0.24 GB."""

MOST_CARD_BYTES = 16 << 20


@dataclass(frozen=True)
class Offer:
    """Model that can be taken.

    Attributes
    ----------
    kind
        What `path` is.
    card
        Its card; None for a checkpoint, which has none.
    name
        Name that the model gets.
    """

    kind: Literal["folder", "zip", "checkpoint"]
    path: Path
    card: ModelCard | None
    name: str


def read(path: Path) -> Offer:
    """Read what a path offers, without writing or running anything.

    Parameters
    ----------
    path
        Model folder or its card.json, a zip file of one, or a checkpoint.

    Raises
    ------
    WeightsError
        If it is something else, its card cannot be read, a zip file has members outside its folder or more than the
        bounds, or a model of this name is there.
    """
    if path.name == registry.CARD_FILE:
        path = path.parent
    if path.is_dir():
        card = registry.read_card(path)
        return _free(Offer("folder", path, card, card.name))
    if path.suffix.lower() in CHECKPOINTS:
        if not path.is_file():
            raise WeightsError(f"{path} is not a file; expected a checkpoint. Choose another.")
        return _free(Offer("checkpoint", path, None, path.stem))
    if not zipfile.is_zipfile(path):
        raise WeightsError(
            f"{path.name} is no model; expected a folder with {registry.CARD_FILE}, a zip file of such a folder, or a "
            f"checkpoint ({', '.join(CHECKPOINTS)}). Choose one of these."
        )
    with _unpacked(path, cards_only=True) as folder:
        card = registry.read_card(folder)
    return _free(Offer("zip", path, card, card.name))


def _free(offer: Offer) -> Offer:
    if offer.name in registry.available():
        raise WeightsError(
            f"A model “{offer.name}” is on this computer; expected a new name. Remove the old one from the folder of "
            "models first, or rename the file of a checkpoint."
        )
    return offer


def members(archive: zipfile.ZipFile) -> Mapping[str, zipfile.ZipInfo]:
    """Return the files of a model's zip file by their names in the model folder.

    Raises
    ------
    WeightsError
        If a member is a link, is encrypted, lies outside, or is no part of a model; if there are more than
        `MOST_MEMBERS` or `MOST_BYTES`; or if there is not exactly one card.
    """
    found = [one for one in archive.infolist() if not one.is_dir()]
    total = sum(one.file_size for one in found)
    if len(archive.infolist()) > MOST_MEMBERS or total > MOST_BYTES:
        raise WeightsError(
            f"The zip file has {len(archive.infolist())} members of {total / 1e9:.1f} GB; expected at most "
            f"{MOST_MEMBERS} and {MOST_BYTES / 1e9:.1f} GB. Choose the zip file of one model."
        )
    cards = [PurePosixPath(one.filename) for one in found if PurePosixPath(one.filename).name == registry.CARD_FILE]
    if len(cards) != 1:
        raise WeightsError(
            f"The zip file has {len(cards)} files {registry.CARD_FILE}; expected one. Pack one model folder."
        )
    kept: dict[str, zipfile.ZipInfo] = {}
    for one in found:
        path = PurePosixPath(one.filename)
        outside = path.is_absolute() or ".." in path.parts or "\\" in one.filename or ":" in one.filename
        if outside or path.parent != cards[0].parent:
            raise WeightsError(
                f"The zip file has the member {one.filename[:80]!r}; expected files beside its {registry.CARD_FILE} "
                "alone. It was not unpacked."
            )
        if stat.S_ISLNK(one.external_attr >> 16) or one.flag_bits & 1 or path.suffix.lower() not in PARTS:
            raise WeightsError(
                f"The member {one.filename[:80]!r} is a link, encrypted or no part of a model; expected files that end "
                f"in {', '.join(PARTS)}. The zip file was not unpacked."
            )
        if path.name.lower() in map(str.lower, kept):
            raise WeightsError(f"The zip file has the member {one.filename[:80]!r} twice; expected it once.")
        kept[path.name] = one
    if kept[registry.CARD_FILE].file_size > MOST_CARD_BYTES:
        raise WeightsError(f"The card has {kept[registry.CARD_FILE].file_size:,} bytes; expected a few thousand.")
    return kept


@contextmanager
def _unpacked(path: Path, *, cards_only: bool = False) -> Iterator[Path]:
    """Unpack a checked zip file, or its card alone, into a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="gtrstaging-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                for name, one in members(archive).items():
                    if not cards_only or name == registry.CARD_FILE:
                        with archive.open(one) as source, (Path(folder) / name).open("wb") as target:
                            shutil.copyfileobj(source, target)
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise WeightsError(f"{path.name} cannot be unpacked ({error}); expected a whole zip file.") from error
        yield Path(folder)


def take(offer: Offer, recipe: str = "") -> str:
    """Copy a model into the folder of models, after loading it once as for staging; return its name.

    Parameters
    ----------
    recipe
        Name of the preprocessing of a checkpoint, which no checkpoint contains.

    Raises
    ------
    WeightsError, InputError
        If it cannot be loaded, with its reason. Nothing is written then.
    """
    _free(offer)
    if offer.kind == "checkpoint":
        from GTRStagingLib.model import checkpoints
        from GTRStagingLib.model.recipe import find_recipe

        checkpoints.import_checkpoint(offer.path, recipe=find_recipe(recipe), name=offer.name)
        return offer.name
    if offer.kind == "zip":
        with _unpacked(offer.path) as folder:
            return _copied(folder, offer)
    return _copied(offer.path, offer)


def _copied(source: Path, offer: Offer) -> str:
    from GTRStagingLib.model.backbone import verify

    target = registry.folder_for(offer.name)
    if registry.read_card(source) != offer.card:
        raise WeightsError("The card has changed since it was shown; expected the same. Import the model again.")
    verify(str(source))
    with new_folder(target) as made:
        for one in source.iterdir():
            if one.is_file() and not one.is_symlink() and one.suffix.lower() in PARTS:
                shutil.copyfile(one, made / one.name)
    return offer.name


def performance_in_words(card: ModelCard) -> str:
    """Return the accuracy of a card on its test patients, else on those of validation, with interval and counts."""
    metrics: Mapping[str, Any] = (card.training or {}).get("metrics") or {}
    for side, words in (("test", _("test")), ("validation", _("validation, which chose the weights"))):
        try:
            one, accuracy = metrics[side], metrics[side]["accuracy"]
        except (KeyError, TypeError):  # older cards state less
            continue
        else:
            return _("accuracy {value:.2f} ({low:.2f} to {high:.2f}), {patients} patients of {side}").format(
                value=accuracy["value"],
                low=accuracy["low"],
                high=accuracy["high"],
                patients=one["patients"],
                side=words,
            )
    return _("not stated in the card")


def question(offer: Offer, card_text: str) -> str:
    """Return what the panel asks before it takes a model."""
    if offer.card is None:
        return _(
            "Import the checkpoint “{file}” as the model “{name}”?\n\nsha256: {sha256}\n\nA checkpoint has no card: "
            "its training, its performance and its preprocessing are not stated. No code of the file is run."
        ).format(file=offer.path.name, name=offer.name, sha256=sha256_of(offer.path))
    return _("Import this model?\n\n{card}").format(card=card_text)


__all__ = ["Offer", "members", "performance_in_words", "question", "read", "take"]
