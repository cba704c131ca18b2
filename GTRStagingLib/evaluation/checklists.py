"""Reporting checklists, filled in as far as the software knows the answer: CLAIM 2024 and TRIPOD+AI.

The items are data (`resources/checklists`); each names the facts that answer it. What is not known stays open, for the
authors to fill in: an answer is never made up. Needs the standard library alone.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from GTRStagingLib.errors import InputError

CHECKLISTS = ("claim-2024", "tripod-ai")
"""Tejani et al. 2024, doi:10.1148/ryai.240300; Collins et al. 2024, doi:10.1136/bmj-2023-078378."""

IN_PART = "In part: "
"""How an answer begins that leaves something of its item to the authors."""

TO_FILL_IN = "to be filled in by the authors"
"""What a table shows where there is no answer."""

FACTS: Mapping[str, str] = MappingProxyType(
    {
        "n_rows": "how many rows the table has, and how many were evaluated",
        "n_patients": "how many patients were evaluated, and how many of each stage",
        "exclusions": "how many rows or patients the evaluation left out, and why",
        "flow": "from the rows of the table to the patients evaluated; the counts add up",
        "missing": "how many values were missing where, and what the evaluation did about them",
        "characteristics": "the patients' covariates, as Table 1 has them",
        "outcome_definition": "what is predicted, and which column held the true stage",
        "unit_of_analysis": "what a row of the analysis is, and how rows of one patient were treated",
        "acquisition": "what the images' headers tell of scanners and parameters",
        "slices": "which slices the model sees, and who or what chooses them",
        "partitions": "patients of each stage in training, validation and test, and how they were assigned",
        "leakage": "the level at which the partitions are disjoint, and what the audit found",
        "centres": "the centres by name, and how many patients each has",
        "internal": "results on patients of the centres that the model learned from",
        "external": "results on patients of centres that the model did not learn from",
        "metrics": "which measures of performance were computed",
        "performance": "the main results, with their intervals",
        "intervals": "level and method of each kind of interval",
        "tests": "which tests of significance were made, with their correction; or that there were none",
        "subgroups": "results by stratum of a covariate, with their intervals",
        "heterogeneity": "results by centre, and how the difference between centres was measured",
        "comparison": "which readers or models were compared, and how; or that there were none",
        "calibration": "calibration curves and measures",
        "decision_curves": "net benefit, for which decisions, against what",
        "errors": "the confusion matrix, over- and under-staging",
        "robustness": "results under other assumptions, such as patients without siblings in training apart",
        "recalibration": "whether the probabilities were recalibrated, how, and results before and after",
        "predictions": "how the probabilities came about: computed here, or read from a table of another program",
        "output": "the model's outputs, and how they become a stage",
        "model": "name, sha256, and the architecture with its source and every change made to it",
        "recipe": "every step of preprocessing, with its numbers",
        "initialisation": "where the weights started from: random ones by which rule, pretrained ones of what source",
        "training": "data, options, augmentation, stopping and software versions of the training run",
        "selection": "how the final epoch was chosen, and on which part of the data",
        "ensembling": "whether several models were joined, and how",
        "imbalance": "whether stages were weighted or resampled in training; or that they were not",
        "provenance": "software versions, and digests of what was read",
        "seed": "the seed of everything that is drawn",
        "radscore": "the Rad-score's features, standardisation and penalty; or that there is none",
        "nomogram": "the nomogram's predictors and coefficients; or that there is none",
        "attention": "method, layer and threshold of the heat maps, and their agreement with the tumour's outline",
        "intended_use": "what the model's card says that it is for",
        "research_use_only": "that this is no medical device",
        "availability": "where software and model can be had, and under which licences",
    }
)
"""What the software may know of an evaluation, by key: one or more sentences each, those that are known.

