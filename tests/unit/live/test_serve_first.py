"""serve_first: something that works serves at once, and what is chosen takes over."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

import tofa_edge
from tofa_edge.architecture.zoo import tiny
from tofa_edge.backends.protocol import Engine, Target
from tofa_edge.backends.reference import Reference
from tofa_edge.budget import Budget
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.deployment.request import DeployOptions, requested
from tofa_edge.errors import BackendError, ImageError, LimitError
from tofa_edge.live.child import choose_all, lower_budget
from tofa_edge.live.events import Event
from tofa_edge.live.first import engines_on_record
from tofa_edge.live.model import LiveModel
from tofa_edge.live.options import LiveOptions
from tofa_edge.live.order import order_of, received
from tofa_edge.selftest.golden import specimen_images
from tofa_edge.selftest.records import engine_records
from tofa_edge.selftest.small_bundle import small_bundle, small_finalists

PATIENCE_S = 120.0
REFERENCE = Engine(Reference(), Target())
QUICK = DeployOptions(backend="reference", max_seconds=0.0)
AT_ONCE = LiveOptions(serve_first=True)
IMAGE = specimen_images(40, 1)[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its best finalist has to be calibrated; its smallest has statistics."""
    path = tmp_path_factory.mktemp("live") / "live.tofa"
    small_bundle(path, calibration_photos=24, finalists=small_finalists())
    return path


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.01)


def kinds(model: LiveModel) -> list[str]:
    return [event.kind for event in model.events]


def test_the_chosen_network_takes_over_and_no_prediction_is_wrong(bundle: Path) -> None:
    told: list[Event] = []
    live = LiveOptions(serve_first=True, on_event=told.append)
    finalists = small_finalists()
    best = max(finalists, key=lambda each: each.accuracy).subnet
    with tofa_edge.deploy(bundle, latency_ms=1000, options=QUICK, live=live) as model:
        assert isinstance(model, LiveModel)
        assert (model.subnet, kinds(model)) == (tiny().smallest(), ["serving"])
        seen = [(model(IMAGE).logits, len(model.events)) for _ in range(3)]
        while model.subnet != best:
            seen.append((model(IMAGE).logits, len(model.events)))
            assert "not chosen" not in kinds(model), model.events
        seen.append((model(IMAGE).logits, len(model.events)))
        assert kinds(model) == ["serving", "ready", "switched"]
        statistics = model.stats()
        assert (statistics.count, statistics.switches, statistics.rung) == (len(seen), 1, 0)
        assert [rung.chosen for rung in statistics.rungs] == [True], "the first one is let go"
        assert "expected accuracy 100.0%" in model.explain()
    cutter = Cutter(Bundle.open(bundle))
    right = [
        tofa_edge.deploy(bundle, subnet=subnet, options=QUICK, remember=False)(IMAGE).logits
        for subnet in (tiny().smallest(), best)
    ]
    assert cutter.knows_statistics(tiny().smallest())
    for logits, _ in seen:
        assert any(np.allclose(logits, each, atol=1e-4) for each in right)
    assert np.allclose(seen[0][0], right[0], atol=1e-4)
    assert np.allclose(seen[-1][0], right[1], atol=1e-4)
    assert told == list(model.events)
    with pytest.raises(BackendError, match="closed"):
        model(IMAGE)


def test_what_is_remembered_serves_at_once_and_nothing_is_started(bundle: Path) -> None:
    chosen = tofa_edge.deploy(bundle, latency_ms=1000, options=QUICK).subnet
    with tofa_edge.deploy(bundle, latency_ms=1000, options=QUICK, live=AT_ONCE) as model:
        assert (model.subnet, kinds(model)) == (chosen, ["serving"])
        assert model.stats().rungs[0].chosen
        assert psutil.Process().children() == []


def test_where_nothing_is_within_the_budget_the_first_serves_on(bundle: Path) -> None:
    with tofa_edge.deploy(bundle, latency_ms=1e-6, options=QUICK, live=AT_ONCE) as model:
        until(lambda: "not chosen" in kinds(model))
        assert "the fastest network measured" in model.events[-1].text
        assert model(IMAGE).known
        assert model.subnet == tiny().smallest()


def test_nothing_is_left_when_it_is_closed_or_its_process_dies(bundle: Path) -> None:
    model = tofa_edge.deploy(bundle, latency_ms=1000, options=QUICK, live=AT_ONCE)
    until(lambda: bool(psutil.Process().children()))
    model.close()
    assert psutil.Process().children(recursive=True) == []
    assert kinds(model) == ["serving"]
    with tofa_edge.deploy(bundle, latency_ms=1000, options=QUICK, live=AT_ONCE) as model:
        until(lambda: bool(psutil.Process().children()))
        psutil.Process().children()[0].kill()
        until(lambda: "not chosen" in kinds(model))
        assert "exit code -9" in model.events[-1].text
        assert model(IMAGE).known


def test_a_faster_network_keeps_the_smaller_budget_and_is_held_once(bundle: Path) -> None:
    request = requested(bundle, Budget(latency_ms=1000), None, QUICK)
    report = io.BytesIO()
    choose_all(order_of(request, remember=True, rungs=3, top_ms=1000.0), report)
    report.seek(0)
    ((answer, artefact),) = received(report)
    assert answer.rung == 1
    assert answer.budget == lower_budget(request.budget, 1000.0, 1, 0.0)
    assert answer.decision is not None
    assert artefact, "and the third network would have been the same"
    spent = order_of(request, remember=True, rungs=2, top_ms=1e-6)
    failed = io.BytesIO()
    choose_all(spent, failed)
    failed.seek(0)
    ((answer, artefact),) = received(failed)
    assert (answer.decision, artefact) == (None, b"")
    assert "the fastest network measured" in answer.failure


def test_an_engine_serves_first_only_where_it_was_seen_to_work(
    bundle: Path, known_engines: Path, tiny_bundle: Path
) -> None:
    opened, options = Bundle.open(bundle), DeployOptions()
    found = {engine.backend.name for engine in engines_on_record(opened, options)}
    assert found, "with another bundle, and with a specimen"
    assert "reference" not in found
    for file in (known_engines / "tofa-edge" / "selftests").iterdir():
        file.unlink()
    assert engines_on_record(opened, options) == []
    engine_records(Bundle.open(tiny_bundle), ["reference"])
    assert engines_on_record(opened, options) == [], "the reference is the last resort anyway"


def test_contradictions_are_refused_before_anything_is_opened() -> None:
    with pytest.raises(LimitError, match="wanted a latency_ms with a ladder of 2"):
        tofa_edge.deploy("missing.tofa", live=LiveOptions(ladder=2))
    with pytest.raises(LimitError, match="1 to 8 networks, got 0"):
        LiveOptions(ladder=0)
    frames = DeployOptions(calibration=[IMAGE])
    with pytest.raises(ImageError, match="frames as files"):
        tofa_edge.deploy("missing.tofa", options=frames, live=AT_ONCE)
