"""Answers of readers, checked on construction, and as plain data for the log."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.fields import Fields, is_number, is_plain_text, shown

SUBSTAGES = ("T4a", "T4b")
LONGEST_REMARK = 2000
MOST_SLICES, MOST_POINTS = 10_000, 10_000


@dataclass(frozen=True)
class Seen:
    """What was displayed of a case before the answer.

    Attributes
    ----------
    slices
        Indices of the axial slices, 0 nearest the feet, in any order.
    window_level, window_width
        The last window, HU; None if it is not known.
    """

    slices: tuple[int, ...] = ()
    window_level: float | None = None
    window_width: float | None = None

    def __post_init__(self) -> None:
        whole = all(isinstance(k, int) and not isinstance(k, bool) and 0 <= k < MOST_SLICES for k in self.slices)
        if not whole or len(self.slices) > MOST_SLICES:
            raise InputError(f"Slices {shown(list(self.slices))}; expected indices from 0. Give whole numbers.")
        for name, value, least in (("window level", self.window_level, -1e6), ("window width", self.window_width, 0)):
            if value is not None and not (is_number(value) and least <= value <= 1e6):
                raise InputError(f"The {name} is {shown(value)}; expected {least:g} to 1000000 HU. Give a number.")
        object.__setattr__(self, "slices", tuple(sorted(set(self.slices))))


@dataclass(frozen=True)
class Mark:
    """Mark on the tumour: points of an outline, or one point, on an axial slice.

    Attributes
    ----------
    slice
        Index of the axial slice, 0 nearest the feet.
    points_mm
        (x, y, z) in LPS.
    """

    slice: int
    points_mm: tuple[tuple[float, float, float], ...]

    def __post_init__(self) -> None:
        points = [tuple(point) for point in self.points_mm]
        valid = all(len(point) == 3 and all(is_number(v) and abs(v) <= 1e5 for v in point) for point in points)
        if not points or len(points) > MOST_POINTS or not valid:
            raise InputError(
                f"The mark has {len(points)} points, not all of three numbers; expected 1 to {MOST_POINTS:,} points "
                "(x, y, z) in mm. Mark the tumour again."
            )
        if isinstance(self.slice, bool) or not isinstance(self.slice, int) or not 0 <= self.slice < MOST_SLICES:
            raise InputError(f"The mark is on slice {shown(self.slice)}; expected an index from 0. Mark it again.")
        object.__setattr__(self, "points_mm", tuple((float(x), float(y), float(z)) for x, y, z in points))

    @property
    def centre_mm(self) -> tuple[float, float, float]:
        """Mean of the points."""
        x, y, z = (math.fsum(values) / len(self.points_mm) for values in zip(*self.points_mm, strict=True))
        return x, y, z


@dataclass(frozen=True)
class Answer:
    """Answer of a reader to a case.

    Attributes
    ----------
    confidence
        0 to 100.
    substage
        'T4a' or 'T4b', with T4 only.

    Raises
    ------
    InputError
        If a value is out of its range.

    Examples
    --------
    >>> from GTRStagingLib.reading.answers import Answer
    >>> from GTRStagingLib.stages import TStage
    >>> Answer(TStage.T3, 80).confidence
    80.0
    >>> Answer(TStage.T3, 80, substage="T4a")
    Traceback (most recent call last):
    GTRStagingLib.errors.InputError: The substage is 'T4a' with T3; expected T4a or T4b with T4. Leave it out.
    """

    stage: TStage
    confidence: float
    substage: str | None = None
    remarks: str = ""
    mark: Mark | None = None
    seen: Seen = field(default_factory=Seen)

    def __post_init__(self) -> None:
        if not isinstance(self.stage, TStage):
            raise InputError(f"The stage is {shown(self.stage)}; expected T1 to T4. Choose one.")
        if not is_number(self.confidence) or not 0 <= self.confidence <= 100:
            raise InputError(f"The confidence is {shown(self.confidence)}; expected 0 to 100. Give a number.")
        if self.substage is not None and (self.substage not in SUBSTAGES or self.stage != TStage.T4):
            raise InputError(
                f"The substage is {shown(self.substage)} with {self.stage}; expected T4a or T4b with T4. Leave it out."
            )
        text = self.remarks
        if not isinstance(text, str) or len(text) > LONGEST_REMARK or not is_plain_text(text):
            raise InputError(
                f"The remarks have {len(str(text)):,} characters; expected plain text of at most {LONGEST_REMARK:,}. "
                "Shorten them."
            )
        object.__setattr__(self, "confidence", float(self.confidence))

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain data."""
        mark = self.mark
        return {
            "stage": self.stage.name,
            "substage": self.substage,
            "confidence": self.confidence,
            "remarks": self.remarks,
            "mark": None if mark is None else {"slice": mark.slice, "points_mm": [list(p) for p in mark.points_mm]},
            "seen": {
                "slices": list(self.seen.slices),
                "window_level": self.seen.window_level,
                "window_width": self.seen.window_width,
            },
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Answer":
        """Return the answer of plain data; raise `InputError` if it is not one."""
        fields = Fields(data, "the answer")
        stage = fields.text("stage")
        if stage not in TStage.__members__:
            raise fields.error("stage", "T1 to T4")
        seen, mark = Fields(data.get("seen") or {}, "what was seen"), None
        if fields.has("mark"):
            drawn = Fields(data["mark"], "the mark")
            points = drawn.data.get("points_mm")
            if not isinstance(points, list) or not all(isinstance(one, list | tuple) for one in points):
                raise drawn.error("points_mm", "a list of points of three numbers")
            mark = Mark(drawn.whole("slice"), tuple(tuple(one) for one in points))
        slices = seen.data.get("slices") or []
        if not isinstance(slices, list):
            raise seen.error("slices", "a list of indices")
        return cls(
            stage=TStage[stage],
            confidence=fields.number("confidence"),
            substage=fields.text("substage", None),
            remarks=fields.text("remarks", ""),
            mark=mark,
            seen=Seen(tuple(slices), seen.number("window_level", None), seen.number("window_width", None)),
        )


__all__ = ["LONGEST_REMARK", "SUBSTAGES", "Answer", "Mark", "Seen"]
