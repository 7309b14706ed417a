"""A call's own time, told from the wall time by whatever the machine counts."""

from __future__ import annotations

import os

import pytest

from tofa_edge.measurement.own_time import Measure, TimedRun, own_seconds


def own(runs: list[TimedRun]) -> tuple[list[float], Measure]:
    seconds, measure = own_seconds(runs)
    return seconds.tolist(), measure


def test_waiting_for_a_core_is_not_its_own() -> None:
    runs = [
        TimedRun(0.012, 0.003, 0.003, waited_s=0.009),
        TimedRun(0.003, 0.003, 0.003, waited_s=0.0),
    ]
    seconds, measure = own(runs)
    assert measure == "less waiting"
    assert seconds == pytest.approx([0.003, 0.003])


def test_a_wait_before_the_run_takes_nothing_of_it() -> None:
    """Between the reading and the start, a thread may wait longer than the run takes."""
    seconds, _ = own([TimedRun(0.003, 0.0029, 0.0029, waited_s=0.02)])
    assert seconds == pytest.approx([0.0029])


def test_another_threads_wait_counts_while_the_caller_sleeps() -> None:
    """The work is done elsewhere: of 10 ms, it waits 6."""
    run = TimedRun(0.010, 0.0, 0.004, waited_s=0.0, other_ran_s=0.004, other_waited_s=0.006)
    assert own([run])[0] == pytest.approx([0.004])


def test_another_threads_wait_does_not_count_while_the_caller_works() -> None:
    """As where a pool's thread finds no core, and the caller takes over its work."""
    run = TimedRun(0.010, 0.010, 0.010, waited_s=0.0, other_waited_s=0.010)
    assert own([run])[0] == pytest.approx([0.010])


def test_another_threads_work_remains() -> None:
    run = TimedRun(0.010, 0.0, 0.008, waited_s=0.0, other_ran_s=0.008, other_waited_s=0.010)
    assert own([run])[0] == pytest.approx([0.008])


def test_threads_that_wait_for_each_other_are_not_disturbed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four threads on two cores: both are busy with this call's work."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    run = TimedRun(0.010, 0.005, 0.020, waited_s=0.005)
    assert own([run])[0] == pytest.approx([0.010])


def test_runs_that_waited_long_find_cold_caches() -> None:
    """They take longer by themselves, and are left out where enough others remain."""
    cold = [TimedRun(0.0105, 0.0005, 0.0005, waited_s=0.010)] * 10
    warm = [TimedRun(0.0002, 0.0002, 0.0002, waited_s=0.0)] * 30
    assert own(cold + warm)[0] == pytest.approx([0.0002] * 30)
    assert own(cold + warm[:29])[0] == pytest.approx([0.0005] * 10 + [0.0002] * 29)
    assert own(4 * cold + warm)[0] == pytest.approx([0.0005] * 40 + [0.0002] * 30)


def test_a_quota_leaves_the_wall_time() -> None:
    run = TimedRun(0.012, 0.003, 0.003, waited_s=0.009)
    seconds, measure = own_seconds([run], stopped=True)
    assert (seconds.tolist(), measure) == ([0.012], "wall")


def runs_of(thread: float, process: float, disturbed: int) -> list[TimedRun]:
    """Returns 40 runs of 3 ms by a kernel that does not count waiting, some with 9 ms more."""
    return [
        TimedRun(0.012 if i < disturbed else 0.003, thread, process, 1 if i < disturbed else 0)
        for i in range(40)
    ]


def test_processor_time_where_waiting_is_not_counted() -> None:
    seconds, measure = own(runs_of(0.003, 0.003, 35))
    assert measure == "thread time"
    assert seconds == pytest.approx([0.003] * 40)


def test_processor_time_of_a_thread_that_never_slept() -> None:
    """Every run lost its core, so that none is quick; but what it did not work, it waited."""
    runs = [TimedRun(0.012, 0.003, 0.006, 1, 0) for _ in range(40)]
    seconds, measure = own(runs)
    assert measure == "thread time"
    assert seconds == pytest.approx([0.003] * 40)


def test_processor_time_of_the_only_thread_that_works() -> None:
    seconds, measure = own(runs_of(0.0001, 0.00295, 35))
    assert measure == "thread time"
    assert seconds == pytest.approx([0.00295] * 40)


@pytest.mark.parametrize("process", [0.001, 0.006], ids=["a device works", "two threads work"])
def test_runs_in_which_no_core_was_taken_away(process: float) -> None:
    seconds, measure = own(runs_of(0.0001, process, 25))
    assert measure == "undisturbed runs"
    assert seconds == pytest.approx([0.003] * 15)


def test_wall_time_where_nothing_tells() -> None:
    seconds, measure = own(runs_of(0.0001, 0.006, 35))
    assert (len(seconds), max(seconds), measure) == (40, 0.012, "wall")
    assert own([TimedRun(0.012, 0.0001, 0.006)]) == ([0.012], "wall")
    assert own([]) == ([], "wall")


def test_a_clock_that_goes_in_steps_is_not_used() -> None:
    """Processor time in steps of 10 ms, as in some sandboxes."""
    runs = [TimedRun(0.003, 0.01 * (i % 3 == 0), 0.01 * (i % 3 == 0), 0) for i in range(40)]
    assert own(runs)[1] == "undisturbed runs"
