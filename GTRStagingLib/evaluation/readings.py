"""Find the columns with the stages of readers and comparators, such as EUS, and state which columns are not read.

A column is read only if its cells have one meaning. A column that the user names is read or refused; another one that
looks like stages is read or named in a note, with the reason.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.readers import phase_columns
from GTRStagingLib.support.counts import counted
from GTRStagingLib.tables.cells import MISSING
from GTRStagingLib.tables.column_words import label_of
from GTRStagingLib.tables.headers import STAGES
from GTRStagingLib.tables.stage_cells import (
    CODES,
    FROM_ONE,
    FROM_ZERO,
    NAMES,
    coded_stage,
    is_like_a_stage,
    named_stage,
    possible_codes,
    whole_number,
)

READER, COMPARATOR = "reader", "comparator"
PARAMETERS = {"readers": "`readers`", "comparators": "`comparators`", "phases": "`phases`"}
MOST_TEXTS = 100
"""Largest number of different cells of a column that can look like stages; one with more is of ids or comments."""

SHOWN = 5
"""Number of rows that a message lists; it also states the number of all."""

_WHO, _WHAT = r"(unaided|aided|(reader|radiologist|rater|observer)[_ ]?\d*)", "(eus|endosonography|[cu]t(_?stage)?)"
_READER = re.compile(rf"(^|[_ .-]){_WHO}([_ .-]|$)", re.IGNORECASE)
_NAMED = re.compile(rf"(^|[_ .-])({_WHO}|{_WHAT})([_ .-]|$)", re.IGNORECASE)
"""Names of readers' columns, and of columns in which whole numbers are stages."""


@dataclass(frozen=True)
class StageColumn:
    """Column with the stages of a reader or a comparator.

    Attributes
    ----------
    name
        As results show it.
    kind
        'reader' or 'comparator'.
    code
        How stages are written: T (T1 to T4), 1-4 or 0-3.
    """

    name: str
    column: str
    kind: str
    code: str

    def stages(self, frame: Any) -> np.ndarray:
        """Return the column as (n,) stages 0..3, -1 for empty cells."""
        values = frame[self.column]
        known = {text: -1 if text in MISSING else int(coded_stage(text, self.code)) for text in values.unique()}
        return np.asarray(values.map(known).to_numpy(dtype=int))


