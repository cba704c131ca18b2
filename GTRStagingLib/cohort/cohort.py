"""Read, write and split cohorts: tables with one row per case, split by patient.

The columns are `COLUMNS`; every further column is a covariate. Needs the extra `cohort` (pandas, scikit-learn), which
is imported when a table is written or split, or is not text.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.counts import counted
from GTRStagingLib.tables.case_row import CaseRow
from GTRStagingLib.tables.case_table import read_cases
from GTRStagingLib.tables.cells import Split, folder_key, plain_text, unaltered_id
from GTRStagingLib.tables.table_files import import_table_package, write_table

COLUMNS = ("case_id", "patient_id", "centre", "image", "series", "roi", "segment", "key_slice", "stage", "split")
OPTIONAL = ("stomach", "stomach_segment")
"""Columns that are written only if a case has them."""
NEEDED = ("case_id", "patient_id", "image")


@dataclass(frozen=True, kw_only=True)
class Case(CaseRow):
    """Case of a cohort: a row with a patient and a CT, checked on construction."""

    patient_id: str = field()
    image: Path = field()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.archive is not None:
            _ = self.ct  # raises: what reads cohorts reads files
        try:
            unaltered_id(self.patient_id)
        except ValueError as error:
            raise InputError(f"Case {self.case_id!r}, patient_id {self.patient_id!r}: {error}.") from error


@dataclass(frozen=True)
class Cohort:
    """Cases in the order of their table, with unique ids.

    Attributes
    ----------
    notes
        Sentences on how the table was read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from GTRStagingLib.cohort.cohort import Case, Cohort
    >>> first = Case(case_id="a", patient_id="1", image=Path("a.nii.gz"), split="train")
    >>> second = Case(case_id="b", patient_id="1", image=Path("b.nii.gz"), split="train")
    >>> cohort = Cohort((first, second))
    >>> len(cohort), cohort.patients, len(cohort.of("test"))
    (2, ('1',), 0)
    """

    cases: tuple[Case, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        count = Counter(folder_key(case.case_id) for case in self.cases)
        if duplicates := [case.case_id for case in self.cases if count[folder_key(case.case_id)] > 1]:
            raise InputError(f"Duplicate case ids, ignoring case: {duplicates[:5]}; expected unique ids. Rename them.")

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def of(self, split: Split) -> "Cohort":
        """Return the cases of a split; empty if it has none."""
        return Cohort(tuple(case for case in self.cases if case.split == split))

    @property
    def patients(self) -> tuple[str, ...]:
        """Unique patient ids, in the order of the table."""
        return tuple(dict.fromkeys(case.patient_id for case in self.cases))

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of all covariates, in the order of the table."""
        return tuple(dict.fromkeys(name for case in self.cases for name in case.covariates))


def read_cohort(path: Path) -> Cohort:
    """Read a cohort table: `.csv`, `.xlsx` or `.parquet`, see `tables.table_files.read_table`.

    Relative paths start at the table's folder. Ids are texts: '007' stays '007'. Cases with a reason in the column
    `exclude` are left out; `notes` has their number.

    Raises
    ------
    InputError
        If the table has errors; the message lists each with row (the header is 1), column, value and expected value.
    """
    read = read_cases(path, NEEDED, Case)
    return Cohort(read.rows, read.notes)


def write_cohort(cohort: Cohort, path: Path) -> None:
    """Write a cohort as `.csv` or `.parquet`, whole or not at all; `read_cohort` returns the same cohort.

    Paths below the table's folder are written relative to it and read as absolute paths; a covariate that only other
    cases have is read as None.
    """
    folder = path.absolute().parent
    columns: dict[str, list[str | float | None]] = {
        "case_id": [case.case_id for case in cohort],
        "patient_id": [case.patient_id for case in cohort],
        "centre": [case.centre for case in cohort],
        "image": [_written(case.image, folder) for case in cohort],
        "series": [case.series for case in cohort],
        "roi": [None if case.roi is None else _written(case.roi, folder) for case in cohort],
        "segment": [case.segment for case in cohort],
        "key_slice": [None if case.key_slice is None else str(case.key_slice) for case in cohort],
        "stage": [None if case.stage is None else case.stage.name for case in cohort],
        "split": [case.split for case in cohort],
    }
    for name, values in (
        ("stomach", [None if case.stomach is None else _written(case.stomach, folder) for case in cohort]),
        ("stomach_segment", [case.stomach_segment for case in cohort]),
    ):
        if any(value is not None for value in values):
            columns[name] = list(values)
    covariates = {name: [case.covariates.get(name) for case in cohort] for name in cohort.covariates}
    write_table(path, columns | covariates)


