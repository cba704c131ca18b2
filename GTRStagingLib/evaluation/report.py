"""Write an evaluation: metrics.json, a self-contained HTML report, figures (PNG, SVG) and tables (CSV)."""

import base64
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GTRStagingLib.errors import StagingError, without_backticks
from GTRStagingLib.evaluation import (
    answer_tables,
    checklists,
    nomogram_tables,
    reader_tables,
    report_tables,
    set_tables,
)
from GTRStagingLib.evaluation.checklist_facts import WHERE, facts
from GTRStagingLib.evaluation.evaluate import Evaluation
from GTRStagingLib.evaluation.figures import figures, file_name
from GTRStagingLib.evaluation.gallery import GALLERY, Errors, WrongAdviceCases, gallery_page, missing_overlays
from GTRStagingLib.evaluation.manuscript import MANUSCRIPT, manuscript_docx
from GTRStagingLib.evaluation.report_tables import PrintedTable
from GTRStagingLib.evaluation.tables import tables
from GTRStagingLib.nomogram import page
from GTRStagingLib.nomogram.nomogram import Nomogram
from GTRStagingLib.radscore.radscore import RadScore
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support import pages
from GTRStagingLib.support.figures import DPI, figure_bytes
from GTRStagingLib.support.files import parse_json, replace_files
from GTRStagingLib.tables.cells import guarded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS, REPORT = "metrics.json", "report.html"
REM_PER_INCH = 9.0
"""Width of a figure in the page, in units of its font: 1.5 times that in print for which it is drawn."""
WIDE_REM = 40.0
"""Width of a figure above which a phone scrolls it, since its text would be too small to read."""

RADSCORE_WORDS = "The Rad-score's largest coefficients, per standard deviation of each feature."


