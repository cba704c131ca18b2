"""Pages of an evaluation: tables by cohort, alarms, the gallery of misclassified cases, the Word document."""

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import accessibility, browser
from helpers.golden_data import GOLDEN, ROWS
from helpers.markup import Page
from PIL import Image

from GTRStagingLib.cli import main as cli
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation import nomogram_tables, report_tables
from GTRStagingLib.evaluation.evaluate import evaluate
from GTRStagingLib.evaluation.gallery import GALLERY, LARGEST, MOST, batch_folder_of, misclassified, missing_overlays
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.evaluation.report import write_evaluation
from GTRStagingLib.evaluation.report_tables import HOSMER_LEMESHOW
from GTRStagingLib.nomogram.fit import fit_nomogram
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.tables.table_files import read_table

COHORT = GOLDEN / "cohort.csv"
FOUR = [f"p_T{k}" for k in (1, 2, 3, 4)]
PREDICTED = ROWS[FOUR].to_numpy().argmax(axis=1)
TRUE = ROWS["stage"].str[1].astype(int).to_numpy() - 1
DEMONSTRATION = "Model 'shown' is a DEMONSTRATION model, trained on synthetic phantoms, never for patients."
LEAK = "Fitted on a LEAKING cohort: 2 patients are in train and also in another split."


