"""Draw the pictures that the README and the documentation show: `make pictures`.

    python docs/pictures/draw.py                    all of them, into this folder
    python docs/pictures/draw.py --only drawings    those of one kind
    python docs/pictures/draw.py --list             what they are

Everything is made from phantoms and the model that is shipped. The extra `dev` must be installed; reports are
photographed in the system's Chromium or Chrome (`CHROME` says where another one is), the panel in a 3D Slicer
(`SLICER` says where it is; without it, its pictures are left as they are).
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing")]

WIDEST = 1200
"""Pixels of a picture's width, in 256 colours: a repository need not carry more."""
PAGE_WIDTH = 1000
"""Of a report's window in CSS pixels: its widest table just fits."""
SHOT = 1100
"""Pixels of a picture of a page."""
CASES, SEED, SCANNER = 60, 7200, "C"
"""Phantoms of the evaluation; no training of the shipped model has seen this scanner."""

PANEL_RECORD = "panel.json"
"""File with the texts of the panel when its pictures were made; a test compares it with the panel."""


class Picture(NamedTuple):
    """A picture's kind, which is made in one go, and what it shows in words."""

    kind: str
    shows: str


PICTURES = {
    "overlay.png": Picture("case", "The overlay of one case: voting slices, attention map, ROI, stage"),
    "report.png": Picture("case", "The report of one case from its top: stage, vote and probabilities"),
    "report-agreement.png": Picture("case", "The report's comparison of the attention map with the ROI"),
    "profile.png": Picture("case", "The stage along the scan: how far it holds, and the plot over the position"),
    "evaluation.png": Picture("evaluation", "The evaluation's report: summary, metrics by stage, calibration"),
    "monitor.png": Picture(
        "monitor", "The page of a watch over time: an alarm after a change of scanner, what changed"
    ),
    "reading.png": Picture("reading", "The browser page of a reader in the aided phase: map, advice and answer"),
    "reader-study.png": Picture("reading", "The report's section on a reader study of simulated readers"),
    "nomogram.png": Picture("nomogram", "The nomogram published-2025"),
    "panel.png": Picture("panel", "The panel of the 3D Slicer module after a run"),
    "panel-dark.png": Picture("panel", "The same panel in dark colours"),
    "panel-input.png": Picture("panel", "The panel's sections 1 and 2: input and key slice"),
    "panel-result.png": Picture("panel", "The panel's section 3: stage, vote and probabilities"),
    "panel-attention.png": Picture("panel", "The panel's section 4: how the attention is shown"),
    "panel-agreement.png": Picture("panel", "The panel's section 5: agreement with the tumour's segment"),
    "panel-nomogram.png": Picture("panel", "The panel's section 6: a nomogram with a patient's values"),
    "panel-batch.png": Picture("panel", "The panel's section 8: many cases"),
    "views.png": Picture("panel", "The four views of Slicer with attention map and tumour"),
    "window.png": Picture("panel", "Slicer's window after Apply"),
    "window-dark.png": Picture("panel", "The same window in dark colours"),
    "window-result.png": Picture("panel", "Slicer's window in the layout CT beside map"),
    "window-sweep.png": Picture("panel", "Slicer's window in the layout of the threshold sweep"),
    **{
        f"attention/gated_T{stage}.png": Picture("attention", f"The overlay of a T{stage} phantom, gated decision")
        for stage in (1, 2, 3, 4)
    },
    "believe/usual.png": Picture("believe", "The overlay of a phantom like those of the training, with its stage set"),
    "believe/unlike.png": Picture("believe", "The overlay of the same phantom mirrored: unlike the training, no set"),
    "rooms.svg": Picture("drawings", "The rooms of the library, floor by floor"),
    "data-flow.svg": Picture("drawings", "The flow of data from CT and ROI to the result files"),
}

ELSEWHERE = {
    f"attention/{name}_T3.png": "needs a second model, which is not shipped: "
    "python benchmarks/attention_pictures.py --plain MODEL"
    for name in ("fine", "gradcam")
}
"""Pictures in this folder that this script cannot renew: why not, and the command that can."""


