"""Stage the case of a state: read the nodes, call the library, and show the result in the scene.

This module needs neither Qt nor the application. The panel, the self-test, headless runs and the command line all call
`stage` or `show`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import SimpleITK as sitk

from GTRStagingLib.errors import InputError, StagingError
from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingLib.imaging.keyslice import KeySlice
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.staging.options import SWEEP, StagingOptions, parse_target
from GTRStagingLib.support.shared_text import without_identifiers
from GTRStagingSlicer import candidates, case_results, charts, layers, nodes, records, tables
from GTRStagingSlicer.background import at_once
from GTRStagingSlicer.mrml import Application, Scene, SegmentationNode, VolumeNode
from GTRStagingSlicer.nodes import Placed
from GTRStagingSlicer.organs import stomachs
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _

if TYPE_CHECKING:
    from GTRStagingLib.model.passes import Backbone
    from GTRStagingLib.staging.proposal import Proposal
    from GTRStagingLib.staging.result import StagingResult

TUMOUR_AREA = "tumour area"
"""Value of `State.keySliceChosenBy` and `KeySlice.chosen_by` for the segment's largest section."""

CONFIRMED = "confirmed"
"""The same for a slice that the model proposed and the user chose."""

PROPOSED = "proposed"
"""The same for a slice that the model proposed and nobody confirmed, as in a scene of `gtrstaging stage --mrb`."""


# -- before --------------------------------------------------------------------------------------------------------


def reason_not_ready(state: State) -> str | None:
    """Return why the case cannot be staged yet, for the Apply button; None if it can."""
    volume = state.inputVolume
    if volume is None:
        return _("Choose the CT volume first.")
    if volume.GetImageData() is None:
        return _("The volume “{name}” contains no voxels: load it again, or choose another.").format(
            name=volume.GetName()
        )
    if layers.is_attention(volume):
        return _("The volume “{name}” is an attention map; choose the CT.").format(name=volume.GetName())
    if candidates.of_another_study(state):
        return _("The segmentation “{name}” is of another study ({other}) than the CT ({study}); choose one of this "
                 "CT, or draw the tumour on it.").format(
            name=state.tumourSegmentation.GetName(),
            other=candidates.study_name(state.tumourSegmentation)
            or candidates.study_name(candidates.drawn_on_another(state)),
            study=candidates.study_name(volume),
        )  # fmt: skip
    if state.tumourSegmentation is not None and not has_segment(state):
        return _("Choose the tumour's segment, or no segmentation.")
    if state.keySlice < 0 and not has_segment(state) and not _is_one_slice(volume):
        return _("Choose the key slice: the slice that shows the tumour best.")
    return None


def _is_one_slice(volume: VolumeNode) -> bool:
    """Return whether a volume has only one axial slice, which is its key slice then."""
    if 1 not in volume.GetImageData().GetDimensions():
        return False
    try:
        return geometry.axial_size(nodes.grid_of(volume))[2] == 1
    except StagingError:  # reported when the case is staged
        return False


def has_segment(state: State) -> bool:
    """Return whether the chosen segment exists in the chosen segmentation."""
    segmentation = state.tumourSegmentation
    return segmentation is not None and state.tumourSegment in candidates.tumour_segments(segmentation)


def roi_of(state: State, placed_ct: Placed) -> Roi | None:
    """Return the chosen segment as an ROI; None if no segment is chosen."""
    if state.tumourSegmentation is None or not state.tumourSegment:
        return None
    return nodes.roi_of(state.tumourSegmentation, state.tumourSegment, state.inputVolume, placed_ct)


def largest_section(state: State, placed_ct: Placed) -> KeySlice:
    """Return the slice with the largest section of the chosen segment.

    Raises
    ------
    InputError, GeometryError
        If no segment is chosen, or it does not lie in the CT.
    """
    roi = roi_of(state, placed_ct)
    if roi is None:
        raise InputError(
            _("No segment is chosen; expected the tumour's. Choose the segmentation and the segment first.")
        )
    mask = roi.onto(placed_ct.image, resample=not _on_lattice(roi, placed_ct.image))
    return keyslice.by_area(placed_ct.image, mask)


