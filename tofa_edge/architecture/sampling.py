"""Which subnets are trained, tested and tried: all sizes alike, made small by what costs least.

Drawn choice by choice, nearly all subnets of a space are of about the same size, and what devices
choose was hardly ever trained. Here sizes are drawn first, evenly in log MACs, then a subnet of
about that size. Dropped blocks, a narrower last stage and smaller inputs lose less accuracy for the
MACs they save than narrower stages, expand ratios or kernels do; these change only where a subnet
must be smaller than the others allow, and now and then elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import DoubleArray
from tofa_edge.architecture.encodings import Encodings, distinct
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.architecture.tables import tables

POOL = 8000  # subnets of each kind to draw from
CHEAP_SHARE = 0.8  # of subnets that change in nothing else, where there are such of a size
NEAR = 0.03  # sizes that count as one, of the logarithm


def sample(space: SearchSpace, rng: np.random.Generator, count: int) -> Encodings:
    """Returns subnets of all sizes, smallest first, evenly in log MACs, (count, genes).

    The range of sizes is divided in `count` parts, and each has one. Some may be equal.
    """
    cheap, other = _pools(space)
    low, high = min(cheap.logs[0], other.logs[0]), max(cheap.logs[-1], other.logs[-1])
    sizes = low + (high - low) * (np.arange(count) + rng.random(count)) / max(1, count)
    found, near = cheap.nearest(sizes, rng)
    others, _ = other.nearest(sizes, rng)
    preferred = near & (rng.random(count) < CHEAP_SHARE)
    chosen: Encodings = np.where(preferred[:, None], found, others)
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
def _pools(space: SearchSpace) -> tuple[_Pool, _Pool]:
    """Returns subnets that differ in the cheap choices alone, and others."""
    rng = np.random.default_rng(0)
    most = np.array(space.cardinalities()) - 1
    cheap = _biased(space, rng)
    dear = [place for place in range(len(most)) if place not in _cheap_places(space)]
    cheap[:, dear] = most[dear]
    ends = np.stack([most, np.zeros_like(most)])
    other = np.concatenate([_biased(space, rng), ends])
    return _pool(space, np.concatenate([cheap, ends[:1]])), _pool(space, other)


def _biased(space: SearchSpace, rng: np.random.Generator) -> Encodings:
    """Returns subnets from all small to all large: each draws its choices with a bias of its own.

    The input size is drawn by itself, evenly.
    """
    sizes = np.array(space.cardinalities())
    biases = rng.uniform(0.0, 1.0, (POOL, 1))
    drawn = rng.beta(1 + 3 * biases, 1 + 3 * (1 - biases), (POOL, len(sizes)))
    drawn[:, 0] = rng.random(POOL)
    choices: Encodings = np.minimum((drawn * sizes).astype(np.int64), sizes - 1)
    return choices


def _cheap_places(space: SearchSpace) -> list[int]:
    """Returns the genes of the input size, of each stage's depth, and of the last stage's width."""
    places, position = [0], 1
    for stage in space.stages:
        places.append(position + 1)
        last = position
        position += 2 + 2 * stage.depths[-1]
    return [*places, last]


def _pool(space: SearchSpace, encodings: Encodings) -> _Pool:
    encodings = distinct(space, encodings)
    logs = np.log(tables(space).costs(encodings).macs)
    order = np.argsort(logs, kind="stable")
    return _Pool(encodings[order], logs[order])
