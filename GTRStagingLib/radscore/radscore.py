"""Represent and apply a Rad-score: a weighted sum of a network's penultimate features, raw and standardised.

Requires numpy only. `fit` fits Rad-scores, `inputs` reads the features of many cases.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import read_json, write_json

SLICES = "mean over the slices that voted"
"""Reduction of a case's slices to one row of features, the same as for its probabilities."""

DIGITS = 6
"""Significant digits of the scores in the record."""

CHANCE = 0.02
"""Share of the scores of other cases that may be equal to listed ones: about 0.003 for a fit on 1,000 cases."""


@dataclass(frozen=True)
class RadScore:
    """Fitted Rad-score; its fields are checked on construction.

    Attributes
    ----------
    model, model_sha256
        Name and sha256 of the network of the features; None if they came from a table.
    n_features
        Number of the network's features; the score uses those at `indices`.
    names, indices, coefficients, means, scales
        For each selected feature: its name, its index from 0 (ascending), the change of the score per standard
        deviation, and the mean and standard deviation (1/n) for its standardisation.
    intercept
        Raw score at the mean of all features: a T stage as a number from 1 to 4.
    penalty
        Penalty of ``(1/2n) |y - Xb|² + penalty |b|``, which is glmnet's lambda and scikit-learn's alpha.
    score_mean, score_sd
        Mean and standard deviation (1/(n-1)) of the raw scores in the fit, for standardised scores.
    slices
        Reduction of a case's slices to one row of features.
    warnings
        Warnings that are shown with every score.
    record
        Record of the fit: cases, patients, folds, cross-validation, out-of-fold performance, versions.
    """

    name: str
    model: str | None
    model_sha256: str | None
    n_features: int
    names: tuple[str, ...]
    indices: tuple[int, ...]
    coefficients: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    intercept: float
    penalty: float
    score_mean: float
    score_sd: float
    slices: str = SLICES
    warnings: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        columns = (self.names, self.indices, self.coefficients, self.means, self.scales)
        lengths = [len(column) for column in columns]
        if min(lengths) < 1 or max(lengths) > min(lengths):
            raise InputError(
                f"{lengths} names, indices, coefficients, means and scales; expected equal numbers, at least one."
            )
        ascending = list(self.indices) == sorted(set(self.indices))
        if not ascending or self.indices[0] < 0 or self.indices[-1] >= self.n_features:
            raise InputError(f"Indices {self.indices}; expected ascending numbers from 0 to {self.n_features - 1}.")
        numbers = (*self.coefficients, *self.means, *self.scales, self.intercept, self.score_mean, self.score_sd)
        if not all(map(math.isfinite, (*numbers, self.penalty))) or min(*self.scales, self.score_sd) <= 0:
            raise InputError(
                "A number is not finite, or a standard deviation is not above 0; expected finite numbers. Fit the "
                "Rad-score again."
            )
        if self.slices != SLICES:
            raise InputError(f"Slices {self.slices!r}; expected {SLICES!r}, which is the only supported value.")

    def score(self, features: np.ndarray, *, model_sha256: str | None = None) -> np.ndarray:
        """Compute raw scores, on the scale of T as a number from 1 to 4.

        Parameters
        ----------
        features
            (F,) for one case or (n, F) with one row per case.
        model_sha256
            sha256 of the features' network, if known.

        Returns
        -------
        np.ndarray
            () or (n,).

        Raises
        ------
        InputError
            If the features have another length, are of another network, or are not finite.

        Examples
        --------
        The score uses the last of three features: 12 is one standard deviation (2) above its mean (10), which adds 0.5
        to the intercept. That is 2 standard deviations (0.25) of the scores above their mean (2.5).

        >>> import numpy as np
        >>> from GTRStagingLib.radscore.radscore import RadScore
        >>> fitted = RadScore(
        ...     name="example", model=None, model_sha256=None, n_features=3,
        ...     names=("f2",), indices=(2,), coefficients=(0.5,), means=(10.0,), scales=(2.0,),
        ...     intercept=2.5, penalty=0.1, score_mean=2.5, score_sd=0.25,
        ... )
        >>> float(fitted.score(np.array([7.0, 7.0, 12.0])))
        3.0
        >>> float(fitted.standardised(np.array([7.0, 7.0, 12.0])))
        2.0
        """
        self.require_model(model_sha256)
        values = np.asarray(features, dtype=np.float64)
        if values.ndim not in (1, 2) or values.shape[-1] != self.n_features:
            raise InputError(
                f"Features have shape {values.shape}; expected rows of {self.n_features}, as in the fit of the "
                f"Rad-score {self.name!r}. Stage the case with that network, or fit a Rad-score for this one."
            )
        kept = values[..., list(self.indices)]
        if not np.isfinite(kept).all():
            raise InputError(
                f"Some features of the Rad-score {self.name!r} are not finite; expected numbers. Stage the case again."
            )
        with np.errstate(over="ignore"):
            standardised = (kept - np.array(self.means)) / np.array(self.scales)
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.asarray(standardised @ np.array(self.coefficients) + self.intercept)
        if not np.isfinite(found).all():
            raise InputError(
                f"The Rad-score {self.name!r} is not finite for these features; expected a number. Fit the Rad-score "
                "again, with features whose standard deviation is not close to 0."
            )
        return found

    def standardised(self, features: np.ndarray, *, model_sha256: str | None = None) -> np.ndarray:
        """Compute scores in standard deviations of the fit; arguments and errors are those of `score`.

        The term `radscore` of a nomogram takes these scores.
        """
        return np.asarray((self.score(features, model_sha256=model_sha256) - self.score_mean) / self.score_sd)

    def in_sample(self, standardised: np.ndarray) -> int:
        """Count the (n,) standardised scores that are in-sample scores; 0 if chance may explain their number.

        The record lists the in-sample scores of the fit, if it has been made by `fit`.
        """
        scores = self.record.get("in_sample", {}).get("scores", ())
        listed = {f"{score:.{DIGITS}g}" for score in scores}
        found = sum(f"{score:.{DIGITS}g}" in listed for score in standardised.tolist())
        return found if found > CHANCE * len(standardised) else 0

    def require_model(self, sha256: str | None) -> None:
        """Raise `InputError` if both networks are known and differ."""
        if sha256 is not None and self.model_sha256 is not None and sha256 != self.model_sha256:
            raise InputError(
                f"Features of the model with sha256 {sha256[:12]}…; expected {self.model_sha256[:12]}… "
                f"({self.model!r}), as in the fit of the Rad-score {self.name!r}, since features of another network "
                "are not comparable. Stage the cases with that model, or fit a Rad-score for this one."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the Rad-score as plain data for `from_json`."""
        kept = zip(self.names, self.indices, self.coefficients, self.means, self.scales, strict=True)
        return {
            "kind": "radscore",
            "schema": 1,
            "research_use_only": RESEARCH_USE_ONLY,
            "name": self.name,
            "model": None if self.model_sha256 is None else {"name": self.model, "sha256": self.model_sha256},
            "n_features": self.n_features,
            "features": [
                {"name": name, "index": index, "coefficient": coefficient, "mean": mean, "scale": scale}
                for name, index, coefficient, mean, scale in kept
            ],
            "intercept": self.intercept,
            "penalty": self.penalty,
            "score": {"mean": self.score_mean, "sd": self.score_sd},
            "slices": self.slices,
            "warnings": list(self.warnings),
            "record": dict(self.record),
        }


def from_json(data: object) -> RadScore:
    """Make a Rad-score from plain data.

    Raises
    ------
    InputError
        If the data are not a Rad-score.
    """
    try:
        return _radscore(Fields(data))
    except InputError as error:
        raise InputError(f"This is not a Rad-score: {error}") from error


def _radscore(fields: Fields) -> RadScore:
    fields.require_kind("radscore")
    kept, score = fields.list_of_fields("features"), fields.fields("score")
    model = fields.fields("model") if fields.has("model") else None
    record = fields.fields("record") if fields.has("record") else Fields({})
    for part in (record.fields(name) for name in ("in_sample", "out_of_fold") if record.has(name)):
        if part.has("scores"):
            part.numbers("scores", len(part.plain_list("scores")))
    return RadScore(
        name=fields.name("name"),
        model=None if model is None else model.text("name", None),
        model_sha256=None if model is None else model.sha256("sha256"),
        n_features=fields.whole("n_features"),
        names=tuple(one.name("name") for one in kept),
        indices=tuple(one.whole("index") for one in kept),
        coefficients=tuple(one.number("coefficient") for one in kept),
        means=tuple(one.number("mean") for one in kept),
        scales=tuple(one.number("scale") for one in kept),
        intercept=fields.number("intercept"),
        penalty=fields.number("penalty"),
        score_mean=score.number("mean"),
        score_sd=score.number("sd"),
        slices=fields.text("slices"),
        warnings=fields.texts("warnings"),
        record=fields.plain_object("record", {}),
    )


def read(path: Path) -> RadScore:
    """Read a Rad-score from a file.

    Raises
    ------
    InputError
        If the file does not exist or is damaged.
    """
    data = read_json(path, "the file of a fitted Rad-score")
    try:
        return from_json(data)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def save(radscore: RadScore, path: Path) -> None:
    """Write a Rad-score as JSON, in one step."""
    write_json(radscore.to_json(), path)


def of_case(features: np.ndarray) -> np.ndarray:
    """Return the (F,) features of a case: the mean of its slices' features (S, F).

    The features are converted to float32, the type of the network's output. So a case has the same score from its
    result in memory and from its file.

    Raises
    ------
    InputError
        If the features are not rows of numbers.
    """
    try:
        with np.errstate(over="ignore"):  # infinite numbers are refused below
            values = np.asarray(features, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("Features are not a table of numbers; expected a row of numbers for each slice.") from error
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise InputError(
            f"Features have shape {values.shape} or are not finite; expected a row of numbers for each voting slice."
        )
    return np.asarray(values.mean(axis=0, dtype=np.float64))


def of_features(radscore: RadScore, features: np.ndarray, model_sha256: str | None) -> float:
    """Compute the standardised Rad-score of one staged case.

    Parameters
    ----------
    features
        (S, F), a row for each voting slice, as in `StagingResult.features`.
    model_sha256
        sha256 of the network, as in `StagingResult.model.sha256`.

    Raises
    ------
    InputError
        If the features are of another network or length, or not finite.
    """
    radscore.require_model(model_sha256)  # first, since another network explains another length
    return float(radscore.standardised(of_case(features), model_sha256=model_sha256))


__all__ = ["DIGITS", "SLICES", "RadScore", "from_json", "of_case", "of_features", "read", "save"]
