"""Export the network as a graph for ONNX Runtime, cache the graph on disk, and compare it with PyTorch before use.

There are two graphs: the forward pass, and the forward pass with the gradients of a fine map (`gradient_graph`). Those
of a model folder are files of it (`onnx_files`); this cache is for networks in memory, and for folders without them.

A cached graph is `KEY.onnx`. `KEY-USER.json` beside it contains its sha256 and the environments that verified it:
version of ONNX Runtime and kind of processor. Another environment verifies the graph again; a file with another sha256
is exported again. Without a cache folder, or without space there, the graph is exported in memory at every start, which
takes some seconds.

A note has a seal (HMAC) by a secret of the user, `.secret-USER`, which nobody else can read: without it, anybody who
can write to the folder could replace the graph and write that it was verified. A note without the user's own seal is
not used. The seal costs nothing; a comparison with PyTorch at each start would take about as long as the export, and a
hostile graph could recognise its fixed inputs. The folder may be one that several users share.

The exporter is the one through TorchScript (`dynamo=False`): it needs onnx beside torch, its successor onnxscript as
well, and both support the operators of a ResNet. If a version of torch lacks it, the export fails, and `backbone` runs
PyTorch with a warning.
"""

import hashlib
import hmac
import io
import json
import os
import platform
import secrets
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from GTRStagingLib.model.gradient_graph import NetworkWithMaps, layer_cam
from GTRStagingLib.model.network import GTRNet, folded
from GTRStagingLib.model.onnx_session import (
    EXPLAINED_OUTPUTS,
    MAP_TOLERANCES,
    OUTPUTS,
    STRIDE,
    TOLERANCE,
    GraphError,
    is_plain,
    opened,
    outputs_of,
    runtime,
)
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.extras import import_extra
from GTRStagingLib.support.files import atomic_file
from GTRStagingLib.support.folders import cache_folder

FORMAT = 2
"""Version of the graph; raise it when the graph changes, so that older files are no longer found."""

OPSET = 17

SECRET_BYTES, NO_LINK = 32, getattr(os, "O_NOFOLLOW", 0)
"""Length of the secret that seals the notes, and the flag that opens no link to another file in its place."""

Differs = Callable[[Any, GTRNet, int], Iterator[str]]
"""Function of a session, its network and the size of its input that yields the outputs that differ from PyTorch's."""


def default_folder() -> Path | None:
    """Return the folder `onnx` in the cache of `training.slice_cache`; None for a user without a home directory."""
    cache = cache_folder()
    return None if cache is None else cache / "onnx"


