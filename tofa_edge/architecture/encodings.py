"""Subnets as rows of integers: thousands are drawn, changed and compared at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.space import SearchSpace, StageSpace, Subnet

Encodings = NDArray[np.integer[Any]]


def decoded(space: SearchSpace, encodings: Encodings) -> list[Subnet]:
    """Returns the subnets of encodings (N, genes)."""
    return [space.decode(encoding) for encoding in encodings]


def mutated(
    space: SearchSpace, encodings: Encodings, rng: np.random.Generator, probability: float
) -> Encodings:
    """Returns encodings, (N, genes), with each choice drawn anew with a `probability`.

    In half of them the resolution stays: it moves cost and accuracy more than all else.
    """
    drawn = rng.integers(0, space.cardinalities(), encodings.shape)
    changes = rng.random(encodings.shape) < probability
    changes[rng.random(len(encodings)) < 0.5, 0] = False
    mutants: Encodings = np.where(changes, drawn, encodings)
    return mutants


def distinct(space: SearchSpace, encodings: Encodings) -> Encodings:
    """Returns encodings, (N, genes), each once, in their order; choices of dropped blocks are 0."""
    cleared = np.array(encodings)
    for place, stage in stage_genes(space):
        depth = np.array(stage.depths)[cleared[:, place + 1]]
        for number in range(stage.depths[-1]):
            block = slice(place + 2 + 2 * number, place + 4 + 2 * number)
            cleared[:, block] *= (depth > number)[:, None]
    _, places = np.unique(_hashes(cleared), return_index=True)
    return cleared[np.sort(places)]


def stage_genes(space: SearchSpace) -> Iterator[tuple[int, StageSpace]]:
    """Yields each stage and the place of its first gene, the width; depth and blocks follow."""
    place = 1
    for stage in space.stages:
        yield place, stage
        place += 2 + 2 * stage.depths[-1]


def encoded(space: SearchSpace, subnets: Sequence[Subnet]) -> Encodings:
    """Returns the encodings of subnets, (N, genes)."""
    return np.array([space.encode(subnet) for subnet in subnets])


def _hashes(encodings: Encodings) -> NDArray[np.uint64]:
    """Returns a number for each encoding that tells it apart (Dietzfelbinger's linear hashing)."""
    multipliers = np.random.default_rng(0).integers(0, 2**63, encodings.shape[1], np.uint64)
    hashes: NDArray[np.uint64] = (encodings.astype(np.uint64) * (2 * multipliers + 1)).sum(axis=1)
    return hashes
