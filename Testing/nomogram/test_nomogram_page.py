"""The nomogram's page: its content without JavaScript, and its updates, which equal Python's results."""

import base64
import hashlib
import json
import random
from dataclasses import replace

import pytest
from helpers import accessibility, browser
from helpers.entries import REFUSED, TAKEN
from helpers.markup import Page

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram import nomogram
from GTRStagingLib.nomogram import page as nomogram_page
from GTRStagingLib.nomogram.nomogram import PUBLISHED, REFERENCE, Nomogram, Term
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage

OWN = Nomogram(
    name="own",
    source="Made up for tests.",
    thresholds=(-2.1, -0.4, 1.9),
    terms=(
        Term("radscore", "Rad-score", "SD", 0.9, (-3, 3)),
        Term("size_cm", "Tumour size", "cm", -0.21, (0.5, 14.0), 4.6),
        Term("differentiation", "Differentiation", levels={"well": 0, "poor": 0.95}, reference="well"),
        Term("lauren", "Lauren type", levels={"intestinal": 0, "diffuse": -0.7, "mixed": 0.2}, reference="intestinal"),
        Term("cea", "CEA", "ng/ml", 0.01, (0, 100)),
    ),
    warnings=("Made up.", "Twice."),
)
WHOLE = {"radscore": -0.85, "size_cm": 15.25, "differentiation": "poor", "lauren": "mixed", "cea": REFERENCE}
PART = {"radscore": 1.5, "lauren": "diffuse", "cea": REFERENCE}
NETWORK = {"network_stage": TStage.T3, "network_probabilities": (0.083, 0.267, 0.45, 0.2)}


def published():
    return nomogram.load(PUBLISHED)


def page_of(which, **options):
    return Page(nomogram_page.page(which, **options))


# -- before anything moves -----------------------------------------------------------------------------------------


def test_table_3_at_its_reference_is_written_out():
    """The four probabilities are worked out by hand from the thresholds: 0.0392, 0.1977, 0.5387, 0.2244."""
    values = {term.name: REFERENCE for term in published().terms} | {"radscore": 0}
    page = page_of(published(), values=values)
    shares = [row[1] for row in page.rows if row[:1] in (["T1"], ["T2"], ["T3"], ["T4"])]
    assert shares == ["3.9 %", "19.8 %", "53.9 %", "22.4 %"]
    assert ["Result", "T3"] in page.rows
    assert any(text.startswith("Highest probability: T3 (T1 3.9 %, ") for text in page.texts)
    bars = [float(rect["width"]) for rect in page.all("rect") if rect.get("data-part") == "bar"]
    assert bars[:4] == pytest.approx([3.92, 19.77, 53.87, 22.44], abs=0.005)
    one_sd = page_of(published(), values=values | {"radscore": 1})
    assert any("+0.87 · ×2.39" in row for row in one_sd.rows)  # 2.387, says the issue


def test_every_factor_has_its_value_points_and_contribution():
    page = page_of(OWN, values=WHOLE)
    reading = OWN.read(WHOLE)
    assert reading.contributions["size_cm"] == pytest.approx(-0.21 * (15.25 - 4.6))
    points = [f"{points:.1f}" for points in reading.points.values()]
    assert ["Rad-score", "compared with 0 SD", "−0.85 SD", points[0], "−0.77 · ×0.465"] in page.rows
    assert ["Tumour size", "compared with 4.6 cm", "15.25 cm", points[1], "−2.24 · ×0.107"] in page.rows
    assert ["Differentiation", "compared with well", "poor", points[2], "+0.95 · ×2.59"] in page.rows
    assert ["Lauren type", "compared with intestinal", "mixed", points[3], "+0.20 · ×1.22"] in page.rows
    assert ["CEA", "compared with 0 ng/ml", "left out (reference)", "0.0", "0.00 · ×1.00"] in page.rows
    assert ["Total", f"{reading.total_points:.1f}", "−1.85 · ×0.157"] in page.rows
    found = [text for text in page.texts if "outside" in text or "left out: the" in text]
    assert found == list(reading.warnings[2:])


def test_missing_values_are_not_assumed():
    page = page_of(OWN)
    assert not any("value" in box for box in page.all("input") if box.get("data-part") == "number")
    assert not any("selected" in option for option in page.all("option"))
    assert not any("checked" in box for box in page.all("input"))
    assert not any(text.endswith("%") for text in page.texts)
    assert (
        "To see probabilities, give every factor a value or leave it out. "
        "Missing: Rad-score, Tumour size, Differentiation, Lauren type, CEA." in page.texts
    )
    assert ["Result", "not shown"] in page.rows
    assert sum(row[-3:] == ["not given", "–", "–"] for row in page.rows) == 5


