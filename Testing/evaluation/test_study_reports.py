"""Pages of a reader study: DECIDE-AI, the gallery of wrong advice, tables for a paper, figures, refused answers."""

import base64
import csv
import io
import json
import re
import zipfile

import numpy as np
import pytest
from helpers import accessibility, browser
from helpers.figure_checks import faults
from helpers.markup import Page
from helpers.reading_studies import SimulatedReader, Watch, make_study, read_all
from helpers.study_tables import ADVICE, READ, TRUE, a_batch, a_study, written
from PIL import Image

from GTRStagingLib.cli import main as cli
from GTRStagingLib.evaluation.answer_analysis import wrong_advice_of
from GTRStagingLib.evaluation.checklist_facts import facts
from GTRStagingLib.evaluation.checklists import fill
from GTRStagingLib.evaluation.evaluate import evaluate
from GTRStagingLib.evaluation.figures import figures
from GTRStagingLib.evaluation.gallery import GALLERY, LARGEST, MOST, missing_overlays, wrong_advice_cases
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.evaluation.report import write_evaluation
from GTRStagingLib.evaluation.study_answers import read_answers
from GTRStagingLib.reading.collect import collect, write_collected
from GTRStagingLib.reading.designs import Design

MODEL = {"model": "mine", "model_warning": "A warning.", "card_sha256": "ab12"}


def evaluated(table, path=None):
    found = read_predictions(table)
    return evaluate(found, answers=None if path is None else read_answers(path, found))


def decide(found):
    return {one.number: one for one in fill("decide-ai", facts(found))}


# -- DECIDE-AI ---------------------------------------------------------------------------------------------------------


def test_decide_has_the_numbers_of_the_study_and_leaves_the_rest_to_the_authors(tmp_path):
    """The numbers are those that `test_reader_answers` works out by hand."""
    table, path = a_study(tmp_path, more=MODEL)
    found = [("a", "deviation", "order", "x."), ("", "note", "files", "y.")]
    fields = ("reader", "severity", "kind", "sentence")
    written(tmp_path / "deviations.csv", [dict(zip(fields, one, strict=True)) for one in found])
    items = decide(evaluated(table, path))
    said = {
        "3b": "2 readers, with cases: A 6 unaided and 6 aided; B 6 unaided and 6 aided.",
        "3c": "No training cases were read in the study.",
        "4a": "The predictions are of the model mine, model card sha256 ab12. A warning.",
        "4c": "Displayed in aided first readings: stage in 12.",
        "5a": "this is no live use in care.",
        "5b": "Read first: unaided by 2 readers. Each reader has read the same cases in both phases. Days from the "
        "last answer of the first period to the first answer of the second: 28.5.",
        "6a": "Advice is wrong if its stage is not the one in column 'true_stage'",
        "10a": "Deviations from the protocol: order 1.",
        "10b": "aided / unaided: 0.50",
        "VII": "unaided 58.3 % (no interval) and aided 50.0 %",  # 4 and 3 of 6, then 3 and 3 of 6
        "11": "Versions of the software in the answers: 0.2. Models of the predictions: mine.",
        "12": "Wrong advice taken 66.7 %",
        "13a": "The advice was wrong in 6 of 12 answers with a displayed stage; taken 66.7 %",
    }
    for number, words in said.items():
        assert words in items[number].answer, number
        assert items[number].status == "in part", number
    assert "changed to the wrong advice (of 4 answers) 50.0 %" in items["12"].answer
    assert "corrected by right advice (of 3 answers) 66.7 %" in items["12"].answer
    alone = " ".join(number for number, one in items.items() if one.status == "open")
    assert alone == "1 I II III 6b 7 8 VI 9b VIII 13b 14a 14b 15 16 IX 17 X"


def test_without_single_answers_only_what_the_table_tells_is_filled_in(tmp_path):
    table, _ = a_study(tmp_path)
    items = decide(evaluated(table))
    assert "6 aided" in items["3b"].answer
    assert "unaided 58.3 %" in items["VII"].answer
    for number in ("3c", "4a", "4c", "5a", "5b", "6a", "10a", "10b", "11", "12", "13a"):
        assert items[number].answer is None, number


