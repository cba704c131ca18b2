"""Record of what a model learned from: distributions of its training cases, and distances of held-out patients.

`staging.familiarity` compares a case with it; `checking.familiarity_fit` makes it. The arrays are stored in the model
folder, and the ranges and the counts on the model card.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.support.fields import Fields

PARTS = ("features", "picture", "tissue", "acquisition")
"""Parts of a case that are compared, each as a vector, see `staging.familiarity.Measures`."""

IMAGE_PARTS = ("features", "picture", "tissue")
"""Parts that can make a case unlike the training; another scanner alone cannot."""

PICTURE = 24
"""Rows and columns of the small picture of the key slice."""

VECTORS: Mapping[str, Mapping[str, tuple[str, float]]] = {
    "tissue": {
        "area_cm2": ("log", 0.02), "air_percent": ("root", 0.1), "fat_percent": ("root", 0.1),
        "bright_percent": ("root", 0.1), "bone_percent": ("root", 0.1), "soft_hu": ("plain", 1.0),
        "dense_hu": ("plain", 1.0), "border_percent": ("root", 0.1),
        "right_mm": ("plain", 1.0), "back_mm": ("plain", 1.0),
    },
    "acquisition": {
        "slice_mm": ("log", 0.02), "pixel_mm": ("log", 0.02), "field_mm": ("log", 0.02), "noise_hu": ("log", 0.02),
    },
}  # fmt: skip
"""Part -> its numbers, each with its scale and the least standard deviation on it, since a number that is the same in
all training cases may differ by rounding. Noise and its grain are of the scanner, its kernel and its pixels, and not of
the anatomy: they can make a case unusual, not unlike."""

RATES = {"unlike": 0.01, "unusual": 0.05}
"""Verdict -> largest share of patients like those of the training that may get it or a stronger one."""

LEAST_PATIENTS = 19
"""Least number of held-out patients: with fewer, not even `RATES['unusual']` can be promised."""

SMALLEST = 1e-12
"""Least distance before its logarithm is taken."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """Distribution of one part of the training cases, a vector of d numbers for each case.

    Attributes
    ----------
    mean
        (d,)
    axes
        (k, d), orthonormal unless k is d; they also scale the numbers if these have different units.
    variances
        (k,) along the axes, shrunk.
    rest
        Root mean square of what the axes leave of a training case; 0 if they leave nothing.
    centre, spread
        (1,) or (2,): median of the held-out patients' logarithmic distances, and from there to their 95 % quantile; of
        the distance along the axes, and of what they leave.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rest: float
    centre: np.ndarray
    spread: np.ndarray

    def log_distances(self, vector: np.ndarray) -> np.ndarray:
        """Return the logarithms of a case's distance along the axes (Mahalanobis), and of what the axes leave, if any.

        A number that was not measured (NaN) is taken as that of the mean.
        """
        apart = np.where(np.isnan(vector), 0.0, vector - self.mean)
        along = self.axes @ apart
        found = [np.sqrt((along**2 / self.variances).mean())]
        if self.rest:
            found.append(np.sqrt(max(float(apart @ apart - along @ along), 0.0)) / self.rest)
        return np.log(np.maximum(found, SMALLEST))

    def distance(self, vector: np.ndarray) -> float:
        """Return a case's distance: 0 is the median of the held-out patients, 1 their 95 % quantile."""
        return float(((self.log_distances(vector) - self.centre) / self.spread).max())


