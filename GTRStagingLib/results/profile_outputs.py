"""Write the output folder of a profile, completely or not at all; profile.json is written last."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import OutputError
from GTRStagingLib.results.outputs import not_written
from GTRStagingLib.results.profile_plot import svg
from GTRStagingLib.results.words import METHOD_NAMES, choice_in_words, signed, stability_in_words
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.profile import Profile, ProfileSlice
from GTRStagingLib.support import pages
from GTRStagingLib.support.files import replace_files
from GTRStagingLib.tables.cells import guarded

PROFILE_OUTPUTS = ("profile.csv", "profile.html", "profile.json")
"""Files of a profile, in the order in which they are written."""

SCHEMA = "urn:gtrstaging:profile:1.0"

COLUMNS = ("slice", "position_mm", "key_slice", "own_stage", *(f"p_{stage}" for stage in TStage), "vote",
           "familiarity", "familiarity_percentile", "familiarity_reasons", "roi_area_mm2", "attention_inside",
           "refused")  # fmt: skip
"""Columns of profile.csv; profile.json has the same fields for each slice."""


def write_profile(found: Profile, out: Path, *, progress: Callable[[str], None] = lambda step: None) -> dict[str, Path]:
    """Write profile.csv, profile.html and profile.json into a folder; no file is left half written.

    Parameters
    ----------
    out
        Output folder, made if it does not exist; files of these names in it are replaced.
    progress
        Called with each file's name before it is written.

    Returns
    -------
    File name -> path.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed.
    OutputError
        If the folder is not writable, or the disk is full. The folder is then unchanged.
    """
    contents = {
        "profile.csv": table(found),
        "profile.html": html(found),
        "profile.json": json.dumps(to_json(found), indent=2, allow_nan=False) + "\n",
    }
    try:
        with replace_files(out, list(PROFILE_OUTPUTS)) as work:
            for name, content in contents.items():
                progress(name)
                (work / name).write_bytes(content.encode())
    except OSError as error:
        raise OutputError(not_written(out, error)) from error
    return {name: out / name for name in PROFILE_OUTPUTS}


def fields(found: Profile, one: ProfileSlice) -> dict[str, Any]:
    """Return the fields of a slice as plain data, by `COLUMNS`; None for what is not known."""
    likeness, own = one.familiarity, one.own
    shares = (None,) * len(TStage) if own is None else own.probabilities
    return {
        "slice": one.index,
        "position_mm": one.position_mm,
        "key_slice": one is found.key,
        "own_stage": None if own is None else str(own.stage),
        **{f"p_{stage}": share for stage, share in zip(TStage, shares, strict=True)},
        "vote": None if one.prediction is None else str(one.prediction.stage),
        "familiarity": None if likeness is None else likeness.verdict,
        "familiarity_percentile": None if likeness is None else likeness.percentile,
        "familiarity_reasons": [] if likeness is None else list(likeness.reasons),
        "roi_area_mm2": one.roi_area_mm2,
        "attention_inside": one.attention_inside,
        "refused": one.refused,
    }


def to_json(found: Profile) -> dict[str, Any]:
    """Return a profile as plain data for `json.dumps(..., allow_nan=False)`."""
    key, provenance = found.key_slice, found.provenance
    return {
        "schema": SCHEMA,
        "research_use_only": RESEARCH_USE_ONLY,
        "case_id": found.case_id,
        "stage": None if found.stage is None else str(found.stage),
        "key_slice": None if key is None else {"index": key.index, "chosen_by": key.chosen_by},
        "stability": None if found.stability is None else found.stability.to_json(),
        "in_words": in_words(found),
        "slice_mm": found.slice_mm,
        "neighbour_step": found.step,
        "attention_method": found.method,
        "segment": found.segment,
        "slices": [fields(found, one) for one in found.slices],
        "warnings": list(found.warnings),
        "model": {"name": found.model.name, "status": found.model.status, "warning": found.model.warning},
        "provenance": {
            "versions": dict(provenance.versions),
            "weights_sha256": provenance.weights_sha256,
            "card_sha256": provenance.card_sha256,
            "recipe": dict(provenance.recipe),
            "device": provenance.device,
            "backend": provenance.backend,
            "input_digest": provenance.input_digest,
            "utc": provenance.utc,
        },
    }


def table(found: Profile) -> str:
    """Return the slices as CSV, from the feet to the head; a cell is empty for what is not known."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for one in found.slices:
        writer.writerow({name: guarded(_cell(value)) for name, value in fields(found, one).items()})
    return file.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(value)
    return repr(float(value)) if isinstance(value, float) else str(value)


def in_words(found: Profile) -> str:
    """Describe how far the key slice may move before the stage changes, or why that is not known."""
    if found.key is None:
        return "no key slice was given, or it is not among the asked slices: how far a stage holds is not known"
    if found.key.prediction is None:
        return f"not known: the key slice cannot be staged. {found.key.refused}"
    if found.stability is None:
        alone = len(found.slices) == 1
        return f"not known: {'no neighbouring slice was asked' if alone else 'no neighbouring slice can be staged'}"
    return stability_in_words(found.stability, found.key.prediction)


def html(found: Profile) -> str:
    """Return a profile as one self-contained page, with its plot and its table.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed.
    """
    key = found.key_slice
    choice = None
    if key is not None:
        choice = f"slice {key.index} at S {signed(key.position_mm)} mm, {choice_in_words(key)}"
    return pages.template("profile.html.j2").render(
        found=found,
        stages=list(TStage),
        research_use_only=RESEARCH_USE_ONLY,
        policy=pages.policy(),
        alarms=pages.alarms(found.model.warning),
        plot=svg(found),
        words=in_words(found),
        choice=choice,
        first=signed(found.slices[0].position_mm),
        last=signed(found.slices[-1].position_mm),
        signed=signed,
        method=METHOD_NAMES.get(found.method, found.method),
        with_roi=any(one.roi_area_mm2 is not None for one in found.slices),
        time=pages.moment(found.provenance.utc),
    )


__all__ = ["PROFILE_OUTPUTS", "html", "in_words", "table", "to_json", "write_profile"]
