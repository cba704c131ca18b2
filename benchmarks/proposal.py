"""Measure how near proposed key slices are to the slice of the largest tumour area, and what staging there achieves.

    gtrstaging phantom --cases 400 --scanner A B --format nifti --seed 700000 --workers 2 --out testAB
    gtrstaging phantom --cases 400 --scanner C --format nifti --seed 900000 --workers 2 --out heldout
    python benchmarks/proposal.py testAB/cohort.csv heldout/cohort.csv [--model demonstration] [--cases N] [--workers N]

The network runs once on every slice of a case. From the same output come the proposals, with and without a mask of the
stomach, and the votes at the proposed slice and at that of the largest tumour area, each with its two neighbours, as
`stage_case` computes them. The mask is that of the column `stomach`; phantoms without one get theirs from their seed.
For comparison: the middle slice of the scan, and the slice of the largest stomach area. Intervals are Wilson's, 95 %.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from GTRStagingLib.cohort.cohort import Case, read_cohort
from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingLib.imaging.rois import Roi, read_roi, read_stomach
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model.backbone import load_model
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.model.passes import Backbone
from GTRStagingLib.phantoms.export import TRUTH_FILE
from GTRStagingLib.phantoms.phantom import stomach_of
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.preprocess import voting_slices
from GTRStagingLib.staging.proposal import proposal_of, required_head, slice_passes
from GTRStagingLib.staging.voting import vote
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import read_json
from GTRStagingLib.support.pools import parallel_map

WAYS = ("the slice of the largest tumour area", "proposed, with the stomach mask", "proposed, without",
        "largest stomach area", "middle of the scan")  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """One case: for each of `WAYS`, distance in mm, whether the slice shows tumour, and whether the vote is right."""

    apart_mm: tuple[float, ...]
    tumour: tuple[bool, ...]
    right: tuple[bool, ...]
    nearest_mm: float


@cache
def _loaded(model: str) -> Backbone:
    return load_model(model, "cpu")


def _stomach(case: Case) -> Roi:
    if case.stomach is not None:
        return read_stomach(case.stomach, segment=case.stomach_segment)
    truth = Fields(read_json(case.image.parent / TRUTH_FILE, "the truth of a phantom"), TRUTH_FILE)
    scanner = truth.fields("scan").fields("profile").text("name")
    return Roi(stomach_of(truth.whole("seed"), scanner=scanner, size=truth.whole("size")), "stomach")


def _seen(job: tuple[str, Case]) -> Seen:
    model, case = job
    backbone = _loaded(model)
    head, scan = required_head(backbone), read_scan(case.image)
    positions, n = keyslice.positions_mm(scan.grid), geometry.axial_size(scan.grid)[2]
    areas = keyslice.areas_mm2(scan.grid, read_roi(case.roi, segment=case.segment).onto(scan.grid))
    stomach = keyslice.areas_mm2(scan.grid, _stomach(case).onto(scan.grid))
    log_odds, shares = np.full(n, np.nan), np.full((n, len(TStage)), np.nan)
    left_out: dict[int, str] = {}
    for indices, found, refused in slice_passes(scan, backbone, range(n)):
        left_out |= refused
        if found is not None:
            log_odds[indices] = head.log_odds(found.features)
            shares[indices] = probabilities(found.logits, backbone.card)
    inside = np.where(stomach > 0, log_odds, np.nan)
    masked = proposal_of(scan, head, inside, left_out, backbone, in_stomach=True)
    alone = proposal_of(scan, head, log_odds, left_out, backbone, in_stomach=False)
    chosen = (int(np.argmax(areas)), masked.key_slice.index, alone.key_slice.index, int(np.argmax(stomach)), n // 2)
    right = []
    for index in chosen:
        offsets = voting_slices(n, index)
        right.append(vote(offsets, shares[[index + offset for offset in offsets]]).stage == case.stage)
    nearest = min(abs(one.position_mm - positions[chosen[0]]) for one in masked.candidates)
    return Seen(
        tuple(float(abs(positions[index] - positions[chosen[0]])) for index in chosen),
        tuple(bool(areas[index]) for index in chosen),
        tuple(right),
        float(nearest),
    )


def _share(hits: Sequence[bool]) -> str:
    limits = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return f"{np.mean(hits):.3f} ({limits.low:.3f} to {limits.high:.3f})"


def _table(seen: Sequence[Seen]) -> Iterator[str]:
    yield "| slice | median mm | 90th percentile mm | shows tumour | accuracy of the vote |\n|---|---|---|---|---|"
    for i, way in enumerate(WAYS):
        apart = np.array([one.apart_mm[i] for one in seen])
        cells = (way, f"{np.median(apart):.1f}", f"{np.quantile(apart, 0.9):.1f}",
                 _share([one.tumour[i] for one in seen]), _share([one.right[i] for one in seen]))  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    nearest = np.array([one.nearest_mm for one in seen])
    yield (f"\nThe nearest of the three proposals, with the mask: median {np.median(nearest):.1f} mm, 90th percentile "
           f"{np.quantile(nearest, 0.9):.1f} mm.")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", type=Path, nargs="+", help="tables of cases with ROIs and stages")
    parser.add_argument("--model", default="demonstration")
    parser.add_argument("--cases", type=int, help="use only the first cases of each table")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    for table in options.cohorts:
        jobs = [(options.model, case) for case in read_cohort(table).cases[: options.cases]]
        seen = list(parallel_map(_seen, jobs, options.workers))
        print(f"\n{table.parent.name}, {len(seen)} cases\n")
        print("\n".join(_table(seen)), flush=True)


if __name__ == "__main__":
    main()
