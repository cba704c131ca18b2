"""Each decision page has a date and three headings, and the index lists every page."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_has_a_date_and_its_three_parts(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+", page.stem)
    assert lines[0].startswith(f"# {page.stem[:4]} ")
    assert re.fullmatch(r"Date: 20\d\d-\d\d-\d\d", lines[2])
    assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequence"]
    assert len(lines) <= 30


def test_the_index_lists_every_decision_with_its_date_and_title():
    rows = re.findall(
        r"^\| (\d{4}) \| (\S+) \| \[(.+)\]\((.+\.md)\) \|$", (FOLDER / "index.md").read_text(encoding="utf-8"), re.M
    )
    pages = []
    for page in PAGES:
        title, _, date = page.read_text(encoding="utf-8").splitlines()[:3]
        number, words = title.removeprefix("# ").split(" ", 1)
        pages.append((number, date.removeprefix("Date: "), words, page.name))
    assert sorted(rows) == pages


def test_decisions_are_numbered_without_gaps():
    assert [int(page.stem[:4]) for page in PAGES] == list(range(1, len(PAGES) + 1))