def _written(target: Path, folder: Path) -> str:
    target = target.absolute()
    if target.is_relative_to(folder):
        try:
            return plain_text(target.relative_to(folder).as_posix())
        except ValueError:  # e.g. a folder named 'NA'; its absolute path is not read as missing
            pass
    return target.as_posix()


# -- splits --------------------------------------------------------------------------------------------------------


def split_cohort(
    cohort: Cohort,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    *,
    seed: int = 0,
    test_centres: Collection[str] = (),
) -> Cohort:
    """Split a cohort by patient, with the same proportions of stages in each split.

    Patients are drawn, not cases (scikit-learn's stratified splitter), so that the fractions are exact to one patient;
    a patient with several stages counts with the highest. The split depends on the patients and the seed, not on the
    order of the table.

    Parameters
    ----------
    fractions
        Fractions of the patients in train, validation and test, and in calibration if there is a fourth one, with sum
        1. A split of 0 is empty.
    test_centres
        Split `test` consists of all patients of these centres; the others are divided between the other splits in the
        proportion of their fractions.

    Raises
    ------
    InputError
        If a stage is missing, or has fewer patients than there are splits.

    Examples
    --------
    Twenty patients of T2 and twenty of T3, with two cases each: a quarter is five patients of each stage, with both
    cases.

    >>> from collections import Counter
    >>> from pathlib import Path
    >>> from GTRStagingLib.cohort.cohort import Case, Cohort, split_cohort
    >>> from GTRStagingLib.stages import TStage
    >>> cohort = Cohort(tuple(
    ...     Case(case_id=f"{n}{letter}", patient_id=str(n), image=Path("ct.nrrd"), stage=TStage(1 + n // 20))
    ...     for n in range(40) for letter in "ab"
    ... ))
    >>> test = split_cohort(cohort, (0.5, 0.25, 0.25), seed=1).of("test")
    >>> len(test), len(test.patients)
    (20, 10)
    >>> sorted(Counter(str(case.stage) for case in test).items())
    [('T2', 10), ('T3', 10)]
    """
    shares_add_up = all(0 <= f <= 1 for f in fractions) and abs(sum(fractions) - 1) <= 1e-6  # false for NaN
    if len(fractions) not in (3, 4) or not shares_add_up or fractions[0] == 0:
        raise InputError(
            f"Fractions {' '.join(f'{f:g}' for f in fractions)}; expected three or four numbers (train, validation, "
            "test, calibration) from 0 to 1 with sum 1, and train above 0."
        )
    stages = _stage_of_patients(cohort)
    held_out = _patients_of(cohort, test_centres)
    split_of: dict[str, Split] = dict.fromkeys(held_out, "test")
    rest = sorted(set(stages) - held_out)
    train, validation, test, calibration = (*fractions, 0.0)[:4]
    if test_centres:
        of_rest = train + validation + calibration
        validation, test, calibration = validation / of_rest, 0.0, calibration / of_rest
    # A fourth split leaves the draw of the test patients as it is.
    shares: list[tuple[Split, float]] = [("test", test), ("validation", validation), ("calibration", calibration)]
    counts: dict[Split, int] = {name: round(share * len(rest)) for name, share in shares if share}
    _require_enough(
        Counter(stages[p] for p in rest),
        {"train": len(rest) - sum(counts.values()), **{str(name): n for name, n in counts.items()}},
    )
    splitter = import_table_package("sklearn.model_selection").train_test_split
    for name, count in counts.items():
        try:
            rest, drawn = splitter(rest, test_size=count, random_state=seed, stratify=[stages[p].name for p in rest])
        except ValueError as error:  # only one patient of a stage is left
            raise _scarce(name) from error
        rest.sort()
        split_of.update(dict.fromkeys(drawn, name))
    split_of.update(dict.fromkeys(rest, "train"))
    expected = {stages[p] for p in split_of if p not in held_out}
    for name in ("train", *counts):
        if {stages[p] for p in split_of if split_of[p] == name} < expected:
            raise _scarce(name)
    return Cohort(tuple(replace(case, split=split_of[case.patient_id]) for case in cohort))


