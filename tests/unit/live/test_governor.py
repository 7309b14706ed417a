"""The governor on a machine that is a formula: load comes and goes, and it follows."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.unit.live.test_camera import scene
from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import Reference
from tofa_edge.budget import Budget
from tofa_edge.live.events import EventLog
from tofa_edge.live.governor import Governor
from tofa_edge.live.model import LiveModel
from tofa_edge.live.rungs import Rung
from tofa_edge.live.throttling import ThrottleWatch
from tofa_edge.live.waiting import Waiting
from tofa_edge.serving.explanation import Explanation
from tofa_edge.serving.model import Model

OWN_MS = (10.0, 5.0, 2.5)
LIMIT_MS = 13.0
RATE = 30.0  # frames a second

Slowdown = Callable[[float, float], float]  # of a time and an own latency
Log = list[tuple[float, int, float]]  # time, rung, latency


def simulated(slowdown: Slowdown, seconds: float, told: bool = True) -> tuple[Log, list[float]]:
    """Returns what calls took, and when another network took over."""
    governor, rung, rng = Governor(LIMIT_MS), 0, np.random.default_rng(0)
    calls: Log = []
    steps: list[float] = []
    for number in range(int(seconds * RATE)):
        now = number / RATE
        factor = slowdown(now, OWN_MS[rung])
        took = OWN_MS[rung] * factor * rng.uniform(0.97, 1.03)
        calls.append((now, rung, took))
        waiting = 1 - 1 / factor if told else None
        step = governor.observe(OWN_MS, rung, now, took, waiting)
        if step is not None:
            assert step.rung != rung
            steps.append(now)
            rung = step.rung
    return calls, steps


def misses(calls: Log, begin: float, end: float) -> float:
    taken = [took for now, _, took in calls if begin <= now < end]
    return float(np.mean(np.array(taken) > LIMIT_MS))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("load", [2.0, 3.0, 4.0])
def test_it_keeps_the_budget_two_seconds_after_a_change_and_comes_back(
    load: float, told: bool
) -> None:
    calls, steps = simulated(lambda now, _: load if 10 <= now < 30 else 1.0, 60, told)
    assert misses(calls, 0, 10) == 0
    assert misses(calls, 12, 30) == 0
    assert len(steps) == 2, "one step down, however far, and one up"
    assert 30 < steps[1] <= 40
    assert calls[-1][1] == 0


def test_it_goes_no_further_down_than_it_must() -> None:
    calls, _ = simulated(lambda now, _: 1.8 if now >= 5 else 1.0, 10)
    assert calls[-1][1] == 1
    calls, steps = simulated(lambda now, _: 9.0 if now >= 5 else 1.0, 30)
    assert calls[-1][1] == 2, "no network keeps the budget: the fastest serves"
    assert len(steps) == 1


@pytest.mark.parametrize("told", [True, False])
def test_load_that_a_fast_network_hides_does_not_make_it_swing(told: bool) -> None:
    calls, steps = simulated(lambda _, own: 3.0 if own > 4 else 1.0, 300, told)
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    assert len(steps) <= 14
    assert max(gaps, default=0) > 100, "it tries ever more rarely"
    assert misses(calls, 150, 300) < 0.05


def test_one_slow_call_is_an_accident() -> None:
    slow = {150, 400, 700}
    calls, steps = simulated(lambda now, _: 5.0 if round(now * RATE) in slow else 1.0, 30)
    assert sum(took > LIMIT_MS for *_, took in calls) == len(slow)
    assert steps == []


def test_it_takes_no_step_up_while_it_is_held() -> None:
    governor, rung = Governor(LIMIT_MS), 2
    governor.held = True
    assert not any(governor.observe(OWN_MS, rung, n / RATE, 2.5, 0.0) for n in range(900))
    governor.held = False
    assert any(governor.observe(OWN_MS, rung, 30 + n / RATE, 2.5, 0.0) for n in range(200))


def test_waiting_is_what_the_kernel_counts(tmp_path: Path) -> None:
    counts = tmp_path / "schedstat"
    counts.write_text("1000000000 500000000 7\n")
    waiting = Waiting(counts)
    assert waiting.share(0.0) is None
    counts.write_text("1030000000 510000000 9\n")
    assert waiting.share(0.1) is None, "too soon"
    assert waiting.share(0.6) == pytest.approx(0.25)
    assert waiting.share(0.7) == pytest.approx(0.25)
    assert Waiting(tmp_path / "none").share(0.0) is None
    assert Waiting().share(0.0) is None


class Loaded:
    """A session that lets the machine's time pass; its logits name the network."""

    unit = "cpu"

    def __init__(self, number: int, passes: Callable[[float], None]) -> None:
        self.number, self.passes = number, passes

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        self.passes(OWN_MS[self.number] / 1e3)
        return {LOGITS: np.eye(10, dtype=np.float32)[[self.number] * len(batch)]}

    def close(self) -> None:
        pass


