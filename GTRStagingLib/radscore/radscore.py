"""The Rad-score as data: a weighted sum of a network's penultimate features, raw and in standard deviations.

Needs numpy alone: fitting is `fit`'s, reading the features of many cases `inputs`'.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.files import read_json, write_json

SLICES = "mean over the slices that voted"
"""How a case's slices become one row of features: as its slices' probabilities become one."""


@dataclass(frozen=True)
class RadScore:
    """A fitted Rad-score, valid once constructed.

    Attributes
    ----------
    model, model_sha256
        Name and weights of the network whose features it takes; None where the features came from a table that does
        not say.
    n_features
        Of the network; the score takes so many, and uses those at `indices`.
    names, indices, coefficients, means, scales
        One a kept feature: its name, its place from 0 (ascending), what a standard deviation of it adds to the score,
        and the mean and standard deviation (1/n) that it is standardised by.
    intercept
        The raw score of the mean features: a T stage as a number from 1 to 4.
    penalty
        Of ``(1/2n) |y - Xb|² + penalty |b|``, which is glmnet's lambda and scikit-learn's alpha.
    score_mean, score_sd
        Of the raw scores of the rows that it was fitted on (1/(n-1)): what a standardised score is counted in.
    slices
        How a case's slices become one row of features.
    warnings
        Shown wherever the score is used.
    record
        How it was fitted: cases, patients, folds, cross-validation, out-of-fold performance, versions.
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
                f"{lengths} names, indices, coefficients, means and scales; expected one each of at least one feature."
            )
        ascending = list(self.indices) == sorted(set(self.indices))
        if not ascending or self.indices[0] < 0 or self.indices[-1] >= self.n_features:
            raise InputError(f"Indices {self.indices}; expected them ascending, from 0 to {self.n_features - 1}.")
        numbers = (*self.coefficients, *self.means, *self.scales, self.intercept, self.score_mean, self.score_sd)
        if not all(map(math.isfinite, (*numbers, self.penalty))) or min(*self.scales, self.score_sd) <= 0:
            raise InputError("A number that is not finite, or a spread of 0 or less; fit the Rad-score again.")
        if self.slices != SLICES:
            raise InputError(f"Slices {self.slices!r}; expected {SLICES!r}, the one way that is known here.")

    def score(self, features: np.ndarray, *, model_sha256: str | None = None) -> np.ndarray:
        """Raw scores, on the scale of T as a number from 1 to 4.

        Parameters
        ----------
        features
            (F,) or (n, F): of a case, or a row a case.
        model_sha256
            Of the network that they come from, where it is known.

        Returns
        -------
        np.ndarray
            () or (n,).

        Raises
        ------
        InputError
            If the features are of another length, of another network, or not finite.

        Examples
        --------
        Of three features the last counts: 12 lies one standard deviation (2) above its mean (10), which adds 0.5 to the
        intercept. That is 2 standard deviations (0.25) of the scores above their mean (2.5).

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
                f"Features of shape {values.shape}; expected rows of {self.n_features}, as the Rad-score {self.name!r} "
                "was fitted on. Stage the case with that network, or fit a Rad-score for this one."
            )
        kept = values[..., list(self.indices)]
        if not np.isfinite(kept).all():
            raise InputError(
                f"Features that are not finite, among those of the Rad-score {self.name!r}; expected numbers. Stage "
                "the case again."
            )
        standardised = (kept - np.array(self.means)) / np.array(self.scales)
        return np.asarray(standardised @ np.array(self.coefficients) + self.intercept)

    def standardised(self, features: np.ndarray, *, model_sha256: str | None = None) -> np.ndarray:
        """Scores in standard deviations of the rows that it was fitted on; arguments and errors as of `score`.

        This is what the term `radscore` of a nomogram takes.
        """
        return np.asarray((self.score(features, model_sha256=model_sha256) - self.score_mean) / self.score_sd)

    def require_model(self, sha256: str | None) -> None:
        """Raise `InputError` where both networks are known, and are not the same."""
        if sha256 is not None and self.model_sha256 is not None and sha256 != self.model_sha256:
            raise InputError(
                f"Features of the model with sha256 {sha256[:12]}…; expected {self.model_sha256[:12]}… "
                f"({self.model!r}), which the Rad-score {self.name!r} was fitted on: a feature of another network "
                "means another thing. Stage the cases with that model, or fit a Rad-score for this one."
            )

    def to_json(self) -> dict[str, Any]:
        """Plain data, as `from_json` reads it."""
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


def from_json(data: Mapping[str, Any]) -> RadScore:
    """The Rad-score of plain data.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        if data["kind"] != "radscore" or data["schema"] != 1:
            raise InputError(f"kind {data['kind']!r}, schema {data['schema']!r}; expected a radscore of schema 1.")
        kept, model = data["features"], data["model"] or {"name": None, "sha256": None}
        return RadScore(
            name=str(data["name"]),
            model=model["name"],
            model_sha256=model["sha256"],
            n_features=int(data["n_features"]),
            names=tuple(str(one["name"]) for one in kept),
            indices=tuple(int(one["index"]) for one in kept),
            coefficients=tuple(float(one["coefficient"]) for one in kept),
            means=tuple(float(one["mean"]) for one in kept),
            scales=tuple(float(one["scale"]) for one in kept),
            intercept=float(data["intercept"]),
            penalty=float(data["penalty"]),
            score_mean=float(data["score"]["mean"]),
            score_sd=float(data["score"]["sd"]),
            slices=data["slices"],
            warnings=tuple(data.get("warnings", ())),
            record=data.get("record") or {},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"This is no Rad-score ({type(error).__name__}: {error}); expected a file that "
                         "`gtrstaging radscore fit` wrote.") from error  # fmt: skip


def read(path: Path) -> RadScore:
    """The Rad-score of a file.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    data = read_json(path, "a file that `gtrstaging radscore fit` wrote")
    try:
        return from_json(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def save(radscore: RadScore, path: Path) -> None:
    """Write a Rad-score as JSON, whole or not at all."""
    write_json(radscore.to_json(), path)


def of_case(features: np.ndarray) -> np.ndarray:
    """(F,) of a case from its slices' (S, F), by `SLICES`.

    They are taken as float32, as the network makes them and the record's decimals stand for them: a case has the same
    score from its result in memory and from its file.

    Raises
    ------
    InputError
        If they are not rows of numbers.
    """
    try:
        values = np.asarray(features, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError("Features that are no table of numbers; expected a row of them for each slice.") from error
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise InputError(
            f"Features of shape {values.shape}, or not finite; expected a row of numbers for each slice that voted."
        )
    return np.asarray(values.mean(axis=0, dtype=np.float64))


def of_features(radscore: RadScore, features: np.ndarray, model_sha256: str | None) -> float:
    """The standardised Rad-score of one staged case.

    Parameters
    ----------
    features
        (S, F): a row for each slice that voted, as `StagingResult.features` has them.
    model_sha256
        Of the network that made them, as `StagingResult.model.sha256` says.

    Raises
    ------
    InputError
        If they are of another network or length, or not finite.
    """
    radscore.require_model(model_sha256)  # first: another network is the reason, another length what follows of it
    return float(radscore.standardised(of_case(features), model_sha256=model_sha256))


__all__ = ["SLICES", "RadScore", "from_json", "of_case", "of_features", "read", "save"]
