"""Calibrate a model on a cohort of one's own: its temperature and its stage sets. The weights stay as they are."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from GTRStagingLib.checking.case_runs import loaded_backbone, no_case, prepared, reasons, run_cases
from GTRStagingLib.cohort.cohort import Case, Cohort
from GTRStagingLib.errors import InputError, LeakageError
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.stage_set import LEVEL, least_patients
from GTRStagingLib.stats.set_calibration import CHOSE_THE_MODEL, calibrate_sets, first_cases, in_words
from GTRStagingLib.stats.split_scores import TEMPERATURES, SplitLogits, fitted_temperature
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.files import sha256_of_data
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import DEFAULT_LIMITS
from GTRStagingLib.tables.cells import Split

TEMPERATURE_SHARE = 0.4
"""Share of the patients of each stage that fit the temperature. They calibrate no set: scores at a temperature fitted
to the same patients would be too low for new ones. Of 15 patients of a stage, 9 are left, enough for sets at 90 %."""


@dataclass(frozen=True)
class Calibration:
    """Temperature and stage sets of a model on a cohort.

    Attributes
    ----------
    model, weights_sha256
        Name or folder of the model, and the hash of the weights that were calibrated.
    temperature, stage_sets
        As in `ModelCard`.
    left_out
        Case id -> reason why the case could not be used.
    """

    model: str
    weights_sha256: str
    temperature: float
    stage_sets: Mapping[str, Any]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Seen:
    """Logits (S, 4) of a case's slices, their offsets from the key slice, and the digest of the voxels."""

    logits: np.ndarray
    offsets: tuple[int, ...]
    digest: str


