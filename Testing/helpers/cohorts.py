"""Cohorts for tests: a clean one of any size, with images that nobody has to decode."""

from pathlib import Path

from GTRStagingLib.cohort.cohort import Case, Cohort
from GTRStagingLib.stages import TStage

SIDES = ("train", "validation", "test")


def clean(folder, patients=48, cases_a_patient=1):
    """Patients of both centres, all stages and all sides in even proportions; each case with a file of its own."""
    cases = []
    for p in range(patients):
        for c in range(cases_a_patient):
            image = Path(folder) / f"image{p}-{c}.nii.gz"
            image.write_bytes(b"") if Path(folder).is_dir() else None
            cases.append(
                Case(
                    case_id=f"case{p}-{c}",
                    patient_id=f"patient{p}",
                    centre="ABCDEFGH"[p // 4 % 2],
                    image=image,
                    key_slice=c,
                    stage=TStage(p % 4),
                    split=SIDES[p // 8 % 3],
                    covariates={"age": 40.0 + p, "sex": "MF"[p % 2], "cea": None},
                )
            )
    return Cohort(tuple(cases))
