"""Groups of equal and nearly equal photos: copies, thumbnails, crops, bursts, other brightness.

Pairs that may be nearly equal are found by short descriptors, then laid over each other and
compared. How alike two photos must be is read from the set: as much as a photo and its copy,
re-saved and halved, and more than photos of this set are by chance.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.train.data.likeness.likely_pairs import WHITENED_ON, Pairs, likely_pairs
from tofa_edge.train.data.likeness.registration import inverse, placed, register
from tofa_edge.train.data.likeness.thumbnails import (
    FINE_SIDE,
    SIDE,
    Whitening,
    is_flat,
    normalised,
    thumbnails,
)

LEVELS = ((FINE_SIDE, 24), (SIDE, 12), (SIDE, 8))  # side and frequencies, the finest first
COPIES = 128  # photos that copies are made of, to see how alike those are
LEAST_OF_COPIES = 0.9  # likeness of most copies: a finer level would miss some
COPY_QUANTILE = 0.05
COPY_QUALITY = 60  # of a re-saved JPEG
LEAST_LIKENESS = 0.9
SPREADS = 5  # that likeness is above the median of nearest photos, in distances to the quartile
LOOSE = 0.1  # less likeness will do to the middle photo of a group than to a neighbour
LEAST_OVERLAP = 0.6  # share of a photo that must lie over the other
MOST_TINT = 0.05  # difference of the shares of red, green and blue
BANDS = ((10, 15), (22, 28))  # of coarse and of fine detail, in periods a photo
FINE_DETAIL = 0.03  # power of fine to that of coarse detail; enlarged images have less
COARSE_ROUNDS, FINE_ROUNDS = 8, 3  # of registration
SURROUNDING = 40  # nearest photos that are not nearly equal: what those share does not count
CHUNK = 1000  # pairs compared at once


def near_duplicates(images: ImageArray) -> IndexArray:
    """Returns the number of each photo's group, int64, (N,); nearly equal photos share one.

    Groups are numbered by their first photo. Every photo of a group is like its middle photo: no
    chain of likenesses joins what is not alike. Memory grows with N, not with its square.

    Args:
        images: uint8, (N, S, S, 3).
    """
    first, own = _equal(images)
    distinct = images if len(first) == len(images) else images[first]
    small = np.concatenate([np.zeros((0, SIDE, SIDE), np.uint8), *(
        thumbnails(part, SIDE).clip(0, 255).astype(np.uint8)
        for part in np.array_split(distinct, max(1, len(distinct) // CHUNK))
    )])  # fmt: skip
    shown = np.flatnonzero(~is_flat(small))
    groups = np.arange(len(distinct))
    if len(shown) > 1:
        groups[shown] = shown[_groups(distinct, shown, small[shown])]
    return _numbered(groups[own])


def _equal(images: ImageArray) -> tuple[IndexArray, IndexArray]:
    """Returns the first of each distinct photo, and which of those each photo equals, (N,)."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    numbers: dict[bytes, int] = {}
    own = [numbers.setdefault(digest, len(numbers)) for digest in digests]
    first = np.unique(own, return_index=True)[1]
    return first.astype(np.int64), np.array(own, np.int64)


