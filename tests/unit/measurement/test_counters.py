"""What this machine counts of its threads, by itself and where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tofa_edge.measurement import counters
from tofa_edge.measurement.counters import Counters, machine_counters
from tofa_edge.measurement.own_time import timed_runs

linux = pytest.mark.skipif(sys.platform != "linux", reason="the counts are Linux's")
THREAD = Path("/proc/thread-self/schedstat")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@linux
def test_threads_that_begin_and_end_are_noticed() -> None:
    before = descriptors()
    with machine_counters() as counts:
        for _ in range(5):  # a thread of an engine may end meanwhile
            grown, shrunk = _changes(counts)
            if (grown, shrunk) == (1, -1):
                break
    assert (grown, shrunk) == (1, -1)
    assert descriptors() == before


def _changes(counts: Counters) -> tuple[int, int]:
    """Returns how many threads more there are with one that begins, and without it again."""
    found = []
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    changes: tuple[Callable[[], object], ...] = (lambda: None, thread.start, ended.set)
    for change in changes:
        change()
        if ended.is_set():
            thread.join()
            counts.read()
        counts.list_threads()
        found.append(len(counts.read().others))
    return found[1] - found[0], found[2] - found[1]


@linux
@pytest.mark.skipif(not THREAD.exists(), reason="this kernel does not count waiting")
def test_two_that_want_one_core_wait_for_each_other() -> None:
    """The other one is another process: it never gives up the core by itself."""
    cores = os.sched_getaffinity(0)
    script = f"import os; os.sched_setaffinity(0, {{{min(cores)}}}); print(1, flush=True)\n"
    words = [sys.executable, "-c", script + "while True: pass"]
    other = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        os.sched_setaffinity(0, {min(cores)})
        with machine_counters() as counts:
            begun = time.monotonic()
            before = counts.read()
            while time.monotonic() - begun < 0.4:
                pass
            after = counts.read()
    finally:
        os.sched_setaffinity(0, cores)
        other.kill()
        other.communicate()
    waited = (after.waited_s or 0.0) - (before.waited_s or 0.0)
    worked = after.thread_s - before.thread_s
    assert waited > 0.1
    assert waited + worked == pytest.approx(0.4, abs=0.05)


@linux
@pytest.mark.parametrize("content", ["0 0 0\n", "", "1 2\n", None])
def test_kernels_that_do_not_count_leave_what_the_scheduler_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "schedstat").write_text(content)
    monkeypatch.setattr(counters, "CALLER", str(tmp_path / "schedstat"))
    before = descriptors()
    with machine_counters() as counts:
        (run,) = timed_runs(lambda: time.sleep(0.01), 1, time.perf_counter, counts)
        assert descriptors() == before
    assert (run.waited_s, run.other_waited_s) == (None, 0.0)
    assert run.switches is not None
    assert run.thread_s < run.wall_s


def test_a_recorded_machine_tells_of_stops_and_stolen_time(tmp_path: Path) -> None:
    with machine_counters(tmp_path) as counts:
        assert (counts.stops(), counts.stolen_s()) == (None, None)
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "cpu.stat").write_text("nr_periods 9\nnr_throttled 4\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  1 2 3 4 5 6 7 250 0 0\ncpu0 1 2 3 4 5 6 7 250 0 0\n")
    with machine_counters(tmp_path) as counts:
        assert (counts.stops(), counts.stolen_s()) == (4, 2.5)
