"""Write an evaluation: metrics.json, a self-contained HTML report, figures (PNG, SVG) and tables (CSV)."""

import base64
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GTRStagingLib.errors import StagingError
from GTRStagingLib.evaluation import checklists
from GTRStagingLib.evaluation.checklist_facts import WHERE, facts
from GTRStagingLib.evaluation.evaluate import BASELINE_NAMES, Evaluation
from GTRStagingLib.evaluation.figures import figures, file_name
from GTRStagingLib.evaluation.performance import Performance
from GTRStagingLib.evaluation.tables import tables
from GTRStagingLib.nomogram import page
from GTRStagingLib.nomogram.effects import effects
from GTRStagingLib.nomogram.nomogram import Nomogram
from GTRStagingLib.radscore.radscore import RadScore
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.stats.estimates import Estimate
from GTRStagingLib.support import pages
from GTRStagingLib.support.figures import DPI, figure_bytes
from GTRStagingLib.support.files import parse_json, replace_files
from GTRStagingLib.tables.cells import guarded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS, REPORT = "metrics.json", "report.html"
RADSCORE_WORDS = "The Rad-score's largest coefficients, per standard deviation of each feature."
Line = tuple[str, ...]


def write_evaluation(
    found: Evaluation, out: Path, *, nomogram: Nomogram | None = None, radscore: RadScore | None = None
) -> dict[str, Path]:
    """Write an evaluation into a folder; `metrics.json`, which lists all files, is written last.

    Parameters
    ----------
    out
        Output folder, made if it does not exist. Files of an earlier evaluation are replaced or removed.
    nomogram, radscore
        Shown in the report if given.

    Returns
    -------
    File name -> path.

    Raises
    ------
    InputError
        If matplotlib or jinja2 is not installed.
    StagingError
        If the folder cannot be written to.
    """
    drawn = _drawn(found, nomogram, radscore)
    contents: dict[str, bytes] = {}
    svgs: dict[str, tuple[bytes, str]] = {}
    for name, (figure, words) in drawn.items():
        contents[f"{name}.png"] = figure_bytes(figure, "png", dpi=DPI)
        contents[f"{name}.svg"] = figure_bytes(figure, "svg")
        svgs[name] = contents[f"{name}.svg"], words
    known = facts(found, nomogram, radscore)
    filled = {name: checklists.fill(name, known, WHERE) for name in checklists.CHECKLISTS}
    named = tables(found) | {name: checklists.rows(answered) for name, answered in filled.items()}
    contents |= {f"{name}.csv": _csv(rows) for name, rows in named.items()}
    contents[REPORT] = _html(found, svgs, filled, nomogram, None if radscore is None else known["radscore"]).encode()
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
    svgs: Mapping[str, tuple[bytes, str]],
    filled: Mapping[str, tuple[checklists.Answered, ...]],
    nomogram: Nomogram | None,
    radscore_words: str | None,
) -> str:
    metrics, areas = found.performance.metrics, found.performance.areas
    script = None if nomogram is None else page.script()
    return pages.template("evaluation.html.j2").render(
        found=found,
        m=metrics,
        areas=areas,
        wrong=metrics.n_rows - int(metrics.confusion.trace()),
        research_use_only=RESEARCH_USE_ONLY,
        time=found.provenance["utc"].replace("T", " ").replace("+00:00", " UTC"),
        policy=pages.policy(*([] if script is None else [script])),
        script=script,
        alarms=_alarms(found),
        provenance=list(_provenance(found)),
        flow=list(_flow(found)),
        leak_sentence=_leak_sentence(found),
        siblings=list(_siblings(found)),
        description=[(line.variable, line.level, *line.cells) for line in found.description],
        overall=list(_overall(found.performance)),
        per_class=list(_per_class(found.performance)),
        groups=[(c, [_group(name, one) for name, one in levels.items()]) for c, levels in found.groups.items()],
        figures={name: {"svg": base64.b64encode(svg).decode("ascii"), "words": w} for name, (svg, w) in svgs.items()},
        file_name=file_name,
        checklists=list(_checklists(filled)),
        nomogram=nomogram,
        nomogram_style=None if nomogram is None else page.style(),
        nomogram_fragment=None if nomogram is None else page.fragment(nomogram, with_effects=False),
        nomogram_terms=[] if nomogram is None else list(_terms(nomogram)),
        radscore_words=radscore_words,
        **_calibration(found),
        definitions=found.decisions.definitions,
        treatment=list(_treatment(found)),
        **_readers(found),
        **_attention(found),
    )


