"""Apply the rules of the audit that need only tables, not images.

An `Entry` has the values of a row that the rules use. Patients are counted, not rows, since slices of one patient are
not independent.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

from GTRStagingLib.support.counts import counted
from GTRStagingLib.tables.table_files import import_table_package

Severity = Literal["leak", "fault", "note"]

SCARCE = 5
"""Ratio of patients in the most and least frequent stage from which a note reports uneven stages."""

SIGNIFICANT, SMALL_EFFECT, LARGE_EFFECT = 0.01, 0.1, 0.5
"""Thresholds of an association: p of the chi-square test, Cramér's V (Cohen's conventions) for a note on splits, and
Cramér's V from which the centre predicts the stage."""


@dataclass(frozen=True)
class Entry:
    """Row of a table: `split` is None without a split, `stage` is the text of the table."""

    name: str
    patient: str
    split: str | None = None
    stage: str | None = None
    centre: str | None = None
    covariates: Mapping[str, str | float | None] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Finding:
    """Finding of an audit.

    Attributes
    ----------
    kind
        Name of the kind of finding, the same for all findings of the kind.
    severity
        'leak': data shared by two splits; 'fault': an error in the data; 'note': a remark.
    sentence
        The finding, with counts.
    examples
        All rows, patients or files concerned, one text each.
    remedy
        How to correct it.
    """

    kind: str
    severity: Severity
    sentence: str
    examples: tuple[str, ...]
    remedy: str


def splits_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return the splits of entries, in the order of their first entries."""
    return tuple(dict.fromkeys(e.split for e in entries if e.split is not None))


def by_patient(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return the entries of each patient."""
    groups = defaultdict(list)
    for entry in entries:
        groups[entry.patient].append(entry)
    return dict(groups)


def table_findings(entries: Sequence[Entry]) -> list[Finding]:
    """Return the findings of all rules on rows, except those on covariates."""
    return [
        *_shared(entries),
        *_spellings(entries),
        *_without_split(entries),
        *_stages_within_patient(entries),
        *_stages(entries),
        *_centres(entries),
    ]


# -- the same in two splits ----------------------------------------------------------------------------------------


def _shared(entries: Sequence[Entry]) -> Iterator[Finding]:
    of = {split: [e for e in entries if e.split == split] for split in splits_of(entries)}
    for pair in combinations(of, 2):
        # Count in the split for testing; the split for training is named train, or is the larger.
        training, testing = sorted(pair, key=lambda split: (split != "train", -len(of[split])))
        common = {e.name for e in of[testing]} & {e.name for e in of[training]}
        rows = [e.name for e in of[testing] if e.name in common]
        if rows:
            whole = f"All {len(rows)}" if len(rows) == len(of[testing]) else f"{len(rows)} of {len(of[testing])}"
            yield Finding(
                "same row on two sides",
                "leak",
                f"{whole} rows of {testing} are also in {training}.",
                tuple(rows),
                f"Remove them from {training}.",
            )
        rest = by_patient(e for e in of[training] if e.name not in common)
        patients = by_patient(of[testing])
        shared = [p for p in patients if p in rest]
        if shared:
            first = "Without these rows, " if rows else ""
            yield Finding(
                "same patient on two sides",
                "leak",
                f"{first}{len(shared)} of {len(patients)} patients of {testing} also appear in {training}.",
                tuple(f"{p}: {_names(patients[p])} in {testing}, {_names(rest[p])} in {training}" for p in shared),
                "Split the cohort again by patient.",
            )


def _names(entries: Sequence[Entry]) -> str:
    more = f" and {len(entries) - 2} more" if len(entries) > 2 else ""
    return ", ".join(e.name for e in entries[:2]) + more