def gtrstaging(*arguments: object) -> None:
    """Run a command of the library."""
    subprocess.run(
        [sys.executable, "-m", "GTRStagingLib", *map(str, arguments)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )


def save(picture: Image.Image, path: Path, colours: int = 256) -> None:
    """Write a picture as a small PNG; pages and panels need fewer colours than overlays."""
    picture = picture.convert("RGB")
    if picture.width > WIDEST:
        size = (WIDEST, round(picture.height * WIDEST / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture.quantize(colours, kmeans=3, dither=Image.Dither.NONE).save(path, optimize=True)


# -- pages in the browser ----------------------------------------------------------------------------------------------


@contextmanager
def window(path: Path, width: int = PAGE_WIDTH):
    """Open a page in a browser without a screen; its pictures are `SHOT` wide."""
    from helpers.browser import FLAGS, executable
    from playwright.sync_api import sync_playwright

    if (found := executable()) is None:
        raise SystemExit("No browser was found. On Debian: sudo apt-get install chromium; or set CHROME.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS), chromium_sandbox=False)
        try:
            size = {"width": width, "height": 900}
            page = browser.new_page(viewport=size, device_scale_factor=SHOT / width)
            page.goto(path.absolute().as_uri(), wait_until="load")
            # The time of the run is the one thing that differs every time.
            page.evaluate(
                r"""() => {
                    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
                    while (texts.nextNode()) texts.currentNode.data =
                        texts.currentNode.data.replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/g, "date and time");
                }"""
            )
            yield page
        finally:
            browser.close()


def clip(page, folder: Path, start: str, end: str, margin: int = 16) -> Image.Image:
    """Photograph a page from one element's top to another's bottom; an empty `start` is the page's top."""
    top = page.locator(start).first.bounding_box()["y"] - margin if start else 0
    box = page.locator(end).last.bounding_box()
    path = folder / "clip.png"
    bottom = box["y"] + box["height"] + margin
    area = {"x": 0, "y": top, "width": page.viewport_size["width"], "height": bottom - top}
    page.screenshot(path=path, full_page=True, clip=area)
    with Image.open(path) as picture:
        return picture.convert("RGB")


def joined(parts: list[Image.Image]) -> Image.Image:
    """Put parts of one page below one another, a grey band where the page is left out."""
    band = 14
    whole = Image.new("RGB", (parts[0].width, sum(part.height for part in parts) + band * (len(parts) - 1)), "#d5dbe2")
    y = 0
    for part in parts:
        whole.paste(part, (0, y))
        y += part.height + band
    return whole


def framed(picture: Image.Image) -> Image.Image:
    """Draw a grey line around a picture of a white page, which would have no edge on a white page."""
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, picture.width - 1, picture.height - 1), outline="#b8c1cb")
    return picture


# -- each kind of picture ----------------------------------------------------------------------------------------------


def draw_case(work: Path, out: Path) -> None:
    """Stage the phantom of `make demo`; keep its overlay, two parts of its report, and the top of its profile."""
    gtrstaging("phantom", "--stage", "T3", "--seed", 3, "--scanner", SCANNER, "--out", work / "phantom")
    roi = work / "phantom" / "tumour_seg.dcm"
    gtrstaging("stage", work / "phantom/ct", "--segmentation", roi, "--segment", "tumour", "--out", work / "result")
    with Image.open(work / "result" / "overlay.png") as overlay:
        save(overlay, out / "overlay.png")
    with window(work / "result" / "report.html", 880) as page:
        top = clip(page, work, "", "section[aria-labelledby=stage]")
        agreement = clip(page, work, "#agreement", "section[aria-labelledby=agreement]")
    save(framed(top), out / "report.png")
    save(framed(agreement), out / "report-agreement.png")
    asked = ("--segmentation", roi, "--segment", "tumour", "--mm", 15)
    gtrstaging("profile", work / "phantom/ct", *asked, "--out", work / "profile")
    with window(work / "profile" / "profile.html") as page:
        save(framed(clip(page, work, "section[aria-labelledby=holds]", "figure.plot")), out / "profile.png")


def draw_evaluation(work: Path, out: Path) -> None:
    """Stage a cohort of phantoms, and keep the parts of the evaluation's report that say most."""
    cohort = work / "cases" / "cohort.csv"
    gtrstaging(
        *("phantom", "--cases", CASES, "--seed", SEED, "--scanner", SCANNER, "--format", "nifti"),
        "--out",
        cohort.parent,
    )
    with cohort.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with cohort.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "split": "test"} for row in rows)
    gtrstaging("batch", cohort, "--out", work / "batch", "--workers", 1)
    by_stage = "section[aria-labelledby=good] table >> nth=1"
    with window(work / "batch" / "evaluation" / "report.html") as page:
        parts = [
            clip(page, work, "", "section[aria-labelledby=summary]"),
            clip(page, work, by_stage, by_stage),
            clip(page, work, "#sure", "section[aria-labelledby=sure] figure >> nth=0"),
        ]
    save(framed(joined(parts)), out / "evaluation.png")


