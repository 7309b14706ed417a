"""Choices made in noise: when they are provisional, when they are due, and that they are remade."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tofa_edge
from tofa_edge.backends.protocol import Target
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.deployment import provisional, remember
from tofa_edge.deployment.provisional import Asked, asked_of, is_due, judged, start_again
from tofa_edge.deployment.request import DeployOptions, requested
from tofa_edge.device.machine import State
from tofa_edge.measurement.validity import Snapshot
from tofa_edge.storage.plain import from_plain, to_plain

REFERENCE = DeployOptions(backend="reference")
OWN = Budget(latency_ms=5)


def look(at_s: float, busy_s: float, own_s: float) -> Snapshot:
    state = State(load_average=0.0)
    return Snapshot(at_s, 2, busy_s, own_s, 0.0, None, None, None, None, 0.5, None, state)


def test_a_quiet_choice_stands() -> None:
    found = judged(look(0, 0, 0), look(10, 10.4, 10), OWN)
    assert found.reason == ""
    assert found.cores == pytest.approx(0.04)


def test_a_choice_beside_other_programs_is_provisional() -> None:
    found = judged(look(0, 0, 0), look(10, 20, 5), OWN)
    assert found.reason == "other programs kept 1.5 cores busy"
    assert found.cores == pytest.approx(1.5)


def test_observed_latency_asks_for_the_load() -> None:
    observed = Budget(latency_ms=5, latency="observed")
    assert judged(look(0, 0, 0), look(10, 20, 5), observed).reason == ""


@pytest.mark.parametrize(
    ("load", "age_s", "now", "due"),
    [
        (2.0, 4000.0, 0.2, True),
        (2.0, 4000.0, 0.9, True),
        (2.0, 4000.0, 1.5, False),  # hardly lower
        (2.0, 600.0, 0.0, False),  # within the hour
        (2.0, -600.0, 0.0, True),  # the clock was set back
        (0.1, 4000.0, 0.25, True),
        (2.0, 4000.0, None, False),  # nobody can tell
    ],
)
def test_due_once_an_hour_where_it_is_quieter(
    load: float, age_s: float, now: float | None, due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisional, "state", lambda: State(load_average=now))
    assert is_due(load, time.time() - age_s) == due


def test_a_request_is_repeated_as_it_was(tiny_bundle: Path) -> None:
    budget = Budget(latency_ms=5, percentile=50, latency="observed")
    options = DeployOptions(threads=1, precision="fp32", seed=3)
    asked = asked_of(requested(tiny_bundle, budget, None, options), "key", 2.0)
    assert from_plain(Asked, to_plain(asked)) == asked
    assert (asked.budget, asked.seed, asked.threads) == (budget, 3, 1)


@pytest.mark.usefixtures("known_engines")
def test_another_process_makes_it_again(tiny_bundle: Path) -> None:
    options, bundle = DeployOptions(backend="tflite"), Bundle.open(tiny_bundle)
    request = requested(bundle, Budget(latency_ms=5000), None, options)
    key = remember.decision_key_of(request)
    tofa_edge.deploy(bundle, latency_ms=5000, options=options).close()
    kept = remember.recall(key)
    assert kept is not None
    noisy = replace(kept[0], provisional="other programs", load=2.0, decided_s=1.0)
    remember.remember(key, noisy, kept[1])
    start_again(asked_of(request, key, 7.0))  # another one has tried since
    start_again(asked_of(request, key, 1.0))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = remember.recall(key)
        if found is not None and found[0].decided_s > 1.0:
            break
        time.sleep(0.1)
    assert found is not None
    assert found[0].decided_s == pytest.approx(time.time(), abs=90)
    assert found[0].provisional != "other programs"
    assert found[0].backend == "tflite"


@pytest.mark.usefixtures("known_engines")
def test_where_the_bundle_was_replaced_there_is_nothing_to_make_again(
    tiny_bundle: Path, bare_bundle: Path
) -> None:
    request = requested(bare_bundle, Budget(latency_ms=5000), None, REFERENCE)
    decision = remember.Decision(
        "{}", "tflite", Target(), 0.5, True, ("old",), "", "load", 2.0, 1.0
    )
    remember.remember("a" * 32, decision, b"artefact")
    start_again(asked_of(request, "a" * 32, 1.0))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = remember.recall("a" * 32)
        if found is not None and not found[0].provisional:
            break
        time.sleep(0.1)
    assert found is not None
    assert found[0].provisional == ""
    assert found[1] == b"artefact"


@pytest.mark.usefixtures("known_engines")
def test_explanation_tells_of_a_provisional_choice(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = provisional.Provisional("other programs kept 1.8 cores busy", 1.8)
    monkeypatch.setattr("tofa_edge.deployment.deploy.judged", lambda *looks: noisy)
    monkeypatch.setattr("tofa_edge.deployment.deploy.look_now_and_then", lambda *attempt: None)
    with tofa_edge.deploy(tiny_bundle, latency_ms=4000, options=REFERENCE) as model:
        assert "provisional, as other programs kept 1.8" in model.explain()
    with tofa_edge.deploy(tiny_bundle, latency_ms=4000, options=REFERENCE) as model:
        assert model.explanation.remembered, "served meanwhile"
        image = np.zeros((model.input_size, model.input_size, 3), np.uint8)
        assert 0 <= model(image).probability <= 1
