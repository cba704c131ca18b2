"""List what is watched in a stream, and take from a reference what to expect."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.reference import Reference
from GTRStagingLib.monitoring.stream import ObservedCase, Stream
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.familiarity import CATEGORIES, NUMBERS, OF_THE_ACQUISITION, WIDER
from GTRStagingLib.stats.control_charts import LEAST_REFERENCE
from GTRStagingLib.support.counts import counted
from GTRStagingLib.tables.column_words import label_and_unit

OTHER, NOT_STATED = "other", "not stated"
RIGHT, WRONG = "right", "wrong"
INSIDE, OUTSIDE = "inside", "outside"

LEAST_EARLIER = 50
"""Least number of cases of an earlier batch that is a reference."""

MOST_CATEGORIES = 6
"""Largest number of categories of a chart: rarer ones are counted together as `OTHER`."""

NO_RECORD = "the model has no record of it: use an earlier batch as the reference"

NO_SHARES = (
    "the patients of a model's training were chosen, so that their shares are not those of a stream: use an earlier "
    "batch as the reference"
)


@dataclass(frozen=True, eq=False)
class Measure:
    """Quantity of a case that is watched.

    Attributes
    ----------
    name
        Key in files, as in 'slice_mm'.
    label, unit
        Words for people; the unit is empty for a number without one, and for categories.
    value
        Function that returns the quantity of a case: a number, or the text of a category; None if it is not known.
    levels
        Order of the categories that are known beforehand; empty for numbers, and for categories of headers.
    """

    name: str
    label: str
    unit: str
    value: Callable[[ObservedCase], float | str | None]
    levels: tuple[str, ...] = ()
    is_number: bool = False


@dataclass(frozen=True, eq=False)
class Expected:
    """What a reference says on one measure.

    Attributes
    ----------
    sample
        (m,) ascending numbers of the reference cases; None if only a range is known, and for categories.
    limits
        Range of a number: the central 99 % of the reference; None for categories.
    counts
        Category -> number of reference cases. Where only a range or the known categories are recorded: `INSIDE` and
        `OUTSIDE`.
    known
        Categories of which only the names are recorded; empty otherwise.
    """

    sample: np.ndarray | None = None
    limits: tuple[float, float] | None = None
    counts: Mapping[str, float] = field(default_factory=dict)
    known: tuple[str, ...] = ()

    def category(self, value: float | str) -> str:
        """Return the category of `counts` that a case's value belongs to."""
        if self.limits is not None and not isinstance(value, str):
            return INSIDE if self.limits[0] <= value <= self.limits[1] else OUTSIDE
        if self.known:
            return INSIDE if str(value).casefold() in map(str.casefold, self.known) else OUTSIDE
        return str(value) if value in self.counts else OTHER

    @property
    def size(self) -> int:
        """Number of reference cases."""
        return round(sum(self.counts.values())) if self.sample is None else len(self.sample)


@dataclass(frozen=True, eq=False)
class Baseline:
    """What to expect of a stream like a reference.

    Attributes
    ----------
    name
        The reference, in words.
    expected
        Name of a measure -> what is expected.
    without
        Name of a measure -> why nothing is expected.
    card_sha256
        Hash of the model's card, which the stream has to share.
    digests
        Of the reference's images; empty for a model.
    neighbour_mm
        As in `Stream`; any for a model.
    """

    name: str
    expected: Mapping[str, Expected]
    without: Mapping[str, str]
    card_sha256: str
    digests: frozenset[str] = frozenset()
    neighbour_mm: tuple[float, float] = (0.0, math.inf)


def _number(name: str) -> Measure:
    words, unit = label_and_unit(name)
    label = {
        "slice_mm": "Slice distance", "thickness_mm": "Slice thickness", "pixel_mm": "Pixel size",
        "field_mm": "Field of view", "tube_kv": "Tube voltage", "noise_hu": "Noise", "area_cm2": "Body section",
        "air_percent": "Air in the body section", "fat_percent": "Fat in the body section",
        "bright_percent": "Bright voxels in the body section", "bone_percent": "Bone in the body section",
        "soft_hu": "Soft tissue, median", "dense_hu": "Soft tissue, 90 % quantile",
        "border_percent": "Border of the field inside the body", "right_mm": "Body's centre, to the left",
        "back_mm": "Body's centre, to the back",
    }.get(name, words)  # fmt: skip
    return Measure(name, label, unit, lambda case: case.numbers.get(name), is_number=True)


def _header(keyword: str, name: str, label: str) -> Measure:
    return Measure(name, label, "", lambda case: case.header.get(keyword) or NOT_STATED)


def _outcome(case: ObservedCase) -> str | None:
    return None if case.truth is None else RIGHT if case.truth == case.stage else WRONG


MEASURES: tuple[Measure, ...] = (
    Measure("familiarity", "Distance from the training", "", lambda case: case.distance, is_number=True),
    Measure("verdict", "Likeness to the training", "", lambda case: case.verdict,
            ("usual", "unusual", "unlike", "not known")),
    Measure("stage", "Predicted stage", "", lambda case: case.stage, tuple(map(str, TStage))),
    Measure("confidence", "Probability of the predicted stage", "", lambda case: case.confidence, is_number=True),
    Measure("set_size", "Stages in the stage set", "", lambda case: case.set_size,
            ("1", "2", "3", "4", "withheld")),
    Measure("accuracy", "Predicted stage, by outcome", "", _outcome, (RIGHT, WRONG)),
    *map(_number, NUMBERS),
    *(_header(keyword, f"ct_{name}", name.capitalize()) for keyword, name in CATEGORIES.items()),
    _header("ManufacturerModelName", "ct_model", "Scanner"),
)  # fmt: skip
"""Everything that is watched, where stream and reference have it."""


