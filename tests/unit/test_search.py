"""Which subnets are looked at, and how their latency is predicted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tofa_edge.cost import macs
from tofa_edge.layers import layers
from tofa_edge.search import accuracy_proxy, candidates, predicted_ms
from tofa_edge.spaces import SPACES, efficientnet_lite0, named, tiny

sizes = st.integers(10**4, 10**9)
times = st.floats(1e-3, 1e4)


@given(
    st.floats(0.01, 100),
    st.floats(0.001, 10),
    st.lists(sizes, min_size=2, max_size=8, unique=True),
    st.lists(sizes, min_size=1, max_size=5),
)
def test_line_is_found_exactly(
    offset: float, slope: float, seen: list[int], wanted: list[int]
) -> None:
    seen = [min(seen), max(seen) * 2, *seen]
    measured = [(size, offset + slope * size / 1e6) for size in seen]
    predicted = predicted_ms(measured, np.array(wanted))
    truth = offset + slope * np.array(wanted) / 1e6
    largest = max(offset, slope * max(wanted) / 1e6)
    assert np.abs(predicted - truth).max() <= 1e-5 * largest


@given(st.lists(st.tuples(sizes, times), min_size=2, max_size=8, unique_by=lambda pair: pair[0]))
def test_prediction_is_never_negative_and_never_falls(measured: list[tuple[int, float]]) -> None:
    predicted = predicted_ms(measured, np.array([0, 10**5, 10**7, 10**10]))
    assert (predicted >= 0).all()
    assert (np.diff(predicted) >= 0).all()
    assert np.isfinite(predicted).all()


def test_noise_is_averaged() -> None:
    rng = np.random.default_rng(0)
    seen = rng.integers(10**6, 10**8, 200)
    measured = [(int(n), (2 + 0.1 * n / 1e6) * rng.uniform(0.95, 1.05)) for n in seen]
    (half,) = predicted_ms(measured, np.array([50 * 10**6]))
    assert half == pytest.approx(7, rel=0.02)


def test_latency_that_falls_with_size_is_taken_as_constant() -> None:
    assert predicted_ms([(10**6, 3.0), (10**8, 2.0)], np.array([0, 10**9])).tolist() == [2.5, 2.5]


@pytest.mark.parametrize("name", SPACES)
def test_candidates_are_different_and_valid(name: str) -> None:
    space = named(name)
    pool = candidates(space, np.random.default_rng(0), 300)
    assert len(set(pool)) == len(pool)
    assert len(pool) >= 200
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
    middle = space.decode(np.array(space.cardinalities()) // 2)
    ranked = [accuracy_proxy(space, it) for it in (space.smallest(), middle, space.largest())]
    assert ranked == sorted(set(ranked))
