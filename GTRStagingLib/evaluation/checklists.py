"""Fill in the checklists CLAIM 2024, TRIPOD+AI, PROBAST+AI, METRICS and DECIDE-AI with the facts of an evaluation.

The items are data (`resources/checklists`); each names the facts that answer it. Items without a known fact stay open
for the authors. Requires the standard library only.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from GTRStagingLib.errors import InputError

CHECKLISTS = ("claim-2024", "tripod-ai", "probast-ai", "metrics-2024", "decide-ai")
"""Tejani et al. 2024, doi:10.1148/ryai.240300; Collins et al. 2024, doi:10.1136/bmj-2023-078378; Moons et al. 2025,
doi:10.1136/bmj-2024-082505; Kocak et al. 2024, doi:10.1186/s13244-023-01572-w; Vasey et al. 2022,
doi:10.1038/s41591-022-01772-9."""

OF_READER_STUDIES = ("decide-ai",)
"""Checklists that are filled in only for an evaluation with a reader study in two phases."""

IN_PART = "In part: "
"""Prefix of an answer that covers only part of its item."""

TO_FILL_IN = "to be filled in by the authors"
"""Status of an item without an answer."""

FACTS: Mapping[str, str] = MappingProxyType(
    {
        "n_rows": "number of rows in the table, and number evaluated",
        "n_patients": "number of patients evaluated, and number of each stage",
        "exclusions": "number of rows or patients that the evaluation left out, and the reasons",
        "flow": "from the rows of the table to the patients evaluated; the counts add up",
        "missing": "number of missing values by variable, and their treatment in the evaluation",
        "characteristics": "the patients' covariates, as in Table 1",
        "outcome_definition": "the predicted outcome, and the column of the true stage",
        "unit_of_analysis": "the unit of a row, and the treatment of several rows of one patient",
        "acquisition": "scanners and parameters from the headers of the images",
        "slices": "the slices that the model receives, and how they are chosen",
        "partitions": "patients of each stage in training, validation and test, and the method of assignment",
        "leakage": "the level at which the partitions are disjoint, and the findings of the audit",
        "centres": "the centres by name, and the number of patients of each",
        "internal": "results on patients of the centres in the training data",
        "external": "results on patients of centres outside the training data",
        "metrics": "the measures of performance that were computed",
        "performance": "the main results, with their intervals",
        "intervals": "level and method of each kind of interval",
        "tests": "the tests of significance, with their correction; or that there were none",
        "subgroups": "results by stratum of a covariate, with their intervals",
        "heterogeneity": "results by centre, and how the difference between centres was measured",
        "comparison": "the readers or models that were compared, and the method; or that there were none",
        "calibration": "calibration curves and measures",
        "decision_curves": "net benefit, its decisions, and the strategies compared",
        "errors": "the confusion matrix, over- and under-staging",
        "stage_sets": "coverage and size of the stage sets, beside the promised share",
        "familiarity": "the number of cases that resemble those of the training, and results on the others",
        "robustness": "results under other assumptions, such as patients without other rows in training only",
        "recalibration": "whether the probabilities were recalibrated, how, and results before and after",
        "predictions": "the source of the probabilities: computed here, or read from a table of another program",
        "output": "the model's outputs, and how they become a stage",
        "model": "name, sha256, and the architecture with its source and every change made to it",
        "recipe": "every step of preprocessing, with its numbers",
        "initialisation": "the initial weights: random with their rule, or pretrained with their source",
        "training": "data, options, augmentation, stopping and software versions of the training run",
        "selection": "how the final epoch was chosen, and on which part of the data",
        "ensembling": "whether several models were combined, and how",
        "imbalance": "whether stages were weighted or resampled in training; or that they were not",
        "provenance": "software versions, and digests of the input",
        "seed": "the seed of every random draw",
        "radscore": "the Rad-score's features, standardisation and penalty; or that there is no Rad-score",
        "nomogram": "the nomogram's predictors and coefficients; or that there is no nomogram",
        "attention": "method, layer and threshold of the attention maps, and their agreement with the tumour's outline",
        "intended_use": "the intended use in the model card",
        "research_use_only": "that this is not a medical device",
        "guidelines": "the checklists that the report fills in",
        "availability": "the source of software and model, and their licences",
        "study_readers": "the readers by name, with the number of cases of each in each phase",
        "study_training": "the number of cases that were read as a training; or that there were none",
        "study_setting": "that the readings are those of a reader study, apart from the care of patients",
        "study_design": "which phase came first, whether the phases have the same cases, and the days between them",
        "study_advice": "the parts of the advice that were displayed, and in how many readings",
        "study_model": "the model whose advice was given: its name, the sha256 of its card, and the warning about it",
        "study_errors_defined": "which advice counts as wrong, and which answer as taking it",
        "study_protocol": "the number of deviations from the protocol of each kind; or that there were none",
        "study_performance": "the readers' accuracy without and with the advice, and the gain",
        "study_times": "the seconds for a case without and with the advice",
        "study_versions": "the versions of the software that wrote the answers, and the models of the advice",
        "study_agreement": "how often readers took and ignored advice, and changed their answer by it",
        "study_errors": "the share of the advice that was wrong, and the share of it that was taken",
    }
)
"""Facts that the software may know of an evaluation, by key. A known fact is one or more sentences.

