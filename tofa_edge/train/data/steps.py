"""Which images and which randomness a step gets: functions of the seed and the step alone.

Nothing random is carried from one step to the next, so a resumed run repeats the same steps, and
every process of a distributed one knows what the others do.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from tofa_edge.architecture.arrays import IndexArray


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a phase.

    Attributes:
        number: from 0.
        of: how many the phase has.
        seed: of the run.
    """

    number: int
    of: int
    seed: int

    @property
    def progress(self) -> float:
        """How much of the phase is done before this step, 0..1."""
        return self.number / max(1, self.of)

    def rng(self, purpose: str) -> np.random.Generator:
        """Returns a generator of its own for each seed, step and `purpose`, any word."""
        return np.random.default_rng([self.seed, self.number, zlib.crc32(purpose.encode())])

    def generator(self, purpose: str) -> torch.Generator:
        """Returns the same for torch, for a `purpose`."""
        return torch.Generator().manual_seed(int(self.rng(purpose).integers(2**62)))

    def draw(self, pool: IndexArray, count: int, purpose: str) -> IndexArray:
        """Returns `count` of a `pool`, (count,): each comes once before any comes again.

        Each `purpose` has draws of its own.
        """
        places = np.arange(self.number * count, (self.number + 1) * count)
        key = (self.seed, zlib.crc32(purpose.encode()))
        rounds = places // len(pool)
        orders = {int(r): _order(len(pool), (*key, int(r))) for r in np.unique(rounds)}
        picked = [
            orders[int(r)][place % len(pool)] for r, place in zip(rounds, places, strict=True)
        ]
        chosen: IndexArray = pool[np.array(picked, np.int64)]
        return chosen


@lru_cache(maxsize=8)
def _order(count: int, key: Sequence[int]) -> IndexArray:
    return np.random.default_rng(list(key)).permutation(count)
