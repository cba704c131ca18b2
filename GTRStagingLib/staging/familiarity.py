"""Compare a case with the cases that its model learned from.

Four parts are compared (`Measures`), each by a Mahalanobis distance in the direction of the training's principal axes,
and by what these axes leave. The largest counts. A verdict follows from its rank among held-out patients, which
neither fitted the distributions nor trained the model: a conformal p-value, so that the promised rate of false alarms
holds for every new patient like them, whatever the distribution of the distances.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import SimpleITK as sitk
from PIL import Image

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import geometry
from GTRStagingLib.imaging.keyslice import slice_distance_mm
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.model.reference import IMAGE_PARTS, PICTURE, RATES, VECTORS, Cloud, Reference
from GTRStagingLib.staging.preprocess import PreparedSlices

Verdict = Literal["usual", "unusual", "unlike", "not known"]

NO_REFERENCE = "The model has no record of what it learned from, so nothing is known about the likeness of this case."

AIR, FAT, SOFT, BRIGHT, BONE = -400.0, (-150.0, -30.0), (-20.0, 200.0), (200.0, 350.0), 350.0
"""Limits of tissues, HU."""

ENOUGH_PIXELS = 50
"""Pixels of soft tissue, away from its edges, that its noise requires."""

WIDER = 0.05
"""Share of its value by which a number of the acquisition may lie outside the training's range: headers are rounded,
and the range of few patients is narrow."""

NUMBERS: Mapping[str, str] = {
    "slice_mm": "slices {} mm apart",
    "thickness_mm": "slices {} mm thick",
    "pixel_mm": "pixels of {} mm",
    "field_mm": "a field of {} mm",
    "tube_kv": "a tube voltage of {} kV",
    "noise_hu": "noise of {} HU",
    "area_cm2": "a body section of {} cm²",
    "air_percent": "{} % of the body section is air",
    "fat_percent": "{} % of the body section is fat",
    "bright_percent": "{} % of the body section is bright (200 to 350 HU)",
    "bone_percent": "{} % of the body section is bone or denser",
    "soft_hu": "soft tissue of {} HU (median)",
    "dense_hu": "the brightest tenth of soft tissue above {} HU",
    "border_percent": "{} % of the field's border lies in the body",
    "right_mm": "the body's centre {} mm left of the field's centre",
    "back_mm": "the body's centre {} mm behind the field's centre",
}
"""Name of a measured number -> its words; the unit follows the number."""

OF_THE_ACQUISITION = ("slice_mm", "thickness_mm", "pixel_mm", "field_mm", "tube_kv")
"""Numbers that make a case unusual if they lie outside the training's range."""

CATEGORIES: Mapping[str, str] = {"ConvolutionKernel": "kernel", "Manufacturer": "manufacturer"}
"""Keyword of a header's element -> its name. No header states the contrast phase in a form that can be compared."""

