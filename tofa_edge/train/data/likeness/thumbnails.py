"""Thumbnails, and what tells one photo of a set from the others in them.

Photos of one set share much: all solar cells have the same bars. Comparing thumbnails themselves
finds them all alike. Here the low frequencies of a thumbnail, as in a perceptual hash, are
decorrelated over the set ("whitened"): what all photos share weighs little, what one photo alone
has weighs much.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray

SIDE = 32  # of the thumbnails that all photos are compared by, in pixels
FINE_SIDE = 64  # of those that likely pairs are compared by
PRIOR = 0.1  # share of the covariance that is that of any photos, not of the set
FLAT = 2.0  # grey levels: a thumbnail that deviates less shows nothing to compare


def thumbnails(images: ImageArray, side: int) -> FloatArray:
    """Returns grey thumbnails, float32, (N, side, side), of images, uint8, (N, S, S, 3)."""
    from PIL import Image

    small = np.zeros((len(images), side, side), np.float32)
    for index, image in enumerate(images):
        grey = Image.fromarray(image).convert("L")
        small[index] = np.asarray(grey.resize((side, side), Image.Resampling.BICUBIC))
    return small


def normalised(small: FloatArray) -> FloatArray:
    """Returns thumbnails, (N, side, side), without their mean and of length 1."""
    centred = small - small.mean(axis=(1, 2), keepdims=True)
    lengths = np.linalg.norm(centred, axis=(1, 2), keepdims=True)
    result: FloatArray = (centred / np.maximum(lengths, 1e-6)).astype(np.float32)
    return result


def is_flat(small: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Returns whether thumbnails, (N, side, side), show nothing to compare, (N,)."""
    flat: np.ndarray[tuple[int], np.dtype[np.bool_]] = small.std(axis=(1, 2)) < FLAT
    return flat


def frequencies(small: FloatArray, count: int) -> FloatArray:
    """Returns the lowest frequencies of normalised thumbnails, (N, count² − 1): their DCT-II."""
    basis = _cosines(small.shape[1], count)
    spectra = basis.T @ normalised(small) @ basis
    result: FloatArray = spectra.reshape(len(small), -1)[:, 1:]
    return result


@lru_cache(maxsize=8)
def _cosines(side: int, count: int) -> FloatArray:
    places = (np.arange(side) + 0.5)[:, None]
    basis = np.cos(np.pi / side * places * np.arange(count)) * np.sqrt(2 / side)
    basis[:, 0] /= np.sqrt(2)
    result: FloatArray = basis.astype(np.float32)
    return result


def _usual_variances(side: int, count: int) -> FloatArray:
    """Returns those of photos of anything: they fall with the square of the frequency."""
    steps = np.arange(side)
    powers = 1 / np.maximum(np.hypot(steps[:, None], steps), 1) ** 2
    every = powers.sum() - 1  # but the mean
    result: FloatArray = (powers[:count, :count].reshape(-1)[1:] / every).astype(np.float32)
    return result


@dataclass(frozen=True, eq=False)
class Whitening:
    """A map from thumbnails to descriptors whose cosine says how alike two photos are.

    Attributes:
        count: frequencies on each axis.
        mean: of the set, (count² − 1,).
        map: float32, (count² − 1, count² − 1).
    """

    count: int
    mean: FloatArray
    map: FloatArray

    @classmethod
    def of(cls, small: FloatArray, count: int) -> Whitening:
        """Returns the map fitted to thumbnails of a set, (N, side, side), N of 1 or more."""
        values = frequencies(small, count)
        usual = _usual_variances(small.shape[1], count)
        mean = values.mean(axis=0) * len(values) / (len(values) + 20)  # of few photos, nearer to 0
        values = values - mean
        covariance = (1 - PRIOR) * (values.T @ values) / len(values) + PRIOR * np.diag(usual)
        variances, axes = np.linalg.eigh(covariance.astype(np.float64))
        return cls(count, mean, (axes / np.sqrt(variances)).astype(np.float32))

    def __call__(self, small: FloatArray) -> FloatArray:
        """Returns descriptors of thumbnails, (N, side, side), of length 1, (N, count² − 1)."""
        values = (frequencies(small, self.count) - self.mean) @ self.map
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        result: FloatArray = values / np.maximum(lengths, 1e-9)
        return result
