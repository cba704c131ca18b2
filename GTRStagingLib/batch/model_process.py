"""Run the network in one model process, and let the workers send it their slices.

Several cases share a pass on a GPU only. There the pass is always padded to its full size, so that a case's numbers do
not depend on the other cases in the pass.
"""

import os
import pickle
import secrets
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from multiprocessing.connection import Client, Connection, Listener, wait
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from GTRStagingLib.errors import MachineError, StagingError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.several import joined, members_of

if TYPE_CHECKING:
    from GTRStagingLib.model.passes import Backbone, Pass, PassRequest

    Question = tuple[np.ndarray, Sequence[PassRequest]]
    """Slices of a case, (S, 3, H, W), and the maps to compute for them (see `Backbone.classify`). A worker sends it
    with the position of the model."""

SLICES = 3
"""Number of slices of most cases: the key slice and two neighbouring slices."""

GPU_CASES = 16
"""Number of cases in a pass on a GPU."""


class ModelGoneError(MachineError):
    """Error of a request that the model process did not answer."""


@dataclass(frozen=True)
class Address:
    """Address of a model process.

    Attributes
    ----------
    place, key
        Address and authentication key of its socket.
    card
        Card of the model, or of several together (`model.several`).
    layers
        For each model the network's head, the positions of its cells, its mean mask, its reference and the head that
        proposes key slices, pickled, so that passing an address on does not require torch.
    """

    place: Any
    key: bytes
    card: ModelCard
    layers: bytes


# -- the process ---------------------------------------------------------------------------------------------------


def start(models: Sequence[str], device: str, backend: str) -> Callable[[Any], Address]:
    """Load the models, start to answer questions, and return the address; the setup of an `IsolatedProcess`."""
    from GTRStagingLib.model import device as devices
    from GTRStagingLib.model.backbone import load_models

    ready = load_models(models, device, backend)
    key = secrets.token_bytes(32)
    # An abstract socket leaves no file when the process is killed.
    place = f"\0gtrstaging-{secrets.token_hex(8)}" if sys.platform.startswith("linux") else None
    listener = Listener(place, authkey=key, backlog=64)
    cases = 1 if backend == "onnx" or devices.choose(device).type == "cpu" else GPU_CASES
    threading.Thread(target=_serve, args=(ready, listener, cases), daemon=True).start()
    address = Address(
        listener.address,
        key,
        joined([one.card for one in ready]),
        pickle.dumps([(one.head, one.cells, one.mean_mask, one.reference, one.proposal_head) for one in ready]),
    )
    return lambda job: address


def _serve(ready: "Sequence[Backbone]", listener: Listener, cases: int) -> None:
    """Answer questions, and end the process on any error, since the workers would wait for a silent one."""
    try:
        _answer(ready, listener, cases)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _answer(ready: "Sequence[Backbone]", listener: Listener, cases: int) -> None:
    """Answer the questions of all workers, up to `cases` in one pass."""
    callers: list[Connection] = []
    threading.Thread(target=_accept, args=(listener, callers), daemon=True).start()
    while True:
        # A new connection is served within a tenth of a second.
        asked: dict[Any, list[tuple[Connection, Question]]] = defaultdict(list)
        for caller in cast(list["Connection[Any, Any]"], wait(list(callers), timeout=0.1)):
            try:
                model, *question = caller.recv()
            except (EOFError, OSError):
                callers.remove(caller)
                continue
            asked[model, question[0].shape[1:]].append((caller, (question[0], question[1])))
        for (model, _), questions in asked.items():
            for first in range(0, len(questions), cases):
                batch = questions[first : first + cases]
                answers = list(classify_together(ready[model], [question for _, question in batch], cases))
                for (caller, _), answer in zip(batch, answers, strict=True):
                    try:
                        caller.send(answer)
                    except OSError:
                        callers.remove(caller)
                if any(isinstance(answer, ModelGoneError) for answer in answers):
                    os._exit(1)  # after an error, a GPU fails for this process until it ends
        if not callers:
            time.sleep(0.05)  # `wait` on an empty list returns at once


def _accept(listener: Listener, callers: list[Connection]) -> None:
    """Add each new connection to `callers`."""
    while True:
        try:
            callers.append(listener.accept())
        except Exception:  # noqa: S112 (a connection without the key, or closed again: not a worker)
            continue


def classify_together(ready: "Backbone", questions: "Sequence[Question]", cases: int) -> "Iterator[Pass | Exception]":
    """Answer several questions with one pass; if it fails, yield the same error for each.

    A `StagingError` is an answer. Any other error may be caused by the device, and becomes a `ModelGoneError`.
    """
    pixels = np.concatenate([slices for slices, _ in questions])
    starts = [0, *accumulate(len(slices) for slices, _ in questions)]
    wanted = [
        one.at(start + one.slices.start)
        for start, (_, asked) in zip(starts, questions, strict=False)  # the last start is the total
        for one in asked
    ]
    total = len(pixels)
    room = SLICES * cases
    if cases > 1 and total < room:
        pixels = np.concatenate([pixels, np.zeros((room - total, *pixels.shape[1:]), pixels.dtype)])
    try:
        seen = ready.classify(pixels, wanted)
    except StagingError as error:
        yield from (error for _ in questions)
        return
    except Exception as error:
        gone = ModelGoneError(f"The network's pass failed: {type(error).__name__}: {error}. Check the device.")
        yield from (gone for _ in questions)
        return
    for first, stop in pairwise(starts):
        yield seen.part(slice(first, stop))


# -- in a worker ---------------------------------------------------------------------------------------------------


class RemoteBackbone:
    """One of the models in the model process, with the interface of `model.passes.Backbone`."""

    def __init__(self, address: Address, model: int = 0) -> None:
        self._model = model
        self.card = members_of(address.card)[model]
        layers = pickle.loads(address.layers)[model]  # noqa: S301 (of our own process)
        self.head, self.cells, self.mean_mask, self.reference, self.proposal_head = layers
        try:
            self._connection = Client(address.place, authkey=address.key)
        except (OSError, EOFError) as error:
            raise _no_answer() from error

    def classify(self, pixels: np.ndarray, wanted: "Sequence[PassRequest]" = ()) -> "Pass":
        """Run one pass in the model process."""
        try:
            self._connection.send((self._model, pixels, wanted))
            answer: Pass | Exception = self._connection.recv()
        except (OSError, EOFError) as error:
            raise _no_answer() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def connect(address: Address) -> tuple[RemoteBackbone, ...]:
    """Connect to each of the models in a model process."""
    return tuple(RemoteBackbone(address, model) for model in range(len(members_of(address.card))))


def close(backbones: Sequence[RemoteBackbone]) -> None:
    """Close the connections to a model process."""
    for one in backbones:
        one.close()


def _no_answer() -> ModelGoneError:
    return ModelGoneError(
        "The model process ended without an answer. Check the size of the case if this concerns one case only; "
        "otherwise free memory, or use fewer `workers`."
    )


__all__ = ["Address", "ModelGoneError", "RemoteBackbone", "classify_together", "close", "connect", "start"]
