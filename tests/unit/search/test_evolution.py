"""Which subnets are looked at, and how their latency is predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.encodings import (
    Encodings,
    decoded,
    distinct,
    encoded,
)
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.architecture.zoo import SPACES, efficientnet_lite0, named, tiny
from tofa_edge.search.evolution import best_of_cells, maximise
from tofa_edge.search.forecast import expected_accuracy


def candidates(space: SearchSpace, rng: np.random.Generator, count: int) -> list[Subnet]:
    return decoded(space, distinct(space, sample(space, rng, count)))


@pytest.mark.parametrize("name", SPACES)
def test_candidates_are_different_and_valid(name: str) -> None:
    space = named(name)
    pool = candidates(space, np.random.default_rng(0), 300)
    assert len(set(pool)) == len(pool)
    assert len(pool) >= 100, "a small space has few of each size"
    for subnet in pool:
        space.validate(subnet)


def test_candidates_reach_both_ends() -> None:
    space = efficientnet_lite0()
    rng = np.random.default_rng(0)
    cost = [macs(layers(space, subnet)) for subnet in candidates(space, rng, 2000)]
    ends = [macs(layers(space, end)) for end in (space.smallest(), space.largest())]
    uniform = [macs(layers(space, space.sample(rng))) for _ in range(2000)]
    assert min(cost) < 1.5 * ends[0]
    assert max(cost) > 0.8 * ends[1]
    assert min(cost) < min(uniform)
    assert max(cost) > max(uniform)


def test_candidates_follow_the_generator() -> None:
    pools = [candidates(tiny(), np.random.default_rng(seed), 50) for seed in (1, 1, 2)]
    assert pools[0] == pools[1] != pools[2]


def test_proxy_grows_with_capacity() -> None:
    space = efficientnet_lite0()
    ends = encoded(space, [space.smallest(), space.middle(), space.largest()])
    ranked = expected_accuracy(space, None, ends).tolist()
    assert ranked == sorted(set(ranked))
    assert ranked[-1] == 1.0


def small_space() -> SearchSpace:
    """A space small enough to enumerate: 2 resolutions and some 30,000 subnets."""
    space = efficientnet_lite0()
    stages = [
        replace(stage, widths=stage.widths[-2:], depths=stage.depths[:1]) for stage in space.stages
    ]
    return replace(space, resolutions=(48, 64, 96, 128), stages=tuple(stages))


def every(space: SearchSpace) -> Encodings:
    choices = np.meshgrid(*(np.arange(n) for n in space.cardinalities()), indexing="ij")
    return np.stack([choice.ravel() for choice in choices], axis=1)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
def test_search_finds_what_enumeration_finds(share: float) -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    weights = rng.uniform(0, 1, len(space.cardinalities()))
    table = tables(space)
    low, high = (
        float(table.costs(encoded(space, [end])).macs[0])
        for end in (space.smallest(), space.largest())
    )
    ceiling = low + share * (high - low)

    def score(genes: Encodings) -> DoubleArray:
        worth = np.sin(3 * genes * weights).sum(axis=1) + (genes * weights).sum(axis=1)
        return np.where(table.costs(genes).macs <= ceiling, worth, -np.inf)

    whole = every(space)
    assert 1000 < len(whole) < 200_000
    best, scores = maximise(space, score, np.random.default_rng(1))
    truth = score(whole)
    spread = truth[np.isfinite(truth)].std()
    assert scores[0] >= truth.max() - 0.05 * spread
    assert np.array_equal(scores, score(best))


def test_the_best_of_each_cell_is_what_enumeration_finds() -> None:
    space = tiny()
    weights = np.random.default_rng(0).uniform(0, 1, len(space.cardinalities()))

    def score(genes: Encodings) -> DoubleArray:
        return np.asarray(np.sin(3 * genes * weights).sum(axis=1))

    def cells(genes: Encodings) -> IndexArray:
        return np.asarray(10 * genes[:, 0] + np.log2(tables(space).costs(genes).macs).astype(int))

    best, scores = best_of_cells(space, score, cells, np.random.default_rng(1))
    whole = distinct(space, every(space))
    truth = {cell: score(whole[cells(whole) == cell]).max() for cell in np.unique(cells(whole))}
    assert cells(best).tolist() == list(truth)
    missed = np.array(list(truth.values())) - scores
    assert (missed == 0).mean() > 0.7
    assert missed.max() <= 0.1 * np.ptp(score(whole))
    assert np.array_equal(scores, score(best))


def test_nothing_allowed_is_nothing_found() -> None:
    found, scores = maximise(
        tiny(), lambda genes: np.full(len(genes), -np.inf), np.random.default_rng(0)
    )
    assert (len(found), len(scores)) == (0, 0)


def test_distinct_keeps_one_of_each() -> None:
    space = efficientnet_lite0()
    drawn = sample(space, np.random.default_rng(0), 200)
    doubled = np.concatenate([drawn, drawn[::-1]])
    kept = distinct(space, doubled)
    assert decoded(space, kept) == list(dict.fromkeys(decoded(space, doubled)))
    assert np.array_equal(encoded(space, decoded(space, kept)), kept), "unused choices are 0"
