"""Decide what the panel shows, without Qt: from facts of state and scene to labels, enabled buttons and alarms.

The panel collects the facts, and writes the decisions into its widgets.
"""

import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from GTRStagingSlicer.words import tr as _

ALARM = "QLabel { background-color: #b3001b; color: white; font-weight: bold; padding: 6px; }"
"""Style of a warning, that of the model's banner. It sets both colours, so that a dark Slicer does not change them."""


# -- lists of nodes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """Node that the panel offers: its id and name, and the name of its study, empty if it has none."""

    id: str
    name: str
    study: str = ""


def told_apart(nodes: Sequence[Listed]) -> list[str]:
    """Return a label for each node: its name, and for nodes of one name also the study, or else a number.

    Examples
    --------
    >>> told_apart([Listed("1", "CT"), Listed("2", "PET"), Listed("3", "CT")])
    ['CT (1 of 2)', 'PET', 'CT (2 of 2)']
    """
    names, studies = Counter(one.name for one in nodes), Counter((one.name, one.study) for one in nodes)
    labels, seen = [], Counter[str]()
    for one in nodes:
        seen[one.name] += 1
        if names[one.name] == 1:
            labels.append(one.name)
        elif one.study and studies[one.name, one.study] == 1:
            labels.append(_("{name} ({study})").format(name=one.name, study=one.study))
        else:
            of = _("{name} ({number} of {count})")
            labels.append(of.format(name=one.name, number=seen[one.name], count=names[one.name]))
    return labels


@dataclass(frozen=True)
class Choices:
    """Rows of a list as (id, label), the first with an empty id, and the row that is chosen."""

    rows: tuple[tuple[str, str], ...]
    index: int


def choices(first: str, labels: Mapping[str, str], chosen: str) -> Choices:
    """Return `first`, which chooses nothing, and a row for each id -> label; an unknown id is not chosen.

    Examples
    --------
    >>> choices("None", {"a": "CT"}, "a")
    Choices(rows=(('', 'None'), ('a', 'CT')), index=1)
    """
    ids = list(labels)
    return Choices((("", first), *labels.items()), 1 + ids.index(chosen) if chosen in ids else 0)


