"""Watch streams of phantoms: cases until the alarm, and false alarms.

    python benchmarks/monitor.py --usual batch-testAB batch-earlier --other batch-heldout

`--usual` are finished batches of phantoms of scanners A and B, `--other` one of scanner C. Each stream is drawn anew,
in a random order and without repetition within it; different streams share cases. Undisturbed streams have cases of
`--usual` only. In a disturbed one, each case from `--start` on is one of `--other` with the given probability. The
reference is the model, or so many other cases of `--usual`, drawn anew for each stream. Nothing is chosen on `--other`.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from GTRStagingLib.model.backbone import load_model
from GTRStagingLib.monitoring.measures import Baseline, expected_of_batch, expected_of_model
from GTRStagingLib.monitoring.stream import ObservedCase, Stream, read_stream
from GTRStagingLib.monitoring.watch import watch
from GTRStagingLib.stats.estimates import proportion

SHARES = (0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Drawn:
    """Stream with its reference, and its first alarm: the index of the case, and the measures that raised it."""

    first: int | None
    measures: tuple[str, ...]
    all_measures: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--usual", type=Path, nargs="+", required=True)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--model", default="demonstration")
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--start", type=int, default=200)
    parser.add_argument("--reference-cases", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    usual, other = read_stream(given.usual), read_stream([given.other])
    print(
        f"{len(usual.cases)} usual cases, {len(other.cases)} others; {given.streams} streams of {given.cases} cases\n"
    )
    model = load_model(given.model, device="cpu")
    of_model = expected_of_model(model.card, model.reference)
    for name, fixed in (("the model", of_model), (f"an earlier batch of {given.reference_cases} cases", None)):
        print(f"Reference: {name}\n")
        print("| stream | alarm | before the change | detected after it | cases until the alarm, median (range) |")
        print("|---|---|---|---|---|")
        false_by, true_by = Counter[str](), dict[float, Counter[str]]()
        for share in (0.0, *SHARES):
            found = [one_stream(usual, other, share, fixed, given, number) for number in range(given.streams)]
            alarms = sum(one.first is not None for one in found)
            rate = proportion(np.array([one.first is not None for one in found]), np.arange(len(found))).text(2)
            if share == 0:
                false_by.update(name for one in found for name in one.all_measures)
                print(f"| undisturbed | {alarms}: {rate} | | | |", flush=True)
                continue
            early = sum(one.first is not None and one.first < given.start for one in found)
            after = [one.first - given.start + 1 for one in found if one.first is not None and one.first >= given.start]
            true_by[share] = Counter(name for one in found for name in one.measures
                                     if one.first is not None and one.first >= given.start)  # fmt: skip
            delay = f"{np.median(after):.0f} ({min(after)} to {max(after)})" if after else "-"
            print(f"| {share:.0%} of C from case {given.start} | {alarms}: {rate} | {early} | {len(after)} of "
                  f"{len(found) - early} | {delay} |", flush=True)  # fmt: skip
        print(f"\nMeasures with a false alarm: {shown(false_by)}")
        for share, by in true_by.items():
            print(f"Measures that raised the first alarm, {share:.0%} of C: {shown(by)}")
        print()


def shown(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.most_common()) or "none"


def one_stream(
    usual: Stream, other: Stream, share: float, fixed: Baseline | None, given: argparse.Namespace, number: int
) -> Drawn:
    rng = np.random.default_rng([given.seed, number])  # the same reference and order for each share
    order = rng.permutation(len(usual.cases))
    known, fresh = order[: given.reference_cases], order[given.reference_cases :]
    if fixed is None:
        baseline = expected_of_batch(replace(usual, cases=tuple(usual.cases[i] for i in known)))
    else:
        baseline, fresh = fixed, order
    cases = tuple(mixed([usual.cases[i] for i in fresh], other.cases, share, given, rng))
    found = watch(replace(usual, cases=cases), baseline, by=50, horizon=given.cases, seed=given.seed)
    alarms = found.alarms
    first = alarms[0].first if alarms else None
    by = [one.measure.label for one in alarms]
    return Drawn(first, tuple(one.measure.label for one in alarms if one.first == first), tuple(by))


def mixed(
    usual: Sequence[ObservedCase], other: Sequence[ObservedCase], share: float, given: argparse.Namespace,
    rng: np.random.Generator,
) -> Iterator[ObservedCase]:  # fmt: skip
    ours, others = iter(usual), iter([other[i] for i in rng.permutation(len(other))])
    for index in range(given.cases):
        yield next(others if index >= given.start and rng.random() < share else ours)


if __name__ == "__main__":
    main()
