"""Make the gallery of misclassified cases, and of wrong advice in a reader study: their overlays from a batch folder.

The gallery is a page of its own, because it contains images of patients and the report does not.
"""

import base64
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.batch.columns import PROBABILITIES
from GTRStagingLib.batch.records import DONE
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.answer_analysis import WrongAdvice
from GTRStagingLib.evaluation.evaluate import Evaluation
from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.support import pages
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.files import parse_json
from GTRStagingLib.tables.cells import folder_key

GALLERY = "gallery.html"
CASES, OVERLAY = "cases", "overlay.png"

MOST = 6
"""Largest number of cases that are shown of a true and a predicted stage, and at each end of the order of wrong advice.
"""

WIDTH, LARGEST = 1000, 200_000
"""Largest width in pixels and largest size in bytes of a picture: 14 times `MOST` pictures are less than 23 MB."""

QUALITIES = (85, 70, 50, 30, 10)

ROUNDED = 0.01
"""Largest difference of a probability in the table and in the record of its batch: tables are rounded."""


@dataclass(frozen=True)
class Misclassified:
    """Misclassified case.

    Attributes
    ----------
    probabilities
        T1..T4; None if the table has stages only.
    dice
        Dice of attention and ROI; None if it is not known.
    picture
        Overlay as JPEG; None without one.
    missing
        Reason why there is no picture; empty with one.
    """

    case_id: str
    probabilities: tuple[float, ...] | None
    dice: float | None
    picture: bytes | None
    missing: str = ""


@dataclass(frozen=True)
class Errors:
    """Misclassified rows with the same true and predicted stage, `shown` those of the highest probability first."""

    truth: TStage
    predicted: TStage
    number: int
    shown: tuple[Misclassified, ...]


@dataclass(frozen=True)
class Advised:
    """Case with wrong advice, and what readers made of it; `place` is its place in the order of the shares."""

    case: Misclassified
    readers: WrongAdvice
    place: int
    energy_inside: float | None


@dataclass(frozen=True)
class WrongAdviceCases:
    """Cases with wrong advice by the share of readers who took it, `shown` those at both ends of this order."""

    number: int
    shown: tuple[Advised, ...]


def batch_folder_of(table: Path, found: Predictions) -> Path | None:
    """Return the folder of a table that was read if it is that of its batch, with a case of the table in `cases`."""
    folder = table.absolute().parent
    return folder if found.columns.case is not None and _has_a_case(_case_folders(folder), found) else None


