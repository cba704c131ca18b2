import csv
import io
import json
import re
import subprocess
import sys
from collections import Counter
from importlib.resources import files

import pytest

from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.checklist_facts import WHERE
from GTRStagingLib.evaluation.checklists import (
    CHECKLISTS,
    FACTS,
    HEAD,
    IN_PART,
    OF_READER_STUDIES,
    TO_FILL_IN,
    Counts,
    checklist,
    checklists_for,
    counts,
    fill,
    rows,
)

CLAIM, TRIPOD, PROBAST, METRICS, DECIDE = CHECKLISTS
EVERYTHING = {key: f"What is known of {key}." for key in FACTS}


def raw(name):
    return json.loads(files("GTRStagingLib").joinpath(f"resources/checklists/{name}.json").read_text(encoding="utf-8"))


def numbers(found):
    return [item.number for item in found]


def by_number(name, facts, where=None):
    return {one.number: one for one in fill(name, facts, where)}


# What was published: the table of Tejani et al. 2024, Table 2 of Collins et al. 2024, the signalling questions of Moons
# et al. 2025 by domain, Table 1 of Kocak et al. 2024, and Table 2 of Vasey et al. 2022.

CLAIM_SECTIONS = [
    ("Title or abstract", "Title or abstract", 1, 1),
    ("Abstract", "Abstract", 2, 2),
    ("Introduction", "Introduction", 3, 4),
    ("Methods", "Study design", 5, 6),
    ("Methods", "Data", 7, 13),
    ("Methods", "Reference standard", 14, 18),
    ("Methods", "Data partitions", 19, 20),
    ("Methods", "Testing data", 21, 21),
    ("Methods", "Model", 22, 24),
    ("Methods", "Training", 25, 27),
    ("Methods", "Evaluation", 28, 34),
    ("Results", "Data", 35, 36),
    ("Results", "Model performance", 37, 39),
    ("Discussion", "Discussion", 40, 41),
    ("Other information", "Other information", 42, 44),
]
TRIPOD_SECTIONS = {
    "Title": "1",
    "Abstract": "2",
    "Introduction": "3a 3b 3c 4",
    "Methods": "5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17",
    "Open science": "18a 18b 18c 18d 18e 18f",
    "Patient and public involvement": "19",
    "Results": "20a 20b 20c 21 22 23a 23b 24",
    "Discussion": "25 26 27a 27b 27c",
}
PROBAST_DOMAINS = ("Participants and data sources", "Predictors", "Outcome", "Analysis")
PROBAST_QUESTIONS = {"D": (3, 4, 4, 5), "E": (3, 4, 4, 7)}
METRICS_CATEGORIES = {
    "Study design": 3,
    "Imaging data": 4,
    "Segmentation": 3,
    "Image processing and feature extraction": 3,
    "Feature processing": 4,
    "Preparation for modelling": 2,
    "Metrics and comparison": 6,
    "Testing": 2,
    "Open science": 3,
}
DECIDE_SECTIONS = {
    "Title and abstract": "1 I",
    "Introduction": "2a 2b II",
    "Methods": "III 3a 3b 3c 4a 4b 4c 5a 5b IV 6a 6b 7 V 8 VI",
    "Results": "9a 9b 10a 10b VII VIII 11 12 13a 13b 14a 14b",
    "Discussion": "15 16 IX",
    "Statements": "17 X",
}
DECIDE_TOPICS = {
    "1": "Title", "2": "Intended use", "3": "Participants", "4": "AI system", "5": "Implementation",
    "6": "Safety and errors", "7": "Human factors", "8": "Ethics", "9": "Participants", "10": "Implementation",
    "11": "Modifications", "12": "Human-computer agreement", "13": "Safety and errors", "14": "Human factors",
    "15": "Support for intended use", "16": "Safety and errors", "17": "Data availability", "I": "Abstract",
    "II": "Objectives", "III": "Research governance", "IV": "Outcomes", "V": "Analysis", "VI": "Patient involvement",
    "VII": "Main results", "VIII": "Subgroups analysis", "IX": "Strengths and limitations",
    "X": "Conflicts of interest",
}  # fmt: skip
DOIS = {
    CLAIM: "10.1148/ryai.240300",
    TRIPOD: "10.1136/bmj-2023-078378",
    PROBAST: "10.1136/bmj-2024-082505",
    METRICS: "10.1186/s13244-023-01572-w",
    DECIDE: "10.1038/s41591-022-01772-9",
}
DEVELOPMENT_ALONE = {"9a", "12a", "12b", "12c", "15", "22", "27a", "27b"}
EVALUATION_ALONE = {"12f", "12g", "20c", "24"}


def test_claim_has_its_44_items_in_their_sections():
    expected = [(str(n), s, topic) for s, topic, low, high in CLAIM_SECTIONS for n in range(low, high + 1)]
    assert len(expected) == 44
    assert [(item.number, item.section, item.topic) for item in checklist(CLAIM).items] == expected
    assert {item.applies for item in checklist(CLAIM).items} == {None}


