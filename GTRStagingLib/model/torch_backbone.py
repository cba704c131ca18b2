"""Run a network by PyTorch, on any device."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from GTRStagingLib.errors import InputError
from GTRStagingLib.model import device as devices
from GTRStagingLib.model.device import CPU, Device
from GTRStagingLib.model.gradient_graph import layer_cam
from GTRStagingLib.model.head import Head
from GTRStagingLib.model.network import GTRNet, all_centres, folded
from GTRStagingLib.model.passes import EXPLAINED, Pass, PassRequest, join_passes, targets_of
from GTRStagingLib.model.weights import Model
from GTRStagingLib.stages import TStage


class TorchBackbone:
    """Folded copy of the network in PyTorch; runs on the CPU if the device's memory is too small."""

    def __init__(self, model: Model, place: Device, *, compiled: bool = False, warning: str | None = None) -> None:
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
            if self._place.type == "cpu" or not _is_out_of_memory(error):
                raise
        # Outside the handler, so that the traceback no longer holds the tensors of the failed pass.
        warning = f"The memory of {self._place} was too small: the network ran on the CPU."
        seen = self._run(pixels, wanted, CPU, warning)
        if self._place.type == "cuda" and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return seen

    def _run(self, pixels: np.ndarray, wanted: Sequence[PassRequest], place: Device, warning: str | None) -> Pass:
        network = self._network.to(str(place))
        x = torch.from_numpy(np.ascontiguousarray(pixels)).to(str(place)).contiguous(memory_format=self._order)
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

    def _autocasts(self, place: Device) -> bool:
        """Return whether to autocast: on CUDA only, since bfloat16 is slow on a CPU without instructions for it."""
        return place.type == "cuda"

    def _plain(self, network: GTRNet, x: Tensor, place: Device, about: tuple[str, str, str | None]) -> Pass:
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


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error is a lack of memory; Apple's MPS raises a plain RuntimeError with these words."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


__all__ = ["TorchBackbone"]
