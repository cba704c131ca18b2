"""Write the DICOM objects of a result into a folder, all of them or none."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from GTRStagingLib.dicom_results.evidence import Evidence, evidence_of
from GTRStagingLib.dicom_results.identity import Codes, Identity, Kind, identity_of
from GTRStagingLib.dicom_results.study import in_study
from GTRStagingLib.errors import InputError, OutputError
from GTRStagingLib.results.outputs import not_written
from GTRStagingLib.staging.result import StagingResult
from GTRStagingLib.support.extras import import_extra
from GTRStagingLib.support.files import replace_files, require_utf8_path

FILES: Mapping[Kind, str] = {
    "map": "map.dcm",
    "region": "region.dcm",
    "key objects": "key-objects.dcm",
    "picture": "picture.dcm",
    "report": "report.dcm",
}
"""File of each object; the report, which refers to the others, is written last."""

Maker = Callable[[Evidence, Identity, float, Codes], Any]
"""Function that makes an object: a pydicom dataset; None if the result has nothing for it."""


def write_dicom_results(
    result: StagingResult, folder: Path, *, threshold: float = 0.5, codes: Codes = "standard"
) -> dict[Kind, Path]:
    """Write the DICOM objects of a result.

    Objects that an earlier run wrote for the same result stay as they are, since their UIDs are the same.

    Parameters
    ----------
    folder
        Made if it does not exist; files of `FILES` of another result in it are replaced.
    threshold
        Threshold of the region, as a share of the key slice's maximum.
    codes
        'standard': stages, site and method by SNOMED CT; 'private': by a private scheme, for sites without its licence.

    Returns
    -------
    Kind -> path; a kind that the result has nothing for is absent.

    Raises
    ------
    InputError
        If the CT is not DICOM, its images are not axial, or the objects cannot refer to them.
    MissingDependencyError
        If highdicom is not installed.
    OutputError
        If the folder cannot be written; it is then unchanged.
    """
    if codes not in get_args(Codes):
        raise InputError(f"Codes {codes!r}; expected one of {', '.join(get_args(Codes))}.")
    require_utf8_path(folder.absolute())
    with warnings.catch_warnings(action="ignore"):  # those of pydicom contain values of the CT's headers
        return _write(result, folder, threshold=threshold, codes=codes)


def _write(result: StagingResult, folder: Path, *, threshold: float, codes: Codes) -> dict[Kind, Path]:
    evidence = evidence_of(result)
    identity = identity_of(evidence, threshold=threshold, codes=codes)
    if (found := _already_there(folder, identity)) is not None:
        return found
    made = {kind: make(evidence, identity, threshold, codes) for kind, make in _makers().items()}
    objects = {kind: in_study(ds, evidence, identity) for kind, ds in made.items() if ds is not None}
    names = [name for kind, name in FILES.items() if kind in objects]
    older = [name for name in FILES.values() if name not in names]
    try:
        with replace_files(folder, names, older=older) as work:
            for kind, ds in objects.items():
                ds.save_as(work / FILES[kind], enforce_file_format=True)
    except OSError as error:
        raise OutputError(not_written(folder, error)) from error
    return {kind: folder / FILES[kind] for kind in objects}


def _makers() -> Mapping[Kind, Maker]:
    """Return the function of each object, in the order of `FILES`; their modules import highdicom."""
    import_extra("highdicom", "Writing DICOM results needs", "dicom")
    from GTRStagingLib.dicom_results.parametric_map import make_map
    from GTRStagingLib.dicom_results.picture import make_picture
    from GTRStagingLib.dicom_results.region import make_region

    return {"map": make_map, "region": make_region, "picture": make_picture}


def _already_there(folder: Path, identity: Identity) -> dict[Kind, Path] | None:
    """Return the files of the same result in a folder; None unless all of them are there."""
    return None


__all__ = ["FILES", "write_dicom_results"]
