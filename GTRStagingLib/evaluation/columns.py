"""Detect the roles of the columns in a table of predictions, of this software or another.

Functions raise ValueError with the expected content; `predictions` adds the name of the table.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from GTRStagingLib.stages import TStage
from GTRStagingLib.tables.headers import CASES, CENTRES, PATIENTS, STAGES, find

ROLES = ("truth", "predicted", "probabilities", "patient", "case", "centre", "split")

PREDICTED = ("predicted_stage", "predicted_label", "y_pred", "prediction", "predicted")

_PROBABILITY_SETS = tuple(
    tuple(f"{head}{digit + first}" for digit in range(4))
    for first, heads in ((1, ("p_T", "prob_T", "probability_T", "p_", "prob_", "p", "prob", "T")),
                         (0, ("prob_", "p_", "p", "prob", "probability_")))
    for head in heads
)  # fmt: skip
_ONE_OF_FOUR = re.compile(r"(.+)_T1", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """Columns of a table by role.

    Attributes
    ----------
    probabilities
        Four columns, T1..T4; None if the table has stages only.
    others
        Name of another model -> its four columns.
    """

    truth: str
    predicted: str | None
    probabilities: tuple[str, str, str, str] | None
    patient: str | None
    case: str | None
    centre: str | None
    split: str | None
    others: Mapping[str, tuple[str, str, str, str]]

    @property
    def taken(self) -> set[str]:
        """Names of all columns with a role."""
        single = {self.truth, self.predicted, self.patient, self.case, self.centre, self.split} - {None}
        sets = [*([self.probabilities] if self.probabilities else []), *self.others.values()]
        return {str(name) for name in single} | {name for four in sets for name in four}


def columns_of(
    header: Sequence[str], given: Mapping[str, str], unique: Callable[[str], bool] = lambda name: True
) -> Columns:
    """Find the column of each role.

    Parameters
    ----------
    header
        The table's columns.
    given
        Role -> column, as given by the user; four columns, separated by commas, for `probabilities`.
    unique
        Whether a column has no repeated value: of several possible columns of cases, the first unique one is taken.

    Raises
    ------
    ValueError
        If a role or a column does not exist, or the table has no true stages or no predictions.
    """
    for role, text in given.items():
        if role not in ROLES:
            raise ValueError(f"{role!r} is not a role of a column; expected one of {', '.join(ROLES)}")
        for name in text.split(",") if role == "probabilities" else [text]:
            if name not in header:
                raise ValueError(f"no column {name!r}; expected one of {', '.join(header)}")
    spelt = {name.casefold(): name for name in reversed(header)}

    def first(role: str, names: Sequence[str]) -> str | None:
        return given.get(role) or find(header, names)

    probabilities = _probabilities(spelt, given.get("probabilities"))
    truth = first("truth", STAGES)
    # In tables of this software, `stage` is the vote, and `true_stage` the true stage if it is known.
    ours = "true_stage" in spelt or {"status", "unanimous"} <= set(spelt)
    names = (*PREDICTED, "stage") if ours else PREDICTED
    predicted = first("predicted", [name for name in names if name != given.get("truth")])
    cases = [found for name in CASES if (found := find(header, [name])) is not None]
    case = given.get("case") or next(filter(unique, cases), next(iter(cases), None))
    if truth is None or (ours and truth == spelt.get("stage") and "truth" not in given):
        raise ValueError(
            f"no column of the true stages among {', '.join(header)}; expected {', '.join(STAGES)}. Name the column in "
            "`columns` (truth=NAME); for the predictions of a batch, give the cohort table as `truth`"
        )
    if truth == predicted:
        raise ValueError(
            f"column {truth!r} is used for both the true and the predicted stage; expected two columns. Name them in "
            "`columns`"
        )
    if probabilities is None and predicted is None:
        raise ValueError(
            f"no predictions among {', '.join(header)}; expected four columns of probabilities (as in p_T1 to p_T4, "
            "or prob_0 to prob_3), or one of stages. Name them in `columns` (probabilities=A,B,C,D or predicted=NAME)"
        )
    return Columns(
        truth=truth,
        predicted=predicted,
        probabilities=probabilities,
        patient=first("patient", PATIENTS),
        case=case,
        centre=first("centre", CENTRES),
        split=first("split", ("split",)),
        others=_others(spelt, probabilities),
    )


def _probabilities(spelt: Mapping[str, str], given: str | None) -> tuple[str, str, str, str] | None:
    if given is not None:
        names = given.split(",")
        if len(set(names)) != len(TStage):
            raise ValueError(f"probabilities={given}; expected four columns, separated by commas")
        a, b, c, d = names
        return a, b, c, d
    for four in _PROBABILITY_SETS:
        if all(name.casefold() in spelt for name in four):
            a, b, c, d = (spelt[name.casefold()] for name in four)
            return a, b, c, d
    return None


def _others(spelt: Mapping[str, str], main: tuple[str, str, str, str] | None) -> dict[str, tuple[str, str, str, str]]:
    """Find further models, with four columns NAME_T1 to NAME_T4 each."""
    found = {}
    for name in spelt.values():
        if match := _ONE_OF_FOUR.fullmatch(name):
            four = [f"{match[1]}_T{k}".casefold() for k in (1, 2, 3, 4)]
            if all(one in spelt for one in four) and (main is None or spelt[four[0]] != main[0]):
                a, b, c, d = (spelt[one] for one in four)
                found[match[1]] = (a, b, c, d)
    return found


__all__ = ["PREDICTED", "ROLES", "Columns", "columns_of"]
