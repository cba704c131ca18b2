"""Alarms of pages: which warnings are alarms, and that the pages of a nomogram and of a case show them."""

from dataclasses import replace

from helpers import results
from helpers.markup import Page

from GTRStagingLib.nomogram import nomogram, page
from GTRStagingLib.results import overlay
from GTRStagingLib.results.report import html
from GTRStagingLib.support.pages import Alarm, alarms

LEAK = "Fitted on a LEAKING cohort: 3 patients are in train and also in another split."
OF_MODEL = replace(results.with_roi().model, name="shown", status="demonstration").warning
WITH_RADSCORE = replace(nomogram.load(nomogram.PUBLISHED), warnings=(LEAK,), radscore={"warnings": [OF_MODEL, LEAK]})


def alarms_of(text):
    """Return the notices of a page that are alarms."""
    tags = Page(text).all("p")
    return [attributes for attributes in tags if "alarm" in attributes.get("class", "").split()]


def test_warnings_on_models_and_leaks_are_alarms_and_others_are_not():
    both = replace(results.with_roi().model, name="m", status="demonstration", leaking=True).warning
    found = alarms("Few patients.", both, None, LEAK, LEAK, results.with_roi().model.warning)
    assert [one.title for one in found] == ["DEMONSTRATION MODEL, LEAKING COHORT", "LEAKING COHORT", "UNTRAINED MODEL"]
    assert found[1] == Alarm("LEAKING COHORT", LEAK)


def test_a_nomogram_shows_the_alarms_of_its_own_and_of_its_rad_score():
    shown = page.page(WITH_RADSCORE)
    assert len(alarms_of(shown)) == 2
    for text in (LEAK, OF_MODEL):
        assert Page(shown).words.count(text) == 3  # banner, list, foot
    assert alarms_of(page.page(nomogram.load(nomogram.PUBLISHED))) == []


def test_the_report_of_a_case_shows_the_alarms_of_its_nomogram():
    result = results.split_vote()
    assert alarms_of(html(result, overlay.png(result))) == []
    assert len(alarms_of(html(result, overlay.png(result), nomogram=WITH_RADSCORE))) == 2