def a_batch(folder, ids, *, size=(40, 30)):
    """Write the table and the case folders of a batch with these cases of the golden cohort."""
    rows = ROWS[ROWS["case_id"].isin(ids)]
    folder.mkdir(exist_ok=True)
    rows[["case_id", "patient_id", "stage", *FOUR, "dice"]].to_csv(folder / "predictions.csv", index=False)
    noise = np.random.default_rng(0)
    for case_id, four in zip(rows["case_id"], rows[FOUR].to_numpy(), strict=True):
        case = folder / "cases" / case_id
        case.mkdir(parents=True)
        Image.fromarray(noise.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(case / "overlay.png")
        stage = str(TStage(int(four.argmax())))
        (case / "done.json").write_text(json.dumps({"case_id": case_id, "row": {"stage": stage}}))
    return folder


@pytest.fixture(scope="module")
def found():
    return evaluate(read_predictions(COHORT), cohort_column="centre")


@pytest.fixture(scope="module")
def fitted():
    return fit_nomogram(read_table(COHORT), ["radscore", "lauren"], name="mine", resamples=5)


@pytest.fixture(scope="module")
def a_folder(tmp_path_factory):
    return a_batch(tmp_path_factory.mktemp("batch") / "out", set(ROWS["case_id"]))


@pytest.fixture(scope="module")
def written(found, fitted, a_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("written")
    shown = replace(found, model_warning=DEMONSTRATION)
    leaking = replace(fitted, radscore={"warnings": [LEAK]})
    gallery = misclassified(found.predictions, a_folder)
    write_evaluation(shown, out, nomogram=leaking, gallery=gallery, manuscript=True)
    return out


# -- tables --------------------------------------------------------------------------------------------------------


def test_table_2_has_a_line_for_each_cohort_as_in_the_article(found):
    table = report_tables.by_cohort(found)
    lines = {line[0].partition(" (")[0]: line for line in table.lines}
    assert list(lines) == [*dict.fromkeys(ROWS["centre"]), "all"]
    for centre in ("South", "all"):
        rows = np.ones(len(ROWS), bool) if centre == "all" else (ROWS["centre"] == centre).to_numpy()
        true, predicted = TRUE[rows], PREDICTED[rows]
        sensitivity = [100 * (predicted[true == k] == k).mean() for k in range(4)]
        specificity = [100 * (predicted[true != k] != k).mean() for k in range(4)]
        assert lines[centre][0] == f"{centre} (n = {rows.sum()})"
        assert lines[centre][1] == f"{100 * (true == predicted).mean():.1f}"
        assert lines[centre][3] == " / ".join(f"{share:.1f}" for share in sensitivity)
        assert lines[centre][4] == " / ".join(f"{share:.1f}" for share in specificity)


def test_the_early_stages_are_a_table_of_their_own(found):
    lines = dict(report_tables.early(found).lines)
    early = TRUE < 2
    assert lines["staged as T3 or T4"] == f"{(PREDICTED[early] > 1).sum()} of {early.sum()}"
    assert lines["accuracy"].startswith(f"{(PREDICTED[early] == TRUE[early]).mean():.3f} (")


def test_readers_and_models_have_one_name_in_tables_figures_and_checklists(written):
    page = Page((written / "report.html").read_text(encoding="utf-8"))
    cells = {cell for row in page.rows for cell in row}
    assert {"Reader 1", "Reader 1, unaided", "Reader 1: aided − unaided", "Model − Reader 2, aided", "All readers",
            "EUS", "Model", "Q"} <= cells  # fmt: skip
    assert any("Side by side: Model, Q, EUS; with and without the model's help: Reader 1, Reader 2" in c for c in cells)
    assert not [cell for cell in cells if re.search(r"\breader\d|\beus\b|^model$", cell)]
    pictures = " ".join(picture["alt"] for picture in page.all("img"))
    assert "Reader 1, accuracy: unaided" in pictures
    assert not re.search(r"\breader\d|\beus\b", pictures)


def test_undefined_numbers_are_aligned_with_the_others_of_their_column(found, tmp_path):
    early = TRUE < 2
    rows = ROWS[early & (PREDICTED < 2)]
    rows[["case_id", "patient_id", "stage", *FOUR]].to_csv(tmp_path / "t.csv", index=False)
    write_evaluation(evaluate(read_predictions(tmp_path / "t.csv")), tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    cells = re.findall(r"<td([^>]*)>not\s+defined</td>", text)
    assert cells
    assert all("number" in attributes for attributes in cells)
    assert 'class="number">PPV</th>' in text


def test_large_medians_are_printed_as_whole_numbers(found):
    study = found.attention
    level = replace(study.measures["dice"]["all"], median=1370.4, q1=999.4, q3=12345.6)
    table = report_tables.attention(replace(study, measures={"dice": dict.fromkeys(("all", *map(str, TStage)), level)}))
    assert "; 1,370 (999 to 12,346), n = " in table.lines[0][1]


def test_the_caveats_stand_beside_the_p_value_of_hosmer_and_lemeshow(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    section = text[text.index('id="sure"') : text.index('id="use"')]
    assert HOSMER_LEMESHOW.replace(">", "&gt;") in section
    assert "Hosmer–Lemeshow p" in section


def test_the_nomogram_has_p_values_tests_and_corrected_performance(written, fitted):
    rows = {row[0]: row[1:] for row in Page((written / "report.html").read_text(encoding="utf-8")).rows if row}
    one = fitted.record["coefficients"][0]
    assert one["p"] < 0.001
    assert rows["Rad-score, per unit"][-1] == "< 0.001"
    c_index, optimism = fitted.record["c_index"], fitted.record["validation"]["c_index"]["optimism"]
    apparent, corrected = (
        "{value:.3f} ({low:.3f} to {high:.3f})".format(**c_index[k]) for k in ("apparent", "corrected")
    )
    assert rows["C-index"] == [apparent, f"{optimism:.3f}", corrected]
    brant = fitted.record["proportional_odds"]["omnibus"]
    assert rows["proportional odds (Brant), all terms"][0] == f"{brant['chi2']:.2f}"


def test_a_test_of_the_rad_score_is_shown(fitted):
    test = {"chi2": 12.346, "df": 1, "p": 0.0004, "method": "likelihood ratio, with against without"}
    table = nomogram_tables.tests(replace(fitted, record={**fitted.record, "radscore_test": test}))
    (line,) = [line for line in table.lines if line[0] == "with the Rad-score against without"]
    assert line[1:] == ("12.35", "1", "< 0.001", test["method"])
    assert nomogram_tables.tests(replace(fitted, record={})) is None


def test_the_c_index_is_shown_with_its_interval_if_the_record_has_one(fitted):
    one = {"value": 0.7, "low": 0.65, "high": 0.75, "method": "bootstrap, 95 %"}
    record = {**fitted.record, "c_index": {"apparent": one, "corrected": {**one, "value": 0.69}}}
    (line,) = [
        line for line in nomogram_tables.validation(replace(fitted, record=record)).lines if line[0] == "C-index"
    ]
    assert (line[1], line[3]) == ("0.700 (0.650 to 0.750)", "0.690 (0.650 to 0.750)")


# -- alarms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["report.html", GALLERY])
def test_every_page_of_an_evaluation_of_the_demonstration_model_carries_the_alarm(written, name):
    text = (written / name).read_text(encoding="utf-8")
    page = Page(text)
    assert "⚠ DEMONSTRATION MODEL" in page.words
    assert page.words.count(DEMONSTRATION) == 2  # banner and foot
    assert page.words.count(RESEARCH_USE_ONLY) >= 2


@pytest.mark.parametrize(("name", "first"), [("report.html", "Summary"), (GALLERY, "By true and predicted stage")])
def test_a_leak_of_the_nomogram_or_its_rad_score_is_an_alarm_of_every_page(written, name, first):
    page = Page((written / name).read_text(encoding="utf-8"))
    assert page.words.index("⚠ LEAKING COHORT") < page.words.index(LEAK) < page.words.index(first)


# -- the gallery ---------------------------------------------------------------------------------------------------


def test_the_groups_are_the_errors_of_the_confusion_matrix_and_the_surest_come_first(found, a_folder):
    groups = misclassified(found.predictions, a_folder)
    confusion = found.performance.metrics.confusion
    assert {(g.truth, g.predicted): g.number for g in groups} == {
        (t, p): confusion[t, p] for t in TStage for p in TStage if t != p and confusion[t, p]
    }
    for group in groups:
        wrong = ROWS[(group.truth == TRUE) & (group.predicted == PREDICTED)]
        surest = wrong.sort_values(f"p_{group.predicted}", ascending=False, kind="stable")["case_id"]
        assert [case.case_id for case in group.shown] == list(surest)[:MOST]
        assert all(case.picture for case in group.shown)
    assert any(group.number > MOST for group in groups)


def test_the_page_shows_every_case_with_its_numbers_and_states_how_many_are_left_out(written, found, a_folder):
    page = Page((written / GALLERY).read_text(encoding="utf-8"))
    groups = misclassified(found.predictions, a_folder)
    pictures = page.all("img")
    assert len(pictures) == sum(len(group.shown) for group in groups)
    assert len({picture["alt"] for picture in pictures}) == len(pictures)
    large = max(groups, key=lambda group: group.number)
    assert f"{large.number} cases; {large.number - MOST} of them are not shown." in page.words
    row = ROWS[ROWS["case_id"] == large.shown[0].case_id].iloc[0]
    assert ", ".join(f"{stage} {row[f'p_{stage}']:.2f}" for stage in TStage) in page.words
    assert f"{row['dice']:.3f}" in page.words
    for group in groups:
        stage = f"Stage: true {group.truth}, predicted {group.predicted} Probabilities:"
        assert page.words.count(stage) == len(group.shown)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda case: (case / "overlay.png").unlink(), "the batch folder has none of this case"),
        (lambda case: (case / "overlay.png").write_bytes(b"\x89PNG not an image"), "it cannot be read"),
        (lambda case: (case / "done.json").unlink(), "the batch folder has no record of this case"),
        (lambda case: (case / "done.json").write_text('{"row": {"stage": "T9"}}'), "has T9 as predicted stage"),
        (
            lambda case: (case / "done.json").write_text(
                json.dumps({"row": {"stage": "T2", "p_T1": "0.01", "p_T2": "0.97", "p_T3": "0.01", "p_T4": "0.01"}})
            ),
            "has 0.01 as probability of T1",
        ),
    ],
)
def test_a_case_without_a_valid_overlay_is_shown_with_the_reason(tmp_path, harm, reason):
    wrong = ROWS["case_id"][np.flatnonzero((TRUE == 0) & (PREDICTED == 1))[:1]].tolist()
    folder = a_batch(tmp_path / "out", [*wrong, *ROWS["case_id"][TRUE == PREDICTED][:8]])
    harm(folder / "cases" / wrong[0])
    (group,) = misclassified(read_predictions(folder / "predictions.csv"), folder)
    assert group.shown[0].picture is None
    assert reason in group.shown[0].missing


def test_an_id_that_leads_out_of_the_folder_has_no_overlay(tmp_path):
    folder = a_batch(tmp_path / "out", ROWS["case_id"][TRUE == PREDICTED][:8])
    outside = tmp_path / "outside"
    (folder / "cases" / ROWS["case_id"][TRUE == PREDICTED].iloc[0]).rename(outside)
    table = folder / "predictions.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, "../../outside,P9,T4,0.9,0.05,0.03,0.02,0.1"]) + "\n")
    (group,) = misclassified(read_predictions(table), folder)
    assert (group.shown[0].case_id, group.shown[0].picture) == ("../../outside", None)


@pytest.mark.parametrize(
    ("name", "case_id"), [("F\u00e4ll", "Fa\u0308ll"), ("Fa\u0308ll", "F\u00e4ll"), ("case", "CASE")]
)
def test_a_case_is_found_under_another_spelling_of_its_folder(tmp_path, name, case_id):
    """As macOS writes a letter with its accent, and where case is ignored."""
    wrong = ROWS["case_id"][np.flatnonzero(TRUE != PREDICTED)[:1]].tolist()
    folder = a_batch(tmp_path / "out", wrong)
    (folder / "cases" / wrong[0]).rename(folder / "cases" / name)
    table = folder / "predictions.csv"
    table.write_text(table.read_text().replace(wrong[0], case_id), encoding="utf-8")
    predictions = read_predictions(table)
    assert batch_folder_of(table, predictions) == folder
    (group,) = misclassified(predictions, folder)
    assert group.shown[0].case_id == case_id
    assert group.shown[0].picture


def test_of_two_folders_whose_names_differ_in_case_none_is_taken(tmp_path):
    wrong = ROWS["case_id"][np.flatnonzero((TRUE == 0) & (PREDICTED == 1))[:2]].tolist()
    folder = a_batch(tmp_path / "out", wrong)
    other = folder / "cases" / wrong[0].upper()
    if other.exists():
        pytest.skip("this file system ignores case")
    (folder / "cases" / wrong[0]).rename(other)
    a_batch(tmp_path / "again", wrong[:1])
    (tmp_path / "again" / "cases" / wrong[0]).rename(folder / "cases" / wrong[0])
    (group,) = misclassified(read_predictions(folder / "predictions.csv"), folder)
    pictures = {case.case_id: case.picture for case in group.shown}
    assert pictures[wrong[0]] is None
    assert pictures[wrong[1]]


def test_pictures_are_small_whatever_the_overlays_are(tmp_path):
    wrong = ROWS["case_id"][np.flatnonzero(TRUE != PREDICTED)[:1]].tolist()
    folder = a_batch(tmp_path / "out", wrong, size=(2000, 1300))
    (group,) = misclassified(read_predictions(folder / "predictions.csv"), folder)
    content = group.shown[0].picture
    assert len(content) <= LARGEST
    assert Image.open(io.BytesIO(content)).size == (1000, 650)
    assert 12 * MOST * LARGEST * 4 / 3 < 20e6  # as base64


def test_the_gallery_is_found_beside_the_table_and_refused_where_there_is_none(found, a_folder, tmp_path, capsys):
    few = a_batch(tmp_path / "few", ROWS["case_id"][:24])
    table = few / "predictions.csv"
    assert batch_folder_of(table, read_predictions(table)) == few
    assert batch_folder_of(COHORT, found.predictions) is None
    assert cli.main(["evaluate", str(table), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / GALLERY).is_file()
    assert GALLERY in json.loads((tmp_path / "out" / "metrics.json").read_text())["files"]
    shown = capsys.readouterr().out
    assert f"with metrics.json, {GALLERY}, figures and tables" in shown
    assert "WARNING" not in shown
    wrong = ["evaluate", str(table), "--out", str(tmp_path / "o"), "--gallery", str(tmp_path)]
    assert cli.main(wrong) == 1
    assert "--gallery" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(table), "--gallery", str(few)])


