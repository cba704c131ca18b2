"""Read the CT of a study from a DICOMweb service: the metadata first, then only the slices that are decoded."""

from collections.abc import Callable, Sequence
from functools import partial

from GTRStagingLib.archive.web import WebArchive, text_in
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom_headers import Header, remote_header, whole_header
from GTRStagingLib.imaging.dicom_references import References, is_own
from GTRStagingLib.imaging.scans import Scan, remote_scan
from GTRStagingLib.support.addresses import WebAddress
from GTRStagingLib.support.files import sha256_of_data


def read_remote(
    address: WebAddress,
    *,
    series: str | None = None,
    referring: Sequence[References] = (),
    by_key_objects: bool = False,
    archive: WebArchive | None = None,
) -> Scan:
    """Read the CT of a study.

    Parameters
    ----------
    address
        Service with the study, and optionally the UID of the series.
    series, referring, by_key_objects
        As in `imaging.scans.read_scan`. Key object selections are those of the study; those of this software are
        results, and are left out.
    archive
        Service that is asked; by default a new one of this address.

    Raises
    ------
    InputError, GeometryError
        If the study or the series is not there, or is not a CT that can be read without doubt.
    MachineError
        If the archive cannot be reached, or does not accept the credentials.
    """
    study, asked = _study_of(address), archive or WebArchive(address)
    wanted = _wanted(address, series)
    scans, marks = _series_of(asked, study, wanted)
    headers = [header for uid in scans for header in _headers(asked, study, uid, "image")]
    headers += _marking(asked, study, marks)
    return remote_scan(headers, place=address.whole, series=wanted, referring=referring, by_key_objects=by_key_objects)


def states_of(address: WebAddress, *, series: str | None = None) -> str:
    """Return a hash of the images and key object selections that the archive has of a CT.

    It is equal as long as none is added or removed; those of this software are results, and do not count.

    Raises
    ------
    InputError, MachineError
        As `read_remote`.
    """
    study, asked = _study_of(address), WebArchive(address)
    wanted = _wanted(address, series)
    scans, marks = _series_of(asked, study, wanted)
    images = {uid: sorted(asked.instances_of(study, uid)) for uid in scans}
    for header in _marking(asked, study, marks):
        found = whole_header(header.path)
        images.setdefault(str(found.SeriesInstanceUID), []).append(str(found.SOPInstanceUID))
    images = {uid: sorted(every) for uid, every in images.items()}
    return sha256_of_data(address.base, study, wanted, images)


def _marking(archive: WebArchive, study: str, series: Sequence[str]) -> list[Header]:
    """Return the headers of the key object selections in these series that this software did not write."""
    every = (header for uid in series for header in _headers(archive, study, uid, "key object selection"))
    return [header for header in every if not is_own(whole_header(header.path))]


def _headers(archive: WebArchive, study: str, series: str, what: str) -> list[Header]:
    items = archive.metadata(study, series)
    names = [f"{what} {number} of {len(items)}" for number in range(1, len(items) + 1)]
    return [
        remote_header(item, name, _fetching(archive, study, series, text_in(item, "00080018"), name))
        for item, name in zip(items, names, strict=True)
    ]


def _study_of(address: WebAddress) -> str:
    if address.study is None:
        raise InputError(
            f"{address} names no study; expected one. Give `study`, its UID, or write it into the address: "
            "dicomweb:https://HOST/PATH/studies/UID."
        )
    return address.study


def _wanted(address: WebAddress, series: str | None) -> str | None:
    if series is None or address.series is None or series == address.series:
        return address.series if series is None else series
    raise InputError("The address names another series than `series`; expected one. Leave one of them out.")


def _series_of(archive: WebArchive, study: str, wanted: str | None) -> tuple[list[str], list[str]]:
    """Return the UIDs of the study's CT series, and of its key object selections.

    If `wanted` is the UID of a series, with or without a part, it is the only CT series.
    """
    every = archive.series_of(study)
    found = {text_in(one, "0020000E") or "": text_in(one, "00080060") for one in every}
    marks = sorted(uid for uid, modality in found.items() if uid and modality == "KO")
    if wanted is not None and (uid := wanted.rpartition("#")[0] or wanted) in found:
        return [uid], [one for one in marks if one != uid]
    scans = sorted(uid for uid, modality in found.items() if uid and modality == "CT")
    if not scans:
        kinds = ", ".join(sorted({modality or "unknown" for modality in found.values()}))
        raise InputError(f"{archive.address}: the study has no CT; found {kinds}. Check the study's UID.")
    return scans, marks


def _fetching(archive: WebArchive, study: str, series: str, instance: str | None, name: str) -> Callable[[], bytes]:
    if instance is None:
        raise InputError(
            f"{name}: the archive's metadata have no SOPInstanceUID; expected one, as in every image. Export the "
            "series from the archive, and give its folder."
        )
    return partial(archive.image, study, series, instance)


__all__ = ["read_remote", "states_of"]
