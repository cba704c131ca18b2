"""List the names of columns that tables of cases may have, and find a column by them. The one list for all commands.

A name is found whatever its case, blanks, hyphens and underscores: `PatientID` and `patient id` are `patient_id`.
"""

from collections.abc import Collection, Mapping, Sequence

CASES = ("case_id", "image_path", "image_name", "image_id", "slice_id", "SlicePath", "image", "path", "file",
         "filename", "name", "id")  # fmt: skip
"""Names of a column with one id for each row."""

PATIENTS = ("patient_id", "PatientID", "patient", "subject_id", "subject")

CENTRES = ("centre", "center", "hospital")
"""Names of the centre's column. `site` is not among them, since it may be the site of a tumour; see `remarks`."""

STAGES = ("true_stage", "true_label", "y_true", "pathology_stage", "pT", "PathT", "T_stage", "stage", "label")
"""Names of the true stage in tables of other software; a case table has `stage`."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "case_id": ("case_id",),
    "patient_id": PATIENTS,
    "centre": CENTRES,
    "image": ("image",),
    "series": ("series",),
    "roi": ("roi",),
    "segment": ("segment",),
    "key_slice": ("key_slice",),
    "stomach": ("stomach",),
    "stomach_segment": ("stomach_segment",),
    "stage": ("stage",),
    "split": ("split",),
    "exclude": ("exclude",),
}
"""Columns of a case table, each with the names under which it is found; further columns are the user's own."""

TEXTS = frozenset({*CASES, *PATIENTS, *CENTRES, *COLUMNS} - {"key_slice"})
"""Columns whose cells are never numbers."""


def folded(name: str) -> str:
    """Return a name without case, blanks and punctuation, under which spellings of one name are equal.

    Examples
    --------
    >>> from GTRStagingLib.tables.headers import folded
    >>> folded("Key-Slice"), folded("key_slice"), folded("PatientID")
    ('keyslice', 'keyslice', 'patientid')
    """
    return "".join(c for c in name.casefold() if c.isalnum())


def find(header: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the column with the first of the names, in the spelling of the table; None without one.

    The exact name comes before other spellings of it.

    Raises
    ------
    ValueError
        If two columns have spellings of one name, and neither is exact.

    Examples
    --------
    >>> from GTRStagingLib.tables.headers import PATIENTS, find
    >>> find(["Patient ID", "subject"], PATIENTS)
    'Patient ID'
    """
    for name in names:
        if name in header:
            return name
        found = [one for one in header if folded(one) == folded(name)]
        if len(found) > 1:
            raise ValueError(
                f"columns {' and '.join(map(repr, found))} are both read as {name!r}; expected one. Rename or remove "
                "the other"
            )
        if found:
            return found[0]
    return None


def columns_read(header: Sequence[str], own: Collection[str] = ()) -> tuple[dict[str, str], list[str], list[str]]:
    """Return the columns of `COLUMNS` in a header (name -> spelling), with notes and errors.

    Parameters
    ----------
    own
        Columns that the caller uses under their own names.
    """
    found: dict[str, str] = {}
    faults = []
    for name, spellings in COLUMNS.items():
        try:
            met = find([one for one in header if one not in own], spellings)
        except ValueError as error:
            faults.append(f"row 1: {error}")
            continue
        if met is None:
            continue
        found[name] = met
        same = [one for one in header if folded(one) == folded(name) and one != met and one not in own]
        faults += [f"row 1, column {one!r}: expected one column {name!r}; the table has {met!r}, too" for one in same]
    notes = [f"Column {met!r} is read as {name!r}." for name, met in found.items() if met != name]
    return found, [*notes, *remarks(header)], faults


def remarks(header: Sequence[str]) -> list[str]:
    """Return a note on a column `site`, which may be the centre, in a table without a centre."""
    sites = [name for name in header if folded(name) == "site"]
    if not sites or {folded(name) for name in header} & {folded(name) for name in CENTRES}:
        return []
    return [f"Column {sites[0]!r} is not read as the centre, since it may be the site of a tumour. If it is the "
            "hospital, rename it to 'centre'."]  # fmt: skip


def patient_note(column: str, rows: int, patients: int) -> list[str]:
    """Return a note if every row has a patient of its own, by a column that is not called `patient_id`.

    Such a column may have the ids of slices or scans, as `PatientID` in published tables.
    """
    if column == "patient_id" or rows < 2 or patients < rows:
        return []
    return [f"Column {column!r} is different in every row, so that each row is a patient of its own. If patients have "
            "several rows, name the column of patients 'patient_id', or set `patient_pattern`."]  # fmt: skip


def is_text(name: str) -> bool:
    """Return whether the cells of a column are texts, such as ids and paths, although they may look like numbers."""
    return folded(name) in _FOLDED_TEXTS


_FOLDED_TEXTS = frozenset(map(folded, TEXTS))

__all__ = ["CASES", "CENTRES", "COLUMNS", "PATIENTS", "STAGES", "columns_read", "find", "folded", "is_text",
           "patient_note", "remarks"]  # fmt: skip
