"""Choosing on a simulated device: latency is a formula of the subnet, and no engine runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from tofa_edge import backends
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.architecture.zoo import efficientnet_lite0, mobilenet_v3, tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.budget import Budget
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.prediction.accuracy import AccuracyPredictor, fit_accuracy
from tofa_edge.search.candidates import Candidate, fastest_candidates
from tofa_edge.search.chooser import MEASUREMENTS, Chooser, Pick

SPACE = tiny()
FLOAT = Engine(backends.backend("reference"), Target())
INT8 = Engine(backends.backend("reference"), Target(precision="int8"))
TRIES = 3


def linear(subnet: Subnet, space: SearchSpace = SPACE) -> float:
    """A smooth device: latency is a line of the MACs, from about 1 to 21 ms."""
    return 1 + 20 * macs(layers(space, subnet)) / macs(layers(space, space.largest()))


@dataclass
class Device:
    """Engines whose median latency is a formula; the p95 is 5 % above, and both are noisy."""

    formulas: dict[Engine, Callable[[Subnet], float]]
    noise: float = 0.01
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    measured: list[tuple[Subnet, Engine]] = field(default_factory=list)

    def measure(self, subnet: Subnet, engine: Engine) -> Latency:
        self.measured.append((subnet, engine))
        p50 = self.formulas[engine](subnet) * float(np.exp(self.noise * self.rng.normal()))
        return Latency(p50, 1.03 * p50, 1.05 * p50, 1.1 * p50, 50, 0.01)

    def candidates(self, space: SearchSpace = SPACE) -> list[Candidate]:
        middle = space.middle()
        every = [Candidate(engine, self.measure(middle, engine)) for engine in self.formulas]
        return sorted(every, key=lambda candidate: candidate.cost_ms)


def chooser_for(
    device: Device,
    budget: Budget,
    space: SearchSpace = SPACE,
    predictor: AccuracyPredictor | None = None,
    seed: int = 0,
) -> Chooser:
    candidates = fastest_candidates(device.candidates(space))
    return Chooser(space, predictor, budget, candidates, np.random.default_rng(seed))


def chosen(chooser: Chooser, device: Device) -> tuple[Pick, Latency] | None:
    """Measures, then tries picks: returns the best of those that kept the budget when measured."""
    chooser.measure(device.measure)
    best = None
    for _ in range(TRIES):
        pick = chooser.pick(better_than=best[0].accuracy if best else None)
        if pick is None:
            break
        latency = device.measure(pick.subnet, pick.engine)
        chooser.observe(pick.subnet, pick.engine, latency)
        if chooser.allows(pick.subnet, latency, pick.engine):
            best = pick, latency
    return best


def between(share: float, space: SearchSpace = SPACE) -> float:
    """Returns a latency between those of the smallest and the largest subnet."""
    low, high = linear(space.smallest(), space), linear(space.largest(), space)
    return low + share * (high - low)


@pytest.mark.parametrize(("share", "seed"), [(0.1, 0), (0.3, 1), (0.6, 2), (0.9, 3)])
def test_smooth_device_uses_most_of_the_budget(share: float, seed: int) -> None:
    device = Device({FLOAT: linear}, rng=np.random.default_rng(seed))
    budget = Budget(latency_ms=between(share))
    chooser = chooser_for(device, budget, seed=seed)
    result = chosen(chooser, device)
    assert result is not None
    pick, latency = result
    assert 0.85 * between(share) <= latency.p95_ms <= between(share)
    assert pick.predicted_ms == pytest.approx(latency.p95_ms, rel=0.05)
    assert len(device.measured) <= MEASUREMENTS + TRIES


@pytest.mark.parametrize(
    "space", [efficientnet_lite0(), mobilenet_v3()], ids=["lite0", "mobilenet_v3"]
)
def test_other_spaces_are_chosen_from_alike(space: SearchSpace) -> None:
    device = Device({FLOAT: lambda subnet: linear(subnet, space)})
    limit = between(0.5, space)
    result = chosen(chooser_for(device, Budget(latency_ms=limit), space), device)
    assert result is not None
    assert 0.85 * limit <= result[1].p95_ms <= limit


@pytest.mark.parametrize("seed", range(3))
def test_no_pick_over_the_budget_is_returned_whatever_the_device(seed: int) -> None:
    """Latency jumps by half where an input is large or a stage is deep, as no cost model says."""
    jump = np.random.default_rng(seed).choice(SPACE.resolutions[1:])

    def uneven(subnet: Subnet) -> float:
        return linear(subnet) * (1.5 if subnet.resolution >= jump else 1.0)

    device = Device({FLOAT: uneven}, noise=0.05, rng=np.random.default_rng(seed))
    limit = between(0.4)
    result = chosen(chooser_for(device, Budget(latency_ms=limit), seed=seed), device)
    assert result is None or result[1].p95_ms <= limit


def test_median_is_limited_where_the_budget_says_so() -> None:
    device = Device({FLOAT: linear})
    result = chosen(chooser_for(device, Budget(latency_ms=between(0.5), percentile=50)), device)
    assert result is not None
    assert 0.85 * between(0.5) <= result[1].p50_ms <= between(0.5)


def test_tried_subnets_are_not_picked_again() -> None:
    device = Device({FLOAT: linear})
    chooser = chooser_for(device, Budget(latency_ms=between(0.5)))
    chooser.measure(device.measure)
    picks = [chooser.pick() for _ in range(4)]
    assert len({pick.subnet for pick in picks if pick}) == 4


def test_aims_lower_after_a_pick_over_the_budget() -> None:
    device = Device({FLOAT: linear}, noise=0)
    chooser = chooser_for(device, Budget(latency_ms=between(0.5)))
    chooser.measure(device.measure)
    first = chooser.pick()
    assert first is not None
    twice = 2 * between(0.5)
    slow = Latency(
        twice, twice, twice, twice, 50, 0.5
    )  # so uncertain that it teaches next to nothing
    assert not chooser.allows(first.subnet, slow, FLOAT)
    chooser.observe(first.subnet, FLOAT, slow)
    second = chooser.pick()
    assert second is not None
    assert second.predicted_ms <= 0.9 * between(0.5)


def test_impossible_budget_leaves_nothing_to_pick() -> None:
    device = Device({FLOAT: linear})
    chooser = chooser_for(device, Budget(latency_ms=0.5 * linear(SPACE.smallest())))
    assert chosen(chooser, device) is None
    assert chooser.exceeded(SPACE.smallest(), FLOAT) == "", "it is the latency alone"


def test_other_limits_that_no_subnet_keeps_are_named() -> None:
    device = Device({FLOAT: linear})
    chooser = chooser_for(device, Budget(latency_ms=between(0.5), mmacs=1e-3))
    assert chosen(chooser, device) is None
    assert chooser.exceeded(SPACE.smallest(), FLOAT).startswith("work of the smallest is")


def test_budget_that_every_subnet_keeps_is_not_measured_for() -> None:
    device = Device({FLOAT: linear})
    result = chosen(chooser_for(device, Budget(latency_ms=10 * linear(SPACE.largest()))), device)
    assert result is not None
    assert result[0].subnet == SPACE.largest()
    assert len(device.measured) == 2, "the middle subnet, and the one picked"


def predictor(integer_drop: float) -> AccuracyPredictor:
    genes = sample(SPACE, np.random.default_rng(0), 30)
    work = np.log(tables(SPACE).costs(genes).macs)
    accuracies = 0.5 + 0.3 * (work - work.min()) / np.ptp(work)
    fitted = fit_accuracy(SPACE, genes, accuracies)
    return replace(fitted, rounding=np.array([integer_drop, 0.001]))


def test_integers_are_picked_where_speed_is_worth_their_loss() -> None:
    formulas: dict[Engine, Callable[[Subnet], float]] = {
        FLOAT: linear,
        INT8: lambda subnet: linear(subnet) / 3,
    }
    budget = Budget(latency_ms=between(0.1))
    engines = []
    for loss in (0.0, 0.2):
        device = Device(formulas)
        result = chosen(chooser_for(device, budget, predictor=predictor(loss)), device)
        assert result is not None
        engines.append(result[0].engine)
        assert result[1].p95_ms <= between(0.1)
    assert engines == [INT8, FLOAT]


def test_precision_that_loses_too_much_is_given_up() -> None:
    device = Device({FLOAT: linear, INT8: lambda subnet: linear(subnet) / 3})
    budget = Budget(latency_ms=between(0.3))
    chooser = chooser_for(device, budget)
    chooser.measure(device.measure)
    first = chooser.pick()
    assert first is not None
    assert first.engine == INT8
    assert chooser.give_up("int8"), "float is left"
    assert chooser.fastest_engine == FLOAT
    result = chosen(chooser, device)
    assert result is not None
    assert result[0].engine == FLOAT
    assert 0.85 * between(0.3) <= result[1].p95_ms <= between(0.3)
    assert not chooser.give_up("fp32"), "nothing would be left"
    assert chooser.fastest_engine == FLOAT


def test_front_grows_in_latency_and_accuracy() -> None:
    device = Device({FLOAT: linear})
    chooser = chooser_for(device, Budget())
    chooser.measure(device.measure)
    picks = chooser.front(6)
    assert len(picks) >= 4
    for values in ([p.predicted_ms for p in picks], [p.accuracy for p in picks]):
        assert values == sorted(values)
    assert picks[-1].predicted_ms > 0.85 * linear(SPACE.largest())


def test_slow_engine_is_not_measured_further() -> None:
    tflite = Engine(backends.backend("reference"), Target(threads=2))
    device = Device({FLOAT: linear, tflite: lambda subnet: 2 * linear(subnet)})
    chooser = chooser_for(device, Budget(latency_ms=between(0.4)))
    assert list(chooser.forecasts) == [FLOAT]
    assert chosen(chooser, device) is not None
    assert {engine for _, engine in device.measured[2:]} == {FLOAT}
