"""Add the commands `gtrstaging nomogram fit | predict | draw | show | list`."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GTRStagingLib.cli.arguments import Commands, add_features, given_features, print_notes
from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.support.counts import counted

if TYPE_CHECKING:
    from GTRStagingLib.nomogram.effects import Effect
    from GTRStagingLib.nomogram.nomogram import Nomogram, Reading
    from GTRStagingLib.nomogram.radscores import RadScoreChain
    from GTRStagingLib.radscore.radscore import RadScore
    from GTRStagingLib.tables.table_files import Table

NOMOGRAM = "name of a nomogram, or its file"

SHOWN = 5
"""Number of printed rows without a result, and of printed warnings of rows."""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands to those of `gtrstaging`."""
    actions = commands.add_parser("nomogram", help="fit, use, draw and show nomograms").add_subparsers(
        required=True, metavar="ACTION"
    )
    _add_fit(actions)
    predict = actions.add_parser(
        "predict",
        help="predict the stage of one patient, or of the patients of a table",
        description="Predict the probabilities of T1 to T4 with a nomogram. They do not replace the network's stage. "
        + RESEARCH_USE_ONLY,
    )
    predict.set_defaults(run=_predict)
    predict.add_argument("nomogram", metavar="NAME|FILE", help=NOMOGRAM)
    predict.add_argument("--set", type=_pair, nargs="+", action="extend", metavar="TERM=VALUE",
                         help="value of each term, as in lauren=diffuse; 'reference' leaves a term out")  # fmt: skip
    predict.add_argument("--json", action="store_true", help="print only the result, as JSON")
    predict.add_argument("--table", type=Path, metavar="FILE", help="table with a column for each term that --set does "
                         "not give; requires --out")  # fmt: skip
    predict.add_argument(
        "--out", type=Path, metavar="FILE", help="copy of the table with nomogram_T1..T4, nomogram_stage"
    )
    draw = actions.add_parser(
        "draw",
        help="draw a nomogram, with or without a patient",
        description="Draw the scales of a nomogram as a picture; with --set, also the points of one patient.",
    )
    draw.set_defaults(run=_draw)
    draw.add_argument("nomogram", metavar="NAME|FILE", help=NOMOGRAM)
    draw.add_argument("--out", type=Path, required=True, metavar="FILE", help=".png, .svg or .pdf")
    draw.add_argument("--set", type=_pair, nargs="+", action="extend", metavar="TERM=VALUE",
                      help="value of each term of the patient to mark")  # fmt: skip
    show = actions.add_parser(
        "show",
        help="print the terms and the fit of a nomogram",
        description="Print the terms of a nomogram with coefficients and odds ratios, and the record of its fit.",
    )
    show.set_defaults(run=_show)
    show.add_argument("nomogram", metavar="NAME|FILE", help=NOMOGRAM)
    show.add_argument("--json", action="store_true", help="print only the content of the nomogram's file")
    actions.add_parser(
        "list",
        help="list the available nomograms",
        description="List the nomograms that can be given by name, with their sources.",
    ).set_defaults(run=_list)


def _add_fit(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    fit = actions.add_parser(
        "fit",
        help="fit a nomogram to a table of patients",
        description="Fit a proportional-odds model, test its assumptions, and validate it by the bootstrap. "
        + RESEARCH_USE_ONLY,
    )
    fit.set_defaults(run=_fit)
    fit.add_argument("table", type=Path, help="CSV, XLSX or Parquet: stage (T1..T4), patient_id and the predictors")
    fit.add_argument(
        "--on", nargs="+", required=True, metavar="COLUMN", help="predictors: columns of numbers, or of a few levels"
    )
    fit.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="file of the nomogram")
    fit.add_argument("--name", help="name of the nomogram (default: the name of the file)")
    for option, text in (
        ("--reference", "reference level of a predictor of texts (default: the most frequent)"),
        ("--label", "displayed name of a predictor"),
        ("--unit", "unit of a predictor of numbers"),
    ):
        fit.add_argument(option, type=_pair, nargs="+", action="extend", default=[], metavar="COLUMN=TEXT", help=text)
    fit.add_argument("--split", metavar="NAME", action="append",
                     help="fit on this split; may be repeated (default: train if the table has splits, else all); the "
                     "split test is never used")  # fmt: skip
    fit.add_argument("--allow-leakage", action="store_true", help="fit although a patient is in two splits; the "
                     "nomogram then contains a warning")  # fmt: skip
    fit.add_argument("--radscore", type=Path, metavar="FILE", help="fitted Rad-score of the column radscore")
    add_features(fit, "output folder of a batch with the features of the Rad-score, which is then fitted again in each "
                 "bootstrap sample", required=False)  # fmt: skip
    fit.add_argument("--resamples", type=_count, help="number of bootstrap samples (default: 200; 50 with features, "
                     "which take seconds each)")  # fmt: skip
    fit.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: %(default)s)")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name.strip() and equals and value.strip()):
        raise argparse.ArgumentTypeError(f"{text!r}; expected NAME=VALUE, as in lauren=diffuse")
    return name.strip(), value.strip()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number, 1 or more")
    return int(text)