def expected_of_batch(reference: Stream) -> Baseline:
    """Take what to expect from an earlier batch: the distribution of every measure among its cases.

    Raises
    ------
    InputError
        If it has fewer than `LEAST_EARLIER` cases.
    """
    if len(reference.cases) < LEAST_EARLIER:
        raise InputError(
            f"The reference {reference.name} has {counted(len(reference.cases), 'case')} that can be used; expected "
            f"{LEAST_EARLIER} or more. Use a larger batch, or the model, as `reference`."
        )
    expected, without = dict[str, Expected](), dict[str, str]()
    for measure in MEASURES:
        known = [value for case in reference.cases if (value := measure.value(case)) is not None]
        if len(known) < LEAST_REFERENCE:
            without[measure.name] = (
                f"known in {counted(len(known), 'case')} of the reference; {LEAST_REFERENCE} are needed"
            )
        elif measure.is_number:
            sample = np.sort(np.array(known, float))
            expected[measure.name] = _of_sample(sample)
        elif set(known) == {NOT_STATED}:
            without[measure.name] = "no header of the reference states it"
        else:
            expected[measure.name] = Expected(counts=_counts(measure, Counter(map(str, known))))
    return Baseline(
        f"{reference.name}, {counted(len(reference.cases), 'case')}", expected, without, reference.card_sha256,
        frozenset(case.digest for case in reference.cases), reference.neighbour_mm,
    )  # fmt: skip


def _of_sample(sample: np.ndarray) -> Expected:
    low, high = np.quantile(sample, [0.005, 0.995]).tolist()
    return Expected(sample, (low, high))


def _counts(measure: Measure, found: Counter[str]) -> dict[str, float]:
    """Return the counts of the categories, in their order, with one for all that the reference does not have."""
    if measure.name == "accuracy":
        return {level: float(found[level]) for level in measure.levels}
    levels = [level for level in measure.levels if found[level]] or [level for level, _ in found.most_common()]
    kept = levels[: MOST_CATEGORIES - 1]
    return {
        **{level: float(found[level]) for level in kept},
        OTHER: float(sum(found[one] for one in levels[len(kept) :])),
    }


def expected_of_model(card: ModelCard, reference: Reference | None) -> Baseline:
    """Take what to expect from a model: its held-out patients' distances, its training's ranges, its accuracy.

    Of a range, 1 % of the training cases lie outside. Shares of stages, set sizes and probabilities are not expected
    of a model: the patients of a training are chosen.

    Raises
    ------
    InputError
        If the model has no record of what it learned from.
    """
    if reference is None or card.familiarity is None:
        raise InputError(
            f"The model {card.name!r} has no record of what it learned from; expected one. Record it from the cohort "
            "of its training, or use an earlier batch as `reference`."
        )
    expected = {"familiarity": _of_sample(reference.held_out)}
    without = dict[str, str]()
    trained = int(card.familiarity["training_cases"])
    for name in NUMBERS:
        if name not in reference.ranges or trained < LEAST_REFERENCE:
            without[name] = NO_RECORD
            continue
        low, high = reference.ranges[name]
        if name in OF_THE_ACQUISITION:
            low, high = low * (1 - WIDER), high * (1 + WIDER)
        expected[name] = Expected(limits=(low, high), counts={INSIDE: 0.99 * trained, OUTSIDE: 0.01 * trained})
    for keyword, name in CATEGORIES.items():
        if known := reference.categories.get(keyword):
            expected[f"ct_{name}"] = Expected(counts={INSIDE: float(trained), OUTSIDE: 0.0}, known=tuple(known))
        else:
            without[f"ct_{name}"] = NO_RECORD
    without |= {"ct_model": NO_RECORD, "verdict": "the distance from the training shows the same",
                **dict.fromkeys(("stage", "set_size", "confidence"), NO_SHARES)}  # fmt: skip
    accuracy = _accuracy_of(card)
    if accuracy is None:
        without["accuracy"] = NO_RECORD
    else:
        expected["accuracy"] = Expected(counts=accuracy)
    name = f"the model {card.name}: {counted(len(reference.held_out), 'held-out patient')}, "
    return Baseline(f"{name}{counted(trained, 'training case')}", expected, without, card.card_sha256)


def _accuracy_of(card: ModelCard) -> dict[str, float] | None:
    """Return the numbers of right and wrong stages of the card's test patients; None without a test."""
    test = ((card.training or {}).get("metrics") or {}).get("test") or {}
    try:
        cases, share = int(test["cases"]), float(test["accuracy"]["value"])
    except (KeyError, TypeError, ValueError):
        return None
    right = round(cases * share)
    return {RIGHT: float(right), WRONG: float(cases - right)} if cases >= LEAST_REFERENCE else None


__all__ = [
    "INSIDE",
    "LEAST_EARLIER",
    "MEASURES",
    "OTHER",
    "OUTSIDE",
    "Baseline",
    "Expected",
    "Measure",
    "expected_of_batch",
    "expected_of_model",
]
