"""Judge what was measured of a model's maps: five tests, a verdict, and the numbers in words.

The bounds are fixed here, before any model is checked; none was chosen by the phantoms that this software's figures
are of (scanner C).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.stats.estimates import Clusters, Estimate, bootstrapped, undefined

LEAST_PATIENTS = 20
"""Patients below which nothing is said: an interval of a mean is then as wide as what it should tell apart."""

LEAST_RANDOMISED = 10
"""The same of the cases whose maps are made anew with random weights: what they show is large, or the test fails."""

MOST_ALIKE = 0.5
"""Spearman's correlation with the map of another stage, or of random weights, below which two maps are different ones:
they share less than a quarter of the variance of their ranks. What shows edges, whatever it is asked, has 0.7 and more
(LayerCAM of an early layer); no correlation at all cannot be asked for, since both maps are of one slice."""

LEAST_FALL = 0.05
"""By how much more a stage's probability must fall, at least, than when tissue elsewhere is covered: a network whose
answer hardly depends on anything has differences that are certain, and nothing."""

MOST_LEFT = 0.05
"""By how much the Dice of a map of random weights may be above chance and a centred blob. Edges of organs alone put
some of any map on a tumour."""

MOST_EMPTY = 0.1
"""Share of the cases whose map may be empty. Three of the tests see only cases that have a map: of a tenth that is left
out they would hardly change, beyond it they would be of chosen cases, and a user would often get no map at all."""

MANY = 0.1
"""Share of the cases without a control from which the summary tells how many there are."""

BASELINES = {
    "chance": "chance_dice", "blob": "blob_dice", "mean_mask": "mean_mask_dice",
    "model_mean_mask": "model_mean_mask_dice",
}  # fmt: skip
"""What the Dice of a map is compared with, and its measure: as large a region at random in the body's section, in its
middle, where the ROIs of the cohort's other patients lie most often, and where those lie that the model knows."""

BESIDE = {
    "energy_inside": ("roi_share", "blob_energy", "mean_mask_energy"),
    "pointing_hit": ("roi_share", "blob_pointing", "mean_mask_pointing"),
    "centroid_mm": ("blob_centroid_mm", "blob_centroid_mm", "mean_mask_centroid_mm"),
}
"""Further measures of location, and what chance, the blob and the mean mask have of them: told, not judged, because
they say the same in another way. The centroid of pixels at random is the body's, as the blob's is."""

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """What the tests say together.

    Attributes
    ----------
    verdict
        'passed': every test that needs no ROI passed, and location too unless there was no ROI at all. 'failed': a test
        failed. 'not checked': one of them could not be made, be it of location for too few ROIs.
    summary
        The numbers, in words; begins with what failed or is missing, location without ROIs included.
    tests
        Name -> `passed` (None where it could not be made, with `reason`) and its numbers, as plain data.
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
    """Judge.

    Parameters
    ----------
    rows
        Of each case what `staging.map_checks.Measured` has, and `mean_mask_*`.
    patients
        Whose each case is.
    curve
        Part of the network -> what remains of some cases' maps when it and all parts above it are random, from the
        head down.
    late
        The same of late layers alone, the head as it was learned.
    randomised
        Which of the rows those cases are.
    """
    whose = np.array(patients)
    tests = {
        "empty_maps": _empty_maps(rows),
        "location": _location(rows, whose),
        "other_stage": _other_stage(rows, whose),
        "deletion": _deletion(rows, whose),
        "random_weights": _random_weights(curve, late, whose[list(randomised)]),
    }
    failed = [name for name, one in tests.items() if one["passed"] is False]
    # Where no case has an ROI, nothing of location was asked.
    asked = [name for name, one in tests.items() if name != "location" or one["cases"]]
    missing = [name for name in asked if tests[name]["passed"] is None]
    verdict = "failed" if failed else "not checked" if missing else "passed"
    said = [f"{name.replace('_', ' ')} fails" for name in failed]
    said += [f"{name.replace('_', ' ')} not checked: {tests[name]['reason']}" for name in missing]
    return Verdict(verdict, "; ".join([*said, *_in_words(tests, len(rows))]), tests)


def mean_of(rows: Sequence[Numbers], measure: str, whose: np.ndarray, minus: str | None = None) -> Estimate:
    """The mean of a measure, or of its difference from another, with a bootstrap over patients; rows without left out.

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
    clusters = Clusters.of(whose[there])
    both = np.stack([clusters.sums(values[there]), clusters.sizes], axis=1)
    return bootstrapped(lambda counts: counts[..., :1] / counts[..., 1:], both, seed=0)[0]


