import pytest

from GTRStagingLib.batch import batch, local
from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.model.backbone import load_model
from GTRStagingLib.phantoms.phantom_cohort import make_phantom_cohort
from GTRStagingLib.staging.options import StagingOptions


@pytest.fixture(scope="package")
def real_batch(tmp_path_factory):
    """Return the output folder of a batch of three small phantoms, staged by the demonstration model."""
    folder = tmp_path_factory.mktemp("real")
    table = make_phantom_cohort(folder / "phantoms", cases=3, seed=5100, size=96)
    work = batch.one_by_one(local.stage_from_files(load_model("demonstration", device="cpu"), StagingOptions()))
    outcomes = list(batch.Batch(read_cases(table), folder / "batch", {"model": "demonstration"}).run(work))
    assert [one.status for one in outcomes] == ["done"] * 3
    return folder / "batch"
