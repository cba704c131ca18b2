"""What a table says against itself: the audit's rules that need no image.

An `Entry` is a row of whatever table, reduced to what the rules ask. Counts are of patients, since slices of one
patient are no independent witnesses.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

from GTRStagingLib.tables.table_files import import_table_package

Severity = Literal["leak", "fault", "note"]

SCARCE = 5
"""The commonest stage may have so many times the patients of the rarest before a note says that they are uneven."""

SIGNIFICANT, SMALL_EFFECT, LARGE_EFFECT = 0.01, 0.1, 0.5
"""Of an association (chi-square's p, Cramér's V by Cohen's conventions): what chance alone seldom makes, what is worth
a note between sides, and from where on the centre gives the stage away."""


@dataclass(frozen=True)
class Entry:
    """A row: `side` is None where it is on none, `stage` text as the table has it."""

    name: str
    patient: str
    side: str | None = None
    stage: str | None = None
    centre: str | None = None
    covariates: Mapping[str, str | float | None] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Finding:
    """Something found.

    Attributes
    ----------
    kind
        A few words that are the same for all findings of the kind.
    severity
        'leak': what one side learns, the other is asked; 'fault': an error in the data; 'note': to know.
    sentence
        What was found, with counts.
    examples
        Everything involved, one text each.
    remedy
        What to do about it.
    """

    kind: str
    severity: Severity
    sentence: str
    examples: tuple[str, ...]
    remedy: str


def sides_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The sides that entries are on, in the order in which they appear."""
    return tuple(dict.fromkeys(e.side for e in entries if e.side is not None))


def by_patient(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Entries of each patient."""
    groups = defaultdict(list)
    for entry in entries:
        groups[entry.patient].append(entry)
    return dict(groups)


def table_findings(entries: Sequence[Entry]) -> list[Finding]:
    """All that the rules find in rows, covariates apart."""
    return [
        *_shared(entries),
        *_spellings(entries),
        *_without_side(entries),
        *_stages_within_patient(entries),
        *_stages(entries),
        *_centres(entries),
    ]


# -- the same on two sides -----------------------------------------------------------------------------------------


def _shared(entries: Sequence[Entry]) -> Iterator[Finding]:
    of = {side: [e for e in entries if e.side == side] for side in sides_of(entries)}
    for pair in combinations(of, 2):
        # Counted in the side that is asked, not in the one that is learnt from: that one is called train, or is larger.
        learnt, asked = sorted(pair, key=lambda side: (side != "train", -len(of[side])))
        common = {e.name for e in of[asked]} & {e.name for e in of[learnt]}
        rows = [e.name for e in of[asked] if e.name in common]
        if rows:
            whole = f"All {len(rows)}" if len(rows) == len(of[asked]) else f"{len(rows)} of {len(of[asked])}"
            yield Finding(
                "same row on two sides",
                "leak",
                f"{whole} rows of {asked} are listed in {learnt} as well.",
                tuple(rows),
                f"Take them out of {learnt}.",
            )
        rest = by_patient(e for e in of[learnt] if e.name not in common)
        patients = by_patient(of[asked])
        shared = [p for p in patients if p in rest]
        if shared:
            first = "Without those rows, " if rows else ""
            yield Finding(
                "same patient on two sides",
                "leak",
                f"{first}{len(shared)} of the {len(patients)} patients of {asked} have other rows in {learnt}.",
                tuple(f"{p}: {_names(patients[p])} in {asked}, {_names(rest[p])} in {learnt}" for p in shared),
                "Split by patient: gtrstaging cohort split does.",
            )


def _names(entries: Sequence[Entry]) -> str:
    more = f" and {len(entries) - 2} more" if len(entries) > 2 else ""
    return ", ".join(e.name for e in entries[:2]) + more


def _spellings(entries: Sequence[Entry]) -> Iterator[Finding]:
    """One patient under two ids: 'P007', 'p7' and 'P-007' differ in what people and spreadsheets change."""
    groups: dict[str, dict[str, set[str | None]]] = defaultdict(lambda: defaultdict(set))
    for entry in entries:
        plain = unicodedata.normalize("NFKC", entry.patient).casefold()
        parts = re.findall(r"\d+|[^\W\d_]+", plain)
        groups[" ".join(part.lstrip("0") or "0" for part in parts) or plain][entry.patient].add(entry.side)
    doubtful = [ids for ids in groups.values() if len(ids) > 1]
    across = [ids for ids in doubtful if len(set().union(*ids.values()) - {None}) > 1]
    for found, severity in ((across, "fault"), ([ids for ids in doubtful if ids not in across], "note")):
        if found:
            where = "on two sides" if severity == "fault" else "on one side"
            yield Finding(
                "patient id in two spellings",
                severity,  # type: ignore[arg-type]
                f"{len(found)} group(s) of patient ids {where} differ only in case, zeros, blanks or punctuation.",
                tuple(" = ".join(ids) + "?" for ids in found),
                "Write a patient's id in one way; if they are two people, give them ids that differ.",
            )


def _without_side(entries: Sequence[Entry]) -> Iterator[Finding]:
    nowhere = [e.name for e in entries if e.side is None]
    if nowhere:
        some = f"{len(nowhere)} of {len(entries)} cases are" if len(nowhere) < len(entries) else "All cases are"
        yield Finding(
            "no side",
            "note",
            f"{some} on no side: leaks could not be looked for there.",
            tuple(nowhere),
            "Divide the cohort: gtrstaging cohort split does.",
        )


# -- contradictions ------------------------------------------------------------------------------------------------


def covariate_findings(entries: Sequence[Entry]) -> list[Finding]:
    """Covariates are of the patient: whatever is given in several rows must be the same, numbers as numbers."""
    patients = by_patient(entries)
    findings = []
    for name in dict.fromkeys(name for e in entries for name in e.covariates):
        given = {p: [e.covariates[name] for e in rows if e.covariates.get(name) is not None]
                 for p, rows in patients.items()}  # fmt: skip
        several = {p: values for p, values in given.items() if len(values) > 1}
        differ = {p: values for p, values in several.items() if len({_comparable(v) for v in values}) > 1}
        if differ:
            findings.append(
                Finding(
                    "contradictory covariate",
                    "fault",
                    f"{name} contradicts itself in {len(differ)} of the {len(several)} patients with several values.",
                    tuple(f"{p}: {' / '.join(dict.fromkeys(_shown(v) for v in vs))}" for p, vs in differ.items()),
                    "Take it from the patient's record, once; if it varies with the scan, it is no covariate.",
                )
            )
    return findings


def _comparable(value: str | float | None) -> str | float | None:
    return value.strip().casefold() if isinstance(value, str) else value


def _shown(value: str | float | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _stages_within_patient(entries: Sequence[Entry]) -> Iterator[Finding]:
    patients = {p: list(dict.fromkeys(e.stage for e in rows if e.stage)) for p, rows in by_patient(entries).items()}
    differ = {p: stages for p, stages in patients.items() if len(stages) > 1}
    if differ:
        yield Finding(
            "several stages in a patient",
            "note",
            f"{len(differ)} of {len(patients)} patients have more than one stage.",
            tuple(f"{p}: {' / '.join(stages)}" for p, stages in differ.items()),
            "Right for two tumours or two dates; otherwise correct the stage.",
        )


# -- balance -------------------------------------------------------------------------------------------------------


def stage_of_patients(entries: Iterable[Entry]) -> dict[str, str]:
    """The highest stage of each patient that has one."""
    groups = by_patient(e for e in entries if e.stage)
    return {patient: max(e.stage or "" for e in rows) for patient, rows in groups.items()}


def _stages(entries: Sequence[Entry]) -> Iterator[Finding]:
    patients = stage_of_patients(entries)
    total = Counter(patients.values())
    sides = {side: stage_of_patients(e for e in entries if e.side == side) for side in sides_of(entries)}
    for side, staged in sides.items():
        if lacking := sorted(set(total) - set(staged.values())) if staged else []:
            yield Finding(
                "stage missing on a side",
                "fault",
                f"{side} has no patient of {', '.join(lacking)}, though the cohort has "
                f"{sum(total[s] for s in lacking)}.",
                tuple(p for p, stage in patients.items() if stage in lacking),
                "Split again, stratified by stage: gtrstaging cohort split does.",
            )
    if total and max(total.values()) >= SCARCE * min(total.values()):
        yield Finding(
            "uneven stages",
            "note",
            f"{max(total, key=lambda s: total[s])} has {max(total.values())} patients, "
            f"{min(total, key=lambda s: total[s])} only {min(total.values())}.",
            tuple(f"{stage}: {count}" for stage, count in sorted(total.items())),
            "Weight the stages in training, and report each stage by itself.",
        )
    yield from _compared("stages differ between sides", {s: Counter(v.values()) for s, v in sides.items()}, "stages")


def _centres(entries: Sequence[Entry]) -> Iterator[Finding]:
    stages = stage_of_patients(entries)
    centre_of = {e.patient: e.centre for e in entries if e.centre is not None}
    if len(set(centre_of.values())) < 2:
        return
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for patient in centre_of.keys() & stages.keys():
        table[str(centre_of[patient])][stages[patient]] += 1
    effect, p = association(table)
    if p < SIGNIFICANT and effect >= LARGE_EFFECT:
        yield Finding(
            "centre tells the stage",
            "fault",
            f"Centre and stage go together (Cramér's V {effect:.2f}): a network can read the scanner, not the tumour.",
            tuple(f"{centre}: {_counted(counts)}" for centre, counts in sorted(table.items())),
            "Add patients of the other stages from each centre, or test on a centre that training never saw.",
        )
    sides = {
        side: Counter({e.patient: e.centre for e in entries if e.side == side and e.centre is not None}.values())
        for side in sides_of(entries)
    }
    alone = {c: [s for s in sides if c in sides[s]] for c in sorted(set(map(str, centre_of.values())))}
    alone = {c: found for c, found in alone.items() if len(found) == 1 and len(sides) > 1}
    if alone:
        yield Finding(
            "centre on one side only",
            "note",
            f"{len(alone)} of {len(set(centre_of.values()))} centres are on one side only.",
            tuple(f"{centre}: {found[0]}" for centre, found in alone.items()),
            "Right for a centre kept out for testing; otherwise split again.",
        )
    else:
        yield from _compared("centres differ between sides", sides, "centres")


def _compared(kind: str, sides: Mapping[str, Counter[str]], what: str) -> Iterator[Finding]:
    effect, p = association(sides)
    if p < SIGNIFICANT and effect >= SMALL_EFFECT:
        yield Finding(
            kind,
            "note",
            f"The {what} are not mixed alike on the sides (Cramér's V {effect:.2f}, p {p:.2g}).",
            tuple(f"{side}: {_counted(counts)}" for side, counts in sides.items()),
            "Split again, stratified; or say so with the results.",
        )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts))


def association(table: Mapping[str, Counter[str]]) -> tuple[float, float]:
    """Cramér's V (0 to 1) between a table's rows and columns, and the p-value of the chi-square test.

    (0, 1), which says nothing, where there are fewer than two of either, or fewer than five patients a cell on average
    (below that chi-square is not to be trusted).

    Examples
    --------
    Cramér's V is 1 where each centre has one stage alone, and 0 where all have the same mixture.

    >>> from collections import Counter
    >>> from GTRStagingLib.cohort.rules import association
    >>> round(association({"A": Counter(T1=20), "B": Counter(T4=20)})[0], 6)
    1.0
    >>> association({"A": Counter(T1=20, T4=20), "B": Counter(T1=20, T4=20)})
    (0.0, 1.0)
    """
    columns = sorted({name for counts in table.values() for name in counts})
    rows = [[counts[name] for name in columns] for counts in table.values() if counts]
    total = sum(map(sum, rows))
    if min(len(rows), len(columns)) < 2 or total < 5 * len(rows) * len(columns):
        return 0.0, 1.0
    test = import_table_package("scipy.stats").chi2_contingency(rows, correction=False)
    return float((test.statistic / total / (min(len(rows), len(columns)) - 1)) ** 0.5), float(test.pvalue)
