"""Run the graphs of a network by ONNX Runtime on the CPU, without torch.

The graphs come from a model folder (`from_folder`), or from a network in memory (`backbone.ready`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import device as devices
from GTRStagingLib.model.arrays import (
    GRADIENTS_FILE,
    GRAPH_FILE,
    WEIGHTS_FILE,
    Beside,
    read_beside,
    read_head,
    require_hash,
)
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.cells import CellGrid
from GTRStagingLib.model.head import Head
from GTRStagingLib.model.onnx_session import (
    EXPLAINED_OUTPUTS,
    OUTPUTS,
    GraphError,
    accepts,
    outputs_of,
    runtime,
    stored_session,
)
from GTRStagingLib.model.passes import Backbone, Pass, PassRequest, join_passes
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.distributions import softmax

CERTAIN = 1e6
"""Added to the probability of a requested stage, so that it is the highest one."""


class OnnxBackbone:
    """Graphs of a network in ONNX Runtime on the CPU; another backbone for what the graphs do not accept.

    Parameters
    ----------
    session
        Of the forward pass.
    gradients
        Function that opens the graph with gradients, on first use, since it is as large as the forward graph. A
        `GraphError` means that there is none.
    otherwise
        Function that makes the other backbone, of the reason why it is needed or None; or raises an error.
    """

    def __init__(
        self,
        card: ModelCard,
        head: Head,
        cells: Mapping[str, CellGrid],
        beside: Beside,
        session: Any,
        gradients: Callable[[], Any],
        otherwise: Callable[[str | None], Backbone],
    ) -> None:
        self.card, self.head, self.cells = card, head, cells
        self.mean_mask, self.reference, self.proposal_head = beside.mean_mask, beside.reference, beside.proposal_head
        self._session, self._open_gradients, self._make_other = session, gradients, otherwise
        self._name = f"ONNX Runtime {runtime().__version__}"
        self._about = devices.describe(devices.CPU), self._name, None

    def classify(self, pixels: np.ndarray, wanted: Sequence[PassRequest] = ()) -> Pass:
        """Run one pass; see `Backbone`."""
        pixels = np.ascontiguousarray(pixels)
        explain = self.card.head == "mean" and any(one.shown for one in wanted)
        takes = accepts(self.card, pixels.shape, gradients=explain)
        if not takes or (explain and self._gradients is None):
            return self._other.classify(pixels, wanted)
        if not explain:
            return self._plain(pixels)
        shown = sorted(row for one in wanted for row in one.shown)
        rest = sorted(set(range(len(pixels))) - set(shown))
        parts = [(rest, self._plain(pixels[rest]))] if rest else []
        logits = np.zeros((len(pixels), len(TStage)), np.float32)
        for rows, seen in parts:
            logits[rows] = seen.logits
        for one in wanted:
            if one.shown:
                parts.append((list(one.shown), self._explained(pixels[list(one.shown)], one, logits)))
        return join_passes(parts, len(pixels))

    def _plain(self, pixels: np.ndarray) -> Pass:
        names = outputs_of(self.card.head)
        found = dict(zip(names, self._session.run(names, {"pixels": pixels}), strict=True))
        logits, features, feature_map = (found.pop(name) for name in OUTPUTS)
        return Pass(logits, features, feature_map, *self._about, found)

    def _explained(self, pixels: np.ndarray, one: PassRequest, logits: np.ndarray) -> Pass:
        """Run slices of one case with gradients; the graph itself chooses the stage of the highest mean."""
        others = sorted(set(one.slices) - set(one.shown))
        bias = np.zeros(len(TStage), np.float32)
        if one.target is not None:
            bias[one.target] = CERTAIN
        elif others:
            bias[:] = softmax(logits[others], self.card.temperature).sum(axis=0)
        given = {
            "pixels": pixels,
            "bias": bias,
            "temperature": np.array(self.card.temperature, np.float32),
        }
        found = dict(zip(EXPLAINED_OUTPUTS, self._gradients.run(EXPLAINED_OUTPUTS, given), strict=True))
        logits, features, feature_map, target = (found.pop(name) for name in (*OUTPUTS, "target"))
        targets = np.full(len(pixels), int(target[0]))
        return Pass(logits, features, feature_map, *self._about, found, targets)

    @cached_property
    def _gradients(self) -> Any:
        """Graph with gradients; None without one, so that the other backbone runs."""
        try:
            return self._open_gradients()
        except GraphError as error:
            self._reason = f"The fine map needs gradients. {error}"
            return None

    _reason: str | None = None

    @cached_property
    def _other(self) -> Backbone:
        return self._make_other(self._reason)


def from_folder(folder: Path, card: ModelCard, otherwise: Callable[[str | None], Backbone]) -> OnnxBackbone:
    """Open the graphs of a model folder, whose card names them.

    Raises
    ------
    WeightsError
        If a file is missing, has another hash than the card gives, or the graph belongs to other weights.
    GraphError
        If ONNX Runtime cannot open the graph, or its known answer differs here.
    MissingDependencyError
        If ONNX Runtime is not installed.
    """
    runtime()
    require_hash(folder / WEIGHTS_FILE, card.sha256)
    session, note = stored_session(_content(folder / GRAPH_FILE, card.graph_sha256), folder, card)
    head = read_head(folder, card)

    def gradients() -> Any:
        if card.gradients_sha256 is None:
            raise GraphError(f"Model {card.name!r} has no {GRADIENTS_FILE}.")
        return stored_session(_content(folder / GRADIENTS_FILE, card.gradients_sha256), folder, card, gradients=True)[0]

    try:
        cells = {str(name): CellGrid(float(one["step"]), float(one["first"])) for name, one in note["cells"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{folder / GRAPH_FILE} does not tell where its cells are. Write it again: gtrstaging models export-onnx "
            f"{card.name}"
        ) from error
    return OnnxBackbone(
        card, head, cells, read_beside(folder, card, head.weight.shape[1]), session, gradients, otherwise
    )


def _content(path: Path, sha256: str | None) -> bytes:
    """Read a graph's file after checking its hash."""
    require_hash(path, str(sha256))
    return path.read_bytes()


__all__ = ["OnnxBackbone", "from_folder"]