def draw_monitor(work: Path, out: Path) -> None:
    """Watch a batch that is followed by one of another scanner, and photograph what changed with the first charts."""
    for name, cases, scanners, seed in (("earlier", 60, "AB", 520000), ("weeks-1-2", 40, "AB", 521000),
                                        ("week-3", 20, "C", 522000)):  # fmt: skip
        gtrstaging("phantom", "--cases", cases, "--scanner", *scanners, "--format", "nifti", "--size", 96,
                   "--seed", seed, "--out", work / "phantoms" / name)  # fmt: skip
        gtrstaging("batch", work / "phantoms" / name / "cohort.csv", "--out", work / name, "--workers", 1,
                   "--no-evaluation")  # fmt: skip
    command = [sys.executable, "-m", "GTRStagingLib", "monitor", work / "weeks-1-2", work / "week-3", "--reference",
               work / "earlier", "--by", "20", "--horizon", "100", "--out", work / "watch"]  # fmt: skip
    if (code := subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode) != 1:
        raise SystemExit(f"monitor ended with exit code {code}; expected 1, an alarm after the change of scanner.")
    with window(work / "watch" / "monitor.html") as page:
        parts = [clip(page, work, "", "section[aria-labelledby=answer]"),
                 clip(page, work, "#group-1", "section[aria-labelledby=group-1] figure >> nth=1")]  # fmt: skip
    save(framed(joined(parts)), out / "monitor.png")


def draw_nomogram(work: Path, out: Path) -> None:
    """Draw the nomogram that is shipped."""
    gtrstaging("nomogram", "draw", "published-2025", "--out", work / "nomogram.png")
    with Image.open(work / "nomogram.png") as picture:
        save(picture, out / "nomogram.png")


def draw_reading(work: Path, out: Path) -> None:
    """Design and read the study of the tutorial, and photograph the page of a reader and the section of the report."""
    from datetime import UTC, datetime, timedelta

    from helpers import browser
    from helpers.reading_pages import served, wait_for_case
    from helpers.reading_studies import SimulatedReader, Watch, read_all

    study, table, watch = work / "study", work / "collected" / "table.csv", Watch()
    watch.time = datetime.now(UTC) - timedelta(days=1)
    gtrstaging("phantom", "--cases", 20, "--scanner", SCANNER, "--seed", 7000, "--format", "nifti", "--size", 128,
               "--out", work / "phantoms")  # fmt: skip
    gtrstaging("batch", work / "phantoms" / "cohort.csv", "--out", work / "results", "--workers", 1)
    (work / "readers.csv").write_text("reader\nr1\nr2\nr3\n", encoding="utf-8")
    cohort = work / "phantoms" / "cohort.csv"
    gtrstaging("reading", "design", cohort, "--readers", work / "readers.csv", "--predictions", work / "results",
               "--out", study, "--washout-days", 0, "--repeats", 2, "--training", 2, "--seed", 1,
               "--studies", 20)  # fmt: skip
    for name, (skill, trust) in {"r1": (0.5, 0.8), "r2": (0.65, 0.4), "r3": (0.8, 0.1)}.items():
        reader = SimulatedReader(study, name, skill, trust)
        if name == "r1":
            read_all(study, name, watch, think=reader, stop=22 + 5)
            with (
                served(study, name, watch) as (_, address),
                browser.running(browser.GRAPHICS) as started,
                started.visit(address, size=(1000, 730)) as view,
            ):
                wait_for_case(view)
                view.page.wait_for_timeout(500)  # until the map is drawn
                view.page.screenshot(path=work / "page.png")
        read_all(study, name, watch, think=reader)
    gtrstaging("reading", "collect", study, "--truth", study / "organiser" / "truth.csv", "--predictions",
               work / "results" / "predictions.csv", "--out", table)  # fmt: skip
    gtrstaging("evaluate", table, "--out", work / "evaluation")
    with Image.open(work / "page.png") as picture:
        save(framed(picture.convert("RGB")), out / "reading.png", colours=128)
    with window(work / "evaluation" / "report.html") as page:
        section = "section[aria-labelledby=reader-study]"
        parts = [
            clip(page, work, "#reader-study", f"{section} table >> nth=0"),
            clip(page, work, f"{section} table >> nth=1", f"{section} table >> nth=1"),
        ]
    save(framed(joined(parts)), out / "reader-study.png", colours=128)