def _case_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of a batch's cases by `folder_key`.

    Where the names of two have the same key, neither is returned: no batch writes both.
    """
    found = [] if not (folder / CASES).is_dir() else list((folder / CASES).iterdir())
    count = Counter(folder_key(one.name) for one in found)
    return {key: one for one in found if count[key := folder_key(one.name)] == 1}


def _has_a_case(folders: Mapping[str, Path], found: Predictions) -> bool:
    return not folders.keys().isdisjoint(folder_key(str(name)) for name in found.case_names)


def misclassified(found: Predictions, folder: Path) -> tuple[Errors, ...]:
    """Collect the misclassified cases of an evaluation with their overlays, by true and then by predicted stage.

    In each group the cases with the highest probability of the wrong stage come first, and at most `MOST` are shown.

    Parameters
    ----------
    folder
        Folder of the batch that made the predictions, with `cases/CASE/overlay.png`.

    Raises
    ------
    InputError
        If the folder has no folder `cases` or none of the table's cases, or the table has no case ids.
    """
    folders = _folders_for(found, folder)
    dice = _numbers(found, "dice")
    groups = []
    for truth in TStage:
        for predicted in TStage:
            rows = np.flatnonzero((found.stages == truth) & (found.predicted == predicted))
            if truth != predicted and len(rows):
                order = rows if found.probabilities is None else _descending(rows, found.probabilities[:, predicted])
                shown = tuple(_case(found, int(row), predicted, dice, folders) for row in order[:MOST])
                groups.append(Errors(truth, predicted, len(rows), shown))
    return tuple(groups)


def wrong_advice_cases(found: Predictions, cases: Sequence[WrongAdvice], folder: Path) -> WrongAdviceCases:
    """Collect the cases with wrong advice that most and fewest readers took, with their overlays.

    Parameters
    ----------
    cases
        In the order of `answer_analysis.wrong_advice_of`; the first and the last `MOST` are shown.
    folder
        As in `misclassified`, with the same errors. An overlay is shown if its record has the advised stage.
    """
    folders = _folders_for(found, folder)
    dice, energy = _numbers(found, "dice"), _numbers(found, "energy_inside")
    places = [k for k in range(len(cases)) if k < MOST or k >= len(cases) - MOST]
    return WrongAdviceCases(
        len(cases),
        tuple(
            Advised(
                _case(found, cases[k].row, cases[k].advised, dice, folders, "the advice"),
                cases[k],
                k + 1,
                _known(energy, cases[k].row),
            )
            for k in places
        ),
    )


def _folders_for(found: Predictions, folder: Path) -> dict[str, Path]:
    """Return the folders of the cases by `folder_key`; raise `InputError` as `misclassified` does."""
    if not (folder / CASES).is_dir():
        raise InputError(
            f"`gallery` {folder.name}: the folder has no folder {CASES!r}; expected the output folder of a batch. "
            "Choose the folder with predictions.csv."
        )
    if found.columns.case is None:
        raise InputError(
            f"{found.source} has no column of case ids, so the overlays in {folder.name} belong to no row; expected a "
            "column such as case_id. Name it, or leave out `gallery`."
        )
    folders = _case_folders(folder)
    if not _has_a_case(folders, found):
        raise InputError(
            f"`gallery` {folder.name}: none of the {len(found):,} cases of {found.source} is in it, the first "
            f"{found.case_names[0]!r}; expected the output folder of the batch that made the predictions. Choose that "
            "folder, or leave out `gallery`."
        )
    return folders


def missing_overlays(groups: Sequence[Errors], advised: WrongAdviceCases | None = None) -> str | None:
    """Return a note on the shown cases without an overlay; None if each has one."""
    shown = [case for group in groups for case in group.shown]
    known = {case.case_id for case in shown}
    shown += [] if advised is None else [one.case for one in advised.shown if one.case.case_id not in known]
    missing = [case for case in shown if case.picture is None]
    if not missing:
        return None
    return (
        f"Cases without an overlay in {GALLERY}: {len(missing)} of {len(shown)}, the first {missing[0].case_id} "
        f"({missing[0].missing}). Expected the complete folder of the batch that made the predictions; choose it in "
        "`gallery`."
    )


def _descending(rows: np.ndarray, probability: np.ndarray) -> np.ndarray:
    return rows[np.argsort(-probability[rows], kind="stable")]


def _numbers(found: Predictions, name: str) -> np.ndarray | None:
    column = found.spelt(name)
    return None if column is None else found.numbers(column)


def _known(numbers: np.ndarray | None, row: int) -> float | None:
    return None if numbers is None or np.isnan(numbers[row]) else float(numbers[row])


def _case(
    found: Predictions,
    row: int,
    stage: TStage,
    dice: np.ndarray | None,
    folders: Mapping[str, Path],
    source: str = "the table",
) -> Misclassified:
    """Return a case with its overlay if the record of the batch has the stage, which is that of the source."""
    case_id = str(found.case_names[row])
    probabilities = None if found.probabilities is None else tuple(found.probabilities[row].tolist())
    picture, missing = None, ""
    try:
        case = folders.get(folder_key(case_id))
        if case is None or not (case / OVERLAY).is_file():
            raise _NoOverlayError("the batch folder has none of this case")
        _require_same(case / DONE, stage, probabilities, source)
        picture = _picture(case / OVERLAY)
    except (OSError, ValueError) as error:
        missing = str(error) if isinstance(error, _NoOverlayError) else "it cannot be read"
    return Misclassified(
        case_id=case_id,
        probabilities=probabilities,
        dice=_known(dice, row),
        picture=picture,
        missing=missing,
    )


class _NoOverlayError(ValueError):
    """Reason why a case has no overlay, as text."""


def _require_same(record: Path, predicted: TStage, probabilities: tuple[float, ...] | None, source: str) -> None:
    """Raise `_NoOverlayError` if the record of a case states another prediction than the table or the advice."""
    try:
        row = parse_json(record.read_bytes())["row"]
        stage = str(row["stage"])
        four = [float(row[name]) for name in PROBABILITIES if row.get(name)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _NoOverlayError("the batch folder has no record of this case") from error
    if stage != str(predicted):
        raise _NoOverlayError(f"the batch folder has {stage} as predicted stage of this case, {source} {predicted}")
    if probabilities is None or len(four) != len(probabilities):
        return
    for name, recorded, own in zip(TStage, four, probabilities, strict=True):
        if not abs(recorded - own) <= ROUNDED:
            raise _NoOverlayError(
                f"the batch folder has {recorded:.2f} as probability of {name} of this case, the table {own:.2f}"
            )


def _picture(overlay: Path) -> bytes:
    """Return an overlay as JPEG of at most `LARGEST` bytes.

    Raises
    ------
    OSError, ValueError
        If it is no readable image.
    """
    from PIL import Image

    with Image.open(overlay, formats=("PNG",)) as stored:
        try:
            image = stored.convert("RGB")
        except Image.DecompressionBombError as error:
            raise _NoOverlayError("it is too large") from error
    image.thumbnail((WIDTH, WIDTH))
    content = b""
    for quality in QUALITIES:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True)
        content = stream.getvalue()
        if len(content) <= LARGEST:
            return content
    raise _NoOverlayError("it is too large")


# -- the page ------------------------------------------------------------------------------------------------------


def gallery_page(
    found: Evaluation,
    groups: Sequence[Errors],
    alarms: Sequence[pages.Alarm],
    advised: WrongAdviceCases | None = None,
) -> str:
    """Return the gallery as a self-contained page, with the cases of wrong advice in a reader study if they are given.

    Raises
    ------
    MissingDependencyError
        If jinja2 is not installed.
    """
    metrics = found.performance.metrics
    return pages.template("gallery.html.j2").render(
        source=found.predictions.source,
        alarms=alarms,
        policy=pages.policy(),
        research_use_only=RESEARCH_USE_ONLY,
        stages=[str(stage) for stage in TStage],
        counts=metrics.confusion.tolist(),
        wrong=sum(group.number for group in groups),
        rows=metrics.n_rows,
        most=MOST,
        sorted_by_probability=found.predictions.probabilities is not None,
        groups=[_group(group) for group in groups],
        advised=None if advised is None else _advised(advised),
        anchors={(int(group.truth), int(group.predicted)): _anchor(group) for group in groups},
    )


def _anchor(group: Errors) -> str:
    return f"true-{group.truth}-predicted-{group.predicted}"


def _group(group: Errors) -> dict[str, Any]:
    over = group.predicted > group.truth
    left_out = group.number - len(group.shown)
    return {
        "id": _anchor(group),
        "title": f"True {group.truth}, predicted {group.predicted}: {'over' if over else 'under'}-staged",
        "count": f"{group.number:,} case{'s' * (group.number != 1)}"
        + (f"; {left_out:,} of them are not shown." if left_out else "."),
        "cases": [dict(_shown(group, case)) for case in group.shown],
    }


def _shown(group: Errors, case: Misclassified) -> Iterator[tuple[str, Any]]:
    yield "id", case.case_id
    facts: Mapping[str, str] = {
        "Stage": f"true {group.truth}, predicted {group.predicted}",
        "Probabilities": "not in the table"
        if case.probabilities is None
        else ", ".join(f"{stage} {p:.2f}" for stage, p in zip(TStage, case.probabilities, strict=True)),
        "Dice of attention and ROI": "not known" if case.dice is None else f"{case.dice:.3f}",
    }
    yield "facts", facts
    yield "missing", case.missing
    yield "picture", _encoded(case)
    yield (
        "words",
        f"Slices of case {case.case_id} with the attention map in colour; true stage {group.truth}, predicted stage "
        f"{group.predicted}.",
    )


def _advised(given: WrongAdviceCases) -> dict[str, Any]:
    number, left_out = given.number, given.number - len(given.shown)
    if not number:
        count = "No wrong advice was displayed to a reader."
    else:
        order = "" if number == 1 else ", in the order of the share of readers who took it, the largest first"
        count = f"{counted(number, 'case')} with wrong advice{order}."
    if left_out:
        count += (
            f" The first and the last {MOST} are shown; {counted(left_out, 'case')} between them "
            f"{'is' if left_out == 1 else 'are'} not."
        )
    return {"count": count, "cases": [dict(_shown_advised(one, number)) for one in given.shown]}


def _shown_advised(one: Advised, number: int) -> Iterator[tuple[str, Any]]:
    case, readers = one.case, one.readers
    yield "id", case.case_id
    stages = f"true {readers.truth}, advised {readers.advised}"
    took = f"{readers.taken} of {counted(readers.shown, 'reader')} ({100 * readers.taken / readers.shown:.0f} %)"
    facts: Mapping[str, str] = {
        "Place": f"{one.place} of {number:,}",
        "Stage": stages,
        "Took the advice": took,
        "Resisted it": f"{readers.right} with the true stage, {readers.shown - readers.taken - readers.right} with "
        "another",
        "Unaided": f"of {counted(readers.alone, 'reader')}, {readers.agreed_alone} gave the advised stage, "
        f"{readers.right_alone} the true one"
        if readers.alone
        else "not read",
        "Dice of attention and ROI": "not known" if case.dice is None else f"{case.dice:.3f}",
        "Energy of the map inside the ROI": "not known"
        if one.energy_inside is None
        else f"{100 * one.energy_inside:.0f} %",
    }
    yield "facts", facts
    yield "missing", case.missing
    yield "picture", _encoded(case)
    yield "words", f"Slices of case {case.case_id} with the attention map in colour; {stages}, taken by {took}."


def _encoded(case: Misclassified) -> str | None:
    return None if case.picture is None else base64.b64encode(case.picture).decode("ascii")


__all__ = ["GALLERY", "MOST", "Advised", "Errors", "Misclassified", "WrongAdviceCases", "batch_folder_of",
           "gallery_page", "misclassified", "missing_overlays", "wrong_advice_cases"]  # fmt: skip