@dataclass(frozen=True)
class StageColumns:
    """Columns of readers and comparators.

    Attributes
    ----------
    single
        Name -> column, of comparators and of readers without phases.
    phases
        Reader -> columns without and with the model's help.
    notes
        Why other columns that look like stages are not read.
    """

    single: Mapping[str, StageColumn] = field(default_factory=dict)
    phases: Mapping[str, tuple[StageColumn, StageColumn]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[StageColumn]:
        yield from self.single.values()
        for two in self.phases.values():
            yield from two

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, as results show them."""
        return tuple(one.name for one in self)


@dataclass(frozen=True)
class Named:
    """Columns that the user names.

    Attributes
    ----------
    readers, comparators
        Name -> 'COLUMN' or 'COLUMN:CODE'.
    phases
        Reader -> the columns without and with the model's help.
    """

    readers: Mapping[str, str] = field(default_factory=dict)
    comparators: Mapping[str, str] = field(default_factory=dict)
    phases: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def find_stage_columns(frame: Any, free: Sequence[str], named: Named, numbers: np.ndarray, source: str) -> StageColumns:
    """Find the columns of readers and comparators.

    Parameters
    ----------
    frame
        Rows that are evaluated, as text.
    free
        Columns without another role.
    named
        Columns named by the user; the others are found by their names and cells.
    numbers
        (n,) row of the spreadsheet of each row.
    source
        Name of the table.

    Raises
    ------
    InputError
        If a named column does not exist, is named twice, or has cells that are no stage or of more than one meaning.
    """
    search = _Search(frame, numbers, source)
    single = {
        name: search.named(parameter, name, [text], kind)[0]
        for parameter, kind, given in (
            ("readers", READER, named.readers),
            ("comparators", COMPARATOR, named.comparators),
        )
        for name, text in given.items()
    }
    phases = {}
    for name, two in named.phases.items():
        unaided, aided = search.named("phases", name, list(two), READER)
        phases[name] = unaided, aided
    found = StageColumns(single, phases)
    _require_one_use(found, named, source)
    used = {one.column for one in found}
    detected, notes = search.detected([name for name in free if name not in used], set(found.names) | set(phases))
    return StageColumns({**single, **detected.single}, {**phases, **detected.phases}, tuple(notes))


def _require_one_use(found: StageColumns, named: Named, source: str) -> None:
    columns, names = [one.column for one in found], [*named.readers, *named.comparators, *named.phases]
    for what, texts in (("column", columns), ("name", names)):
        if doubled := next((text for text in texts if texts.count(text) > 1), None):
            raise InputError(
                f"{source}: {what} {doubled!r} is given twice; expected it once in all of `readers`, `comparators` and "
                "`phases`."
            )


def column_and_code(text: str) -> tuple[str, str | None]:
    """Divide 'COLUMN:CODE'; a colon that is not followed by a code belongs to the name of the column.

    Examples
    --------
    >>> from GTRStagingLib.evaluation.readings import column_and_code
    >>> column_and_code("eus_stage:1-4"), column_and_code("EUS: stage")
    (('eus_stage', '1-4'), ('EUS: stage', None))
    """
    column, mark, code = text.rpartition(":")
    return (column, code) if mark and code in CODES else (text, None)


def shown_name(name: str) -> str:
    """Return the name of a reader, comparator or model as tables and figures show it.

    A name with a capital is one that somebody chose, and keeps its letters; another one is put into words.

    Examples
    --------
    >>> from GTRStagingLib.evaluation.readings import shown_name
    >>> [shown_name(name) for name in ("reader1, unaided", "eus", "other_model", "Dr_Li, aided", "ResNet50")]
    ['Reader 1, unaided', 'EUS', 'Other model', 'Dr Li, aided', 'ResNet50']
    """
    who, comma, phase = name.rpartition(", ") if name.endswith((", unaided", ", aided")) else (name, "", "")
    return (label_of(who) if who == who.lower() else who.replace("_", " ")) + comma + phase


class _Search:
    """Search of one table for columns of stages."""

    def __init__(self, frame: Any, numbers: np.ndarray, source: str) -> None:
        self.frame, self.numbers, self.source = frame, numbers, source
        self._texts: dict[str, set[str]] = {}

    def texts(self, column: str) -> set[str]:
        """Return the different cells of a column that are not empty."""
        if column not in self._texts:
            self._texts[column] = set(self.frame[column].unique()) - MISSING
        return self._texts[column]

    def named(self, parameter: str, name: str, given: Sequence[str], kind: str) -> list[StageColumn]:
        """Read columns that the user names, in one code; raise `InputError` if that is not possible."""
        divided = [column_and_code(text) for text in given]
        for column, _ in divided:
            if column not in self.frame.columns:
                known = ", ".join(self.frame.columns)
                raise InputError(
                    f"{self.source} has no column {column!r}; expected one of {known}, for {PARAMETERS[parameter]}. A "
                    f"code follows a colon, and is one of {', '.join(CODES)}."
                )
            if not self.texts(column):
                raise InputError(f"{self.source}, {column} is empty in the rows that are evaluated; expected stages.")
        codes = list(dict.fromkeys(code for _, code in divided if code))
        texts = set().union(*(self.texts(column) for column, _ in divided))
        possible = codes or possible_codes(texts)
        if len(possible) > 1 and not codes:
            example = f"{name}={','.join(column for column, _ in divided)}"
            raise InputError(
                f"{self.source}, {_joined(column for column, _ in divided)}: stages {', '.join(sorted(texts))} are "
                f"ambiguous, from T1 in code 1-4 and from T2 in code 0-3; expected one meaning. Add the code, as "
                f"{example}:{FROM_ONE} or {example}:{FROM_ZERO} in {PARAMETERS[parameter]}."
            )
        found = []
        for i, (column, own) in enumerate(divided):
            code = own or (possible[0] if possible else _nearest_code(texts))
            if fault := self.fault(column, code):
                raise InputError(f"{self.source}, {column}: {fault}. Correct these cells, or leave them empty.")
            shown = name if len(divided) == 1 else f"{name}, {('unaided', 'aided')[i]}"
            found.append(StageColumn(shown, column, kind, code))
        return found

    def fault(self, column: str, code: str) -> str | None:
        """Return which cells of a column are no stages in a code, and why, as the first half of a sentence."""
        wrong = {}
        for text in self.texts(column):
            try:
                coded_stage(text, code)
            except ValueError as error:
                wrong[text] = str(error)
        if not wrong:
            return None
        bad = np.flatnonzero(self.frame[column].isin(list(wrong)).to_numpy())
        cells = ", ".join(f"row {self.numbers[i]} {self.frame[column].iloc[i]!r}" for i in bad[:SHOWN].tolist())
        return f"{cells} ({counted(len(bad), 'such row')}); {wrong[self.frame[column].iloc[bad[0]]]}"

    def detected(self, free: Sequence[str], taken: set[str]) -> tuple[StageColumns, list[str]]:
        """Find columns by their names and cells; return them, and notes on those that look like stages."""
        alone, notes = [], []
        phases: dict[str, tuple[StageColumn, StageColumn]] = {}
        pairs, unpaired = phase_columns([name for name in free if self.is_like(name)])
        truths = {name.casefold() for name in STAGES}
        for reader, two in pairs.items():
            code, why = self.code_of(list(two))
            if code is None or reader in taken:
                notes.append(f"{_joined(two)} are not read as reader {reader}: {why or 'this name is given'}.")
                continue
            unaided, aided = (StageColumn(f"{reader}, {phase}", column, READER, code) for phase, column in
                              zip(("unaided", "aided"), two, strict=True))  # fmt: skip
            phases[reader] = unaided, aided
        for name in free:
            if name in {column for two in pairs.values() for column in two} or not self.is_like(name):
                continue
            if name.casefold() in truths:
                notes.append(f"{name} is not compared: by its name it contains true stages. If it is an opinion, name "
                             f"it in `comparators` ({name}={name}).")  # fmt: skip
                continue
            code, why = self.code_of([name])
            if code is None:
                notes.append(f"{name} looks like stages and is not read: {why}.")
                continue
            if name in unpaired:
                notes.append(f"{name} has no second column (NAME_unaided, NAME_aided), so it is compared as a reader.")
            kind = READER if _READER.search(name) else COMPARATOR
            alone.append(StageColumn(name, name, kind, code))
        if unread := [name for name in free if not _NAMED.search(name) and self.is_numbers_like_stages(name)]:
            notes.append(
                f"{_joined(unread)}: whole numbers from 0 to 4, which are not read as stages. If they are stages, name "
                f"the column and its code in `comparators` or `readers` (as {unread[0]}={unread[0]}:{FROM_ONE})."
            )
        return StageColumns({one.name: one for one in alone}, phases), notes

    def is_like(self, column: str) -> bool:
        """Return whether a column looks like stages, whether or not it can be read."""
        texts = self.texts(column)
        if not 0 < len(texts) <= MOST_TEXTS:
            return False
        alike = sum(map(is_like_a_stage, texts))
        if any(named_stage(text) is not None for text in texts) or 2 * alike >= len(texts):
            return True
        few = [k for text in texts if (k := whole_number(text)) is not None and 0 <= k <= len(TStage)]
        return bool(_NAMED.search(column)) and 2 * len(few) >= len(texts)

    def is_numbers_like_stages(self, column: str) -> bool:
        """Return whether a column has at least three different whole numbers from 0 to 4, and nothing else."""
        texts = self.texts(column)
        numbers = {whole_number(text) for text in texts} if len(texts) <= 5 else {None}
        return len(numbers) >= 3 and all(k is not None and 0 <= k <= 4 for k in numbers)

    def code_of(self, columns: Sequence[str]) -> tuple[str | None, str]:
        """Return the only code of the cells of some columns; or None, and why."""
        texts = set().union(*map(self.texts, columns))
        possible = possible_codes(texts)
        if len(possible) == 1:
            return possible[0], ""
        if possible:
            where = PARAMETERS["phases"] if len(columns) > 1 else "`comparators` or `readers`"
            return None, (
                f"the numbers {', '.join(sorted(texts))} are T1 to T3 in code {FROM_ONE} and T2 to T4 in code "
                f"{FROM_ZERO}; name the column and its code in {where} (as NAME={','.join(columns)}:{FROM_ONE})"
            )
        faults = [f"{column}, {fault}" if len(columns) > 1 else fault
                  for column in columns if (fault := self.fault(column, _nearest_code(texts)))]  # fmt: skip
        return None, f"{'; '.join(faults)}. Correct these cells, or leave them empty"


def _nearest_code(texts: set[str]) -> str:
    """Return the code that the cells of a column are probably meant in, to report those that are not."""
    numbers = [k for text in texts if (k := whole_number(text)) is not None]
    if 2 * len(numbers) <= len(texts) or any(named_stage(text) is not None for text in texts):
        return NAMES
    return FROM_ZERO if 0 in numbers else FROM_ONE


def _joined(columns: Any) -> str:
    return " and ".join(columns)


__all__ = ["COMPARATOR", "READER", "Named", "StageColumn", "StageColumns", "column_and_code", "find_stage_columns",
           "shown_name"]  # fmt: skip
