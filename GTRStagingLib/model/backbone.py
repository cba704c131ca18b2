"""Run a model by a backend: PyTorch on any device, ONNX Runtime on CPUs.

Staging uses the protocol `Backbone`, which hides the backend and also allows a model in another process.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from GTRStagingLib.errors import InputError, StagingError
from GTRStagingLib.model import device as devices
from GTRStagingLib.model import onnx_graph, weights
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.cells import CellGrid
from GTRStagingLib.model.gradient_graph import layer_cam
from GTRStagingLib.model.network import GTRNet, Head, all_centres, folded
from GTRStagingLib.model.proposal import ProposalHead
from GTRStagingLib.model.reference import Reference
from GTRStagingLib.model.several import joined, with_folds
from GTRStagingLib.model.weights import Model
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.distributions import softmax
from GTRStagingLib.support.given import require_type

BACKENDS = ("auto", "torch", "onnx", "compile")
"""'auto': ONNX Runtime on a CPU where the extra `onnx` is installed, else PyTorch. 'compile': PyTorch's compiler, for
long runs."""

CPU = torch.device("cpu")

EXPLAINED = ("layer2", "stem")
"""Layers with the gradients that a fine map needs."""

CERTAIN = 1e6
"""Added to the probability of a requested stage, so that it is the highest one."""


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


_READY: WeakKeyDictionary[Model, dict[tuple[torch.device, str], Backbone]] = WeakKeyDictionary()
"""Entries are removed with their model: no backbone has a reference to the `Model` that it was made of."""


def ready(model: Model, device: str = "auto", backend: str = "auto") -> Backbone:
    """Make a backbone of a model; equal arguments return the same backbone as long as the model exists.

    Parameters
    ----------
    model
        Is not changed: its network stays on its device and keeps its weights.
    device
        As in `device.choose`. With 'onnx', 'auto' is the CPU.
    backend
        One of `BACKENDS`.

    Raises
    ------
    InputError
        If the device or backend is unknown or missing, ONNX Runtime is not installed or requested on a GPU, or the
        network cannot be compiled on this machine.
    WeightsError
        If the network's logits are not finite, or the same for any slice.
    GraphError
        If the backend is 'onnx' and the graph's outputs differ from PyTorch's; 'auto' then runs PyTorch and warns.
    """
    require_type("device", device, str, "a device", 'Give device="auto".')
    if backend not in BACKENDS:
        raise InputError(f"Backend {backend!r}; expected one of {', '.join(BACKENDS)}.")
    place = devices.choose("cpu" if (device, backend) == ("auto", "onnx") else device)
    if backend == "onnx" and place.type != "cpu":
        raise InputError(f"Backend 'onnx' on device {device!r}; expected a CPU. Use `device=cpu` or `backend=torch`.")
    known = _READY.setdefault(model, {})
    if (place, backend) not in known:
        weights.require_live(model.network)
        known[place, backend] = _made_ready(model, place, backend)
    return known[place, backend]


def load_model(model: str, device: str = "auto", backend: str = "auto") -> Backbone:
    """Load a model on a device.

    Parameters
    ----------
    model
        Name of a model (see `registry.available`), or its folder.
    device, backend
        As in `ready`.

    Raises
    ------
    InputError, WeightsError, GraphError
        With the value, the expectation and the remedy.
    """
    return ready(weights.load(model), device, backend)


def load_models(models: str | Sequence[str], device: str = "auto", backend: str = "auto") -> tuple[Backbone, ...]:
    """Load one or several models on a device, to look at a case together; folds by the name of their training.

    Parameters
    ----------
    models
        Names or folders as for `load_model`, or sets of folds as in `several.with_folds`.
    device, backend
        As in `ready`.

    Raises
    ------
    InputError, WeightsError, GraphError
        As `load_model`; also if two models have the same weights, or models have different recipes.

    Examples
    --------
    >>> from GTRStagingLib.model.backbone import load_models
    >>> [one.card.name for one in load_models(["demonstration"], device="cpu")]
    ['demonstration']
    """
    loaded = [weights.load(name) for name in with_folds(models)]
    joined([one.card for one in loaded])
    return tuple(ready(one, device, backend) for one in loaded)


def _made_ready(model: Model, place: torch.device, backend: str) -> Backbone:
    if backend == "onnx":
        return OnnxBackbone(model)
    if backend == "auto" and place.type == "cpu" and all(map(find_spec, ("onnxruntime", "onnx"))):
        try:
            return OnnxBackbone(model)
        except StagingError as error:
            return TorchBackbone(model, place, warning=f"PyTorch ran instead of ONNX Runtime. {error}")
    return TorchBackbone(model, place, compiled=backend == "compile")


class TorchBackbone:
    """Folded copy of the network in PyTorch; runs on the CPU if the device's memory is too small."""

    def __init__(
        self, model: Model, place: torch.device, *, compiled: bool = False, warning: str | None = None
    ) -> None:
        self.card, self.head, self.cells = model.card, Head.of(model.network), all_centres(model.network)
        self.mean_mask, self.reference = model.mean_mask, model.reference
        self.proposal_head = model.proposal_head
        self._network, self._place, self._warning = folded(model.network), place, warning
        self._layers, self._stem = self._network.layers, self._network.stem
        self._lower = partial(self._network.between, "stem", "layer2")
        self._upper = partial(self._network.between, "layer2", "layer4")
        self._name = f"PyTorch {torch.__version__}, {'compiled' if compiled else 'folded'}"
        # The fastest memory order for convolutions on CPUs (benchmarks/latency.py) and on CUDA.
        self._order = torch.contiguous_format if place.type == "mps" else torch.channels_last
        self._network.to(memory_format=self._order)
        if compiled:
            self._compile()

    def classify(self, pixels: np.ndarray, wanted: Sequence[PassRequest] = ()) -> Pass:
        """Run one pass; see `Backbone`."""
        try:
            return self._run(pixels, wanted, self._place, self._warning)
        except RuntimeError as error:
            if self._place.type == "cpu" or not devices.is_out_of_memory(error):
                raise
        # Outside the handler, so that the traceback no longer holds the tensors of the failed pass.
        warning = f"The memory of {self._place} was too small: the network ran on the CPU."
        seen = self._run(pixels, wanted, CPU, warning)
        if self._place.type == "cuda" and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return seen

    def _run(self, pixels: np.ndarray, wanted: Sequence[PassRequest], place: torch.device, warning: str | None) -> Pass:
        network = self._network.to(place)
        x = torch.from_numpy(np.ascontiguousarray(pixels)).to(place).contiguous(memory_format=self._order)
        about = devices.describe(place), self._name, warning
        shown = sorted(row for one in wanted for row in one.shown)
        if self.card.head == "gated" or not shown:
            return self._plain(network, x, place, about)
        if self._autocasts(place) or place.type != "cpu" or len(wanted) > 1 or len(wanted[0].slices) < len(x):
            # The result of a case must not depend on the other cases in the pass. On a GPU, autocast rounds the logits
            # of all slices, with and without a map; only the maps are computed in float32.
            seen = self._plain(network, x, place, about)
            targets = targets_of(seen.logits, wanted, self.card.temperature)
            each = [(list(one.shown), x[list(one.shown)]) for one in wanted if one.shown]
            parts = [(rows, self._explained(network, part, about, targets[rows])) for rows, part in each]
            maps = join_passes(parts, len(x))
            return replace(seen, maps=maps.maps, targets=maps.targets)
        rest = sorted(set(range(len(x))) - set(shown))
        others = [(rest, self._plain(network, x[rest], place, about))] if rest else []
        logits = np.zeros((len(x), len(TStage)), np.float32)
        for rows, seen in others:
            logits[rows] = seen.logits

        def target_of(shown_logits: np.ndarray) -> np.ndarray:
            logits[shown] = shown_logits
            return targets_of(logits, wanted, self.card.temperature)[shown]

        return join_passes([*others, (shown, self._explained(network, x[shown], about, target_of))], len(x))

    def _autocasts(self, place: torch.device) -> bool:
        """Return whether to autocast: on CUDA only, since bfloat16 is slow on a CPU without instructions for it."""
        return place.type == "cuda"

    def _plain(self, network: GTRNet, x: Tensor, place: torch.device, about: tuple[str, str, str | None]) -> Pass:
        with torch.no_grad(), torch.autocast(place.type, enabled=self._autocasts(place)):
            layers = self._layers(x)
        with torch.no_grad():
            layers = {name: one.float() for name, one in layers.items()}
            if self.card.head == "gated":
                found = network.gate(layers)
                maps = {"gate": _array(found.gate), "evidence": _array(found.evidence)}
                logits, features = found.logits, found.features
            else:
                maps = {}
                logits, features = network.decide(layers)
        return Pass(_array(logits), _array(features), _array(layers["layer4"]), *about, maps)

    def _explained(
        self,
        network: GTRNet,
        x: Tensor,
        about: tuple[str, str, str | None],
        targets: np.ndarray | Callable[[np.ndarray], np.ndarray],
    ) -> Pass:
        """Run slices with gradients; in float32, since half precision rounds the gradients to 0.

        `targets` are the stages (S,), or a function that returns them for the logits (S, 4).
        """
        with torch.no_grad():
            stem = self._stem(x)
        stem.requires_grad_()
        with torch.enable_grad():
            # In two parts: compiled code has no gradients with respect to its inner tensors.
            layers = {"stem": stem, **self._lower(stem)}
            layers |= self._upper(layers["layer2"])
            logits, features = network.decide(layers)
            chosen = targets(_array(logits)) if callable(targets) else targets
            of = logits.gather(1, torch.from_numpy(chosen).to(x.device)[:, None]).sum()
            gradients = torch.autograd.grad(of, [layers[name] for name in EXPLAINED])
        maps = {
            name: _array(layer_cam(layers[name], gradient)) for name, gradient in zip(EXPLAINED, gradients, strict=True)
        }
        return Pass(_array(logits), _array(features), _array(layers["layer4"]), *about, maps, chosen)

    def _compile(self) -> None:
        """Compile the network before the first case, so that an error appears early."""
        for name in ("_layers", "_stem", "_lower", "_upper"):
            setattr(self, name, torch.compile(getattr(self, name)))
        size = self.card.recipe.input_size
        slices = np.zeros((3, 3, size, size), dtype=np.float32)
        try:
            self.classify(slices)
            if self.card.head == "mean":
                for shown in ((0, 1, 2), (1,)):  # a single case, and one in a batch
                    self.classify(slices, [PassRequest(range(3), shown)])
        except RuntimeError as error:  # the base class of all errors of the compiler
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"Backend 'compile' cannot compile the network on {self._place}: {reason}. Expected a C++ compiler on "
                "a CPU, Triton on CUDA. Use `backend=torch`."
            ) from error


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