def test_a_model_serves_by_the_network_that_keeps_the_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a clock of its own, and blind for what this machine does meanwhile."""
    now, factor = [0.0], [1.0]
    subnet, engine = tiny().largest(), Engine(Reference(), Target())
    explanation, classes = Explanation(Path("x"), Budget()), tuple("abcdefghij")

    def passes(seconds: float) -> None:
        now[0] += seconds * factor[0]

    def rung(number: int) -> Rung:
        model = Model(Loaded(number, passes), subnet, engine, classes, explanation)
        return Rung(model, 0.9 - number / 10, OWN_MS[number])

    model = LiveModel(rung(0), EventLog(), Budget(latency_ms=LIMIT_MS))

    monkeypatch.setattr(model, "_waiting", Waiting(tmp_path / "none"))
    with model:
        model.take(rung(2))
        model.take(rung(1))
        assert model.stats().rung == 0
        monkeypatch.setattr("tofa_edge.live.model.time.perf_counter", lambda: now[0])
        image = scene(80, 80)
        served = [model(image).index for _ in range(100)]
        factor[0] = 4.0
        served += [model(image).index for _ in range(400)]
        factor[0] = 1.0
        served += [model(image).index for _ in range(6000)]
        statistics = model.stats()
    assert served[:100] == [0] * 100
    assert served[450] == 2
    assert served[-1] == 0
    assert (statistics.switches, statistics.rung) == (2, 0)
    assert 2 <= statistics.misses < 200
    kinds = [event.kind for event in model.events]
    assert kinds == ["serving", "ready", "ready", "switched", "switched"]
    assert "expected accuracy 70.0%" in model.events[3].text


def test_throttling_is_told_and_holds_the_ladder(tmp_path: Path) -> None:
    cooling = tmp_path / "sys/class/thermal/cooling_device0"
    cooling.mkdir(parents=True)
    (cooling / "type").write_text("cpufreq-cpu0\n")
    (cooling / "cur_state").write_text("0\n")
    model = LiveModel(Rung(unused_model()), EventLog(), Budget(latency_ms=LIMIT_MS))
    watch = ThrottleWatch(model.hold, tmp_path, 0.01)
    watch.start()
    assert model._governor is not None
    for state, held in (("3", True), ("0", False)):
        (cooling / "cur_state").write_text(f"{state}\n")
        end = time.monotonic() + 60
        while model._governor.held != held:
            assert time.monotonic() < end
            time.sleep(0.01)
    watch.stop()
    watch.stop()
    texts = [event.text for event in model.events if event.kind == "throttled"]
    wanted = "the processor is held back"
    assert texts == [f"{wanted}: frequency capped", f"{wanted} no more"]


def test_the_watch_ends_with_a_model_that_is_forgotten(tmp_path: Path) -> None:
    model = LiveModel(Rung(unused_model()), EventLog(), Budget(latency_ms=LIMIT_MS))
    watch = ThrottleWatch(model.hold, tmp_path, 0.01)
    watch.start()
    del model
    gc.collect()
    watch._thread.join(60)
    assert not watch._thread.is_alive()


def unused_model() -> Model:
    engine, session = Engine(Reference(), Target()), Loaded(0, lambda seconds: None)
    explanation = Explanation(Path("x"), Budget())
    return Model(session, tiny().largest(), engine, tuple("abcdefghij"), explanation)
