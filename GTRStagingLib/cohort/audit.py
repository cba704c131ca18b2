"""The audit of a cohort: whether one side knows another, the data contradict themselves, or anything is missing.

`rules` holds those that need tables alone, `partitions` reads those of others, `fingerprint` looks at images.
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
    sides_of,
    stage_of_patients,
    table_findings,
)
from GTRStagingLib.errors import InputError, LeakageError
from GTRStagingLib.stages import RESEARCH_USE_ONLY


@dataclass(frozen=True)
class Side:
    """What a side holds; `stages` counts patients, by the highest stage of each. `name` is None for rows on no side."""

    name: str | None
    rows: int
    patients: int
    stages: Mapping[str, int]


@dataclass(frozen=True)
class Audit:
    """What was found, worst first, and in what; `looked_at` says what was compared and what was not."""

    findings: tuple[Finding, ...]
    sides: tuple[Side, ...]
    looked_at: tuple[str, ...]

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """Findings through which one side knows the other."""
        return tuple(f for f in self.findings if f.severity == "leak")

    @property
    def ok(self) -> bool:
        """Whether there are neither leaks nor faults; notes there may be."""
        return all(f.severity == "note" for f in self.findings)

    def require_no_leak(self) -> None:
        """Raise unless no side knows another.

        Raises
        ------
        LeakageError
            With the sentence of every leak.
        """
        if self.leaks:
            sentences = " ".join(f.sentence for f in self.leaks)
            raise LeakageError(
                f"The cohort leaks; expected sides that share nothing. {sentences} {self.leaks[0].remedy}"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "ok": self.ok,
            "sides": [asdict(side) for side in self.sides],
            "findings": [asdict(finding) for finding in self.findings],
            "looked_at": list(self.looked_at),
            "notice": RESEARCH_USE_ONLY,
        }


def audit(
    cohort: Cohort, *, content: bool = True, progress: Callable[[str], None] | None = None, workers: int = 0
) -> Audit:
    """Audit a cohort.

    Parameters
    ----------
    content
        Read every image: the same voxels, or the same key slice, under two names. Without it only names are compared.
    progress
        Called with the id of a case whose image has been read.
    workers
        Processes that read, see `support.pools.parallel_map`.
    """
    entries = [_entry(case) for case in cohort]
    findings = [*table_findings(entries), *covariate_findings(entries), *_missing_files(cohort)]
    keys = {case.case_id: str(case.image.resolve()) for case in cohort}
    looked_at = "images by their paths alone, not by their content"
    if content:
        digests, found, looked_at = _content(cohort, progress, workers)
        findings += found
        keys |= digests
    findings += _same_images(cohort, keys)
    return _audit(entries, findings, ("patients, covariates, stages, centres and files of the table", looked_at))


def audit_partitions(
    sides: Mapping[str, Path],
    patient_pattern: str | None = None,
    covariates: Path | None = None,
    *,
    id_column: str | None = None,
) -> Audit:
    """Audit partitions given as tables of any origin, one a side (see `partitions`); images are not looked at.

    Raises
    ------
    InputError
        If a table cannot be read, or does not say which rows are one patient's.
    """
    if len(sides) < 2:
        raise InputError(f"{len(sides)} side(s); expected two or more to compare. Give --split NAME=FILE for each.")
    entries = read_partitions(sides, patient_pattern, id_column)
    findings = table_findings(entries)
    looked_at = ["ids, patients, stages and centres of the tables", "no images"]
    if covariates is not None:
        described, others = read_covariates(covariates, entries)
        findings += covariate_findings(described)
        looked_at.append(f"{len(described)} rows of covariates in {covariates.name}")
        if others:
            findings.append(
                Finding(
                    "covariates of nobody",
                    "note",
                    f"{len(others)} rows of {covariates.name} belong to no row of the sides.",
                    tuple(others),
                    "Right if the table describes more than these patients.",
                )
            )
    return _audit(entries, findings, tuple(looked_at))


def _audit(entries: Sequence[Entry], findings: Sequence[Finding], looked_at: tuple[str, ...]) -> Audit:
    order: list[Severity] = ["leak", "fault", "note"]
    names = [*sides_of(entries), *([None] if any(e.side is None for e in entries) else [])]
    sides = []
    for name in names:
        rows = [e for e in entries if e.side == name]
        stages = Counter(stage_of_patients(rows).values())
        sides.append(Side(name, len(rows), len({e.patient for e in rows}), dict(sorted(stages.items()))))
    return Audit(tuple(sorted(findings, key=lambda f: order.index(f.severity))), tuple(sides), looked_at)


def _entry(case: Case) -> Entry:
    return Entry(
        name=case.case_id,
        patient=case.patient_id,
        side=case.split,
        stage=None if case.stage is None else case.stage.name,
        centre=case.centre,
        covariates=case.covariates,
    )


# -- files ---------------------------------------------------------------------------------------------------------


def _missing_files(cohort: Cohort) -> list[Finding]:
    missing = [
        f"{case.case_id}: {path}"
        for case in cohort
        for path in (case.image, case.roi)
        if path is not None and not path.exists()
    ]
    if not missing:
        return []
    return [
        Finding(
            "missing file",
            "fault",
            f"{len(missing)} image(s) or ROI(s) are not where the table says.",
            tuple(missing),
            "Correct the path; a relative one starts at the table's folder.",
        )
    ]


def _same_images(cohort: Cohort, keys: Mapping[str, str]) -> list[Finding]:
    """One image in cases on two sides, or of two patients; each case is held against the first of its image."""
    groups = defaultdict(list)
    for case in sorted(cohort, key=lambda case: case.split is None):
        groups[keys[case.case_id]].append(case)
    couples = [(first, case, case.image.name) for first, *others in groups.values() for case in others]
    return _couples(couples, "image", "images that are one and the same")


def _content(
    cohort: Cohort, progress: Callable[[str], None] | None, workers: int
) -> tuple[dict[str, str], list[Finding], str]:
    """Digest of each image that can be read, by case; what the images say; and what was looked at."""
    import numpy as np

    from GTRStagingLib.cohort.fingerprint import fingerprints, same_slices

    # A file that is missing has been reported as such, and is no reason to leave the rest of its case out.
    cases = [case if case.roi is None or case.roi.exists() else replace(case, roi=None)
             for case in cohort if case.image.exists()]  # fmt: skip
    prints = fingerprints(cases, progress, workers)
    digests = {case.case_id: p.digest for case, p in zip(cases, prints, strict=True) if p.digest is not None}
    findings = []
    if unusable := [f"{case.case_id}: {p.problem}" for case, p in zip(cases, prints, strict=True) if p.problem]:
        findings.append(
            Finding(
                "unusable case",
                "fault",
                f"The image, ROI or key slice of {len(unusable)} case(s) cannot be used.",
                tuple(unusable),
                "Each has its reason: mend the file, or leave the case out.",
            )
        )
    shown = [(case, p.picture) for case, p in zip(cases, prints, strict=True) if p.picture is not None]
    if shown:
        number: dict[str, int] = {}
        patients = [number.setdefault(f"patient {case.patient_id}", len(number)) for case, _ in shown]
        images = [number.setdefault(f"image {digests[case.case_id]}", len(number)) for case, _ in shown]
        pairs = same_slices(np.stack([picture for _, picture in shown]), patients, images)
        couples = [(shown[i][0], shown[j][0], f"agreement {value:.2f}") for i, j, value in pairs]
        findings += _couples(couples, "slice", "key slices that show the same")
    unknown = sum(p.picture is None and p.problem is None for p in prints)
    without = f" ({unknown} cases have neither key slice nor ROI)" if unknown else ""
    return digests, findings, f"{len(digests)} images by their content, {len(shown)} key slices by sight{without}"


def _couples(couples: Sequence[tuple[Case, Case, str]], what: str, sentence: str) -> list[Finding]:
    """Findings of pairs that are alike; two cases of one patient on one side may be."""
    across, within = [], []
    for a, b, note in couples:
        text = f"{a.case_id} ({a.split or 'no side'}) = {b.case_id} ({b.split or 'no side'}): {note}"
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
                f"{len(across)} pair(s) of {sentence} lie on two sides.",
                tuple(across),
                "Leave one of each pair out, or put both on one side.",
            )
        )
    if within:
        findings.append(
            Finding(
                f"same {what} of two patients",
                "note",
                f"{len(within)} pair(s) of {sentence} belong to two patients.",
                tuple(within),
                "If they are one patient, give both cases the same id; otherwise leave one out.",
            )
        )
    return findings
