"""Measure the coverage of 95 % intervals on simulated cohorts.

    python benchmarks/coverage.py [--repetitions 1000] [--first 0] [--cohorts 60x1@moderate ...]
                                  [--workers 1] [--markdown] [--json FILE]

A cohort has a number of patients with one row each, or with one to five rows that resemble each other (60x5), and a
moderate or a high accuracy. In 60x1+200 one patient has 200 further rows. The true value of a measure is that of a very
large cohort drawn in the same way. The Dice is skewed, and 0 for one patient in ten, as of a map that misses the
tumour; distances have a moderate tail (hd95_mm) or a heavy one (heavy_mm). A second model and two readers without and
with help give the differences.

Every number with an interval in the results of `GTRStagingLib.stats` is counted, under the path that it has in
`metrics.json`; the table joins numbers of one kind, such as the sensitivities of the four stages, into the lowest and
the highest share. An interval that is absent is not counted; the share of cohorts with one is in the JSON.
"""

import argparse
import json
import re
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from scipy.special import expit, softmax

from GTRStagingLib.stages import TStage
from GTRStagingLib.stats import attention_by_stage, calibration, decisions, reader_study, readers, roc
from GTRStagingLib.stats.estimates import Clusters
from GTRStagingLib.stats.metrics import BOUNDARIES, measure

SHARPNESS = {"moderate": 1.52, "high": 3.45}
"""Sharpness of the model's logits, for accuracies of 0.63 and 0.85."""
DICE = (0.3, 0.6, 0.9, 1.2)
"""Log odds of the median Dice of a map that does not miss the tumour, by stage."""
MISSED = 0.1
LARGE = 100_000
"""Patients of the cohort that gives the true values."""
THRESHOLDS = np.array([0.1, 0.3, 0.5, 0.7])
"""Thresholds of net benefit."""
CHUNK = 20
"""Cohorts of one job."""
COHORTS = [
    f"{size}@{accuracy}" for accuracy in SHARPNESS for size in ("60x1", "60x5", "240x1", "240x5", "20x5", "60x1+200")
]


def draw(rng, name, patients=None):
    """Draw a cohort by its name, with another number of patients if given: arrays by name."""
    size, most, further, accuracy = re.fullmatch(r"(\d+)x(\d+)(?:\+(\d+))?@(\w+)", name).groups()
    number = patients or int(size)
    stage_of = rng.choice(4, size=number)
    rows = rng.integers(1, int(most) + 1, size=number)
    if patients is None:
        rows[0] += int(further or 0)
    ids = np.repeat(np.arange(number), rows)
    stages = stage_of[ids]

    def logits(sharpness):
        noise = 0.8 * rng.normal(size=(number, 4))[ids] + 0.6 * rng.normal(size=(len(ids), 4))
        return noise - sharpness * 0.5 * (np.arange(4) - stages[:, None]) ** 2

    seen = logits(SHARPNESS[accuracy])
    other = 0.6 * seen + 0.8 * logits(0.6 * SHARPNESS[accuracy])
    unaided = [(0.5 * seen + logits(0.3 * SHARPNESS[accuracy])).argmax(axis=1) for _ in range(2)]
    aided = [(0.9 * seen + 0.5 * logits(0.6 * SHARPNESS[accuracy])).argmax(axis=1) for _ in range(2)]
    shared = rng.normal(size=number)[ids]
    dice = expit(np.take(DICE, stages) + 0.8 * shared + 0.6 * rng.normal(size=len(ids)))
    missed = (rng.random(number) < MISSED)[ids]
    chance = expit(-2 + 0.3 * rng.normal(size=len(ids)))
    far, factor = -0.5 * shared + 0.35 * rng.normal(size=len(ids)), np.where(missed, 3, 1)
    return {
        "stages": stages,
        "patients": ids,
        "model": softmax(1.4 * seen, axis=1),
        "other": softmax(1.4 * other, axis=1),
        "phases": {f"reader{k}": (unaided[k], aided[k]) for k in range(2)},
        "dice": np.where(missed, 0.0, dice),
        "chance_dice": chance,
        "hd95_mm": np.exp(2.5 + far) * factor,
        "heavy_mm": np.exp(2.5 + 1.8 * far) * factor,
    }