def _alarms(found: Evaluation) -> list[dict[str, str]]:
    alarms = []
    if found.siblings is not None and found.siblings.leaks:
        alarms.append({"title": "TRAINING DATA IN THE EVALUATION", "text": found.siblings.sentence})
    return alarms


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
            "95 %; Wilson for proportions, DeLong on the logit scale for areas, patient bootstrap "
            f"({of['resamples']:,} resamples) for the rest"
            + ("; clustered by patient, since patients have several rows" if found.predictions.clustered else "")
        ),
    )
    yield "Seed", str(of["seed"])


def _flow(found: Evaluation) -> Iterator[Line]:
    flow, metrics = found.predictions.flow, found.performance.metrics
    yield "rows read", f"{flow.read:,}"
    for reason, n in flow.excluded.items():
        yield f"left out: {reason}", f"−{n:,}"
    yield "rows evaluated", f"{flow.used:,}"
    for stage, n in zip(TStage, metrics.confusion.sum(axis=1).tolist(), strict=True):
        yield f"of them {stage}", f"{n:,}"
    yield "patients evaluated", f"{metrics.n_patients:,}"


def _leak_sentence(found: Evaluation) -> str:
    if found.siblings is not None:
        return found.siblings.sentence
    return "No training table was given, so overlap with the training data was not checked."


def _siblings(found: Evaluation) -> Iterator[Line]:
    if found.siblings is None or not found.siblings.leaks:
        return
    for name, part in (("patients with other rows in training", found.with_siblings),
                       ("patients without", found.without_siblings),
                       ("neither rows nor patients in training", found.unseen),
                       ("all", found.performance)):  # fmt: skip
        if part is None:
            yield name, "0", "0", "–", "–", "–"
            continue
        m = part.metrics
        yield (name, f"{m.n_rows:,}", f"{m.n_patients:,}", f"{int(m.confusion.trace()):,}", m.accuracy.text(),
               "–" if part.areas is None else part.areas.macro.text())  # fmt: skip


OVERALL = {
    "accuracy": "Accuracy",
    "kappa_plain": "Cohen's kappa",
    "kappa_linear": "linear kappa",
    "kappa_quadratic": "quadratic kappa",
    "mean_absolute_error": "Mean absolute stage error",
    "macro_f1": "macro F1",
    "over_staged": "Over-staged",
    "under_staged": "Under-staged",
}


def _overall(part: Performance) -> Iterator[Line]:
    for name, words in OVERALL.items():
        one: Estimate = getattr(part.metrics, name)
        yield words, one.text(), one.method
    if part.areas is not None:
        yield "macro AUC", part.areas.macro.text(4), part.areas.macro.method
        yield "micro AUC", part.areas.micro.text(4), part.areas.micro.method


def _per_class(part: Performance) -> Iterator[Line]:
    areas = {} if part.areas is None else {**part.areas.per_class, **part.areas.boundaries}
    for name, one in {**part.metrics.per_class, **part.metrics.boundaries}.items():
        shares = (one.sensitivity, one.specificity, one.ppv, one.npv, one.f1)
        yield (name, f"{one.n_positive:,}", *(s.text() for s in shares), *([areas[name].text()] if areas else []))


def _group(name: str, part: Performance) -> Line:
    m, late = part.metrics, part.metrics.boundaries["T3-4 against T1-2"]
    area = "–" if part.areas is None else part.areas.macro.text()
    return (name, f"{m.n_rows:,}", f"{m.n_patients:,}", m.accuracy.text(), area, m.kappa_quadratic.text(),
            late.sensitivity.text(), late.specificity.text())  # fmt: skip


