"""The Chinese translation has strings of the panel, keeps their places and keys, and says it is unreviewed."""

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import GTRReadingSlicer
import GTRStagingSlicer
import pytest

MODULE = Path(GTRStagingSlicer.__file__).resolve().parents[1]
FILE = MODULE / "Resources" / "Translations" / "GTRStaging_zh-CN.ts"


def strings_of(context):
    """Return the texts that Slicer looks up under a context: of a module's file, and for the panel of its form."""
    source = MODULE.joinpath(*context.split(".")).with_suffix(".py")
    texts = {one.value for one in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
             if isinstance(one, ast.Constant) and isinstance(one.value, str)}  # fmt: skip
    if context == "GTRStaging":
        form = ElementTree.parse(MODULE / "Resources" / "UI" / "GTRStaging.ui")
        texts |= {one.text for one in form.iter("string") if one.text}
    return texts


@pytest.fixture(scope="module")
def contexts():
    return ElementTree.parse(FILE).getroot().findall("context")


def test_every_source_is_a_text_of_the_panel(contexts):
    for context in contexts:
        name = context.findtext("name")
        known = strings_of(name)
        assert [one.text for one in context.iter("source") if one.text not in known] == [], name


def test_fifty_strings_are_translated_with_their_places_and_without_review(contexts):
    messages = [one for context in contexts for one in context.iter("message")]
    assert len(messages) >= 50
    for one in messages:
        source, done = one.findtext("source"), one.find("translation")
        assert done.text
        assert done.get("type") == "unfinished", source
        assert re.findall(r"\{\w+\}", source) == re.findall(r"\{\w+\}", done.text)
        assert ("&" in source) == ("&" in done.text), source
    assert "UNREVIEWED" in FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize("package", [GTRStagingSlicer, GTRReadingSlicer], ids=lambda one: one.__name__)
def test_the_form_is_translated_under_the_name_that_qt_looks_up(package):
    name = package.__name__.removesuffix("Slicer")
    folder = Path(package.__file__).resolve().parents[1]
    form = ElementTree.parse(folder / "Resources" / "UI" / f"{name}.ui")
    assert form.findtext("class") == form.find("widget").get("name") == name
