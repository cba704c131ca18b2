"""Make small reader studies for tests, of phantoms and of predictions that were written by hand."""

import csv
import hashlib
import shutil
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import SimpleITK as sitk

from GTRStagingLib.cohort.cohort import read_cohort
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.reading.advice import read_advice
from GTRStagingLib.reading.answers import Answer, Seen
from GTRStagingLib.reading.designs import Design
from GTRStagingLib.reading.folders import StudyOptions, write_study
from GTRStagingLib.reading.plan import Rules
from GTRStagingLib.reading.readers_table import ReaderRow
from GTRStagingLib.reading.session import open_session
from GTRStagingLib.stages import TStage
from GTRStagingLib.tables.table_files import read_table

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
SHOWS = ("stage", "votes", "probabilities", "set", "map")


class Watch:
    """A clock that a test sets: time of the machine, and seconds that never fall."""

    def __init__(self, time=START):
        self.time, self.seconds = time, 0.0

    def now(self):
        return self.time

    def clock(self):
        return self.seconds

    def pass_by(self, **units):
        step = timedelta(**units)
        self.time += step
        self.seconds += step.total_seconds()


@cache
def _phantom(stage):
    """A phantom of 64 pixels of each stage, which all cases of the stage share: made once a process."""
    return make_phantom(stage, seed=int(stage), size=64)


def _map_of_three_slices(phantom):
    """Return a map on the slices that would vote, as a batch writes it: the CT's soft tissue there."""
    areas = sitk.GetArrayViewFromImage(phantom.tumour).sum(axis=(1, 2))
    middle = int(areas.argmax())
    return sitk.Cast(phantom.ct[:, :, middle - 1 : middle + 2] > 0, sitk.sitkFloat32)


def write_cohort_folder(folder, cases=8, *, token=""):
    """Write a cohort with CTs, tumours and the tables of a batch with a map for each case; return its table.

    The model's stage is right but for each third case; `token` is part of every id and name of a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, predictions = [], []
    for n in range(cases):
        stage, case_id = TStage(n % 4), f"case{token}{n:02}"
        phantom = _phantom(stage)
        image, roi = folder / f"ct{token}-{n}.nrrd", folder / f"roi{token}-{n}.nrrd"
        ct = sitk.Image(phantom.ct)
        if token:
            ct.SetMetaData("PatientName", f"{token}^Name")
        sitk.WriteImage(ct, str(image), useCompression=True)
        sitk.WriteImage(phantom.tumour, str(roi), useCompression=True)
        given = stage if n % 3 else TStage((n + 1) % 4)
        drawn = folder / "batch" / "cases" / case_id / "attention.nrrd"
        drawn.parent.mkdir(parents=True)
        attention = _map_of_three_slices(phantom)
        attention.SetMetaData("model", f"model {token}")
        sitk.WriteImage(attention, str(drawn), useCompression=True)
        shares = [0.7 if one == given else 0.1 for one in TStage]
        rows.append({"case_id": case_id, "patient_id": f"patient{token}{n:02}", "centre": f"centre{token}{n // 4 % 2}",
                     "image": image.name, "roi": roi.name, "stage": stage.name})  # fmt: skip
        predictions.append({"case_id": case_id, "status": "done", "reason": "", "stage": given.name, "votes":
                            f"{given} {given} {given}", **{f"p_{one}": share for one, share in zip(TStage, shares,
                            strict=True)}, "stage_set": given.name if n % 2 else "", "model": f"model{token}",
                            "patient_id": rows[-1]["patient_id"], "centre": rows[-1]["centre"],
                            "true_stage": stage.name})  # fmt: skip
    for path, content in ((folder / "cohort.csv", rows), (folder / "batch" / "predictions.csv", predictions)):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(content[0]))
            writer.writeheader()
            writer.writerows(content)
    return folder / "cohort.csv"


def make_study(folder, *, cases=8, readers=("r1", "r2"), design=None, token="", cohort=None, **options):
    """Write a study; return its folder. Options are those of `Rules` and `StudyOptions`."""
    table = cohort or write_cohort_folder(folder / "data", cases, token=token)
    read = read_cohort(table)
    own = {name: options.pop(name) for name in ("images", "keep_advice") if name in options}
    design = design or Design(seed=7)
    rules = Rules(**{"shows": SHOWS, **options})
    advice = read_advice(table.parent / "batch", [one.case_id for one in read], rules.shows)
    rows = [ReaderRow(name, {}) for name in readers]
    write_study(read, rows, advice, folder / "study", StudyOptions(design=design, rules=rules, **own))
    return folder / "study"


class SimulatedReader:
    """A reader with known skill and known trust in advice; every choice follows from hashes of the case.

    Attributes
    ----------
    skill
        Share of the cases that the reader alone stages rightly; the others are staged one too high, or T4 as T3.
    trust
        Share of the displayed advice that the reader follows, whatever the reader thinks.
    wavers
        Share of the displays at which the skill is drawn anew, so that repeats may differ.
    """

    def __init__(self, study, name, skill, trust, *, wavers=0.0):
        own = Path(study) / "organiser"
        stages = {row["case_id"]: TStage[row["stage"]] for row in read_table(own / "truth.csv").rows}
        self.truth = {row["code"]: stages[row["case_id"]] for row in read_table(own / "key.csv").rows
                      if row["reader"] == name}  # fmt: skip
        self.name, self.skill, self.trust, self.wavers = name, skill, trust, wavers

    def __call__(self, item):
        true, anew = self.truth[item.code], self._share("wavers", item.code, item.place) < self.wavers
        drawn = self._share("skill", item.code, item.place if anew else "")
        alone = true if drawn < self.skill else TStage(true + 1 if true < TStage.T4 else TStage.T3)
        advised = None if item.advice is None else item.advice.stage
        return advised if advised is not None and self._share("trust", item.code) < self.trust else alone

    def _share(self, *parts):
        text = "/".join(map(str, (self.name, *parts)))
        return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12


def copied_study(study, folder):
    """Return a copy of a study that a test may change."""
    shutil.copytree(study, folder / "study")
    return folder / "study"


def read_all(study, reader, watch, *, answers=None, stop=None, think=lambda item: TStage.T2):
    """Read everything that is open to a reader, in a session; return the items that were displayed.

    `stop` is the number of answers after which the session ends; `think` gives the stage for an item.
    """
    seen = []
    with open_session(Path(study) / "readers" / reader, reader, now=watch.now, clock=watch.clock) as session:
        while session.state == "reading" and (stop is None or len(seen) < stop):
            item = session.item
            seen.append(item)
            watch.pass_by(seconds=20)
            session.answer(Answer(think(item), 70, seen=Seen((item.slices // 2,), 50, 350)))
            session.next()
    return seen
