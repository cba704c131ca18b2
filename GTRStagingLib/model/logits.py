"""Turn logits into probabilities, and refuse implausible ones. Needs no torch."""

import numpy as np

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.support.distributions import softmax

LARGEST_LOGIT = 2.0**24
"""Largest plausible logit: above it, float32 has no fractions, and the probabilities are 0 and 1 by rounding. Those of
trained networks are below 100."""


def probabilities(logits: np.ndarray, card: ModelCard) -> np.ndarray:
    """Compute probabilities from logits (S, 4): the softmax at the card's temperature, in float64.

    Raises
    ------
    WeightsError
        If the logits are not finite, or too large.
    """
    require_plausible(logits, f"Model {card.name!r}")
    return softmax(logits, card.temperature)


def require_plausible(logits: np.ndarray, what: str) -> None:
    """Raise `WeightsError` unless logits (S, 4) are finite and at most `LARGEST_LOGIT`."""
    if not (np.abs(logits) <= LARGEST_LOGIT).all():
        raise WeightsError(
            f"{what} gives logits that are not finite or too large: {logits.tolist()}; expected at most "
            f"{LARGEST_LOGIT:g}. Its weights are too large or damaged: use another checkpoint."
        )


__all__ = ["LARGEST_LOGIT", "probabilities", "require_plausible"]
