"""Compare a stream of cases with a reference by a control chart for each measure."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

import GTRStagingLib
from GTRStagingLib.errors import InputError
from GTRStagingLib.monitoring.measures import MEASURES, OTHER, OUTSIDE, Baseline, Expected, Measure
from GTRStagingLib.monitoring.stream import Stream, require_one_distance
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.stats.control_charts import DRAWS, WEIGHT, Chart, number_chart, share_chart, stability_index
from GTRStagingLib.support.counts import counted

By = Literal["week", "month"] | int
"""Periods of a table: calendar weeks (ISO 8601) or months, UTC, or so many cases."""

LEAST_CASES = 20
"""Least number of cases of a chart, half the memory of its average: with fewer it says nothing, and is not made."""

LEAST_PERIOD = 20
"""Least number of cases of a period that has a stability index."""

HORIZON = 1000
"""Number of cases within which the rate of false alarms holds, unless another one is chosen."""

FALSE_ALARMS = 0.05

BINS = 10
"""Number of intervals of a number for its stability index, with equal shares of the reference."""


@dataclass(frozen=True)
class Period:
    """Consecutive cases of a stream, from `first` up to but without `end`, by a name such as '2026-W49'."""

    name: str
    first: int
    end: int

    @property
    def cases(self) -> int:
        """Number of cases."""
        return self.end - self.first


@dataclass(frozen=True, eq=False)
class WatchedMeasure:
    """Measure with its chart.

    Attributes
    ----------
    where
        (n,) indices of the stream's cases in which it is known.
    values
        Its values there.
    chart
        Of these n cases.
    changed
        What changed, in words; empty without an alarm.
    """

    measure: Measure
    expected: Expected
    where: np.ndarray
    values: tuple[float | str, ...]
    chart: Chart
    changed: str

    @property
    def first(self) -> int | None:
        """Index of the stream's case at the alarm; None without one."""
        return None if self.chart.first is None else int(self.where[self.chart.first])

    @property
    def since(self) -> int | None:
        """Index of the stream's case at which the change began, as estimated; None without an alarm."""
        return None if self.chart.since is None else int(self.where[self.chart.since])

    def inside(self, period: Period) -> range:
        """Return which of the n cases lie in a period."""
        low, high = np.searchsorted(self.where, [period.first, period.end]).tolist()
        return range(low, high)


@dataclass(frozen=True, eq=False)
class Watch:
    """Result of comparing a stream with a reference.

    Attributes
    ----------
    measures
        Those with a chart.
    without
        Label of a measure -> why it has no chart.
    by
        As in `watch`.
    false_alarms
        Largest probability that an undisturbed stream raises any alarm within `horizon` cases.
    utc
        ISO 8601 time of the comparison.
    """

    stream: Stream
    baseline: Baseline
    measures: tuple[WatchedMeasure, ...]
    without: Mapping[str, str]
    periods: tuple[Period, ...]
    by: By
    false_alarms: float
    horizon: int
    seed: int
    utc: str

    @property
    def alarms(self) -> tuple[WatchedMeasure, ...]:
        """Measures with an alarm, the earliest first."""
        return tuple(sorted((one for one in self.measures if one.first is not None), key=lambda one: one.first or 0))

    @property
    def promise(self) -> str:
        """State the rate of false alarms, in words."""
        return (
            f"A stream like the reference raises any alarm within {self.horizon:,} cases with a probability of at most "
            f"{100 * self.false_alarms:g} %, however often one looks: each of {counted(len(self.measures), 'chart')} "
            f"has {100 * self.false_alarms / len(self.measures):.2g} %."
        )

    def place(self, index: int) -> str:
        """Return a case of the stream in words: its number from 1, and its day."""
        return f"case {index + 1:,} ({self.stream.cases[index].time:%Y-%m-%d})"

    def to_json(self) -> dict[str, Any]:
        """Convert the comparison to plain data, the series of each chart included."""
        stream = self.stream
        return {
            "kind": "monitor",
            "schema": 1,
            "research_use_only": RESEARCH_USE_ONLY,
            "alarm": bool(self.alarms),
            "stream": {"batches": stream.name, "cases": len(stream.cases), "ordered_by": stream.ordered_by,
                       "first": stream.cases[0].time.isoformat(), "last": stream.cases[-1].time.isoformat(),
                       "left_out": dict(stream.left_out)},
            "model": {"name": stream.model, "card_sha256": stream.card_sha256, "warning": stream.warning},
            "reference": self.baseline.name,
            "by": self.by,
            "false_alarms": self.false_alarms,
            "horizon": self.horizon,
            "promise": self.promise,
            "weight": WEIGHT,
            "draws": DRAWS,
            "seed": self.seed,
            "measures": [self._measure_json(one) for one in self.measures],
            "without_chart": dict(self.without),
            "notes": list(stream.notes),
            "provenance": {"software": f"gtrstaging {GTRStagingLib.__version__}", "utc": self.utc},
        }  # fmt: skip

    def _measure_json(self, one: WatchedMeasure) -> dict[str, Any]:
        alarm = None
        if one.first is not None and one.since is not None:
            alarm = {"case": one.first + 1, "case_id": self.stream.cases[one.first].case_id,
                     "time": self.stream.cases[one.first].time.isoformat(), "since_case": one.since + 1,
                     "changed": one.changed}  # fmt: skip
        return {
            "measure": one.measure.name,
            "label": one.measure.label,
            "unit": one.measure.unit,
            "reference_cases": one.expected.size,
            "expected_range": None if one.expected.limits is None else list(one.expected.limits),
            "expected_counts": dict(one.expected.counts),
            "limit": one.chart.limit,
            "alarm": alarm,
            "cases": (one.where + 1).tolist(),
            "values": list(one.values),
            "statistic": one.chart.statistic.tolist(),
        }

    def rows(self) -> Iterator[dict[str, str | float | None]]:
        """Yield a row for each period and measure; docs/reference/files.md lists the columns."""
        for period in self.periods:
            cases = self.stream.cases[period.first : period.end]
            for one in self.measures:
                yield {"period": period.name, "from": f"{cases[0].time:%Y-%m-%d}", "to": f"{cases[-1].time:%Y-%m-%d}",
                       "cases": period.cases, "measure": one.measure.name, "label": one.measure.label,
                       "unit": one.measure.unit, **_row(one, one.inside(period))}  # fmt: skip


