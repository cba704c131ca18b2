"""Add the command `gtrstaging evaluate`: evaluate a table of predictions."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.cli.arguments import (
    PATIENT_PATTERN,
    Commands,
    out_folder,
    regular_expression,
    shown_place,
    with_flags,
)
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.support.counts import counted

if TYPE_CHECKING:
    from GTRStagingLib.evaluation.answer_analysis import AnswerAnalysis
    from GTRStagingLib.evaluation.cohorts import Cohorts
    from GTRStagingLib.evaluation.evaluate import Evaluation
    from GTRStagingLib.stats.estimates import Estimate


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    one = commands.add_parser(
        "evaluate",
        help="evaluate a table of predictions",
        description="Evaluate a table of predictions: metrics with 95 % intervals, curves, calibration, decisions, "
        f"readers, and a report. {RESEARCH_USE_ONLY}",
    )
    one.set_defaults(run=_evaluate, shared=True)
    one.add_argument(
        "predictions",
        type=Path,
        help="CSV, XLSX or Parquet: predictions.csv of a batch, or the table of other software",
    )
    one.add_argument("--out", type=out_folder, metavar="DIR", help="folder for metrics.json, report.html, figures and "
                     "tables; without it, only the summary is printed")  # fmt: skip
    table = one.add_argument_group("table")
    table.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="ROLE=NAME",
        help="columns that are not detected, by role: truth, predicted, probabilities (A,B,C,D), patient, case, "
        "centre, split",
    )
    table.add_argument("--cohort", dest="truth", type=Path, metavar="TABLE", help="case table with the true stages "
                       "(case_id, stage), for predictions without them")  # fmt: skip
    table.add_argument("--patient-pattern", type=regular_expression, metavar="REGEX", help=PATIENT_PATTERN)
    table.add_argument(
        "--split", metavar="SPLIT", help="split to evaluate, or all (default: test if the table contains it)"
    )
    table.add_argument("--labels-from", type=int, choices=[0, 1], help="number that stands for T1 in the table")
    more = one.add_argument_group("content")
    more.add_argument("--training", type=Path, metavar="TABLE", help="table of the model's training rows, to find "
                      "leaks and to evaluate without them as well")  # fmt: skip
    more.add_argument("--stratum", dest="strata", nargs="+", default=[], metavar="COLUMN", help="also "
                      "evaluate each group of these columns")  # fmt: skip
    more.add_argument("--cohort-column", metavar="COLUMN", help="also evaluate each cohort of this column, describe "
                      "their patients side by side, and test their differences")  # fmt: skip
    more.add_argument("--reader", dest="readers", nargs="+", default=[], metavar="NAME=COLUMN[:CODE]", help="columns "
                      "with the stages of readers that are not detected; CODE tells how stages are written: T (T1 to "
                      "T4), 1-4 or 0-3")  # fmt: skip
    more.add_argument("--comparator", dest="comparators", nargs="+", default=[], metavar="NAME=COLUMN[:CODE]",
                      help="the same of other methods, as in EUS=eus_stage:1-4")  # fmt: skip
    more.add_argument("--phase", dest="phases", nargs="+", default=[], metavar="READER=UNAIDED,AIDED[:CODE]",
                      help="columns of a two-phase reader study, beside NAME_unaided and NAME_aided")  # fmt: skip
    more.add_argument("--readings", metavar="FILE", help="table of the answers of a reader study, or none (default: "
                      "readings.csv beside the table, if that has readers in two phases)")  # fmt: skip
    more.add_argument("--nomogram", metavar="NAME|FILE", help="show this nomogram in the report")
    more.add_argument("--radscore", type=Path, metavar="FILE", help="show this Rad-score in the report")
    more.add_argument("--gallery", type=Path, metavar="DIR", help="folder of the batch that made the predictions, for "
                      "gallery.html with the overlays of misclassified cases (default: the folder of the table, if it "
                      "contains cases/)")  # fmt: skip
    more.add_argument("--format", choices=["docx"], help="also write the numbered tables and the figures as a Word "
                      "document, manuscript.docx")  # fmt: skip
    more.add_argument("--seed", type=int, default=0, help="seed of random permutations and draws of rows "
                      "(default: %(default)s)")  # fmt: skip


def _evaluate(options: argparse.Namespace) -> None:
    columns = _pairs(options, "--columns", options.columns)
    readers, comparators = (_pairs(options, flag, given) for flag, given in
                            (("--reader", options.readers), ("--comparator", options.comparators)))  # fmt: skip
    phases = {name: _two(options, text) for name, text in _pairs(options, "--phase", options.phases).items()}
    from GTRStagingLib.nomogram import nomogram
    from GTRStagingLib.radscore import radscore
    from GTRStagingLib.support.extras import import_extra

    if options.out is None and (options.gallery is not None or options.format is not None):
        options.parser.error("--gallery and --format write files: expected --out")
    if options.format == "docx":
        from GTRStagingLib.evaluation.manuscript import require_docx

        require_docx()
    for module in ("pandas", "pyarrow", "statsmodels", "sklearn", *(["matplotlib", "jinja2"] if options.out else [])):
        import_extra(module, "Evaluation needs", "evaluate")
    from GTRStagingLib.evaluation import answer_analysis, gallery, study_answers
    from GTRStagingLib.evaluation.evaluate import evaluate
    from GTRStagingLib.evaluation.predictions import read_predictions

    chart = None if options.nomogram is None else nomogram.load(options.nomogram)
    score = None if options.radscore is None else radscore.read(options.radscore)
    predictions = read_predictions(
        options.predictions,
        columns=columns,
        patient_pattern=options.patient_pattern,
        split=_split(options.split, options.cohort_column, columns),
        labels_from=options.labels_from,
        truth=options.truth,
        readers=readers,
        comparators=comparators,
        phases=phases,
    )
    batch = options.gallery or gallery.batch_folder_of(options.predictions, predictions)
    if options.readings is None:
        answered = study_answers.answers_beside(options.predictions, predictions)
    else:
        answered = None if options.readings == "none" else Path(options.readings)
    answers = None if answered is None else study_answers.read_answers(answered, predictions)
    errors = advised = None
    if batch is not None and options.out is not None:
        errors = gallery.misclassified(predictions, batch)
        if answers is not None:
            wrong = answer_analysis.wrong_advice_of(predictions, answers)
            advised = gallery.wrong_advice_cases(predictions, wrong, batch)
    found = evaluate(
        predictions,
        answers=answers,
        strata=options.strata,
        cohort_column=options.cohort_column,
        training=options.training,
        patient_pattern=options.patient_pattern,
        seed=options.seed,
        progress=_progress,
    )
    if options.out is not None:
        from GTRStagingLib.evaluation.report import write_evaluation

        _progress("report")
        written = write_evaluation(
            found,
            options.out,
            nomogram=chart,
            radscore=score,
            gallery=errors,
            advised=advised,
            manuscript=options.format == "docx",
        )
    print_summary(found, options.parser)
    if errors is not None and (note := gallery.missing_overlays(errors, advised)) is not None:
        print(f"WARNING       {with_flags(note, options.parser)}")
    if options.out is not None:
        named = ", ".join(name for name in ("metrics.json", "gallery.html", "manuscript.docx") if name in written)
        print(f"Written       {shown_place(options.out / 'report.html')} with {named}, figures and tables")
    print(RESEARCH_USE_ONLY)


def _split(split: str | None, cohort_column: str | None, columns: Mapping[str, str]) -> str | None:
    """Return the split to read: all of them if they are the cohorts and none is chosen."""
    own = columns.get("split", "split").casefold()
    return "all" if split is None and cohort_column is not None and cohort_column.casefold() == own else split


def _progress(step: str) -> None:
    if sys.stderr.isatty():
        print(f"{step} …", file=sys.stderr)


def _pairs(options: argparse.Namespace, name: str, texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, mark, value = text.partition("=")
        if not (mark and key and value):
            options.parser.error(f"{name} {text}: expected NAME=VALUE")
        pairs[key] = value
    return pairs


def _two(options: argparse.Namespace, text: str) -> tuple[str, str]:
    columns = text.split(",")
    if len(columns) != 2:
        options.parser.error(f"--phase: {text!r}; expected two columns, UNAIDED,AIDED")
    return columns[0], columns[1]


def print_summary(found: "Evaluation", parser: argparse.ArgumentParser) -> None:
    """Print the main results, and the notes with the flags of the command."""
    from GTRStagingLib.stats.attention_by_stage import BASELINES

    if found.model_warning is not None:
        print(f"WARNING       {found.model_warning}")
    metrics, areas, flow = found.performance.metrics, found.performance.areas, found.predictions.flow
    left_out = "".join(f"; {n} {reason}" for reason, n in flow.excluded.items())
    right = int(metrics.confusion.trace())
    late = metrics.boundaries["T3-4 against T1-2"]
    print(f"Rows          {flow.used} of {flow.read} ({counted(metrics.n_patients, 'patient')}){left_out}")
    print(f"Accuracy      {right}/{metrics.n_rows} = {metrics.accuracy.text(4)}")
    if areas is not None:
        print(f"AUC           macro {areas.macro.text(4)}, micro {areas.micro.text(4)}")
    print(f"Kappa         plain {metrics.kappa_plain.text(4)}, linear {metrics.kappa_linear.text(4)}, quadratic "
          f"{metrics.kappa_quadratic.text(4)}")  # fmt: skip
    print(f"T3-4 / T1-2   sensitivity {late.sensitivity.text()}, specificity {late.specificity.text()}")
    printed = {"accuracy": metrics.accuracy, "kappa": metrics.kappa_plain, "linear kappa": metrics.kappa_linear,
               "quadratic kappa": metrics.kappa_quadratic, "sensitivity for T3-4": late.sensitivity,
               "specificity for T3-4": late.specificity}  # fmt: skip
    if areas is not None:
        printed |= {"macro AUC": areas.macro, "micro AUC": areas.micro}
    print("Confusion     " + "\n              ".join(
        f"{stage}  " + " ".join(f"{n:>6}" for n in row)
        for stage, row in zip(TStage, metrics.confusion.tolist(), strict=True)))  # fmt: skip
    if found.cohorts is not None:
        _print_cohorts(found.cohorts)
        for part in found.cohorts.parts:
            printed[f"accuracy of {part.name}"] = part.performance.metrics.accuracy
            if part.performance.areas is not None:
                printed[f"macro AUC of {part.name}"] = part.performance.areas.macro
    if found.attention is not None:
        measures = found.attention.measures
        known = [name for name in BASELINES if name in found.attention.against]
        baselines = [(name.replace("_", " "), BASELINES[name]) for name in known]
        dice = {name: measures[column]["all"].mean for name, column in [("of the map", "dice"), *baselines]}
        print("Dice          " + "; ".join(f"{name} {one.text()}" for name, one in dice.items()))
        printed |= {f"Dice {name}": one for name, one in dice.items()}
    if (sets := found.stage_sets) is not None:
        coverage, size = sets.coverage["all"], sets.size["all"]
        print(f"Stage sets    coverage {coverage.text()}, promised {sets.promised}; mean size {size.text(2)}; withheld "
              f"{sets.withheld}, without {sets.without}")  # fmt: skip
        printed |= {"coverage of the stage sets": coverage, "mean size of the stage sets": size}
    if (moved := found.slice_stability) is not None:
        shares = [(mm, groups["all"], moved.known[mm]) for mm, groups in moved.stable.items() if moved.known[mm]]
        asked = "; ".join(f"± {mm:g} mm in {one.text()} of {counted(n, 'row')} asked so far" for mm, one, n in shares)
        none = "not known: no row's slices were asked up and down as far as one of the reported distances"
        print(f"Key slice     {f'the stage holds within {asked}' if asked else none}")
        printed |= {f"stage within ± {mm:g} mm": one for mm, one, _ in shares}
    if found.answers is not None:
        _print_answers(found.answers)
    if found.siblings is not None:
        print(f"Leakage       {found.siblings.sentence}")
        if found.without_siblings is not None and found.siblings.leaks:
            apart = found.without_siblings.metrics
            print(f"  without     {int(apart.confusion.trace())}/{apart.n_rows} rows of the "
                  f"{counted(apart.n_patients, 'patient')} without other rows in training are correct: "
                  f"{apart.accuracy.text(4)}")  # fmt: skip
            printed["accuracy without other rows in training"] = apart.accuracy
    for reason, names in _reasons(printed).items():
        print(f"NOTE          {', '.join(names)}: {reason}.")
    for note in found.notes:
        print(f"NOTE          {with_flags(note, parser)}")


def _print_answers(answers: "AnswerAnalysis") -> None:
    changed = answers.time_changes[-1]
    print(f"Answers       of {answers.source}; seconds aided / unaided {changed.ratio.text(2)}")
    if answers.advice is None:
        print("Advice        no answer was given with a stage of the model")
    else:
        one = answers.advice.rows[-1]
        print(f"Advice        of {one.n_wrong} wrong ones taken {one.wrong_taken.text(1, percent=True)}, unaided "
              f"{one.wrong_agreed_alone.text(1, percent=True)}; of {one.n_right} right ones ignored "
              f"{one.right_ignored.text(1, percent=True)}")  # fmt: skip
    if answers.deviations is None:
        print("Protocol      not known: there is no deviations.csv beside the answers")
    else:
        number = sum(one["severity"] == "deviation" for one in answers.deviations)
        print(f"Protocol      {counted(number, 'deviation')}, {counted(len(answers.deviations) - number, 'note')}")


def _reasons(printed: "Mapping[str, Estimate]") -> dict[str, list[str]]:
    """Map each reason why an estimate is not defined, or has no interval, to the names of these estimates."""
    reasons: dict[str, list[str]] = {}
    for name, one in printed.items():
        if one.low is None:
            kind = "not defined" if one.value is None else "no interval"
            reasons.setdefault(kind + one.method.partition(kind)[2], []).append(name)
    return reasons


def _print_cohorts(cohorts: "Cohorts") -> None:
    print(f"Cohorts       {cohorts.column}")
    for part in cohorts.parts:
        m, areas = part.performance.metrics, part.performance.areas
        area = "" if areas is None else f", macro AUC {areas.macro.text()}"
        print(f"  {part.name}: {counted(m.n_rows, 'row')} of {counted(m.n_patients, 'patient')}, accuracy "
              f"{m.accuracy.text()}{area}")  # fmt: skip
    tested = [one for one in cohorts.heterogeneity if one.p_holm is not None]
    if tested:
        differ = [f"{one.measure} (p {one.p_holm:.3g})" for one in tested if (one.p_holm or 0) < 0.05]
        print(f"  {', '.join(differ) or 'no measure'} of {len(tested)} tested differs between cohorts (p < 0.05, Holm)")


__all__ = ["add_to", "print_summary"]
