"""The stability in the outputs of a case: record, words, report, row of a batch, summary."""

from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from helpers import results

from GTRStagingLib.batch import columns
from GTRStagingLib.batch.records import row_of
from GTRStagingLib.results import overlay, report, words
from GTRStagingLib.results.record import schema, to_json
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.stability import stability, stability_of
from GTRStagingLib.staging.voting import vote

T2, T3, T4 = TStage.T2, TStage.T3, TStage.T4


def voted(*stages, offsets=(-1, 0, 1)):
    rows = np.full((len(stages), 4), 0.1)
    rows[range(len(stages)), [int(stage) for stage in stages]] = 0.7
    return vote(offsets, rows)


def shown(prediction):
    """A result of slices 4 mm apart with another vote."""
    return replace(results.without_roi(), prediction=prediction)


def test_the_record_contains_the_distances_up_and_down():
    record = to_json(shown(voted(T4, T3, T3)))
    jsonschema.Draft202012Validator(schema()).validate(record)
    assert record["prediction"]["stability"] == {
        "step_mm": 4.0,
        "up": {"stays_mm": 4.0, "asked_mm": 4.0, "at_least": True},
        "down": {"stays_mm": 0.0, "asked_mm": 4.0, "at_least": False},
    }


@pytest.mark.parametrize("result", [results.one_slice, results.a_picture])
def test_without_neighbours_or_a_spacing_the_record_has_none(result):
    record = to_json(result())
    jsonschema.Draft202012Validator(schema()).validate(record)
    assert record["prediction"]["stability"] is None
    assert {row_of(result())[name] for name in columns.STABILITY} == {""}


@pytest.mark.parametrize("change", [{"step_mm": 0}, {"up": {"stays_mm": 1.0}}, {"other": 1}])
def test_the_schema_refuses_other_contents(change):
    record = to_json(shown(voted(T3, T3, T3)))
    record["prediction"]["stability"] |= change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(record)


@pytest.mark.parametrize(
    ("prediction", "sentence"),
    [
        (voted(T3, T3, T3), "T3 holds for at least 4.0 mm towards the head and the feet"),
        (voted(T4, T3, T4), "none: the key slice alone gives T3, only its neighbours give T4"),
        (voted(T3, T3, T4), "towards the head T3 changes within 4.0 mm; it holds for at least 4.0 mm towards the feet"),
        (voted(T2, T3, T2), "none: the key slice alone gives T3, only its neighbours give T2"),
        (voted(T3, T3, offsets=(0, 1)), "T3 holds for at least 4.0 mm towards the head; no slice towards the feet was "
                                        "asked"),
        (voted(T3, offsets=(0,)), "not known: no neighbouring slice was asked"),
    ],
)  # fmt: skip
def test_the_words_state_a_limit_only_where_one_was_seen(prediction, sentence):
    assert words.stability_in_words(stability_of(prediction, 4.0), prediction) == sentence


def test_the_words_of_a_profile_state_both_ends_of_a_change():
    asked = {-2: T3, -1: T3, 0: T3, 1: T3, 2: T3, 3: T2, 4: T3}
    found = stability(asked, T3, 2.5)
    assert words.stability_in_words(found, voted(T3, T3, T3)) == (
        "T3 holds for 5.0 mm towards the head and changes within 7.5 mm; it holds for at least 5.0 mm towards the feet"
    )


def test_a_picture_without_a_spacing_says_so():
    prediction = voted(T3, T3, T3)
    assert words.stability_in_words(None, prediction) == "not known: the input has no spacing in millimetres"


def test_the_row_of_a_batch_has_the_columns():
    row = row_of(shown(voted(T4, T3, T3)))
    assert [row[name] for name in columns.STABILITY] == ["4.0", "4.0", "4.0", "0.0", "4.0"]
    assert set(columns.STABILITY) <= set(columns.RESULT_COLUMNS) & columns.NUMBER_COLUMNS


def test_the_report_contains_the_sentence():
    result = shown(voted(T4, T3, T3))
    page = report.html(result, overlay.png(result))
    assert (
        "<dt>If the key slice moves</dt><dd>T3 holds for at least 4.0 mm towards the head; towards the feet it" in page
    )
