"""Simulate colour vision deficiencies, and measure how far colours are apart for each kind of vision.

The matrices are those of Machado, Oliveira & Fernandes 2009, IEEE Trans Vis Comput Graph 15:1291, for full severity;
they apply to linear RGB.
"""

from itertools import combinations

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

MATRICES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def rgb_of(colours):
    """Return '#rrggbb' texts as (n, 3) sRGB from 0 to 1."""
    return np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def encoded(light):
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def seen(rgb, deficiency):
    """Return (…, 3) sRGB as a person with a deficiency sees it."""
    return encoded(linear(rgb) @ np.array(MATRICES[deficiency]).T)


def least_distance(rgb):
    """Return the smallest CIEDE2000 difference between two of (n, 3) colours."""
    lab = rgb2lab(rgb)
    return min(float(deltaE_ciede2000(lab[i], lab[j])) for i, j in combinations(range(len(lab)), 2))


def lightness(rgb):
    """Return the lightness L* of (n, 3) colours, which is all that grey print keeps."""
    return rgb2lab(rgb)[:, 0]


def contrast(first, second):
    """Return the contrast ratio of two (3,) colours by WCAG 2, from 1 to 21."""
    low, high = sorted(float(linear(np.asarray(one)) @ (0.2126, 0.7152, 0.0722)) for one in (first, second))
    return (high + 0.05) / (low + 0.05)