That something was not done is a fact too, and worth telling; that it is not known whether it was done is none.
"""

HEAD = ("number", "section", "topic", "applies", "item", "status", "answer", "where")
"""The columns of `rows`."""


@dataclass(frozen=True)
class Item:
    """An item of a checklist, in our words.

    Attributes
    ----------
    number
        As published: '6a'.
    applies
        'D' for studies that develop a model, 'E' for those that evaluate one, 'D;E' for both; None where the checklist
        does not tell them apart.
    keys
        Facts that answer it, of `FACTS`; none where only the authors can.
    in_part
        Whether something is left to the authors even when all of those facts are known.
    """

    number: str
    section: str
    topic: str
    text: str
    applies: str | None
    keys: tuple[str, ...]
    in_part: bool


@dataclass(frozen=True)
class Checklist:
    """A published checklist: what to cite, and its items in their order."""

    title: str
    citation: str
    doi: str
    licence: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Answered:
    """An item and what the software answers.

    Attributes
    ----------
    answer
        None: to be filled in by the authors. It begins with `IN_PART` if it leaves something of the item to them.
    where
        Where the report shows it; None where there is no answer, or nobody has said.
    applies
        As `Item` has it.
    """

    number: str
    section: str
    topic: str
    text: str
    answer: str | None
    where: str | None
    applies: str | None = None

    @property
    def status(self) -> str:
        """'answered', 'in part' or 'open'."""
        if self.answer is None:
            return "open"
        return "in part" if self.answer.startswith(IN_PART) else "answered"


@dataclass(frozen=True)
class Counts:
    """How many items the software answered whole, answered in part, and left open."""

    answered: int
    in_part: int
    open: int

    @property
    def total(self) -> int:
        """All items."""
        return self.answered + self.in_part + self.open


@cache
def checklist(name: str) -> Checklist:
    """The checklist of a name of `CHECKLISTS`; raises `InputError` where there is none of that name."""
    if name not in CHECKLISTS:
        raise InputError(f"Checklist {name!r}; expected {' or '.join(CHECKLISTS)}.")
    text = files("GTRStagingLib").joinpath(f"resources/checklists/{name}.json").read_text(encoding="utf-8")
    data = json.loads(text)
    items = tuple(
        Item(
            number=one["number"],
            section=one["section"],
            topic=one["topic"],
            text=one["text"],
            applies=one.get("applies"),
            keys=tuple((one["answer"] or "").split()),
            in_part=one.get("in_part", False),
        )
        for one in data["items"]
    )
    return Checklist(data["title"], data["citation"], data["doi"], data["licence"], items)


def fill(name: str, facts: Mapping[str, str], where: Mapping[str, str] | None = None) -> tuple[Answered, ...]:
    """A checklist with the answers that the facts give.

    An item is answered by all of its facts that are known, and in part if one of them is not.

    Parameters
    ----------
    name
        Of `CHECKLISTS`.
    facts
        Sentences by the keys of `FACTS`; a key that is missing says that it is not known.
    where
        By the same keys, where the report shows each: 'Table 1'.

    Raises
    ------
    InputError
        If there is no such checklist or no such key, or a text is blank.
    """
    items = checklist(name).items
    told, places = _sentences(facts), _texts(where or {}, "Place")
    filled = []
    for item in items:
        known = [key for key in item.keys if key in told]
        partly = item.in_part or len(known) < len(item.keys)
        answer = (IN_PART if partly else "") + " ".join(told[key] for key in known) if known else None
        shown = dict.fromkeys(places[key] for key in known if key in places)
        filled.append(
            Answered(item.number, item.section, item.topic, item.text, answer, "; ".join(shown) or None, item.applies)
        )
    return tuple(filled)


def counts(answered: Iterable[Answered]) -> Counts:
    """How much of a checklist the software has answered."""
    tally = Counter(one.status for one in answered)
    return Counts(tally["answered"], tally["in part"], tally["open"])


def rows(answered: Iterable[Answered]) -> list[dict[str, str]]:
    """A filled checklist as rows of a table, by the columns of `HEAD`; an open item has an empty answer to write in."""
    return [
        {
            "number": one.number,
            "section": one.section,
            "topic": one.topic,
            "applies": one.applies or "",
            "item": one.text,
            "status": TO_FILL_IN if one.answer is None else one.status,
            "answer": one.answer or "",
            "where": one.where or "",
        }
        for one in answered
    ]


def _sentences(facts: Mapping[str, str]) -> dict[str, str]:
    """Facts on one line each, with a full stop: several of them may stand behind one another."""
    return {key: text if text[-1] in ".!?" else f"{text}." for key, text in _texts(facts, "Fact").items()}


def _texts(given: Mapping[str, str], what: str) -> dict[str, str]:
    if unknown := sorted(set(given) - set(FACTS)):
        raise InputError(f"{what} {', '.join(map(repr, unknown))}; expected keys among {', '.join(FACTS)}.")
    texts = {key: " ".join(text.split()) for key, text in given.items()}
    if blank := sorted(key for key, text in texts.items() if not text):
        raise InputError(f"{what} {blank[0]!r} is blank; expected a text. Leave the key out if it is not known.")
    return texts


__all__ = [
    "CHECKLISTS",
    "FACTS",
    "HEAD",
    "IN_PART",
    "TO_FILL_IN",
    "Answered",
    "Checklist",
    "Counts",
    "Item",
    "checklist",
    "counts",
    "fill",
    "rows",
]