def watch(
    stream: Stream,
    baseline: Baseline,
    *,
    by: By = "week",
    false_alarms: float = FALSE_ALARMS,
    horizon: int = HORIZON,
    seed: int = 0,
) -> Watch:
    """Compare a stream with what a reference lets expect.

    Each measure that both have gets a control chart, see `stats.control_charts`. The rate of false alarms is divided
    evenly among them. A measure that is known in fewer than `LEAST_CASES` cases has no chart, and `without` says so.

    Parameters
    ----------
    by
        Periods of the table and of the figures; the charts do not depend on them.
    false_alarms
        Largest probability of any false alarm within the horizon.
    horizon
        Number of cases for which this holds, counted from the stream's first one. It is chosen beforehand; a stream
        that is watched repeatedly as it grows keeps it.

    Raises
    ------
    InputError
        If an option is out of range; or if the stream has too few cases or more than the horizon, is of another model
        than the reference or was staged with neighbours at another distance, or has cases of the reference.

    Examples
    --------
    After twenty cases like those of an earlier batch, thin slices.

    >>> from datetime import UTC, datetime
    >>> from GTRStagingLib.monitoring.measures import expected_of_batch
    >>> from GTRStagingLib.monitoring.stream import ObservedCase, Stream
    >>> from GTRStagingLib.monitoring.watch import watch
    >>> def stream(name, slices_mm):
    ...     day = datetime(2026, 1, 5, tzinfo=UTC)
    ...     cases = [ObservedCase(f"{name}-{i}", day, "T2", 0.7, None, "usual", None, {"slice_mm": mm}, {}, None,
    ...                           f"digest {name} {i}") for i, mm in enumerate(slices_mm)]
    ...     return Stream(name, tuple(cases), "my-model", "0" * 64, "the time of staging", {})
    >>> earlier = expected_of_batch(stream("earlier", [3.0, 5.0] * 30))
    >>> found = watch(stream("new", [3.0, 5.0] * 10 + [1.5] * 10), earlier, horizon=30)
    >>> [(one.measure.label, one.since) for one in found.alarms]
    [('Slice distance', 20)]
    >>> found.alarms[0].changed.startswith("1.5 mm in ")
    True
    """
    by = parse_by(str(by))
    if not 0 < false_alarms < 1:
        raise InputError(f"`false_alarms` is {false_alarms:g}; expected a probability above 0 and below 1.")
    if horizon < 1 or horizon != int(horizon):
        raise InputError(f"`horizon` is {horizon}; expected a whole number of cases of 1 or more.")
    cases = stream.cases
    if len(cases) < LEAST_CASES:
        raise InputError(
            f"{stream.name} has {counted(len(cases), 'case')} that can be used; expected {LEAST_CASES} or more, since "
            "fewer neither show a change nor exclude one. Add batches, or wait for more cases."
        )
    if len(cases) > horizon:
        raise InputError(
            f"{stream.name} has {len(cases):,} cases; expected at most {horizon:,}, for which the rate of false alarms "
            "was to hold. Raise `horizon`, or begin again with later batches."
        )
    if stream.card_sha256 != baseline.card_sha256:
        raise InputError(
            f"The stream is of {stream.model} (card {stream.card_sha256[:8]}), the reference of another model or "
            f"calibration (card {baseline.card_sha256[:8]}); expected one, since their results cannot be compared. "
            "Give the model of the stream, or an earlier batch of it, as `reference`."
        )
    require_one_distance(f"{stream.name} and the reference", stream.neighbour_mm, baseline.neighbour_mm)
    if both := sum(case.digest in baseline.digests for case in cases):
        raise InputError(
            f"{counted(both, 'case')} of {stream.name} {'is' if both == 1 else 'are'} in the reference, too; expected "
            "other cases. Leave these batches out of one of them."
        )
    known, without = {}, {}
    for measure in MEASURES:
        values = [measure.value(case) for case in cases]
        where = np.array([i for i, value in enumerate(values) if value is not None], int)
        if measure.name not in baseline.expected:
            without[measure.label] = baseline.without[measure.name]
        elif len(where) < LEAST_CASES:
            without[measure.label] = f"known in {counted(len(where), 'case')} of the stream; {LEAST_CASES} are needed"
        else:
            known[measure] = where, tuple(value for value in values if value is not None)
    if not known:
        raise InputError(
            f"No measure is known in both {stream.name} and the reference; expected at least one. Stage the cases with "
            "a model that has a record of what it learned from."
        )
    each = false_alarms / len(known)
    return Watch(
        stream,
        baseline,
        tuple(
            _watched(measure, baseline.expected[measure.name], where, values, horizon, each, seed)
            for measure, (where, values) in known.items()
        ),
        without,
        tuple(_periods(stream, by)),
        by,
        false_alarms,
        horizon,
        seed,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )


