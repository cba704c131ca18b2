"""The network as a graph for ONNX Runtime: exported once, kept on disk, and not believed before it was compared.

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
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from GTRStagingLib.errors import StagingError
from GTRStagingLib.model.network import GTRNet, folded
from GTRStagingLib.support.extras import required
from GTRStagingLib.support.files import sha256_of, whole_file
from GTRStagingLib.support.folders import cache_folder

FORMAT = 1
"""Raise it when the graph changes: older files are then no longer found."""

OPSET = 17
OUTPUTS = ("logits", "features", "feature_map")

TOLERANCE = 1e-4
"""Absolute and relative: no output may differ from PyTorch's by more than this and this share of it."""


class GraphError(StagingError):
    """The network cannot be exported, or its graph does not say what the network says."""


def runtime() -> Any:
    """The module `onnxruntime`; raises `InputError` where it is not installed."""
    return required("onnxruntime", "Backend 'onnx' needs", "onnx")


def default_folder() -> Path | None:
    """`onnx` in the cache that `training.slice_cache` uses; None for a user without a home directory."""
    cache = cache_folder()
    return None if cache is None else cache / "onnx"


def takes(network: GTRNet, shape: tuple[int, ...], size: int) -> bool:
    """Whether pixels of that shape, (S, 3, H, W), can be given to the graph of this network.

    The second stream's crop is cut where an image of `size` × `size` has its middle; the plain network takes any image.
    """
    return network.fusion == "none" or shape[2:] == (size, size)


def verified_session(network: GTRNet, size: int, folder: Path | None) -> Any:
    """A session of ONNX Runtime that gives `OUTPUTS` for `pixels`, as the network does.

    Parameters
    ----------
    network
        On the CPU; it is not changed.
    size
        Pixels of the input's side.
    folder
        Where graphs are kept; None to keep none.

    Raises
    ------
    InputError
        If ONNX Runtime is not installed.
    GraphError
        If the network cannot be exported, or the graph's outputs are not PyTorch's to `TOLERANCE`.
    """
    runtime().disable_telemetry_events()
    here = f"onnxruntime {runtime().__version__} on {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    path = None if folder is None else folder / f"{_key(network, size)}.onnx"
    if path is not None and (session := _kept(path, network, size, here)) is not None:
        return session
    graph = exported(network, size)
    session = _opened(graph)
    if differences := ", ".join(_differences(session, network, size)):
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

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        feature_map = self.network.feature_map(pixels)
        return *self.network.head(feature_map), feature_map


def exported(network: GTRNet, size: int) -> bytes:
    """The graph of the folded network: any number of slices, and for the plain network of any size."""
    required("onnx", "Exporting a network needs", "onnx")
    slices, sides = {0: "slices"}, {} if network.fusion != "none" else {2: "rows", 3: "columns"}
    stream = io.BytesIO()
    try:
        # It says of itself that it is deprecated, and of our crop that its place becomes a constant, which is meant.
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                _Outputs(folded(network)).eval(),
                (torch.zeros(2, 3, size, size),),
                stream,  # type: ignore[arg-type]  # this exporter takes one, as it always did
                dynamo=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=list(OUTPUTS),
                dynamic_axes={
                    "pixels": {**slices, **sides},
                    **dict.fromkeys(OUTPUTS, slices),
                    "feature_map": {**slices, **{axis: f"map_{name}" for axis, name in sides.items()}},
                },
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
    rng = np.random.default_rng(0)
    wide = size + 32 if network.fusion == "none" else size
    for shape in ((3, 3, size, size), (1, 3, size, wide)):
        pixels = rng.standard_normal(shape, dtype=np.float32)
        with torch.no_grad():
            expected = _Outputs(network)(torch.from_numpy(pixels))
        found = session.run(OUTPUTS, {"pixels": pixels})
        for name, ours, theirs in zip(OUTPUTS, found, expected, strict=True):
            if not np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE):
                yield f"{name} of {shape[0]} by {np.abs(ours - theirs.numpy()).max():.2g}"


# -- what is kept --------------------------------------------------------------------------------------------------


def _key(network: GTRNet, size: int) -> str:
    """sha256 of all that shapes the graph: the weights as they are, not as a card says they are, and who exported."""
    said = [FORMAT, OPSET, torch.__version__, network.depth, network.fusion, size]
    digest = hashlib.sha256(json.dumps(said).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def _kept(path: Path, network: GTRNet, size: int, here: str) -> Any:
    """A session of the kept graph; None where there is none, or none to be trusted."""
    try:
        note = json.loads(path.with_suffix(".json").read_bytes())
        sha256, verified = str(note["sha256"]), list(note["verified"])
        if sha256_of(path) != sha256:
            return None
        session = _opened(str(path))
        if here not in verified:
            if any(_differences(session, network, size)):
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
    "FORMAT", "OUTPUTS", "TOLERANCE", "GraphError", "default_folder", "exported", "runtime", "takes",
    "verified_session",
]  # fmt: skip
