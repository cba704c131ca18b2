"""Read how far the stage holds along the scan from a table of predictions, and measure it."""

import numpy as np

from GTRStagingLib.batch.columns import STABILITY
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.parsing import SHOWN
from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.staging.stability import Stability
from GTRStagingLib.stats.stage_stability import StageStability, stage_stability
from GTRStagingLib.support.counts import counted


def slice_stability(found: Predictions) -> StageStability | None:
    """Measure the stability of some rows; None if no row has one.

    Raises
    ------
    InputError
        If some of the columns are missing or empty in a row where others are not, or the distances are impossible.
    """
    columns = [None if (named := found.spelt(name)) is None else found.numbers(named) for name in STABILITY]
    if all(column is None or np.isnan(column).all() for column in columns):
        return None
    if missing := [name for name, column in zip(STABILITY, columns, strict=True) if column is None]:
        raise InputError(
            f"{found.source} has no numbers in {', '.join(missing)}, but in others of the columns "
            f"{', '.join(STABILITY)}; expected all of them. Correct the table, or rename the others if they are "
            "something else."
        )
    rows: list[Stability | None] = []
    wrong = []
    for case, values in zip(found.case_names, np.stack([c for c in columns if c is not None], axis=1), strict=True):
        if np.isnan(values).all():
            rows.append(None)
            continue
        try:
            rows.append(Stability(*values.tolist()))
        except InputError as error:
            wrong.append(f"{case}: {error}")
    if wrong:
        raise InputError(
            f"{found.source}, columns {', '.join(STABILITY)}: {' '.join(wrong[:SHOWN])} "
            f"({counted(len(wrong), 'such row')}). Correct the table, or rename the columns if they are something else."
        )
    return stage_stability(found.stages, rows, found.clusters)


__all__ = ["slice_stability"]
