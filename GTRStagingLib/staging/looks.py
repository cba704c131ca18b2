"""Look at a case several times: by several models, or at mirrored and shifted slices, and measure the disagreement.

A look is one pass of one model over the voting slices as prepared, or mirrored, or shifted. Its probabilities are those
at the model's own temperature. The result is the mean: of the probabilities of each slice, which then vote, and of the
attention maps, each divided by its maximum and brought back to the place from which its slices were taken.

The spread is the mean over the looks of the Kullback-Leibler divergence of a look's probabilities from their mean, in
bits (the disagreement of Lakshminarayanan, Pritzel and Blundell 2017, "Simple and Scalable Predictive Uncertainty
Estimation using Deep Ensembles", divided by the number of looks; the mutual information of Houlsby et al. 2011,
arXiv:1112.5745). It is 0 if all looks give the same probabilities, and at most 2 for four stages.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.cells import CellGrid, interpolation
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.familiarity import Familiarity, Verdict
from GTRStagingLib.staging.voting import Prediction, vote

SHIFT = 6
"""Pixels of the network's input by which slices are shifted: a fraction of the cells of the last layer (32 pixels), and
no whole number of cells of any layer (4, 8, 16 and 32 pixels), so that each layer samples the slice at other places."""

SEVERAL_LOOKS = "the sets were calibrated for one look of one model, and this result is the mean of several looks"
"""Reason to withhold the stage set of several looks."""

UNCHECKED = "This map has not been checked for this model: it is the mean of {} looks, and a check is of one look."

MIXED, DISAGREEMENT = "mixed", "disagreement"
"""Methods of a mean of maps by several methods, and of the standard deviation of the looks' maps."""

_WORST_LAST: tuple[Verdict, ...] = ("usual", "not known", "unusual", "unlike")


@dataclass(frozen=True)
class View:
    """Way in which prepared slices are changed before a look, in pixels of the network's input.

    Attributes
    ----------
    name
        In words.
    mirrored
        Left and right are exchanged.
    down, right
        Pixels by which the slices are then shifted; the border is repeated where nothing is left.
    """

    name: str
    mirrored: bool = False
    down: int = 0
    right: int = 0

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Change slices (S, 3, H, W); the result has the same shape.

        Examples
        --------
        >>> import numpy as np
        >>> from GTRStagingLib.staging.looks import View
        >>> row = np.array([[[[1, 2, 3, 4]]]])
        >>> View("", mirrored=True).of(row)[0, 0].tolist(), View("", right=1).of(row)[0, 0].tolist()
        ([[4, 3, 2, 1]], [[1, 1, 2, 3]])
        """
        if self.mirrored:
            pixels = pixels[..., ::-1]
        if self.down or self.right:
            height, width = pixels.shape[-2:]
            rows = np.clip(np.arange(height) - self.down, 0, height - 1)
            columns = np.clip(np.arange(width) - self.right, 0, width - 1)
            pixels = pixels[..., rows[:, None], columns]
        return np.ascontiguousarray(pixels)

    def undone(self, attention: Attention) -> Attention:
        """Bring a map of changed slices back to the slices as prepared: exactly, by the positions of its cells."""
        maps, rows, columns = attention.maps, attention.rows, attention.columns
        rows = CellGrid(rows.step, rows.first - self.down)
        columns = CellGrid(columns.step, columns.first - self.right)
        if self.mirrored:
            last = columns.first + columns.step * (maps.shape[2] - 1)
            maps, columns = maps[..., ::-1], CellGrid(columns.step, attention.grid.GetSize()[0] - 1 - last)
        return replace(attention, maps=np.ascontiguousarray(maps), rows=rows, columns=columns)


AS_PREPARED = View("as acquired")

VIEWS = (
    AS_PREPARED,
    View("mirrored", mirrored=True),
    View("shifted up", down=-SHIFT),
    View("shifted down", down=SHIFT),
    View("shifted left", right=-SHIFT),
    View("shifted right", right=SHIFT),
)
"""Looks of one model at one case, the unchanged one first."""


@dataclass(frozen=True)
class Look:
    """One look at a case.

    Attributes
    ----------
    model
        Position of the model among `Looks.models`.
    view
        Name of the `View`.
    prediction
        Vote of the slices of this look.
    """

    model: int
    view: str
    prediction: Prediction


@dataclass(frozen=True)
class Looks:
    """Several looks at one case.

    Attributes
    ----------
    models
        Cards of the models.
    familiarity
        Familiarity of the case to each model, by the unchanged look. That of the result is the worst.
    each
        The looks, two or more, model by model.
    disagreement
        Standard deviation of the looks' maps, where the result's attention is their mean.
    volume
        The disagreement in the axis order of the input: each voxel is a voxel of the CT.
    """

    models: tuple[ModelCard, ...]
    familiarity: tuple[Familiarity, ...]
    each: tuple[Look, ...]
    disagreement: Attention
    volume: sitk.Image

    @cached_property
    def spread(self) -> float:
        """Disagreement of the looks' mean probabilities, in bits."""
        return spread(np.array([look.prediction.probabilities for look in self.each]))

    @property
    def votes(self) -> Mapping[TStage, int]:
        """Number of looks whose slices vote for each of the four stages."""
        counts = Counter(look.prediction.stage for look in self.each)
        return {stage: counts[stage] for stage in TStage}


