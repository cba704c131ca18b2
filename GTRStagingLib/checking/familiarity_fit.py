"""Fit the reference of a model (`model.reference`): what it learned from, and how far held-out patients are from it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

import GTRStagingLib
from GTRStagingLib.checking.case_runs import no_case, prepared, reasons, require_training_cohort, run_cases
from GTRStagingLib.checking.model_check import draw_cases
from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError, LeakageError
from GTRStagingLib.model.reference import IMAGE_PARTS, LEAST_PATIENTS, PARTS, VECTORS, Cloud, Reference
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.files import sha256_of_data
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import DEFAULT_LIMITS
from GTRStagingLib.tables.table_files import import_table_package

if TYPE_CHECKING:
    from GTRStagingLib.model.weights import Model
    from GTRStagingLib.staging.familiarity import Measures

AXES = 32
"""Largest number of principal axes of a part."""

LEAST_TRAINING = 20
"""Least number of training cases that a distribution is fitted to."""

CENTRAL = (0.005, 0.995)
"""Quantiles of the training cases that bound the ranges of their numbers: one odd case of hundreds does not widen
them."""

UPPER = 0.95
"""Quantile of the held-out patients' distances that gets the value 1, so that the parts' upper ends are comparable."""

LEAST_SPREAD = 0.05
"""Least difference of logarithmic distances between `UPPER` and the median."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """Reference of a model, ready to be written into its folder.

    Attributes
    ----------
    found
        Data for the model's card (`ModelCard.familiarity`), without identifiers.
    left_out
        Case id -> reason why the case could not be measured.
    """

    found: Mapping[str, Any]
    reference: Reference
    left_out: Mapping[str, str] = field(default_factory=dict)


def fit_familiarity(
    model: "Model | str",
    cases: Sequence[Case],
    *,
    most: int | None = None,
    device: str = "auto",
    workers: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fitted:
    """Fit the reference of a model on the cohort that it was trained on.

    Parameters
    ----------
    model
        Name or folder; or the model itself, which only this process can use (`workers` is then 0).
    cases
        Those of the split 'train' fit the distributions. One case of each patient of the split 'calibration', or of
        'validation' if there is none, measures how far held-out patients are: the patient's first in the table.
    most
        Largest number of training cases, drawn evenly from the true stages by the seed; None for all.
    workers, limits
        Processes that measure, and limits of each case, see `support.pools.parallel_map`; 0 measures in this process.
    progress
        Called with the number of measured cases, and of all cases.

    Raises
    ------
    InputError
        If there are too few training cases or held-out patients, too many could not be measured, or the training cases
        or patients are not as many as on the model's card.
    LeakageError
        If a held-out patient is also a patient of the training.
    WeightsError
        If the model is unknown.
    """
    if isinstance(model, str):
        _loaded.cache_clear()  # the folder may contain another model now
    else:
        workers = 0
    learned = [case for case in cases if case.split == "train"]
    require_training_cohort(_loaded(model).card if isinstance(model, str) else model.card, learned)
    training = draw_cases(learned, most, seed)
    side = "calibration" if any(case.split == "calibration" for case in cases) else "validation"
    first = {case.patient_id: case for case in reversed(cases) if case.split == side}
    held_out = list(reversed(first.values()))
    if both := {case.patient_id for case in learned} & set(first):
        raise LeakageError(
            f"LEAK: patients of the split {side!r} that are also in the split 'train': {len(both)}; expected patients "
            "outside the training of the model. Split the cohort by patient."
        )
    _require_enough(len(training), len(held_out), side)
    every = (*training, *held_out)
    outcomes = run_cases(
        _measured, model, every, device=device, workers=workers, limits=limits, progress=progress
    )  # fmt: skip
    left_out = reasons(every, outcomes)
    known = [[one for one in part if not isinstance(one, str)]
             for part in (outcomes[: len(training)], outcomes[len(training) :])]  # fmt: skip
    if left_out and not all(known):
        raise no_case(left_out, "measured")
    _require_enough(len(known[0]), len(known[1]), side)
    reference = fit_reference([one for one, _ in known[0]], [one for one, _ in known[1]], side)
    patients = {case.patient_id for case in training if case.case_id not in left_out}
    return Fitted(
        found={
            "side": side,
            "cohort_training_cases": len(learned),
            "training_cases": len(known[0]),
            "training_patients": len(patients),
            "held_out_patients": len(known[1]),
            "left_out": len(left_out),
            "parts": list(reference.clouds),
            "ranges": {name: list(limits_) for name, limits_ in reference.ranges.items()},
            "categories": {keyword: list(values) for keyword, values in reference.categories.items()},
            "seed": seed,
            "cohort": sha256_of_data([sorted(digest for _, digest in part) for part in known]),
            "utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": GTRStagingLib.__version__,
        },
        reference=reference,
        left_out=left_out,
    )


def _require_enough(training: int, held_out: int, side: str) -> None:
    if training < LEAST_TRAINING or held_out < LEAST_PATIENTS:
        raise InputError(
            f"{counted(training, 'case')} of the split 'train' and {counted(held_out, 'patient')} of the split "
            f"{side!r}; expected at least {LEAST_TRAINING} and {LEAST_PATIENTS}. Give the cohort that the model was "
            "trained on, with more patients that did not train it."
        )


# -- in this process or a worker -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _loaded(name: str) -> "Model":
    from GTRStagingLib.model import weights

    return weights.load(name)


def _measured(job: "tuple[Model | str, str, Case]") -> "tuple[Measures, str] | str":
    """Return the measures of a case, and the digest of its voting slices."""
    from GTRStagingLib.model import backbone
    from GTRStagingLib.staging import familiarity

    source, device, case = job
    model = _loaded(source) if isinstance(source, str) else source
    scan, slices = prepared(case, model.card.recipe)
    seen = backbone.ready(model, device).classify(slices.pixels)
    return familiarity.measure(scan, slices, seen.features), scan.digest_with(slices.native, slices.offsets)


# -- the fit -------------------------------------------------------------------------------------------------------


def fit_reference(training: "Sequence[Measures]", held_out: "Sequence[Measures]", side: str) -> Reference:
    """Fit the distributions to the training cases, and measure the distances of the held-out patients.

    A part is compared if every case has it. The acquisition cannot take a held-out patient beyond the limit of
    'unlike', as in `familiarity.judge`: that limit is of the images alone.
    """
    from GTRStagingLib.staging import familiarity

    every = (*training, *held_out)
    clouds = {part: _cloud(part, training, held_out)
              for part in PARTS if all(part in one.vectors for one in every)}  # fmt: skip
    images = Reference(
        {part: cloud for part, cloud in clouds.items() if part in IMAGE_PARTS}, np.zeros(0), {}, {}, side
    )
    apart = [familiarity.distances(one, images.clouds) for one in held_out]
    of_images = [familiarity.combined(one, outside=False, most=np.inf) for one in apart]
    images = replace(images, held_out=np.sort(of_images))
    whole = replace(images, clouds=clouds, ranges=_ranges(training), categories=_categories(training))
    distances = [
        familiarity.combined(
            familiarity.distances(one, clouds),
            outside=any(familiarity.outside_training(one, whole)),
            most=images.limit("unlike"),
        )
        for one in held_out
    ]
    return replace(whole, held_out=np.sort(distances).astype(np.float32).astype(np.float64))


def _cloud(part: str, training: "Sequence[Measures]", held_out: "Sequence[Measures]") -> Cloud:
    """Fit the distribution of a part: principal axes, with variances shrunk as by Ledoit and Wolf (2004).

    Numbers of different units are first divided by their standard deviations; then all axes are kept. Of features and
    pictures, which have one unit, the leading axes are kept, and what they leave is a distance of its own.
    """
    shrinkage = import_table_package("sklearn.covariance").ledoit_wolf_shrinkage
    vectors = np.array([one.vectors[part] for one in training])
    scale = np.ones(vectors.shape[1])
    known = ~np.isnan(vectors).all(axis=0)
    mean = np.where(known, np.nanmean(np.where(known, vectors, 0.0), axis=0), 0.0)
    if part in VECTORS:
        least = np.array([smallest for _, smallest in VECTORS[part].values()])
        scale = np.maximum(np.nanstd(np.where(known, vectors, 0.0), axis=0), least)
        scale[~known] = np.inf  # never measured in training, hence never compared
    apart = np.where(np.isnan(vectors), 0.0, vectors - mean) / scale
    _, values, axes = np.linalg.svd(apart, full_matrices=False)
    variances = values**2 / len(apart)
    delta = shrinkage(apart, assume_centered=True)
    k = len(variances) if part in VECTORS else min(AXES, len(apart) // 4, len(variances))
    shrunk = (1 - delta) * variances + delta * variances.sum() / len(mean)
    rest = 0.0 if part in VECTORS else float(np.sqrt(variances[k:].sum()))
    cloud = Cloud(mean, axes[:k] / scale, np.maximum(shrunk[:k], 1e-6), rest, np.zeros(1), np.ones(1))
    distances = np.array([cloud.log_distances(one.vectors[part]) for one in held_out])
    centre = np.median(distances, axis=0)
    spread = np.maximum(np.quantile(distances, UPPER, axis=0) - centre, LEAST_SPREAD)
    return replace(cloud, centre=centre, spread=spread)


def _ranges(training: "Sequence[Measures]") -> dict[str, tuple[float, float]]:
    """Return the range of each number that enough training cases have."""
    known: dict[str, list[float]] = {}
    for one in training:
        for name, value in one.numbers.items():
            known.setdefault(name, []).append(value)
    low, high = CENTRAL
    return {
        name: (float(np.quantile(values, low, method="lower")), float(np.quantile(values, high, method="higher")))
        for name, values in known.items()
        if len(values) >= LEAST_TRAINING
    }


def _categories(training: "Sequence[Measures]") -> dict[str, tuple[str, ...]]:
    """Return the values of each category that enough training cases have, the most frequent first."""
    counts: dict[str, Counter[str]] = {}
    for one in training:
        for keyword, value in one.categories.items():
            counts.setdefault(keyword, Counter())[value] += 1
    return {
        keyword: tuple(value for value, _ in count.most_common())
        for keyword, count in counts.items()
        if count.total() >= LEAST_TRAINING
    }


__all__ = ["Fitted", "fit_familiarity", "fit_reference"]