def test_the_folder_of_a_batch_without_a_case_of_the_table_is_refused(tmp_path, capsys):
    mine = a_batch(tmp_path / "mine", ROWS["case_id"][:24])
    other = a_batch(tmp_path / "other", ROWS["case_id"][24:48])
    out = tmp_path / "out"
    assert cli.main(["evaluate", str(mine / "predictions.csv"), "--out", str(out), "--gallery", str(other)]) == 1
    said = capsys.readouterr().err
    assert f"none of the 24 cases of predictions.csv is in it, the first {ROWS['case_id'][0]!r}" in said
    assert "leave out --gallery" in said
    assert not out.exists()
    beside = other / "mine.csv"  # a table that merely lies in the folder of a batch
    beside.write_bytes((mine / "predictions.csv").read_bytes())
    assert batch_folder_of(beside, read_predictions(beside)) is None


def test_cases_without_an_overlay_are_counted_on_the_console_and_in_the_report(tmp_path, capsys):
    wrong = ROWS["case_id"][np.flatnonzero((TRUE == 0) & (PREDICTED == 1))[:3]].tolist()
    folder = a_batch(tmp_path / "batch", [*wrong, *ROWS["case_id"][TRUE == PREDICTED][:8]])
    (folder / "cases" / wrong[1] / "overlay.png").unlink()
    table, out = folder / "predictions.csv", tmp_path / "out"
    assert cli.main(["evaluate", str(table), "--out", str(out)]) == 0
    note = (
        f"Cases without an overlay in {GALLERY}: 1 of 3, the first {wrong[1]} (the batch folder has none of this case)."
    )
    assert f"WARNING       {note}" in capsys.readouterr().out
    assert note in Page((out / "report.html").read_text(encoding="utf-8")).words
    assert missing_overlays(misclassified(read_predictions(table), folder)[:0]) is None


