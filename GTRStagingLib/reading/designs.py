"""Design a reader study: which reader reads which case in which phase, and in which order.

Nothing is drawn by a random generator: cases are sorted by the sha256 of the seed, the purpose and the id. So a design
depends on the seed and on the ids, and not on the order of the table, the machine, or the version of a library.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.counts import counted

UNAIDED, AIDED = "unaided", "aided"
CROSSED, HALVES, SPLIT_PLOT = "crossed", "halves", "split-plot"

KINDS: Mapping[str, str] = {
    CROSSED: "every reader reads every case in both phases",
    HALVES: "every reader reads one half of the cases unaided and the other half aided",
    SPLIT_PLOT: "groups of readers; each group reads its own part of the cases in both phases",
}
"""Designs in words."""

Kind = Literal["reading", "repeat", "training"]
READING: Kind = "reading"
REPEAT: Kind = "repeat"
TRAINING: Kind = "training"


@dataclass(frozen=True, kw_only=True)
class Design:
    """Design of a reader study.

    Attributes
    ----------
    kind
        One of `KINDS`.
    counterbalanced
        Half of the readers begin with the aided phase; otherwise all begin unaided.
    repeats
        Number of cases that each reader reads a second time in each phase, for the agreement with oneself.
    training
        Number of cases that are read first in each period and are not analysed.
    groups
        Number of groups of readers of a split-plot design.
    seed
        Of everything that is drawn.

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    kind: str = CROSSED
    counterbalanced: bool = False
    repeats: int = 0
    training: int = 0
    groups: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"`kind` is {self.kind!r}; expected {', '.join(KINDS)}. Choose one.")
        for name, least, most in (("repeats", 0, 10_000), ("training", 0, 10_000), ("groups", 2, 100),
                                  ("seed", 0, 2**63 - 1)):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise InputError(
                    f"`{name}` is {getattr(self, name)}; expected {least} to {most:,}. Give a number in that range."
                )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Planned:
    """One reading of a case: in which phase and period, and whether it is a first one, a repeat, or training."""

    case_id: str
    phase: str
    period: int
    kind: Kind


@dataclass(frozen=True)
class Schedule:
    """Everything that is to be read.

    Attributes
    ----------
    training
        Ids of the training cases.
    parts
        Part of each other case: its half, or the group of readers that reads it; 0 in a fully crossed design.
    groups
        Group of each reader; 0 without groups.
    readings
        Reader -> readings in their order.
    """

    training: tuple[str, ...]
    parts: Mapping[str, int]
    groups: Mapping[str, int]
    readings: Mapping[str, tuple[Planned, ...]]