def test_tripod_has_its_27_items_and_52_with_their_parts():
    items = checklist(TRIPOD).items
    expected = [(number, section) for section, row in TRIPOD_SECTIONS.items() for number in row.split()]
    assert len(expected) == 52
    assert [(item.number, item.section) for item in items] == expected
    assert len({re.match(r"\d+", item.number)[0] for item in items}) == 27


def test_probast_has_16_questions_on_development_and_18_on_evaluation():
    expected = [
        (f"{part}{domain}.{k}", topic)
        for part, counts_ in PROBAST_QUESTIONS.items()
        for domain, (topic, n) in enumerate(zip(PROBAST_DOMAINS, counts_, strict=True), start=1)
        for k in range(1, n + 1)
    ]
    items = checklist(PROBAST).items
    assert [(item.number, item.topic) for item in items] == expected
    assert Counter(item.applies for item in items) == {"D": 16, "E": 18}
    assert {item.applies: item.section for item in items} == {"D": "Model development", "E": "Model evaluation"}


def test_metrics_has_its_30_items_in_nine_categories():
    expected = [category for category, n in METRICS_CATEGORIES.items() for _ in range(n)]
    assert len(expected) == 30
    items = checklist(METRICS).items
    assert [(item.number, item.section) for item in items] == [(str(k + 1), one) for k, one in enumerate(expected)]
    assert {item.applies for item in items} == {None}


def test_decide_has_its_28_subitems_of_17_items_and_10_generic_ones_in_the_order_of_the_publication():
    items = checklist(DECIDE).items
    expected = [(number, section) for section, row in DECIDE_SECTIONS.items() for number in row.split()]
    assert [(item.number, item.section) for item in items] == expected
    own = [item for item in items if item.number[0].isdigit()]
    assert len(own) == 28
    assert list(dict.fromkeys(int(item.number.rstrip("abc")) for item in own)) == list(range(1, 18))
    assert {item.number.rstrip("abc"): item.topic for item in items} == DECIDE_TOPICS
    assert len(items) - len(own) == 10


def test_decide_says_that_it_is_for_live_use_and_a_reader_study_is_not():
    scope = checklist(DECIDE).scope
    assert "early live clinical evaluation" in scope
    assert "is not live use, and covers only part" in scope
    assert {checklist(name).scope for name in CHECKLISTS if name != DECIDE} == {""}


def test_decide_is_for_evaluations_with_a_reader_study_alone():
    assert checklists_for(reader_study=True) == CHECKLISTS
    assert set(CHECKLISTS) - set(checklists_for(reader_study=False)) == {DECIDE} == set(OF_READER_STUDIES)


def test_tripod_distinguishes_development_and_evaluation():
    items = checklist(TRIPOD).items
    assert {item.number for item in items if item.applies == "D"} == DEVELOPMENT_ALONE
    assert {item.number for item in items if item.applies == "E"} == EVALUATION_ALONE
    assert {item.applies for item in items} == {"D", "E", "D;E"}


def test_the_parts_of_an_item_share_its_topic_but_in_open_science():
    topics = {}
    for item in checklist(TRIPOD).items:
        if item.section != "Open science":
            topics.setdefault(re.match(r"\d+", item.number)[0], set()).add(item.topic)
    assert {number: topic for number, topic in topics.items() if len(topic) > 1} == {}


@pytest.mark.parametrize("name", CHECKLISTS)
def test_the_data_are_whole(name):
    data = raw(name)
    assert set(data) == {"title", "citation", "doi", "licence", "items"} | ({"scope"} if name == DECIDE else set())
    fields = {"number", "section", "topic", "text", "answer"} | ({"applies"} if name in (TRIPOD, PROBAST) else set())
    for item in data["items"]:
        assert set(item) == fields | ({"in_part"} if item["answer"] else set()), item["number"]
        assert set((item["answer"] or "").split()) <= set(FACTS), item["number"]
        assert len(set((item["answer"] or "").split())) == len((item["answer"] or "").split()), item["number"]
    assert data["doi"] == DOIS[name]


@pytest.mark.parametrize("name", CHECKLISTS)
def test_each_text_is_one_short_sentence_of_its_own(name):
    texts = [(item.applies, item.text) for item in checklist(name).items]
    assert len(set(texts)) == len(texts)
    for _, text in texts:
        assert re.fullmatch(r"[A-Z][^.]*\.", text), text
        assert len(text) < 220, text


def test_every_fact_answers_an_item():
    asked = {key for name in CHECKLISTS for item in checklist(name).items for key in item.keys}
    assert asked == set(FACTS)


@pytest.mark.parametrize("name", CHECKLISTS)
def test_without_facts_every_item_is_open(name):
    filled = fill(name, {})
    assert {one.answer for one in filled} == {one.where for one in filled} == {None}
    assert counts(filled) == Counts(answered=0, in_part=0, open=len(filled))


# Only the authors know: design, eligibility, ethics, funding, the reference standard and who assessed it, limitations.