@dataclass(frozen=True, eq=False)
class Reference:
    """What a model learned from, and how far held-out patients are from it.

    Attributes
    ----------
    clouds
        Of each of `PARTS` that could be measured.
    held_out
        (patients,) ascending: distances of the held-out patients, one case of each.
    ranges
        Name of a number -> its lower and upper limit among the training cases; see `staging.familiarity.NUMBERS`.
    categories
        Keyword of a header's element -> its values among the training cases.
    side
        Split of the held-out patients.
    """

    clouds: Mapping[str, Cloud]
    held_out: np.ndarray
    ranges: Mapping[str, tuple[float, float]]
    categories: Mapping[str, tuple[str, ...]]
    side: str

    def rate(self, verdict: str) -> float:
        """Return the promised rate of a verdict: that of `RATES`, or the least that so few patients allow."""
        return max(RATES[verdict], 1 / (len(self.held_out) + 1))

    def limit(self, verdict: str) -> float:
        """Return the distance above which a case gets the verdict.

        For a new patient like the held-out ones, all n + 1 distances are equally likely to be the largest ones: one of
        the m largest with a probability of m / (n + 1).
        """
        # The addition of 1e-9 keeps 0.01 * 100 at 1 where the product is rounded down.
        largest = int(self.rate(verdict) * (len(self.held_out) + 1) + 1e-9)
        return float(self.held_out[-largest])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to be stored, by name."""
        stored = {"held_out": self.held_out}
        for part, cloud in self.clouds.items():
            for name in ("mean", "axes", "variances", "centre", "spread"):
                stored[f"{part}.{name}"] = getattr(cloud, name)
            stored[f"{part}.rest"] = np.array([cloud.rest])
        return {name: np.ascontiguousarray(one, dtype=np.float32) for name, one in stored.items()}

    @classmethod
    def from_stored(
        cls, card: Mapping[str, Any], stored: Mapping[str, np.ndarray], lengths: Mapping[str, int]
    ) -> "Reference":
        """Make the reference of the card's `familiarity` and the stored arrays.

        Parameters
        ----------
        lengths
            Part -> number of its numbers.

        Raises
        ------
        WeightsError
            If they are not valid.
        """
        try:
            if not all(np.isfinite(one).all() for one in stored.values()):
                raise InputError("The arrays contain NaN or infinite values; expected finite numbers.")
            fields = Fields(card, "familiarity")
            parts = fields.texts("parts")
            if not {"features", "picture"} <= set(parts) <= set(PARTS):
                raise fields.error("parts", f"features and picture, and otherwise only {', '.join(PARTS)}")
            held_out = stored["held_out"].astype(np.float64)
            if held_out.ndim != 1 or len(held_out) < LEAST_PATIENTS or (np.diff(held_out) < 0).any():
                raise InputError(
                    f"held_out has shape {held_out.shape}; expected the distances of {LEAST_PATIENTS} or more "
                    "patients, ascending."
                )
            ranges = fields.fields("ranges")
            categories = fields.fields("categories")
            return cls(
                {part: _cloud(part, stored, lengths[part]) for part in PARTS if part in parts},
                held_out,
                {name: _pair(ranges, name) for name in ranges.data},
                {name: categories.texts(name) for name in categories.data},
                fields.name("side"),
            )
        except (InputError, KeyError) as error:
            why = f"it lacks the array {error}." if isinstance(error, KeyError) else str(error)
            raise WeightsError(
                f"The record of what the model learned from is not valid: {why} Make it again from the training "
                "cohort, or import the model again."
            ) from error


def _pair(ranges: Fields, name: str) -> tuple[float, float]:
    low, high = ranges.numbers(name, 2)
    if low > high:
        raise ranges.error(name, "a lower limit and an upper one, which is not below it")
    return low, high


def _cloud(part: str, stored: Mapping[str, np.ndarray], length: int) -> Cloud:
    """Return the cloud of a part; raise `InputError` unless its arrays fit each other."""
    names = ("mean", "axes", "variances", "rest", "centre", "spread")
    mean, axes, variances, rest, centre, spread = (stored[f"{part}.{name}"].astype(np.float64) for name in names)
    parts = 2 if rest.any() else 1
    shapes = (mean.shape, axes.shape, variances.ndim, rest.shape, centre.shape, spread.shape)
    if shapes != ((length,), (variances.size, length), 1, (1,), (parts,), (parts,)):
        raise InputError(
            f"The arrays {', '.join(names)} of {part} have the shapes "
            f"{', '.join(str(stored[f'{part}.{name}'].shape) for name in names)}; expected (d,), (k, d), (k,), (1,) "
            f"with d {length}, and twice (1,), or (2,) if something is left."
        )
    if not ((variances > 0).all() and (spread > 0).all() and rest[0] >= 0):
        raise InputError(f"The variances and spreads of {part} are not all above 0; expected positive numbers.")
    return Cloud(mean, axes, variances, float(rest[0]), centre, spread)


__all__ = ["IMAGE_PARTS", "LEAST_PATIENTS", "PARTS", "PICTURE", "RATES", "VECTORS", "Cloud", "Reference"]