"This was not done" is a fact. "It is unknown whether this was done" is not a fact, and is left out.
"""

HEAD = ("number", "section", "topic", "applies", "item", "status", "answer", "where")
"""Columns of `rows`."""


@dataclass(frozen=True)
class Item:
    """Item of a checklist, reworded.

    Attributes
    ----------
    number
        As published: '6a'.
    applies
        'D' for the development of a model, 'E' for the evaluation of one, 'D;E' for both; None if the checklist does
        not distinguish them.
    keys
        Keys of the `FACTS` that answer the item; empty if only the authors can answer it.
    in_part
        Whether the facts answer only part of the item, even when all of them are known.
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
    """Published checklist: its citation, and its items in order.

    Attributes
    ----------
    scope
        What the checklist is for, where that is not what an evaluation is; empty otherwise.
    """

    title: str
    citation: str
    doi: str
    licence: str
    items: tuple[Item, ...]
    scope: str = ""


@dataclass(frozen=True)
class Answered:
    """Item of a checklist with the software's answer.

    Attributes
    ----------
    answer
        Answer; it starts with `IN_PART` if it covers only part of the item. None: to be filled in by the authors.
    where
        Section of the report that shows the answer; None without an answer or a known section.
    applies
        As in `Item`.
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
        """Status: 'answered', 'in part' or 'open'."""
        if self.answer is None:
            return "open"
        return "in part" if self.answer.startswith(IN_PART) else "answered"


@dataclass(frozen=True)
class Counts:
    """Number of items that are answered, answered in part, and open."""

    answered: int
    in_part: int
    open: int

    @property
    def total(self) -> int:
        """Number of all items."""
        return self.answered + self.in_part + self.open


def checklists_for(*, reader_study: bool) -> tuple[str, ...]:
    """Return the names of the checklists of an evaluation, with those of reader studies if it has one.

    Examples
    --------
    >>> from GTRStagingLib.evaluation.checklists import checklists_for
    >>> checklists_for(reader_study=False)
    ('claim-2024', 'tripod-ai', 'probast-ai', 'metrics-2024')
    """
    return tuple(name for name in CHECKLISTS if reader_study or name not in OF_READER_STUDIES)


@cache
def checklist(name: str) -> Checklist:
    """Read a checklist of `CHECKLISTS`; raise `InputError` for an unknown name."""
    if name not in CHECKLISTS:
        raise InputError(f"Checklist {name!r}; expected one of {', '.join(CHECKLISTS)}.")
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
    return Checklist(data["title"], data["citation"], data["doi"], data["licence"], items, data.get("scope", ""))


def fill(name: str, facts: Mapping[str, str], where: Mapping[str, str] | None = None) -> tuple[Answered, ...]:
    """Fill in a checklist with facts.

    The answer to an item consists of its known facts; it is partial if a fact is unknown.

    Parameters
    ----------
    name
        One of `CHECKLISTS`.
    facts
        Sentences by the keys of `FACTS`; a fact without a key here is unknown.
    where
        Section of the report that shows each fact, by the same keys: 'Table 1'.

    Raises
    ------
    InputError
        If the checklist or a key is unknown, or a text is blank.
    """
    items = checklist(name).items
    sentences, places = _sentences(facts), _texts(where or {}, "Place")
    filled = []
    for item in items:
        known = [key for key in item.keys if key in sentences]
        partly = item.in_part or len(known) < len(item.keys)
        answer = (IN_PART if partly else "") + " ".join(sentences[key] for key in known) if known else None
        shown = dict.fromkeys(places[key] for key in known if key in places)
        filled.append(
            Answered(item.number, item.section, item.topic, item.text, answer, "; ".join(shown) or None, item.applies)
        )
    return tuple(filled)


def counts(answered: Iterable[Answered]) -> Counts:
    """Count the items of a checklist by status."""
    tally = Counter(one.status for one in answered)
    return Counts(tally["answered"], tally["in part"], tally["open"])


def rows(answered: Iterable[Answered]) -> list[dict[str, str]]:
    """Return a filled checklist as rows of a table with the columns of `HEAD`; an open item has an empty answer."""
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
    """Return the facts on one line each, with a full stop, so that they can be joined."""
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
    "OF_READER_STUDIES",
    "TO_FILL_IN",
    "Answered",
    "Checklist",
    "Counts",
    "Item",
    "checklist",
    "checklists_for",
    "counts",
    "fill",
    "rows",
]
