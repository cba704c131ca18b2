"""Stage sets: neighbouring stages of which the true one is, for a promised share of the patients of each stage.

Split conformal prediction with a limit of its own for each stage (Mondrian; Vovk, Gammerman and Shafer 2005,
"Algorithmic Learning in a Random World", section 4.5). The unit is the patient, and the prediction is the vote of the
case's slices. `stats.set_calibration` makes the calibration that a model card contains.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import SET_LEVELS, ModelCard
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.voting import Prediction

LEVEL = 0.9
"""Default share of the patients of each stage whose set contains the stage."""

UNLIKE = "the case is unlike those that the model learned from, and the promise is for patients like these"
"""Reason to withhold the set of a case that its familiarity calls unlike."""

DECIMALS = 6
"""Decimals of a score, so that a card stores it as it is compared, and a rounding error of the network is no
difference."""


@dataclass(frozen=True)
class StageSet:
    """Stage set of a case.

    Attributes
    ----------
    stages
        Neighbouring stages in their order, among them the voted one; empty if the set is withheld.
    level
        Promised share of the patients of each stage whose set contains the stage.
    patients
        Number of patients of each stage in the calibration.
    withheld
        Reason why no set is given; None for a set.
    warning
        The card's warning that the promise is weaker; None without one.
    """

    stages: tuple[TStage, ...]
    level: float
    patients: Mapping[TStage, int]
    withheld: str | None = None
    warning: str | None = None

    def __post_init__(self) -> None:
        steps = [int(stage) for stage in self.stages]
        if steps != list(range(steps[0], steps[0] + len(steps)) if steps else []) or bool(steps) == bool(self.withheld):
            raise InputError(
                f"Stage set of {self.text or 'no stage'}, withheld {self.withheld!r}; expected neighbouring stages in "
                "their order, or none and a reason."
            )

    @property
    def text(self) -> str:
        """First and last stage, as in 'T2–T3', or the only one; empty if the set is withheld."""
        if not self.stages:
            return ""
        first, last = self.stages[0], self.stages[-1]
        return str(first) if first == last else f"{first}–{last}"

    @property
    def always(self) -> tuple[TStage, ...]:
        """Stages that are in every set, because too few patients calibrated them."""
        return tuple(stage for stage in TStage if self.patients[stage] < least_patients(self.level))


def least_patients(level: float) -> int:
    """Return the number of patients of a stage below which the stage is in every set.

    Raises
    ------
    InputError
        If the level is not within `SET_LEVELS`.

    Examples
    --------
    With nine patients, a tenth has the highest score of the ten in one of ten cases.

    >>> from GTRStagingLib.staging.stage_set import least_patients
    >>> least_patients(0.9), least_patients(0.95), least_patients(0.8)
    (9, 19, 4)
    """
    lowest, highest = SET_LEVELS
    if not lowest <= level <= highest:
        raise InputError(
            f"The level of the stage sets is {level:g}; expected a share from {lowest:g} to {highest:g}. Change "
            "`level`."
        )
    return math.ceil(1 / (1 - Fraction(str(level)))) - 1


def scores(prediction: Prediction) -> tuple[float, ...]:
    """Return how little the prediction of a case supports each stage, T1..T4, from 0 for the voted one up to 1.

    The score of a stage is 1 minus the least of the mean probabilities on the way from the voted stage to it: it never
    falls with the distance from the vote, so that the stages below a limit are neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.staging.stage_set import scores
    >>> from GTRStagingLib.staging.voting import vote
    >>> scores(vote([0], np.array([[0.05, 0.6, 0.25, 0.1]])))
    (0.95, 0.0, 0.75, 0.9)
    """
    voted, means = int(prediction.stage), prediction.probabilities
    return tuple(
        0.0 if stage == voted else round(1 - min(means[min(stage, voted) : max(stage, voted) + 1]), DECIMALS)
        for stage in map(int, TStage)
    )


def limit(calibrated: list[float], level: float) -> float:
    """Return the largest score with which a stage is in a set; infinite with fewer than `least_patients`.

    Parameters
    ----------
    calibrated
        Scores of the stage in the patients of this true stage that calibrate it.

    Examples
    --------
    The (9 + 1) * 0.9 = 9th of nine scores, and no limit with eight.

    >>> from GTRStagingLib.staging.stage_set import limit
    >>> limit([0.0, 0.0, 0.1, 0.2, 0.2, 0.3, 0.4, 0.6, 0.8], 0.9), limit([0.0] * 8, 0.9)
    (0.8, inf)
    """
    rank = math.ceil((len(calibrated) + 1) * Fraction(str(level)))
    return sorted(calibrated)[rank - 1] if rank <= len(calibrated) else math.inf


def stage_set(card: ModelCard, prediction: Prediction, withheld: str | None = None) -> StageSet | None:
    """Return the stage set of a case by the calibration in a model's card; None if the card has none.

    A stage between two stages of the set is in it as well, which can only make it true more often.

    Parameters
    ----------
    withheld
        Reason to give no set for this case, such as that it is unlike the training.
    """
    found: Mapping[str, Any] | None = card.stage_sets
    if found is None:
        return None
    level = found["level"]
    patients = {stage: found["patients"][stage.name] for stage in TStage}
    if withheld is not None:
        return StageSet((), level, patients, withheld, found["warning"])
    own = scores(prediction)
    inside = [stage for stage in TStage if own[stage] <= limit(found["scores"][stage.name], level)]
    stages = tuple(stage for stage in TStage if inside[0] <= stage <= inside[-1])
    return StageSet(stages, level, patients, warning=found["warning"])


__all__ = ["DECIMALS", "LEVEL", "UNLIKE", "StageSet", "least_patients", "limit", "scores", "stage_set"]
