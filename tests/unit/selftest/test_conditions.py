"""A record holds where, and for as long as, it says something of the engine: no more, no less."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tofa_edge.backends.protocol import Backend
from tofa_edge.backends.reference import Reference
from tofa_edge.device.machine import Fingerprint, fingerprint, state
from tofa_edge.errors import BackendError
from tofa_edge.selftest import conditions as surroundings
from tofa_edge.selftest import records
from tofa_edge.selftest.conditions import conditions
from tofa_edge.selftest.records import Record, engine_records, passing_engines
from tofa_edge.selftest.watchdog import PATIENCE_VARIABLE

Offer = Callable[..., dict[str, Backend]]
CORES = os.sched_getaffinity(0)


@pytest.fixture
def cores() -> Iterator[Callable[[int], None]]:
    """Lets this process, and what it starts, run on so many cores, as in a process of its own."""
    if len(CORES) < 2:
        pytest.skip("there is one core")

    def allow(count: int) -> None:
        os.sched_setaffinity(0, sorted(CORES)[:count])
        records._known.clear()

    yield allow
    os.sched_setaffinity(0, CORES)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts how often engines were asked for their targets, each time by another self-test."""
    path = tmp_path / "asked"
    monkeypatch.setenv("COUNT_IN", str(path))
    return lambda: path.read_text().count("asked")


@pytest.mark.parametrize("first", [1, 2])
def test_each_number_of_cores_has_its_record(
    offer: Offer, cores: Callable[[int], None], asked: Callable[[], int], first: int
) -> None:
    offer("threaded")
    for count in (first, 3 - first):
        cores(count)
        offered = {engine.target.threads for engine in passing_engines()}
        assert offered == ({1, 2} if count == 2 else {1})
    assert len(passing_engines(threads=1)) == 1
    if first == 2:
        with pytest.raises(BackendError, match="wanted 2 threads, engines here offer 1"):
            passing_engines(threads=2)
    for count in (first, 3 - first):
        cores(count)
        passing_engines()
    assert asked() == 2, "both records are kept"


def said(release: str, monkeypatch: pytest.MonkeyPatch, **changed: object) -> dict[str, str]:
    """Returns the conditions on a machine that is this one but for its kernel and these fields."""
    machine = dataclasses.replace(fingerprint(), **changed)  # type: ignore[arg-type]

    def other() -> Fingerprint:
        return machine

    with monkeypatch.context() as patched:
        patched.setattr("platform.release", lambda: release)
        patched.setattr(surroundings, "fingerprint", other)
        return conditions({"reference": Reference()})["reference"]


def test_a_kernels_patch_and_some_memory_are_no_other_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = said("6.1.21-v8+", monkeypatch, memory_bytes=2**30, maximum_clock_mhz=1500.0)
    assert before == said("6.1.99-v8+", monkeypatch, memory_bytes=2**30 - 4096)
    assert before["system"] == "Linux 6.1"
    assert before != said("6.6.1", monkeypatch)


@pytest.mark.parametrize(
    "changed",
    [{"features": ("asimd",)}, {"allowed_cores": 7}, {"userland_bits": 32}, {"quota_cores": 0.5}],
)
def test_another_processor_or_share_of_it_is(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, object]
) -> None:
    same, other = said("6.1", monkeypatch, cores=9), said("6.1", monkeypatch, cores=9, **changed)
    assert surroundings.hardware(same) != surroundings.hardware(other)


def next_process() -> Record:
    """Returns what another process finds of the engine that hangs."""
    records._known.clear()
    return engine_records()["hanging"]


def test_one_hang_may_be_an_accident_and_two_are_none(
    offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "1.5")
    monkeypatch.setattr(records, "is_loaded", lambda: False)
    offer("hanging")
    first = engine_records()["hanging"]
    assert (first.hangs, first.faults[0].fault) == (1, "hang")
    assert engine_records()["hanging"] == first, "a process waits for it once"
    second = next_process()
    assert second.hangs == 2
    begun = time.monotonic()
    assert next_process() == second
    assert time.monotonic() - begun < 1, "it was not tried again"
    monkeypatch.setenv(PATIENCE_VARIABLE, "1.6")
    assert next_process().hangs == 3, "more patience was asked for"


def test_a_hang_on_a_loaded_machine_is_forgotten(
    offer: Offer, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "1.5")
    monkeypatch.setattr(records, "is_loaded", lambda: True)
    offer("hanging")
    assert next_process().faults[0].fault == "hang"
    assert next_process().hangs == 1
    kept = [path.read_text() for path in (own_cache / "tofa-edge" / "selftests").iterdir()]
    assert not any('"backend": "hanging"' in text for text in kept)


def test_load_is_what_waits_beyond_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = fingerprint().cores
    assert cores is not None
    for load, loaded in ((0.0, False), (float(cores), False), (cores + 0.1, True), (None, False)):
        now = dataclasses.replace(state(), load_average=load)
        with monkeypatch.context() as patched:
            patched.setattr(surroundings, "state", lambda now=now: now)
            assert surroundings.is_loaded() == loaded


@pytest.mark.parametrize("content", [b"", b"[]", b'{"backend": 3}', b"\xff\xfe", b"[" * 10**5])
def test_foreign_record_is_made_again(offer: Offer, own_cache: Path, content: bytes) -> None:
    offer("sound")
    first = engine_records()["sound"]
    for path in (own_cache / "tofa-edge" / "selftests").iterdir():
        path.write_bytes(content)
    assert next_sound().verdicts == first.verdicts


def next_sound() -> Record:
    records._known.clear()
    return engine_records()["sound"]