def _scarce(split: str) -> InputError:
    return InputError(
        f"Split {split} does not contain every stage: the rarest has too few patients for this fraction; expected "
        "every stage in each split. Increase the smaller fractions, or add patients of the rarest stage."
    )


def folds(cohort: Cohort, k: int, *, seed: int = 0) -> Iterator[tuple[Cohort, Cohort]]:
    """Yield the training and validation cohorts of a k-fold cross-validation, by patient (StratifiedGroupKFold).

    Raises
    ------
    InputError
        If a case belongs to split `test` or `calibration`, or a stage has fewer than k patients.
    """
    kept: list[Split] = ["test", "calibration"]
    for split in kept:
        if len(cohort.of(split)):
            raise InputError(
                f"{counted(len(cohort.of(split)), 'case is', 'cases are')} in split {split}; expected none in a "
                "cross-validation. Give the cohort without them."
            )
    if k < 2:
        raise InputError(f"{counted(k, 'fold')}; expected at least 2.")
    patients = Counter(_stage_of_patients(cohort).values())
    _require_enough(patients, {f"fold {i + 1}": sum(patients.values()) // k for i in range(k)})
    ordered = sorted(cohort, key=lambda case: case.case_id)
    splitter = import_table_package("sklearn.model_selection").StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    for _, held_out in splitter.split(ordered, [str(c.stage) for c in ordered], [c.patient_id for c in ordered]):
        out = {ordered[i].patient_id for i in held_out}
        names: list[Split] = ["train", "validation"]
        train, validation = (
            Cohort(tuple(replace(c, split=name) for c in cohort if (c.patient_id in out) == (name == "validation")))
            for name in names
        )
        yield train, validation


def _stage_of_patients(cohort: Cohort) -> dict[str, TStage]:
    stages: dict[str, TStage] = {}
    without = []
    for case in cohort:
        if case.stage is None:
            without.append(case.case_id)
        else:
            stages[case.patient_id] = max(case.stage, stages.get(case.patient_id, case.stage))
    if without:
        raise InputError(
            f"{counted(len(without), 'case has', 'cases have')} no stage ({', '.join(without[:5])}); expected a "
            "stage in every case, to stratify the splits. Enter the stage, or omit these cases."
        )
    return stages


def _patients_of(cohort: Cohort, centres: Collection[str]) -> set[str]:
    known = sorted({case.centre for case in cohort if case.centre is not None})
    if unknown := sorted(set(centres) - set(known)):
        raise InputError(
            f"Centre {unknown[0]!r} is not in the table; expected "
            + (f"one of: {', '.join(known)}." if known else "a table with a column of centres.")
        )
    return {case.patient_id for case in cohort if case.centre in centres}


def _require_enough(patients: Counter[TStage], splits: Mapping[str, int]) -> None:
    few = [f"{stage.name} has {n}" for stage, n in sorted(patients.items()) if n < len(splits)]
    few += [f"{name} would have {n}" for name, n in splits.items() if n < len(patients)]
    if few or not patients:
        raise InputError(
            f"Too few patients: {'; '.join(few) or 'none are left'}; expected every stage in each of {len(splits)} "
            "splits. Add patients, or use fewer or larger splits."
        )