def test_the_report_fills_in_decide_for_a_reader_study_alone(tmp_path):
    table, path = a_study(tmp_path)
    files = write_evaluation(evaluated(table, path), tmp_path / "with")
    words = Page(files["report.html"].read_text(encoding="utf-8")).words
    assert "A reader study on cases whose stages are known is not live use, and covers only part of the items" in words
    assert "METRICS and DECIDE-AI as far as the software can" in words
    rows = list(csv.DictReader(files["decide-ai.csv"].open(encoding="utf-8")))
    assert len(rows) == 38
    assert {row["status"] for row in rows} == {"in part", "to be filled in by the authors"}
    plain = [{key: row[key] for key in ("case_id", "true_stage", "predicted")} for row in csv.DictReader(table.open())]
    files = write_evaluation(evaluated(written(tmp_path / "plain.csv", plain)), tmp_path / "without")
    assert "decide-ai.csv" not in files
    assert "DECIDE-AI" not in files["report.html"].read_text(encoding="utf-8")


# -- the gallery of wrong advice ---------------------------------------------------------------------------------------


def test_each_case_of_wrong_advice_has_the_readers_who_took_it_by_hand(tmp_path):
    """Case 5 is taken by both readers; cases 3 and 4 by one each: see the table of `READ`."""
    table, path = a_study(tmp_path)
    found = read_predictions(table)
    cases = wrong_advice_of(found, read_answers(path, found))
    assert [(one.row, str(one.truth), str(one.advised)) for one in cases] == [
        (5, "T3", "T4"), (3, "T4", "T3"), (4, "T2", "T3"),
    ]  # fmt: skip
    assert [(one.shown, one.taken, one.right) for one in cases] == [(2, 2, 0), (2, 1, 1), (2, 1, 1)]
    assert [(one.alone, one.agreed_alone, one.right_alone) for one in cases] == [(2, 1, 1), (2, 0, 2), (2, 1, 1)]
    whole = evaluated(table, path).answers.wrong_advice[-1]
    assert (whole.cases, whole.by_all, whole.by_some, whole.by_none) == (3, 1, 2, 0)
    assert (whole.answers, whole.taken) == (6, 4)


def test_advice_that_nobody_saw_is_not_in_the_gallery(tmp_path):
    halves = {"a": (TRUE, ("T1", "T2", "T3", "T3", "", ""))}  # aided: cases 0 to 3
    table, path = a_study(tmp_path, read=halves)
    found = read_predictions(table)
    assert [one.row for one in wrong_advice_of(found, read_answers(path, found))] == [3]


def many(folder, number=20):
    """A study with wrong advice to every case, which is T1 and was called T2, and four readers.

    Of the case n, n % 5 readers take the advice.
    """
    true, advice = ["T1"] * number, ["T2"] * number
    read = {f"r{k}": (["T1"] * number, ["T2" if k < n % 5 else "T1" for n in range(number)]) for k in range(4)}
    table, path = a_study(folder, true, advice, read, more={"dice": 0.25, "energy_inside": 0.5})
    a_batch(folder / "batch", {f"case{n}": "T2" for n in range(number)})
    return table, path


