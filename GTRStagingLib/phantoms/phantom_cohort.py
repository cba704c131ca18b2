"""Write many phantoms with their cohort table, for training, tests, and the check of an installation."""

from collections.abc import Callable, Sequence
from pathlib import Path

from GTRStagingLib.cohort.cohort import Case, Cohort, write_cohort
from GTRStagingLib.errors import InputError
from GTRStagingLib.phantoms.export import STOMACH_FILE, TRUTH_FILE, write_dicom, write_nifti
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.phantoms.scanner import profile
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import read_json
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import parallel_map

TABLE_FILE = "cohort.csv"

FILES = {"dicom": (write_dicom, "ct", "tumour_seg.dcm"), "nifti": (write_nifti, "ct.nii.gz", "tumour.nii.gz")}
"""Writer, and names of CT and mask, of each form."""


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
    """Write `cases` phantoms, each a different patient, and their cohort table.

    Stages and scanners alternate, so that they are independent. Each case folder is written whole or not at all;
    existing cases of an interrupted run are kept.

    Parameters
    ----------
    seed
        Seed of the first case; each further case adds 1.
    scanners
        Names of scanner profiles.
    form
        'dicom' or 'nifti'.
    progress
        Called with the number of finished cases.

    Returns
    -------
    Path of the table, `cohort.csv` in the folder; the centre is the name of the scanner, and there is no split.

    Raises
    ------
    InputError
        If a parameter is out of range, or a case folder contains another phantom.
    """
    if cases < 1 or form not in FILES or workers < 1:
        raise InputError(
            f"{counted(cases, 'case')} as {form!r} by {counted(workers, 'worker')}; expected at least 1 case and "
            f"1 worker, and {' or '.join(FILES)}."
        )
    for name in scanners:
        profile(name)
    jobs = [
        (folder, form, TStage(i % len(TStage)), seed + i, scanners[i // len(TStage) % len(scanners)], size)
        for i in range(cases)
    ]
    made = []
    for case in parallel_map(_make_case, jobs, workers, limits=Limits(None, None)):
        made.append(case)
        progress(len(made))
    table = folder / TABLE_FILE
    write_cohort(Cohort(tuple(made)), table)
    return table


def _make_case(job: tuple[Path, str, TStage, int, str, int]) -> Case:
    folder, form, stage, seed, scanner, size = job
    write, ct, mask = FILES[form]
    case_id = f"phantom-{seed:06d}"
    target = folder / "cases" / case_id
    if not (target / TRUTH_FILE).is_file():
        write(make_phantom(stage, seed=seed, scanner=scanner, size=size), target)
    truth = Fields(read_json(target / TRUTH_FILE, "the truth of a phantom"), TRUTH_FILE)
    scanner_found = truth.fields("scan").fields("profile").text("name")
    found = (truth.text("stage"), truth.whole("seed"), scanner_found, truth.whole("size"))
    if found != (stage.name, seed, scanner, size) or not (target / ct).exists():
        raise InputError(
            f"{target} has another phantom, {found}; expected {(stage.name, seed, scanner, size)} as {form}. Choose "
            "another folder, or remove this one."
        )
    return Case(
        case_id=case_id,
        patient_id=f"P{seed:06d}",
        centre=scanner,
        image=target / ct,
        roi=target / mask,
        stomach=stomach if (stomach := target / STOMACH_FILE).exists() else None,  # older phantoms have none
        stage=stage,
        covariates={
            "depth_mm": truth.number("depth_mm"),
            "length_mm": round(truth.fields("lesion").number("length_mm"), 1),
            "neighbour": truth.fields("lesion").text("neighbour", None),
        },
    )
