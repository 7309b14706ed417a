"""Search: the subnets of the best score, found among integer encodings.

Random subnets of all sizes first, then rounds of evolution: the best so far, changed in a few
places (regularised by always keeping them; Cai et al., ICLR 2020, section 3.4, search alike). A
score is asked for thousands of encodings at once, so it works on tables, not on networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.architecture.encodings import Encodings, _hashes, distinct, mutated
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace

Score = Callable[[Encodings], DoubleArray]
Cells = Callable[[Encodings], IndexArray]

FIRST = 8000  # random subnets
ROUNDS, PARENTS, CHILDREN = 8, 100, 20  # a round changes each parent so many times
CHANGE = 0.1  # the probability of a choice to be drawn anew, at first
CELL_ROUNDS = 24  # where the best of each cell is wanted


def maximise(
    space: SearchSpace,
    score: Score,
    rng: np.random.Generator,
    *,
    start: Encodings | None = None,
) -> tuple[Encodings, DoubleArray]:
    """Returns the subnets of the best score, best first, and their scores; may be none.

    Args:
        score: of encodings (N, genes), float (N,); more is better, −inf must not be chosen.
        start: encodings to begin with besides, such as the best found before.

    Returns:
        at most 100 encodings, (K, genes), and scores, (K,), all finite.
    """
    pool = np.concatenate([sample(space, rng, FIRST), _corners(space)])
    if start is not None:
        pool = np.concatenate([pool, start])
    pool = distinct(space, pool)
    best, scores = _best(pool, score(pool))
    for number in range(ROUNDS):
        if not len(best):
            break
        change = CHANGE * (1 - number / (2 * ROUNDS))
        children = mutated(space, np.repeat(best, CHILDREN, axis=0), rng, change)
        children = distinct(space, children)
        merged = np.concatenate([best, children])
        found = np.concatenate([scores, score(children)])
        _, places = np.unique(_hashes(merged), return_index=True)
        best, scores = _best(merged[places], found[places])
    return best, scores


def best_of_cells(
    space: SearchSpace, score: Score, cells: Cells, rng: np.random.Generator
) -> tuple[Encodings, DoubleArray]:
    """Returns the subnet of the best score in each cell that evolution reaches, and their scores.

    Subnets change from all of them alike (MAP-Elites; Mouret and Clune, 2015).

    Args:
        score: as for `maximise`.
        cells: the numbers of the cells that encodings (N, genes) lie in, (N,).

    Returns:
        encodings, (K, genes), and scores, (K,), by the number of their cell.
    """
    pool = distinct(space, np.concatenate([sample(space, rng, FIRST), _corners(space)]))
    best, scores = _best_of_cells(pool, score(pool), cells)
    for _ in range(CELL_ROUNDS):
        parents = best[rng.integers(len(best), size=PARENTS * CHILDREN)]
        children = distinct(space, mutated(space, parents, rng, CHANGE))
        found = np.concatenate([scores, score(children)])
        best, scores = _best_of_cells(np.concatenate([best, children]), found, cells)
    return best, scores


def _best_of_cells(
    pool: Encodings, scores: DoubleArray, cells: Cells
) -> tuple[Encodings, DoubleArray]:
    order = np.argsort(-scores, kind="stable")
    _, first = np.unique(cells(pool)[order], return_index=True)
    return pool[order[first]], scores[order[first]]


def _corners(space: SearchSpace) -> Encodings:
    named = (space.smallest(), space.middle(), space.largest())
    uniform = [space.encode(subnet)[1:] for subnet in named]
    sizes = range(len(space.resolutions))
    return np.array([[resolution, *choices] for resolution in sizes for choices in uniform])


def _best(pool: Encodings, scores: DoubleArray) -> tuple[Encodings, DoubleArray]:
    order: Any = np.argsort(-scores, kind="stable")[:PARENTS]
    order = order[np.isfinite(scores[order])]
    return pool[order], scores[order]
