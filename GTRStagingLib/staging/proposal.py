"""Propose a key slice for a scan without an ROI: score every slice by the head of the model, and take the best ones.

A proposal is no choice: every result that uses it says so, and asks its reader to confirm the slice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from GTRStagingLib.errors import GeometryError, InputError, WeightsError
from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingLib.imaging.keyslice import KeySlice
from GTRStagingLib.imaging.rois import Roi, stomach_named
from GTRStagingLib.imaging.scans import Scan
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.proposal import ProposalHead
from GTRStagingLib.staging.inputs import require_backbone, require_case
from GTRStagingLib.staging.preprocess import AT_ONCE, prepare_alone, resize, voting_slices
from GTRStagingLib.support.counts import counted

if TYPE_CHECKING:
    from GTRStagingLib.model.passes import Backbone, Pass

SHOWN = 3
"""Number of slices that are proposed, if the scan has as many that are far enough apart."""

APART_MM = 15.0
"""Least distance of the proposed slices from each other: nearer ones show the same part of the tumour."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Candidate:
    """Slice that is proposed.

    Attributes
    ----------
    index, position_mm
        As in `KeySlice`.
    score
        Probability of a tumour in the slice by the head, smoothed, 0 to 1. It is not calibrated.
    """

    index: int
    position_mm: float
    score: float


@dataclass(frozen=True, eq=False)
class Proposal:
    """Slices that a model proposes as the key slice of a scan.

    Attributes
    ----------
    candidates
        The best slice first, at most `SHOWN`, each at least `APART_MM` from the others.
    scores
        (slices,) of the scan, as `Candidate.score`; NaN for slices that were not scored.
    smoothing_mm
        As in `ProposalHead`.
    in_stomach
        Whether only slices with stomach were scored.
    left_out
        Index -> reason why a slice could not be prepared. Neither it nor a slice that it would vote with is proposed.
    pictures
        For each candidate, the slice as the network receives it, windowed: (H, W) uint8.
    """

    candidates: tuple[Candidate, ...]
    scores: np.ndarray = field(repr=False)
    smoothing_mm: float
    in_stomach: bool
    left_out: Mapping[int, str] = field(default_factory=dict)
    pictures: tuple[np.ndarray, ...] = field(default=(), repr=False)

    @property
    def key_slice(self) -> KeySlice:
        """The best slice, as a key slice that was proposed."""
        best = self.candidates[0]
        return KeySlice(best.index, best.position_mm, "proposed")


def propose(
    scan: Scan,
    backbone: "Backbone",
    *,
    stomach: Roi | None = None,
    resample: bool = False,
    step: int = 1,
    progress: Progress = lambda done, total: None,
) -> Proposal:
    """Propose the key slice of a scan.

    Parameters
    ----------
    stomach
        Mask of the stomach; only slices with stomach are scored then.
    resample
        Accept a mask on another grid, as in `Roi.onto`.
    step
        Acquired slices from a key slice to its neighbours.
    progress
        Called with the number of scored slices and of all; an exception that it raises (`Cancelled`) stops the run.

    Raises
    ------
    WeightsError
        If the model has no head that proposes key slices.
    InputError, GeometryError
        If the scan is no volume in millimetres, no slice can be prepared, or the mask does not lie in the scan.

    Examples
    --------
    >>> from GTRStagingLib import TStage, load_model, make_phantom, scan_of
    >>> from GTRStagingLib.staging.proposal import propose
    >>> scan = scan_of(make_phantom(TStage.T3, seed=3, size=128).ct, "phantom")
    >>> proposal = propose(scan, load_model("demonstration", device="cpu"))
    >>> proposal.key_slice.chosen_by, len(proposal.scores)
    ('proposed', 24)
    """
    require_backbone(backbone)
    require_case(scan, stomach=stomach)
    head = required_head(backbone)
    if not scan.spacing_known:
        raise InputError(
            "The input has no distances in millimetres; expected a volume to propose a slice of. Choose the "
            "`key_slice`."
        )
    asked: Sequence[int] = range(geometry.axial_size(scan.grid)[2])
    if stomach is not None:
        asked = stomach_slices(scan, stomach, resample=resample)
    log_odds, left_out = _log_odds(scan, backbone, head, asked, progress)
    return proposal_of(scan, head, log_odds, left_out, backbone, in_stomach=stomach is not None, step=step)


