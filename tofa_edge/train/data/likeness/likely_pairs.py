"""Pairs of photos that may be nearly equal, found without comparing pixels of all with all.

Every photo has a short descriptor, a perceptual hash of real numbers. A crop or a shifted photo has
another one: so windows of each photo are described, too, and compared with the whole of the others,
and windows on one side with windows on the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.train.data.likeness.registration import Placement, interpolation
from tofa_edge.train.data.likeness.thumbnails import Whitening

FREQUENCIES = 8  # on each axis: 63 numbers describe a view
LEAST_COSINE = 0.6  # of descriptors of a pair that is looked at
NEAREST = 8  # pairs for each photo, about, that a view adds, and that are kept in the end
ROWS = 500  # of cosines at once
SAMPLE = 400  # photos that the usual cosines are read from
WHITENED_ON = 5000  # photos at most that a whitening is fitted to


@dataclass(frozen=True)
class Window:
    """A part of a photo, in shares of its sides."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0

    def of(self, small: FloatArray) -> FloatArray:
        """Returns the parts of thumbnails, (N, side, side), at their size."""
        side = small.shape[1]
        middles = (np.arange(side) + 0.5)[None]
        across = interpolation(side * self.left + self.width * middles - 0.5)[0]
        down = interpolation(side * self.top + self.height * middles - 0.5)[0]
        part: FloatArray = down @ small @ across.transpose(0, 2, 1)
        return part

    def laid_on(self, other: Window) -> list[float]:
        """Returns the placement that lays a photo over another one whose `other` part is this."""
        scale = self.width / other.width
        right = self.left + (0.5 - other.left) * scale - 0.5
        down = self.top + (0.5 - other.top) * scale - 0.5
        return [float(np.log(scale)), right, down]


WHOLE, CENTRE = Window(), Window(0.025, 0.025, 0.95, 0.95)
NEAR, FAR = 0.94, 0.06
CORNERS = [Window(x, y, NEAR, NEAR) for x in (0.0, FAR) for y in (0.0, FAR)]
SIDES = [Window(0, 0, NEAR, 1), Window(0, 0, 1, NEAR), Window(0, FAR, 1, NEAR),
         Window(FAR, 0, NEAR, 1)]  # fmt: skip
VIEWS = [
    (WHOLE, WHOLE),
    *((window, WHOLE) for window in (CENTRE, *CORNERS)),
    *zip(CORNERS, reversed(CORNERS), strict=True),
    *zip(SIDES, reversed(SIDES), strict=True),
]  # of a photo and of one that is made from it


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of photos, and how the second may lie over the first.

    Attributes:
        first: indices of photos, (P,).
        second: the same.
        placement: to begin with, (P, 3).
    """

    first: IndexArray
    second: IndexArray
    placement: Placement

    def __len__(self) -> int:
        return len(self.first)

    def take(self, indices: IndexArray | slice) -> Pairs:
        """Returns the pairs at `indices`."""
        return Pairs(self.first[indices], self.second[indices], self.placement[indices])


def likely_pairs(small: FloatArray | ImageArray) -> Pairs:
    """Returns pairs that may be nearly equal, each once, some eight for each photo at most.

    Memory grows with the number of photos, not with its square.

    Args:
        small: thumbnails, float32 or uint8, (N, side, side).
    """
    found = [_of_view(small, number) for number in range(len(VIEWS))]
    first, second, views, cosines = (
        np.concatenate([part[column] for part in found]) for column in range(4)
    )
    kept = _best(first, second, cosines, len(small))
    starts = np.array([part.laid_on(whole) for whole, part in VIEWS], np.float32)
    return Pairs(first[kept], second[kept], starts[views[kept]])


def _of_view(
    small: FloatArray | ImageArray, number: int
) -> tuple[IndexArray, IndexArray, IndexArray, FloatArray]:
    """Returns first and second photo, view and cosine of the pairs of one view, (P,)."""
    own, other = VIEWS[number]
    rng = np.random.default_rng(number)
    chosen = np.sort(rng.permutation(len(small))[:WHITENED_ON])
    whitening = Whitening.of(own.of(small[chosen].astype(np.float32)), FREQUENCIES)
    rows, columns = _described(small, own, whitening), _described(small, other, whitening)
    usual = rows[rng.permutation(len(rows))[:SAMPLE]] @ columns.T
    quantile = np.quantile(usual, max(0.0, 1 - (NEAREST + 1) / len(small)))
    least = max(LEAST_COSINE, float(quantile))
    first, second, cosines = [], [], []
    for begin in range(0, len(rows), ROWS):
        ahead = begin if own == other else 0  # the others came with the rows before
        block = rows[begin : begin + ROWS] @ columns[ahead:].T
        if own == other:
            block[:, : len(block)][np.tri(len(block), dtype=np.bool_)] = -1
        else:
            block[np.arange(len(block)), begin + np.arange(len(block))] = -1
        one, two = np.nonzero(block > least)
        first.append(one + begin)
        second.append(two + ahead)
        cosines.append(block[one, two])
    count = sum(map(len, first))
    views = np.full(count, number)
    return np.concatenate(first), np.concatenate(second), views, np.concatenate(cosines)


def _described(small: FloatArray | ImageArray, window: Window, whitening: Whitening) -> FloatArray:
    parts = np.array_split(small, max(1, len(small) // ROWS))
    return np.concatenate([whitening(window.of(part.astype(np.float32))) for part in parts])


def _best(first: IndexArray, second: IndexArray, cosines: FloatArray, count: int) -> IndexArray:
    """Returns which entries to look at: each pair once, the most alike of each photo."""
    order = np.argsort(-cosines, kind="stable")
    low, high = np.minimum(first, second)[order], np.maximum(first, second)[order]
    once = np.sort(np.unique(low * count + high, return_index=True)[1])
    order, low, high = order[once], low[once], high[once]
    near = (_rank(low) < NEAREST) | (_rank(high) < NEAREST)
    return order[near]


def _rank(values: IndexArray) -> IndexArray:
    """Returns how many equal values stand before each, (P,)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(values) else order
    lengths = np.diff(np.r_[begins, len(values)])
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values)) - np.repeat(begins, lengths)
    return ranks
