"""Audit a cohort for leaks between splits, contradictory data and missing files.

`rules` has the rules on tables, `partitions` reads splits given as separate tables, `fingerprint` compares images.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from GTRStagingLib.cohort.cohort import Case, Cohort
from GTRStagingLib.cohort.partitions import read_covariates, read_partitions
from GTRStagingLib.cohort.rules import (
    Entry,
    Finding,
    Severity,
    covariate_findings,
    splits_of,
    stage_of_patients,
    table_findings,
)
from GTRStagingLib.errors import InputError, LeakageError
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import DEFAULT_LIMITS
from GTRStagingLib.tables.case_texts import shared_text


@dataclass(frozen=True)
class SplitSummary:
    """Counts of one split; `stages` counts patients by their highest stage. `name` is None for rows in no split."""

    name: str | None
    rows: int
    patients: int
    stages: Mapping[str, int]


@dataclass(frozen=True)
class Audit:
    """Findings of an audit, most severe first; `looked_at` states what was compared and what was not.

    `notes` states how the tables were read.
    """

    findings: tuple[Finding, ...]
    splits: tuple[SplitSummary, ...]
    looked_at: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """Findings of leaks between splits."""
        return tuple(f for f in self.findings if f.severity == "leak")

    @property
    def ok(self) -> bool:
        """Whether there are neither leaks nor errors; there may be notes."""
        return all(f.severity == "note" for f in self.findings)

    def require_no_leak(self) -> None:
        """Raise if there is a leak.

        Raises
        ------
        LeakageError
            If there is a leak; the message has the sentence of each.
        """
        if self.leaks:
            sentences = " ".join(f.sentence for f in self.leaks)
            raise LeakageError(f"The cohort has leaks; expected none. {sentences} {self.leaks[0].remedy}")

    def to_json(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "ok": self.ok,
            "sides": [asdict(split) for split in self.splits],
            "findings": [asdict(finding) for finding in self.findings],
            "looked_at": list(self.looked_at),
            "notes": list(self.notes),
            "notice": RESEARCH_USE_ONLY,
        }


def audit(
    cohort: Cohort,
    *,
    content: bool = True,
    progress: Callable[[str], None] | None = None,
    workers: int = 0,
    limits: Limits = DEFAULT_LIMITS,
) -> Audit:
    """Audit a cohort. A file that cannot be read, or ends the process that reads it, is a finding of its case.

    Parameters
    ----------
    content
        Read every image, to find the same voxels or key slice under two names. Without it only paths are compared.
    progress
        Called with the id of a case after its image is read.
    workers, limits
        Number of processes that read, and limits of each image, see `support.pools.parallel_map`.
    """
    entries = [_entry(case) for case in cohort]
    findings = [*table_findings(entries), *covariate_findings(entries), *_missing_files(cohort)]
    keys = {case.case_id: f"{case.image.resolve()} {case.series or ''}" for case in cohort}
    looked_at = "images by path only, not by content"
    if content:
        digests, found, looked_at = _content(cohort, progress, workers, limits)
        findings += found
        keys |= digests
    findings += _same_images(cohort, keys)
    compared = ("patients, covariates, stages, centres and files of the table", looked_at)
    return _audit(entries, findings, compared, cohort.notes)


def audit_partitions(
    splits: Mapping[str, Path],
    patient_pattern: str | None = None,
    covariates: Path | None = None,
    *,
    id_column: str | None = None,
) -> Audit:
    """Audit splits given as separate tables, one per split (see `partitions`); images are not compared.

    Raises
    ------
    InputError
        If a table cannot be read, or has no column of patients.
    """
    if len(splits) < 2:
        raise InputError(
            f"{counted(len(splits), 'split')}; expected two or more to compare. Give a table for each split."
        )
    entries, notes = read_partitions(splits, patient_pattern, id_column)
    findings = table_findings(entries)
    looked_at = ["ids, patients, stages and centres of the tables", "no images"]
    if covariates is not None:
        described, others, more = read_covariates(covariates, entries)
        notes = (*notes, *more)
        findings += covariate_findings(described)
        looked_at.append(f"{counted(len(described), 'row')} of covariates in {covariates.name}")
        if others:
            findings.append(
                Finding(
                    "covariates of nobody",
                    "note",
                    f"{counted(len(others), 'row')} of {covariates.name} without a row of the splits.",
                    tuple(others),
                    "This is correct if the table describes further patients.",
                )
            )
    return _audit(entries, findings, tuple(looked_at), notes)


def _audit(
    entries: Sequence[Entry], findings: Sequence[Finding], looked_at: tuple[str, ...], notes: tuple[str, ...]
) -> Audit:
    order: list[Severity] = ["leak", "fault", "note"]
    names = [*splits_of(entries), *([None] if any(e.split is None for e in entries) else [])]
    splits = []
    for name in names:
        rows = [e for e in entries if e.split == name]
        stages = Counter(stage_of_patients(rows).values())
        splits.append(SplitSummary(name, len(rows), len({e.patient for e in rows}), dict(sorted(stages.items()))))
    return Audit(tuple(sorted(findings, key=lambda f: order.index(f.severity))), tuple(splits), looked_at, notes)


def _entry(case: Case) -> Entry:
    return Entry(
        name=case.case_id,
        patient=case.patient_id,
        split=case.split,
        stage=None if case.stage is None else case.stage.name,
        centre=case.centre,
        covariates=case.covariates,
    )


# -- files ---------------------------------------------------------------------------------------------------------


def _missing_files(cohort: Cohort) -> list[Finding]:
    missing = [
        f"{case.case_id}: {column} {path.name}"
        for case in cohort
        for column, path in (("image", case.image), ("roi", case.roi), ("stomach", case.stomach))
        if path is not None and not path.exists()
    ]
    if not missing:
        return []
    return [
        Finding(
            "missing file",
            "fault",
            f"{counted(len(missing), 'image or ROI does', 'images or ROIs do')} not exist.",
            tuple(missing),
            "Correct the paths; relative paths start at the table's folder.",
        )
    ]


def _same_images(cohort: Cohort, keys: Mapping[str, str]) -> list[Finding]:
    """Find images used in two splits, or for two patients; each case is compared with the first of its image."""
    groups = defaultdict(list)
    for case in sorted(cohort, key=lambda case: case.split is None):
        groups[keys[case.case_id]].append(case)
    pairs = [(first, case, case.image.name) for first, *others in groups.values() for case in others]
    return _pair_findings(pairs, "image", "identical images")


def _content(
    cohort: Cohort, progress: Callable[[str], None] | None, workers: int, limits: Limits
) -> tuple[dict[str, str], list[Finding], str]:
    """Return the digest of each readable image by case, the findings, and a text on what was compared."""
    import numpy as np

    from GTRStagingLib.cohort.fingerprint import fingerprints, same_slices

    # A missing file has its own finding; the rest of its case is compared.
    cases = [case if case.roi is None or case.roi.exists() else replace(case, roi=None)
             for case in cohort if case.image.exists()]  # fmt: skip
    prints = fingerprints(cases, progress, workers, limits)
    digests = {case.case_id: p.digest for case, p in zip(cases, prints, strict=True) if p.digest is not None}
    findings = []
    if unusable := [
        f"{case.case_id}: {shared_text(p.problem, (case.image, case.roi))}"
        for case, p in zip(cases, prints, strict=True)
        if p.problem
    ]:
        findings.append(
            Finding(
                "unusable case",
                "fault",
                f"The image, ROI or key slice of {counted(len(unusable), 'case')} cannot be used.",
                tuple(unusable),
                "Correct the files (the reasons are listed), or omit the cases.",
            )
        )
    shown = [(case, p.picture) for case, p in zip(cases, prints, strict=True) if p.picture is not None]
    if shown:
        number: dict[str, int] = {}
        patients = [number.setdefault(f"patient {case.patient_id}", len(number)) for case, _ in shown]
        images = [number.setdefault(f"image {digests[case.case_id]}", len(number)) for case, _ in shown]
        pairs = same_slices(np.stack([picture for _, picture in shown]), patients, images)
        matches = [(shown[i][0], shown[j][0], f"agreement {value:.2f}") for i, j, value in pairs]
        findings += _pair_findings(matches, "slice", "matching key slices")
    unknown = sum(p.picture is None and p.problem is None for p in prints)
    without = f" ({counted(unknown, 'case has', 'cases have')} neither key slice nor ROI)" if unknown else ""
    return digests, findings, f"{len(digests)} images by content, {len(shown)} key slices by picture{without}"


def _pair_findings(pairs: Sequence[tuple[Case, Case, str]], what: str, plural: str) -> list[Finding]:
    """Return findings of equal pairs; two cases of one patient in one split may be equal."""
    across, within = [], []
    for a, b, note in pairs:
        text = f"{a.case_id} ({a.split or 'no split'}) = {b.case_id} ({b.split or 'no split'}): {note}"
        if a.split and b.split and a.split != b.split:
            across.append(text)
        elif a.patient_id != b.patient_id:
            within.append(text)
    findings = []
    if across:
        findings.append(
            Finding(
                f"same {what} on two sides",
                "leak",
                f"{counted(len(across), 'pair')} of {plural} in two splits.",
                tuple(across),
                "Omit one case of each pair, or assign both to the same split.",
            )
        )
    if within:
        findings.append(
            Finding(
                f"same {what} of two patients",
                "note",
                f"{counted(len(within), 'pair')} of {plural} of two patients.",
                tuple(within),
                "Give both cases the same patient id if they are one patient; otherwise omit one.",
            )
        )
    return findings