def panel_in_words() -> dict[str, list[str]]:
    """Return the panel's sections, each with the texts of its widgets, as its .ui has them."""
    tree = ElementTree.parse(ROOT / "GTRStaging" / "Resources" / "UI" / "GTRStaging.ui")
    sections = [one for one in tree.iter("widget") if one.get("class") == "ctkCollapsibleButton"]
    return {
        str(section.findtext("property[@name='text']/string")): [
            text for one in section.iter("widget")
            if one is not section and (text := one.findtext("property[@name='text']/string"))
        ]
        for section in sections
    }  # fmt: skip


def draw_panel(work: Path, out: Path) -> None:
    """Photograph panel and window in a running Slicer, once in each colours."""
    program = os.environ.get("SLICER")
    if not program:
        print("panel: left out; set SLICER to the program of a Slicer that has a screen and the panel's packages")
        return
    start = [program, "--no-splash", "--additional-module-paths", ROOT / "GTRStaging"]
    for colours in ([], ["--dark"]):
        script = ["--python-script", HERE / "panel_pictures.py", work, *colours]
        subprocess.run([*start, *script], check=True)
    for name, picture in PICTURES.items():
        if picture.kind == "panel":
            with Image.open(work / name) as drawn:
                save(drawn, out / name)
    (out / PANEL_RECORD).write_text(json.dumps(panel_in_words(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def draw_attention(work: Path, out: Path) -> None:
    """Draw a patient of each stage by the shipped model."""
    subprocess.run([sys.executable, ROOT / "benchmarks/attention_pictures.py", "--out", out / "attention"], check=True)


def draw_believe(work: Path, out: Path) -> None:
    """Stage a phantom like those of the training, and its mirror image."""
    from GTRStagingLib import Roi, TStage, load_model, make_phantom, scan_of, stage_case
    from GTRStagingLib.results import overlay

    phantom, model = make_phantom(TStage.T3, seed=SEED, scanner="A"), load_model("demonstration", device="cpu")
    (out / "believe").mkdir(parents=True, exist_ok=True)
    for name, change in (("usual", lambda image: image), ("unlike", mirrored)):
        ct, tumour = change(phantom.ct), change(phantom.tumour)
        result = stage_case(scan_of(ct, "phantom"), model, tumour=Roi(tumour, "tumour"))
        assert result.familiarity.verdict == name, result.familiarity
        drawn = work / f"{name}.png"
        drawn.write_bytes(overlay.png(result))
        with Image.open(drawn) as picture:
            save(picture, out / "believe" / f"{name}.png")


def mirrored(image):
    """Return a SimpleITK image with left and right exchanged, in the same place."""
    import SimpleITK as sitk

    turned = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(image)[:, :, ::-1])
    turned.CopyInformation(image)
    return turned


def draw_drawings(work: Path, out: Path) -> None:
    """Draw the rooms and the flow of data."""
    import drawings

    (out / "rooms.svg").write_text(drawings.rooms(), encoding="utf-8")
    (out / "data-flow.svg").write_text(drawings.data_flow(), encoding="utf-8")


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "drawings": draw_drawings,
    "nomogram": draw_nomogram,
    "case": draw_case,
    "panel": draw_panel,
    "attention": draw_attention,
    "believe": draw_believe,
    "evaluation": draw_evaluation,
    "monitor": draw_monitor,
    "reading": draw_reading,
}
"""From the cheapest to the dearest."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="folder (default: this script's)")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--list", action="store_true", help="list the pictures and draw none")
    options = parser.parse_args()
    if options.list:
        for name, picture in PICTURES.items():
            print(f"{name:24} {picture.kind:11} {picture.shows}")
        for name, why in ELSEWHERE.items():
            print(f"{name:24} {'-':11} {why}")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    for kind in options.only:
        with tempfile.TemporaryDirectory() as work:
            KINDS[kind](Path(work), options.out)
        for name, picture in PICTURES.items():
            if picture.kind == kind and (options.out / name).is_file():
                print(f"{name}: {(options.out / name).stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