def test_a_table_without_case_ids_has_no_gallery(found, a_folder):
    nameless = replace(found.predictions, columns=replace(found.predictions.columns, case=None))
    with pytest.raises(InputError, match="no column of case ids"):
        misclassified(nameless, a_folder)


def test_the_gallery_is_accessible_and_fits_a_phone_and_a_page(chromium, written):
    with chromium.open(written / GALLERY) as view:
        assert accessibility.violations(view) == []
        assert view.pdf().startswith(b"%PDF-")
        view.resize(browser.PHONE)
        assert view.overflow == 0
        assert view.complaints == []


def test_captions_stay_in_a_phone_while_wide_tables_scroll(chromium, written):
    with chromium.open(written / "report.html", size=browser.PHONE) as view:
        scrolled = view.evaluate(
            """() => [...document.querySelectorAll(".scroll:has(caption)")].map((one) => {
                one.scrollLeft = 150;
                const box = one.querySelector("caption").getBoundingClientRect();
                return { by: one.scrollLeft, left: box.left, right: box.right };
            })"""
        )
        drawing = view.evaluate("document.querySelector('.scroll img').getBoundingClientRect().width")
    assert drawing > 2 * browser.PHONE[0]  # the nomogram, whose text would be too small
    assert sum(one["by"] == 150 for one in scrolled) > 5
    assert all(one["left"] >= 0 and one["right"] <= browser.PHONE[0] for one in scrolled)