def required_head(backbone: "Backbone") -> ProposalHead:
    """Return the head of a model that proposes key slices; raise `WeightsError` if it has none."""
    if backbone.proposal_head is None:
        raise no_head(backbone.card)
    return backbone.proposal_head


def no_head(card: ModelCard) -> WeightsError:
    """Return the error for a model without a head that proposes key slices."""
    return WeightsError(
        f"Model {card.name!r} has no head that proposes key slices; expected one. Fit it to the training cohort of the "
        "model (models proposal), or choose the `key_slice`."
    )


def stomach_slices(scan: Scan, stomach: Roi, *, resample: bool = False) -> Sequence[int]:
    """Return the indices of the slices of a scan with stomach, ascending; parameters and errors as for `Roi.onto`."""
    with stomach_named():
        areas = keyslice.areas_mm2(scan.grid, stomach.onto(scan.grid, resample=resample))
    found: list[int] = np.flatnonzero(areas).tolist()
    return found


def slice_passes(
    scan: Scan, backbone: "Backbone", asked: Sequence[int], progress: Progress = lambda done, total: None
) -> "Iterator[tuple[list[int], Pass | None, dict[int, str]]]":
    """Run the network on slices of a scan, each alone, `AT_ONCE` in a pass.

    Yields
    ------
    The indices of the slices of a pass, its output (None without a slice), and index -> reason of those that could not
    be prepared.
    """
    for first in range(0, len(asked), AT_ONCE):
        pixels: list[np.ndarray] = []
        indices: list[int] = []
        left_out: dict[int, str] = {}
        for index in asked[first : first + AT_ONCE]:
            try:
                key = keyslice.by_index(scan.grid, index)
                pixels.append(prepare_alone(scan, key, backbone.card.recipe, intensity=scan.intensity).pixels)
                indices.append(index)
            except (InputError, GeometryError) as error:
                left_out[index] = str(error)
        yield indices, backbone.classify(np.concatenate(pixels)) if pixels else None, left_out
        progress(min(first + AT_ONCE, len(asked)), len(asked))


def _log_odds(
    scan: Scan, backbone: "Backbone", head: ProposalHead, asked: Sequence[int], progress: Progress
) -> tuple[np.ndarray, dict[int, str]]:
    """Return the (slices,) log odds of a tumour, NaN for slices without them, and the slices that were left out."""
    log_odds = np.full(geometry.axial_size(scan.grid)[2], np.nan)
    left_out: dict[int, str] = {}
    for indices, seen, refused in slice_passes(scan, backbone, asked, progress):
        left_out |= refused
        if seen is not None:
            log_odds[indices] = head.log_odds(seen.features)
    return log_odds, left_out


def proposal_of(
    scan: Scan,
    head: ProposalHead,
    log_odds: np.ndarray,
    left_out: Mapping[int, str],
    backbone: "Backbone",
    *,
    in_stomach: bool,
    step: int = 1,
) -> Proposal:
    """Return the proposal of a scan whose slices have these (slices,) log odds, NaN where there are none.

    Raises
    ------
    InputError
        If no slice can be proposed.
    """
    positions = keyslice.positions_mm(scan.grid)
    smoothed = head.smoothed(log_odds, positions)
    allowed = smoothed.copy()
    for index in range(len(allowed)):
        if any(index + offset in left_out for offset in voting_slices(len(allowed), index, step)):
            allowed[index] = np.nan
    best = best_apart(allowed, positions)
    if not best:
        first, why = next(iter(left_out.items()), (None, ""))
        raise InputError(
            "No slice can be proposed; expected one that can be staged with its neighbours."
            + (
                f" {counted(len(left_out), 'was', 'were')} refused, slice {first}: {why}"
                if why
                else " Choose the `key_slice`."
            )
        )
    with np.errstate(over="ignore"):
        scores = 1 / (1 + np.exp(-smoothed))
    chosen = [Candidate(index, float(positions[index]), float(scores[index])) for index in best]
    pictures = [_picture(scan, one.index, backbone) for one in chosen]
    return Proposal(tuple(chosen), scores, head.smoothing_mm, in_stomach, dict(left_out), tuple(pictures))


