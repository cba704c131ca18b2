"""Altered metadata of an archive end in a scan or in an error of the library with a plain message."""

import json

import pytest
from helpers.hostile import altered_json, outcome
from helpers.web_answers import answering

from GTRStagingLib.archive.remote_series import read_remote
from GTRStagingLib.archive.web import WebArchive
from GTRStagingLib.support.addresses import parse_web_address

pytestmark = pytest.mark.usefixtures("no_credentials")

SEEDS = 150


@pytest.fixture(scope="module")
def answers(filled_archive, a_study):
    """The answers of a real archive: the series of the study, and the metadata of four slices."""
    archive = WebArchive(parse_web_address(filled_archive.address))
    series = [one for one in archive.series_of(a_study.uid) if one["00080060"]["Value"] == ["CT"]]
    place = {"00200032"}  # neighbouring slices, since the archive lists them in any order
    items = sorted(archive.metadata(a_study.uid, a_study.series), key=lambda one: one[min(place)]["Value"][2])
    return series, items[:4]


def read(address, study):
    return read_remote(
        parse_web_address(address.whole, study=study),
        archive=WebArchive(parse_web_address(address.whole), pauses_s=()),
    )


@pytest.mark.parametrize("which", ["series", "metadata"])
def test_altered_answers_end_in_a_scan_or_a_plain_error(answers, a_study, which):
    found = []
    for seed in range(SEEDS):
        bodies = [json.dumps(one).encode() for one in answers]
        k = ["series", "metadata"].index(which)
        bodies[k] = altered_json(answers[k], seed, also=([{"vr": "DS", "Value": ["a"]}], {"vr": "SQ", "Value": [1]}))
        with answering([(200, bodies[0]), (200, b"[]"), (200, bodies[1])]) as (address, _):
            found.append(outcome(read, address, a_study.uid))
    assert found.count("read") > 5
    assert found.count("refused") > 20


def test_unaltered_answers_are_read(answers, a_study):
    series, items = map(json.dumps, answers)
    with answering([(200, series), (200, "[]"), (200, items)]) as (address, _):
        assert read(address, a_study.uid).grid.size == (96, 96, 4)
