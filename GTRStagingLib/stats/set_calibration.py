"""Calibrate the stage sets of a model on patients that neither fitted nor chose it (see `staging.stage_set`)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.stage_set import least_patients, scores
from GTRStagingLib.stats.split_scores import SplitLogits, case_predictions

CHOSE_THE_MODEL = (
    "Stage sets: {n} of the {of} patients of the calibration are of the split 'validation', by which the model was "
    "chosen. The sets may contain the true stage less often than stated."
)
"""Warning of a calibration on validation patients."""


def first_cases(patients: Sequence[str]) -> list[int]:
    """Return the position of each patient's first case.

    The sets hold for patients: several cases of one patient are not independent, so that one counts, which no result
    may choose.

    Examples
    --------
    >>> from GTRStagingLib.stats.set_calibration import first_cases
    >>> first_cases(["a", "b", "a", "c"])
    [0, 1, 3]
    """
    first: dict[str, int] = {}
    for position, patient in enumerate(patients):
        first.setdefault(patient, position)
    return list(first.values())


def calibrate_sets(
    seen: SplitLogits, temperature: float, level: float, *, digest: str, source: str, warning: str | None = None
) -> dict[str, Any]:
    """Calibrate stage sets on the first case of each patient, and return the entry of the model card.

    Parameters
    ----------
    temperature
        The model's; fitted on other patients, or the promise is weaker.
    level
        Share of the patients of each stage whose set is to contain the stage.
    digest, source, warning
        As in `ModelCard.stage_sets`.

    Raises
    ------
    InputError
        If no stage has enough patients, so that every set would contain all stages, or the level is not plausible.
    """
    predictions = case_predictions(seen, temperature)
    of_stage: dict[TStage, list[float]] = defaultdict(list)
    for case in first_cases(seen.patients):
        stage = TStage(int(seen.stages[case]))
        of_stage[stage].append(scores(predictions[case])[stage])
    patients = {stage: len(of_stage[stage]) for stage in TStage}
    if max(patients.values()) < (least := least_patients(level)):
        raise InputError(
            f"The stage sets have {in_words(patients)} patients; expected {least} or more of a stage for "
            f"{100 * level:g} %. Give more patients, or a lower `level`."
        )
    return {
        "level": level,
        "scores": {stage.name: sorted(of_stage[stage]) for stage in TStage},
        "patients": {stage.name: n for stage, n in patients.items()},
        "digest": digest,
        "source": source,
        "warning": warning,
    }


def in_words(patients: Mapping[TStage, int]) -> str:
    """Return numbers of patients by stage as text, as in 'T1 60, T2 60, T3 60, T4 60'."""
    return ", ".join(f"{stage} {patients[stage]}" for stage in TStage)


__all__ = ["CHOSE_THE_MODEL", "calibrate_sets", "first_cases", "in_words"]
