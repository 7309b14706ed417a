"""Self-tests share the memory, end with whoever started them, and need no low descriptor."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tofa_edge.backends.protocol import Backend, Target
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.selftest import memory
from tofa_edge.selftest.memory import Allowance, taken_bytes
from tofa_edge.selftest.records import engine_records

Offer = Callable[..., dict[str, Backend]]
MANY = 1100  # `select` takes 1024
TEST = "from tofa_edge.selftest.records import engine_records; engine_records(names=['hanging'])"


def waiting_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Returns whether a condition came true in time."""
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return held


@pytest.fixture
def holding() -> Iterator[Callable[[int], int]]:
    """Starts a process that holds so many megabytes and returns its id."""
    with contextlib.ExitStack() as stack:

        def start(megabytes: int) -> int:
            code = f"held = b'1' * ({megabytes} * 10**6); print(flush=True); input()"
            process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            return process.pid

        yield start


def test_the_largest_of_those_that_take_too_much_goes(holding: Callable[[int], int]) -> None:
    small, large = holding(40), holding(90)
    assert 90e6 < taken_bytes(large) < 120e6
    allowance = Allowance(120e6)
    assert allowance.excess(small) is None
    assert allowance.excess(large) is not None, "130 MB together"
    assert allowance.excess(small) is None, "another one takes more"
    allowance.release(small)
    assert allowance.excess(large) is None, "alone it may"
    assert taken_bytes(2**22 + 1) == 0, "no such process"


def test_engines_that_fit_one_at_a_time_are_tested_so(
    offer: Offer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 350e6)
    asked = tmp_path / "asked"
    monkeypatch.setenv("COUNT_IN", str(asked))
    offer("large", "larger")
    records = engine_records()
    assert [record.sound for record in records.values()] == [(Target(),)] * 3
    assert asked.read_text().count("asked") > 4, "two cases each, and one of them again"


def test_self_test_ends_with_a_parent_that_is_killed(
    offer: Offer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine hangs in C and holds the interpreter's lock."""
    asked = tmp_path / "asked"
    monkeypatch.setenv("COUNT_IN", str(asked))
    offer("hanging")
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, "-c", TEST], env=variables)
    try:
        assert waiting_for(asked.exists, 20)
        (child,) = psutil.Process(parent.pid).children()
    finally:
        parent.kill()
        parent.wait()
    assert waiting_for(lambda: not alive(child), 2)


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; what nobody has waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_self_test_behind_another_process_ends_with_its_reader() -> None:
    """As where an application is started by a launcher that stays."""
    reader, writer = os.pipe()
    code = (
        "import sys, time; from tofa_edge.selftest.child import end_with_parent\n"
        f"end_with_parent({writer}); print(flush=True); time.sleep(1000)"
    )
    with subprocess.Popen(
        ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", code],
        stdout=subprocess.PIPE, pass_fds=[writer], start_new_session=True,
    ) as launcher:  # fmt: skip
        assert launcher.stdout is not None
        launcher.stdout.readline()
        (child,) = psutil.Process(launcher.pid).children()
        os.close(writer)
        assert alive(child)
        os.close(reader)
        assert waiting_for(lambda: not alive(child), 2)


@pytest.fixture
def many_descriptors() -> Iterator[int]:
    """Opens so many files that the next one has a number above 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY + 100:
        pytest.skip("so many files cannot be opened here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY + 100), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(MANY)]
    yield opened[-1]
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_many_open_files(offer: Offer, tiny_bundle: Path, many_descriptors: int) -> None:
    offer("sound")
    assert many_descriptors >= 1024
    record = engine_records(Bundle.open(tiny_bundle), ["sound"])["sound"]
    assert record.sound == (Target(),)