SENTENCES: Mapping[str, str] = {
    "features": "the features of the network are unlike those of training",
    "picture": "the slice as a whole looks unlike those of training",
    "tissue": "the mixture of tissues and their HU are unlike those of training",
    "acquisition": "slice distance, pixel size and noise together are unlike those of training",
}


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of one case.

    Attributes
    ----------
    vectors
        Part of `reference.PARTS` -> vector: `features`, the mean penultimate features of the voting slices;
        `picture`, the key slice as the network receives it, in `PICTURE`² pixels; `tissue` and `acquisition`, numbers
        on the scales of `VECTORS`, NaN where they cannot be measured, and only with HU and a spacing.
    numbers
        Name in `NUMBERS` -> value, of those that are known.
    categories
        Keyword in `CATEGORIES` -> value, of those that the header states.
    """

    vectors: Mapping[str, np.ndarray]
    numbers: Mapping[str, float]
    categories: Mapping[str, str]


@dataclass(frozen=True)
class Familiarity:
    """Whether a case is like those that its model learned from.

    Attributes
    ----------
    verdict
        'unlike': another kind of image. 'unusual': rare among the patients of the training, or another scanner.
    distance
        0 is the median of the held-out patients, 1 the 95 % quantile of a part's distances; None if not known.
    percentile
        Percentage of the held-out patients that are nearer to the training; None if not known.
    reasons
        What is unusual, in words; empty for 'usual' and 'not known'.
    promise
        Rates of false alarms and number of patients, or why nothing is known.
    numbers
        Name in `NUMBERS` -> value, of those that were measured; empty if not known, or without HU and millimetres.
    """

    verdict: Verdict
    distance: float | None
    percentile: float | None
    reasons: tuple[str, ...]
    promise: str
    numbers: Mapping[str, float] = field(default_factory=dict)


# -- measuring -----------------------------------------------------------------------------------------------------


def measure(scan: Scan, slices: PreparedSlices, features: np.ndarray) -> Measures:
    """Measure a case by its voting slices and their penultimate features, (S, features)."""
    key = slices.pixels[slices.key, 0].astype(np.float32)
    small = Image.fromarray(key).resize((PICTURE, PICTURE), Image.Resampling.BOX)
    vectors = {"features": features.mean(axis=0, dtype=np.float64), "picture": np.asarray(small, np.float64).ravel()}
    if scan.intensity != "HU" or not scan.spacing_known:
        return Measures(vectors, {}, {})
    numbers = {**_acquisition(scan, slices), **_tissue(slices)}
    vectors |= {
        part: np.array([_scaled(numbers.get(name, math.nan), scale) for name, (scale, _) in content.items()])
        for part, content in VECTORS.items()
    }
    categories = {keyword: text for keyword in CATEGORIES if (text := scan.acquisition.get(keyword))}
    return Measures(vectors, numbers, categories)


def _scaled(value: float, scale: str) -> float:
    if scale == "plain":
        return value
    return math.sqrt(value) if scale == "root" else math.log(max(value, 1e-3))


def _acquisition(scan: Scan, slices: PreparedSlices) -> dict[str, float]:
    """Return the numbers of the acquisition that grid and header state."""
    sx, sy, _ = slices.native.GetSpacing()
    nx, ny, _ = slices.native.GetSize()
    found = {"pixel_mm": math.sqrt(sx * sy), "field_mm": max(nx * sx, ny * sy)}
    if geometry.axial_size(scan.grid)[2] > 1:
        found["slice_mm"] = slice_distance_mm(scan.grid)
    for name, keyword in (("thickness_mm", "SliceThickness"), ("tube_kv", "KVP")):
        try:
            value = float(scan.acquisition.get(keyword, "nan"))
        except ValueError:  # some headers have a text there
            continue
        if 0 < value < math.inf:
            found[name] = value
    return found


def _tissue(slices: PreparedSlices) -> dict[str, float]:
    """Return the numbers of the tissues in the key slice as acquired."""
    sx, sy, _ = slices.native.GetSpacing()
    hu = sitk.GetArrayViewFromImage(slices.native)[slices.key]
    body = slices.key_body
    height, width = body.shape
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    border = np.concatenate([body[0], body[-1], body[1:-1, 0], body[1:-1, -1]])
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    hu, body = hu[box].astype(np.float32), body[box]
    values = hu[body]
    soft = body & (hu > SOFT[0]) & (hu < SOFT[1])
    area = float(body.sum())
    found = {
        "area_cm2": area * sx * sy / 100,
        "border_percent": 100 * float(border.mean()),
        "right_mm": float(body.sum(axis=0) @ np.arange(columns[0], columns[-1] + 1) / area - (width - 1) / 2) * sx,
        "back_mm": float(body.sum(axis=1) @ np.arange(rows[0], rows[-1] + 1) / area - (height - 1) / 2) * sy,
        **{
            f"{name}_percent": 100 * float(((values > low) & (values <= high)).mean())
            for name, low, high in (
                ("air", -math.inf, AIR), ("fat", *FAT), ("bright", *BRIGHT), ("bone", BONE, math.inf))
        },
    }  # fmt: skip
    if soft.any():
        found["soft_hu"], found["dense_hu"] = map(float, np.quantile(hu[soft], (0.5, 0.9)))
    # A pixel minus the mean of its four neighbours, inside soft tissue, has 5/4 of the variance of white noise; the
    # median ignores edges. Coarse grain is partly in the neighbours too, and counts less.
    inner = _inside(_inside(soft))
    if inner.sum() >= ENOUGH_PIXELS:
        around = hu[1:-3, 2:-2] + hu[3:-1, 2:-2] + hu[2:-2, 1:-3] + hu[2:-2, 3:-1]
        apart = (hu[2:-2, 2:-2] - around / 4)[inner]
        deviation = 1.4826 * float(np.median(np.abs(apart - np.median(apart))))
        found["noise_hu"] = deviation / math.sqrt(5 / 4)
    return found


def _inside(mask: np.ndarray) -> np.ndarray:
    """Return which pixels of a mask have their four neighbours in it, without the mask's outermost rows and columns."""
    rows, columns = mask[:, 1:-1], mask[1:-1]
    inside: np.ndarray = mask[1:-1, 1:-1] & rows[:-2] & rows[2:] & columns[:, :-2] & columns[:, 2:]
    return inside


# -- judging -------------------------------------------------------------------------------------------------------


def compare(scan: Scan, slices: PreparedSlices, features: np.ndarray, reference: Reference | None) -> Familiarity:
    """Measure and judge a case, as `measure` and `judge`; without a reference nothing is measured."""
    return judge(None if reference is None else measure(scan, slices, features), reference)


