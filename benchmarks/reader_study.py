"""Plant skill, trust and constancy in simulated readers, and compare with what the analysis of their study finds.

    python benchmarks/reader_study.py
    python benchmarks/reader_study.py --cases 240

Phantoms of scanner C are staged by the shipped model, and read by the library's own session. A reader is right alone in
a planted share of the cases, and takes the advice, whatever it is, in another. Everything follows from the seeds: the
study is read twice, and the tables must be the same.
"""

import argparse
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing")]

from helpers.reading_studies import SimulatedReader, Watch, read_all  # noqa: E402

from GTRStagingLib.tables.table_files import read_table  # noqa: E402

READERS = {"r1": (0.5, 0.8, 0.0), "r2": (0.65, 0.4, 0.0), "r3": (0.8, 0.1, 1.0)}
"""Skill, trust, and the share of displays at which the skill is drawn anew."""
TABLES = ("readers.csv", "reader_advice.csv", "reader_repeats.csv", "reader_mrmc.csv")
WASHOUT_DAYS, REPEATS, SEED = 28, 12, 3


def gtrstaging(*arguments: object) -> None:
    """Run a command of the library."""
    subprocess.run([sys.executable, "-m", "GTRStagingLib", *map(str, arguments)], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip


def read(study: Path) -> None:
    """Let the simulated readers read both phases, a wash-out apart."""
    for name, (skill, trust, wavers) in READERS.items():
        watch, reader = Watch(), SimulatedReader(study, name, skill, trust, wavers=wavers)
        watch.time = datetime.now(UTC) - timedelta(days=2 * WASHOUT_DAYS)
        read_all(study, name, watch, think=reader)
        watch.pass_by(days=WASHOUT_DAYS)
        read_all(study, name, watch, think=reader)


def analysed(folder: Path, work: Path) -> Path:
    """Design, read, collect and evaluate a study; return its folder."""
    study, table = folder / "study", folder / "collected" / "table.csv"
    gtrstaging("reading", "design", work / "cases" / "cohort.csv", "--readers", work / "readers.csv", "--predictions",
               work / "batch", "--out", study, "--repeats", REPEATS, "--washout-days", WASHOUT_DAYS, "--seed", SEED,
               "--studies", 20)  # fmt: skip
    read(study)
    gtrstaging("reading", "collect", study, "--truth", study / "organiser" / "truth.csv", "--predictions",
               work / "batch" / "predictions.csv", "--out", table)  # fmt: skip
    gtrstaging("evaluate", table, "--out", folder / "evaluation")
    return folder


def planted(reader: str, cases: list[dict[str, str]]) -> dict[tuple[str, str], float]:
    """Return (table, measure) -> its expected value for these cases and what was planted in a reader."""
    skill, trust, wavers = READERS[reader]
    wrong = [row for row in cases if row["stage"] != row["true_stage"]]
    # A reader who errs alone stages one too high, or T4 as T3.
    err = {"T1": "T2", "T2": "T3", "T3": "T4", "T4": "T3"}
    as_advised = (1 - skill) * sum(row["stage"] == err[row["true_stage"]] for row in wrong) / len(wrong)
    right = 1 - len(wrong) / len(cases)
    same = 1 - wavers * 2 * skill * (1 - skill)
    return {
        ("readers.csv", "unaided accuracy"): skill,
        ("readers.csv", "aided accuracy"): trust * right + (1 - trust) * skill,
        ("reader_advice.csv", "wrong_taken"): trust + (1 - trust) * as_advised,
        ("reader_advice.csv", "wrong_agreed_alone"): as_advised,
        ("reader_advice.csv", "right_ignored"): (1 - trust) * (1 - skill),
        ("reader_repeats.csv", "agreement"): same,
    }


def found(folder: Path, reader: str, table: str, measure: str) -> dict[str, str]:
    """Return the row of a reader's measure in a table of the evaluation."""
    phase, _, name = measure.rpartition(" ")
    (row,) = [
        row for row in read_table(folder / "evaluation" / table).rows
        if row["reader"] == reader and row["measure"] == name and row.get("phase", "") in (phase, "")
    ]  # fmt: skip
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        work = Path(spare)
        gtrstaging("phantom", "--cases", options.cases, "--seed", 7000, "--scanner", "C", "--format", "nifti", "--size",
                   128, "--out", work / "cases")  # fmt: skip
        gtrstaging("batch", work / "cases" / "cohort.csv", "--out", work / "batch", "--no-evaluation")
        (work / "readers.csv").write_text("reader\n" + "\n".join(READERS) + "\n", encoding="utf-8")
        study = analysed(work / "first", work)
        report(study, read_table(study / "collected" / "table.csv").rows)
        again = analysed(work / "second", work)
        for table in ("collected/table.csv", *(f"evaluation/{name}" for name in TABLES)):
            same = (study / table).read_bytes() == (again / table).read_bytes()
            print(f"{table}: {'the same' if same else 'ANOTHER'} in the second run")


def report(study: Path, cases: list[dict[str, str]]) -> None:
    """Print planted and found values as a table."""
    right = sum(row["stage"] == row["true_stage"] for row in cases)
    print(f"{len(cases)} phantoms; the model is right in {right}, {right / len(cases):.3f}.\n")
    print("| reader | measure | planted | found | 95 % interval | n |\n|---|---|---|---|---|---|")
    inside = defined = 0
    for reader in READERS:
        for (table, measure), expected in planted(reader, cases).items():
            row = found(study, reader, table, measure)
            value, (low, high) = float(row["value"]), (row["low"], row["high"])
            number = row.get("n") or row.get("n_rows")
            interval = f"{float(low):.3f} to {float(high):.3f}" if low else "none"
            if low:
                defined, inside = defined + 1, inside + (float(low) <= expected <= float(high))
            print(f"| {reader} | {measure} | {expected:.3f} | {value:.3f} | {interval} | {number} |")
    print(f"\nThe planted value is in {inside} of {defined} intervals.")


if __name__ == "__main__":
    main()