def parse_by(text: str) -> By:
    """Parse 'week', 'month' or a number of cases.

    Examples
    --------
    >>> from GTRStagingLib.monitoring.watch import parse_by
    >>> parse_by("month"), parse_by("50")
    ('month', 50)
    """
    if text == "week":
        return "week"
    if text == "month":
        return "month"
    if re.fullmatch(r"[1-9]\d{0,6}", text, re.ASCII):
        return int(text)
    raise InputError(f"`by` is {text!r}; expected week, month, or a number of cases of 1 or more.")


# -- parts ---------------------------------------------------------------------------------------------------------


def _watched(
    measure: Measure, expected: Expected, where: np.ndarray, values: tuple[float | str, ...],
    horizon: int, probability: float, seed: int,
) -> WatchedMeasure:  # fmt: skip
    if expected.sample is not None:
        numbers = np.array(values, float)
        chart = number_chart(expected.sample, numbers, horizon=horizon, probability=probability, seed=seed)
    else:
        levels = list(expected.counts)
        codes = np.array([levels.index(expected.category(value)) for value in values])
        counts = list(expected.counts.values())
        chart = share_chart(counts, codes, horizon=horizon, probability=probability, seed=seed)
    changed = ""
    if chart.first is not None and chart.since is not None:
        since = values[chart.since : chart.first + 1]
        changed = _numbers_changed(measure, expected, since) if measure.is_number else _shares_changed(expected, since)
    return WatchedMeasure(measure, expected, where, values, chart, changed)


