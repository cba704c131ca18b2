"""Judge the measures of a model's maps: five tests, a verdict, and a summary of the numbers.

The bounds are fixed here, before any model is checked. None of them was chosen on the phantoms of this software's
figures (scanner C).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.stats.estimates import Clusters, Estimate, mean, no_interval, undefined
from GTRStagingLib.support.counts import counted

LEAST_PATIENTS = 20
"""Fewest patients for a test: with fewer, the interval of a mean is as wide as the differences to detect."""

LEAST_RANDOMISED = 10
"""Fewest patients for the test with random weights, which detects large differences only."""

MOST_ALIKE = 0.5
"""Spearman's correlation with the map of another stage or of random weights below which two maps count as different:
they share less than a quarter of the variance of their ranks. Maps that show edges for every stage have 0.7 and more
(LayerCAM of an early layer). A correlation of 0 cannot be expected, since both maps are of one slice."""

LEAST_FALL = 0.05
"""Smallest fall of a stage's probability beyond the fall for controls. A network that hardly depends on any
region shows differences that are statistically significant, but negligible."""

MOST_LEFT = 0.05
"""Largest Dice of a map of random weights beyond chance and a centred blob. Edges of organs alone place part of any map
on a tumour."""

MOST_EMPTY = 0.1
"""Largest share of cases with an empty map. Three of the tests use only cases with a map: leaving out a tenth hardly
changes them; leaving out more would select cases, and users would often get no map."""

MANY = 0.1
"""Share of cases without a control above which the summary reports their number."""

BASELINES = {
    "chance": "chance_dice", "blob": "blob_dice", "mean_mask": "mean_mask_dice",
    "model_mean_mask": "model_mean_mask_dice",
}  # fmt: skip
"""Baselines of a map's Dice and their measures, each a region of the map's area: random in the body's section, in its
middle, at the most frequent place of the ROIs of the cohort's other patients, and at that of the model's mean mask."""

FURTHER = {
    "energy_inside": ("roi_share", "blob_energy", "mean_mask_energy"),
    "pointing_hit": ("roi_share", "blob_pointing", "mean_mask_pointing"),
    "centroid_mm": ("blob_centroid_mm", "blob_centroid_mm", "mean_mask_centroid_mm"),
}
"""Further measures of location, and the same of chance, the blob and the mean mask. They are reported but not judged,
because they repeat the Dice in another form. The centroid of random pixels is the body's, like the blob's."""

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """Combined result of the tests.

    Attributes
    ----------
    verdict
        'passed': every test without ROIs passed, and location too unless there was no ROI at all. 'failed': a test
        failed. 'not checked': a test could not be made, for example location for too few ROIs.
    summary
        The numbers in words, beginning with failed and missing tests, including location without ROIs.
    tests
        Name -> `passed` (None if the test could not be made, with `reason`) and its numbers, as plain data.
    """

    verdict: str
    summary: str
    tests: Mapping[str, Mapping[str, Any]]


def judge(
    rows: Sequence[Numbers],
    patients: Sequence[str],
    curve: Mapping[str, Sequence[Numbers]],
    late: Mapping[str, Sequence[Numbers]],
    randomised: Sequence[int],
) -> Verdict:
    """Judge the measures of a model's maps.

    Parameters
    ----------
    rows
        For each case the numbers of `staging.map_checks.Measured`, and `mean_mask_*`.
    patients
        Patient of each case.
    curve
        Part of the network -> comparison of some cases' maps with those of a network in which this part and all parts
        above it are random, from the head down.
    late
        The same for late layers alone, under the trained head.
    randomised
        Indices of the rows of these cases.
    """
    patient_ids = np.array(patients)
    tests = {
        "empty_maps": _empty_maps(rows),
        "location": _location(rows, patient_ids),
        "other_stage": _other_stage(rows, patient_ids),
        "deletion": _deletion(rows, patient_ids),
        "random_weights": _random_weights(curve, late, patient_ids[list(randomised)]),
    }
    failed = [name for name, one in tests.items() if one["passed"] is False]
    # Without any ROI, location is not required.
    required = [name for name, one in tests.items() if name != "location" or one["cases"]]
    missing = [name for name in required if tests[name]["passed"] is None]
    verdict = "failed" if failed else "not checked" if missing else "passed"
    problems = [f"{name.replace('_', ' ')} fails" for name in failed]
    problems += [f"{name.replace('_', ' ')} not checked: {tests[name]['reason']}" for name in missing]
    return Verdict(verdict, "; ".join([*problems, *_in_words(tests, len(rows))]), tests)


def mean_of(rows: Sequence[Numbers], measure: str, patient_ids: np.ndarray, minus: str | None = None) -> Estimate:
    """Estimate the mean of a measure, or of its difference from another, by the jackknife over patients.

    Rows without a value are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.checking.rules import mean_of
    >>> rows = [{"dice": 0.6, "chance_dice": 0.1}, {"dice": 0.4, "chance_dice": 0.1}, {}]
    >>> round(mean_of(rows, "dice", np.array(["a", "b", "c"]), "chance_dice").value, 3)
    0.4
    """
    values = _values(rows, measure) - (0 if minus is None else _values(rows, minus))
    there = ~np.isnan(values)
    if not there.any():
        return undefined("no case has a value")
    return mean(values[there], patient_ids[there])


def _values(rows: Sequence[Numbers], measure: str) -> np.ndarray:
    return np.array([row.get(measure, math.nan) for row in rows], dtype=float)


def _rows_of_patients(rows: Sequence[Numbers], measures: Sequence[str], patient_ids: np.ndarray) -> np.ndarray:
    """Return (patients,) numbers of rows with all measures, of the patients with such rows."""
    there = np.all([~np.isnan(_values(rows, one)) for one in measures], axis=0)
    return Clusters.of(patient_ids[there]).sizes


def _plain(one: Estimate) -> dict[str, float | None]:
    return {
        name: None if value is None else round(value, 4)
        for name, value in (("mean", one.value), ("low", one.low), ("high", one.high))
    }


def _means(rows: Sequence[Numbers], patient_ids: np.ndarray, measures: Mapping[str, str]) -> dict[str, Any]:
    """Return name -> mean with its interval, for measures with at least one value."""
    found = {name: mean_of(rows, measure, patient_ids) for name, measure in measures.items()}
    return {name: _plain(one) for name, one in found.items() if one.value is not None}


def _too_few(sizes: np.ndarray, least: int, of: str) -> str | None:
    """Return why patients with these numbers of rows do not allow a test, or None."""
    return f"{counted(len(sizes), 'patient')} {of}, fewer than {least}" if len(sizes) < least else no_interval(sizes)


def _above(one: Estimate, bound: float = 0.0) -> bool:
    """Return whether the whole interval lies above a bound; if nothing varies, whether the value does."""
    low = one.value if one.low is None else one.low
    return low is not None and low > bound


def _below(one: Estimate, bound: float) -> bool:
    high = one.value if one.high is None else one.high
    return high is not None and high < bound


# -- the tests -----------------------------------------------------------------------------------------------------


def _empty_maps(rows: Sequence[Numbers]) -> dict[str, Any]:
    """Test that at most a share of `MOST_EMPTY` of the maps is empty."""
    empty = sum(bool(row.get("empty", 0.0)) for row in rows)
    share = empty / len(rows)
    return {
        "passed": share <= MOST_EMPTY,
        "reason": None,
        "cases": len(rows),
        "empty": empty,
        "share": round(share, 4),
        "bound": MOST_EMPTY,
    }


def _location(rows: Sequence[Numbers], patient_ids: np.ndarray) -> dict[str, Any]:
    """Test that the Dice with the ROI is higher than that of the baselines, which do not use the slice.

    An empty map has a Dice of 0, like every empty region.
    """
    few = _too_few(_rows_of_patients(rows, ["dice"], patient_ids), LEAST_PATIENTS, "with an ROI")
    found: dict[str, Any] = {"passed": None, "reason": few, "cases": _count(rows, "dice")}
    found |= _means(
        rows, patient_ids, {"dice": "dice", **BASELINES, "area_mm2": "area_mm2", "roi_area_mm2": "roi_area_mm2"}
    )
    above = {name: mean_of(rows, "dice", patient_ids, measure) for name, measure in BASELINES.items()}
    found["above"] = {name: _plain(one) for name, one in above.items() if one.value is not None}
    for measure, baselines in FURTHER.items():
        found[measure] = _means(rows, patient_ids, {"map": measure, **dict(zip(BASELINES, baselines, strict=False))})
    if few is None:
        found["passed"] = all(_above(one) for one in above.values() if one.value is not None)
    return found


def _other_stage(rows: Sequence[Numbers], patient_ids: np.ndarray) -> dict[str, Any]:
    """Test that the maps of the other stages differ; report that of the second most likely stage as well.

    The bound is for the mean of all other stages. Neighbouring stages share signs, and if the second is nearly as
    likely, a similar map is correct. (Ranks ignore that it may be a hundredth as strong.)
    """
    few = _too_few(_rows_of_patients(rows, ["other_spearman"], patient_ids), LEAST_PATIENTS, "with a map")
    spearman = mean_of(rows, "other_spearman", patient_ids)
    return {
        "passed": None if few else _below(spearman, MOST_ALIKE),
        "reason": few,
        "cases": _count(rows, "other_spearman"),
        "spearman": _plain(spearman),
        "bound": MOST_ALIKE,
        **_means(rows, patient_ids, {"second": "second_spearman", "dice_of_the_second": "second_dice"}),
    }


def _deletion(rows: Sequence[Numbers], patient_ids: np.ndarray) -> dict[str, Any]:
    """Test that filling in the map's region makes the stage less likely, more than filling in the controls."""
    few = _too_few(
        _rows_of_patients(rows, ["fall", "control_fall"], patient_ids), LEAST_PATIENTS, "with a map and a control"
    )
    pairs = [row for row in rows if not math.isnan(row.get("fall", math.nan) + row.get("control_fall", math.nan))]
    with_map = _count(rows, "fall")
    difference = mean_of(rows, "fall", patient_ids, "control_fall")
    # The interval of the difference excludes 0, and the difference is not negligible.
    passed = _above(difference) and difference.value is not None and difference.value >= LEAST_FALL
    return {
        "passed": None if few else passed,
        "reason": few,
        "cases": len(pairs),
        "without_control": with_map - len(pairs),
        "without_control_share": round(1 - len(pairs) / with_map, 4) if with_map else None,
        **_means(rows, patient_ids, {"fall": "fall", "control": "control_fall", "fall_without_roi": "roi_fall"}),
        "above": _plain(difference),
        "bound": LEAST_FALL,
    }


