"""Write the tables of tiny reader studies by hand: the cases, and the answers of readers."""

import csv
import json

import numpy as np
from PIL import Image

from GTRStagingLib.reading.readings import COLUMNS

TRUE = ("T1", "T2", "T3", "T4", "T2", "T3")
ADVICE = ("T1", "T2", "T3", "T3", "T3", "T4")  # wrong in the cases 3, 4 and 5
READ = {  # reader -> unaided, aided
    "a": (("T1", "T3", "T3", "T4", "T2", "T4"), ("T1", "T2", "T4", "T3", "T2", "T4")),
    "b": (("T2", "T1", "T3", "T4", "T3", "T3"), ("T1", "T1", "T3", "T4", "T3", "T4")),
}
TIMES = {"unaided": "2026-01-05T08:00:00.000Z", "aided": "2026-02-02T20:00:00.000Z"}  # 28.5 days


def answers_of(true, advice, read, *, seconds=(20, 10), confidence=70, shown="stage", repeats=()):
    """Rows of readings.csv by reader; `repeats` are (reader, phase, case, stage)."""
    rows = []

    def add(reader, phase, n, stage, kind="reading"):
        rows.append(dict.fromkeys(COLUMNS, "") | {
            "reader": reader, "case_id": f"case{n}", "patient_id": f"p{n}", "true_stage": true[n], "phase": phase,
            "period": 1 + (phase == "aided"), "time": TIMES[phase], "kind": kind, "place": n + 1, "answer": 1,
            "final": "yes", "after_next": "no", "stage": stage, "confidence": confidence,
            "seconds": seconds[phase == "aided"], "views": 1, "software": "0.2",
            "advice_shown": shown if phase == "aided" else "", "advice_stage": advice[n]})  # fmt: skip

    for reader, two in read.items():
        for phase, stages in zip(("unaided", "aided"), two, strict=True):
            for n, stage in enumerate(stages):
                if stage:
                    add(reader, phase, n, stage)
    for reader, phase, n, stage in repeats:
        add(reader, phase, n, stage, "repeat")
    return rows


def written(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def a_study(folder, true=TRUE, advice=ADVICE, read=READ, more=None, **how):
    """Write table.csv and readings.csv; return the predictions and the path of the answers."""
    folder.mkdir(exist_ok=True)
    phases = {f"{reader}_{phase}": one for reader, two in read.items()
              for phase, one in zip(("unaided", "aided"), two, strict=True)}  # fmt: skip
    table = [
        {"case_id": f"case{n}", "patient_id": f"p{n}", "true_stage": true[n], "predicted": advice[n], **(more or {}),
         **{name: stages[n] for name, stages in phases.items()}}
        for n in range(len(true))
    ]  # fmt: skip
    written(folder / "table.csv", table)
    return folder / "table.csv", written(folder / "readings.csv", answers_of(true, advice, read, **how))


def a_batch(folder, stages):
    """Write the case folders of a batch, case id -> predicted stage, each with another overlay."""
    for k, (case_id, stage) in enumerate(stages.items()):
        case = folder / "cases" / case_id
        case.mkdir(parents=True)
        Image.fromarray(np.full((30, 40, 3), 8 * k, dtype=np.uint8)).save(case / "overlay.png")
        (case / "done.json").write_text(json.dumps({"case_id": case_id, "row": {"stage": stage}}))
    return folder
