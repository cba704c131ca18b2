"""The command `gtrstaging batch`: a table of cases, one after the other, and their evaluation where stages are known.

Exit code: 0 all done, 1 some failed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.errors import StagingError
from GTRStagingLib.extras import required
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage

if TYPE_CHECKING:
    from GTRStagingLib import batch
    from GTRStagingLib.nomogram import Nomogram
    from GTRStagingLib.radscore import RadScore

EVALUATION = "evaluation"
"""The folder of the report, beside the results."""

METHODS = ("gradcam", "gradcam++", "layercam", "eigencam")
"""Spelled out, so that `--help` imports nothing heavy; a test holds them against the library's own."""

TARGETS = ("predicted", *(stage.name for stage in TStage))


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    batch = commands.add_parser("batch", help="stage the cases of a table, one after the other",
                                description=f"Stage the cases of a table. {RESEARCH_USE_ONLY}")  # fmt: skip
    batch.set_defaults(run=_batch)
    batch.add_argument("cases", type=Path, metavar="TABLE",
                       help="CSV with case_id and image, and where wanted roi, segment, key_slice; other columns are "
                       "carried along, and with a stage the predictions are evaluated")  # fmt: skip
    batch.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder each, and results.csv")
    batch.add_argument("--model", default="demonstration", metavar="NAME|FOLDER", help="default: %(default)s")
    batch.add_argument("--cam", choices=METHODS, default="gradcam", help="attention method (default: %(default)s)")
    batch.add_argument("--target", choices=TARGETS, default="predicted", help="default: %(default)s")
    batch.add_argument("--threshold", type=float, default=0.5, help="default: %(default)s")
    batch.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    batch.add_argument("--radscore", type=Path, metavar="FILE", help="add this Rad-score, standardised, as a column")
    batch.add_argument("--nomogram", metavar="NAME|FILE", help="add this nomogram's probabilities, from the table's "
                       "columns and the Rad-score")  # fmt: skip
    batch.add_argument("--no-evaluation", action="store_true", help="leave the evaluation out")
    batch.add_argument("--progress", choices=["text", "json"], default="text",
                       help="a line for each case, for people or for programs (default: text)")  # fmt: skip


def _batch(options: argparse.Namespace) -> int:
    from GTRStagingLib import batch, nomogram, radscore, weights

    cases = batch.read_cases(options.cases)
    score = None if options.radscore is None else radscore.read(options.radscore)
    beside = None if options.nomogram is None else nomogram.load(options.nomogram)
    model = weights.load(options.model)
    if score is not None:
        score.require_model(model.card.sha256)
    say = _as_json if options.progress == "json" else _as_text
    say(0, len(cases), None)
    stage_one = batch.stage_from_files(
        model,
        target=None if options.target == "predicted" else TStage[options.target],
        method=options.cam,
        threshold=options.threshold,
        device=options.device,
    )
    failed = 0
    told = batch.scores_of(score, beside)
    for done, outcome in enumerate(batch.run(cases, options.out, stage_one, told), start=1):
        failed += outcome.error is not None
        say(done, len(cases), outcome)
    if options.progress == "text":
        print(f"{len(cases)} cases: {len(cases) - failed} done, {failed} failed. See {options.out / batch.RESULTS}")
        print(RESEARCH_USE_ONLY)
    known = any(case.given.get(batch.TRUE_STAGE) for case in cases)
    if known and failed < len(cases) and not options.no_evaluation:
        _evaluate(options.out / batch.RESULTS, options.out / EVALUATION, score, beside, options.progress == "text")
    return 1 if failed else 0


def _evaluate(results: Path, out: Path, score: "RadScore | None", beside: "Nomogram | None", aloud: bool) -> None:
    """The report beside the results; a table that cannot be evaluated is said, and costs the batch nothing."""
    try:
        for module in ("pandas", "pyarrow", "statsmodels", "sklearn", "matplotlib", "jinja2"):
            required(module, "Evaluation needs", "evaluate")
        from GTRStagingLib.evaluate import evaluate
        from GTRStagingLib.evaluation_report import REPORT, write_evaluation
        from GTRStagingLib.predictions import read_predictions

        found = evaluate(read_predictions(results))
        write_evaluation(found, out, nomogram=beside, radscore=score)
    except StagingError as error:
        print(f"gtrstaging: no evaluation: {error}", file=sys.stderr)
        return
    if aloud:
        accuracy = found.performance.metrics.accuracy
        print(f"Accuracy {accuracy.text()} on {len(found.predictions)} cases with a stage. See {out / REPORT}")


def _as_json(done: int, total: int, outcome: "batch.Outcome | None") -> None:
    said = {} if outcome is None else outcome.row
    print(json.dumps({"done": done, "total": total, **said}), flush=True)


def _as_text(done: int, total: int, outcome: "batch.Outcome | None") -> None:
    if outcome is not None:
        words = outcome.row["stage"] if outcome.error is None else f"FAILED: {outcome.error}"
        print(f"{done}/{total}  {outcome.case_id}  {words}", flush=True)
