"""The network as a graph for ONNX Runtime: exported once, kept on disk, and not believed before it was compared.

There are two: the forward pass, and one that gives the gradients of a fine map as well (`gradient_graph`).

A kept graph is `KEY.onnx`, and `KEY.json` beside it says its sha256 and where it was verified: by which ONNX Runtime,
on what kind of processor. Another one verifies it again; a file that is not what the note says is made anew. Without a
folder to keep it in, or without space there, the graph is made in memory at every start, which costs seconds and
nothing else.

The exporter is the one through TorchScript (`dynamo=False`): it takes onnx beside torch, where its successor needs
onnxscript as well, and both know the same five operators of a ResNet. Should a torch come without it, the export fails,
and `backbone` goes on with PyTorch and says so.
"""

import hashlib
import io
import json
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from GTRStagingLib.errors import StagingError
from GTRStagingLib.model.gradient_graph import STRIDE, NetworkWithMaps, layer_cam
from GTRStagingLib.model.network import GTRNet, folded
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.extras import import_extra
from GTRStagingLib.support.files import sha256_of, whole_file
from GTRStagingLib.support.folders import cache_folder

FORMAT = 2
"""Raise it when the graph changes: older files are then no longer found."""

OPSET = 17
OUTPUTS = ("logits", "features", "feature_map")
GATED_OUTPUTS = (*OUTPUTS, "gate", "evidence")
EXPLAINED_OUTPUTS = (*OUTPUTS, "stem", "layer2", "target")

TOLERANCE = 1e-4
"""Absolute and relative: no output may differ from PyTorch's by more than this and this share of it."""

MAP_TOLERANCES = {0.5: 1e-4, 0.99: 2e-3, 1.0: 5e-2}
"""Share of a gradient map's cells -> how far they may be from PyTorch's, in shares of the map's maximum. Not 1e-4 for
all: a ReLU whose input is 0 up to rounding lets through in one and not in the other. On a random ResNet-152 PyTorch's
own float32 differs from its float64 by 1e-7 in half of the cells, by up to 3e-4 in 99 % of them, and by 3e-3 at most
(`benchmarks/latency.py --rounding`)."""

Differs = Callable[[Any, GTRNet, int], Iterator[str]]
"""Takes a session, its network and the size of its input; gives what of it is not PyTorch's."""


class GraphError(StagingError):
    """The network cannot be exported, or its graph does not say what the network says."""


def runtime() -> Any:
    """The module `onnxruntime`; raises `InputError` where it is not installed."""
    return import_extra("onnxruntime", "Backend 'onnx' needs", "onnx")


def default_folder() -> Path | None:
    """`onnx` in the cache that `training.slice_cache` uses; None for a user without a home directory."""
    cache = cache_folder()
    return None if cache is None else cache / "onnx"


def accepts(network: GTRNet, shape: tuple[int, ...], size: int, *, gradients: bool = False) -> bool:
    """Whether pixels of that shape, (S, 3, H, W), can be given to the graph of this network.

    The second stream's crop is cut where an image of `size` × `size` has its middle, and a gate is laid on its cells;
    the plain network takes any image, and with gradients one whose sides the network's stride divides.
    """
    divided = not gradients or not any(side % STRIDE for side in shape[2:])
    return (_is_plain(network) and divided) or shape[2:] == (size, size)


def _is_plain(network: GTRNet) -> bool:
    return network.fusion == "none" and network.head_kind == "mean"


def output_names(network: GTRNet) -> tuple[str, ...]:
    """What the graph of this network gives."""
    return GATED_OUTPUTS if network.head_kind == "gated" else OUTPUTS


