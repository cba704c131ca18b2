"""Augmentation: determined by its seed, within bounds, and without effect on torch's random generator."""

import numpy as np
import torch
from PIL import Image
from skimage.transform import resize

from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.staging.preprocess import normalised
from GTRStagingLib.training.augment import augmented, augmented_with, write_contact_sheet


def a_slice(size=64):
    """A bright body with a brighter organ on its left, in air."""
    picture = np.zeros((size, size), dtype=np.float32)
    y, x = np.indices(picture.shape)
    picture[np.hypot(y - size / 2, x - size / 2) < 0.35 * size] = 110
    picture[np.hypot(y - size / 2, x - 0.32 * size) < 0.12 * size] = 190
    return picture


def test_the_same_seed_gives_the_same_sample():
    first = augmented(a_slice(), (1, 2, 3))
    torch.rand(5)
    augmented(a_slice(), (9, 9, 9))
    assert (augmented(a_slice(), (1, 2, 3)) == first).all()
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (3, 2, 1)):
        assert (augmented(a_slice(), other) != first).any()


def test_augmentation_does_not_change_torchs_generator():
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    before = a_slice()
    given = before.copy()
    augmented(given, (0, 0, 0))
    assert (torch.random.get_rng_state() == state).all()
    assert torch.get_num_threads() == threads
    assert (given == before).all()


def test_samples_stay_in_range_and_in_the_field():
    for index in range(50):
        sample = augmented(a_slice(), (0, 0, index))
        assert sample.dtype == np.float32
        assert sample.shape == (64, 64)
        assert sample.min() >= 0
        assert sample.max() <= 255
        # Air, which contrast may lift, lies in the corner; the body is still there and about as large.
        share = (sample > (sample[0, 0] + sample.max()) / 3).mean()
        assert 0.6 < share / (a_slice() > 60).mean() < 1.5


def side(sample):
    """Return the position of the brightest hundredth; right of the centre is positive."""
    x = np.indices(sample.shape)[1] - (sample.shape[1] - 1) / 2
    return x[sample >= np.quantile(sample, 0.99)].mean()


def test_half_of_the_samples_are_mirrored():
    sides = [side(augmented(a_slice(), (5, 0, index))) > 0 for index in range(100)]
    assert 30 < sum(sides) < 70  # 100 tosses: outside with a probability below 1e-4


def test_intensity_changes_survive_the_z_score():
    """Brightness or contrast alone does not: normalisation removes it."""
    picture = resize(np.random.default_rng(0).uniform(0, 200, (8, 8)), (64, 64), order=3).clip(0, 200).astype("f4")
    plain = normalised(picture[None], GTR)[0, 0]
    linear = normalised((0.9 * picture + 10)[None], GTR)[0, 0]
    np.testing.assert_allclose(linear, plain, atol=1e-4)
    # The order of the grey levels tells the bend from the geometry: the shape of their distribution changes.
    skew = [((normalised(augmented(picture, (0, 0, i))[None], GTR)[0, 0]) ** 3).mean() for i in range(20)]
    assert np.std(skew) > 0.05


def test_a_picture_of_samples(tmp_path):
    path = tmp_path / "new" / "samples.png"
    write_contact_sheet([a_slice(), a_slice()], path, seed=3, variants=4)
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[:2] == (2 * 68 + 4, 5 * 68 + 4)
    assert np.abs(pixels[4:68, 4:68, 0] - a_slice()).max() <= 1  # each row begins with the slice as it is
    assert (pixels[4:68, 72:136] != pixels[4:68, 4:68]).any()


def test_a_mask_moves_with_its_slice_and_does_not_affect_it():
    """The organ's own mask lies on the organ in every sample, to half a pixel; its shading changes nothing."""
    picture = np.zeros((64, 64), dtype=np.float32)
    picture[20:31, 36:43] = 200
    mask = (picture > 0).astype(np.float32)
    rows, columns = np.indices(picture.shape)
    places = []
    for index in range(30):
        sample, moved = augmented_with(picture, mask, (4, 0, index))
        assert (sample == augmented(picture, (4, 0, index))).all()
        bright = (sample - sample[0, 0]) / (sample.max() - sample[0, 0]) > 0.3  # a gamma bends its blurred edge
        at = [float((axis * bright).sum() / bright.sum()) for axis in (rows, columns)]
        there = [float((axis * moved).sum() / moved.sum()) for axis in (rows, columns)]
        np.testing.assert_allclose(at, there, atol=0.5)
        assert 0 <= moved.min() < moved.max() <= 1
        places.append(there)
    assert (np.std(places, axis=0) > 2).all()  # flips and shifts took place