def _on_lattice(roi: Roi, ct: geometry.ImageOrGrid) -> bool:
    """Return whether the voxels of an ROI are voxels of the CT."""
    return geometry.on_lattice(roi.image(ct, resample=True), ct)


# -- the stomach ---------------------------------------------------------------------------------------------------


def stomach_of(state: State, placed_ct: Placed) -> Roi | None:
    """Return the chosen segment of the stomach, else the one recognised in the scene, as an ROI; None without one.

    Raises
    ------
    InputError
        If none is chosen and several are recognised, or the one is empty.
    """
    found = called_stomach(state)
    if len(found) > 1:
        raise InputError(
            _("The scene has {count} segments called “stomach”; expected at most one. Choose the one of this CT under "
              "“Stomach (optional)”.").format(count=len(found))
        )  # fmt: skip
    return None if not found else nodes.roi_of(*found[0], state.inputVolume, placed_ct)


def called_stomach(state: State) -> list[tuple[SegmentationNode, str]]:
    """Return the chosen stomach, else those recognised in the scene: rather another than the tumour's segment."""
    if state.stomachSegmentation is not None:
        return [(state.stomachSegmentation, state.stomachSegment)]
    found = stomachs(state.inputVolume.GetScene())
    others = [(node, one) for node, one in found if (node, one) != (state.tumourSegmentation, state.tumourSegment)]
    return others or found


def _stomach_to_compare(state: State, case: "Case") -> tuple[Roi | None, tuple[str, ...]]:
    """Return the stomach to compare the key slice with, and a warning if that of the scene cannot be.

    A scene may have a stomach of another CT, or one that is not drawn yet: that must not keep a case from being staged.
    """
    from GTRStagingLib.staging.proposal import stomach_slices

    try:
        stomach = stomach_of(state, case.placed_ct)
        if stomach is not None:
            stomach_slices(case.scan, stomach, resample=True)
    except StagingError as error:
        # Nodes are often named after patients, and the warning is part of the report.
        segmentation, _segment = called_stomach(state)[0]
        names = {"VolumeName": state.inputVolume.GetName(), "SegmentationName": segmentation.GetName()}
        reason = without_identifiers(str(error), {key: name or "" for key, name in names.items()})
        return None, (_("The key slice was not compared with the stomach. {reason}").format(reason=reason),)
    return stomach, ()


# -- the run -------------------------------------------------------------------------------------------------------


def options_of(state: State, *, neighbour_maps: bool = True) -> StagingOptions:
    """Return the staging options of a state; the panel has no choice for `neighbour_maps`."""
    return StagingOptions(
        method=state.method.value,
        target=parse_target(state.target.value),
        threshold=state.threshold,
        neighbour_maps=neighbour_maps,
    )


def compute(
    state: State,
    backbone: "Backbone",
    *,
    neighbour_maps: bool = True,
    progress: Callable[[str], None] = lambda step: None,
    apart: Callable[..., "StagingResult"] = at_once,
) -> tuple["StagingResult", Placed]:
    """Stage the case of a state, without changing the scene.

    If the scene has a segment that is called 'stomach', a key slice without stomach is warned of. One that cannot be
    compared, as one outside the CT, is warned of, too.

    Parameters
    ----------
    state
        The module's parameter node, or a `State`.
    backbone
        Model of the state, loaded on the device of the state.
    neighbour_maps
        Whether to compute a fine map for the neighbouring slices too (see `StagingOptions`).
    progress
        Called with the name of each step; an exception that it raises (`Cancelled`) stops the run.
    apart
        Does the part that needs no scene, with `progress`; in a thread for the panel (`background.Worker.steps`).

    Returns
    -------
    The result, and the CT with its geometry in world coordinates.

    Raises
    ------
    StagingError
        If the case cannot be staged.
    """
    from GTRStagingLib.staging.pipeline import stage_case

    progress("reading")
    case = case_of(state)
    stomach, notes = _stomach_to_compare(state, case)
    elsewhere = stomach is not None and not _on_lattice(stomach, case.scan.grid)
    options = replace(options_of(state, neighbour_maps=neighbour_maps), resample_roi=case.resample or elsewhere)
    result = apart(
        lambda tell: stage_case(
            case.scan,
            backbone,
            options,
            tumour=case.tumour,
            stomach=stomach,
            key_slice=case.key_slice,
            progress=tell,
        ),
        progress,
    )
    return replace(result, warnings=(*notes, *_elsewhere_drawn(state), *result.warnings)), case.placed_ct