def test_what_is_given_stands_in_its_control_and_the_rest_is_missing():
    page = page_of(OWN, values=PART)
    numbers = [box.get("value") for box in page.all("input") if box.get("data-part") == "number"]
    assert numbers == ["1.5", None, None]
    assert [option["value"] for option in page.all("option") if "selected" in option] == ["diffuse"]
    assert ["checked" in box for box in page.all("input") if box["type"] == "checkbox"] == [False, False, True]
    assert "Missing: Tumour size, Differentiation." in page.words
    (radscore,) = [row for row in page.rows if row[0] == "Rad-score"]
    assert radscore[2:] == ["1.5 SD", f"{OWN.read(WHOLE | PART).points['radscore']:.1f}", "+1.35 · ×3.86"]
    assert "CEA left out: the reference is used." in page.texts
    assert "Tumour size, Differentiation left out" not in page.words


def test_the_published_one_shows_table_3():
    page = page_of(published())
    assert ["Rad-score, per SD", "+0.87", "2.39 (1.80 to 3.20)", "< 0.001"] in page.rows
    assert ["Tumour size, < 5 cm", "0", "1 (reference)", "–"] in page.rows
    assert ["Lauren type, diffuse", "+1.06", "2.90 (1.95 to 4.32)", "< 0.001"] in page.rows
    assert ["Lauren type, mixed", "−0.08", "0.92 (0.65 to 1.30)", "0.64"] in page.rows
    assert ["Threshold T3 | T4", "+1.24", "–", "–"] in page.rows
    assert any("reference levels are inferred" in text for text in page.texts)
    levels = [option["value"] for option in page.all("option") if option["value"] not in ("", REFERENCE)]
    assert levels == ["< 5 cm", "≥ 5 cm", "well", "moderate", "poor", "intestinal", "diffuse", "mixed"]
    assert not any("disabled" in attributes for _, attributes in page.tags)


@pytest.mark.parametrize("values", [{}, PART, WHOLE])
def test_the_warnings_and_what_it_is_for_are_always_there(values):
    page = page_of(OWN, values=values, **NETWORK)
    assert {"Made up.", "Twice."} <= set(page.texts)
    assert page.words.count(RESEARCH_USE_ONLY) == 3
    assert "It is shown in addition to the network's stage, and does not replace it." in page.words
    rows = {row[0]: row[1:] for row in page.rows}
    assert rows["Result"][0] == "T3"
    assert [rows[stage][0] for stage in ("T1", "T2", "T3", "T4")] == ["8.3 %", "26.7 %", "45.0 %", "20.0 %"]
    assert ("most probable stage" in page.words, "network" in page_of(OWN, values=values).words) == (True, False)


def test_names_are_text_and_never_markup():
    evil = "</script><script>alert(1)</script><img src=x>'\"&"
    terms = (Term("a", evil, evil, 1.0, (0, 1)), Term("b", "B", levels={evil: 0, "other": 1}, reference=evil))
    source = nomogram_page.page(Nomogram(evil, evil, (-1, 0, 1), terms, (evil,)), values={"a": 2, "b": evil})
    page = Page(source)
    assert [attrs.get("type") for attrs in page.all("script")] == ["application/json", None]
    assert not page.all("img")
    data = source.split('data-part="model">')[1].split("</script>")[0]
    assert "<" not in data
    assert json.loads(data)["terms"][0]["label"] == evil


def test_the_page_runs_this_script_and_no_other():
    source = nomogram_page.page(OWN)
    (_, after) = source.split("<script>")
    script = after.split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert nomogram_page.script_hash() == f"sha256-{digest}"
    (policy,) = [attrs["content"] for attrs in Page(source).all("meta") if "http-equiv" in attrs]
    assert policy.split("; ")[0] == "default-src 'none'"
    assert policy.split("; ")[-1] == f"script-src 'sha256-{digest}'"
    assert not any(name.startswith("on") for _, attrs in Page(source).tags for name in attrs)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"values": {"age": 60}}, "'age' is not a term of own; expected one of radscore"),
        ({"values": {"lauren": "signet"}}, "'signet'; expected one of intestinal, diffuse, mixed"),
        ({"values": {"cea": 401}}, "CEA 401; expected a number in ng/ml, from -300 to 400"),
        ({"values": {"radscore": "high"}}, "'high'; expected a number in SD"),
        ({"network_stage": TStage.T1}, "Stage T1, probabilities None of the network; expected both, or neither"),
        ({"network_probabilities": (0.1, 0.2, 0.3, 0.4)}, "Stage None, .*expected both, or neither"),
    ],
)
def test_what_it_does_not_take_is_refused(options, match):
    with pytest.raises(InputError, match=match):
        nomogram_page.fragment(OWN, **options)