def best_apart(scores: np.ndarray, position_mm: np.ndarray, *, most: int = SHOWN, apart: float = APART_MM) -> list[int]:
    """Return the indices of the highest scores, the best first, each at least `apart` mm from the better ones.

    Of equal scores the one nearest the feet is taken; NaN is no score.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.staging.proposal import best_apart
    >>> scores = np.array([0.1, 0.9, 0.8, np.nan, 0.5, 0.2])
    >>> best_apart(scores, np.arange(0.0, 30.0, 5.0))
    [1, 4]
    """
    left = np.isfinite(scores)
    found: list[int] = []
    while left.any() and len(found) < most:
        index = int(np.argmax(np.where(left, scores, -np.inf)))
        found.append(index)
        left &= np.abs(position_mm - position_mm[index]) >= apart
    return found


def _picture(scan: Scan, index: int, backbone: "Backbone") -> np.ndarray:
    """Return a slice as the network receives it, windowed: (H, W) uint8."""
    slices = resize(scan, keyslice.by_index(scan.grid, index), backbone.card.recipe, intensity=scan.intensity)
    shown: np.ndarray = np.rint(slices.pixels[slices.offsets.index(0)]).clip(0, 255).astype(np.uint8)
    return shown


# -- words ---------------------------------------------------------------------------------------------------------


def to_confirm(proposal: Proposal | None, key: KeySlice, *, stage_sets: bool) -> Iterator[str]:
    """Yield the warnings about a key slice that the model proposed; `stage_sets` if the result has a stage set."""
    yield (
        f"The key slice {key.index} was PROPOSED BY THE MODEL and not chosen by a reader: confirm that it shows the "
        "tumour best, or choose another one."
    )
    if stage_sets:
        yield "The promise of the stage set is for slices chosen as in its calibration, not for proposed ones."
    if proposal is None:
        return
    best, *others = proposal.candidates
    if best.score < 0.5:
        yield (
            f"The model finds no slice in which a tumour is more likely than not: the best score is {best.score:.2f}. "
            "The proposal may show no tumour at all."
        )
    if others:
        listed = ", ".join(f"{one.index} (S {one.position_mm:.1f} mm, score {one.score:.2f})" for one in others)
        next_best = "slice is" if len(others) == 1 else "slices are"
        yield f"Proposed with a score of {best.score:.2f}; the next best {next_best} {listed}."
    if proposal.left_out:
        index, why = next(iter(proposal.left_out.items()))
        yield f"{counted(len(proposal.left_out), 'slice')} could not be scored for the proposal; slice {index}: {why}"


def outside_stomach(key: KeySlice, with_stomach: Sequence[int], grid: geometry.ImageOrGrid) -> Iterator[str]:
    """Yield the warning about a key slice without stomach, given the slices that have some."""
    if key.index not in with_stomach:
        low, high = (geometry.slice_position_mm(grid, index) for index in (with_stomach[0], with_stomach[-1]))
        yield (
            f"The key slice {key.index} (S {key.position_mm:.1f} mm) shows NO STOMACH by the given mask, whose slices "
            f"lie at S {low:.1f} to {high:.1f} mm: check the slice, and the mask."
        )


__all__ = [
    "APART_MM",
    "SHOWN",
    "Candidate",
    "Proposal",
    "best_apart",
    "no_head",
    "outside_stomach",
    "proposal_of",
    "propose",
    "required_head",
    "slice_passes",
    "stomach_slices",
    "to_confirm",
]  # fmt: skip
