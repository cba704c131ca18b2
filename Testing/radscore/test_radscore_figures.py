"""Figures of a Rad-score can be read in a column of a journal."""

import pytest
from helpers.figure_checks import faults
from helpers.golden_data import GOLDEN

from GTRStagingLib.radscore import figures
from GTRStagingLib.radscore.fit import fit_cohort
from GTRStagingLib.radscore.inputs import from_table, read_rows
from GTRStagingLib.support.figures import COLUMN


@pytest.fixture(scope="module")
def fit():
    features = from_table(GOLDEN / "features.csv")
    return fit_cohort(read_rows(GOLDEN / "cohort.csv"), features, name="score", folds=5).fit


def test_no_text_is_small_cut_off_or_over_data(fit):
    drawn = (figures.error_figure(fit), figures.paths_figure(fit), figures.coefficients_figure(fit.radscore))
    for figure in drawn:
        assert figure.get_figwidth() == COLUMN
        assert faults(figure) == []
