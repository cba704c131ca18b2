"""Represent a nomogram (a proportional-odds model) as data, and compute probabilities, points and contributions.

P(T <= k) = 1 / (1 + exp(-(theta_k - lp))), where lp is the sum over the terms of coefficient times value. `fit` fits
nomograms, `drawing` draws them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram.terms import RADSCORE, REFERENCE, Term
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.fields import Fields, is_plain_text
from GTRStagingLib.support.files import read_json, write_json
from GTRStagingLib.support.folders import user_folder

PUBLISHED = "published-2025"
LARGEST = 100
"""Largest number of terms, and of levels of a term."""

POINTS = 100
"""Points over the range of the term with the largest effect on the odds."""


@dataclass(frozen=True)
class Reading:
    """Result of a nomogram for one patient; it is shown beside the network's stage and does not replace it.

    Attributes
    ----------
    probabilities
        T1..T4.
    contributions
        Log odds of a higher stage by term, relative to its typical value or reference level.
    points
        By term; their sum is `total_points`.
    warnings
        Warnings of the nomogram, and on values outside the range of its data.
    """

    nomogram: str
    values: Mapping[str, str | float]
    linear_predictor: float
    probabilities: tuple[float, float, float, float]
    contributions: Mapping[str, float]
    points: Mapping[str, float]
    warnings: tuple[str, ...]

    @property
    def stage(self) -> TStage:
        """Stage with the highest probability."""
        return TStage(max(range(4), key=lambda k: self.probabilities[k]))

    @property
    def total_points(self) -> float:
        """Sum of the terms' points."""
        return sum(self.points.values())

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {
            "nomogram": self.nomogram,
            "values": dict(self.values),
            "linear_predictor": self.linear_predictor,
            "probabilities": list(self.probabilities),
            "stage": str(self.stage),
            "contributions": dict(self.contributions),
            "points": dict(self.points),
            "total_points": self.total_points,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Nomogram:
    """Proportional-odds model as data.

    Attributes
    ----------
    thresholds
        theta_1, theta_2, theta_3, ascending.
    warnings
        Warnings that are shown with every result.
    record
        Record of the fit: cohort, intervals, tests, validation; of a published nomogram what the article prints.
    radscore
        Rad-score for the term `radscore`, which takes its standardised value; as returned by
        `radscore.radscore.RadScore.to_json`.
    """

    name: str
    source: str
    thresholds: tuple[float, float, float]
    terms: tuple[Term, ...]
    warnings: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict, hash=False)
    radscore: Mapping[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        ascending = all(math.isfinite(t) for t in self.thresholds) and sorted(set(self.thresholds)) == list(
            self.thresholds
        )
        if len(self.thresholds) != 3 or not ascending:
            raise InputError(f"Thresholds {self.thresholds}; expected three, ascending.")
        names = [term.name for term in self.terms]
        if not names or len(set(names)) < len(names):
            raise InputError(f"Terms {names}; expected one or more, with unique names.")

    def term(self, name: str) -> Term:
        """Return the term with a name; raise `InputError` if there is no such term."""
        for term in self.terms:
            if term.name == name:
                return term
        raise InputError(
            f"{name!r} is not a term of {self.name}; expected one of {', '.join(t.name for t in self.terms)}."
        )

    def probabilities(self, linear_predictor: float) -> tuple[float, float, float, float]:
        """Return the probabilities of T1..T4 at a linear predictor."""
        below = [_sigmoid(theta - linear_predictor) for theta in self.thresholds]
        return below[0], below[1] - below[0], below[2] - below[1], _sigmoid(linear_predictor - self.thresholds[2])

    @property
    def points_per_unit(self) -> float:
        """Points per unit of log odds, so that the term with the widest range has `POINTS` points."""
        widest = max(high - low for low, high in (term.weights_of_range() for term in self.terms))
        return POINTS / widest if widest > 1e-9 else 0.0

    @property
    def base(self) -> float:
        """Linear predictor at 0 points."""
        return sum(term.weights_of_range()[0] for term in self.terms)

    def read(self, values: Mapping[str, str | float]) -> Reading:
        """Compute the result for a patient.

        Parameters
        ----------
        values
            Value of each term; `REFERENCE` leaves a term out.

        Raises
        ------
        InputError
            If a term has no value or an invalid one, or a name is not a term.

        Examples
        --------
        A tumour of 6 cm in the published nomogram: 0.87 · 0.8 + 0.69 + 1.15 + 1.06 = 3.596, and the last threshold is
        1.24, so that P(T4) = 1 / (1 + exp(1.24 - 3.596)) = 0.91.

        >>> from GTRStagingLib.nomogram.nomogram import load
        >>> published = load("published-2025")
        >>> values = {"radscore": 0.8, "size": ">= 5 cm", "differentiation": "poor", "lauren": "diffuse"}
        >>> reading = published.read(values)
        >>> round(reading.linear_predictor, 3), round(reading.probabilities[3], 2)
        (3.596, 0.91)
        >>> round(sum(reading.probabilities), 6)
        1.0
        """
        for name in values:
            self.term(name)
        if missing := [term for term in self.terms if term.name not in values]:
            raise InputError(self._missing(missing))
        taken = {term.name: term.accepted(values[term.name]) for term in self.terms}
        weights = {term.name: term.weight(taken[term.name]) for term in self.terms}
        lp = sum(weights.values())
        left_out = [term.label for term in self.terms if taken[term.name] == REFERENCE]
        outside = [
            term.outside.format(repr(value).removesuffix(".0"))
            for term in self.terms
            if isinstance(value := taken[term.name], float) and not term.range[0] <= value <= term.range[1]
        ]
        omitted = [f"{', '.join(left_out)} left out: the reference is used."] if left_out else []
        return Reading(
            nomogram=self.name,
            values=taken,
            linear_predictor=lp,
            probabilities=self.probabilities(lp),
            contributions={t.name: weights[t.name] - t.typical_weight for t in self.terms},
            points={t.name: (weights[t.name] - t.weights_of_range()[0]) * self.points_per_unit for t in self.terms},
            warnings=(*self.warnings, *omitted, *outside),
        )

    def _missing(self, terms: list[Term]) -> str:
        names = ", ".join(f"{term.name} ({term.label})" for term in terms)
        sentence = f"{self.name} has no value for {names}; expected one each, or {REFERENCE!r} to leave a term out."
        if any(term.name == RADSCORE for term in terms):
            sentence += (
                " The Rad-score is standardised, in standard deviations of the cohort that it was fitted on; apply a "
                "fitted Rad-score to the case to obtain it."
            )
        return sentence

    def to_json(self) -> dict[str, Any]:
        """Return the nomogram as plain data for `from_json`."""
        return {
            "kind": "nomogram",
            "schema": 1,
            "name": self.name,
            "source": self.source,
            "thresholds": list(self.thresholds),
            "terms": [_term_json(term) for term in self.terms],
            "warnings": list(self.warnings),
            "record": dict(self.record),
            "radscore": self.radscore,
        }


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _term_json(term: Term) -> dict[str, Any]:
    shared = {"name": term.name, "label": term.label, "unit": term.unit}
    if term.is_choice:
        return {**shared, "levels": dict(term.levels), "reference": term.reference}
    return {**shared, "coefficient": term.coefficient, "range": list(term.range), "typical": term.typical}


def from_json(data: object) -> Nomogram:
    """Make a nomogram from plain data.

    Raises
    ------
    InputError
        If the data are not a nomogram, or one of the published name with other coefficients.
    """
    try:
        made = _nomogram(Fields(data))
    except InputError as error:
        raise InputError(f"This is not a nomogram: {error}") from error
    if made.name == PUBLISHED:
        _require_published(made)
    return made


def _require_published(made: Nomogram) -> None:
    """Raise `InputError` unless a nomogram of the published name has the published coefficients.

    Copies of the file of earlier versions, which lacked coefficients, took the size in centimetres.
    """
    path = _shipped() / f"{PUBLISHED}.json"
    shipped = _nomogram(Fields(read_json(path, "a nomogram's file")))
    if (made.thresholds, made.terms) != (shipped.thresholds, shipped.terms):
        raise InputError(
            f"This nomogram is named {PUBLISHED}, but differs from Table 3 of the article; expected the nomogram that "
            f"comes with the software. Choose {PUBLISHED} from the list, or give this one another name."
        )


def _nomogram(fields: Fields) -> Nomogram:
    fields.require_kind("nomogram")
    record = fields.plain_object("record", {})
    _require_record(Fields(record, "record"))
    terms = fields.list_of_fields("terms")
    if len(terms) > LARGEST:
        raise InputError(f"{len(terms)} terms; expected at most {LARGEST}.")
    t1, t2, t3 = fields.numbers("thresholds", 3)
    return Nomogram(
        name=fields.name("name"),
        source=fields.text("source"),
        thresholds=(t1, t2, t3),
        terms=tuple(map(_term, terms)),
        warnings=fields.texts("warnings"),
        record=record,
        radscore=fields.plain_object("radscore", None),
    )


def _term(fields: Fields) -> Term:
    levels = Fields(fields.plain_object("levels", {}), f"{fields.where}, levels")
    if len(levels.data) > LARGEST or not all(level.strip() and is_plain_text(level) for level in levels.data):
        raise fields.error("levels", f"at most {LARGEST} levels, with names that are not empty")
    low, high = fields.numbers("range", 2, (0.0, 1.0))
    return Term(
        name=fields.name("name"),
        label=fields.name("label"),
        unit=fields.text("unit", ""),
        coefficient=fields.number("coefficient", None),
        range=(low, high),
        typical=fields.number("typical", 0.0),
        levels={level: levels.number(level, None) for level in levels.data},
        reference=fields.text("reference", None),
    )


def _require_record(record: Fields) -> None:
    """Raise `InputError` unless the parts of a fit's record that are shown have the types of a fit's."""
    any_number = {"least": -math.inf, "most": math.inf}
    for one in record.list_of_fields("coefficients") if record.has("coefficients") else []:
        one.name("term"), one.text("level", None)
        one.number("p_below", None, **any_number), one.number("p", None, **any_number)
        ratio = one.fields("odds_ratio")
        ratio.number("value", **any_number)
        ratio.number("low", None, **any_number), ratio.number("high", None, **any_number)
    if record.has("rows"):
        record.text("table"), record.text("patients_are"), record.whole("patients")
        for name in ("in_table", "used", "incomplete", "of_another_split"):
            record.fields("rows").whole(name)
        for stage in record.plain_object("stages"):
            record.fields("stages").whole(stage)
        record.text("split") if isinstance(record.data.get("split"), str) else record.texts("split")
    record.text("covariance", None)
    if record.has("radscore"):
        record.fields("radscore").text("scores"), record.fields("radscore").text("optimism", None)
    tests = [record.fields(name) for name in ("likelihood_ratio", "radscore_test") if record.has(name)]
    if record.has("proportional_odds"):
        odds = record.fields("proportional_odds")
        of_terms = odds.fields("terms")
        tests += [odds.fields("omnibus"), *map(of_terms.fields, of_terms.data)]
    for test in tests:
        test.text("method")
        if test.has("chi2"):
            test.number("chi2", **any_number), test.number("p", **any_number), test.whole("df")
    kinds = record.fields("c_index") if record.has("c_index") else Fields({})
    for index in map(kinds.fields, kinds.data):
        index.text("method", None)
        for end in ("value", "low", "high"):
            index.number(end, None, **any_number)
        if index.has("low") or index.has("high"):
            index.number("value", **any_number)
    for part, names in (("variance_inflation", ("gvif_1_df",)), ("validation", ("apparent", "corrected"))):
        indices = record.fields(part) if record.has(part) else Fields({})
        for name, index in indices.data.items():
            if part == "validation" and not isinstance(index, Mapping):
                continue
            for number in names:
                one = indices.fields(name)
                one.number(number, **(any_number if number == "apparent" else {"default": None, **any_number}))
    if record.has("validation"):
        record.fields("validation").text("method")


# -- files ---------------------------------------------------------------------------------------------------------


def nomograms_folder() -> Path | None:
    """Return the folder of a user's own nomograms; None without a home folder."""
    folder = user_folder("data")
    return None if folder is None else folder / "nomograms"


def available() -> dict[str, Path]:
    """Return the files of the available nomograms by name: the published one, and the user's own."""
    own = nomograms_folder()
    found = sorted(own.glob("*.json")) if own is not None and own.is_dir() else []
    return {path.stem: path for path in (*sorted(_shipped().glob("*.json")), *found)}


def _shipped() -> Path:
    """Return the folder of the nomograms that come with the software."""
    return Path(str(files("GTRStagingLib").joinpath("resources/nomograms")))


def load(name: str | Path) -> Nomogram:
    """Load a nomogram by name or from a file.

    Raises
    ------
    InputError
        If it does not exist or is damaged.
    """
    path = available().get(str(name), Path(name))
    if not path.is_file():
        raise InputError(f"{name}: no such nomogram; expected a file, or one of {', '.join(available())}.")
    data = read_json(path, "a nomogram's file")
    try:
        return from_json(data)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def save(nomogram: Nomogram, path: Path) -> None:
    """Write a nomogram to a file in one step."""
    write_json(nomogram.to_json(), path)


__all__ = ["POINTS", "PUBLISHED", "RADSCORE", "REFERENCE", "Nomogram", "Reading", "Term", "available", "from_json",
           "load", "nomograms_folder", "save"]  # fmt: skip