def _numbers_changed(measure: Measure, expected: Expected, values: Sequence[Any]) -> str:
    """Say how numbers differ from the reference, as in '1.5 mm in 12 of 20 cases; reference 2.5 to 5 mm'."""
    sample = expected.sample
    low, high = expected.limits or (-math.inf, math.inf)
    outside = [value for value in values if not low <= value <= high]
    unit = f" {measure.unit}" if measure.unit else ""
    reference = f"reference {low:.3g} to {high:.3g}{unit}"
    text, times = Counter(f"{value:.3g}" for value in outside).most_common(1)[0] if outside else ("", 0)
    number = counted(len(values), "case")
    if 2 * times > len(outside) and times >= max(3, len(values) / 10):  # one value, as of another protocol
        return f"{text}{unit} in {times} of {number}; {reference}"
    moved = f"median {np.median(values):.3g}{unit}"
    if sample is not None:
        moved += f", reference {np.median(sample):.3g}{unit}"
    return "; ".join([moved, *([f"outside the range in {len(outside)} of {number}", reference] if outside else [])])


def _shares_changed(expected: Expected, values: Sequence[Any]) -> str:
    """Say which category became more frequent, as in 'T4 in 12 of 20 cases; reference 25 %'."""
    total = sum(expected.counts.values())
    found = Counter(expected.category(value) for value in values)
    rarer = Counter(str(value) for value in values if expected.category(value) not in expected.counts or
                    expected.category(value) in (OTHER, OUTSIDE))  # fmt: skip

    def text(level: str) -> str:
        named = level
        if level in (OTHER, OUTSIDE) and rarer:
            named = ", ".join(one for one, _ in rarer.most_common(2))
        known = f", which has {', '.join(expected.known)}" if expected.known else ""
        return (
            f"{named} in {found[level]} of {counted(len(values), 'case')}; reference "
            f"{100 * expected.counts[level] / total:.3g} %{known}"
        )

    def more(level: str) -> float:
        return math.sqrt(found[level] / len(values)) - math.sqrt(expected.counts[level] / total)

    return text(max(expected.counts, key=more))


def _periods(stream: Stream, by: By) -> Iterator[Period]:
    """Yield the periods that have cases."""
    cases = stream.cases
    if isinstance(by, int):
        for first in range(0, len(cases), by):
            end = min(first + by, len(cases))
            yield Period(f"{first + 1}-{end}", first, end)
        return
    names = [
        f"{case.time.isocalendar().year}-W{case.time.isocalendar().week:02d}" if by == "week" else f"{case.time:%Y-%m}"
        for case in cases
    ]
    starts = [i for i in range(len(cases)) if i == 0 or names[i] != names[i - 1]]
    for first, end in zip(starts, [*starts[1:], len(cases)], strict=True):
        yield Period(names[first], first, end)


def _row(one: WatchedMeasure, part: range) -> dict[str, str | float | None]:
    """Return the columns of a measure in a period."""
    values = one.values[part.start : part.stop]
    median = float(np.median(np.array(values, float))) if one.measure.is_number and values else None
    statistic = float(one.chart.statistic[part.stop - 1]) if values else None
    alarm = one.chart.first is not None and one.chart.first in part
    return {
        "known": len(values),
        "median": median,
        "shares": "; ".join(f"{level} {share:.3f}" for level, share in shares(one, part).items()),
        "stability_index": stability(one, part),
        "statistic": statistic,
        "limit": one.chart.limit,
        "alarm": "yes" if alarm else "no",
        "changed": one.changed if alarm else "",
    }


def shares(one: WatchedMeasure, part: range) -> dict[str, float]:
    """Return the share of each category in a part of the cases; empty without categories or cases."""
    found = Counter(one.expected.category(value) for value in one.values[part.start : part.stop])
    return {level: found[level] / len(part) for level in one.expected.counts} if len(part) else {}


def stability(one: WatchedMeasure, part: range) -> float | None:
    """Return the stability index (PSI) of a part of the cases; None if it has fewer than `LEAST_PERIOD`."""
    if len(part) < LEAST_PERIOD:
        return None
    values = one.values[part.start : part.stop]
    if one.expected.sample is None:
        found = Counter(one.expected.category(value) for value in values)
        return stability_index(list(one.expected.counts.values()), [found[level] for level in one.expected.counts])
    edges = np.unique(np.quantile(one.expected.sample, np.linspace(0, 1, BINS + 1)[1:-1]))
    before, after = (
        np.bincount(np.searchsorted(edges, np.array(numbers, float)), minlength=len(edges) + 1).tolist()
        for numbers in (one.expected.sample, values)
    )
    return stability_index(before, after)


__all__ = [
    "FALSE_ALARMS",
    "HORIZON",
    "LEAST_CASES",
    "By",
    "Period",
    "Watch",
    "WatchedMeasure",
    "parse_by",
    "shares",
    "stability",
    "watch",
]