def _elsewhere_drawn(state: State) -> tuple[str, ...]:
    """Return the warning that the segmentation was drawn on another volume; without names of nodes."""
    if candidates.drawn_on_another(state) is None:
        return ()
    return (_("The segment was drawn on another volume of the scene, not on this CT."),)


class Case(NamedTuple):
    """Case of a state, read from its nodes.

    Attributes
    ----------
    key_slice
        The slice that was chosen; None if it is that of the largest area of `tumour`, or the only one.
    resample
        Whether the segment lies on other voxels than the CT's.
    """

    placed_ct: Placed
    scan: Scan
    tumour: Roi | None
    key_slice: KeySlice | None
    resample: bool


def case_of(state: State) -> Case:
    """Read the case of a state from its nodes; raise `StagingError` if it cannot be staged."""
    if (reason := reason_not_ready(state)) is not None:
        raise InputError(reason)
    placed_ct = nodes.placed(state.inputVolume)
    scan = nodes.scan_of(placed_ct, state.inputVolume.GetName() or "")
    roi = roi_of(state, placed_ct)
    by_hand = state.keySlice >= 0 and (roi is None or state.keySliceChosenBy != TUMOUR_AREA)
    return Case(
        placed_ct=placed_ct,
        scan=scan,
        tumour=roi,
        key_slice=_given_key_slice(scan.grid, state) if by_hand else None,
        resample=roi is not None and not _on_lattice(roi, scan.grid),
    )


def _given_key_slice(grid: geometry.ImageOrGrid, state: State) -> KeySlice:
    known: Mapping[str, keyslice.ChosenBy] = {CONFIRMED: "confirmed", PROPOSED: "proposed"}
    chosen_by = known.get(state.keySliceChosenBy, "hand")
    return keyslice.by_index(grid, state.keySlice, chosen_by=chosen_by)


def propose(
    state: State,
    backbone: "Backbone",
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    apart: Callable[..., "Proposal"] = at_once,
) -> "Proposal":
    """Let the model propose the key slice of the CT of a state, without changing the scene.

    If the scene has one segment that is called 'stomach', only slices with stomach are proposed.

    Parameters
    ----------
    progress
        Called with the number of scored slices and of all; an exception that it raises (`Cancelled`) stops the run.
    apart
        Does the part that needs no scene, as for `compute`.

    Raises
    ------
    StagingError
        If nothing can be proposed, or the scene has several segments of this name.
    """
    from GTRStagingLib.staging import proposal

    if state.inputVolume is None:
        raise InputError(_("Choose the CT volume first."))
    placed_ct = nodes.placed(state.inputVolume)
    scan = nodes.scan_of(placed_ct, state.inputVolume.GetName() or "")
    stomach = stomach_of(state, placed_ct)
    elsewhere = stomach is not None and not _on_lattice(stomach, scan.grid)
    return apart(
        lambda tell: proposal.propose(scan, backbone, stomach=stomach, resample=elsewhere, progress=tell), progress
    )


