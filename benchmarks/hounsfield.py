"""Count false refusals and false acceptances of `imaging.hounsfield`, which judges whether slices are in HU.

    python benchmarks/hounsfield.py [--seeds 8]

Real CTs are from ../shared/data (or GTR_TEST_DATA). The limits were chosen with these and the phantoms of scanners A
and B; scanner C only reports. Each slice is judged alone, as it is and altered: harmlessly, where it must be read, and
to another scale, where it must be refused.
"""

import argparse
import io
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image
from scipy import ndimage

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.hounsfield import require_hounsfield
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.phantoms.scanner import PROFILES
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.preprocess import windowed

DATA = Path(os.environ.get("GTR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
CTS = {
    "ct/ct_3slice_dicom": "real CTs",
    "ct/totalseg_example_ct_sm.nii.gz": "real CTs",
    "ct/rtstruct": "water phantom",
    "cases/control/ct": "cases",
}
FIRST_SEED = 700
"""No test uses these phantoms."""


def slices(seeds):
    """Yield (group, pixel size in mm, (y, x) HU)."""
    for path, group in CTS.items():
        scan = read_scan(DATA / path)
        volume = sitk.GetArrayFromImage(scan.slices(0, scan.grid.size[2] - 1)).astype(np.float64)
        for one in volume:
            yield group, scan.grid.spacing[0], one
    for name in PROFILES:
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            made = make_phantom(TStage(seed % 4), seed=seed, scanner=name, size=(64, 128, 256)[seed % 3])
            volume = sitk.GetArrayFromImage(made.ct).astype(np.float64)
            for one in volume[:: max(1, len(volume) // 8)]:
                yield f"scanner {name}", made.ct.GetSpacing()[0], one


# -- harmless alterations -----------------------------------------------------------------------------------------


def body_of(hu):
    """Return the mask of the largest piece of tissue, filled."""
    labels, _ = ndimage.label(hu > -300)
    return ndimage.binary_fill_holes(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))


def crop(hu, mm, pixel, rng, tries=200):
    """Return a square of `mm` inside the body, without air outside it; None where the body is too small."""
    body, n = body_of(hu), round(mm / pixel)
    if n * n < 400 or min(hu.shape) <= n:
        return None
    for _ in range(tries):
        y, x = (rng.integers(0, size - n) for size in hu.shape)
        if body[y : y + n, x : x + n].all():
            return hu[y : y + n, x : x + n]
    return None


def circle(hu):
    """Return the pixels outside the circle of reconstruction."""
    y, x = (np.linspace(-1, 1, n) for n in hu.shape)
    return np.hypot(y[:, None], x) > 1


def resampled_padding(hu):
    """Return padding of -3024 that was interpolated."""
    padded = np.where(circle(hu), -3024, hu)
    return ndimage.rotate(padded, 7, reshape=False, order=1, cval=-3024)


def jpeg(hu):
    """Return HU after lossy compression to 8 of 12 bits."""
    buffer = io.BytesIO()
    Image.fromarray(((hu.clip(-1024, 3071) + 1024) / 16).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return np.asarray(Image.open(buffer)).astype(np.float64) * 16 - 1024


def lungs(hu, rng):
    """Return a slice of which the inner half of the body is lung."""
    body = body_of(hu)
    depth = ndimage.distance_transform_edt(body)
    lung = depth > np.quantile(depth[body], 0.5)
    return np.where(lung, rng.normal(-850, 60, hu.shape), hu)


def little_body(hu, rng):
    """Return a slice of which only a tenth of the body is in the field; the rest is air."""
    rows = np.flatnonzero(body_of(hu).any(axis=1))
    kept = rows[0] + max(2, len(rows) // 6)
    return np.where(np.arange(len(hu))[:, None] < kept, hu, rng.normal(-1000, 10, hu.shape))


def metal(hu, rng):
    """Return a slice with metal, 1 % of the body, and its streaks."""
    body = body_of(hu)
    y, x = np.argwhere(body)[rng.integers(body.sum())]
    rows, columns = np.indices(hu.shape)
    near = np.hypot(rows - y, columns - x) ** 2 < 0.01 * body.sum() / np.pi
    angle = np.arctan2(rows - y, columns - x)
    streaks = 400 * np.sin(12 * angle) * np.exp(-np.hypot(rows - y, columns - x) / (0.1 * len(hu)))
    return np.where(near, 3071, (hu + streaks).clip(-1024, 3071))


def harmless(hu, pixel, rng):
    """Yield altered slices that are in HU."""
    yield "as it is", hu
    yield "as float32", hu.astype(np.float32)
    yield "padding of -2000", np.where(circle(hu), -2000, hu)
    yield "padding of -3024, interpolated", resampled_padding(hu)
    yield "padding of -32768", np.where(circle(hu), -32768, hu)
    yield "clipped to -160..240", hu.clip(-160, 240)
    yield "clipped to -1000..1000", hu.clip(-1000, 1000)
    yield "noise of 30 HU more", hu + np.where(hu < -1100, 0, rng.normal(0, 30, hu.shape))
    yield "lossy JPEG", jpeg(hu)
    yield "half the pixels", ndimage.zoom(hu, 0.5, order=1)
    yield "lungs", lungs(hu, rng)
    yield "little body", little_body(hu, rng)
    yield "metal", metal(hu, rng)
    for mm in (150, 100, 60):
        if (part := crop(hu, mm, pixel, rng)) is not None:
            yield f"crop of {mm} mm in the body", part


# -- other scales -------------------------------------------------------------------------------------------------


def mr(hu, rng, top):
    """Return a slice with the anatomy of the CT and an MR's values from 0 to `top`: other contrast, field and noise."""
    tissue = np.interp(hu, [-1000, -200, -100, 0, 60, 120, 400, 1500], np.r_[0, 0.05, rng.uniform(0.1, 0.9, 5), 0.05])
    y, x = (np.linspace(-1, 1, n) for n in hu.shape)
    field = np.exp(rng.uniform(-0.5, 0.5) * y[:, None] + rng.uniform(-0.5, 0.5) * x)
    noisy = np.hypot(tissue * field + rng.normal(0, 0.02, hu.shape), rng.normal(0, 0.02, hu.shape))
    return np.rint((noisy / noisy.max()).clip(0, 1) * top)


def eight_bit(hu):
    low, high = GTR.window_hu
    return np.rint((hu.clip(low, high) - low) / (high - low) * 255)


def wrong(hu, pixel, rng):
    """Yield slices that are not in HU."""
    for shift in (1024, -1024, 1000, -1000):
        yield f"{shift:+d}", hu + shift
    yield "+1024, padding of -2000", np.where(circle(hu), -2000, hu + 1024)
    yield (
        "+1024, padding of -2000, interpolated",
        np.where(resampled_padding(hu) < -1100, resampled_padding(hu), resampled_padding(hu) + 1024),
    )
    yield "+1024, padding of -976", np.where(circle(hu), -976, hu + 1024)
    yield "+1024, little body", little_body(hu, rng) + 1024
    yield "+1000, little body", little_body(hu, rng) + 1000
    for factor in (10, 0.1, 2, 0.5):
        yield f"times {factor:g}", hu * factor
    yield "times 0.1, rounded", np.rint(hu * 0.1)
    yield "0 to 1", (hu.clip(-1000, 1000) + 1000) / 2000
    yield "-1 to 1", hu.clip(-1000, 1000) / 1000
    yield "mean 0, standard deviation 1", (hu - hu.mean()) / hu.std()
    yield "sign inverted", -hu
    yield "8 bits, as int16", eight_bit(hu)
    yield "8 bits, inverted", 255 - eight_bit(hu)
    yield "8 bits, signed (-128..127)", eight_bit(hu) - 128
    yield "8 bits, minus 1024", eight_bit(hu) - 1024
    yield "mask", (hu > 0).astype(float)
    yield "label map", np.digitize(hu, [-500, -50, 0, 100, 300]).astype(float)
    for top in (255, 1000, 4095):
        yield f"MR, 0 to {top}", mr(hu, rng, top)
        yield f"MR, 0 to {top}, minus 1024", mr(hu, rng, top) - 1024
    yield "MR, 0 to 1000, minus 100, background cut", (mr(hu, rng, 1000) * body_of(hu)) - 100
    yield "MR, 0 to 4095, minus 2048", mr(hu, rng, 4095) - 2048
    for mm in (150, 100, 60):
        if (part := crop(hu, mm, pixel, rng)) is not None:
            yield f"crop of {mm} mm, +1024", part + 1024
            yield f"crop of {mm} mm, -1024", part - 1024
            yield f"crop of {mm} mm, times 10", part * 10
            yield f"crop of {mm} mm, times 0.1", part * 0.1
            yield f"crop of {mm} mm, 8 bits", eight_bit(part)


def accepted(values):
    """Return whether a slice is accepted, and the error; one that is constant in the window is refused later."""
    try:
        require_hounsfield(values[None], ["The slice"])
    except InputError as error:
        return False, str(error)
    return bool(np.ptp(windowed(values[None], GTR)) > 1e-3), "constant"


def table(title, counted, names):
    groups = list(dict.fromkeys(group for _, group in counted))
    print(f"\n{title}\n" + f"{'':42}" + "".join(f"{group:>16}" for group in groups))
    for name in names:
        cells = [counted.get((name, group), Counter()) for group in groups]
        print(
            f"{name:42}" + "".join(f"{one['bad']:>8} of {one['all']:<4}" if one["all"] else f"{'':16}" for one in cells)
        )
    total = [sum((counted[key] for key in counted if key[1] == group), Counter()) for group in groups]
    print(f"{'all':42}" + "".join(f"{one['bad']:>8} of {one['all']:<4}" for one in total))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=8, help="phantoms of each scanner")
    arguments.add_argument("--show", action="store_true", help="print the messages of false refusals")
    options = arguments.parse_args()
    rng = np.random.default_rng(0)
    read, refused, named = {}, {}, Counter()
    for group, pixel, hu in slices(options.seeds):
        for name, values in harmless(hu, pixel, rng):
            good, why = accepted(values)
            read.setdefault((name, group), Counter()).update(all=1, bad=int(not good))
            if options.show and not good:
                print(group, name, why)
        for name, values in wrong(hu, pixel, rng):
            good, why = accepted(values)
            refused.setdefault((name, group), Counter()).update(all=1, bad=int(good))
            if name in ("+1024", "-1024", "+1000", "-1000"):
                expected = f"{abs(int(name))} had been {'added' if name[0] == '+' else 'subtracted'}"
                named.update({f"{name} all": 1, f"{name} named": int(expected in why)})
    table("False refusals (slices in HU)", read, dict.fromkeys(name for name, _ in read))
    table("False acceptances (slices not in HU)", refused, dict.fromkeys(name for name, _ in refused))
    print(
        "\nShift named rightly: "
        + ", ".join(
            f"{shift}: {named[f'{shift} named']} of {named[f'{shift} all']}"
            for shift in ("+1024", "-1024", "+1000", "-1000")
        )
    )
    scan = read_scan(DATA / next(iter(CTS)))
    voting = sitk.GetArrayFromImage(scan.slices(0, 2))
    times = []
    for _ in range(21):
        start = time.perf_counter()
        require_hounsfield(voting, ["a", "b", "c"])
        times.append(time.perf_counter() - start)
    print(f"Three slices of 512×512: {1e3 * np.median(times):.1f} ms (median of 21)")


if __name__ == "__main__":
    main()
