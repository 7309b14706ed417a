"""Networks held ready: one serves, and what is taken out is closed when nobody uses it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import Reference
from tofa_edge.budget import Budget
from tofa_edge.errors import BackendError, BudgetError
from tofa_edge.live.child import lower_budget
from tofa_edge.live.events import Event, EventLog
from tofa_edge.live.rungs import Ladder, Rung
from tofa_edge.serving.explanation import Explanation
from tofa_edge.serving.model import Model


class Counted:
    """A session that counts how often it is closed; it never runs here."""

    unit = "cpu"

    def __init__(self) -> None:
        self.closed = 0

    def run(self, batch: ImageArray) -> dict[str, FloatArray]:
        raise AssertionError

    def close(self) -> None:
        self.closed += 1


def rung(own_ms: float) -> tuple[Rung, Counted]:
    session, explanation = Counted(), Explanation(Path("x"), Budget())
    engine = Engine(Reference(), Target())
    return Rung(
        Model(session, tiny().smallest(), engine, ("a",), explanation), 0.5, own_ms
    ), session


def test_the_slowest_stands_first_and_one_serves() -> None:
    slow, fast, middle = rung(9.0)[0], rung(1.0)[0], rung(4.0)[0]
    ladder = Ladder(slow)
    assert ladder.add(fast)
    assert ladder.add(middle)
    assert ladder.rungs == (slow, middle, fast)
    assert ladder.current is slow
    assert ladder.serve(fast)
    assert not ladder.serve(fast), "it does already"
    with ladder.in_use() as serving:
        assert serving is fast
    assert not ladder.serve(rung(1.0)[0]), "it isn't one of them"


def test_what_is_taken_out_is_closed_after_its_last_use() -> None:
    (first, closed_first), (second, closed_second) = rung(9.0), rung(1.0)
    ladder = Ladder(first)
    with ladder.in_use():
        ladder.add(second)
        ladder.serve(second)
        ladder.remove(first)
        assert ladder.rungs == (second,)
        before = closed_first.closed
    assert [before, closed_first.closed] == [0, 1]
    ladder.remove(second)
    assert ladder.rungs == (second,), "what serves stays"
    with ladder.in_use():
        ladder.close()
        assert closed_second.closed == 0
    assert [each.closed for each in (closed_first, closed_second)] == [1, 1]
    late, closed_late = rung(1.0)
    assert not ladder.add(late)
    assert closed_late.closed == 1
    with pytest.raises(BackendError, match="closed"), ladder.in_use():
        pass


def test_many_switches_under_use_keep_the_count() -> None:
    pairs = [rung(9.0), rung(1.0)]
    ladder = Ladder(pairs[0][0])
    ladder.add(pairs[1][0])
    stop = threading.Event()

    def use() -> None:
        while not stop.is_set():
            with ladder.in_use():
                pass

    users = [threading.Thread(target=use) for _ in range(2)]
    for user in users:
        user.start()
    changes = sum(ladder.serve(pairs[(n + 1) % 2][0]) for n in range(10_000))
    stop.set()
    for user in users:
        user.join()
    assert changes == 10_000
    assert set(ladder._uses.values()) == {0}
    assert len(ladder._uses) == 2
    assert [session.closed for _, session in pairs] == [0, 0]
    ladder.close()
    assert [session.closed for _, session in pairs] == [1, 1]


def test_events_are_bounded_and_an_application_that_fails_harms_nobody() -> None:
    seen: list[Event] = []

    def told(event: Event) -> None:
        seen.append(event)
        raise ValueError("the application's own")

    log = EventLog(told)
    for number in range(1100):
        log.add("switched", f"{number}")
    assert len(seen) == 1100
    assert [event.text for event in (log.all()[0], log.all()[-1])] == ["100", "1099"]
    assert len(log.all()) == 1000


def test_the_budget_of_a_faster_network() -> None:
    whole = Budget(latency_ms=20, memory_mb=50, latency="observed", max_accuracy_drop=0.02)
    lower = lower_budget(whole, 10.0, 1, 30.4)
    assert lower.latency_ms is not None
    assert 4.2 < lower.latency_ms <= 5.0
    assert (lower.memory_mb, lower.latency, lower.max_accuracy_drop) == (20, "own", 0.02)
    assert lower_budget(whole, 10.3, 1, 30.4) == lower, "a start later it is the same"
    further = lower_budget(whole, 10.0, 2, 40.0).latency_ms
    assert further is not None
    assert further == pytest.approx(lower.latency_ms / 2)
    with pytest.raises(BudgetError, match="within 50 MB"):
        lower_budget(whole, 10.0, 2, 60.0)
