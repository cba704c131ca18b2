"""Make rows of numbers shares of a whole, and find those that are none.

What is wrong with a row is for the caller to say, in its own words and by its own tolerance.
"""

import numpy as np
from scipy import special


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(n, k) logits over the temperature -> (n, k) shares that sum to 1, in float64."""
    return np.asarray(special.softmax(logits.astype(np.float64) / temperature, axis=1))


def wrong_shares(values: np.ndarray, most: float = np.inf) -> np.ndarray:
    """(…,) bool of (…, k) numbers: whether one of a row is below 0, above `most`, infinite or missing."""
    return np.asarray(~((values >= 0) & (values <= most) & np.isfinite(values)).all(axis=-1))


def wrong_sums(values: np.ndarray, tolerance: float) -> np.ndarray:
    """(…,) bool of (…, k) numbers: whether a row's sum is missing, or farther from 1 than the tolerance."""
    return np.asarray(~(np.abs(values.sum(axis=-1) - 1) <= tolerance))


__all__ = ["softmax", "wrong_shares", "wrong_sums"]
