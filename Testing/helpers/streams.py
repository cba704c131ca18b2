"""Batches of many cases, made of the real records of a few: only their numbers are altered."""

import csv
import json
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np

from GTRStagingLib.batch import batch, local
from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.batch.columns import PREDICTIONS
from GTRStagingLib.model.backbone import load_model
from GTRStagingLib.phantoms.phantom_cohort import make_phantom_cohort
from GTRStagingLib.staging.options import StagingOptions

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday."""


def staged(folder):
    """Stage three small phantoms by the demonstration model, in this process; return the output folder."""
    table = make_phantom_cohort(folder / "phantoms", cases=3, seed=5100, size=96)
    work = batch.one_by_one(local.stage_from_files(load_model("demonstration", device="cpu"), StagingOptions()))
    outcomes = list(batch.Batch(read_cases(table), folder / "batch", {"model": "demonstration"}).run(work))
    assert [one.status for one in outcomes] == ["done"] * 3
    return folder / "batch"


@cache
def _record(path):
    return path.read_text(encoding="utf-8")


def many(
    source_batch, out, cases, *, seed=0, begin=BEGIN, column=None, change=lambda record, index: None, prefix="case"
):
    """Write a batch of so many cases: records of a real batch with other ids, times, and scattered numbers.

    Parameters
    ----------
    column
        Column of the table for the day of each scan, in place of its time of staging, which is then the same for all.
    change
        Called with each record and its index, and may alter it.
    """
    rng = np.random.default_rng(seed)
    real = sorted((source_batch / "cases").iterdir())
    rows = []
    for index in range(cases):
        source = real[index % len(real)]
        record = json.loads(_record(source / "result.json"))
        case_id, time = f"{prefix}-{index:04d}", begin + timedelta(days=index // 3)
        record["provenance"]["utc"] = (BEGIN if column else time).isoformat()
        record["provenance"]["input_digest"] = f"{prefix} {index}"
        familiarity = record["familiarity"]
        familiarity["distance"] = float(rng.normal())
        familiarity["numbers"] = {name: value * rng.uniform(0.9, 1.1) for name, value in familiarity["numbers"].items()}
        familiarity["numbers"]["slice_mm"] = float(rng.choice([3, 5]))
        change(record, index)
        folder = out / "cases" / case_id
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")
        day = {column: f"{time:%Y-%m-%d}"} if column else {}
        rows.append({"case_id": case_id, "status": "done", "true_stage": "", **day})
    write_rows(out, rows)
    return out


def write_rows(out, rows):
    with (out / PREDICTIONS).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), restval="")
        table.writeheader()
        table.writerows(rows)


def rows_of(out):
    with (out / PREDICTIONS).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