def _numbered(groups: IndexArray) -> IndexArray:
    """Returns groups, (N,), numbered in the order of their first photos."""
    _, first, own = np.unique(groups, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[own.reshape(-1)]


def _groups(images: ImageArray, chosen: IndexArray, small: ImageArray) -> IndexArray:
    """Returns for each of the chosen photos the position of the middle one of its group."""
    comparison = LikenessOfSet.of(images, chosen)
    pairs = likely_pairs(small)
    agreeing = pairs.take(np.flatnonzero(comparison.agree(pairs)))
    return _medoids(len(small), agreeing, comparison)


def _medoids(count: int, pairs: Pairs, comparison: LikenessOfSet) -> IndexArray:
    """Returns the middle photo of each photo's group, (count,); the most connected come first."""
    neighbours: dict[int, list[int]] = {}
    for one, two in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        neighbours.setdefault(one, []).append(two)
        neighbours.setdefault(two, []).append(one)
    middle = np.full(count, -1)
    for photo in sorted(neighbours, key=lambda each: (-len(neighbours[each]), each)):
        if middle[photo] >= 0:
            continue
        middle[photo] = photo
        reached = [each for each in neighbours[photo] if middle[each] < 0]
        while reached:
            middle[reached] = photo
            beyond = {each for old in reached for each in neighbours[old] if middle[each] < 0}
            reached = comparison.like(photo, sorted(beyond))
    return np.where(middle >= 0, middle, np.arange(count))


@dataclass(frozen=True, eq=False)
class LikenessOfSet:
    """How alike two photos of a set are once one is laid over the other.

    Attributes:
        images: uint8, (N, S, S, 3).
        chosen: positions in `images` of the photos that pairs speak of.
        tints: shares of red, green and blue of each, (N, 3).
        side: of the thumbnails that are compared, in pixels.
        whitening: for them.
        some: descriptors of photos of the set, (M, numbers).
        least: likeness of nearly equal ones.
    """

    images: ImageArray
    chosen: IndexArray
    tints: FloatArray
    side: int
    whitening: Whitening
    some: FloatArray
    least: float

    @classmethod
    def of(cls, images: ImageArray, chosen: IndexArray) -> LikenessOfSet:
        """Returns the comparison for the chosen photos of a set."""
        rng = np.random.default_rng(0)
        some = images[np.sort(rng.permutation(chosen)[:WHITENED_ON])]
        copied = some[rng.permutation(len(some))[:COPIES]]
        fine = _is_fine(copied)
        copies = [_copied(image, fine) for image in copied]
        for side, count in LEVELS[0 if fine else 1 :]:
            small = thumbnails(some, side)
            whitening = Whitening.of(small, count)
            originals = whitening(thumbnails(copied, side))
            alike = [
                (whitening(thumbnails(np.stack(each), side)) * originals).sum(axis=1)
                for each in zip(*copies, strict=True)
            ]
            least_copy = float(np.quantile(np.minimum.reduce(alike), COPY_QUANTILE))
            if least_copy >= LEAST_OF_COPIES:
                break
        some_whitened = whitening(small)
        least = max(LEAST_LIKENESS, min(_unusual(some_whitened), least_copy))
        tints = np.stack([_tint(images[index]) for index in chosen])
        return cls(images, chosen, tints, side, whitening, some_whitened, least)

    def agree(self, pairs: Pairs, less: float = 0.0) -> NDArray[np.bool_]:
        """Returns whether pairs are nearly equal, (P,), if `less` likeness than usual will do."""
        alike: NDArray[np.bool_] = self.likenesses(pairs) >= self.least - less
        return alike

    def likenesses(self, pairs: Pairs) -> FloatArray:
        """Returns the likeness of pairs of the chosen, −1 to 1, (P,)."""
        tint = np.abs(self.tints[pairs.first] - self.tints[pairs.second]).max(axis=1)
        result = np.full(len(pairs), -1.0, np.float32)
        wanted = np.flatnonzero(tint <= MOST_TINT)
        for part in np.array_split(wanted, max(1, len(wanted) // CHUNK)):
            result[part] = self._laid_over(pairs.take(part))
        return result

    def like(self, photo: int, others: list[int]) -> list[int]:
        """Returns those of `others` that are like a photo, all but `LOOSE` of what is wanted."""
        second = np.array(others, np.int64)
        start = np.zeros((len(others), 3), np.float32)
        pairs = Pairs(np.full(len(others), photo), second, start)
        return [int(each) for each in second[self.agree(pairs, LOOSE)]]

    def _laid_over(self, pairs: Pairs) -> FloatArray:
        """Returns the likeness of pairs: of one laid over the other, or the other way round."""
        if not len(pairs):
            return np.zeros(0, np.float32)
        photos, places = np.unique(np.r_[pairs.first, pairs.second], return_inverse=True)
        shown_to = self.images[self.chosen[photos]]
        small, coarse = thumbnails(shown_to, self.side), normalised(thumbnails(shown_to, SIDE))
        shown, whitened = normalised(small), self.whitening(small)
        first, second = np.split(places.reshape(-1), 2)
        around = self._surroundings(whitened)
        likeness = self._likeness(whitened, first, whitened[second], around)
        there = register(coarse[first], coarse[second], pairs.placement, COARSE_ROUNDS)
        if self.side != SIDE:
            there = register(shown[first], shown[second], there, FINE_ROUNDS)
        for fixed, moving, placement in ((first, second, there), (second, first, inverse(there))):
            moved, inside = placed(shown[moving], placement)
            filled = self.whitening(np.where(inside > 0, moved, shown[fixed]))
            alike = self._likeness(whitened, fixed, filled, around)
            overlaps = inside.mean(axis=(1, 2)) >= LEAST_OVERLAP
            likeness = np.where(overlaps, np.maximum(likeness, alike), likeness)
        return likeness

    def _likeness(
        self, whitened: FloatArray, chosen: IndexArray, others: FloatArray, around: FloatArray
    ) -> FloatArray:
        """Returns the lesser of the cosines with and without what similar photos share."""
        own, shared = whitened[chosen], around[chosen]
        return np.minimum(_cosines(own, others), _cosines(own - shared, others - shared))

    def _surroundings(self, whitened: FloatArray) -> FloatArray:
        """Returns the mean descriptor of the photos most like each, but nearly equal ones."""
        count = min(SURROUNDING, max(1, len(self.some) // 8))
        cosines = whitened @ self.some.T
        cosines[cosines >= LEAST_LIKENESS] = -1
        nearest = np.argpartition(cosines, len(self.some) - count, axis=1)[:, -count:]
        weights = (np.take_along_axis(cosines, nearest, axis=1) > -1).astype(np.float32)
        total = (self.some[nearest] * weights[:, :, None]).sum(axis=1)
        result: FloatArray = total / count
        return result


def _unusual(descriptors: FloatArray) -> float:
    """Returns a likeness that photos of a set hardly have by chance, from that of nearest ones."""
    nearest = []
    for begin in range(0, len(descriptors), CHUNK):
        cosines = descriptors[begin : begin + CHUNK] @ descriptors.T
        cosines[np.arange(len(cosines)), begin + np.arange(len(cosines))] = -1
        nearest.append(cosines.max(axis=1))
    quarter, half = np.arctanh(np.quantile(np.concatenate(nearest), (0.25, 0.5)).clip(-0.99, 0.999))
    return float(np.tanh(half + SPREADS * (half - quarter)))


def _cosines(first: FloatArray, second: FloatArray) -> FloatArray:
    """Returns the cosines between rows, (N,)."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    result: FloatArray = (first * second).sum(axis=1) / np.maximum(lengths, 1e-9)
    return result


def _copied(image: ImageArray, fine: bool) -> tuple[ImageArray, ImageArray]:
    """Returns copies of an image, re-saved and halved; without `fine` detail as of 32 pixels."""
    from PIL import Image

    size = len(image)
    whole = Image.fromarray(image)
    if not fine:
        whole = whole.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    whole.save(stream, "JPEG", quality=COPY_QUALITY)
    with Image.open(stream) as saved:
        resaved = saved.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    half = (max(1, whole.width // 2),) * 2
    halved = whole.resize(half, Image.Resampling.BICUBIC)
    halved = halved.resize(whole.size, Image.Resampling.BICUBIC)
    halved = halved.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resaved), np.asarray(halved)


def _is_fine(images: ImageArray) -> bool:
    """Returns whether images have detail that thumbnails of 32 pixels cannot show."""
    if images.shape[1] < FINE_SIDE:
        return False
    window = np.hanning(FINE_SIDE)[:, None] * np.hanning(FINE_SIDE)
    powers = (np.abs(np.fft.rfft2(normalised(thumbnails(images, FINE_SIDE)) * window)) ** 2).mean(0)
    down, across = np.fft.fftfreq(FINE_SIDE, 1 / FINE_SIDE), np.arange(FINE_SIDE // 2 + 1)
    radius = np.hypot(down[:, None], across)
    coarse, fine = (powers[(radius >= low) & (radius < high)].mean() for low, high in BANDS)
    return bool(fine > FINE_DETAIL * coarse)


def _tint(image: ImageArray) -> FloatArray:
    """Returns the shares of red, green and blue in an image, (3,)."""
    means = image[::4, ::4].reshape(-1, 3).mean(axis=0) + 1
    result: FloatArray = (means / means.sum()).astype(np.float32)
    return result
