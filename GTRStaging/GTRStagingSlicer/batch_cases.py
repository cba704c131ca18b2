"""List the cases of a batch that has ended, with what failed and why, and open them in a scene; no Qt."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from GTRStagingLib.batch.batch import SCENE
from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.batch.columns import PREDICTIONS
from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.cells import unguarded
from GTRStagingSlicer import nodes, samples
from GTRStagingSlicer.mrml import Scene, SegmentationNode, VolumeNode
from GTRStagingSlicer.words import tr as _

MOST_NAMED = 5
"""Failed cases that are named in the panel; the table has all."""


@dataclass(frozen=True)
class BatchCase:
    """Case of a batch, as its table of predictions states it.

    Attributes
    ----------
    status
        'done', 'failed' or 'skipped'.
    reason
        Why it failed or was skipped; empty if it is done.
    stage
        The predicted stage; empty unless it is done.
    key_slice
        Axial index of its key slice; -1 unless it is done.
    folder
        Its case folder.
    """

    case_id: str
    status: str
    reason: str
    stage: str
    key_slice: int
    folder: Path

    @property
    def in_words(self) -> str:
        """Id and outcome, for a list."""
        outcome = self.stage or {"failed": _("failed"), "skipped": _("skipped")}.get(self.status, self.status)
        return f"{self.case_id}: {outcome}"

    @property
    def scene_file(self) -> Path | None:
        """The case's scene file; None if the batch wrote none, as that of the panel."""
        path = self.folder / SCENE
        return path if path.is_file() else None


def read(out: Path) -> tuple[BatchCase, ...]:
    """Read the cases of a batch's folder, those that failed first; empty without a table of predictions."""
    if not (out / PREDICTIONS).is_file():
        return ()
    with (out / PREDICTIONS).open(encoding="utf-8", newline="") as file:
        rows = [{key: unguarded(value or "") for key, value in row.items() if key} for row in csv.DictReader(file)]
    found = [
        BatchCase(
            row["case_id"],
            row["status"],
            row.get("reason", ""),
            row.get("stage", ""),
            int(row.get("key_slice") or -1),
            out / "cases" / row["case_id"],
        )
        for row in rows
    ]
    return tuple(sorted(found, key=lambda one: one.status != "failed"))


def failures_in_words(cases: Sequence[BatchCase]) -> str:
    """Name the cases that failed with their reasons, at most `MOST_NAMED`; empty if none did."""
    failed = [one for one in cases if one.status == "failed"]
    lines = [f"{one.case_id}: {one.reason}" for one in failed[:MOST_NAMED]]
    if len(failed) > MOST_NAMED:
        lines.append(_("and {count} more: see the table.").format(count=len(failed) - MOST_NAMED))
    return "\n".join(lines)


def add_to_scene(scene: Scene, table: Path, case_id: str) -> tuple[VolumeNode, SegmentationNode | None]:
    """Add CT and ROI of a case of a case table to a scene, read as by the batch.

    Returns
    -------
    The CT; the segmentation whose segment `samples.TUMOUR` is the ROI, None without one.

    Raises
    ------
    InputError
        If the table has no such case any more, or its files cannot be read.
    """
    from GTRStagingLib.imaging.rois import read_roi
    from GTRStagingLib.imaging.scans import read_scan

    row = next((one for one in read_cases(table).rows if one.case_id == case_id), None)
    if row is None:
        raise InputError(
            _("The case table {name} has no case “{case}” any more; expected that of the batch. Choose it.")
            .format(name=table.name, case=case_id)
        )  # fmt: skip
    ct = samples.add_ct(scene, read_scan(Path(row.ct), series=row.series or None).image, case_id)
    if row.roi is None:
        return ct, None
    roi = read_roi(row.roi, segment=row.segment)
    drawn: sitk.Image = roi.image(nodes.placed(ct).image, resample=True)
    return ct, samples.add_tumour(scene, ct, drawn, roi.segment, roi.segment)


__all__ = ["BatchCase", "add_to_scene", "failures_in_words", "read"]