def stage(
    state: State,
    backbone: "Backbone",
    scene: Scene,
    application: Application | None = None,
    *,
    neighbour_maps: bool = True,
    progress: Callable[[str], None] = lambda step: None,
) -> "StagingResult":
    """Stage the case of a state as `compute` does, and show the result in the scene.

    The scene does not change before the last step.

    Parameters
    ----------
    application
        Application logic, with the logic of volume rendering; without it the attention is not rendered in 3-D.

    Raises
    ------
    StagingError
        If the case cannot be staged.
    """
    result, placed_ct = compute(state, backbone, neighbour_maps=neighbour_maps, progress=progress)
    progress("showing")
    show(result, state, scene, application, placed_ct=placed_ct)
    return result


def show(
    result: "StagingResult",
    state: State,
    scene: Scene,
    application: Application | None = None,
    *,
    placed_ct: Placed,
) -> None:
    """Show a result in the scene as that of its CT: attention, tables, plot, and the record as a text node."""
    from GTRStagingLib.results.record import to_json

    scene.SaveStateForUndo()
    case_results.turn_to_ct(state, scene)
    ct, record = state.inputVolume, to_json(result)
    key = result.heat[:, :, result.slices.key : result.slices.key + 1]
    keep_key_slice(state, result.key_slice)
    state.attentionVolume = layers.show_attention(
        scene,
        state.attentionVolume,
        result.attention_volume,
        key_peak=float(sitk.GetArrayViewFromImage(key).max()),
        ct=ct,
        placed_ct=placed_ct,
        name=_("{ct}: {heat}").format(ct=ct.GetName(), heat=records.heat_in_words(record["attention"])),
    )
    state.votingSlices = layers.show_voting(
        scene, state.votingSlices, placed_ct.image, result.key_slice, ct, shown=state.showVoting
    )
    text = layers.reuse_or_add(scene, state.resultText, "vtkMRMLTextNode", _("{ct} result").format(ct=ct.GetName()))
    text.SetText(json.dumps(record, allow_nan=False))
    layers.place_beside(scene, text, ct)
    state.resultText = text
    state.resultTable = tables.show_result(scene, state.resultTable, record, ct)
    state.resultVolume, state.resultSegmentation = ct, state.tumourSegmentation
    layers.overlay(scene, ct, state.attentionVolume, state.opacity)
    _show_agreement(state, record, scene)
    _draw_outline(state, scene)
    restyle(state, scene, application)
    case_results.keep(state, scene, settings_of(state))


def keep_key_slice(state: State, key: KeySlice) -> None:
    """Store the key slice of a result in the state."""
    state.keySlice = key.index
    state.keySliceChosenBy = key.chosen_by if key.chosen_by in (TUMOUR_AREA, CONFIRMED, PROPOSED) else "hand"


def _show_agreement(state: State, record: Mapping[str, Any], scene: Scene) -> None:
    """Fill the tables and the plot of the agreement; without an agreement, remove those of an earlier run."""
    agreement, ct = record["agreement"], state.inputVolume
    if agreement is not None:
        state.agreementTable = tables.show_agreement(scene, state.agreementTable, agreement, state.threshold, ct)
        state.sweepTable, state.sweepPlot = tables.show_sweep(scene, state.sweepTable, state.sweepPlot, agreement, ct)
        return
    plot = state.sweepPlot
    series = [] if plot is None else charts.series_of(plot)
    stale = [state.agreementTable, state.sweepTable, plot, *series]
    state.agreementTable = state.sweepTable = state.sweepPlot = None
    for node in stale:
        if node is not None and node.GetScene() is scene:
            scene.RemoveNode(node)


# -- after ---------------------------------------------------------------------------------------------------------


def restyle(state: State, scene: Scene, application: Application | None = None) -> None:
    """Draw the attention with the opacity, threshold, legend, outline and 3-D view of the state."""
    attention = state.attentionVolume
    if attention is None or attention.GetImageData() is None:
        return
    layers.style_attention(attention, shown_from=state.shownFrom)
    layers.set_opacity(scene, attention, state.opacity)
    record = record_of(state)
    heat = _("Attention") if record is None else records.heat_in_words(record["attention"])
    layers.show_legend(attention, heat, state.showLegend)
    layers.show_3d(application, attention, state.show3D, state.shownFrom)
    if state.showOutline and state.attentionOutline is None:
        _draw_outline(state, scene)
    if state.attentionOutline is not None and state.attentionOutline.GetDisplayNode() is not None:
        state.attentionOutline.SetDisplayVisibility(state.showOutline)
    if state.votingSlices is not None and state.votingSlices.GetDisplayNode() is not None:
        state.votingSlices.SetDisplayVisibility(state.showVoting and state.keySlice >= 0)