def judge(measures: Measures | None, reference: Reference | None) -> Familiarity:
    """Judge a case by its model's reference; without one, the verdict is 'not known' and no measures are needed.

    Raises
    ------
    InputError
        If the features or the picture are not finite.
    """
    if measures is None or reference is None:
        return Familiarity("not known", None, None, (), NO_REFERENCE)
    for part in ("features", "picture"):
        if part in measures.vectors and not np.isfinite(measures.vectors[part]).all():
            raise InputError(
                f"The {part} of the case contain NaN or infinite values; expected finite numbers. Check the values of "
                "the image, and import the model again if they are finite."
            )
    apart = distances(measures, reference.clouds)
    outside = tuple(outside_training(measures, reference))
    distance = combined(apart, outside=bool(outside), most=reference.limit("unlike"))
    verdict: Verdict = "usual"
    if distance > reference.limit("unlike"):
        verdict = "unlike"
    elif distance > reference.limit("unusual"):
        verdict = "unusual"
    if outside and verdict == "usual":  # with few patients, or many alike, the limits can be the same number
        verdict = "unusual"
    reasons = _not_compared(measures, reference)
    if verdict != "usual":
        limit = reference.limit("unusual")
        far = tuple(SENTENCES[part] for part, one in apart.items() if one > limit)
        reasons = (*outside, *_numbers_outside(measures, reference), *far, *reasons)
    nearer = int(np.searchsorted(reference.held_out, distance))
    percentile = 100 * nearer / len(reference.held_out)
    return Familiarity(verdict, distance, percentile, reasons, promise(reference), dict(measures.numbers))


def distances(measures: Measures, clouds: Mapping[str, Cloud]) -> dict[str, float]:
    """Return the distance of each part that case and training have."""
    return {part: cloud.distance(measures.vectors[part]) for part, cloud in clouds.items() if part in measures.vectors}


def combined(apart: Mapping[str, float], *, outside: bool, most: float) -> float:
    """Return the distance of a case from those of its parts.

    Parameters
    ----------
    outside
        Whether its acquisition lies outside the training's range.
    most
        Largest distance that the acquisition alone can cause: another scanner is not another anatomy.
    """
    image = max(one for part, one in apart.items() if part in IMAGE_PARTS)
    acquisition = most if outside else min(apart.get("acquisition", -math.inf), most)
    return max(image, acquisition)


def outside_training(measures: Measures, reference: Reference) -> Iterator[str]:
    """Yield, in words, what of the acquisition lies outside the training's range or is not among its values."""
    for name in OF_THE_ACQUISITION:
        if name in measures.numbers and name in reference.ranges:
            low, high = reference.ranges[name]
            if not low * (1 - WIDER) <= measures.numbers[name] <= high * (1 + WIDER):
                yield _compared(name, measures, reference)
    for keyword, name in CATEGORIES.items():
        known, found = reference.categories.get(keyword), measures.categories.get(keyword)
        if known and found is not None and found.casefold() not in map(str.casefold, known):
            yield f"{name} {found}; training {', '.join(known)}"


def _numbers_outside(measures: Measures, reference: Reference) -> Iterator[str]:
    """Yield, in words, the numbers of the tissues that lie outside the training's range."""
    for name, value in measures.numbers.items():
        if name in reference.ranges and name not in OF_THE_ACQUISITION:
            low, high = reference.ranges[name]
            if not low <= value <= high:
                yield _compared(name, measures, reference)


def _compared(name: str, measures: Measures, reference: Reference) -> str:
    low, high = (f"{limit:.3g}" for limit in reference.ranges[name])
    training = low if low == high else f"{low} to {high}"
    unit = NUMBERS[name].split("{} ")[1].split()[0]
    return f"{NUMBERS[name].format(f'{measures.numbers[name]:.3g}')}; training {training} {unit}"


def _not_compared(measures: Measures, reference: Reference) -> tuple[str, ...]:
    """Return, in words, which parts the case or the training does not have."""
    found = []
    if not set(reference.clouds) <= set(measures.vectors):
        found.append("without HU and millimetres, only the picture and the features were compared")
    if lacking := [part for part in measures.vectors if part not in reference.clouds]:
        found.append(
            f"the model has no record of {' and '.join(lacking)}: only {' and '.join(reference.clouds)} were compared"
        )
    return tuple(found)


def promise(reference: Reference) -> str:
    """State the rates of false alarms and the number of patients that they were measured on."""
    few = ""
    if reference.rate("unlike") > RATES["unlike"]:
        few = f" So few patients do not allow {RATES['unlike']:.0%}."
    return (
        f"Of patients like the {len(reference.held_out)} held-out ones ({reference.side}), at most "
        f"{100 * reference.rate('unusual'):.2g} % are called unusual or unlike, and at most "
        f"{100 * reference.rate('unlike'):.2g} % unlike. An acquisition outside the training's range is always "
        f"called unusual, whatever these rates.{few}"
    )


__all__ = [
    "CATEGORIES",
    "NUMBERS",
    "OF_THE_ACQUISITION",
    "SENTENCES",
    "Familiarity",
    "Measures",
    "Verdict",
    "combined",
    "compare",
    "distances",
    "judge",
    "measure",
    "outside_training",
    "promise",
]
