"""Write the DICOM objects of a result into a folder, all of them or none."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from GTRStagingLib.dicom_results.codes import finish_codes
from GTRStagingLib.dicom_results.evidence import CLASSES, Evidence, evidence_of, require_source
from GTRStagingLib.dicom_results.identity import MANUFACTURER, Codes, Identity, Kind, identity_of
from GTRStagingLib.dicom_results.study import in_study
from GTRStagingLib.errors import InputError, OutputError
from GTRStagingLib.imaging.dicom_files import UNDEFINED
from GTRStagingLib.imaging.dicom_headers import is_dicom, whole_header
from GTRStagingLib.imaging.dicom_references import value_of
from GTRStagingLib.imaging.scans import Scan
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
        Made if it does not exist; objects of an earlier result on the same CT in it are replaced.
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
        If the CT is not DICOM, its images are not axial, the objects cannot refer to them, or the folder contains
        images of a CT, objects about another CT, or other files with the names of `FILES`.
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


def require_dicom_results(scan: Scan, folder: Path | None = None) -> None:
    """Raise an error unless results on a CT can be written as DICOM into a folder; call it before the staging.

    Raises
    ------
    InputError
        If the CT is not DICOM, its images are not axial, or the folder has images of a CT.
    MissingDependencyError
        If highdicom is not installed.
    """
    require_source(scan)
    import_extra("highdicom", "Writing DICOM results needs", "dicom")
    if folder is not None and folder.is_dir():
        _require_no_images(folder)


def _require_no_images(folder: Path) -> None:
    for path in sorted(one for one in folder.iterdir() if one.is_file() and is_dicom(one)):
        if str(value_of(whole_header(path, ["SOPClassUID"]), "SOPClassUID")) in CLASSES:
            raise InputError(
                f"{folder} has images of a CT; expected a folder for the results alone, so that a CT and its results "
                "are not read or sent as one. Choose another folder."
            )


def _write(result: StagingResult, folder: Path, *, threshold: float, codes: Codes) -> dict[Kind, Path]:
    require_dicom_results(result.scan, folder)
    evidence = evidence_of(result)
    identity = identity_of(evidence, threshold=threshold, codes=codes)
    if (found := _already_there(folder, evidence, identity)) is not None:
        return found
    objects = _objects(evidence, identity, threshold, codes)
    names = [name for kind, name in FILES.items() if kind in objects]
    older = [name for name in FILES.values() if name not in names]
    try:
        with replace_files(folder, names, older=older) as work:
            for kind, ds in objects.items():
                ds.save_as(work / FILES[kind], enforce_file_format=True)
    except OSError as error:
        raise OutputError(not_written(folder, error)) from error
    return {kind: folder / FILES[kind] for kind in objects}


def _objects(evidence: Evidence, identity: Identity, threshold: float, codes: Codes) -> dict[Kind, Any]:
    """Make the objects, in the order of `FILES`; a kind that the result has nothing for is absent."""
    from GTRStagingLib.dicom_results.key_objects import make_key_objects
    from GTRStagingLib.dicom_results.parametric_map import make_map
    from GTRStagingLib.dicom_results.picture import make_picture
    from GTRStagingLib.dicom_results.region import make_region
    from GTRStagingLib.dicom_results.structured_report import make_report

    makers: Mapping[Kind, Maker] = {
        "map": make_map,
        "region": make_region,
        "key objects": make_key_objects,
        "picture": make_picture,
    }
    made = {kind: make(evidence, identity, threshold, codes) for kind, make in makers.items()}
    objects = {kind: ds for kind, ds in made.items() if ds is not None}
    objects["report"] = make_report(evidence, identity, threshold, objects)
    # Codes that the CT's headers state about patient and study stay as they are.
    return {kind: in_study(finish_codes(ds, codes), evidence, identity) for kind, ds in objects.items()}


def _already_there(folder: Path, evidence: Evidence, identity: Identity) -> dict[Kind, Path] | None:
    """Return the files of the same result in a folder; None unless all of them are there, whole.

    Raises
    ------
    InputError
        If a file in the folder is not an object about the same CT.
    """
    there = {kind: folder / name for kind, name in FILES.items() if (folder / name).is_file()}
    objects = {kind: read_object(path) for kind, path in there.items()}
    for kind, ds in objects.items():
        if not _about_this_ct(ds, evidence.key):
            raise InputError(
                f"{there[kind]} is not a DICOM result on this CT; expected a folder for its results alone, so that "
                "those of another CT are not lost. Choose another folder, or move the files in it away."
            )
    if "report" not in there or any(ds.SOPInstanceUID != identity.uid(kind) for kind, ds in objects.items()):
        return None
    listed = {uid for _, uid in references_of(objects["report"])}
    expected = {kind for kind in FILES if kind == "report" or identity.uid(kind) in listed}
    return there if there.keys() == expected else None


def read_object(path: Path) -> Any:
    """Return the dataset of a file; None if it is not DICOM, is damaged, or is cut off, which pydicom passes over."""
    from pydicom import dcmread
    from pydicom.dataelem import RawDataElement
    from pydicom.errors import InvalidDicomError

    with suppress(InvalidDicomError, OSError, EOFError, ValueError, AttributeError, NotImplementedError):
        ds = dcmread(path)
        raw = [element for tag in ds.keys() if isinstance(element := ds.get_item(tag), RawDataElement)]  # noqa: SIM118
        if not any(one.length != UNDEFINED and len(one.value or b"") < one.length for one in raw):
            return ds
    return None


def _about_this_ct(ds: Any, key: Any) -> bool:
    """Return whether an object was made by this software from the series of the key slice's image."""
    if ds is None or ds.get("Manufacturer") != MANUFACTURER or ds.get("StudyInstanceUID") != key.StudyInstanceUID:
        return False
    series = {series for series, _ in references_of(ds)}
    return not series or str(key.SeriesInstanceUID) in series  # a picture names no series


def references_of(ds: Any) -> list[tuple[str, str]]:
    """Return the objects that an object lists as its evidence or its sources: UIDs of series and instance."""
    studies = ds.get("CurrentRequestedProcedureEvidenceSequence") or [ds]
    return [
        (str(series.SeriesInstanceUID), str(one.ReferencedSOPInstanceUID))
        for study in studies
        for series in study.get("ReferencedSeriesSequence") or ()
        for one in series.get("ReferencedSOPSequence") or series.get("ReferencedInstanceSequence") or ()
    ]


__all__ = ["FILES", "read_object", "references_of", "require_dicom_results", "write_dicom_results"]