def schedule(cases: Sequence[Case], readers: Sequence[str], design: Design) -> Schedule:
    """Design who reads what in which order.

    Parts of the cases are balanced by stage and centre: the numbers of patients of each stage, and of each stage of a
    centre, differ by at most 1 between parts. All cases of a patient are in one part, and are training or none is.

    Parameters
    ----------
    cases
        With stages; of a patient with several stages, the highest counts.
    readers
        Ids, unique.

    Raises
    ------
    InputError
        If a case has no stage, or there are too few cases or readers for the design.

    Examples
    --------
    The same half is read unaided by both readers, the other one aided, each in their own order.

    >>> from pathlib import Path
    >>> from GTRStagingLib.cohort.cohort import Case
    >>> from GTRStagingLib.reading.designs import Design, schedule
    >>> from GTRStagingLib.stages import TStage
    >>> cases = [Case(case_id=f"c{n}", patient_id=f"p{n}", image=Path("a"), stage=TStage(n % 4)) for n in range(16)]
    >>> found = schedule(cases, ["r1", "r2"], Design(kind="halves", seed=4))
    >>> halves = [{one.case_id for one in found.readings[name] if one.phase == "unaided"} for name in ("r1", "r2")]
    >>> len(halves[0]), halves[0] == halves[1], len(found.readings["r1"])
    (8, True, 16)
    """
    if without := [case.case_id for case in cases if case.stage is None]:
        raise InputError(
            f"{counted(len(without), 'case has', 'cases have')} no stage ({', '.join(without[:5])}); expected a stage "
            "in every case, by which the design is balanced. Enter it: it stays with the organiser."
        )
    if not readers:
        raise InputError("No reader; expected one or more. Fill in the table of readers.")
    if design.counterbalanced and len(readers) < 2:
        raise InputError("1 reader; expected two or more for a counter-balanced design. Begin unaided.")
    if design.kind == SPLIT_PLOT and len(readers) < design.groups:
        raise InputError(
            f"{counted(len(readers), 'reader')} for {design.groups} `groups`; expected one or more in each. Add "
            "readers, or use fewer `groups`."
        )
    training = _drawn_for_training(cases, design)
    kept = [case for case in cases if case.case_id not in set(training)]
    parts = {CROSSED: 1, HALVES: 2, SPLIT_PLOT: design.groups}[design.kind]
    part_of = _dealt(kept, parts, design.seed)
    if len(set(part_of.values())) < parts:
        raise InputError(
            f"{counted(len(kept), 'case')} for a design of {parts} parts; expected a patient or more in each. Add "
            "cases, or use fewer `training` cases."
        )
    order = _sorted(readers, design.seed, "readers")
    group_of = {name: i % design.groups if design.kind == SPLIT_PLOT else 0 for i, name in enumerate(order)}
    readings = {}
    for name in readers:
        # Within a group, every other reader begins aided.
        place = [other for other in order if group_of[other] == group_of[name]].index(name)
        aided_first = design.counterbalanced and (place + group_of[name]) % 2 == 1
        readings[name] = _of_reader(name, kept, part_of, group_of[name], training, design, aided_first=aided_first)
    return Schedule(tuple(training), part_of, group_of, readings)


def _of_reader(
    reader: str,
    cases: Sequence[Case],
    part_of: Mapping[str, int],
    group: int,
    training: Sequence[str],
    design: Design,
    *,
    aided_first: bool,
) -> tuple[Planned, ...]:
    found: list[Planned] = []
    for period, phase in enumerate((AIDED, UNAIDED) if aided_first else (UNAIDED, AIDED), start=1):
        if design.kind == CROSSED:
            own = list(cases)
        else:
            part = (UNAIDED, AIDED).index(phase) if design.kind == HALVES else group
            own = [case for case in cases if part_of[case.case_id] == part]
        name = f"{reader}/{phase}"
        first = _sorted(training, design.seed, f"training/{name}")
        found += [Planned(case_id, phase, period, TRAINING) for case_id in first]
        found += [Planned(case_id, phase, period, kind) for case_id, kind in _order(own, name, design)]
    return tuple(found)


