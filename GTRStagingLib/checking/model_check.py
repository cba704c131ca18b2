"""Check the maps of a model on a cohort: measure every case, compare with random weights, judge."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

import GTRStagingLib
from GTRStagingLib.checking.case_runs import no_case, reasons, run_cases
from GTRStagingLib.checking.rules import LEAST_PATIENTS, judge
from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.files import sha256_of_data
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import DEFAULT_LIMITS, parallel_map

if TYPE_CHECKING:
    from GTRStagingLib.model.passes import Backbone
    from GTRStagingLib.model.weights import Model
    from GTRStagingLib.staging.map_checks import Measured, SeenSlice

RANDOMISED = 24
"""Number of cases with maps that are recomputed for each step of random weights."""

LATE = (("layer4",), ("layer4", "layer3"))
"""Layers that are made random under the trained head, to measure how much a map depends on them."""

OWN, WRITTEN = "of the model", "of a check"
"""Values of `check["mean_mask"]` in a card: the mean mask comes from the training, or from the cases of a check."""


@dataclass(frozen=True, eq=False)
class Check:
    """Result of a check.

    Attributes
    ----------
    found
        Data for the model's card (`ModelCard.check`), without identifiers.
    mean_mask
        (h, w) float32, the mean of the cases' ROIs in the cells of `weights.Model.mean_mask`; None without ROIs.
    left_out
        Case id -> reason why the case could not be measured.
    """

    found: Mapping[str, Any]
    mean_mask: np.ndarray | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


def check_model(
    model: "Model | str",
    cases: Sequence[Case],
    *,
    most: int | None = None,
    device: str = "auto",
    workers: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Check:
    """Check the maps that a model's default method gives.

    Parameters
    ----------
    model
        Name or folder; or the model itself, which only this process can use (`workers` is then 0). A mean mask of an
        earlier check is not used: it may contain the same cases.
    cases
        True stages are not needed; ROIs are needed for the test of location. Training cases give results that are too
        good.
    most
        Largest number of cases, drawn evenly from the true stages by the seed; None for all.
    workers, limits
        Processes that stage, and limits of each case, see `support.pools.parallel_map`; 0 stages in this process.
    progress
        Called with the number of finished parts of the work, and of all parts.

    Raises
    ------
    InputError
        If there is no case, no case can be staged, or the seed is out of range.
    WeightsError
        If the model is unknown.
    """
    from GTRStagingLib.model import randomised

    if not 0 <= seed < 2**32:
        raise InputError(f"The seed is {seed}; expected 0 or more, below 2**32. Change `seed`.")
    if isinstance(model, str):
        _loaded.cache_clear()  # the folder may contain another model now
    else:
        model, workers = _without_a_checks_mask(model), 0
    card = _model(model).card
    chosen = draw_cases(cases, most, seed)
    about = {
        "method": "gated" if card.head == "gated" else "fine",
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": GTRStagingLib.__version__,
        "seed": seed,
    }
    if (patients := len({case.patient_id for case in chosen})) < LEAST_PATIENTS:
        if not chosen:
            raise InputError("There is no case to check the model on; expected a cohort with cases.")
        summary = f"{counted(patients, 'patient')}, fewer than {LEAST_PATIENTS}"
        return Check({"verdict": "not checked", "summary": summary, **about, "cases": len(chosen),
                      "patients": patients, "cohort": None, "tests": {}})  # fmt: skip

    parts = randomised.parts_of(card.head)
    steps = [*(parts[: i + 1] for i in range(len(parts))), *LATE]
    total = len(chosen) + len(steps)
    outcomes = run_cases(
        _measured, model, chosen, device=device, workers=workers, limits=limits,
        progress=lambda done, _: progress(done, total),
    )  # fmt: skip
    left_out = reasons(chosen, outcomes)
    pairs = [(case, one) for case, one in zip(chosen, outcomes, strict=True) if not isinstance(one, str)]
    if not pairs:
        raise no_case(left_out, "staged")
    measured = [one for _, one in pairs]
    patient_ids = [case.patient_id for case, _ in pairs]
    with_map = [i for i, one in enumerate(measured) if not one.numbers["empty"]][:RANDOMISED]
    slices = [measured[i].seen for i in with_map]
    compared = []
    passes = [(model, device, step, seed, slices) for step in steps if slices]
    threads = None if workers == 1 else 1
    for rows in parallel_map(_compared, passes, workers, limits=Limits(None, None), threads=threads):
        compared.append(rows)
        progress(len(chosen) + len(compared), total)
    curve = dict(zip(parts, compared, strict=False))
    late = dict(zip((" and ".join(one) for one in LATE), compared[len(parts) :], strict=False))

    others, mean_mask = compare_with_other_patients(measured, patient_ids)
    rows = [{**one.numbers, **more} for one, more in zip(measured, others, strict=True)]
    verdict = judge(rows, patient_ids, curve, late, with_map)
    return Check(
        found={
            "verdict": verdict.verdict,
            "summary": verdict.summary,
            **about,
            "threshold": _threshold(),
            "cases": len(measured),
            "patients": len(set(patient_ids)),
            "rois": sum(one.seen.roi is not None for one in measured),
            "stages": dict(Counter(str(case.stage) if case.stage is not None else "unknown" for case, _ in pairs)),
            "empty": int(sum(one.numbers["empty"] for one in measured)),
            "left_out": len(left_out),
            "cohort": sha256_of_data(sorted(one.digest for one in measured)),
            "tests": verdict.tests,
        },
        mean_mask=mean_mask,
        left_out=left_out,
    )


def draw_cases(cases: Sequence[Case], most: int | None, seed: int) -> list[Case]:
    """Draw at most `most` cases by the seed, in an order that alternates between the true stages."""
    of_stage: dict[TStage | None, list[Case]] = defaultdict(list)
    ordered = sorted(cases, key=lambda case: case.case_id)
    for i in np.random.default_rng(seed).permutation(len(ordered)).tolist():
        of_stage[ordered[i].stage].append(ordered[i])
    turns = sorted((turn, -1 if stage is None else int(stage), case)
                   for stage, those in of_stage.items() for turn, case in enumerate(those))  # fmt: skip
    return [case for *_, case in turns][:most]


# -- in this process or a worker -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _loaded(name: str) -> "Model":
    from GTRStagingLib.model import weights

    return _without_a_checks_mask(weights.load(name))


def _without_a_checks_mask(model: "Model") -> "Model":
    check = model.card.check
    return replace(model, mean_mask=None) if check is not None and check.get("mean_mask") == WRITTEN else model


def _model(model: "Model | str") -> "Model":
    return _loaded(model) if isinstance(model, str) else model


def _ready(model: "Model", device: str) -> "Backbone":
    """Make a PyTorch backbone: ONNX Runtime would need a new, verified graph for each random network."""
    from GTRStagingLib.model import backbone

    return backbone.ready(model, device, "torch")


def _measured(job: "tuple[Model | str, str, Case]") -> "Measured | str":
    """Return the measures of a case."""
    from GTRStagingLib.imaging.inputs import read_inputs
    from GTRStagingLib.staging import map_checks, pipeline

    source, device, case = job
    model = _model(source)
    ready = _ready(model, device)
    scan, tumour, _ = read_inputs(
        case.image, series=case.series, roi=case.roi, segment=case.segment, key_slice=case.key_slice
    )
    result = pipeline.stage_case(
        scan, ready, map_checks.OPTIONS, tumour=tumour, key_slice=case.key_slice, case_id="case"
    )
    return map_checks.measure(result, ready)


def _compared(
    job: "tuple[Model | str, str, Sequence[str], int, Sequence[SeenSlice]]",
) -> list[dict[str, float]]:
    """Compare each slice's map with the map of random weights in some parts."""
    from GTRStagingLib.model import randomised
    from GTRStagingLib.staging import map_checks

    source, device, parts, seed, slices = job
    other = _ready(randomised.randomised(_model(source), parts, seed), device)
    found = []
    for same in _of_one_size(slices):
        found += map_checks.compare_maps(other, same)
    return found


