"""Head that scores slices by whether they show a tumour: one linear layer on the features of a model.

`staging.proposal` proposes key slices with it; `checking.proposal_fit` fits it to the training cohort of the model. The
numbers are stored in the model folder, and the facts about the fit on the model card.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.support.fields import Fields

WEIGHTS, BIAS = "weights", "bias"

LARGEST = 1e6
"""Largest plausible weight of the head."""

MOST_SMOOTHING_MM = 100.0


@dataclass(frozen=True, eq=False)
class ProposalHead:
    """Linear layer on the penultimate features of a slice; its output is the log odds of a tumour in the slice.

    Attributes
    ----------
    weights
        (features,) float64
    smoothing_mm
        Standard deviation of the Gaussian along the body axis that smooths the log odds; 0 for none.
    patients
        Number of training patients that it was fitted to.
    """

    weights: np.ndarray
    bias: float
    smoothing_mm: float
    patients: int

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """Return the (S,) log odds of a tumour in slices with (S, features) features, not smoothed.

        Examples
        --------
        >>> import numpy as np
        >>> from GTRStagingLib.model.proposal import ProposalHead
        >>> head = ProposalHead(np.array([2.0, -1.0]), 0.5, smoothing_mm=0.0, patients=20)
        >>> head.log_odds(np.array([[1.0, 1.0], [0.0, 3.0]])).tolist()
        [1.5, -2.5]
        """
        found: np.ndarray = features.astype(np.float64) @ self.weights + self.bias
        return found

    def smoothed(self, log_odds: np.ndarray, position_mm: np.ndarray) -> np.ndarray:
        """Smooth (S,) log odds over (S,) positions along the body axis; NaN has no weight and stays NaN.

        Examples
        --------
        A slice at the end of the scan has neighbours on one side only. A Gaussian of 5 mm weighs a slice 5 mm away with
        exp(-0.5) = 0.61, and one 10 mm away with exp(-2) = 0.14.

        >>> import numpy as np
        >>> from GTRStagingLib.model.proposal import ProposalHead
        >>> head = ProposalHead(np.zeros(1), 0.0, smoothing_mm=5.0, patients=20)
        >>> head.smoothed(np.array([1.0, 0.0, np.nan]), np.array([0.0, 5.0, 10.0])).round(3).tolist()
        [0.622, 0.378, nan]
        """
        known = np.isfinite(log_odds)
        if self.smoothing_mm == 0 or not known.any():
            return log_odds
        apart = (position_mm[:, None] - position_mm[None, known]) / self.smoothing_mm
        weights = np.exp(-0.5 * apart**2)
        return np.where(known, weights @ log_odds[known] / weights.sum(axis=1), np.nan)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to be stored, by name; of float32."""
        return {WEIGHTS: self.weights.astype(np.float32), BIAS: np.array([self.bias], np.float32)}

    @classmethod
    def from_stored(cls, card: Mapping[str, Any], stored: Mapping[str, np.ndarray], features: int) -> "ProposalHead":
        """Make the head of the card's `proposal` and the stored arrays.

        Parameters
        ----------
        features
            Number of features of the model.

        Raises
        ------
        WeightsError
            If they are not valid, or of a model with another number of features.
        """
        try:
            fields = Fields(card, "proposal")
            smoothing = fields.number("smoothing_mm", least=0.0, most=MOST_SMOOTHING_MM)
            patients = fields.whole("training_patients", least=1)
            if set(stored) != {WEIGHTS, BIAS}:
                raise InputError(f"It has the arrays {', '.join(sorted(stored))}; expected {WEIGHTS} and {BIAS}.")
            weights, bias = (stored[name].astype(np.float64) for name in (WEIGHTS, BIAS))
            if (weights.shape, bias.shape) != ((features,), (1,)):
                raise InputError(
                    f"{WEIGHTS} and {BIAS} have the shapes {weights.shape} and {bias.shape}; expected ({features},), "
                    "one number for each feature of the model, and (1,)."
                )
            if not (np.abs(weights) <= LARGEST).all() or not abs(bias[0]) <= LARGEST or not weights.any():
                raise InputError(
                    f"The weights are all 0, not finite or above {LARGEST:g}; expected those of a fitted head."
                )
            return cls(weights, float(bias[0]), smoothing, patients)
        except InputError as error:
            raise WeightsError(
                f"The head that proposes key slices is not valid: {error} Fit it again to the training cohort, or "
                "import the model again."
            ) from error


__all__ = ["ProposalHead"]