def _once(pairs: Sequence[tuple[str, str]], option: str) -> dict[str, str]:
    twice = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]
    if twice:
        raise InputError(f"{option} contains {', '.join(twice)} twice; expected each once.")
    return dict(pairs)


# -- fit -----------------------------------------------------------------------------------------------------------


def _fit(options: argparse.Namespace) -> None:
    from GTRStagingLib.nomogram.fit import Wording, fit_nomogram
    from GTRStagingLib.nomogram.nomogram import save
    from GTRStagingLib.radscore import radscore
    from GTRStagingLib.tables.case_table import read_case_table, split_notes

    if options.out.suffix.lower() != ".json":
        raise InputError(f"--out {options.out}; expected a name that ends in .json.")
    references, labels, units = (
        _once(getattr(options, option), f"--{option}") for option in ("reference", "label", "unit")
    )
    wordings = {
        name: Wording(labels.get(name), units.get(name, ""), references.get(name))
        for name in {**references, **labels, **units}
    }
    table = read_case_table(options.table, ("stage",), may_be_empty=("stage",), own=options.on)
    nowhere = sum(row["split"] is None for row in table.rows) if "split" in table.columns else 0
    print_notes([*table.notes, *split_notes(nowhere, len(table.rows))], options)
    score = None if options.radscore is None else radscore.read(options.radscore)
    fitted = fit_nomogram(
        table,
        options.on,
        name=options.name or options.out.stem,
        wordings=wordings,
        splits=options.split,
        allow_leakage=options.allow_leakage,
        radscore=None if score is None else score.to_json(),
        features=_chain(options, table, score),
        seed=options.seed,
        resamples=options.resamples,
    )
    save(fitted, options.out)
    _print_nomogram(fitted)
    if score is None and fitted.record["scores_of_unknown_origin"]:
        print("Give the file of a Rad-score, as in --radscore radscore.json, with its scores in the column radscore.")
    print(f"Written: {options.out}. Use it: gtrstaging nomogram predict {options.out} --set ...")
    print(RESEARCH_USE_ONLY)


def _chain(options: argparse.Namespace, table: "Table", score: "RadScore | None") -> "RadScoreChain | None":
    """Return the features of the Rad-score with the settings of its fit; None if no features are given."""
    from GTRStagingLib.nomogram.radscores import RadScoreChain

    if options.results is None and options.features is None:
        return None
    if score is None:
        raise InputError(
            "Features are given without a Rad-score; expected the Rad-score that was fitted on them, whose folds and "
            "rule are used again. Give `radscore`."
        )
    given = given_features(options, [case_id for row in table.rows if (case_id := row.get("case_id")) is not None])
    score.require_model(given.model_sha256)
    folds = score.record.get("folds", {})
    return RadScoreChain(
        dict(zip(given.case_ids, given.values, strict=True)),
        folds=folds.get("number", 10),
        rule=score.record.get("rule", "min"),
        seed=folds.get("seed", 0),
    )


# -- show ----------------------------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> None:
    from GTRStagingLib.nomogram.nomogram import available, load

    for name, path in available().items():
        try:
            print(f"{name:<20}  {load(path).source}")
        except InputError as error:
            print(f"{name:<20}  DAMAGED: {error}")


def _show(options: argparse.Namespace) -> None:
    from GTRStagingLib.nomogram.nomogram import load

    nomogram = load(options.nomogram)
    if options.json:
        print(json.dumps(nomogram.to_json(), indent=2, allow_nan=False))
        return
    _print_nomogram(nomogram)
    print(RESEARCH_USE_ONLY)


