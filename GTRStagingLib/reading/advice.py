"""The model's advice for a case, as a batch has predicted it, and as a reader's folder contains it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from GTRStagingLib.batch.columns import PREDICTIONS, PROBABILITIES
from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.tables.cells import covariate_number
from GTRStagingLib.tables.stage_cells import named_stage
from GTRStagingLib.tables.table_files import read_table

PARTS = ("stage", "votes", "probabilities", "set", "map")
"""Parts of the advice, each of which a design shows or not."""

MAP = "attention.nrrd"
"""Attention map in the folder of a case of a batch."""


@dataclass(frozen=True)
class Advice:
    """The model's advice for a case; a part that is not shown, or not known, is None or empty.

    Attributes
    ----------
    votes
        Stages of the voting slices.
    probabilities
        Of T1..T4.
    stage_set
        As in 'T2-T3'.
    map
        File with the attention map on the voxels of the CT.
    """

    stage: TStage | None = None
    votes: tuple[TStage, ...] = ()
    probabilities: tuple[float, ...] | None = None
    stage_set: str | None = None
    map: Path | None = field(default=None, repr=False)

    def only(self, parts: Collection[str]) -> "Advice":
        """Return the advice with some of its parts.

        Examples
        --------
        >>> from GTRStagingLib.reading.advice import Advice
        >>> from GTRStagingLib.stages import TStage
        >>> Advice(stage=TStage.T2, stage_set="T2-T3").only(["set"])
        Advice(stage=None, votes=(), probabilities=None, stage_set='T2-T3')
        """
        return Advice(
            stage=self.stage if "stage" in parts else None,
            votes=self.votes if "votes" in parts else (),
            probabilities=self.probabilities if "probabilities" in parts else None,
            stage_set=self.stage_set if "set" in parts else None,
            map=self.map if "map" in parts else None,
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts that it has, in the order of `PARTS`."""
        known = (self.stage is not None, bool(self.votes), self.probabilities is not None, self.stage_set is not None,
                 self.map is not None)  # fmt: skip
        return tuple(part for part, has in zip(PARTS, known, strict=True) if has)

    def to_json(self) -> dict[str, Any]:
        """Return the advice as plain data, without its map."""
        return {
            "stage": None if self.stage is None else self.stage.name,
            "votes": [one.name for one in self.votes],
            "probabilities": None if self.probabilities is None else list(self.probabilities),
            "set": self.stage_set,
        }

    @classmethod
    def of(cls, data: Any, drawn: Path | None) -> "Advice":
        """Return the advice of plain data, with its map; raise `InputError` if it is not one."""
        fields = Fields(data, "the advice")
        names = [fields.text("stage", None), *(fields.data.get("votes") or [])]
        stages = [None if name is None else TStage.__members__.get(name) for name in names]
        if None in stages[1:] or (stages[0] is None and names[0] is not None):
            raise InputError(f"The advice has the stages {names}; expected T1 to T4. Copy the folder again.")
        shares = fields.numbers("probabilities", len(TStage), None) if fields.has("probabilities") else None
        votes = tuple(one for one in stages[1:] if one is not None)  # T1 is 0
        return cls(stages[0], votes, shares, fields.text("set", None), drawn)


def read_advice(predictions: Path, case_ids: Collection[str], parts: Collection[str]) -> dict[str, Advice]:
    """Read what a model predicted for cases: case id -> the whole advice.

    The map of a case is named only if it is one of `parts`.

    Parameters
    ----------
    predictions
        Output folder of a batch, or the table of predictions in it; maps are in the folder `cases` beside the table.

    Raises
    ------
    InputError
        If the folder has no predictions, or one of `parts` is missing for a case.
    """
    table = predictions / PREDICTIONS if predictions.is_dir() else predictions
    if not table.is_file():
        raise InputError(
            f"{predictions.name} has no {PREDICTIONS}; expected the output folder of a batch. Give its folder."
        )
    rows = {row["case_id"]: row for row in read_table(table).rows if row.get("case_id")}
    found = {}
    for case_id in case_ids:
        drawn = table.parent / "cases" / case_id / MAP
        found[case_id] = replace(advice_of_row(rows.get(case_id, {})), map=drawn if drawn.is_file() else None)
    for part in parts:
        # A set may be withheld from single cases, of which the reader is then shown none.
        missing = [case_id for case_id, one in found.items() if part not in one.parts]
        if missing and (part != "set" or len(missing) == len(found)):
            raise InputError(
                f"The batch has no {part} for {counted(len(missing), 'case')} ({', '.join(missing[:5])}); expected the "
                "advice for every case. Stage these cases, or exclude them, or do not show this part."
            )
    return found if "map" in parts else {case_id: replace(one, map=None) for case_id, one in found.items()}


def advice_of_row(row: Mapping[str, str | None]) -> Advice:
    """Return the advice of a row with the columns of `predictions.csv`, without its map."""
    shares = [covariate_number(row.get(name)) for name in PROBABILITIES]
    votes = [named_stage(text) for text in (row.get("votes") or "").split()]
    return Advice(
        stage=named_stage(row.get("stage") or ""),
        votes=() if None in votes else tuple(one for one in votes if one is not None),
        probabilities=None if None in shares else tuple(one for one in shares if one is not None),
        stage_set=row.get("stage_set"),
    )


__all__ = ["MAP", "PARTS", "Advice", "advice_of_row", "read_advice"]