def _spellings(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Find patients with two spellings of their id: 'P007', 'p7' and 'P-007' may be one patient."""
    groups: dict[str, dict[str, set[str | None]]] = defaultdict(lambda: defaultdict(set))
    for entry in entries:
        plain = unicodedata.normalize("NFKC", entry.patient).casefold()
        parts = re.findall(r"\d+|[^\W\d_]+", plain)
        groups[" ".join(part.lstrip("0") or "0" for part in parts) or plain][entry.patient].add(entry.split)
    doubtful = [ids for ids in groups.values() if len(ids) > 1]
    across = [ids for ids in doubtful if len(set().union(*ids.values()) - {None}) > 1]
    for found, severity in ((across, "fault"), ([ids for ids in doubtful if ids not in across], "note")):
        if found:
            where = "in two splits" if severity == "fault" else "in one split"
            yield Finding(
                "patient id in two spellings",
                severity,  # type: ignore[arg-type]
                f"{counted(len(found), 'group')} of patient ids {where}: they differ only in case, zeros, blanks or "
                "punctuation.",
                tuple(" = ".join(ids) + "?" for ids in found),
                "Use one spelling for each patient; if they are two patients, give them clearly different ids.",
            )


def _without_split(entries: Sequence[Entry]) -> Iterator[Finding]:
    nowhere = [e.name for e in entries if e.split is None]
    if nowhere:
        some = f"{len(nowhere)} of {len(entries)} cases are" if len(nowhere) < len(entries) else "All cases are"
        yield Finding(
            "no side",
            "note",
            f"{some} in no split and could not be checked for leaks.",
            tuple(nowhere),
            "Assign every case to a split.",
        )


# -- contradictions ------------------------------------------------------------------------------------------------


def covariate_findings(entries: Sequence[Entry]) -> list[Finding]:
    """Find covariates that differ between rows of a patient, with numbers compared as numbers."""
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
                    f"{name} has contradictory values in {len(differ)} of {len(several)} patients with several values.",
                    tuple(f"{p}: {' / '.join(dict.fromkeys(_shown(v) for v in vs))}" for p, vs in differ.items()),
                    "Enter the value of the patient's record in all rows; a value of the scan is not a covariate.",
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
            "This is correct for two tumours or two dates; otherwise correct the stage.",
        )


# -- balance -------------------------------------------------------------------------------------------------------


def stage_of_patients(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the highest stage of each patient with a stage."""
    groups = by_patient(e for e in entries if e.stage)
    return {patient: max(e.stage or "" for e in rows) for patient, rows in groups.items()}


def _stages(entries: Sequence[Entry]) -> Iterator[Finding]:
    patients = stage_of_patients(entries)
    total = Counter(patients.values())
    splits = {split: stage_of_patients(e for e in entries if e.split == split) for split in splits_of(entries)}
    for split, staged in splits.items():
        if lacking := sorted(set(total) - set(staged.values())) if staged else []:
            yield Finding(
                "stage missing on a side",
                "fault",
                f"{split} has no patient of {', '.join(lacking)}; the cohort has {sum(total[s] for s in lacking)}.",
                tuple(p for p, stage in patients.items() if stage in lacking),
                "Split the cohort again, stratified by stage.",
            )
    if total and max(total.values()) >= SCARCE * min(total.values()):
        yield Finding(
            "uneven stages",
            "note",
            f"{max(total, key=lambda s: total[s])} has {counted(max(total.values()), 'patient')}, "
            f"{min(total, key=lambda s: total[s])} only {min(total.values())}.",
            tuple(f"{stage}: {count}" for stage, count in sorted(total.items())),
            "Weight the stages in training, and report each stage separately.",
        )
    yield from _compared("stages differ between sides", {s: Counter(v.values()) for s, v in splits.items()}, "stages")


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
            f"Centre and stage are associated (Cramér's V {effect:.2f}); a network can learn the scanner instead of "
            "the tumour.",
            tuple(f"{centre}: {_counted(counts)}" for centre, counts in sorted(table.items())),
            "Add patients of the other stages from each centre, or test on a centre that is not in training.",
        )
    splits = {
        split: Counter({e.patient: e.centre for e in entries if e.split == split and e.centre is not None}.values())
        for split in splits_of(entries)
    }
    alone = {c: [s for s in splits if c in splits[s]] for c in sorted(set(map(str, centre_of.values())))}
    alone = {c: found for c, found in alone.items() if len(found) == 1 and len(splits) > 1}
    if alone:
        yield Finding(
            "centre on one side only",
            "note",
            f"{len(alone)} of {len(set(centre_of.values()))} centres are in one split only.",
            tuple(f"{centre}: {found[0]}" for centre, found in alone.items()),
            "This is correct for a centre held out for testing; otherwise split the cohort again.",
        )
    else:
        yield from _compared("centres differ between sides", splits, "centres")


def _compared(kind: str, splits: Mapping[str, Counter[str]], what: str) -> Iterator[Finding]:
    effect, p = association(splits)
    if p < SIGNIFICANT and effect >= SMALL_EFFECT:
        yield Finding(
            kind,
            "note",
            f"The {what} are distributed differently in the splits (Cramér's V {effect:.2f}, p {p:.2g}).",
            tuple(f"{split}: {_counted(counts)}" for split, counts in splits.items()),
            "Split the cohort again, stratified, or report the difference with the results.",
        )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts))


def association(table: Mapping[str, Counter[str]]) -> tuple[float, float]:
    """Return Cramér's V (0 to 1) between a table's rows and columns, and the p-value of the chi-square test.

    (0, 1) for fewer than two rows or columns, or fewer than five patients per cell on average, where the chi-square
    test is unreliable.

    Examples
    --------
    Cramér's V is 1 if each centre has only one stage, and 0 if all have the same distribution.

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
