"""Open graphs of a network in ONNX Runtime, and name what goes in and comes out. Needs no torch.

`onnx_graph` exports graphs and compares them with PyTorch; `onnx_files` writes them into model folders.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import StagingError, WeightsError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.extras import import_extra

STRIDE = 32
"""Stride of the network: multiples of it are halved without a remainder, which the backward pass requires."""

OUTPUTS = ("logits", "features", "feature_map")
GATED_OUTPUTS = (*OUTPUTS, "gate", "evidence")
EXPLAINED_OUTPUTS = (*OUTPUTS, "stem", "layer2", "target")

TOLERANCE = 1e-4
"""Largest allowed difference from PyTorch's outputs: this number, plus the same share of PyTorch's value."""

MAP_TOLERANCES = {0.5: 1e-4, 0.99: 2e-3, 1.0: 5e-2}
"""Share of a gradient map's cells -> largest allowed difference from PyTorch's, as a share of the map's maximum. Not
1e-4 for all cells: a ReLU with an input of 0 up to rounding may pass it in one and not in the other. On a random
ResNet-152, PyTorch's float32 differs from its float64 by 1e-7 in half of the cells, by up to 3e-4 in 99 % of them, and
by at most 3e-3 (`benchmarks/latency.py`, option `rounding`)."""

NOTE = "gtrstaging"
"""Entry of a graph's metadata: JSON with what `stored_session` needs."""

NOTE_FORMAT = 1

FOLDER_OPTION = "session.model_external_initializers_file_folder_path"
"""Option of ONNX Runtime: folder of the files of weights that a graph from memory refers to."""

SAMPLES = 64
"""Values of each output in a graph's known answer."""


class GraphError(StagingError):
    """Failure to export the network, or a graph with outputs that differ from the network's."""


def runtime() -> Any:
    """Import the module `onnxruntime`; raise `MissingDependencyError` if it is not installed."""
    module = import_extra("onnxruntime", "Backend 'onnx' needs")
    module.disable_telemetry_events()
    return module


def outputs_of(head: str) -> tuple[str, ...]:
    """Return the names of the outputs of the graph of a network with a kind of head."""
    return GATED_OUTPUTS if head == "gated" else OUTPUTS


def is_plain(fusion: str, head: str) -> bool:
    """Return whether the graph of such a network accepts images of any size.

    The second stream's crop and the cells of a gate are fixed for images of one size.
    """
    return fusion == "none" and head == "mean"


def accepts(card: ModelCard, shape: tuple[int, ...], *, gradients: bool = False) -> bool:
    """Return whether the graph of a model accepts pixels of a shape (S, 3, H, W).

    That of a plain network accepts any image; with gradients, its sides must be multiples of the network's stride.
    """
    divided = not gradients or not any(side % STRIDE for side in shape[2:])
    size = card.recipe.input_size
    return (is_plain(card.fusion, card.head) and divided) or shape[2:] == (size, size)


def opened(graph: bytes | str, folder: Path | None = None) -> Any:
    """Open a session of a graph from memory or from its file; raise `GraphError` if ONNX Runtime cannot.

    Parameters
    ----------
    folder
        Of the weights, if the graph only refers to them.
    """
    options = runtime().SessionOptions()
    options.intra_op_num_threads = _threads()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Spinning threads gain 2 % here, and take the cores from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if folder is not None:
        options.add_session_config_entry(FOLDER_OPTION, str(folder))
    try:
        return runtime().InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the errors of ONNX Runtime have no common base class
        raise GraphError(f"ONNX Runtime {runtime().__version__} cannot open the graph: {error}") from error


# -- the known answer ----------------------------------------------------------------------------------------------


