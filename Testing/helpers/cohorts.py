"""Make clean cohorts of any size for tests, with empty image files."""

from pathlib import Path

from GTRStagingLib.cohort.cohort import Case, Cohort
from GTRStagingLib.stages import TStage

SPLITS = ("train", "validation", "test")


def clean(folder, patients=48, cases_a_patient=1):
    """Return patients of both centres, all stages and all splits in even proportions; each case has its own file."""
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
                    split=SPLITS[p // 8 % 3],
                    covariates={"age": 40.0 + p, "sex": "MF"[p % 2], "cea": None},
                )
            )
    return Cohort(tuple(cases))
