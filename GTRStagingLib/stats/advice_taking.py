"""Measure how readers take advice: the share of wrong advice taken, of right advice ignored, and what advice changes.

A reader who gives the same answer as wrong advice may have given it without the advice as well. So the answer of the
same reader to the same case without advice stands beside each share, and the changes of answers have numbers of their
own: from a right answer to the wrong advice (the negative consultations of Goddard et al. 2014, Int J Med Inform
83:368), and from a wrong answer to a right one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats.estimates import Clusters, Estimate, proportion, undefined
from GTRStagingLib.stats.mcnemar import clustered_mcnemar
from GTRStagingLib.stats.mrmc import Effect, mean_over_readers
from GTRStagingLib.stats.reader_study import ALL, PAIRED, PARTLY, UNPAIRED, combined

SHARES = ("wrong_taken", "right_ignored", "switched_to_wrong", "switched_to_right")
"""Shares that are also estimated over readers as a sample."""

ANSWERS = ("right", "as advised", "otherwise wrong")
"""Kinds of an answer in `Taking.changes`; an answer as right advice is 'right'."""


@dataclass(frozen=True)
class Advised:
    """Answers of readers to cases, with and without advice; a row for each reader and case.

    Attributes
    ----------
    readers
        Names.
    reader
        (n,) index of the reader.
    patients
        Patient of each row.
    advice_right
        (n,) bool: whether the advice for the case is right, shown or not.
    shown
        (n,) bool: whether there is an answer that was given with the advice.
    agrees, right
        (n,) bool: whether this answer is the one of the advice, and whether it is right; False without one.
    alone
        (n,) bool: whether there is an answer without advice.
    agrees_alone, right_alone
        (n,) bool: the same of the answer without advice; False without one.
    """

    readers: tuple[str, ...]
    reader: np.ndarray
    patients: Clusters
    advice_right: np.ndarray
    shown: np.ndarray
    agrees: np.ndarray
    right: np.ndarray
    alone: np.ndarray
    agrees_alone: np.ndarray
    right_alone: np.ndarray

    def __post_init__(self) -> None:
        arrays = (self.reader, self.patients.codes, self.advice_right, self.shown, self.agrees, self.right, self.alone,
                  self.agrees_alone, self.right_alone)  # fmt: skip
        if len({len(one) for one in arrays}) > 1:
            raise InputError(f"Arrays of {sorted({len(one) for one in arrays})} rows; expected as many rows in each.")
        if ALL in self.readers:
            raise InputError(f"A reader is named {ALL!r}; expected another name.")


@dataclass(frozen=True)
class Taking:
    """How a reader takes advice.

    Attributes
    ----------
    n_wrong, n_right
        Answers that were given with wrong and with right advice.
    wrong_taken, right_ignored
        Share of the wrong advice whose answer is that of the advice; share of the right advice whose answer is not.
    design
        Which answers without advice are compared: 'paired', of the same cases; 'unpaired', of other patients, as where
        each phase has its own half of the cases; 'partly overlapping', of which neither holds; None without any.
    n_wrong_alone, n_right_alone
        Answers without advice that are compared, to cases whose advice is wrong and right.
    wrong_agreed_alone, right_differed_alone
        The two shares of these answers.
    wrong_excess, right_excess
        The shares with advice minus those without, of the same cases if they are paired. What exceeds 0 in
        `wrong_excess` is automation bias; what is below 0 in `right_excess` is help.
    wrong_p, right_p
        p-values that they are 0.
    n_right_before, n_wrong_before
        Wrong advice after a right answer, and right advice after a wrong answer, to the same case without advice.
    switched_to_wrong, switched_to_right
        Share of these in which the answer became the wrong advice, and in which it became right.
    changes
        Numbers of paired rows by advice ('right', 'wrong'), answer without advice and answer with advice (`ANSWERS`).
    """

    reader: str
    n_wrong: int
    n_right: int
    wrong_taken: Estimate
    right_ignored: Estimate
    design: str | None
    n_wrong_alone: int
    n_right_alone: int
    wrong_agreed_alone: Estimate
    right_differed_alone: Estimate
    wrong_excess: Estimate
    right_excess: Estimate
    wrong_p: float | None
    right_p: float | None
    n_right_before: int
    n_wrong_before: int
    switched_to_wrong: Estimate
    switched_to_right: Estimate
    changes: tuple[Mapping[str, str | int], ...]


@dataclass(frozen=True)
class AdviceTaking:
    """How readers take advice: each reader, all together, and readers as a sample.

    Attributes
    ----------
    rows
        One per reader, and the last for all answers together, clustered by patient.
    over_readers
        Share of `SHARES` -> its mean over readers, with random and with fixed readers; empty with one reader.
    """

    rows: tuple[Taking, ...]
    over_readers: Mapping[str, tuple[Effect, Effect]]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def advice_taking(given: Advised) -> AdviceTaking:
    """Measure how each reader, and all of them together, take advice.

    Examples
    --------
    One reader, ten cases with wrong advice. Without it the reader was right in six; with it the reader gives the answer
    of the advice in five cases, of which three had been right.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.advice_taking import Advised, advice_taking
    >>> from GTRStagingLib.stats.estimates import Clusters
    >>> ten, every = np.arange(10), np.ones(10, bool)
    >>> answers = Advised(("A",), np.zeros(10, int), Clusters.of(ten), ~every, every, agrees=(ten >= 3) & (ten < 8),
    ...                   right=ten < 3, alone=every, agrees_alone=ten >= 6, right_alone=ten < 6)
    >>> one = advice_taking(answers).rows[0]
    >>> one.wrong_taken.value, one.wrong_agreed_alone.value, one.switched_to_wrong.value
    (0.5, 0.4, 0.5)
    >>> one.right_ignored.text()
    'not defined'
    """
    every = np.ones(len(given.reader), bool)
    own = [given.reader == k for k in range(len(given.readers))]
    over: dict[str, tuple[Effect, Effect]] = {}
    if len(given.readers) > 1:
        for name in SHARES:
            among, hits = _share(given, name)
            kept = [rows & among for rows in own if (rows & among).any()]
            over[name] = mean_over_readers(
                name, [(hits[rows], Clusters(given.patients.codes[rows], given.patients.number)) for rows in kept]
            )
    rows = [_taking(name, given, rows) for name, rows in zip((*given.readers, ALL), (*own, every), strict=True)]
    return AdviceTaking(tuple(rows), over)


def _share(given: Advised, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n,) bool of the rows that a share is of, and of those that count."""
    wrong, both = ~given.advice_right, given.shown & given.alone
    return {
        "wrong_taken": (given.shown & wrong, given.agrees),
        "right_ignored": (given.shown & ~wrong, ~given.agrees),
        "switched_to_wrong": (both & wrong & given.right_alone, given.agrees),
        "switched_to_right": (both & ~wrong & ~given.right_alone, given.right),
    }[name]