def p_text(p: float | None) -> str:
    """Return a p-value as text, as in a paper."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _calibration(found: Evaluation) -> dict[str, Any]:
    one = found.calibration
    if one is None:
        return {"calibration": None, "joint_tests": None, "scaling": None, "temperature": None, "undefined_tests": None}
    scaling = one.scaling
    joint = {"Multinomial (Fagerland, Hosmer & Bofin 2008)": one.multinomial,
             "Ordinal (Fagerland & Hosmer 2013)": one.ordinal}  # fmt: skip
    tests = {**{event.event: event.hosmer_lemeshow for event in one.events}, **joint}
    return {
        "calibration": [
            (e.event, e.intercept.text(2), e.slope.text(2), e.ece.text(), e.brier.text(), p_text(e.hosmer_lemeshow.p))
            for e in one.events
        ],
        "joint_tests": [
            (name, "–" if t.statistic is None else f"{t.statistic:.2f}", str(t.df or "–"), p_text(t.p))
            for name, t in joint.items()
        ],
        "undefined_tests": [f"{name}: {t.method}" for name, t in tests.items() if t.p is None],
        "scaling": [
            (name, getattr(scaling.before, field).text(), getattr(scaling.after, field).text())
            for name, field in (("Log loss", "log_loss"), ("ECE of the top stage", "ece"), ("Brier", "brier"))
        ],
        "temperature": f"{scaling.temperature.text(2)}: {scaling.temperature.method}",
    }  # fmt: skip


def _treatment(found: Evaluation) -> Iterator[Line]:
    for name, one in found.decisions.treatment.items():
        counts = f"TP {one.tp}, FP {one.fp}, FN {one.fn}, TN {one.tn}"
        yield name, counts, one.over.text(2, percent=True), one.under.text(2, percent=True), one.nnt.text(2)


def _readers(found: Evaluation) -> dict[str, Any]:
    study, comparison = found.study, found.comparison
    shown: dict[str, Any] = dict.fromkeys(
        ("study", "study_head", "study_caption", "gains", "comparison", "comparison_caption", "differences")
    )
    if study is not None:
        shown["study_caption"] = (
            f"Accuracy on the {study.n_rows} rows of {study.n_patients} patients with all readings; Fleiss' kappa "
            f"between readers: unaided {study.fleiss['unaided'].text()}, aided {study.fleiss['aided'].text()}."
        )
        shown["study_head"] = ["", "unaided", "aided", "gain", "p", "p (Holm)", "model − aided", "p (Holm)"]
        shown["study"] = [_phase(row) for row in study.rows]
        if study.model is not None:
            shown["study"].append((study.model.name, study.model.accuracy.text(), *["–"] * 6))
        shown["gains"] = [
            (row.reader, *(f"+{c.only_second} −{c.only_first}" for c in (row.by_stage[str(s)] for s in TStage)))
            for row in study.rows
        ]
    if comparison is not None:
        shown["comparison_caption"] = (
            f"On the {comparison.n_rows} rows of {comparison.n_patients} patients with values of all readers "
            "and models."
        )
        names = ("accuracy", "kappa_linear", "kappa_quadratic", "auc_macro")
        shown["comparison"] = [
            (reader, *(got[n].text() if n in got else "–" for n in names)) for reader, got in comparison.readers.items()
        ]
        shown["differences"] = [
            (
                f"{d.first} − {d.second}",
                d.measure.replace("_", " "),
                d.estimate.text(),
                d.test,
                p_text(d.p),
                p_text(d.p_holm),
            )
            for pair in comparison.pairs
            for d in pair.differences
        ]
    return shown


def _phase(row: Any) -> Line:
    gain = row.gains[0]
    beside = [d for d in row.against_model if "unaided" not in f"{d.first} {d.second}"]
    model = (beside[0].estimate.text(), p_text(beside[0].p_holm)) if beside else ("–", "–")
    return (row.reader, row.unaided.text(), row.aided.text(), gain.estimate.text(), p_text(gain.p), p_text(gain.p_holm),
            *model)  # fmt: skip


def _attention(found: Evaluation) -> dict[str, Any]:
    if found.attention is None:
        return {"attention": None, "against": None}

    def cell(one: Any) -> str:
        if one.median is None:
            return f"– (n = {one.n})"
        return f"{one.mean.text()}; {one.median:.3g} ({one.q1:.3g} to {one.q3:.3g}), n = {one.n}"

    return {
        "attention": [
            (name, *(cell(levels[k]) for k in ("all", *map(str, TStage))), p_text(found.attention.trends[name].p))
            for name, levels in found.attention.measures.items()
        ],
        "against": [
            (BASELINE_NAMES[baseline], name, str(one.n), one.difference.text(), p_text(one.p))
            for baseline, groups in found.attention.against.items()
            for name, one in groups.items()
        ],
    }


def _terms(nomogram: Nomogram) -> Iterator[Line]:
    for one in effects(nomogram):
        yield one.words, "0" if one.is_reference else f"{one.coefficient:+.3f}", one.odds_text, one.p or "–"
    for k, theta in enumerate(nomogram.thresholds, start=1):
        yield f"threshold T{k} | T{k + 1}", f"{theta:+.3f}", "–", "–"


def _checklists(filled: Mapping[str, tuple[checklists.Answered, ...]]) -> Iterator[dict[str, Any]]:
    for name, answered in filled.items():
        list_ = checklists.checklist(name)
        counts = checklists.counts(answered)
        yield {
            "title": list_.title,
            "citation": f"{list_.citation} doi:{list_.doi}.",
            "counts": f"{counts.answered} items answered, {counts.in_part} in part, {counts.open} open.",
            "lines": answered,
        }


__all__ = ["METRICS", "REPORT", "write_evaluation"]