def _values(rows: Sequence[Numbers], measure: str) -> np.ndarray:
    return np.array([row.get(measure, math.nan) for row in rows], dtype=float)


def _patients_with(rows: Sequence[Numbers], measures: Sequence[str], whose: np.ndarray) -> int:
    there = np.all([~np.isnan(_values(rows, one)) for one in measures], axis=0)
    return len(set(whose[there].tolist()))


def _plain(one: Estimate) -> dict[str, float | None]:
    return {
        name: None if value is None else round(value, 4)
        for name, value in (("mean", one.value), ("low", one.low), ("high", one.high))
    }


def _told(rows: Sequence[Numbers], whose: np.ndarray, measures: Mapping[str, str]) -> dict[str, Any]:
    """Name -> mean with its interval, of the measures that any case has."""
    found = {name: mean_of(rows, measure, whose) for name, measure in measures.items()}
    return {name: _plain(one) for name, one in found.items() if one.value is not None}


def _too_few(patients: int, least: int, of: str) -> str | None:
    return f"{counted(patients)} {of}, fewer than {least}" if patients < least else None


def counted(patients: int) -> str:
    """Count patients in words, as in '1 patient'."""
    return f"{patients} patient{'' if patients == 1 else 's'}"


def _above(one: Estimate, bound: float = 0.0) -> bool:
    """Whether the whole interval lies above; an interval of no width, as of equal values, is its value."""
    low = one.value if one.low is None else one.low
    return low is not None and low > bound


def _below(one: Estimate, bound: float) -> bool:
    high = one.value if one.high is None else one.high
    return high is not None and high < bound


# -- the tests -----------------------------------------------------------------------------------------------------


def _empty_maps(rows: Sequence[Numbers]) -> dict[str, Any]:
    """Most cases have a map at all."""
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


def _location(rows: Sequence[Numbers], whose: np.ndarray) -> dict[str, Any]:
    """The map lies on the ROI better than what knows nothing of the slice: chance, a blob, and the mean mask.

    An empty map has a Dice of 0, as every region of no area has.
    """
    few = _too_few(_patients_with(rows, ["dice"], whose), LEAST_PATIENTS, "with an ROI")
    found: dict[str, Any] = {"passed": None, "reason": few, "cases": _count(rows, "dice")}
    found |= _told(rows, whose, {"dice": "dice", **BASELINES, "area_mm2": "area_mm2", "roi_area_mm2": "roi_area_mm2"})
    above = {name: mean_of(rows, "dice", whose, measure) for name, measure in BASELINES.items()}
    found["above"] = {name: _plain(one) for name, one in above.items() if one.value is not None}
    for measure, beside in BESIDE.items():
        found[measure] = _told(rows, whose, {"map": measure, **dict(zip(BASELINES, beside, strict=False))})
    if few is None:
        found["passed"] = all(_above(one) for one in above.values() if one.value is not None)
    return found


def _other_stage(rows: Sequence[Numbers], whose: np.ndarray) -> dict[str, Any]:
    """The maps of the other stages are other maps; that of the second most likely one is told as well.

    The bound is for the mean of all, of which its figures are. Neighbouring stages share signs, and where the second
    is nearly as likely its map is rightly much the same. (Ranks do not see that it may be a hundredth as strong.)
    """
    few = _too_few(_patients_with(rows, ["other_spearman"], whose), LEAST_PATIENTS, "with a map")
    spearman = mean_of(rows, "other_spearman", whose)
    return {
        "passed": None if few else _below(spearman, MOST_ALIKE),
        "reason": few,
        "cases": _count(rows, "other_spearman"),
        "spearman": _plain(spearman),
        "bound": MOST_ALIKE,
        **_told(rows, whose, {"second": "second_spearman", "dice_of_the_second": "second_dice"}),
    }


