"""Describe several models that stage one case together, and find the folds of a cross-validation. Needs no torch."""

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.model.card import ModelCard, Status
from GTRStagingLib.model.registry import CARD_FILE, available
from GTRStagingLib.support.files import sha256_of_data
from GTRStagingLib.support.given import given_path, require_type

WORST_FIRST: tuple[Status, ...] = ("untrained", "demonstration", "trained")

_FOLD = re.compile(r"(?P<name>.+)-fold(?P<number>[1-9]\d*)")


@dataclass(frozen=True)
class SeveralCards(ModelCard):
    """Card of several models as one.

    Names and texts are joined, the status is the worst, and `sha256` is that of the list of the models' hashes. Network
    and head are those of the first model. No calibration and no check: they are of single models.

    Attributes
    ----------
    members
        Cards of the models, in the order given.
    """

    members: tuple[ModelCard, ...] = ()

    @property
    def warning(self) -> str | None:
        """Warnings of all models, or None."""
        return " ".join(filter(None, (one.warning for one in self.members))) or None


def members_of(card: ModelCard) -> tuple[ModelCard, ...]:
    """Return the cards of several models, or the one card."""
    return card.members if isinstance(card, SeveralCards) else (card,)


def joined(cards: Sequence[ModelCard]) -> ModelCard:
    """Return the card of several models together; that of one model unchanged.

    Raises
    ------
    InputError
        If there is no model, two models have the same weights, or the models have different recipes.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from GTRStagingLib.model.registry import locate, read_card
    >>> from GTRStagingLib.model.several import joined
    >>> one = read_card(locate("demonstration"))
    >>> both = joined([one, replace(one, name="second", status="trained", sha256="ab" * 32)])
    >>> both.name, both.status, len(both.members), both.stage_sets
    ('demonstration + second', 'demonstration', 2, None)
    """
    if not cards:
        raise InputError("No model; expected one or several.")
    first = cards[0]
    if len(cards) == 1:
        return first
    _require_different(cards)
    for one in cards[1:]:
        if one.recipe != first.recipe:
            differ = [name for name, value in first.recipe.to_json().items() if one.recipe.to_json()[name] != value]
            raise InputError(
                f"Models {first.name!r} and {one.name!r} have different recipes ({', '.join(differ)}); expected models "
                "that receive the same slices. Stage the case with each `model` alone."
            )

    def texts(name: str) -> str:
        each = [getattr(one, name) for one in cards]
        if len(set(each)) == 1:
            return str(each[0])
        return "; ".join(f"{one.name}: {text}" for one, text in zip(cards, each, strict=True))

    return SeveralCards(
        name=" + ".join(one.name for one in cards),
        status=min((one.status for one in cards), key=WORST_FIRST.index),
        depth=first.depth,
        fusion=first.fusion,
        head=first.head,
        masks=first.masks,
        recipe=first.recipe,
        sha256=sha256_of_data([one.sha256 for one in cards]),
        provenance=texts("provenance"),
        trained_on=texts("trained_on"),
        licence=texts("licence"),
        intended_use=texts("intended_use"),
        citation=texts("citation"),
        leaking=any(one.leaking for one in cards),
        members=tuple(cards),
    )


def _require_different(cards: Sequence[ModelCard]) -> None:
    """Raise `InputError` if two models have the same weights: they would count twice."""
    twice = [sha256 for sha256, number in Counter(one.sha256 for one in cards).items() if number > 1]
    if twice:
        names = " and ".join(repr(one.name) for one in cards if one.sha256 == twice[0])
        raise InputError(
            f"Models {names} have the same weights (sha256 {twice[0][:12]}…); expected different models, since one "
            "would count twice. Leave out one `model`."
        )


def with_folds(models: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names or folders of models, each set of folds replaced by its folders.

    Folds are given as the `out` of their training, beside which it made OUT-fold1, OUT-fold2, … and OUT-folds.csv, or
    as a folder that contains these. Of the table, only the number of folds is used: it tells whether one is missing.

    Raises
    ------
    InputError
        If no model is given.
    WeightsError
        If folds are missing or left over from another training, or a folder contains models that are not folds of one
        training.
    """
    one = isinstance(models, str | os.PathLike)
    if not one:
        remedy = 'Give model="demonstration".'
        require_type("model", models, (list, tuple), "a name, a folder, or a list of these", remedy)
    names = [os.fspath(given_path("model", name)) if not isinstance(name, str) else name
             for name in ((models,) if one else models)]  # fmt: skip
    if not names:
        raise InputError("No model; expected one or several. Give `model`.")
    return tuple(one for name in names for one in _folds(name))


def folds_table(out: Path) -> Path:
    """Return the path of the table that a cross-validation with this `out` writes at its end."""
    return out.with_name(f"{out.name}-folds.csv")


def _folds_in(table: Path) -> int:
    """Return the number of folds in such a table, which ends with their mean and standard deviation."""
    with table.open(encoding="utf-8", newline="") as file:
        return sum(row[0] not in ("fold", "mean", "sd") for row in csv.reader(file) if row)


def _folds(name: str) -> tuple[str, ...]:
    """Return the folders of a set of folds in their order; the name alone if it names no folds."""
    folder = Path(name)
    if name in available() or (folder / CARD_FILE).is_file():
        return (name,)
    beside = {one for one in folder.absolute().parent.glob("*/") if (one / CARD_FILE).is_file()}
    own = {one for one in beside if (m := _FOLD.fullmatch(one.name)) and m["name"] == folder.name}
    inside = {one for one in folder.glob("*/") if (one / CARD_FILE).is_file()} if folder.is_dir() else set()
    if own and inside:
        raise WeightsError(
            f"{name} is a folder with models, and there are folds {folder.name}-fold… beside it; expected one of the "
            "two. Give each `model` alone."
        )
    if not own | inside:
        return (name,)
    matches = {one: _FOLD.fullmatch(one.name) for one in own | inside}
    others = sorted(one.name for one, found in matches.items() if found is None)
    trainings = sorted({found["name"] for found in matches.values() if found is not None})
    if others or len(trainings) != 1:
        raise WeightsError(
            f"{name} contains the models {', '.join([*others, *(f'{one}-fold…' for one in trainings)])}; expected the "
            "folds of one training alone. Give each `model` alone."
        )
    numbered = {int(found["number"]): one for one, found in matches.items() if found is not None}
    table = folds_table(next(iter(numbered.values())).with_name(trainings[0]))
    if not table.is_file():
        raise WeightsError(
            f"Beside the folds {trainings[0]}-fold… of {name} there is no {table.name}, which a training writes when "
            "all of its folds are done; expected it. Complete the training, or give each `model` alone."
        )
    number = _folds_in(table)
    if set(numbered) != set(range(1, number + 1)):
        raise WeightsError(
            f"By {table.name}, the training has the folds 1 to {number}; there are "
            f"{', '.join(map(str, sorted(numbered)))}. Expected all of them and no others. Complete the training, "
            "remove those of an earlier one, or give each `model` alone."
        )
    return tuple(str(numbered[number]) for number in sorted(numbered))


__all__ = ["SeveralCards", "folds_table", "joined", "members_of", "with_folds"]
