"""Compute the further columns of a staged case: a Rad-score, and a nomogram's probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.tables.case_row import CaseRow

if TYPE_CHECKING:
    from GTRStagingLib.nomogram.nomogram import Nomogram
    from GTRStagingLib.radscore.radscore import RadScore
    from GTRStagingLib.staging.result import StagingResult


@dataclass(frozen=True)
class ScoreColumns:
    """Further columns of a staged case: the Rad-score (standardised) and a nomogram's probabilities.

    The nomogram takes the values of its terms from the case table's columns of the same names, and the Rad-score from
    `radscore`, or from the one in its file. If a term has no value, `nomogram_note` reports it.
    """

    radscore: "RadScore | None" = None
    nomogram: "Nomogram | None" = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        own = () if self._radscore is None else ("radscore",)
        if self.nomogram is None:
            return own
        return (*own, *(f"nomogram_{stage}" for stage in TStage), "nomogram_stage", "nomogram_note")

    def of(self, case: CaseRow, result: "StagingResult") -> Mapping[str, str]:
        """Return the values of a case, by column."""
        from GTRStagingLib.radscore import radscore as radscores

        found: dict[str, str] = {}
        if (score := self._radscore) is not None:
            found["radscore"] = repr(float(radscores.of_features(score, result.features, result.model.sha256)))
        if (nomogram := self.nomogram) is not None:
            given = {**case.given, **found}
            try:
                reading = nomogram.read({t.name: given[t.name] for t in nomogram.terms if given.get(t.name)})
            except InputError as error:
                return {**found, "nomogram_note": str(error)}
            found |= {f"nomogram_{s}": repr(float(p)) for s, p in zip(TStage, reading.probabilities, strict=True)}
            found["nomogram_stage"] = str(reading.stage)
        return found

    @property
    def _radscore(self) -> "RadScore | None":
        from GTRStagingLib.radscore import radscore as radscores

        if self.radscore is None and self.nomogram is not None and self.nomogram.radscore is not None:
            return radscores.from_json(self.nomogram.radscore)
        return self.radscore


__all__ = ["ScoreColumns"]