def results(cohort):
    """Return path -> (value, low, high) of every number that can have an interval, None where it is absent."""
    stages, ids, p = cohort["stages"], cohort["patients"], cohort["model"]
    predicted, other = p.argmax(axis=1), cohort["other"]
    areas = roc.stage_areas(stages, p)
    auc = {"macro": roc.macro(areas), "micro": roc.micro(stages, p), **dict(zip(map(str, TStage), areas, strict=True))}
    auc |= {name: roc.area(stages >= first, decisions.at_least(p, first)) for name, first in BOUNDARIES.items()}
    model, second = readers.Reader("model", predicted, p), readers.Reader("other", other.argmax(axis=1), other)
    names = ("dice", "chance_dice", "hd95_mm", "heavy_mm")
    found = {
        "": measure(stages, predicted, ids),
        "auc": {name: roc.estimate(one, ids).to_json() for name, one in auc.items()},
        "calibration": calibration.calibrate(stages, p, ids, seed=0),
        "treatment": asdict(decisions.treatment(stages, predicted, ids)),
        "comparison": readers.compare(stages, [model, second], ids),
        "reader study": reader_study.reader_study(stages, cohort["phases"], model, ids),
        "attention": attention_by_stage.attention(stages, {name: cohort[name] for name in names}, ids),
    }
    plain = {name: one if isinstance(one, dict) else one.to_json() for name, one in found.items()}
    numbers = {}
    for path, one in _estimates(plain):
        if "it has no interval" not in one["method"]:  # McNemar's exact test, beside that by patient
            numbers[path] = (one["value"], one["low"], one["high"])
    for event in decisions.EVENTS:
        happened, given = stages >= event, decisions.at_least(p, event)
        benefit = decisions.net_benefit(happened, given, THRESHOLDS).tolist()
        band = decisions.net_benefit_band(happened, given, THRESHOLDS, Clusters.of(ids))
        for threshold, value, (low, high) in zip(THRESHOLDS, benefit, band.tolist(), strict=True):
            limits = (None, None) if np.isnan(low) else (low, high)
            numbers[f"net benefit/at least {event}/{threshold}"] = (value, *limits)
    return numbers


def _estimates(node, path=""):
    """Yield the path and the content of each estimate; bins of a curve are left out, as they depend on the cohort."""
    if isinstance(node, dict) and {"value", "low", "high", "method"} == node.keys():
        yield path, node
    elif isinstance(node, dict):
        for name, one in node.items():
            if name != "curve":
                yield from _estimates(one, f"{path}/{name}".strip("/"))
    elif isinstance(node, list | tuple):
        for place, one in enumerate(node):
            label = one.get("event") or one.get("reader") if isinstance(one, dict) else None
            if isinstance(one, dict) and "measure" in one:  # of two readers; in a list those of both phases
                label = f"{one['measure']}/{one['second']}"
            yield from _estimates(one, f"{path}/{label or place}")


PAIRS = r"(comparison/pairs/.*|reader study/rows/.*/(gains|against_model))"
READINGS = r"(comparison/readers/.*|reader study/(model|rows/.*/(un)?aided))"
KINDS = (
    (r"kappa/plain", "kappa"),
    (r"kappa/(linear|quadratic)", "weighted kappas"),
    (r"per_class/.*/(?P<kind>\w+)", "{kind} of a stage"),
    (r"boundaries/.*/(?P<kind>\w+)", "{kind} of a boundary"),
    (r"auc/(?P<kind>macro|micro)", "{kind} AUC"),
    (r"auc/T\d", "AUC of a stage"),
    (r"auc/.*", "AUC of a boundary"),
    (r"calibration/events/.*/(?P<kind>intercept|slope|brier)", "calibration {kind} of an event"),
    (r"calibration/brier|calibration/scaling/before/brier", "Brier score"),
    (r"calibration/scaling/(?P<kind>\w+)/(?P<other>\w+)", "{other} {kind} scaling"),
    (r"net benefit/.*", "net benefit"),
    (r"treatment/(?P<kind>over|under)", "{kind}-treatment"),
    (r"treatment/nnt", "number needed to treat"),
    (rf"{PAIRS}/kappa.*", "difference of kappas"),
    (rf"{PAIRS}/auc.*", "difference of AUCs"),
    (rf"{PAIRS}/accuracy/.*", "difference of accuracies"),
    (rf"{PAIRS}/.*", "difference of other shares"),
    (rf"{READINGS}/kappa_\w+", "weighted kappas"),
    (rf"{READINGS}/auc_macro", "macro AUC"),
    (rf"{READINGS}/.*", "accuracy, sensitivity, over- and under-staging of readers"),
    (r"attention/against/.*/all/.*", "mean Dice minus chance"),
    (r"attention/against/.*", "mean Dice minus chance in a stage"),
    (r"attention/measures/(?P<kind>dice|hd95_mm|heavy_mm)/all/mean", "mean {kind}"),
    (r"attention/measures/(?P<kind>dice|hd95_mm|heavy_mm)/.*/mean", "mean {kind} of a stage"),
    (r"attention/.*", None),
)


