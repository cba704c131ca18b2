"""Draw the attention pictures of the documents.

    python benchmarks/attention_pictures.py
    python benchmarks/attention_pictures.py --plain MODEL

The pictures show four patients of a scanner outside the training data, one per stage, by the shipped model; with
`--plain` also the third of them by a model with the usual head, which is not shipped, once with the fine map and once
with Grad-CAM. They are written to `docs/pictures/attention`.
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import scan_of
from GTRStagingLib.model.backbone import load_model
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.phantoms.scanner import HELD_OUT
from GTRStagingLib.results import overlay
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.options import Method, StagingOptions
from GTRStagingLib.staging.pipeline import stage_case

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "attention"
SEED = 7100
WIDTH = 1200
"""Pixels, in 256 colours, to keep the repository small."""


def draw(folder: Path, model: str, stage: TStage, method: Method, name: str) -> None:
    """Stage a phantom, and write the picture of the result."""
    phantom = make_phantom(stage, seed=SEED + int(stage), scanner=HELD_OUT)
    result = stage_case(
        scan_of(phantom.ct, "phantom"),
        load_model(model, device="cpu"),
        StagingOptions(method=method),
        tumour=Roi(phantom.tumour, "tumour"),
    )
    picture = Image.open(io.BytesIO(overlay.png(result))).convert("RGB")
    small = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    small.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(folder / f"{name}.png", optimize=True)
    found = result.agreement
    print(f"{name}: {stage} staged {result.prediction.stage}, Dice {found.dice:.2f} of {found.roi_area_mm2:.0f} mm2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", metavar="MODEL", help="a model with the usual head, for fine map and Grad-CAM")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (default: that of the documents)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for stage in TStage:
        draw(options.out, "demonstration", stage, "auto", f"gated_{stage}")
    if options.plain:
        draw(options.out, options.plain, TStage.T3, "fine", "fine_T3")
        draw(options.out, options.plain, TStage.T3, "gradcam", "gradcam_T3")


if __name__ == "__main__":
    main()
