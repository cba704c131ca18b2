"""State dicts with strange names, values and types are imported or refused in words for users."""

import random
from collections import Counter

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers.checkpoints import a_resnet
from helpers.hostile import outcome

from GTRStagingLib.model import checkpoints, pretrained
from GTRStagingLib.model.recipe import GTR

TENSORS = (
    torch.zeros(0), torch.tensor(1.0), torch.zeros(3, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.complex64),
    torch.full((4, 512), float("inf")), torch.zeros(1).expand(4, 512), torch.zeros((0, 512)), torch.zeros(4, 512).t(),
    torch.zeros(4, 512, dtype=torch.float64), torch.eye(3).to_sparse(), torch.zeros(4, device="meta"),
    torch.tensor([-1.0] * 64), torch.full((64, 3, 7, 7), 1e38), torch.ones(64, 1, 7, 7),
)  # fmt: skip
OTHERS = (None, 1, "x", [torch.ones(2)], {"a": torch.ones(2)}, np.float64(2), {}, (1, 2), torch.Size([1]))
NAMES = ("", ".", "conv1", "conv1.weight.weight", "layer1.x.conv1.weight", "layer9.0.conv1.weight", "\x1b[31m.weight",
         "module.", "_orig_mod._orig_mod", 3, ("a",), 1.5, "x" * 100_000, "fc.weight", "detail.0.weight",
         "4.0.conv1.weight", "\u202efc.bias", "model.model.fc.bias")  # fmt: skip
WRAPS = (
    lambda state: {"model": state}, lambda state: {"state_dict": state, "model": state}, lambda state: [state],
    lambda state: {f"net.{key}": tensor for key, tensor in state.items()}, lambda state: {"state_dict": None},
    lambda state: {"model": {"model": {"model": state}}}, lambda state: {"epoch": 1, **state}, lambda state: {},
)  # fmt: skip


def altered(state, seed):
    rng = random.Random(seed)
    state = dict(state)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        key, how = rng.choice([*state]), rng.random()
        if how < 0.3:
            state[key] = rng.choice((*TENSORS, *OTHERS))
        elif how < 0.55:
            state[rng.choice(NAMES)] = rng.choice((state[key], *TENSORS))
        elif how < 0.75:
            state[rng.choice(NAMES)] = state.pop(key)
        elif how < 0.9:
            del state[key]
        else:
            part = key.split(".")[0] if isinstance(key, str) else key
            state = {k: t for k, t in state.items() if not str(k).startswith(str(part))} or {"x": torch.ones(1)}
    for _ in range(rng.choice((0, 0, 1, 2))):
        if isinstance(state, dict):
            state = rng.choice(WRAPS)(state)
    return state


@pytest.fixture(scope="module")
def state():
    return a_resnet(10).state_dict()


def test_altered_state_dicts_are_imported_or_refused(tmp_path, monkeypatch, state):
    (tmp_path / "m.pth").write_bytes(b"x")
    monkeypatch.setattr(checkpoints, "save", lambda model, folder, **_: model.card)
    seen, path = Counter(), tmp_path / "m.pth"
    for seed in range(400):
        monkeypatch.setattr(checkpoints, "load_plain", lambda path, seed=seed: altered(state, seed))
        monkeypatch.setattr(pretrained, "load_plain", checkpoints.load_plain)
        seen[outcome(lambda: checkpoints.import_checkpoint(path, recipe=GTR, name="m", out=tmp_path))] += 1
        seen[outcome(pretrained.read_pretrained, path, 10)] += 1
    assert seen["read"] > 20
    assert seen["refused"] > 200


def test_damaged_safetensors_are_refused(tmp_path, state):
    small = {key: state[key] for key in ("fc.weight", "fc.bias", "bn1.weight")}
    path, rng = tmp_path / "w.safetensors", random.Random(1)
    whole = safetensors.torch.save(small)
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 2, 5))):
            content[rng.randrange(min(len(content), 300))] = rng.randrange(256)
        if rng.random() < 0.3:
            content = content[: rng.randrange(len(content))]
        path.write_bytes(content)
        assert outcome(pretrained.read_pretrained, path, 10) == "refused"