def _deletion(rows: Sequence[Numbers], whose: np.ndarray) -> dict[str, Any]:
    """Without what the map shows the stage is less likely; without tissue like it elsewhere it is not."""
    few = _too_few(_patients_with(rows, ["fall", "control_fall"], whose), LEAST_PATIENTS, "with a map and a control")
    pairs = [row for row in rows if not math.isnan(row.get("fall", math.nan) + row.get("control_fall", math.nan))]
    with_map = _count(rows, "fall")
    difference = mean_of(rows, "fall", whose, "control_fall")
    # A difference whose interval excludes 0, and that is no trifle.
    passed = _above(difference) and difference.value is not None and difference.value >= LEAST_FALL
    return {
        "passed": None if few else passed,
        "reason": few,
        "cases": len(pairs),
        "without_control": with_map - len(pairs),
        "without_control_share": round(1 - len(pairs) / with_map, 4) if with_map else None,
        **_told(rows, whose, {"fall": "fall", "control": "control_fall", "fall_without_roi": "roi_fall"}),
        "above": _plain(difference),
        "bound": LEAST_FALL,
    }


def _random_weights(
    curve: Mapping[str, Sequence[Numbers]], late: Mapping[str, Sequence[Numbers]], whose: np.ndarray
) -> dict[str, Any]:
    """Nothing of the map remains when all weights are random."""

    def point(name: str, rows: Sequence[Numbers]) -> dict[str, Any]:
        return {"random": name, **_told(rows, whose, {"spearman": "spearman", "dice": "dice"})}

    found: dict[str, Any] = {
        "curve": [point(name, rows) for name, rows in curve.items()],
        "late": [point(name, rows) for name, rows in late.items()],
        "bound": MOST_ALIKE,
    }
    last = list(curve.values())[-1] if curve else []
    few = _too_few(_patients_with(last, ["spearman"], whose), LEAST_RANDOMISED, "with a map")
    if few:
        return {"passed": None, "reason": few, "cases": _count(last, "spearman"), **found}
    higher = [
        {"dice": row["dice"], "beside": max(row["chance_dice"], row["blob_dice"])} if "dice" in row else {}
        for row in last
    ]
    left = mean_of(higher, "dice", whose, "beside")
    passed = _below(mean_of(last, "spearman", whose), MOST_ALIKE) and (left.value is None or _below(left, MOST_LEFT))
    above = {} if left.value is None else {"dice_above_blob": _plain(left)}
    return {"passed": passed, "reason": None, "cases": _count(last, "spearman"), **above, **found}


def _count(rows: Sequence[Numbers], measure: str) -> int:
    return int(np.count_nonzero(~np.isnan(_values(rows, measure)))) if rows else 0


# -- in words ------------------------------------------------------------------------------------------------------


def _in_words(tests: Mapping[str, Mapping[str, Any]], cases: int) -> list[str]:
    location, other, deletion, random = (
        tests[name] for name in ("location", "other_stage", "deletion", "random_weights")
    )
    said = [f"{cases} cases"]
    if empty := tests["empty_maps"]["empty"]:
        said.append(f"{empty} of {cases} maps are empty")
    if location["passed"] is not None:
        beside = ", ".join(
            f"{name.replace('_', ' ')} {location[name]['mean']:.2f}" for name in BASELINES if name in location
        )
        said.append(f"Dice {location['dice']['mean']:.2f} ({beside})")
    elif not location["cases"]:
        said.insert(0, "location not checked: no ROIs")
    if other["spearman"]["mean"] is not None:
        said.append(f"correlation with other stages' maps {round(other['spearman']['mean'], 2) + 0.0:.2f}")
    if "fall" in deletion and "control" in deletion:
        fall, elsewhere = (round(deletion[name]["mean"], 2) + 0.0 for name in ("fall", "control"))  # no -0.0
        said.append(f"probability falls by {fall:.2f} when covered, by {elsewhere:.2f} elsewhere")
    if (deletion["without_control_share"] or 0) > MANY:
        with_map = deletion["cases"] + deletion["without_control"]
        said.append(f"{deletion['without_control']} of {with_map} cases without a control")
    if random["curve"] and "spearman" in random["curve"][-1]:
        said.append(f"with random weights' map {round(random['curve'][-1]['spearman']['mean'], 2) + 0.0:.2f}")
    return said


__all__ = ["BASELINES", "BESIDE", "LEAST_PATIENTS", "MOST_EMPTY", "Verdict", "counted", "judge", "mean_of"]
