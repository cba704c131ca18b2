"""The command `gtrstaging batch`: a table of cases, one after the other. Exit code: 0 all done, 1 some failed."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage

if TYPE_CHECKING:
    from GTRStagingLib import batch

METHODS = ("gradcam", "gradcam++", "layercam", "eigencam")
"""Spelled out, so that `--help` imports nothing heavy; a test holds them against the library's own."""

TARGETS = ("predicted", *(stage.name for stage in TStage))


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    batch = commands.add_parser("batch", help="stage the cases of a table, one after the other",
                                description=f"Stage the cases of a table. {RESEARCH_USE_ONLY}")  # fmt: skip
    batch.set_defaults(run=_batch)
    batch.add_argument("cases", type=Path, metavar="TABLE",
                       help="CSV with case_id and image, and where wanted roi, segment, key_slice")  # fmt: skip
    batch.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder each, and results.csv")
    batch.add_argument("--model", default="demonstration", metavar="NAME|FOLDER", help="default: %(default)s")
    batch.add_argument("--cam", choices=METHODS, default="gradcam", help="attention method (default: %(default)s)")
    batch.add_argument("--target", choices=TARGETS, default="predicted", help="default: %(default)s")
    batch.add_argument("--threshold", type=float, default=0.5, help="default: %(default)s")
    batch.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    batch.add_argument("--progress", choices=["text", "json"], default="text",
                       help="a line for each case, for people or for programs (default: text)")  # fmt: skip


def _batch(options: argparse.Namespace) -> int:
    from GTRStagingLib import batch, weights

    cases = batch.read_cases(options.cases)
    say = _as_json if options.progress == "json" else _as_text
    say(0, len(cases), None)
    stage_one = batch.stage_from_files(
        weights.load(options.model),
        target=None if options.target == "predicted" else TStage[options.target],
        method=options.cam,
        threshold=options.threshold,
        device=options.device,
    )
    failed = 0
    for done, outcome in enumerate(batch.run(cases, options.out, stage_one), start=1):
        failed += outcome.error is not None
        say(done, len(cases), outcome)
    if options.progress == "text":
        print(f"{len(cases)} cases: {len(cases) - failed} done, {failed} failed. See {options.out / batch.RESULTS}")
        print(RESEARCH_USE_ONLY)
    return 1 if failed else 0


def _as_json(done: int, total: int, outcome: "batch.Outcome | None") -> None:
    said = {} if outcome is None else outcome.row
    print(json.dumps({"done": done, "total": total, **said}), flush=True)


def _as_text(done: int, total: int, outcome: "batch.Outcome | None") -> None:
    if outcome is not None:
        words = outcome.row["stage"] if outcome.error is None else f"FAILED: {outcome.error}"
        print(f"{done}/{total}  {outcome.case_id}  {words}", flush=True)