def _draw_outline(state: State, scene: Scene) -> None:
    """Draw the outline if it is shown, or if a hidden one exists and would become outdated."""
    attention, ct = state.attentionVolume, state.resultVolume
    wanted = state.showOutline or state.attentionOutline is not None
    if wanted and ct is not None and attention is not None and attention.GetImageData() is not None:
        name = _("{ct} attention outline").format(ct=ct.GetName())
        state.attentionOutline = layers.show_outline(
            scene, state.attentionOutline, attention, ct, threshold=state.threshold, name=name
        )
        case_results.file_in_folder(state, scene)


def rethreshold(state: State, scene: Scene, application: Application | None = None) -> None:
    """Update outline and agreement to a new threshold; the record contains every step of the sweep."""
    record, ct = record_of(state), state.resultVolume
    if record is not None and record["agreement"] is not None and ct is not None:
        state.agreementTable = tables.show_agreement(
            scene, state.agreementTable, record["agreement"], state.threshold, ct
        )
    _draw_outline(state, scene)
    restyle(state, scene, application)


def record_of(state: State) -> Mapping[str, Any] | None:
    """Return the record of the scene's result; None without a result."""
    text = state.resultText
    if text is None or not text.GetText():
        return None
    return records.read(text.GetText())


def out_of_date(state: State) -> bool:
    """Return whether CT, segmentation, the CT's geometry or settings differ from those of the result."""
    if state.resultText is None or not state.resultText.GetText():
        return False
    same = state.resultVolume is state.inputVolume and state.resultSegmentation is state.tumourSegmentation
    return not same or state.resultOf != settings_of(state)


def settings_of(state: State) -> str:
    """Return settings and the CT's geometry as a text to compare; a moved CT counts as another scan."""
    segment = state.tumourSegment if state.tumourSegmentation is not None else ""
    choices = [state.model, str(state.keySlice), state.method.value, state.target.value, state.device.value]
    return "|".join([segment, *choices, nodes.geometry_key(state.inputVolume)])


def differs(record: Mapping[str, Any], result: "StagingResult") -> bool:
    """Return whether a case's new result differs from its record, which means that the inputs have changed."""
    from GTRStagingLib.results.record import to_json

    again = to_json(result)
    if again["model"]["sha256"] != record["model"]["sha256"] or (again["agreement"] is None) != (
        record["agreement"] is None
    ):
        return True
    pairs = list(zip(again["prediction"]["probabilities"], record["prediction"]["probabilities"], strict=True))
    if again["agreement"] is not None:
        for new, old in zip(again["agreement"]["sweep"], record["agreement"]["sweep"], strict=True):
            pairs.append((new["dice"] or 0.0, old["dice"] or 0.0))
        pairs.append((again["agreement"]["roi_area_mm2"], record["agreement"]["roi_area_mm2"]))
    # Tolerates the rounding of another device; another case differs by more.
    return any(abs(one - other) > 1e-3 * max(1.0, abs(other)) for one, other in pairs)


def nearest_step(threshold: float) -> float:
    """Return the nearest threshold of the sweep, for which every result contains an agreement."""
    return min(SWEEP, key=lambda step: abs(step - threshold))


def at_threshold(result: "StagingResult", threshold: float) -> "StagingResult":
    """Return the result with its agreement at another threshold of the sweep, as the panel shows it."""
    agreement = result.agreement
    if agreement is None or agreement.threshold == threshold:
        return result
    cut = min(agreement.sweep, key=lambda one: abs(one.threshold - threshold))
    return replace(result, agreement=replace(agreement, at_threshold=cut))