def test_the_gallery_has_both_ends_of_the_order_and_states_what_is_left_out(tmp_path, capsys):
    table, _ = many(tmp_path)
    arguments = ["evaluate", str(table), "--gallery", str(tmp_path / "batch"), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    assert "WARNING" not in capsys.readouterr().out
    text = (tmp_path / "out" / GALLERY).read_text(encoding="utf-8")
    section = text[text.index('id="wrong-advice"') :].partition("</section>")[0]
    assert "20 cases with wrong advice, in the order of the share" in section
    assert "The first and the last 6 are shown; 8 cases between them are not." in section
    order = (4, 9, 14, 19, 3, 8, 11, 16, 0, 5, 10, 15)
    assert tuple(map(int, re.findall(r"<h3>Case case(\d+)</h3>", section))) == order
    assert [int(n) for n in re.findall(r"Place:</dt><dd>(\d+) of 20", section)] == [*range(1, 7), *range(15, 21)]
    assert "4 of 4 readers (100 %)" in section
    assert "0 of 4 readers (0 %)" in section
    assert section.count("Dice of attention and ROI:</dt><dd>0.250") == 12
    assert section.count("Energy of the map inside the ROI:</dt><dd>50 %") == 12
    shades = [Image.open(io.BytesIO(base64.b64decode(one))).getpixel((5, 5))[0]
              for one in re.findall(r"data:image/jpeg;base64,([^\"]+)", section)]  # fmt: skip
    assert shades == pytest.approx([8 * n for n in order], abs=2)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f'href="{GALLERY}#wrong-advice"' in report
    assert "The overlays of 20 cases with wrong advice" in report
    assert not re.search(r"case\d", report)
    rows = list(csv.DictReader((tmp_path / "out" / "reader_wrong_advice.csv").open(encoding="utf-8")))
    assert rows[-1] == {"truth": "all", "advised": "all", "cases": "20", "by_all": "4", "by_some": "12",
                        "by_none": "4", "answers": "80", "taken": "40"}  # fmt: skip


def test_an_overlay_of_another_stage_than_the_advice_is_not_shown(tmp_path):
    table, path = many(tmp_path)
    found = read_predictions(table)
    case = tmp_path / "batch" / "cases" / "case4"
    (case / "done.json").write_text(json.dumps({"row": {"stage": "T3"}}))
    advised = wrong_advice_cases(found, wrong_advice_of(found, read_answers(path, found)), tmp_path / "batch")
    assert advised.shown[0].case.missing == ("the batch folder has T3 as predicted stage of this case, the advice T2")
    assert [one.case.picture is None for one in advised.shown] == [True] + [False] * 11
    assert f"Cases without an overlay in {GALLERY}: 1 of 12, the first case4" in missing_overlays([], advised)
    assert 14 * MOST * LARGEST * 4 / 3 < 23e6  # as base64


def test_without_wrong_advice_the_gallery_states_that(tmp_path):
    table, _ = a_study(tmp_path, TRUE, TRUE)
    a_batch(tmp_path / "batch", {f"case{n}": stage for n, stage in enumerate(TRUE)})
    assert cli.main(["evaluate", str(table), "--gallery", str(tmp_path / "batch"), "--out", str(tmp_path / "o")]) == 0
    assert "No wrong advice was displayed to a reader." in (tmp_path / "o" / GALLERY).read_text(encoding="utf-8")
    assert "#wrong-advice" not in (tmp_path / "o" / "report.html").read_text(encoding="utf-8")


# -- a batch of phantoms -----------------------------------------------------------------------------------------------

SKILLED = {"r1": (0.5, 0.8), "r2": (0.65, 0.4), "r3": (0.8, 0.1)}
"""Skill and trust."""


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Stage phantoms by the demonstration model, let simulated readers read them, and evaluate the answers."""
    root = tmp_path_factory.mktemp("phantoms")
    data, batch = root / "data", root / "data" / "batch"
    for arguments in (["phantom", "--cases", "24", "--seed", "900", "--size", "64", "--workers", "2", "--out", data],
                      ["batch", data / "cohort.csv", "--out", batch, "--workers", "2", "--no-evaluation"]):  # fmt: skip
        assert cli.main([str(one) for one in arguments]) == 0
    study = make_study(root, cohort=data / "cohort.csv", readers=tuple(SKILLED), shows=("stage", "map"),
                       design=Design(seed=3, training=4))  # fmt: skip
    watch = Watch()
    for _ in range(2):
        for name, (skill, trust) in SKILLED.items():
            read_all(study, name, watch, think=SimulatedReader(study, name, skill, trust))
        watch.pass_by(days=28)
    found = collect(study, study / "organiser" / "truth.csv", batch / "predictions.csv", now=watch.time)
    table = write_collected(found, root / "out" / "table.csv")[0]
    out = root / "evaluation"
    assert cli.main(["evaluate", str(table), "--gallery", str(batch), "--format", "docx", "--out", str(out)]) == 0
    return root


@pytest.mark.slow
def test_the_gallery_of_phantoms_has_the_readers_and_the_overlays_of_the_batch(phantoms):
    rows = [row for row in csv.DictReader((phantoms / "out" / "readings.csv").open(encoding="utf-8"))
            if row["kind"] == "reading" and row["phase"] == "aided" and row["final"] == "yes"]  # fmt: skip
    taken = {}
    for row in rows:
        if row["advice_stage"] != row["true_stage"]:
            taken.setdefault(row["case_id"], []).append(row["stage"] == row["advice_stage"])
    text = (phantoms / "evaluation" / GALLERY).read_text(encoding="utf-8")
    section = text[text.index('id="wrong-advice"') :].partition("</section>")[0]
    figures_ = dict(re.findall(r"<h3>Case (\S+)</h3>(.*?)</figure>", section, re.DOTALL))
    assert len(taken) >= 5
    assert set(figures_) == set(taken)  # fewer than 12: all are shown
    for case_id, answers in taken.items():
        assert f"{sum(answers)} of {len(answers)} readers" in figures_[case_id]
        (picture,) = re.findall(r"data:image/jpeg;base64,([^\"]+)", figures_[case_id])
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L"), float)
        with Image.open(phantoms / "data" / "batch" / "cases" / case_id / "overlay.png") as stored:
            own = np.asarray(stored.convert("L").resize(shown.shape[::-1]), float)
        assert np.corrcoef(shown.ravel(), own.ravel())[0, 1] > 0.95
    shares = [sum(taken[case_id]) / len(taken[case_id]) for case_id in figures_]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report.html", GALLERY])
def test_the_pages_of_a_study_are_accessible_and_fit_a_phone(phantoms, chromium, name):
    with chromium.open(phantoms / "evaluation" / name, size=(1280, 900)) as view:
        assert accessibility.violations(view) == []
        assert view.overflow == 0
        view.resize((390, 844))
        assert view.overflow == 0
        assert view.complaints == []


# -- a page that pastes into a paper -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    table, path = a_study(folder, more=MODEL)
    write_evaluation(evaluated(table, path), folder / "out", manuscript=True)
    return folder


def test_supplementary_table_1_is_a_table_in_the_report_and_is_copied_as_rows_and_columns(tiny, chromium):
    """A selection of a table is copied as HTML with its cells, and as text with a tab between cells."""
    with chromium.open(tiny / "out" / "report.html", size=browser.DESKTOP) as view:
        copied = view.evaluate(
            """() => {
                const table = document.querySelector("#supplementary-table-1 ~ .scroll table");
                const chosen = getSelection();
                chosen.selectAllChildren(table);
                const part = document.createElement("div");
                part.append(chosen.getRangeAt(0).cloneContents());
                return { text: chosen.toString(), rows: part.querySelectorAll("tr").length,
                         heads: part.querySelectorAll("thead th").length, pictures: part.querySelectorAll("img").length,
                         tables: document.querySelectorAll("section[aria-labelledby=reader-study] table").length };
            }"""
        )
        assert view.complaints == []
    assert (copied["rows"], copied["heads"], copied["pictures"]) == (1 + 2 * 3 + 1, 10, 0)
    assert copied["tables"] > 8
    lines = [line.split("\t") for line in copied["text"].splitlines()]
    (head,) = [line for line in lines if "weighted kappa" in line]
    assert head[-2:] == ["over-staged", "under-staged"]
    (unaided,) = [line for line in lines if line[:2] == ["A", "unaided"]]
    # Reader a, unaided: right in 0, 2, 3, 4; case 1 (T2) as T3 and case 5 (T3) as T4 are over-staged.
    assert unaided[2] == "6"
    assert unaided[3].replace("\u00a0", " ").startswith("66.7 % (")
    assert unaided[5:] == ["100.0", "50.0", "50.0", "100.0", "2 (33.3)", "0 (0.0)"]


def test_the_word_document_has_supplementary_table_1(tiny):
    import docx

    document = docx.Document(tiny / "out" / "manuscript.docx")
    headings = [one.text for one in document.paragraphs if one.style.name.startswith("Heading")]
    assert headings[-1] == "Supplementary Table 1. Readers without and with the model"
    table = document.tables[-1]
    cells = [[cell.text for cell in row.cells] for row in table.rows]
    assert cells[0][1:4] == ["phase", "cases", "accuracy"]
    assert [row[0] for row in cells[1:]] == ["A", "", "B", "", "All readers", "", "Model"]
    assert cells[1][5:] == ["100.0", "50.0", "50.0", "100.0", "2 (33.3)", "0 (0.0)"]
    with zipfile.ZipFile(tiny / "out" / "manuscript.docx") as file:
        assert sum(name.startswith("word/media/") for name in file.namelist()) == len(list(tiny.glob("out/*.png")))


# -- figures -----------------------------------------------------------------------------------------------------------


def test_seconds_and_changed_answers_are_drawn_with_the_numbers_worked_out_by_hand(tmp_path):
    table, path = a_study(tmp_path)
    drawn = figures(evaluated(table, path))
    assert {name: faults(drawn[name][0]) for name in ("reader_study", "reader_times", "reader_switches")} == {
        "reader_study": [], "reader_times": [], "reader_switches": [],
    }  # fmt: skip
    figure, words = drawn["reader_times"]
    assert "A, unaided: 20 (20 to 20); A, aided: 10 (10 to 10)" in words
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [float(line.get_xdata()[0]) for line in marks] == [20, 10] * 3
    figure, words = drawn["reader_switches"]
    shares = [[float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() in ("s", "D")]
              for axis in figure.axes]  # fmt: skip
    assert shares == [pytest.approx([0.5, 0.5, 0.5]), pytest.approx([1, 0.5, 2 / 3])]  # A, B, all readers
    assert "Right before, then the wrong advice: A 0.500" in words
    assert "Wrong before, then right by advice: A 1.000" in words


def test_what_is_not_known_is_not_drawn(tmp_path):
    table, path = a_study(tmp_path, seconds=("", ""), shown="map")
    drawn = figures(evaluated(table, path))
    assert "reader_study" in drawn
    assert not {"reader_times", "reader_switches"} & set(drawn)
    halves = {"a": (("T1", "T3", "", "T3", "", ""), ("", "", "T4", "", "T2", "T4"))}
    table, path = a_study(tmp_path / "halves", read=halves)
    assert "reader_switches" not in figures(evaluated(table, path))


# -- answers of something else -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"patient,mmHg\n1,120\n", "readings.csv has no column reader, case_id"),
        (b"", "readings.csv"),
        (b"\x00\xff\xfe\x01" * 40, "readings.csv"),
    ],
)  # fmt: skip
def test_a_table_named_readings_that_is_no_study_is_refused_with_the_way_out(tmp_path, capsys, content, message):
    table, path = a_study(tmp_path)
    path.write_bytes(content)
    assert cli.main(["evaluate", str(table)]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert "answers of a" in said
    assert "choose the answers of this table in --readings ('none' for no answers)" in said
    assert "Traceback" not in said
    assert cli.main(["evaluate", str(table), "--readings", "none"]) == 0


def test_the_answers_of_another_study_are_refused_with_both_readers_and_the_way_out(tmp_path, capsys):
    table, _ = a_study(tmp_path / "mine")
    other = {f"x{name}": two for name, two in READ.items()}
    _, path = a_study(tmp_path / "other", TRUE, ADVICE, other)
    (table.parent / "readings.csv").write_bytes(path.read_bytes())
    assert cli.main(["evaluate", str(table)]) == 1
    said = capsys.readouterr().err
    assert "readings.csv has no answer of a, b; expected answers of each reader of table.csv. Collect both" in said
    assert "('none' for no answers)" in said