def spread(probabilities: np.ndarray) -> float:
    """Compute the spread of probabilities (looks, 4), rows summing to 1, in bits.

    Examples
    --------
    Two looks that are certain of two stages differ by 1 bit.

    >>> import numpy as np
    >>> from GTRStagingLib.staging.looks import spread
    >>> spread(np.array([[1, 0, 0, 0], [0, 1, 0, 0]])), spread(np.array([[0.2, 0.8, 0, 0]] * 3))
    (1.0, 0.0)
    """
    mean = np.broadcast_to(probabilities.mean(axis=0), probabilities.shape)
    there = probabilities > 0
    ratios = np.log2(probabilities[there] / mean[there])
    return max(0.0, round(float((probabilities[there] * ratios).sum() / len(probabilities)), 9))


def mean_vote(predictions: Sequence[Prediction]) -> Prediction:
    """Return the vote of the slices by the mean probabilities of several looks; one look alone is unchanged."""
    if len(predictions) == 1:
        return predictions[0]
    offsets = [one.offset for one in predictions[0].slices]
    return vote(offsets, np.mean([[one.probabilities for one in each.slices] for each in predictions], axis=0))


def worst(found: Sequence[Familiarity]) -> Familiarity:
    """Return the worst verdict on a case: a model without a record is worse than a familiar case."""
    return max(found, key=lambda one: _WORST_LAST.index(one.verdict))


def mean_map(maps: Sequence[Attention]) -> tuple[Attention, Attention]:
    """Return the mean of the maps of several looks and their standard deviation, on the cells of the first.

    Each look's maps are divided by their maximum over its slices, so that the mean is at most 1 and no look outweighs
    the others; empty maps stay 0. Between the cells, maps are interpolated as on the acquired slices. Only slices that
    every look mapped are: without maps of the neighbours, a gated map has them and a fine one does not.

    Raises
    ------
    InputError
        If the maps are for several stages, or have no slice in common.
    """
    first = maps[0]
    mapped = np.all([one.mapped for one in maps], axis=0)
    if len({one.target for one in maps}) > 1 or not mapped.any():
        raise InputError("The maps of the looks are for several stages or slices; expected maps of the same.")
    height, width = first.maps.shape[1:]
    shares = []
    for one in maps:
        rows = interpolation(one.rows, one.maps.shape[1], first.rows, height)
        columns = interpolation(one.columns, one.maps.shape[2], first.columns, width)
        common = np.where(mapped[:, np.newaxis, np.newaxis], one.maps, np.float32(0))
        shares.append(np.asarray(rows @ (common / (common.max() or 1.0)) @ columns.T))
    mean, deviation = (np.asarray(f(shares, axis=0), np.float32) for f in (np.mean, np.std))
    methods = {one.method for one in maps}
    layers = tuple(dict.fromkeys(layer for one in maps for layer in one.layers))
    method = first.method if len(methods) == 1 else MIXED
    whole = replace(first, maps=mean, method=method, layers=layers, mapped=tuple(mapped.tolist()))
    return whole, replace(whole, maps=deviation, method=DISAGREEMENT)


__all__ = ["AS_PREPARED", "DISAGREEMENT", "MIXED", "SEVERAL_LOOKS", "UNCHECKED", "VIEWS", "Look", "Looks", "View",
           "mean_map", "mean_vote", "spread", "worst"]  # fmt: skip
