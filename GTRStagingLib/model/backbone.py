"""A model made ready to run: by PyTorch anywhere, by ONNX Runtime on CPUs; and what one pass of it gives.

Whoever stages a case holds a `Backbone` and needs neither to know what is behind it nor to be in one process with it.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from GTRStagingLib.errors import InputError, StagingError
from GTRStagingLib.model import device as devices
from GTRStagingLib.model import onnx_graph, weights
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.cells import CellGrid
from GTRStagingLib.model.network import Head, folded, receptive_centres
from GTRStagingLib.model.weights import Model

BACKENDS = ("auto", "torch", "onnx", "compile")
"""'auto': ONNX Runtime on a CPU where the extra `onnx` is installed, else PyTorch. 'compile': PyTorch's compiler, for
long runs."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pass:
    """One pass of S slices.

    Attributes
    ----------
    logits
        (S, 4) float32.
    features
        (S, features) float32, the penultimate ones.
    feature_map
        (S, features, h, w) float32, the last one.
    device, backend
        What it ran on and by, for the record, as in 'cuda (NVIDIA H200)' and 'PyTorch 2.14.1, folded'.
    warning
        If that is not what was asked for.
    """

    logits: np.ndarray
    features: np.ndarray
    feature_map: np.ndarray
    device: str
    backend: str
    warning: str | None = None


@runtime_checkable
class Backbone(Protocol):
    """A model made ready on one device."""

    @property
    def card(self) -> ModelCard:
        """What the model is."""

    @property
    def head(self) -> Head:
        """What lies between the last feature map and the logits."""

    @property
    def cells(self) -> CellGrid:
        """Where the cells of the last feature map look."""

    def classify(self, pixels: np.ndarray) -> Pass:
        """Send (S, 3, H, W) float32 slices, of however many cases, through the network once."""


_READY: WeakKeyDictionary[Model, dict[tuple[torch.device, str], Backbone]] = WeakKeyDictionary()
"""Goes with its model: no backbone holds the `Model` that it was made of."""


def ready(model: Model, device: str = "auto", backend: str = "auto") -> Backbone:
    """The model made ready; the same one for the same question, as long as the model is there.

    Parameters
    ----------
    model
        Not changed, now or later: its network stays where and as it is.
    device
        As `device.choose` takes it. With 'onnx', 'auto' is the CPU.
    backend
        One of `BACKENDS`.

    Raises
    ------
    InputError
        If there is no such device or backend, ONNX Runtime is not installed or asked to run on a GPU, or the network
        cannot be compiled here.
    GraphError
        If 'onnx' was asked for and the model's graph is not what PyTorch says; 'auto' goes on with PyTorch, and warns.
    """
    if backend not in BACKENDS:
        raise InputError(f"Backend {backend!r}; expected one of {', '.join(BACKENDS)}.")
    place = devices.choose("cpu" if (device, backend) == ("auto", "onnx") else device)
    if backend == "onnx" and place.type != "cpu":
        raise InputError(f"Backend 'onnx' on device {device!r}; expected a CPU. Use --device cpu, or --backend torch.")
    known = _READY.setdefault(model, {})
    if (place, backend) not in known:
        known[place, backend] = _made_ready(model, place, backend)
    return known[place, backend]


def load_model(model: str, device: str = "auto", backend: str = "auto") -> Backbone:
    """Load a model and make it ready to run.

    Parameters
    ----------
    model
        Name of a model (`gtrstaging models list`), or its folder; as `weights.load` takes it.
    device, backend
        As `ready` takes them.

    Raises
    ------
    InputError, WeightsError, GraphError
        With the value, the expectation and the remedy.
    """
    return ready(weights.load(model), device, backend)


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
    """A folded copy of the network in PyTorch; on the CPU where the device's memory is not enough."""

    def __init__(
        self, model: Model, place: torch.device, *, compiled: bool = False, warning: str | None = None
    ) -> None:
        self.card, self.head, self.cells = model.card, Head.of(model.network), receptive_centres(model.network)
        self._network, self._place, self._warning = folded(model.network), place, warning
        self._feature_map = self._network.feature_map
        self._name = f"PyTorch {torch.__version__}, {'compiled' if compiled else 'folded'}"
        # The order in which convolutions are quickest, on CPUs (benchmarks/latency.py) and on CUDA.
        self._order = torch.contiguous_format if place.type == "mps" else torch.channels_last
        self._network.to(memory_format=self._order)
        if compiled:
            self._compile()

    def classify(self, pixels: np.ndarray) -> Pass:
        """One pass; see `Backbone`."""
        try:
            return self._run(pixels, self._place, self._warning)
        except RuntimeError as error:
            if self._place.type == "cpu" or not devices.is_out_of_memory(error):
                raise
        # Outside the handler, so that the failed pass's tensors are no longer held by its traceback.
        warning = f"The memory of {self._place} was not enough: the network ran on the CPU instead."
        seen = self._run(pixels, CPU, warning)
        if self._place.type == "cuda" and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return seen

    def _run(self, pixels: np.ndarray, place: torch.device, warning: str | None) -> Pass:
        """Autocast on CUDA only: bfloat16 on a CPU without matrix units is many times slower."""
        network = self._network.to(place)
        with torch.no_grad(), torch.autocast(place.type, enabled=place.type == "cuda"):
            x = torch.from_numpy(np.ascontiguousarray(pixels)).to(place)
            feature_map = self._feature_map(x.contiguous(memory_format=self._order))
        with torch.no_grad():
            feature_map = feature_map.float()
            logits, features = network.head(feature_map)
        return Pass(_array(logits), _array(features), _array(feature_map), devices.describe(place), self._name, warning)

    def _compile(self) -> None:
        """Compile now rather than in the first case, so that what cannot be compiled is known before it."""
        self._feature_map = torch.compile(self._network.feature_map)
        size = self.card.recipe.input_size
        try:
            self.classify(np.zeros((3, 3, size, size), dtype=np.float32))
        except RuntimeError as error:  # the compiler's are all of this kind
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"Backend 'compile' cannot compile the network on {self._place}: {reason}. Expected a C++ compiler on "
                "a CPU, Triton on CUDA. Use --backend torch."
            ) from error


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().contiguous().numpy()


class OnnxBackbone:
    """The network's graph in ONNX Runtime on the CPU; PyTorch for what the graph was not made for."""

    def __init__(self, model: Model) -> None:
        self.card, self.head, self.cells = model.card, Head.of(model.network), receptive_centres(model.network)
        self._network, self._size = model.network, model.card.recipe.input_size
        self._session = onnx_graph.verified_session(self._network, self._size, onnx_graph.default_folder())
        self._name = f"ONNX Runtime {onnx_graph.runtime().__version__}"

    def classify(self, pixels: np.ndarray) -> Pass:
        """One pass; see `Backbone`."""
        if not onnx_graph.takes(self._network, pixels.shape, self._size):
            return self._by_torch.classify(pixels)
        given = {"pixels": np.ascontiguousarray(pixels)}
        logits, features, feature_map = self._session.run(onnx_graph.OUTPUTS, given)
        return Pass(logits, features, feature_map, devices.describe(CPU), self._name)

    @cached_property
    def _by_torch(self) -> TorchBackbone:
        return TorchBackbone(Model(self.card, self._network), CPU)


__all__ = ["BACKENDS", "Backbone", "OnnxBackbone", "Pass", "TorchBackbone", "load_model", "ready"]