def _random_weights(
    curve: Mapping[str, Sequence[Numbers]], late: Mapping[str, Sequence[Numbers]], patient_ids: np.ndarray
) -> dict[str, Any]:
    """Test that the maps of a network with random weights differ."""

    def point(name: str, rows: Sequence[Numbers]) -> dict[str, Any]:
        return {"random": name, **_means(rows, patient_ids, {"spearman": "spearman", "dice": "dice"})}

    found: dict[str, Any] = {
        "curve": [point(name, rows) for name, rows in curve.items()],
        "late": [point(name, rows) for name, rows in late.items()],
        "bound": MOST_ALIKE,
    }
    last = list(curve.values())[-1] if curve else []
    few = _too_few(_rows_of_patients(last, ["spearman"], patient_ids), LEAST_RANDOMISED, "with a map")
    if few:
        return {"passed": None, "reason": few, "cases": _count(last, "spearman"), **found}
    higher = [
        {"dice": row["dice"], "baseline": max(row["chance_dice"], row["blob_dice"])} if "dice" in row else {}
        for row in last
    ]
    left = mean_of(higher, "dice", patient_ids, "baseline")
    passed = _below(mean_of(last, "spearman", patient_ids), MOST_ALIKE) and (
        left.value is None or _below(left, MOST_LEFT)
    )
    above = {} if left.value is None else {"dice_above_blob": _plain(left)}
    return {"passed": passed, "reason": None, "cases": _count(last, "spearman"), **above, **found}