# -- what moves ----------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(chromium, tmp_path):
    """A function that opens a nomogram's page."""

    def open_page(which, *, size=browser.DESKTOP, script=True, **options):
        path = tmp_path / "page.html"
        path.write_text(nomogram_page.page(which, **options), encoding="utf-8")
        return chromium.open(path, size=size, script=script)

    return open_page


READ_ALL = """
(sets) => {
  const root = document.querySelector(".nomogram");
  const fields = [...root.querySelectorAll("[data-factor]")];
  const readings = [];
  root.addEventListener("reading", (event) => readings.push(event.detail));
  for (const values of sets) {
    fields.forEach((field, i) => {
      const [level, out, number] = ["level", "out", "number"].map((p) => field.querySelector(`[data-part=${p}]`));
      if (level) level.value = values[i];
      else {
        out.checked = values[i] === "reference";
        number.value = out.checked ? "" : values[i];
      }
    });
    fields[0].dispatchEvent(new Event("input", { bubbles: true }));
  }
  return readings;
}
"""


def any_value(term, rng):
    if rng.random() < 0.15:
        return REFERENCE
    return rng.choice(list(term.levels)) if term.is_choice else rng.uniform(*term.limits)


@pytest.mark.parametrize("which", [published, lambda: OWN], ids=["published", "own"])
def test_the_browser_says_what_python_says(opened, which):
    model, rng = which(), random.Random(5)
    sets = [{term.name: any_value(term, rng) for term in model.terms} for _ in range(400)]
    with opened(model) as view:
        found = view.evaluate(READ_ALL, [list(values.values()) for values in sets])
        assert view.complaints == []
    assert len(found) == len(sets)
    for values, js in zip(sets, found, strict=True):
        reading = model.read(values)
        assert js["probabilities"] == pytest.approx(reading.probabilities, abs=1e-9)
        assert js["linearPredictor"] == pytest.approx(reading.linear_predictor, abs=1e-9)
        assert js["points"] == pytest.approx(reading.total_points, abs=1e-9)
        assert [f["points"] for f in js["factors"]] == pytest.approx(list(reading.points.values()), abs=1e-9)
        contributions = list(reading.contributions.values())
        assert [f["contribution"] for f in js["factors"]] == pytest.approx(contributions, abs=1e-9)
        assert js["warnings"] == list(reading.warnings[len(model.warnings) :])


@pytest.mark.parametrize("values", [{}, PART, WHOLE | {"radscore": 20.5, "size_cm": -12.345678}])
def test_the_script_writes_what_python_wrote(opened, values):
    """Texts, bars and what can be used: the same whether or not the script has run."""
    look = """[...document.querySelectorAll(".answer, .factors, [data-factor]")].map((e) => e.textContent)
        .concat([...document.querySelectorAll("rect, [data-factor] input")].map((e) =>
            ["x", "width", "disabled", "class"].map((name) => e.getAttribute(name)).join()))"""
    with opened(OWN, values=values, **NETWORK, script=False) as still:
        written = still.evaluate(look)
        assert still.evaluate("document.querySelector('.live')") is None
    with opened(OWN, values=values, **NETWORK) as live:
        assert live.evaluate("document.querySelector('.live') !== null")
        assert live.evaluate(look) == [text.replace(" disabled", "") for text in written]
        assert live.complaints == []


def test_it_can_be_used_by_keys_alone(opened):
    with opened(published(), **NETWORK) as view:
        page, status = view.page, view.page.locator("[data-part=summary]")
        hidden = page.locator("[data-share] [data-part=percent]").all_inner_texts()
        assert hidden == ["–"] * 4
        page.locator("[data-part=number]").first.focus()
        page.keyboard.type("0.8")
        page.keyboard.press("Tab")  # the slider
        page.keyboard.press("ArrowRight")
        assert page.locator("[data-part=number]").first.input_value() == "0.9"
        page.keyboard.press("Tab")  # its box
        for _ in ("size", "differentiation"):
            page.keyboard.press("Tab")
            page.keyboard.type("not known")
        assert status.inner_text().endswith("Missing: Lauren type.")
        page.keyboard.press("Tab")
        page.keyboard.type("diffuse")
        values = {"radscore": 0.9, "size": REFERENCE, "differentiation": REFERENCE, "lauren": "diffuse"}
        expected = [f"{100 * share:.1f} %" for share in published().read(values).probabilities]
        assert page.locator("[data-share] [data-part=percent]").all_inner_texts() == expected
        assert page.locator("td.result").all_inner_texts() == ["T3", "T4"]  # the network's stage is unchanged
        assert status.get_attribute("aria-live") == "polite"
        assert page.locator("[data-part=changed]").is_visible()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # back
        page.locator("[data-part=changed]").wait_for(state="hidden")
        assert page.locator("[data-part=number]").first.input_value() == ""
        assert page.locator("[data-share] [data-part=percent]").all_inner_texts() == hidden
        assert view.complaints == []