class OnnxBackbone:
    """Graphs of the network in ONNX Runtime on the CPU; PyTorch for input that the graphs do not accept."""

    def __init__(self, model: Model) -> None:
        self.card, self.head, self.cells = model.card, Head.of(model.network), all_centres(model.network)
        self.mean_mask, self.reference = model.mean_mask, model.reference
        self.proposal_head = model.proposal_head
        self._network, self._size = model.network, model.card.recipe.input_size
        self._session = onnx_graph.verified_session(self._network, self._size, onnx_graph.default_folder())
        self._name = f"ONNX Runtime {onnx_graph.runtime().__version__}"

    def classify(self, pixels: np.ndarray, wanted: Sequence[PassRequest] = ()) -> Pass:
        """Run one pass; see `Backbone`."""
        pixels = np.ascontiguousarray(pixels)
        explain = self.card.head == "mean" and any(one.shown for one in wanted)
        takes = onnx_graph.accepts(self._network, pixels.shape, self._size, gradients=explain)
        if not takes or (explain and self._gradients is None):
            return self._by_torch.classify(pixels, wanted)
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
        names = onnx_graph.output_names(self._network)
        found = dict(zip(names, self._session.run(names, {"pixels": pixels}), strict=True))
        logits, features, feature_map = (found.pop(name) for name in onnx_graph.OUTPUTS)
        return Pass(logits, features, feature_map, devices.describe(CPU), self._name, None, found)

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
        names = onnx_graph.EXPLAINED_OUTPUTS
        found = dict(zip(names, self._gradients.run(names, given), strict=True))
        logits, features, feature_map, target = (found.pop(name) for name in (*onnx_graph.OUTPUTS, "target"))
        targets = np.full(len(pixels), int(target[0]))
        return Pass(logits, features, feature_map, devices.describe(CPU), self._name, None, found, targets)

    @cached_property
    def _gradients(self) -> Any:
        """Graph with gradients, made on first use, since it is as large as the forward graph.

        None if its outputs differ from PyTorch's; PyTorch then runs instead.
        """
        try:
            return onnx_graph.verified_session(self._network, self._size, onnx_graph.default_folder(), gradients=True)
        except onnx_graph.GraphError as error:
            self._warning = f"PyTorch ran instead of ONNX Runtime, since the fine map needs gradients. {error}"
            return None

    _warning: str | None = None

    @cached_property
    def _by_torch(self) -> TorchBackbone:
        return TorchBackbone(Model(self.card, self._network, self.mean_mask), CPU, warning=self._warning)


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


__all__ = [
    "BACKENDS",
    "EXPLAINED",
    "Backbone",
    "OnnxBackbone",
    "Pass",
    "PassRequest",
    "TorchBackbone",
    "load_model",
    "load_models",
    "ready",
]  # fmt: skip