AUTHORS_ALONE = {
    CLAIM: "1 2 4 5 7 8 11 14 15 16 17 18 34 40 42 44",
    TRIPOD: "1 2 3a 3c 4 5a 5b 6b 6c 8b 8c 9a 9c 10 14 16 17 18a 18b 18c 18d 18e 19 25 26 27a 27c",
    PROBAST: "D1.1 D1.2 D1.3 D2.3 D3.1 D3.2 D3.3 D3.4 D4.3 E1.2 E2.3 E3.2 E3.3 E3.4",
    METRICS: "7 8 9 10 14 23 28",
    DECIDE: "1 I II III 6b 7 8 VI 9b VIII 13b 14a 14b 15 16 IX X",
}


@pytest.mark.parametrize("name", CHECKLISTS)
def test_some_items_can_only_be_answered_by_the_authors(name):
    filled = fill(name, EVERYTHING, EVERYTHING)
    assert numbers(one for one in filled if one.answer is None) == AUTHORS_ALONE[name].split()
    tally = counts(filled)
    assert tally.open == len(AUTHORS_ALONE[name].split())
    assert tally.total == len(filled) == len(checklist(name).items)
    assert 0 < tally.answered < tally.in_part  # most answers leave something to the authors


def test_an_answer_is_the_facts_and_nothing_else():
    filled = by_number(CLAIM, {"leakage": "Partitions are disjoint by patient", "n_patients": "239 patients."})
    assert filled["20"].answer == "Partitions are disjoint by patient."
    assert filled["20"].status == "answered"
    assert filled["21"].answer == "In part: 239 patients."
    assert [number for number, one in filled.items() if one.answer] == ["20", "21"]


def test_an_item_with_a_fact_missing_is_answered_in_part():
    facts = {"performance": "Accuracy 0.925."}
    assert by_number(TRIPOD, facts)["23a"].answer == "In part: Accuracy 0.925."
    whole = by_number(TRIPOD, {**facts, "subgroups": "By sex: 0.93 and 0.92."})["23a"]
    assert whole.answer == "Accuracy 0.925. By sex: 0.93 and 0.92."
    assert whole.status == "answered"


def test_where_lists_each_section_of_the_answer_once():
    facts = {"performance": "Accuracy 0.925.", "subgroups": "By sex: 0.93 and 0.92."}
    places = {"performance": "Table 2", "subgroups": "Table 4", "heterogeneity": "Table 5"}
    filled = by_number(TRIPOD, facts, places)
    assert filled["23a"].where == "Table 2; Table 4"
    assert filled["23b"].where is None
    assert by_number(TRIPOD, facts, dict.fromkeys(facts, "Table 2"))["23a"].where == "Table 2"
    assert by_number(TRIPOD, facts)["23a"].where is None


def test_a_fact_of_several_lines_becomes_one():
    assert by_number(CLAIM, {"leakage": " Disjoint\n by  patient. "})["20"].answer == "Disjoint by patient."


@pytest.mark.parametrize("facts", [{"funding": "None."}, {"leakage": "None found.", "Leakage": "None found."}])
def test_a_fact_with_an_unknown_key_is_refused(facts):
    with pytest.raises(InputError, match="expected keys among n_rows, n_patients"):
        fill(CLAIM, facts)
    with pytest.raises(InputError, match="Place .*expected keys among"):
        fill(CLAIM, {}, facts)


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_fact_is_refused(blank):
    with pytest.raises(InputError, match="'seed' is blank.*Leave the key out"):
        fill(CLAIM, {"seed": blank})


@pytest.mark.parametrize("name", ["CLAIM", "../result.schema", ""])
def test_an_unknown_checklist_is_refused(name):
    with pytest.raises(InputError, match="claim-2024, tripod-ai, probast-ai, metrics-2024, decide-ai"):
        fill(name, {})


@pytest.mark.parametrize("name", CHECKLISTS)
def test_rows_make_a_table_that_reads_back(name):
    filled = fill(name, {key: EVERYTHING[key] for key in ("leakage", "recipe", "model", "recalibration")})
    table = rows(filled)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, HEAD)
    writer.writeheader()
    writer.writerows(table)
    text.seek(0)
    back = list(csv.DictReader(text))
    assert back == table
    assert [row["number"] for row in back] == numbers(filled)
    for row, one in zip(back, filled, strict=True):
        assert (row["answer"] == "") == (one.answer is None) == (row["status"] == TO_FILL_IN)
        assert row["answer"].startswith(IN_PART) == (row["status"] == "in part")


def test_the_module_needs_the_standard_library_alone():
    code = (
        "import sys; before = set(sys.modules);"
        "from GTRStagingLib.evaluation.checklists import fill; fill('tripod-ai', {});"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names) - {'GTRStagingLib'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_where_a_fact_is_shown_is_a_heading_of_the_report():
    page = files("GTRStagingLib").joinpath("resources/evaluation.html.j2").read_text(encoding="utf-8")
    headings = re.findall(r"<h[23][^>]*>([^<]+)<", page)
    assert [place for place in WHERE.values() if not any(place in heading for heading in headings)] == []
