"""Compute the stage of a case from its slices: the majority vote and its tie rule."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.distributions import wrong_shares, wrong_sums

VOTE_RULE = "majority of the slices; a tie goes to the tied stage of the highest mean probability"
"""`Prediction.stage` applies it (and takes the lower stage if the means are equal too). `vote_in_words` in
results/words.py, GTRStagingSlicer/tables.py and the warnings of `pipeline` describe it too. A change of it requires a
higher `ROWS_VERSION` in batch/columns.py."""

SUM_TOLERANCE = 1e-4
"""Largest allowed difference between 1 and the sum of a slice's probabilities."""


@dataclass(frozen=True)
class SlicePrediction:
    """Prediction of the network for one slice.

    Attributes
    ----------
    offset
        Acquired slices from the key slice (0), positive towards the head.
    probabilities
        T1..T4; non-negative, summing to 1.
    """

    offset: int
    probabilities: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        values = np.asarray(self.probabilities, dtype=float)
        if values.shape != (len(TStage),) or wrong_shares(values):
            raise InputError(f"Slice {self.offset:+d}: probabilities {self.probabilities}; expected four in [0, 1].")
        if wrong_sums(values, SUM_TOLERANCE):
            raise InputError(f"Slice {self.offset:+d}: probabilities sum to {values.sum():.6f}; expected 1.")

    @property
    def stage(self) -> TStage:
        """Stage of the highest probability (the lower one if two are exactly equal)."""
        return TStage(int(np.argmax(self.probabilities)))


@dataclass(frozen=True)
class Prediction:
    """Vote of the slices, with the data needed to recount it."""

    slices: tuple[SlicePrediction, ...]
    rule: str = VOTE_RULE

    def __post_init__(self) -> None:
        offsets = [s.offset for s in self.slices]
        if 0 not in offsets or len(set(offsets)) != len(offsets):
            raise InputError(f"Slices at offsets {offsets}; expected distinct offsets that include the key slice, 0.")

    @cached_property
    def probabilities(self) -> tuple[float, float, float, float]:
        """Mean of the slices' probabilities, T1..T4."""
        t1, t2, t3, t4 = np.mean([s.probabilities for s in self.slices], axis=0).tolist()
        return t1, t2, t3, t4

    @property
    def votes(self) -> dict[TStage, int]:
        """Number of slices that vote for each of the four stages."""
        counts = Counter(s.stage for s in self.slices)
        return {stage: counts[stage] for stage in TStage}

    @property
    def tied(self) -> bool:
        """Whether the tie rule decided."""
        return list(self.votes.values()).count(max(self.votes.values())) > 1

    @property
    def stage(self) -> TStage:
        """Stage that won the vote."""
        votes = self.votes
        return max(TStage, key=lambda stage: (votes[stage], self.probabilities[stage], -stage))

    @property
    def mean_probability_stage(self) -> TStage:
        """Stage of the highest mean probability: reported beside the vote, and sometimes different from it."""
        return TStage(int(np.argmax(self.probabilities)))

    @property
    def unanimous(self) -> bool:
        """Whether all slices vote for the same stage."""
        return len({s.stage for s in self.slices}) == 1


def vote(offsets: Sequence[int], probabilities: np.ndarray) -> Prediction:
    """Compute the vote from the slices' probabilities.

    Parameters
    ----------
    offsets
        One per slice; 0 is the key slice.
    probabilities
        (S, 4), rows summing to 1.

    Raises
    ------
    InputError
        If the shapes differ or a row is not a distribution.

    Examples
    --------
    Two slices of three outvote the key slice; the highest mean probability may be another stage's.

    >>> import numpy as np
    >>> from GTRStagingLib.staging.voting import vote
    >>> two_of_three = vote([-1, 0, 1], np.array([[0, 0.6, 0.4, 0], [0, 0, 1, 0], [0, 0.6, 0.4, 0]]))
    >>> print(two_of_three.stage, two_of_three.mean_probability_stage, two_of_three.tied)
    T2 T3 False

    Three slices vote for three stages; the highest of the means 0.3, 0.4 and 0.3 decides.

    >>> tie = vote([-1, 0, 1], np.array([[0, 0.6, 0.2, 0.2], [0, 0.1, 0.8, 0.1], [0, 0.2, 0.2, 0.6]]))
    >>> print(tie.stage, tie.tied)
    T3 True
    """
    if probabilities.shape != (len(offsets), len(TStage)):
        raise InputError(f"Probabilities of shape {probabilities.shape}; expected ({len(offsets)}, {len(TStage)}).")
    slices = []
    for offset, row in zip(offsets, probabilities.tolist(), strict=True):
        t1, t2, t3, t4 = row
        slices.append(SlicePrediction(offset, (t1, t2, t3, t4)))
    return Prediction(tuple(slices))
