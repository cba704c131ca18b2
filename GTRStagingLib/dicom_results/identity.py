"""Derive the UIDs, numbers and times of a result's DICOM objects from the result.

The same case, staged again by the same model and software, gets the same UIDs, so that an archive recognises a second
export. The device is not part of them: its rounding errors do not make another result.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, get_args

import SimpleITK as sitk

import GTRStagingLib
from GTRStagingLib.dicom_results.evidence import Evidence
from GTRStagingLib.imaging.dicom_references import OWN_MODEL, is_own, value_of
from GTRStagingLib.staging.result import StagingResult

Kind = Literal["report", "map", "region", "key objects", "picture"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Objects of a result, in the order of their series numbers."""

Codes = Literal["standard", "private"]
"""Coding of stages and anatomy: SNOMED CT, or the private scheme `codes.SCHEME`."""

LAYOUT = 2
"""Version of the objects' content; a change of what is written raises it, so that new objects get new UIDs."""

MANUFACTURER = "GTR Staging developers"

_LARGEST_NUMBER = 2**31 - 1
_PATIENT_AND_STUDY = (
    "PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex PatientIdentityRemoved DeidentificationMethod "
    "StudyInstanceUID StudyDate StudyTime StudyID StudyDescription AccessionNumber ReferringPhysicianName"
)
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "dicom.gtrstaging")


@dataclass(frozen=True)
class Identity:
    """What tells a result's DICOM objects from others.

    Attributes
    ----------
    digest
        sha256 of what the result was made from, and of its decision.
    made
        Time of staging, in the time zone of the CT's times.
    first_number
        Number of the first series.
    weights_sha256
        Of the model's weights, which with this software are the device that made the objects.
    """

    digest: str
    made: datetime
    first_number: int
    weights_sha256: str

    @property
    def device_uid(self) -> str:
        """UID of this software with the model's weights, the same for all cases."""
        return _uid(f"device {GTRStagingLib.__version__} {self.weights_sha256}")

    def uid(self, what: str) -> str:
        """Return the UID of a part of the result, such as 'report' or 'series of report', from a UUID of its name."""
        return _uid(f"{self.digest} {what}")

    def of(self, kind: Kind) -> dict[str, Any]:
        """Return the arguments of highdicom's constructors that identify an object."""
        return {
            "series_instance_uid": self.uid(f"series of {kind}"),
            "series_number": self.first_number + KINDS.index(kind),
            "sop_instance_uid": self.uid(kind),
            "instance_number": 1,
        }


def equipment_of(result: StagingResult) -> dict[str, str]:
    """Return the arguments of highdicom's constructors that name the maker: this software with the model's weights.

    The serial number is the weights' sha256, since software has none: it tells two models apart.
    """
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": OWN_MODEL,
        "software_versions": GTRStagingLib.__version__,
        "device_serial_number": result.provenance.weights_sha256,
    }


def identity_of(evidence: Evidence, *, threshold: float, codes: Codes) -> Identity:
    """Return the identity of a result's objects."""
    result, key = evidence.result, evidence.key
    decision = {
        "layout": LAYOUT,
        "software": GTRStagingLib.__version__,
        "codes": codes,
        "images": [str(one.SOPInstanceUID) for one in evidence.headers],
        "frames": evidence.frames,
        "voxels": _digest(result.slices.native),
        "offsets": result.slices.offsets,
        "key": [result.key_slice.index, result.key_slice.chosen_by],
        "card": result.provenance.card_sha256,
        "weights": result.provenance.weights_sha256,
        "recipe": dict(result.provenance.recipe),
        "map": [result.attention.method, str(result.attention.target), result.attention.alignment, threshold],
        "mapped": result.attention.mapped,
        "roi": None if result.roi is None else [result.segment, _digest(result.roi)],
        "looks": None if result.looks is None else [[one.model, one.view] for one in result.looks.each],
        "votes": [str(one.stage) for one in result.prediction.slices],
        "stage": str(result.prediction.stage),
        "set": None if result.stage_set is None else [result.stage_set.text, result.stage_set.withheld],
        "familiarity": result.familiarity.verdict,
        "warnings": result.warnings,
        "patient": [str(key.get(keyword) or "") for keyword in _PATIENT_AND_STUDY.split()],
        "case": result.case_id,
    }
    text = json.dumps(decision, sort_keys=True, default=str)
    number = int(key.get("SeriesNumber") or 0) * 100 + 1
    return Identity(
        hashlib.sha256(text.encode()).hexdigest(),
        datetime.fromisoformat(result.provenance.utc).astimezone(_zone(key)),
        number if 0 < number <= _LARGEST_NUMBER - len(KINDS) else 1,
        result.provenance.weights_sha256,
    )


def _uid(name: str) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def _digest(image: sitk.Image) -> str:
    return hashlib.sha256(sitk.GetArrayViewFromImage(image).tobytes()).hexdigest()


def _zone(header: Any) -> timezone | None:
    """Return the time zone that a header states for its times; None, the machine's, if it states none."""
    text = str(header.get("TimezoneOffsetFromUTC") or "").strip()
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdecimal():
        return None
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:]))
    return timezone(-offset if text[0] == "-" else offset) if offset < timedelta(hours=24) else None


def is_result(header: Any) -> bool:
    """Return whether a DICOM object is a result that this software wrote, by its manufacturer and model."""
    return is_own(header) and str(value_of(header, "Manufacturer") or "").strip() == MANUFACTURER


__all__ = ["KINDS", "LAYOUT", "MANUFACTURER", "Codes", "Identity", "Kind", "equipment_of", "identity_of", "is_result"]
