"""Which subnets are trained, tested and tried: all sizes alike, made small by what costs least.

Drawn choice by choice, nearly all subnets of a space are of about the same size, and what devices
choose was hardly ever trained. Here sizes are drawn first, evenly in log MACs, then a subnet of
about that size, mostly one that is near the front of accuracy over MACs. Dropped blocks and a
narrower last stage lose less accuracy for the MACs they save than smaller inputs do, and these less
than narrower stages, smaller expand ratios or kernels. So a subnet mostly has the largest input at
which such a network fits. Other choices change where it must be smaller still, and now and then
elsewhere, and from a late stage on: the same reduction costs more accuracy in the first ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import Encodings, distinct, stage_genes
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables

POOL = 8000  # subnets of each kind to draw from
FRONT_SHARE, CHEAP_SHARE, LATE_SHARE = 0.6, 0.8, 0.95  # of draws, those before them included
NEAR = 0.03  # sizes that count as one, of the logarithm


def sample(space: SearchSpace, rng: np.random.Generator, count: int) -> Encodings:
    """Returns subnets of all sizes, smallest first, evenly in log MACs, (count, genes).

    The range of sizes is divided in `count` parts, and each has one. Some may be equal.
    """
    by_size, cheap, late, other = _pools(space)
    low, high = other.logs[0], other.logs[-1]
    sizes = low + (high - low) * (np.arange(count) + rng.random(count)) / max(1, count)
    kinds = rng.random(count)
    chosen, _ = other.nearest(sizes, rng)
    front = ((pool, FRONT_SHARE) for pool in by_size)
    for pool, share in ((late, LATE_SHARE), (cheap, CHEAP_SHARE), *front):
        found, near = pool.nearest(sizes, rng)
        chosen[near & (kinds < share)] = found[near & (kinds < share)]
    return chosen


@dataclass(frozen=True, eq=False)
class _Pool:
    """Different subnets, smallest first: (K, genes), and the logarithms of their MACs, (K,)."""

    encodings: Encodings
    logs: DoubleArray

    def nearest(
        self, sizes: DoubleArray, rng: np.random.Generator
    ) -> tuple[Encodings, NDArray[np.bool_]]:
        """Returns for each of `sizes`, (N,), any subnet near it, (N, genes), and if it is near.

        Where none is near, the nearest.
        """
        first = np.searchsorted(self.logs, sizes - NEAR)
        after = np.searchsorted(self.logs, sizes + NEAR, side="right")
        near = after > first
        drawn = first + (rng.random(len(sizes)) * (after - first)).astype(np.int64)
        above = np.clip(np.searchsorted(self.logs, sizes), 1, max(1, len(self.logs) - 1))
        below = np.minimum(above - 1, len(self.logs) - 1)
        above = np.minimum(above, len(self.logs) - 1)
        closer = np.abs(self.logs[above] - sizes) < np.abs(self.logs[below] - sizes)
        places = np.where(near, drawn, np.where(closer, above, below))
        return self.encodings[places], near


@lru_cache(maxsize=8)
def _pools(space: SearchSpace) -> tuple[tuple[_Pool, ...], _Pool, _Pool, _Pool]:
    """Returns subnets that differ in cheap choices alone, by input size and all; late; others."""
    rng = np.random.default_rng(0)
    most = np.array(space.cardinalities()) - 1
    ends = np.stack([most, np.zeros_like(most)])
    cheap, late, other = (np.repeat(ends[:1], POOL, axis=0) for _ in range(3))
    for drawn in (cheap, late, other):
        _draw_cheap(space, drawn, rng)
    _draw_from(space, late, rng, len(space.stages) // 2 + 1)
    _draw_from(space, other, rng, 0)
    cheap[0] = most
    by_size = tuple(_pool(space, cheap[cheap[:, 0] == size]) for size in np.unique(cheap[:, 0]))
    others = np.concatenate([other, ends])
    return by_size, _pool(space, cheap), _pool(space, late), _pool(space, others)


def _draw_cheap(space: SearchSpace, drawn: Encodings, rng: np.random.Generator) -> None:
    """Draws input size, depths and the last width: each subnet with a bias of its own to depth."""
    count, bias = len(drawn), rng.random(len(drawn))
    drawn[:, 0] = rng.integers(len(space.resolutions), size=count)
    for place, stage in stage_genes(space):
        level = rng.beta(1 + 3 * bias, 4 - 3 * bias) * len(stage.depths)
        drawn[:, place + 1] = np.minimum(level.astype(np.int64), len(stage.depths) - 1)
    drawn[:, place] = rng.integers(len(stage.widths), size=count)


def _draw_from(space: SearchSpace, drawn: Encodings, rng: np.random.Generator, first: int) -> None:
    """Reduces widths, kernels and expand ratios, each from a stage on, the `first` or a later."""
    count, stages = len(drawn), list(stage_genes(space))
    cuts = rng.integers(first, len(stages) + 1, size=(3, count))
    for number, (place, stage) in enumerate(stages):
        blocks = range(place + 2, place + 2 + 2 * stage.depths[-1], 2)
        kinds = (
            ([place] if number < len(stages) - 1 else [], stage.widths),
            ([*blocks], stage.kernels),
            ([gene + 1 for gene in blocks], stage.expands),
        )
        for cut, (genes, choices) in zip(cuts, kinds, strict=True):
            level = rng.integers(max(1, len(choices) - 1), size=count)
            reduced = np.where(number >= cut, level, len(choices) - 1)
            drawn[:, genes] = reduced[:, None]


def _pool(space: SearchSpace, encodings: Encodings) -> _Pool:
    encodings = distinct(space, encodings)
    logs = np.log(tables(space).costs(encodings).macs)
    order = np.argsort(logs, kind="stable")
    return _Pool(encodings[order], logs[order])