def write_evaluation(
    found: Evaluation,
    out: Path,
    *,
    nomogram: Nomogram | None = None,
    radscore: RadScore | None = None,
    gallery: Sequence[Errors] | None = None,
    advised: WrongAdviceCases | None = None,
    manuscript: bool = False,
) -> dict[str, Path]:
    """Write an evaluation into a folder; `metrics.json`, which lists all files, is written last.

    Parameters
    ----------
    out
        Output folder, made if it does not exist. Files of an earlier evaluation are replaced or removed.
    nomogram, radscore
        Shown in the report if given.
    gallery
        Misclassified cases with their overlays (`gallery.misclassified`); without them there is no gallery.
    advised
        Cases with wrong advice in a reader study (`gallery.wrong_advice_cases`), for the gallery.
    manuscript
        Also write the numbered tables and the figures as a Word document.

    Returns
    -------
    File name -> path.

    Raises
    ------
    InputError
        If matplotlib, jinja2 or python-docx is not installed.
    StagingError
        If the folder cannot be written to.
    """
    drawn = _drawn(found, nomogram, radscore)
    contents: dict[str, bytes] = {}
    svgs: dict[str, tuple[bytes, str, float]] = {}
    for name, (figure, words) in drawn.items():
        contents[f"{name}.png"] = figure_bytes(figure, "png", dpi=DPI)
        contents[f"{name}.svg"] = figure_bytes(figure, "svg")
        svgs[name] = contents[f"{name}.svg"], words, REM_PER_INCH * figure.get_figwidth()
    known = facts(found, nomogram, radscore)
    where = {**WHERE} | ({} if found.study is None else {"comparison": "Reader study", "tests": "Reader study"})
    lists = checklists.checklists_for(reader_study=found.study is not None)
    filled = {name: checklists.fill(name, known, where) for name in lists}
    named = tables(found) | {name: checklists.rows(answered) for name, answered in filled.items()}
    shown = _tables(found, nomogram)
    if (terms := shown["nomogram_terms"]) is not None:
        named["table3"] = [dict(zip(("term", *terms.head[1:]), line, strict=True)) for line in terms.lines]
    contents |= {f"{name}.csv": _csv(rows) for name, rows in named.items()}
    alarms = _alarms(found, nomogram, radscore)
    if gallery is not None:
        contents[GALLERY] = gallery_page(found, gallery, alarms, advised).encode()
    if manuscript:
        pictures = [(contents[f"{name}.png"], words) for name, (_, words) in drawn.items()]
        contents[MANUSCRIPT] = manuscript_docx(_numbered(shown), pictures, alarms)
    about_radscore = None if radscore is None else known["radscore"]
    contents[REPORT] = _html(found, svgs, filled, alarms, gallery, advised, shown, nomogram, about_radscore).encode()
    record = {**found.to_json(), "files": [*contents, METRICS]}
    contents[METRICS] = (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()
    try:
        older = _files_of(out / METRICS) - set(contents)
        with replace_files(out, list(contents)) as work:
            for name, content in contents.items():
                (work / name).write_bytes(content)
        for name in older:
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise StagingError(
            f"The evaluation cannot be written to {out}: {error.strerror or error}; expected a writable folder. Choose "
            "another `out`. No partial file was left."
        ) from error
    return {name: out / name for name in contents}


def _files_of(metrics: Path) -> set[str]:
    """Return the files that an earlier evaluation lists, but no name that leads out of the folder."""
    try:
        listed = parse_json(metrics.read_bytes())["files"]
        return {name for name in listed if isinstance(name, str) and Path(name).name == name}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _drawn(found: Evaluation, nomogram: Nomogram | None, radscore: RadScore | None) -> "dict[str, tuple[Figure, str]]":
    drawn = figures(found)
    if radscore is not None:
        from GTRStagingLib.radscore import figures as radscore_figures

        drawn["radscore_coefficients"] = radscore_figures.coefficients_figure(radscore), RADSCORE_WORDS
    if nomogram is not None:
        from GTRStagingLib.nomogram import drawing

        drawn["nomogram"] = drawing.figure(nomogram), f"Nomogram {nomogram.name}: scales of points."
    return drawn


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    table.writerow({name: guarded(name) for name in (rows[0] if rows else ())})
    table.writerows({n: guarded(v) if isinstance(v, str) else v for n, v in row.items()} for row in rows)
    return text.getvalue().encode()


# -- the page ------------------------------------------------------------------------------------------------------


def _html(
    found: Evaluation,
    svgs: Mapping[str, tuple[bytes, str, float]],
    filled: Mapping[str, tuple[checklists.Answered, ...]],
    alarms: Sequence[pages.Alarm],
    gallery: Sequence[Errors] | None,
    advised: WrongAdviceCases | None,
    shown: Mapping[str, PrintedTable | None],
    nomogram: Nomogram | None,
    radscore_words: str | None,
) -> str:
    metrics = found.performance.metrics
    script = None if nomogram is None else page.script()
    return pages.template("evaluation.html.j2").render(
        found=found,
        m=metrics,
        areas=found.performance.areas,
        wrong=metrics.n_rows - int(metrics.confusion.trace()),
        research_use_only=RESEARCH_USE_ONLY,
        time=pages.moment(found.provenance["utc"]),
        policy=pages.policy(*([] if script is None else [script])),
        script=script,
        alarms=alarms,
        provenance=list(_provenance(found)),
        leak_sentence=_leak_sentence(found),
        t=shown,
        groups=[(column, file_name(column), one) for column, one in report_tables.groups(found)],
        cohorts=found.cohorts,
        figures={
            name: {
                "svg": base64.b64encode(svg).decode("ascii"),
                "words": words,
                "width": f"{width:.1f}",
                "wide": width > WIDE_REM,
            }
            for name, (svg, words, width) in svgs.items()
        },
        checklists=list(_checklists(filled)),
        errors=None if gallery is None else sum(one.number for one in gallery),
        no_overlay=None if gallery is None else missing_overlays(gallery, advised),
        advised=None if gallery is None or advised is None else advised.number,
        gallery=GALLERY,
        nomogram=nomogram,
        nomogram_style=None if nomogram is None else page.style(),
        nomogram_fragment=None if nomogram is None else page.fragment(nomogram, with_effects=False),
        radscore_words=radscore_words,
        calibrated=found.calibration is not None,
        undefined_tests=[] if found.calibration is None else report_tables.undefined_tests(found.calibration),
        hosmer_lemeshow=report_tables.HOSMER_LEMESHOW,
        definitions=found.decisions.definitions,
        answers=answer_tables.printed(found.answers),
        answer_words=answer_tables.words(found.answers),
        **reader_tables.shown(found.study, found.comparison),
    )


def _tables(found: Evaluation, nomogram: Nomogram | None) -> dict[str, PrintedTable | None]:
    """Return the tables of the page; those that the evaluation does not allow are None."""
    cohorts, calibrated, attention = found.cohorts, found.calibration, found.attention
    return {
        "flow": report_tables.flow(found),
        "siblings": report_tables.siblings(found),
        "patients_by_cohort": None if cohorts is None else report_tables.patients_by_cohort(cohorts),
        "patients_by_stage": report_tables.patients_by_stage(found),
        "by_cohort": report_tables.by_cohort(found),
        "stages_by_cohort": None if cohorts is None else report_tables.stages_by_cohort(cohorts),
        "heterogeneity": None if cohorts is None else report_tables.heterogeneity(cohorts),
        "overall": report_tables.overall(found.performance),
        "by_stage": report_tables.by_stage(found.performance),
        "early": report_tables.early(found),
        "stage_sets": set_tables.stage_sets(found),
        "risk_coverage": set_tables.risk_coverage(found),
        "slice_stability": set_tables.slice_stability(found),
        "calibration": None if calibrated is None else report_tables.calibration(calibrated),
        "calibration_by_cohort": report_tables.calibration_by_cohort(found),
        "joint_tests": None if calibrated is None else report_tables.joint_tests(calibrated),
        "temperature": None if calibrated is None else report_tables.temperature(calibrated),
        "treatment": report_tables.treatment(found),
        "treatment_by_cohort": report_tables.treatment_by_cohort(found),
        "attention": None if attention is None else report_tables.attention(attention),
        "dice_by_cohort": report_tables.dice_by_cohort(found),
        "against": None if attention is None else report_tables.against_baselines(attention),
        "scanners": report_tables.scanners(found),
        "supplementary": None if found.study is None else answer_tables.supplementary_table(found.study),
        "nomogram_terms": None if nomogram is None else nomogram_tables.terms(nomogram),
        "nomogram_tests": None if nomogram is None else nomogram_tables.tests(nomogram),
        "nomogram_validation": None if nomogram is None else nomogram_tables.validation(nomogram),
    }


def _numbered(shown: Mapping[str, PrintedTable | None]) -> list[tuple[str, PrintedTable]]:
    """Return the tables of a manuscript with their titles, in the order of the article."""
    titles = {
        "patients_by_cohort": "Table 1. Patients by cohort",
        "patients_by_stage": "Table 1 by stage. Patients by stage",
        "by_cohort": "Table 2. Performance",
        "stages_by_cohort": "Table 2 with intervals. Performance by cohort and stage",
        "nomogram_terms": "Table 3. Nomogram",
        "scanners": "Table 4. CT acquisition",
        "supplementary": "Supplementary Table 1. Readers without and with the model",
    }
    return [(title, table) for name, title in titles.items() if (table := shown[name]) is not None]


def _alarms(found: Evaluation, nomogram: Nomogram | None, radscore: RadScore | None) -> tuple[pages.Alarm, ...]:
    """Return the alarms of every page of an evaluation: on its model, its rows, its nomogram and its Rad-score."""
    own: tuple[pages.Alarm, ...] = ()
    if found.siblings is not None and found.siblings.leaks:
        own = (pages.Alarm("TRAINING DATA IN THE EVALUATION", found.siblings.sentence),)
    notes = [without_backticks(note) for note in found.notes]
    of_nomogram = () if nomogram is None else page.warnings_of(nomogram)
    return (
        *own,
        *pages.alarms(found.model_warning, *notes, *of_nomogram, *(() if radscore is None else radscore.warnings)),
    )


def _provenance(found: Evaluation) -> Iterator[tuple[str, str]]:
    of, columns = found.provenance, found.provenance["columns"]
    yield "Software", f"{of['software']}, Python {of['python']}"
    yield "Packages", ", ".join(f"{name} {version or '(not installed)'}" for name, version in of["packages"].items())
    yield "Table", f"{of['input']}, sha256 {of['input_sha256']}"
    yield "True stage", f"column {columns['truth']}"
    predicted = columns["predicted"]
    yield "Predicted stage", predicted if predicted.startswith("the ") else f"column {predicted}"
    four = columns["probabilities"]
    yield "Probabilities", "none" if four is None else f"columns {', '.join(four)}"
    yield "Patients", columns["patient"] or "not identified: every row counts as one"
    roles = ("case", "centre", "split")
    yield "Case, centre, split", ", ".join(f"{role}: {columns[role] or 'no column'}" for role in roles)
    yield (
        "Intervals",
        (
            "95 %; Wilson for proportions, DeLong on the logit scale for areas, jackknife over patients for the rest"
            + ("; clustered by patient, since patients have several rows" if found.predictions.clustered else "")
        ),
    )
    yield "Seed", str(of["seed"])


def _leak_sentence(found: Evaluation) -> str:
    if found.siblings is not None:
        return found.siblings.sentence
    return "No training table was given, so overlap with the training data was not checked."


def _checklists(filled: Mapping[str, tuple[checklists.Answered, ...]]) -> Iterator[dict[str, Any]]:
    for name, answered in filled.items():
        list_ = checklists.checklist(name)
        counts = checklists.counts(answered)
        yield {
            "title": list_.title,
            "citation": f"{list_.citation} doi:{list_.doi}.",
            "counts": f"Items answered: {counts.answered}, in part: {counts.in_part}, open: {counts.open}.",
            "scope": list_.scope,
            "lines": answered,
        }


__all__ = ["METRICS", "REPORT", "write_evaluation"]