def _order(cases: Sequence[Case], name: str, design: Design) -> list[tuple[str, Kind]]:
    """Return the order of a reader in a phase, with repeats.

    The repeats are of cases in the first half of the order, and lie in its last quarter: at least a quarter of the
    cases is read between the two.
    """
    ids = _sorted([case.case_id for case in cases], design.seed, f"order/{name}")
    order: list[tuple[str, Kind]] = [(case_id, READING) for case_id in ids]
    if not design.repeats:
        return order
    first, tail = ids[: len(ids) // 2], max(1, len(ids) // 4)
    if design.repeats > len(first):
        raise InputError(
            f"{design.repeats} `repeats` of {counted(len(ids), 'case')} in a phase; expected at most half of the "
            "cases, since others are read in between. Use fewer `repeats`."
        )
    stage_of = {case.case_id: case.stage for case in cases}
    again = _alternating(_sorted(first, design.seed, f"repeats/{name}"), stage_of)[: design.repeats]
    late: list[tuple[str, Kind]] = [*order[-tail:], *((case_id, REPEAT) for case_id in again)]
    keys = {one: _key(design.seed, f"late/{name}/{one[1]}", one[0]) for one in late}
    return [*order[:-tail], *sorted(late, key=keys.__getitem__)]


def _drawn_for_training(cases: Sequence[Case], design: Design) -> list[str]:
    """Draw whole patients for training, from the stages in turn."""
    if not design.training:
        return []
    of_patient = _by_patient(cases)
    stage_of = {patient: max(one.stage for one in own if one.stage is not None) for patient, own in of_patient.items()}
    drawn: list[str] = []
    for patient in _alternating(_sorted(of_patient, design.seed, "training"), stage_of):
        own = [case.case_id for case in of_patient[patient]]
        if len(drawn) + len(own) <= design.training:
            drawn += own
    if len(drawn) < design.training or len(drawn) == len(cases):
        raise InputError(
            f"{design.training} `training` cases of {counted(len(cases), 'case')}; expected fewer than that, "
            "as whole patients. Use another number of `training` cases."
        )
    return drawn


def _dealt(cases: Sequence[Case], parts: int, seed: int) -> dict[str, int]:
    """Deal the patients to parts, stage by stage and centre by centre, so that the parts are balanced."""
    of_patient = _by_patient(cases)

    def stratum(patient: str) -> tuple[int, str]:
        own = of_patient[patient]
        return max(int(one.stage or 0) for one in own), own[0].centre or ""

    patients = sorted(of_patient, key=lambda one: (*stratum(one), _key(seed, "parts", one)))
    start = int(_key(seed, "parts", "first")[:8], 16)
    part_of_patient = {patient: (start + i) % parts for i, patient in enumerate(patients)}
    return {case.case_id: part_of_patient[case.patient_id] for case in cases}


def _by_patient(cases: Iterable[Case]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.patient_id, []).append(case)
    return found


def _alternating(ids: Sequence[str], stage_of: Mapping[str, TStage | None]) -> list[str]:
    """Return ids in an order in which the stages alternate, each in the given order."""
    turn: Counter[TStage | None] = Counter()
    keys = {}
    for place, one in enumerate(ids):
        keys[one] = (turn[stage_of[one]], place)
        turn[stage_of[one]] += 1
    return sorted(ids, key=keys.__getitem__)


def _sorted(ids: Iterable[str], seed: int, purpose: str) -> list[str]:
    return sorted(ids, key=lambda one: _key(seed, purpose, one))


def _key(seed: int, purpose: str, name: str) -> str:
    return hashlib.sha256(f"{seed}\0{purpose}\0{name}".encode()).hexdigest()


ALPHABET = "BCDFGHJKLMNPQRVWXZ"
"""Letters of codes: without vowels, so that no code is a word, and without T, so that none looks like a stage."""


def case_codes(readers: Iterable[str], case_ids: Sequence[str], seed: int) -> dict[str, dict[str, str]]:
    """Return codes of the cases: reader -> case id -> code, such as 'CASE-XKQDRL'.

    Each reader has other codes, so that readers cannot talk about a case by its name.
    """
    found: dict[str, dict[str, str]] = {}
    for reader in readers:
        own, taken = {}, set[str]()
        for case_id in sorted(case_ids):
            number = int(_key(seed, f"code/{reader}", case_id), 16)
            while (code := _letters(number)) in taken:
                number += 1
            taken.add(code)
            own[case_id] = code
        found[reader] = own
    return found


def _letters(number: int) -> str:
    letters = ""
    for _ in range(6):
        number, place = divmod(number, len(ALPHABET))
        letters += ALPHABET[place]
    return f"CASE-{letters}"


__all__ = ["AIDED", "ALPHABET", "CROSSED", "HALVES", "KINDS", "READING", "REPEAT", "SPLIT_PLOT", "TRAINING", "UNAIDED",
           "Design", "Kind", "Planned", "Schedule", "case_codes", "schedule"]  # fmt: skip
