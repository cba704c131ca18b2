"""Many phantoms at once: a folder a case and their cohort table, for training, for tests, and to check a site."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from GTRStagingLib.cohort.cohort import Case, Cohort, write_cohort
from GTRStagingLib.errors import InputError
from GTRStagingLib.phantoms.export import TRUTH_FILE, write_dicom, write_nifti
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.phantoms.scanner import profile
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.pools import parallel_map

TABLE_FILE = "cohort.csv"

FILES = {"dicom": (write_dicom, "ct", "tumour_seg.dcm"), "nifti": (write_nifti, "ct.nii.gz", "tumour.nii.gz")}
"""Form -> how it is written, and the names of its CT and its mask."""


def make_phantom_cohort(
    folder: Path,
    *,
    cases: int,
    seed: int = 0,
    scanners: Sequence[str] = ("A",),
    size: int = 256,
    form: str = "nifti",
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Path:
    """Write `cases` phantoms, each of a patient of its own, and the table of them.

    Stages and scanners take turns, so that neither tells of the other. Each case's folder appears whole; cases that
    are there already, from a run that was stopped, are kept.

    Parameters
    ----------
    seed
        Of the first case; the others follow it.
    scanners
        Names of scanner profiles.
    form
        'dicom' or 'nifti'.
    progress
        Called with the number of cases done.

    Returns
    -------
    The table, `cohort.csv` in the folder; centre is the scanner's name, and split is left open.

    Raises
    ------
    InputError
        If an option is out of range, or a case's folder holds something else.
    """
    if cases < 1 or form not in FILES or workers < 1:
        raise InputError(
            f"{cases} cases as {form!r} by {workers} workers; expected at least 1 of both, and {' or '.join(FILES)}."
        )
    for name in scanners:
        profile(name)
    jobs = [
        (folder, form, TStage(i % len(TStage)), seed + i, scanners[i // len(TStage) % len(scanners)], size)
        for i in range(cases)
    ]
    made = []
    for case in parallel_map(_one, jobs, workers):
        made.append(case)
        progress(len(made))
    table = folder / TABLE_FILE
    write_cohort(Cohort(tuple(made)), table)
    return table


def _one(job: tuple[Path, str, TStage, int, str, int]) -> Case:
    folder, form, stage, seed, scanner, size = job
    write, ct, mask = FILES[form]
    case_id = f"phantom-{seed:06d}"
    place = folder / "cases" / case_id
    if not (place / TRUTH_FILE).is_file():
        write(make_phantom(stage, seed=seed, scanner=scanner, size=size), place)
    truth = json.loads((place / TRUTH_FILE).read_text(encoding="utf-8"))
    found = (truth["stage"], truth["seed"], truth["scan"]["profile"]["name"], truth["size"])
    if found != (stage.name, seed, scanner, size) or not (place / ct).exists():
        raise InputError(
            f"{place} holds another phantom, {found}; expected {(stage.name, seed, scanner, size)} as {form}. Choose "
            "another --out, or remove it."
        )
    return Case(
        case_id=case_id,
        patient_id=f"P{seed:06d}",
        centre=scanner,
        image=place / ct,
        roi=place / mask,
        stage=stage,
        covariates={
            "depth_mm": truth["depth_mm"],
            "length_mm": round(truth["lesion"]["length_mm"], 1),
            "neighbour": truth["lesion"]["neighbour"],
        },
    )
