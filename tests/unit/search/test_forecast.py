"""What to expect of subnets: how far runs spread, and how much other programs add."""

from __future__ import annotations

import numpy as np
import pytest

from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.zoo import tiny
from tofa_edge.measurement.stopwatch import Latency, Percentiles
from tofa_edge.search.forecast import USUAL_SPREAD, Forecast

SPACE = tiny()
POOL = sample(SPACE, np.random.default_rng(0), 50)
MEDIANS = np.array([0.1, 0.5, 2.0, 10.0])


def latency(p50: float, own: float, observed: float = 1.0) -> Latency:
    """A median, and its p95 over it: by own time, and by the wall clock over that."""
    seen = Percentiles(p50, own * p50, own * observed * p50, own * observed * p50)
    return Latency(p50, p50, own * p50, own * p50, 60, 0.01, observed=seen)


def forecast(*latencies: Latency) -> Forecast:
    made, rng = Forecast(SPACE, POOL), np.random.default_rng(1)
    for each in latencies:
        made.add(SPACE.sample(rng), each)
    return made


def test_nothing_measured_is_the_usual_spread() -> None:
    assert forecast().spread(95, MEDIANS) == pytest.approx(USUAL_SPREAD)
    assert forecast().observed_spread(95, MEDIANS) == pytest.approx(USUAL_SPREAD)


def test_short_runs_spread_more() -> None:
    found = forecast(latency(0.1, 1.5), latency(0.5, 1.25), latency(2.0, 1.1), latency(8.0, 1.05))
    spread = found.spread(95, MEDIANS)
    assert (np.diff(spread) <= 0).all()
    assert spread[0] == pytest.approx(1.5, rel=0.1)
    assert spread[2] == pytest.approx(1.1, rel=0.1)
    assert (spread >= 1).all()
    assert found.spread(50, MEDIANS) == pytest.approx(1.0)


def test_one_wild_measurement_does_not_make_long_runs_spread_more() -> None:
    found = forecast(latency(0.1, 1.1), latency(0.5, 1.1), latency(2.0, 1.1), latency(8.0, 2.0))
    spread = found.spread(95, MEDIANS)
    assert (np.diff(spread) <= 1e-9).all()
    assert spread[-1] < 1.4


def test_what_other_programs_add_never_falls_with_run_time() -> None:
    found = forecast(
        latency(0.1, 1.0, 1.0), latency(0.5, 1.0, 1.6), latency(1.0, 1.0, 1.2),
        latency(3.0, 1.0, 3.0),
    )  # fmt: skip
    spread = found.observed_spread(95, np.geomspace(0.05, 20, 40))
    assert (np.diff(spread) >= 0).all()
    assert spread[0] == pytest.approx(1.0)
    assert spread[-1] == pytest.approx(3.0)
    middle = found.observed_spread(95, np.array([0.5, 1.0]))
    assert middle == pytest.approx([1.4, 1.4]), "neighbours that fall are averaged"