def verified_session(network: GTRNet, size: int, folder: Path | None, *, gradients: bool = False) -> Any:
    """A session of ONNX Runtime that gives `output_names` the network for `pixels`, as the network does.

    Parameters
    ----------
    network
        On the CPU; it is not changed.
    size
        Pixels of the input's side.
    folder
        Where graphs are kept; None to keep none.
    gradients
        The graph that takes and gives what `gradient_graph.NetworkWithMaps` says, for the slices of one case.

    Raises
    ------
    InputError
        If ONNX Runtime is not installed.
    GraphError
        If the network cannot be exported, or the graph's outputs are not PyTorch's to `TOLERANCE`.
    """
    runtime().disable_telemetry_events()
    here = f"onnxruntime {runtime().__version__} on {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    differs = _gradient_differences if gradients else _differences
    path = None if folder is None else folder / f"{_key(network, size, gradients)}.onnx"
    if path is not None and (session := _kept(path, network, size, here, differs)) is not None:
        return session
    graph = export_graph(network, size, gradients=gradients)
    session = _opened(graph)
    if differences := ", ".join(differs(session, network, size)):
        raise GraphError(
            f"The graph of this network differs from PyTorch: {differences}; expected at most {TOLERANCE:g}. Use "
            "--backend torch."
        )
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as stream:
                stream.write(graph)
            _write_note(path, hashlib.sha256(graph).hexdigest(), [here])
    return session


# -- the graph -----------------------------------------------------------------------------------------------------


class _Outputs(nn.Module):
    """Everything that one pass gives."""

    def __init__(self, network: GTRNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        layers = self.network.layers(pixels)
        if self.network.head_kind == "gated":
            found = self.network.gate(layers)
            return found.logits, found.features, layers["layer4"], found.gate, found.evidence
        return *self.network.decide(layers), layers["layer4"]


def export_graph(network: GTRNet, size: int, *, gradients: bool = False) -> bytes:
    """The graph of the folded network: any number of slices, and for the plain network of any size."""
    import_extra("onnx", "Exporting a network needs", "onnx")
    names = EXPLAINED_OUTPUTS if gradients else output_names(network)
    slices, sides = {0: "slices"}, {2: "rows", 3: "columns"} if _is_plain(network) else {}
    maps = {**slices, **{axis: f"map_{name}" for axis, name in sides.items()}}
    axes: dict[str, dict[int, str]] = {"pixels": {**slices, **sides}, **dict.fromkeys(names, slices)}
    axes["feature_map"] = maps
    given: tuple[Tensor, ...] = (torch.zeros(2, 3, size, size),)
    if gradients:
        given += (torch.zeros(len(TStage)), torch.tensor(1.0))
        axes.pop("target")
        for name in ("stem", "layer2"):
            axes[name] = {**slices, **{axis - 1: f"{name}_{side}" for axis, side in sides.items()}}
    asked = (NetworkWithMaps if gradients else _Outputs)(folded(network)).eval()
    stream = io.BytesIO()
    try:
        # It says of itself that it is deprecated, and of our crop that its place becomes a constant, which is meant.
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                asked,
                given,
                stream,  # type: ignore[arg-type]  # this exporter takes one, as it always did
                dynamo=False,
                opset_version=OPSET,
                input_names=["pixels", "bias", "temperature"][: len(given)],
                output_names=list(names),
                dynamic_axes=axes,
            )
    except Exception as error:  # whatever another torch raises, PyTorch itself still runs
        raise GraphError(
            f"torch {torch.__version__} cannot export this network to ONNX ({error}); expected a graph. Use --backend "
            "torch."
        ) from error
    return stream.getvalue()


def _opened(graph: bytes | str) -> Any:
    """A session of a graph, from memory or from its file."""
    options = runtime().SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Threads that wait in a loop gain 2 % here, and take the core from every other process meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime().InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise GraphError(f"ONNX Runtime {runtime().__version__} cannot open the graph: {error}") from error


