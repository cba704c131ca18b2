"""Measure the performance of predictions: the confusion matrix's measures, and areas under the ROC curve."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats import decisions, roc
from GTRStagingLib.stats.estimates import Estimate
from GTRStagingLib.stats.metrics import BOUNDARIES, Metrics, measure


@dataclass(frozen=True)
class Areas:
    """Areas under the ROC curve, one-vs-rest."""

    per_class: Mapping[str, Estimate]
    macro: Estimate
    micro: Estimate
    boundaries: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {
            "macro": self.macro.to_json(),
            "micro": self.micro.to_json(),
            "per_class": {name: one.to_json() for name, one in self.per_class.items()},
            "boundaries": {name: one.to_json() for name, one in self.boundaries.items()},
        }


@dataclass(frozen=True)
class Performance:
    """Performance of predictions on some rows; `areas` is None without probabilities."""

    metrics: Metrics
    areas: Areas | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data, with the keys of `metrics.json`."""
        return {**self.metrics.to_json(), "auc": None if self.areas is None else self.areas.to_json()}


def performance(found: Predictions) -> Performance:
    """Measure the performance of predictions."""
    metrics = measure(found.stages, found.predicted, found.clusters)
    if found.probabilities is None:
        return Performance(metrics, None)
    areas = roc.stage_areas(found.stages, found.probabilities)
    clusters = found.clusters
    boundaries = {
        name: roc.estimate(roc.area(found.stages >= first, decisions.at_least(found.probabilities, first)), clusters)
        for name, first in BOUNDARIES.items()
    }
    return Performance(
        metrics,
        Areas(
            per_class={str(s): roc.estimate(one, clusters) for s, one in zip(TStage, areas, strict=True)},
            macro=roc.estimate(roc.macro(areas), clusters),
            micro=roc.estimate(roc.micro(found.stages, found.probabilities), clusters),
            boundaries=boundaries,
        ),
    )


def curves(found: Predictions) -> dict[str, np.ndarray | None]:
    """Return the ROC curve of each stage against the others, (k, 2) false and true positive rates; None if undefined.

    A stage has no curve without probabilities, or if all rows or none are of it.
    """
    four = found.probabilities
    return {str(s): None if four is None else roc.curve(found.stages == s, four[:, s]) for s in TStage}


def macro_area(found: Predictions) -> "roc.Area | None":
    """Return the mean of the areas of the four stages; None without probabilities, or if a stage is missing."""
    four = found.probabilities
    return None if four is None else roc.macro(roc.stage_areas(found.stages, four))


__all__ = ["Areas", "Performance", "curves", "macro_area", "performance"]
