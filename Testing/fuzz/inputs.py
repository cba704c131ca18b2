"""Input number i of a seed: a base with one or two alterations, or a trait; the same in every run.

The bytes that compressors write may differ between versions of their libraries; all else depends on the numbers alone.
"""

import os
import random
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fuzz import bases, oracle, traits
from fuzz.alterations import Draft, Special, alteration

SEED = 17

TRAITS, UNALTERED = 0.12, 0.01
"""Shares of inputs with a trait, and of valid inputs, which must be read."""


@dataclass(frozen=True)
class Input:
    """An input: its files (regular or `Special`), the path to read, and what was done."""

    base: str
    format: str
    kind: str
    what: str
    path: str
    files: dict[str, Any] = field(repr=False)
    segment: str | int | None = None
    harmless: bool = False
    must_read: bool = False


def make(seed: int, number: int) -> Input:
    """Return input `number` of a seed."""
    rng = random.Random(f"{seed}/{number}")
    draw = rng.random()
    if draw < TRAITS:
        name = rng.choice(list(traits.TRAITS))
        draft = traits.TRAITS[name](rng)
        return _input(draft, f"trait {name}")
    names = list(bases.BASES)
    base = bases.base(rng.choices(names, [bases.BASES[name][0] for name in names])[0])
    draft = Draft.of(base)
    if draw < TRAITS + UNALTERED:
        draft.must_read = True
        return _input(draft, f"{base.name}, unaltered")
    done = []
    for _ in range(rng.choice([1, 1, 1, 1, 2])):
        if any(isinstance(content, bytes) for content in draft.files.values()):
            done.append(alteration(rng, draft)(rng, draft))
    return _input(draft, f"{base.name}, {'; '.join(done)}")


def _input(draft: Draft, what: str) -> Input:
    base = draft.base
    return Input(base.name, base.format, base.kind, what, draft.path, draft.files, base.segment, draft.harmless,
                 draft.must_read)  # fmt: skip


def write(one: Input | Draft, folder: Path) -> Path:
    """Write the files of an input; return the path to read."""
    folder.mkdir(parents=True)
    for name, content in one.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, Special) and content.target:
            path.symlink_to(content.target)
        else:
            os.mkfifo(path)
    return folder / one.path


@cache
def right_of(name: str) -> Any:
    """Return what the oracle reads in an unaltered base; None for the base of a trait."""
    if name not in bases.BASES:
        return None
    base = bases.base(name)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Draft.of(base), Path(folder) / "base")
        if base.kind == "roi":
            return oracle.read_roi(path, base.segment)
        return oracle.reader_of(path)(path)
