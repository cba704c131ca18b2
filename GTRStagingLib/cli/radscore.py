"""Add the commands `gtrstaging radscore fit | apply`.

Exit code of apply: 0 all cases have a score, 1 some have none.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.cli.arguments import Commands, add_features, given_features, out_folder, print_notes
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.counts import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from GTRStagingLib.radscore.fit import CohortFit
    from GTRStagingLib.radscore.inputs import CaseFeatures, Excluded

RULES = ("min", "1se")
SIDES = ("train", "validation")
"""Repeated here, so that `--help` imports no large package; a test compares the rules with the library's."""

SHOWN = 3
"""Number of printed cases without a score for each reason."""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands to those of `gtrstaging`."""
    actions = commands.add_parser(
        "radscore", help="fit a Rad-score on the features of staged cases, and apply it"
    ).add_subparsers(required=True, metavar="ACTION")
    fit = actions.add_parser("fit", help="fit a LASSO of the stage on the network's features",
                             description=f"Fit a Rad-score: LASSO of the T stage on a network's penultimate features, "
                             f"cross-validated by patient. {RESEARCH_USE_ONLY}")  # fmt: skip
    fit.set_defaults(run=_fit)
    fit.add_argument("cohort", type=Path, metavar="COHORT",
                     help="CSV, XLSX or Parquet with case_id, patient_id, stage, and optionally split")  # fmt: skip
    add_features(fit, "output folder of a batch")
    fit.add_argument("--out", type=Path, required=True, metavar="JSON", help="file of the Rad-score; its scores and "
                     "figures are written beside it")  # fmt: skip
    fit.add_argument("--split", choices=SIDES, action="append",
                     help="fit on this split; may be repeated (default: train if the table has splits, else all); the "
                     "split test is never used")  # fmt: skip
    fit.add_argument(
        "--folds", type=int, default=10, metavar="K", help="number of folds by patient (default: %(default)s)"
    )
    fit.add_argument("--rule", choices=RULES, default="min", help="penalty with the least cross-validated error (min), "
                     "or the largest within one standard error of it (default: %(default)s)")  # fmt: skip
    fit.add_argument("--seed", type=int, default=0, help="seed; equal seeds give the same folds (default: %(default)s)")
    fit.add_argument("--name", help="name of the Rad-score (default: the name of the file)")
    fit.add_argument(
        "--figures", type=out_folder, metavar="DIR", help="folder for the figures (default: beside the Rad-score)"
    )
    fit.add_argument("--allow-leakage", action="store_true", help="fit although a patient is in two splits; the "
                     "Rad-score then contains a warning")  # fmt: skip
    apply = actions.add_parser(
        "apply",
        help="score staged cases",
        description=f"Score staged cases. Exit code 1: some cases have no score. {RESEARCH_USE_ONLY}",
    )
    apply.set_defaults(run=_apply)
    apply.add_argument("radscore", type=Path, metavar="RADSCORE", help="file written by fit")
    add_features(apply, "output folder of a batch, or one result.json", metavar="DIR|FILE")
    apply.add_argument("--out", type=Path, required=True, metavar="TABLE",
                       help="case_id, radscore (standardised), radscore_raw, error; CSV or Parquet")  # fmt: skip


def _fit(options: argparse.Namespace) -> None:
    from GTRStagingLib.errors import InputError
    from GTRStagingLib.radscore.figures import write_figures
    from GTRStagingLib.radscore.fit import fit_cohort
    from GTRStagingLib.radscore.inputs import read_rows
    from GTRStagingLib.radscore.radscore import save
    from GTRStagingLib.tables.table_files import write_table

    out: Path = options.out
    if out.suffix.lower() != ".json":
        raise InputError(f"--out {out}: expected a name that ends in .json.")
    rows = read_rows(options.cohort)
    features = given_features(options, [row.case_id for row in rows])
    print_notes((*rows.notes, *features.notes), options)
    fitted = fit_cohort(
        rows,
        features,
        splits=options.split,
        allow_leakage=options.allow_leakage,
        name=options.name or out.stem,
        folds=options.folds,
        rule=options.rule,
        seed=options.seed,
    )
    table = out.with_name(f"{out.stem}-scores.csv")
    drawn = write_figures(fitted.fit, options.figures or out.parent, out.stem)
    write_table(table, fitted.table())
    save(fitted.fit.radscore, out)  # last, so that the file implies the others
    _print_fit(fitted, len(rows))
    written = (out, table, *(path for path in drawn if path.suffix == ".png"))
    print(f"Written: {', '.join(map(str, written))} (and SVG).")
    print(RESEARCH_USE_ONLY)


def _print_fit(fitted: "CohortFit", rows: int) -> None:
    from GTRStagingLib.stats.estimates import Estimate

    radscore, record = fitted.fit.radscore, fitted.fit.radscore.record
    outside, inside = record["out_of_fold"], record["in_sample"]
    estimates = [Estimate(**outside[name]) for name in ("spearman", "r2")]
    rho, r2 = (one.text(2) for one in estimates)
    intervals = "; 95 % intervals" * any(one.low is not None for one in estimates)
    print(f"Rad-score {radscore.name!r}: {len(radscore.names)} of {radscore.n_features} features, penalty "
          f"{radscore.penalty:.4g} (rule {record['rule']}, {record['folds']['number']} folds by patient, seed "
          f"{record['folds']['seed']}).")  # fmt: skip
    side = "all rows, no split" if record["split"] is None else f"split {' and '.join(record['split'])}"
    print(f"{counted(rows, 'row')}: {record['cases']} used for the fit ({counted(record['patients'], 'patient')}), "
          f"{record['only_applied']} only scored, {len(fitted.excluded)} excluded. Fitted on: {side}.")  # fmt: skip
    _print_excluded(fitted.excluded)
    print(f"Out of fold (nested cross-validation), with the stage: Spearman {rho}, R² {r2}{intervals}.")
    if empty := outside["features_by_fold"].count(0):
        print(f"In {empty} of {record['folds']['number']} folds no feature was selected; their rows have the mean "
              "stage of the others as score.")  # fmt: skip
    print(f"In the rows of the fit: Spearman {inside['spearman']:.2f}, R² {inside['r2']:.2f}. These are optimistic; do "
          "not report them as performance.")  # fmt: skip
    print("For a nomogram, use the column 'radscore' of the scores; in the rows of the fit, it is out of fold.")
    for warning in radscore.warnings:
        print(f"WARNING: {warning}")


def _print_excluded(excluded: "Mapping[str, Excluded]") -> None:
    from GTRStagingLib.radscore.inputs import counted

    for reason, count in counted(excluded.values()).items():
        cases = [case_id for case_id, why in excluded.items() if why.reason == reason]
        more = f" and {count - SHOWN} more" if count > SHOWN else ""
        print(f"  {count} × {reason}: {', '.join(cases[:SHOWN])}{more}")


def _apply(options: argparse.Namespace) -> int:
    from GTRStagingLib.radscore.inputs import scores
    from GTRStagingLib.radscore.radscore import read
    from GTRStagingLib.tables.table_files import write_table

    radscore = read(options.radscore)
    features = given_features(options)
    standardised, raw = scores(radscore, features)
    print_notes(features.notes, options)
    missing = features.excluded
    blank: list[float | None] = [None] * len(missing)
    write_table(
        options.out,
        {
            "case_id": [*features.case_ids, *missing],
            "radscore": [*standardised.tolist(), *blank],
            "radscore_raw": [*raw.tolist(), *blank],
            "error": [*([None] * len(features.case_ids)), *(" ".join(str(why).split()) for why in missing.values())],
        },
    )
    print(f"{counted(len(features.case_ids) + len(missing), 'case')}: {len(features.case_ids)} scored by "
          f"{radscore.name!r}, {len(missing)} without a score.")  # fmt: skip
    _print_excluded(missing)
    in_sample = _in_sample(radscore.in_sample(standardised))
    for warning in dict.fromkeys((*radscore.warnings, *in_sample, *_unknown_model(features))):
        print(f"WARNING: {warning}", file=sys.stderr)
    print(f"Written: {options.out}")
    print(RESEARCH_USE_ONLY)
    return 1 if missing else 0


def _in_sample(count: int) -> tuple[str, ...]:
    """Return a warning for a number of in-sample scores."""
    if not count:
        return ()
    return (f"{count} scores are of cases that the Rad-score was fitted on: in-sample scores follow the stage without "
            "any signal. Fit a nomogram on the scores that the fit wrote instead.",)  # fmt: skip


def _unknown_model(features: "CaseFeatures") -> tuple[str, ...]:
    """Return a warning for features without the hash of their model."""
    if features.model_sha256 is not None:
        return ()
    return ("The table does not name the model of its features; make sure that it is the model of the Rad-score.",)


__all__ = ["add_to"]
