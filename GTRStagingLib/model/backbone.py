"""Load models and make them ready to run: by ONNX Runtime on CPUs, by PyTorch on any device.

With the graphs of a model folder, torch is neither needed nor imported, unless a device is to be found.
"""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from GTRStagingLib.errors import InputError, MissingDependencyError, StagingError
from GTRStagingLib.model import device as devices
from GTRStagingLib.model import registry
from GTRStagingLib.model.arrays import GRAPH_FILE, Beside
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.device import Device
from GTRStagingLib.model.onnx_backbone import OnnxBackbone, from_folder
from GTRStagingLib.model.onnx_session import GraphError
from GTRStagingLib.model.passes import Backbone
from GTRStagingLib.model.several import joined, with_folds
from GTRStagingLib.support.extras import torch_installed
from GTRStagingLib.support.given import require_type

if TYPE_CHECKING:
    from GTRStagingLib.model.weights import Model

BACKENDS = ("auto", "torch", "onnx", "compile")
"""'auto': on a CPU, ONNX Runtime with the graphs of the model folder, or with exported ones where the package onnx is
installed; else PyTorch. 'compile': PyTorch's compiler, for long runs."""

_READY: WeakKeyDictionary["Model", dict[tuple[Device, str], Backbone]] = WeakKeyDictionary()
"""Entries are removed with their model: no backbone has a reference to the `Model` that it was made of."""


def ready(model: "Model", device: str = "auto", backend: str = "auto") -> Backbone:
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
    from GTRStagingLib.model import weights

    place = _place(device, backend)
    known = _READY.setdefault(model, {})
    if (place, backend) not in known:
        weights.require_live(model.network)
        known[place, backend] = _made_ready(model, place, backend)
    return known[place, backend]


def _place(device: str, backend: str) -> Device:
    """Return the device of a request; raise `InputError` if it or the backend is unknown, missing, or does not fit."""
    require_type("device", device, str, "a device", 'Give device="auto".')
    if backend not in BACKENDS:
        raise InputError(f"Backend {backend!r}; expected one of {', '.join(BACKENDS)}.")
    place = devices.choose("cpu" if (device, backend) == ("auto", "onnx") else device)
    if backend == "onnx" and place.type != "cpu":
        raise InputError(f"Backend 'onnx' on device {device!r}; expected a CPU. Use `device=cpu` or `backend=torch`.")
    return place


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
    MissingDependencyError
        If the model needs PyTorch, which is not installed.
    """
    place = _place(device, backend)
    folder = registry.locate(model)
    if folder is not None and place.type == "cpu" and backend in ("auto", "onnx"):
        card = registry.read_card(folder)
        if card.graph_sha256 is not None and (found := _by_its_graphs(folder, card, backend)) is not None:
            return found
    if not torch_installed():
        raise _needs_torch(model, folder, backend)
    from GTRStagingLib.model import weights

    return ready(weights.load(model), str(place), backend)


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
    loaded = tuple(load_model(name, device, backend) for name in with_folds(models))
    joined([one.card for one in loaded])
    return loaded


def verify(name_or_folder: str) -> ModelCard:
    """Load a model as for staging, by its graphs and by PyTorch where each is there; return its card.

    Checks hashes, and with PyTorch also keys and shapes.

    Raises
    ------
    WeightsError, GraphError
        If the model is not valid.
    MissingDependencyError
        If it has no graphs, and PyTorch is not installed.
    """
    folder = registry.locate(name_or_folder)
    card = None if folder is None else registry.read_card(folder)
    if card is not None and card.graph_sha256 is not None and find_spec("onnxruntime"):
        load_model(name_or_folder, "cpu", "onnx")
    if torch_installed():
        from GTRStagingLib.model import weights

        return weights.load(name_or_folder).card
    return load_model(name_or_folder, "cpu").card


def _made_ready(model: "Model", place: Device, backend: str) -> Backbone:
    from GTRStagingLib.model.torch_backbone import TorchBackbone

    if backend == "onnx":
        return _exported(model)
    if backend == "auto" and place.type == "cpu" and all(map(find_spec, ("onnxruntime", "onnx"))):
        try:
            return _exported(model)
        except StagingError as error:
            return TorchBackbone(model, place, warning=_instead(str(error)))
    return TorchBackbone(model, place, compiled=backend == "compile")


def _exported(model: "Model") -> OnnxBackbone:
    """Make a backbone of graphs that are exported from a network in memory, or of the cache."""
    from GTRStagingLib.model import onnx_graph, weights
    from GTRStagingLib.model.head import Head
    from GTRStagingLib.model.network import all_centres
    from GTRStagingLib.model.torch_backbone import TorchBackbone

    # Nothing here may refer to `model`, with which its backbones are forgotten.
    network, card, mean_mask = model.network, model.card, model.mean_mask
    session = partial(onnx_graph.verified_session, network, card.recipe.input_size, onnx_graph.default_folder())

    def otherwise(reason: str | None) -> Backbone:
        return TorchBackbone(weights.Model(card, network, mean_mask), devices.CPU, warning=_instead(reason))

    return OnnxBackbone(
        card,
        Head.of(network),
        all_centres(network),
        Beside(mean_mask, model.reference, model.proposal_head),
        session(),
        partial(session, gradients=True),
        otherwise,
    )


def _by_its_graphs(folder: Path, card: ModelCard, backend: str) -> Backbone | None:
    """Open the graphs of a model folder; None for 'auto' if ONNX Runtime is missing where PyTorch is installed."""
    torch = torch_installed()

    def otherwise(reason: str | None) -> Backbone:
        if torch:
            return _by_torch(folder, _instead(reason))
        reason = reason or f"The graph of model {card.name!r} accepts no slices of this size."
        raise MissingDependencyError(
            f"{reason} Expected PyTorch, which is not installed: pip install 'gtrstaging[torch]'. Use "
            "`method=gradcam`, or write the graph of fine maps where PyTorch 2.10 or newer is installed: gtrstaging "
            f"models export-onnx {card.name}",
            name="torch",
        )

    try:
        return from_folder(folder, card, otherwise)
    except MissingDependencyError:
        if backend == "onnx" or not torch:
            raise
        return None
    except GraphError as error:
        if backend == "onnx" or not torch:
            raise
        return _by_torch(folder, _instead(str(error)))


def _instead(reason: str | None) -> str | None:
    """Return the warning of a pass by PyTorch in place of ONNX Runtime, with its reason; None without one."""
    return None if reason is None else f"PyTorch ran instead of ONNX Runtime. {reason}"


def _by_torch(folder: Path, warning: str | None) -> Backbone:
    from GTRStagingLib.model import weights
    from GTRStagingLib.model.torch_backbone import TorchBackbone

    return TorchBackbone(weights.load(str(folder)), devices.CPU, warning=warning)


def _needs_torch(model: str, folder: Path | None, backend: str) -> MissingDependencyError:
    """Return the error for a model that cannot run without PyTorch, with what is needed."""
    if backend in ("torch", "compile"):
        reason, remedy = f"Backend {backend!r} needs PyTorch, which is not installed", "Use `backend=auto`"
    elif folder is None:
        reason = f"Model {model!r} is made by PyTorch, which is not installed"
        remedy = "Use another model"
    else:
        reason = f"Model {model!r} has no {GRAPH_FILE}, and PyTorch is not installed; expected one of them"
        remedy = f"Write it where PyTorch is installed: gtrstaging models export-onnx {model}"
    return MissingDependencyError(f"{reason}. {remedy}, or: pip install 'gtrstaging[torch]'.", name="torch")


__all__ = ["BACKENDS", "load_model", "load_models", "ready", "verify"]