def _of_one_size(slices: "Sequence[SeenSlice]") -> "list[Sequence[SeenSlice]]":
    """Group neighbouring slices of one size, in their order, at most 8 per pass."""
    parts: list[list[SeenSlice]] = []
    for one in slices:
        if parts and len(parts[-1]) < 8 and parts[-1][-1].pixels.shape == one.pixels.shape:
            parts[-1].append(one)
        else:
            parts.append([one])
    return list(parts)


def _threshold() -> float:
    from GTRStagingLib.staging import map_checks

    return map_checks.THRESHOLD


# -- ROIs of other patients ----------------------------------------------------------------------------------------


def compare_with_other_patients(
    measured: "Sequence[Measured]", patient_ids: Sequence[str]
) -> tuple[list[dict[str, float]], np.ndarray | None]:
    """Compare the mean mask of the other patients with each case's ROI; also return the mean mask of all.

    The region has the area of the case's map and lies where the mean is highest, in cells of the map
    (`compute_agreement` does the same on the CT's pixels with the model's mean mask). Only ROIs on maps of the most
    frequent shape are used.
    """
    from GTRStagingLib.staging import map_checks

    shapes = Counter(one.seen.roi.shape for one in measured if one.seen.roi is not None)
    if not shapes:
        return [{} for _ in measured], None
    shape = shapes.most_common(1)[0][0]
    masks = {
        i: one.seen.roi for i, one in enumerate(measured) if one.seen.roi is not None and one.seen.roi.shape == shape
    }
    total = np.sum(list(masks.values()), axis=0)
    own: dict[str, list[np.ndarray]] = defaultdict(list)
    for i, mask in masks.items():
        own[patient_ids[i]].append(mask)
    rows: list[dict[str, float]] = []
    for i, one in enumerate(measured):
        others = len(masks) - len(own[patient_ids[i]])
        if i not in masks or not masks[i].any() or not others:
            rows.append({})
            continue
        if one.numbers["empty"]:
            rows.append({"mean_mask_dice": 0.0})  # of an empty region
            continue
        mean = np.clip(total - np.sum(own[patient_ids[i]], axis=0), 0, None) / others
        mean[mean < 1e-6] = 0  # rounding errors of the subtraction
        rows.append(_location_of_mean(mean, masks[i], int(map_checks.cut(one.seen.heat).sum()), one.numbers))
    return rows, (total / len(masks)).astype(np.float32)


def _location_of_mean(mean: np.ndarray, roi: np.ndarray, cells: int, numbers: Mapping[str, float]) -> dict[str, float]:
    from GTRStagingLib.staging import map_checks

    region = map_checks.highest(mean, cells)
    if not region.any():
        return {}
    places = np.argwhere(np.ones_like(region))
    middle, of_roi = places[region.ravel()].mean(axis=0), np.average(places, axis=0, weights=roi.ravel())
    # A cell's size: the ROI's area in mm² and in cells.
    cell_mm = math.sqrt(numbers.get("roi_area_mm2", math.nan) / float(roi.sum()))
    return {
        "mean_mask_dice": map_checks.dice_in_cells(region, roi),
        "mean_mask_energy": float((mean * roi).sum() / mean.sum()),
        "mean_mask_pointing": float(roi.ravel()[int(mean.argmax())]),
        "mean_mask_centroid_mm": float(np.linalg.norm(middle - of_roi) * cell_mm),
    }


__all__ = ["LATE", "OWN", "RANDOMISED", "WRITTEN", "Check", "check_model", "compare_with_other_patients", "draw_cases"]