def trial(size: int, *, gradients: bool) -> dict[str, np.ndarray]:
    """Return the fixed input of a known answer: blocks of numbers in -2..2, equal on every machine and version.

    For the graph with gradients, it requests the maps of T4.
    """
    cells = np.arange(3 * 8 * 8, dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**32)
    blocks = (cells.astype(np.float64) / 2**30 - 2).reshape(1, 3, 8, 8)
    side = -(-size // 8)
    given = {"pixels": np.kron(blocks, np.ones((side, side)))[:, :, :size, :size].astype(np.float32)}
    if gradients:
        bias = np.zeros(len(TStage), np.float32)
        bias[TStage.T4] = 2  # more than the probability of any other stage
        given |= {"bias": bias, "temperature": np.array(1, np.float32)}
    return given


def sampled(output: np.ndarray) -> list[float]:
    """Return up to `SAMPLES` values of an output, evenly spaced, for a known answer."""
    flat = np.asarray(output, np.float64).ravel()
    return [float(one) for one in flat[np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).astype(int)]]


def stored_session(graph: bytes, folder: Path, card: ModelCard, *, gradients: bool = False) -> tuple[Any, Any]:
    """Open a graph of a model folder, and compare its known answer, which PyTorch computed when it was written.

    Parameters
    ----------
    graph
        Content of its file, whose hash the caller has checked, as well as that of the weights.
    folder
        Of the model.

    Returns
    -------
    The session of ONNX Runtime, and the note in the graph: `weights`, `cells`, `made_by` and `answer`.

    Raises
    ------
    WeightsError
        If the graph has no valid note, or belongs to other weights.
    GraphError
        If ONNX Runtime cannot open it, or gives another answer here.
    """
    session = opened(graph, folder)
    try:
        note = json.loads(session.get_modelmeta().custom_metadata_map[NOTE])
        weights, answer = str(note["weights"]), {name: list(map(float, one)) for name, one in note["answer"].items()}
        known = note["format"] == NOTE_FORMAT
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"A graph of {card.name!r} has no valid note; {_again(card)}") from error
    if not known:
        raise WeightsError(f"A graph of {card.name!r} has format {note['format']!r}, not {NOTE_FORMAT}; {_again(card)}")
    if weights != card.sha256:
        raise WeightsError(
            f"A graph of {card.name!r} belongs to weights with sha256 {weights[:12]}, not {card.sha256[:12]}; "
            f"{_again(card)}"
        )
    names = EXPLAINED_OUTPUTS if gradients else outputs_of(card.head)
    try:
        found = session.run(names, trial(card.recipe.input_size, gradients=gradients))
    except Exception as error:  # the errors of ONNX Runtime have no common base class
        raise GraphError(f"ONNX Runtime {runtime().__version__} cannot run the graph: {error}") from error
    if away := ", ".join(_away(names, found, answer)):
        raise GraphError(
            f"ONNX Runtime {runtime().__version__} differs here from PyTorch's answer in {away}; expected at most "
            f"{TOLERANCE:g}. Use `backend=torch`, or another version of ONNX Runtime."
        )
    return session, note


def _away(names: Sequence[str], found: Sequence[np.ndarray], answer: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield the outputs whose samples differ from those of the known answer."""
    for name, output in zip(names, found, strict=True):
        ours, theirs = np.array(sampled(output)), np.array(answer.get(name, ()))
        if ours.shape != theirs.shape:
            yield f"the size of {name}"
        elif name in ("stem", "layer2"):
            away = np.abs(ours - theirs) / max(float(np.abs(theirs).max()), 1e-30)
            if not all(np.quantile(away, share) <= most for share, most in MAP_TOLERANCES.items()):
                yield f"the map of {name} by {away.max():.2g} of its maximum"
        elif not np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE):
            yield f"{name} by {np.abs(ours - theirs).max():.2g}"


def _again(card: ModelCard) -> str:
    return (
        "expected one of these weights. Write it again where PyTorch is installed: gtrstaging models export-onnx "
        f"{card.name}"
    )


def _threads() -> int:
    """Return PyTorch's number of threads where it is loaded; else that of the environment, or of the usable cores."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal() and int(limit) > 0:
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


__all__ = [
    "EXPLAINED_OUTPUTS", "MAP_TOLERANCES", "NOTE", "NOTE_FORMAT", "OUTPUTS", "STRIDE", "TOLERANCE", "GraphError",
    "accepts", "is_plain", "opened", "outputs_of", "runtime", "sampled", "stored_session", "trial",
]  # fmt: skip