def _print_nomogram(nomogram: "Nomogram") -> None:
    from GTRStagingLib.nomogram.effects import effects

    print(f"{nomogram.name}: {nomogram.source}\n")
    print(f"{'Term':<36}{'coefficient':>12}{'odds ratio':>12}  {'95 % interval':<18}p")
    of_terms = effects(nomogram)
    for term in nomogram.terms:
        name = f"{term.name} ({term.label}{', ' + term.unit if term.unit else ''})"
        own = [one for one in of_terms if one.term == term.name]
        if term.is_choice:
            print(name)
        for one in own:
            words = name if one.level is None else f"  {one.level}{'  (reference)' * one.is_reference}"
            print(_effect_line(words, one))
    thresholds = ", ".join(f"{theta:.4f}" for theta in nomogram.thresholds)
    print(f"\nThresholds    {thresholds} (log odds of T1, of T2 or lower, of T3 or lower, if the terms sum to 0)")
    if nomogram.record:
        _print_record(nomogram)
    print()
    _print_warnings(nomogram.warnings)


def _effect_line(words: str, one: "Effect") -> str:
    interval = "" if one.is_reference else "none"
    if one.interval is not None:
        interval = f"{one.interval[0]:.3f} to {one.interval[1]:.3f}"
    return f"{words:<36}{one.coefficient:>12.4f}{one.odds_ratio:>12.3f}  {interval:<17} {one.p}".rstrip()


def _print_record(nomogram: "Nomogram") -> None:
    """Print the record of the fit; a record of other software may lack each part."""
    from GTRStagingLib.nomogram.measures import measures

    record, labels = nomogram.record, {term.name: term.label for term in nomogram.terms}
    if rows := record.get("rows"):
        print(f"Rows          {rows['in_table']} in {record['table']}: {rows['used']} used, {rows['incomplete']} "
              f"incomplete, {rows['of_another_split']} of another split")  # fmt: skip
        stages = ", ".join(f"{stage} {count}" for stage, count in record["stages"].items())
        print(f"Patients      {record['patients']}, {record['patients_are']}; rows by stage: {stages}")
        if split := record.get("split"):
            print(f"Split         {' and '.join([split] if isinstance(split, str) else split)}")
    if "covariance" in record:
        print(f"Covariance    {record['covariance']}")
    if ratio := record.get("likelihood_ratio"):
        print(f"Fit           all terms against none: {_test(ratio)}")
    if score := record.get("radscore"):
        print(f"Rad-score     scores {score['scores']}")
    if test := record.get("radscore_test"):
        print(f"{'':<14}with it against without: {_test(test)}")
    if odds := record.get("proportional_odds"):
        print(f"Proportional  odds, all terms: {_test(odds['omnibus'])}")
        for name, test in odds["terms"].items():
            print(f"{'':<14}{labels.get(name, name)}: {_test(test)}")
    if inflation := record.get("variance_inflation"):
        factors = {labels.get(name, name): one.get("gvif_1_df") for name, one in inflation.items()}
        shown = ", ".join(
            f"{one} {'not defined' if value is None else f'{value:.2f}'}" for one, value in factors.items()
        )
        print(f"Inflation     of the variance: {shown} (from 1; generalised factors, to the power of 1 / df)")
    if validation := record.get("validation"):
        print(f"Validation    {validation['method']}")
        for one in measures(nomogram):
            print(f"{'':<14}{one.name}: {one.apparent} on the rows of the fit, {one.corrected} corrected for optimism")
    if (score := record.get("radscore")) and (optimism := score.get("optimism")):
        print(f"{'':<14}{optimism}")


def _test(test: Mapping[str, Any]) -> str:
    if test.get("chi2") is None:
        return str(test["method"])
    p = "p < 0.001" if test["p"] < 0.001 else f"p = {test['p']:.2g}"
    return f"{p} (chi² {test['chi2']:.2f}, df {test['df']}; {test['method']})"


def _print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"WARNING  {warning}")


# -- predict and draw ----------------------------------------------------------------------------------------------


def _predict(options: argparse.Namespace) -> int:
    if options.table is None and options.set is None:
        options.parser.error("expected --set TERM=VALUE ..., or --table FILE")
    if (options.table is None) != (options.out is None) or (options.table is not None and options.json):
        options.parser.error("--table requires --out, without --json")
    from GTRStagingLib.nomogram.nomogram import load

    nomogram = load(options.nomogram)
    values = _values(nomogram, options.set or [])
    if options.table is not None:
        return _predict_table(nomogram, options, values)
    reading = nomogram.read(values)
    if options.json:
        print(json.dumps(reading.to_json(), indent=2, allow_nan=False))
    else:
        _print_reading(nomogram, reading)
    return 0


