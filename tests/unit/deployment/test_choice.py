"""Choosing on a simulated device: latency is a formula, nothing is built, nothing is patched."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from tofa_edge import backends
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.encodings import decoded, distinct
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import Subnet
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.budget import Budget
from tofa_edge.cutting.accuracy_drop import Drop
from tofa_edge.deployment.choice import best_within, exactly
from tofa_edge.deployment.local_device import Finished
from tofa_edge.deployment.trace import Trace
from tofa_edge.errors import BackendError, BudgetError
from tofa_edge.measurement.stopwatch import Latency
from tofa_edge.prediction.accuracy import USUAL_DROP
from tofa_edge.search.candidates import Candidate, headroom
from tofa_edge.search.chooser import Chooser
from tofa_edge.search.finalists import FinalistChooser
from tofa_edge.serving.explanation import Measured

SPACE = tiny()
LARGEST, SMALLEST = SPACE.largest(), SPACE.smallest()
FLOAT = Engine(backends.backend("reference"), Target())
INT8 = Engine(backends.backend("reference"), Target(precision="int8"))


def by_macs(subnet: Subnet) -> float:
    return 1 + macs(layers(SPACE, subnet)) / 1e5


@dataclass
class SimulatedSession:
    """Counts whether it was closed."""

    unit: str = "cpu"
    closed: int = 0

    def run(self, images: ImageArray) -> dict[str, FloatArray]:
        raise AssertionError("nothing is computed here")

    def close(self) -> None:
        self.closed += 1


@dataclass
class SimulatedDevice:
    """Engines whose latency is known exactly; integers may cost accuracy, or be wrong."""

    milliseconds: Callable[[Subnet], float] = by_macs
    drop: Drop | None = None  # of networks in integers
    broken: tuple[Engine, ...] = ()  # they compute wrong numbers
    slower: tuple[Engine, ...] = ()
    trace: Trace = field(default_factory=Trace)
    sessions: list[SimulatedSession] = field(default_factory=list)

    def latency(self, subnet: Subnet, engine: Engine) -> Latency:
        p50 = self.milliseconds(subnet) * (0.5 if engine.target.is_integer else 1.0)
        p50 *= 1.03 if engine in self.slower else 1.0
        return Latency(p50, p50, p50, p50, 30, 0.005)

    def measured(
        self, subnet: Subnet, engine: Engine, accuracy: float, predicted_ms: float | None = None
    ) -> Measured:
        latency, cost = self.latency(subnet, engine), macs(layers(SPACE, subnet))
        drop = self.drop if engine.target.is_integer else None
        room = headroom(engine)
        return Measured(subnet, str(engine), cost, accuracy, latency, predicted_ms, room, drop)

    def measure(self, subnet: Subnet, engine: Engine) -> Measured:
        self.trace.measured.append(self.measured(subnet, engine, by_macs(subnet)))
        return self.trace.measured[-1]

    def finish(
        self,
        subnet: Subnet,
        engine: Engine,
        accuracy: float | None = None,
        predicted_ms: float | None = None,
    ) -> Finished:
        if engine in self.broken:
            raise BackendError(f"{engine}: 1.0 of the largest logit off on {subnet}")
        self.sessions.append(SimulatedSession())
        self.trace.finished.append(self.measured(subnet, engine, accuracy or 0.0, predicted_ms))
        return Finished(engine, self.sessions[-1], b"", 0.0, self.trace.finished[-1])

    def among(self, tested: dict[Subnet, float], budget: Budget, *engines: Engine) -> Chooser:
        """Returns what chooses among finalists."""
        middle = SPACE.middle()
        candidates = [Candidate(engine, self.latency(middle, engine)) for engine in engines]
        rng = np.random.default_rng(0)
        return FinalistChooser(SPACE, None, budget, candidates, rng, finalists=tested)

    def chooser(self, budget: Budget, *engines: Engine, seed: int = 0) -> Chooser:
        middle = SPACE.middle()
        candidates = [Candidate(engine, self.latency(middle, engine)) for engine in engines]
        return Chooser(SPACE, None, budget, candidates, np.random.default_rng(seed))


def open_sessions(device: SimulatedDevice) -> int:
    assert all(session.closed <= 1 for session in device.sessions)
    return sum(not session.closed for session in device.sessions)


def test_choice_is_close_under_the_budget() -> None:
    """On a device whose latency is a line of the MACs."""
    device, budget = SimulatedDevice(), 1 + 0.5 * macs(layers(SPACE, LARGEST)) / 1e5
    best = best_within(device, device.chooser(Budget(latency_ms=budget), FLOAT))
    assert 0.9 * budget < best.measured.latency.p95_ms <= budget
    assert 2 <= len(device.trace.measured) <= 8
    assert len(device.trace.finished) <= 3
    assert open_sessions(device) == 1
    for tried in device.trace.finished:
        assert tried.predicted_ms == pytest.approx(tried.latency.p95_ms, rel=0.05)


def test_prediction_that_was_too_bold_is_corrected() -> None:
    """Large inputs are slow here, as no cost model would say."""
    device = SimulatedDevice(lambda s: by_macs(s) * (3.0 if s.resolution == 32 else 1.0))
    budget = 0.6 * by_macs(LARGEST)
    best = best_within(device, device.chooser(Budget(latency_ms=budget), FLOAT))
    assert best.measured.latency.p95_ms <= budget
    assert open_sessions(device) == 1


def test_same_seed_gives_the_same_search() -> None:
    tried = []
    for _ in range(2):
        device = SimulatedDevice()
        best_within(device, device.chooser(Budget(latency_ms=4.0), FLOAT, seed=5))
        tried.append([m.subnet for m in (*device.trace.measured, *device.trace.finished)])
    assert tried[0] == tried[1]


def test_impossible_budget_leaves_nothing_open() -> None:
    device = SimulatedDevice()
    with pytest.raises(BudgetError, match=r"wanted p95 ≤ 0\.5 ms on reference.* the fastest"):
        best_within(device, device.chooser(Budget(latency_ms=0.5), FLOAT))
    assert open_sessions(device) == 0


def test_float_serves_where_integers_cost_too_much() -> None:
    device = SimulatedDevice(drop=Drop(300, 250, 0.03, 0.004))
    budget = Budget(latency_ms=10 * by_macs(LARGEST))
    best = best_within(device, device.chooser(budget, INT8, FLOAT))
    assert best.engine == FLOAT
    assert open_sessions(device) == 1


def test_float_serves_where_integers_are_wrong() -> None:
    device = SimulatedDevice(broken=(INT8,))
    chooser = device.chooser(Budget(latency_ms=0.7 * by_macs(LARGEST)), INT8, FLOAT)
    best = best_within(device, chooser)
    assert best.engine == FLOAT
    assert "not used in int8" in device.trace.notes[0]
    with pytest.raises(BackendError):
        best_within(device, device.chooser(Budget(latency_ms=100), INT8))


def test_another_engine_serves_where_one_is_wrong_about_a_network() -> None:
    other = Engine(backends.backend("onnxruntime"), Target())
    device = SimulatedDevice(broken=(FLOAT,), slower=(other,))
    chooser = device.chooser(Budget(latency_ms=0.7 * by_macs(LARGEST)), FLOAT, other)
    assert best_within(device, chooser).engine == other
    assert "off on" in device.trace.notes[0]
    assert "not used any more" in device.trace.notes[0]


def test_the_very_subnet_is_refused_where_integers_cost_too_much() -> None:
    device = SimulatedDevice(drop=Drop(300, 250, 0.03, 0.004))
    assert exactly(device, SMALLEST, FLOAT, Budget()).measured.subnet == SMALLEST
    with pytest.raises(BudgetError, match="take fp32, or allow it"):
        exactly(device, SMALLEST, INT8, Budget())
    assert open_sessions(device) == 1


def uneven(subnet: Subnet) -> float:
    """Differs from what a cost model can know by 3 % from subnet to subnet."""
    rng = np.random.default_rng(zlib.crc32(str(subnet).encode()))
    return by_macs(subnet) * float(np.exp(0.03 * rng.normal()))


def finalists(count: int = 60) -> dict[Subnet, float]:
    """Returns accuracies of subnets of all sizes that grow with the MACs, and vary besides."""
    rng = np.random.default_rng(0)
    drawn = decoded(SPACE, distinct(SPACE, sample(SPACE, rng, count)))
    work = {subnet: np.log(by_macs(subnet)) for subnet in (SMALLEST, LARGEST, *drawn)}
    return {s: float(0.5 + 0.1 * amount + rng.normal(0, 0.01)) for s, amount in work.items()}


def test_looser_budgets_never_get_a_worse_finalist() -> None:
    tested = finalists()
    latencies = {subnet: uneven(subnet) for subnet in tested}
    chosen, shares, missed = [], [], []
    for limit in np.geomspace(1.1 * min(latencies.values()), max(latencies.values()), 40):
        device = SimulatedDevice(uneven)
        best = best_within(device, device.among(tested, Budget(latency_ms=float(limit)), FLOAT))
        assert best.measured.latency.p95_ms <= limit
        assert len(device.trace.finished) <= 5
        assert open_sessions(device) == 1
        within = {s: accuracy for s, accuracy in tested.items() if latencies[s] <= limit}
        ideal = max(within, key=lambda subnet: within[subnet])
        chosen.append(tested[best.measured.subnet])
        missed.append(within[ideal] - chosen[-1])
        shares.append(best.measured.latency.p95_ms / latencies[ideal])
    assert (np.diff(chosen) >= 0).all()
    assert np.mean(missed) <= 0.001
    assert np.count_nonzero(missed) <= 2
    assert np.mean(shares) >= 0.97, "of the time that the best within the budget takes"


def test_tries_are_spent_once_a_finalist_is_within_the_budget() -> None:
    """The cost model expects too much of the best one: it is tried all the same."""
    tested = finalists()
    best_one = max(tested, key=lambda subnet: tested[subnet])
    device = SimulatedDevice(lambda s: by_macs(s) * (0.97 if s == best_one else 1.0))
    limit = 0.98 * by_macs(best_one)
    best = best_within(device, device.among(tested, Budget(latency_ms=limit), FLOAT))
    assert best.measured.subnet == best_one
    assert device.trace.finished[0].predicted_ms is not None


def test_of_equally_accurate_finalists_the_fastest_is_chosen() -> None:
    tested = dict.fromkeys(finalists(), 0.7)
    device = SimulatedDevice()
    best = best_within(device, device.among(tested, Budget(latency_ms=1000), FLOAT))
    assert best.measured.subnet == SMALLEST
    assert len(device.trace.finished) == 1


def test_finalists_in_integers_are_chosen_less_their_drop() -> None:
    tested, device = finalists(), SimulatedDevice()
    limit = Budget(latency_ms=0.5 * by_macs(SPACE.middle()))
    best = best_within(device, device.among(tested, limit, INT8, FLOAT))
    assert best.engine == INT8, "of half the latency"
    assert best.measured.accuracy == pytest.approx(tested[best.measured.subnet] - USUAL_DROP)
    device = SimulatedDevice(drop=Drop(300, 250, 0.03, 0.004))
    assert best_within(device, device.among(tested, limit, INT8, FLOAT)).engine == FLOAT
    assert open_sessions(device) == 1


def test_other_limits_hold_for_finalists_too() -> None:
    tested, device = finalists(), SimulatedDevice()
    most = macs(layers(SPACE, SPACE.middle())) / 1e6
    best = best_within(device, device.among(tested, Budget(mmacs=most), FLOAT))
    within = [t for s, t in tested.items() if macs(layers(SPACE, s)) <= most * 1e6]
    assert tested[best.measured.subnet] == max(within)
    with pytest.raises(BudgetError, match="the best that was tested on the host reached"):
        best_within(device, device.among(tested, Budget(accuracy=0.99), FLOAT))


@pytest.mark.parametrize("more", [{}, {LARGEST: 0.8}, {LARGEST: 0.8, SPACE.middle(): 0.4}])
def test_few_finalists_are_enough(more: dict[Subnet, float]) -> None:
    device, limit = SimulatedDevice(), Budget(latency_ms=0.9 * by_macs(LARGEST))
    best = best_within(device, device.among({SMALLEST: 0.5, **more}, limit, FLOAT))
    assert best.measured.subnet == SMALLEST
    assert {measured.subnet for measured in device.trace.measured} <= {SMALLEST, *more}