def _differences(session: Any, network: GTRNet, size: int) -> Iterator[str]:
    """Which outputs are not PyTorch's, for one slice and for three, in what shapes the graph is made for."""
    names = output_names(network)
    for pixels in _trials(network, size):
        with torch.no_grad():
            expected = _Outputs(network)(torch.from_numpy(pixels))
        found = session.run(names, {"pixels": pixels})
        yield from _apart(names, found, [one.numpy() for one in expected])


def _gradient_differences(session: Any, network: GTRNet, size: int) -> Iterator[str]:
    """The same of the graph with gradients, against autograd; for the first and the last stage."""
    for pixels, stage in zip(_trials(network, size), (TStage.T1, TStage.T4), strict=True):
        with torch.no_grad():
            stem = network.stem(torch.from_numpy(pixels))
        stem.requires_grad_()
        with torch.enable_grad():
            layers = network.after_stem(stem)
            logits, features = network.decide(layers)
            of = [stem, layers["layer2"]]
            gradients = torch.autograd.grad(logits[:, stage].sum(), of)
        bias = np.zeros(len(TStage), np.float32)
        bias[stage] = len(pixels) + 1  # more than all probabilities together
        given = {"pixels": pixels, "bias": bias, "temperature": np.array(1, np.float32)}
        *main, stem_map, layer2_map, target = session.run(EXPLAINED_OUTPUTS, given)
        expected = [one.detach().numpy() for one in (logits, features, layers["layer4"])]
        yield from _apart(OUTPUTS, main, expected)
        if int(target[0]) != int(stage):
            yield f"stage T{int(target[0]) + 1} for {stage}"
        for name, found, a, g in zip(("stem", "layer2"), (stem_map, layer2_map), of, gradients, strict=True):
            usual = layer_cam(a, g).detach().numpy()
            away = np.abs(found - usual) / max(float(usual.max()), 1e-30)
            if not all(np.quantile(away, share) <= most for share, most in MAP_TOLERANCES.items()):
                yield f"the map of {name} of {len(pixels)} by {away.max():.2g} of its maximum"


def _trials(network: GTRNet, size: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    wide = size + STRIDE if _is_plain(network) else size
    for shape in ((3, 3, size, size), (1, 3, size, wide)):
        yield rng.standard_normal(shape, dtype=np.float32)


def _apart(names: Sequence[str], found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Iterator[str]:
    for name, ours, theirs in zip(names, found, expected, strict=True):
        if not np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE):
            yield f"{name} of {len(ours)} by {np.abs(ours - theirs).max():.2g}"


# -- what is kept --------------------------------------------------------------------------------------------------


def _key(network: GTRNet, size: int, gradients: bool) -> str:
    """sha256 of all that shapes the graph: the weights as they are, not as a card says they are, and who exported."""
    said = [FORMAT, OPSET, torch.__version__, network.depth, network.fusion, network.head_kind, size, gradients]
    digest = hashlib.sha256(json.dumps(said).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def _kept(path: Path, network: GTRNet, size: int, here: str, differs: Differs) -> Any:
    """A session of the kept graph; None where there is none, or none to be trusted."""
    try:
        note = json.loads(path.with_suffix(".json").read_bytes())
        sha256, verified = str(note["sha256"]), list(note["verified"])
        if sha256_of(path) != sha256:
            return None
        session = _opened(str(path))
        if here not in verified:
            if any(differs(session, network, size)):
                return None
            with suppress(OSError):
                _write_note(path, sha256, [*verified, here])
    except Exception:  # whatever is wrong with it: it is made anew
        return None
    return session


def _write_note(path: Path, sha256: str, verified: list[str]) -> None:
    with whole_file(path.with_suffix(".json")) as stream:
        stream.write(json.dumps({"sha256": sha256, "verified": verified}, indent=2).encode())


__all__ = [
    "EXPLAINED_OUTPUTS",
    "FORMAT",
    "OUTPUTS",
    "TOLERANCE",
    "GraphError",
    "accepts",
    "default_folder",
    "export_graph",
    "output_names",
    "runtime",
    "verified_session",
]  # fmt: skip