def _count(rows: Sequence[Numbers], measure: str) -> int:
    return int(np.count_nonzero(~np.isnan(_values(rows, measure)))) if rows else 0


# -- in words ------------------------------------------------------------------------------------------------------


def _in_words(tests: Mapping[str, Mapping[str, Any]], cases: int) -> list[str]:
    location, other, deletion, random = (
        tests[name] for name in ("location", "other_stage", "deletion", "random_weights")
    )
    parts = [counted(cases, "case")]
    if empty := tests["empty_maps"]["empty"]:
        parts.append(f"{empty} of {cases} maps are empty")
    if location["passed"] is not None:
        baselines = ", ".join(
            f"{name.replace('_', ' ')} {location[name]['mean']:.2f}" for name in BASELINES if name in location
        )
        parts.append(f"Dice {location['dice']['mean']:.2f} ({baselines})")
    elif not location["cases"]:
        parts.insert(0, "location not checked: no ROIs")
    if other["spearman"]["mean"] is not None:
        parts.append(f"correlation with other stages' maps {round(other['spearman']['mean'], 2) + 0.0:.2f}")
    if "fall" in deletion and "control" in deletion:
        fall, elsewhere = (round(deletion[name]["mean"], 2) + 0.0 for name in ("fall", "control"))  # no -0.0
        parts.append(f"probability falls by {fall:.2f} when the region is filled in, by {elsewhere:.2f} elsewhere")
    if (deletion["without_control_share"] or 0) > MANY:
        with_map = deletion["cases"] + deletion["without_control"]
        parts.append(f"{deletion['without_control']} of {with_map} cases without a control")
    if random["curve"] and "spearman" in random["curve"][-1]:
        spearman = round(random["curve"][-1]["spearman"]["mean"], 2) + 0.0
        parts.append(f"correlation with maps of random weights {spearman:.2f}")
    return parts


__all__ = ["BASELINES", "FURTHER", "LEAST_PATIENTS", "MOST_EMPTY", "Verdict", "judge", "mean_of"]
