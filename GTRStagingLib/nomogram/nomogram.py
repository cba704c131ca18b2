"""A nomogram: a proportional-odds model as data, its probabilities, points and what each factor contributes.

P(T <= k) = 1 / (1 + exp(-(theta_k - lp))), lp being the sum over the terms of coefficient times value. Fitting is
`fit`'s, drawing `drawing`'s.
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
"""The term that takes a standardised Rad-score."""

REFERENCE = "reference"
"""The value that leaves a term out, at its typical value or reference level: said on purpose, never assumed."""

POINTS = 100
"""Points of the term that can move the odds most, over the whole of its range."""


@dataclass(frozen=True)
class Term:
    """One predictor.

    Attributes
    ----------
    name, label, unit
        The table's column, and how people read it.
    coefficient
        Log odds of a higher stage for each unit, of a number; None where it is not on record.
    range
        Lowest and highest value that the ruler shows, and that the model has seen.
    typical
        The number that contributions are told against (the cohort's mean; 0 for a standardised one).
    levels
        Log odds of each level of a choice against the reference, None where it is not on record; empty for a number.
    reference
        The level of a choice that the others are told against.
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
            raise InputError(
                f"Term {self.name}: reference {self.reference!r}; expected a level whose coefficient is 0."
            )

    @property
    def is_choice(self) -> bool:
        """Whether it takes one of a few levels."""
        return bool(self.levels)

    @property
    def known(self) -> bool:
        """Whether all of it is on record."""
        return all(c is not None for c in (self.levels.values() if self.levels else [self.coefficient]))

    def weight(self, value: str | float) -> float:
        """The part of the linear predictor that a value makes.

        Raises
        ------
        InputError
            If it is no value of this term, or what it weighs is not on record.
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
                f"{self.label} {value}: what it weighs is not on record in this nomogram; expected {REFERENCE!r}, "
                "which leaves it out. Copy the nomogram with `gtrstaging nomogram show NAME --json`, fill the "
                "coefficient in, and give the file."
            )
        return coefficient * factor

    def weights_of_range(self) -> tuple[float, float]:
        """Lowest and highest weight over its range or its levels; (0, 0) where nothing is on record."""
        if self.levels:
            known = [c for c in self.levels.values() if c is not None]
        else:
            known = [] if self.coefficient is None else [self.coefficient * x for x in self.range]
        return (min(known), max(known)) if known else (0.0, 0.0)

    @property
    def typical_weight(self) -> float:
        """The weight that contributions are told against."""
        return 0.0 if self.levels or self.coefficient is None else self.coefficient * self.typical


@dataclass(frozen=True)
class Reading:
    """What a nomogram says of one patient: beside the network's stage, never instead of it.

    Attributes
    ----------
    probabilities
        T1..T4.
    contributions
        Log odds of a higher stage for each term, against its typical value or reference level.
    points
        For each term; together `total_points`.
    warnings
        The nomogram's own, and values outside of the range that it has seen.
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
        """The stage of the highest probability."""
        return TStage(max(range(4), key=lambda k: self.probabilities[k]))

    @property
    def total_points(self) -> float:
        """Sum of the terms' points."""
        return sum(self.points.values())

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
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
    """A proportional-odds model as data.

    Attributes
    ----------
    thresholds
        theta_1, theta_2, theta_3 themselves, ascending.
    warnings
        Shown wherever the nomogram is used.
    record
        How it was fitted: cohort, intervals, tests, validation; empty for a published one.
    radscore
        The Rad-score whose standardised value the term `radscore` takes, as `radscore.radscore.RadScore.to_json`
        gives it.
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
            raise InputError(f"Terms {names}; expected one or more, each with a name of its own.")

    def term(self, name: str) -> Term:
        """The term of a name."""
        for term in self.terms:
            if term.name == name:
                return term
        raise InputError(
            f"{name!r} is no term of {self.name}; expected one of {', '.join(t.name for t in self.terms)}."
        )

    def probabilities(self, linear_predictor: float) -> tuple[float, float, float, float]:
        """T1..T4 at a linear predictor."""
        below = [_sigmoid(theta - linear_predictor) for theta in self.thresholds]
        return below[0], below[1] - below[0], below[2] - below[1], _sigmoid(linear_predictor - self.thresholds[2])

    @property
    def points_per_unit(self) -> float:
        """Points for each unit of log odds: the widest term has `POINTS` of them."""
        widest = max(high - low for low, high in (term.weights_of_range() for term in self.terms))
        return POINTS / widest if widest else 0.0

    @property
    def base(self) -> float:
        """The linear predictor at 0 points."""
        return sum(term.weights_of_range()[0] for term in self.terms)

    def read(self, values: Mapping[str, str | float]) -> Reading:
        """What it says of a patient.

        Parameters
        ----------
        values
            One a term; `REFERENCE` leaves a term out on purpose.

        Raises
        ------
        InputError
            If a term has no value, or one that it does not take; a name is no term's.

        Examples
        --------
        In the published nomogram, the Rad-score's coefficient is 0.87 and the last threshold 1.24: a Rad-score of one
        standard deviation gives P(T4) = 1 / (1 + exp(1.24 - 0.87)) = 0.41. The other terms are left out on purpose.

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
            f"{term.label} {values[term.name]} lies outside of {term.range[0]:g} to {term.range[1]:g}, where the "
            "nomogram is known to hold."
            for term in self.terms
            if not term.is_choice
            and values[term.name] != REFERENCE
            and not term.range[0] <= float(values[term.name]) <= term.range[1]
        ]
        said = [f"{', '.join(left_out)} left out: taken at the reference."] if left_out else []
        return Reading(
            nomogram=self.name,
            values=dict(values),
            linear_predictor=lp,
            probabilities=self.probabilities(lp),
            contributions={t.name: weights[t.name] - t.typical_weight for t in self.terms},
            points={t.name: (weights[t.name] - t.weights_of_range()[0]) * self.points_per_unit for t in self.terms},
            warnings=(*self.warnings, *said, *outside),
        )

    def _missing(self, terms: list[Term]) -> str:
        names = ", ".join(f"{term.name} ({term.label})" for term in terms)
        sentence = f"{self.name} has no value for {names}; expected one each, or {REFERENCE!r} to leave a term out."
        if any(term.name == RADSCORE for term in terms):
            sentence += (
                " The Rad-score is a standardised one, in standard deviations of the cohort that it was fitted on: "
                "take it from a fitted Rad-score (`gtrstaging radscore apply`)."
            )
        return sentence

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `from_json` reads it."""
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
    """The nomogram of plain data.

    Raises
    ------
    InputError
        If it is none.
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
        raise InputError(f"This is no nomogram ({type(error).__name__}: {error}); expected a file that "
                         "`gtrstaging nomogram fit` wrote.") from error  # fmt: skip


# -- where they are kept -------------------------------------------------------------------------------------------


def nomograms_folder() -> Path | None:
    """Where a user's own nomograms are kept; None without a home."""
    folder = user_folder("data")
    return None if folder is None else folder / "nomograms"


def available() -> dict[str, Path]:
    """The nomograms on offer, by name: the user's own, and the published one."""
    own = nomograms_folder()
    found = sorted(own.glob("*.json")) if own is not None and own.is_dir() else []
    shipped = Path(str(files("GTRStagingLib").joinpath("resources/nomograms")))
    return {path.stem: path for path in (*sorted(shipped.glob("*.json")), *found)}


def load(name: str | Path) -> Nomogram:
    """The nomogram of a name, or of a file.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
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
    """Write a nomogram, whole or not at all."""
    write_json(nomogram.to_json(), path)


__all__ = ["POINTS", "PUBLISHED", "RADSCORE", "REFERENCE", "Nomogram", "Reading", "Term", "available", "from_json",
           "load", "nomograms_folder", "save"]  # fmt: skip
