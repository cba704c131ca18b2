"""Find the acquisitions and reconstructions that share a SeriesInstanceUID.

A scanner gives each its own series, but archives and exports join them: two phases of equal slices alternate in one
even stack, or follow each other as one long stack. They are divided by values that differ between acquisitions and not
within one: kernel, voltage, contrast, numbers and times. A single sweep of the table passes each position once, in the
order of time, in one direction.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

FIXED = [
    "PatientID",
    "StudyInstanceUID",
    "PatientPosition",
    "SeriesNumber",
    "SeriesDescription",
    "ConvolutionKernel",
    "FilterType",
    "KVP",
    "SliceThickness",
    "ContrastBolusAgent",
    "ImageType",
    "SeriesTime",
    "FrameOfReferenceUID",
]
"""Keywords that are the same in all slices of a reconstruction."""

GEOMETRY = ["Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"]
"""Keywords that divide a series only into parts of two or more slices; a single odd slice is damage."""

NUMBERS = ["AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime", "IrradiationEventUID"]
"""Keywords that number acquisitions, or the steps of one (step-and-shoot)."""

TEXTS = [
    "PatientID",
    "StudyInstanceUID",
    "PatientPosition",
    "AcquisitionDate",
    "FilterType",
    "KVP",
    "ContrastBolusAgent",
    "ConvolutionKernel",
    "SeriesTime",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "IrradiationEventUID",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "ContentTime",
    "InstanceNumber",
]
"""Keywords that only this module reads, as text."""

DAY_S = 86400.0
"""Seconds of a day."""

PAUSE_S = 5.0
"""A single sweep has no longer pause between neighbouring positions; phases are further apart."""

JITTER_S = 2.0
"""Rows of detectors that are read in one rotation may be in any order of time."""

ROTATION = 16
"""Most slices of one step of a step-and-shoot scan without times."""

SAME = 0.01
"""Largest difference of numbers that are the same but for their rounding."""

MOST_SWEEPS = 4
"""Most parts by an order of the slices alone: some archives number slices at random."""

MOST_PARTS = 12
"""Most parts of a series that are offered; a value that differs more often varies within an acquisition."""


class Values(Protocol):
    """Header values by keyword."""

    def get(self, keyword: str) -> Any:
        """Return the value of a keyword, or None."""


_Slice = TypeVar("_Slice", bound=Values)


class Part(NamedTuple, Generic[_Slice]):
    """Slices of one acquisition or reconstruction; `one_sweep` is False if their times contradict their positions."""

    slices: tuple[_Slice, ...]
    one_sweep: bool
    first_s: float | None


class _Table:
    """Header values of slices, by column, each converted once."""

    def __init__(self, slices: Sequence[Values]) -> None:
        self.slices = slices

    def column(self, keyword: str) -> list[Any]:
        return [one.get(keyword) for one in self.slices]

    def keys(self, keyword: str) -> list[Any] | None:
        """Return the values of a column in a form to compare; None if all are the same."""
        column = self.column(keyword)
        distinct = {id(value): value for value in column}  # equal values of one layout are one object
        if len(distinct) == 1:
            return None
        known = {key: _comparable(value) for key, value in distinct.items()}
        same = _merged({key for key, text in known.values() if not text})
        known = {key: (same.get(found, found), text) for key, (found, text) in known.items()}
        keys = [known[id(value)] for value in column]
        return keys if len(set(keys)) > 1 else None

    @cached_property
    def along(self) -> np.ndarray | None:
        return positions_along(self.slices)

    @cached_property
    def moments(self) -> np.ndarray | None:
        """Times of acquisition in seconds of the day, or since the year 1 with all dates; None if a time is missing."""
        times = list[float]()
        for one in self.slices:
            time = seconds(one.get("AcquisitionTime") or str(one.get("AcquisitionDateTime") or "")[8:])
            if time is None:
                return None
            times.append(time)
        moments = np.array(times)
        dates = [str(one.get("AcquisitionDate") or one.get("AcquisitionDateTime") or "")[:8] for one in self.slices]
        days = {text: day_of(text) for text in set(dates)}
        if None not in days.values():
            return moments + np.array([DAY_S * (days[text] or 0) for text in dates])
        return np.where(moments < DAY_S / 2, moments + DAY_S, moments) if np.ptp(moments) > DAY_S / 2 else moments

    @cached_property
    def is_sweep(self) -> bool:
        """Whether time, if it is known, passes in one direction of the positions."""
        if self.moments is None or self.along is None:
            return True
        moments, along = self.moments, self.along
        ordered = moments[np.lexsort((moments, along))]
        backwards = moments[np.lexsort((-moments, along))][::-1]
        return any((np.maximum.accumulate(one) - one).max() <= JITTER_S for one in (ordered, backwards))


def split(slices: Sequence[_Slice]) -> list[Part[_Slice]]:
    """Return the parts of a series, in the order of what divides them; one part if nothing does."""
    table = _Table(slices)
    for divide in DIVISIONS:
        keys = divide(table)
        if keys is not None and len(set(keys)) > 1:
            parts = {key: [one for one, k in zip(slices, keys, strict=True) if k == key] for key in sorted(set(keys))}
            return [part for members in parts.values() for part in split(members)]
    first = None if table.moments is None else float(table.moments.min())
    return [Part(tuple(slices), table.is_sweep, first)]


def positions_along(slices: Sequence[Values]) -> np.ndarray | None:
    """Return the positions (mm) along the normal of the first slice; None if a position is missing or not finite."""
    try:
        axes = np.array(slices[0].get("ImageOrientationPatient"), dtype=float).reshape(2, 3)
        positions = np.array([tuple(one.get("ImagePositionPatient")) for one in slices], dtype=float).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError):
        return None
    along: np.ndarray = positions @ np.cross(*axes)
    return along if np.isfinite(along).all() else None


def typical_step(along: np.ndarray | None) -> float | None:
    """Return the median distance of neighbouring positions; None for a single slice."""
    return None if along is None or len(along) < 2 else float(np.median(np.diff(np.sort(along))))


_TIME = re.compile(r"(\d\d):?(\d\d)?:?(\d\d(?:\.\d*)?)?(?:[+-]\d{4})?", re.ASCII)


def seconds(value: Any) -> float | None:
    """Return a DICOM time (HHMMSS.FFFFFF) in seconds, or None."""
    found = _TIME.fullmatch(value if isinstance(value, str) else str(value or ""))
    if found is None:
        return None
    hours, minutes, rest = found.groups()
    return 3600.0 * int(hours) + 60 * int(minutes or 0) + float(rest or 0)


def day_of(text: str) -> int | None:
    """Return the number of the day of a DICOM date (YYYYMMDD), or None."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal()
    except ValueError:
        return None


