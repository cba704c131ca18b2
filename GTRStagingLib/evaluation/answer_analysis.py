"""Analyse the answers of a reader study: taking of advice, seconds, confidence, constancy, and where the map lay."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.advice_taking import AdviceTaking, Advised, advice_taking
from GTRStagingLib.stats.estimates import Clusters
from GTRStagingLib.stats.mrmc import Effect
from GTRStagingLib.stats.reader_answers import (
    Concord,
    Confidence,
    Constancy,
    Contrast,
    TimeChange,
    Times,
    concord,
    confidence,
    constancy,
    contrast,
    time_change,
    time_change_over_readers,
    times,
)
from GTRStagingLib.stats.reader_study import ALL, PHASES

if TYPE_CHECKING:
    from GTRStagingLib.evaluation.study_answers import StudyAnswers

PLACES = ("dice", "energy_inside", "pointing_hit", "centroid_distance_mm", "area_mm2", "familiarity_percentile")
"""Columns of a batch that tell where the map lay, and how usual the case is."""


@dataclass(frozen=True)
class WrongAdvice:
    """Case with wrong advice, and what readers made of it.

    Attributes
    ----------
    row
        Of the predictions.
    shown
        Readers with an answer to the first reading with the advice, of which `taken` gave the advised stage and `right`
        the true one.
    alone
        Readers with an answer without advice, of which `agreed_alone` gave the advised stage and `right_alone` the true
        one.
    """

    row: int
    truth: TStage
    advised: TStage
    shown: int
    taken: int
    right: int
    alone: int
    agreed_alone: int
    right_alone: int


@dataclass(frozen=True)
class WrongAdviceCounts:
    """Cases with the same wrong advice: by all, some and none of the readers who saw it, it was taken.

    Attributes
    ----------
    truth, advised
        True and advised stage; 'all' for all cases.
    answers, taken
        Answers that were given with the advice, and those that are the advised stage.
    """

    truth: str
    advised: str
    cases: int
    by_all: int
    by_some: int
    by_none: int
    answers: int
    taken: int


@dataclass(frozen=True)
class AnswerAnalysis:
    """Analysis of the answers of a reader study.

    Attributes
    ----------
    source, digest
        Name and sha256 of the table of the answers.
    shown
        Parts of the advice -> number of aided first readings in which they were displayed.
    without_advice
        Aided first readings in which no stage was displayed, which say nothing of taking advice.
    first_phases, pauses
        As in `StudyAnswers`.
    advice
        None if no answer was given with a stage of the model.
    wrong_advice
        Cases with wrong advice by true and advised stage, and in all; empty without such a case.
    places
        Means in the answers that took wrong advice, and in those that did not.
    deviations
        Rows of the table of deviations; None if there was no such table.
    """

    source: str
    digest: str
    shown: Mapping[str, int]
    without_advice: int
    training: int
    software: tuple[str, ...]
    first_phases: Mapping[str, str]
    pauses: Mapping[str, float]
    advice: AdviceTaking | None
    times: tuple[Times, ...]
    time_changes: tuple[TimeChange, ...]
    time_over_readers: tuple[Effect, ...]
    confidence: tuple[Confidence, ...]
    constancy: tuple[Constancy, ...]
    concord: tuple[Concord, ...]
    wrong_advice: tuple[WrongAdviceCounts, ...]
    places: tuple[Contrast, ...]
    deviations: tuple[Mapping[str, str], ...] | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def analyse_answers(found: Predictions, given: "StudyAnswers") -> AnswerAnalysis:
    """Analyse the answers to the rows of a table of predictions."""
    cells = _Cells(found, given)
    first = ~given.repeat
    taken = cells.advised()
    return AnswerAnalysis(
        source=given.source,
        digest=given.digest,
        shown=dict(given.parts),
        without_advice=int((first & given.aided & ~given.shown).sum()),
        training=given.training,
        software=given.software,
        first_phases=dict(given.first_phases),
        pauses=dict(given.pauses),
        advice=advice_taking(taken) if taken.shown.any() else None,
        times=tuple(
            times(name, phase, cells.seconds[i][rows & (cells.stage[i] >= 0)])
            for name, rows in cells.each()
            for i, phase in enumerate(PHASES)
        ),
        time_changes=tuple(
            time_change(name, cells.seconds[0][rows], cells.seconds[1][rows], cells.patients.at(rows))
            for name, rows in cells.each()
        ),
        time_over_readers=tuple(
            time_change_over_readers(
                {
                    name: (cells.seconds[0][cells.reader == k], cells.seconds[1][cells.reader == k])
                    for k, name in enumerate(given.readers)
                },
                found.clusters,
            )
        ),
        confidence=tuple(_confidence(cells)),
        constancy=tuple(_constancy(found, given)),
        concord=tuple(
            concord(phase, cells.stage[i].reshape(len(given.readers), -1), found.clusters)
            for i, phase in enumerate(PHASES)
        ),
        wrong_advice=tuple(_counts(_wrong_advice(found, cells, taken))),
        places=tuple(_places(found, taken, cells)),
        deviations=None if given.deviations is None else tuple(asdict(one) for one in given.deviations),
    )


def wrong_advice_of(found: Predictions, given: "StudyAnswers") -> tuple[WrongAdvice, ...]:
    """Return the cases whose wrong advice was displayed to a reader, by the share of readers who took it.

    The largest share comes first, of equal ones that of more readers, then the order of the table.
    """
    cells = _Cells(found, given)
    return _wrong_advice(found, cells, cells.advised())


def _wrong_advice(found: Predictions, cells: "_Cells", taken: Advised) -> tuple[WrongAdvice, ...]:
    by_row = {
        name: np.bincount(cells.row[flags], minlength=len(found))
        for name, flags in (("shown", taken.shown), ("taken", taken.agrees), ("right", taken.right),
                            ("alone", taken.alone), ("agreed_alone", taken.agrees_alone),
                            ("right_alone", taken.right_alone))
    }  # fmt: skip
    rows = np.flatnonzero((by_row["shown"] > 0) & (cells.advice != found.stages))
    cases = [
        WrongAdvice(int(row), TStage(int(found.stages[row])), TStage(int(cells.advice[row])),
                    **{name: int(numbers[row]) for name, numbers in by_row.items()})
        for row in rows
    ]  # fmt: skip
    return tuple(sorted(cases, key=lambda one: (-one.taken / one.shown, -one.taken)))


def _counts(cases: Sequence[WrongAdvice]) -> Iterator[WrongAdviceCounts]:
    pairs = sorted({(one.truth, one.advised) for one in cases})
    for truth, advised in pairs:
        yield _counted(str(truth), str(advised), [one for one in cases if (one.truth, one.advised) == (truth, advised)])
    if pairs:
        yield _counted("all", "all", cases)


def _counted(truth: str, advised: str, cases: Sequence[WrongAdvice]) -> WrongAdviceCounts:
    by_all, by_none = (sum(one.taken == (one.shown if every else 0) for one in cases) for every in (True, False))
    answers, taken = sum(one.shown for one in cases), sum(one.taken for one in cases)
    return WrongAdviceCounts(truth, advised, len(cases), by_all, len(cases) - by_all - by_none, by_none, answers, taken)


class _Cells:
    """Answers to first readings as arrays with a cell for each reader and row, by phase."""

    def __init__(self, found: Predictions, given: "StudyAnswers") -> None:
        self.readers, n = given.readers, len(found)
        self.size = len(given.readers) * n
        self.row = np.tile(np.arange(n), len(given.readers))
        self.reader = np.repeat(np.arange(len(given.readers)), n)
        self.patients = found.clusters.tiled(len(given.readers))
        self.truth = np.tile(found.stages, len(given.readers))
        self.advice = np.full(n, -1)
        self.advice[given.row] = given.advice
        self.stage = [np.full(self.size, -1) for _ in PHASES]
        self.seconds, self.confidence = ([np.full(self.size, np.nan) for _ in PHASES] for _ in range(2))
        self.shown = np.zeros(self.size, bool)
        for i in range(len(PHASES)):
            own = ~given.repeat & (given.aided == bool(i))
            at = given.reader[own] * n + given.row[own]
            self.stage[i][at], self.seconds[i][at] = given.stages[own], given.seconds[own]
            self.confidence[i][at] = given.confidence[own]
            if i == 1:
                self.shown[at] = given.shown[own] & (given.advice[own] >= 0)
        self.right = [stage == self.truth for stage in self.stage]

    def each(self) -> list[tuple[str, np.ndarray]]:
        """Return the rows of each reader, and those of all together."""
        own = [(name, self.reader == k) for k, name in enumerate(self.readers)]
        return [*own, (ALL, np.ones(self.size, bool))]

    def advised(self) -> Advised:
        """Return the answers by whether they agree with the advice; cases without advice are left out."""
        advice = np.tile(self.advice, len(self.readers))
        kept = advice >= 0
        alone = (self.stage[0] >= 0) & kept
        return Advised(
            readers=self.readers,
            reader=self.reader,
            patients=self.patients,
            advice_right=advice == self.truth,
            shown=self.shown,
            agrees=self.shown & (self.stage[1] == advice),
            right=self.shown & self.right[1],
            alone=alone,
            agrees_alone=alone & (self.stage[0] == advice),
            right_alone=alone & self.right[0],
        )


def _confidence(cells: _Cells) -> list[Confidence]:
    lines = []
    for name, own in cells.each():
        for i, phase in enumerate(PHASES):
            rows = own & ~np.isnan(cells.confidence[i])
            if rows.any():
                known, among = cells.confidence[i][rows], cells.patients.at(rows)
                lines.append(confidence(name, phase, cells.right[i][rows], known, among))
    return lines


def _constancy(found: Predictions, given: "StudyAnswers") -> list[Constancy]:
    first = {(int(r), int(row), bool(a)): int(s) for r, row, a, s in zip(
        given.reader[~given.repeat], given.row[~given.repeat], given.aided[~given.repeat],
        given.stages[~given.repeat], strict=True)}  # fmt: skip
    where = np.flatnonzero(given.repeat)
    keys = [(int(given.reader[i]), int(given.row[i]), bool(given.aided[i])) for i in where]
    where, before = (
        np.array([one for one, key in zip(where, keys, strict=True) if key in first], dtype=int),
        np.array([first[key] for key in keys if key in first], dtype=int),
    )
    lines = []
    for k, name in [*enumerate(given.readers), (-1, ALL)]:
        own = np.ones(len(where), bool) if k < 0 else given.reader[where] == k
        rows = where[own]
        ids = found.patients[given.row[rows]]
        lines.append(constancy(name, "both", before[own], given.stages[rows], Clusters.of(ids)))
    return lines if len(where) else []


def _places(found: Predictions, taken: Advised, cells: _Cells) -> list[Contrast]:
    """Compare the cases whose wrong advice was taken with those in which it was not."""
    wrong = taken.shown & ~taken.advice_right
    lines = []
    for name in PLACES:
        column = found.spelt(name)
        values = None if column is None else found.numbers(column)
        if values is not None and wrong.any() and not np.isnan(values).all():
            lines.append(contrast(name, values[cells.row[wrong]], taken.agrees[wrong], taken.patients.at(wrong)))
    return lines


__all__ = ["AnswerAnalysis", "WrongAdvice", "WrongAdviceCounts", "analyse_answers", "wrong_advice_of"]
