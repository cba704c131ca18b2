"""Options of `listen` are passed on to `stage`."""

import pytest

from GTRStagingLib.archive.contents import Contents
from GTRStagingLib.cli.listen import _arguments
from GTRStagingLib.cli.main import make_parser


@pytest.mark.parametrize("codes", [(), ("--dicom-codes", "private")])
def test_the_coding_of_the_results_is_passed_on(tmp_path, codes):
    command = ["listen", "--spool", "s", "--store", "dicom://A@127.0.0.1:1", "--known", "A", *codes]
    passed = _arguments(make_parser().parse_args(command), tmp_path, Contents((), 1, 1), tmp_path / "out")
    staged = make_parser().parse_args(["stage", *passed])
    assert staged.dicom_codes == (codes[1] if codes else None)