def _taking(reader: str, given: Advised, own: np.ndarray) -> Taking:
    found: dict[str, Estimate] = {}
    for name in SHARES:
        among, hits = _share(given, name)
        found[name] = _proportion(hits, among & own, given.patients, WITHOUT[name])
    wrong, right = own & ~given.advice_right, own & given.advice_right
    design = _design(given, own)
    against_wrong = _against_alone(given, wrong, given.agrees, given.agrees_alone, design)
    against_right = _against_alone(given, right, ~given.agrees, ~given.agrees_alone, design)
    both = own & given.shown & given.alone
    return Taking(
        reader=reader,
        n_wrong=int((wrong & given.shown).sum()),
        n_right=int((right & given.shown).sum()),
        design=design,
        n_wrong_alone=against_wrong[0],
        n_right_alone=against_right[0],
        wrong_agreed_alone=against_wrong[1],
        right_differed_alone=against_right[1],
        wrong_excess=against_wrong[2],
        right_excess=against_right[2],
        wrong_p=against_wrong[3],
        right_p=against_right[3],
        n_right_before=int((both & wrong & given.right_alone).sum()),
        n_wrong_before=int((both & right & ~given.right_alone).sum()),
        changes=tuple(_changes(given, both)),
        **found,
    )


WITHOUT = {
    "wrong_taken": "no wrong advice was shown",
    "right_ignored": "no right advice was shown",
    "switched_to_wrong": "no case with wrong advice has a right answer without it",
    "switched_to_right": "no case with right advice has a wrong answer without it",
}
"""Why a share is not defined."""


def _proportion(hits: np.ndarray, among: np.ndarray, patients: Clusters, reason: str) -> Estimate:
    return proportion(hits[among], patients.at(among)) if among.any() else undefined(reason)


def _design(given: Advised, own: np.ndarray) -> str | None:
    """Return which answers without advice can be compared with those with advice."""
    shown, alone = own & given.shown, own & given.alone
    if (shown & alone).any():
        return PAIRED
    if not shown.any() or not alone.any():
        return None
    first, second = (given.patients.sums(rows.astype(float)) > 0 for rows in (shown, alone))
    return PARTLY if (first & second).any() else UNPAIRED


def _against_alone(
    given: Advised, among: np.ndarray, hits: np.ndarray, hits_alone: np.ndarray, design: str | None
) -> tuple[int, Estimate, Estimate, float | None]:
    """Compare a share with that of the answers without advice: their number, their share, the difference and its p."""
    alone = among & given.alone & (given.shown if design == PAIRED else True)
    share = _proportion(hits_alone, alone, given.patients, "there is no such case without advice")
    if not alone.any() or not (among & given.shown).any():
        return int(alone.sum()), share, undefined("one of the two shares is not defined"), None
    if design == PAIRED:
        difference, p, _ = clustered_mcnemar(hits[alone], hits_alone[alone], given.patients.at(alone))
    elif design == UNPAIRED:
        with_advice = _proportion(hits, among & given.shown, given.patients, "")
        difference, p = combined(with_advice, share)
    else:
        difference, p = undefined("the phases have other cases of the same patients"), None
    return int(alone.sum()), share, difference, p


def _changes(given: Advised, both: np.ndarray) -> Sequence[Mapping[str, str | int]]:
    before, after = (np.where(right, 0, np.where(agrees, 1, 2)) for right, agrees in
                     ((given.right_alone, given.agrees_alone), (given.right, given.agrees)))  # fmt: skip
    return [
        {"advice": words, "unaided": ANSWERS[i], "aided": ANSWERS[j],
         "n": int((both & (given.advice_right == right) & (before == i) & (after == j)).sum())}
        for right, words, kinds in ((False, "wrong", (0, 1, 2)), (True, "right", (0, 2)))
        for i, j in product(kinds, repeat=2)
    ]  # fmt: skip


__all__ = ["ANSWERS", "SHARES", "AdviceTaking", "Advised", "Taking", "advice_taking"]