def calibrate_model(
    model: str,
    cohort: Cohort,
    *,
    split: Split | None = None,
    level: float = LEVEL,
    device: str = "auto",
    workers: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """Calibrate a model on the first case of each patient of a cohort.

    Of the patients of each stage, `TEMPERATURE_SHARE`, drawn by their ids, fit the temperature; the others calibrate
    the stage sets.

    Parameters
    ----------
    model
        Name or folder.
    cohort
        Cases with stages, of patients on whom the model was neither fitted nor chosen.
    split
        Use only the cases of this split.
    level
        Share of the patients of each stage whose set is to contain the stage.
    workers, limits
        Processes that run the network, and limits of each case, see `support.pools.parallel_map`.
    progress
        Called with the number of finished cases and of all cases.

    Raises
    ------
    InputError
        If there is no case, a case has no stage or is of the split 'train', no case can be staged, or every stage has
        too few patients.
    LeakageError
        If a patient is also in the split 'train'.
    WeightsError
        If the model is unknown.
    """
    least = least_patients(level)
    cases = _usable(cohort, split)
    for_temperature = _drawn(cases)
    patients = {stage: sum(c.stage == stage and c.case_id not in for_temperature for c in cases) for stage in TStage}
    if max(patients.values()) < least:
        raise InputError(
            f"The stage sets would have {in_words(patients)} patients, beside {len(for_temperature)} for the "
            f"temperature; expected {least} or more of a stage for {100 * level:g} %. Give more patients, or a lower "
            "`level`."
        )
    seen, left_out = run_network(model, cases, device=device, workers=workers, limits=limits, progress=progress)
    card = loaded_backbone(model, device).card
    pairs = [(case, seen[case.case_id]) for case in cases if case.case_id in seen]
    fitting = [pair for pair in pairs if pair[0].case_id in for_temperature]
    calibrating = [pair for pair in pairs if pair[0].case_id not in for_temperature]
    temperature, how = _temperature(fitting, card.temperature)
    return Calibration(
        model,
        card.sha256,
        temperature,
        calibrate_sets(
            split_logits(calibrating),
            temperature,
            level,
            digest=sha256_of_data(sorted([one.digest, case.stage] for case, one in pairs)),
            source=f"one case of each of {len(calibrating)} patients, by models calibrate; {how}",
            warning=_warning(pairs, cohort),
        ),
        left_out,
    )


def _usable(cohort: Cohort, split: Split | None) -> list[Case]:
    """Return the first case of each patient that may calibrate; raise `InputError` or `LeakageError` otherwise."""
    every = cohort.cases if split is None else cohort.of(split).cases
    if not every:
        of = "" if split is None else f" in split {split!r}"
        raise InputError(f"The cohort has no case{of}; expected some. Choose another cohort, or another `split`.")
    if learned := sum(case.split == "train" for case in every):
        raise InputError(
            f"{learned} of {len(every)} cases are in the split 'train'; expected cases outside the training of the "
            "model. Choose a `split`, such as 'calibration'."
        )
    fitted = {case.patient_id for case in cohort if case.split == "train"}
    if both := fitted & {case.patient_id for case in every}:
        raise LeakageError(
            f"LEAK: patients of the calibration that are also in the split 'train': {len(both)}; expected patients "
            "outside the training of the model. Split the cohort by patient."
        )
    if unstaged := [case.case_id for case in every if case.stage is None]:
        raise InputError(
            f"{counted(len(unstaged), 'case has', 'cases have')} no stage ({', '.join(unstaged[:5])}); expected one in "
            "every case. Add them, or leave these cases out."
        )
    return [every[position] for position in first_cases([case.patient_id for case in every])]


def _drawn(cases: Sequence[Case]) -> set[str]:
    """Return the ids of the cases that fit the temperature: a share of each stage, the same for any order."""
    of_stage: dict[TStage | None, list[Case]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.patient_id):
        of_stage[case.stage].append(case)
    rng = np.random.default_rng(0)
    return {
        those[i].case_id
        for _, those in sorted(of_stage.items(), key=lambda item: str(item[0]))
        for i in rng.permutation(len(those))[: int(TEMPERATURE_SHARE * len(those))].tolist()
    }


def _temperature(fitting: Sequence[tuple[Case, Seen]], before: float) -> tuple[float, str]:
    """Return the temperature and how it was found; the one before if the cases do not determine one."""
    if fitting:
        seen = split_logits(fitting)
        fitted = fitted_temperature(seen)
        # If every slice is right, nothing limits the certainty; at an end of the range, nothing limits the doubt.
        wrong = (seen.logits.argmax(axis=1) != seen.slice_stages).any()
        if wrong and 1.01 * TEMPERATURES[0] < fitted < TEMPERATURES[1] / 1.01:
            return fitted, f"temperature {fitted:.3f}, before {before:.3f}, fitted on {len(fitting)} other patients"
    return before, f"temperature {before:.3f} as before, which {len(fitting)} other patients do not determine"


def split_logits(pairs: Sequence[tuple[Case, Seen]]) -> SplitLogits:
    """Combine the logits of cases that have stages."""
    return SplitLogits(
        logits=np.concatenate([one.logits for _, one in pairs]),
        case=np.concatenate([np.full(len(one.offsets), i) for i, (_, one) in enumerate(pairs)]),
        offsets=np.concatenate([one.offsets for _, one in pairs]),
        stages=np.array([int(case.stage) for case, _ in pairs if case.stage is not None]),
        patients=[case.patient_id for case, _ in pairs],
    )


def _warning(pairs: Sequence[tuple[Case, Seen]], cohort: Cohort) -> str | None:
    """Return the warning if patients of the calibration, of the temperature too, have a case in 'validation'."""
    validation = {case.patient_id for case in cohort if case.split == "validation"}
    chosen = sum(case.patient_id in validation for case, _ in pairs)
    return CHOSE_THE_MODEL.format(n=chosen, of=len(pairs)) if chosen else None


def run_network(
    model: str,
    cases: Sequence[Case],
    *,
    device: str = "auto",
    workers: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, Seen], dict[str, str]]:
    """Run a model's network on the voting slices of cases, without attention maps.

    The parameters are those of `calibrate_model`.

    Returns
    -------
    Case id -> what the network returned, and case id -> reason why the case could not be used.

    Raises
    ------
    InputError
        If no case could be used.
    WeightsError
        If the model is unknown.
    """
    loaded_backbone.cache_clear()  # the folder may contain another model now
    loaded_backbone(model, device)
    outcomes = run_cases(_seen, model, cases, device=device, workers=workers, limits=limits, progress=progress)
    left_out = reasons(cases, outcomes)
    seen = {case.case_id: one for case, one in zip(cases, outcomes, strict=True) if not isinstance(one, str)}
    if not seen:
        raise no_case(left_out, "staged")
    return seen, left_out


# -- in this process or a worker -----------------------------------------------------------------------------------


def _seen(job: tuple[str, str, Case]) -> Seen | str:
    """Run the network on the voting slices of a case, as staging does."""
    model, device, case = job
    ready = loaded_backbone(model, device)
    scan, slices = prepared(case, ready.card.recipe)
    return Seen(ready.classify(slices.pixels).logits, slices.offsets, scan.digest_with(slices.native, slices.offsets))


__all__ = ["TEMPERATURE_SHARE", "Calibration", "Seen", "calibrate_model", "run_network", "split_logits"]