def number(value: Any) -> float | None:
    """Return a finite number, or None."""
    try:
        found = float(value if isinstance(value, str) else str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


# -- divisions: each returns a key for every slice, or None ----------------------------------------------------------

Keys = list[Any] | None


def _by_fixed(table: _Table) -> Keys:
    for keyword in FIXED:
        keys = table.keys(keyword)
        if keys and len(set(keys)) <= min(MOST_PARTS, max(2, len(keys) // 4)):
            return keys
    return None


def _by_geometry(table: _Table) -> Keys:
    if all(table.keys(keyword) is None for keyword in GEOMETRY):
        return None
    try:
        rows = np.array([np.hstack([one.get(k) for k in GEOMETRY]) for one in table.slices], dtype=float)
    except (TypeError, ValueError, OverflowError):
        return None
    usual = list[np.ndarray]()
    keys = list[int]()
    for row in rows:
        near = [i for i, other in enumerate(usual) if (np.abs(row - other) <= 1e-3).all()]
        if not near:
            usual.append(row)
        keys.append(near[0] if near else len(usual) - 1)
    counts = Counter(keys)
    return keys if 1 < len(counts) <= MOST_PARTS and min(counts.values()) > 1 else None


def _merged(numbers: set[float]) -> dict[float, float]:
    """Return for each number the lowest one that equals it, by neighbours at most `SAME` apart."""
    lowest: dict[float, float] = {}
    before = first = -math.inf
    for one in sorted(numbers):
        if one - before > SAME:
            first = one
        lowest[one], before = first, one
    return lowest


def _comparable(value: Any) -> tuple[float, str]:
    """Return a value in a form that does not depend on how it is written."""
    if value is None or isinstance(value, str | int | float):
        found = number(value)
        return (0.0, str(value or "").strip()) if found is None else (found, "")
    try:
        return 0.0, " ".join(f"{round(float(x), 3) + 0.0:g}" for x in value)
    except (TypeError, ValueError):
        return 0.0, "/".join(map(str, value)) if isinstance(value, Sequence) else str(value)


def _by_number(table: _Table) -> Keys:
    """Divide by a number, unless it counts the steps of one acquisition."""
    for keyword in NUMBERS:
        keys = table.keys(keyword)
        if keys is None or len(set(keys)) == len(keys):
            continue
        if table.along is None or not _are_steps(table, table.along, keys):
            return keys
    return None


def _are_steps(table: _Table, along: np.ndarray, keys: Sequence[Any]) -> bool:
    """Return whether groups of slices are the steps of one acquisition: three or more even blocks in a row."""
    order = np.argsort(along, kind="stable")
    blocks = [(key, list(members)) for key, members in groupby(order, lambda i: keys[i])]
    names = [key for key, _ in blocks]
    counted = not any(text for _, text in names)
    if len(blocks) < 3 or len(set(names)) != len(blocks):
        return False
    if counted and names not in (sorted(names), sorted(names)[::-1]):
        return False
    sizes = [len(members) for _, members in blocks]
    inner = sizes[1:-1]
    if max(inner) - min(inner) > 1 or max(sizes[0], sizes[-1]) > max(inner):
        return False
    moments = table.moments
    if moments is None or np.ptp(moments) == 0:
        return max(sizes) <= ROTATION
    spans = sorted((moments[m].min(), moments[m].max()) for _, m in blocks)
    return all(b[0] - a[1] <= PAUSE_S for a, b in pairwise(spans))


def _by_time(table: _Table) -> Keys:
    """Divide by the time of acquisition, at pauses between sweeps."""
    if table.along is None or table.moments is None:
        return None
    keys = _clusters(table.moments, PAUSE_S if table.is_sweep else JITTER_S)
    return None if len(set(keys)) == 1 or _are_regular(keys, table.along) else keys


def _clusters(values: np.ndarray, gap: float) -> list[int]:
    """Return the number of the cluster of each value: clusters are separated by more than usual gaps."""
    order = np.argsort(values, kind="stable")
    steps = np.diff(values[order])
    usual = float(np.median(steps[steps > 0])) if len(np.flatnonzero(steps > 0)) > 2 else 0.0
    numbers = np.empty(len(values), dtype=int)
    numbers[order] = np.concatenate([[0], np.cumsum(steps > max(gap, 5 * usual))])
    numbered: list[int] = numbers.tolist()
    return numbered


def _are_regular(keys: Sequence[int], along: np.ndarray) -> bool:
    """Return whether clusters are breath-holds of one acquisition: three or more blocks of equal sizes in a row."""
    order = np.argsort(along, kind="stable")
    sizes = [len(list(members)) for _, members in groupby(order, lambda i: keys[i])]
    inner = sizes[1:-1]
    ends = max(sizes[0], sizes[-1])
    return len(sizes) == len(set(keys)) >= 3 and max(inner) - min(inner) <= 1 and ends <= max(inner) <= ROTATION


def _by_sweeps(table: _Table) -> Keys:
    """Divide into sweeps that interleave or repeat, by an order of the slices; only into parts that are even stacks."""
    along = table.along
    if along is None or len(along) < 4:
        return None
    for keyword, read in (("AcquisitionNumber", number), ("ContentTime", seconds), ("InstanceNumber", number)):
        column = table.column(keyword)
        if column[0] == column[-1] and column.count(column[0]) == len(column):
            continue
        values = [read(value) for value in column]
        if any(v is None for v in values):
            continue
        found = np.array(values, dtype=float)
        distinct = len(set(values)) == len(values)
        if keyword == "InstanceNumber" and not distinct:  # copies of a slice
            continue
        for keys in ([_runs(found, along)] if distinct else []) + [_clusters(found, JITTER_S)]:
            if _are_interleaved_stacks(keys, along):
                return keys
    return None


def _runs(values: np.ndarray, along: np.ndarray) -> list[int]:
    """Number the sweeps in the order of values: a new one begins where the position jumps back."""
    order = np.lexsort((along, values))
    steps = np.diff(along[order])
    forward = float(np.sign(np.median(steps))) or 1.0
    numbers = np.empty(len(values), dtype=int)
    numbers[order] = np.concatenate([[0], np.cumsum(steps * forward <= 0)])
    numbered: list[int] = numbers.tolist()
    return numbered


def _are_interleaved_stacks(keys: Sequence[int], along: np.ndarray) -> bool:
    if not 2 <= len(set(keys)) <= MOST_SWEEPS:
        return False
    parts = [np.sort(along[np.flatnonzero(np.array(keys) == key)]) for key in sorted(set(keys))]
    if min(map(len, parts)) < 2:
        return False
    steps = [np.diff(part) for part in parts]
    even = all(np.ptp(one) <= 0.1 + 0.02 * one.mean() and one.min() > 0 for one in steps)
    overlap = any(a[0] <= b[-1] and b[0] <= a[-1] for i, a in enumerate(parts) for b in parts[i + 1 :])
    return even and overlap


DIVISIONS: tuple[Callable[[_Table], Keys], ...] = (
    _by_fixed,
    _by_geometry,
    _by_number,
    _by_time,
    _by_sweeps,
)
