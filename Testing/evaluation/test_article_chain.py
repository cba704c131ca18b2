"""From CTs to all items of the article by the commands of docs/article-results.md, on 48 phantoms in three cohorts."""

import csv
import json
import random
import re
from pathlib import Path

import pytest
from helpers import TESTING, accessibility, browser
from helpers.markup import Page

from GTRStagingLib.cli import main as cli
from GTRStagingLib.evaluation.gallery import GALLERY
from GTRStagingLib.stages import RESEARCH_USE_ONLY

PAGE = TESTING.parent / "docs" / "article-results.md"
ITEMS = [
    "Fig. 1", "Table 1", "Fig. 2a–d", "Fig. 2e–h", "Table 2", "Supp. Table 1", "Sensitivity of T1 and T2", "Fig. 3",
    "Dice by stage", "Supp. Fig. 1", "Fig. 4a", "Table 3", "Fig. 4b", "Fig. 5a–d", "Fig. 5e–h", "Supp. Table 2",
    "Table 4",
]  # fmt: skip
"""Items of the article with results, in its order."""

COHORTS = {"A": "Internal", "B": "External 1", "C": "External 2"}
SECTIONS = ["summary", "run", "flow", "who", "good", "heterogeneity", "early", "beside", "looks", "errors", "radscore",
            "table3", "sure", "use", "table4", "checklists"]  # fmt: skip
"""Ids of the report's headings, in their order."""


def items():
    """Return the lines of the page's table of items: item, section, files, command."""
    lines = [line.strip("|").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def test_the_page_has_every_item_of_the_article_in_its_order():
    assert [next((i for i in ITEMS if line[0].startswith(i)), line[0]) for line in items()] == ITEMS
    assert all(len(line) == 4 and re.findall(r"`[^`]+`", line[2]) for line in items())


def misread(stage, share, rng):
    """Return a stage as a reader who is wrong in a share of the cases, by one stage."""
    number = int(stage[1])
    if rng.random() < share:
        number += rng.choice([-1, 1])
    return f"T{min(4, max(1, number))}"


def with_readers(table: Path, out: Path) -> None:
    """Write the phantoms' table with a cohort, clinical variables, two readers in two phases, and EUS."""
    rng = random.Random(18)
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        stage = row["stage"]
        row["cohort"] = COHORTS[row["centre"]]
        row["age"] = str(rng.randint(40, 85))
        row["sex"] = rng.choice("FM")
        row["lauren"] = rng.choice(["intestinal", "diffuse", "mixed"])
        for reader, alone, helped in (("reader1", 0.45, 0.15), ("reader2", 0.5, 0.2)):
            row[f"{reader}_unaided"] = misread(stage, alone, rng)
            row[f"{reader}_aided"] = misread(stage, helped, rng)
        row["eus"] = misread(stage, 0.35, rng)
    with out.open("w", encoding="utf-8", newline="") as file:
        written = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        written.writeheader()
        written.writerows(rows)


def run(*arguments):
    assert cli.main([str(argument) for argument in arguments]) == 0, arguments


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Run the commands of the page, and return their folder."""
    root = tmp_path_factory.mktemp("chain")
    study, batch, score, mine = root / "study", root / "batch", root / "radscore.json", root / "nomogram.json"
    run("phantom", "--cases", 48, "--scanner", *COHORTS, "--seed", 900, "--size", 64, "--workers", 2, "--out", study)
    with_readers(study / "cohort.csv", study / "readers.csv")
    run("batch", study / "readers.csv", "--out", batch, "--workers", 2, "--no-evaluation")
    run("radscore", "fit", study / "readers.csv", "--results", batch, "--folds", 3, "--out", score)
    run("nomogram", "fit", root / "radscore-scores.csv", "--on", "radscore", "lauren", "--radscore", score,
        "--resamples", 20, "--out", mine)  # fmt: skip
    run("evaluate", batch / "predictions.csv", "--cohort-column", "cohort", "--radscore", score, "--nomogram", mine,
        "--format", "docx", "--out", root / "evaluation")  # fmt: skip
    return root


@pytest.mark.slow
def test_every_file_that_the_page_names_is_written(chain):
    named = [name for line in items() for name in re.findall(r"`([^`]+)`", line[2])]
    missing = [name for name in named if not [p for p in chain.glob(name.replace("CASE_ID", "*")) if p.stat().st_size]]
    assert missing == []
    assert len(list(chain.glob("batch/cases/*/overlay.png"))) == 48
    listed = set(json.loads((chain / "evaluation" / "metrics.json").read_text())["files"])
    own = {Path(name).name for name in named if name.startswith("evaluation/")}
    assert own <= listed
    assert {Path(name).stem + ".svg" for name in own if name.endswith(".png")} <= listed
    assert "manuscript.docx" in listed


@pytest.mark.slow
def test_the_report_has_every_section_of_the_page(chain):
    text = (chain / "evaluation" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    headings = [one["id"] for level in ("h2", "h3") for one in page.all(level) if "id" in one]
    assert set(SECTIONS) <= set(headings)
    places = [text.index(f'id="{name}"') for name in SECTIONS]
    assert places == sorted(places)
    titles = re.findall(r"<h[23][^>]*>([^<]+)</h", text)
    for line in items():
        for section in re.findall(r"\*([^*]+)\*", line[1]):
            assert any(title.startswith(section) for title in titles), section
    assert "⚠ DEMONSTRATION MODEL" in page.words
    assert page.words.count(RESEARCH_USE_ONLY) >= 2
    for cohort in COHORTS.values():
        assert any(row[:1] == [f"{cohort} (n = 16)"] for row in page.rows)


@pytest.mark.slow
def test_the_gallery_shows_each_misclassified_case_with_its_overlay(chain):
    confusion = json.loads((chain / "evaluation" / "metrics.json").read_text())["confusion_matrix"]
    wrong = sum(n for i, row in enumerate(confusion) for k, n in enumerate(row) if i != k)
    page = Page((chain / "evaluation" / GALLERY).read_text(encoding="utf-8"))
    assert f"{wrong} of 48 rows are misclassified." in page.words
    assert len(page.all("img")) == sum(
        min(6, n) for i, row in enumerate(confusion) for k, n in enumerate(row) if i != k
    )
    assert "⚠ DEMONSTRATION MODEL" in page.words


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report.html", GALLERY])
def test_the_pages_are_accessible_and_fit_a_phone_and_a4(chain, chromium, name):
    with chromium.open(chain / "evaluation" / name, size=(1280, 900)) as view:
        assert accessibility.violations(view) == []
        assert view.overflow == 0
        view.resize((390, 844))
        assert view.overflow == 0
        view.page.emulate_media(media="print")
        view.resize((688, 1000))  # A4 without its margins, 182 mm at 96 pixels per inch
        assert view.overflow == 0
        assert view.pdf().startswith(b"%PDF-")
        assert view.complaints == []
        view.resize(browser.DESKTOP)
