"""Studies that the tests of the room share; those who change one take a copy."""

import pytest
from helpers.reading_studies import make_study

from GTRStagingLib.reading.designs import Design


@pytest.fixture(scope="session")
def small_study(tmp_path_factory):
    """Eight cases, two readers, crossed, 28 days of wash-out."""
    return make_study(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def full_study(tmp_path_factory):
    """Training, repeats, halves of 12 cases, counter-balanced."""
    design = Design(kind="halves", counterbalanced=True, repeats=1, training=4, seed=11, washout_days=30)
    return make_study(tmp_path_factory.mktemp("full"), cases=12, design=design, may_revise=True)
