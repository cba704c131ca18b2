"""Describe passes of slices through a network: what is requested, and what comes back. Needs no torch.

Staging uses the protocol `Backbone`, which hides the backend and also allows a model in another process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.cells import CellGrid
from GTRStagingLib.model.head import Head
from GTRStagingLib.model.proposal import ProposalHead
from GTRStagingLib.model.reference import Reference
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.distributions import softmax

EXPLAINED = ("layer2", "stem")
"""Layers with the gradients that a fine map needs."""


@dataclass(frozen=True)
class PassRequest:
    """Request for the gradients of a fine map for slices of one case in a pass.

    Attributes
    ----------
    slices
        Rows of the pass that belong to the case.
    shown
        Rows among them that get a map.
    target
        Stage of the gradients; None for the stage with the highest mean probability over `slices`, which the same pass
        computes. `Pass.targets` contains the stage.
    """

    slices: range
    shown: tuple[int, ...]
    target: TStage | None = None

    def at(self, first: int) -> "PassRequest":
        """Return the same request for slices that begin at another row of the pass."""
        by = first - self.slices.start
        moved = range(self.slices.start + by, self.slices.stop + by)
        return PassRequest(moved, tuple(row + by for row in self.shown), self.target)


@dataclass(frozen=True)
class Pass:
    """Output of one pass of S slices through the network.

    Attributes
    ----------
    logits
        (S, 4) float32.
    features
        (S, features) float32, the penultimate features.
    feature_map
        (S, channels, h, w) float32, the output of `layer4`.
    device, backend
        Device and backend of the pass, for the record, as in 'cuda (NVIDIA H200)' and 'PyTorch 2.14.1, folded'.
    warning
        Given if these are not the requested ones.
    maps
        Further maps of the slices, float32. For a gated head: `gate` (S, h, w) and `evidence` (S, 4, h, w). With
        gradients: `layer2` and `stem`, the raw LayerCAM of these layers, (S, h, w); 0 in all other slices.
    targets
        (S,) stage of `layer2` and `stem`, -1 in slices without a map.
    """

    logits: np.ndarray
    features: np.ndarray
    feature_map: np.ndarray
    device: str
    backend: str
    warning: str | None = None
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    targets: np.ndarray | None = None

    def part(self, rows: slice) -> "Pass":
        """Return the pass of some of its slices."""
        return replace(
            self,
            logits=self.logits[rows],
            features=self.features[rows],
            feature_map=self.feature_map[rows],
            maps={name: one[rows] for name, one in self.maps.items()},
            targets=None if self.targets is None else self.targets[rows],
        )


@runtime_checkable
class Backbone(Protocol):
    """Model loaded on one device."""

    @property
    def card(self) -> ModelCard:
        """Card of the model."""

    @property
    def head(self) -> Head:
        """Linear layer between the features and the logits."""

    @property
    def cells(self) -> Mapping[str, CellGrid]:
        """Centres of the cells of each of `network.LAYERS`."""

    @property
    def mean_mask(self) -> np.ndarray | None:
        """Mean mask of the model (see `weights.Model`)."""

    @property
    def reference(self) -> Reference | None:
        """What the model learned from; None if nobody recorded it."""

    @property
    def proposal_head(self) -> ProposalHead | None:
        """Head that proposes key slices; None if none was fitted."""

    def classify(self, pixels: np.ndarray, wanted: Sequence[PassRequest] = ()) -> Pass:
        """Run (S, 3, H, W) float32 slices, of one or several cases, through the network once.

        `wanted` requests the gradients of a fine map, one request per case; a gated head always returns its own maps.
        """


def targets_of(logits: np.ndarray, wanted: Sequence[PassRequest], temperature: float) -> np.ndarray:
    """Return the stage (S,) of each case's gradients, -1 outside the cases."""
    targets = np.full(len(logits), -1)
    for one in wanted:
        rows = slice(one.slices.start, one.slices.stop)
        mean = softmax(logits[rows], temperature).sum(axis=0)
        targets[rows] = int(mean.argmax()) if one.target is None else int(one.target)
    return targets


def join_passes(parts: Sequence[tuple[list[int], Pass]], total: int) -> Pass:
    """Join parts of a pass, each with the rows of its slices; a map that a part lacks is 0 there."""
    names = dict.fromkeys(name for _, seen in parts for name in seen.maps)
    first = parts[-1][1]

    def spread(arrays: Sequence[np.ndarray | None], empty: float = 0) -> np.ndarray:
        like = next(one for one in arrays if one is not None)
        whole = np.full((total, *like.shape[1:]), empty, like.dtype)
        for (rows, _), one in zip(parts, arrays, strict=True):
            if one is not None:
                whole[rows] = one
        return whole

    return replace(
        first,
        logits=spread([seen.logits for _, seen in parts]),
        features=spread([seen.features for _, seen in parts]),
        feature_map=spread([seen.feature_map for _, seen in parts]),
        maps={name: spread([seen.maps.get(name) for _, seen in parts]) for name in names},
        targets=spread([seen.targets for _, seen in parts], -1),
    )


__all__ = ["EXPLAINED", "Backbone", "Pass", "PassRequest", "join_passes", "targets_of"]