# -- buttons -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """What the panel's buttons depend on.

    Attributes
    ----------
    scene, running
        Whether the panel follows a scene, and whether a case is being staged.
    not_ready
        Why the case cannot be staged, None if it can.
    ct, shown
        Names of the chosen CT, and of another volume that the Red view shows; None without one.
    drawn_on
        Name of another CT that the chosen segmentation was drawn on; None without one.
    segment
        Whether a segment is chosen.
    staged, stale
        Whether there is a result, and whether it is out of date.
    map, sweep, agreement
        Whether the nodes of the result that the buttons show exist.
    folder, folder_exists
        Folder of the reports, empty without one, and whether it exists.
    """

    scene: bool = True
    running: bool = False
    not_ready: str | None = None
    ct: str | None = None
    shown: str | None = None
    drawn_on: str | None = None
    segment: bool = False
    staged: bool = False
    stale: bool = False
    map: bool = False
    sweep: bool = False
    agreement: bool = False
    folder: str = ""
    folder_exists: bool = False


BUTTONS = (
    "applyButton",
    "cancelButton",
    "currentSliceButton",
    "largestSectionButton",
    "overlayButton",
    "resultLayoutButton",
    "plotButton",
    "tableButton",
    "exportButton",
    "showFolderButton",
    "showCtButton",
)
"""Names of the buttons that `decide` enables."""


@dataclass(frozen=True)
class Decision:
    """What the panel shows.

    Attributes
    ----------
    enabled
        Names of the enabled buttons among those that are decided here.
    tool_tips
        Name of a button -> its tooltip.
    hint
        Why Apply is disabled; empty if it is enabled.
    other_ct, other_segmentation
        Alarms below the choice of the CT and of the tumour; empty without one.
    stale
        Alarm beside stage, attention and agreement; empty without one.
    not_ready, not_current
        Why the case cannot be staged, and why the result cannot be exported; None if it can.
    """

    enabled: frozenset[str]
    tool_tips: Mapping[str, str]
    hint: str
    other_ct: str
    other_segmentation: str
    stale: str
    not_ready: str | None
    not_current: str | None


def decide(facts: Facts) -> Decision:
    """Decide which buttons are enabled, and what the panel states about the case and its result."""
    other_ct = other_volume_shown(facts.ct, facts.shown)
    not_ready = _("The scene is closed.") if not facts.scene else facts.not_ready or other_ct or None
    not_current = reason_not_current(facts.staged, facts.stale)
    no_report = not_current or (None if facts.folder else _("Choose a folder for the reports."))
    idle, has_ct = not facts.running, facts.ct is not None
    enabled = {
        "applyButton": idle and not_ready is None,
        "cancelButton": facts.running,
        "currentSliceButton": idle and has_ct and not other_ct,
        "largestSectionButton": idle and has_ct and facts.segment,
        "overlayButton": idle and facts.staged and facts.map,
        "resultLayoutButton": idle and facts.staged and facts.map,
        "plotButton": facts.staged and facts.sweep,
        "tableButton": facts.staged and facts.agreement,
        "exportButton": idle and no_report is None,
        "showFolderButton": facts.folder_exists,
        "showCtButton": idle and bool(other_ct),
    }
    return Decision(
        enabled=frozenset(name for name, on in enabled.items() if on),
        tool_tips={
            "applyButton": not_ready or _("Stages the case: predicts the stage by vote and shows the attention."),
            "currentSliceButton": other_ct or _("Chooses the slice that the Red view shows."),
            "exportButton": no_report
            or _("Writes report.html, result.json, overlay.png and attention.nrrd into a folder of this case."),
        },
        hint=not_ready or "",
        other_ct=other_ct,
        other_segmentation=drawn_elsewhere(facts.drawn_on, facts.ct),
        stale=_("OUT OF DATE: settings, CT or segment have changed since. Press Apply to renew this result.")
        if facts.staged and facts.stale
        else "",
        not_ready=not_ready,
        not_current=not_current,
    )


def other_volume_shown(ct: str | None, shown: str | None) -> str:
    """Return the alarm that the views show another volume than the chosen CT; empty if they do not."""
    if ct is None or shown is None:
        return ""
    return _(
        "The Red view shows “{shown}”, but “{ct}” is chosen. Choose what is shown, or show what is chosen."
    ).format(shown=shown, ct=ct)


def drawn_elsewhere(drawn_on: str | None, ct: str | None) -> str:
    """Return the alarm that a segmentation was drawn on another CT; empty if it was not."""
    if drawn_on is None or ct is None:
        return ""
    return _("This segmentation was drawn on “{other}”, not on “{ct}”. Is it of this patient?").format(
        other=drawn_on, ct=ct
    )


def reason_not_current(staged: bool, stale: bool) -> str | None:
    """Return why there is no result of the current settings to write; None if there is one."""
    if not staged:
        return _("Stage a case first.")
    return _("The settings, the CT or the segment have changed: press Apply first.") if stale else None


def warnings_beside(record: Mapping[str, Any]) -> list[str]:
    """Return the warnings to show beside the stage: those that neither the model's banner nor the likeness states."""
    reasons = "; ".join(record["familiarity"]["reasons"])
    unfamiliar = [text for text in record["warnings"] if reasons and text.endswith(f"Found: {reasons}.")]
    return [text for text in record["warnings"] if text not in (record["model"]["warning"], *unfamiliar)]


# -- the key slice -------------------------------------------------------------------------------------------------


def keeps_key_slice(*, other_scan: bool, other_segment: bool, by_area: bool, within: bool) -> bool:
    """Return whether a key slice is still that of the case.

    Parameters
    ----------
    other_scan, other_segment
        Whether the CT or the segment is another one than when the key slice was chosen.
    by_area
        Whether it was chosen as the segment's largest section.
    within
        Whether the CT has a slice of its index.
    """
    return within and not other_scan and not (other_segment and by_area)


# -- segments ------------------------------------------------------------------------------------------------------


def stomach_hint(recognised: Sequence[str], *, chosen: bool) -> str:
    """Return what is stated below the list of stomachs; empty if one is chosen or none is recognised."""
    if chosen or not recognised:
        return ""
    if len(recognised) == 1:
        return _("Recognised: {names}").format(names=recognised[0])
    return _("Several are recognised: {names}. Choose the one of this CT.").format(names=", ".join(recognised))


# -- along the scan ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Marked:
    """Text of a label as HTML, and its style sheet."""

    text: str
    style: str


def profile_in_html(sentences: Sequence[str], familiarity: str | None, *, stale: bool) -> Marked:
    """Return the profile in words; an outdated one and one unlike the training are alarms.

    Parameters
    ----------
    sentences
        The profile in words; the first sentence is its head.
    familiarity
        Verdict on its key slice; None without one.
    """
    head, *rest = (html.escape(text, quote=False) for text in sentences)
    if stale:  # an outdated profile must not be mistaken for a current one
        again = _("Settings, CT or segment have changed since. Press “Stage along the scan” to renew this profile.")
        rest = [again, *rest]
    alarm = stale or familiarity in ("unlike", None)
    return Marked("<br>".join((f"<b>{head}</b>", *rest)), ALARM if alarm else "")


