"""Engines that go wrong are found in a process of their own, named, skipped, and tried again."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tofa_edge
from tofa_edge import backends
from tofa_edge.backends.protocol import Backend, Engine, Target
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.errors import BackendError, BundleError
from tofa_edge.selftest import memory
from tofa_edge.selftest import watchdog as watching
from tofa_edge.selftest.calibrating import calibrator
from tofa_edge.selftest.records import Record, engine_records, passing_engines, records_here

Offer = Callable[..., dict[str, Backend]]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits little, and spares little memory."""
    monkeypatch.setattr(watching, "PATIENCE_S", 3.0)
    monkeypatch.setattr(memory, "available_bytes", lambda: 400_000_000)


FAULTS = {
    "illegal": ("crash", r"SIGILL \(step: load and run on cpu fp32 1t\)"),
    "dereferencing": ("crash", r"SIGSEGV \(step: import\)"),
    "hungry": ("out of memory", r"took \d+ MB, and 400 MB could be spared"),
    "unallocated": ("out of memory", "memory"),
    "hanging": ("hang", r"no answer within 3 s \(step: load and run on cpu fp32 1t\)"),
    "wrong": ("wrong numbers", r"1\.0e-02 of the largest logit off"),
    "fallback": ("fallback", "asked for npu, it runs on cpu"),
    "refusing": ("refused", "it will not"),
    "raising": ("crash", "ZeroDivisionError: division by zero"),
    "silent": ("crash", "ended in silence"),
    "uncalibrated": ("crash", "SIGABRT"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found_and_named(offer: Offer, impatient: None, name: str) -> None:
    offer(name)
    fault, reason = FAULTS[name]
    verdict = engine_records()[name].faults[0]
    assert verdict.fault == fault
    assert re.search(reason, verdict.reason), verdict.reason


def test_patience_comes_from_the_environment(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(watching.PATIENCE_VARIABLE, "1.5")
    offer("hanging")
    verdict = engine_records()["hanging"].faults[0]
    assert verdict.fault == "hang"
    assert "no answer within 1.5 s" in verdict.reason


@pytest.mark.parametrize("said", ["soon", "0", "-1", "nan", "inf"])
def test_patience_that_is_no_time_is_refused(
    offer: Offer, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv(watching.PATIENCE_VARIABLE, said)
    offer("sound")
    with pytest.raises(BackendError, match=f"wanted a positive number of seconds.*{said}"):
        engine_records()


@pytest.mark.parametrize("name", FAULTS)
def test_application_survives_and_the_next_engine_serves(
    offer: Offer, impatient: None, tiny_bundle: Path, name: str
) -> None:
    offer(name, "sound")
    with tofa_edge.deploy(tiny_bundle, options=tofa_edge.DeployOptions(threads=1)) as model:
        served = model.engine
        text = model.explain()
    assert FAULTS[name][0] in text
    assert served.target == Target()
    if name != "fallback":  # which is sound on the CPU
        assert served.backend.name == "sound"


def test_healthy_engines_are_sound(offer: Offer) -> None:
    offer("sound", "talking")
    records = engine_records()
    assert [record.faults for record in records.values()] == [(), (), ()]
    assert [engine.backend.name for engine in passing_engines()] == ["sound", "talking"]


def test_one_bad_target_spoils_no_other(offer: Offer) -> None:
    offer("second_target")
    record = engine_records()["second_target"]
    assert [target.threads for target in record.sound] == [1, 4]
    (verdict,) = record.faults
    assert verdict.target == Target(threads=2)
    assert "SIGABRT" in verdict.reason
    assert [e.target.threads for e in passing_engines(name="second_target")] == [1, 4]


def test_nothing_is_tried_twice(
    offer: Offer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    monkeypatch.setenv("COUNT_IN", str(asked))
    offer("sound")
    first = engine_records()
    again = engine_records()
    assert again == first
    assert asked.read_text().count("asked") == 1
    engine_records(again=True)
    assert asked.read_text().count("asked") == 2


def test_record_falls_with_its_software(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    offer("sound")
    assert engine_records()["sound"].versions["engine"] == "sound 1"
    monkeypatch.setenv("SOUND_VERSION", "2")
    assert all(record.backend != "sound" for record in records_here())
    assert engine_records()["sound"].versions["engine"] == "sound 2"


def test_damaged_record_is_made_again(offer: Offer, own_cache: Path) -> None:
    offer("sound")
    first = engine_records()["sound"]
    for path in (own_cache / "tofa-edge" / "selftests").iterdir():
        path.write_text(path.read_text()[:-20])
    assert engine_records()["sound"].verdicts == first.verdicts


def test_without_a_place_to_write_the_process_remembers(
    offer: Offer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    asked = tmp_path / "asked"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("COUNT_IN", str(asked))
    offer("sound")
    assert engine_records()["sound"].sound == (Target(),)
    assert engine_records()["sound"].sound == (Target(),)
    assert asked.read_text().count("asked") == 1


def test_golden_cases_are_a_bundles_own(offer: Offer, tiny_bundle: Path) -> None:
    offer("sound")
    bundle = Bundle.open(tiny_bundle)
    assert engine_records(bundle)["sound"].subject == bundle.digest
    assert engine_records()["sound"].subject == "specimen"
    assert {record.subject for record in records_here()} == {bundle.digest, "specimen"}


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "copy.tofa"
    copied.write_bytes(tiny_bundle.read_bytes())
    return copied


@pytest.mark.parametrize("replacement", [b"no bundle", None])
def test_bundle_that_was_opened_is_tested_with(
    offer: Offer, copy: Path, replacement: bytes | None
) -> None:
    offer("sound")
    bundle = Bundle.open(copy)
    copy.unlink()
    if replacement is not None:
        copy.write_bytes(replacement)
    record = engine_records(bundle, ["sound"])["sound"]
    assert (record.sound, record.subject) == ((Target(),), bundle.digest)


def test_damaged_bundle_is_not_the_engines_fault(offer: Offer, copy: Path) -> None:
    offer("sound")
    bundle = Bundle.open(copy)
    with copy.open("r+b") as file:
        file.write(bytes(copy.stat().st_size))
    with pytest.raises(BundleError, match=r"copy\.tofa"):
        engine_records(bundle, ["sound"])
    assert all(record.backend != "sound" for record in records_here())


@pytest.mark.quiet  # it writes to every descriptor of this process, those of pytest-xdist too
def test_engine_that_does_not_calibrate_leaves_it_to_another(
    offer: Offer, tiny_bundle: Path
) -> None:
    found = offer("sound", "talking")
    engine = Engine(found["talking"], Target())
    bundle = Bundle.open(tiny_bundle)
    assert calibrator(engine, bundle) is engine
    found["talking"].calibrates = False
    assert calibrator(engine, bundle).backend.name == "sound"
    with tofa_edge.deploy(
        tiny_bundle,
        subnet=bundle.space.smallest(),
        options=tofa_edge.DeployOptions(backend="talking"),
    ) as model:
        assert model.engine.backend.name == "talking"


def test_unwanted_threads_are_refused(offer: Offer) -> None:
    offer("sound")
    with pytest.raises(BackendError, match="wanted 3 threads, engines here offer 1"):
        passing_engines(threads=3)


def test_interrupt_ends_the_tests(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    found = offer("hanging", "sound")
    begun = time.monotonic()

    def interrupt(record: Record) -> Record:
        if record.backend == "reference":
            return record
        raise KeyboardInterrupt

    monkeypatch.setattr("tofa_edge.selftest.records._kept", interrupt)
    monkeypatch.setattr(backends.registry, "_discovered", lambda: dict(reversed(found.items())))
    with pytest.raises(KeyboardInterrupt):
        engine_records()
    assert time.monotonic() - begun < 10, "well below the patience of a minute"


def test_record_is_readable_json(offer: Offer, own_cache: Path) -> None:
    offer("wrong")
    engine_records()
    written = [p.read_text() for p in (own_cache / "tofa-edge" / "selftests").iterdir()]
    (found,) = [json.loads(text) for text in written if '"backend": "wrong"' in text]
    assert found["verdicts"][0]["fault"] == "wrong numbers"
    assert found["versions"]["tofa-edge"] == tofa_edge.__version__
