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
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.files import read_json, write_json
from GTRStagingLib.support.folders import user_folder

PUBLISHED = "published-2025"
RADSCORE = "radscore"
"""Name of the term for a standardised Rad-score."""

REFERENCE = "reference"
"""Value that leaves a term out (at its typical value or reference level). It is never a default."""

POINTS = 100
"""Points over the range of the term with the largest effect on the odds."""


@dataclass(frozen=True)
class Term:
    """Predictor of a nomogram.

    Attributes
    ----------
    name, label, unit
        Column of the table, and its label and unit for readers.
    coefficient
        Log odds of a higher stage per unit of a number; None if unknown.
    range
        Lowest and highest value in the data of the fit, which is also the range of the drawn scale.
    typical
        Number that contributions refer to (the cohort's mean; 0 for a standardised number).
    levels
        Log odds of each level of a choice relative to the reference level, None if unknown; empty for a number.
    reference
        Reference level of a choice.
    """

    name: str
    label: str
    unit: str = ""
    coefficient: float | None = None
    range: tuple[float, float] = (0.0, 1.0)
    typical: float = 0.0
    levels: Mapping[str, float | None] = field(default_factory=dict, hash=False)
    reference: str | None = None

    def __post_init__(self) -> None:
        if not self.levels and not (
            all(map(math.isfinite, (*self.range, self.typical))) and self.range[0] < self.range[1]
        ):
            raise InputError(f"Term {self.name}: range {self.range}; expected two finite numbers, the lower one first.")
        known = [c for c in (self.coefficient, *self.levels.values()) if c is not None]
        if not all(map(math.isfinite, known)):
            raise InputError(f"Term {self.name}: coefficients {known}; expected finite numbers.")
        if self.reference is not None and self.levels.get(self.reference) != 0:
            raise InputError(f"Term {self.name}: reference {self.reference!r}; expected a level with coefficient 0.")

    @property
    def is_choice(self) -> bool:
        """Whether the term has levels."""
        return bool(self.levels)

    @property
    def known(self) -> bool:
        """Whether all its coefficients are on record."""
        return all(c is not None for c in (self.levels.values() if self.levels else [self.coefficient]))

    def weight(self, value: str | float) -> float:
        """Return the contribution of a value to the linear predictor.

        Raises
        ------
        InputError
            If the value is not valid for this term, or its coefficient is unknown.
        """
        if value == REFERENCE:
            return self.typical_weight
        if self.levels:
            if value not in self.levels:
                raise InputError(f"{self.label} {value!r}; expected one of {', '.join(self.levels)}.")
            coefficient, factor = self.levels[str(value)], 1.0
        else:
            try:
                factor = float(value)
            except ValueError:
                raise InputError(
                    f"{self.label} {value!r}; expected a number{f' in {self.unit}' * bool(self.unit)}."
                ) from None
            if not math.isfinite(factor):
                raise InputError(f"{self.label} {value}; expected a finite number.")
            coefficient = self.coefficient
        if coefficient is None:
            raise InputError(
                f"{self.label} {value}: its coefficient is not on record in this nomogram; expected {REFERENCE!r}, "
                "which leaves the term out. To use it, save a copy of the nomogram and fill in the coefficient."
            )
        return coefficient * factor

    def weights_of_range(self) -> tuple[float, float]:
        """Return the lowest and highest weight over the range or the levels; (0, 0) if no coefficient is known."""
        if self.levels:
            known = [c for c in self.levels.values() if c is not None]
        else:
            known = [] if self.coefficient is None else [self.coefficient * x for x in self.range]
        return (min(known), max(known)) if known else (0.0, 0.0)

    @property
    def typical_weight(self) -> float:
        """Weight relative to which contributions are given."""
        return 0.0 if self.levels or self.coefficient is None else self.coefficient * self.typical


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
        Record of the fit: cohort, intervals, tests, validation; empty for a published nomogram.
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
        return POINTS / widest if widest else 0.0

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
        In the published nomogram, the Rad-score's coefficient is 0.87 and the last threshold 1.24: a Rad-score of one
        standard deviation gives P(T4) = 1 / (1 + exp(1.24 - 0.87)) = 0.41. The other terms are left out.

        >>> from GTRStagingLib.nomogram.nomogram import REFERENCE, load
        >>> published = load("published-2025")
        >>> values = {term.name: REFERENCE for term in published.terms}
        >>> reading = published.read({**values, "radscore": 1})
        >>> round(reading.linear_predictor, 2), round(reading.probabilities[3], 2)
        (0.87, 0.41)
        >>> round(sum(reading.probabilities), 6)
        1.0
        """
        for name in values:
            self.term(name)
        if missing := [term for term in self.terms if term.name not in values]:
            raise InputError(self._missing(missing))
        weights = {term.name: term.weight(values[term.name]) for term in self.terms}
        lp = sum(weights.values())
        left_out = [term.label for term in self.terms if values[term.name] == REFERENCE]
        outside = [
            f"{term.label} {values[term.name]} is outside the range of the nomogram's data, {term.range[0]:g} to "
            f"{term.range[1]:g}."
            for term in self.terms
            if not term.is_choice
            and values[term.name] != REFERENCE
            and not term.range[0] <= float(values[term.name]) <= term.range[1]
        ]
        omitted = [f"{', '.join(left_out)} left out: the reference is used."] if left_out else []
        return Reading(
            nomogram=self.name,
            values=dict(values),
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


def from_json(data: Mapping[str, Any]) -> Nomogram:
    """Make a nomogram from plain data.

    Raises
    ------
    InputError
        If the data are not a nomogram.
    """
    try:
        if data["kind"] != "nomogram" or data["schema"] != 1:
            raise InputError(f"kind {data['kind']!r}, schema {data['schema']!r}; expected a nomogram of schema 1.")
        terms = tuple(
            Term(
                name=one["name"],
                label=one["label"],
                unit=one.get("unit", ""),
                coefficient=one.get("coefficient"),
                range=tuple(map(float, one.get("range", (0, 1)))),  # type: ignore[arg-type]
                typical=float(one.get("typical", 0)),
                levels=one.get("levels", {}),
                reference=one.get("reference"),
            )
            for one in data["terms"]
        )
        t1, t2, t3 = map(float, data["thresholds"])
        return Nomogram(
            name=data["name"],
            source=data["source"],
            thresholds=(t1, t2, t3),
            terms=terms,
            warnings=tuple(data.get("warnings", ())),
            record=data.get("record") or {},
            radscore=data.get("radscore"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"This is not a nomogram ({type(error).__name__}: {error}); expected the file of a fitted "
                         "nomogram.") from error  # fmt: skip


# -- files ---------------------------------------------------------------------------------------------------------


def nomograms_folder() -> Path | None:
    """Return the folder of a user's own nomograms; None without a home folder."""
    folder = user_folder("data")
    return None if folder is None else folder / "nomograms"


def available() -> dict[str, Path]:
    """Return the files of the available nomograms by name: the published one, and the user's own."""
    own = nomograms_folder()
    found = sorted(own.glob("*.json")) if own is not None and own.is_dir() else []
    shipped = Path(str(files("GTRStagingLib").joinpath("resources/nomograms")))
    return {path.stem: path for path in (*sorted(shipped.glob("*.json")), *found)}


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
        raise InputError(f"{path}: {error}") from error


def save(nomogram: Nomogram, path: Path) -> None:
    """Write a nomogram to a file in one step."""
    write_json(nomogram.to_json(), path)


__all__ = ["POINTS", "PUBLISHED", "RADSCORE", "REFERENCE", "Nomogram", "Reading", "Term", "available", "from_json",
           "load", "nomograms_folder", "save"]  # fmt: skip