def test_the_report_by_cohort_is_accessible_and_fits_a_phone_and_a_page(chromium, written):
    with chromium.open(written / "report.html") as view:
        assert accessibility.violations(view) == []
        view.resize(browser.PHONE)
        assert view.overflow == 0
        assert view.complaints == []
        view.resize(browser.DESKTOP)
        view.page.emulate_media(media="print")
        view.resize((688, 1000))  # A4 without its margins, 182 mm at 96 pixels per inch
        assert view.overflow == 0


# -- the Word document ---------------------------------------------------------------------------------------------


def test_the_word_document_has_the_cells_of_the_tables_and_the_figures(written, found):
    docx = pytest.importorskip("docx")
    document = docx.Document(str(written / "manuscript.docx"))
    titles = [p.text for p in document.paragraphs if p.style.name == "Heading 2"]
    assert [title[:7] for title in titles] == ["Table 1"] * bool(found.cohorts.description) + [
        "Table 1",
        "Table 2",
        "Table 2",
        "Table 3",
        "Supplem",
    ]
    (table,) = [one for one in document.tables if one.rows[0].cells[1].text == "accuracy (%)"]
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        list(line) for line in (report_tables.by_cohort(found).head, *report_tables.by_cohort(found).lines)
    ]
    drawn = json.loads((written / "metrics.json").read_text())["files"]
    assert len(document.inline_shapes) == sum(name.endswith(".png") for name in drawn)
    assert all(shape._inline.docPr.get("descr") for shape in document.inline_shapes)
    assert RESEARCH_USE_ONLY in document.sections[0].footer.paragraphs[0].text
    assert DEMONSTRATION in document.sections[0].footer.paragraphs[0].text
    width, height = document.sections[0].page_width.mm, document.sections[0].page_height.mm
    assert (round(width), round(height)) == (210, 297)
    assert all(shape.width.mm <= 174 and shape.height.mm <= 230 for shape in document.inline_shapes)
