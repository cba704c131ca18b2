"""Plan of one reader: the rules, the cases under their codes, and the order in which they are read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.reading.advice import PARTS
from GTRStagingLib.reading.designs import AIDED, READING, REPEAT, TRAINING, UNAIDED, Kind
from GTRStagingLib.support.fields import Fields, shown
from GTRStagingLib.support.files import read_json, write_json

PLAN = "plan.json"
KIND = "reading plan"
READERS = "readers"
"""Folder of a study with the readers' folders."""

ADVICE, CASES = "advice", "cases"
"""Folders in a reader's folder."""

LONGEST_WASHOUT = 3650
"""Days between the periods of a study at most."""


@dataclass(frozen=True)
class Rules:
    """What a design lets a reader see and do.

    Attributes
    ----------
    washout_days
        Days between the last answer of the first period and the first case of the second.
    shows
        Parts of the model's advice in the aided phase, see `advice.PARTS`.
    marks_key_slice
        Whether the key slice is marked.
    may_revise
        Whether answers may be changed after the next case was displayed.
    window_level, window_width
        First window of every case, HU.
    """

    washout_days: float = 28
    shows: tuple[str, ...] = ("stage", "probabilities", "map")
    marks_key_slice: bool = True
    may_revise: bool = False
    window_level: float = 50
    window_width: float = 350

    def __post_init__(self) -> None:
        if unknown := set(self.shows) - set(PARTS):
            raise InputError(f"`shows` names {sorted(unknown)}; expected some of {', '.join(PARTS)}. Correct it.")
        if not 0 <= self.washout_days <= LONGEST_WASHOUT:
            raise InputError(
                f"`washout_days` is {self.washout_days:g}; expected 0 to {LONGEST_WASHOUT:,}. Give a number in that "
                "range."
            )
        if not -2000 <= self.window_level <= 4000 or not 1 <= self.window_width <= 10_000:
            raise InputError(
                f"The window is {self.window_level:g}, {self.window_width:g} HU; expected a level from -2000 to 4000 "
                "and a width from 1 to 10000. Correct it."
            )


@dataclass(frozen=True)
class PlannedCase:
    """Case under its code.

    Attributes
    ----------
    image
        Path of the CT: below the reader's folder, or absolute for a CT that is referred to.
    series
        UID of its series, if the path is of a DICOM folder with several.
    digest
        `Scan.digest` of a CT that is referred to; None for one in the reader's folder, which is sealed.
    slices
        Number of its axial slices.
    key_slice
        Index of the axial slice that is marked, 0 nearest the feet; None if none is.
    """

    code: str
    image: str
    slices: int
    series: str | None = None
    digest: str | None = None
    key_slice: int | None = None


@dataclass(frozen=True)
class PlannedItem:
    """Reading of a case; `place` is its number in its period, from 1."""

    code: str
    phase: str
    period: int
    kind: Kind
    place: int


@dataclass(frozen=True)
class Plan:
    """Plan of one reader."""

    study: str
    reader: str
    rules: Rules
    cases: Mapping[str, PlannedCase]
    items: tuple[PlannedItem, ...]

    def write(self, folder: Path) -> None:
        """Write the plan into a reader's folder."""
        cases = {code: {k: v for k, v in asdict(case).items() if k != "code"} for code, case in self.cases.items()}
        items = [{k: v for k, v in asdict(item).items() if k != "place"} for item in self.items]
        rules = asdict(self.rules) | {"shows": list(self.rules.shows)}
        write_json({"kind": KIND, "schema": 1, "study": self.study, "reader": self.reader, "rules": rules,
                    "cases": cases, "items": items}, folder / PLAN)  # fmt: skip


def read_plan(folder: Path) -> Plan:
    """Read the plan of a reader's folder; raise `InputError` if it is not one."""
    fields = Fields(read_json(folder / PLAN, "the plan of a reader in a study"), PLAN)
    fields.require_kind(KIND)
    cases = Fields(fields.data.get("cases"), "cases").data
    items = fields.data.get("items")
    if not isinstance(items, list):
        raise InputError(f"{PLAN} has no list of items; expected one. Copy the folder again.")
    known = {code: _case(code, data) for code, data in cases.items()}
    places: dict[int, int] = {}
    found = []
    for number, data in enumerate(items, start=1):
        one = Fields(data, f"item {number}")
        period, code = one.whole("period", least=1, most=2), one.text("code")
        phase, kind = one.text("phase"), one.text("kind")
        if code not in known or phase not in (UNAIDED, AIDED) or kind not in (READING, REPEAT, TRAINING):
            raise InputError(f"{PLAN}, item {number} is {code}, {phase}, {kind}; expected a planned reading of a case.")
        places[period] = places.get(period, 0) + 1
        found.append(PlannedItem(code, phase, period, kind, places[period]))
    return Plan(fields.name("study"), fields.name("reader"), rules_of(fields.data.get("rules")), known, tuple(found))


def reader_folders(folder: Path) -> dict[str, Path]:
    """Return name -> folder of the readers in the folder of a study, or of the one whose own folder it is.

    Raises
    ------
    InputError
        If there is no plan of a reader, or one cannot be read.
    """
    plans = [folder / PLAN] if (folder / PLAN).is_file() else sorted(folder.glob(f"{READERS}/*/{PLAN}"))
    if not plans:
        raise InputError(
            f"{folder.name} has no {PLAN} of a reader; expected the folder of a study, or a reader's own folder. "
            "Choose the folder that was handed out."
        )
    found: dict[str, Path] = {}
    for plan in plans:
        reader = read_plan(plan.parent).reader
        if reader in found:
            raise InputError(
                f"{found[reader].name} and {plan.parent.name} are both of reader {reader!r}; expected one folder of "
                "each reader, so that no case is read twice. Move the copy away."
            )
        found[reader] = plan.parent
    return found


def rules_of(data: Any) -> Rules:
    """Return the rules of plain data; raise `InputError` if they are not known."""
    fields, usual = Fields(data, "rules"), Rules()
    return Rules(
        washout_days=fields.number("washout_days"),
        shows=texts_of(fields, "shows"),
        marks_key_slice=fields.flag("marks_key_slice"),
        may_revise=fields.flag("may_revise"),
        window_level=fields.number("window_level", usual.window_level),
        window_width=fields.number("window_width", usual.window_width),
    )


def _case(code: str, data: Any) -> PlannedCase:
    fields = Fields(data, code)
    return PlannedCase(
        code=code,
        image=fields.text("image"),
        slices=fields.whole("slices", least=1),
        series=fields.text("series", None),
        digest=fields.text("digest", None),
        key_slice=fields.whole("key_slice") if fields.has("key_slice") else None,
    )


def texts_of(fields: Fields, name: str) -> tuple[str, ...]:
    """Return a list of texts of plain data; raise `InputError` for anything else."""
    found = fields.data.get(name)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InputError(f"{fields.where}, {name} is {shown(found)}; expected a list of texts. Copy the folder again.")
    return tuple(found)


def advice_file(code: str) -> str:
    """Return the name of a case's advice in a reader's folder."""
    return f"{ADVICE}/{code}.json"


def map_file(code: str) -> str:
    """Return the name of a case's attention map in a reader's folder."""
    return f"{ADVICE}/{code}.nii.gz"


__all__ = ["ADVICE", "CASES", "PLAN", "Plan", "PlannedCase", "PlannedItem", "Rules", "advice_file", "map_file",
           "read_plan", "reader_folders", "rules_of", "texts_of"]  # fmt: skip