@pytest.fixture
def whole(opened):
    """The published nomogram with values; gives the page and a function that types a Rad-score over the given one."""
    values = {"radscore": 0.8, "size": "≥ 5 cm", "differentiation": "poor", "lauren": "diffuse"}
    with opened(published(), values=values) as view:

        def type_in(text):
            view.page.locator("[data-part=number]").first.fill("")
            view.page.locator("[data-part=number]").first.focus()
            view.page.keyboard.type(text)

        yield view, type_in
        assert view.complaints == []


def test_a_refused_number_is_an_error_in_its_field_with_no_stage_beside_it(whole):
    view, type_in = whole
    page = view.page
    assert page.locator("[data-part=stage]").inner_text() == "T4"
    assert page.locator("[data-share] [data-part=percent]").all_inner_texts() == ["0.1 %", "0.7 %", "7.8 %", "91.3 %"]
    for text in REFUSED:
        type_in(text)
        error = page.locator("[data-part=refused]")
        assert error.is_visible()
        assert error.inner_text().startswith(f"Rad-score {text}; expected a number in SD, from -21 to 21")
        field = page.locator("[data-part=number]").first
        assert field.get_attribute("aria-invalid") == "true"
        assert error.get_attribute("id") in field.get_attribute("aria-describedby").split()
        assert page.locator("[data-part=stage]").inner_text() == "not shown", text
        assert page.locator("[data-share] [data-part=percent]").all_inner_texts() == ["–"] * 4
        assert page.locator("[data-part=summary]").inner_text() == "To see probabilities, correct: Rad-score."
        assert "not accepted" in page.locator("tr[data-row]").first.inner_text()
    assert accessibility.violations(view) == []


def test_a_number_may_have_a_decimal_comma_in_the_browser_too(whole):
    view, type_in = whole
    for text, value in TAKEN:
        type_in(text)
        assert not view.page.locator("[data-part=refused]").is_visible(), text
        reading = published().read(
            {"radscore": value, "size": "≥ 5 cm", "differentiation": "poor", "lauren": "diffuse"}
        )
        shares = view.page.locator("[data-share] [data-part=percent]").all_inner_texts()
        assert shares == [f"{100 * share:.1f} %" for share in reading.probabilities], text


def test_enter_in_a_number_does_not_leave_the_page(opened):
    one = replace(OWN, terms=OWN.terms[:1])
    with opened(one) as view:
        view.page.locator("[data-part=number]").fill("1")
        view.page.keyboard.press("Enter")
        assert view.page.locator("[data-part=stage]").inner_text() == "T3"


def test_without_javascript_and_on_paper_it_is_still(opened):
    parts = {"form": False, ".still": True, ".answer": True, ".factors": True, ".research ul": True}
    with opened(OWN, values=WHOLE, script=False) as view:
        assert {part: view.page.locator(part).is_visible() for part in parts} == parts
    with opened(OWN, values=WHOLE) as view:
        assert view.page.locator("form").is_visible()
        assert not view.page.locator(".still").is_visible()
        view.page.emulate_media(media="print")
        assert {part: view.page.locator(part).is_visible() for part in parts} == parts


def test_a_script_that_was_tampered_with_does_not_run(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(nomogram_page.page(OWN).replace("1 / (1 + Math.exp(-x))", "1"), encoding="utf-8")
    with chromium.open(path) as view:
        assert view.evaluate("document.querySelector('.live')") is None
        assert any("Content Security Policy" in text for text in view.complaints)


@pytest.mark.parametrize("values", [{}, WHOLE], ids=["nothing", "whole"])
def test_it_is_accessible_and_fits_a_phone(opened, values):
    with opened(OWN, values=values, **NETWORK, size=browser.PHONE) as view:
        assert accessibility.violations(view) == []
        assert view.overflow == 0
        assert view.complaints == []
