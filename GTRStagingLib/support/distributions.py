"""Compute probabilities from logits, and find rows of numbers that are not probabilities.

The caller reports the error and chooses the tolerance.
"""

import numpy as np
from scipy import special


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return (n, k) float64 probabilities, with sum 1, of (n, k) logits divided by the temperature."""
    return np.asarray(special.softmax(logits.astype(np.float64) / temperature, axis=1))


def wrong_shares(values: np.ndarray, most: float = np.inf) -> np.ndarray:
    """Return (…,) bool for (…, k) numbers: whether any of a row is below 0, above `most`, infinite or missing."""
    return np.asarray(~((values >= 0) & (values <= most) & np.isfinite(values)).all(axis=-1))


def wrong_sums(values: np.ndarray, tolerance: float) -> np.ndarray:
    """Return (…,) bool for (…, k) numbers: whether a row's sum is missing or off 1 by more than `tolerance`."""
    return np.asarray(~(np.abs(values.sum(axis=-1) - 1) <= tolerance))


__all__ = ["softmax", "wrong_shares", "wrong_sums"]
