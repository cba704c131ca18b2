"""Refuse a case whose parts have other types than staging takes."""

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.support.given import require_type
from GTRStagingLib.tables.cells import visible_text

DEFAULTS = StagingOptions()


def require_case(
    scan: object,
    options: object = DEFAULTS,
    *,
    tumour: object = None,
    stomach: object = None,
    case_id: object = None,
) -> None:
    """Raise `InputError` unless a scan, options, ROIs and a name can be those of a case; ROIs and name may be None.

    The key slice is checked by `keyslice.by_index`, which every way to a slice uses.
    """
    require_type("scan", scan, Scan, "a scan", "Call read_scan(path), or scan_of(image, name).")
    require_type("options", options, StagingOptions, "options of staging", "Give StagingOptions(...).")
    for name, roi in (("tumour", tumour), ("stomach", stomach)):
        if roi is not None:
            require_type(name, roi, Roi, "an ROI", "Call read_roi(path), or Roi(image, name).")
    if case_id is not None:
        require_case_id(case_id)


def require_backbone(backbone: object) -> None:
    """Raise `InputError` unless a model is loaded."""
    from GTRStagingLib.model.passes import Backbone

    remedy = "Call load_model(name), or model.backbone.ready(model)."
    require_type("backbone", backbone, Backbone, "a backbone", remedy)


def require_case_id(case_id: object) -> None:
    """Raise `InputError` unless the name of a case is a visible text."""
    require_type("case_id", case_id, str, "a name", 'Give case_id="...".')
    try:
        visible_text(str(case_id))
    except ValueError as error:
        raise InputError(f"`case_id` {case_id!r}: {error}.") from error


__all__ = ["DEFAULTS", "require_backbone", "require_case", "require_case_id"]