def _values(nomogram: "Nomogram", pairs: Sequence[tuple[str, str]]) -> dict[str, str | float]:
    return {name: nomogram.term(name).accepted(text) for name, text in _once(pairs, "--set").items()}


def _print_reading(nomogram: "Nomogram", reading: "Reading") -> None:
    print(f"{nomogram.name}: {nomogram.source}\n")
    print(f"{'Factor':<28}{'value':>14}{'points':>9}{'log odds of a higher stage':>29}")
    for term in nomogram.terms:
        value = reading.values[term.name]
        shown = value if isinstance(value, str) else f"{value:g} {term.unit}".strip()
        print(f"{term.label:<28}{shown:>14}{reading.points[term.name]:>9.1f}{reading.contributions[term.name]:>+29.3f}")
    print(f"{'Total':<42}{reading.total_points:>9.1f}")
    print("Log odds are relative to the typical value of a number, and to the reference level of a choice.\n")
    for stage in TStage:
        print(f"P({stage})    {reading.probabilities[stage]:.4f}")
    print(f"\nNomogram's stage  {reading.stage} (does not replace the network's stage)")
    _print_warnings(reading.warnings)
    print(RESEARCH_USE_ONLY)


def _predict_table(nomogram: "Nomogram", options: argparse.Namespace, fixed: Mapping[str, str | float]) -> int:
    """Predict each row and write the table; rows without a result get empty cells, and the exit code 1."""
    from GTRStagingLib.tables.table_files import read_table, write_table

    source, target = options.table, options.out
    table = read_table(source)
    print_notes(table.notes, options)
    added = [*(f"nomogram_{stage}" for stage in TStage), "nomogram_stage"]
    if absent := [t.name for t in nomogram.terms if t.name not in table.columns and t.name not in fixed]:
        raise InputError(
            f"{source.name} has no column {', '.join(absent)}; expected one for each term of {nomogram.name}. Set a "
            f"value for all rows, as in --set {absent[0]}=reference, which leaves the term out."
        )
    if present := [name for name in added if name in table.columns]:
        raise InputError(f"{source.name} already has {', '.join(present)}; expected a table without them. Remove them.")
    readings = [_read_row(nomogram, row, fixed) for row in table.rows]
    columns: dict[str, list[str | float | None]] = {name: [row[name] for row in table.rows] for name in table.columns}
    for stage in TStage:
        columns[f"nomogram_{stage}"] = [None if isinstance(r, str) else r.probabilities[stage] for r in readings]
    columns["nomogram_stage"] = [None if isinstance(r, str) else str(r.stage) for r in readings]
    target.parent.mkdir(parents=True, exist_ok=True)
    write_table(target, columns)
    unread = [(number, r) for number, r in zip(table.numbers, readings, strict=True) if isinstance(r, str)]
    for number, reason in unread[:SHOWN]:
        print(f"row {number}: {reason}")
    if len(unread) > SHOWN:
        print(f"and {len(unread) - SHOWN} more")
    print(
        f"{counted(len(readings), 'row')}: {len(readings) - len(unread)} predicted, {len(unread)} not. "
        f"Written: {target}"
    )
    of_rows = Counter(w for r in readings if not isinstance(r, str) for w in r.warnings if w not in nomogram.warnings)
    _print_warnings([*nomogram.warnings, *(f"{w} ({counted(n, 'row')})" for w, n in of_rows.most_common(SHOWN))])
    if len(of_rows) > SHOWN:
        print(f"WARNING  {len(of_rows) - SHOWN} more warnings about rows.")
    print(RESEARCH_USE_ONLY)
    return 1 if unread else 0


def _read_row(nomogram: "Nomogram", row: Mapping[str, str | None], fixed: Mapping[str, str | float]) -> "Reading | str":
    """Return the result of a row, or why it has none."""
    values = dict(fixed)
    for term in nomogram.terms:
        if term.name not in fixed:
            text = row[term.name]
            if text is None:
                return f"{term.name}: no value"
            values[term.name] = text
    try:
        return nomogram.read(values)
    except InputError as error:
        return str(error)


def _draw(options: argparse.Namespace) -> None:
    from GTRStagingLib.nomogram.drawing import draw
    from GTRStagingLib.nomogram.nomogram import load

    nomogram = load(options.nomogram)
    reading = None if options.set is None else nomogram.read(_values(nomogram, options.set))
    draw(nomogram, options.out, reading=reading)
    print(f"Written: {options.out}")
    _print_warnings(nomogram.warnings if reading is None else reading.warnings)
    print(RESEARCH_USE_ONLY)
