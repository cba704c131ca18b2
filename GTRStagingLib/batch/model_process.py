"""One process that has the model, and others that ask it: the network is held once, and its passes wait for nothing.

A pass of several cases at once is worth it on a GPU alone. There the batch is always filled up to its full size, so
that a case's numbers do not depend on which others happened to be asked about with it.
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

if TYPE_CHECKING:
    from GTRStagingLib.model.backbone import Backbone, Pass, PassRequest

    Question = tuple[np.ndarray, Sequence[PassRequest]]
    """A case's slices, (S, 3, H, W), and what is wanted of them (see `Backbone.classify`)."""

SLICES = 3
"""Of a case, as a rule: its key slice and two neighbours."""

GPU_CASES = 16
"""In a pass on a GPU."""


class ModelGoneError(MachineError):
    """The process that has the model does not answer any more."""


@dataclass(frozen=True)
class Address:
    """Where a model process listens.

    Attributes
    ----------
    place, key
        Of its socket.
    layers
        The network's head, where its cells look, and its mean mask, pickled: whoever only passes an address on need not
        know torch.
    """

    place: Any
    key: bytes
    card: ModelCard
    layers: bytes


# -- the process ---------------------------------------------------------------------------------------------------


def start(model: str, device: str, backend: str) -> Callable[[Any], Address]:
    """Load the model and begin to answer: setup of a `support.isolation.Isolated` whose every answer is its address."""
    from GTRStagingLib.model import backbone, weights
    from GTRStagingLib.model import device as devices

    ready = backbone.ready(weights.load(model), device=device, backend=backend)
    key = secrets.token_bytes(32)
    # An abstract socket leaves no file behind, however the process ends.
    place = f"\0gtrstaging-{secrets.token_hex(8)}" if sys.platform.startswith("linux") else None
    listener = Listener(place, authkey=key, backlog=64)
    cases = 1 if backend == "onnx" or devices.choose(device).type == "cpu" else GPU_CASES
    threading.Thread(target=_serve, args=(ready, listener, cases), daemon=True).start()
    address = Address(listener.address, key, ready.card, pickle.dumps((ready.head, ready.cells, ready.mean_mask)))
    return lambda job: address


def _serve(ready: "Backbone", listener: Listener, cases: int) -> None:
    """Answer as long as all is well; a process that has the model and does not answer would be waited for."""
    try:
        _answer(ready, listener, cases)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _answer(ready: "Backbone", listener: Listener, cases: int) -> None:
    """Answer whoever asks, several at once where that pays."""
    callers: list[Connection] = []
    threading.Thread(target=_welcome, args=(listener, callers), daemon=True).start()
    while True:
        # Whoever calls for the first time is heard within a tenth of a second.
        asked: dict[Any, list[tuple[Connection, Question]]] = defaultdict(list)
        for caller in cast(list["Connection[Any, Any]"], wait(list(callers), timeout=0.1)):
            try:
                question = caller.recv()
            except (EOFError, OSError):
                callers.remove(caller)
                continue
            asked[question[0].shape[1:]].append((caller, question))
        for questions in asked.values():
            for first in range(0, len(questions), cases):
                batch = questions[first : first + cases]
                answers = list(passes(ready, [question for _, question in batch], cases))
                for (caller, _), answer in zip(batch, answers, strict=True):
                    try:
                        caller.send(answer)
                    except OSError:
                        callers.remove(caller)
                if any(isinstance(answer, ModelGoneError) for answer in answers):
                    os._exit(1)  # a GPU that has failed once goes on failing, until a new process asks it
        if not callers:
            time.sleep(0.05)  # where waiting for nobody takes no time


def _welcome(listener: Listener, callers: list[Connection]) -> None:
    while True:
        try:
            callers.append(listener.accept())
        except Exception:  # noqa: S112 (somebody without the key, or gone again: not one of ours)
            continue


def passes(ready: "Backbone", questions: "Sequence[Question]", cases: int) -> "Iterator[Pass | Exception]":
    """One pass for several questions; where it fails, the same error for all of them.

    What the library reports on purpose is an answer. Anything else may be the device's fault.
    """
    pixels = np.concatenate([slices for slices, _ in questions])
    starts = [0, *accumulate(len(slices) for slices, _ in questions)]
    wanted = [
        one.at(start + one.slices.start)
        for start, (_, asked) in zip(starts, questions, strict=False)  # the last start is the end
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
        gone = ModelGoneError(f"The network's pass failed: {type(error).__name__}: {error}. Look at the device.")
        yield from (gone for _ in questions)
        return
    for first, stop in pairwise(starts):
        yield seen.part(slice(first, stop))


# -- those that ask ------------------------------------------------------------------------------------------------


class RemoteBackbone:
    """The model of another process, as if it were here (see `model.backbone.Backbone`)."""

    def __init__(self, address: Address) -> None:
        self.card = address.card
        self.head, self.cells, self.mean_mask = pickle.loads(address.layers)  # noqa: S301 (of our own process)
        try:
            self._connection = Client(address.place, authkey=address.key)
        except (OSError, EOFError) as error:
            raise _gone() from error

    def classify(self, pixels: np.ndarray, wanted: "Sequence[PassRequest]" = ()) -> "Pass":
        """One pass, there."""
        try:
            self._connection.send((pixels, wanted))
            answer: Pass | Exception = self._connection.recv()
        except (OSError, EOFError) as error:
            raise _gone() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Say goodbye."""
        self._connection.close()


def _gone() -> ModelGoneError:
    return ModelGoneError(
        "The process that has the model ended instead of answering. If this case alone does that, look at its size; "
        "otherwise free memory, or use fewer --workers."
    )


__all__ = ["Address", "ModelGoneError", "RemoteBackbone", "passes", "start"]