# -- DICOM ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DicomButtons:
    """Whether a result can be written and sent as DICOM, and the tooltips of the two buttons."""

    enabled: bool
    export_tip: str
    send_tip: str


def dicom_buttons(*, idle: bool, obstacle: str | None) -> DicomButtons:
    """Decide the buttons for DICOM; `obstacle` is why the result cannot be exported, None if it can."""
    return DicomButtons(
        idle and obstacle is None,
        obstacle or _("Writes the result as DICOM objects into Slicer's DICOM database, in the study of the CT."),
        obstacle or _("Sends the DICOM objects of the result to a server."),
    )


# -- packages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packages:
    """The row of the packages: its text, and the names of the buttons that can change something."""

    text: str
    visible: frozenset[str]


PACKAGE_BUTTONS = ("installButton", "fullButton", "wheelsButton", "removeButton")
"""Names of the buttons of that row."""


def packages(lacking: str, *, lacking_full: bool, removable: bool) -> Packages:
    """Decide the row of the packages.

    Parameters
    ----------
    lacking
        Packages that staging needs and that are missing, in words; empty if none is.
    lacking_full
        Whether the full installation lacks a package.
    removable
        Whether the module has installed what it can remove.
    """
    text = _("light installation") if lacking_full else _("all installed")
    if lacking:
        text = _("missing: {names}").format(names=lacking)
    wanted = (bool(lacking), lacking_full, lacking_full, removable)
    return Packages(text, frozenset(name for name, on in zip(PACKAGE_BUTTONS, wanted, strict=True) if on))


# -- the batch -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Whether a batch can be started, and the tooltip of its button, which tells why not."""

    can_start: bool
    tip: str


def batch(*, scene: bool, running: bool, table: str, folder: str) -> Batch:
    """Decide whether a batch can be started; `table` and `folder` are empty before they are chosen."""
    if running:
        return Batch(False, _("A batch is running."))
    if not (scene and table and folder):
        return Batch(False, _("Choose a case table and a folder for the results."))
    return Batch(True, _("Stages every case of the table; Slicer stays usable."))


def batch_progress(done: int, total: int, failed: int, seconds_left: float | None = None) -> str:
    """Return the progress of a batch in words; the time left is not stated when all cases are done.

    Examples
    --------
    >>> batch_progress(3, 10, 1, 61.0)
    '3 of 10 cases, 1 failed. 2 min left.'
    """
    words = _("{done} of {total} cases, {failed} failed.").format(done=done, total=total, failed=failed)
    if done >= total or seconds_left is None:
        return words
    return " ".join((words, _("{minutes} min left.").format(minutes=math.ceil(seconds_left / 60))))


def batch_ended_early(code: int, *, failed: int, stopped: bool) -> bool:
    """Return whether a batch has ended for another reason than that its cases are done, some failed, or it was stopped.

    The command line ends with 1 if a case has failed, and with another code than 0 or 1 for an error of its own.
    """
    return not stopped and (code not in (0, 1) or (code == 1 and not failed))


# -- the report ----------------------------------------------------------------------------------------------------


def report_folder(record: Mapping[str, Any]) -> str:
    """Return the name of the folder of a case's report: its id, and when it was staged, in UTC.

    Examples
    --------
    >>> report_folder({"case_id": "case-1a2b3c4d", "provenance": {"utc": "2026-12-02T15:04:05+00:00"}})
    'case-1a2b3c4d_20261202T150405'
    """
    time = "".join(c for c in record["provenance"]["utc"][:19] if c.isalnum())
    return f"{record['case_id']}_{time}"


def question_before_replacing(folder: str, there: Sequence[str]) -> str | None:
    """Return the question before files of a folder are replaced; None if none of them is there."""
    if not there:
        return None
    return _("“{folder}” already contains {names}. Replace them?").format(folder=folder, names=", ".join(there))


__all__ = [
    "ALARM",
    "BUTTONS",
    "PACKAGE_BUTTONS",
    "Batch",
    "Choices",
    "Decision",
    "DicomButtons",
    "Facts",
    "Listed",
    "Marked",
    "Packages",
    "batch",
    "batch_ended_early",
    "batch_progress",
    "choices",
    "decide",
    "dicom_buttons",
    "drawn_elsewhere",
    "keeps_key_slice",
    "other_volume_shown",
    "packages",
    "profile_in_html",
    "question_before_replacing",
    "reason_not_current",
    "report_folder",
    "stomach_hint",
    "told_apart",
    "warnings_beside",
]