def kind_of(path):
    """Return the line of the table to which a path belongs; None for one that is not shown."""
    if path.startswith("reader study/fleiss"):
        return "Fleiss' kappa"
    for pattern, label in KINDS:
        if match := re.fullmatch(pattern, path):
            return None if label is None else label.format(**match.groupdict())
    return path.replace("_", " ")


def _without_tests():
    """Leave out what takes time and has no interval, or one that is counted elsewhere."""
    attention_by_stage.MOST_PERMUTED = 0
    calibration.reliability = calibration.hosmer_lemeshow = lambda *_: None
    # The analysis of several readers infers on readers that were not drawn: its level is tested in test_mrmc.py.
    reader_study._analysed = lambda *_: ()
    calibration.multinomial_hosmer_lemeshow = calibration.ordinal_hosmer_lemeshow = lambda *_: None


def covered(truth, job):
    """Return path -> [covering, too high, too low] intervals in some cohorts; job is (name, first, last)."""
    _without_tests()
    name, first, last = job
    counts = defaultdict(lambda: [0, 0, 0])
    for repetition in range(first, last):
        for path, (_, low, high) in results(draw(np.random.default_rng([3, repetition]), name)).items():
            if low is not None and truth[name].get(path) is not None:
                counts[path][1 if low > truth[name][path] else 2 if high < truth[name][path] else 0] += 1
    return dict(counts)


def coverage(names, first, repetitions, workers):
    """Return cohort -> path -> truth, coverage, shares above and below the truth, share of cohorts with an interval."""
    _without_tests()
    of_large = {}
    for name in names:
        like = re.sub(r"^\d+x\d+(\+\d+)?", "1x1", name)
        if like not in of_large:
            of_large[like] = {p: one[0] for p, one in results(draw(np.random.default_rng(1), like, LARGE)).items()}
    truth = {name: of_large[re.sub(r"^\d+x\d+(\+\d+)?", "1x1", name)] for name in names}
    last = first + repetitions
    jobs = [(name, k, min(k + CHUNK, last)) for name in names for k in range(first, last, CHUNK)]
    totals = {name: defaultdict(lambda: np.zeros(3, int)) for name in names}
    with ProcessPoolExecutor(workers) as pool:
        for (name, *_), counts in zip(jobs, pool.map(partial(covered, truth), jobs), strict=True):
            for path, three in counts.items():
                totals[name][path] += three
    return {
        name: {
            path: {
                "truth": truth[name][path],
                "covered": three[0] / three.sum(),
                "too high": three[1] / three.sum(),
                "too low": three[2] / three.sum(),
                "with interval": three.sum() / repetitions,
            }
            for path, three in paths.items()
        }
        for name, paths in totals.items()
    }


def table(found, least_share=0.1):
    """Return the lines of the table: kind, and for each cohort the lowest and highest coverage of its numbers."""
    kinds = defaultdict(lambda: defaultdict(list))
    for name, paths in found.items():
        for path, one in paths.items():
            if (kind := kind_of(path)) and one["with interval"] >= least_share:
                kinds[kind][name].append(one["covered"])

    def cell(shares):
        low, high = (f"{100 * one:.1f}" for one in (min(shares), max(shares)))
        return low if low == high else f"{low} to {high}"

    return [[kind, *(cell(of[name]) if name in of else "none" for name in found)] for kind, of in kinds.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", nargs="+", default=COHORTS, metavar="NAME")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first cohort, to continue a run")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json")
    options = parser.parse_args()
    found = coverage(options.cohorts, options.first, options.repetitions, options.workers)
    error = 100 * (0.95 * 0.05 / options.repetitions) ** 0.5
    print(f"{options.repetitions} cohorts each; percent of 95 % intervals with the truth (standard error {error:.1f})")
    lines = [["", *found], *table(found)]
    if options.markdown:
        lines.insert(1, ["---"] * len(lines[0]))
    for line in lines:
        print(
            "| " + " | ".join(line) + " |"
            if options.markdown
            else "".join(f"{one:<32}" if k == 0 else f"{one:>17}" for k, one in enumerate(line))
        )
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