def verified_session(network: GTRNet, size: int, folder: Path | None, *, gradients: bool = False) -> Any:
    """Return a session of ONNX Runtime with the outputs `onnx_session.outputs_of` for `pixels`, equal to the network's.

    Parameters
    ----------
    network
        On the CPU; it is not changed.
    size
        Pixels of the input's side.
    folder
        Folder of cached graphs; None for no cache.
    gradients
        Use the graph of `gradient_graph.NetworkWithMaps`, for the slices of one case.

    Raises
    ------
    InputError
        If ONNX Runtime is not installed.
    GraphError
        If the network cannot be exported, or the graph's outputs differ from PyTorch's by more than `TOLERANCE`.
    """
    environment = (
        f"onnxruntime {runtime().__version__} on {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    )
    differs = gradient_differences if gradients else differences
    path = None if folder is None else folder / f"{_key(network, size, gradients)}.onnx"
    cached = None if path is None else _cached(path, network, size, environment, differs)
    if cached is not None:
        return cached
    graph = export_graph(network, size, gradients=gradients)
    session = opened(graph)
    if found := ", ".join(differs(session, network, size)):
        raise GraphError(
            f"The graph of this network differs from PyTorch: {found}; expected at most {TOLERANCE:g}. Use "
            "`backend=torch`."
        )
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if (secret := _own_secret(path.parent)) is not None:
                with atomic_file(path) as stream:
                    stream.write(graph)
                _write_note(path, hashlib.sha256(graph).hexdigest(), [environment], secret)
    return session


# -- the graph -----------------------------------------------------------------------------------------------------


class NetworkOutputs(nn.Module):
    """Forward pass of a network with all its outputs."""

    def __init__(self, network: GTRNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute `onnx_session.outputs_of` the head from (S, 3, H, W)."""
        layers = self.network.layers(pixels)
        if self.network.head_kind == "gated":
            found = self.network.gate(layers)
            return found.logits, found.features, layers["layer4"], found.gate, found.evidence
        return *self.network.decide(layers), layers["layer4"]


def export_graph(network: GTRNet, size: int, *, gradients: bool = False) -> bytes:
    """Export the folded network as a graph for any number of slices; for a plain network, of any size."""
    return trace(module_of(folded(network), gradients=gradients), size)


def module_of(network: GTRNet, *, gradients: bool) -> "NetworkWithMaps | NetworkOutputs":
    """Return the module whose forward pass is the graph of a folded network."""
    return (NetworkWithMaps if gradients else NetworkOutputs)(network).eval()


def trace(module: "NetworkWithMaps | NetworkOutputs", size: int, *, constants: bool = True) -> bytes:
    """Export a module of `module_of` as a graph.

    Parameters
    ----------
    constants
        Whether to compute what depends on the weights alone; if not, each weight stays under its own name.

    Raises
    ------
    MissingDependencyError
        If the package onnx is not installed.
    GraphError
        If this version of torch cannot export the module.
    """
    import_extra("onnx", "Exporting a network needs", "torch")
    network, gradients = module.network, isinstance(module, NetworkWithMaps)
    names = EXPLAINED_OUTPUTS if gradients else outputs_of(network.head_kind)
    plain = is_plain(network.fusion, network.head_kind)
    slices, sides = {0: "slices"}, {2: "rows", 3: "columns"} if plain else {}
    maps = {**slices, **{axis: f"map_{name}" for axis, name in sides.items()}}
    axes: dict[str, dict[int, str]] = {"pixels": {**slices, **sides}, **dict.fromkeys(names, slices)}
    axes["feature_map"] = maps
    given: tuple[Tensor, ...] = (torch.zeros(2, 3, size, size),)
    if gradients:
        given += (torch.zeros(len(TStage)), torch.tensor(1.0))
        axes.pop("target")
        for name in ("stem", "layer2"):
            axes[name] = {**slices, **{axis - 1: f"{name}_{side}" for axis, side in sides.items()}}
    stream = io.BytesIO()
    try:
        # The exporter warns that it is deprecated, and that the crop's position becomes a constant, as intended.
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                module,
                given,
                stream,  # type: ignore[arg-type]  # this exporter accepts a stream
                dynamo=False,
                opset_version=OPSET,
                do_constant_folding=constants,
                input_names=["pixels", "bias", "temperature"][: len(given)],
                output_names=list(names),
                dynamic_axes=axes,
            )
    except Exception as error:  # any error of another torch: PyTorch itself still runs
        raise GraphError(
            f"torch {torch.__version__} cannot export this network to ONNX ({error}); expected a graph. Use "
            "`backend=torch`."
        ) from error
    return stream.getvalue()


def differences(session: Any, network: GTRNet, size: int) -> Iterator[str]:
    """Yield the outputs that differ from PyTorch's, for one slice and for three, in shapes that the graph accepts."""
    names = outputs_of(network.head_kind)
    for pixels in _trials(network, size):
        with torch.no_grad():
            expected = NetworkOutputs(network)(torch.from_numpy(pixels))
        found = session.run(names, {"pixels": pixels})
        yield from _different(names, found, [one.numpy() for one in expected])


def gradient_differences(session: Any, network: GTRNet, size: int) -> Iterator[str]:
    """Yield the outputs of the graph with gradients that differ from autograd's, for the first and the last stage."""
    for pixels, stage in zip(_trials(network, size), (TStage.T1, TStage.T4), strict=True):
        *expected, stem, layer2, _ = (one.numpy() for one in explained(network, torch.from_numpy(pixels), stage))
        bias = np.zeros(len(TStage), np.float32)
        bias[stage] = len(pixels) + 1  # more than all probabilities together
        given = {"pixels": pixels, "bias": bias, "temperature": np.array(1, np.float32)}
        *main, stem_map, layer2_map, target = session.run(EXPLAINED_OUTPUTS, given)
        yield from _different(OUTPUTS, main, expected)
        if int(target[0]) != int(stage):
            yield f"stage T{int(target[0]) + 1} instead of {stage}"
        for name, found, usual in (("stem", stem_map, stem), ("layer2", layer2_map, layer2)):
            away = np.abs(found - usual) / max(float(usual.max()), 1e-30)
            if not all(np.quantile(away, share) <= most for share, most in MAP_TOLERANCES.items()):
                yield f"the map of {name} for {counted(len(pixels), 'slice')} by {away.max():.2g} of its maximum"


def explained(network: GTRNet, pixels: Tensor, stage: int) -> tuple[Tensor, ...]:
    """Return `EXPLAINED_OUTPUTS` for slices and a stage, by autograd."""
    with torch.no_grad():
        stem = network.stem(pixels)
    stem.requires_grad_()
    with torch.enable_grad():
        layers = network.after_stem(stem)
        logits, features = network.decide(layers)
        of = [stem, layers["layer2"]]
        gradients = torch.autograd.grad(logits[:, stage].sum(), of)
    maps = [layer_cam(a, g) for a, g in zip(of, gradients, strict=True)]
    outputs = (logits, features, layers["layer4"], *maps, torch.tensor([int(stage)]))
    return tuple(one.detach() for one in outputs)


def _trials(network: GTRNet, size: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    wide = size + STRIDE if is_plain(network.fusion, network.head_kind) else size
    for shape in ((3, 3, size, size), (1, 3, size, wide)):
        yield rng.standard_normal(shape, dtype=np.float32)


def _different(names: Sequence[str], found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Iterator[str]:
    for name, ours, theirs in zip(names, found, expected, strict=True):
        if not np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE):
            yield f"{name} for {counted(len(ours), 'slice')} by {np.abs(ours - theirs).max():.2g}"


# -- cache ---------------------------------------------------------------------------------------------------------


def _key(network: GTRNet, size: int, gradients: bool) -> str:
    """Return the sha256 of everything that determines the graph: the weights themselves, and the exporter's version."""
    settings = [FORMAT, OPSET, torch.__version__, network.depth, network.fusion, network.head_kind, size, gradients]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def _cached(path: Path, network: GTRNet, size: int, environment: str, differs: Differs) -> Any:
    """Open the cached graph; return None if it is missing or not valid."""
    try:
        if not path.is_file() or (secret := _own_secret(path.parent)) is None:
            return None
        note = json.loads(_note(path).read_bytes())
        sha256, verified = str(note["sha256"]), list(note["verified"])
        if not hmac.compare_digest(str(note["seal"]), _seal(secret, path, sha256, verified)):
            return None
        graph = path.read_bytes()  # once: the file may be replaced after it was hashed
        if hashlib.sha256(graph).hexdigest() != sha256:
            return None
        session = opened(graph)
        if environment not in verified:
            if any(differs(session, network, size)):
                return None
            with suppress(OSError):
                _write_note(path, sha256, [*verified, environment], secret)
    except Exception:  # after any error, the graph is exported again
        return None
    return session


def _note(path: Path) -> Path:
    return path.with_name(f"{path.stem}-{_user()}.json")


def _write_note(path: Path, sha256: str, verified: list[str], secret: bytes) -> None:
    note = {"sha256": sha256, "verified": verified, "seal": _seal(secret, path, sha256, verified)}
    with atomic_file(_note(path)) as stream:
        stream.write(json.dumps(note, indent=2).encode())


def _seal(secret: bytes, path: Path, sha256: str, verified: list[str]) -> str:
    """Return the proof that the user of the secret has written a note on this graph of this network."""
    return hmac.new(secret, json.dumps([path.stem, sha256, verified]).encode(), "sha256").hexdigest()


def _own_secret(folder: Path) -> bytes | None:
    """Return the user's secret in a folder, made on first use; None if another user may know or have made it."""
    path = folder / f".secret-{_user()}"
    if not path.is_file():
        with atomic_file(path, private=True) as stream:
            stream.write(secrets.token_bytes(SECRET_BYTES))
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | NO_LINK)) as stream:
        found, secret = os.fstat(stream.fileno()), stream.read()
    # Windows has no such modes: there the folder's own rights protect the file.
    foreign = os.name == "posix" and (found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077)
    return None if foreign or len(secret) != SECRET_BYTES else secret


def _user() -> str:
    return str(os.geteuid()) if os.name == "posix" else "user"


__all__ = [
    "FORMAT", "NetworkOutputs", "default_folder", "differences", "explained", "export_graph",
    "gradient_differences", "module_of", "trace", "verified_session",
]  # fmt: skip
